//! A member that floods: authenticated, not trusted. It costs what the bounds allow, and others are
//! served meanwhile.

use beeline_proto::envelope::{Context, sign};
use beeline_proto::id::{DeviceFp, MessageId, NetworkFp, SessionId};
use beeline_proto::parcel::{Content, Header, Kind};
use beeline_proto::payload::Payload;
use beeline_proto::pb::envelope::v1::Context as PbContext;
use beeline_proto::pb::peer::v1::{ChatMessage, IceCandidate, Nack, Offer};
use client_core::crypto::Crypto as _;
use client_core::event::DeliveryState;
use client_core::limits::OUTBOX_MAX;
use client_core::output::SignalKind;
use client_core::state::{OutboxRow, StoreOp};
use client_core::testing::{CheapCrypto, NodeId, Signalled, User, World, label};

/// A member that speaks the protocol by hand.
struct Mallory {
    network: NetworkFp,
    user: User,
    chain: Vec<u8>,
    crypto: CheapCrypto,
    count: u64,
}

impl Mallory {
    fn new(world: &mut World) -> Self {
        let expires_ms = client_core::testing::EPOCH_MS + 1_000_000_000;
        let user = world
            .authority
            .admit("mallory", "mallory", &["mallory_phone"], expires_ms);
        Self {
            network: world.authority.network(),
            chain: world.authority.chain(&user),
            user,
            crypto: CheapCrypto::new(66),
            count: 0,
        }
    }

    fn id(&mut self) -> [u8; 16] {
        self.count += 1;
        let mut id = [0u8; 16];
        id[..8].copy_from_slice(&self.count.to_be_bytes());
        id
    }

    fn context(&mut self, to: DeviceFp) -> (Option<PbContext>, SessionId) {
        let (id, session) = (MessageId(self.id()), SessionId(self.id()));
        let context = Context::unordered(self.network, to.0, id).on_link(session);
        (Some(context.to_pb()), session)
    }

    /// A CONTROL parcel for a node, as its gateway would pass it on.
    fn control<T: Payload>(&mut self, to: &User, payload: &T, kind: SignalKind) -> Signalled {
        let (name, key, control) = &to.devices[0];
        let header = Header {
            network: self.network,
            from: self.user.devices[0].1.verify_key().device_fp(),
            to: key.verify_key().device_fp(),
            kind: Kind::Control,
            key_id: control.public().key_id(),
            ttl_s: 30,
        };
        let content = Content {
            envelope: sign(&self.user.devices[0].1, payload),
            chain: self.chain.clone(),
        };
        let parcel = self.crypto.seal(&header, &control.public(), &content);
        Signalled {
            from: label("mallory_phone"),
            to: name.clone(),
            kind,
            parcel: parcel.expect("it fits"),
        }
    }
}

fn setting() -> (World, NodeId, NodeId, Mallory, User) {
    let mut world = World::new(3);
    let (alice, carol) = (world.member("alice"), world.member("carol"));
    world.drive(50);
    let mallory = Mallory::new(&mut world);
    let target = world.node(carol).user.clone();
    (world, alice, carol, mallory, target)
}

fn device_of(user: &User) -> DeviceFp {
    user.devices[0].1.verify_key().device_fp()
}

/// Whatever was done to her, Carol is within her bounds and still there for Alice.
fn still_serves(world: &mut World, alice: NodeId, carol: NodeId) {
    for fill in world.node(carol).running().fill() {
        assert!(fill.len <= fill.max, "{fill:?}");
    }
    world.send(alice, "carol", "are you there?");
    let done = |w: &World| w.node(alice).count(DeliveryState::Delivered) == 1;
    assert!(world.drive_until(10_000, done));
}

