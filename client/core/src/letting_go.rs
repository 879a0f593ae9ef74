//! Letting go: a link that we made for one purpose, a lookup, a visit, parcels to leave, ends once
//! it has stayed its time and nothing needs it any more. Which of them are looked at, and when, is
//! decided where they are made; what needs a link is decided here, for all of them.

use crate::event::Rung;
use crate::input::LinkId;
use crate::link::Link;
use crate::manager::PeerManager;
use crate::negotiation::Side;
use beeline_proto::time::Now;

impl PeerManager {
    /// Whether we made a link on the rung `by`, it has been open for `stay_ms` milliseconds, and
    /// nothing needs it any more.
    pub(crate) fn is_needless(&self, now: Now, id: LinkId, by: Rung, stay_ms: u64) -> bool {
        let Some(link) = self.links.get(id) else {
            return false;
        };
        let made = link.side == Side::Offerer && link.found_by == Some(by);
        let since_ms = link.ready().map_or(u64::MAX, |ready| ready.since_ms);
        made && since_ms.saturating_add(stay_ms) <= now.mono_ms && !self.is_needed(now, link)
    }

    /// Whether anything is still to go over a link, or to come.
    fn is_needed(&self, now: Now, link: &Link) -> bool {
        let standing = self.placing.custodians.get(link.device);
        let awaited = standing.is_some_and(|standing| !standing.out.is_empty());
        let ready = link.ready();
        let relays = ready.is_some_and(|ready| {
            let mut flows = ready.relayed.values();
            flows.any(|flow| !flow.in_flight.is_empty())
        });
        awaited
            || relays
            || self.is_collecting(now, link.id)
            || self.outbox.has_waiting(&link.user)
            || self.outbox.is_left(link.device)
    }

    /// Ends a link that is not needed any more.
    pub(crate) fn let_go(&mut self, now: Now, id: LinkId) {
        self.say_goodbye(id, "not needed any more");
        self.close_link(now, id, "not needed any more");
    }
}
