//! Relay first, direct soon: a call that is lost while what two say goes through others is made
//! again, though nobody has anything new to say; and not for ever.

use client_core::event::DeliveryState;
use client_core::input::{Command, Input};
use client_core::output::SignalKind;
use client_core::testing::label;
use client_core::testing::{NodeId, World};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;

/// Within this a link is there, whatever was lost, milliseconds.
const SOON_MS: u64 = 20_000;

const MINUTE_MS: u64 = 60_000;

fn delivered(world: &World, id: NodeId) -> usize {
    world.node(id).count(DeliveryState::Delivered)
}

/// Whether a node has an open link to a user.
fn is_linked(world: &World, id: NodeId, user: &str) -> bool {
    let peers = world.node(id).running().peers(world.now());
    let mut of_user = peers.iter().filter(|peer| peer.label.as_str() == user);
    of_user.any(|peer| !peer.links.is_empty())
}

/// Offers that went through the gateway.
fn offers(world: &World) -> usize {
    let signalled = world.signalled.iter();
    let offers = signalled.filter(|frame| frame.kind == SignalKind::Offer);
    offers.count()
}

/// Alice and Carol, who never met, and a coordinator that is linked to both. Which of the two has
/// the lower fingerprint follows from the seed.
fn never_met(seed: u64) -> (World, NodeId, NodeId, NodeId) {
    let mut world = World::new(seed);
    let bob = world.coordinator("bob");
    world.drive(500);
    let (alice, carol) = (world.member("alice"), world.member("carol"));
    world.drive(3_000);
    (world, alice, carol, bob)
}

/// Everything but the two is killed, and started again a while later: the gateway's sockets come
/// up one after the other.
fn restart_all(world: &mut World, bob: NodeId, sockets: [NodeId; 2], lag_ms: u64) {
    world.registry.down = true;
    world.set_gateway(false);
    world.crash(bob);
    world.drive(1_500);
    world.registry.down = false;
    world.gateway_up = true;
    world.start(bob);
    for id in sockets {
        world.set_socket(id, true);
        world.drive(lag_ms);
    }
}

#[test]
fn a_call_that_went_with_the_servers_is_made_again_without_another_word() {
    let (mut relayed, mut without) = (0, Vec::new());
    for seed in 0..8 {
        for dies_at in (2..60).step_by(2) {
            let (mut world, alice, carol, bob) = never_met(seed);
            let (mut from, mut to, mut name) = (alice, carol, "carol");
            if seed % 2 == 1 {
                (from, to, name) = (carol, alice, "alice");
            }
            // Which socket is up first, and how much later the other, follow from the seed too.
            let sockets = if seed & 2 == 0 {
                [from, to]
            } else {
                [to, from]
            };
            let lag_ms = if seed & 4 == 0 { 100 } else { 3_000 };
            world.send(from, name, "x");
            world.drive(dies_at);
            relayed += usize::from(delivered(&world, from) == 1 && !is_linked(&world, from, name));
            restart_all(&mut world, bob, sockets, lag_ms);
            let linked = |w: &World| is_linked(w, from, name) && delivered(w, from) == 1;
            if !world.drive_until(SOON_MS, linked) {
                without.push((seed, dies_at));
            }
            world.drive(1_000);
            assert_eq!(world.node(to).received().len(), 1);
        }
    }
    assert_eq!(without, [], "seed, and when the servers died");
    assert!(
        relayed > 0,
        "some were delivered before their link was there"
    );
}

/// Both end up with a link though what a call says of one kind is lost until its message has come
/// by the signalling socket.
#[test]
fn a_call_that_is_lost_while_its_message_arrives_is_made_again() {
    let kinds = [
        SignalKind::Offer,
        SignalKind::Answer,
        SignalKind::IceCandidate,
    ];
    for seed in 0..8 {
        for kind in kinds {
            let mut world = World::new(seed);
            let (alice, carol) = (world.member("alice"), world.member("carol"));
            world.drive(50);
            let losing = Rc::new(Cell::new(true));
            let loses = losing.clone();
            world.on_signal = Some(Box::new(move |frame| {
                let lost = loses.get() && frame.kind == kind;
                if lost { Vec::new() } else { vec![frame] }
            }));
            world.send(alice, "carol", "x");
            assert!(world.drive_until(3_000, |w| delivered(w, alice) == 1));
            world.drive(1_500);
            losing.set(false);
            let both = |w: &World| is_linked(w, alice, "carol") && is_linked(w, carol, "alice");
            assert!(world.drive_until(SOON_MS, both), "seed {seed}, {kind:?}");
            world.drive(MINUTE_MS);
            let status = world.node(alice).running().status(world.now());
            assert_eq!((status.links_open, status.links_pending), (1, 0));
        }
    }
}

