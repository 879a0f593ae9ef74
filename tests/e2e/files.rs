//! Files between two homes on one machine: whole, private, resumed after `kill -9` of either side.

use crate::process::{Home, Running, Served};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Large enough to be stopped on its way, bytes: lines about progress come four times a second.
pub(crate) const LARGE: usize = 192 * 1024 * 1024;

/// Bytes that are the same in every run and compress badly.
pub(crate) fn content(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let words = std::iter::repeat_with(next).flat_map(u64::to_le_bytes);
    words.take(len).collect()
}

/// What is sent, where it is to go, and who sends.
pub(crate) struct Scene {
    _served: Served,
    pub(crate) alice: Home,
    pub(crate) carol: Home,
    _dir: TempDir,
    /// Where what is sent lies.
    pub(crate) out: PathBuf,
    /// Where it is received.
    pub(crate) inbox: PathBuf,
}

impl Scene {
    pub(crate) async fn set() -> Self {
        let served = Served::start(&[]).await;
        let alice = Home::joined(served.invite(), "alice", &[]).await;
        let carol = Home::joined(served.invite(), "carol", &[]).await;
        let dir = tempfile::tempdir().expect("a directory");
        let (out, inbox) = (dir.path().join("out"), dir.path().join("in"));
        std::fs::create_dir(&out).expect("made");
        Self {
            _served: served,
            alice,
            carol,
            _dir: dir,
            out,
            inbox,
        }
    }

    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.out.join(name);
        std::fs::write(&path, bytes).expect("written");
        text(&path)
    }

    pub(crate) async fn listening(&self) -> Running {
        let inbox = text(&self.inbox);
        self.carol.listening(&["--files", &inbox]).await
    }

    /// Waits until the listener says that a file is in its place; where.
    pub(crate) async fn received(&self, listen: &mut Running) -> PathBuf {
        let done = |line: &serde_json::Value| line["event"] == "file" && line["state"] == "done";
        let line = listen.until("the file", done).await;
        PathBuf::from(line["path"].as_str().expect("a path"))
    }
}

pub(crate) fn text(path: &Path) -> String {
    path.to_str().expect("a path of words").to_owned()
}

pub(crate) fn mode(path: &Path) -> u32 {
    let meta = std::fs::metadata(path).expect("it is there");
    meta.permissions().mode() & 0o777
}

/// Nothing but what arrived, and the folder for what has not, which is empty.
pub(crate) fn assert_tidy(inbox: &Path, files: usize) {
    let entries = std::fs::read_dir(inbox).expect("listed");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let (hidden, seen): (Vec<_>, Vec<_>) =
        names.partition(|name| name.to_string_lossy().starts_with('.'));
    assert_eq!(seen.len(), files, "{seen:?}");
    for name in hidden {
        let parts = std::fs::read_dir(inbox.join(name)).expect("listed");
        assert_eq!(parts.count(), 0, "parts lie about");
    }
}

#[tokio::test]
async fn a_file_arrives_whole_and_is_ours_alone() {
    let scene = Scene::set().await;
    let bytes = content(3 * 1024 * 1024 + 7, 1);
    let path = scene.file("holiday.mov", &bytes);
    let empty = scene.file("nothing", b"");
    let mut listen = scene.listening().await;
    let sent = scene
        .alice
        .run(&["send-file", "carol", &path, &empty])
        .await;
    sent.expect_code(0);
    let summary = sent.only("files");
    assert_eq!(
        (&summary["sent"], &summary["failed"]),
        (&2.into(), &0.into())
    );
    let first = scene.received(&mut listen).await;
    let second = scene.received(&mut listen).await;
    for path in [&first, &second] {
        assert!(
            path.starts_with(&scene.inbox) && mode(path) == 0o600,
            "{path:?}"
        );
    }
    assert_eq!(
        std::fs::read(scene.inbox.join("holiday.mov")).expect("read"),
        bytes
    );
    // The same name again: nothing is overwritten.
    scene
        .alice
        .run(&["send-file", "carol", &path])
        .await
        .expect_code(0);
    let third = scene.received(&mut listen).await;
    assert!(![first, second].contains(&third));
    listen.terminate().await.expect_code(0);
    assert_tidy(&scene.inbox, 3);
}

