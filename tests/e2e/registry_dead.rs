//! The whole repertoire without a registry: a network whose people have met, then the registry
//! killed for good. All is delivered, once, in order, and the truth is told; without the gateway as
//! well, wherever a link or a common peer is left.

use crate::apart::{Apart, reaches, watch_peers};
use crate::process::{Done, Home, Running};
use crate::shown::Shown;
use serde_json::Value;

/// Kills of each kind: `kill.rs` makes fifty with a registry.
const REPEATS: usize = 10;

/// Messages of a burst, each way.
const MANY: usize = 40;

/// Alice and Carol know each other, Dave and Alice do not; all know Bob. The registry is dead.
struct Met {
    servers: Apart,
    alice: Home,
    bob: Home,
    carol: Home,
    dave: Home,
}

impl Met {
    async fn new() -> Self {
        let mut servers = Apart::start(&[]).await;
        let invite = servers.invite().await;
        let (alice, bob, carol, dave) = tokio::join!(
            Home::joined(&invite, "alice", &[]),
            Home::joined(&invite, "bob", &[]),
            Home::joined(&invite, "carol", &[]),
            Home::joined(&invite, "dave", &[]),
        );
        let mut listening = Vec::new();
        for home in [&alice, &bob, &carol, &dave] {
            listening.push(home.listening(&[]).await);
        }
        for (from, to) in [
            (&bob, "alice"),
            (&bob, "carol"),
            (&bob, "dave"),
            (&alice, "carol"),
        ] {
            from.run(&["send", to, "hi"]).await.expect_code(0);
        }
        for listen in listening {
            listen.terminate().await.expect_code(0);
        }
        servers.kill_registry().await;
        Self {
            servers,
            alice,
            bob,
            carol,
            dave,
        }
    }

    /// Everybody listens; Bob has a link to everybody, and Alice has one to Carol.
    async fn all_listening(&self) -> [Running; 4] {
        let (alice, bob, carol, dave) = tokio::join!(
            self.alice.listening(&[]),
            self.bob.listening(&[]),
            self.carol.listening(&[]),
            self.dave.listening(&[]),
        );
        let mut all = [alice, bob, carol, dave];
        for (from, user, to, at) in [
            (&self.bob, "bob", "alice", 0),
            (&self.bob, "bob", "carol", 2),
            (&self.bob, "bob", "dave", 3),
            (&self.alice, "alice", "carol", 2),
        ] {
            direct(from, user, to, &mut all[at]).await;
        }
        all
    }
}

/// Sends, and is told the truth: queued first, delivered last, and nothing by the registry.
async fn delivers(from: &Home, to: &str, text: &str) -> Value {
    let sent = from.run(&["send", to, text, "--timeout", "60s"]).await;
    sent.expect_code(0);
    let states = sent.states();
    assert_eq!(states.first(), Some(&"queued"), "{sent}");
    assert_eq!(states.last(), Some(&"delivered"), "{sent}");
    let delivered = sent.all("state").pop().expect("states").clone();
    assert_ne!(delivered["foundBy"], "registry", "{sent}");
    delivered
}

/// The next line is this message, for the first time.
async fn shows(listen: &mut Running, from: &str, text: &str) -> Value {
    let message = listen.event("message").await;
    assert_eq!(
        (&message["from"], &message["text"]),
        (&from.into(), &text.into())
    );
    assert!(message.get("again").is_none(), "{message}");
    message
}

/// Sends until it goes directly: what was sent by relay first is soon followed by a link.
async fn direct(from: &Home, user: &str, to: &str, listen: &mut Running) {
    loop {
        let delivered = delivers(from, to, "hello").await;
        shows(listen, user, "hello").await;
        if delivered["path"] == "direct" {
            return;
        }
    }
}

/// Sends without waiting for anything but the disk.
async fn queues(from: &Home, to: &str, text: &str) {
    let queued = from.run(&["send", to, text, "--wait", "queued"]).await;
    queued.expect_code(0);
}

/// Nothing is on its way any more, and both sides tell of the same messages in the same order.
async fn agree(alice: &Home, carol: &Home) {
    let status = alice.run(&["status"]).await;
    assert_eq!(status.only("status")["outbox"], 0, "{status}");
    let told = async |home: &Home, of: &str, direction: &str| -> Vec<(Value, Value)> {
        let history = home.run(&["history", of]).await;
        let lines = history.all("history").into_iter();
        let lines = lines.filter(|line| line["direction"] == *direction);
        let lines = lines.inspect(|line| assert_eq!(line["state"], "delivered", "{line}"));
        lines
            .map(|line| (line["id"].clone(), line["text"].clone()))
            .collect()
    };
    let ours = told(alice, "carol", "sent").await;
    assert_eq!(ours, told(carol, "alice", "received").await);
    let ours = told(alice, "carol", "received").await;
    assert_eq!(ours, told(carol, "alice", "sent").await);
}

