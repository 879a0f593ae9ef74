//! ACKs we get: DELIVERED needs the hash of the very envelope and a signer among the devices it was
//! sealed to. An ACK is the only thing that stops a ladder.

use crate::event::{DeliveryState, Event, MessageState, Rung};
use crate::input::LinkId;
use crate::intake::Opened;
use crate::manager::PeerManager;
use crate::outputs::Write;
use crate::state::StoreOp;
use crate::timer::Timer;
use crate::ways::Way;
use beeline_proto::envelope::Verified;
use beeline_proto::id::{DeviceFp, EnvelopeHash, Label, MessageId};
use beeline_proto::limits::ACK_ITEMS_MAX;
use beeline_proto::pb::peer::v1::Ack;
use beeline_proto::time::Now;

/// What a good proof settles.
struct Proven {
    queued_mono_ms: u64,
    found_by: Rung,
}

impl PeerManager {
    /// The user an opened parcel is from, if the device is on its list and it is a member.
    pub(crate) fn speaker(&self, from: DeviceFp) -> Option<Label> {
        let contact = self.contacts.of_device(from)?;
        let good = self.me.admits(&contact.chain).is_ok();
        good.then(|| contact.row.label.clone())
    }

    /// An ACK came.
    pub(crate) fn on_ack(&mut self, now: Now, opened: &Opened) {
        let audience = self.me.user.0;
        let verified = self.verify::<Ack>(now, &opened.envelope, opened.from, audience);
        let (Some(ack), Some(label)) = (verified, self.speaker(opened.from)) else {
            return self.out.counters.count("ack-refused");
        };
        if ack.payload().items.len() > ACK_ITEMS_MAX {
            return self.out.counters.count("ack-refused");
        }
        let mut ops = Vec::new();
        let mut reused = false;
        for item in &ack.payload().items {
            let id = MessageId::try_from(item.msg_id.as_slice());
            let hash = EnvelopeHash::try_from(item.envelope_hash.as_slice());
            let (Ok(id), Ok(hash)) = (id, hash) else {
                continue;
            };
            let of_now = self.is_of_this_incarnation(&id);
            let (proven, of_item) = self.on_acked(now, &label, opened, (id, hash));
            ops.extend(of_item);
            reused |= proven && item.seq_reused && of_now;
        }
        if reused && !planted!(CountsOn) {
            self.new_incarnation();
            ops.push(StoreOp::SetIncarnation(self.me.incarnation));
            let detail = format!("{label} saw numbers of ours before: restored from a backup?");
            self.out.warn(now, "sequence-reused", detail);
        }
        if ops.is_empty() {
            return;
        }
        self.note_way(now, opened.from, opened.way);
        self.note_through(now, opened.from, opened.way);
        self.learn_known(&label, opened.from, &ack, &mut ops);
        self.out.write(ops, Write::Plain);
        self.after_ack(now, &label, opened.from);
    }

    /// Whether a message of ours was numbered since the last new incarnation: what is said of older
    /// numbers has had its consequence.
    fn is_of_this_incarnation(&self, id: &MessageId) -> bool {
        let entry = self.outbox.get(id);
        entry.is_some_and(|entry| entry.row.incarnation == self.me.incarnation)
    }

    /// One message is acknowledged by one device: whether the proof is good, and what to write.
    fn on_acked(
        &mut self,
        now: Now,
        label: &Label,
        opened: &Opened,
        acked: (MessageId, EnvelopeHash),
    ) -> (bool, Vec<StoreOp>) {
        let (id, device) = (acked.0, opened.from);
        let Some(entry) = self.outbox.get(&id) else {
            let Some(proven) = self.late_ack(label, device, id, acked.1) else {
                return (false, Vec::new());
            };
            return (
                true,
                vec![self.tell_delivered(now, label, opened, id, proven)],
            );
        };
        // A device of ours has a copy: that delivers nothing.
        let first = entry.is_open() && entry.row.to == *label;
        let Some(proven) = self.settle_device(now, label, opened, acked) else {
            return (false, Vec::new());
        };
        if first {
            self.start_serving(now, id, label, device);
        }
        let [before, after] = self.note_acked(id, device);
        let told = first.then(|| self.tell_delivered(now, label, opened, id, proven));
        self.bound_served();
        (true, before.into_iter().chain(told).chain(after).collect())
    }

    /// DELIVERED, with its proof.
    fn tell_delivered(
        &mut self,
        now: Now,
        label: &Label,
        opened: &Opened,
        id: MessageId,
        proven: Proven,
    ) -> StoreOp {
        let path = Some(opened.way.path());
        self.out.event(Event::MessageState(MessageState {
            id,
            to: label.clone(),
            state: DeliveryState::Delivered,
            rung: None,
            kept: None,
            path,
            found_by: Some(proven.found_by),
            reason: None,
            elapsed_ms: now.mono_ms.saturating_sub(proven.queued_mono_ms),
        }));
        StoreOp::SetState {
            id,
            state: DeliveryState::Delivered,
            rung: Some(proven.found_by),
            path,
            reason: None,
            at_ms: now.wall_ms,
        }
    }

