//! Every number a member can say, at its ends: no panic, nothing accepted before is touched, and
//! who says it harms nobody but itself.

use crate::speaker::{Speaker, acquainted, device_of};
use beeline_proto::id::MessageId;
use beeline_proto::limits::{ACK_ITEMS_MAX, PARCEL_TTL_MAX_S, SENT_AT_AHEAD_MAX_MS};
use beeline_proto::pb::peer::v1::{Ack, Answer, IceCandidate, Offer, ack};
use client_core::event::{DeliveryState, Event};
use client_core::testing::tap::counted;
use client_core::testing::{NodeId, World};

/// What an honest pair still does after everything.
fn goes_on(world: &mut World, alice: NodeId, carol: NodeId) {
    let before = world.node(alice).count(DeliveryState::Delivered);
    world.send(alice, "carol", "still here?");
    let done = |w: &World| w.node(alice).count(DeliveryState::Delivered) == before + 1;
    assert!(world.drive_until(60_000, done));
    world.drive(100);
    assert_eq!(world.node(carol).received().last(), Some(&"still here?"));
    for fill in world.node(carol).running().fill() {
        assert!(fill.len <= fill.max, "{fill:?}");
    }
}

#[test]
fn incarnations_and_seqs_at_their_ends_are_shown_once_or_refused() {
    let (mut world, alice, carol) = acquainted(1);
    let mut mallory = Speaker::member(&mut world, "mallory");
    let to = world.node(carol).user.clone();
    let bundle = world.node(carol).store.bundles.last().expect("one").clone();
    let numbers = [
        0,
        1,
        2,
        u64::from(u32::MAX),
        i64::MAX as u64,
        1 << 63,
        u64::MAX - 1,
        u64::MAX,
    ];
    let mut sent = 0;
    for incarnation in [0, 1, 1 << 63, u64::MAX] {
        for seq in numbers {
            let text = format!("{incarnation} {seq}");
            let chat = mallory.chat(&to, &text, incarnation, seq);
            for ttl_s in [0, 1, PARCEL_TTL_MAX_S, PARCEL_TTL_MAX_S + 1, u32::MAX] {
                let frame = mallory.message(&to, &bundle, ttl_s, &chat);
                world.pass_on(alice, frame);
            }
            sent += usize::from(seq != 0);
        }
        world.drive(1_000);
    }
    // Gaps of any size are waited for as others are.
    world.drive(5 * 60_000);
    let mut texts = world.node(carol).received();
    assert_eq!(texts.len(), 1 + sent, "{texts:?}");
    for incarnation in ["1 ", "9223372036854775808 ", "18446744073709551615 "] {
        let of = texts.iter().filter(|t| t.starts_with(incarnation));
        let seqs: Vec<u64> = of
            .map(|t| t[incarnation.len()..].parse().expect("a number"))
            .collect();
        assert!(seqs.is_sorted(), "{seqs:?}");
    }
    texts.sort_unstable();
    texts.dedup();
    assert_eq!(texts.len(), 1 + sent);
    // The next process finds it all as it was.
    world.crash(carol);
    world.start(carol);
    world.drive(5 * 60_000);
    assert_eq!(world.node(carol).received().len(), 1 + sent);
    goes_on(&mut world, alice, carol);
}

#[test]
fn times_at_their_ends_are_shown_within_reason() {
    let (mut world, alice, carol) = acquainted(1);
    let mut mallory = Speaker::member(&mut world, "mallory");
    let to = world.node(carol).user.clone();
    let bundle = world.node(carol).store.bundles.last().expect("one").clone();
    let mut seq = 0;
    for timestamp in [0, 1, u64::MAX / 1_000, u64::MAX / 1_000 + 1, u64::MAX] {
        for timestamp_ms in [0, 999, 1_000, u32::MAX] {
            seq += 1;
            let mut chat = mallory.chat(&to, "x", 5, seq);
            (chat.timestamp, chat.timestamp_ms) = (timestamp, timestamp_ms);
            let frame = mallory.message(&to, &bundle, 30, &chat);
            world.pass_on(alice, frame);
        }
    }
    world.drive(1_000);
    let latest = world.now().wall_ms + SENT_AT_AHEAD_MAX_MS;
    let events = world.node(carol).events.iter();
    let times: Vec<u64> = events
        .filter_map(|(_, event)| match event {
            Event::Received(received) if received.text == "x" => Some(received.sent_at_ms),
            _ => None,
        })
        .collect();
    assert_eq!(times.len() as u64, seq);
    assert!(times.iter().all(|at| *at <= latest), "{times:?}");
    goes_on(&mut world, alice, carol);
}

