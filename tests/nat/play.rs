//! One pair of a scenario: its world is built once, then fresh processes try, each pair of them
//! users that never met.

use super::client::Client;
use super::file::carry;
use super::hide::Hide;
use super::kind::Kind;
use super::program::Wrong;
use super::scenario::Scenario;
use super::servers::{Ice, Servers};
use super::trouble::{Pair, Trouble};
use super::world::{Conditions, HOSTS, World};
use beeline_tests::netns::Netns;
use serde_json::Value;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The coordinator inside `serve`.
const COORDINATOR: &str = "coordinator_1";

/// How long a client may take to have a link to the coordinator before it is asked to send anyway.
const SETTLE: Duration = Duration::from_secs(5);

/// How long a link that must come may take.
pub(crate) const DIRECT: Duration = Duration::from_secs(20);

/// One state of a message, and when the lab saw it.
pub(crate) struct Step {
    pub(crate) state: String,
    /// The rung or the path.
    pub(crate) how: String,
    pub(crate) at: Duration,
}

/// What came of one try.
#[derive(Default)]
pub(crate) struct Try {
    /// Each state of the message, in order.
    pub(crate) steps: Vec<Step>,
    /// From `send` to the proof of delivery, and by which path.
    pub(crate) first: Option<(Duration, String)>,
    /// From `send` to an open link to the recipient.
    pub(crate) link: Option<Duration>,
    /// From the end of the trouble to the next proof of delivery, and by which path.
    pub(crate) again: Option<(Duration, String)>,
    /// From the end of the trouble to a proof that came directly.
    pub(crate) back: Option<Duration>,
    /// How long the file took that met no trouble, and which way it came.
    pub(crate) file: Option<(Duration, String)>,
    /// Which of the two had a link to the coordinator before.
    pub(crate) coordinator: [bool; 2],
    /// What went wrong.
    pub(crate) wrong: Option<Wrong>,
}

/// What came of a pair.
pub(crate) struct Row {
    pub(crate) kinds: [Kind; 2],
    pub(crate) ice: Ice,
    pub(crate) hide: Hide,
    pub(crate) tries: Vec<Try>,
}

