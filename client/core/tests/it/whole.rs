//! Store and forward from end to end, with custodians that are what they say: the sender leaves,
//! the recipient comes, and each message is shown once, whoever of the others lies or dies.

use crate::tap::items;
use beeline_proto::id::{DeviceFp, ParcelId};
use beeline_proto::pb::peer::v1::peer_item::Kind;
use client_core::event::{DeliveryState, Event, Path};
use client_core::testing::{EPOCH_MS, NodeId, World};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;

/// A coordinator and friends that keep, Alice who knows them, Carol who was there and is gone.
struct Story {
    world: World,
    alice: NodeId,
    carol: NodeId,
    keepers: Vec<NodeId>,
}

impl Story {
    fn new(seed: u64, hosts: &[&str], friends: &[&str]) -> Self {
        let mut world = World::new(seed);
        let mut keepers = Vec::new();
        for name in hosts {
            keepers.push(world.coordinator_stopped(name));
        }
        for name in friends {
            keepers.push(world.member_stopped(name));
        }
        for id in &keepers {
            world.node_mut(*id).can_store = true;
            world.start(*id);
        }
        let (alice, carol) = (world.member("alice"), world.member("carol"));
        world.drive(3_000);
        // Both know the friends; they do not know each other.
        for (n, name) in friends.iter().enumerate() {
            world.send(alice, name, "hello");
            world.send(carol, name, "hello");
            let known = |w: &World| [alice, carol].iter().all(|id| delivered(w, *id) == n + 1);
            assert!(world.drive_until(10_000, known));
        }
        world.timing.dead_ms = 10;
        world.crash(carol);
        world.drive(1_000);
        Self {
            world,
            alice,
            carol,
            keepers,
        }
    }

    /// Alice sends, and leaves as soon as it is stored with `n`.
    fn leave(&mut self, texts: &[&str], n: u32) {
        let alice = self.alice;
        for text in texts {
            self.world.send(alice, "carol", text);
        }
        let wanted = texts.len();
        let stored = move |w: &World| {
            let states = w.node(alice).message_states();
            let enough = states
                .iter()
                .filter(|s| s.kept.is_some_and(|kept| kept.n >= n));
            enough.count() >= wanted
        };
        assert!(self.world.drive_until(60_000, stored), "it is stored");
        self.world.crash(alice);
        self.world.drive(1_000);
    }

    /// Carol comes and is shown exactly this, all of it kept for her.
    fn comes(&mut self, texts: &[&str]) {
        let carol = self.carol;
        self.world.start(carol);
        let count = texts.len();
        let shown = move |w: &World| from_alice(w, carol).len() >= count;
        assert!(self.world.drive_until(5 * 60_000, shown), "it is shown");
        self.world.drive(60_000);
        assert_eq!(from_alice(&self.world, carol), texts);
        let events = &self.world.node(carol).events;
        let mut paths = events.iter().filter_map(|(_, event)| match event {
            Event::Received(message) if message.from.as_str() == "alice" => Some(message.path),
            _ => None,
        });
        assert!(paths.all(|path| path == Path::Stored));
    }

    /// Alice returns, hears that all is delivered, and nothing is shown twice.
    fn returns(&mut self, texts: &[&str]) {
        let (alice, carol) = (self.alice, self.carol);
        if self.world.node(alice).manager.is_none() {
            self.world.start(alice);
        }
        let all = move |w: &World| {
            let rows = w.node(alice).store.outbox.values();
            rows.clone()
                .all(|row| row.state == DeliveryState::Delivered)
        };
        assert!(self.world.drive_until(20 * 60_000, all), "all is delivered");
        self.world.drive(60_000);
        assert_eq!(from_alice(&self.world, carol), texts);
    }

    fn kept(&self) -> usize {
        let kept = self
            .keepers
            .iter()
            .map(|id| self.world.node(*id).store.kept.len());
        kept.sum()
    }
}

fn delivered(world: &World, id: NodeId) -> usize {
    world.node(id).count(DeliveryState::Delivered)
}

fn from_alice(world: &World, id: NodeId) -> Vec<&str> {
    let events = &world.node(id).events;
    let texts = events.iter().filter_map(|(_, event)| match event {
        Event::Received(message) if message.from.as_str() == "alice" => Some(message.text.as_str()),
        _ => None,
    });
    texts.collect()
}

#[test]
fn the_sender_leaves_and_the_recipient_gets_all_of_it_once_and_in_order() {
    let mut story = Story::new(1, &["ca"], &["bob", "dave"]);
    let texts = ["one", "two", "three"];
    story.leave(&texts, 3);
    assert_eq!(story.kept(), 9);
    story.comes(&texts);
    assert_eq!(story.kept(), 0, "what is committed is deleted");
    story.returns(&texts);
}

#[test]
fn nobody_but_the_coordinator_is_needed() {
    let mut story = Story::new(2, &["ca"], &[]);
    story.leave(&["alone"], 1);
    story.comes(&["alone"]);
    story.returns(&["alone"]);
}