#[test]
fn acks_and_reads_of_any_size_settle_only_what_they_prove() {
    let (mut world, alice, carol) = acquainted(1);
    world.crash(carol);
    world.drive(10_000);
    world.send(alice, "carol", "kept");
    world.drive(1_000);
    let id = world.node(alice).last_queued().expect("queued");
    let to = world.node(alice).user.clone();
    let audience = to.key.verify_key().fp();
    let mut speaker = Speaker::of(&world, carol);
    for count in [0, 1, ACK_ITEMS_MAX, ACK_ITEMS_MAX + 1] {
        let item = |n: usize| ack::Item {
            msg_id: id.to_vec(),
            envelope_hash: vec![n as u8; 32],
            seq_reused: true,
        };
        let ack = Ack {
            context: speaker.context(audience),
            items: (0..count).map(item).collect(),
            known: None,
        };
        let frames = [
            speaker.control(&to, &ack),
            speaker.read(&to, vec![id.to_vec(); count]),
            speaker.read(&to, vec![vec![0; count]; 2]),
        ];
        for frame in frames {
            world.pass_on(carol, frame);
        }
    }
    let short = Ack {
        context: speaker.context(audience),
        items: vec![ack::Item::default()],
        known: Some(beeline_proto::pb::identity::v1::Versions {
            descriptor: u64::MAX,
            revocations: u64::MAX,
            device_list: u64::MAX,
        }),
    };
    let frame = speaker.control(&to, &short);
    world.pass_on(carol, frame);
    let incarnation = world.node(alice).store.incarnation;
    world.drive(1_000);
    assert_eq!(world.node(alice).count(DeliveryState::Delivered), 1);
    assert_eq!(world.node(alice).count(DeliveryState::Read), 0);
    assert_eq!(world.node(alice).store.incarnation, incarnation);
    assert_eq!(counted(&world, alice, "ack-refused"), 1, "the one too long");
    world.start(carol);
    let done = |w: &World| w.node(alice).count(DeliveryState::Delivered) == 2;
    assert!(world.drive_until(60_000, done));
}

#[test]
fn nacks_with_any_reason_or_parcel_are_held_against_what_was_sent() {
    let (mut world, alice, carol) = acquainted(1);
    let to = world.node(alice).user.clone();
    let mut speaker = Speaker::of(&world, carol);
    let mut mallory = Speaker::member(&mut world, "mallory");
    for reason in [i32::MIN, -1, 0, 1, 2, 3, 4, 5, 6, 7, 8, i32::MAX] {
        for parcel in [Vec::new(), vec![0; 31], vec![0; 32], vec![9; 33]] {
            let bundle = speaker.bundle(1, 3);
            let frame = speaker.nack(&to, parcel.clone(), reason, bundle.clone());
            world.pass_on(carol, frame);
            let frame = mallory.nack(&to, parcel, reason, bundle);
            world.pass_on(carol, frame);
        }
        world.drive(100);
    }
    assert_eq!(world.node(alice).count(DeliveryState::Rejected), 0);
    goes_on(&mut world, alice, carol);
}

#[test]
fn calls_with_any_number_make_no_connection_that_was_not_wanted() {
    let (mut world, alice, carol) = acquainted(1);
    let to = world.node(carol).user.clone();
    let mut mallory = Speaker::member(&mut world, "mallory");
    let before = world
        .node(carol)
        .running()
        .status(world.now())
        .links_pending;
    let on_link = |speaker: &mut Speaker, n: u8| {
        let context = speaker.context(device_of(&to).0);
        context.map(|context| beeline_proto::pb::envelope::v1::Context {
            link_session: vec![n; 16],
            ..context
        })
    };
    for negotiation in [0, 2, u32::MAX] {
        let offer = Offer {
            context: on_link(&mut mallory, negotiation as u8),
            negotiation,
            sdp: "0 0 0".into(),
            direct_only: false,
        };
        let answer = Answer {
            context: on_link(&mut mallory, 9),
            negotiation,
            offer_hash: vec![1; 32],
            sdp: "0 0 0".into(),
        };
        let candidate = IceCandidate {
            context: on_link(&mut mallory, 9),
            negotiation,
            index: u32::MAX,
            sdp_m_line_index: u32::MAX,
            offer_hash: vec![1; 32],
            ..IceCandidate::default()
        };
        let frames = [
            mallory.control(&to, &offer),
            mallory.control(&to, &answer),
            mallory.control(&to, &candidate),
        ];
        for frame in frames {
            world.pass_on(alice, frame);
        }
    }
    world.drive(1_000);
    let pending = world
        .node(carol)
        .running()
        .status(world.now())
        .links_pending;
    assert_eq!(pending, before);
    goes_on(&mut world, alice, carol);
}

#[test]
fn one_id_with_two_texts_is_a_conflict_whoever_sends_it_first() {
    let (mut world, alice, carol) = acquainted(1);
    let to = world.node(carol).user.clone();
    let bundle = world.node(carol).store.bundles.last().expect("one").clone();
    let mut mallory = Speaker::member(&mut world, "mallory");
    let first = mallory.chat(&to, "first", 3, 1);
    let mut second = first.clone();
    second.content = "second".to_owned();
    for chat in [&first, &second, &first, &second] {
        let frame = mallory.message(&to, &bundle, 30, chat);
        world.pass_on(alice, frame);
        world.drive(100);
    }
    assert_eq!(world.node(carol).received(), ["one", "first"]);
    assert_eq!(counted(&world, carol, "conflict"), 2);
    let id = MessageId::try_from(first.context.expect("one").message_id.as_slice());
    let key = (device_of(&mallory.user), id.expect("16 bytes"));
    assert_eq!(world.node(carol).store.inbox[&key].0.text, "first");
    goes_on(&mut world, alice, carol);
}
