//! Presence: announced in time, renewed, honest about being offline, one process per identity.

use beeline_proto::pb::identity::v1::Role;
use client_core::event::Event;
use client_core::input::{SignalInput, SocketId};
use client_core::testing::{CheapCrypto, EPOCH_MS, MemoryStore, NodeId, World, key_of};
use client_core::{Config, Input, Output, PeerManager};

fn online(world: &World, id: NodeId) -> Vec<bool> {
    let told = world
        .node(id)
        .events
        .iter()
        .filter_map(|(_, event)| match event {
            Event::Online => Some(true),
            Event::Offline { .. } => Some(false),
            _ => None,
        });
    told.collect()
}

/// Nobody can look her up, but who knows her reaches her: scripts that wait for `online` go on.
#[test]
fn without_a_registry_online_means_connected() {
    let mut world = World::new(1);
    let (alice, carol) = (world.member("alice"), world.member("carol"));
    world.send(alice, "carol", "hello");
    world.drive(5_000);
    world.registry.down = true;
    world.set_gateway(false);
    world.set_gateway(true);
    world.drive(100);
    assert_eq!(online(&world, carol), [true, false, true]);
    assert!(world.node(carol).warnings().contains(&"announce-failed"));
    world.crash(carol);
    world.start(carol);
    world.drive(5_000);
    let told = [true, false, true, true];
    assert_eq!(online(&world, carol), told, "a fresh process as well");
    world.registry.down = false;
    world.drive(60_000);
    assert_eq!(online(&world, carol), told);
}

#[test]
fn online_means_announced_and_connected() {
    let mut world = World::new(1);
    let alice = world.member("alice");
    world.drive(100);
    assert_eq!(online(&world, alice), [true]);
    world.set_gateway(false);
    world.drive(100);
    assert_eq!(online(&world, alice), [true, false]);
    world.set_gateway(true);
    world.drive(100);
    assert_eq!(online(&world, alice), [true, false, true]);
    world.input(alice, Input::Drain);
    assert_eq!(online(&world, alice), [true, false, true, false]);
    let timeout = world.node(alice).running().poll_timeout();
    assert_eq!(timeout, None, "a drained process waits for nothing");
}

#[test]
fn a_drained_process_says_goodbye() {
    let mut world = World::new(1);
    let (alice, carol) = (world.member("alice"), world.member("carol"));
    world.drive(50);
    world.send(alice, "carol", "x");
    world.drive(1_000);
    world.input(alice, Input::Drain);
    world.drive(10);
    let goodbye = world.node(carol).told(
        |event| matches!(event, Event::PeerState { reason, .. } if reason.starts_with("GOODBYE")),
    );
    assert!(goodbye, "{:#?}", world.node(carol).events);
}

#[test]
fn a_record_is_newer_than_the_one_before_even_with_a_clock_that_went_back() {
    let mut world = World::new(1);
    let alice = world.member("alice");
    world.drive(10_000);
    let version = |world: &World| {
        let store = &world.node(alice).store;
        store.routes.values().next().map(|row| row.record.clone())
    };
    let first = version(&world).expect("our own record is kept");
    world.crash(alice);
    world.now_ms -= 5_000;
    world.start(alice);
    world.drive(2_000);
    let second = version(&world).expect("kept");
    use beeline_proto::pb::identity::v1::DeviceRecord;
    let network = world.authority.network();
    let audiences = [network.0];
    let expect = beeline_proto::envelope::Expect::new(network, &audiences);
    let read = |bytes: &[u8]| {
        let record = beeline_proto::envelope::open::<DeviceRecord>(bytes, &expect);
        record.expect("our own record").payload().version
    };
    assert!(read(&second) > read(&first));
}

#[test]
fn a_membership_near_its_end_is_renewed() {
    let mut world = World::new(1);
    let day = 24 * 3_600 * 1_000;
    let user = world
        .authority
        .admit("alice", "alice", &["phone"], EPOCH_MS + 20 * day);
    let renewed = world
        .authority
        .admit("alice", "alice", &["phone"], EPOCH_MS + 300 * day);
    world.registry.renewal = Some(renewed.membership.clone());
    let alice = world.device_of(user, 0);
    world.start(alice);
    world.drive(1_000);
    let status = world.node(alice).running().status(world.now());
    assert_eq!(status.membership_expires_ms, EPOCH_MS + 300 * day);
    assert!(world.node(alice).store.own.is_some());
    world.crash(alice);
    world.start(alice);
    let status = world.node(alice).running().status(world.now());
    assert_eq!(status.membership_expires_ms, EPOCH_MS + 300 * day);
}

