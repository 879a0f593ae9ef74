//! Talk: what is asked and answered on each open link, held to rates, and to bytes: no link is
//! answered more than a few times what it sent.

use crate::bounded::{Bucket, Seen};
use crate::input::LinkId;
use crate::limits::{
    ANSWER_BYTES_FACTOR, QUERIES_BURST, QUERIES_PER_S, QUERIES_SEEN_MAX, STATES_BURST, STATES_PER_S,
};
use crate::manager::PeerManager;
use beeline_proto::envelope::{Expect, Verified, open};
use beeline_proto::payload::Payload;
use beeline_proto::time::Now;
use std::collections::BTreeMap;

/// What was said on one link.
#[derive(Debug)]
pub(crate) struct Talk {
    /// Our queries: no more than the other side answers.
    asking: Bucket,
    /// Their queries.
    asked: Bucket,
    /// Their states.
    states: Bucket,
    /// Request ids of their queries.
    seen: Seen<[u8; 16]>,
    /// Bytes received.
    received: u64,
    /// Bytes answered.
    answered: u64,
}

impl Talk {
    fn new(now_ms: u64) -> Self {
        Self {
            asking: Bucket::new(QUERIES_PER_S, QUERIES_BURST, now_ms),
            asked: Bucket::new(QUERIES_PER_S, QUERIES_BURST, now_ms),
            states: Bucket::new(STATES_PER_S, STATES_BURST, now_ms),
            seen: Seen::new(QUERIES_SEEN_MAX),
            received: 0,
            answered: 0,
        }
    }
}

/// The talk of every open link.
#[derive(Debug, Default)]
pub(crate) struct Talks {
    by_link: BTreeMap<LinkId, Talk>,
}

impl Talks {
    pub(crate) fn start(&mut self, id: LinkId, now_ms: u64) {
        self.by_link.insert(id, Talk::new(now_ms));
    }

    pub(crate) fn end(&mut self, id: LinkId) {
        self.by_link.remove(&id);
    }

    /// Counts a frame received on a link.
    pub(crate) fn received(&mut self, id: LinkId, len: usize) {
        if let Some(talk) = self.by_link.get_mut(&id) {
            talk.received = talk.received.saturating_add(len as u64);
        }
    }

    /// Whether we may ask another question on a link.
    pub(crate) fn may_ask(&mut self, id: LinkId, now_ms: u64) -> bool {
        let talk = self.by_link.get_mut(&id);
        talk.is_some_and(|talk| talk.asking.take(now_ms))
    }

    /// Whether another question of theirs is looked at.
    pub(crate) fn may_be_asked(&mut self, id: LinkId, now_ms: u64) -> bool {
        let talk = self.by_link.get_mut(&id);
        talk.is_some_and(|talk| talk.asked.take(now_ms))
    }

    /// Whether another state of theirs is looked at.
    pub(crate) fn may_tell(&mut self, id: LinkId, now_ms: u64) -> bool {
        let talk = self.by_link.get_mut(&id);
        talk.is_some_and(|talk| talk.states.take(now_ms))
    }

    /// Whether their request is new.
    pub(crate) fn is_new(&mut self, id: LinkId, request: [u8; 16]) -> bool {
        let talk = self.by_link.get_mut(&id);
        talk.is_some_and(|talk| talk.seen.insert(request))
    }

    /// Bytes we may still answer with.
    pub(crate) fn credit(&self, id: LinkId) -> u64 {
        self.by_link.get(&id).map_or(0, |talk| {
            let most = talk.received.saturating_mul(ANSWER_BYTES_FACTOR);
            most.saturating_sub(talk.answered)
        })
    }

    /// Counts an answer.
    pub(crate) fn answered(&mut self, id: LinkId, len: usize) {
        if let Some(talk) = self.by_link.get_mut(&id) {
            talk.answered = talk.answered.saturating_add(len as u64);
        }
    }

    /// How many links are followed.
    pub(crate) fn len(&self) -> usize {
        self.by_link.len()
    }
}

impl PeerManager {
    /// Opens an envelope that only the link's device can have made, for us and for this link; what
    /// does not verify is told as `kind`.
    pub(crate) fn open_on_link<T: Payload>(
        &mut self,
        now: Now,
        id: LinkId,
        envelope: &[u8],
        kind: &'static str,
    ) -> Option<Verified<T>> {
        let link = self.links.get(id)?;
        let audiences = [self.me.device.0];
        let expect = Expect::new(self.me.network(), &audiences)
            .signer(link.device.0)
            .session(link.session);
        match open(envelope, &expect) {
            Ok(verified) => Some(verified),
            Err(error) => {
                self.out.warn(now, kind, error.to_string());
                None
            }
        }
    }
}
