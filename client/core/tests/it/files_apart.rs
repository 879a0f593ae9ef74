//! Files between devices that cannot have a link: through others, within quotas, and unharmed by
//! whoever carries them.

use crate::tap::{frame, items};
use beeline_proto::parcel::{Kind as ParcelKind, Parcel};
use beeline_proto::pb::peer::v1::FileReason;
use beeline_proto::pb::peer::v1::peer_item::Kind;
use client_core::event::{DeliveryState, Event};
use client_core::files::io::{FileCall, FilePolicy, FileStage, Through};
use client_core::files::rows::FileOutState;
use client_core::input::{CommandId, Input, SignalInput, SocketId};
use client_core::limits::{
    FILE_APART_MS, FILE_APART_WINDOW, RELAY_FILE_BYTES_PER_S, SOCKET_FILE_BYTES_PER_S,
};
use client_core::testing::{NodeId, World, label};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

const MIB: u64 = 1024 * 1024;

fn anything() -> Option<FilePolicy> {
    Some(FilePolicy {
        from: None,
        size_max: u64::MAX,
        total_max: u64::MAX,
    })
}

/// Alice and Carol, who takes files, each linked to Bob, and never to each other.
fn apart(seed: u64) -> (World, NodeId, NodeId, NodeId) {
    let mut world = World::new(seed);
    let (alice, bob) = (world.member("alice"), world.member("bob"));
    let carol = world.member_stopped("carol");
    world.node_mut(carol).files = anything();
    world.start(carol);
    world.apart.insert((alice, carol));
    world.drive(50);
    meet(&mut world, &[alice, carol], "bob");
    (world, alice, bob, carol)
}

/// All of them have a link to a user.
fn meet(world: &mut World, ids: &[NodeId], user: &str) {
    for id in ids {
        world.send(*id, user, "hello");
    }
    let said = |w: &World| {
        let delivered = |id: &NodeId| w.node(*id).count(DeliveryState::Delivered) > 0;
        ids.iter().all(delivered)
    };
    assert!(world.drive_until(5_000, said));
    world.drive(2_000);
}

/// What was told of files at a node, in order.
fn told(world: &World, id: NodeId) -> Vec<(FileStage, Option<Through>)> {
    let events = world.node(id).events.iter();
    let told = events.filter_map(|(_, event)| match event {
        Event::File(told) => Some((told.stage.clone(), told.through.clone())),
        _ => None,
    });
    told.collect()
}

fn is_done(world: &World, id: NodeId) -> bool {
    let done = |(stage, _): &(FileStage, _)| matches!(stage, FileStage::Done { .. });
    told(world, id).iter().any(done)
}

fn moved(world: &World, id: NodeId) -> u64 {
    let done = told(world, id).into_iter().rev();
    let mut done = done.filter_map(|(stage, _)| match stage {
        FileStage::Moving { done } => Some(done),
        _ => None,
    });
    done.next().unwrap_or(0)
}

fn ways(world: &World, id: NodeId) -> Vec<Option<Through>> {
    let told = told(world, id).into_iter();
    let moving = |(stage, _): &(FileStage, _)| matches!(stage, FileStage::Moving { .. });
    told.filter(moving).map(|(_, through)| through).collect()
}

/// Nothing is left anywhere: no part of a file, no open row.
fn assert_settled(world: &World, ids: &[NodeId]) {
    for id in ids {
        let node = world.node(*id);
        assert!(node.disk.is_tidy(), "parts lie about");
        let files = &node.store.files;
        let open = |state| state < FileOutState::Done;
        assert!(files.out.values().all(|row| !open(row.state)), "{files:?}");
        assert!(files.incoming.values().all(|row| row.told), "{files:?}");
    }
}

/// A parcel in a RELAY that is a part of a file.
fn part(item: &Kind) -> Option<Vec<u8>> {
    let Kind::Relay(bytes) = item else {
        return None;
    };
    let parcel = Parcel::parse(bytes).ok()?;
    (parcel.header().kind == ParcelKind::File).then(|| bytes.clone())
}

