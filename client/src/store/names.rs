//! The words the store writes for states, rungs and paths, and back.

use client_core::event::{DeliveryState, Path, Rung};

const STATES: [DeliveryState; 8] = [
    DeliveryState::Queued,
    DeliveryState::Trying,
    DeliveryState::Relayed,
    DeliveryState::Stored,
    DeliveryState::Delivered,
    DeliveryState::Read,
    DeliveryState::Expired,
    DeliveryState::Rejected,
];

const RUNGS: [Rung; 6] = [
    Rung::Connected,
    Rung::Cache,
    Rung::Peers,
    Rung::Coordinators,
    Rung::Registry,
    Rung::StoreAndForward,
];

const PATHS: [Path; 3] = [Path::Direct, Path::Relay, Path::Stored];

/// The state written as `name`; one nobody wrote counts as still queued, so that it is retried.
pub(super) fn state(name: &str) -> DeliveryState {
    let found = STATES.into_iter().find(|s| s.name() == name);
    found.unwrap_or(DeliveryState::Queued)
}

/// The rung written as `name`.
pub(super) fn rung(name: &str) -> Option<Rung> {
    RUNGS.into_iter().find(|r| r.name() == name)
}

/// The path written as `name`.
pub(super) fn path(name: &str) -> Option<Path> {
    PATHS.into_iter().find(|p| p.name() == name)
}

/// Whether nothing is left to do for a message in this state.
pub(super) fn is_final(state: DeliveryState) -> bool {
    state >= DeliveryState::Delivered
}

/// Whether no device is to get a message in this state any more.
pub(super) fn is_given_up(state: DeliveryState) -> bool {
    state > DeliveryState::Read
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_back() {
        for s in STATES {
            assert_eq!(state(s.name()), s);
        }
        for r in RUNGS {
            assert_eq!(rung(r.name()), Some(r));
        }
        for p in PATHS {
            assert_eq!(path(p.name()), Some(p));
        }
        assert_eq!((rung("x"), path("x")), (None, None));
        assert!(!is_final(DeliveryState::Stored) && is_final(DeliveryState::Rejected));
    }
}
