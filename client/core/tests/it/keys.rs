//! Keys: changed ones block, lost ones are replaced, revoked ones end, conflicts are refused.

use beeline_proto::code::ErrorCode;
use beeline_proto::pb::peer::v1::peer_item::Kind;
use client_core::event::{DeliveryState, Event, MessageState};
use client_core::input::{Command, CommandId, Input};
use client_core::testing::tap::{items, shared};
use client_core::testing::{EPOCH_MS, NodeId, World, label};

fn pair(seed: u64) -> (World, NodeId, NodeId) {
    let mut world = World::new(seed);
    let (alice, carol) = (world.member("alice"), world.member("carol"));
    world.drive(50);
    (world, alice, carol)
}

fn delivered(world: &World, id: NodeId) -> usize {
    world.node(id).count(DeliveryState::Delivered)
}

fn rejected(world: &World, id: NodeId) -> Vec<&MessageState> {
    let states = world.node(id).message_states().into_iter();
    states
        .filter(|told| told.state == DeliveryState::Rejected)
        .collect()
}

/// The registry binds Carol's label to another key, with a device that is online.
fn swap_keys(world: &mut World) -> NodeId {
    let expires_ms = EPOCH_MS + 1_000_000_000;
    let mallory = world
        .authority
        .admit("carol", "mallory", &["mallory_phone"], expires_ms);
    world.registry.forget(&label("carol"));
    let node = world.device_of(mallory, 0);
    world.start(node);
    world.drive(50);
    node
}

#[test]
fn a_changed_user_key_blocks_sending_until_a_person_accepts_it() {
    let (mut world, alice, carol) = pair(1);
    world.send(alice, "carol", "one");
    assert!(world.drive_until(2_000, |w| delivered(w, alice) == 1));
    let digits = world.node(alice).running().safety_number(&label("carol"));
    let theirs = world.node(carol).running().safety_number(&label("alice"));
    assert!(digits.is_some() && digits == theirs);

    world.crash(carol);
    let mallory = swap_keys(&mut world);
    world.drive(10_000);
    world.send(alice, "carol", "a secret");
    assert!(world.drive_until(60_000, |w| !rejected(w, alice).is_empty()));
    assert_eq!(
        rejected(&world, alice)[0].reason.as_deref(),
        Some("USER_KEY_CHANGED")
    );
    assert!(
        world
            .node(alice)
            .told(|event| matches!(event, Event::KeyChanged { .. }))
    );
    world.send(alice, "carol", "another secret");
    world.drive(60_000);
    assert_eq!(rejected(&world, alice).len(), 2);
    assert_eq!(world.node(mallory).received(), Vec::<&str>::new());
    let changed = world.node(alice).running().safety_number(&label("carol"));
    assert!(changed.is_some() && changed != digits);

    // The block outlives the process.
    world.crash(alice);
    world.start(alice);
    world.drive(50);
    assert!(world.node(alice).running().peers(world.now())[0].blocked);
    let accept = Command::AcceptKey {
        command: CommandId(77),
        user: label("carol"),
    };
    world.input(alice, Input::Command(accept));
    world.drive(50);
    let done = Event::Done {
        command: CommandId(77),
    };
    assert!(world.node(alice).told(|event| *event == done));
    world.send(alice, "carol", "hello new Carol");
    assert!(world.drive_until(60_000, |w| delivered(w, alice) == 2));
    world.drive(10);
    assert_eq!(
        world.node(mallory).received(),
        ["hello new Carol"],
        "at once, without a gap"
    );
}

#[test]
fn a_stranger_under_a_known_label_is_not_answered_and_not_shown() {
    let (mut world, alice, carol) = pair(1);
    world.send(alice, "carol", "one");
    assert!(world.drive_until(2_000, |w| delivered(w, alice) == 1));
    world.crash(carol);
    let mallory = swap_keys(&mut world);
    world.drive(10_000);
    world.send(mallory, "alice", "I am Carol");
    world.drive(60_000);
    assert_eq!(world.node(alice).received(), Vec::<&str>::new());
    assert_eq!(delivered(&world, mallory), 0);
    assert!(
        world
            .node(alice)
            .told(|event| matches!(event, Event::KeyChanged { .. }))
    );
}

#[test]
fn accepting_what_did_not_change_marks_it_verified() {
    let (mut world, alice, _carol) = pair(1);
    let accept = |command: u64| Command::AcceptKey {
        command: CommandId(command),
        user: label("carol"),
    };
    world.input(alice, Input::Command(accept(7)));
    let refused = |event: &Event| {
        matches!(
            event,
            Event::Refused {
                command: CommandId(7),
                code: ErrorCode::NotFound,
                ..
            }
        )
    };
    assert!(world.node(alice).told(refused));
    world.send(alice, "carol", "one");
    assert!(world.drive_until(2_000, |w| delivered(w, alice) == 1));
    world.input(alice, Input::Command(accept(8)));
    world.drive(50);
    assert!(world.node(alice).running().peers(world.now())[0].verified);
    world.send(alice, "carol", "two");
    assert!(world.drive_until(2_000, |w| delivered(w, alice) == 2));
}

