//! What keeps a file from going on, without ending it: full disks, senders that stall, links that
//! carry too little, and what an earlier process left; no other file pays for any of it.

use crate::files::{anything, assert_settled, ended, is_done, moved, offer, stages, two};
use beeline_proto::limits::FRAME_LEN_DEFAULT;
use beeline_proto::pb::peer::v1::FileReason;
use client_core::event::Event;
use client_core::files::io::{FileCall, FileEvent, FilePolicy, FileStage};
use client_core::files::rows::{FileInfo, FileKey};
use client_core::input::{CommandId, Input};
use client_core::limits::{FILE_WINDOW_BYTES, FILES_ACTIVE_PER_USER_MAX};
use client_core::testing::{Fault, NodeId, World};

const MIB: u64 = 1024 * 1024;

/// How often a node was told that a file waits.
fn waits(world: &World, id: NodeId) -> usize {
    let stages = stages(world, id).into_iter();
    let full = stages.filter(|stage| match stage {
        FileStage::Waiting { reason, .. } => *reason == FileReason::NoRoom,
        _ => false,
    });
    full.count()
}

#[test]
fn a_disk_that_fills_keeps_what_came_and_goes_on_when_there_is_room() {
    let (mut world, alice, carol) = two(20);
    world.timing.link_ms = 20;
    let chunks = 200 * MIB / (64 * 1024);
    world.send_file(alice, "carol", "big", 200 * MIB);
    assert!(world.drive_until(60_000, |w| moved(w, carol) > 10 * MIB));
    world.node_mut(carol).disk.fault = Some(Fault::Full);
    assert!(world.drive_until(5_000, |w| waits(w, alice) == 1));
    let kept = world.node(carol).disk.kept();
    assert!(kept >= 10 * 16);
    // Long enough to be tried often: it is told once on each side, and nothing more is sent.
    world.drive(1_000);
    let sent = world.node(alice).disk.sent;
    world.drive(120_000);
    assert_eq!((waits(&world, alice), waits(&world, carol)), (1, 1));
    assert_eq!(world.node(alice).disk.sent, sent);
    assert_eq!(world.node(carol).disk.kept(), kept);
    // Both may be started anew meanwhile: they know again.
    for id in [alice, carol] {
        world.crash(id);
        world.start(id);
    }
    assert!(world.drive_until(120_000, |w| waits(w, alice) == 2 && waits(w, carol) == 2));
    assert!(ended(&world, alice).is_none());
    world.node_mut(carol).disk.fault = None;
    assert!(world.drive_until(120_000, |w| is_done(w, alice)));
    let again = world.node(alice).disk.sent - chunks;
    assert!(again <= FILE_WINDOW_BYTES / (64 * 1024), "{again} again");
    world.drive(2_000);
    assert_settled(&world, &[alice, carol]);
}

#[test]
fn a_file_for_which_there_never_was_room_is_declined() {
    let (mut world, alice, carol) = two(21);
    world.node_mut(carol).disk.fault = Some(Fault::Full);
    world.send_file(alice, "carol", "big", 200 * MIB);
    assert!(world.drive_until(60_000, |w| ended(w, alice).is_some()));
    assert_eq!(ended(&world, alice), Some(FileReason::NoRoom));
    assert_eq!(ended(&world, carol), Some(FileReason::NoRoom));
    assert_eq!(world.node(alice).disk.sent, 0);
    world.drive(2_000);
    assert_settled(&world, &[alice, carol]);
}

#[test]
fn a_file_that_waits_for_room_can_be_given_up() {
    let (mut world, alice, carol) = two(22);
    world.timing.link_ms = 20;
    world.send_file(alice, "carol", "big", 200 * MIB);
    assert!(world.drive_until(60_000, |w| moved(w, carol) > 10 * MIB));
    world.node_mut(carol).disk.fault = Some(Fault::Full);
    assert!(world.drive_until(5_000, |w| waits(w, carol) == 1));
    let (id, command) = (offer(&world, alice), CommandId(9_000));
    world.file_call(carol, FileCall::Cancel { command, id });
    world.drive(5_000);
    assert_eq!(ended(&world, alice), Some(FileReason::Cancelled));
    assert_settled(&world, &[alice, carol]);
}

/// A sender that says yes and sends nothing has a few turns, and loses them to whoever waits.
#[test]
fn a_sender_that_stalls_holds_up_nobody() {
    let (mut world, alice, carol) = two(23);
    let mallory = world.member("mallory");
    world.drive(50);
    world.on_chunk = Some(Box::new(move |from, _, chunk| {
        if from == mallory {
            Vec::new()
        } else {
            vec![chunk]
        }
    }));
    for n in 0..3 * FILES_ACTIVE_PER_USER_MAX {
        world.send_file(mallory, "carol", &format!("never {n}"), 50 * MIB);
    }
    world.drive(5_000);
    world.send_file(alice, "carol", "real", 20 * MIB);
    assert!(world.drive_until(5_000, |w| is_done(w, alice)));
    // Its own others have their turns, too, one after another: each was asked for.
    world.drive(5 * 60_000);
    let asked = |event: &Event| match event {
        Event::File(told) if told.stage == (FileStage::Moving { done: 0 }) => {
            told.name.strip_prefix("never ").map(str::to_owned)
        }
        _ => None,
    };
    let told = world.node(carol).events.iter();
    let mut names: Vec<String> = told.filter_map(|(_, event)| asked(event)).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 3 * FILES_ACTIVE_PER_USER_MAX);
    let stalls = |stage: &FileStage| match stage {
        FileStage::Waiting { detail, .. } => {
            detail.as_deref().is_some_and(|d| d.contains("nothing"))
        }
        _ => false,
    };
    let told = stages(&world, carol).into_iter().filter(stalls).count();
    let (few, all) = (FILES_ACTIVE_PER_USER_MAX, 3 * FILES_ACTIVE_PER_USER_MAX);
    assert!(
        (few..=all).contains(&told),
        "{told} times: once of each at most"
    );
}

