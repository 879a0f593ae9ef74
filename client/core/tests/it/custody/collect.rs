//! Collecting: on each new link to one that keeps, page by page; deleted only once committed.

use super::*;
use beeline_proto::pb::peer::v1::StoreDelete;
use client_core::event::{DeliveryState, Event, Path};

fn is_fetch(item: &Kind) -> bool {
    matches!(item, Kind::StoreFetch(_))
}

#[test]
fn what_was_kept_is_shown_once_and_goes_when_it_is_committed() {
    let mut scene = Scene::new(11);
    let parcel = scene.parcel(scene.alice, scene.carol, "while you were out");
    scene.deposited(scene.alice, &parcel).expect("kept");
    scene.world.crash(scene.alice);
    scene.world.drive(10_000);
    scene.start_carol();
    assert_eq!(scene.carol_got(), ["while you were out"]);
    let stored = scene
        .world
        .node(scene.carol)
        .told(|event| matches!(event, Event::Received(received) if received.path == Path::Stored));
    assert!(stored, "it says how it came");
    assert_eq!(scene.kept(), 0);
    assert_eq!(scene.accounts(), (0, 0));
}

#[test]
fn many_pages_come_in_order_and_all_go() {
    let mut scene = Scene::with(12, |bob| bob.keep.per_s = 10_000);
    let texts: Vec<String> = (0..300)
        .map(|n| format!("{n} {}", "x".repeat(2_000)))
        .collect();
    for text in &texts {
        let parcel = scene.parcel(scene.alice, scene.carol, text);
        scene.deposit(scene.alice, &parcel);
    }
    scene.world.drive(1_000);
    assert_eq!(scene.kept(), 300);
    scene.world.budget = 4;
    scene.start_carol();
    assert_eq!(scene.carol_got(), texts);
    assert_eq!((scene.kept(), scene.accounts()), (0, (0, 0)));
    let (bob, carol) = (scene.bob, scene.carol);
    let pages = scene.count_said(carol, bob, is_fetch);
    assert!((6..=10).contains(&pages), "{pages} pages");
    let kept = scene.count_said(bob, carol, |item| matches!(item, Kind::Kept(_)));
    assert_eq!(kept, 300, "each once");
    let deletes = scene.count_said(carol, bob, |item| matches!(item, Kind::StoreDelete(_)));
    assert!(deletes <= 20, "{deletes} deletes");
}

#[test]
fn what_is_deposited_while_the_recipient_is_linked_comes_at_once() {
    let mut scene = Scene::new(13);
    scene.start_carol();
    assert_eq!(scene.count_said(scene.carol, scene.bob, is_fetch), 1);
    let parcel = scene.parcel(scene.alice, scene.carol, "hand it on");
    scene.deposited(scene.alice, &parcel).expect("kept first");
    assert_eq!(scene.carol_got(), ["hand it on"]);
    assert_eq!(scene.count_said(scene.carol, scene.bob, is_fetch), 1);
    assert_eq!((scene.kept(), scene.accounts()), (0, (0, 0)));
}

#[test]
fn a_push_that_finds_the_link_full_follows_later() {
    let mut scene = Scene::with(14, |bob| bob.keep.per_s = 100_000);
    scene.start_carol();
    let count = 1_500;
    scene.world.budget = 1;
    for n in 0..count {
        let parcel = scene.parcel(scene.alice, scene.carol, &n.to_string());
        scene.world.budget = usize::MAX;
        scene.deposit(scene.alice, &parcel);
        scene.world.budget = 1;
        if n % 20 == 0 {
            scene.world.drive(1);
        }
    }
    scene.world.drive(60_000);
    let got = scene.carol_got();
    assert_eq!(
        got.len(),
        scene.accounts().0 as usize + got.len(),
        "all went"
    );
    assert!(got.len() >= 1_000, "{}", got.len());
    assert_eq!(scene.kept(), 0);
}

#[test]
fn nothing_is_deleted_before_its_commit_and_all_of_it_after_a_crash() {
    let mut scene = Scene::new(15);
    for n in 0..5 {
        let parcel = scene.parcel(scene.alice, scene.carol, &n.to_string());
        scene.deposited(scene.alice, &parcel).expect("kept");
    }
    scene.world.crash(scene.alice);
    scene.world.timing.commit_ms = 40;
    let carol = scene.carol;
    scene.world.start(carol);
    // Killed when the parcels have come and are not yet committed, and once more before the
    // custodian hears that they are.
    let bob = scene.bob;
    let said = scene.said.clone();
    let came = |said: &Shared<Vec<(NodeId, NodeId, Kind)>>| {
        let said = said.borrow();
        let kept = |(from, to, item): &&(NodeId, NodeId, Kind)| {
            (*from, *to) == (bob, carol) && matches!(item, Kind::Kept(_))
        };
        said.iter().filter(kept).count()
    };
    assert!(scene.world.drive_until(10_000, |_| came(&said) == 5));
    scene.world.drive(5);
    assert_eq!(scene.kept(), 5);
    scene.world.crash(carol);
    scene.world.drive(3_000);
    scene.world.start(carol);
    let committed = |w: &World| w.node(carol).store.inbox.len() >= 5;
    assert!(scene.world.drive_until(60_000, committed));
    assert_eq!(scene.kept(), 5, "the word is not even out");
    scene.world.crash(carol);
    scene.world.drive(3_000);
    scene.start_carol();
    scene.world.drive(60_000);
    assert_eq!(scene.kept(), 0);
    let store = &scene.world.node(carol).store;
    assert_eq!(store.shown().len(), 5, "each once");
}

