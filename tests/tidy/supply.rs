//! What comes in from outside, checked from `Cargo.lock` and the resolved features alone: the bans
//! of `deny.toml` whose breach would not show until run time.

use std::process::Command;

use serde_json::Value as Json;
use toml::{Table, Value};

use crate::source::{none, root};

/// Crates that bring a second TLS provider; with two, the first handshake panics.
const BANNED: &[&str] = &[
    "aws-lc-rs",
    "aws-lc-sys",
    "boring",
    "native-tls",
    "openssl",
    "openssl-sys",
];

/// Crates of which two versions would each keep half of the state, or half of the types.
const ONCE: &[&str] = &[
    "axum", "http", "prost", "ring", "rusqlite", "rustls", "tokio", "tonic",
];

/// The only place packages come from.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// A feature nobody may switch on, and why.
const BANNED_FEATURES: &[(&str, &str, &str)] = &[(
    "prost",
    "no-recursion-limit",
    "a nested message from a peer would overflow the stack",
)];

fn bad_packages(lock: &Table) -> Vec<String> {
    let packages = lock
        .get("package")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let field =
        |package: &Value, key: &str| package.get(key).and_then(Value::as_str).map(str::to_owned);
    let mut wrong = Vec::new();
    if packages.is_empty() {
        wrong.push("Cargo.lock lists no package".to_owned());
    }
    for package in &packages {
        let name = field(package, "name").unwrap_or_default();
        if BANNED.contains(&name.as_str()) {
            wrong.push(format!(
                "{name} is banned: rustls with ring is the only TLS"
            ));
        }
        if field(package, "source").is_some_and(|source| source != REGISTRY) {
            wrong.push(format!("{name} does not come from crates.io"));
        }
    }
    for name in ONCE {
        let versions = packages
            .iter()
            .filter(|p| field(p, "name").as_deref() == Some(name))
            .count();
        if versions > 1 {
            wrong.push(format!("{versions} versions of {name}"));
        }
    }
    wrong
}

/// Reads the `resolve.nodes` of `cargo metadata`.
fn bad_features(metadata: &Json) -> Vec<String> {
    let nodes = metadata["resolve"]["nodes"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let mut wrong = Vec::new();
    for (name, feature, why) in BANNED_FEATURES {
        let mut seen = false;
        for node in &nodes {
            let id = node["id"].as_str().unwrap_or_default();
            if !id.contains(&format!("#{name}@")) && !id.contains(&format!("/{name}#")) {
                continue;
            }
            seen = true;
            let features = node["features"].as_array().cloned().unwrap_or_default();
            if features.iter().any(|on| on.as_str() == Some(feature)) {
                wrong.push(format!("{name} with feature {feature}: {why}"));
            }
        }
        if !seen {
            wrong.push(format!(
                "{name} is not among the dependencies: was the tree resolved?"
            ));
        }
    }
    wrong
}

#[test]
fn the_lock_file_holds_nothing_banned() {
    let text = std::fs::read_to_string(root().join("Cargo.lock")).expect("there is a Cargo.lock");
    none(
        "Cargo.lock",
        &bad_packages(&text.parse().expect("it is TOML")),
    );
}

#[test]
fn no_banned_feature_is_on() {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args([
            "metadata",
            "--locked",
            "--offline",
            "--all-features",
            "--format-version",
            "1",
        ])
        .args(["--filter-platform", &platform])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    none("features", &bad_features(&metadata));
}

#[cfg(test)]
fn lock(packages: &[(&str, &str)]) -> Table {
    let entry = |(name, source): &(&str, &str)| {
        format!("[[package]]\nname = \"{name}\"\nversion = \"1.0.0\"\nsource = \"{source}\"\n")
    };
    packages
        .iter()
        .map(entry)
        .collect::<String>()
        .parse()
        .expect("TOML")
}

#[test]
fn planted_packages_are_found() {
    assert!(
        bad_packages(&lock(&[
            ("rustls", REGISTRY),
            ("syn", REGISTRY),
            ("syn", REGISTRY)
        ]))
        .is_empty()
    );
    assert_eq!(
        bad_packages(&lock(&[("rustls", REGISTRY), ("rustls", REGISTRY)])).len(),
        1
    );
    assert_eq!(bad_packages(&lock(&[("aws-lc-rs", REGISTRY)])).len(), 1);
    assert_eq!(
        bad_packages(&lock(&[("syn", "git+https://git.example/syn#abc")])).len(),
        1
    );
    assert_eq!(bad_packages(&Table::new()).len(), 1);
}

#[test]
fn planted_features_are_found() {
    let with = |feature: &str| {
        serde_json::json!({"resolve": {"nodes": [
            {"id": format!("{REGISTRY}#prost@0.14.1"), "features": ["std", feature]},
        ]}})
    };
    assert_eq!(bad_features(&with("derive")), [""; 0]);
    assert_eq!(bad_features(&with("no-recursion-limit")).len(), 1);
    assert_eq!(bad_features(&Json::Null).len(), 1);
}
