//! Files that people hold back, decide about and give up, on both sides, over kills of either.

use beeline_proto::code::ErrorCode;
use beeline_proto::id::MessageId;
use beeline_proto::pb::peer::v1::FileReason;
use client_core::event::Event;
use client_core::files::io::{FileCall, FilePolicy, FileStage};
use client_core::files::now::{FileNow, FileWait};
use client_core::files::rows::{FileInState, FileOutState};
use client_core::input::{Command, CommandId, Input};
use client_core::testing::{NodeId, World, label};
use std::collections::BTreeSet;

const MIB: u64 = 1024 * 1024;
const COMMAND: CommandId = CommandId(9_000);

/// Takes files of bob only.
fn of_bob() -> FilePolicy {
    FilePolicy {
        from: Some(BTreeSet::from([label("bob")])),
        ..anything()
    }
}

fn anything() -> FilePolicy {
    FilePolicy {
        from: None,
        size_max: u64::MAX,
        total_max: u64::MAX,
    }
}

/// Alice, and Carol who takes files as said, or is asked.
fn two(seed: u64, policy: Option<FilePolicy>, ask: bool) -> (World, NodeId, NodeId) {
    let mut world = World::new(seed);
    let (alice, carol) = (world.member("alice"), world.member_stopped("carol"));
    world.node_mut(carol).files = policy;
    world.node_mut(carol).files_ask = ask;
    world.start(carol);
    world.drive(50);
    world.timing.link_ms = 20;
    (world, alice, carol)
}

/// A file of Alice's that moves.
fn moving(seed: u64) -> (World, NodeId, NodeId, MessageId) {
    let (mut world, alice, carol) = two(seed, Some(anything()), false);
    world.send_file(alice, "carol", "big", 200 * MIB);
    let moves = |w: &World| now(w, carol).is_some_and(|f| f.done > Some(10 * MIB));
    assert!(world.drive_until(60_000, moves));
    let id = world.node(alice).last_queued().expect("it was queued");
    (world, alice, carol, id)
}

fn stages(world: &World, id: NodeId) -> Vec<FileStage> {
    let events = world.node(id).events.iter();
    let told = events.filter_map(|(_, event)| match event {
        Event::File(told) => Some(told.stage.clone()),
        _ => None,
    });
    told.collect()
}

/// The one file a running node has on its way.
fn now(world: &World, id: NodeId) -> Option<FileNow> {
    let mut files = world.node(id).running().files();
    assert!(files.len() < 2, "{files:?}");
    files.pop()
}

fn waits(world: &World, id: NodeId) -> Option<FileWait> {
    now(world, id).and_then(|file| file.waits)
}

fn is_held(world: &World, id: NodeId, by_us: bool) -> bool {
    now(world, id).is_some_and(|file| file.told.stage == FileStage::Paused { by_us })
}

fn is_done(world: &World, id: NodeId) -> bool {
    let done = |stage: &FileStage| matches!(stage, FileStage::Done { .. });
    stages(world, id).iter().any(done)
}

/// Why and how it ended, as a person was told.
fn ended(world: &World, id: NodeId) -> Option<(FileReason, Option<String>)> {
    stages(world, id).into_iter().find_map(|stage| match stage {
        FileStage::Ended { reason, detail } => Some((reason, detail)),
        _ => None,
    })
}

/// Makes a link to Carol.
fn call(world: &mut World, id: NodeId) {
    let to = label("carol");
    world.input(id, Input::Command(Command::Connect { to }));
}

fn restart(world: &mut World, id: NodeId) {
    world.crash(id);
    world.drive(500);
    world.start(id);
}

/// Nothing is left anywhere: no part of a file, no open row, nothing to list.
fn assert_settled(world: &World, ids: &[NodeId]) {
    for id in ids {
        let node = world.node(*id);
        assert!(node.disk.is_tidy(), "parts lie about");
        let files = &node.store.files;
        let open = |state| state < FileOutState::Done;
        assert!(files.out.values().all(|row| !open(row.state)), "{files:?}");
        assert!(files.incoming.values().all(|row| row.told), "{files:?}");
        assert!(node.running().files().is_empty());
    }
}

#[test]
fn a_list_says_how_far_a_file_is_and_not_how_far_it_was_told_to_be() {
    let (mut world, alice, carol, _) = moving(3);
    for id in [carol, alice] {
        let mut seen = BTreeSet::new();
        // Much less than the pause between two events.
        for _ in 0..8 {
            world.drive(20);
            seen.extend(now(&world, id).and_then(|file| file.done));
        }
        assert!(seen.len() > 4, "{seen:?}");
    }
}

