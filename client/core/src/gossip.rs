//! NETWORK_STATE: each neighbour hears who is linked to us: changes, and now and then a digest.
//! What is heard fills the ways and freshens the routes; it never outranks what we see ourselves.

use crate::event::Rung;
use crate::input::LinkId;
use crate::limits::{
    QUERIES_ON_LINK_MAX, STATE_CHANGE_LEN, STATE_CHANGES_MAX, STATE_DEBOUNCE_MS,
    STATE_EARLY_LINKS_MAX, STATE_LEN, STATE_LEN_MAX, STATE_MS_MAX, STATE_MS_MIN,
};
use crate::manager::PeerManager;
use crate::timer::Timer;
use beeline_proto::id::DeviceFp;
use beeline_proto::pb::peer::v1::peer_item::Kind;
use beeline_proto::pb::peer::v1::{NetworkState, network_state};
use beeline_proto::time::Now;

impl PeerManager {
    /// A device is linked to us, or not any more: neighbours will hear of it, unless it is
    /// unlisted.
    pub(crate) fn note_neighbour(&mut self, now: Now, device: DeviceFp, connected: bool) {
        if connected && !self.may_name(device) {
            return;
        }
        if self.neighbours.set(device, connected, now.mono_ms) {
            self.tell_early(now);
        }
        if connected {
            self.tell_seekers(now, device);
        }
        self.plan_release(now);
    }

    /// Whether others may hear of a device: its record says so, and there is one.
    pub(crate) fn may_name(&self, device: DeviceFp) -> bool {
        let route = self.routes.get(device);
        route.is_some_and(|route| !route.unlisted)
    }

    /// While there are few neighbours, news goes to all of them soon. To many it goes with what
    /// they are told anyway: news of one member must not cost all others a frame.
    fn tell_early(&mut self, now: Now) {
        let links = self.neighbours.told_links();
        if links.len() <= STATE_EARLY_LINKS_MAX {
            for id in links {
                self.tell_state_by(now, id, STATE_DEBOUNCE_MS);
            }
        }
    }

    /// Whoever asked for the user of a device lately hears of it at once.
    fn tell_seekers(&mut self, now: Now, device: DeviceFp) {
        let contact = self.contacts.of_device(device);
        let Some((user, label)) = contact.map(|c| (c.row.user, c.row.label.clone())) else {
            return;
        };
        for id in self.sought.take(user, &label) {
            if self.links.get(id).is_some_and(|link| link.is_ready()) {
                self.tell_state_by(now, id, 1);
            }
        }
    }

    fn plan_release(&mut self, now: Now) {
        if let Some(at_ms) = self.neighbours.release_ms() {
            let at_ms = at_ms.max(now.mono_ms + 1);
            self.timers.arm_if_idle(Timer::Neighbours, at_ms);
        }
    }

    /// What was owed of devices that come and go may be told.
    pub(crate) fn on_release(&mut self, now: Now) {
        if self.neighbours.release(now.mono_ms) {
            self.tell_early(now);
        }
        self.plan_release(now);
    }

    /// Starts to tell on a link that opened.
    pub(crate) fn start_telling(&mut self, now: Now, id: LinkId) {
        self.neighbours.telling(id);
        self.tell_state_by(now, id, STATE_DEBOUNCE_MS);
    }

    /// Tells on a link within `ms` milliseconds.
    pub(crate) fn tell_state_by(&mut self, now: Now, id: LinkId, ms: u64) {
        self.timers.arm_by(Timer::State(id), now.mono_ms + ms);
    }

    /// Tells a neighbour what it has not heard, as much as its budget allows, and the digest once
    /// it has heard all.
    pub(crate) fn tell_neighbour(&mut self, now: Now, id: LinkId) {
        let Some(link) = self.links.get(id).filter(|link| link.is_ready()) else {
            return self.neighbours.stop_telling(id);
        };
        let (device, session) = (link.device, link.session);
        let told = *self.neighbours.telling(id);
        let mut changes: Vec<_> = self
            .neighbours
            .after(told.up_to, device)
            .take(STATE_CHANGES_MAX)
            .collect();
        while !self.may_spend(now, device, changes.len()) {
            if changes.len() <= 1 {
                return self.tell_state_by(now, id, STATE_MS_MIN);
            }
            changes.truncate(changes.len() / 2);
        }
        let up_to = changes.last().map_or(told.up_to, |(number, ..)| *number);
        let rest = self.neighbours.after(up_to, device).next().is_some();
        let digest = self.neighbours.digest();
        let state = NetworkState {
            context: self.me.context_on(self.crypto.as_mut(), device, session),
            sequence: told.sequence + 1,
            changes: changes.iter().map(|c| self.neighbour(c.1, c.2)).collect(),
            digest: if rest { Vec::new() } else { digest.to_vec() },
            load: self.links.by_id.len() as u32,
            capacity: self.me.config.links_max as u32,
        };
        let envelope = self.me.sign(self.crypto.as_mut(), &state);
        let last = self.neighbours.last();
        let telling = self.neighbours.telling(id);
        telling.sequence += 1;
        telling.up_to = if rest { up_to } else { last };
        let doubled = (2 * telling.pause_ms).min(STATE_MS_MAX);
        telling.pause_ms = if telling.active {
            STATE_MS_MIN
        } else {
            doubled
        };
        telling.active = false;
        let pause_ms = if rest {
            STATE_DEBOUNCE_MS
        } else {
            told.pause_ms
        };
        self.say(id, Kind::NetworkState(envelope));
        self.timers.arm(Timer::State(id), now.mono_ms + pause_ms);
    }