#[test]
fn without_a_link_a_file_goes_through_a_peer_and_both_are_told() {
    let (mut world, alice, bob, carol) = apart(1);
    let start = world.now_ms;
    world.send_file(alice, "carol", "holiday.mov", 2 * MIB + 1);
    world.drive(FILE_APART_MS - 1_000);
    assert_eq!(moved(&world, alice), 0, "a link is waited for");
    assert!(world.drive_until(120_000, |w| is_done(w, alice)));
    world.drive(2_000);
    let took_s = (world.now_ms - start) / 1_000;
    let least = 2 * MIB / RELAY_FILE_BYTES_PER_S;
    assert!((least..least + 25).contains(&took_s), "{took_s} s");
    assert_eq!(world.node(alice).disk.sealed, 33);
    assert_eq!(world.node(alice).disk.sent, 0);
    assert_eq!(world.node(carol).disk.repeated, 0);
    for id in [alice, carol] {
        let ways = ways(&world, id);
        assert!(ways.len() > 10);
        let bob = Some(Through::Peer(label("bob")));
        assert!(ways.iter().all(|way| *way == bob), "{ways:?}");
    }
    assert!(world.node(bob).disk.is_tidy() && world.node(bob).disk.done.is_empty());
    assert_settled(&world, &[alice, carol]);
}

#[test]
fn a_link_takes_over_as_soon_as_there_is_one() {
    let (mut world, alice, _bob, carol) = apart(2);
    world.send_file(alice, "carol", "holiday.mov", 50 * MIB);
    assert!(world.drive_until(60_000, |w| moved(w, carol) > MIB));
    world.apart.clear();
    // A call is tried at growing pauses.
    assert!(world.drive_until(600_000, |w| is_done(w, alice)));
    let ways = ways(&world, carol);
    let first = ways.iter().position(Option::is_none).expect("direct");
    assert!(first > 3 && ways[first..].iter().all(Option::is_none));
    let again = world.node(alice).disk.sent + world.node(alice).disk.sealed - 800;
    assert!(
        again <= FILE_APART_WINDOW / (64 * 1024) + 1,
        "{again} again"
    );
    world.drive(2_000);
    assert_settled(&world, &[alice, carol]);
}

#[test]
fn chat_goes_beside_a_file_and_costs_it_no_share() {
    let (mut world, alice, bob, carol) = apart(3);
    world.send_file(alice, "carol", "holiday.mov", 4 * MIB);
    assert!(world.drive_until(60_000, |w| moved(w, carol) > 0));
    for n in 0..20 {
        let text = format!("message {n}");
        world.send(alice, "carol", &text);
        let heard = |w: &World| w.node(carol).received().iter().any(|t| *t == text);
        assert!(world.drive_until(500, heard), "{text}");
        world.drive(500);
    }
    assert!(
        !world
            .node(bob)
            .told(|event| matches!(event, Event::Warned { .. }))
    );
    assert!(world.drive_until(120_000, |w| is_done(w, alice)));
}

#[test]
fn where_only_signalling_passes_a_file_goes_there_more_slowly() {
    let mut world = World::new(4);
    let alice = world.member("alice");
    let carol = world.member_stopped("carol");
    world.node_mut(carol).files = anything();
    world.start(carol);
    world.apart.insert((alice, carol));
    world.drive(50);
    let start = world.now_ms;
    world.send_file(alice, "carol", "holiday.mov", 2 * MIB);
    assert!(world.drive_until(300_000, |w| is_done(w, alice)));
    world.drive(2_000);
    let took_s = (world.now_ms - start) / 1_000;
    let least = 2 * MIB / SOCKET_FILE_BYTES_PER_S;
    assert!((least..least + 40).contains(&took_s), "{took_s} s");
    let server = Some(Through::Server);
    assert!(ways(&world, alice).iter().all(|way| *way == server));
    let frames = world.signalled.iter();
    let largest = frames.map(|frame| frame.parcel.len()).max();
    assert!(largest.is_some_and(|len| len <= 16_000));
    assert_settled(&world, &[alice, carol]);
}

