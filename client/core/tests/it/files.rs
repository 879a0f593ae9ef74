//! Files: offered as messages are, sent over a link, resumed after anything, and never believed.

use beeline_proto::id::MessageId;
use beeline_proto::pb::peer::v1::FileReason;
use client_core::event::{DeliveryState, Event};
use client_core::files::io::{FileCall, FilePolicy, FileStage};
use client_core::files::rows::{FileInState, FileOutState};
use client_core::input::CommandId;
use client_core::limits::FILE_WINDOW_BYTES;
use client_core::testing::{Fault, NodeId, World};
use std::collections::BTreeSet;

const MIB: u64 = 1024 * 1024;

/// Takes anything.
pub(crate) fn anything() -> Option<FilePolicy> {
    Some(FilePolicy {
        from: None,
        size_max: u64::MAX,
        total_max: u64::MAX,
    })
}

/// Alice, and Carol who takes files.
pub(crate) fn two(seed: u64) -> (World, NodeId, NodeId) {
    let mut world = World::new(seed);
    let (alice, carol) = (world.member("alice"), world.member_stopped("carol"));
    world.node_mut(carol).files = anything();
    world.start(carol);
    world.drive(50);
    (world, alice, carol)
}

/// What was told of files at a node, in order.
pub(crate) fn stages(world: &World, id: NodeId) -> Vec<FileStage> {
    let events = world.node(id).events.iter();
    let told = events.filter_map(|(_, event)| match event {
        Event::File(told) => Some(told.stage.clone()),
        _ => None,
    });
    told.collect()
}

pub(crate) fn is_done(world: &World, id: NodeId) -> bool {
    let done = |stage: &FileStage| matches!(stage, FileStage::Done { .. });
    stages(world, id).iter().any(done)
}

pub(crate) fn ended(world: &World, id: NodeId) -> Option<FileReason> {
    let stages = stages(world, id);
    stages.into_iter().find_map(|stage| match stage {
        FileStage::Ended { reason, .. } => Some(reason),
        _ => None,
    })
}

/// Where the file told last is: bytes written.
pub(crate) fn moved(world: &World, id: NodeId) -> u64 {
    let stages = stages(world, id);
    let done = stages.iter().rev().find_map(|stage| match stage {
        FileStage::Moving { done } => Some(*done),
        _ => None,
    });
    done.unwrap_or(0)
}

pub(crate) fn offer(world: &World, alice: NodeId) -> MessageId {
    world.node(alice).last_queued().expect("it was queued")
}

/// Nothing is left anywhere: no part of a file, no open row.
pub(crate) fn assert_settled(world: &World, ids: &[NodeId]) {
    for id in ids {
        let node = world.node(*id);
        assert!(node.disk.is_tidy(), "parts lie about");
        let files = &node.store.files;
        let open = |state| state < FileOutState::Done;
        assert!(files.out.values().all(|row| !open(row.state)), "{files:?}");
        assert!(files.incoming.values().all(|row| row.told), "{files:?}");
    }
}

#[test]
fn a_file_arrives_and_both_sides_know() {
    let (mut world, alice, carol) = two(1);
    world.send_file(alice, "carol", "holiday.mov", 100 * MIB + 1);
    assert!(world.drive_until(60_000, |w| is_done(w, alice)));
    world.drive(2_000);
    assert_eq!(world.node(carol).disk.done.len(), 1);
    assert_eq!(world.node(alice).disk.sent, 1_601);
    assert_eq!(world.node(carol).disk.repeated, 0);
    assert_eq!(world.node(carol).count(DeliveryState::Queued), 0);
    assert_eq!(world.node(alice).count(DeliveryState::Delivered), 1);
    let told = stages(&world, carol);
    assert_eq!(told[0], FileStage::Offered);
    assert_eq!(told[1], FileStage::Accepted);
    let path = Some("holiday.mov".to_owned());
    assert_eq!(told.last(), Some(&FileStage::Done { path }));
    assert_eq!(
        stages(&world, alice).last(),
        Some(&FileStage::Done { path: None })
    );
    assert_settled(&world, &[alice, carol]);
}

