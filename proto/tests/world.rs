//! The people of every vector: a network, Alice and Carol with one device each, and a stranger.
//! All keys come from seeds of one repeated byte, so that any language makes the same ones.

use crate::chain::ChainError;
use crate::envelope::{Context, OpenError, sign};
use crate::id::{MessageId, NetworkFp, SessionId};
use crate::keys::{SealSecret, SigningKey};
use crate::parcel::ParcelError;
use crate::pb::envelope::v1 as pbe;
use crate::pb::identity::v1 as pb;

/// Seed byte of the authority key.
pub(crate) const AUTHORITY: u8 = 1;
/// Seed byte of the registrar key.
pub(crate) const REGISTRAR: u8 = 2;
/// Seed byte of Alice's user key.
pub(crate) const ALICE: u8 = 3;
/// Seed byte of Alice's device key.
pub(crate) const ALICE_DEVICE: u8 = 4;
/// Seed byte of Carol's user key.
pub(crate) const CAROL: u8 = 5;
/// Seed byte of Carol's device key.
pub(crate) const CAROL_DEVICE: u8 = 6;
/// Seed byte of the invite's key.
pub(crate) const INVITE: u8 = 7;
/// Seed byte of a key nobody vouches for.
pub(crate) const STRANGER: u8 = 66;

/// Byte of the X25519 secret that CONTROL parcels for Carol's device open with.
pub(crate) const CAROL_CONTROL: u8 = 0x16;
/// Byte of the X25519 secret of Carol's bundle.
pub(crate) const CAROL_BUNDLE: u8 = 0x26;

/// When everything happens: 2026-01-10T00:26:40Z, Unix milliseconds.
pub(crate) const WHEN_MS: u64 = 1_768_004_800_000;

/// The signing key from a seed of `n` repeated.
pub(crate) fn key(n: u8) -> SigningKey {
    SigningKey::from_seed(&[n; 32])
}

/// Fingerprint of [`key`].
pub(crate) fn fp(n: u8) -> [u8; 32] {
    key(n).verify_key().fp()
}

/// Public half of [`key`], as protobuf fields want it.
pub(crate) fn public(n: u8) -> Vec<u8> {
    key(n).verify_key().to_bytes().to_vec()
}

/// The X25519 secret of `n` repeated.
pub(crate) fn seal_secret(n: u8) -> SealSecret {
    SealSecret::from_bytes([n; 32])
}

/// The network.
pub(crate) fn network() -> NetworkFp {
    NetworkFp(fp(AUTHORITY))
}

/// The session of the one link.
pub(crate) const SESSION: SessionId = SessionId([0x5e; 16]);

/// A context for `audience`, without a link.
pub(crate) fn context(audience: [u8; 32]) -> Option<pbe::Context> {
    Some(Context::unordered(network(), audience, MessageId([0xa1; 16])).to_pb())
}

/// The same, bound to the link.
pub(crate) fn link_context(audience: [u8; 32]) -> Option<pbe::Context> {
    let context = Context::unordered(network(), audience, MessageId([0xa2; 16]));
    Some(context.on_link(SESSION).to_pb())
}

/// The same, in order: what people say.
pub(crate) fn ordered_context(audience: [u8; 32], seq: u64) -> Option<pbe::Context> {
    let context = Context {
        incarnation: 0x0123_4567_89ab_cdef,
        seq,
        ..Context::unordered(network(), audience, MessageId([0xa3; 16]))
    };
    Some(context.to_pb())
}

/// The network's descriptor.
pub(crate) fn descriptor() -> pb::NetworkDescriptor {
    pb::NetworkDescriptor {
        context: context(network().0),
        label: "home".into(),
        version: 3,
        registrar_keys: vec![public(REGISTRAR)],
        gateway_origins: vec!["https://signal.example".into()],
        registry_origins: vec!["https://registry.example:8081".into()],
    }
}

/// Alice's membership.
pub(crate) fn membership() -> pb::Membership {
    pb::Membership {
        context: context(fp(ALICE)),
        user_key: public(ALICE),
        handle: "alice".into(),
        role: pb::Role::Member as i32,
        serial: 17,
        salt: vec![0x5a; 16],
        issued_ms: WHEN_MS,
        expires_ms: WHEN_MS + crate::limits::MEMBERSHIP_TTL_MS,
    }
}

/// A device list of Alice's with `count` devices, the first her own.
pub(crate) fn device_list(count: u8) -> pb::DeviceList {
    let device = |n: u8| pb::Device {
        label: match n {
            0 => "alice_device_123".to_owned(),
            n => format!("alice_device_{n}"),
        },
        device_key: public(if n == 0 { ALICE_DEVICE } else { 100 + n }),
        control_key: seal_secret(0x14 + n).public().0.to_vec(),
    };
    pb::DeviceList {
        context: context(fp(ALICE)),
        version: 2,
        devices: (0..count).map(device).collect(),
    }
}

/// Alice's whole chain.
pub(crate) fn chain() -> pb::Chain {
    pb::Chain {
        descriptor: sign(&key(AUTHORITY), &descriptor()),
        membership: sign(&key(REGISTRAR), &membership()),
        device_list: sign(&key(ALICE), &device_list(1)),
    }
}

/// How vector files name a refusal of `envelope::open`.
pub(crate) fn open_error(error: OpenError) -> &'static str {
    match error {
        OpenError::Malformed => "malformed",
        OpenError::WrongType => "wrong_type",
        OpenError::BadSignature => "bad_signature",
        OpenError::WrongSigner => "wrong_signer",
        OpenError::BadPayload => "bad_payload",
        OpenError::WrongNetwork => "wrong_network",
        OpenError::WrongAudience => "wrong_audience",
        OpenError::WrongSession => "wrong_session",
    }
}

/// How vector files name a refusal of a parcel.
pub(crate) fn parcel_error(error: ParcelError) -> &'static str {
    match error {
        ParcelError::Malformed => "malformed",
        ParcelError::WrongVersion => "wrong_version",
        ParcelError::DoesNotOpen => "does_not_open",
        ParcelError::BadContent => "bad_content",
    }
}

/// How vector files name a refusal of a chain: the part, and what is wrong with it.
pub(crate) fn chain_error(error: ChainError) -> String {
    match error {
        ChainError::Missing(part) => format!("{}: missing", part.trim_start_matches("the ")),
        ChainError::Open(part, why) => format!("{part}: {}", open_error(why)),
        ChainError::Invalid(part, _) => format!("{part}: invalid"),
        ChainError::Revoked => "membership: revoked".to_owned(),
        ChainError::Expired => "membership: expired".to_owned(),
        ChainError::UnknownDevice => "device: unknown".to_owned(),
    }
}
