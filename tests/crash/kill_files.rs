//! `kill -9` of either side of a file that is on its way: it arrives once and whole, nothing lies
//! about, and each time no more is sent again than a window. That is counted, not timed: a process
//! notes which chunks it may send, and each time the receiver asks a new turn begins.

use crate::kill::{armed, is_sound};
use crate::process::{DEADLINE, Home, Running, Served};
use crate::table::{number, say, share_of};
use client_core::limits::FILE_WINDOW_BYTES;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use serde_json::Value;
use std::io::{BufRead as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::timeout;

/// Kills of one file in the whole run.
const KILLS: u64 = 10;

/// Size of that file in the whole run, MiB, unless `BEELINE_FILES_MIB` says otherwise.
const MIB: u64 = 1_024;

/// Size to begin with in a share of the run, MiB: three kills with a window between them fit into
/// it. A machine that is through with it before its kills gets one twice as large.
const MIB_MIN: u64 = 64;

/// A file so large is never through before its kills, MiB.
const MIB_MAX: u64 = 4_096;

/// Chunks of the size our own clients offer, bytes.
const CHUNK: u64 = 64 * 1024;

/// How often the notes of the sender are looked at. Lines about progress come four times a second:
/// a small file is through between two of them.
const LOOK: Duration = Duration::from_millis(2);

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

    fn notes(&self, pid: u32) -> PathBuf {
        self.dir.path().join("grants").join(pid.to_string())
    }
}

/// The notes of senders, one process after the other, read as they grow.
struct Notes {
    from: Option<std::io::BufReader<std::fs::File>>,
    /// A note of which the end is not there yet.
    line: String,
    path: PathBuf,
    /// The turn of this process that was noted last.
    last: Option<u64>,
    /// What might be sent in each turn: the first chunk of it and the one after the last.
    turns: Vec<(u64, u64)>,
}

impl Notes {
    fn of(path: PathBuf) -> Self {
        Self {
            from: None,
            line: String::new(),
            path,
            last: None,
            turns: Vec::new(),
        }
    }

    /// Goes on with those of the next process.
    fn then(&mut self, path: PathBuf) {
        self.read();
        *self = Self {
            turns: std::mem::take(&mut self.turns),
            ..Self::of(path)
        };
    }

