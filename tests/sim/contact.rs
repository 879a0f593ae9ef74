//! First contact at a round trip of 100 ms, in exact virtual time; setting up a link takes what the
//! real crate takes (`rtc_virtual` holds it to that).

use super::fabric::say;
use client_core::event::{DeliveryState, Event, PeerState};
use client_core::testing::{NodeId, World};

/// The round trip of every link, milliseconds.
const R: u64 = 100;

/// From both descriptions to an open channel at that round trip, milliseconds: ICE 1, nomination 1,
/// DTLS 3, SCTP 1.5 round trips, and the crate's ticks.
pub(crate) const SETUP_MS: u64 = 655;

/// A world in which everything is a round trip of 100 ms away.
fn distant(seed: u64) -> World {
    let mut world = World::new(seed);
    world.timing.link_ms = R / 2;
    world.timing.signal_ms = R / 2;
    world.timing.registry_ms = R;
    world.timing.ice_ms = SETUP_MS;
    // What the disks take comes on top: two commits at Alice, to pin and to seal, one at Carol.
    world.timing.commit_ms = 0;
    world.timing.answer_ms = 0;
    world
}

fn delivered(world: &World, id: NodeId) -> usize {
    world.node(id).count(DeliveryState::Delivered)
}

fn kill_servers(world: &mut World) {
    world.registry.down = true;
    world.set_gateway(false);
    world.drive(2 * R);
}

/// Alice and Carol each know Bob, and not each other.
fn common_friend(seed: u64) -> (World, NodeId, NodeId) {
    let mut world = distant(seed);
    let (alice, _bob, carol) = (
        world.member("alice"),
        world.member("bob"),
        world.member("carol"),
    );
    world.drive(500);
    world.send(alice, "bob", "hello");
    world.send(carol, "bob", "hello");
    let met = |w: &World| delivered(w, alice) == 1 && delivered(w, carol) == 1;
    assert!(world.drive_until(5_000, met));
    world.drive(5_000);
    (world, alice, carol)
}

/// Sends to Carol; milliseconds after `send` returned until she has it, Alice knows, and they are
/// linked.
fn first_contact(world: &mut World, alice: NodeId, carol: NodeId) -> (u64, u64, u64) {
    let before = delivered(world, alice);
    let queued = |w: &World| {
        let events = w.node(alice).events.iter();
        events
            .filter(|(_, e)| matches!(e, Event::Queued { .. }))
            .count()
    };
    let linked = |w: &World| {
        let states = w.node(alice).peer_states("carol");
        states.last() == Some(&PeerState::Connected)
    };
    let calls = queued(world);
    world.send(alice, "carol", "never met");
    assert!(world.drive_until(100, |w| queued(w) > calls));
    let begin = world.now_ms;
    assert!(world.drive_until(10_000, |w| !w.node(carol).received().is_empty()));
    let at_carol = world.now_ms - begin;
    assert!(world.drive_until(10_000, |w| delivered(w, alice) > before));
    let known = world.now_ms - begin;
    assert!(world.drive_until(10_000, linked));
    (at_carol, known, world.now_ms - begin)
}

#[test]
fn an_online_peer_never_met_is_reached_in_two_round_trips() {
    let (mut world, alice, carol) = common_friend(1);
    let (at_carol, known, direct) = first_contact(&mut world, alice, carol);
    say(&format!(
        "one common peer: {at_carol}, {known}, {direct} ms"
    ));
    assert!(at_carol <= 2 * R, "at Carol after {at_carol} ms");
    assert!(known <= 3 * R, "known after {known} ms");
    assert!(direct <= 10 * R, "direct after {direct} ms");
}

#[test]
fn with_all_servers_dead_a_common_peer_is_enough() {
    let (mut world, alice, carol) = common_friend(2);
    kill_servers(&mut world);
    let (at_carol, known, direct) = first_contact(&mut world, alice, carol);
    say(&format!(
        "without servers: {at_carol}, {known}, {direct} ms"
    ));
    assert!(known <= 1_000, "known after {known} ms");
    assert!(direct <= 3_000, "direct after {direct} ms");
}

#[test]
fn a_fresh_process_without_servers_needs_one_coordinator() {
    let mut world = distant(3);
    world.coordinator("host");
    world.drive(1_000);
    let (alice, carol) = (world.member("alice"), world.member("carol"));
    world.drive(10_000);
    world.crash(alice);
    kill_servers(&mut world);
    world.drive(20_000);
    world.start(alice);
    let begin = world.now_ms;
    world.send(alice, "carol", "never met");
    assert!(world.drive_until(10_000, |w| delivered(w, alice) == 1));
    let took = world.now_ms - begin;
    say(&format!("a fresh process, one coordinator: {took} ms"));
    assert!(took <= 3_000, "known after {took} ms");
    assert_eq!(world.node(carol).received(), ["never met"]);
}
