//! Who may speak for a device: the question behind every sign-in.
//!
//! The signalling server knows devices only through [`Authority`], so that a coordinator can serve
//! the same socket with what it knows offline. The gateway's own answer is [`registry`], a
//! coordinator's [`offline`].

pub mod offline;
pub mod proof;
pub mod registry;
pub mod token;

use beeline_proto::code::ErrorCode;
use beeline_proto::id::{DeviceFp, NetworkFp};
use beeline_proto::pb::identity::v1::Versions;
use std::sync::Arc;

/// A device that has shown who it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The network.
    pub network: NetworkFp,
    /// Its networkId, as URLs and reports name it.
    pub network_label: Arc<str>,
    /// The device.
    pub device: DeviceFp,
    /// Its deviceId.
    pub device_label: Arc<str>,
    /// The membership's serial, where it is known: what a revocation names.
    pub serial: Option<u64>,
    /// When the token ends, Unix milliseconds; `None` for a proof.
    pub expires_ms: Option<u64>,
}

/// A socket's proof and what it must match.
#[derive(Clone, Copy, Debug)]
pub struct ProofClaim<'a> {
    /// The deviceId of the socket's path.
    pub device_label: &'a str,
    /// The challenge this socket was given.
    pub nonce: &'a [u8; 32],
    /// The server's own origins, normalized.
    pub origins: &'a [String],
    /// Envelope of a `SocketProof`.
    pub proof: &'a [u8],
    /// Serialized `Chain`; may be empty.
    pub chain: &'a [u8],
    /// Versions of the signed lists the device holds.
    pub versions: Versions,
}

/// A proof that holds, with the signed lists the device does not have yet.
#[derive(Clone, PartialEq, Debug)]
pub struct Proven {
    /// Who it is.
    pub identity: Identity,
    /// A descriptor newer than the device's; empty if there is none.
    pub descriptor: Vec<u8>,
    /// Revocations newer than the device's; empty if there are none.
    pub revocations: Vec<u8>,
}

/// Why a credential does not hold: the code, and a text that says what to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{why}")]
pub struct AuthError {
    /// For the wire.
    pub code: ErrorCode,
    /// For people.
    pub why: &'static str,
}

impl AuthError {
    /// The credential does not verify.
    pub const fn unauthenticated(why: &'static str) -> Self {
        Self {
            code: ErrorCode::Unauthenticated,
            why,
        }
    }

    /// It cannot be checked now.
    pub const fn unavailable(why: &'static str) -> Self {
        Self {
            code: ErrorCode::Unavailable,
            why,
        }
    }

    /// The device or its user is revoked.
    pub const fn revoked() -> Self {
        Self {
            code: ErrorCode::Revoked,
            why: "the membership or the device is revoked",
        }
    }
}

/// What a signalling server must be able to ask.
#[async_trait::async_trait]
pub trait Authority: Send + Sync + 'static {
    /// Checks a bearer token, whole.
    async fn verify_token(&self, token: &str) -> Result<Identity, AuthError>;

    /// Checks a socket's proof.
    async fn verify_proof(&self, claim: ProofClaim<'_>) -> Result<Proven, AuthError>;

    /// Makes sure that the device behind a verified token is still what the token says: listed, not
    /// revoked. Fills in the serial.
    async fn confirm(&self, identity: Identity) -> Result<Identity, AuthError>;

    /// Whether an open socket must end, and why: called for every socket after each change of what
    /// the authority knows. Cheap; asks nobody.
    fn revoked(&self, identity: &Identity) -> Option<AuthError>;
}
