//! The main job, as people do it: serve, join twice, listen in one home, send in the other.

use crate::process::{Home, Served, beeline, run, run_with_input};
use std::process::Stdio;

/// A network with Alice and Carol in it.
async fn alice_and_carol(served: &Served) -> (Home, Home) {
    let alice = Home::joined(served.invite(), "alice", &[]).await;
    let carol = Home::joined(served.invite(), "carol", &[]).await;
    (alice, carol)
}

#[tokio::test]
async fn a_first_message_is_delivered_and_both_sides_tell_the_same_story() {
    let served = Served::start(&[]).await;
    let (alice, carol) = alice_and_carol(&served).await;
    let mut listen = carol.listening(&["--count", "1"]).await;

    let sent = alice.run(&["send", "carol", "Hello Carol!"]).await;
    sent.expect_code(0);
    let delivered = sent.all("state").pop().expect("states are printed").clone();
    assert_eq!(delivered["state"], "delivered", "{sent}");
    assert_eq!(delivered["path"], "direct", "{sent}");
    assert_eq!(delivered["foundBy"], "registry", "{sent}");
    assert!(delivered["elapsedMs"].is_u64(), "{sent}");
    assert_eq!(sent.states(), ["queued", "trying", "delivered"], "{sent}");

    let message = listen.event("message").await;
    assert_eq!(message["id"], delivered["id"]);
    assert_eq!(message["from"], "alice");
    assert_eq!(message["text"], "Hello Carol!");
    assert_eq!(message["path"], "direct");
    assert!(
        message["sentAt"]
            .as_str()
            .is_some_and(|at| at.ends_with('Z')),
        "{message}"
    );
    assert!(message.get("again").is_none(), "{message}");
    listen.end().await.expect_code(0);

    let id = delivered["id"].as_str().expect("an id");
    told_alike(&alice, &carol, id).await;
}

/// `history` and `why` of both sides agree on one message.
async fn told_alike(alice: &Home, carol: &Home, id: &str) {
    let ours = alice.run(&["history", "carol"]).await;
    let theirs = carol.run(&["history", "alice"]).await;
    let (ours, theirs) = (ours.only("history"), theirs.only("history"));
    assert_eq!(ours["id"], id);
    for key in ["id", "text", "path"] {
        assert_eq!(ours[key], theirs[key], "{ours} {theirs}");
    }
    assert_eq!(
        (&ours["direction"], &ours["state"]),
        (&"sent".into(), &"delivered".into())
    );
    assert_eq!(
        (&theirs["direction"], &theirs["state"]),
        (&"received".into(), &"delivered".into())
    );

    let ours = alice.run(&["why", id]).await;
    ours.expect_code(0);
    let steps: Vec<&str> = ours
        .all("why")
        .iter()
        .filter_map(|l| l["state"].as_str())
        .collect();
    assert_eq!(steps.first(), Some(&"queued"), "{ours}");
    assert_eq!(steps.last(), Some(&"delivered"), "{ours}");
    let theirs = carol.run(&["why", id]).await;
    theirs.expect_code(0);
    let steps: Vec<&str> = theirs
        .all("why")
        .iter()
        .filter_map(|l| l["state"].as_str())
        .collect();
    assert_eq!(steps.first(), Some(&"received"), "{theirs}");
    assert_eq!(steps.last(), Some(&"shown"), "{theirs}");
}

#[tokio::test]
async fn both_sides_see_the_same_safety_number() {
    let served = Served::start(&[]).await;
    let (alice, carol) = alice_and_carol(&served).await;
    let mut listen = carol.listening(&[]).await;
    alice.run(&["send", "carol", "hi"]).await.expect_code(0);
    listen.event("message").await;

    let ours = alice.run(&["verify", "carol"]).await;
    // Carol's answer comes through the process that listens.
    let theirs = carol.run(&["verify", "alice"]).await;
    let number = ours.only("verify")["safetyNumber"]
        .as_str()
        .expect("digits")
        .to_owned();
    assert_eq!(theirs.only("verify")["safetyNumber"], *number);
    assert_eq!(
        number.split(' ').filter(|group| group.len() == 5).count(),
        12,
        "{number}"
    );
    assert_eq!(ours.only("verify")["verified"], false);
    let accepted = alice.run(&["verify", "carol", "--accept"]).await;
    accepted.expect_code(0);
    assert_eq!(accepted.only("verify")["verified"], true, "{accepted}");
    listen.terminate().await.expect_code(0);

    let nobody = alice.run(&["verify", "nobody"]).await;
    nobody.expect_code(1);
    assert!(nobody.stderr().contains("nobody"), "{nobody}");
}

#[tokio::test]
async fn a_taken_user_id_and_a_used_home_are_refused() {
    let served = Served::start(&[]).await;
    let alice = Home::joined(served.invite(), "alice", &["--device", "alice_phone"]).await;

    let other = Home::new();
    let taken = other
        .run(&["join", served.invite(), "--user", "alice"])
        .await;
    taken.expect_code(1);
    assert!(taken.stderr().contains("--user"), "{taken}");
    let unjoined = other.run(&["send", "alice", "hi"]).await;
    unjoined.expect_code(1);
    assert!(unjoined.stderr().contains("beeline join"), "{unjoined}");

    let again = alice
        .run(&["join", served.invite(), "--user", "alice2"])
        .await;
    again.expect_code(1);
    assert!(again.stderr().contains("--home"), "{again}");

    let cut = &served.invite()[..served.invite().len() - 9];
    let damaged = other.run(&["join", cut, "--user", "bob"]).await;
    damaged.expect_code(1);
    assert!(damaged.stderr().contains("copy it again"), "{damaged}");
}

