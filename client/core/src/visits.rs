//! Visits: after coming online the members that would keep parcels for us are called on, one after
//! another in our own order, and coordinators after them, for each may have some that nobody else
//! has. A link to one asks by itself. The first two stay linked, so that what comes to them comes
//! on; others are let go.

use crate::crypto::random_u64;
use crate::custody::Custodian;
use crate::event::Rung;
use crate::input::LinkId;
use crate::limits::{
    VISIT_AFTER_MS, VISIT_AGAIN_MS, VISIT_COORDINATORS_MAX, VISIT_DOUBLINGS_MAX, VISIT_HEARD_MS,
    VISIT_LINKS, VISIT_LOST_MS, VISIT_STAY_MS, VISIT_STEP_MS, VISITS_AT_ONCE,
};
use crate::manager::PeerManager;
use crate::timer::Timer;
use beeline_proto::id::DeviceFp;
use beeline_proto::time::Now;
use std::collections::BTreeMap;

/// A call on a member that keeps for us, monotonic milliseconds.
#[derive(Debug, Clone, Copy)]
struct Call {
    at_ms: u64,
    /// When it is called again, unless it is linked then.
    due_ms: u64,
    /// Calls that came to nothing, in a row.
    failures: u32,
}

impl Call {
    /// The next call after one that came to nothing: soon, for it may only be starting anew, then
    /// less and less.
    fn again(before: Option<Self>, now_ms: u64, random: u64) -> Self {
        let failures = before.map_or(0, |call| call.failures);
        let pause_ms = VISIT_LOST_MS << (2 * failures.min(VISIT_DOUBLINGS_MAX));
        Self {
            at_ms: now_ms,
            due_ms: now_ms + pause_ms.min(VISIT_AGAIN_MS) + random % VISIT_LOST_MS,
            failures: failures.saturating_add(1),
        }
    }
}

/// The calls on members that keep for us: no more than are visited.
#[derive(Debug, Default)]
pub(crate) struct Visits {
    calls: BTreeMap<DeviceFp, Call>,
}

impl Visits {
    pub(crate) fn len(&self) -> usize {
        self.calls.len()
    }
}

impl PeerManager {
    /// We can be reached again, perhaps after a long sleep: those called on before it are due. What
    /// we want to send comes first.
    pub(crate) fn visit_anew(&mut self, now: Now) {
        let lately = |call: &Call| call.at_ms + VISIT_HEARD_MS > now.mono_ms;
        self.visits.calls.retain(|_, call| lately(call));
        let sending = self.outbox.len() > 0;
        self.visit_soon(now, if sending { VISIT_AFTER_MS } else { 1 });
    }

    /// Looks within `ms` milliseconds whom to call on.
    pub(crate) fn visit_soon(&mut self, now: Now, ms: u64) {
        if !self.draining {
            self.timers.arm_by(Timer::Visit, now.mono_ms + ms.max(1));
        }
    }

    /// Somebody says that a device is there: one that keeps for us is called on, if the last call
    /// is long enough ago.
    pub(crate) fn visit_if_heard(&mut self, now: Now, device: DeviceFp) {
        let keeps = self.routes.get(device).is_some_and(|r| r.can_store);
        if !keeps || self.is_linked(device) {
            return;
        }
        if let Some(call) = self.visits.calls.get_mut(&device) {
            call.due_ms = call.due_ms.min(call.at_ms + VISIT_HEARD_MS);
        }
        self.visit_soon(now, VISIT_STEP_MS);
    }

    /// A link to one that was called is open: the visit is done.
    pub(crate) fn visit_done(&mut self, now: Now, device: DeviceFp) {
        if let Some(call) = self.visits.calls.get_mut(&device) {
            call.due_ms = now.mono_ms + VISIT_AGAIN_MS;
            call.failures = 0;
        }
        self.visit_soon(now, VISIT_STEP_MS);
    }

    /// A link to one that keeps for us was lost: it may have had more.
    pub(crate) fn visit_lost(&mut self, now: Now, device: DeviceFp) {
        if !self.visits.calls.contains_key(&device) {
            return;
        }
        // Everybody who was linked to it lost it now: each comes back at a time of its own.
        let pause_ms = VISIT_LOST_MS + random_u64(self.crypto.as_mut()) % VISIT_LOST_MS;
        if let Some(call) = self.visits.calls.get_mut(&device) {
            call.due_ms = call.due_ms.min(now.mono_ms + pause_ms);
            self.visit_soon(now, pause_ms);
        }
    }

