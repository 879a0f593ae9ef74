//! ACKs we give: only for committed rows, gathered for a moment, over the open link to the device
//! that sent the messages. Without one they are dropped: it will send again, and be told then.

use crate::limits::ACK_GATHER_MS;
use crate::manager::PeerManager;
use crate::timer::Timer;
use beeline_proto::id::{DeviceFp, EnvelopeHash, MessageId};
use beeline_proto::limits::{ACK_ITEMS_MAX, PARCEL_TTL_MAX_S};
use beeline_proto::pb::identity::v1::Versions;
use beeline_proto::pb::peer::v1::peer_item::Kind;
use beeline_proto::pb::peer::v1::{Ack, ack};
use beeline_proto::time::Now;
use std::collections::BTreeMap;

/// ACKs that gather for one device.
#[derive(Debug, Default)]
struct Gathering {
    items: Vec<ack::Item>,
    /// When the last ACK went to the device.
    sent_ms: Option<u64>,
}

/// ACKs on their way. Kept for devices with an open link only.
#[derive(Debug, Default)]
pub(crate) struct Acks {
    by_device: BTreeMap<DeviceFp, Gathering>,
}

impl Acks {
    pub(crate) fn len(&self) -> usize {
        self.by_device.len()
    }
}

impl PeerManager {
    /// Acknowledges a committed message to the device that sent it.
    pub(crate) fn acknowledge(
        &mut self,
        now: Now,
        device: DeviceFp,
        id: MessageId,
        hash: EnvelopeHash,
        seq_reused: bool,
    ) {
        if self.links.ready_to(device).is_none() {
            return self.forget_acks(device);
        }
        let gathering = self.acks.by_device.entry(device).or_default();
        gathering.items.push(ack::Item {
            msg_id: id.to_vec(),
            envelope_hash: hash.to_vec(),
            seq_reused,
        });
        let full = gathering.items.len() >= ACK_ITEMS_MAX;
        let due_ms = gathering
            .sent_ms
            .map_or(0, |sent_ms| sent_ms + ACK_GATHER_MS);
        if full || due_ms <= now.mono_ms {
            // Fires at the end of this input, so that all it commits goes in one ACK.
            self.timers.arm(Timer::Acks(device), now.mono_ms);
        } else {
            self.timers.arm_if_idle(Timer::Acks(device), due_ms);
        }
        if full {
            self.flush_acks(now, device);
        }
    }

    /// Sends the gathered ACKs of a device.
    pub(crate) fn flush_acks(&mut self, now: Now, device: DeviceFp) {
        self.timers.cancel(&Timer::Acks(device));
        let Some(id) = self.links.ready_to(device) else {
            return self.forget_acks(device);
        };
        let user = self.links.get(id).map(|link| link.user.clone());
        let contact = user.and_then(|user| self.contacts.get(&user));
        let Some((label, user, known)) = contact.map(|contact| {
            let known = Versions {
                descriptor: contact.chain.descriptor.version(),
                revocations: 0,
                device_list: contact.chain.devices.version(),
            };
            (contact.row.label.clone(), contact.row.user, known)
        }) else {
            return;
        };
        let Some(gathering) = self.acks.by_device.get_mut(&device) else {
            return;
        };
        let items = std::mem::take(&mut gathering.items);
        if items.is_empty() {
            return;
        }
        gathering.sent_ms = Some(now.mono_ms);
        let ack = Ack {
            context: self.me.context(self.crypto.as_mut(), user.0),
            items,
            known: Some(known),
        };
        let envelope = self.me.sign(self.crypto.as_mut(), &ack);
        let sealed = self.seal_control(&label, device, envelope, Vec::new(), PARCEL_TTL_MAX_S);
        if let Some(parcel) = sealed {
            self.say(id, Kind::Ack(parcel));
        }
    }

    /// Forgets what gathers for a device whose link is gone.
    pub(crate) fn forget_acks(&mut self, device: DeviceFp) {
        self.timers.cancel(&Timer::Acks(device));
        self.acks.by_device.remove(&device);
    }
}
