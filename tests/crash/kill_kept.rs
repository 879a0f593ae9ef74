//! `kill -9` of the built `beeline` while messages are kept for somebody who is away: of the
//! custodian, wherever it keeps and deletes, and of the sender that asks it.

use crate::kill::{Pair, Tally, armed, tell};
use crate::process::{Home, Running};
use crate::table::share_of;

/// Kills at each place in the whole run.
const KILLS: u64 = 10;

/// What the custodian runs: any port, the same after a restart.
const RUN: [&str; 4] = ["run", "--coordinator", "--listen", "127.0.0.1:0"];

/// Places of a custodian while it is asked to keep, and how often they may be passed before.
const KEEPING: &[(&str, u64)] = &[
    ("before-commit.keep", 1),
    ("after-commit.keep", 1),
    ("before.frame", 3),
    ("after.frame", 3),
];

/// Places of a custodian while the recipient takes what is kept.
const HANDING_OVER: &[(&str, u64)] = &[
    ("before.frame", 3),
    ("after.frame", 3),
    ("before-commit.drop", 1),
    ("after-commit.drop", 1),
];

/// Places of a sender while its message is being kept.
const DEPOSITING: &[(&str, u64)] = &[
    ("before-commit.stored", 1),
    ("after-commit.stored", 1),
    ("before-commit.tried", 1),
    ("after-commit.tried", 1),
];

/// A custodian that is there when nobody else is.
struct Kept {
    pair: Pair,
    bob: Home,
}

impl Kept {
    async fn new() -> Self {
        let pair = Pair::new().await;
        let invite = pair.served.coordinator_invite().await;
        let bob = Home::joined(&invite, "bob", &[]).await;
        Self { pair, bob }
    }

    /// Bob as he always is.
    async fn keeper(&self) -> Running {
        let mut keeper = self.bob.start(&RUN);
        keeper.event("online").await;
        keeper
    }

    /// Bob, who ends himself at a place.
    async fn armed_keeper(&self, place: &str, times: u64) -> Running {
        let mut keeper = armed(&self.bob, &RUN, place, times);
        // He may end before: signals and frames are what he comes online with, too.
        while let Some(line) = keeper.line().await {
            if line["event"] == "online" {
                break;
            }
        }
        keeper
    }

    /// Alice's next message, kept by Bob: the same call as often as it takes.
    async fn store(&self, text: &str) {
        self.pair.alice.run(&store(text)).await.expect_code(0);
    }

    /// Carol is there until she was shown a text; she ends as people end it.
    async fn show(&mut self, text: &str) {
        let mut listen = self.pair.carol.start(&["listen"]);
        listen.until("it", |line| line["text"] == *text).await;
        self.pair.shown.add_all(&listen.terminate().await);
    }
}

/// A `send` that is content when somebody keeps the message.
fn store(text: &str) -> [&str; 7] {
    let key = "--idempotency-key";
    ["send", "carol", text, key, text, "--wait", "stored"]
}

/// A custodian that ends at a place while it is asked to keep; the sender asks it again.
async fn kill_keeping(kept: &mut Kept, place: &str, times: u64, tally: &mut Tally) {
    let keeper = kept.armed_keeper(place, times).await;
    let text = kept.pair.text();
    let send = kept.pair.alice.start(&store(&text));
    tally.add(keeper, send).await;
    let keeper = kept.keeper().await;
    kept.store(&text).await;
    kept.show(&text).await;
    keeper.terminate().await.expect_code(0);
}

/// A custodian that ends at a place while the recipient takes what it kept.
async fn kill_handing_over(kept: &mut Kept, place: &str, times: u64, tally: &mut Tally) {
    let keeper = kept.keeper().await;
    let text = kept.pair.text();
    kept.store(&text).await;
    keeper.terminate().await.expect_code(0);
    let keeper = kept.armed_keeper(place, times).await;
    let listen = kept.pair.carol.start(&["listen"]);
    let done = tally.add(keeper, listen).await;
    kept.pair.shown.add_all(&done);
    let keeper = kept.keeper().await;
    if !kept.pair.shown.first.contains(&text) {
        kept.show(&text).await;
    }
    keeper.terminate().await.expect_code(0);
}

/// A sender that ends at a place while its message is being kept, and the same call again.
async fn kill_depositing(kept: &mut Kept, place: &str, times: u64, tally: &mut Tally) {
    let keeper = kept.keeper().await;
    let text = kept.pair.text();
    let done = armed(&kept.pair.alice, &store(&text), place, times)
        .end()
        .await;
    tally.runs += 1;
    tally.killed += u64::from(done.was_killed());
    kept.store(&text).await;
    kept.show(&text).await;
    keeper.terminate().await.expect_code(0);
}

#[tokio::test]
async fn killed_custodians_lose_nothing_they_said_they_keep() {
    let mut kept = Kept::new().await;
    for (place, most) in KEEPING {
        let mut tally = Tally::default();
        for n in 0..share_of(KILLS, 1) {
            kill_keeping(&mut kept, place, 1 + n % most, &mut tally).await;
        }
        tell(place, "custodian", &tally);
    }
    for (place, most) in HANDING_OVER {
        let mut tally = Tally::default();
        for n in 0..share_of(KILLS, 1) {
            kill_handing_over(&mut kept, place, 1 + n % most, &mut tally).await;
        }
        tell(place, "custodian", &tally);
    }
    kept.pair.finish().await;
    crate::kill::is_sound(&kept.bob);
}

#[tokio::test]
async fn killed_depositors_lose_nothing() {
    let mut kept = Kept::new().await;
    for (place, most) in DEPOSITING {
        let mut tally = Tally::default();
        for n in 0..share_of(KILLS, 1) {
            kill_depositing(&mut kept, place, 1 + n % most, &mut tally).await;
        }
        tell(place, "depositor", &tally);
    }
    kept.pair.finish().await;
    crate::kill::is_sound(&kept.bob);
}
