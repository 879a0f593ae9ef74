//! HPKE (RFC 9180) base mode for the one suite, written out step by step: a second opinion on the
//! library, the intermediate values of the vectors, and ciphertexts no honest sender makes.

use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use curve25519_dalek::montgomery::MontgomeryPoint;
use hkdf::Hkdf;
use sha2::Sha256;

/// "KEM" ‖ I2OSP(0x0020, 2): DHKEM(X25519, HKDF-SHA256).
const KEM_SUITE: &[u8] = b"KEM\x00\x20";
/// "HPKE" ‖ KEM 0x0020 ‖ KDF 0x0001 (HKDF-SHA256) ‖ AEAD 0x0002 (AES-256-GCM).
const HPKE_SUITE: &[u8] = b"HPKE\x00\x20\x00\x01\x00\x02";

/// LabeledExtract (RFC 9180 §4).
fn extract(suite: &[u8], salt: &[u8], label: &[u8], ikm: &[u8]) -> Hkdf<Sha256> {
    Hkdf::new(Some(salt), &[b"HPKE-v1", suite, label, ikm].concat())
}

/// The pseudorandom key behind [`extract`].
fn extract_bytes(suite: &[u8], salt: &[u8], label: &[u8], ikm: &[u8]) -> Vec<u8> {
    let (prk, _) = Hkdf::<Sha256>::extract(Some(salt), &[b"HPKE-v1", suite, label, ikm].concat());
    prk.to_vec()
}

/// LabeledExpand (RFC 9180 §4).
fn expand<const N: usize>(prk: &Hkdf<Sha256>, suite: &[u8], label: &[u8], info: &[u8]) -> [u8; N] {
    let length = u16::try_from(N).expect("short").to_be_bytes();
    let mut out = [0; N];
    prk.expand(
        &[&length, b"HPKE-v1".as_slice(), suite, label, info].concat(),
        &mut out,
    )
    .expect("within HKDF's limit");
    out
}

/// DeriveKeyPair (RFC 9180 §7.1.3): the ephemeral secret from 32 random bytes.
pub(super) fn derive_secret(ikm: &[u8; 32]) -> [u8; 32] {
    let prk = extract(KEM_SUITE, b"", b"dkp_prk", ikm);
    expand(&prk, KEM_SUITE, b"sk", b"")
}

/// X25519 (RFC 7748), no check of the result.
pub(super) fn x25519(secret: [u8; 32], public: [u8; 32]) -> [u8; 32] {
    MontgomeryPoint(public).mul_clamped(secret).to_bytes()
}

/// X25519 of the base point.
pub(super) fn x25519_public(secret: [u8; 32]) -> [u8; 32] {
    MontgomeryPoint::mul_base_clamped(secret).to_bytes()
}

/// What the two sides share.
pub(super) struct Shared {
    pub(super) shared_secret: [u8; 32],
    pub(super) key: [u8; 32],
    pub(super) base_nonce: [u8; 12],
}

/// ExtractAndExpand and KeyScheduleS for `dh`, as sender or receiver alike.
pub(super) fn schedule(dh: &[u8; 32], enc: &[u8; 32], recipient: &[u8; 32], info: &[u8]) -> Shared {
    let prk = extract(KEM_SUITE, b"", b"eae_prk", dh);
    let shared_secret: [u8; 32] = expand(
        &prk,
        KEM_SUITE,
        b"shared_secret",
        &[*enc, *recipient].concat(),
    );
    let psk_id_hash = extract_bytes(HPKE_SUITE, b"", b"psk_id_hash", b"");
    let info_hash = extract_bytes(HPKE_SUITE, b"", b"info_hash", info);
    let context = [&[0], psk_id_hash.as_slice(), &info_hash].concat();
    let secret = extract(HPKE_SUITE, &shared_secret, b"secret", b"");
    Shared {
        shared_secret,
        key: expand(&secret, HPKE_SUITE, b"key", &context),
        base_nonce: expand(&secret, HPKE_SUITE, b"base_nonce", &context),
    }
}

impl Shared {
    /// The one seal of a one-shot context: sequence number 0, so the nonce is the base nonce.
    pub(super) fn seal(&self, aad: &[u8], plain: &[u8]) -> Vec<u8> {
        let cipher = Aes256Gcm::new_from_slice(&self.key).expect("32 bytes");
        let payload = Payload { msg: plain, aad };
        cipher
            .encrypt(&Nonce::from(self.base_nonce), payload)
            .expect("short enough")
    }
}

/// RFC 9180 A.6 has no AES-256-GCM with X25519; its DeriveKeyPair of A.1.1 is the same KEM.
#[test]
fn the_kem_agrees_with_rfc_9180() {
    let from = |text: &str| -> [u8; 32] {
        crate::tests::json::unhex(text)
            .try_into()
            .expect("32 bytes")
    };
    let ikm = from("7268600d403fce431561aef583ee1613527cff655c1343f29812e66706df3234");
    let secret = derive_secret(&ikm);
    assert_eq!(
        secret,
        from("52c4a758a802cd8b936eceea314432798d5baf2d7e9235dc084ab1b9cfa2f736")
    );
    let enc = x25519_public(secret);
    assert_eq!(
        enc,
        from("37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431")
    );
    let recipient = from("3948cfe0ad1ddb695d780e59077195da6c56506b027329794ab02bca80815c4d");
    let shared = schedule(&x25519(secret, recipient), &enc, &recipient, b"");
    let want = from("fe0e18c9f024ce43799ae393c7e8fe8fce9d218875e8227b0187c04e7d2ea1fc");
    assert_eq!(shared.shared_secret, want);
}
