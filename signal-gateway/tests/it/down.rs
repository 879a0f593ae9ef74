//! The registry is down: what goes on, what does not, and what a restarted gateway remembers.

use crate::client::{Socket, get, offer, post};
use crate::fake_registry::Server;
use crate::stack::{Stack, config};
use crate::world::{Member, Network, key};
use beeline_gateway::Gateway;
use beeline_gateway::bus::memory::MemoryBus;
use beeline_gateway::registry_client::disk::FILE_NAME;
use beeline_proto::pb::identity::v1::Chain;
use beeline_proto::pb::signal::v1::SignalFrame;
use prost::Message as _;
use serde_json::{Value, json};
use std::net::SocketAddr;
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn proven_sockets_go_on_and_new_ones_sign_in_by_their_chain() {
    let mut stack = Stack::start().await;
    let mut alice = Socket::proven(stack.addr, &stack.home, &stack.alice).await;
    let mut bob = Socket::bearer(stack.addr, "bob_1", &stack.token(&stack.bob)).await;
    let token = stack.token(&stack.alice);
    assert_eq!(
        get(stack.addr, "/network/home/peer/carol", Some(&token))
            .await
            .status,
        200
    );
    let down = stack.registry.stop().await;

    alice.text(&offer("alice_1", "bob_1")).await;
    assert_eq!(
        bob.message().await,
        Message::text(offer("alice_1", "bob_1"))
    );
    // A newcomer: by its chain, offline.
    let mut carol = Socket::proven(stack.addr, &stack.home, &stack.carol).await;
    carol.text(&offer("carol_1", "alice_1")).await;
    assert_eq!(
        alice.message().await,
        Message::text(offer("carol_1", "alice_1"))
    );
    forged_chains_are_refused(stack.addr, &stack.home, &stack.bob).await;
    // And none at all is not enough.
    let mut bare = Socket::connect(stack.addr, "carol_1", &[]).await;
    let mut hello = bare.hello(stack.addr, &stack.home, &stack.carol);
    hello.chain.clear();
    bare.send(&hello).await;
    assert_eq!(bare.error().await, "UNAVAILABLE");
    assert_eq!(bare.until_closed().await.0, Some(1013));
    // REST does not go on, and says when to come back.
    let peer = get(stack.addr, "/network/home/peer/carol", Some(&token)).await;
    assert_eq!(peer.problem(), (503, "UNAVAILABLE".into()));
    assert!(peer.headers.contains_key("retry-after"));
    let ids = json!({ "networkId": "home", "deviceId": "alice_1" });
    assert_eq!(
        post(stack.addr, "/auth/challenge", None, &ids)
            .await
            .problem()
            .0,
        503
    );
    assert_eq!(
        get(stack.addr, "/readyz", None).await.json()["status"],
        "grace"
    );

    // Back again: what opened meanwhile is reported.
    stack.registry = Server::restart(down).await;
    stack.registry.fake.reported("home", "carol_1", true).await;
}

/// A forged chain is still forged: by a registrar nobody named, or one named no more.
async fn forged_chains_are_refused(addr: SocketAddr, home: &Network, bob: &Member) {
    let thief = Member {
        device_key: key(9),
        ..bob.clone()
    };
    let mut forger = home.clone();
    forger.registrar = key(9);
    let mut forged = Chain::decode(forger.chain(&thief).as_slice()).expect("chain");
    forger.version = 0;
    let rotated_out = forger.chain(&thief);
    forged.descriptor = home.descriptor();
    for chain in [forged.encode_to_vec(), rotated_out] {
        let mut socket = Socket::connect(addr, "bob_1", &[]).await;
        let mut hello = socket.hello(addr, home, &thief);
        hello.chain = chain;
        socket.send(&hello).await;
        assert_eq!(socket.error().await, "UNAUTHENTICATED");
    }
}

