//! Coordinators: clients keep links to two, get back into the fabric through them when all servers
//! are dead, and spread by load; a coordinator counts its links and says that it lives.

use crate::tap::counted;
use client_core::event::{DeliveryState, PeerState, Rung};
use client_core::output::SignalKind;
use client_core::testing::{CheapCrypto, NodeId, World, label};
use client_core::{Config, PeerManager, StartError};

fn delivered(world: &World, id: NodeId) -> usize {
    world.node(id).count(DeliveryState::Delivered)
}

/// How many links a node has open.
fn open(world: &World, id: NodeId) -> usize {
    world.node(id).running().status(world.now()).links_open
}

/// Users a node is linked to, by name.
fn linked(world: &World, id: NodeId) -> Vec<String> {
    let peers = world.node(id).running().peers(world.now());
    let linked = peers.iter().filter(|peer| !peer.links.is_empty());
    linked.map(|peer| peer.label.to_string()).collect()
}

/// Everybody's servers die, but for the coordinators' own.
fn kill_servers(world: &mut World) {
    world.registry.down = true;
    world.set_gateway(false);
    world.drive(10);
}

/// Coordinators of these names, up and listed.
fn coordinators(world: &mut World, names: &[&str]) -> Vec<NodeId> {
    let ids = names.iter().map(|name| world.coordinator(name)).collect();
    world.drive(2_000);
    ids
}

#[test]
fn clients_keep_links_to_two_coordinators() {
    let mut world = World::new(1);
    coordinators(&mut world, &["ca", "cb", "cc"]);
    let clients: Vec<NodeId> = (0..9).map(|n| world.member(&format!("m{n}"))).collect();
    world.drive(2_000);
    let mut used = std::collections::BTreeSet::new();
    for id in &clients {
        let linked = linked(&world, *id);
        assert_eq!(linked.len(), 2, "{linked:?}");
        used.extend(linked);
    }
    assert_eq!(used.len(), 3, "they spread: {used:?}");
    // The registry hears of it from both sides.
    world.drive(30_000);
    let device = world.node(clients[0]).device_label().clone();
    let named = world.fabric.announced[&device].clone();
    assert_eq!(named.len(), 2);
    for coordinator in named {
        assert!(
            world.fabric.leases[&coordinator]
                .connected
                .contains(&device)
        );
    }
}

#[test]
fn a_process_started_while_all_servers_are_dead_gets_back_into_the_fabric() {
    let mut world = World::new(2);
    coordinators(&mut world, &["ca", "cb"]);
    let (alice, carol) = (world.member("alice"), world.member("carol"));
    world.drive(5_000);
    world.crash(alice);
    kill_servers(&mut world);
    world.drive(20_000);
    world.start(alice);
    let start = world.now_ms;
    world.send(alice, "carol", "never met");
    assert!(world.drive_until(3_000, |w| delivered(w, alice) == 1));
    let took = world.now_ms - start;
    assert!(took <= 1_500, "{took} ms");
    world.drive(5_000);
    assert_eq!(world.node(carol).received(), ["never met"]);
    assert_eq!(linked(&world, alice), ["ca", "carol", "cb"]);
}

#[test]
fn a_dead_coordinator_costs_half_a_second_at_most() {
    let mut world = World::new(3);
    let hosts = coordinators(&mut world, &["ca", "cb", "cc", "cd"]);
    let alice = world.member("alice");
    world.drive(5_000);
    world.crash(alice);
    kill_servers(&mut world);
    // Three of four are gone; packets to them get no answer at all.
    for host in &hosts[1..] {
        world.crash(*host);
    }
    world.fabric.silent = true;
    world.drive(10_000);
    world.start(alice);
    assert!(world.drive_until(1_500, |w| open(w, alice) == 1));
}