#[test]
fn a_relay_keeps_to_its_quota_whatever_it_is_sent() {
    const PER_S: u64 = 8 * 1024;
    let (mut world, alice, bob, carol) = apart(5);
    world.crash(bob);
    world.node_mut(bob).relay_files_per_s = PER_S;
    world.start(bob);
    meet(&mut world, &[alice, carol], "bob");
    let (carried, sent) = (Rc::new(Cell::new(0u64)), Rc::new(Cell::new(0u64)));
    let count = (Rc::clone(&carried), Rc::clone(&sent));
    world.on_frame = Some(Box::new(move |from, to, bytes| {
        let items = items(&bytes);
        let parts = items.iter().filter_map(part);
        let len: u64 = parts.map(|part| part.len() as u64).sum();
        if from == bob && to == carol {
            count.0.set(count.0.get() + len);
        } else {
            count.1.set(count.1.get() + len);
        }
        vec![bytes]
    }));
    let start = world.now_ms;
    world.send_file(alice, "carol", "holiday.mov", MIB);
    assert!(world.drive_until(600_000, |w| is_done(w, alice)));
    let took_s = (world.now_ms - start) / 1_000;
    assert!(
        carried.get() <= took_s * PER_S + 32_000,
        "{}",
        carried.get()
    );
    assert!(took_s < 200, "{took_s} s");
    // A refusal says how long to wait: little is sent in vain.
    let vain = sent.get() - carried.get();
    assert!(vain < carried.get() / 2, "{vain} bytes in vain");
}

#[test]
fn a_relay_that_carries_no_files_is_passed_over() {
    let (mut world, alice, bob, carol) = apart(6);
    world.crash(bob);
    world.node_mut(bob).relay_files_per_s = 0;
    world.start(bob);
    meet(&mut world, &[alice, carol], "bob");
    world.send_file(alice, "carol", "holiday.mov", MIB);
    // A link is waited for, then Bob, and then it stays with what works.
    assert!(world.drive_until(90_000, |w| is_done(w, alice)));
    assert!(ways(&world, carol).contains(&Some(Through::Server)));
    // Chat still goes through it.
    world.set_gateway(false);
    world.drive(100);
    world.send(alice, "carol", "still there?");
    let heard = |w: &World| w.node(carol).received().contains(&"still there?");
    assert!(world.drive_until(5_000, heard));
}

/// Whatever relays do with parts, and with what is said of them, the file arrives whole or waits.
#[test]
fn relays_that_drop_repeat_reorder_and_replay_do_no_harm() {
    for seed in 0..30 {
        let (mut world, alice, bob, carol) = apart(100 + seed);
        let old: Rc<RefCell<Vec<Vec<u8>>>> = Rc::default();
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut chance = move |n: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % n
        };
        let mut held: BTreeMap<NodeId, Vec<u8>> = BTreeMap::new();
        world.on_frame = Some(Box::new(move |from, to, bytes| {
            let relayed = |item: &Kind| matches!(item, Kind::Relay(_));
            if from != bob || !items(&bytes).iter().any(relayed) {
                return vec![bytes];
            }
            let mut kept = old.borrow_mut();
            if kept.len() < 64 {
                kept.push(bytes.clone());
            }
            let mut out = match chance(10) {
                0 => Vec::new(),
                1 => vec![bytes.clone(), bytes],
                2 => held.insert(to, bytes).into_iter().collect(),
                3 => {
                    let at = chance(kept.len() as u64) as usize;
                    vec![kept[at].clone(), bytes]
                }
                4 => {
                    let relayed = items(&bytes).into_iter().map(|item| match item {
                        Kind::Relay(mut parcel) => {
                            let half = parcel.len() / 2;
                            let at = half + chance(half as u64) as usize;
                            parcel[at] ^= 1;
                            frame(Kind::Relay(parcel))
                        }
                        item => frame(item),
                    });
                    relayed.collect()
                }
                _ => vec![bytes],
            };
            out.extend(held.remove(&to).filter(|_| chance(2) == 0));
            out
        }));
        world.send_file(alice, "carol", "holiday.mov", MIB);
        let done = world.drive_until(3_600_000, |w| is_done(w, carol));
        assert!(done, "seed {seed}: {:?}", told(&world, carol).last());
        assert!(
            world.drive_until(3_600_000, |w| is_done(w, alice)),
            "seed {seed}"
        );
        assert_eq!(world.node(carol).disk.done.len(), 1);
        let sealed = world.node(alice).disk.sealed;
        assert!(sealed < 200, "seed {seed}: {sealed} chunks for 16");
        let warned = |event: &Event| {
            matches!(
                event,
                Event::Warned {
                    kind: "abusive-link",
                    ..
                }
            )
        };
        assert!(!world.node(carol).told(warned) && !world.node(alice).told(warned));
    }
}