/// Calls are lost for as long as one may be made again for what was said: then nobody calls.
#[test]
fn for_what_was_said_long_ago_nobody_calls() {
    let mut world = World::new(3);
    let (alice, carol) = (world.member("alice"), world.member("carol"));
    world.drive(50);
    world.on_signal = Some(Box::new(|frame| {
        let past = frame.kind == SignalKind::RelayRequest;
        if past { vec![frame] } else { Vec::new() }
    }));
    world.send(alice, "carol", "x");
    assert!(world.drive_until(3_000, |w| delivered(w, alice) == 1));
    world.drive(2 * MINUTE_MS);
    let before = offers(&world);
    assert!(before <= 6, "{before} offers");
    world.drive(60 * MINUTE_MS);
    assert_eq!(offers(&world), before);
    let status = world.node(carol).running().status(world.now());
    assert_eq!(status.links_pending, 0);
}

/// A pair whose NATs let no link come about talks through others all day: a few calls at first,
/// then one an hour.
#[test]
fn a_pair_that_cannot_connect_calls_ever_less() {
    let (mut world, alice, carol, _bob) = never_met(5);
    world.apart.insert((alice, carol));
    world.timing.link_ms = 20;
    let (before, mut counts) = (offers(&world), Vec::new());
    for n in 0..180 {
        world.send(alice, "carol", &format!("a{n}"));
        world.drive(MINUTE_MS / 2);
        world.send(carol, "alice", &format!("c{n}"));
        world.drive(MINUTE_MS / 2);
        if n % 60 == 59 {
            counts.push(offers(&world) - before);
        }
    }
    let told = (delivered(&world, alice), delivered(&world, carol));
    assert_eq!(told, (180, 180));
    assert_eq!(counts, [11, 13, 15], "both sides, hour by hour");
}

/// Where a peer is known to be linked with the recipient, it has the message before anybody would
/// be called.
#[test]
fn a_link_follows_on_what_a_peer_handed_on_at_once() {
    let (mut world, alice, carol, _bob) = never_met(6);
    world.send(alice, "carol", "one");
    world.drive(1_000);
    assert!(is_linked(&world, alice, "carol"));
    world.timing.dead_ms = 10;
    world.cut(alice, carol);
    world.drive(2_000);
    assert!(!is_linked(&world, alice, "carol"));
    world.send(alice, "carol", "two");
    assert!(world.drive_until(100, |w| delivered(w, alice) == 2));
    assert!(!is_linked(&world, alice, "carol"), "it went by the peer");
    assert!(world.drive_until(2_000, |w| is_linked(w, alice, "carol")));
}

/// A link between whose ends somebody sits is refused, and not asked for again and again.
#[test]
fn a_call_that_is_refused_is_not_made_again() {
    let (mut world, alice, _carol, _bob) = never_met(7);
    let before = offers(&world);
    world.intercepted = true;
    world.send(alice, "carol", "x");
    world.drive(2 * MINUTE_MS);
    assert_eq!(delivered(&world, alice), 1);
    assert!(!is_linked(&world, alice, "carol"));
    assert_eq!(offers(&world), before + 1);
}

/// The pauses that calls had reached do not outlive a link: once it is gone, and something goes
/// through others again, a call follows as soon as after the first thing.
#[test]
fn after_a_link_the_pauses_begin_anew() {
    let (mut world, alice, carol, _bob) = never_met(8);
    world.apart.insert((alice, carol));
    for n in 0..30 {
        world.send(alice, "carol", &format!("{n}"));
        world.drive(MINUTE_MS / 3);
    }
    world.apart.clear();
    assert!(!is_linked(&world, alice, "carol"));
    let to = label("alice");
    world.input(carol, Input::Command(Command::Connect { to }));
    assert!(world.drive_until(2_000, |w| is_linked(w, alice, "carol")));
    world.drive(2_000);
    world.timing.dead_ms = 10;
    world.cut(alice, carol);
    world.drive(2_000);
    assert!(!is_linked(&world, alice, "carol"));
    world.send(alice, "carol", "again");
    assert!(world.drive_until(100, |w| delivered(w, alice) == 31));
    assert!(!is_linked(&world, alice, "carol"), "it went by the peer");
    assert!(world.drive_until(3_000, |w| is_linked(w, alice, "carol")));
}