#[test]
fn a_thousand_offers_make_a_few_connections() {
    let (mut world, alice, carol, mut mallory, target) = setting();
    for _ in 0..1_000 {
        let (context, _) = mallory.context(device_of(&target));
        let offer = Offer {
            context,
            negotiation: 1,
            sdp: "0 0 0".into(),
            direct_only: false,
        };
        let frame = mallory.control(&target, &offer, SignalKind::Offer);
        world.pass_on(alice, frame);
    }
    world.drive(500);
    let status = world.node(carol).running().status(world.now());
    assert!(status.links_pending <= 1, "{}", status.links_pending);
    let refused: u64 = status
        .refused
        .iter()
        .filter(|(k, _)| *k == "too-many-calls")
        .map(|r| r.1)
        .sum();
    assert!(refused >= 980, "{refused}");
    still_serves(&mut world, alice, carol);
}

#[test]
fn candidates_without_an_offer_are_kept_within_bounds() {
    let (mut world, alice, carol, mut mallory, target) = setting();
    for n in 0..1_000 {
        let (context, _) = mallory.context(device_of(&target));
        let candidate = IceCandidate {
            context,
            negotiation: 1,
            index: n,
            offer_hash: vec![1; 32],
            candidate: "candidate:1".into(),
            ..IceCandidate::default()
        };
        let frame = mallory.control(&target, &candidate, SignalKind::IceCandidate);
        world.pass_on(alice, frame);
    }
    world.drive(500);
    still_serves(&mut world, alice, carol);
}

#[test]
fn nacks_for_parcels_that_are_not_the_speakers_do_nothing() {
    let (mut world, alice, carol, mut mallory, _) = setting();
    world.crash(carol);
    world.send(alice, "carol", "kept");
    world.drive(5_000);
    let id = world.node(alice).last_queued().expect("queued");
    let parcels = world.node(alice).store.outbox[&id].parcels.clone();
    let parcel = beeline_proto::parcel::Parcel::parse(&parcels[0].1).expect("sealed");
    let target = world.node(alice).user.clone();
    // Mallory is known to Alice: she has called before.
    let (context, _) = mallory.context(device_of(&target));
    let offer = Offer {
        context,
        negotiation: 1,
        sdp: "0 0 0".into(),
        direct_only: false,
    };
    let frame = mallory.control(&target, &offer, SignalKind::Offer);
    world.pass_on(alice, frame);
    for reason in 1..=7 {
        let (context, _) = mallory.context(device_of(&target));
        let nack = Nack {
            context: context.map(|context| PbContext {
                link_session: Vec::new(),
                ..context
            }),
            parcel_id: parcel.id().to_vec(),
            reason,
            msg_id: id.to_vec(),
            bundle: Vec::new(),
        };
        let frame = mallory.control(&target, &nack, SignalKind::RelayRequest);
        world.pass_on(alice, frame);
    }
    world.drive(1_000);
    assert_eq!(world.node(alice).count(DeliveryState::Rejected), 0);
    assert_eq!(world.node(alice).store.outbox[&id].parcels, parcels);
    world.start(carol);
    let done = |w: &World| w.node(alice).count(DeliveryState::Delivered) == 1;
    assert!(world.drive_until(60_000, done));
}

#[test]
fn an_ack_of_somebody_else_delivers_nothing() {
    let (mut world, alice, carol, mut mallory, _) = setting();
    world.crash(carol);
    world.send(alice, "carol", "kept");
    world.drive(5_000);
    let id = world.node(alice).last_queued().expect("queued");
    let envelope = world.node(alice).store.outbox[&id]
        .envelope
        .clone()
        .expect("signed");
    let target = world.node(alice).user.clone();
    let audience = target.key.verify_key().fp();
    let ack = beeline_proto::pb::peer::v1::Ack {
        context: Some(Context::unordered(mallory.network, audience, MessageId([9; 16])).to_pb()),
        items: vec![beeline_proto::pb::peer::v1::ack::Item {
            msg_id: id.to_vec(),
            envelope_hash: beeline_proto::id::sha256(&envelope).to_vec(),
            seq_reused: false,
        }],
        known: None,
    };
    let (context, _) = mallory.context(device_of(&target));
    let offer = Offer {
        context,
        negotiation: 1,
        sdp: "0 0 0".into(),
        direct_only: false,
    };
    for frame in [
        mallory.control(&target, &offer, SignalKind::Offer),
        mallory.control(&target, &ack, SignalKind::RelayRequest),
    ] {
        world.pass_on(alice, frame);
    }
    world.drive(1_000);
    assert_eq!(world.node(alice).count(DeliveryState::Delivered), 0);
    let refused = world.node(alice).running().status(world.now()).refused;
    assert!(refused.contains(&("ack-mismatch", 1)), "{refused:?}");
}

