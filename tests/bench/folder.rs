//! A folder of many small files between two clients, beside copying it on the same disk.

use crate::file::asked;
use crate::file_client::FileClient;
use crate::measure::{Goal, Report, Samples, now, text};
use crate::servers::Servers;
use std::fs::File;
use std::path::Path;

/// Rounds.
const ROUNDS: usize = 5;
/// Files, unless `BEELINE_BENCH_FOLDER_FILES` says otherwise, and the bytes of each.
const FILES: u64 = 10_000;
const LEN: usize = 1_024;
/// Files in one directory.
const IN_ONE: u64 = 500;
/// Files a second.
const RATE: f64 = 500.0;

/// Reports it.
pub(crate) fn run(report: &mut Report) -> Result<(), String> {
    let files = asked("BEELINE_BENCH_FOLDER_FILES", FILES);
    let dir = tempfile::tempdir().map_err(text)?;
    let folder = dir.path().join("folder");
    for number in 0..files {
        let inner = folder.join(format!("{:03}", number / IN_ONE));
        std::fs::create_dir_all(&inner).map_err(text)?;
        let bytes = [number as u8; LEN];
        std::fs::write(inner.join(format!("{number:06}")), bytes).map_err(text)?;
    }
    let servers = Servers::start()?;
    let mut alice = FileClient::start(None, &servers.invite, "alice", dir.path())?;
    let bob = FileClient::start(None, &servers.invite, "bob", dir.path())?;
    alice.chat("bob", 10)?;
    let (mut ours, mut copied) = (Samples::default(), Samples::default());
    for _ in 0..ROUNDS {
        let to = dir.path().join("copy");
        copied.0.push(files as f64 / copy(&folder, &to)?);
        std::fs::remove_dir_all(&to).map_err(text)?;
        let sent = alice.send("bob", &folder, false)?;
        ours.0.push(files as f64 / sent.took_s);
        let got = bob.inbox().join("folder");
        let count = count(&got)?;
        if count != files {
            return Err(format!("{count} files arrived"));
        }
        std::fs::remove_dir_all(&got).map_err(text)?;
    }
    let name = format!("folder of {files} files of 1 KiB");
    report.plain(&name, "files/s", ours.clone(), Goal::AtLeast(RATE));
    let ceiling = ("copied and synced here", copied);
    report.ratio("… the same", "files/s", ours, ceiling, Goal::Told);
    Ok(())
}

/// Copies a folder of folders and syncs its file system; seconds.
fn copy(from: &Path, to: &Path) -> Result<f64, String> {
    let start = now();
    for inner in std::fs::read_dir(from).map_err(text)? {
        let inner = inner.map_err(text)?;
        let target = to.join(inner.file_name());
        std::fs::create_dir_all(&target).map_err(text)?;
        for file in std::fs::read_dir(inner.path()).map_err(text)? {
            let file = file.map_err(text)?;
            std::fs::copy(file.path(), target.join(file.file_name())).map_err(text)?;
        }
    }
    let dir = File::open(to).map_err(text)?;
    rustix::fs::syncfs(&dir).map_err(text)?;
    Ok(start.elapsed().as_secs_f64())
}

fn count(folder: &Path) -> Result<u64, String> {
    let mut count = 0;
    for inner in std::fs::read_dir(folder).map_err(text)? {
        let inner = inner.map_err(text)?;
        count += std::fs::read_dir(inner.path()).map_err(text)?.count() as u64;
    }
    Ok(count)
}
