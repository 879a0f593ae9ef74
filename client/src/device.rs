//! Several devices of one user. The first one holds the user key, which signs the list of all; it
//! takes further ones in, and takes them off. The key itself never leaves it.
//!
//! ```text
//! holder                                     new device
//!   link, out of band ───────────────────────► pins network and user
//!   ◄─── call: token, SHA-256(request) ────────
//!   ──── offer (random, signed), chain ───────► checks the chain against the pins
//!   ◄─── request (random, keys, signed) ───────
//!   six digits of both                          six digits of both
//!   a person says yes, the list is signed ────► chain with it; checks, stores
//! ```

mod frames;
mod holder;
mod joiner;
mod list;

pub use holder::{Holder, Pending};
pub use joiner::join;
pub use list::{DeviceInfo, Lists};

use crate::error::{HomeError, QueryError};
use beeline_proto::chain::ChainError;
use beeline_proto::code::ErrorCode;

/// Why a device was not taken in, or off.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The home cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] QueryError),
    /// This device has no user key.
    #[error(
        "this device does not hold the user key of {0}: link and revoke on the device that joined \
         the network first"
    )]
    NotTheHolder(String),
    /// There is no room for one more.
    #[error("{0} has 16 devices already; take one off first: `beeline device revoke DEVICE`")]
    Full(String),
    /// Another device has the name.
    #[error("{0} has a device {1} already; give the new one another name with --device")]
    Taken(String, String),
    /// No such device.
    #[error("{0} has no device {1}; `beeline device list` names them")]
    NoSuchDevice(String, String),
    /// One cannot take off oneself.
    #[error(
        "{0} is this very device, and it holds the user key: nobody could change the list any more"
    )]
    Ourselves(String),
    /// The link is no device link.
    #[error(transparent)]
    Link(#[from] beeline_proto::device_link::DeviceLinkError),
    /// The other side cannot be reached, or went away.
    #[error("{0}")]
    Connection(String),
    /// The other side said no.
    #[error("the other device refused: {0}")]
    Refused(String),
    /// What the other side said does not hold.
    #[error("what the other device says does not verify: {0}")]
    NotVerified(String),
    /// Nobody said yes in time, or somebody said no.
    #[error("{0}")]
    NotConfirmed(String),
    /// The operating system gave no randomness.
    #[error("the operating system gave no random numbers: {0}")]
    Random(String),
}

impl DeviceError {
    /// Its place in the shared vocabulary.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NotTheHolder(_) => ErrorCode::PermissionDenied,
            Self::Full(_) => ErrorCode::Full,
            Self::Taken(..) => ErrorCode::AlreadyExists,
            Self::NoSuchDevice(..) => ErrorCode::NotFound,
            Self::Ourselves(_) | Self::Link(_) => ErrorCode::InvalidArgument,
            Self::Connection(_) => ErrorCode::Unavailable,
            _ => ErrorCode::Internal,
        }
    }

    fn chain(error: ChainError) -> Self {
        Self::NotVerified(error.to_string())
    }
}
