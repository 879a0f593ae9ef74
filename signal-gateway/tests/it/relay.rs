//! Sockets that sign in and relay: proven and bearer, text and binary, byte for byte.

use crate::client::{Socket, offer};
use crate::stack::Stack;
use beeline_proto::pb::signal::v1::SignalFrame;
use beeline_proto::pb::signal::v1::signal_frame::Type;
use prost::Message as _;
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn frames_pass_between_proven_and_bearer_sockets_byte_for_byte() {
    let stack = Stack::start().await;
    let mut alice = Socket::proven(stack.addr, &stack.home, &stack.alice).await;
    let mut carol = Socket::bearer(stack.addr, "carol_1", &stack.token(&stack.carol)).await;
    for kind in ["OFFER", "ANSWER", "ICE_CANDIDATE", "RELAY_REQUEST"] {
        let text = offer("alice_1", "carol_1").replace("OFFER", kind);
        alice.text(&text).await;
        assert_eq!(carol.message().await, Message::text(text));
    }
    // A form of its own: unknown fields and their order survive too.
    let frame = SignalFrame {
        r#type: Type::Answer as i32,
        from: "carol_1".into(),
        to: "alice_1".into(),
        parcel: vec![1, 2, 3],
        ..SignalFrame::default()
    };
    let mut bytes = vec![0xa8, 0x06, 7];
    bytes.extend(frame.encode_to_vec());
    carol.binary(bytes.clone()).await;
    assert_eq!(alice.message().await, Message::binary(bytes));
    assert_eq!(stack.gateway.sockets(), 2);
}

#[tokio::test]
async fn unknown_foreign_and_offline_targets_look_the_same() {
    let stack = Stack::start().await;
    let mut alice = Socket::proven(stack.addr, &stack.home, &stack.alice).await;
    let mut mallory = Socket::proven(stack.addr, &stack.other, &stack.mallory).await;
    let mut answers = Vec::new();
    for target in ["nobody_9", "mallory_1", "bob_1"] {
        alice.text(&offer("alice_1", target)).await;
        let Message::Text(answer) = alice.message().await else {
            panic!("expected text");
        };
        let frame: SignalFrame = serde_json::from_str(&answer).expect("frame");
        assert_eq!(
            (frame.code.as_str(), frame.to.as_str()),
            ("PEER_OFFLINE", target)
        );
        answers.push(answer.replace(target, "X"));
    }
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "{answers:?}"
    );
    // Nothing reached the foreign device: what it hears next is its own.
    mallory.text(&offer("mallory_1", "mallory_1")).await;
    assert_eq!(
        mallory.message().await,
        Message::text(offer("mallory_1", "mallory_1"))
    );
}

#[tokio::test]
async fn the_gateway_answers_in_the_form_last_used() {
    let stack = Stack::start().await;
    let mut alice = Socket::proven(stack.addr, &stack.home, &stack.alice).await;
    let frame = SignalFrame {
        r#type: Type::Offer as i32,
        from: "alice_1".into(),
        to: "nobody".into(),
        ..SignalFrame::default()
    };
    alice.binary(frame.encode_to_vec()).await;
    assert!(matches!(alice.message().await, Message::Binary(_)));
    alice.send(&frame).await;
    assert!(matches!(alice.message().await, Message::Text(_)));
}

#[tokio::test]
async fn the_newest_proven_socket_wins_and_the_old_one_gets_its_proof() {
    let stack = Stack::start().await;
    let mut first = Socket::proven(stack.addr, &stack.home, &stack.alice).await;
    let mut second = Socket::connect(stack.addr, "alice_1", &[]).await;
    let hello = second.hello(stack.addr, &stack.home, &stack.alice);
    second.send(&hello).await;
    assert!(second.frame().await.ready);
    let (code, frames) = first.until_closed().await;
    assert_eq!(code, Some(4002));
    let [Message::Text(superseded)] = frames.as_slice() else {
        panic!("{frames:?}");
    };
    let superseded: SignalFrame = serde_json::from_str(superseded).expect("frame");
    assert_eq!(superseded.r#type(), Type::Superseded);
    assert_eq!(
        superseded.proof, hello.proof,
        "the winner's sign-in, signed"
    );
    // A bearer socket takes nothing from a proven one.
    let token = format!("Bearer {}", stack.token(&stack.alice));
    let headers = [("authorization", token.as_str())];
    let mut refused = Socket::connect(stack.addr, "alice_1", &headers).await;
    assert_eq!(refused.error().await, "CONFLICT");
    assert_eq!(refused.until_closed().await.0, Some(4013));
    second.text(&offer("alice_1", "alice_1")).await;
    assert_eq!(
        second.message().await,
        Message::text(offer("alice_1", "alice_1"))
    );
}

#[tokio::test]
async fn browsers_sign_in_by_subprotocol_or_first_frame() {
    let stack = Stack::start().await;
    let protocols = format!("beeline, bearer.{}", stack.token(&stack.alice));
    let headers = [("sec-websocket-protocol", protocols.as_str())];
    let mut alice = Socket::connect(stack.addr, "alice_1", &headers).await;
    assert_eq!(
        alice.protocol.as_deref(),
        Some("beeline"),
        "the token is not echoed"
    );
    let mut bob = Socket::connect(stack.addr, "bob_1", &[]).await;
    let hello = SignalFrame {
        r#type: Type::Hello as i32,
        token: stack.token(&stack.bob),
        ..SignalFrame::default()
    };
    bob.send(&hello).await;
    assert!(bob.frame().await.ready);
    bob.text(&offer("bob_1", "alice_1")).await;
    assert_eq!(
        alice.message().await,
        Message::text(offer("bob_1", "alice_1"))
    );
}

#[tokio::test]
async fn opens_and_closes_reach_the_registry() {
    let stack = Stack::start().await;
    let fake = &stack.registry.fake;
    let alice = Socket::proven(stack.addr, &stack.home, &stack.alice).await;
    fake.reported("home", "alice_1", true).await;
    drop(alice);
    fake.reported("home", "alice_1", false).await;
    // A registry that lost count asks for all.
    let _carol = Socket::proven(stack.addr, &stack.home, &stack.carol).await;
    fake.reported("home", "carol_1", true).await;
    fake.lock().sockets.clear();
    fake.lock().want_full = true;
    let _bob = Socket::proven(stack.addr, &stack.home, &stack.bob).await;
    fake.reported("home", "carol_1", true).await;
    fake.reported("home", "bob_1", true).await;
}

#[tokio::test]
async fn a_gateway_that_stops_says_so_and_reports_the_ends() {
    let stack = Stack::start().await;
    let mut alice = Socket::proven(stack.addr, &stack.home, &stack.alice).await;
    stack.registry.fake.reported("home", "alice_1", true).await;
    let ((code, frames), ()) = tokio::join!(alice.until_closed(), stack.gateway.shutdown());
    assert_eq!(code, Some(1001));
    let [Message::Text(goaway)] = frames.as_slice() else {
        panic!("{frames:?}");
    };
    let goaway: SignalFrame = serde_json::from_str(goaway).expect("frame");
    assert_eq!(
        (goaway.r#type(), goaway.retry_after_ms),
        (Type::Goaway, 2_000)
    );
    let sockets = &stack.registry.fake.lock().sockets;
    assert!(sockets.values().all(|open| !open), "{sockets:?}");
}
