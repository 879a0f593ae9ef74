//! NACKs, both ways: a parcel that cannot be opened is answered with our newest bundle, and
//! sealed anew by its sender. Forward secrecy may never cost a message.

use crate::event::DeliveryState;
use crate::intake::Opened;
use crate::limits::{NACK_AGAIN_MS, RESEALS_AGAIN_MS, RESEALS_MAX};
use crate::manager::PeerManager;
use crate::outbox::Phase;
use crate::outputs::Write;
use crate::people::KEY_CHANGED;
use crate::routes::{SealKey, read_bundle};
use crate::state::StoreOp;
use crate::ways::Way;
use beeline_proto::id::{DeviceFp, KeyId, Label, MessageId, ParcelId};
use beeline_proto::limits::PARCEL_TTL_MAX_S;
use beeline_proto::parcel::Parcel;
use beeline_proto::pb::peer::v1::Nack;
use beeline_proto::pb::peer::v1::nack::Reason;
use beeline_proto::pb::peer::v1::peer_item::Kind;
use beeline_proto::time::Now;

impl PeerManager {
    /// Says why a parcel was not taken: again if it comes again, as the NACK may be lost, but once
    /// in a while on each way, and only to a device we know. The first goes by the way the parcel
    /// came, the next by another: a relay may eat it.
    pub(crate) fn say_nack(
        &mut self,
        now: Now,
        to: DeviceFp,
        subject: (ParcelId, Option<MessageId>),
        reason: Reason,
        way: Way,
    ) {
        self.out.counters.count("nack-said");
        let (parcel, message) = subject;
        let Some(back) = self.way_for_nack(now, to, parcel, way) else {
            return;
        };
        let bundle = match reason {
            Reason::UnknownKey => self.bundles.newest().map(|row| row.envelope.clone()),
            _ => None,
        };
        // Without a key to seal to the sender could do nothing: ours is not made yet.
        let silent = reason == Reason::UnknownKey && planted!(SilentWithoutKey);
        if silent
            || (reason == Reason::UnknownKey && bundle.is_none())
            || !self.nacks.take(now.mono_ms)
        {
            return;
        }
        let nack = Nack {
            context: self.me.context(self.crypto.as_mut(), to.0),
            parcel_id: parcel.to_vec(),
            reason: reason as i32,
            msg_id: message.map(MessageId::to_vec).unwrap_or_default(),
            bundle: bundle.unwrap_or_default(),
        };
        let envelope = self.me.sign(self.crypto.as_mut(), &nack);
        self.send_nack(now, (way, back), to, (parcel, envelope));
    }

    /// A way on which nothing was said of the parcel lately: back where it came, or another.
    fn way_for_nack(&self, now: Now, to: DeviceFp, parcel: ParcelId, came: Way) -> Option<Way> {
        let lately = now.mono_ms / NACK_AGAIN_MS;
        let said = |way: &Way| self.nacked.contains(&(parcel, lately, *way));
        let first = self.way_back(now, to, came, None)?;
        if !said(&first) {
            return Some(first);
        }
        let other = self.way_back(now, to, came, Some(first));
        other.filter(|way| !said(way))
    }

    fn send_nack(
        &mut self,
        now: Now,
        (came, back): (Way, Way),
        to: DeviceFp,
        nack: (ParcelId, Vec<u8>),
    ) {
        let (parcel, envelope) = nack;
        let linked = came.direct().and_then(|id| self.links.get(id));
        let linked = linked.map(|link| link.user.clone());
        let known = || self.contacts.of_device(to).map(|c| c.row.label.clone());
        let Some(user) = linked.or_else(known) else {
            return;
        };
        let sealed = self.seal_control(&user, to, envelope, Vec::new(), PARCEL_TTL_MAX_S);
        let Some(sealed) = sealed else {
            return;
        };
        if self.send_parcel(now, back, to, Kind::Nack(sealed)) {
            let lately = now.mono_ms / NACK_AGAIN_MS;
            self.nacked.insert((parcel, lately, back));
        }
    }

