//! Errors of starting. Afterwards nothing fails: what goes wrong is an event, a refusal with an
//! `ErrorCode`, or a count.

use beeline_proto::chain::ChainError;

/// Why a manager cannot start from what was loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The home's own chain does not verify against the pinned network.
    #[error("this home's own credentials do not verify ({0}); restore a backup or join again")]
    OwnChain(#[from] ChainError),
    /// The chain verifies, but is not for the keys of this home.
    #[error("this home's keys do not belong to its credentials; restore a backup or join again")]
    NotOurs,
    /// It shall coordinate, and its membership does not allow that.
    #[error(
        "this home's membership is not a coordinator's; join with an invite made by \
         `beeline network invite --role coordinator`"
    )]
    NotCoordinator,
    /// The configuration is not usable.
    #[error("the configuration is not usable: {0}")]
    Config(&'static str),
}
