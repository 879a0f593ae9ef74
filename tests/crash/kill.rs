//! `kill -9` of the built `beeline`: at named places, each in the role it belongs to, and at any
//! moment. A killed process left its home to the next one; in the end every message was shown once,
//! in order, the outboxes are empty and the databases sound.

use crate::process::{Done, Home, Running, Served};
use crate::shown::Shown;
use crate::table::{number, say, share_of};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use std::time::Duration;

/// Kills at each place in the whole run.
const KILLS: u64 = 10;

/// Kills at any moment in the whole run, all roles together.
const RANDOM_KILLS: u64 = 2_000;

/// Longest a `send` lives before it is killed at random, milliseconds.
const SEND_MS: u64 = 250;

/// The same for a `listen`.
const LISTEN_MS: u64 = 600;

/// How long after a message is shown a place is waited for.
const AFTER: Duration = Duration::from_secs(2);

/// Places of a sender, and how often they may be passed before.
const SENDER: &[(&str, u64)] = &[
    ("before-commit.queue", 1),
    ("after-commit.queue", 1),
    ("before.queued", 1),
    ("after.queued", 1),
    ("before-commit.tried", 1),
    ("after-commit.tried", 1),
    ("before.signal", 3),
    ("after.signal", 3),
    ("before.frame", 3),
    ("after.frame", 3),
    ("before-commit.delivered", 1),
    ("after-commit.delivered", 1),
    ("before.delivered", 1),
    ("after.delivered", 1),
];

/// Places of a recipient.
const RECIPIENT: &[(&str, u64)] = &[
    ("after.signal", 2),
    ("before-commit.receive", 2),
    ("after-commit.receive", 2),
    ("before.frame", 3),
    ("after.frame", 3),
    ("before.received", 2),
    ("after.received", 2),
    ("before-commit.showing", 2),
    ("after-commit.showing", 2),
    ("show.marked", 2),
    ("show.printed", 2),
    ("before-commit.shown", 2),
    ("after-commit.shown", 2),
    ("show.done", 2),
];

/// Places of a home that is started for the first time, and sends for the first time.
const FIRST: &[(&str, u64)] = &[
    ("store.made", 1),
    ("migration.begun", 2),
    ("migration.done", 2),
    ("before-commit.new-key", 1),
    ("after-commit.new-key", 1),
    ("before-commit.contact", 1),
    ("after-commit.contact", 1),
    ("before-commit.seal", 1),
    ("after-commit.seal", 1),
];

/// One line of the table.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) runs: u64,
    pub(crate) killed: u64,
}

impl Tally {
    /// Waits until `armed` has ended at its place; or until `other` has ended, or goes on for a
    /// while after it was shown a message, for then the place is not passed. Both are gone then.
    /// What the other printed.
    pub(crate) async fn add(&mut self, mut armed: Running, mut other: Running) -> Done {
        let ended = async |running: &mut Running| while running.line().await.is_some() {};
        let shown = async |running: &mut Running| {
            while let Some(line) = running.line().await {
                if line["event"] == "message" {
                    let _ = tokio::time::timeout(AFTER, ended(running)).await;
                    return;
                }
            }
        };
        let reached = tokio::select! {
            () = ended(&mut armed) => true,
            () = shown(&mut other) => false,
        };
        let other = other.kill().await;
        let done = armed.kill().await;
        self.runs += 1;
        self.killed += u64::from(reached && done.was_killed());
        other
    }
}

/// A network with two people.
pub(crate) struct Pair {
    pub(crate) served: Served,
    pub(crate) alice: Home,
    pub(crate) carol: Home,
    pub(crate) shown: Shown,
    sent: Vec<String>,
}

impl Pair {
    pub(crate) async fn new() -> Self {
        let served = Served::start(&[]).await;
        let alice = Home::joined(served.invite(), "alice", &[]).await;
        let carol = Home::joined(served.invite(), "carol", &[]).await;
        let mut listen = carol.listening(&[]).await;
        let met = "they have met".to_owned();
        alice.run(&["send", "carol", &met]).await.expect_code(0);
        listen.event("message").await;
        let mut shown = Shown::default();
        shown.add_all(&listen.terminate().await);
        Self {
            served,
            alice,
            carol,
            shown,
            sent: vec![met],
        }
    }

