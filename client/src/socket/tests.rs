//! The signalling socket against a gateway of paper: sign-in, frames, take-over, loss.

use super::*;
use beeline_proto::envelope::{Expect, open};
use beeline_proto::pb::signal::v1::signal_frame::Type;
use beeline_proto::pb::signal::v1::{SignalFrame, SocketProof};
use client_core::input::SocketId;
use futures::{SinkExt as _, StreamExt as _};
use prost::Message as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

const NONCE: [u8; 32] = [7; 32];
const NETWORK: NetworkFp = NetworkFp([3; 32]);
const BOOT: BootId = BootId([4; 16]);

struct World {
    listener: TcpListener,
    gateway: String,
    handle: SocketHandle,
    credentials: watch::Sender<Credentials>,
    key: SigningKey,
    tasks: JoinSet<()>,
}

/// Who dials, and what it signs in with at this gateway.
fn alice(gateway: &str) -> (SocketIdentity, Credentials) {
    let identity = SocketIdentity {
        network: NETWORK,
        device: Label::new("alice_1").expect("label"),
        device_key: SigningKey::from_seed(&[5; 32]),
        boot_id: BOOT,
    };
    let credentials = Credentials {
        gateways: vec![gateway.to_owned()],
        chain: vec![1, 2, 3],
        versions: Versions {
            descriptor: 5,
            ..Versions::default()
        },
    };
    (identity, credentials)
}

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("bound");
    (listener, format!("http://{address}"))
}

/// A socket whose only gateway is a listener of the test's.
async fn world() -> World {
    let (listener, gateway) = listener().await;
    let (identity, credentials) = alice(&gateway);
    let key = identity.device_key.clone();
    let (credentials, credentials_rx) = watch::channel(credentials);
    let tls = crate::tls::client_config(None).expect("made");
    let (socket, handle) = Socket::new(SocketId::GATEWAY, identity, credentials_rx, tls);
    let mut tasks = JoinSet::new();
    tasks.spawn(socket.run());
    World {
        listener,
        gateway,
        handle,
        credentials,
        key,
        tasks,
    }
}

impl World {
    async fn event(&mut self) -> SocketEvent {
        self.handle.events.recv().await.expect("the socket runs")
    }
}

type Peer = WebSocketStream<TcpStream>;

async fn accept(listener: &TcpListener) -> Peer {
    let (stream, _) = listener.accept().await.expect("dialled");
    tokio_tungstenite::accept_async(stream)
        .await
        .expect("upgraded")
}

async fn say(peer: &mut Peer, frame: SignalFrame) {
    let message = Message::binary(frame.encode_to_vec());
    peer.send(message).await.expect("sent");
}

async fn hear(peer: &mut Peer) -> SignalFrame {
    loop {
        let message = peer.next().await.expect("open").expect("sound");
        if let Message::Binary(bytes) = message {
            return SignalFrame::decode(bytes).expect("a frame");
        }
    }
}

fn hello() -> SignalFrame {
    SignalFrame {
        r#type: Type::Hello.into(),
        nonce: NONCE.to_vec(),
        ..SignalFrame::default()
    }
}

fn ready() -> SignalFrame {
    SignalFrame {
        r#type: Type::Hello.into(),
        ready: true,
        ..SignalFrame::default()
    }
}

/// Lets the socket sign in and returns what it said.
async fn sign_in(listener: &TcpListener) -> (Peer, SignalFrame) {
    let mut peer = accept(listener).await;
    say(&mut peer, hello()).await;
    let answer = hear(&mut peer).await;
    say(&mut peer, ready()).await;
    (peer, answer)
}

#[tokio::test]
async fn it_signs_the_gateways_nonce_for_the_origin_it_dialled() {
    let mut world = world().await;
    let (_peer, answer) = sign_in(&world.listener).await;
    assert_eq!(answer.chain, [1, 2, 3]);
    assert_eq!(answer.versions.expect("said").descriptor, 5);
    assert!(answer.token.is_empty());
    let device = world.key.verify_key().fp();
    let audiences = [device];
    let expect = Expect::new(NETWORK, &audiences).signer(device);
    let proof = open::<SocketProof>(&answer.proof, &expect).expect("signed");
    assert_eq!(proof.payload().nonce, NONCE);
    assert_eq!(proof.payload().origin, world.gateway);
    assert_eq!(proof.payload().device_id, "alice_1");
    assert_eq!(proof.payload().boot_id, BOOT.to_vec());
    let SocketEvent::Up { gateway } = world.event().await else {
        panic!("it is ready");
    };
    assert_eq!(gateway, world.gateway);
}