#[tokio::test]
async fn the_message_that_offers_a_file_says_what_it_is_and_is_shown_once() {
    let scene = Scene::set().await;
    let path = scene.file("letter.txt", b"Dear Carol");
    let mut listen = scene.listening().await;
    scene
        .alice
        .run(&["send-file", "carol", &path])
        .await
        .expect_code(0);
    let first = listen.event("message").await;
    assert_eq!(first["offer"], true, "{first}");
    let file = &first["file"];
    assert_eq!(
        (&file["name"], &file["size"]),
        (&"letter.txt".into(), &10.into())
    );
    listen.terminate().await.expect_code(0);
    // Another comes while nobody looks: it is shown later, with where it is, and the first is not.
    let inbox = text(&scene.inbox);
    let mut run = scene.carol.start(&["run", "--files", &inbox]);
    run.event("online").await;
    scene
        .alice
        .run(&["send-file", "carol", &path])
        .await
        .expect_code(0);
    run.terminate().await.expect_code(0);
    // A text that only looks like an offer is a text, and is counted as one.
    let listen = scene.carol.listening(&["--count", "1"]).await;
    scene
        .alice
        .run(&["send", "carol", "[file] typed"])
        .await
        .expect_code(0);
    let listen = listen.end().await;
    listen.expect_code(0);
    let shown = listen.all("message");
    assert_eq!(shown.len(), 2, "{listen}");
    assert_ne!(shown[0]["id"], first["id"]);
    let file = &shown[0]["file"];
    assert_eq!(file["state"], "done", "{listen}");
    assert!(Path::new(file["path"].as_str().expect("a path")).is_file());
    assert_eq!(
        (&shown[1]["text"], shown[1].get("file")),
        (&"[file] typed".into(), None)
    );
}

#[tokio::test]
async fn a_folder_arrives_as_one() {
    let scene = Scene::set().await;
    for n in 0..200u64 {
        let dir = scene.out.join(format!("photos/{}", n % 7));
        std::fs::create_dir_all(&dir).expect("made");
        std::fs::write(dir.join(format!("{n}.jpg")), content(n as usize * 10, n)).expect("written");
    }
    let mut listen = scene.listening().await;
    let path = text(&scene.out.join("photos"));
    scene
        .alice
        .run(&["send-file", "carol", &path])
        .await
        .expect_code(0);
    let folder = scene.received(&mut listen).await;
    for n in 0..200u64 {
        let bytes = std::fs::read(folder.join(format!("{}/{n}.jpg", n % 7))).expect("it is there");
        assert_eq!(bytes, content(n as usize * 10, n));
    }
    listen.terminate().await.expect_code(0);
}

#[tokio::test]
async fn a_file_goes_on_where_it_was_after_kills_of_either_side() {
    let scene = Scene::set().await;
    let bytes = content(LARGE, 3);
    let path = scene.file("image.iso", &bytes);
    let listen = scene.listening().await;
    let mut send = scene
        .alice
        .start(&["send-file", "carol", &path, "--timeout", "2m"]);
    let moving = |line: &serde_json::Value| line["event"] == "file" && line["state"] == "moving";
    send.until("that it moves", moving).await;
    send.kill().await;
    let mut run = scene.alice.start(&["run"]);
    run.until("that it moves again", moving).await;
    listen.kill().await;
    let mut listen = scene.listening().await;
    let arrived = scene.received(&mut listen).await;
    assert!(
        std::fs::read(&arrived).expect("read") == bytes,
        "it is another file"
    );
    let done = |line: &serde_json::Value| line["event"] == "file" && line["state"] == "done";
    run.until("that it is through", done).await;
    run.terminate().await.expect_code(0);
    listen.terminate().await.expect_code(0);
    assert_tidy(&scene.inbox, 1);
}

#[tokio::test]
async fn files_go_through_the_owner_of_the_home_and_wait_for_who_is_away() {
    let scene = Scene::set().await;
    let path = scene.file("letter.txt", b"Dear Carol");
    let mut run = scene.alice.start(&["run"]);
    run.event("online").await;
    let waits = ["send-file", "carol", &path, "--timeout", "2s"];
    let sent = scene.alice.run(&waits).await;
    sent.expect_code(4);
    assert_eq!(sent.only("files")["waiting"], 1);
    let mut listen = scene.listening().await;
    let arrived = scene.received(&mut listen).await;
    assert_eq!(std::fs::read(&arrived).expect("read"), b"Dear Carol");
    scene
        .alice
        .run(&["send-file", "carol", &path])
        .await
        .expect_code(0);
    run.terminate().await.expect_code(0);
    listen.terminate().await.expect_code(0);
}

#[tokio::test]
async fn what_is_too_large_or_not_there_is_refused_with_words() {
    let scene = Scene::set().await;
    let inbox = text(&scene.inbox);
    let limits = ["--files", &inbox, "--file-max", "1KiB"];
    let listen = scene.carol.listening(&limits).await;
    let path = scene.file("large", &content(2_000, 5));
    let sent = scene.alice.run(&["send-file", "carol", &path]).await;
    sent.expect_code(1);
    let ended = sent
        .all("file")
        .into_iter()
        .find(|line| line["state"] == "ended");
    assert_eq!(ended.expect("it says so")["reason"], "TOO_LARGE");
    let missing = text(&scene.out.join("missing"));
    let sent = scene.alice.run(&["send-file", "carol", &missing]).await;
    sent.expect_code(1);
    assert!(sent.stderr().contains("missing"), "{sent}");
    listen.terminate().await.expect_code(0);
    assert_tidy(&scene.inbox, 0);
}
