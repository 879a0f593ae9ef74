//! One signed example of every payload type, every field of it set.

use super::json::Json;
use super::world::{self, fp, public, seal_secret};
use crate::envelope::{Expect, OpenError, open, sign};
use crate::file::tree::root_of;
use crate::id::sha256;
use crate::payload::Payload;
use crate::pb::envelope::v1::PayloadType;
use crate::pb::{
    auth::v1 as auth, identity::v1 as identity, peer::v1 as peer, signal::v1 as signal,
};
use serde::Serialize;
use std::sync::OnceLock;

/// A signed example.
pub(crate) struct Sample {
    /// Full name of the message.
    pub(crate) message: &'static str,
    /// Its type.
    pub(crate) payload_type: PayloadType,
    /// Seed byte of the signer.
    pub(crate) signer: u8,
    /// Fingerprint it is for.
    pub(crate) audience: [u8; 32],
    /// Serialized payload.
    pub(crate) payload: Vec<u8>,
    /// Its proto3 JSON.
    pub(crate) json: Json,
    /// The signed envelope.
    pub(crate) envelope: Vec<u8>,
    /// Opens bytes as an envelope of this type.
    pub(crate) open: fn(&[u8], &Expect<'_>) -> Result<(), OpenError>,
}

fn sample<T: Payload + Serialize>(message: &'static str, signer: u8, payload: T) -> Sample {
    let context = payload.context().expect("every sample has a context");
    Sample {
        message,
        payload_type: T::TYPE,
        signer,
        audience: context.audience.as_slice().try_into().expect("32 bytes"),
        payload: payload.encode_to_vec(),
        json: Json::of(&payload),
        envelope: sign(&world::key(signer), &payload),
        open: |bytes, expect| open::<T>(bytes, expect).map(|_| ()),
    }
}

/// What Alice says to Carol in every vector.
pub(crate) fn chat() -> peer::ChatMessage {
    peer::ChatMessage {
        context: world::ordered_context(fp(world::CAROL), 1),
        content: "Hello Carol!".into(),
        timestamp: 1_642_684_800,
        timestamp_ms: 250,
    }
}

/// Carol's newest bundle.
pub(crate) fn bundle() -> identity::Bundle {
    let key = seal_secret(world::CAROL_BUNDLE).public();
    identity::Bundle {
        context: world::context(world::network().0),
        made_ms: world::WHEN_MS,
        key: key.0.to_vec(),
        key_id: key.key_id().to_vec(),
    }
}

/// What Carol's device says of itself.
pub(crate) fn record() -> identity::DeviceRecord {
    identity::DeviceRecord {
        context: world::context(world::network().0),
        user: fp(world::CAROL).to_vec(),
        version: world::WHEN_MS,
        signal_addr: "wss://signal.example/carol_device_456".into(),
        can_relay: true,
        unlisted: false,
        bundle: sign(&world::key(world::CAROL_DEVICE), &bundle()),
        can_store: true,
    }
}

/// What two devices of a user say before one takes the other in.
fn linking() -> (identity::DeviceOffer, identity::DeviceRequest) {
    let offer = identity::DeviceOffer {
        context: world::context(fp(world::CAROL)),
        nonce: vec![0x71; 32],
        commitment: vec![0x72; 32],
    };
    let request = identity::DeviceRequest {
        context: world::context(fp(world::CAROL)),
        nonce: vec![0x73; 32],
        label: "carol_laptop".into(),
        control_key: seal_secret(world::CAROL_CONTROL).public().0.to_vec(),
    };
    (offer, request)
}

fn records() -> Vec<Sample> {
    let joiner = identity::JoinProof {
        context: world::context(world::network().0),
        user_id: "alice".into(),
        user_key: public(world::ALICE),
        device_list_hash: sha256(&world::chain().device_list).to_vec(),
        nonce: vec![0x0e; 32],
    };
    let invite = identity::Invite {
        context: world::context(world::network().0),
        invite_key: public(world::INVITE),
        role: identity::Role::Coordinator as i32,
        uses: 100,
        expires_ms: world::WHEN_MS + 7 * 24 * 3600 * 1000,
    };
    let revocations = identity::Revocations {
        context: world::context(world::network().0),
        version: 4,
        serials: vec![3, 17, 300],
    };
    let device = world::CAROL_DEVICE;
    vec![
        sample(
            "beeline.identity.v1.NetworkDescriptor",
            world::AUTHORITY,
            world::descriptor(),
        ),
        sample(
            "beeline.identity.v1.Membership",
            world::REGISTRAR,
            world::membership(),
        ),
        sample(
            "beeline.identity.v1.Revocations",
            world::REGISTRAR,
            revocations,
        ),
        sample("beeline.identity.v1.Invite", world::REGISTRAR, invite),
        sample("beeline.identity.v1.JoinProof", world::INVITE, joiner),
        sample(
            "beeline.identity.v1.DeviceList",
            world::ALICE,
            world::device_list(2),
        ),
        sample("beeline.identity.v1.DeviceOffer", device, linking().0),
        sample("beeline.identity.v1.DeviceRequest", device, linking().1),
        sample("beeline.identity.v1.Bundle", device, bundle()),
        sample("beeline.identity.v1.DeviceRecord", device, record()),
    ]
}

fn proofs() -> Vec<Sample> {
    let device = world::ALICE_DEVICE;
    let token = auth::TokenProof {
        context: world::context(fp(device)),
        origin: "https://signal.example".into(),
        nonce: vec![0x0f; 32],
    };
    let socket = signal::SocketProof {
        context: world::context(fp(device)),
        origin: "https://signal.example".into(),
        nonce: vec![0x1f; 32],
        boot_id: vec![0xb0; 16],
        device_id: "alice_device_123".into(),
    };
    vec![
        sample("beeline.auth.v1.TokenProof", device, token),
        sample("beeline.signal.v1.SocketProof", device, socket),
    ]
}

/// The versions both sides tell.
fn versions() -> Option<identity::Versions> {
    Some(identity::Versions {
        descriptor: 3,
        revocations: 4,
        device_list: 2,
    })
}

fn said() -> Vec<Sample> {
    let (alice, carol) = (world::ALICE_DEVICE, world::CAROL_DEVICE);
    let envelope = sign(&world::key(alice), &chat());
    let ack = peer::Ack {
        context: world::ordered_context(fp(world::ALICE), 0),
        items: vec![peer::ack::Item {
            msg_id: vec![0xa3; 16],
            envelope_hash: sha256(&envelope).to_vec(),
            seq_reused: true,
        }],
        known: versions(),
    };
    let nack = peer::Nack {
        context: world::context(fp(alice)),
        parcel_id: vec![0xd1; 32],
        reason: peer::nack::Reason::UnknownKey as i32,
        msg_id: vec![0xa3; 16],
        bundle: sign(&world::key(carol), &bundle()),
    };
    let read = peer::Read {
        context: world::ordered_context(fp(world::ALICE), 0),
        msg_ids: vec![vec![0xa3; 16], vec![0xa4; 16]],
    };
    vec![
        sample("beeline.peer.v1.ChatMessage", alice, chat()),
        sample("beeline.peer.v1.Ack", carol, ack),
        sample("beeline.peer.v1.Nack", carol, nack),
        sample("beeline.peer.v1.Read", carol, read),
    ]
}

fn signalling() -> Vec<Sample> {
    let (alice, carol) = (world::ALICE_DEVICE, world::CAROL_DEVICE);
    let offer = peer::Offer {
        context: world::link_context(fp(carol)),
        negotiation: 1,
        sdp: "v=0\r\n".into(),
        direct_only: false,
    };
    let offer_hash = sha256(&sign(&world::key(alice), &offer)).to_vec();
    let answer = peer::Answer {
        context: world::link_context(fp(alice)),
        negotiation: 1,
        offer_hash: offer_hash.clone(),
        sdp: "v=0\r\n".into(),
    };
    let candidate = peer::IceCandidate {
        context: world::link_context(fp(carol)),
        negotiation: 1,
        index: 2,
        offer_hash,
        candidate: "candidate:1 1 udp 2130706431 192.0.2.1 50000 typ host".into(),
        sdp_mid: "0".into(),
        sdp_m_line_index: 1,
        username_fragment: "uFrag".into(),
    };
    vec![
        sample("beeline.peer.v1.Offer", alice, offer),
        sample("beeline.peer.v1.Answer", carol, answer),
        sample("beeline.peer.v1.IceCandidate", alice, candidate),
    ]
}

fn on_the_link() -> Vec<Sample> {
    let (alice, carol) = (world::ALICE_DEVICE, world::CAROL_DEVICE);
    let hello = peer::Hello {
        context: world::link_context(fp(alice)),
        side: peer::hello::Side::Answerer as i32,
        boot_id: vec![0xb1; 16],
        offerer_fingerprint: vec![0xf1; 32],
        answerer_fingerprint: vec![0xf2; 32],
        limits: Some(peer::hello::Limits {
            frame_size_max: 16_384,
            frame_items_max: 64,
        }),
        versions: versions(),
        record: sign(&world::key(carol), &record()),
        can_relay: true,
        can_store: true,
        protocol: 1,
    };
    let goodbye = peer::Goodbye {
        context: world::link_context(fp(carol)),
        reason: "done".into(),
    };
    let query = peer::PeerQuery {
        context: world::link_context(fp(carol)),
        looking_for: fp(world::CAROL).to_vec(),
        looking_for_id: "carol".into(),
        request_id: vec![0x9e; 16],
    };
    let found = peer::PeerFound {
        context: world::link_context(fp(alice)),
        request_id: vec![0x9e; 16],
        user_id: "carol".into(),
        signal_addr: "wss://signal.example/carol_device_456".into(),
        can_relay: true,
        devices: vec![peer::peer_found::Found {
            record: sign(&world::key(carol), &record()),
            connected: true,
            seen_ms_ago: 5_000,
        }],
        chain: prost::Message::encode_to_vec(&world::chain()),
    };
    let state = peer::NetworkState {
        context: world::link_context(fp(alice)),
        sequence: 7,
        changes: vec![peer::network_state::Neighbour {
            device: fp(alice).to_vec(),
            connected: true,
            record_version: world::WHEN_MS,
            coordinator: true,
        }],
        digest: vec![0xdd; 16],
        load: 3,
        capacity: 200,
    };
    vec![
        sample("beeline.peer.v1.Hello", carol, hello),
        sample("beeline.peer.v1.Goodbye", alice, goodbye),
        sample("beeline.peer.v1.PeerQuery", alice, query),
        sample("beeline.peer.v1.PeerFound", carol, found),
        sample("beeline.peer.v1.NetworkState", carol, state),
    ]
}

fn kept_and_filed() -> Vec<Sample> {
    let (alice, carol) = (world::ALICE_DEVICE, world::CAROL_DEVICE);
    let receipt = peer::StoreReceipt {
        context: world::context(fp(alice)),
        parcel_id: vec![0xd1; 32],
        keep_s: 3_600,
    };
    let fetch = peer::StoreFetch {
        context: world::link_context(fp(carol)),
        after: vec![0xd1; 32],
        limit: 64,
    };
    let delete = peer::StoreDelete {
        context: world::context(fp(carol)),
        parcel_ids: vec![vec![0xd1; 32], vec![0xd2; 32]],
    };
    let offer = peer::FileOffer {
        context: world::ordered_context(fp(world::CAROL), 2),
        name: "a letter.txt".into(),
        size: 5_000_000_000,
        root: vec![0x60; 32],
        file_key: vec![0x61; 32],
        chunk_size: 65_536,
        list_len: 300,
        files: 2,
        timestamp: 1_800_000_000,
        content: None,
    };
    let content = b"Dear Carol".to_vec();
    let small = peer::FileOffer {
        context: world::ordered_context(fp(world::CAROL), 3),
        name: "note.txt".into(),
        size: content.len() as u64,
        root: root_of(&content).0.to_vec(),
        chunk_size: 65_536,
        list_len: 0,
        files: 0,
        content: Some(content),
        ..offer.clone()
    };
    let accept = peer::FileAccept {
        context: world::ordered_context(fp(world::ALICE), 0),
        offer_id: vec![0xa3; 16],
        from_chunk: 12,
        declined: false,
        wanted: vec![
            peer::FileRange { from: 12, count: 1 },
            peer::FileRange {
                from: 300,
                count: 76_000,
            },
        ],
        reason: peer::FileReason::Unspecified as i32,
    };
    let done = peer::FileDone {
        context: world::ordered_context(fp(world::ALICE), 0),
        offer_id: vec![0xa3; 16],
        complete: false,
        reason: peer::FileReason::NoRoom as i32,
    };
    vec![
        sample("beeline.peer.v1.StoreReceipt", carol, receipt),
        sample("beeline.peer.v1.StoreFetch", alice, fetch),
        sample("beeline.peer.v1.StoreDelete", alice, delete),
        sample("beeline.peer.v1.FileOffer", alice, offer),
        sample("beeline.peer.v1.FileOffer", alice, small),
        sample("beeline.peer.v1.FileAccept", carol, accept),
        sample("beeline.peer.v1.FileDone", carol, done),
    ]
}

/// One of each, in the order of their types.
pub(crate) fn all() -> &'static [Sample] {
    static ALL: OnceLock<Vec<Sample>> = OnceLock::new();
    ALL.get_or_init(make)
}

/// The sample of the message with this full name.
pub(crate) fn of(message: &str) -> &'static Sample {
    let found = all().iter().find(|sample| sample.message == message);
    found.expect("a sample of every payload")
}

fn make() -> Vec<Sample> {
    let parts = [
        records(),
        proofs(),
        said(),
        signalling(),
        on_the_link(),
        kept_and_filed(),
    ];
    let mut all: Vec<Sample> = parts.into_iter().flatten().collect();
    all.sort_by_key(|sample| sample.payload_type as i32);
    all
}

/// Every payload type of the schema, but the unspecified one.
pub(crate) fn types() -> Vec<PayloadType> {
    (1..0x80)
        .filter_map(|n| PayloadType::try_from(n).ok())
        .collect()
}

#[test]
fn there_is_a_sample_of_every_type() {
    let mut sampled: Vec<PayloadType> = all().iter().map(|sample| sample.payload_type).collect();
    // A file is offered with its content, or without.
    sampled.dedup();
    assert_eq!(sampled, types());
}
