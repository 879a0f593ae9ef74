//! A full outbox: what a start and a send cost while 100,000 messages wait for somebody away.

use crate::measure::{Goal, Report, Samples, now, say};
use crate::peers::Peers;
use crate::proc;
use crate::role::{LOAD_CORE, SERVER_CORE};
use crate::servers::Servers;
use std::time::Duration;

/// Messages that wait, of 200 bytes each.
const QUEUED: usize = 100_000;
/// Messages queued with one request.
const CHUNK: usize = 10_000;
/// Rounds, the outboxes in turn.
const ROUNDS: usize = 7;
/// Sends of each in a round.
const SENDS: usize = 100;
/// Starts with the full outbox.
const STARTS: usize = 5;

/// Seconds a start may take.
const START_S: f64 = 2.0;
/// A send with the full outbox over one with an empty one.
const SEND_RATIO: f64 = 1.2;

/// Reports start-up, send latency and memory.
pub(crate) fn run(report: &mut Report) -> Result<(), String> {
    let servers = Servers::start()?;
    let carol = Peers::start(SERVER_CORE, &servers.invite, "carol", 1)?;
    let mut alice = Peers::start(LOAD_CORE, &servers.invite, "alice", 2)?;
    for client in 0..2 {
        alice.meet(client, "carol0")?;
    }
    // From now on she is away; both know her keys.
    drop(carol);
    let before = proc::rss_kib(alice.pid())?;
    let start = now();
    for _ in 0..QUEUED / CHUNK {
        alice.fill(0, "carol0", CHUNK)?;
    }
    let rate = QUEUED as f64 / start.elapsed().as_secs_f64();
    say(&format!("queued {QUEUED} messages, {rate:.0} a second"));
    let grown = (proc::rss_kib(alice.pid())? - before) / 1024.0;
    report.plain(
        "memory of 100,000 queued messages",
        "MiB",
        Samples(vec![grown]),
        Goal::Told,
    );
    let [mut full, mut empty] = <[Samples; 2]>::default();
    for _ in 0..ROUNDS {
        full.0.push(alice.send(0, "carol0", SENDS)?.quantile(0.5));
        empty.0.push(alice.send(1, "carol0", SENDS)?.quantile(0.5));
    }
    report.ratio(
        "send with 100,000 queued, durable, p50",
        "µs",
        full,
        ("empty outbox", empty),
        Goal::AtMost(SEND_RATIO),
    );
    let [mut full, mut empty] = <[Samples; 2]>::default();
    for _ in 0..STARTS {
        full.0.push(alice.restart(0)?);
        empty.0.push(alice.restart(1)?);
        crate::measure::pause(Duration::from_millis(100));
    }
    report.plain("start with an empty outbox", "s", empty, Goal::Told);
    report.plain(
        "start with 100,000 queued",
        "s",
        full,
        Goal::AtMost(START_S),
    );
    Ok(())
}
