//! Deposits: what is promised is committed, counted once, and refused where there is no room.

use super::*;
use beeline_proto::envelope::split;
use client_core::Space;

const FULL: &str = "FULL";

#[test]
fn a_deposit_is_committed_before_it_is_promised() {
    let mut scene = Scene::new(1);
    let (alice, bob) = (scene.alice, scene.bob);
    let parcel = scene.parcel(alice, scene.carol, "for later");
    let before = scene.said.borrow().len();
    scene.deposit(alice, &parcel);
    let receipt = |world: &World, scene_said: &Shared<Vec<(NodeId, NodeId, Kind)>>| {
        let kept = world.node(bob).store.kept.len();
        let said = scene_said.borrow();
        let promised = said[before..]
            .iter()
            .any(|(_, _, item)| matches!(item, Kind::StoreReceipt(_)));
        assert!(!promised || kept == 1, "no receipt before the commit");
        promised
    };
    let said = scene.said.clone();
    assert!(scene.world.drive_until(1_000, |w| receipt(w, &said)));
    let answer = scene.answer(before, alice).expect("answered");
    let receipt = answer.expect("a receipt");
    assert_eq!(receipt.parcel_id, id_of(&parcel).to_vec());
    assert_eq!(receipt.keep_s, PARCEL_TTL_MAX_S);
    let context = receipt.context.expect("a context");
    assert_eq!(context.audience, fp(&scene.world, alice).to_vec());
    assert!(context.link_session.is_empty(), "it outlives the link");
    let row = scene.world.node(bob).store.kept.values().next().cloned();
    assert_eq!(row.map(|row| row.parcel), Some(parcel.clone()));
    assert_eq!(scene.accounts(), (1, parcel.len() as u64));
}

#[test]
fn the_same_parcel_again_is_promised_again_and_counted_once() {
    let mut scene = Scene::new(2);
    let parcel = scene.parcel(scene.alice, scene.carol, "once");
    let first = scene.deposited(scene.alice, &parcel).expect("kept");
    scene.world.drive(3_600_000);
    let again = scene.deposited(scene.alice, &parcel).expect("kept");
    assert_eq!((scene.kept(), scene.accounts().0), (1, 1));
    assert!(again.keep_s < first.keep_s, "no new time for an old parcel");
    assert!(again.keep_s > first.keep_s - 3_700);
    // Also when both are on their way at once.
    let other = scene.parcel(scene.alice, scene.carol, "twice");
    scene.deposit(scene.alice, &other);
    scene.deposit(scene.alice, &other);
    scene.world.drive(100);
    assert_eq!((scene.kept(), scene.accounts().0), (2, 2));
    // And by a process that knows nothing of it any more.
    scene.world.crash(scene.bob);
    scene.world.drive(3_000);
    scene.world.start(scene.bob);
    scene.world.drive(5_000);
    scene.world.send(scene.alice, "bob", "are you there");
    scene.world.drive(5_000);
    scene.deposited(scene.alice, &parcel).expect("kept");
    assert_eq!((scene.kept(), scene.accounts().0), (2, 2));
}

/// Room for ten parcels of one user for one recipient.
fn small(parcels: u64) -> client_core::Keep {
    let space = |parcels| Space {
        parcels,
        bytes: 1 << 40,
    };
    client_core::Keep {
        total: space(parcels * 16 * 100),
        recipient: space(parcels * 16),
        per_s: 1_000,
    }
}

#[test]
fn a_user_has_its_share_and_no_more_and_what_was_accepted_stays() {
    let mut scene = Scene::with(3, |bob| bob.keep = small(3));
    let (alice, carol) = (scene.alice, scene.carol);
    let parcels: Vec<_> = (0..5)
        .map(|n| scene.parcel(alice, carol, &n.to_string()))
        .collect();
    for parcel in &parcels[..3] {
        scene.deposited(alice, parcel).expect("kept");
    }
    for parcel in &parcels[3..] {
        let refused = scene
            .deposited(alice, parcel)
            .expect_err("its share is used up");
        assert_eq!(refused.code, FULL);
        assert!(refused.retry_after_ms > 0);
        assert_eq!(refused.subject, id_of(parcel).to_vec());
    }
    // What is kept is promised again all the same.
    scene.deposited(alice, &parcels[1]).expect("kept");
    assert_eq!((scene.kept(), scene.accounts().0), (3, 3));
    scene.start_carol();
    assert_eq!(scene.carol_got(), ["0", "1", "2"]);
    assert_eq!((scene.kept(), scene.accounts()), (0, (0, 0)), "room again");
}

#[test]
fn a_failed_commit_promises_nothing_and_takes_no_room() {
    let mut scene = Scene::new(4);
    let parcel = scene.parcel(scene.alice, scene.carol, "no room on the disk");
    scene.world.node_mut(scene.bob).failing_writes = 1;
    let refused = scene.deposited(scene.alice, &parcel).expect_err("not kept");
    assert_eq!(refused.code, FULL);
    assert!(refused.retry_after_ms > 0);
    assert_eq!((scene.kept(), scene.accounts()), (0, (0, 0)));
    scene.deposited(scene.alice, &parcel).expect("kept");
}

#[test]
fn receipts_are_signed_by_the_custodian_for_the_depositor() {
    let mut scene = Scene::new(5);
    let parcel = scene.parcel(scene.alice, scene.carol, "signed");
    scene.deposited(scene.alice, &parcel).expect("kept");
    let said = scene.said.borrow();
    let envelope = said.iter().find_map(|(_, _, item)| match item {
        Kind::StoreReceipt(envelope) => Some(envelope.clone()),
        _ => None,
    });
    let envelope = envelope.expect("a receipt");
    let raw = split(&envelope).expect("an envelope");
    assert_eq!(
        *raw.signer_key,
        key(&scene.world, scene.bob).verify_key().to_bytes()
    );
}
