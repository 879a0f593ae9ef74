//! The ladder: when each rung starts, what stops it, what a doubted route costs.

use client_core::event::{DeliveryState, PeerState, Rung};
use client_core::input::SignalInput;
use client_core::output::SignalKind;
use client_core::testing::{NodeId, World};

/// The rungs told for the only message, with the time each was told.
fn rungs(world: &World, id: NodeId) -> Vec<(Rung, u64)> {
    let states = world.node(id).message_states();
    states
        .iter()
        .filter_map(|s| Some((s.rung?, s.elapsed_ms)))
        .collect()
}

#[test]
fn with_nothing_known_the_registry_is_asked_at_once() {
    let mut world = World::new(1);
    let (alice, _carol) = (world.member("alice"), world.member("carol"));
    world.drive(50);
    world.send(alice, "carol", "x");
    assert!(
        world.drive_until(2_000, |w| w.node(alice).count(DeliveryState::Delivered)
            == 1)
    );
    // What has nothing to try is not told, and takes no time: only the commit came before.
    assert_eq!(rungs(&world, alice), [(Rung::Registry, 3)]);
    assert_eq!(world.registry.lookups, 1);
}

#[test]
fn a_sender_is_told_once_that_nobody_knows_the_user() {
    let mut world = World::new(1);
    let alice = world.member("alice");
    world.drive(50);
    world.send(alice, "nobody", "x");
    world.drive(60_000);
    let states = world.node(alice).message_states();
    let notes: Vec<_> = states.iter().filter_map(|s| s.reason.as_deref()).collect();
    assert_eq!(notes, ["the registry knows no user nobody"]);
}

#[test]
fn rungs_start_at_their_times_while_a_cached_route_is_dialled() {
    let mut world = World::new(1);
    let (alice, carol) = (world.member("alice"), world.member("carol"));
    world.drive(50);
    world.send(alice, "carol", "first");
    assert!(
        world.drive_until(2_000, |w| w.node(alice).count(DeliveryState::Delivered)
            == 1)
    );
    world.crash(carol);
    world.drive(10_000);
    // The gateway swallows everything: offers neither arrive nor fail.
    world.on_signal = Some(Box::new(|_| Vec::new()));
    let before = world.registry.lookups;
    world.send(alice, "carol", "second");
    world.drive(2_000);
    let told = rungs(&world, alice);
    let told: Vec<_> = told.into_iter().skip(1).collect();
    let start = told[0].1;
    let relative: Vec<_> = told.iter().map(|(rung, at)| (*rung, at - start)).collect();
    // The last rung begins, and there is nobody to keep it: nothing is told of that.
    assert_eq!(relative, [(Rung::Cache, 0), (Rung::Registry, 500)]);
    let relayed = world.signalled.iter();
    let relayed = relayed.filter(|frame| frame.kind == SignalKind::RelayRequest);
    assert_eq!(relayed.count(), 1);
    assert_eq!(world.registry.lookups, before + 1);
}

#[test]
fn an_open_link_carries_the_next_message_without_another_rung() {
    let mut world = World::new(1);
    let (alice, carol) = (world.member("alice"), world.member("carol"));
    world.drive(50);
    world.send(alice, "carol", "first");
    assert!(
        world.drive_until(2_000, |w| w.node(alice).count(DeliveryState::Delivered)
            == 1)
    );
    world.send(alice, "carol", "second");
    assert!(
        world.drive_until(2_000, |w| w.node(alice).count(DeliveryState::Delivered)
            == 2)
    );
    let states = world.node(alice).message_states();
    let last = states.last().expect("delivered");
    assert_eq!(last.found_by, Some(Rung::Connected));
    assert_eq!(
        rungs(&world, alice).last().map(|(rung, _)| *rung),
        Some(Rung::Connected)
    );
    assert_eq!(world.registry.lookups, 1);
    world.drive(10);
    assert_eq!(world.node(carol).received(), ["first", "second"]);
}

