//! When somebody is not there: messages wait, and arrive once, whoever comes back first.

use crate::process::{Home, Served};

#[tokio::test]
async fn a_message_to_somebody_offline_waits_and_arrives_once() {
    let served = Served::start(&[]).await;
    let alice = Home::joined(served.invite(), "alice", &[]).await;
    let carol = Home::joined(served.invite(), "carol", &[]).await;

    let sent = alice
        .run(&["send", "carol", "are you there?", "--timeout", "5s"])
        .await;
    sent.expect_code(4);
    assert!(!sent.states().contains(&"delivered"), "{sent}");
    let id = sent.all("state")[0]["id"].clone();

    let mut listen = carol.listening(&[]).await;
    // Any process of Alice that goes online will do.
    let mut run = alice.start(&["run"]);
    let message = listen.event("message").await;
    assert_eq!(message["id"], id);
    assert_eq!(message["text"], "are you there?");
    run.event("online").await;
    run.terminate().await.expect_code(0);

    // Nothing comes twice: the next message is the next line.
    alice.run(&["send", "carol", "second"]).await.expect_code(0);
    assert_eq!(listen.event("message").await["text"], "second");
    listen.terminate().await.expect_code(0);
    let why = alice.run(&["why", id.as_str().expect("an id")]).await;
    let last = why.all("why").pop().expect("steps are printed").clone();
    assert_eq!(last["state"], "delivered", "{why}");
}

#[tokio::test]
async fn queued_is_enough_where_it_is_asked_for() {
    let served = Served::start(&[]).await;
    let alice = Home::joined(served.invite(), "alice", &[]).await;
    let carol = Home::joined(served.invite(), "carol", &[]).await;
    for text in ["one", "two", "three"] {
        let sent = alice
            .run(&["send", "carol", text, "--wait", "queued"])
            .await;
        sent.expect_code(0);
        assert_eq!(sent.states(), ["queued"], "{sent}");
    }
    let status = alice.run(&["status"]).await;
    assert_eq!(status.only("status")["outbox"], 3, "{status}");
    let mut listen = carol.listening(&["--count", "4"]).await;
    alice.run(&["send", "carol", "four"]).await.expect_code(0);
    for text in ["one", "two", "three", "four"] {
        assert_eq!(listen.event("message").await["text"], *text);
    }
    listen.end().await.expect_code(0);
}

#[tokio::test]
async fn who_was_never_online_cannot_be_sealed_for_and_that_is_said() {
    let served = Served::start(&[]).await;
    let alice = Home::joined(served.invite(), "alice", &[]).await;
    let carol = Home::joined(served.invite(), "carol", &[]).await;
    let wait = ["send", "carol", "welcome", "--wait", "stored"];
    let sent = alice.run(&[&wait[..], &["--timeout", "2s"]].concat()).await;
    sent.expect_code(4);
    let told = sent.all("state").into_iter();
    let mut told = told.filter(|line| line["reason"] == "NEVER_ONLINE");
    let detail = told.next().expect("it is told")["detail"].clone();
    let detail = detail.as_str().expect("in words");
    assert!(
        detail.starts_with("carol has not been online yet"),
        "{detail}"
    );
    assert!(told.next().is_none(), "once: {sent}");
    let id = sent.all("state")[0]["id"].clone();
    let why = alice.run(&["why", id.as_str().expect("an id")]).await;
    assert_eq!(
        why.all("why")[0]["about"]["reason"],
        "NEVER_ONLINE",
        "{why}"
    );
    let mut steps = why.all("why").into_iter();
    assert!(steps.any(|step| step["detail"] == detail), "{why}");

    // It goes out by itself once she is there.
    let mut listen = carol.listening(&["--count", "1"]).await;
    let mut run = alice.start(&["run"]);
    assert_eq!(listen.event("message").await["text"], "welcome");
    listen.end().await.expect_code(0);
    run.event("online").await;
    run.terminate().await.expect_code(0);
}