#[test]
fn messages_for_others_and_of_strangers_are_refused() {
    let (mut world, alice, carol, mut mallory, target) = setting();
    let audience = world.node(alice).user.key.verify_key().fp();
    let bundle = world.node(carol).store.bundles[0].clone();
    // Signed for Alice, sealed to Carol: a message forwarded under somebody else's name.
    for audience in [audience, target.key.verify_key().fp()] {
        let context = Context {
            network: mallory.network,
            audience,
            message_id: MessageId(mallory.id()),
            incarnation: 1,
            seq: 0,
            link_session: None,
        };
        let message = ChatMessage {
            context: Some(context.to_pb()),
            content: "x".into(),
            ..ChatMessage::default()
        };
        let header = Header {
            network: mallory.network,
            from: mallory.user.devices[0].1.verify_key().device_fp(),
            to: device_of(&target),
            kind: Kind::Message,
            key_id: bundle.key_id,
            ttl_s: 30,
        };
        let content = Content {
            envelope: sign(&mallory.user.devices[0].1, &message),
            chain: mallory.chain.clone(),
        };
        let sealed = mallory
            .crypto
            .seal(&header, &bundle.secret.public(), &content);
        let frame = Signalled {
            from: label("mallory_phone"),
            to: label("carol_phone"),
            kind: SignalKind::RelayRequest,
            parcel: sealed.expect("it fits"),
        };
        world.pass_on(alice, frame);
    }
    world.drive(1_000);
    assert_eq!(world.node(carol).store.inbox.len(), 0);
    still_serves(&mut world, alice, carol);
}

/// Sends of a full outbox that are made one by one; the others are found at the start.
const SENT: usize = 2_000;

/// Alice, whose store holds so many messages to nobody.
fn with_outbox(world: &mut World, messages: usize) -> NodeId {
    let alice = world.member("alice");
    world.drive(50);
    world.send(alice, "nobody", "first");
    world.drive(20);
    let first = world.node(alice).store.outbox.values().next().cloned();
    let first = first.expect("it is queued");
    world.crash(alice);
    let row = |seq: u64| {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&seq.to_be_bytes());
        StoreOp::QueueMessage(OutboxRow {
            id: MessageId(id),
            seq,
            text: seq.to_string(),
            ..first.clone()
        })
    };
    let rows: Vec<StoreOp> = (2..=messages as u64).map(row).collect();
    world.node_mut(alice).store.apply(&rows);
    world.start(alice);
    world.drive(50);
    alice
}

#[test]
fn a_full_outbox_refuses_and_loses_nothing() {
    let mut world = World::new(1);
    let alice = with_outbox(&mut world, OUTBOX_MAX - SENT);
    let mut refused = 0;
    for n in 0..SENT + 50 {
        let command = world.send(alice, "nobody", &n.to_string());
        if n % 500 == 0 {
            world.drive(20);
        }
        refused += usize::from(world.node(alice).told(|event| {
            matches!(event, client_core::event::Event::Refused { command: c, .. } if *c == command)
        }));
        world.node_mut(alice).events.clear();
    }
    world.drive(50);
    assert_eq!(refused, 50);
    assert_eq!(
        world.node(alice).running().status(world.now()).outbox,
        OUTBOX_MAX
    );
    for fill in world.node(alice).running().fill() {
        assert!(fill.len <= fill.max, "{fill:?}");
    }
}