    fn may_spend(&mut self, now: Now, to: DeviceFp, changes: usize) -> bool {
        let bytes = STATE_LEN + STATE_CHANGE_LEN * changes as u64;
        self.neighbours.may_spend(to, bytes, now.mono_ms)
    }

    fn neighbour(&self, device: DeviceFp, connected: bool) -> network_state::Neighbour {
        let route = self.routes.get(device).filter(|_| connected);
        network_state::Neighbour {
            device: device.to_vec(),
            connected,
            record_version: route.map_or(0, |route| route.version),
            coordinator: connected && self.is_coordinator(device),
        }
    }

    /// A neighbour tells who is linked to it.
    pub(crate) fn on_network_state(&mut self, now: Now, id: LinkId, bytes: &[u8]) {
        if bytes.len() > STATE_LEN_MAX || !self.talks.may_tell(id, now.mono_ms) {
            return self.out.counters.count("too-many-states");
        }
        let state = self.open_on_link::<NetworkState>(now, id, bytes, "state-refused");
        let (Some(state), Some(link)) = (state, self.links.get(id)) else {
            return;
        };
        let from = link.device;
        let payload = state.payload();
        if payload.changes.len() > STATE_CHANGES_MAX {
            return self.out.counters.count("too-many-states");
        }
        if !self.neighbours.hear(from, payload.sequence) {
            return self.out.counters.count("state-again");
        }
        self.note_load(from, (payload.load, payload.capacity));
        let mut strangers = false;
        for change in &payload.changes {
            if let Ok(device) = DeviceFp::try_from(change.device.as_slice()) {
                strangers |= self.hear_of(now, from, device, change);
            }
        }
        if strangers {
            self.ask_for_strangers(now, id);
        }
        if !payload.digest.is_empty() {
            self.compare_digest(now, from, &payload.digest);
        }
    }

    /// Takes one change; whether it is of a device nobody we know has.
    fn hear_of(
        &mut self,
        now: Now,
        from: DeviceFp,
        device: DeviceFp,
        change: &network_state::Neighbour,
    ) -> bool {
        if device == self.me.device || device == from {
            return false;
        }
        let news = self.neighbours.heard_of(from, device, change.connected);
        if !change.connected {
            self.vias.forget(device, from);
            return false;
        }
        // Beyond the bounds nothing is held, and so nothing is learned.
        if !news {
            return false;
        }
        self.vias
            .learn(device, from, Rung::Cache, false, now.mono_ms);
        self.routes.hear(device, now.wall_ms);
        if self.links.ready_to(device).is_none() {
            self.visit_if_heard(now, device);
            self.heard_of(now, device);
        }
        self.contacts.of_device(device).is_none()
    }

    /// A neighbour has somebody new whom we do not know: it may be whom we look for.
    fn ask_for_strangers(&mut self, now: Now, id: LinkId) {
        let sought = self.outbox.recipients().into_iter();
        // What is not durable yet does not touch the network.
        let durable = sought.filter(|label| self.outbox.has_waiting(label));
        let unknown = durable.filter(|label| self.contacts.get(label).is_none());
        let unknown: Vec<_> = unknown.take(QUERIES_ON_LINK_MAX).collect();
        for label in unknown {
            self.heard_of_user(now, &label);
            self.ask_over(now, &label, id, Rung::Peers);
        }
    }

    /// A digest that is of what we hold says that all of it still holds.
    fn compare_digest(&mut self, now: Now, from: DeviceFp, digest: &[u8]) {
        // We are among those it tells of, unless that is owed, or we are unlisted.
        let with_us = self.neighbours.agrees(from, digest, Some(self.me.device));
        if !with_us && !self.neighbours.agrees(from, digest, None) {
            return self.out.counters.count("state-digest");
        }
        for device in self.neighbours.connected_to(from) {
            self.vias
                .learn(device, from, Rung::Cache, false, now.mono_ms);
            self.routes.hear(device, now.wall_ms);
        }
    }
}
