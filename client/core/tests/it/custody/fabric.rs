//! Custody among many: whom a recipient calls on, what comes of several that keep, clocks, crowds.

use super::*;
use crate::neighbours::all_traffic;
use client_core::event::{DeliveryState, Event};
use client_core::testing::EPOCH_MS;
use std::collections::BTreeSet;

const DAY_MS: u64 = 24 * 3_600 * 1_000;

/// Carol, who has met `count` members that keep, and is away.
fn acquainted(seed: u64, count: usize) -> (World, NodeId, Vec<NodeId>) {
    let mut world = World::new(seed);
    let carol = world.member("carol");
    let keepers: Vec<NodeId> = (0..count)
        .map(|n| {
            let id = world.member_stopped(&format!("keeper{n:02}"));
            world.node_mut(id).can_store = true;
            world.start(id);
            id
        })
        .collect();
    world.drive(2_000);
    for n in 0..count {
        world.send(carol, &format!("keeper{n:02}"), "hello");
    }
    world.drive(10_000);
    world.crash(carol);
    world.drive(20_000);
    (world, carol, keepers)
}

/// Which of the keepers were asked since the note was cleared.
fn watch(world: &mut World, carol: NodeId) -> Shared<BTreeSet<NodeId>> {
    let asked = shared(BTreeSet::new());
    let note = asked.clone();
    world.on_frame = Some(Box::new(move |from, to, bytes| {
        let fetch = |item: &Kind| matches!(item, Kind::StoreFetch(_));
        if from == carol && items(&bytes).iter().any(fetch) {
            note.borrow_mut().insert(to);
        }
        vec![bytes]
    }));
    asked
}

#[test]
fn coming_online_the_first_sixteen_are_called_on_and_two_stay() {
    let (mut world, carol, keepers) = acquainted(41, 18);
    let asked = watch(&mut world, carol);
    world.start(carol);
    world.drive(60_000);
    assert_eq!(asked.borrow().len(), 16, "of {}", keepers.len());
    world.drive(7 * 3_600_000);
    let links = world.node(carol).running().status(world.now()).links_open;
    assert_eq!(links, 2, "the others are let go");
}

#[test]
fn those_that_are_away_do_not_keep_the_others_waiting() {
    let (mut world, carol, keepers) = acquainted(42, 6);
    for keeper in &keepers[..4] {
        world.crash(*keeper);
    }
    world.drive(20_000);
    let asked = watch(&mut world, carol);
    world.start(carol);
    world.drive(10_000);
    let there: BTreeSet<NodeId> = keepers[4..].iter().copied().collect();
    assert_eq!(*asked.borrow(), there);
    // One comes back, and is heard of in time.
    world.start(keepers[0]);
    world.drive(7 * 3_600_000);
    assert!(asked.borrow().contains(&keepers[0]));
}

#[test]
fn a_dead_network_of_servers_does_not_keep_a_link_from_asking() {
    let (mut world, carol, keepers) = acquainted(43, 1);
    world.set_gateway(false);
    world.registry.down = true;
    let asked = watch(&mut world, carol);
    world.start(carol);
    world.drive(5_000);
    assert!(asked.borrow().is_empty(), "no way there");
    world.set_gateway(true);
    world.drive(10_000);
    assert_eq!(asked.borrow().len(), keepers.len());
}

#[test]
fn two_copies_are_shown_once_and_both_go() {
    let mut scene = Scene::new(44);
    let (alice, carol) = (scene.alice, scene.carol);
    let dora = scene.world.member_stopped("dora");
    scene.world.node_mut(dora).can_store = true;
    scene.world.start(dora);
    scene.start_carol();
    for from in [alice, carol] {
        scene.world.send(from, "dora", "hello");
    }
    scene.world.drive(5_000);
    scene.world.crash(carol);
    scene.world.drive(10_000);
    let parcel = scene.parcel(alice, carol, "twice kept");
    for at in [scene.bob, dora] {
        let store = StoreMessage {
            parcel: parcel.clone(),
            ticket: Vec::new(),
        };
        scene.say(alice, at, Kind::StoreMessage(store));
    }
    scene.world.drive(1_000);
    let kept = |scene: &Scene, id: NodeId| scene.world.node(id).store.kept.len();
    assert_eq!((kept(&scene, scene.bob), kept(&scene, dora)), (1, 1));
    scene.start_carol();
    scene.world.drive(60_000);
    let got = scene.carol_got();
    let copies = got.iter().filter(|text| *text == "twice kept").count();
    assert_eq!(copies, 1, "{got:?}");
    assert_eq!((kept(&scene, scene.bob), kept(&scene, dora)), (0, 0));
}

