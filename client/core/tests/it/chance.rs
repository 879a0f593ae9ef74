//! Store and forward by chance: custodians that lose frames, writes, disks and their lives, a
//! sender and a recipient that come and go. Whatever happens, states tell the truth and never go
//! back, and in the end each message is shown once and in order.

use crate::tap::items;
use beeline_proto::pb::peer::v1::peer_item::Kind;
use client_core::event::{DeliveryState, Event};
use client_core::testing::{NodeId, World};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Runs by chance; some thousand of them found no more.
const SEEDS: u64 = 24;

/// Runs that found something once.
const FOUND: [u64; 1] = [556];

/// Steps of one run.
const STEPS: u64 = 40;

/// Whether a frame is about custody.
fn is_custody(bytes: &[u8]) -> bool {
    let custody = |item: &Kind| {
        matches!(
            item,
            Kind::StoreMessage(_) | Kind::StoreReceipt(_) | Kind::Kept(_) | Kind::StoreFetch(_)
        )
    };
    items(bytes).iter().any(custody)
}

struct Run {
    world: World,
    alice: NodeId,
    carol: NodeId,
    keepers: Vec<NodeId>,
    sent: Vec<String>,
    /// Of a hundred frames about custody so many are lost, and so many come twice.
    trouble: Rc<Cell<(u64, u64)>>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut world = World::new(seed);
        world.timing.jitter_ms = 4;
        let mut keepers = vec![world.coordinator_stopped("ca")];
        keepers.extend(["bob", "dave", "erin"].map(|name| world.member_stopped(name)));
        for id in &keepers {
            world.node_mut(*id).can_store = true;
            world.start(*id);
        }
        let (alice, carol) = (world.member("alice"), world.member("carol"));
        world.drive(3_000);
        for name in ["bob", "dave", "erin", "carol"] {
            world.send(alice, name, "hello");
        }
        world.drive(10_000);
        let trouble = Rc::new(Cell::new((0, 0)));
        let (chances, count) = (trouble.clone(), Cell::new(seed));
        world.on_frame = Some(Box::new(move |_, _, bytes| {
            // A small generator of its own: the world's cannot be borrowed here.
            let next = count.get().wrapping_mul(6_364_136_223_846_793_005);
            count.set(next.wrapping_add(1_442_695_040_888_963_407));
            let chance = (count.get() >> 33) % 100;
            let (lost, twice) = chances.get();
            match is_custody(&bytes) {
                true if chance < lost => Vec::new(),
                true if chance < lost + twice => vec![bytes.clone(), bytes],
                _ => vec![bytes],
            }
        }));
        world.timing.dead_ms = 50;
        Self {
            world,
            alice,
            carol,
            keepers,
            sent: Vec::new(),
            trouble,
        }
    }

    fn toggle(&mut self, id: NodeId) {
        if self.world.node(id).manager.is_some() {
            self.world.crash(id);
        } else {
            self.world.start(id);
        }
    }

    fn step(&mut self, n: u64) {
        let which = self.world.chance(self.keepers.len() as u64) as usize;
        let keeper = self.keepers[which];
        match self.world.chance(10) {
            0..=3 => {
                let text = format!("m{n}");
                if self.world.node(self.alice).manager.is_some() {
                    let alice = self.alice;
                    self.world.send(alice, "carol", &text);
                    self.sent.push(text);
                }
            }
            4 => self.toggle(keeper),
            5 => {
                self.world.crash(keeper);
                self.world.node_mut(keeper).store.kept.clear();
                self.world.start(keeper);
            }
            6 => self.world.node_mut(keeper).failing_writes = 3,
            7 => self.toggle(self.alice),
            8 => self.toggle(self.carol),
            _ => {
                let alice = self.alice;
                self.world.node_mut(alice).failing_writes = 2;
            }
        }
        let (lost, twice) = (self.world.chance(40), self.world.chance(20));
        self.trouble.set((lost, twice));
        let ms = 200 + self.world.chance(20_000);
        self.world.drive(ms);
    }

    /// Everybody is there, and nothing is lost any more.
    fn heal(&mut self) {
        self.trouble.set((0, 0));
        for id in self.world.ids() {
            self.world.node_mut(id).failing_writes = 0;
            if self.world.node(id).manager.is_none() {
                self.world.start(id);
            }
        }
        let (alice, carol) = (self.alice, self.carol);
        // A send whose write failed was refused, and is nobody's promise.
        let done = move |w: &World| {
            let rows = w.node(alice).store.outbox.values();
            let mut to_carol = rows.filter(|row| row.to.as_str() == "carol");
            to_carol.all(|row| row.state >= DeliveryState::Delivered)
        };
        assert!(
            self.world.drive_until(60 * 60_000, done),
            "all is delivered"
        );
        self.world.drive(60_000);
        let rows = self.world.node(alice).store.outbox.values();
        let mut rows: Vec<_> = rows.filter(|row| row.to.as_str() == "carol").collect();
        rows.sort_by_key(|row| row.seq);
        let mut want: Vec<&str> = rows.iter().map(|row| row.text.as_str()).collect();
        let carol = self.world.node(carol);
        let mut shown = carol.store.shown();
        // An earlier one that was waited for in vain was shown to be missing, and came late.
        if carol.told(|event| matches!(event, Event::Received(m) if m.after_gap)) {
            shown.sort();
            want.sort();
        }
        assert_eq!(shown, want);
    }

    /// No state went back, and none was ahead of what proves it.
    fn check(&self) {
        let alice = self.world.node(self.alice);
        let mut last = BTreeMap::new();
        let mut started = alice.starts.iter().peekable();
        for (n, (at_ms, event)) in alice.events.iter().enumerate() {
            while started.next_if(|at| **at <= n).is_some() {
                // Only `stored` is told after its commit. That a peer took it along is not worth a
                // write; and an ACK whose write failed comes again.
                last.retain(|_, state| *state == DeliveryState::Stored);
            }
            let Event::MessageState(state) = event else {
                continue;
            };
            let before = last.insert(state.id, state.state);
            let back = before.is_some_and(|before| before > state.state);
            assert!(
                !back,
                "{at_ms}: {:?} went back to {:?}",
                state.id, state.state
            );
            if state.state == DeliveryState::Stored {
                let kept = state.kept.expect("how many");
                assert!(kept.n <= 3 && kept.k <= 3, "{kept:?}");
                let first = before != Some(DeliveryState::Stored);
                assert!(
                    !first || kept.is_enough(),
                    "{at_ms}: {kept:?} is not enough"
                );
            }
        }
        let mut last = BTreeMap::new();
        for (id, state) in &alice.store.history {
            let before = last.insert(*id, *state);
            let late = [DeliveryState::Queued, DeliveryState::Trying];
            let back = before.is_some_and(|b| b > *state) && !late.contains(state);
            assert!(!back, "{id:?} is written back to {state:?} from {before:?}");
        }
    }
}

#[test]
fn whatever_custodians_do_nothing_is_lost_and_no_state_goes_back() {
    for seed in (0..SEEDS).chain(FOUND) {
        let mut run = Run::new(seed);
        for n in 0..STEPS {
            run.step(n);
        }
        run.heal();
        run.check();
    }
}
