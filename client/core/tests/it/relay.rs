//! Relaying: first contact through a common peer with every server dead, direct soon after; what
//! happens to those who drop, refuse, or are used too much.

use crate::tap::{frame, items, shared};
use beeline_proto::id::ParcelId;
use beeline_proto::parcel::{Kind as ParcelKind, Parcel};
use beeline_proto::pb::peer::v1::Refusal;
use beeline_proto::pb::peer::v1::peer_item::Kind;
use client_core::event::{DeliveryState, Path, Rung};
use client_core::limits::RELAY_CANDIDATES_MS;
use client_core::testing::{NodeId, World};
use std::cell::Cell;
use std::rc::Rc;

fn delivered(world: &World, id: NodeId) -> usize {
    world.node(id).count(DeliveryState::Delivered)
}

/// Alice and Carol each know Bob, and not each other; registry and gateway are dead.
fn no_servers(seed: u64) -> (World, NodeId, NodeId, NodeId) {
    without_servers(World::new(seed))
}

fn without_servers(mut world: World) -> (World, NodeId, NodeId, NodeId) {
    let (alice, bob) = (world.member("alice"), world.member("bob"));
    let carol = world.member("carol");
    world.drive(50);
    world.send(alice, "bob", "hello");
    world.send(carol, "bob", "hello");
    assert!(world.drive_until(2_000, |w| delivered(w, alice) == 1
        && delivered(w, carol) == 1));
    world.drive(2_000);
    world.registry.down = true;
    world.set_gateway(false);
    world.drive(100);
    (world, alice, bob, carol)
}

/// The path and rung of the last delivered message.
fn last_path(world: &World, id: NodeId) -> Option<(Path, Rung)> {
    let states = world.node(id).message_states();
    let done = states
        .iter()
        .rfind(|s| s.state == DeliveryState::Delivered)?;
    Some((done.path?, done.found_by?))
}

#[test]
fn first_contact_without_servers_is_relayed_and_direct_soon() {
    let (mut world, alice, _bob, carol) = no_servers(1);
    world.send(alice, "carol", "never met");
    assert!(world.drive_until(1_000, |w| delivered(w, alice) == 2));
    assert_eq!(last_path(&world, alice), Some((Path::Relay, Rung::Peers)));
    let states = world.node(alice).message_states();
    assert!(states.iter().any(|s| s.state == DeliveryState::Relayed));
    // The call went through Bob as well.
    world.drive(1_000);
    world.send(alice, "carol", "again");
    assert!(world.drive_until(1_000, |w| delivered(w, alice) == 3));
    assert_eq!(
        last_path(&world, alice),
        Some((Path::Direct, Rung::Connected))
    );
    world.drive(10);
    assert_eq!(world.node(carol).received(), ["never met", "again"]);
    // And Carol answers on the same link.
    world.send(carol, "alice", "hello");
    assert!(world.drive_until(1_000, |w| delivered(w, carol) == 2));
    assert_eq!(
        last_path(&world, carol).map(|(path, _)| path),
        Some(Path::Direct)
    );
}

#[test]
fn the_times_of_a_first_contact_follow_the_round_trip() {
    const R: u64 = 100;
    let (mut world, alice, _bob, carol) = no_servers(2);
    world.timing.link_ms = R / 2;
    world.timing.commit_ms = 0;
    world.timing.answer_ms = 0;
    world.drive(10);
    let sent_ms = world.now_ms;
    world.send(alice, "carol", "never met");
    assert!(world.drive_until(1_000, |w| w.node(carol).received().len() == 1));
    let at_carol = world.now_ms - sent_ms;
    assert!(at_carol <= 2 * R, "at Carol after {at_carol} ms");
    assert!(world.drive_until(1_000, |w| delivered(w, alice) == 2));
    let at_alice = world.now_ms - sent_ms;
    assert!(at_alice <= 3 * R, "known at Alice after {at_alice} ms");
}

/// The round trip between any two that are far from each other.
const FAR_MS: u64 = 50;