    /// Reads what was added. There are none before the first chunk may be sent.
    fn read(&mut self) {
        if self.from.is_none() {
            self.from = std::fs::File::open(&self.path)
                .ok()
                .map(std::io::BufReader::new);
        }
        let Some(from) = &mut self.from else {
            return;
        };
        let line = &mut self.line;
        while from.read_line(line).expect("it can be read") > 0 && line.ends_with('\n') {
            let numbers: Vec<u64> = line
                .trim()
                .split(' ')
                .filter_map(|n| n.parse().ok())
                .collect();
            let [turn, from, count] = numbers[..] else {
                panic!("{line:?} is no note");
            };
            if self.last.replace(turn) == Some(turn) {
                let turn = self.turns.last_mut().expect("it has begun");
                turn.1 = turn.1.max(from + count);
            } else {
                self.turns.push((from, from + count));
            }
            line.clear();
        }
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

/// Reads both until each has said that the file is through.
async fn until_through(one: &mut Running, other: &mut Running) {
    let mut through = [false; 2];
    while through != [true; 2] {
        let (side, line) = tokio::select! {
            line = one.line(), if !through[0] => (0, line),
            line = other.line(), if !through[1] => (1, line),
        };
        let line = line.expect("it goes on");
        through[side] = is_through(&line);
    }
}

fn is_through(line: &Value) -> bool {
    line["event"] == "file" && line["state"] == "done"
}

/// Both sides while one of them is killed now and then, and what was noted.
struct Sides {
    sender: Running,
    receiver: Running,
    notes: Notes,
}

impl Sides {
    /// Waits until a turn begins after so many kills and so many bytes may have been sent; `false`
    /// if the file is through before.
    async fn until(&mut self, kills: u64, at: u64) -> bool {
        let reached = timeout(DEADLINE, self.reached(kills, at)).await;
        reached.unwrap_or_else(|_| {
            let stories = [&self.sender, &self.receiver].map(Running::story);
            panic!("it does not go on: {}", stories.join("\n"))
        })
    }

    async fn reached(&mut self, kills: u64, at: u64) -> bool {
        loop {
            self.notes.read();
            let turns = &self.notes.turns;
            let sent = turns.last().is_some_and(|(_, next)| next * CHUNK > at);
            if sent && turns.len() as u64 > kills {
                return true;
            }
            // Neither must stand still for want of a reader. What is read in part stays readable.
            let line = async {
                tokio::select! {
                    line = self.sender.line() => line,
                    line = self.receiver.line() => line,
                }
            };
            if let Ok(line) = timeout(LOOK, line).await
                && is_through(&line.expect("it goes on"))
            {
                let noted = !self.notes.turns.is_empty();
                assert!(
                    noted,
                    "nothing is noted: was the program built with the tests?"
                );
                return false;
            }
        }
    }

    async fn kill(&mut self, scene: &Scene, is_sender: bool) {
        if is_sender {
            self.sender.kill_now().await;
            self.sender = scene.sender();
            self.notes.then(scene.notes(self.sender.pid()));
        } else {
            self.receiver.kill_now().await;
            self.receiver = scene.receiver();
        }
    }
}

/// Kills one side or the other of a file of so many MiB, so often: the chunks sent again at each
/// new turn. `None` if it was through before.
async fn kill(kills: u64, mib: u64, rng: &mut ChaCha8Rng) -> Option<Vec<u64>> {
    let scene = Scene::new(mib << 20).await;
    let mut sender = scene.sender();
    sender.event("online").await;
    scene.offer().await;
    let mut sides = Sides {
        notes: Notes::of(scene.notes(sender.pid())),
        sender,
        receiver: scene.receiver(),
    };
    let slice = (mib << 20) / (kills + 1);
    for kill in 0..kills {
        // Somewhere in its part of the file.
        let at = kill * slice + rng.next_u64() % slice;
        if !sides.until(kill, at).await {
            say(&format!("  {mib} MiB were through after {kill} kills"));
            return None;
        }
        sides.kill(&scene, rng.next_u64().is_multiple_of(2)).await;
        say(&format!("  killed at {at:>11}"));
    }
    if !sides.until(kills, 0).await {
        say(&format!("  {mib} MiB were through when the last kill came"));
        return None;
    }
    let Sides {
        mut sender,
        mut receiver,
        mut notes,
    } = sides;
    until_through(&mut receiver, &mut sender).await;
    sender.terminate().await.expect_code(0);
    receiver.terminate().await.expect_code(0);
    scene.check();
    notes.read();
    scene.served.running.terminate().await.expect_code(0);
    let pairs = notes.turns.windows(2);
    let again = pairs.map(|pair| pair[0].1.saturating_sub(pair[1].0));
    Some(again.collect())
}

#[tokio::test]
async fn a_file_survives_kills_of_either_side_at_any_moment() {
    let seed = number("BEELINE_CRASH_SEED").unwrap_or(1);
    let kills = share_of(KILLS, 3);
    let mut mib = number("BEELINE_FILES_MIB").unwrap_or(share_of(MIB, MIB_MIN));
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let again = loop {
        say(&format!(
            "{kills} kills of one file of {mib} MiB: BEELINE_CRASH_SEED={seed}"
        ));
        if let Some(again) = kill(kills, mib, &mut rng).await {
            break again;
        }
        mib *= 2;
        assert!(mib <= MIB_MAX, "no kill comes in time");
    };
    say(&format!("  chunks sent again at each new turn: {again:?}"));
    assert!(again.len() as u64 >= kills, "each kill begins a new turn");
    let window = FILE_WINDOW_BYTES / CHUNK;
    assert!(
        again.iter().all(|chunks| *chunks <= window),
        "a window is {window}"
    );
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
