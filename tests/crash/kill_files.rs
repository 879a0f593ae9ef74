//! `kill -9` of either side of a file that is on its way: it arrives once and whole, nothing lies
//! about, and each time no more is sent again than a window. That is counted, not timed: a process
//! notes which chunks it may send, and each time the receiver asks a new turn begins.

use crate::kill::{armed, is_sound};
use crate::process::{Home, Running, Served};
use crate::table::{number, say, share_of};
use client_core::limits::FILE_WINDOW_BYTES;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use serde_json::Value;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::timeout;

/// Kills of one file in the whole run.
const KILLS: u64 = 10;

/// Size of that file in the whole run, MiB, unless `BEELINE_FILES_MIB` says otherwise.
const MIB: u64 = 1_024;

/// The least it may have: enough for three kills with a window between them.
const MIB_MIN: u64 = 32;

/// Chunks of the size our own clients offer, bytes.
const CHUNK: u64 = 64 * 1024;

/// Longest wait for the moment of a kill after its place in the file, milliseconds.
const MOMENT_MS: u64 = 40;

/// Places of a receiver, and for the how-manieth time it ends there.
const RECEIVER: &[(&str, u64)] = &[
    ("file.written", 15),
    ("file.noted", 15),
    ("file.synced", 1),
    ("place", 1),
    ("placed", 1),
];

/// Two people, a file, and where it goes.
struct Scene {
    served: Served,
    alice: Home,
    carol: Home,
    dir: TempDir,
    file: PathBuf,
}

impl Scene {
    async fn new(bytes: u64) -> Self {
        let served = Served::start(&[]).await;
        let alice = Home::joined(served.invite(), "alice", &[]).await;
        let carol = Home::joined(served.invite(), "carol", &[]).await;
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["in", "grants"] {
            std::fs::create_dir(dir.path().join(name)).expect("made");
        }
        let file = dir.path().join("image.iso");
        fill(&file, bytes);
        Self {
            served,
            alice,
            carol,
            dir,
            file,
        }
    }

    fn inbox(&self) -> String {
        self.dir.path().join("in").display().to_string()
    }

    /// Alice, noting what she may send.
    fn sender(&self) -> Running {
        let mut command = self.alice.command(&["run"]);
        command.env("BEELINE_GRANTS_IN", self.dir.path().join("grants"));
        Running::start(command)
    }

    /// Asks Alice to offer the file, and leaves it to her.
    async fn offer(&self) {
        let path = self.file.display().to_string();
        let offer = ["send-file", "carol", &path, "--timeout", "1ms"];
        self.alice.run(&offer).await.expect_code(4);
    }

    fn receiver(&self) -> Running {
        self.carol.start(&["listen", "--files", &self.inbox()])
    }

    /// The file is there, once, and nothing else; both homes are sound.
    fn check(&self) {
        let inbox = self.dir.path().join("in");
        assert!(same(&self.file, &inbox.join("image.iso")), "another file");
        let names = std::fs::read_dir(&inbox).expect("listed");
        let names: Vec<_> = names.map(|e| e.expect("an entry").file_name()).collect();
        assert_eq!(
            names.len(),
            2,
            "the file and the folder for parts: {names:?}"
        );
        let parts = std::fs::read_dir(inbox.join(".beeline-parts")).expect("listed");
        assert_eq!(parts.count(), 0, "parts lie about");
        is_sound(&self.alice);
        is_sound(&self.carol);
    }

    /// The chunks sent again at each new turn of a sender, whose processes were these.
    fn again(&self, pids: &[u32]) -> Vec<u64> {
        let mut turns: Vec<(u64, u64)> = Vec::new();
        for pid in pids {
            let notes = self.dir.path().join("grants").join(pid.to_string());
            let notes = std::fs::read_to_string(notes).unwrap_or_default();
            let mut last = None;
            for line in notes.lines() {
                let numbers: Vec<u64> = line.split(' ').filter_map(|n| n.parse().ok()).collect();
                let [turn, from, count] = numbers[..] else {
                    panic!("{line:?} is no note");
                };
                if last.replace(turn) == Some(turn) {
                    let turn = turns.last_mut().expect("it has begun");
                    turn.1 = turn.1.max(from + count);
                } else {
                    turns.push((from, from + count));
                }
            }
        }
        let pairs = turns.windows(2);
        pairs
            .map(|pair| pair[0].1.saturating_sub(pair[1].0))
            .collect()
    }
}

/// Bytes that nothing can shorten.
fn fill(path: &Path, bytes: u64) {
    let mut file = std::fs::File::create(path).expect("made");
    let mut rng = ChaCha8Rng::seed_from_u64(bytes);
    let mut block = vec![0; 1 << 20];
    let mut left = bytes;
    while left > 0 {
        let len = usize::try_from(left).map_or(block.len(), |left| left.min(block.len()));
        rng.fill_bytes(&mut block[..len]);
        file.write_all(&block[..len]).expect("written");
        left -= len as u64;
    }
}

