//! The route cache: fresh, stale, forgotten.

use client_core::event::{DeliveryState, Event, PeerState};
use client_core::limits::{ROUTE_FRESH_MS, ROUTE_KEPT_MS};
use client_core::testing::{EPOCH_MS, NodeId, World};

fn delivered(world: &World, id: NodeId) -> usize {
    world.node(id).count(DeliveryState::Delivered)
}

/// Alice knows both devices of Carol; the laptop has been gone for two days.
fn two_devices() -> (World, NodeId, NodeId, NodeId) {
    let mut world = World::new(1);
    let alice = world.member("alice");
    let names = ["phone", "laptop"];
    let expires_ms = EPOCH_MS + 300 * 24 * 3_600 * 1_000;
    let carol = world.authority.admit("carol", "carol", &names, expires_ms);
    let phone = world.device_of(carol.clone(), 0);
    let laptop = world.device_of(carol, 1);
    world.start(phone);
    world.start(laptop);
    world.drive(50);
    world.send(alice, "carol", "to both");
    world.drive(5_000);
    world.crash(laptop);
    world.crash(phone);
    world.drive(2 * ROUTE_FRESH_MS);
    (world, alice, phone, laptop)
}

fn freshness(world: &World, id: NodeId) -> Vec<bool> {
    let routes = world.node(id).running().routes(world.now());
    routes.iter().map(|route| route.fresh).collect()
}

/// Calls made for the last message: transitions to SIGNALING.
fn calls(world: &World, id: NodeId) -> usize {
    let states = world.node(id).peer_states("carol");
    states
        .iter()
        .filter(|s| **s == PeerState::Signaling)
        .count()
}

#[test]
fn a_stale_route_is_dialled_only_if_there_is_no_fresh_one() {
    let (mut world, alice, phone, _laptop) = two_devices();
    assert_eq!(freshness(&world, alice), [false, false]);
    let before = world.signalled.len();
    world.registry.down = true;
    world.send(alice, "carol", "to whoever is there");
    world.drive(100);
    let called = |world: &World, from: usize| {
        let offers = world.signalled[from..].iter();
        let kind = client_core::output::SignalKind::Offer;
        let offers = offers.filter(|s| s.kind == kind);
        offers
            .map(|s| s.to.to_string())
            .collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(called(&world, before).len(), 2, "nothing else is known");
    world.start(phone);
    world.drive(200);
    world.send(phone, "alice", "here I am");
    assert!(world.drive_until(60_000, |w| delivered(w, alice) == 2));
    assert_eq!(freshness(&world, alice).iter().filter(|f| **f).count(), 1);
    world.drive(1_500);
    // The next process has a fresh one, and leaves the stale one alone.
    world.crash(alice);
    world.drive(10_000);
    world.start(alice);
    let before = world.signalled.len();
    world.send(alice, "carol", "again");
    assert!(world.drive_until(5_000, |w| delivered(w, alice) == 3));
    assert_eq!(called(&world, before).len(), 1);
    assert!(calls(&world, alice) > 0);
}

#[test]
fn what_nobody_has_heard_of_for_a_month_is_forgotten_in_the_store_too() {
    let (mut world, alice, ..) = two_devices();
    let kept = |world: &World| {
        let routes = world.node(alice).store.routes.values();
        routes
            .filter(|row| row.user_label.as_str() == "carol")
            .count()
    };
    assert_eq!(kept(&world), 2);
    world.drive(ROUTE_KEPT_MS);
    assert_eq!(kept(&world), 0);
    assert!(world.node(alice).running().routes(world.now()).is_empty());
    world.crash(alice);
    world.start(alice);
    assert!(world.node(alice).running().routes(world.now()).is_empty());
    let warned =
        |event: &Event| matches!(event, Event::Warned { kind, .. } if *kind == "stored-route");
    assert!(!world.node(alice).told(warned));
}

#[test]
fn the_route_of_an_open_link_stays_fresh() {
    let mut world = World::new(2);
    let (alice, carol) = (world.member("alice"), world.member("carol"));
    world.drive(50);
    world.send(alice, "carol", "x");
    world.drive(3 * ROUTE_FRESH_MS);
    assert_eq!(freshness(&world, alice), [true]);
    world.crash(carol);
    world.drive(ROUTE_FRESH_MS / 2);
    assert_eq!(freshness(&world, alice), [true]);
    world.drive(ROUTE_FRESH_MS);
    assert_eq!(freshness(&world, alice), [false]);
}
