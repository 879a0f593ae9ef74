//! What ended is not over: late ACKs and READs, also for the next process, and only with their
//! proofs; idempotency keys for ever; restored homes.

use crate::speaker::{Speaker, acquainted};
use beeline_proto::id::{MessageId, sha256};
use client_core::Input;
use client_core::event::{DeliveryState, Event};
use client_core::input::{Command, CommandId};
use client_core::testing::{NodeId, World, label};

const DAY_MS: u64 = 24 * 3_600 * 1_000;

fn count(world: &World, id: NodeId, state: DeliveryState) -> usize {
    world.node(id).count(state)
}

/// Alice has given up a message that Carol never got: its id and the hash of its envelope.
fn expired(world: &mut World, alice: NodeId, carol: NodeId) -> (MessageId, [u8; 32]) {
    world.crash(carol);
    world.drive(10_000);
    world.send(alice, "carol", "late");
    world.drive(31 * DAY_MS);
    let id = world.node(alice).last_queued().expect("queued");
    let envelope = world.node(alice).store.outbox[&id].envelope.clone();
    (id, sha256(&envelope.expect("signed")))
}

#[test]
fn an_expired_message_says_that_we_stopped_trying_and_a_late_ack_still_counts() {
    for restarted in [false, true] {
        let (mut world, alice, carol) = acquainted(1);
        let (id, hash) = expired(&mut world, alice, carol);
        let states = world.node(alice).message_states();
        let last = *states.last().expect("told");
        assert_eq!(last.state, DeliveryState::Expired);
        let reason = last.reason.as_deref().expect("why");
        assert!(reason.starts_with("we stopped trying"), "{reason}");
        if restarted {
            world.crash(alice);
            world.start(alice);
            world.drive(1_000);
        }
        let to = world.node(alice).user.clone();
        let mut speaker = Speaker::of(&world, carol);
        let mut mallory = Speaker::member(&mut world, "mallory");
        // Not of another user, not for another envelope, not for a message that is none of ours.
        let frames = [
            mallory.ack(&to, id, hash, false),
            speaker.ack(&to, id, [3; 32], false),
            speaker.ack(&to, MessageId([3; 16]), hash, false),
            mallory.read(&to, vec![id.to_vec()]),
            speaker.read(&to, vec![id.to_vec(), vec![1, 2], Vec::new()]),
        ];
        for frame in frames {
            world.pass_on(carol, frame);
        }
        world.drive(1_000);
        assert_eq!(count(&world, alice, DeliveryState::Delivered), 1);
        assert_eq!(
            count(&world, alice, DeliveryState::Read),
            0,
            "it is not delivered"
        );
        for _ in 0..2 {
            let frame = speaker.ack(&to, id, hash, true);
            world.pass_on(carol, frame);
            world.drive(1_000);
        }
        assert_eq!(count(&world, alice, DeliveryState::Delivered), 2, "once");
        let stored = world.node(alice).store.outbox[&id].state;
        assert_eq!(stored, DeliveryState::Delivered);
        let frame = speaker.read(&to, vec![id.to_vec(); 3]);
        world.pass_on(carol, frame);
        world.drive(1_000);
        assert_eq!(count(&world, alice, DeliveryState::Read), 1);
    }
}

/// The ids of what a node has received, with their senders.
fn received(world: &World, id: NodeId) -> Vec<(beeline_proto::id::UserFp, MessageId)> {
    let events = world.node(id).events.iter();
    let received = events.filter_map(|(_, event)| match event {
        Event::Received(received) => Some((received.from_user, received.id)),
        _ => None,
    });
    received.collect()
}