/// The same with servers, all as far from each other as can be, and with parcels as long as they
/// really are. A link sends no more in a round trip than SCTP does at first.
fn far_from_each_other(seed: u64) -> (World, NodeId, NodeId, NodeId) {
    let mut world = World::new(seed);
    world.real_crypto = true;
    let (mut world, alice, bob, carol) = without_servers(world);
    world.registry.down = false;
    world.set_gateway(true);
    world.drive(2_000);
    world.timing.signal_ms = FAR_MS;
    world.timing.registry_ms = FAR_MS;
    world.timing.link_ms = FAR_MS / 2;
    world.timing.link_window = 4_380;
    world.timing.ice_ms = 6 * FAR_MS;
    world.timing.commit_ms = 8;
    world.timing.answer_ms = 0;
    (world, alice, bob, carol)
}

#[test]
fn what_is_said_of_a_call_does_not_hold_up_a_first_message_nor_its_ack() {
    let (mut world, alice, ..) = far_from_each_other(9);
    let commits_ms = 2 * world.timing.commit_ms;
    let sent_ms = world.now_ms;
    world.send(alice, "carol", "never met");
    assert!(world.drive_until(2_000, |w| delivered(w, alice) == 2));
    let at_alice = world.now_ms - sent_ms;
    let goal = 3 * FAR_MS + FAR_MS / 2 + commits_ms;
    assert!(at_alice <= goal, "known at Alice after {at_alice} ms");
    assert_eq!(last_path(&world, alice).map(|l| l.0), Some(Path::Relay));
}

/// What Alice says of a call: an offer, two candidates, the end of them.
const SAID: usize = 4;

/// Alice's message is on its way, and her offer with Bob; returns what she says of it over him.
fn offered_through_bob(world: &mut World, alice: NodeId, bob: NodeId) -> Rc<Cell<usize>> {
    let said = Rc::new(Cell::new(0));
    let count = said.clone();
    world.on_frame = Some(Box::new(move |from, to, bytes| {
        let items = items(&bytes);
        let calls = items.iter().filter(|i| relayed_of(i, ParcelKind::Control));
        if (from, to) == (alice, bob) {
            count.set(count.get() + calls.count());
        }
        vec![bytes]
    }));
    world.send(alice, "carol", "never met");
    assert!(world.drive_until(1_000, |_| said.get() > 0));
    said
}

#[test]
fn candidates_that_a_socket_took_follow_through_the_relay() {
    let (mut world, alice, bob, _) = far_from_each_other(10);
    let said = offered_through_bob(&mut world, alice, bob);
    world.drive(RELAY_CANDIDATES_MS - 1);
    assert_eq!(said.get(), 1, "the offer alone");
    world.drive(2);
    assert_eq!(said.get(), SAID);
}

#[test]
fn candidates_do_not_wait_where_no_socket_brings_them_there() {
    // Carol is not at the gateway, as it says a round trip later.
    let (mut world, alice, bob, carol) = far_from_each_other(11);
    world.set_socket(carol, false);
    world.drive(1_000);
    let said = offered_through_bob(&mut world, alice, bob);
    world.drive(FAR_MS + 2);
    assert_eq!(said.get(), SAID);
    // The gateway goes.
    let (mut world, alice, bob, _) = far_from_each_other(12);
    let said = offered_through_bob(&mut world, alice, bob);
    world.set_gateway(false);
    world.drive(3);
    assert_eq!(said.get(), SAID);
    // There is none.
    let (mut world, alice, bob, _) = far_from_each_other(13);
    world.set_gateway(false);
    world.drive(1_000);
    let said = offered_through_bob(&mut world, alice, bob);
    world.drive(2);
    assert_eq!(said.get(), SAID);
}

#[test]
fn a_gateway_that_swallows_calls_costs_a_link_no_more_than_the_pause() {
    let linked_ms = |prepare: fn(&mut World)| {
        let (mut world, alice, _, carol) = far_from_each_other(14);
        prepare(&mut world);
        world.drive(1_000);
        let sent_ms = world.now_ms;
        world.send(alice, "carol", "never met");
        let linked = |w: &World| w.link_between(alice, carol).is_some();
        assert!(world.drive_until(5_000, linked));
        world.now_ms - sent_ms
    };
    let well = linked_ms(|_| ());
    let dead = linked_ms(|world| world.set_gateway(false));
    let swallowed = linked_ms(|world| world.on_signal = Some(Box::new(|_| Vec::new())));
    assert!(well <= dead, "{well} ms, through Bob {dead} ms");
    let most = dead + RELAY_CANDIDATES_MS;
    assert!(swallowed <= most, "{swallowed} ms, at most {most}");
}

