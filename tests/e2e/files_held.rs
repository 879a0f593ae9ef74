//! Files that people hold back, give up, take and refuse, by the commands they type: through the
//! owner of the home and alone, over restarts of either side.

use crate::devices::until_some;
use crate::files::LARGE;
use crate::process::{Done, Home, Running, Served, binary, signal};
use serde_json::Value;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokio::process::Command;

struct Scene {
    _served: Served,
    alice: Home,
    carol: Home,
    dir: TempDir,
    inbox: PathBuf,
}

impl Scene {
    async fn set() -> Self {
        let served = Served::start(&[]).await;
        let alice = Home::joined(served.invite(), "alice", &[]).await;
        let carol = Home::joined(served.invite(), "carol", &[]).await;
        let dir = tempfile::tempdir().expect("a directory");
        let inbox = dir.path().join("in");
        Self {
            _served: served,
            alice,
            carol,
            dir,
            inbox,
        }
    }

    /// A file of so many bytes, no two chunks the same.
    fn file(&self, name: &str, len: usize) -> String {
        let path = self.dir.path().join(name);
        let mut bytes = vec![7; len];
        for (n, chunk) in (0u64..).zip(bytes.chunks_mut(4_096)) {
            let number = n.to_le_bytes();
            let fits = number.len().min(chunk.len());
            chunk[..fits].copy_from_slice(&number[..fits]);
        }
        std::fs::write(&path, bytes).expect("written");
        path.to_str().expect("words").to_owned()
    }

    fn inbox(&self) -> &str {
        self.inbox.to_str().expect("words")
    }

    async fn listening(&self) -> Running {
        self.carol.listening(&["--files", self.inbox()]).await
    }

    /// Alice runs, and Carol gets a large file that is stopped on its way: its id.
    async fn moving(&self) -> (Running, Running, String) {
        let path = self.file("big", LARGE);
        let listen = self.listening().await;
        let mut run = self.alice.start(&["run"]);
        run.event("online").await;
        let mut send = self
            .alice
            .start(&["send-file", "carol", &path, "--timeout", "2m"]);
        let moves = |line: &Value| line["done"].as_u64().is_some_and(|done| done > 8 << 20);
        let line = send.until("that it moves", moves).await;
        let id = line["id"].as_str().expect("an id").to_owned();
        // Through the socket: it ends and what is offered goes on.
        signal(send.pid(), "INT").await;
        let sent = send.end().await;
        if sent.all("files")[0]["waiting"] == 1 {
            sent.expect_code(4);
            assert!(sent.stderr().contains("beeline files cancel"), "{sent}");
        }
        (run, listen, id)
    }
}

/// The one file a command told of.
fn one(done: &Done) -> &Value {
    done.expect_code(0);
    done.only("file")
}

fn state(line: &Value) -> &str {
    line["state"].as_str().expect("a state")
}

fn is_state<'a>(id: &'a str, state: &'a str) -> impl Fn(&Value) -> bool + 'a {
    move |line| line["event"] == "file" && line["id"] == id && line["state"] == state
}

/// How many parts lie in the folder for files.
fn parts(inbox: &Path) -> usize {
    let parts = std::fs::read_dir(inbox.join(".beeline-parts"));
    parts.map_or(0, Iterator::count)
}

#[tokio::test]
async fn a_file_is_held_back_by_either_side_over_restarts_of_both() {
    let scene = Scene::set().await;
    let (run, mut listen, id) = scene.moving().await;
    // The receiver holds it back, through its owner; the sender is told.
    let paused = scene.carol.run(&["files", "pause", &id]).await;
    assert_eq!(
        (state(one(&paused)), &one(&paused)["pausedBy"]),
        ("paused", &"us".into())
    );
    listen
        .until("that it is held", is_state(&id, "paused"))
        .await;
    let listed = scene.carol.run(&["files"]).await;
    assert!(one(&listed)["done"].as_u64() > Some(8 << 20), "{listed}");
    // Both end, and hold it back alone, too.
    run.terminate().await.expect_code(0);
    listen.terminate().await.expect_code(0);
    let paused = scene.alice.run(&["files", "pause", &id]).await;
    assert_eq!(state(one(&paused)), "paused");
    let mut run = scene.alice.start(&["run"]);
    run.event("online").await;
    let mut listen = scene.listening().await;
    for home in [&scene.alice, &scene.carol] {
        let listed = home.run(&["files"]).await;
        assert_eq!(one(&listed)["pausedBy"], "us", "{listed}");
    }
    let resumed = scene.carol.run(&["files", "resume", &id]).await;
    assert_ne!(state(one(&resumed)), "ended");
    // It is the sender's turn to let go: the receiver hears that.
    let theirs = |line: &Value| line["id"] == id.as_str() && line["pausedBy"] == "them";
    listen.until("that the sender holds it", theirs).await;
    scene
        .alice
        .run(&["files", "resume", &id])
        .await
        .expect_code(0);
    listen.until("the file", is_state(&id, "done")).await;
    run.until("that it is through", is_state(&id, "done")).await;
    let listed = scene.alice.run(&["files"]).await;
    listed.expect_code(0);
    assert!(listed.all("file").is_empty(), "{listed}");
    let sent = std::fs::read(scene.dir.path().join("big")).expect("read");
    let got = std::fs::read(scene.inbox.join("big")).expect("read");
    assert!(sent == got, "it is another file");
    for running in [run, listen] {
        running.terminate().await.expect_code(0);
    }
}

