//! Messages between two real clients, disks included: from `send` to DELIVERED, and how sends that
//! come together share the disk.

use crate::measure::{Goal, Report, Samples, now, pause, text};
use crate::peers::Peers;
use crate::role::{LOAD_CORE, SERVER_CORE};
use crate::servers::Servers;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

/// Rounds, the parts in turn.
const ROUNDS: usize = 5;
/// Messages of a round, and the pause before each.
const MESSAGES: usize = 100;
const PAUSE: Duration = Duration::from_millis(10);
/// Messages before the first round.
const WARM_UP: usize = 50;
/// Writes of a round that are timed to learn what the disk takes.
const SYNCS: usize = 100;
/// What the commit of one message writes to the log, bytes: 11 frames, each a page and its header
/// (a row, its four indexes, the parcel, the sequence, the step). `strace` shows them.
const COMMIT: usize = 11 * (4096 + 24);
/// Sends that come together.
const TOGETHER: usize = 200;
/// What is granted beside the round trip and two commits, microseconds.
const GRANTED_US: f64 = 300.0;
/// The rate of sends together over that of sends one by one.
const SHARE_RATIO: f64 = 5.0;

/// Reports the way from `send` to DELIVERED; `trip_us` is the round trip without storage.
pub(crate) fn run(report: &mut Report, trip_us: &Samples) -> Result<(), String> {
    let servers = Servers::start()?;
    let carol = Peers::start(SERVER_CORE, &servers.invite, "carol", 1)?;
    let mut alice = Peers::start(LOAD_CORE, &servers.invite, "alice", 1)?;
    alice.connect(&["carol0".to_owned()])?;
    alice.deliver("carol0", WARM_UP, Duration::ZERO)?;
    let [mut delivered, mut syncs, mut granted] = <[Samples; 3]>::default();
    for round in 0..ROUNDS {
        let times = Samples(alice.deliver("carol0", MESSAGES, PAUSE)?);
        delivered.0.push(times.quantile(0.5));
        let sync = sync_us(carol.dir())?;
        let trip = trip_us
            .0
            .get(round)
            .copied()
            .unwrap_or(trip_us.quantile(0.5));
        syncs.0.push(sync);
        granted.0.push(trip + 2.0 * sync + GRANTED_US);
    }
    report.plain("one append and fdatasync, p50", "µs", syncs, Goal::Told);
    let ceiling = ("round trip + 2 fsyncs + 0.3 ms", granted);
    report.ratio(
        "send → DELIVERED, p50",
        "µs",
        delivered,
        ceiling,
        Goal::AtMost(1.0),
    );
    Ok(())
}

/// What one commit costs on this disk: append and fdatasync, the middle of some, microseconds. As
/// far apart as the messages, because a disk that rests takes longer.
fn sync_us(dir: &Path) -> Result<f64, String> {
    let mut file = File::create(dir.join("sync")).map_err(text)?;
    let mut times = Samples::default();
    for _ in 0..SYNCS {
        pause(PAUSE);
        let start = now();
        file.write_all(&[7; COMMIT]).map_err(text)?;
        file.sync_data().map_err(text)?;
        times.0.push(start.elapsed().as_secs_f64() * 1e6);
    }
    Ok(times.quantile(0.5))
}

/// Reports how sends that come together share the disk.
pub(crate) fn burst(report: &mut Report) -> Result<(), String> {
    let servers = Servers::start()?;
    let _carol = Peers::start(SERVER_CORE, &servers.invite, "carol", 1)?;
    let mut alice = Peers::start(LOAD_CORE, &servers.invite, "alice", 1)?;
    alice.connect(&["carol0".to_owned()])?;
    alice.deliver("carol0", WARM_UP, Duration::ZERO)?;
    let [mut single, mut together, mut commits, mut through] = <[Samples; 4]>::default();
    for _ in 0..ROUNDS {
        single.0.push(alice.queue("carol0", TOGETHER, false)?[0]);
        let [durable, delivered, commit] = alice.queue("carol0", TOGETHER, true)?;
        together.0.push(durable);
        through.0.push(delivered);
        commits.0.push(commit);
    }
    let ceiling = ("one at a time", single);
    let goal = Goal::AtLeast(SHARE_RATIO);
    report.ratio(
        "200 sends at once, durable",
        "msgs/s",
        together,
        ceiling,
        goal,
    );
    report.plain("… commits for the 200", "commits", commits, Goal::Told);
    report.plain("… delivered, disks included", "msgs/s", through, Goal::Told);
    Ok(())
}
