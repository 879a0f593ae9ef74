//! A cheap, deterministic stand-in for sealing. Signatures stay real: no test may weaken them.

use crate::crypto::Crypto;
use beeline_proto::envelope::sign_bytes;
use beeline_proto::id::sha256;
use beeline_proto::keys::{SealPublic, SealSecret, SigningKey};
use beeline_proto::parcel::{Content, Header, Parcel, ParcelError, SealError, VERSION};
use beeline_proto::pb::envelope::v1 as pb;
use prost::Message as _;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// Seals by naming the recipient's key and adding a checksum: no secrecy, same refusals.
pub struct CheapCrypto {
    rng: ChaCha8Rng,
}

impl CheapCrypto {
    /// A stand-in whose chance follows from `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
        }
    }
}

fn checksum(header: &[u8], to: &[u8], body: &[u8]) -> [u8; 32] {
    sha256(&[header, to, body].concat())
}

/// What a cheaply sealed parcel holds, whoever it is for.
pub(super) fn peek(parcel: &Parcel) -> Option<Content> {
    let pb = pb::Parcel::decode(parcel.bytes()).ok()?;
    let (tag, sealed) = pb.ciphertext.split_at_checked(32)?;
    if tag != checksum(&pb.header, &pb.enc, sealed) {
        return None;
    }
    let content = pb::ParcelContent::decode(sealed.get(8..)?).ok()?;
    Some(Content {
        envelope: content.envelope,
        chain: content.chain,
    })
}

/// A cheaply sealed parcel with another envelope in it.
pub(super) fn with_envelope(parcel: &Parcel, envelope: Vec<u8>) -> Option<Vec<u8>> {
    let mut pb = pb::Parcel::decode(parcel.bytes()).ok()?;
    let chain = peek(parcel)?.chain;
    let body = pb::ParcelContent { envelope, chain }.encode_to_vec();
    let sealed = [&[0; 8], body.as_slice()].concat();
    let tag = checksum(&pb.header, &pb.enc, &sealed);
    pb.ciphertext = [tag.as_slice(), &sealed].concat();
    Some(pb.encode_to_vec())
}

impl Crypto for CheapCrypto {
    fn sign(&mut self, key: &SigningKey, kind: pb::PayloadType, payload: &[u8]) -> Vec<u8> {
        sign_bytes(key, kind, payload)
    }

    fn seal(
        &mut self,
        header: &Header,
        recipient: &SealPublic,
        content: &Content,
    ) -> Result<Vec<u8>, SealError> {
        let body = pb::ParcelContent {
            envelope: content.envelope.clone(),
            chain: content.chain.clone(),
        }
        .encode_to_vec();
        if body.len() > 15_800 {
            return Err(SealError::TooLarge);
        }
        let header = pb::ParcelHeader {
            version: VERSION,
            network: header.network.to_vec(),
            from_device: header.from.to_vec(),
            to_device: header.to.to_vec(),
            kind: header.kind as i32,
            key_id: header.key_id.to_vec(),
            ttl_s: header.ttl_s,
        }
        .encode_to_vec();
        let mut nonce = [0u8; 8];
        self.rng.fill_bytes(&mut nonce);
        let sealed = [nonce.as_slice(), &body].concat();
        let tag = checksum(&header, &recipient.0, &sealed);
        let parcel = pb::Parcel {
            header,
            enc: recipient.0.to_vec(),
            ciphertext: [tag.as_slice(), &sealed].concat(),
        };
        Ok(parcel.encode_to_vec())
    }

    fn open_parcel(&self, parcel: &Parcel, secret: &SealSecret) -> Result<Content, ParcelError> {
        let pb = pb::Parcel::decode(parcel.bytes()).map_err(|_| ParcelError::Malformed)?;
        let (tag, sealed) = pb
            .ciphertext
            .split_at_checked(32)
            .ok_or(ParcelError::Malformed)?;
        let right_key = secret.public().0.as_slice() == pb.enc;
        if !right_key || tag != checksum(&pb.header, &pb.enc, sealed) {
            return Err(ParcelError::DoesNotOpen);
        }
        let body = sealed.get(8..).ok_or(ParcelError::BadContent)?;
        let content = pb::ParcelContent::decode(body).map_err(|_| ParcelError::BadContent)?;
        Ok(Content {
            envelope: content.envelope,
            chain: content.chain,
        })
    }

    fn random(&mut self, out: &mut [u8]) {
        self.rng.fill_bytes(out);
    }
}
