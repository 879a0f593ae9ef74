//! Parcels: where it goes. An envelope sealed to one device with HPKE (RFC 9180) base mode, exactly
//! DHKEM(X25519, HKDF-SHA256) / HKDF-SHA256 / AES-256-GCM, one-shot. Anyone may carry a parcel;
//! only the device it names can open it. Who sealed it is proved by the envelope inside, whose
//! signer must equal the header's `from_device`.

use crate::id::{DeviceFp, KeyId, NetworkFp, ParcelId, sha256};
use crate::keys::{SealPublic, SealSecret};
use crate::limits::{CHAIN_LEN_MAX, PARCEL_BUCKETS, PARCEL_LEN_MAX, PARCEL_TTL_MAX_S};
use crate::pb::envelope::v1 as pb;
use crate::sign::push_prefixed;
use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::{Kem, X25519HkdfSha256};
use hpke::{Deserializable, OpModeR, OpModeS, Serializable};
use prost::Message as _;
use rand_core::CryptoRng;

pub use crate::pb::envelope::v1::parcel_header::Kind;

/// The HPKE `info` of every parcel.
pub const INFO: &[u8] = b"beeline/parcel/v1";

/// The only version there is.
pub const VERSION: u32 = 1;

/// Length of an AES-256-GCM tag, bytes.
const TAG_LEN: usize = 16;

/// Why a parcel cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The content does not fit the largest bucket.
    #[error("the content is too large for one parcel (16,000 bytes sealed); send it as a file")]
    TooLarge,
    /// The recipient's key is of small order, or not a key.
    #[error("the recipient's sealing key is not usable")]
    BadKey,
}

/// Why bytes are no parcel, or a parcel does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParcelError {
    /// Not a parcel, or larger than one may be.
    #[error("the parcel is malformed")]
    Malformed,
    /// Of a version this code does not know.
    #[error("the parcel is of another version")]
    WrongVersion,
    /// Sealed to another key, or altered.
    #[error("the parcel does not open with this key")]
    DoesNotOpen,
    /// Opened, but what is inside is not a parcel's content.
    #[error("the parcel's content is malformed")]
    BadContent,
}

/// The checked header of a parcel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The network.
    pub network: NetworkFp,
    /// The sending device.
    pub from: DeviceFp,
    /// The receiving device.
    pub to: DeviceFp,
    /// Which kind of key it is sealed to.
    pub kind: Kind,
    /// Which of the recipient's keys.
    pub key_id: KeyId,
    /// Lifetime in seconds, counted by each holder from its own receipt.
    pub ttl_s: u32,
}

impl Header {
    fn encode(&self) -> Vec<u8> {
        pb::ParcelHeader {
            version: VERSION,
            network: self.network.to_vec(),
            from_device: self.from.to_vec(),
            to_device: self.to.to_vec(),
            kind: self.kind as i32,
            key_id: self.key_id.to_vec(),
            ttl_s: self.ttl_s,
        }
        .encode_to_vec()
    }

    fn decode(bytes: &[u8]) -> Result<Self, ParcelError> {
        let pb = pb::ParcelHeader::decode(bytes).map_err(|_| ParcelError::Malformed)?;
        if pb.version != VERSION {
            return Err(ParcelError::WrongVersion);
        }
        Self::from_pb(&pb).ok_or(ParcelError::Malformed)
    }

    fn from_pb(pb: &pb::ParcelHeader) -> Option<Self> {
        let kind = match pb.kind() {
            Kind::Unspecified => return None,
            kind => kind,
        };
        Some(Self {
            network: NetworkFp::try_from(pb.network.as_slice()).ok()?,
            from: DeviceFp::try_from(pb.from_device.as_slice()).ok()?,
            to: DeviceFp::try_from(pb.to_device.as_slice()).ok()?,
            kind,
            key_id: KeyId::try_from(pb.key_id.as_slice()).ok()?,
            ttl_s: pb.ttl_s.min(PARCEL_TTL_MAX_S),
        })
    }
}

/// What a parcel holds: an envelope, and beside it the sender's chain where it is still needed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Content {
    /// The envelope's bytes.
    pub envelope: Vec<u8>,
    /// The sender's chain; empty once the recipient has acknowledged it.
    pub chain: Vec<u8>,
}

/// A parcel as received: its bytes and its checked header. Nothing is opened yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parcel {
    bytes: Vec<u8>,
    header_bytes: Vec<u8>,
    enc: Vec<u8>,
    ciphertext: Vec<u8>,
    header: Header,
}

