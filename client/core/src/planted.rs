//! Planted bugs: mistakes of the core that can be switched on, one at a time, to see whether the
//! simulator notices. Only with the feature `planted`, which no shipped binary has; without it a
//! hook is `false`, and nothing of it is compiled.

#[cfg(feature = "planted")]
use std::cell::Cell;

/// Whether a bug is switched on.
#[cfg(feature = "planted")]
macro_rules! planted {
    ($bug:ident) => {
        $crate::planted::is_on($crate::planted::Bug::$bug)
    };
}

/// No bug is ever switched on.
#[cfg(not(feature = "planted"))]
macro_rules! planted {
    ($bug:ident) => {
        false
    };
}

/// Names the bugs, and lists them.
#[cfg(feature = "planted")]
macro_rules! bugs {
    ($($(#[doc = $doc:literal])+ $bug:ident,)+) => {
        /// A mistake that can be switched on.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Bug {
            $($(#[doc = $doc])+ $bug,)+
        }

        /// Every bug.
        pub const BUGS: &[Bug] = &[$(Bug::$bug,)+];
    };
}

#[cfg(feature = "planted")]
bugs! {
    /// A message is acknowledged before it is committed.
    AckBeforeCommit,
    /// A message that comes again is not acknowledged again.
    DuplicateNotAcked,
    /// A message that comes again is shown again.
    DuplicateShown,
    /// An ACK counts whatever envelope it names.
    HashUnchecked,
    /// An ACK goes back over the sender's own link or not at all.
    AckOnlyDirect,
    /// A relay says that it handed a parcel on, and did not.
    RelayedButDropped,
    /// A relay hands what it has no link for to another peer.
    RelayedTwice,
    /// NO_ROUTE does not end a relay.
    NoRouteIgnored,
    /// A relay that brings no ACK is waited for without end.
    RelayNeverDoubted,
    /// PEER_FOUND counts without a question.
    FoundUnasked,
    /// PEER_FOUND ends the climb that asked.
    FoundStopsLadder,
    /// Whoever is asked for somebody it has no route to asks its own peers.
    QueryPassedOn,
    /// Who wants not to be named is named.
    UnlistedNamed,
    /// After a NACK the message stays sealed to the old key.
    StaleSealKey,
    /// After the last rung nothing is tried again.
    RetryNotArmed,
    /// A message goes out before it is committed.
    SentBeforeCommit,
    /// An envelope whose write failed counts as being written for ever.
    SealStuck,
    /// What a failed write recorded is not written again.
    FailedWriteForgotten,
    /// Messages are shown as they come.
    OrderByArrival,
    /// A coordinator takes more links than it has room for.
    CapIgnored,
    /// A relayed message is told to be tried.
    StateGoesBack,
    /// A custodian promises before it has committed.
    ReceiptBeforeCommit,
    /// A custodian makes room by dropping what it accepted.
    EvictedWhenFull,
    /// A custodian hands what it keeps to whoever is linked.
    KeptToAnybody,
    /// A recipient has kept parcels deleted before it has committed them.
    DeletedBeforeCommit,
    /// A recipient does not ask what is kept for it.
    KeptNotFetched,
    /// A message is called stored at its first receipt.
    StoredFromOneReceipt,
    /// A parcel whose key is gone is dropped in silence.
    SilentWithoutKey,
    /// Message ids are remembered for a minute.
    DuplicatesForgotten,
    /// The wall clock says how old a message is.
    WallClockExpires,
    /// A reused place in the sequence has no consequence.
    CountsOn,
}

#[cfg(feature = "planted")]
thread_local! {
    static ON: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Switches one bug on for all managers of this thread, or all off.
#[cfg(feature = "planted")]
pub fn switch_on(bug: Option<Bug>) {
    ON.set(bug);
}

/// Whether a bug is switched on.
#[cfg(feature = "planted")]
pub(crate) fn is_on(bug: Bug) -> bool {
    ON.get() == Some(bug)
}
