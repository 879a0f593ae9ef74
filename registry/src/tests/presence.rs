//! Announces, sockets, heartbeats and what others see of them.

use super::world::{NETWORK, Person, World, code, with};
use beeline_proto::code::ErrorCode;
use beeline_proto::envelope::sign;
use beeline_proto::pb::coordinator::v1::{HeartbeatRequest, ListCoordinatorsRequest};
use beeline_proto::pb::identity::v1::Role;
use beeline_proto::pb::registry::v1::ListActivePeersRequest;

#[tokio::test]
async fn online_means_a_lease_and_a_socket() {
    let world = World::start().await;
    let alice = world.member("alice").await;
    let carol = world.member("carol").await;
    let online = async || world.peer(&alice, "carol").await.unwrap().online;

    let before = world.peer(&alice, "carol").await.unwrap();
    assert!(!before.online && before.last_seen.is_none());
    assert!(before.devices[0].record.is_empty());

    let record = carol.record(1);
    let lease = world.announce(&carol, record.clone(), &[]).await.unwrap();
    assert_eq!(lease.reannounce_after, 300);
    assert!(!online().await, "no socket yet");
    world.socket(&carol, true).await;
    assert!(online().await);
    let peer = world.peer(&alice, "carol").await.unwrap();
    assert_eq!(peer.devices[0].record, record);
    assert_eq!(
        peer.devices[0].signal_addr,
        "ws://127.0.0.1:8080/carol_device"
    );

    world.hands.forward(7_000);
    world.socket(&carol, false).await;
    assert!(!online().await, "closed");
    let peer = world.peer(&alice, "carol").await.unwrap();
    assert_eq!(peer.last_seen.unwrap().to_ms(), world.hands.now().wall_ms);

    world.socket(&carol, true).await;
    for _ in 0..12 {
        world.hands.forward(50_000);
        world.report("gw", 1, vec![]).await;
    }
    assert!(!online().await, "the lease ended");
}

#[tokio::test]
async fn a_silent_gateway_loses_its_sockets_and_is_asked_for_them() {
    let world = World::start().await;
    let alice = world.member("alice").await;
    world.announce(&alice, alice.record(1), &[]).await.unwrap();
    assert!(
        world.socket(&alice, true).await.want_full,
        "first report of a gateway"
    );
    assert!(!world.socket(&alice, true).await.want_full);
    let seen_ms = world.hands.now().wall_ms;
    world.hands.forward(60_000);
    let peer = world.peer(&alice, "alice").await.unwrap();
    assert!(!peer.online);
    assert_eq!(peer.last_seen.unwrap().to_ms(), seen_ms);
    assert!(
        world.socket(&alice, true).await.want_full,
        "what it said was forgotten"
    );
    assert!(world.peer(&alice, "alice").await.unwrap().online);
    // A new start of the same gateway has nothing open.
    assert!(world.report("gw", 2, vec![]).await.want_full);
    assert!(!world.peer(&alice, "alice").await.unwrap().online);
}

#[tokio::test]
async fn records_must_be_the_callers_own_and_newer() {
    let world = World::start().await;
    let alice = world.member("alice").await;
    let bob = world.member("bob").await;
    let refused =
        async |record: Vec<u8>| code(&world.announce(&alice, record, &[]).await.unwrap_err());
    assert_eq!(refused(bob.record(1)).await, ErrorCode::InvalidArgument);
    let mut payload = alice.record_payload(1);
    payload.user = bob.user.verify_key().fp().to_vec();
    assert_eq!(
        refused(sign(&alice.device, &payload)).await,
        ErrorCode::InvalidArgument
    );
    let mut payload = alice.record_payload(1);
    payload.bundle = bob.bundle(1);
    assert_eq!(
        refused(sign(&alice.device, &payload)).await,
        ErrorCode::InvalidArgument
    );
    for version in [0, u64::MAX] {
        let record = sign(&alice.device, &alice.record_payload(version));
        assert_eq!(refused(record).await, ErrorCode::InvalidArgument);
    }
    let mut payload = alice.record_payload(1);
    payload.signal_addr = "http://127.0.0.1:8080/alice".into();
    assert_eq!(
        refused(sign(&alice.device, &payload)).await,
        ErrorCode::InvalidArgument
    );

    let record = alice.record(5);
    world.announce(&alice, record.clone(), &[]).await.unwrap();
    world
        .announce(&alice, record, &[])
        .await
        .expect("the same again renews");
    assert_eq!(refused(alice.record(4)).await, ErrorCode::Conflict);
    assert_eq!(refused(alice.record(5)).await, ErrorCode::Conflict);
    let mut payload = alice.record_payload(6);
    payload.bundle = alice.bundle(4);
    assert_eq!(
        refused(sign(&alice.device, &payload)).await,
        ErrorCode::Conflict
    );
    world.announce(&alice, alice.record(6), &[]).await.unwrap();
}