#[test]
fn a_lost_coordinator_is_replaced_and_all_are_found_again() {
    let mut world = World::new(4);
    let hosts = coordinators(&mut world, &["ca", "cb", "cc"]);
    let alice = world.member("alice");
    world.drive(5_000);
    let before = linked(&world, alice);
    let lost = hosts
        .iter()
        .find(|id| world.node(**id).user.label.as_str() == before[0]);
    let lost = *lost.expect("one of them");
    world.crash(lost);
    world.drive(15_000);
    let after = linked(&world, alice);
    assert_eq!(after.len(), 2, "{after:?}");
    assert!(!after.contains(&before[0]));
    // All vanish, servers too; one returns.
    kill_servers(&mut world);
    for host in &hosts {
        world.crash(*host);
    }
    world.drive(20 * 60_000);
    assert_eq!(open(&world, alice), 0);
    world.start(hosts[1]);
    assert!(world.drive_until(6 * 60_000, |w| open(w, alice) == 1));
}

#[test]
fn a_full_coordinator_says_so_and_another_is_chosen() {
    let mut world = World::new(5);
    let ids = ["ca", "cb", "cc"].map(|name| world.coordinator_stopped(name));
    for id in ids {
        world.node_mut(id).links_max = if id == ids[0] { 5 } else { 64 };
        world.start(id);
    }
    world.drive(2_000);
    let clients: Vec<NodeId> = (0..12).map(|n| world.member(&format!("m{n}"))).collect();
    world.drive(20_000);
    assert!(open(&world, ids[0]) <= 5);
    for id in &clients {
        assert_eq!(linked(&world, *id).len(), 2);
    }
    let refused = counted(&world, ids[0], "nack-said");
    assert!(refused > 0, "it was asked for more than it has");
    // Nobody keeps on calling it.
    let calls = |world: &World| {
        let offers = world.signalled.iter();
        let to = label("ca_host");
        offers
            .filter(|s| s.kind == SignalKind::Offer && s.to == to)
            .count()
    };
    let before = calls(&world);
    world.drive(120_000);
    assert_eq!(calls(&world), before);
}

#[test]
fn heartbeats_tell_changes_and_everything_after_a_failure() {
    let mut world = World::new(6);
    let hosts = coordinators(&mut world, &["ca"]);
    let (alice, bob) = (world.member("alice"), world.member("bob"));
    world.drive(20_000);
    let lease = |world: &World| world.fabric.leases[&label("ca_host")].clone();
    let known = |world: &World| {
        lease(world)
            .connected
            .iter()
            .map(|l| l.to_string())
            .collect()
    };
    let names: Vec<String> = known(&world);
    assert_eq!(names, ["alice_phone", "bob_phone"]);
    assert_eq!((lease(&world).fulls, lease(&world).load), (1, (2, 512)));
    world.registry.down = true;
    world.crash(bob);
    world.drive(60_000);
    world.registry.down = false;
    world.drive(15_000);
    let names: Vec<String> = known(&world);
    assert_eq!(names, ["alice_phone"]);
    assert_eq!(lease(&world).fulls, 2);
    assert!(world.node(alice).warnings().is_empty());
    assert!(counted(&world, hosts[0], "heartbeat-failed") >= 5);
}

#[test]
fn a_coordinator_needs_the_role() {
    let mut world = World::new(7);
    let id = world.member_stopped("alice");
    let identity = world.authority.identity(&world.node(id).user, 0, 1);
    let config = Config {
        coordinator: true,
        ..Config::new(world.authority.network(), "ws://alice.example/alice_phone")
    };
    let crypto = Box::new(CheapCrypto::new(1));
    let loaded = world.node(id).store.load();
    let refused = PeerManager::new(config, identity, loaded, crypto, world.now());
    assert_eq!(refused.err(), Some(StartError::NotCoordinator));
}

