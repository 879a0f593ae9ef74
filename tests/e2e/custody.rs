//! Store and forward by peers, as real processes: the sender may leave once others keep its
//! message, and the recipient gets it though the two never met.

use crate::coordinator::{RUN, linked};
use crate::process::{DEADLINE, Home, Served};
use serde_json::Value;
use std::path::Path;
use tokio::time::timeout;

/// The line that tells a message's last state.
fn last(sent: &crate::process::Done) -> Value {
    sent.all("state").pop().expect("states").clone()
}

/// Moves a home away, or back: nobody can use it meanwhile.
fn rename(from: &Path, to: &Path) {
    std::fs::rename(from, to).expect("moved");
}

/// Asks until a message is delivered.
async fn delivered(home: &Home, id: &Value) {
    let id = id.as_str().expect("an id");
    let asking = async {
        loop {
            let why = home.run(&["why", id]).await;
            if why
                .all("why")
                .iter()
                .any(|step| step["state"] == "delivered")
            {
                return;
            }
        }
    };
    timeout(DEADLINE, asking).await.expect("it is delivered");
}

#[tokio::test]
async fn the_sender_may_leave_once_others_keep_the_message() {
    let served = Served::start_with(&[]).await;
    let alice = Home::joined(served.invite(), "alice", &[]).await;
    let carol = Home::joined(served.invite(), "carol", &[]).await;
    // Carol was there once: her device is known, and nobody has met Alice.
    carol.listening(&[]).await.terminate().await.expect_code(0);

    let sent = alice
        .run(&["send", "carol", "see you there", "--wait", "stored"])
        .await;
    sent.expect_code(0);
    let stored = last(&sent);
    assert_eq!(stored["state"], "stored", "{sent}");
    assert_eq!(
        (&stored["n"], &stored["k"]),
        (&1.into(), &1.into()),
        "{sent}"
    );
    let id = stored["id"].clone();
    let why = alice.run(&["why", id.as_str().expect("an id")]).await;
    let steps = why.all("why");
    let kept = steps.iter().find(|step| step["state"] == "kept");
    let keeper = &kept.expect("who keeps it")["keeper"];
    assert_eq!(keeper["user"], "coordinator_1", "{why}");
    assert!(keeper["until"].is_string(), "{why}");

    let away = alice.path().with_extension("away");
    rename(alice.path(), &away);
    let mut listen = carol.listening(&[]).await;
    let message = listen.event("message").await;
    assert_eq!(message["id"], id);
    assert_eq!(
        (&message["text"], &message["path"]),
        (&"see you there".into(), &"stored".into())
    );
    // It is shown once, whoever hands it over again.
    rename(&away, alice.path());
    let run = alice.start(&["run"]);
    delivered(&alice, &id).await;
    alice.run(&["send", "carol", "second"]).await.expect_code(0);
    assert_eq!(listen.event("message").await["text"], "second");
    run.terminate().await.expect_code(0);
    listen.terminate().await.expect_code(0);
    served.running.terminate().await.expect_code(0);
}

#[tokio::test]
async fn a_message_is_kept_and_delivered_with_every_server_dead() {
    let served = Served::start(&[]).await;
    let bob = Home::joined(&served.coordinator_invite().await, "bob", &[]).await;
    let alice = Home::joined(served.invite(), "alice", &[]).await;
    let carol = Home::joined(served.invite(), "carol", &[]).await;
    let mut coordinator = bob.start(&RUN);
    coordinator.event("online").await;
    // Both have been linked to Bob; Alice has heard of Carol from the registry, and not met her.
    let listen = carol.listening(&[]).await;
    linked(&carol).await;
    listen.terminate().await.expect_code(0);
    let alices = alice.listening(&[]).await;
    linked(&alice).await;
    alices.terminate().await.expect_code(0);
    served.running.kill().await;

    let sent = alice
        .run(&["send", "carol", "no server", "--wait", "stored"])
        .await;
    sent.expect_code(0);
    assert_eq!(last(&sent)["state"], "stored", "{sent}");
    let away = alice.path().with_extension("away");
    rename(alice.path(), &away);
    let mut listen = carol.start(&["listen"]);
    let message = listen.event("message").await;
    assert_eq!(
        (&message["text"], &message["path"]),
        (&"no server".into(), &"stored".into())
    );
    rename(&away, alice.path());
    let run = alice.start(&["run"]);
    delivered(&alice, &message["id"]).await;
    run.terminate().await.expect_code(0);
    listen.terminate().await.expect_code(0);
    coordinator.terminate().await.expect_code(0);
}

#[tokio::test]
async fn a_send_that_waits_for_delivery_ends_with_three_when_others_keep_it() {
    let served = Served::start_with(&[]).await;
    let alice = Home::joined(served.invite(), "alice", &[]).await;
    let carol = Home::joined(served.invite(), "carol", &[]).await;
    carol.listening(&[]).await.terminate().await.expect_code(0);
    let send = ["send", "carol", "later", "--timeout", "8s"];
    let key = ["--idempotency-key", "k1"];
    let sent = alice.run(&[&send[..], &key[..]].concat()).await;
    sent.expect_code(3);
    assert_eq!(last(&sent)["state"], "stored", "{sent}");
    // The same call again finds it kept: at once, with who keeps it.
    let wait = ["--wait", "stored"];
    let again = alice.run(&[&send[..], &key[..], &wait[..]].concat()).await;
    again.expect_code(0);
    assert_eq!(last(&again)["n"], 1, "{again}");
    served.running.terminate().await.expect_code(0);
}
