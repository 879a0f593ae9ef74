//! A disk that fills while a file comes: what came is kept, both sides are told why it waits, and
//! it goes on when there is room. The disk is a small file system in memory, so this needs root, as
//! other tests do.

use crate::files::{Scene, content, text};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Size of the file system, MiB: the room a receiver leaves free, the file, and a little.
const DISK_MIB: usize = 64 + FILE_MIB + 12;

/// Size of the file, MiB.
const FILE_MIB: usize = 48;

/// A small disk; gone with the value.
struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    fn mount(path: &Path) -> Self {
        std::fs::create_dir_all(path).expect("made");
        let size = format!("size={DISK_MIB}m");
        let mount = ["-t", "tmpfs", "-o", &size, "small"];
        let done = Command::new("mount").args(mount).arg(path).status();
        assert!(done.expect("there is mount").success(), "this needs root");
        let path = path.to_owned();
        Self { path }
    }

    /// Takes all the room there is.
    fn fill(&self) -> PathBuf {
        let path = self.path.join("somebody else's");
        let more = content(1 << 20, 9);
        let mut file = std::fs::File::create(&path).expect("made");
        while std::io::Write::write_all(&mut file, &more).is_ok() {}
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Also where the test fails and somebody still has it open.
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

fn waits(line: &Value) -> bool {
    line["event"] == "file" && line["state"] == "waiting"
}

#[tokio::test]
async fn a_full_disk_is_waited_for() {
    let scene = Scene::set().await;
    let disk = SmallDisk::mount(&scene.inbox);
    let bytes = content(FILE_MIB << 20, 4);
    let path = scene.file("image.iso", &bytes);
    let mut listen = scene.listening().await;
    let send = ["send-file", "carol", &path, "--timeout", "80s"];
    let mut send = scene.alice.start(&send);
    let some = |line: &Value| line["done"].as_u64().is_some_and(|done| done > 1 << 20);
    listen.until("that some of it is there", some).await;
    let filler = disk.fill();
    for (side, running) in [("receiver", &mut listen), ("sender", &mut send)] {
        let line = running.until("why it waits", waits).await;
        assert_eq!(line["reason"], "NO_ROOM", "{side}");
        assert!(!line["detail"].as_str().unwrap_or_default().is_empty());
    }
    let parts = std::fs::read_dir(scene.inbox.join(".beeline-parts")).expect("listed");
    assert!(parts.count() >= 2, "what came is kept");
    assert!(!scene.inbox.join("image.iso").exists());
    std::fs::remove_file(filler).expect("removed");
    let arrived = scene.received(&mut listen).await;
    assert!(std::fs::read(&arrived).expect("read") == bytes);
    send.end().await.expect_code(0);
    // One that never had room is declined, with its reason, and harms nobody.
    let large = scene.file("larger", &content(20 << 20, 5));
    let refused = scene.alice.run(&["send-file", "carol", &large]).await;
    refused.expect_code(1);
    let ended = |line: &&&Value| line["state"] == "ended";
    let lines = refused.all("file");
    let ended = lines.iter().find(ended).expect("it says so");
    assert_eq!(ended["reason"], "NO_ROOM");
    let small = scene.file("small", b"small");
    let sent = scene.alice.run(&["send-file", "carol", &small]).await;
    sent.expect_code(0);
    scene.received(&mut listen).await;
    listen.terminate().await.expect_code(0);
    assert!(text(&arrived).ends_with("image.iso"));
}
