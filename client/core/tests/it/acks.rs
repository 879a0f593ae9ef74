//! What travels together: ACKs at once for messages that come alone, one for many in a stream;
//! messages of one commit in one frame.

use client_core::event::DeliveryState;
use client_core::input::{Command, CommandId};
use client_core::limits::{ACK_GATHER_MS, ACK_TRIES_MIN};
use client_core::output::RtcCommand;
use client_core::state::StoreResult;
use client_core::testing::{NodeId, World, label};
use client_core::{Input, Output};
use std::cell::Cell;
use std::rc::Rc;

/// Alice and Carol on an open link where everything but the link's 1 ms takes no time, and the
/// frames Carol sent so far.
fn on_a_fast_link() -> (World, NodeId, Rc<Cell<usize>>) {
    let mut world = World::new(1);
    let (alice, carol) = (world.member("alice"), world.member("carol"));
    world.drive(50);
    world.send(alice, "carol", "first");
    assert!(world.drive_until(2_000, |w| delivered(w, alice) == 1));
    world.drive(1_000);
    (world.timing.commit_ms, world.timing.answer_ms) = (0, 0);
    world.timing.link_ms = 1;
    let acks = Rc::new(Cell::new(0));
    let count = acks.clone();
    world.on_frame = Some(Box::new(move |from, _, frame| {
        if from == carol {
            count.set(count.get() + 1);
        }
        vec![frame]
    }));
    (world, alice, acks)
}

fn delivered(world: &World, id: NodeId) -> usize {
    world.node(id).count(DeliveryState::Delivered)
}

/// One message after another, each sent when the last is delivered; how long each took.
fn ping_pong(world: &mut World, alice: NodeId, messages: usize) -> Vec<u64> {
    let mut times = Vec::new();
    for _ in 0..messages {
        let (start, count) = (world.now_ms, delivered(world, alice));
        world.send(alice, "carol", "ping");
        assert!(world.drive_until(1_000, |w| delivered(w, alice) > count));
        times.push(world.now_ms - start);
    }
    times
}

#[test]
fn a_message_that_comes_alone_is_acknowledged_at_once() {
    let (mut world, alice, acks) = on_a_fast_link();
    // Nothing takes time at all: every ACK comes quickly after another.
    world.timing.link_ms = 0;
    let times = ping_pong(&mut world, alice, 300);
    assert_eq!(acks.get(), 300, "one ACK for each");
    let waited = times.iter().filter(|time| **time > 0).count();
    // After 8 quick ones, 16 more, 32, 64, then every 128, one waits in vain.
    assert_eq!(waited, 5, "of 300 waited for others");
    assert!(times.iter().all(|time| *time <= ACK_GATHER_MS));
}

#[test]
fn in_a_stream_one_ack_speaks_for_many() {
    let (mut world, alice, acks) = on_a_fast_link();
    let each_ms = 20;
    let before = delivered(&world, alice);
    for _ in 0..40 {
        for _ in 0..each_ms {
            world.send(alice, "carol", "drop");
        }
        world.drive(1);
    }
    world.drive(50);
    assert_eq!(delivered(&world, alice) - before, 40 * each_ms);
    // Each send is a frame and a write of its own. One ACK every 2 ms, and the first few.
    let most = 40 / ACK_GATHER_MS as usize + 2 * ACK_TRIES_MIN as usize;
    assert!(acks.get() <= most, "{} ACKs, not {most}", acks.get());
}

#[test]
fn a_ping_pong_after_a_stream_is_quick_again_and_a_stream_after_it_gathers_again() {
    let (mut world, alice, acks) = on_a_fast_link();
    world.timing.link_ms = 0;
    for round in 0..3 {
        let before = acks.get();
        for _ in 0..200 {
            world.send(alice, "carol", "drop");
        }
        world.drive(10);
        assert!(
            acks.get() - before <= 30,
            "round {round}: {}",
            acks.get() - before
        );
        let times = ping_pong(&mut world, alice, 20);
        let waited = times.iter().filter(|time| **time > 0).count();
        assert!(waited <= 3, "round {round}: {waited} of 20 waited");
    }
}

#[test]
fn a_stream_with_pauses_after_a_ping_pong_gathers_too() {
    let (mut world, alice, acks) = on_a_fast_link();
    world.timing.link_ms = 0;
    ping_pong(&mut world, alice, 300);
    for _ in 0..100 {
        for _ in 0..4 {
            world.send(alice, "carol", "drop");
        }
        world.drive(5);
    }
    let before = acks.get();
    for _ in 0..4 {
        world.send(alice, "carol", "drop");
    }
    world.drive(5);
    assert_eq!(
        acks.get() - before,
        2,
        "the first at once, the others together"
    );
}

#[test]
fn messages_of_one_commit_go_out_in_one_frame() {
    let mut world = World::new(1);
    let (alice, _carol) = (world.member("alice"), world.member("carol"));
    world.drive(50);
    world.send(alice, "carol", "first");
    assert!(
        world.drive_until(2_000, |w| w.node(alice).count(DeliveryState::Delivered)
            == 1)
    );
    world.drive(1_000);
    let now = world.now();
    let manager = world.node_mut(alice).manager.as_mut().expect("it runs");
    let (mut writes, mut frames) = (Vec::new(), 0);
    for number in 0..5 {
        let send = Command::Send {
            command: CommandId(1_000 + number),
            to: label("carol"),
            text: number.to_string(),
            idempotency_key: None,
        };
        manager.handle_input(now, Input::Command(send));
        while let Some(output) = manager.poll_output() {
            if let Output::Store { ticket, ops } = output {
                assert_eq!(ops.len(), 1, "one row each");
                let inserted = StoreResult::Inserted { seq_reused: false };
                writes.push((ticket, Ok(vec![inserted])));
            }
        }
    }
    assert_eq!(writes.len(), 5);
    manager.handle_input(now, Input::Stored(writes));
    while let Some(output) = manager.poll_output() {
        let sent = matches!(
            output,
            Output::Rtc {
                command: RtcCommand::Send(_),
                ..
            }
        );
        frames += usize::from(sent);
    }
    assert_eq!(frames, 1, "five messages share it");
}
