//! One remote user: its connection state, and the climb and the retries for it.

use crate::bounded::Bucket;
use crate::event::PeerState;
use crate::ladder::Ladder;
use crate::limits::{CALLS_BURST, CALLS_PER_S};
use beeline_proto::id::Label;

/// What can move a peer from state to state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Move {
    /// Rungs are climbed for it.
    Discover,
    /// An offer goes out, or came in.
    Signal,
    /// Both descriptions are known.
    Connect,
    /// Both HELLOs verified.
    Open,
    /// The last open link is gone.
    Lose,
    /// The last attempt in flight ended without a link.
    Fail,
    /// Waiting for a retry, for presence or a network change.
    Wait,
}

/// The state after `by`, or `None` where the move means nothing: no other transition exists.
pub(crate) fn after(state: PeerState, by: Move) -> Option<PeerState> {
    use PeerState as S;
    match (state, by) {
        // DISCONNECTED => DISCOVERING: something is to be sent.
        // STORE_AND_FORWARD => DISCOVERING: a retry, presence, or a network change.
        (S::Disconnected | S::StoreAndForward, Move::Discover) => Some(S::Discovering),
        // DISCOVERING => SIGNALING: a rung named a device and an offer is made.
        // DISCONNECTED | STORE_AND_FORWARD => SIGNALING: an offer came in.
        (S::Discovering | S::Disconnected | S::StoreAndForward, Move::Signal) => Some(S::Signaling),
        // SIGNALING => CONNECTING: offer and answer are exchanged.
        (S::Signaling, Move::Connect) => Some(S::Connecting),
        // CONNECTING => CONNECTED: both HELLOs verified.
        (S::Connecting, Move::Open) => Some(S::Connected),
        // CONNECTED => DISCONNECTED: lost, or GOODBYE.
        (S::Connected, Move::Lose) => Some(S::Disconnected),
        // DISCOVERING | SIGNALING | CONNECTING => FAILED: the last attempt in flight ended.
        (S::Discovering | S::Signaling | S::Connecting, Move::Fail) => Some(S::Failed),
        // FAILED => STORE_AND_FORWARD: what is to be sent waits.
        (S::Failed, Move::Wait) => Some(S::StoreAndForward),
        _ => None,
    }
}

/// A remote user we deal with.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) label: Label,
    pub(crate) state: PeerState,
    /// The climb under way, if any.
    pub(crate) ladder: Option<Ladder>,
    /// Climbs that ended without an ACK since the last one.
    pub(crate) attempt: u32,
    /// Tries for devices left since the last reason to hope.
    pub(crate) serves: u32,
    /// A link was asked for without a message.
    pub(crate) wanted: bool,
    /// Why the last attempt ended, for people.
    pub(crate) last_error: Option<String>,
    /// When hearing of it last started a climb.
    pub(crate) heard_ms: u64,
    /// How many of its calls are answered.
    pub(crate) calls: Bucket,
    /// When something last happened, for forgetting the idlest.
    pub(crate) used_ms: u64,
}

impl Peer {
    pub(crate) fn new(label: Label, now_ms: u64) -> Self {
        Self {
            label,
            state: PeerState::Disconnected,
            ladder: None,
            attempt: 0,
            serves: 0,
            wanted: false,
            last_error: None,
            heard_ms: 0,
            calls: Bucket::new(CALLS_PER_S, CALLS_BURST, now_ms),
            used_ms: now_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const STATES: [PeerState; 7] = [
        PeerState::Disconnected,
        PeerState::Discovering,
        PeerState::Signaling,
        PeerState::Connecting,
        PeerState::Connected,
        PeerState::Failed,
        PeerState::StoreAndForward,
    ];
    const MOVES: [Move; 7] = [
        Move::Discover,
        Move::Signal,
        Move::Connect,
        Move::Open,
        Move::Lose,
        Move::Fail,
        Move::Wait,
    ];

    #[test]
    fn exactly_the_specified_transitions_exist() {
        let mut found = BTreeSet::new();
        for state in STATES {
            for by in MOVES {
                if let Some(to) = after(state, by) {
                    found.insert((state.name(), to.name()));
                }
            }
        }
        let want = BTreeSet::from([
            ("DISCONNECTED", "DISCOVERING"),
            ("DISCONNECTED", "SIGNALING"),
            ("DISCOVERING", "SIGNALING"),
            ("DISCOVERING", "FAILED"),
            ("SIGNALING", "CONNECTING"),
            ("SIGNALING", "FAILED"),
            ("CONNECTING", "CONNECTED"),
            ("CONNECTING", "FAILED"),
            ("CONNECTED", "DISCONNECTED"),
            ("FAILED", "STORE_AND_FORWARD"),
            ("STORE_AND_FORWARD", "DISCOVERING"),
            ("STORE_AND_FORWARD", "SIGNALING"),
        ]);
        assert_eq!(found, want);
    }
}
