//! A file between two clients, each a process with its store and disk: hashed, offered, read,
//! sealed, sent, opened, proved, written, synced and said, beside the bare tuned crate, which only
//! moves as many bytes; and messages while a file runs.
//!
//! Nobody is bound to a core: link and disk have threads of their own, as in any client.

use crate::file_client::{FileClient, Sent};
use crate::file_stages;
use crate::measure::{Goal, Report, Samples, now, text};
use crate::proc::{cpu_of_all_us, peak_kib};
use crate::role::Child;
use crate::servers::Servers;
use beeline_tests::netns::Netns;
use serde_json::json;
use std::io::Write as _;
use std::path::Path;

/// Rounds of each contestant, in turn, unless `BEELINE_BENCH_FILE_ROUNDS` says otherwise.
const ROUNDS: u64 = 5;
/// Size of the file, MiB, unless `BEELINE_BENCH_FILE_MIB` says otherwise.
const MIB: u64 = 1_024;
/// Messages before the first round, and idle ones in each.
const WARM_UP: usize = 50;
const IDLE: usize = 300;
/// Bytes the bare crate has under way on loopback, at most: more is slower.
const BARE_UNDER_WAY: usize = 1024 * 1024;
/// Ours over the bare crate's.
const RATIO: f64 = 0.8;
/// Chat beside a file over idle chat.
const CHAT: f64 = 5.0;
/// Memory of each side, MiB, whatever the size.
const PEAK_MIB: f64 = 64.0;

/// What one transfer cost.
pub(crate) struct Run {
    pub(crate) mib_per_s: f64,
    /// CPU of sender and receiver, seconds for each GiB.
    cpu_s: [f64; 2],
    sent: Sent,
}

/// A number from the environment.
pub(crate) fn asked(name: &str, otherwise: u64) -> u64 {
    let said = std::env::var(name);
    said.ok()
        .and_then(|said| said.parse().ok())
        .unwrap_or(otherwise)
}

/// Reports all of it.
pub(crate) fn run(report: &mut Report) -> Result<(), String> {
    let mib = asked("BEELINE_BENCH_FILE_MIB", MIB);
    let rounds = asked("BEELINE_BENCH_FILE_ROUNDS", ROUNDS);
    let dir = tempfile::tempdir().map_err(text)?;
    let file = dir.path().join("sent");
    write_file(&file, mib)?;
    let servers = Servers::start()?;
    let mut alice = FileClient::start(None, &servers.invite, "alice", dir.path())?;
    let bob = FileClient::start(None, &servers.invite, "bob", dir.path())?;
    alice.chat("bob", WARM_UP)?;
    let (mut ours, mut bare, mut its) = (Vec::new(), Vec::new(), Vec::new());
    let mut disk = Samples::default();
    for _ in 0..rounds {
        let bare_of = |suite| Bare::connect([None; 2], "127.0.0.1", (mib, BARE_UNDER_WAY), suite);
        its.push(bare_of("its")?.transfer()?);
        bare.push(bare_of("ours")?.transfer()?);
        ours.push(transfer((&mut alice, &bob), &file, mib, false)?);
        disk.0.push(write_through(dir.path(), mib)?);
    }
    let rate = |runs: &[Run]| Samples(runs.iter().map(|run| run.mib_per_s).collect());
    let name = format!("file of {mib} MiB, from call to word");
    let ceiling = ("bare crate, 64 KiB", rate(&bare));
    report.ratio(&name, "MiB/s", rate(&ours), ceiling, Goal::AtLeast(RATIO));
    let ceiling = ("bare crate, its own suite", rate(&its));
    report.ratio("… the same", "MiB/s", rate(&ours), ceiling, Goal::Told);
    for (side, who) in ["sender", "receiver"].into_iter().enumerate() {
        let cpu = |runs: &[Run]| Samples(runs.iter().map(|run| run.cpu_s[side]).collect());
        let name = format!("… CPU of the {who}");
        let ceiling = ("bare crate", cpu(&bare));
        report.ratio(&name, "s/GiB", cpu(&ours), ceiling, Goal::Told);
    }
    for (who, pid) in [("sender", alice.pid()), ("receiver", bob.pid())] {
        let peak = Samples(vec![peak_kib(pid)? / 1_024.0]);
        let name = format!("… peak memory of the {who}");
        report.plain(&name, "MiB", peak, Goal::AtMost(PEAK_MIB));
    }
    let offered = Samples(ours.iter().map(|run| run.sent.offered_s * 1e3).collect());
    report.plain("… of this, hashing and offering", "ms", offered, Goal::Told);
    let name = "… the disk alone: written and synced";
    report.plain(name, "MiB/s", disk, Goal::Told);
    file_stages::run(report, &file)?;
    chat(report, (&mut alice, &bob), &file, (mib, rounds))
}

