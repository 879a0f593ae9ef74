//! A WebRTC peer that lies inside DTLS: its cryptography rewrites the SCTP packets it sends and
//! receives, so that the real stack becomes any attacker a test needs.

use std::sync::Arc;

use webrtc::peer_connection::crypto::{
    self, ActiveKeyExchange, AeadAlgorithm, AeadCipher, CryptoAlgorithm, CryptoError,
    HashAlgorithm, HmacAlgorithm, KeyExchangeAlgorithm, Mac, PublicKey, RTCCrypto,
    RTCCryptoProvider, RTCRandom, SignatureScheme, SigningKey,
};

/// SCTP chunk types (RFC 9260 §3.2).
pub mod chunk {
    /// DATA.
    pub const DATA: u8 = 0;
    /// INIT.
    pub const INIT: u8 = 1;
    /// INIT ACK.
    pub const INIT_ACK: u8 = 2;
    /// SACK.
    pub const SACK: u8 = 3;
}

/// Flag of DATA: the last fragment of a message.
pub const END: u8 = 1;
/// Flag of DATA: the first fragment of a message.
pub const BEGIN: u8 = 2;
/// Flag of DATA: not in order.
pub const UNORDERED: u8 = 4;

/// Changes one chunk in place: type, then the whole chunk with its header.
pub type Rewrite = Arc<dyn Fn(u8, &mut [u8]) + Send + Sync>;

/// Default cryptography with rewriting.
pub struct HostileCrypto {
    inner: Arc<dyn RTCCryptoProvider>,
    sent: Rewrite,
    received: Rewrite,
}

impl HostileCrypto {
    /// `sent` sees every chunk before it is sealed, `received` every chunk after it was opened.
    pub fn provider(sent: Rewrite, received: Rewrite) -> Arc<dyn RTCCryptoProvider> {
        let inner = crypto::default_provider().expect("the crate has cryptography");
        Arc::new(Self {
            inner,
            sent,
            received,
        })
    }
}

/// Reads a big-endian word of a chunk.
pub fn word(chunk: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(chunk[at..at + 4].try_into().expect("four bytes"))
}

/// Writes a big-endian word of a chunk.
pub fn set_word(chunk: &mut [u8], at: usize, value: u32) {
    chunk[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

fn rewrite(packet: &mut [u8], with: &Rewrite) {
    let mut at = 12;
    while at + 4 <= packet.len() {
        let length = usize::from(u16::from_be_bytes([packet[at + 2], packet[at + 3]]));
        if length < 4 || at + length > packet.len() {
            return;
        }
        with(packet[at], &mut packet[at..at + length]);
        at += length.next_multiple_of(4);
    }
    packet[8..12].fill(0);
    let sum = crc32c(packet);
    packet[8..12].copy_from_slice(&sum.to_le_bytes());
}

/// CRC32c as SCTP wants it (RFC 9260 appendix A), bit by bit: speed does not matter here.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
        }
    }
    !crc
}

impl RTCCryptoProvider for HostileCrypto {
    fn name(&self) -> &'static str {
        "hostile"
    }

    fn crypto(&self) -> &dyn RTCCrypto {
        self
    }

    fn random(&self) -> &dyn RTCRandom {
        self.inner.random()
    }
}

/// Only what DTLS with ECDSA and ChaCha20-Poly1305, and ICE, ask for.
impl RTCCrypto for HostileCrypto {
    fn new_aead(
        &self,
        algorithm: AeadAlgorithm,
        key: &[u8],
    ) -> Result<Box<dyn AeadCipher>, CryptoError> {
        Ok(Box::new(HostileAead {
            inner: self.inner.crypto().new_aead(algorithm, key)?,
            sent: Arc::clone(&self.sent),
            received: Arc::clone(&self.received),
        }))
    }

    fn supports(&self, algorithm: CryptoAlgorithm) -> bool {
        self.inner.crypto().supports(algorithm)
    }

    fn hash(&self, algorithm: HashAlgorithm, data: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.inner.crypto().hash(algorithm, data)
    }

    fn new_hmac(&self, algorithm: HmacAlgorithm, key: &[u8]) -> Result<Box<dyn Mac>, CryptoError> {
        self.inner.crypto().new_hmac(algorithm, key)
    }

    fn start_key_exchange(
        &self,
        algorithm: KeyExchangeAlgorithm,
    ) -> Result<Box<dyn ActiveKeyExchange>, CryptoError> {
        self.inner.crypto().start_key_exchange(algorithm)
    }

    fn generate_signing_key(
        &self,
        scheme: SignatureScheme,
    ) -> Result<Arc<dyn SigningKey>, CryptoError> {
        self.inner.crypto().generate_signing_key(scheme)
    }

    fn import_signing_key(
        &self,
        scheme: SignatureScheme,
        pkcs8: &[u8],
    ) -> Result<Arc<dyn SigningKey>, CryptoError> {
        self.inner.crypto().import_signing_key(scheme, pkcs8)
    }

    fn verify_signature(
        &self,
        scheme: SignatureScheme,
        key: PublicKey<'_>,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        self.inner
            .crypto()
            .verify_signature(scheme, key, message, signature)
    }
}

struct HostileAead {
    inner: Box<dyn AeadCipher>,
    sent: Rewrite,
    received: Rewrite,
}

/// DTLS application data; the AAD of a record has its type at byte 8.
fn is_data(aad: &[u8]) -> bool {
    aad.get(8) == Some(&23)
}

impl AeadCipher for HostileAead {
    fn tag_len(&self) -> usize {
        self.inner.tag_len()
    }

    fn seal_in_place(
        &mut self,
        nonce: &[u8],
        aad: &[u8],
        data: &mut [u8],
        tag: &mut [u8],
    ) -> Result<(), CryptoError> {
        if is_data(aad) {
            rewrite(data, &self.sent);
        }
        self.inner.seal_in_place(nonce, aad, data, tag)
    }

    fn open_in_place(
        &mut self,
        nonce: &[u8],
        aad: &[u8],
        data: &mut [u8],
        tag: &[u8],
    ) -> Result<(), CryptoError> {
        self.inner.open_in_place(nonce, aad, data, tag)?;
        if is_data(aad) {
            rewrite(data, &self.received);
        }
        Ok(())
    }
}