#[test]
fn two_of_three_custodians_may_lie_or_die() {
    for seed in 0..6 {
        let mut story = Story::new(10 + seed, &["ca"], &["bob", "dave"]);
        story.leave(&["one", "two"], 3);
        // One lost its disk, one is gone for good; which is left changes.
        let left = (seed % 3) as usize;
        let (lost, gone) = ((left + 1) % 3, (left + 2) % 3);
        let (lost, gone) = (story.keepers[lost], story.keepers[gone]);
        story.world.crash(lost);
        story.world.node_mut(lost).store.kept.clear();
        story.world.start(lost);
        story.world.crash(gone);
        story.world.drive(1_000);
        story.comes(&["one", "two"]);
        story.returns(&["one", "two"]);
    }
}

#[test]
fn all_servers_may_be_dead_during_the_whole_story() {
    let mut story = Story::new(3, &["ca"], &["bob"]);
    // Carol's record is with those she was linked to; nobody can be asked for it elsewhere.
    story.world.registry.down = true;
    story.world.set_gateway(false);
    story.world.drive(1_000);
    story.leave(&["no server"], 1);
    story.comes(&["no server"]);
    story.returns(&["no server"]);
}

#[test]
fn a_copy_that_no_longer_opens_is_sealed_and_kept_anew() {
    let mut story = Story::new(4, &["ca"], &["bob", "dave"]);
    story.leave(&["sealed to a key that is gone"], 3);
    // Carol's home was restored without its keys. The copies cannot be opened.
    let carol = story.carol;
    story.world.node_mut(carol).store.bundles.clear();
    story.world.start(carol);
    story.world.drive(60_000);
    assert!(from_alice(&story.world, carol).is_empty());
    // Alice is back, hears of it and seals anew; what she says to Carol from then on is lost.
    let alice = story.alice;
    let before: BTreeSet<ParcelId> = copies(&story.world, alice);
    let passed = Cell::new(false);
    story.world.on_frame = Some(Box::new(move |from, to, bytes| {
        let chat = |item: &Kind| matches!(item, Kind::ChatMessage(_) | Kind::Relay(_));
        let said = from == alice && items(&bytes).iter().any(chat);
        if said && to == carol && !passed.replace(true) {
            return vec![bytes];
        }
        if said { Vec::new() } else { vec![bytes] }
    }));
    story.world.start(alice);
    let anew = |w: &World| {
        let now = copies(w, alice);
        !now.is_empty() && now.is_disjoint(&before)
    };
    assert!(story.world.drive_until(5 * 60_000, anew), "it is kept anew");
    story.world.drive(60_000);
    assert_eq!(
        from_alice(&story.world, carol),
        ["sealed to a key that is gone"]
    );
    story.world.on_frame = None;
    story.returns(&["sealed to a key that is gone"]);
}

/// The parcels others keep for Alice, as her receipts say.
fn copies(world: &World, id: NodeId) -> BTreeSet<ParcelId> {
    let rows = world.node(id).store.custody.values();
    rows.map(|row| row.parcel).collect()
}

#[test]
fn the_other_devices_of_a_recipient_have_copies_of_their_own_kept() {
    let mut world = World::new(5);
    let bob = world.coordinator_stopped("bob");
    world.node_mut(bob).can_store = true;
    world.start(bob);
    let expires_ms = EPOCH_MS + 365 * 24 * 3_600 * 1_000;
    let devices = ["carol_phone", "carol_laptop"];
    let carol = world
        .authority
        .admit("carol", "carol", &devices, expires_ms);
    let phone = world.device_of(carol.clone(), 0);
    let laptop = world.device_of(carol, 1);
    world.start(phone);
    world.start(laptop);
    let alice = world.member("alice");
    world.drive(3_000);
    world.send(alice, "carol", "to both");
    let both = |w: &World| {
        [phone, laptop]
            .iter()
            .all(|id| from_alice(w, *id).len() == 1)
    };
    assert!(world.drive_until(60_000, both));
    world.timing.dead_ms = 10;
    world.crash(laptop);
    world.drive(10_000);
    world.send(alice, "carol", "while the laptop slept");
    assert!(world.drive_until(60_000, |w| from_alice(w, phone).len() == 2));
    let to: DeviceFp = {
        let node = world.node(laptop);
        node.user.devices[1].1.verify_key().device_fp()
    };
    let keeps = move |w: &World| {
        w.node(bob)
            .store
            .kept
            .values()
            .any(|row| row.recipient == to)
    };
    assert!(
        world.drive_until(60_000, keeps),
        "a copy is kept for the laptop"
    );
    let states = world.node(alice).message_states();
    assert!(states.iter().all(|s| s.state != DeliveryState::Stored));
    // Alice and the phone are gone when the laptop wakes up.
    world.crash(alice);
    world.crash(phone);
    world.drive(1_000);
    world.start(laptop);
    assert!(world.drive_until(60_000, |w| from_alice(w, laptop).len() == 2));
    world.start(alice);
    world.drive(60_000);
    assert_eq!(
        from_alice(&world, laptop),
        ["to both", "while the laptop slept"]
    );
}

