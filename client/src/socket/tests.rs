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

/// A socket whose only gateway is a listener of the test's.
async fn world() -> World {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("bound");
    let gateway = format!("http://{address}");
    let key = SigningKey::from_seed(&[5; 32]);
    let identity = SocketIdentity {
        network: NETWORK,
        device: Label::new("alice_1").expect("label"),
        device_key: key.clone(),
        boot_id: BOOT,
    };
    let (credentials, credentials_rx) = watch::channel(Credentials {
        gateways: vec![gateway.clone()],
        chain: vec![1, 2, 3],
        versions: Versions {
            descriptor: 5,
            ..Versions::default()
        },
    });
    let tls = crate::tls::client_config(None).expect("made");
    let (socket, handle) = Socket::new(identity, credentials_rx, tls);
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
