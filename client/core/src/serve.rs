//! Serving: a message is DELIVERED with the first device of its recipient that has it. The others
//! get it too, each its own parcel, until each has said so, is off its user's list, or the message
//! is a month old. Nothing of that shows in the state, and nothing waits for it.

use crate::backoff::pause_ms;
use crate::crypto::random_u64;
use crate::event::Rung;
use crate::limits::SERVED_MAX;
use crate::manager::PeerManager;
use crate::outbox::Entry;
use crate::outputs::Write;
use crate::state::StoreOp;
use crate::timer::Timer;
use beeline_proto::chain::Device;
use beeline_proto::id::{DeviceFp, Label, MessageId};
use beeline_proto::time::Now;
use std::collections::BTreeSet;

/// Why devices left are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    /// There is something more for them.
    New,
    /// They may be there again.
    Hope,
    /// The pause is over.
    Pause,
}

impl PeerManager {
    /// The devices on a user's list.
    pub(crate) fn devices_of(&self, user: &Label) -> Vec<DeviceFp> {
        let contact = self.contacts.get(user);
        let devices = contact.map(|contact| contact.chain.devices.devices.iter());
        devices.into_iter().flatten().map(Device::fp).collect()
    }

    /// A first device has a message: it is open no more, and the others are served.
    pub(crate) fn start_serving(&mut self, now: Now, id: MessageId, user: &Label, by: DeviceFp) {
        let mut left = self.devices_of(user);
        left.retain(|device| *device != by);
        self.outbox.deliver(id, &left);
        if !left.is_empty() {
            self.serve(now, user, Reason::New);
        }
    }

    /// A device has a message of ours: the operations to write before its state, and after it.
    pub(crate) fn note_acked(&mut self, id: MessageId, device: DeviceFp) -> [Option<StoreOp>; 2] {
        self.outbox.unleave(id, device);
        let Some(entry) = self.outbox.get_mut(&id) else {
            return [None, None];
        };
        let served = !entry.row.acked.is_empty();
        if !self.outbox.is_done(&id) {
            return [self.keep_acked(id, device), None];
        }
        self.outbox.remove(&id);
        [None, served.then_some(StoreOp::EndServing(id))]
    }

    fn keep_acked(&mut self, id: MessageId, device: DeviceFp) -> Option<StoreOp> {
        let entry = self.outbox.get_mut(&id)?;
        if entry.row.acked.contains(&device) {
            return None;
        }
        entry.row.acked.push(device);
        Some(StoreOp::SetAcked { id, device })
    }

    /// A device is not to get a message any more: the operation to write if nobody is.
    pub(crate) fn stop_serving(&mut self, id: MessageId, device: DeviceFp) -> Option<StoreOp> {
        self.outbox.unleave(id, device);
        if !self.outbox.is_done(&id) {
            return None;
        }
        self.outbox.remove(&id);
        Some(StoreOp::EndServing(id))
    }

    /// Devices left a user's list: nothing is sent to them any more, not even what is sealed.
    pub(crate) fn forget_devices(&mut self, removed: &[DeviceFp]) -> Vec<StoreOp> {
        let mut ops = Vec::new();
        for device in removed {
            ops.push(StoreOp::DropParcelsFor(*device));
            let has =
                |entry: &Entry| entry.left.contains(device) || entry.parcel(*device).is_some();
            for id in self.outbox.ids(has) {
                ops.extend(self.stop_serving(id, *device));
            }
        }
        ops
    }

    /// A user's list is newer: devices on it get what is still served.
    pub(crate) fn serve_listed(&mut self, now: Now, user: &Label) {
        let devices = self.devices_of(user);
        for id in self.outbox.ids(|e| !e.is_open() && e.row.to == *user) {
            for device in &devices {
                self.outbox.leave(id, *device);
            }
        }
        self.serve(now, user, Reason::New);
    }

    /// After a start: the devices that have not acknowledged what is delivered are left.
    pub(crate) fn resume_serving(&mut self) {
        let mut ops = Vec::new();
        for id in self.outbox.ids(|_| true) {
            self.leave_copies(id);
            if self.outbox.get(&id).is_some_and(Entry::is_open) {
                continue;
            }
            let to = self.outbox.get(&id).map(|entry| entry.row.to.clone());
            for device in to.map(|to| self.devices_of(&to)).unwrap_or_default() {
                self.outbox.leave(id, device);
            }
            if self.outbox.is_done(&id) {
                self.outbox.remove(&id);
                ops.push(StoreOp::EndServing(id));
            }
        }
        self.write_some(ops);
    }

    /// Whether any device of a user is still to get something delivered.
    pub(crate) fn is_serving(&self, user: &Label) -> bool {
        let mut devices = self.devices_of(user).into_iter();
        devices.any(|device| self.outbox.is_left(device))
    }

