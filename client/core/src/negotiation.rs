//! One negotiation: offer, answer, trickled candidates (RFC 8838), the end of them. Pure
//! bookkeeping: what may be applied now, what waits for a description, what was seen before.

use crate::input::{Candidate, LinkId, SocketId};
use crate::limits::CANDIDATE_SLOTS;
use crate::output::SignalKind;
use beeline_proto::id::EnvelopeHash;
use std::collections::{BTreeMap, BTreeSet};

/// Which side of the negotiation we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    /// We made the offer.
    Offerer,
    /// We make the answer.
    Answerer,
}

/// How far the descriptions are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Our own description is being made.
    Describing,
    /// Our offer is out.
    AwaitingAnswer,
    /// Both descriptions are known.
    Described,
}

/// State of one negotiation. There is one per session; a new one means a new session.
#[derive(Debug)]
pub(crate) struct Negotiation {
    side: Side,
    step: Step,
    offer_hash: Option<EnvelopeHash>,
    /// Our candidates that came before our description was out.
    local_waiting: Vec<Candidate>,
    local_count: usize,
    /// Which indexes of theirs were seen: bit by bit.
    remote_seen: u64,
    /// Their candidates that came before their description.
    remote_waiting: Vec<Candidate>,
    /// Parcels sent, to be sent again, the same bytes, on a new way.
    pub(crate) sent: Vec<(SignalKind, Vec<u8>)>,
    /// Links of common peers that carry them too, and how many each was given.
    pub(crate) over: BTreeMap<LinkId, usize>,
    /// Sockets at which the other side is not to be found.
    pub(crate) offline_at: BTreeSet<SocketId>,
}

const _: () = assert!(CANDIDATE_SLOTS < 64);

impl Negotiation {
    /// Ours to describe and offer.
    pub(crate) fn offering() -> Self {
        Self::new(Side::Offerer, None)
    }

    /// Theirs, known by the hash of its offer; ours to answer.
    pub(crate) fn answering(offer_hash: EnvelopeHash) -> Self {
        Self::new(Side::Answerer, Some(offer_hash))
    }

    fn new(side: Side, offer_hash: Option<EnvelopeHash>) -> Self {
        Self {
            side,
            step: Step::Describing,
            offer_hash,
            local_waiting: Vec::new(),
            local_count: 0,
            remote_seen: 0,
            remote_waiting: Vec::new(),
            sent: Vec::new(),
            over: BTreeMap::new(),
            offline_at: BTreeSet::new(),
        }
    }

    pub(crate) fn offer_hash(&self) -> Option<EnvelopeHash> {
        self.offer_hash
    }

    /// Whether our description is still awaited.
    pub(crate) fn is_describing(&self) -> bool {
        self.step == Step::Describing
    }

    /// Whether our offer is out and unanswered.
    pub(crate) fn is_awaiting_answer(&self) -> bool {
        self.step == Step::AwaitingAnswer
    }

    /// Our offer is out under this hash; returns our candidates that waited for it.
    pub(crate) fn offered(&mut self, hash: EnvelopeHash) -> Vec<(u32, Candidate)> {
        self.offer_hash = Some(hash);
        self.step = Step::AwaitingAnswer;
        self.release_local()
    }

    /// Our answer is out; returns our candidates that waited for it.
    pub(crate) fn answered(&mut self) -> Vec<(u32, Candidate)> {
        self.step = Step::Described;
        self.release_local()
    }

    fn release_local(&mut self) -> Vec<(u32, Candidate)> {
        let waiting = std::mem::take(&mut self.local_waiting);
        let first = self.local_count - waiting.len();
        (first as u32..).zip(waiting).collect()
    }

    /// A candidate of ours; returned with its index if it may go out now.
    pub(crate) fn local(&mut self, candidate: Candidate) -> Option<(u32, Candidate)> {
        if self.local_count >= CANDIDATE_SLOTS {
            return None;
        }
        self.local_count += 1;
        if self.step == Step::Describing {
            self.local_waiting.push(candidate);
            return None;
        }
        Some((self.local_count as u32 - 1, candidate))
    }

    /// Parcels that links of common peers were not given yet: all, or no candidates.
    pub(crate) fn take_untold(&mut self, candidates: bool) -> Vec<(LinkId, Vec<u8>)> {
        let described = |(kind, _): &&(SignalKind, Vec<u8>)| *kind != SignalKind::IceCandidate;
        let end = match candidates {
            true => self.sent.len(),
            false => self.sent.iter().take_while(described).count(),
        };
        let mut untold = Vec::new();
        for (relay, told) in &mut self.over {
            let next = self.sent.get(*told..end).unwrap_or_default();
            untold.extend(next.iter().map(|(_, parcel)| (*relay, parcel.clone())));
            *told = end.max(*told);
        }
        untold
    }

    /// Their answer came; returns their candidates that waited for it.
    pub(crate) fn accept_answer(&mut self) -> Vec<Candidate> {
        self.step = Step::Described;
        std::mem::take(&mut self.remote_waiting)
    }

    /// A candidate of theirs; returned if it may be applied now, kept if it is early, dropped if it
    /// is a copy or beyond the bound.
    pub(crate) fn remote(&mut self, index: u32, candidate: Candidate) -> Option<Candidate> {
        let slot = usize::try_from(index)
            .ok()
            .filter(|slot| *slot < CANDIDATE_SLOTS)?;
        let bit = 1u64 << slot;
        if self.remote_seen & bit != 0 {
            return None;
        }
        self.remote_seen |= bit;
        // The answerer had their description from the start.
        if self.side == Side::Answerer || self.step == Step::Described {
            return Some(candidate);
        }
        self.remote_waiting.push(candidate);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(n: usize) -> Candidate {
        Candidate {
            candidate: format!("candidate:{n}"),
            ..Candidate::default()
        }
    }

    #[test]
    fn candidates_wait_for_the_descriptions_they_belong_to() {
        let mut ours = Negotiation::offering();
        assert_eq!(ours.local(candidate(0)), None);
        assert_eq!(ours.remote(1, candidate(9)), None);
        assert_eq!(ours.offered(EnvelopeHash([1; 32])), [(0, candidate(0))]);
        assert_eq!(ours.local(candidate(1)), Some((1, candidate(1))));
        assert_eq!(ours.remote(0, candidate(8)), None);
        assert_eq!(ours.accept_answer(), [candidate(9), candidate(8)]);
        assert_eq!(ours.remote(2, candidate(7)), Some(candidate(7)));

        let mut theirs = Negotiation::answering(EnvelopeHash([1; 32]));
        assert_eq!(theirs.remote(0, candidate(5)), Some(candidate(5)));
        assert_eq!(theirs.local(candidate(4)), None);
        assert_eq!(theirs.answered(), [(0, candidate(4))]);
    }

    #[test]
    fn copies_and_floods_of_candidates_are_dropped() {
        let mut theirs = Negotiation::answering(EnvelopeHash([1; 32]));
        let taken = (0..10_000u32).chain(0..10_000);
        let taken = taken.filter_map(|n| theirs.remote(n, candidate(0))).count();
        assert_eq!(taken, CANDIDATE_SLOTS);
        assert_eq!(theirs.remote(u32::MAX, candidate(0)), None);

        let mut ours = Negotiation::offering();
        assert!((0..10_000).all(|n| ours.local(candidate(n)).is_none()));
        assert_eq!(ours.offered(EnvelopeHash([1; 32])).len(), CANDIDATE_SLOTS);
    }
}