#[test]
fn what_is_held_back_stays_so_over_restarts_of_either_side() {
    for (seed, ours) in [(1, true), (2, false)] {
        for restarted in 0..4 {
            let (mut world, alice, carol, id) = moving(seed * 10 + restarted);
            let (who, other) = if ours { (alice, carol) } else { (carol, alice) };
            let pause = |on| FileCall::Pause {
                command: COMMAND,
                id,
                on,
            };
            world.file_call(who, pause(true));
            world.drive(2_000);
            assert!(
                world
                    .node(who)
                    .told(|e| *e == Event::Done { command: COMMAND })
            );
            let sent = world.node(alice).disk.sent;
            for (n, node) in [alice, carol].into_iter().enumerate() {
                if restarted >> n & 1 == 1 {
                    restart(&mut world, node);
                }
            }
            call(&mut world, alice);
            world.drive(120_000);
            assert_eq!(world.node(alice).disk.sent, sent, "{ours} {restarted}");
            assert!(is_held(&world, who, true), "{ours} {restarted}");
            assert!(is_held(&world, other, false), "{ours} {restarted}");
            world.cut(alice, carol);
            world.drive(5_000);
            world.file_call(who, pause(false));
            let done = world.drive_until(300_000, |w| is_done(w, alice));
            assert!(done, "{ours} {restarted}");
            world.drive(2_000);
            assert_settled(&world, &[alice, carol]);
        }
    }
}

#[test]
fn both_sides_may_hold_it_back_and_both_must_let_go() {
    let (mut world, alice, carol, id) = moving(3);
    let pause = |on| FileCall::Pause {
        command: COMMAND,
        id,
        on,
    };
    world.file_call(alice, pause(true));
    world.file_call(carol, pause(true));
    world.drive(5_000);
    let sent = world.node(alice).disk.sent;
    world.file_call(alice, pause(false));
    world.drive(60_000);
    assert_eq!(world.node(alice).disk.sent, sent);
    assert!(is_held(&world, carol, true) && is_held(&world, alice, false));
    world.file_call(carol, pause(false));
    assert!(world.drive_until(300_000, |w| is_done(w, alice)));
}

#[test]
fn a_person_is_asked_about_what_the_rules_do_not_take() {
    for accept in [true, false] {
        let (mut world, alice, carol) = two(4, Some(of_bob()), true);
        world.send_file(alice, "carol", "letter", 5 * MIB);
        world.drive(5_000);
        let undecided = FileStage::Undecided { folder: true };
        assert_eq!(stages(&world, carol), [FileStage::Offered, undecided]);
        assert_eq!(waits(&world, carol), Some(FileWait::Decision));
        assert!(is_held(&world, alice, false), "{:?}", now(&world, alice));
        // It is remembered, and not asked about twice.
        restart(&mut world, carol);
        world.drive(60_000);
        assert_eq!(stages(&world, carol).len(), 2);
        assert_eq!(world.node(alice).disk.sent, 0);
        let id = world.node(alice).last_queued().expect("it was queued");
        let decide = FileCall::Decide {
            command: COMMAND,
            id,
            accept,
        };
        world.file_call(carol, decide);
        world.drive(60_000);
        assert!(
            world
                .node(carol)
                .told(|e| *e == Event::Done { command: COMMAND })
        );
        assert_eq!(is_done(&world, alice), accept);
        let reason = ended(&world, alice).map(|(reason, _)| reason);
        assert_eq!(reason, (!accept).then_some(FileReason::NotWanted));
        // Where it came another way, the next link settles it.
        call(&mut world, alice);
        world.drive(5_000);
        assert_settled(&world, &[alice, carol]);
    }
}

#[test]
fn what_is_taken_by_hand_without_a_folder_comes_when_there_is_one() {
    let (mut world, alice, carol) = two(5, None, false);
    world.send_file(alice, "carol", "letter", 5 * MIB);
    world.drive(5_000);
    let undecided = FileStage::Undecided { folder: false };
    assert_eq!(stages(&world, carol).last(), Some(&undecided));
    let id = world.node(alice).last_queued().expect("it was queued");
    let decide = FileCall::Decide {
        command: COMMAND,
        id,
        accept: true,
    };
    world.file_call(carol, decide.clone());
    world.drive(60_000);
    assert_eq!(waits(&world, carol), Some(FileWait::Folder));
    world.crash(carol);
    // Even one that by itself would take it from nobody.
    world.node_mut(carol).files = Some(of_bob());
    world.start(carol);
    assert!(world.drive_until(120_000, |w| is_done(w, alice)));
    world.drive(2_000);
    assert_settled(&world, &[alice, carol]);
    // What is over cannot be decided, and one's own never.
    world.file_call(carol, decide.clone());
    world.crash(carol);
    world.send_file(alice, "carol", "another", MIB);
    world.drive(100);
    let id = world.node(alice).last_queued().expect("it was queued");
    world.file_call(
        alice,
        FileCall::Decide {
            command: COMMAND,
            id,
            accept: true,
        },
    );
    for (node, want) in [
        (carol, ErrorCode::NotFound),
        (alice, ErrorCode::InvalidArgument),
    ] {
        let refused = |e: &Event| matches!(e, Event::Refused { code, .. } if *code == want);
        assert!(world.node(node).told(refused), "{want:?}");
    }
}

