//! Resident memory per connected idle peer: a real client with many links beside the bare crate.

use crate::bare::BarePair;
use crate::measure::{Goal, Report, Samples, pause, text};
use crate::peers::Peers;
use crate::proc::rss_kib;
use crate::role::{Child, Desk, LOAD_CORE, SERVER_CORE};
use crate::servers::Servers;
use crate::wrapped::WrappedPair;
use std::time::Duration;
use tokio::runtime::Builder;

/// Peers that are connected while memory is counted.
const PEERS: usize = 50;
/// Peers connected before counting begins: what the first ones bring along is not theirs alone.
const BEFORE: usize = 4;
/// How long links are idle before memory is counted.
const SETTLE: Duration = Duration::from_secs(7);
/// What the ceilings' peers say to each other once, bytes: a client's have exchanged HELLOs.
const GREETING: usize = 2_048;
/// Rounds, each with processes of its own.
const ROUNDS: usize = 3;
/// Ours over the crate's.
const RATIO: f64 = 1.2;

/// Reports both.
pub(crate) fn run(report: &mut Report) -> Result<(), String> {
    let [mut ours, mut wrapped, mut bare] = <[Samples; 3]>::default();
    for _ in 0..ROUNDS {
        bare.0.push(pairs_kib("bare-pairs")?);
        wrapped.0.push(pairs_kib("wrapped-pairs")?);
        ours.0.push(our_kib()?);
    }
    let name = "memory per connected idle peer";
    report.ratio(
        "… of the wrapped crate alone",
        "KiB",
        wrapped,
        ("bare crate", bare.clone()),
        Goal::Told,
    );
    report.ratio(name, "KiB", ours, ("bare crate", bare), Goal::AtMost(RATIO));
    Ok(())
}

fn our_kib() -> Result<f64, String> {
    let servers = Servers::start()?;
    let _spokes = Peers::start(SERVER_CORE, &servers.invite, "spoke", BEFORE + PEERS)?;
    let mut hub = Peers::start(LOAD_CORE, &servers.invite, "hub", 1)?;
    let users: Vec<String> = (0..BEFORE + PEERS)
        .map(|number| format!("spoke{number}"))
        .collect();
    hub.connect(&users[..BEFORE])?;
    pause(SETTLE);
    let before = rss_kib(hub.pid())?;
    hub.connect(&users[BEFORE..])?;
    pause(SETTLE);
    Ok((rss_kib(hub.pid())? - before) / PEERS as f64)
}

fn pairs_kib(role: &str) -> Result<f64, String> {
    let mut child = Child::start(LOAD_CORE, role, &[])?;
    pause(SETTLE);
    let before = rss_kib(child.pid())?;
    child.ask(&serde_json::json!({ "more": PEERS }))?;
    pause(SETTLE);
    // A pair is two peers, both in that process.
    Ok((rss_kib(child.pid())? - before) / (2 * PEERS) as f64)
}

/// The role `bare-pairs`.
pub(crate) fn bare_pairs(_: &[String], desk: &mut Desk) -> Result<(), String> {
    pairs(desk, || async {
        let pair = BarePair::connect().await?;
        pair.greet(GREETING).await?;
        Ok(pair)
    })
}

/// The role `wrapped-pairs`.
pub(crate) fn wrapped_pairs(_: &[String], desk: &mut Desk) -> Result<(), String> {
    pairs(desk, || async {
        let mut pair = WrappedPair::connect().await?;
        pair.greet(GREETING).await?;
        Ok(pair)
    })
}

/// Makes some pairs at once, more when told, and keeps them.
fn pairs<P, F: Future<Output = Result<P, String>>>(
    desk: &mut Desk,
    connect: impl Fn() -> F,
) -> Result<(), String> {
    // A worker of its own, so that links live on while this waits for a request.
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    let runtime = runtime.map_err(text)?;
    let mut pairs = Vec::new();
    for _ in 0..BEFORE {
        pairs.push(runtime.block_on(connect())?);
    }
    desk.say(&serde_json::json!({}));
    while let Some(request) = desk.next() {
        let more = request
            .get("more")
            .and_then(serde_json::Value::as_u64)
            .unwrap_or(0);
        for _ in 0..more {
            pairs.push(runtime.block_on(connect())?);
        }
        desk.say(&serde_json::json!({ "pairs": pairs.len() }));
    }
    runtime.shutdown_background();
    Ok(())
}