#[test]
fn a_parcel_to_a_lost_bundle_is_sealed_again() {
    let (mut world, alice, carol) = pair(1);
    world.send(alice, "carol", "one");
    assert!(world.drive_until(2_000, |w| delivered(w, alice) == 1));
    world.crash(carol);
    world.drive(10_000);
    world.send(alice, "carol", "sealed to a key that will be gone");
    world.drive(1_000);
    let id = world.node(alice).last_queued().expect("queued");
    let sealed = world.node(alice).store.outbox[&id].clone();
    assert_eq!(sealed.parcels.len(), 1);
    // Carol's home was restored without its bundles.
    world.node_mut(carol).store.bundles.clear();
    world.start(carol);
    assert!(world.drive_until(60_000, |w| delivered(w, alice) == 2));
    let resealed = world.node(alice).store.outbox[&id].clone();
    assert_eq!(resealed.envelope, sealed.envelope);
    assert_ne!(resealed.parcels, sealed.parcels);
    world.drive(10);
    assert_eq!(
        world.node(carol).received()[1..],
        ["sealed to a key that will be gone"]
    );
    let nacks = world.node(carol).running().status(world.now()).refused;
    assert!(nacks.contains(&("nack-said", 1)), "{nacks:?}");
}

#[test]
fn a_lost_nack_is_said_again_when_the_parcel_comes_again() {
    let (mut world, alice, carol) = pair(1);
    world.send(alice, "carol", "one");
    assert!(world.drive_until(2_000, |w| delivered(w, alice) == 1));
    world.crash(carol);
    world.drive(10_000);
    world.send(alice, "carol", "two");
    world.drive(1_000);
    world.node_mut(carol).store.bundles.clear();
    let lost = shared(0);
    let count = lost.clone();
    world.on_frame = Some(Box::new(move |_, _, bytes| {
        let nack = items(&bytes).iter().any(|i| matches!(i, Kind::Nack(_)));
        *count.borrow_mut() += usize::from(nack);
        if nack { Vec::new() } else { vec![bytes] }
    }));
    world.start(carol);
    world.drive(5_000);
    world.on_frame = None;
    assert!((1..=3).contains(&*lost.borrow()), "once on each way");
    assert!(world.drive_until(120_000, |w| delivered(w, alice) == 2));
}

#[test]
fn bundles_rotate_daily_and_old_ones_still_open() {
    let (mut world, alice, carol) = pair(1);
    world.drive(40 * 24 * 3_600 * 1_000);
    let bundles = &world.node(carol).store.bundles;
    assert!((31..=34).contains(&bundles.len()), "{}", bundles.len());
    assert!(
        bundles
            .windows(2)
            .all(|pair| pair[0].made_ms < pair[1].made_ms)
    );
    world.send(alice, "carol", "one");
    assert!(world.drive_until(5_000, |w| delivered(w, alice) == 1));
}

#[test]
fn a_message_id_used_twice_is_refused() {
    let (mut world, alice, carol) = pair(1);
    let before = world.node(alice).store.clone();
    world.send(alice, "carol", "one");
    assert!(world.drive_until(2_000, |w| delivered(w, alice) == 1));
    // Alice's home is restored from a backup: it makes the same id, by the same chance, again.
    let id = world.node(alice).last_queued().expect("queued");
    let mut row = world.node(alice).store.outbox[&id].clone();
    world.crash(alice);
    row.text = "something else".to_owned();
    row.state = DeliveryState::Queued;
    row.envelope = None;
    row.parcels.clear();
    world.node_mut(alice).store = before;
    let ops = [client_core::state::StoreOp::QueueMessage(row)];
    world.node_mut(alice).store.apply(&ops);
    world.start(alice);
    assert!(world.drive_until(60_000, |w| !rejected(w, alice).is_empty()));
    assert_eq!(
        rejected(&world, alice)[0].reason.as_deref(),
        Some("CONFLICT")
    );
    assert_eq!(world.node(carol).received(), ["one"]);
    assert!(world.node(carol).warnings().contains(&"conflict"));
}

/// Alice's home was restored from before her last message, and runs; and its old incarnation.
fn restored() -> (World, NodeId, NodeId, u64) {
    let (mut world, alice, carol) = pair(1);
    let backup = world.node(alice).store.clone();
    world.send(alice, "carol", "one");
    assert!(world.drive_until(2_000, |w| delivered(w, alice) == 1));
    let incarnation = backup.incarnation;
    world.crash(alice);
    world.node_mut(alice).store = backup;
    world.start(alice);
    world.drive(50);
    (world, alice, carol, incarnation)
}

#[test]
fn a_restored_backup_is_noticed_and_counts_anew() {
    let (mut world, alice, carol, incarnation) = restored();
    world.send(alice, "carol", "the same place in the sequence");
    assert!(world.drive_until(60_000, |w| delivered(w, alice) == 2));
    world.drive(20);
    assert_ne!(world.node(alice).store.incarnation, incarnation);
    world.send(alice, "carol", "after it");
    assert!(world.drive_until(60_000, |w| delivered(w, alice) == 3));
    world.drive(10);
    let shown = ["one", "the same place in the sequence", "after it"];
    assert_eq!(world.node(carol).received(), shown);
}

