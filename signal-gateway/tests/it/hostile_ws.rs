//! Sockets that lie, flood, stall or break the protocol, and the honest ones beside them.

use crate::client::{Socket, offer};
use crate::raw::{Raw, close_code, head, masked};
use crate::stack::Stack;
use crate::world::{Member, key};
use beeline_gateway::core::quota::Rate;
use beeline_proto::envelope::sign;
use beeline_proto::pb::signal::v1::signal_frame::Type;
use beeline_proto::pb::signal::v1::{SignalFrame, SocketProof};
use futures::{SinkExt as _, StreamExt as _};
use prost::Message as _;
use tokio::net::TcpSocket;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

/// Proofs that must not sign in under `/alice_1` on the socket with this nonce.
fn forgeries(stack: &Stack, nonce: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let (home, alice, bob) = (&stack.home, &stack.alice, &stack.bob);
    let thief = thief(stack);
    let here = format!("ws://{}", stack.addr);
    let good = home.proof(alice, &here, nonce);
    let mut bootless = good.clone();
    bootless.boot_id.clear();
    let mut renamed = good.clone();
    renamed.device_id = "bob_1".into();
    let as_alice = |proof: &SocketProof| sign(&alice.device_key, proof);
    vec![
        ("another key", sign(&thief.device_key, &good)),
        (
            "a key in its own name",
            sign(&thief.device_key, &home.proof(&thief, &here, nonce)),
        ),
        (
            "another nonce",
            as_alice(&home.proof(alice, &here, &[1; 32])),
        ),
        (
            "another origin",
            as_alice(&home.proof(alice, "wss://evil.example", nonce)),
        ),
        (
            "another device",
            sign(&bob.device_key, &home.proof(bob, &here, nonce)),
        ),
        (
            "another network",
            as_alice(&stack.other.proof(alice, &here, nonce)),
        ),
        ("another deviceId", as_alice(&renamed)),
        ("no boot id", as_alice(&bootless)),
        ("noise", vec![1, 2, 3]),
    ]
}

/// Alice in everything but her device key.
fn thief(stack: &Stack) -> Member {
    Member {
        device_key: key(77),
        ..stack.alice.clone()
    }
}

/// T-ID-1: a second socket claims a connected device without its key.
#[tokio::test]
async fn a_connected_device_cannot_be_taken_over() {
    let stack = Stack::start().await;
    let mut alice = Socket::proven(stack.addr, &stack.home, &stack.alice).await;
    let mut bob = Socket::proven(stack.addr, &stack.home, &stack.bob).await;
    for n in 0..forgeries(&stack, &[]).len() {
        let mut second = Socket::connect(stack.addr, "alice_1", &[]).await;
        let (what, proof) = forgeries(&stack, &second.nonce).swap_remove(n);
        let hello = SignalFrame {
            r#type: Type::Hello as i32,
            proof,
            chain: stack.home.chain(&thief(&stack)),
            ..SignalFrame::default()
        };
        second.send(&hello).await;
        assert_eq!(second.error().await, "UNAUTHENTICATED", "{what}");
        // Frames for Alice go to Alice, and only there.
        let frame = offer("bob_1", "alice_1").replace("OFFER", "ICE_CANDIDATE");
        bob.text(&frame).await;
        assert_eq!(alice.message().await, Message::text(frame));
        assert_eq!(second.until_closed().await, (Some(4001), vec![]), "{what}");
    }
    let bearer = format!("Bearer {}", stack.token(&stack.bob));
    for header in [
        ("authorization", bearer.as_str()),
        ("authorization", "Bearer nonsense"),
        ("authorization", "Basic YWxpY2U6"),
        ("sec-websocket-protocol", "beeline, bearer.x.y.z"),
    ] {
        let refused = Socket::try_connect(stack.addr, "alice_1", &[header]).await;
        assert_eq!(refused.err(), Some(401), "{header:?}");
    }
    alice.text(&offer("alice_1", "bob_1")).await;
    assert_eq!(
        bob.message().await,
        Message::text(offer("alice_1", "bob_1"))
    );
}