#[test]
fn that_a_file_is_through_is_told_once_it_is_written_down() {
    let written = |w: &World, id| {
        let mut rows = w.node(id).store.files.out.values();
        rows.all(|row| row.state == FileOutState::Done)
    };
    // Commits take their time; the first few fail; the process ends before the first.
    for (failing, killed) in [(0, false), (3, false), (0, true)] {
        let (mut world, alice, carol) = two(17);
        world.send_file(alice, "carol", "letter", MIB);
        let arrived = |w: &World| !w.node(carol).disk.done.is_empty();
        assert!(world.drive_until(60_000, arrived));
        world.timing.commit_ms = 500;
        world.node_mut(alice).failing_writes = failing;
        if killed {
            world.timing.commit_ms = 5;
            let said = |w: &World| is_done(w, carol);
            assert!(world.drive_until(60_000, said));
            world.drive(world.timing.link_ms + 1);
            assert!(!is_done(&world, alice) && !written(&world, alice));
            world.crash(alice);
            world.start(alice);
        }
        assert!(world.drive_until(120_000, |w| is_done(w, alice)));
        assert!(written(&world, alice), "{failing} {killed}");
        world.drive(20_000);
        assert_settled(&world, &[alice, carol]);
        let done = |stage: &&FileStage| matches!(stage, FileStage::Done { .. });
        assert_eq!(stages(&world, alice).iter().filter(done).count(), 1);
    }
}

#[test]
fn an_empty_file_arrives_too() {
    let (mut world, alice, carol) = two(2);
    world.send_file(alice, "carol", "empty", 0);
    assert!(world.drive_until(10_000, |w| is_done(w, alice)));
    assert_eq!(world.node(carol).disk.done.len(), 1);
}

#[test]
fn progress_is_told_at_most_four_times_a_second() {
    let (mut world, alice, carol) = two(3);
    world.timing.link_ms = 40;
    world.send_file(alice, "carol", "long", 2_000 * MIB);
    assert!(world.drive_until(600_000, |w| is_done(w, alice)));
    for id in [alice, carol] {
        let events = world.node(id).events.iter();
        let moving = events.filter_map(|(at, event)| match event {
            Event::File(told) => matches!(told.stage, FileStage::Moving { .. }).then_some(*at),
            _ => None,
        });
        let at: Vec<u64> = moving.collect();
        assert!(at.len() > 10, "{at:?}");
        // The first is the start.
        let gaps = at.windows(2).skip(1);
        assert!(gaps.into_iter().all(|pair| pair[1] - pair[0] >= 250));
    }
}

#[test]
fn an_offer_waits_for_who_is_away_and_starts_by_itself() {
    let (mut world, alice, carol) = two(4);
    world.crash(carol);
    world.send_file(alice, "carol", "later", 5 * MIB);
    world.drive(30_000);
    assert_eq!(world.node(alice).disk.sent, 0);
    world.start(carol);
    assert!(world.drive_until(120_000, |w| is_done(w, alice)));
    world.drive(2_000);
    assert_settled(&world, &[alice, carol]);
}

#[test]
fn without_a_place_for_files_an_offer_waits_for_one() {
    let (mut world, alice, carol) = two(5);
    world.crash(carol);
    world.node_mut(carol).files = None;
    world.start(carol);
    world.send_file(alice, "carol", "letter", 5 * MIB);
    world.drive(60_000);
    let undecided = FileStage::Undecided { folder: false };
    assert_eq!(stages(&world, carol), [FileStage::Offered, undecided]);
    assert_eq!(world.node(alice).count(DeliveryState::Delivered), 1);
    world.crash(carol);
    world.node_mut(carol).files = anything();
    world.start(carol);
    assert!(world.drive_until(120_000, |w| is_done(w, alice)));
}

#[test]
fn what_the_policy_does_not_take_is_declined_with_its_reason() {
    let policy = FilePolicy {
        from: Some(BTreeSet::from([client_core::testing::label("alice")])),
        size_max: 10 * MIB,
        total_max: 15 * MIB,
    };
    for (from, size, reason) in [
        ("alice", 11 * MIB, FileReason::TooLarge),
        ("bob", MIB, FileReason::NotWanted),
    ] {
        let mut world = World::new(6);
        let (sender, carol) = (world.member(from), world.member_stopped("carol"));
        world.node_mut(carol).files = Some(policy.clone());
        world.start(carol);
        world.drive(50);
        world.send_file(sender, "carol", "thing", size);
        assert!(world.drive_until(30_000, |w| ended(w, sender).is_some()));
        world.drive(2_000);
        assert_eq!(ended(&world, sender), Some(reason));
        assert_eq!(world.node(sender).disk.sent, 0);
        assert!(!world.node(carol).disk.done.is_empty() || world.node(carol).disk.is_tidy());
        assert_settled(&world, &[sender, carol]);
    }
    let (mut world, alice, carol) = two(7);
    world.crash(carol);
    world.node_mut(carol).files = Some(policy);
    world.start(carol);
    world.drive(50);
    world.timing.link_ms = 1_000;
    world.send_file(alice, "carol", "one", 9 * MIB);
    world.send_file(alice, "carol", "two", 9 * MIB);
    assert!(world.drive_until(120_000, |w| is_done(w, alice)));
    assert_eq!(ended(&world, alice), Some(FileReason::NoRoom));
}

