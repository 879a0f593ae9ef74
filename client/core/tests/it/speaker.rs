//! A member that speaks the protocol by hand: with any words, in any order, in anybody's name whose
//! keys it has.

use beeline_proto::envelope::{Context, sign};
use beeline_proto::id::{DeviceFp, KeyId, MessageId, NetworkFp};
use beeline_proto::parcel::{Content, Header, Kind};
use beeline_proto::payload::Payload;
use beeline_proto::pb::envelope::v1::Context as PbContext;
use beeline_proto::pb::identity::v1::Bundle;
use beeline_proto::pb::peer::v1::{Ack, ChatMessage, Nack, Read, ack, nack};
use client_core::crypto::Crypto as _;
use client_core::output::SignalKind;
use client_core::state::BundleRow;
use client_core::testing::{CheapCrypto, NodeId, Signalled, User, World, label};

/// Speaks as a user's first device.
pub(crate) struct Speaker {
    pub(crate) network: NetworkFp,
    pub(crate) user: User,
    pub(crate) chain: Vec<u8>,
    crypto: CheapCrypto,
    count: u64,
}

impl Speaker {
    /// In the name of a node, with its keys.
    pub(crate) fn of(world: &World, id: NodeId) -> Self {
        Self::new(world, world.node(id).user.clone())
    }

    /// In the name of a new member that has no process.
    pub(crate) fn member(world: &mut World, name: &str) -> Self {
        let expires_ms = client_core::testing::EPOCH_MS + 1_000_000_000_000;
        let device = format!("{name}_phone");
        let user = world.authority.admit(name, name, &[&device], expires_ms);
        Self::new(world, user)
    }

    fn new(world: &World, user: User) -> Self {
        Self {
            network: world.authority.network(),
            chain: world.authority.chain(&user),
            user,
            crypto: CheapCrypto::new(66),
            count: 0,
        }
    }

    fn id(&mut self) -> MessageId {
        self.count += 1;
        let mut id = [0xEE; 16];
        id[..8].copy_from_slice(&self.count.to_be_bytes());
        MessageId(id)
    }

    /// A context without order for an audience.
    pub(crate) fn context(&mut self, audience: [u8; 32]) -> Option<PbContext> {
        Some(Context::unordered(self.network, audience, self.id()).to_pb())
    }

    /// A CONTROL parcel for a node, as its gateway would pass it on.
    pub(crate) fn control<T: Payload>(&mut self, to: &User, payload: &T) -> Signalled {
        let (key_id, key) = (to.devices[0].2.public().key_id(), to.devices[0].2.public());
        let header = self.header(to, Kind::Control, key_id, 30);
        let content = Content {
            envelope: sign(&self.user.devices[0].1, payload),
            chain: self.chain.clone(),
        };
        let parcel = self.crypto.seal(&header, &key, &content);
        self.frame(to, parcel.expect("it fits"))
    }

    fn header(&self, to: &User, kind: Kind, key_id: KeyId, ttl_s: u32) -> Header {
        Header {
            network: self.network,
            from: device_of(&self.user),
            to: device_of(to),
            kind,
            key_id,
            ttl_s,
        }
    }

    fn frame(&self, to: &User, parcel: Vec<u8>) -> Signalled {
        Signalled {
            from: self.user.devices[0].0.clone(),
            to: to.devices[0].0.clone(),
            kind: SignalKind::RelayRequest,
            parcel,
        }
    }

    /// A message sealed to a bundle.
    pub(crate) fn message(
        &mut self,
        to: &User,
        bundle: &BundleRow,
        ttl_s: u32,
        message: &ChatMessage,
    ) -> Signalled {
        let header = self.header(to, Kind::Message, bundle.key_id, ttl_s);
        let content = Content {
            envelope: sign(&self.user.devices[0].1, message),
            chain: self.chain.clone(),
        };
        let parcel = self.crypto.seal(&header, &bundle.secret.public(), &content);
        self.frame(to, parcel.expect("it fits"))
    }

    /// A text with its numbers.
    pub(crate) fn chat(
        &mut self,
        to: &User,
        text: &str,
        incarnation: u64,
        seq: u64,
    ) -> ChatMessage {
        let context = Context {
            network: self.network,
            audience: to.key.verify_key().fp(),
            message_id: self.id(),
            incarnation,
            seq,
            link_session: None,
        };
        ChatMessage {
            context: Some(context.to_pb()),
            content: text.to_owned(),
            ..ChatMessage::default()
        }
    }

    /// An ACK of one message.
    pub(crate) fn ack(
        &mut self,
        to: &User,
        id: MessageId,
        hash: [u8; 32],
        seq_reused: bool,
    ) -> Signalled {
        let item = ack::Item {
            msg_id: id.to_vec(),
            envelope_hash: hash.to_vec(),
            seq_reused,
        };
        let ack = Ack {
            context: self.context(to.key.verify_key().fp()),
            items: vec![item],
            known: None,
        };
        self.control(to, &ack)
    }

    /// A READ of messages.
    pub(crate) fn read(&mut self, to: &User, ids: Vec<Vec<u8>>) -> Signalled {
        let read = Read {
            context: self.context(to.key.verify_key().fp()),
            msg_ids: ids,
        };
        self.control(to, &read)
    }

    /// A NACK of a parcel.
    pub(crate) fn nack(
        &mut self,
        to: &User,
        parcel: Vec<u8>,
        reason: i32,
        bundle: Vec<u8>,
    ) -> Signalled {
        let nack = Nack {
            context: self.context(device_of(to).0),
            parcel_id: parcel,
            reason,
            msg_id: Vec::new(),
            bundle,
        };
        self.control(to, &nack)
    }

    /// A NACK that says the key is gone.
    pub(crate) fn unknown_key(&mut self, to: &User, parcel: Vec<u8>, bundle: Vec<u8>) -> Signalled {
        self.nack(to, parcel, nack::Reason::UnknownKey as i32, bundle)
    }

    /// A bundle of the speaker's, made by hand.
    pub(crate) fn bundle(&mut self, made_ms: u64, n: u8) -> Vec<u8> {
        let secret = beeline_proto::keys::SealSecret::from_bytes([n; 32]);
        let bundle = Bundle {
            context: self.context(self.network.0),
            made_ms,
            key: secret.public().0.to_vec(),
            key_id: vec![n; 16],
        };
        sign(&self.user.devices[0].1, &bundle)
    }
}

/// The fingerprint of a user's first device.
pub(crate) fn device_of(user: &User) -> DeviceFp {
    user.devices[0].1.verify_key().device_fp()
}

/// Two members that know each other: one message was delivered.
pub(crate) fn acquainted(seed: u64) -> (World, NodeId, NodeId) {
    let mut world = World::new(seed);
    let (alice, carol) = (world.member("alice"), world.member("carol"));
    world.drive(50);
    world.send(alice, "carol", "one");
    let known = |w: &World| w.node(carol).received() == ["one"];
    assert!(world.drive_until(5_000, known));
    world.drive(1_000);
    assert!(
        world
            .node(alice)
            .store
            .contacts
            .contains_key(&label("carol"))
    );
    (world, alice, carol)
}
