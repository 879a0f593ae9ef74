//! Crash points (the table of the threat model): killed at every moment, nothing is lost, doubled
//! or out of order.

use client_core::event::{DeliveryState, Event};
use client_core::output::SignalKind;
use client_core::testing::{NodeId, World};

fn pair(seed: u64) -> (World, NodeId, NodeId) {
    let mut world = World::new(seed);
    let (alice, carol) = (world.member("alice"), world.member("carol"));
    world.drive(50);
    (world, alice, carol)
}

fn delivered(world: &World, id: NodeId) -> bool {
    world.node(id).count(DeliveryState::Delivered) >= 1
}

/// Brings both up and lets everything settle; the receiver must have shown `texts`, each once.
fn settles(world: &mut World, alice: NodeId, carol: NodeId, texts: &[&str]) {
    let done = |w: &World| {
        w.node(alice)
            .manager
            .as_ref()
            .is_some_and(|_| w.node(alice).store.load().outbox.is_empty())
    };
    assert!(
        world.drive_until(3_600_000, done),
        "{:#?}",
        world.node(alice).events
    );
    world.drive(60_000);
    assert_eq!(world.node(carol).store.shown(), texts);
}

#[test]
fn c1_before_the_senders_commit_nothing_was_sent() {
    let (mut world, alice, carol) = pair(1);
    let before = world.signalled.len();
    world.send(alice, "carol", "x");
    world.crash(alice);
    world.drive(1_000);
    world.start(alice);
    world.drive(10_000);
    assert!(
        !world
            .node(alice)
            .told(|event| matches!(event, Event::Queued { .. }))
    );
    assert_eq!(world.signalled.len(), before);
    assert_eq!(world.node(carol).received(), Vec::<&str>::new());
}

#[test]
fn c2_after_the_commit_a_repeated_call_is_the_same_message() {
    let (mut world, alice, carol) = pair(1);
    world.send_keyed(alice, "carol", "x", Some("k"));
    let committed = |w: &World| !w.node(alice).store.outbox.is_empty();
    assert!(world.drive_until(100, committed));
    world.crash(alice);
    assert!(
        !world
            .node(alice)
            .told(|event| matches!(event, Event::Queued { .. }))
    );
    world.start(alice);
    world.send_keyed(alice, "carol", "x", Some("k"));
    settles(&mut world, alice, carol, &["x"]);
    assert!(
        world
            .node(alice)
            .told(|e| matches!(e, Event::Queued { repeated: true, .. }))
    );
    // The repeated call took no place in the sequence: the next message is shown at once.
    world.send(alice, "carol", "y");
    world.drive(1_000);
    assert_eq!(world.node(carol).received(), ["x", "y"]);
}

#[test]
fn c4_c10_the_sender_killed_at_any_moment() {
    for at in 0..60 {
        let (mut world, alice, carol) = pair(at);
        world.send(alice, "carol", "x");
        let queued = |w: &World| w.node(alice).told(|e| matches!(e, Event::Queued { .. }));
        assert!(world.drive_until(100, queued));
        world.drive(at);
        world.crash(alice);
        world.drive(50);
        world.start(alice);
        settles(&mut world, alice, carol, &["x"]);
        assert_eq!(
            world.node(carol).received(),
            ["x"],
            "killed {at} ms after queued"
        );
    }
}

#[test]
fn c6_c8_the_receiver_killed_at_any_moment() {
    for at in 0..60 {
        let (mut world, alice, carol) = pair(at);
        world.send(alice, "carol", "x");
        world.drive(at);
        world.crash(carol);
        world.drive(50);
        world.start(carol);
        settles(&mut world, alice, carol, &["x"]);
        assert!(delivered(&world, alice), "killed at {at} ms");
        assert!(world.node(carol).received().len() <= 1, "told twice");
    }
}

