//! Small files, which travel in their offers: kept by custodians, there without the sender, decided
//! by the same rules, and written by the same hand.

use beeline_proto::id::MessageId;
use beeline_proto::limits::SMALL_FILE_LEN_MAX;
use beeline_proto::pb::peer::v1::FileReason;
use client_core::event::{DeliveryState, Event};
use client_core::files::io::{FileCall, FilePolicy, FileStage};
use client_core::files::now::FileWait;
use client_core::files::rows::FileInState;
use client_core::input::CommandId;
use client_core::testing::{Fault, NodeId, World};

const COMMAND: CommandId = CommandId(9_000);

fn up_to(size_max: u64) -> Option<FilePolicy> {
    Some(FilePolicy {
        from: None,
        size_max,
        total_max: u64::MAX,
    })
}

/// Alice, Bob who keeps for others, and Carol who takes files as said and is known to both.
fn three(seed: u64, policy: Option<FilePolicy>) -> (World, NodeId, NodeId) {
    let mut world = World::new(seed);
    for name in ["bob", "dora"] {
        let keeper = world.member_stopped(name);
        world.node_mut(keeper).can_store = true;
        world.start(keeper);
    }
    let (alice, carol) = (world.member("alice"), world.member_stopped("carol"));
    world.node_mut(carol).files = policy;
    world.start(carol);
    world.drive(2_000);
    for name in ["bob", "dora", "carol"] {
        world.send(alice, name, "hello");
    }
    for name in ["bob", "dora"] {
        world.send(carol, name, "hello");
    }
    world.drive(5_000);
    (world, alice, carol)
}

fn stages(world: &World, id: NodeId) -> Vec<FileStage> {
    let events = world.node(id).events.iter();
    let told = events.filter_map(|(_, event)| match event {
        Event::File(told) => Some(told.stage.clone()),
        _ => None,
    });
    told.collect()
}

fn is_done(world: &World, id: NodeId) -> bool {
    let done = |stage: &FileStage| matches!(stage, FileStage::Done { .. });
    stages(world, id).iter().any(done)
}

fn ended(world: &World, id: NodeId) -> Option<FileReason> {
    stages(world, id).into_iter().find_map(|stage| match stage {
        FileStage::Ended { reason, .. } => Some(reason),
        _ => None,
    })
}

fn offer(world: &World, alice: NodeId) -> MessageId {
    world.node(alice).last_queued().expect("it was queued")
}

/// Nothing of a content is left in a store that is done with it.
fn assert_dropped(world: &World, id: NodeId) {
    let store = &world.node(id).store;
    let incoming = store.files.incoming.values();
    assert!(
        incoming.clone().all(|row| !row.info.is_small()),
        "{incoming:?}"
    );
    assert!(store.files.out.values().all(|row| !row.info.is_small()));
    let kept = |envelope: &Vec<u8>| envelope.len() > 1_000;
    assert!(!store.inbox.values().any(|(row, _)| kept(&row.envelope)));
}

#[test]
fn a_small_file_is_there_though_the_two_are_never_online_together() {
    for size in [0, 1, 1_024, u64::from(SMALL_FILE_LEN_MAX)] {
        let (mut world, alice, carol) = three(1, up_to(u64::MAX));
        world.crash(carol);
        world.drive(10_000);
        world.send_small_file(alice, "carol", "note.txt", size);
        let stored = |w: &World| w.node(alice).count(DeliveryState::Stored) > 0;
        assert!(world.drive_until(60_000, stored), "{size}");
        world.crash(alice);
        world.start(carol);
        assert!(world.drive_until(60_000, |w| is_done(w, carol)), "{size}");
        assert_eq!(world.node(carol).disk.done.len(), 1);
        assert_dropped(&world, carol);
        // The sender hears of it when it is back, and nothing comes twice.
        world.start(alice);
        assert!(world.drive_until(120_000, |w| is_done(w, alice)), "{size}");
        world.drive(60_000);
        assert_eq!(world.node(alice).disk.sent, 0, "no chunk of it ever went");
        assert_eq!(world.node(carol).disk.done.len(), 1);
        assert_dropped(&world, alice);
        for id in [alice, carol] {
            assert!(world.node(id).running().files().is_empty());
        }
    }
}

#[test]
fn a_small_file_over_a_link_is_there_at_once() {
    let (mut world, alice, carol) = three(2, up_to(u64::MAX));
    world.send_small_file(alice, "carol", "note.txt", 5_000);
    assert!(world.drive_until(2_000, |w| is_done(w, alice)));
    let told = stages(&world, carol);
    assert_eq!(told[..2], [FileStage::Offered, FileStage::Accepted]);
    assert!(is_done(&world, carol));
}

