//! ACKs we get: DELIVERED needs the hash of the very envelope and a signer among the devices it was
//! sealed to. An ACK is the only thing that stops a ladder.

use crate::event::{DeliveryState, Event, MessageState, Path, Rung};
use crate::intake::Opened;
use crate::manager::PeerManager;
use crate::outputs::Write;
use crate::state::StoreOp;
use crate::timer::Timer;
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
            if let Some(op) = self.on_delivered(now, &label, opened.from, id, hash) {
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
        self.learn_known(&label, &ack, &mut ops);
        self.out.write(ops, Write::Plain);
        self.after_ack(now, &label);
    }

    /// One message is acknowledged: DELIVERED, if the proof is good.
    fn on_delivered(
        &mut self,
        now: Now,
        label: &Label,
        device: DeviceFp,
        id: MessageId,
        hash: EnvelopeHash,
    ) -> Option<StoreOp> {
        let proven = match self.outbox.get(&id) {
            Some(_) => self.settle_delivered(now, label, device, id, hash)?,
            None => self.late_ack(label, device, id, hash)?,
        };
        self.out.event(Event::MessageState(MessageState {
            id,
            to: label.clone(),
            state: DeliveryState::Delivered,
            rung: None,
            path: Some(Path::Direct),
            found_by: Some(proven.found_by),
            reason: None,
            elapsed_ms: now.mono_ms.saturating_sub(proven.queued_mono_ms),
        }));
        Some(StoreOp::SetState {
            id,
            state: DeliveryState::Delivered,
            rung: Some(proven.found_by),
            path: Some(Path::Direct),
            reason: None,
            at_ms: now.wall_ms,
        })
    }

    /// Takes an acknowledged message out of the outbox and off the links.
    fn settle_delivered(
        &mut self,
        now: Now,
        label: &Label,
        device: DeviceFp,
        id: MessageId,
        hash: EnvelopeHash,
    ) -> Option<Proven> {
        let entry = self.outbox.get(&id)?;
        let sealed_to = entry.parcel(device).is_some();
        if entry.row.to != *label || entry.hash != Some(hash) || !sealed_to {
            self.out.counters.count("ack-mismatch");
            return None;
        }
        let (order, via) = (entry.order, entry.via.get(&device).copied());
        for link in self
            .links
            .by_id
            .values_mut()
            .filter(|link| link.user == *label)
        {
            let of_it = link.device == device;
            match link.ready_mut() {
                Some(ready) if of_it => ready.acknowledged(order, now.mono_ms),
                Some(ready) => {
                    ready.in_flight.remove(&order);
                }
                None => {}
            }
        }
        let entry = self.outbox.settle(id, DeliveryState::Delivered)?;
        Some(Proven {
            queued_mono_ms: entry.queued_mono_ms,
            found_by: via.unwrap_or(Rung::Connected),
        })
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
        let links = self
            .links
            .ids(|link| link.user == *label && link.is_ready());
        for id in links {
            self.timers.cancel(&Timer::Route(id));
            self.pump(now, id);
            self.dirty.insert(id);
        }
        let linked = self.links.of_user(label).any(|link| link.is_ready());
        if !linked && self.outbox.has_waiting(label) {
            self.start_climb(now, label);
        }
    }
}