#[test]
fn somebody_linked_to_other_coordinators_is_found_by_dialling_them() {
    let mut world = World::new(8);
    let names = ["ca", "cb", "cc", "cd", "ce", "cf"];
    coordinators(&mut world, &names);
    let alice = world.member("alice");
    world.drive(3_000);
    let hers = linked(&world, alice);
    // Somebody whose coordinators are others.
    let mut n = 0;
    let carol = loop {
        let name = format!("carol{n}");
        let id = world.member(&name);
        world.drive(3_000);
        let theirs = linked(&world, id);
        if theirs.len() == 2 && theirs.iter().all(|host| !hers.contains(host)) {
            break id;
        }
        n += 1;
        assert!(n < 100, "they spread by chance");
    };
    kill_servers(&mut world);
    let name = world.node(carol).user.label.to_string();
    world.send(alice, &name, "found");
    assert!(world.drive_until(6_000, |w| delivered(w, alice) == 1));
    let states = world.node(alice).message_states();
    let found_by = states.last().and_then(|state| state.found_by);
    assert!(
        matches!(found_by, Some(Rung::Peers | Rung::Coordinators)),
        "{found_by:?}"
    );
    // What was dialled for it is let go again.
    world.drive(5 * 60_000);
    let kept = linked(&world, alice);
    let kept = kept.iter().filter(|host| host.len() == 2).count();
    assert_eq!(kept, 2);
}

#[test]
fn linking_with_coordinators_is_told_as_any_link() {
    let mut world = World::new(9);
    coordinators(&mut world, &["ca"]);
    let alice = world.member("alice");
    world.drive(3_000);
    let states = world.node(alice).peer_states("ca");
    assert_eq!(states.last(), Some(&PeerState::Connected));
}

#[test]
fn a_lookup_follows_the_timeline_of_the_specification() {
    let mut world = World::new(10);
    coordinators(&mut world, &["ca", "cb", "cc"]);
    // Somebody who keeps, for the last rung.
    let bob = world.member_stopped("bob");
    world.node_mut(bob).can_store = true;
    world.start(bob);
    let (alice, carol) = (world.member("alice"), world.member("carol"));
    world.drive(3_000);
    world.send(alice, "bob", "hello");
    world.send(alice, "carol", "hello");
    world.drive(3_000);
    world.crash(carol);
    world.drive(10_000);
    // What is said to Carol's device is swallowed: nobody says that she is gone.
    world.on_signal = Some(Box::new(|frame| {
        let to_carol = frame.to.as_str() == "carol_phone";
        if to_carol { Vec::new() } else { vec![frame] }
    }));
    world.send(alice, "carol", "where are you?");
    world.drive(3_000);
    let last = world.node(alice).last_queued();
    let states = world.node(alice).message_states();
    let told: Vec<(Rung, u64)> = states
        .iter()
        .filter(|s| Some(s.id) == last && s.reason.is_none())
        .filter_map(|s| Some((s.rung?, s.elapsed_ms)))
        .collect();
    // Three milliseconds are the commit's; no link to her is open, so the cache comes at once.
    let want = [
        (Rung::Cache, 3),
        (Rung::Peers, 53),
        (Rung::Coordinators, 203),
        (Rung::Registry, 503),
        (Rung::StoreAndForward, 1_003),
    ];
    assert_eq!(told, want);
}

#[test]
fn a_first_coordinator_is_found_by_members_that_run_already() {
    let mut world = World::new(11);
    let alice = world.member("alice");
    world.drive(30 * 60_000);
    assert_eq!(open(&world, alice), 0);
    world.coordinator("ca");
    assert!(world.drive_until(10 * 60_000, |w| open(w, alice) == 1));
}

#[test]
fn a_socket_at_a_coordinator_closes_when_it_is_needed_no_more() {
    let mut world = World::new(12);
    coordinators(&mut world, &["ca", "cb"]);
    let alice = world.member("alice");
    world.drive(3_000);
    assert!(world.fabric.sockets.is_empty(), "the gateway was there");
    world.crash(alice);
    kill_servers(&mut world);
    world.drive(10_000);
    world.start(alice);
    world.drive(5_000);
    assert_eq!(open(&world, alice), 2);
    assert_eq!(
        world.fabric.sockets.len(),
        1,
        "the last way others can call"
    );
    world.registry.down = false;
    world.set_gateway(true);
    world.drive(1_000);
    assert!(world.fabric.sockets.is_empty());
    assert_eq!(open(&world, alice), 2);
}