fn beat(seq: u64, connected: &[&str]) -> HeartbeatRequest {
    HeartbeatRequest {
        network_id: NETWORK.into(),
        load: 1,
        capacity: 10,
        connected: connected.iter().map(|c| (*c).to_owned()).collect(),
        epoch: 7,
        seq,
        ..HeartbeatRequest::default()
    }
}

#[tokio::test]
async fn a_coordinator_counts_only_for_devices_that_named_it() {
    let world = World::start().await;
    let bob = world.person(NETWORK, "bob", Role::Coordinator).await;
    let alice = world.member("alice").await;
    let carol = world.member("carol").await;
    world.announce(&bob, bob.record(1), &[]).await.unwrap();
    world
        .announce(&alice, alice.record(1), &["bob_device"])
        .await
        .unwrap();
    world.announce(&carol, carol.record(1), &[]).await.unwrap();

    let message = beat(1, &["alice_device", "carol_device"]);
    let answer = world
        .coordinator()
        .heartbeat(with(&bob.bearer(), message))
        .await
        .unwrap();
    let answer = answer.into_inner();
    assert_eq!((answer.next_heartbeat_s, answer.want_full), (10, false));
    let last = async |name: &str| world.peer(&alice, name).await.unwrap().last_coordinators;
    assert_eq!(last("alice").await, ["bob_device"]);
    assert!(last("carol").await.is_empty(), "carol did not name bob");

    let refused = world
        .coordinator()
        .heartbeat(with(&alice.bearer(), beat(1, &[])))
        .await;
    assert_eq!(code(&refused.unwrap_err()), ErrorCode::PermissionDenied);

    let ask = ListCoordinatorsRequest {
        network_id: NETWORK.into(),
        page_size: 0,
    };
    let list = async || {
        let request = with(&alice.bearer(), ask.clone());
        world
            .coordinator()
            .list_coordinators(request)
            .await
            .unwrap()
            .into_inner()
            .coordinators
    };
    let live = list().await;
    assert_eq!(live.len(), 1);
    assert_eq!(
        (live[0].device_id.as_str(), live[0].load),
        ("bob_device", 1)
    );
    world.hands.forward(60_000);
    assert!(list().await.is_empty(), "a minute without a heartbeat");
    assert_eq!(
        last("alice").await,
        ["bob_device"],
        "who was last stays known"
    );
}

#[tokio::test]
async fn active_peers_come_in_pages_by_user_id_and_leave_the_unlisted_out() {
    let world = World::start().await;
    let mut people: Vec<Person> = Vec::new();
    for name in ["dora", "adam", "carl", "bela"] {
        let person = world.member(name).await;
        world
            .announce(&person, person.record(1), &[])
            .await
            .unwrap();
        world.socket(&person, true).await;
        people.push(person);
    }
    let hidden = world.member("hidden").await;
    let mut payload = hidden.record_payload(1);
    payload.unlisted = true;
    world
        .announce(&hidden, sign(&hidden.device, &payload), &[])
        .await
        .unwrap();
    world.socket(&hidden, true).await;

    let mut names = Vec::new();
    let mut page_token = String::new();
    loop {
        let ask = ListActivePeersRequest {
            network_id: NETWORK.into(),
            page_size: 3,
            page_token,
        };
        let request = with(&people[0].bearer(), ask);
        let page = world
            .registry()
            .list_active_peers(request)
            .await
            .unwrap()
            .into_inner();
        names.extend(page.peers.iter().map(|p| p.user_id.clone()));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(names, ["adam", "bela", "carl", "dora"]);
    assert!(
        world.peer(&people[0], "hidden").await.unwrap().online,
        "asked for by name"
    );
}

#[tokio::test]
async fn presence_survives_a_restart_until_sockets_are_reported_again() {
    let world = World::start().await;
    let bob = world.person(NETWORK, "bob", Role::Coordinator).await;
    let alice = world.member("alice").await;
    let record = alice.record(3);
    world
        .announce(&alice, record.clone(), &["bob_device"])
        .await
        .unwrap();
    world.socket(&alice, true).await;
    let message = beat(1, &["alice_device"]);
    world
        .coordinator()
        .heartbeat(with(&bob.bearer(), message))
        .await
        .unwrap();
    let world = world.restart().await;

    let peer = world.peer(&alice, "alice").await.unwrap();
    assert!(!peer.online);
    assert_eq!(peer.devices[0].record, record);
    assert_eq!(peer.last_coordinators, ["bob_device"]);
    assert!(world.socket(&alice, true).await.want_full);
    assert!(
        world.peer(&alice, "alice").await.unwrap().online,
        "the lease still runs"
    );
    let refused = world
        .announce(&alice, alice.record(2), &[])
        .await
        .unwrap_err();
    assert_eq!(code(&refused), ErrorCode::Conflict);
}