/// Bob who keeps, Alice with a phone and a laptop, and what the phone said while the laptop slept.
struct Copied {
    world: World,
    bob: NodeId,
    laptop: NodeId,
}

impl Copied {
    /// Ends when a copy is kept for the laptop and the phone is gone.
    fn new(seed: u64) -> Self {
        let mut world = World::new(seed);
        let bob = world.coordinator_stopped("bob");
        world.node_mut(bob).can_store = true;
        world.start(bob);
        let carol = world.member("carol");
        let expires_ms = EPOCH_MS + 365 * 24 * 3_600 * 1_000;
        let devices = ["alice_phone", "alice_laptop"];
        let alice = world
            .authority
            .admit("alice", "alice", &devices, expires_ms);
        let phone = world.device_of(alice.clone(), 0);
        let laptop = world.device_of(alice, 1);
        world.start(phone);
        world.start(laptop);
        world.drive(3_000);
        world.send(phone, "carol", "seen by both of mine");
        let copied = |w: &World| w.node(laptop).store.copies.len() == 1;
        assert!(world.drive_until(60_000, copied));
        world.drive(1_000);
        world.timing.dead_ms = 10;
        world.crash(laptop);
        world.drive(10_000);
        world.send(phone, "carol", "while mine slept");
        let keeps = move |w: &World| w.node(bob).store.kept.len() == 1;
        assert!(
            world.drive_until(60_000, keeps),
            "a copy is kept for the laptop"
        );
        assert!(world.drive_until(60_000, |w| from_alice(w, carol).len() == 2));
        let states = world.node(phone).message_states();
        assert!(
            states.iter().all(|s| s.state != DeliveryState::Stored),
            "that proves nothing"
        );
        world.crash(phone);
        world.drive(1_000);
        Self { world, bob, laptop }
    }

    fn has_both(&mut self, within_ms: u64) -> bool {
        let laptop = self.laptop;
        let both = |w: &World| w.node(laptop).store.copies.len() == 2;
        self.world.drive_until(within_ms, both)
    }

    fn is_let_go(&mut self) -> bool {
        let bob = self.bob;
        let empty = |w: &World| w.node(bob).store.kept.is_empty();
        self.world.drive_until(10_000, empty)
    }
}

#[test]
fn our_own_other_devices_have_copies_of_what_we_say_kept() {
    let mut copied = Copied::new(6);
    copied.world.start(copied.laptop);
    assert!(copied.has_both(60_000));
    assert!(copied.is_let_go(), "what is committed is deleted");
}

#[test]
fn a_kept_copy_that_could_not_be_stored_is_asked_for_again() {
    let mut copied = Copied::new(8);
    let (bob, laptop) = (copied.bob, copied.laptop);
    let came = Rc::new(Cell::new(false));
    let noted = Rc::clone(&came);
    copied.world.on_frame = Some(Box::new(move |from, to, bytes| {
        let kept = |item: &Kind| matches!(item, Kind::Kept(_));
        noted.set(noted.get() || ((from, to) == (bob, laptop) && items(&bytes).iter().any(kept)));
        vec![bytes]
    }));
    copied.world.start(laptop);
    assert!(copied.world.drive_until(60_000, |_| came.get()));
    copied.world.node_mut(laptop).failing_writes = 3;
    copied.world.drive(5_000);
    assert_eq!(copied.world.node(bob).store.kept.len(), 1, "it stays");
    // On the same link: nobody has to come and go for it.
    assert!(copied.has_both(60_000));
    assert!(copied.is_let_go());
}

#[test]
fn two_devices_of_one_user_are_one_custodian() {
    let mut world = World::new(7);
    let expires_ms = EPOCH_MS + 365 * 24 * 3_600 * 1_000;
    let bob = world
        .authority
        .admit("bob", "bob", &["bob_phone", "bob_laptop"], expires_ms);
    for device in 0..2 {
        let id = world.device_of(bob.clone(), device);
        world.node_mut(id).can_store = true;
        world.start(id);
    }
    let (alice, carol) = (world.member("alice"), world.member("carol"));
    world.drive(1_000);
    for to in ["bob", "carol"] {
        world.send(alice, to, "hello");
    }
    assert!(world.drive_until(60_000, |w| delivered(w, alice) == 2));
    world.timing.dead_ms = 10;
    world.crash(carol);
    world.drive(10_000);
    world.send(alice, "carol", "one copy");
    world.drive(60_000);
    let states = world.node(alice).message_states();
    let kept: Vec<_> = states.iter().filter_map(|s| s.kept).collect();
    assert!(!kept.is_empty() && kept.iter().all(|kept| (kept.n, kept.k) == (1, 1)));
}
