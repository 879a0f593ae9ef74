//! The one place that draws random bytes; the core is handed them.

use crate::error::Error;
use beeline_proto::id::MessageId;
use beeline_proto::keys::SigningKey;
use zeroize::Zeroizing;

/// `N` bytes from the operating system.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], Error> {
    let mut out = [0; N];
    getrandom::fill(&mut out).map_err(|_| Error::Random)?;
    Ok(out)
}

/// A new Ed25519 key.
pub(crate) fn signing_key() -> Result<SigningKey, Error> {
    Ok(SigningKey::from_seed(&Zeroizing::new(bytes()?)))
}

/// A new message id.
pub(crate) fn message_id() -> Result<MessageId, Error> {
    Ok(MessageId(bytes()?))
}

/// `prefix` and six random base32 characters, as networks are called that nobody named.
pub(crate) fn label(prefix: &str) -> Result<String, Error> {
    let text = data_encoding::BASE32_NOPAD.encode(&bytes::<5>()?);
    Ok(format!("{prefix}_{}", text[..6].to_ascii_lowercase()))
}