#[test]
fn a_relay_that_says_yes_and_drops_only_costs_time() {
    let (mut world, alice, bob, carol) = no_servers(3);
    let eve = world.member("eve");
    world.registry.down = false;
    world.set_gateway(true);
    world.drive(100);
    for friend in [alice, carol] {
        world.send(friend, "eve", "hello");
    }
    assert!(world.drive_until(3_000, |w| delivered(w, alice) == 2
        && delivered(w, carol) == 2));
    world.drive(3_000);
    world.registry.down = true;
    world.set_gateway(false);
    world.drive(100);
    // Bob drops whatever he should hand on.
    world.on_frame = Some(Box::new(move |from, to, bytes| {
        let carried = items(&bytes)
            .iter()
            .any(|item| matches!(item, Kind::Relay(_)));
        if carried && from == bob && to == carol {
            return Vec::new();
        }
        vec![bytes]
    }));
    world.send(alice, "carol", "never met");
    assert!(world.drive_until(5_000, |w| delivered(w, alice) == 3));
    assert_eq!(world.node(carol).received().len(), 1);
    assert!(world.node(eve).received().contains(&"hello"));
}

#[test]
fn whoever_is_not_linked_says_so_and_the_ladder_goes_on() {
    let (mut world, alice, _bob, carol) = no_servers(4);
    world.send(alice, "carol", "one");
    assert!(world.drive_until(2_000, |w| delivered(w, alice) == 2));
    world.drive(2_000);
    // Carol is gone, and Bob knows it before Alice does.
    world.timing.dead_ms = 10;
    world.crash(carol);
    world.drive(1_000);
    world.send(alice, "carol", "two");
    world.drive(5_000);
    assert_eq!(delivered(&world, alice), 2);
    world.start(carol);
    world.registry.down = false;
    world.set_gateway(true);
    assert!(world.drive_until(60_000, |w| delivered(w, alice) == 3));
    world.drive(10);
    assert_eq!(world.node(carol).received(), ["one", "two"]);
}

/// The id of a message's parcel in a RELAY.
fn relayed_message(item: &Kind) -> Option<ParcelId> {
    let Kind::Relay(bytes) = item else {
        return None;
    };
    let parcel = Parcel::parse(bytes).ok()?;
    (parcel.header().kind == ParcelKind::Message).then(|| parcel.id())
}

/// Whether it is a RELAY with a parcel of this kind.
fn relayed_of(item: &Kind, kind: ParcelKind) -> bool {
    let Kind::Relay(bytes) = item else {
        return false;
    };
    Parcel::parse(bytes).is_ok_and(|parcel| parcel.header().kind == kind)
}

#[test]
fn a_refusal_that_comes_after_the_ack_counts_as_well() {
    let (mut world, alice, bob, carol) = no_servers(7);
    let heard = shared(Vec::new());
    let tape = heard.clone();
    world.on_frame = Some(Box::new(move |from, to, bytes| {
        if (from, to) == (alice, bob) || (from, to) == (bob, alice) {
            tape.borrow_mut().extend(items(&bytes));
        }
        vec![bytes]
    }));
    world.send(alice, "carol", "one");
    assert!(world.drive_until(2_000, |w| delivered(w, alice) == 2));
    world.drive(2_000);
    let parcel = heard.borrow().iter().find_map(relayed_message);
    let refusal = Refusal {
        subject: parcel.expect("it went through Bob").to_vec(),
        code: "NO_ROUTE".to_owned(),
        retry_after_ms: 0,
    };
    assert!(world.say(bob, alice, frame(Kind::Refusal(refusal))));
    // Carol is gone, and only Alice knows it.
    world.timing.dead_ms = 10;
    world.cut(alice, carol);
    world.timing.dead_ms = 60_000;
    world.crash(carol);
    world.drive(100);
    heard.borrow_mut().clear();
    world.send(alice, "carol", "two");
    world.drive(1_000);
    let heard = heard.borrow();
    let again = heard.iter().position(|i| relayed_message(i).is_some());
    let found = heard.iter().position(|i| matches!(i, Kind::PeerFound(_)));
    assert!(found.is_some() && again > found, "{again:?}, {found:?}");
}