#[test]
fn an_offer_the_sender_never_made_or_lost_ends_with_its_reason() {
    let (mut world, alice, carol) = two(24);
    world.crash(carol);
    world.node_mut(carol).files = None;
    world.start(carol);
    world.send_file(alice, "carol", "forgotten", 5 * MIB);
    world.drive(5_000);
    assert_eq!(stages(&world, carol), [FileStage::Offered]);
    // As after a backup from before it was offered was put back.
    for id in [alice, carol] {
        world.crash(id);
    }
    world.node_mut(alice).store.files.out.clear();
    world.node_mut(carol).files = anything();
    for id in [alice, carol] {
        world.start(id);
    }
    assert!(world.drive_until(120_000, |w| ended(w, carol).is_some()));
    assert_eq!(ended(&world, carol), Some(FileReason::UnknownOffer));
    assert_eq!(world.node(alice).disk.sent, 0);
    assert!(world.node(carol).disk.is_tidy());
}

#[test]
fn a_peer_that_takes_small_frames_only_gets_its_files() {
    let (mut world, alice, carol) = two(25);
    world.crash(carol);
    world.node_mut(carol).frame_len_max = Some(FRAME_LEN_DEFAULT);
    world.start(carol);
    // Many holes make the longest FILE_ACCEPT there is.
    let mut seen = std::collections::BTreeSet::new();
    world.on_chunk = Some(Box::new(move |_, _, chunk| {
        let lose = chunk.index % 2 == 1 && seen.insert(chunk.index);
        if lose { Vec::new() } else { vec![chunk] }
    }));
    world.send_file(alice, "carol", "holes", 100 * MIB);
    assert!(world.drive_until(600_000, |w| is_done(w, alice)));
    world.drive(2_000);
    assert_settled(&world, &[alice, carol]);
}

#[test]
fn a_link_too_small_for_a_chunk_ends_the_file_on_both_sides() {
    let (mut world, alice, carol) = two(26);
    world.timing.link_ms = 20;
    world.send_file(alice, "carol", "big", 200 * MIB);
    assert!(world.drive_until(60_000, |w| moved(w, carol) > 10 * MIB));
    let id = offer(&world, alice);
    let link = world.link_between(alice, carol).expect("linked");
    let detail = "frames of 16,384 bytes at most".to_owned();
    let unfit = FileEvent::Unfit { id, link, detail };
    world.input(alice, Input::File(unfit));
    world.drive(5_000);
    for id in [alice, carol] {
        assert_eq!(ended(&world, id), Some(FileReason::SmallFrames));
    }
    assert_settled(&world, &[alice, carol]);
}

#[test]
fn what_an_earlier_process_left_is_swept() {
    let (mut world, alice, carol) = two(27);
    world.timing.link_ms = 20;
    world.send_file(alice, "carol", "big", 200 * MIB);
    assert!(world.drive_until(60_000, |w| moved(w, carol) > 10 * MIB));
    world.crash(carol);
    let wanted = world.node(carol).disk.kept();
    let info = FileInfo {
        name: "old".to_owned(),
        size: 5 * MIB,
        root: [3; 32],
        key: FileKey::new([4; 32]),
        chunk_size: 64 * 1024,
        list_len: 0,
        files: 0,
    };
    let key = (beeline_proto::id::DeviceFp([5; 32]), offer(&world, alice));
    world.node_mut(carol).disk.leave_part(key, info);
    world.start(carol);
    assert!(
        world.node(carol).disk.kept() >= wanted,
        "what is wanted stays"
    );
    assert!(world.drive_until(300_000, |w| is_done(w, alice)));
    world.drive(2_000);
    assert_settled(&world, &[alice, carol]);
}

#[test]
fn a_limit_for_all_files_counts_those_that_wait() {
    let (mut world, alice, carol) = two(28);
    world.crash(carol);
    world.node_mut(carol).files = Some(FilePolicy {
        from: None,
        size_max: u64::MAX,
        total_max: 250 * MIB,
    });
    world.start(carol);
    world.drive(50);
    world.timing.link_ms = 20;
    world.send_file(alice, "carol", "big", 200 * MIB);
    assert!(world.drive_until(60_000, |w| moved(w, carol) > 10 * MIB));
    world.node_mut(carol).disk.fault = Some(Fault::Full);
    assert!(world.drive_until(5_000, |w| waits(w, carol) == 1));
    world.send_file(alice, "carol", "more", 100 * MIB);
    assert!(world.drive_until(60_000, |w| ended(w, alice).is_some()));
    assert_eq!(ended(&world, alice), Some(FileReason::NoRoom));
}
