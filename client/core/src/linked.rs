//! What a link means for the fabric: a new peer to ask and to hand things on, or one less.

use crate::event::Rung;
use crate::input::LinkId;
use crate::manager::PeerManager;
use crate::timer::Timer;
use beeline_proto::id::DeviceFp;
use beeline_proto::time::Now;

impl PeerManager {
    /// Both HELLOs of a link verified.
    pub(crate) fn on_link_ready(&mut self, now: Now, id: LinkId) {
        let link = self.links.get(id);
        let Some((device, user)) = link.map(|link| (link.device, link.user.clone())) else {
            return;
        };
        self.links.forget_calls(device);
        self.forget_soon(device);
        self.say_waiting_reads(now, &user);
        self.talks.start(id, now.mono_ms);
        self.pages.start(id, now.mono_ms);
        self.start_collecting(now, id);
        self.visit_done(now, device);
        self.start_telling(now, id);
        self.note_neighbour(now, device, true);
        let rung = if self.is_coordinator(device) {
            Rung::Coordinators
        } else {
            Rung::Peers
        };
        self.ask_for_waiting(now, id, rung);
        if rung == Rung::Coordinators {
            self.on_coordinator_linked(now, device);
        }
        self.on_custodian_link(now, device, true);
        self.on_file_link(now, device);
        self.plan_move(now, id);
    }

    /// A link ended that was open, or (`opened`) never came to be.
    pub(crate) fn on_link_ended(&mut self, now: Now, id: LinkId, device: DeviceFp, opened: bool) {
        self.talks.end(id);
        self.pages.end(id);
        self.on_file_link_ended(now, id, device, opened);
        self.stop_collecting(id);
        self.sought.forget(id);
        self.neighbours.stop_telling(id);
        self.timers.cancel(&Timer::State(id));
        if opened && !self.is_linked(device) {
            // It was there until now.
            self.routes.hear(device, now.wall_ms);
            let row = self.routes.get(device).map(|route| route.row.clone());
            self.keep_route(now, row);
            self.visit_lost(now, device);
            self.neighbours.forget(device);
            self.note_neighbour(now, device, false);
        }
        if !self.is_linked(device) {
            self.on_custodian_link(now, device, false);
        }
        if !self.is_coordinator(device) {
            return;
        }
        if opened {
            self.on_coordinator_lost(now, device);
        } else {
            self.on_call_failed(now, device);
        }
    }
}
