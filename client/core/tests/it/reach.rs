//! Reaching somebody: offline, coming back, servers down, several devices, backpressure.

use client_core::event::{DeliveryState, NEVER_ONLINE, PeerState};
use client_core::output::SignalKind;
use client_core::testing::{EPOCH_MS, World};

fn delivered(world: &World, id: client_core::testing::NodeId) -> usize {
    world.node(id).count(DeliveryState::Delivered)
}

#[test]
fn an_ack_of_a_later_message_leaves_no_earlier_one_behind() {
    let mut world = World::new(4);
    let (alice, carol) = (world.member("alice"), world.member("carol"));
    world.drive(50);
    world.send(alice, "carol", "hello");
    assert!(world.drive_until(2_000, |w| delivered(w, alice) == 1));
    // Nothing gets through on the link any more, and of one message nothing past it.
    world.muted.insert((alice, carol));
    world.apart.insert((alice, carol));
    let mut first = None;
    world.on_signal = Some(Box::new(move |frame| {
        if frame.kind != SignalKind::RelayRequest {
            return Vec::new();
        }
        let lost = first.get_or_insert_with(|| frame.parcel.clone());
        let of_it = *lost == frame.parcel;
        if of_it { Vec::new() } else { vec![frame] }
    }));
    world.send(alice, "carol", "one");
    world.drive(500);
    world.send(alice, "carol", "two");
    assert!(world.drive_until(60_000, |w| delivered(w, alice) == 2));
    world.muted.clear();
    world.on_signal = None;
    assert!(world.drive_until(120_000, |w| delivered(w, alice) == 3));
}

#[test]
fn two_that_cannot_connect_come_to_rest_and_are_reached_another_way() {
    let mut world = World::new(3);
    let (alice, carol) = (world.member("alice"), world.member("carol"));
    world.drive(50);
    world.apart.insert((alice, carol));
    // What goes past the call is lost as well, at first.
    world.on_signal = Some(Box::new(|frame| {
        let past = frame.kind == SignalKind::RelayRequest;
        if past { Vec::new() } else { vec![frame] }
    }));
    world.send(alice, "carol", "from Alice");
    world.send(carol, "alice", "from Carol");
    world.drive(10 * 60 * 1_000);
    let offers = world.signalled.iter();
    let offers = offers
        .filter(|frame| frame.kind == SignalKind::Offer)
        .count();
    assert!(offers < 60, "{offers} offers in ten minutes");
    world.on_signal = None;
    let both = |w: &World| {
        let done = |id| w.node(id).count(DeliveryState::Delivered) == 1;
        done(alice) && done(carol)
    };
    assert!(world.drive_until(11 * 60 * 1_000, both));
}

#[test]
fn a_receiver_that_was_offline_gets_it_when_it_comes_online() {
    let mut world = World::new(1);
    let (alice, carol) = (world.member("alice"), world.member("carol"));
    world.drive(50);
    world.crash(carol);
    world.send(alice, "carol", "later");
    world.drive(20_000);
    assert_eq!(delivered(&world, alice), 0);
    let last = world.node(alice).peer_states("carol").last().copied();
    assert_eq!(last, Some(PeerState::StoreAndForward));
    world.start(carol);
    assert!(world.drive_until(60_000, |w| delivered(w, alice) == 1));
    world.drive(60_000);
    assert_eq!(world.node(carol).received(), ["later"]);
}

/// Each message is tried at once, and none of these tries makes the pause before the next longer.
#[test]
fn many_messages_to_somebody_offline_do_not_put_off_the_next_try() {
    let mut world = World::new(1);
    let (alice, carol) = (world.member("alice"), world.member("carol"));
    world.drive(50);
    world.send(alice, "carol", "hello");
    world.drive(1_000);
    world.crash(carol);
    world.drive(60_000);
    for n in 0..40 {
        world.send(alice, "carol", &n.to_string());
        world.drive(100);
    }
    world.start(carol);
    let all = |world: &World| delivered(world, alice) == 41;
    assert!(world.drive_until(10_000, all));
}

#[test]
fn a_sender_that_ended_delivers_with_its_next_process() {
    let mut world = World::new(1);
    let (alice, carol) = (world.member("alice"), world.member_stopped("carol"));
    world.drive(50);
    world.send(alice, "carol", "one");
    world.send(alice, "carol", "two");
    world.drive(5_000);
    world.crash(alice);
    world.start(carol);
    world.drive(5_000);
    world.start(alice);
    assert!(world.drive_until(5_000, |w| delivered(w, alice) == 2));
    world.drive(10);
    assert_eq!(world.node(carol).received(), ["one", "two"]);
}

#[test]
fn known_peers_find_each_other_without_the_registry() {
    let mut world = World::new(1);
    let (alice, _carol) = (world.member("alice"), world.member("carol"));
    world.drive(50);
    world.send(alice, "carol", "one");
    assert!(world.drive_until(2_000, |w| delivered(w, alice) == 1));
    world.drive(5_000);
    world.crash(alice);
    world.registry.down = true;
    world.drive(10_000);
    world.start(alice);
    world.send(alice, "carol", "two");
    assert!(world.drive_until(5_000, |w| delivered(w, alice) == 2));
    let states = world.node(alice).message_states();
    let found_by = states.last().and_then(|state| state.found_by);
    assert_eq!(found_by, Some(client_core::event::Rung::Cache));
}