    /// Takes an acknowledged message off the links to the device that has it, if the proof is good.
    fn settle_device(
        &mut self,
        now: Now,
        label: &Label,
        opened: &Opened,
        acked: (MessageId, EnvelopeHash),
    ) -> Option<Proven> {
        let ((id, hash), device) = (acked, opened.from);
        let entry = self.outbox.get(&id)?;
        let sealed_to = entry.parcel(device).is_some();
        let theirs = entry.row.to == *label || *label == self.me.user_label;
        if !theirs || (entry.hash != Some(hash) && !planted!(HashUnchecked)) || !sealed_to {
            // A copy of an ACK is none of that.
            if !entry.row.acked.contains(&device) {
                self.out.counters.count("ack-mismatch");
            }
            return None;
        }
        let (order, queued_mono_ms) = (entry.order, entry.queued_mono_ms);
        let came = match opened.way {
            Way::Direct(link) | Way::Relay(link) => Some(link),
            Way::Socket(_) | Way::Kept(_) => None,
        };
        // The rung that gave the way the ACK came; else that of any copy.
        let by_way = came.and_then(|link| entry.via.get(&(device, link)));
        let of_device = |((to, _), rung)| (to == device).then_some(rung);
        let any = entry
            .via
            .iter()
            .map(|(k, rung)| (*k, *rung))
            .find_map(of_device);
        let found_by = by_way.copied().or(any);
        self.credit_flows(now, came, device, order);
        Some(Proven {
            queued_mono_ms,
            found_by: found_by.unwrap_or(Rung::Connected),
        })
    }

    /// A message is settled: it is on its way nowhere. What it says of speed and health, it says of
    /// the way its ACK came.
    fn credit_flows(&mut self, now: Now, came: Option<LinkId>, device: DeviceFp, order: u64) {
        let mut proven = false;
        for link in self.links.by_id.values_mut() {
            let (id, through) = (link.id, link.device);
            if let Some(flow) = link.flow_mut(device) {
                if Some(id) == came {
                    flow.acknowledged(order, now.mono_ms);
                    self.vias.restore(device, through);
                    proven |= through == device;
                } else {
                    flow.in_flight.remove(&order);
                }
            }
        }
        if proven {
            self.drop_relays(device);
        }
    }

    /// An expired message turns out delivered, if the proof is good.
    fn late_ack(
        &mut self,
        label: &Label,
        device: DeviceFp,
        id: MessageId,
        hash: EnvelopeHash,
    ) -> Option<Proven> {
        let settled = self.outbox.settled_mut(&id)?;
        let good = settled.state == DeliveryState::Expired
            && settled.to == *label
            && settled.hash == Some(hash)
            && settled.devices.contains(&device);
        if !good {
            return None;
        }
        settled.state = DeliveryState::Delivered;
        Some(Proven {
            queued_mono_ms: settled.queued_mono_ms,
            found_by: Rung::Connected,
        })
    }

    /// Notes which of our lists the user has, so that our chain need not travel again.
    fn learn_known(
        &mut self,
        label: &Label,
        by: DeviceFp,
        ack: &Verified<Ack>,
        ops: &mut Vec<StoreOp>,
    ) {
        let Some(known) = ack.payload().known else {
            return;
        };
        let ours = self.me.versions();
        let seen = (
            known.descriptor.min(ours.descriptor),
            known.device_list.min(ours.device_list),
        );
        let ourselves = *label == self.me.user_label;
        let Some(contact) = self.contacts.get_mut(label) else {
            return;
        };
        if seen.0 >= ours.descriptor && seen.1 >= ours.device_list {
            contact.knows.insert(by);
        }
        if contact.row.knows_us != seen {
            contact.row.knows_us = seen;
            // Of ourselves there is no row.
            ops.extend((!ourselves).then(|| StoreOp::PutContact(contact.row.clone())));
        }
    }

    /// An end-to-end ACK: the only thing that stops the ladder.
    fn after_ack(&mut self, now: Now, label: &Label, by: DeviceFp) {
        self.peer(now, label).attempt = 0;
        self.timers.cancel(&Timer::Retry(label.clone()));
        self.stop_climb(now, label);
        self.stop_placing(label);
        for device in self.devices_of(label) {
            for id in self.links.ids(|link| link.flow(device).is_some()) {
                if device == by {
                    self.timers.cancel(&Timer::Route(id, device));
                }
                self.watch_flow(now, id, label, device);
                self.dirty.insert(id);
            }
        }
        self.pump_user(now, label);
        match self.attempts(label) {
            (_, true) => {}
            // What is asked or called may come to nothing, and no ladder runs that would notice.
            (true, false) => self.plan_retry(now, label),
            (false, false) if self.outbox.has_waiting(label) => self.start_climb(now, label),
            (false, false) => {}
        }
    }
}
