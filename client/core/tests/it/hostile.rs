//! A hostile gateway, and a somebody in between: they can drop a call, never join it, and both
//! sides say why.

use beeline_proto::pb::envelope::v1::Parcel;
use client_core::event::{DeliveryState, Event};
use client_core::output::SignalKind;
use client_core::testing::{NodeId, Signalled, World, label};
use prost::Message as _;

fn pair() -> (World, NodeId, NodeId) {
    let mut world = World::new(7);
    world.real_crypto = true;
    let (alice, carol) = (world.member("alice"), world.member("carol"));
    world.drive(50);
    (world, alice, carol)
}

/// The gateway also drops what could go round the call: sealed messages in RELAY_REQUEST.
fn drop_relayed(world: &mut World) {
    let mut inner = world.on_signal.take();
    world.on_signal = Some(Box::new(move |frame| {
        if frame.kind == SignalKind::RelayRequest {
            return Vec::new();
        }
        match inner.as_mut() {
            Some(hook) => hook(frame),
            None => vec![frame],
        }
    }));
}

/// Nothing is delivered, no link opens, and these have warned of something.
fn fails(world: &mut World, alice: NodeId, carol: NodeId, warned: &[NodeId]) {
    drop_relayed(world);
    world.send(alice, "carol", "a secret");
    world.drive(120_000);
    assert_eq!(world.node(alice).count(DeliveryState::Delivered), 0);
    assert_eq!(world.node(carol).received(), Vec::<&str>::new());
    for id in [alice, carol] {
        assert_eq!(world.node(id).running().status(world.now()).links_open, 0);
    }
    for id in warned {
        assert!(
            !world.node(*id).warnings().is_empty(),
            "{id:?} says nothing"
        );
    }
}

#[test]
fn altered_descriptions_do_not_open() {
    for kind in [SignalKind::Offer, SignalKind::Answer] {
        let (mut world, alice, carol) = pair();
        world.on_signal = Some(Box::new(move |mut frame| {
            if frame.kind == kind {
                let mut parcel = Parcel::decode(frame.parcel.as_slice()).expect("a parcel");
                let last = parcel.ciphertext.len() - 1;
                parcel.ciphertext[last] ^= 1;
                frame.parcel = parcel.encode_to_vec();
            }
            vec![frame]
        }));
        fails(&mut world, alice, carol, &[alice, carol]);
    }
}

#[test]
fn a_certificate_in_between_is_seen_by_both() {
    let (mut world, alice, carol) = pair();
    world.intercepted = true;
    fails(&mut world, alice, carol, &[alice, carol]);
    for id in [alice, carol] {
        let warnings = world.node(id).warnings();
        assert!(
            warnings.contains(&"fingerprint-mismatch"),
            "{id:?}: {warnings:?}"
        );
    }
}

#[test]
fn a_swapped_sender_is_refused() {
    let (mut world, alice, carol) = pair();
    let _bob = world.member("bob");
    world.on_signal = Some(Box::new(|mut frame| {
        frame.from = label("bob_phone");
        vec![frame]
    }));
    fails(&mut world, alice, carol, &[alice, carol]);
    assert!(world.node(carol).warnings().contains(&"sender-mismatch"));
}

#[test]
fn an_offer_for_somebody_else_is_refused() {
    let (mut world, alice, carol) = pair();
    let bob = world.member("bob");
    world.drive(50);
    // Alice calls Carol; the gateway hands the call to Bob.
    world.on_signal = Some(Box::new(|mut frame| {
        if frame.to == label("carol_phone") {
            frame.to = label("bob_phone");
        }
        vec![frame]
    }));
    world.send(alice, "carol", "a secret");
    world.drive(60_000);
    assert!(world.node(bob).warnings().contains(&"parcel-misdirected"));
    assert_eq!(world.node(carol).received(), Vec::<&str>::new());
    assert_eq!(world.node(bob).running().status(world.now()).links_open, 0);
}

/// What Alice signalled to Carol in a first, good call.
fn recorded(world: &mut World, alice: NodeId) -> Vec<Signalled> {
    world.send(alice, "carol", "one");
    let done = |w: &World| w.node(alice).count(DeliveryState::Delivered) == 1;
    assert!(world.drive_until(5_000, done));
    world.drive(100);
    let of_alice = world
        .signalled
        .iter()
        .filter(|s| s.from == label("alice_phone"));
    of_alice.cloned().collect()
}

#[test]
fn an_old_call_played_again_opens_nothing() {
    let (mut world, alice, carol) = pair();
    let old = recorded(&mut world, alice);
    world.crash(alice);
    world.drive(10_000);
    let before = world.node(carol).running().status(world.now());
    assert_eq!(before.links_open, 0);
    for frame in &old {
        world.pass_on(alice, frame.clone());
    }
    world.drive(1_000);
    let status = world.node(carol).running().status(world.now());
    assert_eq!((status.links_open, status.links_pending), (0, 0));

    // After a restart Carol remembers no sessions: it costs her one attempt, and opens nothing.
    world.crash(carol);
    world.start(carol);
    world.drive(50);
    for frame in &old {
        world.pass_on(alice, frame.clone());
    }
    world.drive(60_000);
    let status = world.node(carol).running().status(world.now());
    assert_eq!((status.links_open, status.links_pending), (0, 0));
}

