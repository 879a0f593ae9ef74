//! Keys: Ed25519 for signing (RFC 8032), X25519 for sealing (RFC 7748). Secret halves erase
//! themselves on drop and never print.

use crate::id::{DeviceFp, KeyId, NetworkFp, UserFp, sha256};
use hpke::kem::{Kem, X25519HkdfSha256};
use hpke::{Deserializable, Serializable};
use rand_core::CryptoRng;
use std::fmt;
use zeroize::Zeroizing;

/// An Ed25519 public key that has been checked: canonical encoding, not of small order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VerifyKey(ed25519_dalek::VerifyingKey);

/// Why 32 bytes are not a usable public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not 32 bytes.
    #[error("a public key must be 32 bytes")]
    Length,
    /// Not a point, a non-canonical encoding, or a point of small order.
    #[error("the public key is not a canonical Ed25519 point of full order")]
    Weak,
}

impl VerifyKey {
    /// Checks the bytes: 32 of them, a point, canonically encoded, not of small order.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let bytes: &[u8; 32] = bytes.try_into().map_err(|_| KeyError::Length)?;
        let key = ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::Weak)?;
        let canonical = key.to_edwards().compress().to_bytes() == *bytes;
        if key.is_weak() || !canonical {
            return Err(KeyError::Weak);
        }
        Ok(Self(key))
    }

    /// The 32 bytes.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// SHA-256 of the 32 bytes: the fingerprint.
    pub fn fp(&self) -> [u8; 32] {
        sha256(self.0.as_bytes())
    }

    /// The fingerprint, where the key is a network's authority.
    pub fn network_fp(&self) -> NetworkFp {
        NetworkFp(self.fp())
    }

    /// The fingerprint, where the key is a user's.
    pub fn user_fp(&self) -> UserFp {
        UserFp(self.fp())
    }

    /// The fingerprint, where the key is a device's.
    pub fn device_fp(&self) -> DeviceFp {
        DeviceFp(self.fp())
    }

    /// Strict verification of `signature` over `message`: S < L, R not of small order, and
    /// R recomputed byte for byte.
    pub fn verify(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        self.0.verify_strict(message, &signature).is_ok()
    }
}

impl fmt::Debug for VerifyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyKey({})", self.device_fp().short())
    }
}

/// An Ed25519 secret key.
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// From its 32-byte seed (RFC 8032 §5.1.5).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// Draws a new one.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut seed = Zeroizing::new([0u8; 32]);
        rng.fill_bytes(seed.as_mut());
        Self::from_seed(&seed)
    }

    /// The seed, for storing.
    pub fn to_seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public half.
    pub fn verify_key(&self) -> VerifyKey {
        VerifyKey(self.0.verifying_key())
    }

    /// Signs `message` (RFC 8032 Ed25519).
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        use ed25519_dalek::Signer as _;
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(secret)")
    }
}

/// An X25519 public key that parcels are sealed to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SealPublic(pub [u8; 32]);

impl SealPublic {
    /// Takes exactly 32 bytes. A point of small order is caught when sealing (all-zero secret).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        bytes.try_into().map(Self).map_err(|_| KeyError::Length)
    }

    /// The key id of a control key: the first 16 bytes of its SHA-256.
    pub fn key_id(&self) -> KeyId {
        let mut id = [0u8; 16];
        id.copy_from_slice(&sha256(&self.0)[..16]);
        KeyId(id)
    }

    /// The key in the form the HPKE library takes.
    pub(crate) fn hpke(&self) -> Option<<X25519HkdfSha256 as Kem>::PublicKey> {
        <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(&self.0).ok()
    }
}

/// An X25519 secret key that parcels are opened with, and its public half, worked out once.
#[derive(Clone)]
pub struct SealSecret {
    bytes: Zeroizing<[u8; 32]>,
    public: SealPublic,
}

impl SealSecret {
    /// From its 32 bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        let bytes = Zeroizing::new(bytes);
        let public = X25519HkdfSha256::sk_to_pk(&hpke_secret(&bytes));
        let mut half = [0u8; 32];
        half.copy_from_slice(&public.to_bytes());
        Self {
            bytes,
            public: SealPublic(half),
        }
    }

    /// Draws a new one.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut bytes = Zeroizing::new([0u8; 32]);
        rng.fill_bytes(bytes.as_mut());
        Self::from_bytes(*bytes)
    }

    /// The secret bytes, for storing.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        self.bytes.clone()
    }

    /// The public half.
    pub fn public(&self) -> SealPublic {
        self.public
    }

    /// The key in the form the HPKE library takes.
    pub(crate) fn hpke(&self) -> <X25519HkdfSha256 as Kem>::PrivateKey {
        hpke_secret(&self.bytes)
    }
}

fn hpke_secret(bytes: &[u8; 32]) -> <X25519HkdfSha256 as Kem>::PrivateKey {
    <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(bytes)
        .unwrap_or_else(|_| unreachable!("32 bytes are a valid X25519 scalar"))
}

impl fmt::Debug for SealSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealSecret(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_order_and_non_canonical_keys_are_refused() {
        let mut identity = [0u8; 32];
        identity[0] = 1;
        assert_eq!(VerifyKey::from_bytes(&identity), Err(KeyError::Weak));
        assert_eq!(VerifyKey::from_bytes(&[0; 32]), Err(KeyError::Weak));
        // y = p + 3 encodes the same point as y = 3, but not canonically.
        let mut non_canonical = [0xff; 32];
        non_canonical[0] = 0xf0;
        non_canonical[31] = 0x7f;
        assert_eq!(VerifyKey::from_bytes(&non_canonical), Err(KeyError::Weak));
        assert_eq!(VerifyKey::from_bytes(&[1; 31]), Err(KeyError::Length));
    }

    #[test]
    fn secrets_do_not_print() {
        let seed = [0x5a; 32];
        let text = format!(
            "{:?} {:?}",
            SigningKey::from_seed(&seed),
            SealSecret::from_bytes(seed)
        );
        assert_eq!(text, "SigningKey(secret) SealSecret(secret)");
    }
}
