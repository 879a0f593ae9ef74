//! `kill -9` at the worst moments, fifty times each: no message is lost, none comes twice without
//! saying so, and all come in order.

use crate::process::{Home, Served};
use crate::shown::Shown;

/// Kills of each kind.
const REPEATS: usize = 50;

/// Messages sent per kill of the receiver: some wait while it is down.
const PER_REPEAT: usize = 3;

#[tokio::test]
async fn a_sender_killed_right_after_queued_loses_and_repeats_nothing() {
    let served = Served::start(&[]).await;
    let alice = Home::joined(served.invite(), "alice", &[]).await;
    let carol = Home::joined(served.invite(), "carol", &[]).await;
    let mut listen = carol.listening(&[]).await;
    let mut shown = Shown::default();
    let mut sent = Vec::new();
    for repeat in 0..REPEATS {
        let texts = [format!("killed {repeat}"), format!("after {repeat}")];
        let mut send = alice.start(&["send", "carol", &texts[0]]);
        send.state("queued").await;
        send.kill().await;
        alice
            .run(&["send", "carol", &texts[1]])
            .await
            .expect_code(0);
        listen
            .until("the second", |line| line["text"] == *texts[1])
            .await;
        sent.extend(texts);
    }
    shown.add_all(&listen.terminate().await);
    assert_eq!(shown.first, sent, "none missing, in order");
    assert_eq!(shown.plain, sent, "each once");
    let status = alice.run(&["status"]).await;
    assert_eq!(status.only("status")["outbox"], 0, "{status}");
}

#[tokio::test]
async fn a_receiver_killed_right_after_showing_repeats_only_with_again() {
    let served = Served::start(&[]).await;
    let alice = Home::joined(served.invite(), "alice", &[]).await;
    let carol = Home::joined(served.invite(), "carol", &[]).await;
    let mut run = alice.start(&["run"]);
    run.event("online").await;
    let mut shown = Shown::default();
    let mut sent = Vec::new();
    for repeat in 0..REPEATS {
        let mut listen = carol.listening(&[]).await;
        let texts: Vec<String> = (0..PER_REPEAT).map(|n| format!("{repeat}.{n}")).collect();
        for text in &texts {
            let queued = alice
                .run(&["send", "carol", text, "--wait", "queued"])
                .await;
            queued.expect_code(0);
        }
        listen
            .until("this repeat's first", |line| line["text"] == *texts[0])
            .await;
        // All it printed, up to the kill, counts as shown.
        shown.add_all(&listen.kill().await);
        sent.extend(texts);
    }
    let mut listen = carol.listening(&[]).await;
    alice
        .run(&["send", "carol", "the last"])
        .await
        .expect_code(0);
    sent.push("the last".to_owned());
    listen
        .until("the last", |line| line["text"] == "the last")
        .await;
    shown.add_all(&listen.terminate().await);
    run.terminate().await.expect_code(0);
    assert_eq!(shown.first, sent, "none missing, in order");
    // A line that only ever came with `again` belongs to a process killed between two commits.
    assert!(
        shown.plain.len() >= sent.len() - REPEATS,
        "{:?}",
        shown.plain
    );
}
