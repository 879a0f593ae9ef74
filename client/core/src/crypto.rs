//! The secrets at work: signing, sealing, opening, chance. A trait, so that a simulation of
//! thousands of peers can seal cheaply.
//!
//! Verifying is not here: `beeline_proto::envelope::open` is the only way to a `Verified` payload,
//! and no stand-in may weaken it.

use beeline_proto::envelope::sign_bytes;
use beeline_proto::keys::{SealPublic, SealSecret, SigningKey};
use beeline_proto::parcel::{Content, Header, Parcel, ParcelError, SealError, seal};
use beeline_proto::payload::Payload;
use beeline_proto::pb::envelope::v1::PayloadType;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// What a manager does with secrets.
pub trait Crypto: Send {
    /// Signs payload bytes of `kind` and returns the envelope.
    fn sign(&mut self, key: &SigningKey, kind: PayloadType, payload: &[u8]) -> Vec<u8>;

    /// Seals `content` to a device's key.
    fn seal(
        &mut self,
        header: &Header,
        recipient: &SealPublic,
        content: &Content,
    ) -> Result<Vec<u8>, SealError>;

    /// Opens a parcel with one of our secrets.
    fn open_parcel(&self, parcel: &Parcel, secret: &SealSecret) -> Result<Content, ParcelError>;

    /// Fills `out` with random bytes.
    fn random(&mut self, out: &mut [u8]);
}

/// The real thing: Ed25519, HPKE, and ChaCha20 keyed by the driver.
pub struct RealCrypto {
    rng: ChaCha20Rng,
}

impl RealCrypto {
    /// `seed` must be 32 bytes of the system's randomness, never used twice.
    pub fn new(seed: [u8; 32]) -> Self {
        Self {
            rng: ChaCha20Rng::from_seed(seed),
        }
    }
}

impl Crypto for RealCrypto {
    fn sign(&mut self, key: &SigningKey, kind: PayloadType, payload: &[u8]) -> Vec<u8> {
        sign_bytes(key, kind, payload)
    }

    fn seal(
        &mut self,
        header: &Header,
        recipient: &SealPublic,
        content: &Content,
    ) -> Result<Vec<u8>, SealError> {
        seal(header, recipient, content, &mut self.rng)
    }

    fn open_parcel(&self, parcel: &Parcel, secret: &SealSecret) -> Result<Content, ParcelError> {
        parcel.open(secret)
    }

    fn random(&mut self, out: &mut [u8]) {
        self.rng.fill_bytes(out);
    }
}

/// Sixteen random bytes: every id there is.
pub(crate) fn random_id(crypto: &mut dyn Crypto) -> [u8; 16] {
    let mut id = [0u8; 16];
    crypto.random(&mut id);
    id
}

/// A random number.
pub(crate) fn random_u64(crypto: &mut dyn Crypto) -> u64 {
    let mut bytes = [0u8; 8];
    crypto.random(&mut bytes);
    u64::from_be_bytes(bytes)
}

/// Signs a payload message.
pub(crate) fn sign<T: Payload>(crypto: &mut dyn Crypto, key: &SigningKey, payload: &T) -> Vec<u8> {
    crypto.sign(key, T::TYPE, &payload.encode_to_vec())
}
