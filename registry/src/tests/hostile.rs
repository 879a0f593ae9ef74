//! Malformed, oversized and too many calls; a full disk.

use super::raw::call;
use super::world::{NETWORK, Person, World, code, with};
use crate::limits::{DECODE_LEN_MAX, OPEN_CALLS_BURST, SOCKET_CHANGES_MAX};
use beeline_proto::code::ErrorCode;
use beeline_proto::pb::coordinator::v1::HeartbeatRequest;
use beeline_proto::pb::identity::v1::Role;
use beeline_proto::pb::registry::v1 as pb;
use prost::Message as _;

const JOIN: &str = "/beeline.registry.v1.RegistryService/Join";

#[tokio::test]
async fn what_cannot_be_decoded_is_the_callers_fault_and_ends_nothing() {
    let world = World::start().await;
    for bytes in [vec![0xff; 40], vec![0x0a, 0x7f, 1], vec![0x0b; 5_000]] {
        let refused = call(&world.channel, JOIN, with("", bytes))
            .await
            .unwrap_err();
        assert_eq!(code(&refused), ErrorCode::InvalidArgument);
        assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    }
    world.member("alice").await;
}

#[tokio::test]
async fn a_request_at_the_limit_is_read_and_one_more_byte_is_not() {
    let world = World::start().await;
    let sized = |len: usize| {
        let mut request = pb::JoinRequest {
            network_id: NETWORK.into(),
            proof: vec![],
            device_list: vec![],
        };
        let head = request.encoded_len() + 4;
        request.proof = vec![7; len - head];
        let bytes = request.encode_to_vec();
        assert_eq!(bytes.len(), len);
        bytes
    };
    let at = call(&world.channel, JOIN, with("", sized(DECODE_LEN_MAX)))
        .await
        .unwrap_err();
    assert_eq!(code(&at), ErrorCode::InvalidArgument, "{}", at.message());
    let above = call(&world.channel, JOIN, with("", sized(DECODE_LEN_MAX + 1))).await;
    assert_eq!(code(&above.unwrap_err()), ErrorCode::TooLarge);
}

#[tokio::test]
async fn methods_that_do_not_exist_say_so() {
    let world = World::start().await;
    for path in [
        "/beeline.registry.v1.RegistryService/Nothing",
        "/beeline.registry.v1.RegistryService/join",
        "/beeline.client.v1.ClientService/Send",
        "/x/y",
    ] {
        let refused = call(&world.channel, path, with(&world.operator(), vec![])).await;
        assert_eq!(
            code(&refused.unwrap_err()),
            ErrorCode::Unimplemented,
            "{path}"
        );
    }
}

#[tokio::test]
async fn lists_keep_to_their_limits() {
    let world = World::start().await;
    let bob = world.person(NETWORK, "bob", Role::Coordinator).await;
    let change = pb::SocketChange {
        network_id: NETWORK.into(),
        device_id: "bob_device".into(),
        open: true,
    };
    let report = async |count: usize, gateway: &str| {
        let report = pb::ReportSocketsRequest {
            gateway_id: gateway.into(),
            epoch: 1,
            changes: vec![change.clone(); count],
        };
        world
            .registry()
            .report_sockets(with(&world.gateway(), report))
            .await
            .map(drop)
    };
    report(SOCKET_CHANGES_MAX, "gw").await.unwrap();
    let long = "g".repeat(65);
    for (count, gateway) in [(SOCKET_CHANGES_MAX + 1, "gw"), (0, ""), (0, long.as_str())] {
        let refused = report(count, gateway).await.unwrap_err();
        assert_eq!(code(&refused), ErrorCode::InvalidArgument);
    }
    let beat = async |count: usize, seq| {
        let beat = HeartbeatRequest {
            network_id: NETWORK.into(),
            connected: (0..count).map(|n| format!("d{n}")).collect(),
            epoch: 1,
            seq,
            ..HeartbeatRequest::default()
        };
        world
            .coordinator()
            .heartbeat(with(&bob.bearer(), beat))
            .await
            .map(drop)
    };
    beat(512, 1).await.unwrap();
    for (count, seq) in [(513, 2), (1, 0)] {
        assert_eq!(
            code(&beat(count, seq).await.unwrap_err()),
            ErrorCode::InvalidArgument
        );
    }
    let named: Vec<String> = (0..5).map(|n| format!("c{n}")).collect();
    let named: Vec<&str> = named.iter().map(String::as_str).collect();
    world
        .announce(&bob, bob.record(1), &named[..4])
        .await
        .unwrap();
    let refused = world
        .announce(&bob, bob.record(2), &named)
        .await
        .unwrap_err();
    assert_eq!(code(&refused), ErrorCode::InvalidArgument);
}