#[test]
fn the_gateway_dies_in_the_middle_of_a_call_and_comes_back() {
    for dies_at in 0..40 {
        let mut world = World::new(dies_at);
        let (alice, carol) = (world.member("alice"), world.member("carol"));
        world.drive(50);
        world.send(alice, "carol", "x");
        world.drive(dies_at);
        world.set_gateway(false);
        world.drive(2_000);
        world.set_gateway(true);
        assert!(
            world.drive_until(60_000, |w| delivered(w, alice) == 1),
            "at {dies_at} ms"
        );
        world.drive(1_000);
        assert_eq!(world.node(carol).received(), ["x"], "at {dies_at} ms");
    }
}

#[test]
fn every_device_of_a_user_gets_a_copy_and_one_ack_delivers() {
    let mut world = World::new(1);
    let alice = world.member("alice");
    let expires_ms = EPOCH_MS + 1_000_000_000;
    let carol = world
        .authority
        .admit("carol", "carol", &["phone", "laptop"], expires_ms);
    let phone = world.device_of(carol.clone(), 0);
    let laptop = world.device_of(carol, 1);
    world.start(phone);
    world.start(laptop);
    world.drive(50);
    world.send(alice, "carol", "to both");
    assert!(world.drive_until(2_000, |w| delivered(w, alice) == 1));
    world.drive(2_000);
    assert_eq!(delivered(&world, alice), 1);
    world.send(alice, "carol", "again");
    world.drive(2_000);
    for id in [phone, laptop] {
        assert_eq!(world.node(id).received().last(), Some(&"again"), "{id:?}");
    }
    world.crash(laptop);
    world.send(alice, "carol", "to the phone");
    assert!(world.drive_until(2_000, |w| delivered(w, alice) == 3));
}

#[test]
fn a_full_link_delivers_everything_in_order() {
    let mut world = World::new(1);
    world.budget = 3;
    let (alice, carol) = (world.member("alice"), world.member("carol"));
    world.drive(50);
    let texts: Vec<String> = (0..300)
        .map(|n| format!("{n} {}", "x".repeat(n * 30)))
        .collect();
    for text in &texts {
        world.send(alice, "carol", text);
    }
    assert!(world.drive_until(60_000, |w| delivered(w, alice) == 300));
    world.drive(100);
    assert_eq!(world.node(carol).received(), texts);
}

#[test]
fn the_longest_text_travels_and_a_longer_one_is_refused() {
    let mut world = World::new(1);
    world.real_crypto = true;
    let (alice, carol) = (world.member("alice"), world.member("carol"));
    world.drive(50);
    let longest = "y".repeat(12_000);
    world.send(alice, "carol", &longest);
    assert!(world.drive_until(2_000, |w| delivered(w, alice) == 1));
    world.drive(10);
    assert_eq!(world.node(carol).received(), [longest.as_str()]);
    let command = world.send(alice, "carol", &"y".repeat(12_001));
    let refused = world.node(alice).told(|event| {
        matches!(event, client_core::event::Event::Refused { command: c, code, .. }
            if *c == command && *code == beeline_proto::code::ErrorCode::TooLarge)
    });
    assert!(refused);
}

#[test]
fn a_month_without_delivery_ends_as_expired() {
    let mut world = World::new(1);
    let alice = world.member("alice");
    world.drive(50);
    world.send(alice, "nobody", "x");
    world.drive(31 * 24 * 3_600 * 1_000);
    assert_eq!(world.node(alice).count(DeliveryState::Expired), 1);
    assert_eq!(world.node(alice).running().status(world.now()).outbox, 0);
}

#[test]
fn a_call_taken_by_a_process_that_died_is_made_anew() {
    for answered in [false, true] {
        let mut world = World::new(9);
        let (alice, carol) = (world.member("alice"), world.member("carol"));
        world.drive(50);
        world.timing.ice_ms = 500;
        let before = world.signalled.len();
        world.send(alice, "carol", "x");
        let kind = if answered {
            SignalKind::Answer
        } else {
            SignalKind::Offer
        };
        let taken = |w: &World| w.signalled[before..].iter().any(|s| s.kind == kind);
        assert!(world.drive_until(1_000, taken));
        world.drive(if answered { 50 } else { 1 });
        // The process that has the offer is gone; another of the same device is there at once.
        world.crash(carol);
        world.start(carol);
        let delivered = |w: &World| w.node(alice).count(DeliveryState::Delivered) == 1;
        assert!(world.drive_until(12_000, delivered), "answered: {answered}");
        assert_eq!(world.node(carol).store.shown(), ["x"]);
    }
}

#[test]
fn somebody_who_was_never_online_cannot_be_sealed_for_and_each_message_says_so_once() {
    let mut world = World::new(9);
    let alice = world.member("alice");
    let carol = world.member_stopped("carol");
    world.drive(50);
    let told = |world: &World| {
        let states = world.node(alice).message_states().into_iter();
        let notes = states.filter(|s| s.reason.as_deref() == Some(NEVER_ONLINE));
        notes.map(|s| s.state).collect::<Vec<_>>()
    };
    world.send(alice, "carol", "one");
    world.drive(2_000);
    assert_eq!(told(&world), [DeliveryState::Trying]);
    world.send(alice, "carol", "two");
    world.drive(60_000);
    assert_eq!(told(&world), [DeliveryState::Trying; 2]);
    world.start(carol);
    assert!(world.drive_until(20 * 60_000, |w| delivered(w, alice) == 2));
    assert_eq!(world.node(carol).received(), ["one", "two"]);
}