#[test]
fn reading_is_told_unless_a_person_wants_it_not_to_be() {
    let (mut world, alice, carol) = acquainted(1);
    let set = |world: &mut World, user: &str, on: bool| {
        let command = CommandId(u64::from(on) + 70);
        let user = label(user);
        let set = Command::SetReadReceipts { command, user, on };
        world.input(carol, Input::Command(set));
        world.drive(50);
        let events = &world.node(carol).events;
        let told = events.iter().rev().find_map(|(_, event)| match event {
            Event::Done { command: c } if *c == command => Some(true),
            Event::Refused { command: c, .. } if *c == command => Some(false),
            _ => None,
        });
        told.expect("answered")
    };
    let read_all = |world: &mut World| {
        let messages = received(world, carol);
        world.input(carol, Input::Command(Command::MarkRead { messages }));
        world.drive(50);
    };
    assert!(!set(&mut world, "nobody", false));
    assert!(set(&mut world, "alice", false));
    read_all(&mut world);
    assert_eq!(count(&world, alice, DeliveryState::Read), 0);
    world.crash(carol);
    world.start(carol);
    world.drive(1_000);
    world.send(alice, "carol", "two");
    assert!(world.drive_until(60_000, |w| received(w, carol).len() == 2));
    read_all(&mut world);
    assert_eq!(
        count(&world, alice, DeliveryState::Read),
        0,
        "kept over a restart"
    );
    assert!(set(&mut world, "alice", true));
    read_all(&mut world);
    assert_eq!(count(&world, alice, DeliveryState::Read), 2);
    // A setting that cannot be kept is not in force.
    world.node_mut(carol).failing_writes = 1;
    assert!(!set(&mut world, "alice", false));
    assert!(world.node(carol).store.contacts[&label("alice")].read_receipts);
}

#[test]
fn what_is_read_without_a_way_is_told_when_there_is_one() {
    let (mut world, alice, carol) = acquainted(1);
    let messages = received(&world, carol);
    world.crash(carol);
    world.crash(alice);
    world.drive(10_000);
    world.start(carol);
    world.start(alice);
    let many = std::iter::repeat_n(messages[0], 5_000).collect();
    for messages in [messages, many] {
        world.input(carol, Input::Command(Command::MarkRead { messages }));
    }
    for fill in world.node(carol).running().fill() {
        assert!(fill.len <= fill.max, "{fill:?}");
    }
    world.drive(1_000);
    assert_eq!(count(&world, alice, DeliveryState::Read), 0);
    world.send(alice, "carol", "two");
    let read = |w: &World| count(w, alice, DeliveryState::Read) == 1;
    assert!(world.drive_until(60_000, read));
}

#[test]
fn an_idempotency_key_makes_one_message_for_ever() {
    let (mut world, alice, carol) = acquainted(1);
    world.send_keyed(alice, "carol", "two", Some("k"));
    assert!(world.drive_until(60_000, |w| count(w, alice, DeliveryState::Delivered) == 2));
    let first = world.node(alice).last_queued().expect("queued");
    let again = |world: &mut World| {
        let command = world.send_keyed(alice, "carol", "two", Some("k"));
        world.drive(50);
        let told = Event::Queued {
            command,
            id: first,
            repeated: true,
        };
        assert!(world.node(alice).told(|event| *event == told));
    };
    again(&mut world);
    world.crash(alice);
    world.start(alice);
    world.drive(50);
    again(&mut world);
    world.drive(40 * DAY_MS);
    again(&mut world);
    // Also after one with a key has expired.
    world.crash(carol);
    world.drive(10_000);
    world.send_keyed(alice, "carol", "three", Some("l"));
    world.drive(31 * DAY_MS);
    assert_eq!(count(&world, alice, DeliveryState::Expired), 1);
    let before = world.node(alice).store.outbox.len();
    world.send_keyed(alice, "carol", "three", Some("l"));
    world.drive(50);
    assert_eq!(world.node(alice).store.outbox.len(), before);
    // The key of one conversation is free in another; numbers have no holes.
    world.send_keyed(alice, "dave", "x", Some("k"));
    world.send(alice, "carol", "four");
    world.drive(50);
    let id = world.node(alice).last_queued().expect("queued");
    assert_eq!(world.node(alice).store.outbox[&id].seq, 4);
}

#[test]
fn a_restored_sender_counts_anew_once_and_claims_nothing_it_cannot_prove() {
    let (mut world, alice, carol) = acquainted(1);
    let backup = world.node(alice).store.clone();
    for text in ["two", "three", "four"] {
        world.send(alice, "carol", text);
    }
    assert!(world.drive_until(60_000, |w| count(w, alice, DeliveryState::Delivered) == 4));
    // Carol is away while the restored Alice writes three with numbers she has used.
    world.crash(carol);
    world.crash(alice);
    world.drive(10_000);
    world.node_mut(alice).store = backup.clone();
    world.start(alice);
    world.drive(1_000);
    let told = world.node(alice).events.len();
    for text in ["zwei", "drei", "vier"] {
        world.send(alice, "carol", text);
    }
    world.drive(60_000);
    assert_eq!(
        count(&world, alice, DeliveryState::Delivered),
        4,
        "nobody was there"
    );
    world.start(carol);
    assert!(world.drive_until(600_000, |w| count(w, alice, DeliveryState::Delivered) == 7));
    world.drive(1_000);
    let events = world.node(alice).events[told..].iter();
    let kinds = events.filter_map(|(_, event)| match event {
        Event::Warned { kind, .. } => Some(*kind),
        _ => None,
    });
    let reused = kinds.filter(|kind| *kind == "sequence-reused");
    assert_eq!(reused.count(), 1, "one new incarnation");
    assert_ne!(world.node(alice).store.incarnation, backup.incarnation);
    world.send(alice, "carol", "five");
    assert!(world.drive_until(60_000, |w| count(w, alice, DeliveryState::Delivered) == 8));
    let want = [
        "one", "two", "three", "four", "zwei", "drei", "vier", "five",
    ];
    assert_eq!(world.node(carol).received(), want);
}