    /// Whom to call on: the first of our order, and coordinators, whom senders ask first.
    fn to_visit(&self) -> Vec<Custodian> {
        let mut order = self.custodians_for(self.me.device);
        let coordinators = self.coordinators_for(self.me.device).into_iter();
        for coordinator in coordinators.take(VISIT_COORDINATORS_MAX) {
            if !order.iter().any(|known| known.user == coordinator.user) {
                order.push(coordinator);
            }
        }
        order
    }

    /// Calls on the next members that keep for us, a few at a time, each once in a while.
    pub(crate) fn visit(&mut self, now: Now) {
        let linked = self.links.by_id.values().any(|link| link.is_ready());
        let reached = linked || !self.presence.sockets().is_empty();
        if self.draining || !reached {
            return;
        }
        let order = self.to_visit();
        let devices: Vec<DeviceFp> = order.iter().map(|custodian| custodian.device).collect();
        self.visits
            .calls
            .retain(|device, _| devices.contains(device));
        self.leave_visited(now, &devices);
        let calling = self.visits.calls.iter().filter(|(device, call)| {
            call.at_ms + VISIT_STEP_MS > now.mono_ms && !self.is_linked(**device)
        });
        let mut free = VISITS_AT_ONCE.saturating_sub(calling.count());
        let mut next_ms = now.mono_ms + VISIT_AGAIN_MS;
        for custodian in order {
            let device = custodian.device;
            let due_ms = self.visits.calls.get(&device).map_or(0, |call| call.due_ms);
            if self.is_linked(device) {
                continue;
            }
            if self.links.of_device(device).next().is_some() {
                // A call under way: if it comes to nothing, the next one has its time.
                next_ms = next_ms.min(due_ms.max(now.mono_ms + VISIT_STEP_MS));
                continue;
            }
            let blocked = custodian.coordinator && !self.may_start(now, device);
            if due_ms > now.mono_ms {
                next_ms = next_ms.min(due_ms);
            } else if blocked {
                next_ms = next_ms.min(now.mono_ms + VISIT_LOST_MS);
            } else if free == 0 {
                next_ms = next_ms.min(now.mono_ms + VISIT_STEP_MS);
            } else {
                free -= 1;
                let before = self.visits.calls.get(&device).copied();
                let random = random_u64(self.crypto.as_mut());
                let call = Call::again(before, now.mono_ms, random);
                self.visits.calls.insert(device, call);
                if custodian.coordinator {
                    self.start_coordinator(now, device);
                } else {
                    self.dial(now, &custodian.label, device, Rung::Cache);
                }
                next_ms = next_ms.min(now.mono_ms + VISIT_STEP_MS);
            }
        }
        if !devices.is_empty() {
            self.visit_soon(now, next_ms - now.mono_ms);
        }
    }

    /// Ends links that only a visit was for, but those with the first of our order.
    fn leave_visited(&mut self, now: Now, order: &[DeviceFp]) {
        let linked = order.iter().filter_map(|d| self.links.ready_to(*d));
        let ending: Vec<LinkId> = linked
            .skip(VISIT_LINKS)
            .filter(|id| self.was_visit(now, *id))
            .collect();
        for id in ending {
            let device = self.links.get(id).map(|link| link.device);
            self.let_go(now, id);
            if let Some(call) = device.and_then(|device| self.visits.calls.get_mut(&device)) {
                call.due_ms = now.mono_ms + VISIT_AGAIN_MS;
            }
        }
    }

    /// Whether a link was made for a visit that is over, and nothing else needs it.
    fn was_visit(&self, now: Now, id: LinkId) -> bool {
        let Some(link) = self.links.get(id) else {
            return false;
        };
        let since_ms = link.ready().map_or(u64::MAX, |ready| ready.since_ms);
        let call = self.visits.calls.get(&link.device);
        call.is_some_and(|call| call.at_ms <= since_ms)
            && !self.is_coordinator(link.device)
            && self.is_needless(now, id, Rung::Cache, VISIT_STAY_MS)
    }
}