#[tokio::test]
async fn the_device_is_named_after_the_user_unless_told() {
    let served = Served::start(&[]).await;
    let join = async |user: &str, more: &[&str]| {
        let home = Home::new();
        let done = home
            .run(&[&["join", served.invite(), "--user", user], more].concat())
            .await;
        done.only("joined")["device"]
            .as_str()
            .expect("a device")
            .to_owned()
    };
    assert_eq!(join("bob", &["--device", "bob_phone"]).await, "bob_phone");
    let made = join("carol", &[]).await;
    let random = made.strip_prefix("carol_").expect("the user's name first");
    let base32 = |c: char| c.is_ascii_lowercase() || ('2'..='7').contains(&c);
    assert!(random.len() == 6 && random.chars().all(base32), "{made}");
}

#[tokio::test]
async fn a_text_comes_from_stdin_and_may_be_too_long() {
    let served = Served::start(&[]).await;
    let (alice, carol) = alice_and_carol(&served).await;
    let mut listen = carol.listening(&[]).await;

    let longest = "ö".repeat(6_000);
    let command = alice.command(&["send", "carol", "-"]);
    let sent = run_with_input(command, format!("{longest}\n").as_bytes()).await;
    sent.expect_code(0);
    assert_eq!(listen.event("message").await["text"], *longest);

    let command = alice.command(&["send", "carol", "-"]);
    let refused = run_with_input(command, format!("{longest}x\n").as_bytes()).await;
    refused.expect_code(1);
    assert!(refused.stderr().contains("send-file"), "{refused}");
    let refused = run_with_input(alice.command(&["send", "carol", "-"]), b"\xff\xfe").await;
    refused.expect_code(1);
    assert!(refused.stderr().contains("UTF-8"), "{refused}");
    let history = alice.run(&["history", "carol"]).await;
    assert_eq!(history.all("history").len(), 1, "{history}");
    listen.terminate().await.expect_code(0);
}

#[tokio::test]
async fn a_repeated_key_sends_nothing_twice() {
    let served = Served::start(&[]).await;
    let (alice, carol) = alice_and_carol(&served).await;
    let mut listen = carol.listening(&[]).await;
    let args = ["send", "carol", "once", "--idempotency-key", "k1"];
    let first = alice.run(&args).await;
    let second = alice.run(&args).await;
    first.expect_code(0);
    second.expect_code(0);
    let id = |done: &crate::process::Done| done.all("state")[0]["id"].clone();
    assert_eq!(id(&first), id(&second), "{first} {second}");
    alice.run(&["send", "carol", "other"]).await.expect_code(0);
    assert_eq!(listen.event("message").await["text"], "once");
    assert_eq!(listen.event("message").await["text"], "other");
    listen.terminate().await.expect_code(0);
}

#[tokio::test]
async fn a_closed_pipe_ends_a_command_quietly() {
    let served = Served::start(&[]).await;
    let (alice, carol) = alice_and_carol(&served).await;
    for text in ["one", "two"] {
        alice
            .run(&["send", "carol", text, "--wait", "queued"])
            .await
            .expect_code(0);
    }
    let mut command = alice.command(&["history", "carol"]);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    command.stdout(writer).stderr(Stdio::piped());
    let child = command.spawn().expect("it starts");
    let output = child.wait_with_output().await.expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    drop(carol);
}

#[tokio::test]
async fn wrong_usage_is_exit_code_2_with_a_hint() {
    let done = run(beeline(&["sned"])).await;
    done.expect_code(2);
    assert!(done.stderr().contains("send"), "{done}");
}

#[tokio::test]
async fn the_demonstration_tells_what_happens_and_ends() {
    let told = run(beeline(&["demo"])).await;
    told.expect_code(0);
    let steps = told.all("step");
    let of = |line: &serde_json::Value| line["step"].as_u64();
    let mut order: Vec<u64> = steps.iter().filter_map(|line| of(line)).collect();
    order.dedup();
    // Check local, discovery, the registry as the last resort, WebRTC, the message.
    assert_eq!(order[..5], [1, 2, 5, 3, 4], "{told}");
    let what = |line: &serde_json::Value| line["what"].as_str().unwrap_or_default().to_owned();
    let all: Vec<String> = steps.iter().map(|line| what(line)).collect();
    let delivered = all.iter().filter(|what| what.contains("Delivered"));
    assert_eq!(delivered.count(), 5, "{told}");
    // First contact with somebody new while no server is left, through Bob; direct after it.
    let dead = all.iter().position(|what| what.contains("are gone"));
    let after = &all[dead.expect("the servers are stopped")..];
    let found = |what: &&String| what.contains("Delivered") && what.contains("by peers");
    assert_eq!(after.iter().filter(found).count(), 1, "{told}");
    let last = after.iter().rfind(|what| what.contains("Delivered"));
    assert!(
        last.is_some_and(|what| what.contains("came directly")),
        "{told}"
    );
    assert!(
        !after.iter().any(|what| what.contains("gateway, sealed")),
        "{told}"
    );
    // One clock from the first message to the end.
    let first = all.iter().position(|what| what.starts_with("sends \""));
    let (mut last_ms, mut sends) = (0.0_f64, 0);
    for line in &steps[first.expect("a message is sent")..] {
        let Some(ms) = line["elapsedMs"].as_f64() else {
            assert_eq!(line["who"], "", "only a chapter has no time: {told}");
            continue;
        };
        let is_send = what(line).starts_with("sends \"");
        assert!(!is_send || ms >= last_ms, "{line} in {told}");
        (last_ms, sends) = (last_ms.max(ms), sends + u32::from(is_send));
    }
    assert_eq!(sends, 5, "{told}");
}