    /// Looks for the devices of a user that are still to get something, with growing pauses. What
    /// went out to them before goes out once more, unless this is only for more of it.
    fn serve(&mut self, now: Now, user: &Label, why: Reason) {
        let timer = Timer::Serve(user.clone());
        let pausing = self.timers.when(&timer).is_some();
        if pausing || self.draining || self.is_blocked(user) || !self.is_serving(user) {
            return;
        }
        let mut missing = false;
        for device in self.devices_of(user) {
            if !self.outbox.is_left(device) {
                continue;
            }
            if why != Reason::New {
                self.restart_flows(device);
            }
            if self.links.ready_to(device).is_some() {
                continue;
            }
            missing = true;
            let fresh = self.routes.get(device).map(|r| r.is_fresh(now.wall_ms));
            if fresh.is_some_and(|fresh| fresh || why == Reason::Pause) {
                self.dial(now, user, device, Rung::Cache);
            }
        }
        if missing && (why == Reason::Pause || self.lacks_keys(user)) {
            self.look_up(user);
            self.ask_peers(now, user, Rung::Peers);
        }
        self.pump_user(now, user);
        let attempt = self.peer(now, user).serves;
        self.peer(now, user).serves = attempt.saturating_add(1);
        let pause = pause_ms(attempt, random_u64(self.crypto.as_mut()));
        self.timers.arm(timer, now.mono_ms.saturating_add(pause));
    }

    /// There is something more for devices of a user.
    pub(crate) fn serve_new(&mut self, now: Now, user: &Label) {
        self.serve(now, user, Reason::New);
        self.pump_user(now, user);
    }

    /// Copies are sealed that others may have gone ahead of: their order does not matter, and what
    /// went after them goes once more. The user they are for: us.
    pub(crate) fn rewind_copies(
        &mut self,
        sealed: Vec<(u64, BTreeSet<DeviceFp>)>,
    ) -> Option<Label> {
        let mut any = None;
        for device in self.own_others() {
            let left = sealed.iter().filter(|(_, left)| left.contains(&device));
            if let Some(order) = left.map(|(order, _)| *order).min() {
                self.rewind(device, order);
                any = Some(self.me.user_label.clone());
            }
        }
        any
    }

    /// From this place on everything goes to a device once more, in order, on every way.
    pub(crate) fn rewind(&mut self, device: DeviceFp, order: u64) {
        for link in self.links.by_id.values_mut() {
            if let Some(flow) = link.flow_mut(device) {
                flow.cursor = flow.cursor.min(order - 1);
            }
        }
    }

    /// The pause is over.
    pub(crate) fn on_serve(&mut self, now: Now, user: &Label) {
        self.serve(now, user, Reason::Pause);
        self.place_left(now, user);
    }

    /// There is a new reason to try: a device of the user was heard of, or a socket came up.
    pub(crate) fn serve_anew(&mut self, now: Now, user: &Label) {
        if self.is_serving(user) {
            self.timers.cancel(&Timer::Serve(user.clone()));
            self.peer(now, user).serves = 0;
            self.serve(now, user, Reason::Hope);
        }
    }

    /// Users with devices that are still to get something delivered.
    pub(crate) fn served_users(&self) -> Vec<Label> {
        let devices = self.outbox.left_devices();
        let owner = |device| self.contacts.of_device(device).map(|c| c.row.label.clone());
        let mut users: Vec<Label> = devices.filter_map(owner).collect();
        users.sort();
        users.dedup();
        users
    }

    /// Everything unacknowledged goes to a device once more.
    pub(crate) fn restart_flows(&mut self, device: DeviceFp) {
        self.drop_relays(device);
        let own = self.links.ready_to(device);
        let link = own.and_then(|id| self.links.get_mut(id));
        if let Some(flow) = link.and_then(|link| link.flow_mut(device)) {
            flow.restart();
        }
    }

    /// Whether a device that is to get something has no key to seal to.
    fn lacks_keys(&self, user: &Label) -> bool {
        let sealable = |device| self.routes.get(device).and_then(|r| r.seal).is_some();
        let mut devices = self.devices_of(user).into_iter();
        devices.any(|device| self.outbox.is_left(device) && !sealable(device))
    }

    /// Too many delivered messages wait for devices that do not come: the oldest are let go.
    pub(crate) fn bound_served(&mut self) {
        let mut ops = Vec::new();
        while self.outbox.served_len() > SERVED_MAX
            && let Some(id) = self.outbox.oldest_served()
        {
            self.outbox.remove(&id);
            self.out.counters.count("serving-given-up");
            ops.push(StoreOp::EndServing(id));
        }
        self.write_some(ops);
    }

    /// Writes operations if there are any.
    pub(crate) fn write_some(&mut self, ops: Vec<StoreOp>) {
        if !ops.is_empty() {
            self.out.write(ops, Write::Plain);
        }
    }
}
