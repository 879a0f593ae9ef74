//! Device records: what makes an announced one acceptable, and what is read from one in store.

use beeline_proto::code::ErrorCode;
use beeline_proto::envelope::{Expect, OpenError, open, split};
use beeline_proto::id::{DeviceFp, NetworkFp, UserFp, sha256};
use beeline_proto::limits::{LABEL_LEN_MAX, ORIGIN_LEN_MAX};
use beeline_proto::origin;
use beeline_proto::pb::identity::v1 as pb;
use prost::Message as _;
use std::sync::Arc;

use crate::limits::VERSION_MAX;

/// A device record that was verified when it was announced.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The envelope as received.
    pub bytes: Arc<[u8]>,
    /// Its version.
    pub version: u64,
    /// Where the device's signalling socket is reached; may be empty.
    pub signal_addr: String,
    /// Whether the device must not be named in lists.
    pub unlisted: bool,
    /// SHA-256 of the bundle's envelope, zeros without one.
    bundle_hash: [u8; 32],
    bundle_made_ms: u64,
}

/// Whose record it must be.
#[derive(Debug, Clone, Copy)]
pub struct Owner {
    /// The network.
    pub network: NetworkFp,
    /// The user.
    pub user: UserFp,
    /// The device that must have signed.
    pub device: DeviceFp,
}

/// Why a record is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// It does not verify as this device's.
    #[error("the device record does not verify: {0}")]
    Open(OpenError),
    /// It names another user.
    #[error("the device record names another user than the caller")]
    WrongUser,
    /// A number or text in it is out of range.
    #[error("the device record is not valid: {0}")]
    Invalid(&'static str),
    /// A newer one is known.
    #[error("a newer device record is known (version {0}); make one with a higher version")]
    Older(u64),
    /// The same version with other bytes.
    #[error("another device record with the same version is known; is this home running twice?")]
    Conflict,
    /// The bundle does not verify as this device's.
    #[error("the bundle in the device record does not verify: {0}")]
    Bundle(OpenError),
    /// A newer bundle is known.
    #[error("the bundle in the device record is older than the one known")]
    OlderBundle,
}

impl RecordError {
    /// Its place in the shared vocabulary.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Older(_) | Self::Conflict | Self::OlderBundle => ErrorCode::Conflict,
            _ => ErrorCode::InvalidArgument,
        }
    }
}

impl Record {
    /// Checks an announced record against its owner and the one known before. A record of the same
    /// bytes is the known one; a bundle of the same bytes is not verified twice.
    pub fn check(
        bytes: &[u8],
        owner: &Owner,
        known: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, RecordError> {
        if let Some(known) = known
            && *known.bytes == *bytes
        {
            return Ok(Arc::clone(known));
        }
        let audiences = [owner.network.0];
        let expect = Expect::new(owner.network, &audiences).signer(owner.device.0);
        let verified = open::<pb::DeviceRecord>(bytes, &expect).map_err(RecordError::Open)?;
        let payload = verified.payload();
        if payload.user != owner.user.0 {
            return Err(RecordError::WrongUser);
        }
        check_fields(payload)?;
        if let Some(known) = known {
            match payload.version.cmp(&known.version) {
                std::cmp::Ordering::Less => return Err(RecordError::Older(known.version)),
                std::cmp::Ordering::Equal => return Err(RecordError::Conflict),
                std::cmp::Ordering::Greater => {}
            }
        }
        let (bundle_hash, bundle_made_ms) = check_bundle(&payload.bundle, owner, known)?;
        Ok(Arc::new(Self {
            bytes: Arc::from(bytes),
            version: payload.version,
            signal_addr: payload.signal_addr.clone(),
            unlisted: payload.unlisted,
            bundle_hash,
            bundle_made_ms,
        }))
    }

    /// Reads back a record that was checked before it was stored; `None` if it is damaged.
    pub fn stored(bytes: &[u8]) -> Option<Self> {
        let raw = split(bytes).ok()?;
        let payload = pb::DeviceRecord::decode(raw.payload).ok()?;
        let (bundle_hash, bundle_made_ms) = if payload.bundle.is_empty() {
            ([0; 32], 0)
        } else {
            let bundle = pb::Bundle::decode(split(&payload.bundle).ok()?.payload).ok()?;
            (sha256(&payload.bundle), bundle.made_ms)
        };
        Some(Self {
            bytes: Arc::from(bytes),
            version: payload.version,
            signal_addr: payload.signal_addr,
            unlisted: payload.unlisted,
            bundle_hash,
            bundle_made_ms,
        })
    }
}

fn check_fields(payload: &pb::DeviceRecord) -> Result<(), RecordError> {
    if payload.version == 0 || payload.version > VERSION_MAX {
        return Err(RecordError::Invalid("its version must be 1 to 2^63 - 1"));
    }
    let addr = &payload.signal_addr;
    if addr.len() > ORIGIN_LEN_MAX + LABEL_LEN_MAX {
        return Err(RecordError::Invalid("signal_addr is too long"));
    }
    let is_socket = addr.starts_with("ws://") || addr.starts_with("wss://");
    if !addr.is_empty() && (!is_socket || origin::normalize(addr).is_none()) {
        let why = "signal_addr must be a ws:// or wss:// URL";
        return Err(RecordError::Invalid(why));
    }
    Ok(())
}

/// The hash and age of a valid bundle. A device may announce before it has one.
fn check_bundle(
    bytes: &[u8],
    owner: &Owner,
    known: Option<&Arc<Record>>,
) -> Result<([u8; 32], u64), RecordError> {
    if bytes.is_empty() {
        return Ok(([0; 32], 0));
    }
    let hash = sha256(bytes);
    if let Some(known) = known
        && known.bundle_hash == hash
    {
        return Ok((hash, known.bundle_made_ms));
    }
    let audiences = [owner.network.0];
    let expect = Expect::new(owner.network, &audiences).signer(owner.device.0);
    let bundle = open::<pb::Bundle>(bytes, &expect).map_err(RecordError::Bundle)?;
    let payload = bundle.payload();
    if payload.key.len() != 32 || payload.key_id.len() != 16 {
        return Err(RecordError::Invalid(
            "the bundle's key or key id has another length",
        ));
    }
    if known.is_some_and(|k| payload.made_ms <= k.bundle_made_ms) {
        return Err(RecordError::OlderBundle);
    }
    Ok((hash, payload.made_ms))
}
