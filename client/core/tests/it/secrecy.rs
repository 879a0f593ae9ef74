//! Forward secrecy without loss: old secrets go, and no message with them.

use crate::speaker::{Speaker, acquainted, device_of};
use beeline_proto::id::MessageId;
use beeline_proto::parcel::Parcel;
use beeline_proto::pb::peer::v1::nack;
use client_core::event::DeliveryState;
use client_core::testing::tap::counted;
use client_core::testing::{NodeId, World};

const DAY_MS: u64 = 24 * 3_600 * 1_000;

fn delivered(world: &World, id: NodeId) -> usize {
    world.node(id).count(DeliveryState::Delivered)
}

/// Alice has sent something to Carol, who is away; the message and its parcel.
fn waiting(world: &mut World, alice: NodeId, carol: NodeId) -> (MessageId, Vec<u8>) {
    world.crash(carol);
    world.drive(10_000);
    world.send(alice, "carol", "two");
    world.drive(1_000);
    let id = world.node(alice).last_queued().expect("queued");
    (id, parcel_of(world, alice, id))
}

fn parcel_of(world: &World, alice: NodeId, id: MessageId) -> Vec<u8> {
    world.node(alice).store.outbox[&id].parcels[0].1.clone()
}

fn parcel_id(bytes: &[u8]) -> Vec<u8> {
    Parcel::parse(bytes).expect("a parcel").id().to_vec()
}

#[test]
fn a_device_that_was_off_for_a_month_opens_what_was_sealed_to_its_last_bundle() {
    for (days, sender_off) in [(29, false), (45, true), (400, true)] {
        let (mut world, alice, carol) = acquainted(1);
        let (id, sealed) = waiting(&mut world, alice, carol);
        if sender_off {
            world.crash(alice);
        }
        world.drive(days * DAY_MS);
        if sender_off {
            world.start(alice);
        }
        world.start(carol);
        let done = |w: &World| delivered(w, alice) == 2;
        assert!(world.drive_until(30 * 60_000, done), "{days} days");
        assert_eq!(world.node(carol).received(), ["one", "two"]);
        assert_eq!(counted(&world, carol, "nack-said"), 0, "{days} days");
        let after = world.node(alice).store.outbox[&id].envelope.clone();
        assert!(after.is_some() && !sealed.is_empty());
    }
}

#[test]
fn a_secret_stays_while_nobody_can_have_a_newer_bundle() {
    let (mut world, alice, carol) = acquainted(1);
    let (_, sealed) = waiting(&mut world, alice, carol);
    world.crash(alice);
    // Carol runs for months, and nothing of hers gets out.
    world.set_gateway(false);
    world.start(carol);
    world.drive(100 * DAY_MS);
    let bundles = world.node(carol).store.bundles.len();
    assert!(
        bundles <= 2,
        "{bundles}: one that nobody has need not be replaced"
    );
    world.set_gateway(true);
    world.start(alice);
    let done = |w: &World| delivered(w, alice) == 2;
    assert!(world.drive_until(30 * 60_000, done));
    assert_eq!(counted(&world, carol, "nack-said"), 0, "{}", sealed.len());
    // Now they go on being replaced, and the old ones are erased in time.
    world.drive(40 * DAY_MS);
    let rows = &world.node(carol).store.bundles;
    assert!((31..=34).contains(&rows.len()), "{}", rows.len());
    assert!(rows.iter().rev().skip(1).all(|row| row.published_ms != 0));
}

#[test]
fn a_nack_played_again_and_again_seals_nothing_anew() {
    let (mut world, alice, carol) = acquainted(1);
    let (id, sealed) = waiting(&mut world, alice, carol);
    let to = world.node(alice).user.clone();
    let mut speaker = Speaker::of(&world, carol);
    let newer = speaker.bundle(u64::MAX, 7);
    let frame = speaker.unknown_key(&to, parcel_id(&sealed), newer.clone());
    for _ in 0..200 {
        world.pass_on(carol, frame.clone());
        // Wrapped anew it is another parcel with the same words.
        let again = speaker.unknown_key(&to, parcel_id(&sealed), newer.clone());
        world.pass_on(carol, again);
    }
    world.drive(1_000);
    let resealed = parcel_of(&world, alice, id);
    assert_ne!(resealed, sealed, "once, for the parcel it names");
    let seals = counted(&world, alice, "nack-mismatch");
    assert!(seals >= 199, "{seals}");
    // Who names each new parcel gets a few, and then no more.
    let mut distinct = 0;
    for n in 0..50 {
        let before = parcel_of(&world, alice, id);
        let bundle = speaker.bundle(u64::MAX, 8 + n);
        let frame = speaker.unknown_key(&to, parcel_id(&before), bundle);
        world.pass_on(carol, frame);
        world.drive(100);
        distinct += usize::from(parcel_of(&world, alice, id) != before);
    }
    assert!(distinct <= 5, "{distinct}");
    assert_eq!(world.node(alice).store.outbox.len(), 2);
    let rejected = world.node(alice).count(DeliveryState::Rejected);
    assert_eq!(rejected, 0);
    // And the real Carol, with none of these keys, still gets it.
    world.start(carol);
    assert!(world.drive_until(60 * 60_000, |w| delivered(w, alice) == 2));
}