async fn end(all: impl IntoIterator<Item = Running>) -> Vec<Done> {
    let mut ended = Vec::new();
    for running in all {
        let done = running.terminate().await;
        done.expect_code(0);
        ended.push(done);
    }
    ended
}

#[tokio::test]
async fn without_a_registry_processes_of_their_own_find_each_other() {
    let met = Met::new().await;
    let mut carol = met.carol.listening(&[]).await;
    for text in ["one", "two", "three"] {
        let delivered = delivers(&met.alice, "carol", text).await;
        assert_eq!(delivered["path"], "direct", "{delivered}");
        assert_eq!(delivered["foundBy"], "cache", "{delivered}");
        shows(&mut carol, "alice", text).await;
    }
    // The other way, through the processes that listen.
    let mut alice = met.alice.listening(&[]).await;
    delivers(&met.carol, "alice", "four").await;
    shows(&mut alice, "carol", "four").await;
    let delivered = delivers(&met.alice, "carol", "five").await;
    assert_eq!(delivered["foundBy"], "connected", "{delivered}");
    shows(&mut carol, "alice", "five").await;
    end([alice, carol]).await;
    agree(&met.alice, &met.carol).await;
}

#[tokio::test]
async fn without_a_registry_who_was_away_gets_everything_once_and_in_order() {
    let met = Met::new().await;
    // Twice: by the process that is online when she comes, and by one that starts after her.
    for is_online in [true, false] {
        let run = met.alice.start(&["run"]);
        let sent = met.alice.run(&["send", "carol", "0", "--timeout", "1s"]);
        let sent = sent.await;
        sent.expect_code(4);
        assert!(!sent.states().contains(&"delivered"), "{sent}");
        for n in 1..MANY {
            queues(&met.alice, "carol", &n.to_string()).await;
        }
        let (mut run, mut carol) = if is_online {
            (run, met.carol.listening(&[]).await)
        } else {
            end([run]).await;
            let carol = met.carol.listening(&[]).await;
            (met.alice.start(&["run"]), carol)
        };
        for n in 0..MANY {
            shows(&mut carol, "alice", &n.to_string()).await;
        }
        run.event("online").await;
        delivers(&met.alice, "carol", "the last").await;
        shows(&mut carol, "alice", "the last").await;
        end([run, carol]).await;
        agree(&met.alice, &met.carol).await;
    }
}

#[tokio::test]
async fn without_a_registry_a_sender_killed_right_after_queued_loses_and_repeats_nothing() {
    let met = Met::new().await;
    let mut carol = met.carol.listening(&[]).await;
    let (mut shown, mut sent) = (Shown::default(), Vec::new());
    for repeat in 0..REPEATS {
        let texts = [format!("killed {repeat}"), format!("after {repeat}")];
        let mut send = met.alice.start(&["send", "carol", &texts[0]]);
        send.state("queued").await;
        send.kill().await;
        delivers(&met.alice, "carol", &texts[1]).await;
        carol
            .until("the second", |line| line["text"] == *texts[1])
            .await;
        sent.extend(texts);
    }
    shown.add_all(&carol.terminate().await);
    shown.expect_each_once(&sent);
    agree(&met.alice, &met.carol).await;
}

#[tokio::test]
async fn without_a_registry_a_receiver_killed_right_after_showing_repeats_only_with_again() {
    let met = Met::new().await;
    let mut run = met.alice.start(&["run"]);
    run.event("online").await;
    let (mut shown, mut sent) = (Shown::default(), Vec::new());
    for repeat in 0..REPEATS {
        let mut carol = met.carol.listening(&[]).await;
        let texts = [format!("{repeat}.0"), format!("{repeat}.1")];
        for text in &texts {
            queues(&met.alice, "carol", text).await;
        }
        carol
            .until("the first", |line| line["text"] == *texts[0])
            .await;
        shown.add_all(&carol.kill().await);
        sent.extend(texts);
    }
    let mut carol = met.carol.listening(&[]).await;
    delivers(&met.alice, "carol", "the last").await;
    sent.push("the last".to_owned());
    carol
        .until("the last", |line| line["text"] == "the last")
        .await;
    shown.add_all(&carol.terminate().await);
    end([run]).await;
    assert_eq!(shown.first, sent, "none missing, in order");
    // A line that only ever came with `again` belongs to a process killed between two commits.
    let again = sent.len() - shown.plain.len();
    assert!(again <= REPEATS, "{:?}", shown.plain);
    agree(&met.alice, &met.carol).await;
}

