//! ACKs we give: only for committed rows, over the open link to the device that sent the messages.
//! Without one they are dropped: it will send again, and be told then.
//!
//! An ACK costs as much cryptography as a message, so in a stream one speaks for many. A message
//! that comes alone is told about at once: whoever waits for the ACK before saying more would pay
//! each wait in full. Which of the two it is cannot be seen from one message. So an ACK waits only
//! while waiting pays, and after many quick ACKs one waits to find out.

use crate::limits::{ACK_GATHER_MS, ACK_TRIES_MAX, ACK_TRIES_MIN};
use crate::manager::PeerManager;
use crate::timer::Timer;
use beeline_proto::id::{DeviceFp, EnvelopeHash, MessageId};
use beeline_proto::limits::{ACK_ITEMS_MAX, PARCEL_TTL_MAX_S};
use beeline_proto::pb::identity::v1::Versions;
use beeline_proto::pb::peer::v1::peer_item::Kind;
use beeline_proto::pb::peer::v1::{Ack, ack};
use beeline_proto::time::Now;
use std::collections::{BTreeMap, BTreeSet};

/// ACKs for one device.
#[derive(Debug, Default)]
struct Gathering {
    items: Vec<ack::Item>,
    /// Writes that committed them.
    writes: u32,
    /// Whether they wait for more.
    waited: bool,
    /// When the last ACK went to the device.
    sent_ms: Option<u64>,
    pace: Pace,
}

/// Whether an ACK that follows another within [`ACK_GATHER_MS`] waits for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pace {
    /// Yes or no.
    waits: bool,
    /// ACKs that went at once, each quickly after another, since the last one that waited.
    quick: u32,
    /// After so many of them one waits, to see whether others come meanwhile.
    tries: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            waits: false,
            quick: 0,
            tries: ACK_TRIES_MIN,
        }
    }
}

impl Pace {
    /// After an ACK for so many writes that waited, or came quickly after another, or neither.
    fn sent(&mut self, writes: u32, waited: bool, quickly: bool) {
        if waited && writes > 1 {
            self.tries = ACK_TRIES_MIN;
        } else if waited {
            self.waits = false;
            self.quick = 0;
            self.tries = self.tries.saturating_mul(2).min(ACK_TRIES_MAX);
        } else if !self.waits {
            self.quick += u32::from(quickly);
            self.waits = self.quick >= self.tries;
        }
    }
}

/// ACKs on their way. Kept for devices with an open link only.
#[derive(Debug, Default)]
pub(crate) struct Acks {
    by_device: BTreeMap<DeviceFp, Gathering>,
    /// Devices with items of the write that is being looked at.
    fresh: BTreeSet<DeviceFp>,
}

impl Acks {
    pub(crate) fn len(&self) -> usize {
        self.by_device.len()
    }
}

impl PeerManager {
    /// Acknowledges a committed message to the device that sent it; [`Self::time_acks`] follows.
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
        if self.acks.fresh.insert(device) {
            gathering.writes = gathering.writes.saturating_add(1);
        }
        if gathering.items.len() >= ACK_ITEMS_MAX {
            self.acks.fresh.remove(&device);
            self.flush_acks(now, device);
        }
    }

    /// A write is done: says when the ACKs for what it committed go.
    pub(crate) fn time_acks(&mut self, now: Now) {
        for device in std::mem::take(&mut self.acks.fresh) {
            let Some(gathering) = self.acks.by_device.get_mut(&device) else {
                continue;
            };
            let gathers = gathering.sent_ms.filter(|_| gathering.pace.waits);
            let due_ms = gathers.map_or(0, |sent_ms| sent_ms + ACK_GATHER_MS);
            if due_ms > now.mono_ms {
                gathering.waited = true;
                self.timers.arm_if_idle(Timer::Acks(device), due_ms);
            } else {
                // Fires at the end of this input, so that all it committed goes in one ACK.
                self.timers.arm(Timer::Acks(device), now.mono_ms);
            }
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
        let writes = std::mem::take(&mut gathering.writes);
        let waited = std::mem::take(&mut gathering.waited);
        let last_ms = gathering.sent_ms.replace(now.mono_ms);
        let quickly = last_ms.is_some_and(|last_ms| now.mono_ms < last_ms + ACK_GATHER_MS);
        gathering.pace.sent(writes, waited, quickly);
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