/// Messages, idle and beside a file.
fn chat(
    report: &mut Report,
    (alice, bob): (&mut FileClient, &FileClient),
    file: &Path,
    (mib, rounds): (u64, u64),
) -> Result<(), String> {
    let (mut idle, mut busy) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        idle.push(Samples(alice.chat("bob", IDLE)?));
        let run = transfer((&mut *alice, bob), file, mib, true)?;
        busy.push(Samples(run.sent.chat_us));
    }
    let at =
        |rounds: &[Samples], share| Samples(rounds.iter().map(|r| r.quantile(share)).collect());
    for (what, share, goal) in [("p50", 0.5, Goal::Told), ("p99", 0.99, Goal::AtMost(CHAT))] {
        let name = format!("chat beside a file, send → DELIVERED, {what}");
        let ceiling = ("idle", at(&idle, share));
        report.ratio(&name, "µs", at(&busy, share), ceiling, goal);
    }
    Ok(())
}

/// One transfer between clients, checked; what arrived is removed.
pub(crate) fn transfer(
    (alice, bob): (&mut FileClient, &FileClient),
    file: &Path,
    mib: u64,
    chat: bool,
) -> Result<Run, String> {
    let pids = [alice.pid(), bob.pid()];
    let before = cpu(pids)?;
    let sent = alice.send("bob", file, chat)?;
    let after = cpu(pids)?;
    let got = bob.inbox().join(file.file_name().unwrap_or_default());
    let len = std::fs::metadata(&got).map_err(text)?.len();
    if len != mib << 20 {
        return Err(format!("{len} bytes arrived"));
    }
    std::fs::remove_file(&got).map_err(text)?;
    Ok(run_of(mib, sent, before, after))
}

fn run_of(mib: u64, sent: Sent, before: [f64; 2], after: [f64; 2]) -> Run {
    let gib = mib as f64 / 1_024.0;
    Run {
        mib_per_s: mib as f64 / sent.took_s,
        cpu_s: [0, 1].map(|side| (after[side] - before[side]) / 1e6 / gib),
        sent,
    }
}

fn cpu(pids: [u32; 2]) -> Result<[f64; 2], String> {
    Ok([cpu_of_all_us(pids[0])?, cpu_of_all_us(pids[1])?])
}

/// Two processes of the bare crate, and a connection between them.
pub(crate) struct Bare {
    sender: Child,
    receiver: Child,
    mib: u64,
}

impl Bare {
    /// Connects them, from one address to itself or between namespaces: the second listens at `ip`,
    /// as does the first unless it is in another one. `suite` is `ours` or `its`.
    pub(crate) fn connect(
        spaces: [Option<(&Netns, &str)>; 2],
        ip: &str,
        (mib, under_way): (u64, usize),
        suite: &str,
    ) -> Result<Self, String> {
        let (bytes, under_way) = ((mib << 20).to_string(), under_way.to_string());
        let start = |side: usize| {
            let ip = spaces[side].map_or(ip, |(_, ip)| ip);
            let args = [["send", "receive"][side], &bytes, ip, &under_way, suite];
            Child::start_in(spaces[side].map(|(space, _)| space), "bare-file", &args)
        };
        let (mut sender, mut receiver) = (start(0)?, start(1)?);
        // Each says its description with all candidates: the offer is the sender's ready line.
        let answer = receiver.ask(&sender.ready)?;
        sender.ask(&answer)?;
        Ok(Self {
            sender,
            receiver,
            mib,
        })
    }

    /// As many bytes as were said.
    pub(crate) fn transfer(&mut self) -> Result<Run, String> {
        let pids = [self.sender.pid(), self.receiver.pid()];
        let (before, start) = (cpu(pids)?, now());
        let go = json!({ "go": true });
        self.receiver.tell(&go)?;
        self.sender.tell(&go)?;
        self.receiver.line()?;
        let took_s = start.elapsed().as_secs_f64();
        let after = cpu(pids)?;
        self.sender.line()?;
        let sent = Sent {
            took_s,
            ..Sent::default()
        };
        Ok(run_of(self.mib, sent, before, after))
    }
}

/// MiB a second that the disk takes, the last sync included.
fn write_through(dir: &Path, mib: u64) -> Result<f64, String> {
    let (path, start) = (dir.join("disk"), now());
    write_file(&path, mib)?;
    let took_s = start.elapsed().as_secs_f64();
    std::fs::remove_file(&path).map_err(text)?;
    Ok(mib as f64 / took_s)
}

/// Bytes that nothing can shorten.
pub(crate) fn write_file(path: &Path, mib: u64) -> Result<(), String> {
    let mut file = std::fs::File::create(path).map_err(text)?;
    let mut block = vec![0u8; 1 << 20];
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for _ in 0..mib {
        for word in block.chunks_exact_mut(8) {
            // xorshift64
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        file.write_all(&block).map_err(text)?;
    }
    file.sync_all().map_err(text)
}