#[test]
fn somebody_elses_renewal_is_not_taken() {
    let mut world = World::new(1);
    let user = world
        .authority
        .admit("alice", "alice", &["phone"], EPOCH_MS + 1_000);
    let other = world
        .authority
        .admit("bob", "bob", &["x"], EPOCH_MS + 1_000_000);
    world.registry.renewal = Some(other.membership.clone());
    let alice = world.device_of(user, 0);
    world.start(alice);
    world.drive(1_000);
    let status = world.node(alice).running().status(world.now());
    assert_eq!(status.membership_expires_ms, EPOCH_MS + 1_000);
    assert!(world.node(alice).warnings().contains(&"renewal-refused"));
}

/// The proof of a sign-in of `key` with this boot id.
fn proof(world: &World, key: &str, boot: [u8; 16]) -> Vec<u8> {
    use beeline_proto::envelope::{Context, sign};
    let key = key_of(&format!("device {key}"));
    let audience = key_of("device alice_phone").verify_key().fp();
    let id = beeline_proto::id::MessageId([9; 16]);
    let proof = beeline_proto::pb::signal::v1::SocketProof {
        context: Some(Context::unordered(world.authority.network(), audience, id).to_pb()),
        origin: "http://127.0.0.1:8080".into(),
        nonce: vec![1; 32],
        boot_id: boot.to_vec(),
        device_id: "alice_phone".into(),
    };
    sign(&key, &proof)
}

#[test]
fn superseded_is_believed_only_with_our_own_signature_of_another_process() {
    let mut world = World::new(1);
    let alice = world.member("alice");
    world.drive(50);
    let superseded = |proof: Vec<u8>| {
        Input::Signal(SignalInput::Superseded {
            socket: SocketId(0),
            proof,
        })
    };
    let elsewhere = |event: &Event| matches!(event, Event::RunningElsewhere { .. });
    for forged in [Vec::new(), proof(&world, "mallory_phone", [9; 16])] {
        world.input(alice, superseded(forged));
        assert!(!world.node(alice).told(elsewhere));
    }
    let warnings = world.node(alice).warnings();
    assert_eq!(
        warnings
            .iter()
            .filter(|kind| **kind == "superseded-forged")
            .count(),
        2
    );
    let own = proof(&world, "alice_phone", [1; 16]);
    world.input(alice, superseded(own));
    assert!(!world.node(alice).told(elsewhere));
    let other = proof(&world, "alice_phone", [9; 16]);
    world.input(alice, superseded(other));
    assert!(world.node(alice).told(elsewhere));
}

#[test]
fn a_coordinator_is_online_at_its_own_address_without_any_server() {
    let mut world = World::new(1);
    let role = Role::Coordinator;
    let user = world
        .authority
        .admit_as(role, ("bob", "bob"), &["box"], EPOCH_MS * 2);
    let told = |coordinator: bool| {
        let config = Config {
            coordinator,
            ..Config::new(world.authority.network(), "ws://127.0.0.1:8090/bob_box")
        };
        let identity = world.authority.identity(&user, 0, 1);
        let (store, crypto) = (MemoryStore::new(1), Box::new(CheapCrypto::new(1)));
        let now = world.now();
        let manager = PeerManager::new(config, identity, store.load(), crypto, now);
        let mut manager = manager.expect("its own chain is good");
        for signal in [
            SignalInput::Up(SocketId::OWN),
            SignalInput::Down(SocketId::GATEWAY),
            SignalInput::Down(SocketId::OWN),
        ] {
            manager.handle_input(now, Input::Signal(signal));
        }
        let outputs = std::iter::from_fn(|| manager.poll_output());
        let online = outputs.filter_map(|output| match output {
            Output::Event(Event::Online) => Some(true),
            Output::Event(Event::Offline { .. }) => Some(false),
            _ => None,
        });
        online.collect::<Vec<bool>>()
    };
    assert_eq!(told(true), [true, false]);
    assert_eq!(told(false), Vec::<bool>::new());
}