    /// A text nobody has sent before.
    pub(crate) fn text(&mut self) -> String {
        let text = format!("m{}", self.sent.len());
        self.sent.push(text.clone());
        text
    }

    /// The last message, and the end: everything was shown once, in order.
    pub(crate) async fn finish(mut self) {
        let mut listen = self.carol.listening(&[]).await;
        let last = self.text();
        send_until_done(&self.alice, &last).await;
        listen.until("the last", |line| line["text"] == *last).await;
        self.shown.add_all(&listen.terminate().await);
        assert_eq!(self.shown.first, self.sent, "none missing, in order");
        for home in [&self.alice, &self.carol] {
            let status = home.run(&["status"]).await;
            assert_eq!(status.only("status")["outbox"], 0, "{status}");
            is_sound(home);
        }
        self.served.running.terminate().await.expect_code(0);
    }
}

/// The database of a home nobody runs.
pub(crate) fn is_sound(home: &Home) {
    let conn = rusqlite::Connection::open(home.path().join("client.db")).expect("it opens");
    let verdict: String = conn
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .expect("it answers");
    assert_eq!(verdict, "ok");
    let wrong: i64 = conn
        .query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| {
            row.get(0)
        })
        .expect("it answers");
    assert_eq!(wrong, 0, "references lead somewhere");
}

/// Sends with the text as its key, and waits until it is delivered.
async fn send_until_done(alice: &Home, text: &str) {
    let done = alice
        .run(&["send", "carol", text, "--idempotency-key", text])
        .await;
    done.expect_code(0);
}

/// A command that ends itself at a place.
pub(crate) fn armed(home: &Home, args: &[&str], place: &str, times: u64) -> Running {
    let mut command = home.command(args);
    command.env("BEELINE_CRASH_AT", format!("{place}:{times}"));
    Running::start(command)
}

/// A `send` that ends at a place, and the same call again.
async fn kill_sender(pair: &mut Pair, place: &str, times: u64, tally: &mut Tally) {
    let text = pair.text();
    let args = ["send", "carol", &text, "--idempotency-key", &text];
    let done = armed(&pair.alice, &args, place, times).end().await;
    tally.runs += 1;
    tally.killed += u64::from(done.was_killed());
    send_until_done(&pair.alice, &text).await;
}

/// A `listen` that ends at a place while messages come; one that shows the last of them did not.
async fn kill_recipient(pair: &mut Pair, place: &str, times: u64, tally: &mut Tally) {
    let mut listen = armed(&pair.carol, &["listen"], place, times);
    for _ in 0..3 {
        let text = pair.text();
        let args = ["send", "carol", &text, "--wait", "queued"];
        pair.alice.run(&args).await.expect_code(0);
    }
    let last = pair.sent[pair.sent.len() - 1].clone();
    let mut reached = true;
    while let Some(line) = listen.line().await {
        if line["text"] == *last {
            reached = false;
            break;
        }
    }
    let done = listen.kill().await;
    tally.runs += 1;
    tally.killed += u64::from(reached && done.was_killed());
    pair.shown.add_all(&done);
}

/// A new home whose first `send` ends at a place, and the same call again.
async fn kill_first(pair: &mut Pair, place: &str, times: u64, tally: &mut Tally) {
    let name = format!("new{}", pair.sent.len());
    let home = Home::joined(pair.served.invite(), &name, &[]).await;
    let text = pair.text();
    let args = ["send", "carol", &text, "--idempotency-key", &text];
    let done = armed(&home, &args, place, times).end().await;
    tally.runs += 1;
    tally.killed += u64::from(done.was_killed());
    send_until_done(&home, &text).await;
    is_sound(&home);
}