#[test]
fn what_the_sender_gave_up_waits_nowhere() {
    // Undecided, or held back by the receiver; linked, or away when it was given up; told by the
    // process that gave it up, or by the next one.
    let cases = [false, true].map(|undecided| {
        let ways = [(false, false), (true, false), (true, true)];
        ways.map(|(away, later)| (undecided, away, later))
    });
    for (undecided, away, later) in cases.into_iter().flatten() {
        let (mut world, alice, carol, id) = if undecided {
            let (mut world, alice, carol) = two(6, Some(of_bob()), true);
            world.send_file(alice, "carol", "letter", 5 * MIB);
            world.drive(5_000);
            let id = world.node(alice).last_queued().expect("it was queued");
            (world, alice, carol, id)
        } else {
            moving(6)
        };
        let (command, on) = (COMMAND, true);
        if !undecided {
            world.file_call(carol, FileCall::Pause { command, id, on });
            world.drive(1_000);
        }
        if away {
            world.crash(carol);
        }
        world.file_call(alice, FileCall::Cancel { command, id });
        world.drive(2_000);
        if later {
            restart(&mut world, alice);
        }
        if away {
            world.start(carol);
            // Whoever has no need of a link hears of it on the next one.
            world.drive(60_000);
            call(&mut world, alice);
        }
        world.drive(20_000);
        let told = ended(&world, carol);
        let (reason, detail) = told.unwrap_or_else(|| panic!("{undecided} {away}"));
        assert_eq!(reason, FileReason::Cancelled, "{undecided} {away}");
        assert_eq!(detail.as_deref(), Some("alice gave it up"));
        assert_eq!(world.node(carol).disk.done.len(), 0);
        assert_settled(&world, &[alice, carol]);
    }
}

#[test]
fn what_the_receiver_gave_up_while_the_sender_was_away_the_sender_hears() {
    let (mut world, alice, carol, id) = moving(7);
    world.crash(alice);
    world.drive(2_000);
    let command = COMMAND;
    world.file_call(carol, FileCall::Cancel { command, id });
    world.drive(1_000);
    restart(&mut world, carol);
    assert!(world.node(carol).disk.is_tidy());
    let state = |w: &World| {
        w.node(carol)
            .store
            .files
            .incoming
            .values()
            .next()
            .map(|r| r.state)
    };
    assert_eq!(state(&world), Some(FileInState::Ended));
    world.start(alice);
    assert!(world.drive_until(120_000, |w| ended(w, alice).is_some()));
    let detail = Some("carol gave it up".to_owned());
    assert_eq!(ended(&world, alice), Some((FileReason::Cancelled, detail)));
    world.drive(2_000);
    assert_settled(&world, &[alice, carol]);
}

#[test]
fn the_list_says_what_each_file_waits_for() {
    let (mut world, alice, carol) = two(8, Some(anything()), false);
    world.crash(carol);
    world.send_file(alice, "carol", "big", 200 * MIB);
    world.drive(2_000);
    assert_eq!(waits(&world, alice), Some(FileWait::Offer));
    world.start(carol);
    let moves = |w: &World| now(w, alice).is_some_and(|f| f.done > Some(50 * MIB));
    assert!(world.drive_until(120_000, moves));
    for id in [alice, carol] {
        let file = now(&world, id).expect("it moves");
        assert!(
            matches!(file.told.stage, FileStage::Moving { .. }),
            "{file:?}"
        );
        assert_eq!((file.told.ours, file.waits), (id == alice, None));
    }
    world.crash(carol);
    world.drive(120_000);
    let file = now(&world, alice).expect("it waits");
    assert_eq!(file.waits, Some(FileWait::Link));
    assert!(file.done > Some(50 * MIB), "how far it was: {file:?}");
    world.start(carol);
    assert!(world.drive_until(300_000, |w| is_done(w, alice)));
    world.drive(2_000);
    assert_settled(&world, &[alice, carol]);
}