/// Whichever side dies, and however often, no more than a window is sent again each time.
#[test]
fn a_transfer_survives_kills_of_either_side() {
    for seed in 0..20 {
        let (mut world, alice, carol) = two(100 + seed);
        world.timing.link_ms = 100;
        let chunks = 400 * MIB / (64 * 1024);
        world.send_file(alice, "carol", "big", 400 * MIB);
        assert!(world.drive_until(60_000, |w| moved(w, carol) > 0));
        let mut kills = 0;
        for _ in 0..10 {
            let wait = 20 + world.chance(700);
            world.drive(wait);
            if is_done(&world, carol) {
                break;
            }
            let victim = if world.chance(2) == 0 { alice } else { carol };
            world.crash(victim);
            let away = 100 + world.chance(3_000);
            world.drive(away);
            world.start(victim);
            kills += 1;
        }
        let done = world.drive_until(1_200_000, |w| is_done(w, alice));
        assert!(done, "seed {seed}");
        assert!(kills > 2, "seed {seed}: {kills} kills");
        let window = FILE_WINDOW_BYTES / (64 * 1024);
        let again = world.node(alice).disk.sent - chunks;
        assert!(again <= kills * window, "seed {seed}: {again} again");
        world.drive(20_000);
        assert_settled(&world, &[alice, carol]);
        assert_eq!(world.node(carol).disk.done.len(), 1);
    }
}

#[test]
fn another_link_takes_over() {
    let (mut world, alice, carol) = two(8);
    world.timing.link_ms = 20;
    world.send_file(alice, "carol", "big", 400 * MIB);
    assert!(world.drive_until(60_000, |w| moved(w, carol) > 20 * MIB));
    world.cut(alice, carol);
    assert!(world.drive_until(300_000, |w| is_done(w, alice)));
    assert!(stages(&world, carol).contains(&FileStage::Interrupted));
    let again = world.node(alice).disk.sent - 6_400;
    assert!(again <= FILE_WINDOW_BYTES / (64 * 1024), "{again} again");
}

#[test]
fn several_files_share_a_link_and_chat_goes_beside_them() {
    let (mut world, alice, carol) = two(9);
    world.timing.link_ms = 20;
    for n in 0..4 {
        world.send_file(alice, "carol", &format!("file {n}"), 100 * MIB);
    }
    world.send_file(alice, "carol", "small", MIB);
    let small = |w: &World| {
        let done = w.node(carol).store.files.incoming.values();
        let mut done = done.filter(|row| row.state == FileInState::Done);
        done.any(|row| row.info.name == "small")
    };
    assert!(
        world.drive_until(10_000, small),
        "it waits for no large one"
    );
    assert!(world.node(carol).disk.done.len() < 5);
    world.send(alice, "carol", "hello");
    let heard = |w: &World| w.node(carol).received().contains(&"hello");
    assert!(world.drive_until(500, heard));
    assert!(world.drive_until(300_000, |w| w.node(carol).disk.done.len() == 5));
    world.drive(2_000);
    assert_settled(&world, &[alice, carol]);
}

#[test]
fn either_side_holds_a_file_back_and_lets_it_go_on() {
    for ours in [true, false] {
        let (mut world, alice, carol) = two(10);
        world.timing.link_ms = 20;
        world.send_file(alice, "carol", "big", 200 * MIB);
        assert!(world.drive_until(60_000, |w| moved(w, carol) > 10 * MIB));
        let id = offer(&world, alice);
        let command = CommandId(9_000);
        let who = if ours { alice } else { carol };
        let pause = |on| FileCall::Pause { command, id, on };
        world.file_call(who, pause(true));
        world.drive(1_000);
        let sent = world.node(alice).disk.sent;
        world.drive(60_000);
        assert_eq!(world.node(alice).disk.sent, sent, "held back by us: {ours}");
        let held = FileStage::Paused { by_us: false };
        let other = if ours { carol } else { alice };
        assert!(stages(&world, other).contains(&held));
        world.file_call(who, pause(false));
        assert!(world.drive_until(60_000, |w| is_done(w, alice)), "{ours}");
        assert!(
            world
                .node(who)
                .told(|event| *event == Event::Done { command })
        );
    }
}

