//! Order: what comes early waits, what is lost shows as a gap, what is late fills it.

use client_core::event::{DeliveryState, Event};
use client_core::testing::{NodeId, World};
use std::cell::Cell;
use std::rc::Rc;

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|n| n.to_string()).collect()
}

fn delivered(world: &World, id: NodeId) -> usize {
    world.node(id).count(DeliveryState::Delivered)
}

#[test]
fn a_burst_arrives_in_order() {
    let mut world = World::new(1);
    let (alice, carol) = (world.member("alice"), world.member("carol"));
    world.drive(50);
    let texts = numbers(1_500);
    for text in &texts {
        world.send(alice, "carol", text);
    }
    assert!(world.drive_until(60_000, |w| delivered(w, alice) == texts.len()));
    world.drive(100);
    assert_eq!(world.node(carol).received(), texts);
}

#[test]
fn frames_lost_and_reordered_are_put_in_order() {
    for seed in 0..8 {
        let mut world = World::new(seed);
        let (alice, carol) = (world.member("alice"), world.member("carol"));
        world.drive(50);
        world.send(alice, "carol", "0");
        assert!(world.drive_until(5_000, |w| delivered(w, alice) == 1));
        // A link that loses a third of Alice's frames and holds some back behind the next.
        let (turn, mut kept) = (Cell::new(seed), None);
        world.on_frame = Some(Box::new(move |from, _, frame| {
            if from != NodeId(0) {
                return vec![frame];
            }
            turn.set(
                turn.get()
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1),
            );
            match (turn.get() >> 33) % 3 {
                0 => Vec::new(),
                1 if kept.is_none() => {
                    kept = Some(frame);
                    Vec::new()
                }
                _ => std::iter::once(frame).chain(kept.take()).collect(),
            }
        }));
        let texts = numbers(60);
        for text in &texts[1..] {
            world.send(alice, "carol", text);
            world.drive(5);
        }
        world.on_frame = None;
        let done = world.drive_until(600_000, |w| delivered(w, alice) == texts.len());
        assert!(done, "seed {seed}: {} delivered", delivered(&world, alice));
        world.drive(60_000);
        let received = world.node(carol).received();
        let mut sorted: Vec<u32> = received.iter().filter_map(|t| t.parse().ok()).collect();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), texts.len(), "seed {seed}: each shown");
        assert_eq!(received.len(), texts.len(), "seed {seed}: each shown once");
        let gaps =
            world.node(carol).events.iter().filter(
                |(_, event)| matches!(event, Event::Received(received) if received.after_gap),
            );
        if gaps.count() == 0 {
            assert_eq!(received, texts, "seed {seed}: in order");
        }
    }
}

#[test]
fn a_gap_is_shown_after_its_time_and_filled_in_place() {
    let mut world = World::new(1);
    let (alice, carol) = (world.member("alice"), world.member("carol"));
    world.drive(50);
    world.send(alice, "carol", "1");
    assert!(world.drive_until(5_000, |w| delivered(w, alice) == 1));
    // Message 2 is swallowed for a minute.
    let open = Rc::new(Cell::new(false));
    let (is_open, mut first) = (open.clone(), None);
    world.on_frame = Some(Box::new(move |from, _, frame| {
        if from != NodeId(0) || is_open.get() {
            return vec![frame];
        }
        if first.is_none() {
            first = Some(frame.clone());
        }
        if first.as_ref() == Some(&frame) {
            Vec::new()
        } else {
            vec![frame]
        }
    }));
    world.send(alice, "carol", "2");
    world.drive(5);
    world.send(alice, "carol", "3");
    assert!(world.drive_until(5_000, |w| delivered(w, alice) == 2));
    world.drive(100);
    assert_eq!(world.node(carol).received(), ["1"], "3 waits for 2");
    assert_eq!(world.node(carol).running().status(world.now()).held, 1);
    open.set(true);
    assert!(world.drive_until(60_000, |w| delivered(w, alice) == 3));
    world.drive(60_000);
    assert_eq!(world.node(carol).received(), ["1", "2", "3"]);
}

#[test]
fn a_gap_never_filled_is_shown_as_one() {
    let mut world = World::new(1);
    let (alice, carol) = (world.member("alice"), world.member("carol"));
    world.drive(50);
    world.send(alice, "carol", "1");
    assert!(world.drive_until(5_000, |w| delivered(w, alice) == 1));
    world.drive(2_000);
    // Alice loses message 2 before it was ever sent: a write that fails behind one that does not.
    world.node_mut(alice).failing_writes = 1;
    world.send(alice, "carol", "2");
    world.send(alice, "carol", "3");
    assert!(world.drive_until(5_000, |w| delivered(w, alice) == 2));
    world.drive(29_000);
    assert_eq!(world.node(carol).received(), ["1"]);
    world.crash(carol);
    world.start(carol);
    world.drive(29_000);
    assert_eq!(
        world.node(carol).received(),
        ["1"],
        "the wait starts again with the process"
    );
    world.drive(2_000);
    assert_eq!(world.node(carol).received(), ["1", "3"]);
    let gap = |event: &Event| matches!(event, Event::Received(r) if r.after_gap && r.text == "3");
    assert!(world.node(carol).told(gap));
    world.send(alice, "carol", "4");
    assert!(world.drive_until(60_000, |w| w.node(carol).received().len() == 3));
}

#[test]
fn a_read_message_says_so() {
    let mut world = World::new(1);
    let (alice, carol) = (world.member("alice"), world.member("carol"));
    world.drive(50);
    world.send(alice, "carol", "1");
    assert!(world.drive_until(5_000, |w| delivered(w, alice) == 1));
    world.drive(20);
    let read: Vec<_> = world
        .node(carol)
        .events
        .iter()
        .filter_map(|(_, event)| match event {
            Event::Received(received) => Some((received.from_user, received.id)),
            _ => None,
        })
        .collect();
    let command = client_core::input::Command::MarkRead { messages: read };
    world.input(carol, client_core::Input::Command(command));
    world.drive(20);
    assert_eq!(world.node(alice).count(DeliveryState::Read), 1);
}
