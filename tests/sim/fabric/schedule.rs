//! One schedule: a small world made from a seed, a time of trouble, then a time of peace in which
//! everything must come right.

use super::custody::Left;
use super::hits::Hits;
use super::liars::{LIES, Lie, shuffle_signals, tap};
use super::model::Model;
use super::servers::Servers;
use super::watch::Watch;
use beeline_proto::id::sha256;
use client_core::testing::tap::{Shared, shared};
use client_core::testing::{MemoryStore, NodeId, World};
use client_core::{Keep, Space};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use std::collections::{BTreeMap, BTreeSet};

/// Everything that goes wrong in one schedule.
const TROUBLES: u64 = 40;

/// Peace lasts this long, milliseconds: two of the longest pauses between tries.
const PEACE_MS: u64 = 25 * 60 * 1_000;

/// A day, milliseconds.
const DAY_MS: u64 = 24 * 3_600 * 1_000;

/// How far a clock jumps at most, milliseconds: ten years.
const JUMP_MS: u64 = 3_652 * DAY_MS;

/// A clock that is this far ahead finds that memberships ended, and links with nobody until it is
/// put right, milliseconds.
const AHEAD_MS_MAX: i64 = 365 * DAY_MS as i64;

/// Room for two parcels of one user.
const NARROW: Keep = Keep {
    total: Space {
        parcels: 32,
        bytes: 1 << 20,
    },
    recipient: Space {
        parcels: 32,
        bytes: 1 << 20,
    },
    per_s: 64,
};

/// One schedule in this many seals for real.
const REAL_CRYPTO_EVERY: u64 = 100;

/// What came of a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    /// SHA-256 over everything that was told to everybody.
    pub(super) hash: [u8; 32],
    /// What must not have happened.
    pub(super) violation: Option<String>,
    /// Messages that were durable.
    pub(super) messages: usize,
    /// Events the model looked at.
    pub(super) events: u64,
    /// What went wrong in which state.
    pub(super) hits: Hits,
    /// What was done to the world, and told in it, in order; empty unless something was wrong.
    pub(super) story: String,
}

struct Run {
    world: World,
    rng: ChaCha8Rng,
    model: Model,
    people: Vec<NodeId>,
    liars: BTreeSet<NodeId>,
    hits: Hits,
    shuffling: Shared<bool>,
    /// Backups by home.
    backups: BTreeMap<NodeId, MemoryStore>,
    sent: u64,
    /// Who sent to whom last.
    talking: (NodeId, NodeId),
    /// What was done to the world.
    done: Vec<(u64, String)>,
}

