//! Once and for ever, with real processes and real files: a restored home, a copied one that runs
//! beside the original, reading told or not, a conversation deleted.

use crate::process::{Home, Served, run};
use std::path::{Path, PathBuf};
use tokio::process::Command;

/// Copies a directory as a person would.
async fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(to)
        .status()
        .await;
    assert!(copied.expect("there is a cp").success());
}

fn beside(home: &Home, name: &str) -> PathBuf {
    home.path().with_file_name(name)
}

#[tokio::test]
async fn a_restored_home_sends_nothing_twice_and_nothing_into_the_void() {
    let served = Served::start(&[]).await;
    let alice = Home::joined(served.invite(), "alice", &[]).await;
    let carol = Home::joined(served.invite(), "carol", &[]).await;
    let mut listen = carol.listening(&[]).await;
    alice.run(&["send", "carol", "one"]).await.expect_code(0);
    let backup = beside(&alice, "backup");
    copy(alice.path(), &backup).await;
    for text in ["two", "three"] {
        alice.run(&["send", "carol", text]).await.expect_code(0);
    }
    // The disk dies; the backup is older than the last messages.
    tokio::fs::rename(alice.path(), beside(&alice, "dead"))
        .await
        .expect("moved");
    tokio::fs::rename(&backup, alice.path())
        .await
        .expect("restored");
    let mut back = alice.start(&["run"]);
    let warned = back
        .until("home-copied", |line| line["kind"] == "home-copied")
        .await;
    assert!(
        warned["detail"]
            .as_str()
            .is_some_and(|why| why.contains("numbered anew"))
    );
    back.terminate().await.expect_code(0);
    for text in ["zwei", "drei"] {
        alice.run(&["send", "carol", text]).await.expect_code(0);
    }
    for text in ["one", "two", "three", "zwei", "drei"] {
        let line = listen.event("message").await;
        assert_eq!(
            (&line["text"], line.get("late")),
            (&text.into(), None),
            "{line}"
        );
    }
    let done = listen.terminate().await;
    done.expect_code(0);
    assert!(done.all("gap").is_empty(), "{done}");
    // What Carol has of both lives of that home.
    let history = carol.run(&["history", "alice"]).await;
    let texts: Vec<_> = history
        .all("history")
        .iter()
        .map(|line| line["text"].clone())
        .collect();
    assert_eq!(texts, ["one", "two", "three", "zwei", "drei"], "{history}");
}

#[tokio::test]
async fn a_copied_home_is_noticed_and_the_elder_of_two_that_run_says_so_and_ends() {
    let served = Served::start(&[]).await;
    let alice = Home::joined(served.invite(), "alice", &[]).await;
    let carol = Home::joined(served.invite(), "carol", &[]).await;
    let mut listen = carol.listening(&[]).await;
    alice.run(&["send", "carol", "one"]).await.expect_code(0);
    let twin = beside(&alice, "twin");
    copy(alice.path(), &twin).await;
    let mut original = alice.start(&["listen"]);
    original.event("online").await;
    let in_twin = |args: &[&str]| {
        let mut command = crate::process::beeline(&[]);
        command.arg("--home").arg(&twin).args(args);
        command
    };
    let sent = run(in_twin(&["send", "carol", "from the twin"])).await;
    sent.expect_code(0);
    let ended = original.end().await;
    ended.expect_code(1);
    assert!(ended.stderr().contains("runs elsewhere"), "{ended}");
    alice
        .run(&["send", "carol", "from the original"])
        .await
        .expect_code(0);
    let again = run(in_twin(&["send", "carol", "the twin again"])).await;
    again.expect_code(0);
    for text in [
        "one",
        "from the twin",
        "from the original",
        "the twin again",
    ] {
        let line = listen.event("message").await;
        assert_eq!(
            (&line["text"], line.get("late")),
            (&text.into(), None),
            "{line}"
        );
    }
    listen.terminate().await.expect_code(0);
}

/// The last state `why` tells of a message.
async fn stands(home: &Home, id: &str) -> String {
    let why = home.run(&["why", id]).await;
    let last = why.all("why").pop().expect("steps").clone();
    last["state"].as_str().expect("a state").to_owned()
}

#[tokio::test]
async fn reading_is_told_where_a_person_reads_and_wants_it_told() {
    let served = Served::start(&[]).await;
    let alice = Home::joined(served.invite(), "alice", &[]).await;
    let carol = Home::joined(served.invite(), "carol", &[]).await;
    let unknown = carol.run(&["read-receipts", "alice", "off"]).await;
    unknown.expect_code(1);
    let mut run = alice.start(&["run"]);
    run.event("online").await;
    let send = async |text: &str, args: &[&str]| {
        let mut listen = carol.listening(args).await;
        let sent = alice.run(&["send", "carol", text]).await;
        sent.expect_code(0);
        assert_eq!(listen.event("message").await["text"], text);
        listen.end().await.expect_code(0);
        sent.all("state")[0]["id"]
            .as_str()
            .expect("an id")
            .to_owned()
    };
    let printed = send("printed", &["--count", "1"]).await;
    let set = carol.run(&["read-receipts", "alice", "off"]).await;
    set.expect_code(0);
    assert_eq!(set.only("read-receipts")["on"], false, "{set}");
    let private = send("read, and nobody's business", &["--count", "1", "--read"]).await;
    carol
        .run(&["read-receipts", "alice", "on"])
        .await
        .expect_code(0);
    let read = send("read", &["--count", "1", "--read"]).await;
    // It is on its way; what was printed before it would have been told before it.
    let mut tries = 0;
    while stands(&alice, &read).await != "read" {
        tries += 1;
        assert!(tries < 200, "nobody told Alice");
    }
    for id in [&printed, &private] {
        assert_eq!(stands(&alice, id).await, "delivered");
    }
    run.terminate().await.expect_code(0);
}

#[tokio::test]
async fn a_deleted_conversation_is_gone_and_still_known() {
    let served = Served::start(&[]).await;
    let alice = Home::joined(served.invite(), "alice", &[]).await;
    let carol = Home::joined(served.invite(), "carol", &[]).await;
    let mut listen = carol.listening(&[]).await;
    let keyed = ["send", "carol", "between us", "--idempotency-key", "k"];
    alice.run(&keyed).await.expect_code(0);
    assert_eq!(listen.event("message").await["text"], "between us");
    // Through the process that owns the home, and without one.
    let deleted = carol.run(&["history", "alice", "--delete"]).await;
    deleted.expect_code(0);
    assert_eq!(deleted.only("deleted")["messages"], 1, "{deleted}");
    let deleted = alice.run(&["history", "carol", "--delete"]).await;
    assert_eq!(deleted.only("deleted")["messages"], 1, "{deleted}");
    for home in [&alice, &carol] {
        for file in std::fs::read_dir(home.path()).expect("listed").flatten() {
            let bytes = std::fs::read(file.path()).unwrap_or_default();
            let found = bytes.windows(10).any(|w| w == b"between us");
            assert!(!found, "{}", file.path().display());
        }
    }
    let again = alice.run(&keyed).await;
    again.expect_code(0);
    assert_eq!(again.states(), ["queued", "delivered"], "{again}");
    alice.run(&["send", "carol", "next"]).await.expect_code(0);
    assert_eq!(listen.event("message").await["text"], "next");
    let done = listen.terminate().await;
    assert!(done.all("gap").is_empty(), "{done}");
    let history = carol.run(&["history", "alice"]).await;
    assert_eq!(history.all("history").len(), 1, "{history}");
}