#[test]
fn either_side_gives_a_file_up() {
    for ours in [true, false] {
        let (mut world, alice, carol) = two(11);
        world.timing.link_ms = 20;
        world.send_file(alice, "carol", "big", 200 * MIB);
        assert!(world.drive_until(60_000, |w| moved(w, carol) > 10 * MIB));
        let (id, command) = (offer(&world, alice), CommandId(9_000));
        let who = if ours { alice } else { carol };
        world.file_call(who, FileCall::Cancel { command, id });
        world.drive(5_000);
        for id in [alice, carol] {
            assert_eq!(ended(&world, id), Some(FileReason::Cancelled), "{ours}");
        }
        assert!(world.node(carol).disk.done.is_empty());
        assert_settled(&world, &[alice, carol]);
        let refused = |event: &Event| matches!(event, Event::Refused { .. });
        world.file_call(who, FileCall::Cancel { command, id });
        assert!(
            world.node(who).told(refused),
            "there is nothing left to give up"
        );
    }
}

#[test]
fn an_offer_given_up_before_it_arrived_never_does() {
    let (mut world, alice, carol) = two(12);
    world.crash(carol);
    world.send_file(alice, "carol", "mistake", 5 * MIB);
    world.drive(2_000);
    let (id, command) = (offer(&world, alice), CommandId(9_000));
    world.file_call(alice, FileCall::Cancel { command, id });
    world.start(carol);
    world.drive(120_000);
    assert!(world.node(carol).received().is_empty());
    assert_eq!(world.node(alice).count(DeliveryState::Rejected), 1);
    assert_settled(&world, &[alice, carol]);
}

#[test]
fn a_disk_that_breaks_ends_the_file_and_no_other() {
    let (mut world, alice, carol) = two(13);
    world.timing.link_ms = 20;
    world.send_file(alice, "carol", "big", 200 * MIB);
    assert!(world.drive_until(60_000, |w| moved(w, carol) > 10 * MIB));
    world.node_mut(carol).disk.fault = Some(Fault::Broken);
    assert!(world.drive_until(5_000, |w| ended(w, alice).is_some()));
    assert_eq!(ended(&world, alice), Some(FileReason::NotWritten));
    assert_eq!(ended(&world, carol), Some(FileReason::NotWritten));
    world.node_mut(carol).disk.fault = None;
    world.send_file(alice, "carol", "small", 5 * MIB);
    assert!(world.drive_until(60_000, |w| is_done(w, alice)));
    world.drive(2_000);
    assert_settled(&world, &[alice, carol]);
}

#[test]
fn a_file_that_is_gone_or_changed_is_not_sent() {
    let (mut world, alice, carol) = two(14);
    world.crash(carol);
    world.send_file(alice, "carol", "draft", 5 * MIB);
    world.drive(2_000);
    let disk = &mut world.node_mut(alice).disk;
    disk.sources.insert("draft".to_owned(), [9; 32]);
    world.start(carol);
    assert!(world.drive_until(120_000, |w| ended(w, carol).is_some()));
    world.drive(2_000);
    for id in [alice, carol] {
        assert_eq!(ended(&world, id), Some(FileReason::SourceChanged));
    }
    assert_eq!(world.node(alice).disk.sent, 0);
    assert_settled(&world, &[alice, carol]);
}

#[test]
fn a_forged_chunk_ends_the_file() {
    let (mut world, alice, carol) = two(15);
    world.on_chunk = Some(Box::new(|_, _, mut chunk| {
        if chunk.index == 100 {
            chunk.root = [7; 32];
        }
        vec![chunk]
    }));
    world.send_file(alice, "carol", "lie", 50 * MIB);
    assert!(world.drive_until(60_000, |w| ended(w, alice).is_some()));
    assert_eq!(ended(&world, carol), Some(FileReason::Corrupt));
    assert!(world.node(carol).disk.done.is_empty());
    world.drive(2_000);
    assert_settled(&world, &[alice, carol]);
}

#[test]
fn chunks_that_do_not_come_are_asked_for_again() {
    let (mut world, alice, carol) = two(16);
    let mut lost = BTreeSet::new();
    world.on_chunk = Some(Box::new(move |_, _, chunk| {
        let lose = chunk.index % 50 == 3 && lost.insert(chunk.index);
        if lose { Vec::new() } else { vec![chunk] }
    }));
    world.send_file(alice, "carol", "holes", 50 * MIB);
    assert!(world.drive_until(120_000, |w| is_done(w, alice)));
    assert_eq!(world.node(carol).disk.repeated, 0);
    world.drive(2_000);
    assert_settled(&world, &[alice, carol]);
}