#[test]
fn a_route_without_an_ack_is_doubted_and_another_link_is_made() {
    let mut world = World::new(1);
    let (alice, carol) = (world.member("alice"), world.member("carol"));
    world.drive(50);
    world.send(alice, "carol", "first");
    assert!(
        world.drive_until(2_000, |w| w.node(alice).count(DeliveryState::Delivered)
            == 1)
    );
    // The link still looks open, and carries nothing any more.
    let dead = std::rc::Rc::new(std::cell::Cell::new(true));
    let is_dead = dead.clone();
    world.on_frame = Some(Box::new(move |_, _, frame| {
        if is_dead.get() {
            Vec::new()
        } else {
            vec![frame]
        }
    }));
    world.send(alice, "carol", "second");
    world.drive(290);
    assert_eq!(world.registry.lookups, 1, "the link has 300 ms");
    world.drive(30);
    let demoted = world.node(alice).running().routes(world.now());
    assert!(demoted.iter().all(|route| route.demoted), "{demoted:?}");
    world.drive(300);
    assert_eq!(world.registry.lookups, 2);
    dead.set(false);
    assert!(
        world.drive_until(10_000, |w| w.node(alice).count(DeliveryState::Delivered)
            == 2)
    );
    world.drive(10);
    assert_eq!(world.node(carol).received(), ["first", "second"]);
}

#[test]
fn an_unknown_user_stays_queued_and_is_tried_with_growing_pauses() {
    let mut world = World::new(1);
    let alice = world.member("alice");
    world.drive(50);
    world.send(alice, "nobody", "x");
    world.drive(1_000 * 3_600);
    assert_eq!(world.node(alice).running().status(world.now()).outbox, 1);
    let states = world.node(alice).peer_states("nobody");
    let cycle = [
        PeerState::Discovering,
        PeerState::Failed,
        PeerState::StoreAndForward,
    ];
    assert_eq!(states[..3], cycle);
    // 1, 2, 4 … 512 s and then every 10 min, a fifth more or less.
    assert!(
        (13..=18).contains(&(states.len() / 3)),
        "{} climbs in an hour",
        states.len() / 3
    );
    assert_eq!(world.registry.lookups, states.len() / 3);
}

#[test]
fn a_peer_that_never_answers_is_called_less_and_less() {
    let mut world = World::new(1);
    let (alice, _carol) = (world.member("alice"), world.member("carol"));
    world.drive(50);
    world.on_signal = Some(Box::new(|_| Vec::new()));
    world.send(alice, "carol", "x");
    world.drive(3_600 * 1_000);
    let offers = world
        .signalled
        .iter()
        .filter(|s| s.kind == SignalKind::Offer);
    let offers = offers.count();
    assert!((10..=60).contains(&offers), "{offers} offers in an hour");
    let states = world.node(alice).peer_states("carol");
    assert_eq!(states.last(), Some(&PeerState::StoreAndForward));
}

#[test]
fn without_a_socket_nobody_is_called_anew() {
    let mut world = World::new(1);
    let (_carol, alice) = (world.member("carol"), world.member("alice"));
    world.drive(50);
    world.set_gateway(false);
    world.drive(10);
    world.send(alice, "carol", "x");
    world.drive(29_000);
    let pending = world
        .node(alice)
        .running()
        .status(world.now())
        .links_pending;
    assert_eq!((pending, world.registry.lookups), (1, 1));
    // What was prepared meanwhile goes out with the first socket.
    world.set_gateway(true);
    assert!(world.drive_until(100, |w| w.node(alice).count(DeliveryState::Delivered) == 1));
}

#[test]
fn a_socket_that_comes_up_is_a_reason_to_try_at_once() {
    let mut world = World::new(1);
    let (alice, carol) = (world.member("alice"), world.member_stopped("carol"));
    world.drive(50);
    world.send(alice, "carol", "x");
    world.drive(1_000 * 3_600);
    world.start(carol);
    world.drive(20);
    let down = SignalInput::Down(client_core::input::SocketId(0));
    world.input(alice, client_core::Input::Signal(down));
    world.set_gateway(true);
    assert!(world.drive_until(500, |w| w.node(alice).count(DeliveryState::Delivered) == 1));
    world.drive(10);
    assert_eq!(world.node(carol).received(), ["x"]);
}

#[test]
fn an_idle_world_is_silent() {
    let mut world = World::new(1);
    let (alice, _carol) = (world.member("alice"), world.member("carol"));
    world.drive(50);
    world.send(alice, "carol", "x");
    world.drive(5_000);
    // Two members for an hour: announces, sweeps, a state every five minutes on their link, and
    // less and less often a question for coordinators, of which there are none.
    world.drive_bounded(3_600 * 1_000, 180);
}