#[tokio::test]
async fn reports_about_what_is_not_there_are_taken_and_change_nothing() {
    let world = World::start().await;
    let alice = world.member("alice").await;
    let change = |network: &str, device: &str| pb::SocketChange {
        network_id: network.into(),
        device_id: device.into(),
        open: true,
    };
    let changes = vec![
        change("nowhere", "alice_device"),
        change(NETWORK, "a b"),
        change("", ""),
    ];
    world.report("gw", 1, changes).await;
    assert!(!world.peer(&alice, "alice").await.unwrap().online);
}

#[tokio::test]
async fn a_flood_without_credentials_is_slowed_and_others_are_served() {
    let world = World::start().await;
    let alice = world.member("alice").await;
    let admitted =
        (0..2 * OPEN_CALLS_BURST).filter(|_| world.running.ops.admit_open_call().is_ok());
    assert!(admitted.count() <= OPEN_CALLS_BURST as usize);
    let refused = world
        .auth()
        .get_challenge(alice.challenge_request())
        .await
        .unwrap_err();
    assert_eq!(code(&refused), ErrorCode::RateLimited);
    world
        .peer(&alice, "alice")
        .await
        .expect("a member is served");
    world.hands.forward(1_000);
    world
        .auth()
        .get_challenge(alice.challenge_request())
        .await
        .expect("a second later");
}

#[tokio::test]
async fn a_full_disk_refuses_writes_clearly_loses_nothing_and_goes_on() {
    let small = |config: &mut crate::Config| config.sqlite_pages_max = Some(60);
    let world = World::start_with(small).await;
    let alice = world.member("alice").await;
    let link = world.invite(NETWORK, Role::Member, 1_000).await;
    let mut members = vec!["alice".to_owned()];
    let refused = loop {
        let name = format!("user{}", members.len());
        let person = Person::new(link.network, &name);
        match world.registry().join(person.join_request(&link)).await {
            Ok(_) => members.push(name),
            Err(refused) => break refused,
        }
        assert!(members.len() < 1_000, "60 pages must fill up");
    };
    assert_eq!(code(&refused), ErrorCode::Unavailable);
    assert!(
        refused.message().contains("disk is full"),
        "{}",
        refused.message()
    );
    assert!(members.len() > 3, "{}", members.len());

    // Still there, still answering: reading, signing in, presence (the other file has room).
    world.sign_in(&alice).await.unwrap();
    world.announce(&alice, alice.record(1), &[]).await.unwrap();
    for name in &members {
        world.peer(&alice, name).await.unwrap();
    }
    // With room again, the same join goes through, and nobody was lost.
    let world = world.restart().await;
    let person = Person::new(link.network, "late");
    world
        .registry()
        .join(person.join_request(&link))
        .await
        .unwrap();
    for name in &members {
        world.peer(&alice, name).await.unwrap();
    }
}

#[tokio::test]
async fn a_full_disk_refuses_announces_and_takes_them_again() {
    let small = |config: &mut crate::Config| config.sqlite_pages_max = Some(200);
    let world = World::start_with(small).await;
    let mut people = Vec::new();
    for n in 0..16 {
        people.push(world.member(&format!("user{n}")).await);
    }
    // Fill leases.db beside the registry: this connection has no bound of its own.
    let path = world.dir.path().join("data/leases.db");
    let other = rusqlite::Connection::open(path).unwrap();
    other
        .execute_batch("CREATE TABLE ballast (bytes BLOB)")
        .unwrap();
    for _ in 0..210 {
        other
            .execute("INSERT INTO ballast VALUES (zeroblob(4000))", [])
            .unwrap();
    }
    // A page that is there already takes a few; then there is no other.
    let mut announced = 0;
    let refused = loop {
        let person = &people[announced];
        match world.announce(person, person.record(1), &[]).await {
            Ok(_) => announced += 1,
            Err(refused) => break refused,
        }
    };
    assert_eq!(code(&refused), ErrorCode::Unavailable);
    assert!(
        refused.message().contains("disk is full"),
        "{}",
        refused.message()
    );
    let name = people[announced].handle.clone();
    let peer = world.peer(&people[0], &name).await.unwrap();
    assert!(
        peer.devices[0].record.is_empty(),
        "what was refused is not shown"
    );
    other.execute_batch("DELETE FROM ballast").unwrap();
    for person in &people[announced..] {
        world
            .announce(person, person.record(1), &[])
            .await
            .expect("there is room again");
    }
}
