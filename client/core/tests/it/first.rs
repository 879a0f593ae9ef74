//! The first message, end to end.

use client_core::event::{DeliveryState, Event, Path, PeerState, Rung};
use client_core::testing::World;

#[test]
fn a_first_message_is_delivered_and_shown_once() {
    let mut world = World::new(1);
    world.real_crypto = true;
    let (alice, carol) = (world.member("alice"), world.member("carol"));
    world.drive(100);
    assert!(world.node(alice).told(|event| *event == Event::Online));
    world.send(alice, "carol", "hello Carol");
    let delivered = |w: &World| w.node(alice).count(DeliveryState::Delivered) == 1;
    assert!(
        world.drive_until(5_000, delivered),
        "{:#?}",
        world.node(alice).events
    );

    let states = world.node(alice).message_states();
    let last = states.last().expect("states");
    assert_eq!(
        (last.path, last.found_by),
        (Some(Path::Direct), Some(Rung::Registry))
    );
    let names: Vec<_> = states.iter().map(|s| (s.state, s.rung)).collect();
    assert_eq!(names.first(), Some(&(DeliveryState::Queued, None)));
    assert!(names.contains(&(DeliveryState::Trying, Some(Rung::Registry))));
    world.drive(60_000);
    assert_eq!(world.node(carol).received(), ["hello Carol"]);
    assert_eq!(world.node(alice).running().status(world.now()).outbox, 0);
    let peer_states = [
        PeerState::Discovering,
        PeerState::Signaling,
        PeerState::Connecting,
        PeerState::Connected,
    ];
    assert_eq!(world.node(alice).peer_states("carol"), peer_states);
    assert_eq!(world.node(carol).peer_states("alice"), peer_states[1..]);
}