#[tokio::test]
async fn frames_go_both_ways() {
    let mut world = world().await;
    let (mut peer, _) = sign_in(&world.listener).await;
    assert!(matches!(world.event().await, SocketEvent::Up { .. }));
    let command = SignalCommand {
        socket: SocketId(0),
        kind: SignalKind::Answer,
        to: Label::new("carol_1").expect("label"),
        parcel: vec![9; 50],
    };
    world.handle.commands.send(command).await.expect("taken");
    let frame = hear(&mut peer).await;
    assert_eq!(frame.r#type(), Type::Answer);
    assert_eq!(
        (frame.from.as_str(), frame.to.as_str()),
        ("alice_1", "carol_1")
    );
    assert_eq!(frame.parcel, [9; 50]);
    assert!(matches!(
        world.event().await,
        SocketEvent::Carried {
            sent: true,
            bytes: 50,
            ..
        }
    ));

    let text = r#"{"type":"OFFER","from":"carol_1","to":"alice_1","parcel":"AQID"}"#;
    peer.send(Message::text(text)).await.expect("sent");
    assert!(matches!(
        world.event().await,
        SocketEvent::Carried {
            sent: false,
            bytes: 3,
            ..
        }
    ));
    let SocketEvent::Signal(SignalInput::Parcel { from, parcel, .. }) = world.event().await else {
        panic!("a parcel came");
    };
    assert_eq!((from.as_str(), parcel), ("carol_1", vec![1, 2, 3]));

    peer.send(Message::text("no frame")).await.expect("sent");
    let lists = SignalFrame {
        descriptor: vec![1],
        revocations: vec![2],
        ..ready()
    };
    say(&mut peer, lists).await;
    let SocketEvent::Signal(SignalInput::Lists {
        descriptor,
        revocations,
    }) = world.event().await
    else {
        panic!("what is no frame is passed over, newer lists are not");
    };
    assert_eq!((descriptor, revocations), (vec![1], vec![2]));
}

#[tokio::test]
async fn a_lost_socket_is_dialled_again_and_a_refusal_is_told() {
    let mut world = world().await;
    let (mut peer, _) = sign_in(&world.listener).await;
    assert!(matches!(world.event().await, SocketEvent::Up { .. }));
    peer.close(None).await.expect("closed");
    drop(peer);
    assert!(matches!(world.event().await, SocketEvent::Down { .. }));

    let mut peer = accept(&world.listener).await;
    say(&mut peer, hello()).await;
    hear(&mut peer).await;
    let refusal = SignalFrame {
        r#type: Type::Error.into(),
        code: "REVOKED".to_owned(),
        ..SignalFrame::default()
    };
    say(&mut peer, refusal).await;
    let SocketEvent::Down { reason, .. } = world.event().await else {
        panic!("it was refused");
    };
    assert!(reason.contains("REVOKED"), "{reason}");

    let (mut peer, _) = sign_in(&world.listener).await;
    assert!(matches!(world.event().await, SocketEvent::Up { .. }));
    let goaway = SignalFrame {
        r#type: Type::Goaway.into(),
        retry_after_ms: 10,
        ..SignalFrame::default()
    };
    say(&mut peer, goaway).await;
    assert!(matches!(world.event().await, SocketEvent::Down { .. }));
    sign_in(&world.listener).await;
}

#[tokio::test]
async fn on_another_network_it_dials_again_whatever_it_was_at() {
    let mut world = world().await;
    let (_silent, _) = sign_in(&world.listener).await;
    assert!(matches!(world.event().await, SocketEvent::Up { .. }));
    // The connection looks sound.
    world.handle.redial.notify_one();
    let SocketEvent::Down { reason, .. } = world.event().await else {
        panic!("it is given up");
    };
    assert!(reason.contains("network"), "{reason}");
    // Nothing comes of the next dial.
    let _unanswered = accept(&world.listener).await;
    world.handle.redial.notify_one();
    assert!(matches!(world.event().await, SocketEvent::Down { .. }));
    let (_peer, _) = sign_in(&world.listener).await;
    assert!(matches!(world.event().await, SocketEvent::Up { .. }));
}

#[tokio::test]
async fn a_take_over_waits_for_the_verdict() {
    let mut world = world().await;
    for stay in [true, false] {
        let (mut peer, _) = sign_in(&world.listener).await;
        assert!(matches!(world.event().await, SocketEvent::Up { .. }));
        let superseded = SignalFrame {
            r#type: Type::Superseded.into(),
            proof: vec![8, 8],
            ..SignalFrame::default()
        };
        say(&mut peer, superseded).await;
        let SocketEvent::Superseded { proof, dial_again } = world.event().await else {
            panic!("a newer socket took over");
        };
        assert_eq!(proof, [8, 8]);
        assert!(matches!(world.event().await, SocketEvent::Down { .. }));
        dial_again.send(stay).expect("waited for");
    }
    // Told to stay away, the task ends by itself.
    world
        .tasks
        .join_next()
        .await
        .expect("one task")
        .expect("it ended well");
}

#[tokio::test]
async fn without_a_gateway_it_waits_for_one_and_ends_with_its_driver() {
    let mut world = world().await;
    let (peer, _) = sign_in(&world.listener).await;
    assert!(matches!(world.event().await, SocketEvent::Up { .. }));
    let gateways = world.credentials.borrow().gateways.clone();
    world.credentials.send_modify(|c| c.gateways.clear());
    drop(peer);
    assert!(matches!(world.event().await, SocketEvent::Down { .. }));
    world.credentials.send_modify(|c| c.gateways = gateways);
    let (mut peer, _) = sign_in(&world.listener).await;
    assert!(matches!(world.event().await, SocketEvent::Up { .. }));
    drop(world.handle);
    world
        .tasks
        .join_next()
        .await
        .expect("one task")
        .expect("it ended well");
    let last = peer.next().await.expect("a goodbye").expect("sound");
    assert!(last.is_close(), "{last:?}");
}

/// The sockets of a client, signed in at a gateway of the test's.
async fn sockets() -> (Sockets, Peer) {
    let (listener, gateway) = listener().await;
    let (identity, credentials) = alice(&gateway);
    let (_, credentials) = watch::channel(credentials);
    let tls = crate::tls::client_config(None).expect("made");
    let mut sockets = Sockets::new(identity, credentials.clone(), tls);
    sockets.keep(SocketId::GATEWAY, credentials);
    let (peer, _) = sign_in(&listener).await;
    let (id, event) = sockets.next().await;
    assert!(matches!(event, SocketEvent::Up { .. }), "{event:?}");
    assert_eq!(id, SocketId::GATEWAY);
    (sockets, peer)
}

/// Where a coordinator serves, and its address as its record says it.
async fn coordinator() -> (TcpListener, String) {
    let (listener, origin) = listener().await;
    let addr = format!("{}/bob_1", origin.replace("http", "ws"));
    (listener, addr)
}

fn offer(socket: SocketId) -> SignalCommand {
    SignalCommand {
        socket,
        kind: SignalKind::Offer,
        to: Label::new("carol_1").expect("label"),
        parcel: vec![9; 50],
    }
}

#[tokio::test]
async fn frames_of_several_sockets_are_told_apart() {
    let (mut sockets, mut at_gateway) = sockets().await;
    let (listener, addr) = coordinator().await;
    let bob = SocketId(2);
    assert!(sockets.open(bob, &addr));
    let (mut at_bob, proof) = sign_in(&listener).await;
    assert_eq!(proof.from, "alice_1");
    let (id, SocketEvent::Up { gateway }) = sockets.next().await else {
        panic!("it is ready");
    };
    assert_eq!(
        (id, &addr),
        (bob, &format!("{}/bob_1", gateway.replace("http", "ws")))
    );

    // A frame goes where it is sent, and comes with the name of where it came from.
    assert!(sockets.send(offer(bob)));
    assert_eq!(hear(&mut at_bob).await.to, "carol_1");
    assert!(matches!(
        sockets.next().await,
        (SocketId(2), SocketEvent::Carried { .. })
    ));
    for (peer, want) in [(&mut at_bob, bob), (&mut at_gateway, SocketId::GATEWAY)] {
        let answer = SignalFrame {
            r#type: Type::Answer.into(),
            from: "carol_1".to_owned(),
            parcel: vec![1, 2, 3],
            ..SignalFrame::default()
        };
        say(peer, answer).await;
        assert!(matches!(
            sockets.next().await.1,
            SocketEvent::Carried { .. }
        ));
        let (id, event) = sockets.next().await;
        let SocketEvent::Signal(SignalInput::Parcel { socket, .. }) = event else {
            panic!("a parcel came");
        };
        assert_eq!((id, socket), (want, want));
    }

    // One of them ends; the other does not care.
    at_bob.close(None).await.expect("closed");
    assert!(matches!(
        sockets.next().await,
        (SocketId(2), SocketEvent::Down { .. })
    ));
    assert!(sockets.send(offer(SocketId::GATEWAY)));
    assert_eq!(hear(&mut at_gateway).await.parcel, [9; 50]);
}

#[tokio::test]
async fn a_coordinators_socket_is_dialled_once_and_its_end_is_told_once() {
    let (mut sockets, _at_gateway) = sockets().await;
    let bob = SocketId(1);
    let (gone, nowhere) = coordinator().await;
    drop(gone);
    for addr in [
        nowhere.as_str(),
        "bob_1",
        "ftp://127.0.0.1/bob_1",
        "http://127.0.0.1:1/b",
    ] {
        assert!(sockets.open(bob, addr));
        let (id, event) = sockets.next().await;
        assert!(
            matches!(event, SocketEvent::Down { .. }),
            "{addr}: {event:?}"
        );
        assert_eq!(id, bob);
    }
    // Refused in its first words, and not dialled again by itself.
    let (listener, addr) = coordinator().await;
    assert!(sockets.open(bob, &addr));
    drop(accept(&listener).await);
    let (id, event) = sockets.next().await;
    assert!(matches!(event, SocketEvent::Down { .. }) && id == bob);
    assert!(sockets.open(bob, &addr));
    let (mut peer, _) = sign_in(&listener).await;
    assert!(matches!(
        sockets.next().await,
        (SocketId(1), SocketEvent::Up { .. })
    ));
    let superseded = SignalFrame {
        r#type: Type::Superseded.into(),
        proof: vec![8],
        ..SignalFrame::default()
    };
    say(&mut peer, superseded).await;
    let (_, SocketEvent::Superseded { proof, .. }) = sockets.next().await else {
        panic!("the core judges it");
    };
    assert_eq!(proof, [8]);
    assert!(matches!(sockets.next().await.1, SocketEvent::Down { .. }));
}

#[tokio::test]
async fn a_closed_socket_says_goodbye_and_nothing_more_is_heard_of_it() {
    let (mut sockets, mut at_gateway) = sockets().await;
    let (listener, addr) = coordinator().await;
    assert!(sockets.open(SocketId(1), &addr));
    let (mut peer, _) = sign_in(&listener).await;
    assert!(matches!(sockets.next().await.1, SocketEvent::Up { .. }));
    let text = r#"{"type":"OFFER","from":"carol_1","to":"alice_1","parcel":"AQID"}"#;
    peer.send(Message::text(text)).await.expect("sent");
    sockets.close(SocketId(1));
    let last = peer.next().await.expect("a goodbye").expect("sound");
    assert!(last.is_close(), "{last:?}");
    at_gateway.send(Message::text(text)).await.expect("sent");
    assert_eq!(sockets.next().await.0, SocketId::GATEWAY);
    // One that is still being dialled is closed as well.
    assert!(sockets.open(SocketId(1), &addr));
    let mut peer = accept(&listener).await;
    sockets.close(SocketId(1));
    assert!(!matches!(peer.next().await, Some(Ok(Message::Binary(_)))));
    let ended = async { while at_gateway.next().await.is_some_and(|last| last.is_ok()) {} };
    tokio::join!(sockets.end(), ended);
}

#[tokio::test]
async fn sockets_are_bounded() {
    let (mut sockets, _at_gateway) = sockets().await;
    let (_listener, addr) = coordinator().await;
    let most = crate::limits::SOCKETS_MAX as u64;
    let opened = (1..100).filter(|n| sockets.open(SocketId(*n), &addr));
    assert_eq!(opened.count() as u64, most - 1, "the gateway's counts too");
    let again = (0..1_000).filter(|_| sockets.open(SocketId(1), &addr));
    assert!(again.count() < crate::limits::SOCKET_TASKS_MAX);
}
