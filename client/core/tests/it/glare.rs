//! Glare: both sides call at once; the offer of the lower device fingerprint stands.

use client_core::event::DeliveryState;
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
