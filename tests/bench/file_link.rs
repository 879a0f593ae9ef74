//! A file over an emulated link of 50 ms: between two clients in two network namespaces, beside the
//! bare tuned crate over the same link, without loss and with 1 %.

use crate::file::{Bare, Run, asked, transfer, write_file};
use crate::file_client::FileClient;
use crate::measure::{Goal, Report, Samples, text};
use crate::servers::Servers;
use beeline_tests::link::{Link, Shape, speed};
use beeline_tests::netns::Netns;
use std::time::Duration;

/// Rounds of each contestant, in turn, over one link of each: a new one is faster or slower, for it
/// looks for the rate of the path by itself until the first loss. More with loss, where chance has
/// its part in each.
const ROUNDS: usize = 3;
const LOSSY_ROUNDS: usize = 5;
/// One way, and the round trip, seconds.
const DELAY: Duration = Duration::from_millis(25);
const TRIP_S: f64 = 0.05;
/// Bytes of the receiver's window, ours and the bare crate's; as many may be under way.
const WINDOW: usize = 4 * 1024 * 1024;
/// Share of packets lost, each way.
const LOSS: f64 = 0.01;
/// Size of the file without loss and with it, MiB, unless `BEELINE_BENCH_LINK_MIB` and
/// `BEELINE_BENCH_LOSSY_MIB` say otherwise: at least some seconds.
const MIB: u64 = 512;
const LOSSY_MIB: u64 = 8;
/// Ours over the bare crate's, and over what window and link admit.
const RATIO: f64 = 0.9;
const OF_WINDOW: f64 = 0.8;
/// For how long the link itself is measured.
const LASTING: Duration = Duration::from_secs(2);
/// Packets as long as on most links, bytes.
const MTU: u16 = 1_500;

const WEST: &str = "10.9.1.1";
const EAST: &str = "10.9.1.2";

/// Reports both links.
pub(crate) fn run(report: &mut Report) -> Result<(), String> {
    let mib = asked("BEELINE_BENCH_LINK_MIB", MIB);
    let (ours, bare) = over(0.0, mib, ROUNDS)?;
    let link = speed::throughput(MTU, Shape::default(), LASTING) as f64 / f64::from(1 << 20);
    let window = WINDOW as f64 / TRIP_S / f64::from(1 << 20);
    let most = Samples(vec![window.min(link); ROUNDS]);
    let ceiling = ("bare crate", rates(&bare));
    let goal = Goal::AtLeast(RATIO);
    report.ratio("file over 50 ms", "MiB/s", rates(&ours), ceiling, goal);
    let ceiling = ("least of window / round trip and link", most.clone());
    let goal = Goal::AtLeast(OF_WINDOW);
    report.ratio("… the same", "MiB/s", rates(&ours), ceiling, goal);
    let ceiling = ("the same", most);
    let name = "… the bare crate";
    report.ratio(name, "MiB/s", rates(&bare), ceiling, Goal::Told);
    let mib = asked("BEELINE_BENCH_LOSSY_MIB", LOSSY_MIB);
    let (ours, bare) = over(LOSS, mib, LOSSY_ROUNDS)?;
    let ceiling = ("bare crate", rates(&bare));
    let goal = Goal::AtLeast(RATIO);
    let name = "file over 50 ms, 1 % lost";
    report.ratio(name, "MiB/s", rates(&ours), ceiling, goal);
    Ok(())
}

fn rates(runs: &[Run]) -> Samples {
    Samples(runs.iter().map(|run| run.mib_per_s).collect())
}

/// Transfers in turn over a link, ours and the bare crate's.
fn over(loss: f64, mib: u64, rounds: usize) -> Result<(Vec<Run>, Vec<Run>), String> {
    let (west, east) = (Netns::new("west"), Netns::new("east"));
    let shape = Shape {
        delay: DELAY,
        loss,
        ..Shape::default()
    };
    let _link = Link::even((&west, "wire"), (&east, "wire"), MTU, shape);
    west.ip(&format!("addr add {WEST}/32 peer {EAST} dev wire\n"));
    east.ip(&format!("addr add {EAST}/32 peer {WEST} dev wire\n"));
    let dir = tempfile::tempdir().map_err(text)?;
    let file = dir.path().join("sent");
    write_file(&file, mib)?;
    let servers = Servers::start_in(&west, WEST)?;
    let mut alice = FileClient::start(Some(&west), &servers.invite, "alice", dir.path())?;
    let bob = FileClient::start(Some(&east), &servers.invite, "bob", dir.path())?;
    alice.chat("bob", 10)?;
    let spaces = [Some((&west, WEST)), Some((&east, EAST))];
    let mut crates = Bare::connect(spaces, WEST, (mib, WINDOW), "ours")?;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        bare.push(crates.transfer()?);
        ours.push(transfer((&mut alice, &bob), &file, mib, false)?);
    }
    Ok((ours, bare))
}