#[test]
fn a_relay_that_eats_nacks_keeps_no_message_from_being_sealed_anew() {
    let (mut world, alice, bob, carol) = no_servers(8);
    // Only Bob is linked to both, and hands on only messages and calls; the gateway is there.
    world.apart.insert((alice, carol));
    world.send(alice, "carol", "one");
    assert!(world.drive_until(5_000, |w| delivered(w, alice) == 2));
    world.crash(carol);
    // Her keys are lost, and her clock is slow: the old ones look newer to others.
    world.node_mut(carol).store.bundles.clear();
    world.node_mut(carol).wall_skew_ms = -3_600_000;
    world.set_gateway(true);
    world.start(carol);
    world.drive(10_000);
    world.send(carol, "bob", "back");
    world.drive(10_000);
    world.on_frame = Some(Box::new(move |from, to, bytes| {
        let control =
            |item: &Kind| matches!(item, Kind::Relay(_)) && relayed_message(item).is_none();
        let eaten = (from, to) == (bob, alice) && items(&bytes).iter().any(control);
        if eaten { Vec::new() } else { vec![bytes] }
    }));
    world.send(alice, "carol", "two");
    assert!(world.drive_until(120_000, |w| delivered(w, alice) == 3));
    assert_eq!(world.node(carol).received(), ["one", "two"]);
}

#[test]
fn a_parcel_is_relayed_once_and_never_in_circles() {
    let (mut world, alice, bob, carol) = no_servers(5);
    let relayed = Rc::new(Cell::new(0));
    let count = relayed.clone();
    world.on_frame = Some(Box::new(move |from, _, bytes| {
        let carried = items(&bytes)
            .into_iter()
            .filter(|item| matches!(item, Kind::Relay(_)));
        if from == bob {
            count.set(count.get() + carried.count());
        }
        vec![bytes]
    }));
    world.send(alice, "carol", "never met");
    world.drive(10_000);
    assert_eq!(delivered(&world, alice), 2);
    // One message, its ACK, one offer, one answer, and their candidates.
    assert!(
        relayed.get() < 20,
        "{} parcels were handed on",
        relayed.get()
    );
    assert_eq!(world.node(carol).received(), ["never met"]);
}
#[test]
fn who_may_not_relay_is_not_asked_to() {
    let mut world = World::new(6);
    let alice = world.member("alice");
    let bob = world.member_stopped("bob");
    world.node_mut(bob).can_relay = false;
    world.start(bob);
    let carol = world.member("carol");
    world.drive(50);
    world.send(alice, "bob", "hello");
    world.send(carol, "bob", "hello");
    assert!(world.drive_until(2_000, |w| delivered(w, alice) == 1
        && delivered(w, carol) == 1));
    world.registry.down = true;
    world.set_gateway(false);
    world.drive(100);
    let relayed = Rc::new(Cell::new(0));
    let count = relayed.clone();
    world.on_frame = Some(Box::new(move |_, _, bytes| {
        let carried = items(&bytes)
            .iter()
            .any(|item| matches!(item, Kind::Relay(_)));
        count.set(count.get() + usize::from(carried));
        vec![bytes]
    }));
    world.send(alice, "carol", "never met");
    world.drive(5_000);
    assert_eq!((relayed.get(), delivered(&world, alice)), (0, 1));
}

/// Somebody behind a firewall that lets only the signalling socket pass, and nobody between: the
/// first message of all goes by that socket.
#[test]
fn two_that_never_met_and_cannot_link_talk_by_the_signalling_socket() {
    let mut world = World::new(7);
    let (alice, carol) = (world.member("alice"), world.member("carol"));
    world.apart.insert((alice, carol));
    world.apart.insert((carol, alice));
    world.drive(50);
    world.send(alice, "carol", "hello");
    let done = |w: &World| delivered(w, alice) == 1;
    assert!(world.drive_until(2_000, done));
    assert_eq!(world.node(carol).received(), ["hello"]);
}
