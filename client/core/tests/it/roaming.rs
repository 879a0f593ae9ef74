//! Roaming: another network, an interface that went and came back, a link that fell silent.

use client_core::Input;
use client_core::event::{DeliveryState, Event};
use client_core::input::{LinkId, RtcEvent};
use client_core::testing::{NodeId, World};

/// As long as ICE takes to give a connection up.
const GIVEN_UP_MS: u64 = 31_000;

/// The goal: traffic flows again.
const AGAIN_MS: u64 = 2_000;

/// Alice and Carol, linked with each other and with a coordinator.
fn linked(seed: u64) -> (World, NodeId, NodeId) {
    let mut world = World::new(seed);
    world.timing.jitter_ms = seed % 7;
    world.timing.dead_ms = GIVEN_UP_MS;
    world.coordinator("bob");
    world.drive(500);
    let (alice, carol) = (world.member("alice"), world.member("carol"));
    world.drive(3_000);
    world.send(alice, "carol", "hello");
    assert!(world.drive_until(AGAIN_MS, |w| delivered(w, alice) == 1));
    world.drive(5_000);
    (world, alice, carol)
}

fn delivered(world: &World, id: NodeId) -> usize {
    world.node(id).count(DeliveryState::Delivered)
}

fn links(world: &World, id: NodeId) -> (usize, usize) {
    let status = world.node(id).running().status(world.now());
    (status.links_open, status.links_pending)
}

/// All that is connected with a node leads nowhere any more.
fn lose_path(world: &mut World, id: NodeId) {
    for other in world.ids() {
        if other != id {
            world.cut(id, other);
        }
    }
}

/// A node is on another network, and its driver has noticed.
fn move_away(world: &mut World, id: NodeId) {
    lose_path(world, id);
    world.input(id, Input::NetworkChanged);
}

/// Every connection of a node reports that nothing is heard.
fn fall_silent(world: &mut World, id: NodeId) {
    for link in (0..64).map(LinkId) {
        let event = RtcEvent::Silent;
        world.input(id, Input::Rtc { link, event });
    }
}

#[test]
fn traffic_flows_again_soon_after_a_change_of_network() {
    let mut took = Vec::new();
    for seed in 0..20 {
        let (mut world, alice, carol) = linked(seed);
        move_away(&mut world, alice);
        let since_ms = world.now_ms;
        world.send(alice, "carol", "from Alice");
        world.send(carol, "alice", "from Carol");
        let both = |w: &World| delivered(w, alice) == 2 && delivered(w, carol) == 1;
        assert!(world.drive_until(GIVEN_UP_MS, both), "seed {seed}");
        took.push(world.now_ms - since_ms);
        world.drive(2 * GIVEN_UP_MS);
        assert_eq!(links(&world, alice), (2, 0), "seed {seed}: no double link");
        assert_eq!(links(&world, carol), (2, 0), "seed {seed}: no double link");
        assert_eq!(world.node(carol).received(), ["hello", "from Alice"]);
    }
    took.sort_unstable();
    assert!(took[18] <= AGAIN_MS, "{took:?}");
}

#[test]
fn a_link_is_there_again_without_anything_to_say() {
    let (mut world, alice, carol) = linked(1);
    move_away(&mut world, alice);
    assert!(world.drive_until(AGAIN_MS, |w| links(w, alice).1 == 0));
    world.drive(100);
    world.send(carol, "alice", "over the new link");
    assert!(world.drive_until(300, |w| delivered(w, carol) == 1));
}

#[test]
fn whoever_moves_says_so() {
    let (mut world, alice, _) = linked(1);
    move_away(&mut world, alice);
    world.drive(AGAIN_MS);
    let told = world
        .node(alice)
        .events
        .iter()
        .filter_map(|(_, e)| match e {
            Event::Online => Some(true),
            Event::Offline { .. } => Some(false),
            _ => None,
        });
    assert_eq!(told.collect::<Vec<_>>(), [true, false, true]);
}

#[test]
fn a_call_under_way_is_made_anew_from_where_we_are_now() {
    for seed in 0..20 {
        for who in [0, 1] {
            let mut world = World::new(seed);
            world.timing.dead_ms = GIVEN_UP_MS;
            let pair = [world.member("alice"), world.member("carol")];
            world.drive(50);
            world.timing.ice_ms = GIVEN_UP_MS;
            world.send(pair[0], "carol", "hello");
            world.drive(600 + seed);
            world.timing.ice_ms = 8;
            move_away(&mut world, pair[who]);
            // Who has the lower fingerprint waits a while for its own call.
            let open = |w: &World| pair.iter().all(|id| links(w, *id) == (1, 0));
            assert!(world.drive_until(10_000, open), "seed {seed}, {who}");
            assert!(world.drive_until(1_000, |w| delivered(w, pair[0]) == 1));
        }
    }
}

#[test]
fn one_change_after_another_leaves_one_link() {
    for pause_ms in [1, 20, 45, 105, 150, 155, 400, 1_000] {
        let (mut world, alice, carol) = linked(pause_ms);
        for _ in 0..10 {
            move_away(&mut world, alice);
            world.drive(pause_ms);
            move_away(&mut world, carol);
            world.drive(pause_ms);
        }
        world.send(alice, "carol", "there");
        assert!(world.drive_until(10_000, |w| delivered(w, alice) == 2));
        world.drive(3 * GIVEN_UP_MS);
        for id in [alice, carol] {
            assert_eq!(links(&world, id), (2, 0), "every {pause_ms} ms");
        }
    }
}

#[test]
fn a_link_that_fell_silent_gets_a_successor() {
    for seed in 0..20 {
        let (mut world, alice, carol) = linked(seed);
        // The path is gone, for a reason no interface tells of: both ends hear nothing.
        world.cut(alice, carol);
        for id in [alice, carol] {
            fall_silent(&mut world, id);
        }
        world.send(alice, "carol", "again");
        assert!(world.drive_until(AGAIN_MS, |w| delivered(w, alice) == 2));
        world.drive(2 * GIVEN_UP_MS);
        for id in [alice, carol] {
            assert_eq!(links(&world, id), (2, 0), "seed {seed}");
        }
    }
}

#[test]
fn a_change_without_any_network_left_is_survived() {
    let (mut world, alice, _) = linked(2);
    world.set_gateway(false);
    world.registry.down = true;
    move_away(&mut world, alice);
    world.send(alice, "carol", "when it is back");
    world.drive(60_000);
    world.registry.down = false;
    world.set_gateway(true);
    world.input(alice, Input::NetworkChanged);
    assert!(world.drive_until(AGAIN_MS, |w| delivered(w, alice) == 2));
}

#[test]
fn a_drained_process_does_not_roam() {
    let (mut world, alice, _) = linked(1);
    world.input(alice, Input::Drain);
    world.drive(10);
    world.input(alice, Input::NetworkChanged);
    assert_eq!(world.node(alice).running().poll_timeout(), None);
}