#[test]
fn a_part_that_was_relayed_is_never_relayed_again() {
    let (mut world, alice, bob, carol) = apart(7);
    let eve = world.member("eve");
    meet(&mut world, &[eve], "carol");
    meet(&mut world, &[eve], "alice");
    let seen: Rc<RefCell<BTreeSet<(NodeId, NodeId)>>> = Rc::default();
    let taken = Rc::clone(&seen);
    world.on_frame = Some(Box::new(move |from, to, bytes| {
        if items(&bytes).iter().any(|item| part(item).is_some()) {
            taken.borrow_mut().insert((from, to));
        }
        // Whoever relays hands it to another relay as well.
        vec![bytes]
    }));
    world.send_file(alice, "carol", "holiday.mov", MIB);
    assert!(world.drive_until(120_000, |w| is_done(w, alice)));
    let hops = seen.borrow().clone();
    for (from, to) in &hops {
        assert!(*from == alice || *to == carol, "{hops:?}");
    }
    assert!(!hops.contains(&(bob, eve)) && !hops.contains(&(eve, bob)));
}

#[test]
fn a_second_relay_takes_the_place_of_one_that_is_gone() {
    let (mut world, alice, bob, carol) = apart(8);
    let eve = world.member("eve");
    for id in [alice, carol] {
        world.send(id, "eve", "hello");
    }
    world.drive(5_000);
    world.set_gateway(false);
    world.send_file(alice, "carol", "holiday.mov", 2 * MIB);
    assert!(world.drive_until(60_000, |w| moved(w, carol) > MIB / 2));
    let through = ways(&world, carol).pop().flatten();
    let gone = match &through {
        Some(Through::Peer(user)) if *user == label("bob") => bob,
        _ => eve,
    };
    world.crash(gone);
    assert!(world.drive_until(300_000, |w| is_done(w, alice)));
    assert!(ways(&world, carol).last().cloned().flatten() != through);
}

#[test]
fn either_side_gives_it_up_and_holds_it_back() {
    for ours in [true, false] {
        let (mut world, alice, _bob, carol) = apart(9);
        world.send_file(alice, "carol", "holiday.mov", 4 * MIB);
        assert!(world.drive_until(60_000, |w| moved(w, carol) > 0));
        let id = world.node(alice).last_queued().expect("it was queued");
        let command = CommandId(9_000);
        let who = if ours { alice } else { carol };
        let pause = |on| FileCall::Pause { command, id, on };
        world.file_call(who, pause(true));
        world.drive(5_000);
        let sealed = world.node(alice).disk.sealed;
        world.drive(30_000);
        assert_eq!(
            world.node(alice).disk.sealed,
            sealed,
            "held back by us: {ours}"
        );
        world.file_call(who, pause(false));
        let before = moved(&world, carol);
        assert!(
            world.drive_until(400_000, |w| moved(w, carol) > before),
            "{ours}"
        );
        world.file_call(who, FileCall::Cancel { command, id });
        world.drive(20_000);
        for id in [alice, carol] {
            let ended = |(stage, _): &(FileStage, _)| {
                matches!(
                    stage,
                    FileStage::Ended {
                        reason: FileReason::Cancelled,
                        ..
                    }
                )
            };
            assert!(told(&world, id).iter().any(ended), "{ours}");
        }
        assert_settled(&world, &[alice, carol]);
    }
}

