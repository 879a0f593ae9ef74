//! The path of a link. One that goes through TURN moves to a direct path once there is one, and to
//! a new address before a TURN server takes the old one back. Either way another link is made
//! beside it, and it closes when that one is proven; a try that fails leaves it as it was.

use crate::event::Rung;
use crate::input::{LinkId, LinkPath};
use crate::limits::{MOVE_MS, MOVE_MS_MAX, RENEW_AGAIN_MS};
use crate::link::{Call, Link, Stage};
use crate::manager::PeerManager;
use crate::negotiation::Side;
use crate::timer::Timer;
use beeline_proto::id::DeviceFp;
use beeline_proto::time::Now;

/// Why a try ends, for people.
pub(crate) const NO_BETTER: &str = "no better path was found";

impl PeerManager {
    /// The driver knows which way the packets of a link go.
    pub(crate) fn on_path(&mut self, now: Now, id: LinkId, path: LinkPath) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        link.path = path;
        if link.is_moving() && path != LinkPath::Direct {
            return self.close_link(now, id, NO_BETTER);
        }
        match path {
            LinkPath::Ending => self.on_path_due(now, id),
            LinkPath::Direct | LinkPath::Relayed => self.plan_move(now, id),
        }
    }

    /// Plans when an open link is looked at again. Only the end with the TURN server knows of it;
    /// where both have one, the caller is first, and what it tries counts for both.
    pub(crate) fn plan_move(&mut self, now: Now, id: LinkId) {
        let Some(link) = self.links.get(id).filter(|link| link.is_ready()) else {
            return;
        };
        let wait_ms = match link.path {
            LinkPath::Direct => return self.timers.cancel(&Timer::Path(id)),
            LinkPath::Relayed => MOVE_MS.get(link.moves).copied().unwrap_or(MOVE_MS_MAX),
            LinkPath::Ending => RENEW_AGAIN_MS,
        };
        let later_ms = match link.side {
            Side::Offerer => 0,
            Side::Answerer => wait_ms / 2,
        };
        let at_ms = now.mono_ms + wait_ms + later_ms;
        self.timers.arm(Timer::Path(id), at_ms);
    }

    /// A link is to have a better path: another one is made beside it. One that ends takes whatever
    /// path there is; with other addresses, for the TURN server is asked anew.
    pub(crate) fn on_path_due(&mut self, now: Now, id: LinkId) {
        let Some(link) = self.links.get_mut(id).filter(|link| link.is_ready()) else {
            return;
        };
        let direct_only = link.path == LinkPath::Relayed;
        let (user, device, sound) = (link.user.clone(), link.device, link.is_sound());
        let rung = link.found_by.unwrap_or(Rung::Connected);
        link.moves += usize::from(direct_only);
        self.plan_move(now, id);
        // One that is doubted gets a successor anyway.
        if sound {
            let call = Call {
                beside: Some(id),
                direct_only,
                ..Call::on(rung)
            };
            self.call(now, &user, device, call);
        }
    }

    /// Whether an offer that is of use only with a direct path is taken: there is a sound link to
    /// leave, and no call under way that needs more than a better path.
    pub(crate) fn may_be_moved(&self, device: DeviceFp) -> bool {
        let calls = |link: &Link| !link.is_ready() && !link.is_moving();
        let called = self.links.of_device(device).any(calls);
        !called && self.links.of_device(device).any(Link::is_sound)
    }

    /// The other end tries for a direct path: ours need not try so soon.
    pub(crate) fn note_move(&mut self, now: Now, device: DeviceFp) {
        let open = self.links.ready_to(device);
        if let Some(link) = open.and_then(|id| self.links.get_mut(id)) {
            link.moves += 1;
            let id = link.id;
            self.plan_move(now, id);
        }
    }

    /// A link follows on others: what was tried for them counts, unless the network is another one.
    pub(crate) fn note_moves(&mut self, id: LinkId, older: &[LinkId]) {
        let older = older.iter().filter_map(|old| self.links.get(*old));
        let moves = older.filter(|old| old.is_sound()).map(|old| old.moves);
        let moves = moves.max().unwrap_or(0);
        if let Some(link) = self.links.get_mut(id) {
            link.moves = moves;
        }
    }

    /// Ends what only looks for a better path to a device; one that has found it greets already.
    pub(crate) fn end_moves(&mut self, now: Now, device: DeviceFp, reason: &str) {
        let looks = |link: &Link| link.is_moving() && matches!(link.stage, Stage::Negotiating(_));
        let tries = self.links.ids(|link| link.device == device && looks(link));
        for id in tries {
            self.close_link(now, id, reason);
        }
    }
}