pub(crate) fn tell(place: &str, role: &str, tally: &Tally) {
    say(&format!(
        "{place:<34} {role:<9} {:>6} {:>6}",
        tally.runs, tally.killed
    ));
    assert!(tally.killed > 0, "{place} of the {role} is never reached");
}

#[tokio::test]
async fn the_binary_under_test_has_the_places() {
    let home = Home::new();
    let done = armed(&home, &["--version"], "main", 1).end().await;
    assert!(
        done.was_killed(),
        "built without the feature `testing`: run tests/run, or build with it"
    );
}

#[tokio::test]
async fn killed_senders_lose_nothing() {
    let mut pair = Pair::new().await;
    let mut listen = pair.carol.listening(&[]).await;
    for (place, most) in SENDER {
        let mut tally = Tally::default();
        for n in 0..share_of(KILLS, 1) {
            kill_sender(&mut pair, place, 1 + n % most, &mut tally).await;
            let text = pair.sent[pair.sent.len() - 1].clone();
            listen.until("it", |line| line["text"] == *text).await;
        }
        tell(place, "sender", &tally);
    }
    pair.shown.add_all(&listen.terminate().await);
    pair.finish().await;
}

#[tokio::test]
async fn killed_recipients_lose_nothing() {
    let mut pair = Pair::new().await;
    let run = pair.alice.start(&["run"]);
    for (place, most) in RECIPIENT {
        let mut tally = Tally::default();
        for n in 0..share_of(KILLS, 1) {
            kill_recipient(&mut pair, place, 1 + n % most, &mut tally).await;
        }
        tell(place, "recipient", &tally);
    }
    run.terminate().await.expect_code(0);
    pair.finish().await;
}

#[tokio::test]
async fn first_starts_that_are_killed_lose_nothing() {
    let mut pair = Pair::new().await;
    let mut listen = pair.carol.listening(&[]).await;
    for (place, most) in FIRST {
        let mut tally = Tally::default();
        for n in 0..share_of(KILLS, 1) {
            kill_first(&mut pair, place, 1 + n % most, &mut tally).await;
            let text = pair.sent[pair.sent.len() - 1].clone();
            listen.until("it", |line| line["text"] == *text).await;
        }
        tell(place, "new home", &tally);
    }
    pair.shown.add_all(&listen.terminate().await);
    pair.finish().await;
}

/// Kills a process that still runs after so long.
async fn kill_within(mut running: Running, ms: u64, tally: &mut Tally) -> Done {
    tally.runs += 1;
    let limit = Duration::from_millis(ms);
    let ended = async { while running.line().await.is_some() {} };
    // Whether it ended by itself or not, it is gone after this.
    let _ = tokio::time::timeout(limit, ended).await;
    let done = running.kill().await;
    tally.killed += u64::from(done.was_killed());
    done
}

#[tokio::test]
async fn kills_at_any_moment_lose_nothing() {
    let seed = number("BEELINE_CRASH_SEED").unwrap_or(1);
    say(&format!("kills at random: BEELINE_CRASH_SEED={seed}"));
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut pair = Pair::new().await;
    let (mut senders, mut recipients) = (Tally::default(), Tally::default());
    for _ in 0..share_of(RANDOM_KILLS, 20) / 2 {
        let listen = pair.carol.start(&["listen"]);
        let text = pair.text();
        let send = pair
            .alice
            .start(&["send", "carol", &text, "--idempotency-key", &text]);
        let after = rng.next_u64() % SEND_MS;
        kill_within(send, after, &mut senders).await;
        // The next call goes on where that one ended, whether or not the recipient is there.
        let args = [
            "send",
            "carol",
            &text,
            "--idempotency-key",
            &text,
            "--wait",
            "queued",
        ];
        pair.alice.run(&args).await.expect_code(0);
        let after = rng.next_u64() % LISTEN_MS;
        let done = kill_within(listen, after, &mut recipients).await;
        pair.shown.add_all(&done);
    }
    tell("any moment", "sender", &senders);
    tell("any moment", "recipient", &recipients);
    pair.finish().await;
}
