//! What an operation of the registry may end with. Rules have errors of their own in
//! [`crate::core`]; this is where they meet those of the store and of credentials. Only
//! `grpc/status.rs` turns one into a response, and logs it.

use crate::core::join::{InviteError, JoinError};
use crate::core::lists::{HexKey, ListError};
use crate::core::page::PageError;
use crate::core::record::RecordError;
use crate::store::StoreError;
use beeline_proto::code::ErrorCode;
use beeline_proto::id::LabelError;

/// An operation's error. Its text is for the one who called; it says what to do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A join is refused.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// An invite is refused.
    #[error(transparent)]
    Invite(#[from] InviteError),
    /// A signed list is refused.
    #[error(transparent)]
    List(#[from] ListError),
    /// A device list is refused; the one in force goes back with the error.
    #[error("{error}")]
    DeviceList {
        /// Why.
        error: ListError,
        /// The envelope in force.
        known: Vec<u8>,
    },
    /// A device record is refused.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A page is refused.
    #[error(transparent)]
    Page(#[from] PageError),
    /// An id is malformed.
    #[error(transparent)]
    Label(#[from] LabelError),
    /// A field breaks a limit.
    #[error("{0}")]
    Invalid(&'static str),
    /// No credential where one is needed.
    #[error(
        "this method needs a credential: sign in and send the token as `authorization: Bearer …`"
    )]
    NoCredential,
    /// A credential that does not verify. One text for every reason.
    #[error("the credential is not valid or has expired; sign in again")]
    BadCredential,
    /// The token's challenge or signature is wrong. One text for every reason.
    #[error("the sign-in does not verify: take a new challenge and sign it with the device's key")]
    BadProof,
    /// The proof was signed for an origin that is not one of the network's.
    #[error("the origin in the sign-in is not one of the network's: sign the origin you dialled")]
    ForeignOrigin,
    /// A valid credential that does not allow this, or no such network for the caller.
    #[error("this credential does not allow that, or there is no such network")]
    Denied,
    /// The caller or the user asked for is revoked.
    #[error("the membership or the device has been revoked")]
    Revoked,
    /// The caller's membership has expired.
    #[error("the membership has expired; ask for a new invite")]
    Expired,
    /// No such user, device or network, to a caller who may know.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// A label is taken.
    #[error("the {0} is taken; choose another")]
    Taken(&'static str),
    /// The descriptor was signed elsewhere and does not name the registry's key yet.
    #[error("sign a newer descriptor that names the registrar key {0} and put it first")]
    NoRegistrar(HexKey),
    /// No room for more of it.
    #[error("{0}")]
    Full(&'static str),
    /// Changed by another call each time it was tried.
    #[error("somebody else changed it at the same time; look again and repeat")]
    Contended,
    /// Too many calls.
    #[error("too many calls; wait a second and try again")]
    RateLimited,
    /// The registry is full or stopping.
    #[error("the registry is busy or shutting down; try again in a moment")]
    Busy,
    /// The deadline passed.
    #[error("the registry did not answer within its deadline; try again")]
    Timeout,
    /// The operating system gave no randomness.
    #[error("the operating system has no random numbers to give")]
    Random,
    /// What is in the store cannot be read back.
    #[error("what the registry stored about the {0} is damaged; restore its database")]
    Damaged(&'static str),
    /// The method is not known.
    #[error("there is no such method here")]
    Unimplemented,
}

impl Error {
    /// Its place in the shared vocabulary.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Store(StoreError::Full | StoreError::Unavailable(_)) => ErrorCode::Unavailable,
            Self::Store(StoreError::Failed(_)) | Self::Random | Self::Damaged(_) => {
                ErrorCode::Internal
            }
            Self::Join(error) => error.code(),
            Self::Invite(error) => error.code(),
            Self::List(error) | Self::DeviceList { error, .. } => error.code(),
            Self::Record(error) => error.code(),
            Self::Page(error) => error.code(),
            Self::Label(_) | Self::Invalid(_) => ErrorCode::InvalidArgument,
            Self::NoCredential | Self::BadCredential | Self::BadProof | Self::ForeignOrigin => {
                ErrorCode::Unauthenticated
            }
            Self::Denied => ErrorCode::PermissionDenied,
            Self::Revoked => ErrorCode::Revoked,
            Self::Expired => ErrorCode::Expired,
            Self::NotFound(_) => ErrorCode::NotFound,
            Self::Taken(_) => ErrorCode::AlreadyExists,
            Self::NoRegistrar(_) | Self::Contended => ErrorCode::Conflict,
            Self::Full(_) => ErrorCode::Full,
            Self::RateLimited => ErrorCode::RateLimited,
            Self::Busy => ErrorCode::Unavailable,
            Self::Timeout => ErrorCode::Timeout,
            Self::Unimplemented => ErrorCode::Unimplemented,
        }
    }
}
