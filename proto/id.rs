//! Ids and labels. Between peers a network, user and device *is* the SHA-256 fingerprint of its
//! Ed25519 key; `networkId`, `userId` and `deviceId` are labels for URLs, logs and people.

use data_encoding::{BASE32_NOPAD, HEXLOWER};
use sha2::{Digest, Sha256};
use std::fmt;

/// SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Why bytes are not the id they were taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be {want} bytes, got {got}")]
pub struct IdLengthError {
    what: &'static str,
    want: usize,
    got: usize,
}

macro_rules! byte_id {
    ($(#[$doc:meta])* $name:ident, $len:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// The raw bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// The bytes as an owned vector, as protobuf fields want them.
            pub fn to_vec(self) -> Vec<u8> {
                self.0.to_vec()
            }

            /// The first 8 hexadecimal digits, for logs and people.
            pub fn short(&self) -> String {
                HEXLOWER.encode(&self.0[..4])
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = IdLengthError;

            fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
                bytes.try_into().map(Self).map_err(|_| IdLengthError {
                    what: $what,
                    want: $len,
                    got: bytes.len(),
                })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.short())
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdLengthError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let bytes = HEXLOWER.decode(text.as_bytes()).unwrap_or_default();
                Self::try_from(bytes.as_slice())
            }
        }
    };
}

byte_id!(
    /// Fingerprint of a network's authority key: what the network *is*.
    NetworkFp, 32, "a network fingerprint"
);
byte_id!(
    /// Fingerprint of a user key: what the user *is*.
    UserFp, 32, "a user fingerprint"
);
byte_id!(
    /// Fingerprint of a device key: what the device *is*.
    DeviceFp, 32, "a device fingerprint"
);
byte_id!(
    /// SHA-256 over the three length-prefixed parts of a parcel.
    ParcelId, 32, "a parcel id"
);
byte_id!(
    /// SHA-256 of an envelope's bytes as received.
    EnvelopeHash, 32, "an envelope hash"
);
byte_id!(
    /// Random id of one signed message; with its signer it names the message for ever.
    MessageId, 16, "a message id"
);
byte_id!(
    /// Random id of one link, from the offer on.
    SessionId, 16, "a session id"
);
byte_id!(
    /// Random id of one process start.
    BootId, 16, "a boot id"
);
byte_id!(
    /// Opaque name of a key that parcels are sealed to.
    KeyId, 16, "a key id"
);

impl MessageId {
    /// The id as people see it: 26 lower-case base32 characters (RFC 4648, no padding).
    pub fn to_text(self) -> String {
        BASE32_NOPAD.encode(&self.0).to_ascii_lowercase()
    }

    /// Reads what [`MessageId::to_text`] wrote; case does not matter.
    pub fn from_text(text: &str) -> Option<Self> {
        let bytes = BASE32_NOPAD
            .decode(text.to_ascii_uppercase().as_bytes())
            .ok()?;
        Self::try_from(bytes.as_slice()).ok()
    }
}

/// A `networkId`, `userId` or `deviceId`: `[A-Za-z0-9][A-Za-z0-9_-]{0,63}`, no route name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Label(String);

/// Names that REST routes use at the place of a label.
pub const RESERVED_LABELS: &[&str] = &[
    "auth",
    "coordinator",
    "healthz",
    "join",
    "metrics",
    "network",
    "openapi",
    "readyz",
    "well-known",
];

/// Why a text is no label.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// Breaks the pattern.
    #[error(
        "{0:?} is not a valid id: use 1 to 64 of A-Z a-z 0-9 _ -, beginning with a letter or digit"
    )]
    Pattern(String),
    /// Is a route name.
    #[error("{0:?} is reserved; choose another id")]
    Reserved(String),
}

impl Label {
    /// Checks the pattern and the reserved names.
    pub fn new(text: &str) -> Result<Self, LabelError> {
        let mut chars = text.chars();
        let first_ok = chars.next().is_some_and(|c| c.is_ascii_alphanumeric());
        let rest_ok = chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        if !first_ok || !rest_ok || text.len() > crate::limits::LABEL_LEN_MAX {
            let shown: String = text.chars().take(80).collect();
            return Err(LabelError::Pattern(shown));
        }
        if RESERVED_LABELS.contains(&text) {
            return Err(LabelError::Reserved(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_keep_to_the_pattern() {
        for good in ["a", "Alice", "alice_device-123", "0x"] {
            assert_eq!(Label::new(good).map(|l| l.to_string()), Ok(good.to_owned()));
        }
        let long = "a".repeat(65);
        for bad in ["", "-a", "_a", "a b", "ä", "a/b", "a.b", long.as_str()] {
            assert!(
                matches!(Label::new(bad), Err(LabelError::Pattern(_))),
                "{bad:?}"
            );
        }
        assert!(Label::new(&"a".repeat(64)).is_ok());
        assert!(matches!(Label::new("join"), Err(LabelError::Reserved(_))));
    }

    #[test]
    fn message_ids_survive_their_text() {
        let id = MessageId([7; 16]);
        assert_eq!(MessageId::from_text(&id.to_text()), Some(id));
        assert_eq!(MessageId::from_text("short"), None);
    }

    #[test]
    fn ids_refuse_other_lengths() {
        assert!(UserFp::try_from([0u8; 31].as_slice()).is_err());
        assert!(UserFp::try_from([0u8; 32].as_slice()).is_ok());
        assert!(UserFp::try_from([0u8; 33].as_slice()).is_err());
    }
}