#[tokio::test]
async fn somebody_unknown_stays_queued_and_says_so() {
    let served = Served::start(&[]).await;
    let alice = Home::joined(served.invite(), "alice", &[]).await;
    let sent = alice
        .run(&["send", "nobody", "hello?", "--timeout", "2s"])
        .await;
    sent.expect_code(4);
    let tried: Vec<_> = sent
        .all("state")
        .iter()
        .filter_map(|line| line["rung"].as_str())
        .collect();
    assert!(tried.contains(&"registry"), "{sent}");
}

#[tokio::test]
async fn an_open_link_survives_the_servers() {
    let served = Served::start(&[]).await;
    let alice = Home::joined(served.invite(), "alice", &[]).await;
    let carol = Home::joined(served.invite(), "carol", &[]).await;
    let mut listen = carol.listening(&[]).await;
    let mut run = alice.start(&["run"]);
    run.event("online").await;
    alice
        .run(&["send", "carol", "with servers"])
        .await
        .expect_code(0);
    assert_eq!(listen.event("message").await["text"], "with servers");

    served.running.kill().await;
    let sent = alice.run(&["send", "carol", "without servers"]).await;
    sent.expect_code(0);
    assert_eq!(
        sent.all("state").pop().expect("states")["foundBy"],
        "connected",
        "{sent}"
    );
    assert_eq!(listen.event("message").await["text"], "without servers");
    run.terminate().await.expect_code(0);
    listen.terminate().await.expect_code(0);
}

#[tokio::test]
async fn a_message_written_without_servers_arrives_once_they_are_back() {
    let served = Served::start(&[]).await;
    let alice = Home::joined(served.invite(), "alice", &[]).await;
    let carol = Home::joined(served.invite(), "carol", &[]).await;
    let served = served
        .killed_while(async || {
            let sent = alice
                .run(&["send", "carol", "alone", "--timeout", "1s"])
                .await;
            sent.expect_code(4);
            let why = alice.run(&["token"]).await;
            why.expect_code(1);
            assert_eq!(why.only("error")["code"], "UNAVAILABLE", "{why}");
        })
        .await;
    let mut listen = carol.listening(&["--count", "2"]).await;
    alice
        .run(&["send", "carol", "together"])
        .await
        .expect_code(0);
    assert_eq!(listen.event("message").await["text"], "alone");
    assert_eq!(listen.event("message").await["text"], "together");
    listen.end().await.expect_code(0);
    served.running.terminate().await.expect_code(0);
}

#[tokio::test]
async fn who_listens_comes_back_by_itself_when_the_servers_do() {
    let served = Served::start(&[]).await;
    let alice = Home::joined(served.invite(), "alice", &[]).await;
    let carol = Home::joined(served.invite(), "carol", &[]).await;
    let mut listen = carol.listening(&["--count", "1"]).await;
    let served = served
        .killed_while(async || {
            listen.event("offline").await;
        })
        .await;
    listen.event("online").await;
    alice.run(&["send", "carol", "back"]).await.expect_code(0);
    assert_eq!(listen.event("message").await["text"], "back");
    listen.end().await.expect_code(0);
    served.running.terminate().await.expect_code(0);
}

#[tokio::test]
async fn an_interrupted_send_says_that_the_message_is_queued() {
    let served = Served::start(&[]).await;
    let alice = Home::joined(served.invite(), "alice", &[]).await;
    let carol = Home::joined(served.invite(), "carol", &[]).await;
    let mut send = alice.start(&["send", "carol", "later"]);
    send.state("queued").await;
    send.terminate().await.expect_code(4);
    let mut listen = carol.listening(&["--count", "1"]).await;
    let run = alice.start(&["run"]);
    assert_eq!(listen.event("message").await["text"], "later");
    listen.end().await.expect_code(0);
    run.terminate().await.expect_code(0);
}