#[test]
fn a_session_under_other_wrapping_is_recognised() {
    let (mut world, alice, carol) = pair();
    world.real_crypto = false;
    let old = recorded(&mut world, alice);
    let offer = old
        .iter()
        .find(|frame| frame.kind == SignalKind::Offer)
        .expect("an offer");
    // More parcels than are remembered pass by; the session still is.
    world.pass_on(alice, offer.clone());
    world.drive(100);
    let status = world.node(carol).running().status(world.now());
    assert_eq!(status.links_pending, 0);
}

#[test]
fn an_old_hello_played_again_closes_the_link() {
    let (mut world, alice, carol) = pair();
    let mut first = None;
    world.on_frame = Some(Box::new(move |from, _, frame| {
        if from != NodeId(0) {
            return vec![frame];
        }
        // Every link of Alice begins with the HELLO of her first one.
        let hello = first.get_or_insert_with(|| frame.clone());
        if frame.len().abs_diff(hello.len()) < 64 {
            vec![hello.clone()]
        } else {
            vec![frame]
        }
    }));
    world.send(alice, "carol", "one");
    let done = |w: &World| w.node(alice).count(DeliveryState::Delivered) == 1;
    assert!(world.drive_until(5_000, done));
    world.crash(carol);
    world.drive(10_000);
    world.start(carol);
    drop_relayed(&mut world);
    world.send(alice, "carol", "two");
    world.drive(30_000);
    assert_eq!(world.node(alice).count(DeliveryState::Delivered), 1);
    assert!(world.node(carol).warnings().contains(&"hello-refused"));
}

#[test]
fn anything_before_the_hello_closes_the_link() {
    let (mut world, alice, carol) = pair();
    world.on_frame = Some(Box::new(|from, _, frame| {
        use beeline_proto::pb::peer::v1::{PeerFrame, PeerItem, peer_item::Kind};
        if from != NodeId(0) {
            return vec![frame];
        }
        let item = PeerItem {
            kind: Some(Kind::ChatMessage(vec![1, 2, 3])),
        };
        let early = PeerFrame { items: vec![item] };
        vec![early.encode_to_vec(), frame]
    }));
    fails(&mut world, alice, carol, &[carol]);
    assert!(world.node(carol).warnings().contains(&"hello-missing"));
}

#[test]
fn a_silent_channel_ends_after_five_seconds() {
    let (mut world, alice, carol) = pair();
    world.on_frame = Some(Box::new(|_, _, _| Vec::new()));
    world.send(alice, "carol", "x");
    world.drive(4_000);
    let pending = |w: &World, id| w.node(id).running().status(w.now()).links_pending;
    assert_eq!((pending(&world, alice), pending(&world, carol)), (1, 1));
    world.drive(1_500);
    assert!(world.node(carol).warnings().contains(&"session-timeout"));
}

#[test]
fn a_registry_that_answers_with_another_user_is_not_believed() {
    let (mut world, alice, carol) = pair();
    let bob = world.member("bob");
    world.drive(50);
    let user = world.node(bob).user.clone();
    let chain = world.authority.chain(&user);
    world.registry.register(&label("carol"), chain);
    world.send(alice, "carol", "a secret");
    world.drive(60_000);
    assert!(world.node(alice).warnings().contains(&"wrong-user"));
    assert_eq!(world.node(bob).received(), Vec::<&str>::new());
    assert_eq!(world.node(carol).received(), Vec::<&str>::new());
}

#[test]
fn plain_signalling_is_refused() {
    let (mut world, alice, _) = pair();
    let plain = client_core::input::SignalInput::Plain {
        socket: client_core::input::SocketId(0),
        from: "carol_phone".into(),
    };
    world.input(alice, client_core::Input::Signal(plain));
    assert_eq!(world.node(alice).warnings(), ["plain-signalling"]);
}

#[test]
fn ten_thousand_candidates_are_not_passed_on() {
    let (mut world, alice, carol) = pair();
    world.on_signal = Some(Box::new(|frame| {
        let copies = if frame.kind == SignalKind::IceCandidate {
            5_000
        } else {
            1
        };
        vec![frame; copies]
    }));
    world.send(alice, "carol", "x");
    let done = |w: &World| w.node(alice).count(DeliveryState::Delivered) == 1;
    assert!(world.drive_until(10_000, done));
    assert!(world.outputs_max < 200, "{}", world.outputs_max);
    let _ = carol;
}

#[test]
fn a_stranger_from_another_network_is_nobody() {
    let (mut world, alice, carol) = pair();
    let mut elsewhere = client_core::testing::Authority::new("elsewhere");
    let eve = elsewhere.admit("carol", "eve", &["carol_phone"], u64::MAX / 2);
    let chain = elsewhere.chain(&eve);
    world.registry.register(&label("carol"), chain);
    world.send(alice, "carol", "a secret");
    world.drive(30_000);
    assert!(world.node(alice).warnings().contains(&"chain-refused"));
    assert!(
        !world
            .node(alice)
            .told(|event| matches!(event, Event::KeyChanged { .. }))
    );
    assert_eq!(world.node(carol).received(), Vec::<&str>::new());
}
