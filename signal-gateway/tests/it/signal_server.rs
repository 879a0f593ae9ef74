//! The signalling server a coordinator embeds: signatures alone, and no registry anywhere.

use crate::client::{Socket, get, offer, within};
use crate::world::{Member, Network, key};
use beeline_gateway::authority::offline::OfflineAuthority;
use beeline_gateway::clock::Clock;
use beeline_gateway::limits::Limits;
use beeline_gateway::{SignalConfig, SignalServer, StartError};
use beeline_proto::envelope::sign;
use beeline_proto::pb::signal::v1::SignalFrame;
use beeline_proto::pb::signal::v1::signal_frame::Type;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio_tungstenite::tungstenite::Message;

struct Hub {
    server: SignalServer,
    authority: Arc<OfflineAuthority>,
    network: Network,
    addr: SocketAddr,
}

fn config(authority: Arc<OfflineAuthority>, clock: Clock) -> SignalConfig {
    SignalConfig {
        listen: "127.0.0.1:0".parse().expect("an address"),
        public_url: None,
        tls_cert: None,
        tls_key: None,
        authority,
        clock,
        own_device: Some("bob_1".to_owned()),
        limits: Limits::default(),
    }
}

fn authority(network: &Network, clock: Clock) -> Arc<OfflineAuthority> {
    let lists = network.lists();
    let (descriptor, revocations) = (&lists.descriptor, &lists.revocations);
    let authority = OfflineAuthority::new(network.fp(), descriptor, revocations, clock);
    Arc::new(authority.expect("they verify"))
}

fn hub() -> Hub {
    let network = Network::new("home", 50);
    let clock = Clock::start();
    let authority = authority(&network, clock);
    let server = SignalServer::start(config(Arc::clone(&authority), clock));
    let server = server.expect("it starts");
    let addr = server.addr;
    assert_eq!(server.public_url, format!("http://{addr}"));
    Hub {
        server,
        authority,
        network,
        addr,
    }
}

/// Sends a HELLO and returns the answer.
async fn answer(
    hub: &Hub,
    device: &str,
    hello: impl FnOnce(&Socket) -> SignalFrame,
) -> SignalFrame {
    let mut socket = Socket::connect(hub.addr, device, &[]).await;
    let hello = hello(&socket);
    socket.send(&hello).await;
    socket.frame().await
}