impl Parcel {
    /// Reads a parcel's outer form and header.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParcelError> {
        if bytes.len() > PARCEL_LEN_MAX {
            return Err(ParcelError::Malformed);
        }
        let pb = pb::Parcel::decode(bytes).map_err(|_| ParcelError::Malformed)?;
        let header = Header::decode(&pb.header)?;
        if pb.enc.len() != 32 || pb.ciphertext.len() < TAG_LEN + 4 {
            return Err(ParcelError::Malformed);
        }
        Ok(Self {
            bytes: bytes.to_vec(),
            header_bytes: pb.header,
            enc: pb.enc,
            ciphertext: pb.ciphertext,
            header,
        })
    }

    /// Where it goes.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The bytes as received: what is handed on and kept.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// SHA-256 over u32be-length-prefixed header, enc and ciphertext.
    pub fn id(&self) -> ParcelId {
        let mut parts = Vec::with_capacity(self.bytes.len() + 12);
        push_prefixed(&mut parts, &self.header_bytes);
        push_prefixed(&mut parts, &self.enc);
        push_prefixed(&mut parts, &self.ciphertext);
        ParcelId(sha256(&parts))
    }

    /// Opens it with the secret its header's key id names.
    pub fn open(&self, secret: &SealSecret) -> Result<Content, ParcelError> {
        let enc = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(&self.enc)
            .map_err(|_| ParcelError::Malformed)?;
        let plain = hpke::single_shot_open::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base,
            &secret.hpke(),
            &enc,
            INFO,
            &self.ciphertext,
            &self.header_bytes,
        )
        .map_err(|_| ParcelError::DoesNotOpen)?;
        unpad(&plain).ok_or(ParcelError::BadContent)
    }
}

/// Plaintext = u32be(len) ‖ content ‖ zeros. The zeros must be zeros.
fn unpad(plain: &[u8]) -> Option<Content> {
    let (len, rest) = plain.split_at_checked(4)?;
    let len = usize::try_from(u32::from_be_bytes(len.try_into().ok()?)).ok()?;
    let (content, padding) = rest.split_at_checked(len)?;
    if padding.iter().any(|b| *b != 0) {
        return None;
    }
    let pb = pb::ParcelContent::decode(content).ok()?;
    (pb.chain.len() <= CHAIN_LEN_MAX).then_some(Content {
        envelope: pb.envelope,
        chain: pb.chain,
    })
}

/// Length of the plaintext that makes the encoded parcel exactly `bucket` bytes.
fn plain_len(bucket: usize, header_len: usize) -> Option<usize> {
    let field = |len: usize| 1 + prost::encoding::encoded_len_varint(len as u64) + len;
    let rest = bucket.checked_sub(field(header_len) + field(32))?;
    let ciphertext = [2, 3].into_iter().find_map(|width| {
        let len = rest.checked_sub(1 + width)?;
        (prost::encoding::encoded_len_varint(len as u64) == width).then_some(len)
    })?;
    ciphertext.checked_sub(TAG_LEN)
}

/// Seals `content` to `recipient`, whose key id the header carries. The result's length is one of
/// [`PARCEL_BUCKETS`].
pub fn seal(
    header: &Header,
    recipient: &SealPublic,
    content: &Content,
    rng: &mut impl CryptoRng,
) -> Result<Vec<u8>, SealError> {
    let header_bytes = header.encode();
    let body = pb::ParcelContent {
        envelope: content.envelope.clone(),
        chain: content.chain.clone(),
    }
    .encode_to_vec();
    let plain_len = PARCEL_BUCKETS
        .iter()
        .filter_map(|bucket| plain_len(*bucket, header_bytes.len()))
        .find(|len| *len >= body.len() + 4)
        .ok_or(SealError::TooLarge)?;
    let mut plain = Vec::with_capacity(plain_len);
    push_prefixed(&mut plain, &body);
    plain.resize(plain_len, 0);
    let (enc, ciphertext) =
        hpke::single_shot_seal_with_rng::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
            &OpModeS::Base,
            &recipient.hpke().ok_or(SealError::BadKey)?,
            INFO,
            &plain,
            &header_bytes,
            rng,
        )
        .map_err(|_| SealError::BadKey)?;
    let parcel = pb::Parcel {
        header: header_bytes,
        enc: enc.to_bytes().to_vec(),
        ciphertext,
    };
    Ok(parcel.encode_to_vec())
}

#[cfg(test)]
#[path = "parcel_tests.rs"]
mod tests;
