//! Glare: both sides call at once; the offer of the lower device fingerprint stands.

use client_core::event::{DeliveryState, PeerState};
use client_core::output::SignalKind;
use client_core::testing::{NodeId, World};

fn both_delivered(world: &World, a: NodeId, b: NodeId) -> bool {
    [a, b]
        .iter()
        .all(|id| world.node(*id).count(DeliveryState::Delivered) == 1)
}

#[test]
fn two_calls_at_once_make_one_link() {
    for seed in 0..20 {
        let mut world = World::new(seed);
        world.timing.jitter_ms = seed % 5;
        let (alice, carol) = (world.member("alice"), world.member("carol"));
        world.drive(50);
        world.send(alice, "carol", "from alice");
        world.send(carol, "alice", "from carol");
        let done = world.drive_until(3_000, |w| both_delivered(w, alice, carol));
        assert!(done, "seed {seed}: {:#?}", world.node(alice).events);
        world.drive(20);
        for id in [alice, carol] {
            assert_eq!(
                world.node(id).running().status(world.now()).links_open,
                1,
                "seed {seed}"
            );
            assert_eq!(world.node(id).received().len(), 1);
        }
        let answers = world
            .signalled
            .iter()
            .filter(|s| s.kind == SignalKind::Answer);
        assert_eq!(answers.count(), 1, "seed {seed}");
    }
}

#[test]
fn the_offer_that_had_to_wait_is_answered_when_the_other_comes_to_nothing() {
    let mut world = World::new(3);
    let (alice, carol) = (world.member("alice"), world.member("carol"));
    world.drive(50);
    let fps = [alice, carol].map(|id| world.node(id).running().status(world.now()).device);
    let low = if fps[0] < fps[1] { alice } else { carol };
    let low_label = world.node(low).device_label().clone();
    // What the lower one says never arrives; what it must answer waits for its own call to end.
    world.on_signal = Some(Box::new(move |frame| {
        let lost = frame.from == low_label && frame.kind == SignalKind::Offer;
        if lost { Vec::new() } else { vec![frame] }
    }));
    world.send(alice, "carol", "from alice");
    world.send(carol, "alice", "from carol");
    assert!(world.drive_until(120_000, |w| both_delivered(w, alice, carol)));
}

#[test]
fn an_offer_does_not_touch_an_open_link_until_the_new_one_is_open() {
    let mut world = World::new(5);
    let (alice, carol) = (world.member("alice"), world.member("carol"));
    world.drive(50);
    world.send(alice, "carol", "one");
    assert!(
        world.drive_until(2_000, |w| w.node(alice).count(DeliveryState::Delivered)
            == 1)
    );
    world.timing.ice_ms = 2_000;
    world.input(alice, client_core::Input::NetworkChanged);
    world.drive(500);
    let status = world.node(alice).running().status(world.now());
    assert_eq!((status.links_open, status.links_pending), (1, 1));
    world.send(carol, "alice", "over the old link");
    assert!(world.drive_until(500, |w| w.node(carol).count(DeliveryState::Delivered) == 1));
    world.drive(5_000);
    for id in [alice, carol] {
        let status = world.node(id).running().status(world.now());
        assert_eq!((status.links_open, status.links_pending), (1, 0));
    }
    world.send(carol, "alice", "over the new link");
    assert!(world.drive_until(500, |w| w.node(carol).count(DeliveryState::Delivered) == 2));
    world.drive(10);
    assert_eq!(
        world.node(alice).received(),
        ["over the old link", "over the new link"]
    );
}

#[test]
fn two_that_cannot_link_do_not_call_each_other_for_ever() {
    let mut world = World::new(5);
    let (alice, carol) = (world.member("alice"), world.member("carol"));
    world.drive(50);
    world.send(alice, "carol", "hello");
    world.drive(2_000);
    world.crash(alice);
    world.crash(carol);
    world.drive(10_000);
    // No packet passes between them, and the gateway carries no message.
    world.apart.insert((alice, carol));
    world.apart.insert((carol, alice));
    world.on_signal = Some(Box::new(|frame| {
        let message = frame.kind == SignalKind::RelayRequest;
        if message { Vec::new() } else { vec![frame] }
    }));
    world.start(alice);
    world.start(carol);
    world.drive(50);
    let before = world.signalled.len();
    world.send(alice, "carol", "x");
    world.send(carol, "alice", "y");
    world.drive(3_600_000);
    let offers = world.signalled[before..].iter();
    let offers = offers.filter(|s| s.kind == SignalKind::Offer).count();
    assert!(offers <= 200, "{offers} offers in an hour");
    for (id, other) in [(alice, "carol"), (carol, "alice")] {
        let states = world.node(id).peer_states(other);
        assert!(states.contains(&PeerState::StoreAndForward));
    }
    // The next try of each finds the way out.
    world.on_signal = None;
    let done = |w: &World| {
        let delivered = |id| w.node(id).count(DeliveryState::Delivered);
        delivered(alice) == 2 && delivered(carol) == 1
    };
    assert!(world.drive_until(15 * 60_000, done));
}