#[test]
fn a_restored_backup_is_noticed_though_the_first_ack_that_says_so_is_lost() {
    let (mut world, alice, carol, incarnation) = restored();
    let lost = shared(0);
    let count = lost.clone();
    world.on_frame = Some(Box::new(move |from, _, bytes| {
        let ack = items(&bytes).iter().any(|i| matches!(i, Kind::Ack(_)));
        let first = ack && from == carol && *count.borrow() == 0;
        *count.borrow_mut() += u32::from(first);
        if first { Vec::new() } else { vec![bytes] }
    }));
    world.send(alice, "carol", "the same place in the sequence");
    assert!(world.drive_until(60_000, |w| delivered(w, alice) == 2));
    world.drive(20);
    assert_eq!(*lost.borrow(), 1);
    assert_ne!(world.node(alice).store.incarnation, incarnation);
}

#[test]
fn a_device_list_never_goes_back_and_a_forked_one_blocks() {
    let (mut world, alice, carol) = pair(1);
    world.send(alice, "carol", "one");
    assert!(world.drive_until(2_000, |w| delivered(w, alice) == 1));
    world.crash(carol);
    let old = world.node(carol).user.clone();
    let mut forked = old.clone();
    forked
        .devices
        .push(world.authority.admit("x", "x", &["ghost"], 1).devices[0].clone());
    let chain = world.authority.chain(&forked);
    world.registry.register(&label("carol"), chain);
    world.drive(10_000);
    world.send(alice, "carol", "two");
    assert!(world.drive_until(60_000, |w| !rejected(w, alice).is_empty()));
    assert!(world.node(alice).running().peers(world.now())[0].blocked);
}

#[test]
fn a_removed_device_gets_nothing_more() {
    let mut world = World::new(1);
    let alice = world.member("alice");
    let expires_ms = EPOCH_MS + 1_000_000_000;
    let mut carol = world
        .authority
        .admit("carol", "carol", &["phone", "stolen"], expires_ms);
    let (phone, stolen) = (
        world.device_of(carol.clone(), 0),
        world.device_of(carol.clone(), 1),
    );
    world.start(phone);
    world.start(stolen);
    world.drive(50);
    world.send(alice, "carol", "one");
    world.drive(2_000);
    assert_eq!(world.node(stolen).received(), ["one"]);
    carol.devices.pop();
    carol.list_version = 2;
    world.crash(phone);
    world.node_mut(phone).user = carol.clone();
    let chain = world.authority.chain(&carol);
    world.registry.register(&carol.label, chain);
    world.start(phone);
    world.drive(7_000);
    world.send(phone, "alice", "hello");
    world.drive(2_000);
    assert_eq!(world.node(alice).received(), ["hello"]);
    assert_eq!(
        world.node(alice).running().status(world.now()).links_open,
        1
    );
    world.send(alice, "carol", "two");
    world.drive(20_000);
    assert_eq!(world.node(stolen).received(), ["one"]);
    assert_eq!(world.node(phone).received().last(), Some(&"two"));
}

#[test]
fn a_revoked_member_is_cut_off() {
    let (mut world, alice, carol) = pair(1);
    world.send(alice, "carol", "one");
    assert!(world.drive_until(2_000, |w| delivered(w, alice) == 1));
    let serial = world.node(carol).user.serial;
    let descriptor = Vec::new();
    let revocations = world.authority.revocations(1, &[serial]);
    let lists = client_core::input::SignalInput::Lists {
        descriptor,
        revocations,
    };
    world.input(alice, Input::Signal(lists));
    assert_eq!(
        world.node(alice).running().status(world.now()).links_open,
        0
    );
    let command = world.send(alice, "carol", "two");
    let refused = world
        .node(alice)
        .events
        .iter()
        .find_map(|(_, event)| match event {
            Event::Refused {
                command: c, code, ..
            } if *c == command => Some(*code),
            _ => None,
        });
    assert_eq!(refused, Some(ErrorCode::Revoked));
    world.send(carol, "alice", "let me in");
    world.drive(60_000);
    assert_eq!(world.node(alice).received(), Vec::<&str>::new());
    // The list was kept: it holds after a restart.
    world.crash(alice);
    world.start(alice);
    assert_eq!(
        world
            .node(alice)
            .running()
            .status(world.now())
            .revocations_version,
        1
    );
}

#[test]
fn newer_lists_travel_from_peer_to_peer() {
    let (mut world, alice, carol) = pair(1);
    let lists = client_core::input::SignalInput::Lists {
        descriptor: {
            world.authority.descriptor_version = 5;
            let newer = world.authority.descriptor();
            world.authority.descriptor_version = 1;
            newer
        },
        revocations: world.authority.revocations(3, &[9_999]),
    };
    world.input(carol, Input::Signal(lists));
    world.send(alice, "carol", "one");
    world.drive(1_000);
    let status = world.node(alice).running().status(world.now());
    assert_eq!(
        (status.descriptor_version, status.revocations_version),
        (5, 3)
    );
}