/// Runs the schedule of a seed.
pub(super) fn run(seed: u64) -> Outcome {
    let mut run = Run::new(seed);
    run.meet();
    run.trouble();
    run.repair();
    run.leave_one_away();
    run.peace();
    let mut told = Vec::new();
    let mut messages = 0;
    for id in run.world.ids() {
        let node = run.world.node(id);
        messages += node.store.outbox.len();
        told.extend_from_slice(format!("{:?}", node.events).as_bytes());
    }
    let wrong = run.model.violation.is_some();
    let story = if wrong { run.story() } else { String::new() };
    Outcome {
        hash: sha256(&told),
        story,
        violation: run.model.violation,
        messages,
        events: run.model.events,
        hits: run.hits,
    }
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut world = World::new(rng.next_u64());
        world.use_backend(Box::new(Servers::new(world.authority.network())));
        world.real_crypto = seed.is_multiple_of(REAL_CRYPTO_EVERY);
        world.timing.jitter_ms = rng.next_u64() % 30;
        world.timing.link_ms = 1 + rng.next_u64() % 80;
        world.timing.ice_ms = 5 + 6 * world.timing.link_ms;
        world.timing.dead_ms = 500 + rng.next_u64() % 8_000;
        if rng.next_u64().is_multiple_of(4) {
            world.budget = 1 + (rng.next_u64() % 8) as usize;
        }
        let shuffling = shuffle_signals(&mut world, rng.next_u64());
        *shuffling.borrow_mut() = false;
        let mut run = Self {
            world,
            rng,
            model: Model::new(shared(Watch::default())),
            people: Vec::new(),
            liars: BTreeSet::new(),
            hits: Hits::default(),
            shuffling,
            backups: BTreeMap::new(),
            sent: 0,
            talking: (NodeId(0), NodeId(0)),
            done: Vec::new(),
        };
        run.populate();
        run
    }

    /// Everything in order.
    fn story(&self) -> String {
        let mut lines: Vec<(u64, String)> = self.done.clone();
        for id in self.world.ids() {
            let node = self.world.node(id);
            let events = node.events.iter();
            lines.extend(events.map(|(at, e)| (*at, format!("{}: {e:?}", node.user.label))));
        }
        lines.sort_by_key(|(at, _)| *at);
        let now = self.world.now();
        for id in self.world.ids() {
            if let Some(manager) = &self.world.node(id).manager {
                let refused = manager.status(now).refused;
                lines.push((now.mono_ms, format!("---- {id:?} counted {refused:?}")));
            }
        }
        let lines = lines.iter().map(|(at, line)| format!("{at:>9} {line}\n"));
        lines.collect()
    }

    fn note(&mut self, what: String) {
        let at = self.world.now_ms;
        self.done.push((at, format!("---- {what}")));
    }

    fn below(&mut self, n: u64) -> u64 {
        self.rng.next_u64() % n.max(1)
    }

    fn populate(&mut self) {
        for n in 0..self.below(3) {
            let name = format!("host{n}");
            let id = self.world.coordinator_stopped(&name);
            if self.below(3) == 0 {
                self.world.node_mut(id).links_max = 2 + self.below(2) as usize;
            }
            self.world.node_mut(id).can_store = self.below(4) > 0;
            self.people.push(id);
        }
        for n in 0..3 + self.below(4) {
            let id = self.world.member_stopped(&format!("peer{n}"));
            self.world.node_mut(id).unlisted = self.below(8) == 0;
            self.world.node_mut(id).can_relay = self.below(8) > 0;
            self.world.node_mut(id).can_store = self.below(3) == 0;
            self.people.push(id);
        }
        if self.below(4) == 0 {
            for id in self.people.clone() {
                self.world.node_mut(id).keep = NARROW;
            }
        }
        let lies = self.choose_liars();
        let watch = Watch::new(&self.world);
        self.model.watch = watch.clone();
        tap(&mut self.world, &lies, watch);
        for id in self.people.clone() {
            self.world.start(id);
        }
    }

    /// In one schedule of three somebody lies, in half of these another one too.
    fn choose_liars(&mut self) -> Vec<(NodeId, Lie)> {
        let mut lies: Vec<(NodeId, Lie)> = Vec::new();
        let several = self.below(2) == 0;
        if self.below(3) > 0 {
            return lies;
        }
        for _ in 0..=u64::from(several) {
            let liar = self.anybody();
            let lie = LIES[self.below(LIES.len() as u64) as usize];
            let honest = self.people.len() - self.liars.len();
            let cannot = lie == Lie::Pretend && self.world.real_crypto;
            if !cannot && honest > 2 && self.liars.insert(liar) {
                lies.push((liar, lie));
                self.world.node_mut(liar).can_store |= lie.is_of_custody();
                self.model.liars = true;
            }
        }
        lies
    }

    fn anybody(&mut self) -> NodeId {
        let n = self.below(self.people.len() as u64) as usize;
        self.people[n]
    }

    fn two(&mut self) -> (NodeId, NodeId) {
        let one = self.anybody();
        let mut other = self.anybody();
        while other == one {
            other = self.anybody();
        }
        (one, other)
    }

    /// Lets time pass; the model looks at every step.
    fn pass(&mut self, ms: u64) {
        let model = &mut self.model;
        let end = self.world.now_ms + ms;
        self.world.drive_until(ms, |world| {
            model.look(world);
            model.violation.is_some()
        });
        self.world.now_ms = self.world.now_ms.max(end);
        self.model.watch.borrow_mut().now_ms = self.world.now_ms;
    }

    fn send(&mut self) {
        // Often to the same as before, so that messages follow each other.
        if self.sent == 0 || self.below(2) == 0 {
            self.talking = self.two();
        }
        self.send_again();
    }

    fn send_again(&mut self) {
        let (from, to) = self.talking;
        self.sent += 1;
        let text = format!("m{}", self.sent);
        let to = self.world.node(to).user.label.clone();
        self.world.send(from, to.as_str(), &text);
    }

    /// Some get to know each other while all is well.
    fn meet(&mut self) {
        self.pass(100);
        for _ in 0..self.people.len() {
            self.send();
            let ms = self.below(300);
            self.pass(ms);
        }
        self.pass(3_000);
    }

    fn trouble(&mut self) {
        *self.shuffling.borrow_mut() = true;
        for _ in 0..TROUBLES {
            if self.model.violation.is_some() {
                return;
            }
            self.one_trouble();
            self.model.check_bounds(&self.world);
            self.model.check_custody(&self.world);
            let ms = match self.below(4) {
                0 => self.below(20),
                1 | 2 => self.below(400),
                _ => self.below(6_000),
            };
            self.pass(ms);
        }
    }

    fn one_trouble(&mut self) {
        let kind = self.below(24);
        let (one, other) = self.two();
        let coin = self.below(2) == 0;
        self.hits.count(&self.world, fault_of(kind, coin), one);
        let what = match kind {
            0 | 1 => {
                self.world.crash(one);
                format!("{one:?} is killed")
            }
            2 | 3 => return self.start_somebody(),
            4 => {
                self.world.set_gateway(coin);
                format!("the gateway is up: {coin}")
            }
            5 => {
                self.world.registry.down = coin;
                if !coin {
                    self.world.restart_registry();
                }
                format!("the registry is down: {coin}")
            }
            6 => {
                self.world.node_mut(one).failing_writes = 1 + self.below(3) as u32;
                format!("{one:?} has no room on its disk")
            }
            7 => {
                self.world.input(one, client_core::Input::NetworkChanged);
                format!("{one:?} moves to another network")
            }
            8 => {
                self.world.muted.insert((one, other));
                if coin {
                    self.world.cut(one, other);
                }
                format!("{other:?} does not hear {one:?}, noticed: {coin}")
            }
            9 => {
                self.world.apart.insert((one, other));
                format!("{one:?} and {other:?} cannot connect")
            }
            10 => {
                self.world.cut(one, other);
                format!("{one:?} and {other:?} lose their connection")
            }
            11 => self.move_clock(one, coin),
            12 => {
                self.world.crash(one);
                self.world.node_mut(one).store.bundles.clear();
                format!("{one:?} is killed, and its keys to unseal are lost")
            }
            13 => {
                let image = self.world.node(one).store.clone();
                self.backups.insert(one, image);
                format!("a backup of {one:?} is made")
            }
            14 => return self.restore_somebody(coin),
            15 => self.lose_what_is_kept(),
            16 | 17 => self.send_to_absent(one, other),
            _ => return self.send(),
        };
        self.note(what);
    }

    /// A custodian is killed, and what it kept for others is lost.
    fn lose_what_is_kept(&mut self) -> String {
        let keeps = |id: &&NodeId| !self.world.node(**id).store.kept.is_empty();
        let id = self.people.iter().find(keeps).copied();
        let id = id.unwrap_or_else(|| self.anybody());
        self.world.crash(id);
        self.world.node_mut(id).store.kept.clear();
        self.model.forget_promises(&self.world, id);
        format!("{id:?} is killed, and what it kept for others is lost")
    }

    /// Somebody goes away, and is written to.
    fn send_to_absent(&mut self, gone: NodeId, by: NodeId) -> String {
        self.world.crash(gone);
        self.note(format!("{gone:?} goes away, and {by:?} writes to it"));
        self.talking = (by, gone);
        for _ in 0..=self.below(3) {
            self.send_again();
        }
        self.pass(2_500);
        format!("{gone:?} is away")
    }

    /// A clock is moved by days, or by ten years.
    fn move_clock(&mut self, id: NodeId, far: bool) -> String {
        let skew_ms = if far {
            let ahead = self.below(2) == 0;
            if ahead {
                JUMP_MS as i64
            } else {
                -(JUMP_MS as i64)
            }
        } else {
            self.below(6 * DAY_MS) as i64 - 3 * DAY_MS as i64
        };
        self.world.node_mut(id).wall_skew_ms = skew_ms;
        format!("the clock of {id:?} is wrong by {skew_ms} ms")
    }

    /// A home is what it was when its backup was made; it may notice, by what lies beside it.
    fn restore_somebody(&mut self, noticed: bool) {
        let n = self.below(self.backups.len() as u64) as usize;
        let Some(id) = self.backups.keys().nth(n).copied() else {
            return self.send();
        };
        let Some(mut image) = self.backups.get(&id).cloned() else {
            return;
        };
        self.world.crash(id);
        self.pass(0);
        self.model.restore(&self.world, id, &image, noticed);
        if noticed {
            image.incarnation = self.rng.next_u64().max(1);
            image.copied = Some("it was restored".to_owned());
        }
        self.world.node_mut(id).store = image;
        self.model.forget_promises(&self.world, id);
        self.world.start(id);
        self.note(format!(
            "{id:?} is restored from its backup, noticed: {noticed}"
        ));
    }

    fn start_somebody(&mut self) {
        let down = |id: &&NodeId| self.world.node(**id).manager.is_none();
        let down: Vec<NodeId> = self.people.iter().filter(down).copied().collect();
        if !down.is_empty() {
            let n = self.below(down.len() as u64) as usize;
            self.world.start(down[n]);
            self.note(format!("{:?} starts", down[n]));
        }
    }

    /// Everything works again, but for NATs, clocks and those who lie.
    fn repair(&mut self) {
        self.note(format!("peace; {:?} lie", self.liars));
        *self.shuffling.borrow_mut() = false;
        // What was lost on a link without its end was a dead link.
        for (one, other) in std::mem::take(&mut self.world.muted) {
            self.world.cut(one, other);
        }
        self.world.registry.down = false;
        self.world.set_gateway(true);
        for id in self.people.clone() {
            let node = self.world.node_mut(id);
            node.failing_writes = 0;
            if node.wall_skew_ms > AHEAD_MS_MAX {
                node.wall_skew_ms = 0;
            }
        }
    }

    /// A sender whose messages somebody honest keeps stays away: they arrive all the same.
    fn leave_one_away(&mut self) {
        if self.model.violation.is_some() {
            return;
        }
        let left = self.model.left_with_custodians(&self.world, &self.liars);
        let Some(away) = left.first().map(|left| left.sender) else {
            return;
        };
        self.note(format!("{away:?} stays away"));
        self.world.crash(away);
        self.start_all_but(Some(away));
        self.pass(5_000);
        // What is kept is asked for by those who come online.
        let left = self.model.left_with_custodians(&self.world, &self.liars);
        let left: Vec<Left> = left.into_iter().filter(|l| l.sender == away).collect();
        for to in left
            .iter()
            .map(|left| left.recipient)
            .collect::<BTreeSet<_>>()
        {
            self.world.crash(to);
            self.world.start(to);
        }
        let end = self.world.now_ms + PEACE_MS;
        while self.world.now_ms < end && self.model.violation.is_none() {
            self.pass(5_000);
            self.model.check_custody(&self.world);
            if self.model.not_handed_over(&self.world, &left).is_none() {
                self.hits.count_left(left.len());
                return;
            }
        }
        let model = &mut self.model;
        if model.violation.is_none() {
            model.violation = model.not_handed_over(&self.world, &left);
        }
    }

    fn start_all_but(&mut self, away: Option<NodeId>) {
        for id in self.people.clone() {
            if Some(id) != away && self.world.node(id).manager.is_none() {
                self.world.start(id);
            }
        }
    }

    /// Whatever was durable must arrive.
    fn peace(&mut self) {
        if self.model.violation.is_some() {
            return;
        }
        self.start_all_but(None);
        let end = self.world.now_ms + PEACE_MS;
        while self.world.now_ms < end && self.model.violation.is_none() {
            self.pass(5_000);
            self.model.check_bounds(&self.world);
            self.model.check_custody(&self.world);
            let model = &mut self.model;
            if model.missing(&self.world, &self.liars).is_none() {
                let twice = model.counts_twice(&self.world);
                model.violation = model.violation.take().or(twice);
                return;
            }
        }
        let model = &mut self.model;
        if model.violation.is_none() {
            model.violation = model.missing(&self.world, &self.liars);
        }
    }
}

/// What the kinds of trouble are called.
fn fault_of(kind: u64, coin: bool) -> &'static str {
    match kind {
        0 | 1 => "killed",
        2 | 3 => "started",
        4 => "gateway",
        5 => "registry",
        6 => "disk full",
        7 => "moves",
        8 => "link deaf",
        9 => "apart",
        10 => "link cut",
        11 if coin => "clock by years",
        11 => "clock by days",
        12 => "keys lost",
        13 => "backup made",
        14 if coin => "restored, seen",
        14 => "restored, unseen",
        15 => "kept lost",
        16 | 17 => "away",
        _ => "sends",
    }
}