#[test]
fn a_transfer_survives_kills_of_either_side() {
    for seed in 0..8 {
        let (mut world, alice, _bob, carol) = apart(200 + seed);
        world.send_file(alice, "carol", "big", 4 * MIB);
        assert!(world.drive_until(60_000, |w| moved(w, carol) > 0));
        let mut kills = 0;
        for _ in 0..3 {
            let wait = 1_000 + world.chance(10_000);
            world.drive(wait);
            let victim = if world.chance(2) == 0 { alice } else { carol };
            world.crash(victim);
            world.drive(2_000);
            world.start(victim);
            world.drive(60_000);
            kills += 1;
        }
        assert!(
            world.drive_until(1_800_000, |w| is_done(w, alice)),
            "seed {seed}"
        );
        let window = FILE_APART_WINDOW / (64 * 1024);
        let again = world.node(alice).disk.sealed - 64;
        assert!(again <= kills * (window + 2), "seed {seed}: {again} again");
        world.drive(20_000);
        assert_settled(&world, &[alice, carol]);
    }
}

#[test]
fn what_the_receiver_does_not_take_is_not_sent_this_way_either() {
    let (mut world, alice, _bob, carol) = apart(10);
    world.crash(carol);
    world.node_mut(carol).files = Some(FilePolicy {
        from: None,
        size_max: MIB,
        total_max: MIB,
    });
    world.start(carol);
    world.drive(2_000);
    world.send_file(alice, "carol", "too large", 2 * MIB);
    world.drive(60_000);
    let ended = |(stage, _): &(FileStage, _)| {
        matches!(
            stage,
            FileStage::Ended {
                reason: FileReason::TooLarge,
                ..
            }
        )
    };
    assert!(told(&world, alice).iter().any(ended));
    assert_eq!(world.node(alice).disk.sealed, 0);
    assert_settled(&world, &[alice, carol]);
}

/// A gateway that hands old parcels on again costs neither side more than it says.
#[test]
fn asking_once_more_in_anothers_name_costs_a_window_at_most() {
    let mut world = World::new(11);
    let alice = world.member("alice");
    let carol = world.member_stopped("carol");
    world.node_mut(carol).files = anything();
    world.start(carol);
    world.apart.insert((alice, carol));
    world.drive(50);
    world.send_file(alice, "carol", "holiday.mov", MIB);
    assert!(world.drive_until(300_000, |w| is_done(w, alice)));
    world.drive(5_000);
    let sealed = world.node(alice).disk.sealed;
    let frames = world.signalled.clone();
    for frame in frames {
        let to = if frame.to.as_str() == "alice_phone" {
            alice
        } else {
            carol
        };
        let again = SignalInput::Parcel {
            socket: SocketId::GATEWAY,
            kind: frame.kind,
            from: frame.from.to_string(),
            parcel: frame.parcel,
        };
        world.input(to, Input::Signal(again));
    }
    world.drive(120_000);
    let more = world.node(alice).disk.sealed - sealed;
    assert!(
        more <= FILE_APART_WINDOW / (64 * 1024),
        "{more} chunks more"
    );
    assert_eq!(world.node(carol).disk.done.len(), 1);
}

/// Parts that a third party repeats, which may be linked to the receiver, are not even opened.
#[test]
fn whoever_was_not_asked_cannot_use_up_what_is_opened() {
    let (mut world, alice, bob, carol) = apart(12);
    let eve = world.member("eve");
    meet(&mut world, &[eve], "carol");
    let mut parts: Vec<Vec<u8>> = Vec::new();
    world.on_frame = Some(Box::new(move |from, to, bytes| {
        let carried = items(&bytes)
            .into_iter()
            .filter(|item| part(item).is_some());
        if from == bob && to == carol && parts.len() < 100 {
            parts.extend(carried.map(frame));
        }
        let mut frames = vec![bytes];
        if from == eve && to == carol {
            frames.extend(parts.iter().cloned());
        }
        frames
    }));
    let start = world.now_ms;
    world.send_file(alice, "carol", "holiday.mov", 2 * MIB);
    while !is_done(&world, alice) && world.now_ms < start + 120_000 {
        world.send(eve, "carol", "look at this");
        world.drive(500);
    }
    let took_s = (world.now_ms - start) / 1_000;
    let least = 2 * MIB / RELAY_FILE_BYTES_PER_S;
    assert!((least..least + 25).contains(&took_s), "{took_s} s");
    assert_eq!(world.node(alice).disk.sealed, 32, "nothing was lost");
}