#[tokio::test]
async fn devices_find_each_other_without_any_registry() {
    let hub = hub();
    let (alice, carol) = (Member::new("alice", 1), Member::new("carol", 2));
    let mut a = Socket::proven(hub.addr, &hub.network, &alice).await;
    let mut c = Socket::proven(hub.addr, &hub.network, &carol).await;
    a.text(&offer("alice_1", "carol_1")).await;
    assert_eq!(
        c.message().await,
        Message::text(offer("alice_1", "carol_1"))
    );
    a.text(&offer("alice_1", "dora_1")).await;
    assert_eq!(a.error().await, "PEER_OFFLINE");
    assert_eq!(hub.server.sockets(), 2);

    // It lives, and it is nothing but a socket.
    assert_eq!(get(hub.addr, "/healthz", None).await.status, 200);
    for rest in [
        "/network/home/active-peers",
        "/auth/challenge",
        "/openapi.json",
    ] {
        let status = get(hub.addr, rest, None).await.status;
        assert!((400..500).contains(&status), "{rest}: {status}");
    }
    hub.server.shutdown().await;
    assert_eq!(a.frame().await.r#type(), Type::Goaway);
}

#[tokio::test]
async fn only_a_member_with_its_own_signature_is_let_in() {
    let hub = hub();
    let (alice, mallory) = (Member::new("alice", 1), Member::new("mallory", 3));
    let refused = |frame: SignalFrame| {
        assert_eq!(frame.r#type(), Type::Error, "{frame:?}");
        frame.code
    };
    let network = &hub.network;
    let without_chain = answer(&hub, "alice_1", |socket| SignalFrame {
        chain: Vec::new(),
        ..socket.hello(hub.addr, network, &alice)
    });
    assert_eq!(refused(without_chain.await), "UNAUTHENTICATED");
    let foreign = Network::new("home", 60);
    let of_another_network = answer(&hub, "alice_1", |socket| {
        socket.hello(hub.addr, &foreign, &alice)
    });
    assert_eq!(refused(of_another_network.await), "UNAUTHENTICATED");
    let relayed = answer(&hub, "alice_1", |socket| {
        let proof = network.proof(&alice, "https://elsewhere.example", &socket.nonce);
        SignalFrame {
            proof: sign(&alice.device_key, &proof),
            ..socket.hello(hub.addr, network, &alice)
        }
    });
    assert_eq!(refused(relayed.await), "UNAUTHENTICATED");
    let stolen = answer(&hub, "alice_1", |socket| {
        let proof = network.proof(&alice, &format!("http://{}", hub.addr), &socket.nonce);
        SignalFrame {
            proof: sign(&mallory.device_key, &proof),
            ..socket.hello(hub.addr, network, &alice)
        }
    });
    assert_eq!(refused(stolen.await), "UNAUTHENTICATED");
    let bearer = Socket::try_connect(hub.addr, "alice_1", &[("authorization", "Bearer x")]).await;
    assert_eq!(bearer.err(), Some(401));

    // A member who lists somebody else's deviceId as its own does not get it.
    let _alice = Socket::proven(hub.addr, network, &alice).await;
    let thief = Member {
        device: "alice_1".to_owned(),
        device_key: key(200),
        ..mallory
    };
    let taken = answer(&hub, "alice_1", |socket| {
        socket.hello(hub.addr, network, &thief)
    });
    assert_eq!(refused(taken.await), "CONFLICT");
    assert_eq!(hub.server.sockets(), 1);
}

#[tokio::test]
async fn the_newest_lists_hold_for_open_sockets_too() {
    let mut hub = hub();
    let (alice, carol) = (Member::new("alice", 1), Member::new("carol", 2));
    let mut a = Socket::proven(hub.addr, &hub.network, &alice).await;
    let old = hub.network.lists();
    hub.network.revoked = Some((1, vec![alice.serial]));
    let lists = hub.network.lists();
    let taken = hub.authority.update(&lists.descriptor, &lists.revocations);
    assert_eq!(taken, Ok(true));
    hub.server.sweep();
    assert_eq!(a.error().await, "REVOKED");
    // An older list changes nothing, a forged one is refused, and who is revoked stays out.
    assert_eq!(
        hub.authority.update(&old.descriptor, &old.revocations),
        Ok(false)
    );
    assert!(hub.authority.update(&old.descriptor, b"forged").is_err());
    assert!(
        hub.authority
            .update(&Network::new("home", 60).descriptor(), &[])
            .is_err()
    );
    let network = &hub.network;
    let again = answer(&hub, "alice_1", |socket| {
        socket.hello(hub.addr, network, &alice)
    })
    .await;
    assert_eq!(again.code, "REVOKED");
    // Others are handed what they do not have.
    let ready = answer(&hub, "carol_1", |socket| {
        socket.hello(hub.addr, network, &carol)
    })
    .await;
    assert!(ready.ready, "{ready:?}");
    assert_eq!(ready.revocations, lists.revocations);
}

#[tokio::test]
async fn with_tls_its_own_device_still_needs_no_certificate() {
    let dir = tempfile::tempdir().expect("a directory");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).expect("written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    let (network, clock) = (Network::new("home", 50), Clock::start());
    let with_tls = SignalConfig {
        tls_cert: Some(cert.clone()),
        tls_key: Some(key),
        public_url: Some("https://localhost:9".to_owned()),
        ..config(authority(&network, clock), clock)
    };
    let server = SignalServer::start(with_tls).expect("it starts");
    assert_eq!(server.public_url, "https://localhost:9");
    let local = server.local_url.strip_prefix("http://").expect("plain");
    let local: SocketAddr = local.parse().expect("an address");
    assert!(local.ip().is_loopback() && local.port() != server.addr.port());
    let _bob = Socket::proven(local, &network, &Member::new("bob", 4)).await;
    assert_eq!(server.sockets(), 1);
    within(server.shutdown()).await;

    let half = SignalConfig {
        tls_cert: Some(cert),
        ..config(authority(&network, clock), clock)
    };
    let refused = SignalServer::start(half).err();
    assert!(matches!(refused, Some(StartError::Flag(_))), "{refused:?}");
}

/// Everybody calls a coordinator that came back, and it answers them all.
#[tokio::test]
async fn the_coordinators_own_socket_may_speak_to_hundreds_at_once() {
    let hub = hub();
    let (alice, bob) = (Member::new("alice", 1), Member::new("bob", 4));
    let mut b = Socket::proven(hub.addr, &hub.network, &bob).await;
    let mut a = Socket::proven(hub.addr, &hub.network, &alice).await;
    let candidate = offer("bob_1", "bob_1").replace("OFFER", "ICE_CANDIDATE");
    for _ in 0..500 {
        b.text(&candidate).await;
    }
    for _ in 0..500 {
        assert_eq!(b.message().await, Message::text(candidate.clone()));
    }
    // Anybody else is held to the usual rate.
    let candidate = offer("alice_1", "alice_1").replace("OFFER", "ICE_CANDIDATE");
    for _ in 0..100 {
        a.text(&candidate).await;
    }
    let mut codes = Vec::new();
    while codes.is_empty() {
        let frame = a.frame().await;
        codes.extend((frame.r#type() == Type::Error).then_some(frame.code));
    }
    assert_eq!(codes, ["RATE_LIMITED"]);
}