/// T-ID-2, on the wire: nobody ever receives a frame whose sender is not who it says.
#[tokio::test]
async fn spoofed_and_doubled_senders_reach_nobody() {
    let stack = Stack::start().await;
    let mut alice = Socket::proven(stack.addr, &stack.home, &stack.alice).await;
    let mut carol = Socket::proven(stack.addr, &stack.home, &stack.carol).await;
    for (frame, want) in [
        (offer("bob_1", "carol_1"), "PERMISSION_DENIED"),
        (offer("ALICE_1", "carol_1"), "PERMISSION_DENIED"),
        (offer("", "carol_1"), "PERMISSION_DENIED"),
        (
            offer("alice_1", "carol_1").replace("\"to\"", "\"from\":\"bob_1\",\"to\""),
            "INVALID_ARGUMENT",
        ),
        (
            offer("alice_1", "carol_1").replace("\"to\"", "\"fr\\u006fm\":\"bob_1\",\"to\""),
            "INVALID_ARGUMENT",
        ),
        (
            offer("alice_1", "carol_1").replace("\"to\"", "\"From\":\"bob_1\",\"to\""),
            "INVALID_ARGUMENT",
        ),
        (
            offer("alice_1", "carol_1").replace("OFFER", "SUPERSEDED"),
            "INVALID_ARGUMENT",
        ),
        (
            offer("alice_1", "carol_1").replace("OFFER", "PEER_FOUND"),
            "INVALID_ARGUMENT",
        ),
        (offer("alice_1", "carol_1") + "{}", "INVALID_ARGUMENT"),
    ] {
        alice.text(&frame).await;
        assert_eq!(alice.error().await, want, "{frame}");
    }
    let mut doubled = SignalFrame {
        r#type: Type::Offer as i32,
        from: "alice_1".into(),
        to: "carol_1".into(),
        ..SignalFrame::default()
    }
    .encode_to_vec();
    doubled.extend_from_slice(b"\x12\x05bob_1");
    alice.binary(doubled).await;
    assert_eq!(alice.error().await, "INVALID_ARGUMENT");
    alice.text(&offer("alice_1", "carol_1")).await;
    assert_eq!(
        carol.message().await,
        Message::text(offer("alice_1", "carol_1"))
    );
}

#[tokio::test]
async fn a_flood_is_dropped_and_then_cut_and_others_do_not_notice() {
    let stack = Stack::start().await;
    let mut alice = Socket::proven(stack.addr, &stack.home, &stack.alice).await;
    let mut bob = Socket::proven(stack.addr, &stack.home, &stack.bob).await;
    let mut carol = Socket::proven(stack.addr, &stack.home, &stack.carol).await;
    let candidate = r#"{"type":"ICE_CANDIDATE","from":"alice_1","to":"carol_1"}"#;
    for _ in 0..2_000 {
        if alice.ws.feed(Message::text(candidate)).await.is_err() {
            break;
        }
    }
    let _ = alice.ws.flush().await;
    let (code, answers) = alice.until_closed().await;
    assert_eq!(code, Some(4029));
    assert!(
        answers.len() <= 10,
        "dropping is cheaper than sending: {}",
        answers.len()
    );
    bob.text(&offer("bob_1", "carol_1")).await;
    let mut candidates = 0;
    while carol.message().await != Message::text(offer("bob_1", "carol_1")) {
        candidates += 1;
    }
    assert!((60..150).contains(&candidates), "{candidates}");
}

/// T-WS-1, scaled down: sockets that stop reading are cut; those beside them are served.
#[tokio::test]
async fn slow_readers_are_cut_and_cost_a_bounded_queue() {
    let stack = Stack::limited(|limits| {
        limits.sockets.frame_rate = Rate::per_second(1_000, 1_000_000);
        limits.sockets.write_ms = 500;
    })
    .await;
    let mut alice = Socket::proven(stack.addr, &stack.home, &stack.alice).await;
    let mut bob = Socket::proven(stack.addr, &stack.home, &stack.bob).await;
    let carol = deaf(&stack).await;
    stack.registry.fake.reported("home", "carol_1", true).await;
    let padding = "x".repeat(60 * 1024);
    let large = |to: &str| {
        format!(r#"{{"type":"ICE_CANDIDATE","from":"alice_1","to":"{to}","pad":"{padding}"}}"#)
    };
    // Until the gateway says that nobody is there any more.
    let mut sent = 0;
    loop {
        alice.text(&large("carol_1")).await;
        alice
            .text(&offer("alice_1", "alice_1").replace("OFFER", "ANSWER"))
            .await;
        sent += 1;
        let first = alice.frame().await;
        alice
            .text(&offer("alice_1", "bob_1").replace("OFFER", "ANSWER"))
            .await;
        assert!(
            matches!(bob.message().await, Message::Text(_)),
            "the healthy one is served"
        );
        if first.r#type() == Type::Error {
            assert_eq!(first.code, "PEER_OFFLINE");
            break;
        }
        // Kernel buffers of both sides and our queue, in frames of 60 KiB, with room.
        assert!(sent < 200, "the queue has no end");
    }
    stack.registry.fake.reported("home", "carol_1", false).await;
    drop(carol);
}

/// Carol signs in through a small receive buffer and then reads nothing.
async fn deaf(stack: &Stack) -> Socket {
    let socket = TcpSocket::new_v4().expect("socket");
    socket.set_recv_buffer_size(4 * 1024).expect("buffer");
    let tcp = socket.connect(stack.addr).await.expect("connect");
    let opening = crate::client::opening(stack.addr, "carol_1", &[]);
    let (ws, _) = client_async(opening, tcp).await.expect("upgrade");
    let mut socket = Socket {
        ws,
        nonce: Vec::new(),
        protocol: None,
    };
    socket.nonce = socket.frame().await.nonce;
    let hello = socket.hello(stack.addr, &stack.home, &stack.carol);
    socket.send(&hello).await;
    assert!(socket.frame().await.ready);
    socket
}