#[tokio::test]
async fn a_gateway_that_starts_alone_remembers() {
    let stack = Stack::limited(|limits| limits.lists_every_ms = 50).await;
    let alone = config(&stack.registry, &stack.dir);
    let _alice = Socket::proven(stack.addr, &stack.home, &stack.alice).await;
    let mut bob = Socket::proven(stack.addr, &stack.home, &stack.bob).await;
    {
        let mut state = stack.registry.fake.lock();
        let home = state.networks.get_mut("home").expect("home");
        home.revoked = Some((3, vec![stack.bob.serial]));
    }
    assert_eq!(bob.error().await, "REVOKED");
    let token = stack.token(&stack.carol);
    assert_eq!(
        get(stack.addr, "/network/home/peer/bob", Some(&token))
            .await
            .status,
        200
    );
    stack.gateway.shutdown().await;
    let _down = stack.registry.stop().await;

    let gateway = Gateway::start(alone.clone()).await.expect("start");
    let mut alice = Socket::proven(gateway.addr, &stack.home, &stack.alice).await;
    let mut carol = Socket::bearer(gateway.addr, "carol_1", &token).await;
    alice.text(&offer("alice_1", "carol_1")).await;
    assert_eq!(
        carol.message().await,
        Message::text(offer("alice_1", "carol_1"))
    );
    let mut bob = Socket::connect(gateway.addr, "bob_1", &[]).await;
    let hello = bob.hello(gateway.addr, &stack.home, &stack.bob);
    bob.send(&hello).await;
    assert_eq!(
        bob.error().await,
        "REVOKED",
        "the newest signed revocations hold"
    );
    let jwks = get(gateway.addr, "/.well-known/jwks.json", None)
        .await
        .json();
    assert_eq!(jwks["keys"].as_array().map(Vec::len), Some(1));
    gateway.shutdown().await;

    // A day and a second later, by the file: what is remembered no longer holds.
    let path = stack.dir.path().join("cache").join(FILE_NAME);
    let file = std::fs::read(&path).expect("the file is there");
    let mut file: Value = serde_json::from_slice(&file).expect("JSON");
    let last = file["lastAnswerMs"].as_u64().expect("milliseconds");
    file["lastAnswerMs"] = json!(last - (24 * 3600 * 1000 + 1_000));
    std::fs::write(&path, file.to_string()).expect("write");
    let gateway = Gateway::start(alone.clone()).await.expect("start");
    let mut alice = Socket::connect(gateway.addr, "alice_1", &[]).await;
    let hello = alice.hello(gateway.addr, &stack.home, &stack.alice);
    alice.send(&hello).await;
    assert_eq!(alice.error().await, "UNAVAILABLE");
    gateway.shutdown().await;

    // A damaged file is as good as none.
    std::fs::write(&path, b"{\"keys\":").expect("write");
    let gateway = Gateway::start(alone).await.expect("start");
    assert_eq!(get(gateway.addr, "/readyz", None).await.problem().0, 503);
    gateway.shutdown().await;
}

/// Two nodes share a bus: frames cross it, and the newest proven socket wins on either.
#[tokio::test]
async fn two_nodes_are_one_gateway() {
    let stack = Stack::start().await;
    let bus = std::sync::Arc::new(MemoryBus::default());
    let start = || Gateway::start_on(config(&stack.registry, &stack.dir), bus.clone());
    let (one, two) = (start().await.expect("start"), start().await.expect("start"));
    let mut alice = Socket::proven(one.addr, &stack.home, &stack.alice).await;
    let mut carol = Socket::proven(two.addr, &stack.home, &stack.carol).await;
    alice.text(&offer("alice_1", "carol_1")).await;
    assert_eq!(
        carol.message().await,
        Message::text(offer("alice_1", "carol_1"))
    );
    alice.text(&offer("alice_1", "bob_1")).await;
    assert_eq!(alice.error().await, "PEER_OFFLINE");

    let mut moved = Socket::connect(two.addr, "alice_1", &[]).await;
    let hello = moved.hello(two.addr, &stack.home, &stack.alice);
    moved.send(&hello).await;
    assert!(moved.frame().await.ready);
    let superseded: SignalFrame = alice.frame().await;
    assert_eq!(superseded.proof, hello.proof);
    assert_eq!(alice.until_closed().await.0, Some(4002));
    carol.text(&offer("carol_1", "alice_1")).await;
    assert_eq!(
        moved.message().await,
        Message::text(offer("carol_1", "alice_1"))
    );
    assert_eq!((one.sockets(), two.sockets()), (0, 2));
}
