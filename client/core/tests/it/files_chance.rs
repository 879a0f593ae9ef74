//! Files left to chance, against a plain account of what was offered: kills of either side, cut
//! links, chunks that get lost, forged ones, full disks, pauses, and people who change their minds.

use beeline_proto::id::MessageId;
use client_core::event::Event;
use client_core::files::io::{FileCall, FilePolicy, FileStage};
use client_core::files::rows::{FileInState, FileOutState};
use client_core::input::CommandId;
use client_core::testing::{Fault, NodeId, World};
use std::collections::BTreeMap;

const MIB: u64 = 1024 * 1024;

/// Where a file stands for good, as one side was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Done,
    Ended,
}

/// What became of each file, as a node was told. After a kill it may be told again, and the same.
fn ends(world: &World, id: NodeId, ours: bool) -> BTreeMap<MessageId, End> {
    let mut ends = BTreeMap::new();
    for (at, event) in &world.node(id).events {
        let Event::File(told) = event else {
            continue;
        };
        let end = match told.stage {
            FileStage::Done { .. } => End::Done,
            FileStage::Ended { .. } => End::Ended,
            _ => continue,
        };
        if told.ours == ours {
            let before = ends.insert(told.id, end);
            assert!(
                before.is_none_or(|b| b == end),
                "at {at}: {before:?}, then {end:?}"
            );
        }
    }
    ends
}

/// One thing that happens by chance.
fn mishap(world: &mut World, pair: [NodeId; 2], offered: &[(NodeId, MessageId)]) {
    let who = pair[world.chance(2) as usize];
    let command = CommandId(1_000_000 + world.now_ms);
    let some = world.chance(offered.len() as u64) as usize;
    let id = offered[some].1;
    match world.chance(9) {
        0 | 1 => {
            world.crash(who);
            let away = world.chance(4_000);
            world.drive(away);
            world.node_mut(who).disk.fault = None;
            world.start(who);
        }
        2 => world.cut(pair[0], pair[1]),
        3 => {
            let faults = [Fault::Full, Fault::Broken];
            let fault = faults[world.chance(2) as usize];
            world.node_mut(who).disk.fault = Some(fault);
            world.drive(300);
            world.node_mut(who).disk.fault = None;
        }
        4 => world.file_call(who, FileCall::Cancel { command, id }),
        5 => {
            for on in [true, false] {
                world.file_call(who, FileCall::Pause { command, id, on });
                let wait = world.chance(3_000);
                world.drive(wait);
            }
        }
        _ => {}
    }
}

fn play(seed: u64) {
    let mut world = World::new(seed);
    let pair = ["alice", "carol"].map(|name| world.member_stopped(name));
    for id in pair {
        world.node_mut(id).files = Some(FilePolicy {
            from: None,
            size_max: 90 * MIB,
            total_max: u64::MAX,
        });
        world.start(id);
    }
    world.drive(50);
    world.timing.link_ms = 30;
    let (mut lose, mut forge) = (seed.is_multiple_of(3), seed.is_multiple_of(5));
    let mut count = 0u64;
    world.on_chunk = Some(Box::new(move |_, _, mut chunk| {
        count += 1;
        if lose && count.is_multiple_of(701) {
            return Vec::new();
        }
        if forge && count.is_multiple_of(4_999) {
            chunk.root = [0xee; 32];
        }
        // The end is quiet, so that it comes.
        (lose, forge) = (lose && count < 20_000, forge && count < 20_000);
        vec![chunk]
    }));
    let mut offered: Vec<(NodeId, MessageId)> = Vec::new();
    for n in 0..12 {
        let at = world.chance(2) as usize;
        let (from, to) = (pair[at], ["carol", "alice"][at]);
        let size = world.chance(100 * MIB);
        world.send_file(from, to, &format!("{seed} {n}"), size);
        world.drive(40);
        if let Some(id) = world.node(from).last_queued()
            && offered.iter().all(|(_, known)| *known != id)
        {
            offered.push((from, id));
        }
        let wait = world.chance(1_500);
        world.drive(wait);
        mishap(&mut world, pair, &offered);
    }
    let quiet = |w: &World| {
        let node = |id: NodeId| &w.node(id).store.files;
        let open = |id: NodeId| {
            node(id)
                .out
                .values()
                .any(|row| row.state < FileOutState::Done)
        };
        let untold = |id: NodeId| node(id).incoming.values().any(|row| !row.told);
        !pair.into_iter().any(|id| open(id) || untold(id))
    };
    assert!(
        world.drive_until(60 * 60 * 1_000, quiet),
        "seed {seed}: it never ends"
    );
    world.drive(5_000);
    check(&world, pair, seed);
}

/// Each side knows the same of each file, and it is so.
fn check(world: &World, pair: [NodeId; 2], seed: u64) {
    for (at, from) in pair.into_iter().enumerate() {
        let to = pair[1 - at];
        let (sent, got) = (ends(world, from, true), ends(world, to, false));
        let rows = &world.node(from).store.files.out;
        for (id, row) in rows {
            let place = world.node(to).disk.done.iter();
            let place = place.filter(|((_, of), _)| of == id).map(|(_, root)| *root);
            let there: Vec<[u8; 32]> = place.collect();
            let receiver = world.node(to).store.files.incoming.values();
            let receiver = receiver.filter(|in_row| in_row.id == *id).map(|r| r.state);
            let receiver: Vec<FileInState> = receiver.collect();
            match row.state {
                FileOutState::Done => {
                    assert_eq!(
                        there,
                        [row.info.root],
                        "seed {seed}: done is there, and the same"
                    );
                    assert_eq!(receiver, [FileInState::Done], "seed {seed}");
                }
                // It may be complete where a last-minute refusal crossed the last chunk.
                state => assert_eq!(state, FileOutState::Ended, "seed {seed}"),
            }
            let told = sent.get(id).copied();
            let want = match row.state {
                FileOutState::Done => End::Done,
                _ => End::Ended,
            };
            assert!(
                told.is_none_or(|told| told == want),
                "seed {seed}: {told:?}, {want:?}"
            );
        }
        for ((_, id), root) in &world.node(to).disk.done {
            assert_eq!(
                rows.get(id).map(|row| row.info.root),
                Some(*root),
                "seed {seed}"
            );
            assert_ne!(
                got.get(id),
                Some(&End::Ended),
                "seed {seed}: a file that ended is there"
            );
        }
        assert!(
            world.node(to).disk.is_tidy(),
            "seed {seed}: parts lie about"
        );
    }
}

#[test]
fn whatever_happens_both_sides_know_the_same_and_nothing_lies_about() {
    for seed in 0..60 {
        play(seed);
    }
}
