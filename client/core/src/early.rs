//! What came too early: candidates before their offer, and the peer's offer while ours stands.

use crate::input::Candidate;
use crate::limits::{EARLY_CANDIDATES_MAX, LINKS_MAX};
use crate::link::{Before, Link};
use crate::manager::PeerManager;
use crate::negotiation::Side;
use beeline_proto::id::{DeviceFp, EnvelopeHash, SessionId};
use beeline_proto::limits::SESSION_TIMEOUT_MS;
use beeline_proto::time::Now;
use std::collections::{BTreeMap, VecDeque};

/// A verified offer.
#[derive(Debug, Clone)]
pub(crate) struct Offered {
    pub(crate) session: SessionId,
    pub(crate) hash: EnvelopeHash,
    pub(crate) sdp: String,
    /// Whether only a direct path is of use to the caller.
    pub(crate) direct_only: bool,
}

#[derive(Debug)]
struct Early {
    device: DeviceFp,
    session: SessionId,
    hash: EnvelopeHash,
    index: u32,
    candidate: Candidate,
}

/// Candidates whose offer is not here yet, and offers that wait for the end of ours.
#[derive(Debug, Default)]
pub(crate) struct EarlyCandidates {
    candidates: VecDeque<Early>,
    deferred: BTreeMap<DeviceFp, (Offered, u64)>,
}

impl EarlyCandidates {
    /// Keeps a candidate; the oldest goes when there are too many.
    pub(crate) fn keep(
        &mut self,
        device: DeviceFp,
        session: SessionId,
        hash: EnvelopeHash,
        index: u32,
        candidate: Candidate,
    ) {
        self.candidates.push_back(Early {
            device,
            session,
            hash,
            index,
            candidate,
        });
        if self.candidates.len() > EARLY_CANDIDATES_MAX {
            self.candidates.pop_front();
        }
    }

    /// How much is kept.
    pub(crate) fn len(&self) -> usize {
        self.candidates.len() + self.deferred.len()
    }

    /// Whether an offer of this device waits for the end of ours.
    pub(crate) fn has_deferred(&self, device: DeviceFp) -> bool {
        self.deferred.contains_key(&device)
    }

    /// Takes the candidates of an offer.
    pub(crate) fn take(
        &mut self,
        device: DeviceFp,
        session: SessionId,
        hash: EnvelopeHash,
    ) -> Vec<(u32, Candidate)> {
        let mut taken = Vec::new();
        self.candidates.retain(|early| {
            let of_it = early.device == device && early.session == session;
            if of_it && early.hash == hash {
                taken.push((early.index, early.candidate.clone()));
            }
            !of_it
        });
        taken
    }

    /// Keeps the newest offer of a device while ours stands.
    pub(crate) fn defer(&mut self, device: DeviceFp, offer: Offered, now_ms: u64) {
        if self.deferred.len() < LINKS_MAX || self.deferred.contains_key(&device) {
            let until_ms = now_ms + SESSION_TIMEOUT_MS;
            self.deferred.insert(device, (offer, until_ms));
        }
    }

    /// Takes the offer that waited, unless it is too old.
    pub(crate) fn take_deferred(&mut self, device: DeviceFp, now_ms: u64) -> Option<Offered> {
        let (offer, until_ms) = self.deferred.remove(&device)?;
        (now_ms < until_ms).then_some(offer)
    }
}

impl PeerManager {
    /// Our own offer came to nothing: the peer's, which had to wait for it, is answered now.
    pub(crate) fn take_deferred(&mut self, now: Now, ended: &Link) {
        if ended.side != Side::Offerer || ended.is_ready() || self.draining {
            return;
        }
        let Some(offer) = self.early.take_deferred(ended.device, now.mono_ms) else {
            return;
        };
        if self.links.of_device(ended.device).next().is_some() {
            return;
        }
        let device = (ended.device, ended.device_label.clone());
        let before = Before {
            found_by: ended.found_by,
            redials: ended.redials.saturating_add(1),
        };
        self.accept_offer(now, &ended.user, device, offer, before);
    }
}
