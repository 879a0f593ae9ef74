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
use beeline_proto::chain::Device;
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
            if let Some(op) = self.on_delivered(now, &label, opened, (id, hash)) {
                ops.push(op);
                reused |= item.seq_reused;
            }
        }
        if reused {
            self.new_incarnation();
            ops.push(StoreOp::SetIncarnation(self.me.incarnation));
            let detail = format!("{label} saw numbers of ours before: restored from a backup?");
            self.out.warn(now, "sequence-reused", detail);
        }
        if ops.is_empty() {
            return;
        }
        self.note_way(now, opened.from, opened.way);
        self.learn_known(&label, &ack, &mut ops);
        self.out.write(ops, Write::Plain);
        self.after_ack(now, &label);
    }

    /// One message is acknowledged: DELIVERED, if the proof is good.
    fn on_delivered(
        &mut self,
        now: Now,
        label: &Label,
        opened: &Opened,
        acked: (MessageId, EnvelopeHash),
    ) -> Option<StoreOp> {
        let (id, path) = (acked.0, Some(opened.way.path()));
        let proven = match self.outbox.get(&id) {
            Some(_) => self.settle_delivered(now, label, opened, acked)?,
            None => self.late_ack(label, opened.from, id, acked.1)?,
        };
        self.out.event(Event::MessageState(MessageState {
            id,
            to: label.clone(),
            state: DeliveryState::Delivered,
            rung: None,
            path,
            found_by: Some(proven.found_by),
            reason: None,
            elapsed_ms: now.mono_ms.saturating_sub(proven.queued_mono_ms),
        }));
        Some(StoreOp::SetState {
            id,
            state: DeliveryState::Delivered,
            rung: Some(proven.found_by),
            path,
            reason: None,
            at_ms: now.wall_ms,
        })
    }

    /// Takes an acknowledged message out of the outbox and off the links.
    fn settle_delivered(
        &mut self,
        now: Now,
        label: &Label,
        opened: &Opened,
        acked: (MessageId, EnvelopeHash),
    ) -> Option<Proven> {
        let ((id, hash), device) = (acked, opened.from);
        let entry = self.outbox.get(&id)?;
        let sealed_to = entry.parcel(device).is_some();
        if entry.row.to != *label
            || (entry.hash != Some(hash) && !planted!(HashUnchecked))
            || !sealed_to
        {
            self.out.counters.count("ack-mismatch");
            return None;
        }
        let order = entry.order;
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
        let entry = self.outbox.settle(id, DeliveryState::Delivered)?;
        Some(Proven {
            queued_mono_ms: entry.queued_mono_ms,
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
    fn learn_known(&mut self, label: &Label, ack: &Verified<Ack>, ops: &mut Vec<StoreOp>) {
        let Some(known) = ack.payload().known else {
            return;
        };
        let ours = self.me.versions();
        let seen = (
            known.descriptor.min(ours.descriptor),
            known.device_list.min(ours.device_list),
        );
        if let Some(contact) = self.contacts.get_mut(label)
            && contact.row.knows_us != seen
        {
            contact.row.knows_us = seen;
            ops.push(StoreOp::PutContact(contact.row.clone()));
        }
    }

    /// An end-to-end ACK: the only thing that stops the ladder.
    fn after_ack(&mut self, now: Now, label: &Label) {
        self.peer(now, label).attempt = 0;
        self.timers.cancel(&Timer::Retry(label.clone()));
        self.stop_climb(now, label);
        let contact = self.contacts.get(label);
        let devices = contact.map(|contact| &contact.chain.devices.devices);
        let devices: Vec<_> = devices.into_iter().flatten().map(Device::fp).collect();
        for device in devices {
            for id in self.links.ids(|link| link.flow(device).is_some()) {
                self.timers.cancel(&Timer::Route(id, device));
                self.watch_flow(now, id, label, device);
                self.dirty.insert(id);
            }
        }
        self.pump_user(now, label);
        if self.is_stranded(label) {
            self.start_climb(now, label);
        }
    }
}