#[test]
fn the_rules_are_the_same_and_what_they_do_not_take_is_dropped() {
    let (mut world, alice, carol) = three(3, up_to(4_000));
    world.send_small_file(alice, "carol", "note.txt", 5_000);
    assert!(world.drive_until(10_000, |w| ended(w, alice).is_some()));
    world.drive(1_000);
    for id in [alice, carol] {
        assert_eq!(ended(&world, id), Some(FileReason::TooLarge));
        assert_dropped(&world, id);
    }
    assert!(world.node(carol).disk.done.is_empty());
}

#[test]
fn without_a_folder_it_waits_over_restarts_and_needs_no_sender_to_come() {
    let (mut world, alice, carol) = three(4, None);
    world.send_small_file(alice, "carol", "note.txt", 5_000);
    world.drive(5_000);
    assert_eq!(world.node(alice).count(DeliveryState::Delivered), 4);
    let waits = |w: &World| w.node(carol).running().files()[0].waits;
    assert_eq!(waits(&world), Some(FileWait::Folder));
    world.crash(alice);
    world.crash(carol);
    world.node_mut(carol).files = up_to(u64::MAX);
    world.start(carol);
    assert!(world.drive_until(5_000, |w| is_done(w, carol)));
    assert_dropped(&world, carol);
}

#[test]
fn kills_and_a_broken_store_put_it_there_once_all_the_same() {
    for seed in 0..40 {
        let (mut world, alice, carol) = three(100 + seed, up_to(u64::MAX));
        world.send_small_file(alice, "carol", "note.txt", 5_000);
        let wait = world.chance(200);
        world.drive(wait);
        if seed % 2 == 0 {
            world.crash(carol);
            world.drive(500);
            world.start(carol);
        } else {
            world.node_mut(carol).failing_writes = 2;
        }
        let done = world.drive_until(120_000, |w| is_done(w, alice));
        assert!(done, "seed {seed}: {:?}", stages(&world, carol));
        world.drive(20_000);
        assert_eq!(world.node(carol).disk.done.len(), 1, "seed {seed}");
        assert_dropped(&world, carol);
    }
}

#[test]
fn a_disk_that_fails_ends_it_with_its_reason() {
    for (fault, reason) in [
        (Fault::Full, FileReason::NoRoom),
        (Fault::Broken, FileReason::NotWritten),
    ] {
        let (mut world, alice, carol) = three(5, up_to(u64::MAX));
        world.node_mut(carol).disk.fault = Some(fault);
        world.send_small_file(alice, "carol", "note.txt", 5_000);
        assert!(world.drive_until(10_000, |w| ended(w, alice).is_some()));
        assert_eq!(ended(&world, alice), Some(reason));
        assert_eq!(ended(&world, carol), Some(reason));
    }
}

#[test]
fn it_can_be_given_up_but_not_held_back_once_it_is_on_its_way() {
    let (mut world, alice, carol) = three(6, up_to(u64::MAX));
    world.crash(carol);
    world.send_small_file(alice, "carol", "note.txt", 5_000);
    world.drive(5_000);
    let (id, command, on) = (offer(&world, alice), COMMAND, true);
    world.file_call(alice, FileCall::Pause { command, id, on });
    let refused =
        |e: &Event| matches!(e, Event::Refused { detail, .. } if detail.contains("given up"));
    assert!(world.node(alice).told(refused));
    world.file_call(alice, FileCall::Cancel { command, id });
    world.drive(1_000);
    assert!(world.node(alice).told(|e| *e == Event::Done { command }));
    assert_eq!(ended(&world, alice), Some(FileReason::Cancelled));
    assert_dropped(&world, alice);
}

#[test]
fn a_person_decides_about_it_too() {
    for accept in [true, false] {
        let (mut world, alice, carol) = three(7, up_to(10));
        world.crash(carol);
        world.node_mut(carol).files_ask = true;
        world.start(carol);
        world.drive(2_000);
        world.send_small_file(alice, "carol", "note.txt", 5_000);
        world.drive(5_000);
        let (id, command) = (offer(&world, alice), COMMAND);
        let decide = FileCall::Decide {
            command,
            id,
            accept,
        };
        world.file_call(carol, decide);
        world.drive(10_000);
        assert_eq!(is_done(&world, alice), accept);
        assert_eq!(is_done(&world, carol), accept);
        let state = world.node(carol).store.files.incoming.values().next();
        let want = if accept {
            FileInState::Done
        } else {
            FileInState::Declined
        };
        assert_eq!(state.map(|row| row.state), Some(want));
        assert_dropped(&world, carol);
    }
}