#[test]
fn a_home_that_noticed_its_copying_is_never_caught_with_a_used_number() {
    let (mut world, alice, carol) = acquainted(1);
    let backup = world.node(alice).store.clone();
    world.send(alice, "carol", "two");
    assert!(world.drive_until(60_000, |w| count(w, alice, DeliveryState::Delivered) == 2));
    world.crash(alice);
    world.drive(10_000);
    let mut store = backup;
    store.incarnation = 77;
    store.copied = Some("this home was copied".to_owned());
    world.node_mut(alice).store = store;
    world.start(alice);
    assert!(world.node(alice).warnings().contains(&"home-copied"));
    world.send(alice, "carol", "zwei");
    assert!(world.drive_until(60_000, |w| count(w, alice, DeliveryState::Delivered) == 3));
    world.drive(1_000);
    assert!(!world.node(alice).warnings().contains(&"sequence-reused"));
    assert_eq!(world.node(carol).received(), ["one", "two", "zwei"]);
}

/// A second home with the files of the first, and a process in it.
fn copy_of(world: &mut World, id: NodeId, noticed: bool) -> NodeId {
    let user = world.node(id).user.clone();
    let copy = world.device_of(user, 0);
    let mut store = world.node(id).store.clone();
    if noticed {
        store.incarnation ^= 1;
        store.copied = Some("this home was copied".to_owned());
    }
    world.node_mut(copy).store = store;
    // Another process, by its boot id.
    world.start(copy);
    world.crash(copy);
    world.start(copy);
    copy
}

#[test]
fn of_two_copies_that_run_at_once_neither_claims_what_carol_has_not_seen() {
    for seed in 0..12 {
        let (mut world, alice, carol) = acquainted(seed);
        let copy = copy_of(&mut world, alice, seed % 2 == 0);
        for n in 0..6 {
            world.send(alice, "carol", &format!("original {n}"));
            world.drive(world.now_ms % 97);
            world.send(copy, "carol", &format!("copy {n}"));
            world.drive(20_000);
            for home in [alice, copy] {
                claims_are_true(&world, home, carol);
            }
        }
        // One of the two is ended; what it had not delivered waits in its home.
        world.crash(alice);
        let done = |w: &World| w.node(copy).store.load().outbox.is_empty();
        assert!(world.drive_until(3_600_000, done), "seed {seed}");
        world.crash(copy);
        world.start(alice);
        let done = |w: &World| w.node(alice).store.load().outbox.is_empty();
        assert!(world.drive_until(3_600_000, done), "seed {seed}");
        world.drive(60_000);
        for home in [alice, copy] {
            claims_are_true(&world, home, carol);
        }
        let mut shown = world.node(carol).received();
        assert_eq!(shown.len(), 13, "seed {seed}: {shown:?}");
        for who in ["original", "copy"] {
            let of = shown.iter().filter(|text| text.starts_with(who));
            assert!(of.is_sorted(), "seed {seed}: {shown:?}");
        }
        shown.sort_unstable();
        shown.dedup();
        assert_eq!(shown.len(), 13, "seed {seed}: each once");
    }
}

/// Every message a home calls delivered was committed by Carol, and soon shown.
fn claims_are_true(world: &World, home: NodeId, carol: NodeId) {
    let inbox = &world.node(carol).store.inbox;
    for state in world.node(home).message_states() {
        if state.state == DeliveryState::Delivered {
            let here = inbox.keys().any(|(_, id)| *id == state.id);
            assert!(here, "{state:?}");
        }
    }
}