/// Whether two files are the same, byte for byte.
fn same(one: &Path, other: &Path) -> bool {
    let status = std::process::Command::new("cmp")
        .arg(one)
        .arg(other)
        .status();
    status.expect("there is cmp").success()
}

/// How far a line says the file is.
fn done(line: &Value) -> Option<u64> {
    let moving = line["event"] == "file" && line["state"] == "moving";
    line["done"].as_u64().filter(|_| moving)
}

/// Reads both until each has said that the file is through.
async fn until_through(one: &mut Running, other: &mut Running) {
    let mut through = [false; 2];
    while through != [true; 2] {
        let (side, line) = tokio::select! {
            line = one.line(), if !through[0] => (0, line),
            line = other.line(), if !through[1] => (1, line),
        };
        let line = line.expect("it goes on");
        through[side] = line["event"] == "file" && line["state"] == "done";
    }
}

/// Reads both until the watched one says so; the other must not stand still for want of a reader.
async fn until(watched: &mut Running, other: &mut Running, fits: impl Fn(&Value) -> bool) -> Value {
    loop {
        tokio::select! {
            line = watched.line() => {
                let line = line.expect("it goes on");
                if fits(&line) {
                    return line;
                }
            }
            line = other.line() => drop(line.expect("it goes on")),
        }
    }
}

/// Lets it run on for a moment.
async fn moment(running: &mut Running, ms: u64) {
    let on = async { while running.line().await.is_some() {} };
    // That it does not end is the point.
    let _ = timeout(Duration::from_millis(ms), on).await;
}

#[tokio::test]
async fn a_file_survives_kills_of_either_side_at_any_moment() {
    let seed = number("BEELINE_CRASH_SEED").unwrap_or(1);
    let kills = share_of(KILLS, 3);
    let mib = number("BEELINE_FILES_MIB").unwrap_or(share_of(MIB, MIB_MIN));
    say(&format!(
        "{kills} kills of one file of {mib} MiB: BEELINE_CRASH_SEED={seed}"
    ));
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let scene = Scene::new(mib << 20).await;
    let mut sender = scene.sender();
    sender.event("online").await;
    scene.offer().await;
    let mut pids = vec![sender.pid()];
    let mut receiver = scene.receiver();
    let slice = (mib << 20) / (kills + 1);
    for kill in 0..kills {
        // Somewhere in its part of the file, and then a moment later.
        let at = kill * slice + rng.next_u64() % slice;
        let there = |line: &Value| done(line).is_some_and(|done| done >= at);
        until(&mut receiver, &mut sender, there).await;
        moment(&mut receiver, rng.next_u64() % MOMENT_MS).await;
        let fresh = if rng.next_u64() % 2 == 0 {
            sender.kill().await;
            sender = scene.sender();
            pids.push(sender.pid());
            until(&mut sender, &mut receiver, |line| done(line).is_some()).await
        } else {
            receiver.kill().await;
            receiver = scene.receiver();
            until(&mut receiver, &mut sender, |line| done(line).is_some()).await
        };
        let kept = done(&fresh).unwrap_or(0);
        say(&format!("  killed at {at:>11}, goes on at {kept:>11}"));
    }
    until_through(&mut receiver, &mut sender).await;
    let again = scene.again(&pids);
    say(&format!("  chunks sent again at each new turn: {again:?}"));
    assert!(again.len() as u64 >= kills, "each kill begins a new turn");
    let window = FILE_WINDOW_BYTES / CHUNK;
    assert!(
        again.iter().all(|chunks| *chunks <= window),
        "a window is {window}"
    );
    sender.terminate().await.expect_code(0);
    receiver.terminate().await.expect_code(0);
    scene.check();
    scene.served.running.terminate().await.expect_code(0);
}

#[tokio::test]
async fn a_receiver_may_be_killed_at_each_step_of_a_file() {
    for (place, times) in RECEIVER {
        let scene = Scene::new(3 << 20).await;
        let mut sender = scene.sender();
        sender.event("online").await;
        scene.offer().await;
        let listen = ["listen", "--files", &scene.inbox()];
        let receiver = armed(&scene.carol, &listen, place, *times);
        let killed = receiver.end().await;
        assert!(killed.was_killed(), "{place} is never reached: {killed}");
        let mut receiver = scene.receiver();
        until_through(&mut receiver, &mut sender).await;
        sender.terminate().await.expect_code(0);
        receiver.terminate().await.expect_code(0);
        scene.check();
    }
}
