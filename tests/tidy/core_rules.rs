//! What the pure cores may not know: clocks, runtimes, sockets, files, chance, other modules.
//!
//! The client's core is a crate, so its manifest already keeps much of this out (`layers`); the
//! servers' cores are modules, and only this check does.

use crate::rust::parsed;
use crate::source::{File, Finding, clean};

/// Names banned in a core, and what a core does instead.
const NAMES: &[(&str, &str)] = &[
    ("Instant", "a core is told the time: use Now"),
    ("SystemTime", "a core is told the time: use Now"),
    ("HashMap", "its order differs from run to run: use BTreeMap"),
    ("HashSet", "its order differs from run to run: use BTreeSet"),
    ("RandomState", "its order differs from run to run"),
    ("tokio", "a core is drained by polls"),
    ("futures", "a core is drained by polls"),
    ("async", "a core is drained by polls"),
    ("await", "a core is drained by polls"),
    ("thread", "a core is one thread's data"),
    ("Mutex", "a core is one thread's data"),
    ("RwLock", "a core is one thread's data"),
    ("mpsc", "a core hands over its outputs by poll_output"),
    ("getrandom", "chance comes in as a seed"),
    ("OsRng", "chance comes in as a seed"),
    ("SysRng", "chance comes in as a seed"),
    ("from_os_rng", "chance comes in as a seed"),
    ("thread_rng", "chance comes in as a seed"),
    ("std::env", "configuration comes in as data"),
    ("std::fs", "files belong to the driver"),
    ("std::process", "processes belong to the driver"),
    ("TcpStream", "sockets belong to the driver"),
    ("TcpListener", "sockets belong to the driver"),
    ("UdpSocket", "sockets belong to the driver"),
    ("webrtc", "the driver translates"),
    ("rtc::", "the driver translates"),
    ("axum", "the driver translates"),
    ("tonic", "the driver translates"),
    ("hyper", "the driver translates"),
    ("rusqlite", "stores belong to the driver"),
    ("sqlx", "stores belong to the driver"),
];

/// Modules of its own crate that a server's core may name.
const CORE_MAY_USE: &[&str] = &["core", "limits"];

fn impure(file: &File) -> Vec<Finding> {
    parsed(file, |parsed| {
        let at = |&(name, instead): &(&str, &str)| -> Vec<Finding> {
            let what = format!("`{name}` in a pure core: {instead}");
            parsed
                .find(name)
                .into_iter()
                .map(|line| file.finding(line, what.as_str()))
                .collect()
        };
        NAMES.iter().flat_map(at).collect()
    })
}

/// A server's core reaches nothing of its own crate but itself.
fn reaches_out(file: &File) -> Vec<Finding> {
    parsed(file, |parsed| {
        let steps = parsed.tokens.windows(4).filter(|w| {
            w[0].text == "crate"
                && w[1].text == ":"
                && w[2].text == ":"
                && !CORE_MAY_USE.contains(&w[3].text.as_str())
        });
        let what = |name: &str| format!("a core may not use crate::{name}");
        steps
            .map(|w| file.finding(w[3].line, what(&w[3].text)))
            .collect()
    })
}

#[test]
fn cores_are_pure() {
    clean("pure core", |file| file.is("rs") && file.is_core(), impure);
}

#[test]
fn server_cores_stand_alone() {
    let server = |file: &File| file.is("rs") && file.is_core() && !file.path.starts_with("client/");
    clean("core alone", server, reaches_out);
}

#[test]
fn planted_impurities_are_found() {
    for (name, _) in NAMES {
        let text = match *name {
            "async" => "async fn f() {}".to_owned(),
            "await" => "fn f() { let _ = async { g().await }; }".to_owned(),
            "rtc::" => "use rtc::Config;".to_owned(),
            name => format!("use a::{name};"),
        };
        let text = text.replace("a::std", "std");
        assert!(
            !impure(&File::new("client/core/src/a.rs", &text)).is_empty(),
            "{name}"
        );
    }
    let pure = "//! tokio is not here.\nuse std::collections::BTreeMap;\n";
    assert!(impure(&File::new("client/core/src/a.rs", pure)).is_empty());
}

#[test]
fn planted_reach_is_found() {
    let path = "registry/src/core/a.rs";
    assert_eq!(
        reaches_out(&File::new(path, "use crate::store::Store;\n")).len(),
        1
    );
    assert_eq!(
        reaches_out(&File::new(path, "use crate::{core, store};\n")).len(),
        1
    );
    assert!(reaches_out(&File::new(path, "use crate::core::lease;\n")).is_empty());
}