#[tokio::test]
async fn a_file_that_is_given_up_leaves_nothing_on_either_side() {
    for through in ["alice", "carol"] {
        let scene = Scene::set().await;
        let (mut run, mut listen, id) = scene.moving().await;
        let home = if through == "alice" {
            &scene.alice
        } else {
            &scene.carol
        };
        let given_up = home.run(&["files", "cancel", &id]).await;
        let line = one(&given_up);
        assert_eq!(
            (state(line), &line["reason"]),
            ("ended", &"CANCELLED".into())
        );
        for (running, by) in [(&mut listen, "carol"), (&mut run, "alice")] {
            let line = running.until("its end", is_state(&id, "ended")).await;
            assert_eq!(line["reason"], "CANCELLED");
            let detail = line["detail"].as_str().expect("words");
            let mine = by == through;
            assert_eq!(detail.starts_with("you gave"), mine, "{detail}");
        }
        let again = home.run(&["files", "cancel", &id]).await;
        again.expect_code(1);
        assert_eq!(again.only("error")["code"], "NOT_FOUND");
        for running in [run, listen] {
            running.terminate().await.expect_code(0);
        }
        assert_eq!(parts(&scene.inbox), 0);
        let listed = home.run(&["files"]).await;
        assert!(listed.all("file").is_empty(), "{listed}");
    }
}

#[tokio::test]
async fn a_file_given_up_by_a_home_at_rest_leaves_no_part_and_its_sender_hears_of_it() {
    let scene = Scene::set().await;
    let (mut run, listen, id) = scene.moving().await;
    listen.kill().await;
    assert!(parts(&scene.inbox) > 0);
    let listed = scene.carol.run(&["files"]).await;
    assert_eq!(one(&listed)["waitsFor"], "owner");
    scene
        .carol
        .run(&["files", "cancel", &id])
        .await
        .expect_code(0);
    assert_eq!(parts(&scene.inbox), 0, "also without --files");
    let listen = scene.listening().await;
    let line = run.until("its end", is_state(&id, "ended")).await;
    assert_eq!(line["detail"], "carol gave it up");
    for running in [run, listen] {
        running.terminate().await.expect_code(0);
    }
}

#[tokio::test]
async fn a_person_takes_or_refuses_what_is_not_taken_unasked() {
    let scene = Scene::set().await;
    let path = scene.file("letter", 100_000);
    let ask = ["--files", scene.inbox(), "--files-ask"];
    let mut listen = scene.carol.listening(&ask).await;
    let mut run = scene.alice.start(&["run"]);
    run.event("online").await;
    for accept in [true, false] {
        let mut send = scene.alice.start(&["send-file", "carol", &path]);
        let asked = |line: &Value| line["event"] == "file" && line["state"] == "undecided";
        let line = listen.until("the question", asked).await;
        assert_eq!(
            (&line["user"], &line["waitsFor"]),
            (&"alice".into(), &"decision".into())
        );
        let id = line["id"].as_str().expect("an id");
        // The sender sees that it is held back there.
        let held = |line: &Value| line["pausedBy"] == "them";
        send.until("that it waits", held).await;
        let status = scene.carol.run(&["status"]).await;
        assert_eq!(status.only("status")["files"]["undecided"], 1, "{status}");
        let action = if accept { "accept" } else { "reject" };
        scene.carol.run(&["files", action, id]).await.expect_code(0);
        let sent = send.end().await;
        sent.expect_code(if accept { 0 } else { 1 });
        if !accept {
            let ended = sent
                .all("file")
                .into_iter()
                .find(|line| line["state"] == "ended");
            assert_eq!(ended.expect("it says so")["reason"], "NOT_WANTED");
        }
        let history = scene.carol.run(&["history", "alice"]).await;
        let last = history.all("history").pop().expect("a line").clone();
        assert_eq!(
            last["file"]["state"],
            if accept { "done" } else { "declined" }
        );
        let saved = scene.inbox.join("letter");
        assert_eq!(
            last["file"]["path"] == saved.to_str().expect("words"),
            accept,
            "{last}"
        );
        let ends = if accept { "done" } else { "ended" };
        let written = async || {
            let why = scene.alice.run(&["why", id]).await;
            why.expect_code(0);
            let state = why.all("why")[0]["about"]["file"]["state"].clone();
            (state == ends).then_some(state)
        };
        if accept {
            assert!(
                written().await.is_some(),
                "it is written down before it is told"
            );
        }
        // Of its end her process tells, and writes it down, in one go: another may read in between.
        until_some(written).await;
    }
    for running in [run, listen] {
        running.terminate().await.expect_code(0);
    }
}