/// Where somebody sits between the two and they go on talking through others, what comes through
/// does not make them call anew: once an hour each at most.
#[test]
fn a_refused_call_is_not_made_again_for_what_is_said_next() {
    let (mut world, alice, carol, _bob) = never_met(7);
    let before = offers(&world);
    world.intercepted = true;
    let mut counts = Vec::new();
    for n in 0..180 {
        let (from, to) = [(alice, "carol"), (carol, "alice")][n % 2];
        world.send(from, to, &format!("{n}"));
        world.drive(MINUTE_MS);
        if n % 60 == 59 {
            counts.push(offers(&world) - before);
        }
    }
    let told = (delivered(&world, alice), delivered(&world, carol));
    assert_eq!(told, (90, 90));
    assert!(!is_linked(&world, alice, "carol"));
    assert_eq!(counts, [2, 3, 4], "both sides, hour by hour");
}

/// A call that could not be made, for there are as many links as may be, counts for nothing: once
/// there is room it is made as soon as the first.
#[test]
fn a_call_there_was_no_room_for_does_not_count() {
    let mut world = World::new(9);
    world.coordinator("bob");
    world.drive(500);
    let alice = world.member_stopped("alice");
    world.node_mut(alice).links_max = 2;
    world.start(alice);
    let (_carol, dave) = (world.member("carol"), world.member("dave"));
    world.drive(3_000);
    let to = label("dave");
    world.input(alice, Input::Command(Command::Connect { to }));
    assert!(world.drive_until(3_000, |w| is_linked(w, alice, "dave")));
    let before = offers(&world);
    for n in 0..12 {
        world.send(alice, "carol", &format!("{n}"));
        world.drive(MINUTE_MS / 3);
    }
    assert_eq!((delivered(&world, alice), offers(&world)), (12, before));
    world.apart.insert((alice, dave));
    world.timing.dead_ms = 10;
    world.cut(alice, dave);
    world.drive(2_000);
    world.send(alice, "carol", "room");
    assert!(world.drive_until(3_000, |w| is_linked(w, alice, "carol")));
}

/// Sockets that come up again and again let the pauses begin anew once in half a minute, and then
/// the devices are not all called at one moment.
#[test]
fn sockets_that_come_and_go_do_not_make_anybody_call_all_the_time() {
    let mut world = World::new(10);
    let alice = world.member("alice");
    let names: Vec<String> = (0..12).map(|n| format!("peer{n}")).collect();
    for name in &names {
        world.member(name);
    }
    world.drive(50);
    world.on_signal = Some(Box::new(|frame| {
        let past = frame.kind == SignalKind::RelayRequest;
        if past { vec![frame] } else { Vec::new() }
    }));
    let pending = |w: &World| w.node(alice).running().status(w.now()).links_pending;
    // Until the pauses are long, and nobody is called.
    for n in 0..40 {
        for name in &names {
            world.send(alice, name, &format!("{n}"));
        }
        world.drive(5_000);
    }
    assert!(world.drive_until(50_000, |w| pending(w) == 0));
    let mut heard: BTreeSet<_> = world.signalled.iter().map(|f| f.parcel.clone()).collect();
    let (began_ms, mut calls) = (world.now_ms, Vec::new());
    for _ in 0..40 {
        world.set_socket(alice, false);
        world.drive(50);
        world.set_socket(alice, true);
        for _ in 0..145 {
            let before = world.signalled.len();
            world.drive(10);
            let said = world.signalled[before..].iter();
            let offers = said.filter(|frame| frame.kind == SignalKind::Offer);
            let new = offers.filter(|frame| heard.insert(frame.parcel.clone()));
            calls.extend(new.map(|_| world.now_ms - began_ms));
        }
    }
    let first: BTreeSet<u64> = calls.iter().take(12).copied().collect();
    assert!(first.len() >= 8, "{calls:?}");
    assert!(first.iter().all(|ms| (1_000..3_100).contains(ms)));
    assert!(calls.len() <= 4 * 12, "{} calls: {calls:?}", calls.len());
}