#[test]
fn a_nack_that_names_the_key_it_was_sealed_to_changes_nothing() {
    let (mut world, alice, carol) = acquainted(1);
    let (id, sealed) = waiting(&mut world, alice, carol);
    let to = world.node(alice).user.clone();
    let same = world
        .node(carol)
        .store
        .bundles
        .last()
        .expect("one")
        .envelope
        .clone();
    let mut speaker = Speaker::of(&world, carol);
    for bundle in [same, Vec::new(), vec![1, 2, 3]] {
        let frame = speaker.unknown_key(&to, parcel_id(&sealed), bundle);
        world.pass_on(carol, frame);
        world.drive(100);
        assert_eq!(parcel_of(&world, alice, id), sealed);
    }
    // One of another device is none of its own.
    let mut mallory = Speaker::member(&mut world, "mallory");
    let foreign = mallory.bundle(u64::MAX, 9);
    let frame = speaker.unknown_key(&to, parcel_id(&sealed), foreign);
    world.pass_on(carol, frame);
    world.drive(100);
    assert_eq!(parcel_of(&world, alice, id), sealed);
}

#[test]
fn an_older_bundle_counts_only_where_its_device_says_so_itself() {
    let (mut world, alice, carol) = acquainted(1);
    let old = world.node(alice).store.routes[&device_of(&world.node(carol).user.clone())].clone();
    world.drive(2 * DAY_MS);
    world.crash(carol);
    world.start(carol);
    world.drive(10_000);
    world.send(alice, "carol", "after two days");
    assert!(world.drive_until(600_000, |w| delivered(w, alice) == 2));
    world.crash(carol);
    world.drive(10_000);
    // Somebody hands the old record on again.
    let user = world.node(carol).user.clone();
    let device = &user.devices[0].0;
    world
        .registry
        .put_record(&user.label, device, old.record.clone());
    world.drive(60_000);
    world.send(alice, "carol", "sealed to the newest");
    world.drive(60_000);
    let id = world.node(alice).last_queued().expect("queued");
    let parcel = Parcel::parse(&parcel_of(&world, alice, id)).expect("a parcel");
    let newest = world.node(carol).store.bundles.last().expect("one").key_id;
    assert_eq!(parcel.header().key_id, newest);
    // In a NACK that names a parcel of ours it replaces a newer one.
    let to = world.node(alice).user.clone();
    let mut speaker = Speaker::of(&world, carol);
    let older = speaker.bundle(3, 9);
    let frame = speaker.unknown_key(&to, parcel.id().to_vec(), older);
    world.pass_on(carol, frame);
    world.drive(100);
    let resealed = Parcel::parse(&parcel_of(&world, alice, id)).expect("a parcel");
    assert_eq!(resealed.header().key_id.0, [9; 16]);
}

#[test]
fn who_needs_our_chain_gets_the_same_envelope_with_it() {
    let (mut world, alice, carol) = acquainted(1);
    let (id, sealed) = waiting(&mut world, alice, carol);
    let content = |bytes: &[u8]| {
        let parcel = Parcel::parse(bytes).expect("a parcel");
        client_core::testing::tap::cheaply_sealed(&parcel).expect("sealed cheaply")
    };
    assert!(content(&sealed).chain.is_empty(), "Carol has it");
    let to = world.node(alice).user.clone();
    let mut speaker = Speaker::of(&world, carol);
    let reason = nack::Reason::NeedChain as i32;
    let frame = speaker.nack(&to, parcel_id(&sealed), reason, Vec::new());
    world.pass_on(carol, frame);
    world.drive(100);
    let resealed = content(&parcel_of(&world, alice, id));
    assert_eq!(resealed.envelope, content(&sealed).envelope);
    assert!(!resealed.chain.is_empty());
    // Carol has lost her contacts: she takes it for the chain beside it.
    world.node_mut(carol).store.contacts.clear();
    world.start(carol);
    assert!(world.drive_until(60_000, |w| delivered(w, alice) == 2));
    assert_eq!(world.node(carol).received(), ["one", "two"]);
}