#[tokio::test]
async fn a_person_hears_that_there_is_nothing_and_a_script_gets_no_line() {
    let served = Served::start(&[]).await;
    let alice = Home::joined(served.invite(), "alice", &[]).await;
    let asked = async |args: &[&str], says: &str| {
        let script = alice.run(args).await;
        script.expect_code(0);
        assert!(script.is_silent(), "{script}");
        let mut people = Command::new(binary("BEELINE_BIN", "beeline"));
        people.arg("--home").arg(alice.path()).args(args);
        let told = people.output().await.expect("it runs");
        assert!(told.status.success() && told.stdout.is_empty(), "{told:?}");
        let text = String::from_utf8_lossy(&told.stderr).into_owned();
        assert!(text.starts_with(says), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    };
    let all = async || {
        asked(&["files"], "No file is under way").await;
        asked(&["peers"], "Nobody is known yet").await;
        asked(&["routes"], "No way to anybody").await;
        asked(&["history", "carol"], "No message with carol").await;
    };
    all().await;
    let mut run = alice.start(&["run"]);
    run.event("online").await;
    asked(&["files"], "No file is under way").await;
    asked(&["history", "carol"], "No message with carol").await;
    run.terminate().await.expect_code(0);
}

#[tokio::test]
async fn an_offer_without_a_folder_waits_and_is_taken_by_hand() {
    let scene = Scene::set().await;
    let path = scene.file("letter", 100_000);
    let mut listen = scene.carol.listening(&[]).await;
    let mut run = scene.alice.start(&["run"]);
    run.event("online").await;
    let waits = ["send-file", "carol", &path, "--timeout", "3s"];
    scene.alice.run(&waits).await.expect_code(4);
    let asked = |line: &Value| line["event"] == "file" && line["state"] == "undecided";
    let line = listen.until("the question", asked).await;
    assert_eq!(line["waitsFor"], "folder");
    let id = line["id"].as_str().expect("an id").to_owned();
    listen.terminate().await.expect_code(0);
    // Decided at rest; the next one with a folder takes it, though by itself it would not.
    let taken = scene.carol.run(&["files", "accept", &id]).await;
    assert_eq!(state(one(&taken)), "accepted");
    let others = ["--files", scene.inbox(), "--files-from", "bob"];
    let mut listen = scene.carol.listening(&others).await;
    listen.until("the file", is_state(&id, "done")).await;
    run.until("that it is through", is_state(&id, "done")).await;
    for running in [run, listen] {
        running.terminate().await.expect_code(0);
    }
}

#[tokio::test]
async fn a_small_file_is_kept_by_others_and_comes_without_its_sender() {
    let served = Served::start_with(&[]).await;
    let alice = Home::joined(served.invite(), "alice", &[]).await;
    let carol = Home::joined(served.invite(), "carol", &[]).await;
    let dir = tempfile::tempdir().expect("a directory");
    let (path, inbox) = (dir.path().join("note.txt"), dir.path().join("in"));
    std::fs::write(&path, "Dear Carol").expect("written");
    let [path, inbox] = [&path, &inbox].map(|path| path.to_str().expect("words").to_owned());
    // The two have met, and she goes.
    let listen = carol.listening(&[]).await;
    alice.run(&["send", "carol", "hello"]).await.expect_code(0);
    listen.terminate().await.expect_code(0);
    let mut send = alice.start(&["send-file", "carol", &path, "--timeout", "2m"]);
    send.state("stored").await;
    signal(send.pid(), "INT").await;
    let sent = send.end().await;
    sent.expect_code(3);
    // What was offered is what Carol gets, whatever becomes of the file, while Alice is away.
    std::fs::write(&path, "Nothing").expect("written");
    let mut listen = carol.listening(&["--files", &inbox]).await;
    let done = |line: &Value| line["event"] == "file" && line["state"] == "done";
    let line = listen.until("the file", done).await;
    let saved = PathBuf::from(line["path"].as_str().expect("a path"));
    assert_eq!(std::fs::read(&saved).expect("read"), b"Dear Carol");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(&saved)
            .expect("it is there")
            .permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    // What was noted of it goes once that is written down.
    let tidy = async || {
        tokio::task::yield_now().await;
        (parts(saved.parent().expect("the folder")) == 0).then_some(Value::Null)
    };
    until_some(tidy).await;
    // And Alice hears of it when she is back.
    let mut run = alice.start(&["run"]);
    run.until("that she has it", done).await;
    for running in [run, listen] {
        running.terminate().await.expect_code(0);
    }
}