/// Alice and Dave meet through Bob, and have a link of their own after it.
async fn meet_through_bob(met: &Met, all: &mut [Running; 4]) {
    let mut watch = watch_peers(&met.dave).await;
    let delivered = delivers(&met.alice, "dave", "pleased to meet you").await;
    assert_eq!(delivered["foundBy"], "peers", "{delivered}");
    let message = shows(&mut all[3], "alice", "pleased to meet you").await;
    assert_eq!(message["id"], delivered["id"]);
    reaches(&mut watch, &["CONNECTED"]).await;
    direct(&met.dave, "dave", "alice", &mut all[0]).await;
}

#[tokio::test]
async fn without_a_registry_strangers_meet_through_a_common_peer() {
    let met = Met::new().await;
    let mut all = met.all_listening().await;
    meet_through_bob(&met, &mut all).await;
    end(all).await;
}

#[tokio::test]
async fn without_a_registry_a_gateway_may_be_killed_and_started_again() {
    let mut met = Met::new().await;
    let [mut alice, bob, mut carol, dave] = met.all_listening().await;
    end([dave]).await;
    for repeat in 0..3 {
        met.servers.kill_gateway().await;
        for listen in [&mut alice, &mut carol] {
            listen.event("offline").await;
        }
        let text = format!("over the link {repeat}");
        let delivered = delivers(&met.alice, "carol", &text).await;
        assert_eq!(delivered["foundBy"], "connected", "{delivered}");
        shows(&mut carol, "alice", &text).await;
        // A process without a link has no way now, and says so.
        let kept = met.dave.run(&["send", "bob", "kept", "--timeout", "1s"]);
        let kept = kept.await;
        kept.expect_code(4);
        assert!(!kept.states().contains(&"delivered"), "{kept}");
        // The gateway knows from its disk who may sign in.
        met.servers.start_gateway().await;
        for listen in [&mut alice, &mut carol] {
            listen.event("online").await;
        }
        delivers(&met.dave, "bob", "found again").await;
    }
    let bob = end([alice, carol, bob]).await.pop().expect("bob");
    let from_dave = bob.all("message").into_iter();
    let from_dave = from_dave.filter(|line| line["from"] == "dave");
    let texts: Vec<_> = from_dave.map(|line| line["text"].as_str()).collect();
    assert_eq!(texts, [Some("kept"), Some("found again")].repeat(3));
    agree(&met.alice, &met.carol).await;
}

/// Both send many at once; each is shown all of the other's, in order.
async fn talk_at_once(met: &Met, alice: &mut Running, carol: &mut Running) {
    let texts: Vec<String> = (0..MANY).map(|n| format!("message {n}")).collect();
    let talk = async |from: &Home, to: &str| {
        for text in &texts {
            queues(from, to, text).await;
        }
    };
    tokio::join!(talk(&met.alice, "carol"), talk(&met.carol, "alice"));
    for text in &texts {
        shows(alice, "carol", text).await;
        shows(carol, "alice", text).await;
    }
}

#[tokio::test]
async fn without_a_registry_many_messages_both_ways_stay_in_order() {
    let met = Met::new().await;
    let mut alice = met.alice.listening(&[]).await;
    let mut carol = met.carol.listening(&[]).await;
    talk_at_once(&met, &mut alice, &mut carol).await;
    end([alice, carol]).await;
    agree(&met.alice, &met.carol).await;
}

#[tokio::test]
async fn without_any_server_links_and_common_peers_do_everything() {
    let mut met = Met::new().await;
    let mut all = met.all_listening().await;
    met.servers.kill_gateway().await;
    for listen in &mut all {
        listen.event("offline").await;
    }
    let [alice, _, carol, _] = &mut all;
    talk_at_once(&met, alice, carol).await;
    // The command is killed, the process that took its message is not.
    for repeat in 0..REPEATS {
        let text = format!("killed {repeat}");
        let mut send = met.alice.start(&["send", "carol", &text]);
        send.state("queued").await;
        send.kill().await;
        shows(&mut all[2], "alice", &text).await;
    }
    meet_through_bob(&met, &mut all).await;
    end(all).await;
    agree(&met.alice, &met.carol).await;
}
