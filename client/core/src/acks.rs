//! ACKs we give: only for committed rows, by the way the messages came. Without any way back they
//! are dropped: the device will send again, and be told then, another way than the last.
//!
//! An ACK costs as much cryptography as a message, so in a stream one speaks for many. A message
//! that comes alone is told about at once: whoever waits for the ACK before saying more would pay
//! each wait in full. Which of the two it is cannot be seen from one message. So an ACK waits only
//! while waiting pays, and after many quick ACKs one waits to find out.

use crate::limits::{ACK_DEVICES_MAX, ACK_GATHER_MS, ACK_TRIES_MAX, ACK_TRIES_MIN};
use crate::manager::PeerManager;
use crate::state::InboxRow;
use crate::timer::Timer;
use crate::ways::Way;
use beeline_proto::id::{DeviceFp, Label};
use beeline_proto::limits::{ACK_ITEMS_MAX, PARCEL_TTL_MAX_S};
use beeline_proto::pb::identity::v1::Versions;
use beeline_proto::pb::peer::v1::peer_item::Kind;
use beeline_proto::pb::peer::v1::{Ack, ack};
use beeline_proto::time::Now;
use std::collections::{BTreeMap, BTreeSet};

/// ACKs that gather for one device.
#[derive(Debug)]
struct Gathering {
    items: Vec<ack::Item>,
    /// The way the last message came.
    came: Way,
    /// Whether one of them was acknowledged before, so that the last ACK did not get through.
    repeated: bool,
    /// Writes that committed them.
    writes: u32,
    /// Whether they wait for more.
    waited: bool,
    /// When the last ACK went to the device, and how.
    sent: Option<(u64, Way)>,
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

/// ACKs on their way, by device; what is remembered of the last one makes a repeated one go
/// another way.
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

    /// Makes room for another device: the one acknowledged longest ago is forgotten. Those with
    /// items still to go have a timer that is due; there are never as many.
    fn make_room(&mut self, device: DeviceFp) {
        if self.by_device.len() < ACK_DEVICES_MAX || self.by_device.contains_key(&device) {
            return;
        }
        let sent_ms = |gathering: &Gathering| gathering.sent.map_or(0, |(at, _)| at);
        let idle = self.by_device.iter().filter(|(_, g)| g.items.is_empty());
        let oldest = idle.min_by_key(|(_, gathering)| sent_ms(gathering));
        let oldest = oldest.or(self.by_device.iter().next());
        if let Some(oldest) = oldest.map(|(device, _)| *device) {
            self.by_device.remove(&oldest);
        }
    }
}

impl PeerManager {
    /// Acknowledges a committed message to the device that sent it, `repeated` if it was
    /// acknowledged before; [`Self::time_acks`] follows.
    pub(crate) fn acknowledge(
        &mut self,
        now: Now,
        device: DeviceFp,
        item: ack::Item,
        came: Way,
        repeated: bool,
    ) {
        self.acks.make_room(device);
        let new = || Gathering {
            items: Vec::new(),
            came,
            repeated: false,
            writes: 0,
            waited: false,
            sent: None,
            pace: Pace::default(),
        };
        let gathering = self.acks.by_device.entry(device).or_insert_with(new);
        gathering.items.push(item);
        gathering.came = came;
        gathering.repeated |= repeated;
        if self.acks.fresh.insert(device) {
            gathering.writes = gathering.writes.saturating_add(1);
        }
        if gathering.items.len() >= ACK_ITEMS_MAX {
            self.acks.fresh.remove(&device);
            self.flush_acks(now, device);
        }
    }

    /// Acknowledges at once.
    pub(crate) fn acknowledge_row(&mut self, now: Now, row: &InboxRow, came: Way) {
        let item = ack::Item {
            msg_id: row.id.to_vec(),
            envelope_hash: row.hash.to_vec(),
            seq_reused: false,
        };
        self.acknowledge(now, row.device, item, came, false);
        self.time_acks(now);
    }

    /// A write is done: says when the ACKs for what it committed go.
    pub(crate) fn time_acks(&mut self, now: Now) {
        for device in std::mem::take(&mut self.acks.fresh) {
            let Some(gathering) = self.acks.by_device.get_mut(&device) else {
                continue;
            };
            let gathers = gathering.sent.filter(|_| gathering.pace.waits);
            let due_ms = gathers.map_or(0, |(sent_ms, _)| sent_ms + ACK_GATHER_MS);
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
        let Some(gathering) = self.acks.by_device.get_mut(&device) else {
            return;
        };
        let items = std::mem::take(&mut gathering.items);
        let repeated = std::mem::take(&mut gathering.repeated);
        let writes = std::mem::take(&mut gathering.writes);
        let waited = std::mem::take(&mut gathering.waited);
        let (came, sent) = (gathering.came, gathering.sent);
        let tried = sent.map(|(_, way)| way).filter(|_| repeated);
        let way = self.way_back(now, device, came, tried);
        let Some(way) = way.filter(|way| way.direct().is_some() || !planted!(AckOnlyDirect)) else {
            self.acks.by_device.remove(&device);
            return;
        };
        let Some((label, user, known)) = self.acked_user(device, came) else {
            return;
        };
        if items.is_empty() {
            return;
        }
        let ack = Ack {
            context: self.me.context(self.crypto.as_mut(), user),
            items,
            known: Some(known),
        };
        let envelope = self.me.sign(self.crypto.as_mut(), &ack);
        let sealed = self.seal_control(&label, device, envelope, Vec::new(), PARCEL_TTL_MAX_S);
        if let Some(parcel) = sealed {
            self.send_parcel(now, way, device, Kind::Ack(parcel));
        }
        if let Some(gathering) = self.acks.by_device.get_mut(&device) {
            let quickly = sent.is_some_and(|(last_ms, _)| now.mono_ms < last_ms + ACK_GATHER_MS);
            gathering.pace.sent(writes, waited, quickly);
            gathering.sent = Some((now.mono_ms, way));
        }
    }

    /// The user whose messages a device sent, and the lists of it that we hold.
    fn acked_user(&self, device: DeviceFp, came: Way) -> Option<(Label, [u8; 32], Versions)> {
        let linked = came.direct().and_then(|id| self.links.get(id));
        let contact = match linked {
            Some(link) => self.contacts.get(&link.user),
            None => self.contacts.of_device(device),
        }?;
        let known = Versions {
            descriptor: contact.chain.descriptor.version(),
            revocations: 0,
            device_list: contact.chain.devices.version(),
        };
        Some((contact.row.label.clone(), contact.row.user.0, known))
    }
}