impl Row {
    /// Whether a link between the two must come: direct, or through TURN where both reach it.
    pub(crate) fn must_link(&self) -> bool {
        self.hide.must_link(self.kinds, self.ice)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the lab prints how long things take"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// A pair's world with its servers, ready for clients.
pub(crate) struct Held {
    pub(crate) world: World,
    pub(crate) servers: Servers,
    pub(crate) dir: TempDir,
    pub(crate) ice: Ice,
    /// Size of the file that is on its way when trouble comes, if one is.
    pub(crate) file_mib: Option<u64>,
    /// Tries played.
    pub(crate) played: usize,
}

impl Held {
    /// Builds it.
    pub(crate) async fn build(
        kinds: [Kind; 2],
        conditions: Conditions,
        ice: Ice,
    ) -> Result<Self, Wrong> {
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let hosts = dir.path().join("hosts");
        std::fs::write(&hosts, HOSTS).map_err(|error| error.to_string())?;
        let world = World::build(kinds, conditions, &hosts);
        let servers = Servers::start(&world, ice, dir.path()).await?;
        Ok(Self {
            world,
            servers,
            dir,
            ice,
            file_mib: None,
            played: 0,
        })
    }

    /// How to look around in it.
    pub(crate) fn told(&self) -> String {
        let [alice, carol] = &self.world.parties;
        let all = [
            &self.world.servers,
            &self.world.turn,
            &alice.host,
            &carol.host,
        ];
        let nats = alice.before.iter().chain(&carol.before);
        let enter = |space: &Netns| {
            format!(
                "{:<20} nsenter --target {} --net --mount\n",
                space.name(),
                space.pid()
            )
        };
        let spaces: String = all.into_iter().chain(nats).map(enter).collect();
        let dir = self.dir.path().display();
        format!(
            "{spaces}logs and data         {dir}\ninvite               {}\n",
            self.servers.invite
        )
    }
}

/// Plays one pair.
pub(crate) async fn play(scenario: &Scenario, kinds: [Kind; 2]) -> Result<Row, Wrong> {
    let mut held = Held::build(kinds, scenario.conditions, scenario.ice).await?;
    held.file_mib = scenario.file_mib;
    let mut row = Row {
        kinds,
        ice: scenario.ice,
        hide: scenario.hide,
        tries: Vec::new(),
    };
    for _ in 0..scenario.tries {
        let mut done = Try::default();
        let tried = attempt(&mut held, scenario, row.must_link(), &mut done);
        done.wrong = tried.await.err();
        held.played += 1;
        row.tries.push(done);
    }
    held.servers.beeline.end().await?;
    Ok(row)
}

async fn attempt(
    held: &mut Held,
    scenario: &Scenario,
    must_link: bool,
    done: &mut Try,
) -> Result<(), Wrong> {
    let Scenario { trouble, hide, .. } = *scenario;
    let (parties, dir) = (&held.world.parties, held.dir.path());
    let names = [
        format!("alice_{}", held.played),
        format!("carol_{}", held.played),
    ];
    let [alice, carol] = [0, 1].map(|side: usize| {
        let host = &parties[side].host;
        hide.watch(host);
        Client::join(host, &held.servers.invite, &names[side], dir, hide)
    });
    let (alice, carol) = futures::future::try_join(alice, carol).await?;
    let [one, other] = parties;
    let settles = |kind: Kind| hide.links_out(kind, held.ice);
    let settled = futures::future::try_join(
        settled(&alice, settles(one.kind)),
        settled(&carol, settles(other.kind)),
    );
    let (one, other) = settled.await?;
    done.coordinator = [one, other];

    let pair = Pair {
        alice: &alice,
        carol: &names[1],
        other: &carol,
    };
    let tried = play_pair(held, trouble, &pair, must_link, done).await;
    // Carol may have a link where Alice has none, so ask before they leave.
    let linked = alice.is_linked(&names[1]).await?;
    let ends = futures::future::join(alice.program.end(), carol.program.end()).await;
    tried?;
    ends.0.and(ends.1)?;
    for party in &held.world.parties {
        hide.check(&party.host)?;
    }
    if linked && !must_link {
        return Err("a link that theory excludes: the lab is wrong".to_owned());
    }
    if must_link && done.link.is_none() && done.back.is_none() {
        return Err(format!("no link within {DIRECT:?}"));
    }
    Ok(())
}

/// The first message, and the trouble where there is one.
async fn play_pair(
    held: &mut Held,
    trouble: Option<Trouble>,
    pair: &Pair<'_>,
    must_link: bool,
    done: &mut Try,
) -> Result<(), Wrong> {
    if let Some(trouble) = trouble {
        trouble.before(held);
    }
    let early = async {
        match trouble.filter(|trouble| trouble.comes_early()) {
            Some(trouble) => trouble.early(held, pair).await,
            None => Ok(()),
        }
    };
    let (talked, troubled) =
        futures::future::join(talk(pair.alice, pair.carol, must_link, done), early).await;
    talked.and(troubled)?;
    match (trouble, held.file_mib) {
        (None, Some(mib)) => carry(None, held, pair, mib, done).await,
        (Some(trouble), _) if must_link => trouble.late(held, pair, done).await,
        _ => Ok(()),
    }
}

/// Waits for the link to the coordinator, where there can be one.
async fn settled(client: &Client, can_be: bool) -> Result<bool, Wrong> {
    Ok(can_be && client.linked(COORDINATOR, SETTLE).await?)
}

/// Sends the first message, and watches for a link meanwhile.
async fn talk(alice: &Client, carol: &str, must_link: bool, done: &mut Try) -> Result<(), Wrong> {
    let start = now();
    let link = async {
        let linked = must_link && alice.linked(carol, DIRECT).await?;
        Ok::<_, Wrong>(linked.then(|| now().duration_since(start)))
    };
    let first = async {
        let mut states = alice.send(carol, "first").await?;
        let mut steps = Vec::new();
        let mut first = None;
        while let Some(state) = states
            .message()
            .await
            .map_err(|status| status.to_string())?
        {
            let at = now().duration_since(start);
            if state.json.is_empty() {
                // The last one may carry only the exit code.
                break;
            }
            let line: Value = serde_json::from_str(&state.json).map_err(|e| e.to_string())?;
            let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
            let (state, path, rung) = (text("state"), text("path"), text("rung"));
            if state == "delivered" {
                first = Some((at, path.clone()));
            }
            let how = if rung.is_empty() { path } else { rung };
            steps.push(Step { state, how, at });
        }
        Ok::<_, Wrong>((steps, first))
    };
    let (link, first) = futures::future::join(link, first).await;
    (done.steps, done.first) = first?;
    done.link = link?;
    if done.first.is_none() {
        let told = |step: &Step| format!("{} {} {}", step.at.as_millis(), step.state, step.how);
        let states: Vec<String> = done.steps.iter().map(told).collect();
        return Err(format!("not delivered: {}", states.join(", ")));
    }
    Ok(())
}