/// T-WS-2: whatever breaks the protocol is closed with the right code.
#[tokio::test]
async fn broken_framing_is_closed_with_the_right_code() {
    let stack = Stack::start().await;
    let fragment = |payload: &[u8]| masked(0x00, payload);
    let mut one_byte = masked(0x01, b"{");
    one_byte.extend(fragment(b" ").repeat(70_000));
    let mut empty = masked(0x01, b"{");
    empty.extend(fragment(b"").repeat(100_000));
    let oversize = [0x81, 0x80 | 127, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0];
    let huge = [
        0x81,
        0x80 | 127,
        0x7f,
        0xff,
        0xff,
        0xff,
        0xff,
        0xff,
        0xff,
        0xff,
        0,
        0,
        0,
        0,
    ];
    for (what, bytes, want) in [
        ("64 KiB and one byte", oversize.to_vec(), 1009),
        ("2^63 - 1 bytes", huge.to_vec(), 1009),
        ("one-byte fragments", one_byte, 1009),
        ("empty fragments", empty, 1009),
        ("pings", masked(0x89, b"x").repeat(10_000), 4029),
        ("an unmasked frame", vec![0x81, 2, b'{', b'}'], 1002),
        ("a reserved bit", masked(0xc1, b"{}"), 1002),
        ("a reserved opcode", masked(0x83, b"{}"), 1002),
        ("a fragmented ping", masked(0x09, b""), 1002),
        ("a ping of 126 bytes", masked(0x89, &[0; 126]), 1002),
        ("a continuation of nothing", masked(0x80, b"{}"), 1002),
        ("text that is not UTF-8", masked(0x81, b"\xff\xfe"), 1007),
    ] {
        let raw = Raw::upgraded(stack.addr, "alice_1", "").await;
        let seen = raw.write_until_end(&bytes).await;
        assert_eq!(close_code(&seen), Some(want), "{what}");
    }
}

/// A frame of exactly the limit passes.
#[tokio::test]
async fn the_largest_frame_passes_and_one_byte_more_does_not() {
    let stack = Stack::start().await;
    let mut alice = Socket::proven(stack.addr, &stack.home, &stack.alice).await;
    let mut carol = Socket::proven(stack.addr, &stack.home, &stack.carol).await;
    let frame = |len: usize| {
        let bare = r#"{"type":"OFFER","from":"alice_1","to":"carol_1","sdp":""}"#;
        bare.replace(
            "\"sdp\":\"",
            &format!("\"sdp\":\"{}", "v".repeat(len - bare.len())),
        )
    };
    let largest = frame(64 * 1024);
    assert_eq!(largest.len(), 64 * 1024);
    alice.text(&largest).await;
    assert_eq!(carol.message().await, Message::text(largest));
    alice.text(&frame(64 * 1024 + 1)).await;
    assert_eq!(alice.until_closed().await.0, Some(1009));
}

/// T-WS-3: no compression is agreed to.
#[tokio::test]
async fn no_extension_is_negotiated() {
    let stack = Stack::start().await;
    let extra = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
    let raw = Raw::upgraded(stack.addr, "alice_1", extra).await;
    let answer = raw.write_until_end(&masked(0x88, &[0x03, 0xe8])).await;
    assert!(!head(&answer).contains("extensions"), "{}", head(&answer));
}

/// T-WEB-1: pages of other origins cannot open sockets; clients without `Origin` can.
#[tokio::test]
async fn foreign_web_origins_are_refused() {
    let stack = Stack::with(|config| {
        config.edge.allow_origins = vec!["https://app.example".into()];
    })
    .await;
    for (origins, want) in [
        (vec!["https://evil.example"], Some(403)),
        (vec!["null"], Some(403)),
        (vec![""], Some(403)),
        (vec!["https://app.example.evil.example"], Some(403)),
        (vec!["http://app.example"], Some(403)),
        (
            vec!["https://app.example", "https://evil.example"],
            Some(403),
        ),
        (vec!["https://app.example"], None),
        (vec![], None),
    ] {
        let headers: Vec<_> = origins.iter().map(|origin| ("origin", *origin)).collect();
        let opened = Socket::try_connect(stack.addr, "alice_1", &headers).await;
        assert_eq!(opened.err(), want, "{origins:?}");
    }
}

#[tokio::test]
async fn sign_ins_have_a_rate() {
    let stack = Stack::limited(|limits| limits.sign_in_rate = Rate::per_minute(1, 2)).await;
    for _ in 0..2 {
        Socket::proven(stack.addr, &stack.home, &stack.alice).await;
    }
    let mut third = Socket::connect(stack.addr, "alice_1", &[]).await;
    let hello = third.hello(stack.addr, &stack.home, &stack.alice);
    third.send(&hello).await;
    assert_eq!(third.error().await, "RATE_LIMITED");
    assert!(
        third
            .ws
            .next()
            .await
            .is_some_and(|m| m.is_ok_and(|m| m.is_close()))
    );
}