#[test]
fn a_custodian_that_alters_or_swallows_what_it_has_costs_nothing() {
    let mut scene = Scene::new(50);
    let (alice, bob, carol) = (scene.alice, scene.bob, scene.carol);
    let parcels: Vec<_> = (0..4)
        .map(|n| scene.parcel(alice, carol, &n.to_string()))
        .collect();
    for parcel in &parcels {
        scene.deposited(alice, parcel).expect("kept");
    }
    let (lies, said) = (shared(true), scene.said.clone());
    let lying = lies.clone();
    scene.world.on_frame = Some(Box::new(move |from, to, bytes| {
        let mut out = Vec::new();
        for item in items(&bytes) {
            said.borrow_mut().push((from, to, item.clone()));
            match item {
                Kind::Kept(mut parcel) if from == bob && to == carol && *lying.borrow() => {
                    match parcel.len() % 3 {
                        0 => continue,
                        1 => parcel.truncate(200),
                        _ => parcel.iter_mut().rev().take(1).for_each(|byte| *byte ^= 1),
                    }
                    out.push(frame(Kind::Kept(parcel)));
                }
                item => out.push(frame(item)),
            }
        }
        out
    }));
    scene.start_carol();
    assert_eq!(scene.carol_got(), Vec::<String>::new());
    assert_eq!(scene.kept(), 4, "what was altered is not what is kept");
    scene.world.crash(carol);
    scene.world.drive(10_000);
    *lies.borrow_mut() = false;
    scene.start_carol();
    assert_eq!(scene.carol_got(), ["0", "1", "2", "3"]);
    assert_eq!(scene.kept(), 0);
}

#[test]
fn the_acknowledgement_finds_its_way_through_the_custodian() {
    let mut scene = Scene::new(45);
    let (alice, bob, carol) = (scene.alice, scene.bob, scene.carol);
    // Carol and Alice reach each other through Bob alone, and no gateway carries anything.
    scene.world.apart.insert((alice, carol));
    scene.world.send(alice, "carol", "by way of bob");
    scene.world.drive(5_000);
    let id = scene.world.node(alice).last_queued().expect("queued");
    let row = scene.world.node(alice).store.outbox[&id].clone();
    let (_, parcel) = row.parcels.first().cloned().expect("sealed");
    scene.deposited(alice, &parcel).expect("kept");
    scene.world.on_signal = Some(Box::new(|frame| {
        let relayed = frame.kind == client_core::output::SignalKind::RelayRequest;
        if relayed { Vec::new() } else { vec![frame] }
    }));
    scene.start_carol();
    assert_eq!(scene.carol_got(), ["by way of bob"]);
    let delivered = |w: &World| {
        w.node(alice)
            .store
            .states(id)
            .contains(&DeliveryState::Delivered)
    };
    assert!(scene.world.drive_until(5_000, delivered));
    let relayed = scene.count_said(carol, bob, |item| matches!(item, Kind::Relay(_)));
    assert!(relayed >= 1);
}

#[test]
fn a_jump_of_the_wall_clock_ends_nothing_and_time_does() {
    let mut scene = Scene::new(46);
    let (alice, bob, carol) = (scene.alice, scene.bob, scene.carol);
    let parcel = scene.parcel(alice, carol, "patient");
    scene.deposited(alice, &parcel).expect("kept");
    // A year ahead, for two hours, and a restart with the wrong clock.
    scene.world.node_mut(bob).wall_skew_ms = 365 * DAY_MS as i64;
    scene.world.drive(2 * 3_600_000);
    assert_eq!(scene.kept(), 1, "while it runs");
    scene.world.crash(bob);
    scene.world.start(bob);
    scene.world.drive(3_600_000);
    assert_eq!(scene.kept(), 1, "over a restart");
    scene.world.node_mut(bob).wall_skew_ms = -(EPOCH_MS as i64);
    scene.world.crash(bob);
    scene.world.start(bob);
    scene.world.drive(29 * DAY_MS);
    assert_eq!(scene.kept(), 1, "the promise is kept");
    scene.world.drive(10 * DAY_MS);
    assert_eq!((scene.kept(), scene.accounts()), (0, (0, 0)), "and ends");
}