#[test]
fn a_failed_commit_at_the_recipient_leaves_it_kept_and_it_is_asked_for_again() {
    let mut scene = Scene::new(16);
    let parcel = scene.parcel(scene.alice, scene.carol, "twice asked for");
    scene.deposited(scene.alice, &parcel).expect("kept");
    scene.world.crash(scene.alice);
    let (bob, carol) = (scene.bob, scene.carol);
    scene.world.start(carol);
    let said = scene.said.clone();
    let came = move || {
        let said = said.borrow();
        let kept =
            |(_, to, item): &(NodeId, NodeId, Kind)| *to == carol && matches!(item, Kind::Kept(_));
        said.iter().any(kept)
    };
    assert!(scene.world.drive_until(10_000, |_| came()));
    scene.world.node_mut(carol).failing_writes = 3;
    scene.world.drive(10_000);
    assert_eq!((scene.carol_got().len(), scene.kept()), (0, 1));
    scene.world.drive(60_000);
    assert_eq!(
        (scene.carol_got(), scene.kept()),
        (vec!["twice asked for".to_owned()], 0)
    );
    assert!(scene.count_said(carol, bob, is_fetch) >= 2);
}

#[test]
fn what_cannot_be_opened_stays_and_what_never_can_goes() {
    let mut scene = Scene::new(17);
    let (alice, carol) = (scene.alice, scene.carol);
    let (key_id, right) = bundle(&scene.world, carol);
    let lost = scene.parcel_for(
        alice,
        carol,
        "to a key that is gone",
        (KeyId([1; 16]), right),
    );
    let other = SealPublic::from_bytes(&[5; 32]).expect("a key");
    let junk = scene.parcel_for(alice, carol, "to another key", (key_id, other));
    let good = scene.parcel(alice, carol, "good");
    for parcel in [&lost, &junk, &good] {
        scene.deposited(alice, parcel).expect("kept");
    }
    scene.start_carol();
    scene.world.drive(40_000);
    assert_eq!(scene.carol_got(), ["good"], "shown after its gap");
    let left: Vec<ParcelId> = scene
        .world
        .node(scene.bob)
        .store
        .kept
        .values()
        .map(|r| r.id)
        .collect();
    assert_eq!(left, [id_of(&lost)]);
}

#[test]
fn a_delete_names_only_what_is_committed() {
    let mut scene = Scene::new(18);
    let parcel = scene.parcel(scene.alice, scene.carol, "named");
    scene.deposited(scene.alice, &parcel).expect("kept");
    scene.start_carol();
    let said = scene.said.borrow();
    let named: Vec<Vec<u8>> = said
        .iter()
        .filter_map(|(_, _, item)| match item {
            Kind::StoreDelete(envelope) => Some(payload::<StoreDelete>(envelope).parcel_ids),
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(named, [id_of(&parcel).to_vec()]);
}

#[test]
fn a_kept_message_whose_key_was_lost_is_sealed_again_through_the_custodian() {
    let mut scene = Scene::new(19);
    let (alice, bob, carol) = (scene.alice, scene.bob, scene.carol);
    // Alice and Carol reach each other through Bob alone, whatever they try.
    scene.world.apart.insert((alice, carol));
    scene.world.on_signal = Some(Box::new(|frame| {
        let relayed = frame.kind == client_core::output::SignalKind::RelayRequest;
        if relayed { Vec::new() } else { vec![frame] }
    }));
    // What Alice gets for her deposits is hers this time.
    scene.world.on_frame = None;
    scene
        .world
        .send(alice, "carol", "sealed to a key that is lost");
    scene.world.drive(10_000);
    assert_eq!(scene.kept(), 1);
    let id = scene.world.node(alice).last_queued().expect("queued");
    let states = scene.world.node(alice).store.states(id);
    assert!(states.contains(&DeliveryState::Stored), "{states:?}");
    let first = scene
        .world
        .node(bob)
        .store
        .kept
        .values()
        .next()
        .map(|row| row.id);

    scene.world.node_mut(carol).store.bundles.clear();
    scene.start_carol();
    scene.world.drive(60_000);
    assert_eq!(scene.carol_got(), ["sealed to a key that is lost"]);
    let states = scene.world.node(alice).store.states(id);
    assert!(states.contains(&DeliveryState::Delivered), "{states:?}");
    // The first parcel stays where it is: nobody here can know that nobody will ever open it.
    let left: Vec<_> = scene
        .world
        .node(bob)
        .store
        .kept
        .values()
        .map(|row| row.id)
        .collect();
    assert_eq!(left, Vec::from_iter(first));
}