    /// A parcel of ours was not taken.
    pub(crate) fn on_nack(&mut self, now: Now, opened: &Opened) {
        let audience = self.me.device.0;
        let verified = self.verify::<Nack>(now, &opened.envelope, opened.from, audience);
        let (Some(nack), Some(label)) = (verified, self.speaker(opened.from)) else {
            return self.out.counters.count("nack-refused");
        };
        let nack = nack.payload();
        let parcel = ParcelId::try_from(nack.parcel_id.as_slice()).ok();
        let message = parcel.and_then(|parcel| self.outbox.of_parcel(&parcel));
        let ours = message.filter(|id| {
            let entry = self.outbox.get(id);
            let theirs = |to: &Label| *to == label || label == self.me.user_label;
            entry.is_some_and(|e| theirs(&e.row.to) && e.parcel(opened.from).is_some())
        });
        let Some(id) = ours else {
            let full = parcel.filter(|_| nack.reason() == Reason::Full);
            if !full.is_some_and(|parcel| self.on_call_refused(now, opened.from, parcel)) {
                self.out.counters.count("nack-mismatch");
            }
            return;
        };
        match nack.reason() {
            Reason::UnknownKey => self.on_unknown_key(now, opened.from, id, &nack.bundle),
            Reason::NeedChain => self.on_need_chain(now, &label, opened.from, id),
            Reason::Conflict => self.reject_one(now, &label, (id, opened.from), "CONFLICT"),
            Reason::UserKeyChanged => self.reject_one(now, &label, (id, opened.from), KEY_CHANGED),
            Reason::Revoked => self.reject_one(now, &label, (id, opened.from), "REVOKED"),
            Reason::Invalid => self.reject_one(now, &label, (id, opened.from), "INVALID"),
            // Tried again with the next retry.
            Reason::Full | Reason::Unspecified => self.out.counters.count("nack-full"),
        }
    }

    /// A device refuses a message for good. One that another device has stays delivered.
    fn reject_one(&mut self, now: Now, label: &Label, what: (MessageId, DeviceFp), reason: &str) {
        let (id, device) = what;
        let open = self.outbox.get(&id).is_some_and(|entry| entry.is_open());
        if !open || self.is_own_other(device) {
            let ops: Vec<_> = self.stop_serving(id, device).into_iter().collect();
            return self.write_some(ops);
        }
        let ops = self.end_message(now, id, DeliveryState::Rejected, reason);
        self.out.write(ops, Write::Plain);
        self.climb(now, label);
    }

    /// The bundle we sealed to is gone: the same envelope goes to the newer one it names.
    fn on_unknown_key(&mut self, now: Now, device: DeviceFp, id: MessageId, bundle: &[u8]) {
        match read_bundle(bundle, self.me.network(), device) {
            Ok(_) if planted!(StaleSealKey) => {}
            // It says that it has no longer what it hands out: sealing to it again would be a loop.
            Ok(key) if self.is_sealed_to(device, id, key.id) => {
                self.out.counters.count("reseal-refused");
            }
            Ok(key) => {
                self.routes.replace_seal(device, key);
                self.reseal(now, device, id, key);
            }
            Err(error) => self.warn_envelope(now, device, error),
        }
    }

    /// Whether the copy of a message for a device is sealed to this key.
    fn is_sealed_to(&self, device: DeviceFp, id: MessageId, key: KeyId) -> bool {
        let entry = self.outbox.get(&id);
        let parcel = entry.and_then(|entry| Parcel::parse(entry.parcel(device)?).ok());
        parcel.is_some_and(|parcel| parcel.header().key_id == key)
    }

    /// The device does not know us: the same envelope goes again, with our chain.
    fn on_need_chain(&mut self, now: Now, label: &Label, device: DeviceFp, id: MessageId) {
        if let Some(contact) = self.contacts.get_mut(label) {
            contact.row.knows_us = (0, 0);
            contact.knows.remove(&device);
        }
        if let Some(key) = self.routes.get(device).and_then(|route| route.seal) {
            self.reseal(now, device, id, key);
        }
    }

    /// Seals a message's envelope anew for one device and writes it; it goes out after the commit.
    fn reseal(&mut self, now: Now, device: DeviceFp, id: MessageId, key: SealKey) {
        let Some(entry) = self.outbox.get_mut(&id) else {
            return;
        };
        // Few at a time: more would be a loop. For ever few would cost the message.
        if entry.resealed_ms.saturating_add(RESEALS_AGAIN_MS) <= now.mono_ms {
            entry.reseals = 0;
        }
        if entry.reseals >= RESEALS_MAX || entry.phase != Phase::Sealed {
            return self.out.counters.count("reseal-refused");
        }
        entry.reseals += 1;
        entry.resealed_ms = now.mono_ms;
        let mut parcels = entry.row.parcels.clone();
        let (order, to) = (entry.order, entry.row.to.clone());
        let Some(envelope) = entry.row.envelope.clone() else {
            return;
        };
        let Some(sealed) = self.seal_message(&to, device, (key.id, key.key), &envelope) else {
            return;
        };
        for (to, parcel) in &mut parcels {
            if *to == device {
                parcel.clone_from(&sealed);
            }
        }
        self.outbox.set_sealed(id, &envelope, parcels.clone());
        let op = StoreOp::SetSealed {
            id,
            envelope,
            parcels,
        };
        // Custodians keep another parcel: the new one is left with them anew.
        let lapsed = StoreOp::RemoveCustody {
            id,
            device,
            custodian: None,
        };
        self.out.write(vec![op, lapsed], Write::Seal(vec![id]));
        self.placing.touch(&to, true);
        self.rewind(device, order);
    }
}