#[test]
fn c7_an_ack_lost_with_the_process_is_repeated_and_nothing_shown_twice() {
    let (mut world, alice, carol) = pair(1);
    world.timing.answer_ms = 20;
    world.send(alice, "carol", "x");
    let committed = |w: &World| !w.node(carol).store.inbox.is_empty();
    assert!(world.drive_until(1_000, committed));
    world.crash(carol);
    assert!(!delivered(&world, alice));
    world.start(carol);
    settles(&mut world, alice, carol, &["x"]);
    assert!(delivered(&world, alice));
}

#[test]
fn an_ack_that_does_not_get_through_takes_another_way() {
    let (mut world, alice, carol) = pair(1);
    // Carol's frames after her HELLO, the ACKs, are lost; the gateway still works.
    world.on_frame = Some(Box::new(move |from, _, frame| {
        let ack = from == NodeId(1) && frame.len() < 600;
        if ack { Vec::new() } else { vec![frame] }
    }));
    world.send(alice, "carol", "x");
    assert!(world.drive_until(10_000, |w| delivered(w, alice)));
    world.drive(60_000);
    assert_eq!(world.node(carol).received(), ["x"]);
}

#[test]
fn a_lost_ack_is_given_again() {
    let (mut world, alice, carol) = pair(1);
    world.on_signal = Some(Box::new(|frame| {
        let other_way = frame.kind == SignalKind::RelayRequest;
        if other_way { Vec::new() } else { vec![frame] }
    }));
    let lost = std::rc::Rc::new(std::cell::Cell::new(0));
    let count = lost.clone();
    world.on_frame = Some(Box::new(move |from, _, frame| {
        // Carol's frames after her HELLO: the ACKs.
        let ack = from == NodeId(1) && frame.len() < 600;
        if ack && count.get() < 2 {
            count.set(count.get() + 1);
            return Vec::new();
        }
        vec![frame]
    }));
    world.send(alice, "carol", "x");
    assert!(world.drive_until(60_000, |w| delivered(w, alice)));
    assert_eq!(lost.get(), 2);
    world.drive(60_000);
    assert_eq!(world.node(carol).received(), ["x"]);
}

#[test]
fn both_killed_again_and_again_while_a_conversation_runs() {
    for seed in 0..10 {
        let (mut world, alice, carol) = pair(seed);
        world.timing.jitter_ms = 3;
        let texts: Vec<String> = (0..30).map(|n| n.to_string()).collect();
        let mut queued = Vec::new();
        for text in &texts {
            let command = world.send(alice, "carol", text);
            let pause = world.chance(40);
            world.drive(pause);
            let is_queued = |event: &Event| {
                matches!(event,
                Event::Queued { command: c, .. } if *c == command)
            };
            if world.node(alice).told(is_queued) {
                queued.push(text.clone());
            }
            let victim = [alice, carol][world.chance(2) as usize];
            if world.chance(3) == 0 {
                world.crash(victim);
                let pause = world.chance(100);
                world.drive(pause);
                world.start(victim);
            }
        }
        let done = |w: &World| w.node(alice).store.load().outbox.is_empty();
        assert!(world.drive_until(3_600_000, done), "seed {seed}");
        world.drive(60_000);
        let shown = world.node(carol).store.shown();
        let mut in_order = shown.clone();
        in_order.sort_by_key(|text| text.parse::<u32>().expect("a number"));
        assert_eq!(shown, in_order, "seed {seed}");
        assert!(
            queued.iter().all(|text| shown.contains(text)),
            "seed {seed}: {shown:?}"
        );
    }
}

#[test]
fn a_full_disk_refuses_the_call_and_withholds_the_ack() {
    let (mut world, alice, carol) = pair(1);
    world.node_mut(alice).failing_writes = 1;
    let command = world.send(alice, "carol", "refused");
    world.drive(20);
    let refused =
        |event: &Event| matches!(event, Event::Refused { command: c, .. } if *c == command);
    assert!(world.node(alice).told(refused));
    world.send(alice, "carol", "taken");
    world.node_mut(carol).failing_writes = 3;
    assert!(world.drive_until(60_000, |w| delivered(w, alice)));
    world.drive(10);
    assert_eq!(
        world.node(carol).received(),
        ["taken"],
        "and no gap before it"
    );
    assert!(world.node(carol).warnings().contains(&"store-failed"));
}
