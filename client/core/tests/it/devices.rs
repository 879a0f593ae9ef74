//! Several devices of one user: each gets its own parcel and its own serving.

use client_core::event::{DeliveryState, Event};
use client_core::testing::{EPOCH_MS, NodeId, User, World};

const HOUR_MS: u64 = 3_600_000;

/// Admits a user with these devices; none is started.
fn user(world: &mut World, name: &str, devices: &[&str]) -> User {
    let expires_ms = EPOCH_MS + 300 * 24 * HOUR_MS;
    world.authority.admit(name, name, devices, expires_ms)
}

/// Alice, and Carol with a phone and a laptop, all online.
fn three(seed: u64) -> (World, NodeId, NodeId, NodeId) {
    let mut world = World::new(seed);
    let alice = world.member("alice");
    let carol = user(&mut world, "carol", &["phone", "laptop"]);
    let phone = world.device_of(carol.clone(), 0);
    let laptop = world.device_of(carol, 1);
    world.start(phone);
    world.start(laptop);
    world.drive(50);
    (world, alice, phone, laptop)
}

fn delivered(world: &World, id: NodeId) -> usize {
    world.node(id).count(DeliveryState::Delivered)
}

fn shows(world: &World, id: NodeId, texts: &[&str]) -> bool {
    world.node(id).store.shown() == texts
}

/// Whether so many messages are delivered and the sender has nothing left to do for anybody.
fn idle(world: &World, id: NodeId, messages: usize) -> bool {
    delivered(world, id) >= messages && world.node(id).store.load().outbox.is_empty()
}

#[test]
fn every_device_gets_its_own_parcel_and_the_first_ack_delivers() {
    let (mut world, alice, phone, laptop) = three(1);
    for text in ["one", "two", "three"] {
        world.send(alice, "carol", text);
    }
    assert!(world.drive_until(60_000, |w| idle(w, alice, 3)));
    for device in [phone, laptop] {
        assert!(shows(&world, device, &["one", "two", "three"]));
        assert_eq!(world.node(device).received(), ["one", "two", "three"]);
    }
    assert_eq!(delivered(&world, alice), 3, "each is delivered once");
    let row = world.node(alice).store.outbox.values().next();
    assert!(row.is_some_and(|row| row.parcels.is_empty() && row.acked.is_empty()));
}

#[test]
fn the_second_device_is_served_after_a_restart_and_the_state_never_goes_back() {
    let (mut world, alice, phone, laptop) = three(2);
    world.send(alice, "carol", "before");
    assert!(world.drive_until(60_000, |w| idle(w, alice, 1)));
    world.crash(laptop);
    world.drive(1_000);
    world.send(alice, "carol", "one");
    world.send(alice, "carol", "two");
    assert!(world.drive_until(60_000, |w| delivered(w, alice) == 3));
    world.drive(HOUR_MS);
    assert!(!idle(&world, alice, 3), "the laptop is left");
    assert_eq!(
        world.node(alice).running().status(world.now()).outbox,
        0,
        "none is open"
    );
    world.crash(alice);
    world.start(alice);
    world.drive(HOUR_MS);
    world.start(laptop);
    assert!(world.drive_until(HOUR_MS, |w| idle(w, alice, 3)));
    assert!(shows(&world, laptop, &["before", "one", "two"]));
    assert_eq!(world.node(phone).received(), ["before", "one", "two"]);
    assert_eq!(delivered(&world, alice), 3);
    for id in world.node(alice).store.queued.clone() {
        let states = world.node(alice).store.states(id);
        let until = states.iter().position(|s| *s == DeliveryState::Delivered);
        assert_eq!(until, Some(states.len() - 1), "{states:?}");
    }
}

#[test]
fn messages_to_one_device_do_not_wait_for_the_other() {
    let (mut world, alice, _, laptop) = three(3);
    world.send(alice, "carol", "first");
    assert!(world.drive_until(60_000, |w| idle(w, alice, 1)));
    world.crash(laptop);
    world.drive(60_000);
    for n in 0..50 {
        let before = world.now_ms;
        world.send(alice, "carol", &n.to_string());
        let done = |w: &World| delivered(w, alice) == n + 2;
        assert!(world.drive_until(1_000, done));
        assert!(world.now_ms - before < 200, "as fast as to one device");
        world.drive(500);
    }
}

#[test]
fn an_absent_device_costs_little() {
    let (mut world, alice, _, laptop) = three(4);
    world.send(alice, "carol", "first");
    assert!(world.drive_until(60_000, |w| idle(w, alice, 1)));
    world.crash(laptop);
    world.drive(60_000);
    for n in 0..10 {
        world.send(alice, "carol", &n.to_string());
    }
    world.drive(HOUR_MS);
    let (signals, lookups) = (world.signalled.len(), world.registry.lookups);
    world.drive(10 * HOUR_MS);
    let hourly = |n: usize| n / 10;
    assert!(hourly(world.registry.lookups - lookups) <= 12);
    let signals = hourly(world.signalled.len() - signals);
    assert!(signals <= 60, "{signals} frames an hour");
}

#[test]
fn what_no_further_device_fetches_in_a_month_is_let_go() {
    let (mut world, alice, _, laptop) = three(5);
    world.crash(laptop);
    world.send(alice, "carol", "one");
    assert!(world.drive_until(60_000, |w| delivered(w, alice) == 1));
    world.drive(30 * 24 * HOUR_MS - HOUR_MS);
    assert!(!idle(&world, alice, 1));
    world.drive(3 * HOUR_MS);
    assert!(idle(&world, alice, 1));
    assert_eq!(world.node(alice).count(DeliveryState::Expired), 0);
    let told = |event: &Event| matches!(event, Event::Warned { kind, .. } if kind.contains("ack"));
    assert!(!world.node(alice).told(told));
}

#[test]
fn a_device_added_later_gets_what_is_still_in_the_outbox() {
    let mut world = World::new(6);
    let alice = world.member("alice");
    let mut carol = user(&mut world, "carol", &["phone", "laptop", "tablet"]);
    let both = carol.devices.clone();
    carol.devices.truncate(2);
    let phone = world.device_of(carol.clone(), 0);
    let laptop = world.device_of(carol.clone(), 1);
    world.start(phone);
    world.start(laptop);
    world.drive(50);
    world.send(alice, "carol", "to all there are");
    assert!(world.drive_until(60_000, |w| idle(w, alice, 1)));
    world.crash(laptop);
    world.crash(phone);
    world.send(alice, "carol", "open");
    world.drive(60_000);
    world.start(phone);
    assert!(world.drive_until(HOUR_MS, |w| delivered(w, alice) == 2));
    world.send(alice, "carol", "served");
    assert!(world.drive_until(60_000, |w| delivered(w, alice) == 3));
    // The tablet joins with a newer list; the laptop is still away.
    carol.devices = both;
    carol.list_version = 2;
    let tablet = world.device_of(carol, 2);
    world.start(tablet);
    let has = |w: &World| shows(w, tablet, &["open", "served"]);
    assert!(
        world.drive_until(HOUR_MS, has),
        "{:?}",
        world.node(tablet).store.shown()
    );
    world.start(laptop);
    assert!(world.drive_until(HOUR_MS, |w| idle(w, alice, 3)));
    assert!(shows(
        &world,
        laptop,
        &["to all there are", "open", "served"]
    ));
    assert_eq!(delivered(&world, alice), 3);
}