#[test]
fn much_that_ends_at_once_ends_a_little_at_a_time() {
    let mut scene = Scene::with(47, |bob| bob.keep.per_s = 10_000);
    let (alice, carol) = (scene.alice, scene.carol);
    for n in 0..800 {
        let parcel = scene.parcel(alice, carol, &n.to_string());
        scene.deposit(alice, &parcel);
        if n % 100 == 0 {
            scene.world.drive(20);
        }
    }
    scene.world.drive(1_000);
    assert_eq!(scene.kept(), 800);
    let told = scene.world.node(scene.bob).events.len();
    scene.world.drive(38 * DAY_MS);
    assert_eq!((scene.kept(), scene.accounts()), (0, (0, 0)));
    let events = &scene.world.node(scene.bob).events[told..];
    let failed = |(_, event): &(u64, Event)| matches!(event, Event::Warned { .. });
    assert!(!events.iter().any(failed), "{events:?}");
}

#[test]
fn a_crowd_at_once_leaves_what_there_is_room_for_and_no_more() {
    // A link each is more than one custodian takes; so they come in fifties, and none is linked
    // when the next come.
    let mut scene = Scene::with(48, |bob| {
        bob.keep.recipient.parcels = 16 * 8;
        bob.keep.total.parcels = 1 << 20;
    });
    let (bob, carol) = (scene.bob, scene.carol);
    let mut outcomes = (0, 0);
    for round in 0..3 {
        let members: Vec<NodeId> = (0..50)
            .map(|n| scene.world.member(&format!("m{round}_{n}")))
            .collect();
        scene.world.drive(1_000);
        for member in &members {
            scene.world.send(*member, "bob", "hello");
        }
        scene.world.drive(3_000);
        let parcels: Vec<_> = members
            .iter()
            .map(|member| scene.parcel(*member, carol, "me too"))
            .collect();
        scene.said.borrow_mut().clear();
        for (member, parcel) in members.iter().zip(&parcels) {
            scene.deposit(*member, parcel);
        }
        scene.world.drive(200);
        for member in &members {
            match scene.answer(0, *member).expect("an answer") {
                Ok(_) => outcomes.0 += 1,
                Err(refused) => {
                    assert_eq!(refused.code, "FULL");
                    outcomes.1 += 1;
                }
            }
            scene.world.crash(*member);
        }
        scene.world.drive(20_000);
    }
    assert_eq!(outcomes, (64, 86), "the open half");
    assert_eq!((scene.kept(), scene.accounts().0), (64, 64));
    let status = scene.world.node(bob).running();
    for fill in status.fill() {
        assert!(fill.len <= fill.max, "{fill:?}");
    }
    scene.start_carol();
    scene.world.drive(60_000);
    assert_eq!(scene.carol_got().len(), 64);
    assert_eq!(scene.kept(), 0);
}

#[test]
fn a_page_is_served_once_at_a_time_and_a_slow_link_holds_one() {
    let mut scene = Scene::with(49, |bob| bob.keep.per_s = 10_000);
    let (alice, bob, carol) = (scene.alice, scene.bob, scene.carol);
    for n in 0..200 {
        let parcel = scene.parcel(alice, carol, &format!("{n} {}", "x".repeat(3_000)));
        scene.deposit(alice, &parcel);
        scene.world.drive(1);
    }
    scene.world.drive(1_000);
    assert_eq!(scene.kept(), 200);
    // Carol reads slowly: one frame is under way at a time.
    scene.world.budget = 1;
    scene.start_carol();
    scene.world.drive(60_000);
    assert_eq!(scene.carol_got().len(), 200);
    let kept = scene.count_said(bob, carol, |item| matches!(item, Kind::Kept(_)));
    assert_eq!(kept, 200, "each once");
}

#[test]
fn a_day_of_idling_among_those_that_keep_costs_little() {
    let (mut world, carol, _keepers) = acquainted(56, 20);
    let (bytes, _) = all_traffic(&mut world, carol, |world| {
        world.start(carol);
        world.drive(DAY_MS);
    });
    assert!(bytes < 2_000_000, "{bytes} on links and in signals");
}

#[test]
fn a_day_of_idling_while_those_that_keep_are_away_costs_little() {
    let (mut world, carol, keepers) = acquainted(57, 20);
    for keeper in keepers {
        world.crash(keeper);
    }
    world.drive(30_000);
    let (bytes, _) = all_traffic(&mut world, carol, |world| {
        world.start(carol);
        world.drive(DAY_MS);
    });
    assert!(bytes < 1_000_000, "{bytes} on links and in signals");
}
