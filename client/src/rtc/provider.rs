//! A crypto provider that lets [`AssemblyGuard`](super::assembly::AssemblyGuard) see SCTP between
//! DTLS and the crate's association.
//!
//! The crate offers no hook there, but it asks the provider for the AEAD of each direction: what
//! is sealed is what our association sends, what was opened is what the peer sent. Everything
//! else is delegated untouched.

use std::sync::Arc;

use webrtc::peer_connection::crypto::{
    ActiveKeyExchange, AeadAlgorithm, AeadCipher, BlockCipherAlgorithm, CbcAlgorithm, CbcCipher,
    CryptoAlgorithm, CryptoError, HashAlgorithm, HmacAlgorithm, KeyExchangeAlgorithm, Mac,
    PublicKey, RTCCrypto, RTCCryptoProvider, RTCRandom, SignatureScheme, SigningKey, StreamCipher,
    StreamCipherAlgorithm,
};

use super::shared::LinkShared;

pub(super) struct GuardedProvider {
    inner: Arc<dyn RTCCryptoProvider>,
    shared: Arc<LinkShared>,
}

impl GuardedProvider {
    pub(super) fn new(inner: Arc<dyn RTCCryptoProvider>, shared: Arc<LinkShared>) -> Self {
        Self { inner, shared }
    }
}

impl RTCCryptoProvider for GuardedProvider {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn crypto(&self) -> &dyn RTCCrypto {
        self
    }

    fn random(&self) -> &dyn RTCRandom {
        self.inner.random()
    }
}

impl RTCCrypto for GuardedProvider {
    fn new_aead(
        &self,
        algorithm: AeadAlgorithm,
        key: &[u8],
    ) -> Result<Box<dyn AeadCipher>, CryptoError> {
        let inner = self.inner.crypto().new_aead(algorithm, key)?;
        Ok(Box::new(GuardedAead {
            inner,
            shared: Arc::clone(&self.shared),
        }))
    }

    fn supports(&self, algorithm: CryptoAlgorithm) -> bool {
        self.inner.crypto().supports(algorithm)
    }

    fn hash(&self, algorithm: HashAlgorithm, data: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.inner.crypto().hash(algorithm, data)
    }

    fn block_encrypt(
        &self,
        algorithm: BlockCipherAlgorithm,
        key: &[u8],
        block: &mut [u8],
    ) -> Result<(), CryptoError> {
        self.inner.crypto().block_encrypt(algorithm, key, block)
    }

    fn new_hmac(&self, algorithm: HmacAlgorithm, key: &[u8]) -> Result<Box<dyn Mac>, CryptoError> {
        self.inner.crypto().new_hmac(algorithm, key)
    }

    fn new_stream_cipher(
        &self,
        algorithm: StreamCipherAlgorithm,
        key: &[u8],
    ) -> Result<Box<dyn StreamCipher>, CryptoError> {
        self.inner.crypto().new_stream_cipher(algorithm, key)
    }

    fn new_cbc(
        &self,
        algorithm: CbcAlgorithm,
        key: &[u8],
    ) -> Result<Box<dyn CbcCipher>, CryptoError> {
        self.inner.crypto().new_cbc(algorithm, key)
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
        pkcs8_der: &[u8],
    ) -> Result<Arc<dyn SigningKey>, CryptoError> {
        self.inner.crypto().import_signing_key(scheme, pkcs8_der)
    }

    fn verify_signature(
        &self,
        scheme: SignatureScheme,
        public_key: PublicKey<'_>,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        self.inner
            .crypto()
            .verify_signature(scheme, public_key, message, signature)
    }
}

/// DTLS content type of application data, and where the AAD of a record carries it (RFC 5246
/// §6.2.3.3: 8 bytes of epoch and sequence number, then the type).
const APPLICATION_DATA: u8 = 23;
const CONTENT_TYPE_AT: usize = 8;

struct GuardedAead {
    inner: Box<dyn AeadCipher>,
    shared: Arc<LinkShared>,
}

fn is_application_data(aad: &[u8]) -> bool {
    aad.get(CONTENT_TYPE_AT) == Some(&APPLICATION_DATA)
}

impl AeadCipher for GuardedAead {
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
        if is_application_data(aad)
            && let Err(abuse) = self.shared.assembly().outbound(data)
        {
            self.shared.report_abuse(abuse);
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
        if self.shared.abuse().is_some() {
            // The link is about to close: nothing more gets in.
            return Err(CryptoError::AuthenticationFailed);
        }
        self.inner.open_in_place(nonce, aad, data, tag)?;
        if is_application_data(aad)
            && let Err(abuse) = self.shared.assembly().inbound(data)
        {
            self.shared.report_abuse(abuse);
            return Err(CryptoError::AuthenticationFailed);
        }
        Ok(())
    }
}
