//! A file between two processes: hashed, read, sealed, sent, opened, proved, written and synced,
//! beside the bare tuned crate, which only moves as many bytes; and chat while a file runs.
//!
//! Neither side is bound to a core: link and disk have a thread each, as in a client.

use crate::measure::{Goal, Report, Samples, now, text};
use crate::proc::{cpu_us, peak_kib};
use crate::role::Child;
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::Path;

/// Rounds of each contestant, in turn.
const ROUNDS: usize = 3;
/// Size of the file, MiB, unless `BEELINE_BENCH_FILE_MIB` says otherwise.
const MIB: u64 = 1_024;
/// Ours over the bare crate's.
const RATIO: f64 = 0.8;
/// Chat beside a file over idle chat.
const CHAT: f64 = 5.0;
/// Memory of each side, MiB, whatever the size.
const PEAK_MIB: f64 = 64.0;

/// What one transfer showed.
struct Run {
    mib_per_s: f64,
    /// Of sender and receiver, for each GiB.
    cpu_s: [f64; 2],
    peak_mib: [f64; 2],
    /// What the receiver said.
    done: Value,
    /// What the sender said.
    sent: Value,
}

/// Reports all of it.
pub(crate) fn run(report: &mut Report) -> Result<(), String> {
    let said = std::env::var("BEELINE_BENCH_FILE_MIB");
    let mib = said.ok().and_then(|mib| mib.parse().ok()).unwrap_or(MIB);
    let dir = tempfile::tempdir().map_err(text)?;
    let file = dir.path().join("sent");
    write_file(&file, mib)?;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare.push(transfer("bare-file", mib, &[])?);
        ours.push(receive(&file, mib, false)?);
    }
    let rate = |runs: &[Run]| Samples(runs.iter().map(|run| run.mib_per_s).collect());
    let name = format!("file of {mib} MiB");
    let ceiling = ("bare crate, 64 KiB", rate(&bare));
    report.ratio(&name, "MiB/s", rate(&ours), ceiling, Goal::AtLeast(RATIO));
    for (side, who) in ["sender", "receiver"].into_iter().enumerate() {
        let cpu = |runs: &[Run]| Samples(runs.iter().map(|run| run.cpu_s[side]).collect());
        let name = format!("… CPU of the {who}");
        report.ratio(
            &name,
            "s/GiB",
            cpu(&ours),
            ("bare crate", cpu(&bare)),
            Goal::Told,
        );
        let peak = Samples(ours.iter().map(|run| run.peak_mib[side]).collect());
        let name = format!("… peak memory of the {who}");
        report.plain(&name, "MiB", peak, Goal::AtMost(PEAK_MIB));
    }
    for (name, from, member) in [
        ("… hashing before it", 0, "hashing_ms"),
        ("… naming and last sync", 1, "finish_ms"),
    ] {
        let figure = |run: &Run| [&run.sent, &run.done][from][member].as_f64();
        let figures = ours.iter().filter_map(figure).collect();
        report.plain(name, "ms", Samples(figures), Goal::Told);
    }
    chat(report, &file, mib)
}

/// Round trips of 200 bytes, idle and beside a file.
fn chat(report: &mut Report, file: &Path, mib: u64) -> Result<(), String> {
    let (mut idle, mut busy) = <(Samples, Samples)>::default();
    for _ in 0..ROUNDS {
        let run = receive(file, mib, true)?;
        let p99 = |member: &str| {
            let trips = run.sent[member].as_array().ok_or("no round trips")?;
            let trips = Samples(trips.iter().filter_map(Value::as_f64).collect());
            Ok::<f64, String>(trips.quantile(0.99))
        };
        idle.0.push(p99("idle_us")?);
        busy.0.push(p99("busy_us")?);
    }
    let name = "chat beside a file, round trip p99";
    report.ratio(name, "µs", busy, ("idle", idle), Goal::AtMost(CHAT));
    Ok(())
}

/// One transfer of ours, checked.
fn receive(file: &Path, mib: u64, chat: bool) -> Result<Run, String> {
    let inbox = tempfile::tempdir_in(file.parent().unwrap_or(file)).map_err(text)?;
    let paths = [file, inbox.path()].map(|path| path.display().to_string());
    let run = transfer("our-file", mib, &[&paths[0], &paths[1], &chat.to_string()])?;
    let got = std::fs::metadata(inbox.path().join("sent")).map_err(text)?;
    if got.len() != mib << 20 {
        return Err(format!("{} bytes arrived", got.len()));
    }
    Ok(run)
}

fn transfer(role: &str, mib: u64, more: &[&str]) -> Result<Run, String> {
    let bytes = (mib << 20).to_string();
    let start = |side| Child::start_anywhere(role, &[&[side, bytes.as_str()], more].concat());
    let (mut sender, mut receiver) = (start("send")?, start("receive")?);
    // Each says its description with all candidates: the offer is the sender's ready line.
    let answer = receiver.ask(&sender.ready)?;
    sender.ask(&answer)?;
    let pids = [sender.pid(), receiver.pid()];
    let cpu = || Ok::<_, String>([cpu_us(pids[0])?, cpu_us(pids[1])?]);
    if role == "our-file" {
        sender.ask(&json!({ "ping": true }))?;
    }
    let (before, start) = (cpu()?, now());
    receiver.tell(&json!({ "go": true }))?;
    sender.tell(&json!({ "go": true }))?;
    let done = receiver.line()?;
    let took = start.elapsed().as_secs_f64();
    let after = cpu()?;
    let peak_mib = [peak_kib(pids[0])? / 1_024.0, peak_kib(pids[1])? / 1_024.0];
    let gib = mib as f64 / 1_024.0;
    Ok(Run {
        mib_per_s: mib as f64 / took,
        cpu_s: [0, 1].map(|side| (after[side] - before[side]) / 1e6 / gib),
        peak_mib,
        done,
        sent: sender.line()?,
    })
}

/// Bytes that nothing can shorten.
fn write_file(path: &Path, mib: u64) -> Result<(), String> {
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
