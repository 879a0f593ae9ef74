//! ACKs we give: only for committed rows, by the way the messages came. One that is alone goes at
//! once; where many come, they gather for a moment and share a parcel. Without any way back they
//! are dropped: the device will send again, and be told then, another way than the last.

use crate::limits::{ACK_DEVICES_MAX, ACK_GATHER_MS};
use crate::manager::PeerManager;
use crate::timer::Timer;
use crate::ways::Way;
use beeline_proto::id::{DeviceFp, Label};
use beeline_proto::limits::{ACK_ITEMS_MAX, PARCEL_TTL_MAX_S};
use beeline_proto::pb::identity::v1::Versions;
use beeline_proto::pb::peer::v1::peer_item::Kind;
use beeline_proto::pb::peer::v1::{Ack, ack};
use beeline_proto::time::Now;
use std::collections::BTreeMap;

/// ACKs that gather for one device.
#[derive(Debug)]
struct Gathering {
    items: Vec<ack::Item>,
    /// The way the last message came.
    came: Way,
    /// Whether one of them was acknowledged before, so that the last ACK did not get through.
    repeated: bool,
    /// When the last ACK went to the device, how, and whether it carried more than one item.
    sent: Option<(u64, Way, bool)>,
}

/// ACKs on their way, by device; what is remembered of the last one makes a repeated one go
/// another way.
#[derive(Debug, Default)]
pub(crate) struct Acks {
    by_device: BTreeMap<DeviceFp, Gathering>,
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
        let sent_ms = |gathering: &Gathering| gathering.sent.map_or(0, |(at, _, _)| at);
        let idle = self.by_device.iter().filter(|(_, g)| g.items.is_empty());
        let oldest = idle.min_by_key(|(_, gathering)| sent_ms(gathering));
        let oldest = oldest.or(self.by_device.iter().next());
        if let Some(oldest) = oldest.map(|(device, _)| *device) {
            self.by_device.remove(&oldest);
        }
    }
}

impl PeerManager {
    /// Acknowledges a committed message to the device that sent it; `repeated` if it was
    /// acknowledged before.
    pub(crate) fn acknowledge(
        &mut self,
        now: Now,
        device: DeviceFp,
        item: ack::Item,
        came: Way,
        repeated: bool,
    ) {
        self.acks.make_room(device);
        let gathering = self.acks.by_device.entry(device).or_insert(Gathering {
            items: Vec::new(),
            came,
            repeated: false,
            sent: None,
        });
        gathering.items.push(item);
        gathering.came = came;
        gathering.repeated |= repeated;
        let full = gathering.items.len() >= ACK_ITEMS_MAX;
        let due_ms = match gathering.sent {
            Some((sent_ms, _, true)) => sent_ms + ACK_GATHER_MS,
            _ => 0,
        };
        if full {
            self.flush_acks(now, device);
        } else {
            // Due now, it fires at the end of this input: all that it commits goes in one ACK.
            let at_ms = due_ms.max(now.mono_ms);
            self.timers.arm_if_idle(Timer::Acks(device), at_ms);
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
        let (came, sent) = (gathering.came, gathering.sent);
        let tried = sent.map(|(_, way, _)| way).filter(|_| repeated);
        let Some(way) = self.way_back(now, device, came, tried) else {
            self.acks.by_device.remove(&device);
            return;
        };
        let Some((label, user, known)) = self.acked_user(device, came) else {
            return;
        };
        if items.is_empty() {
            return;
        }
        let many = items.len() > 1;
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
            gathering.sent = Some((now.mono_ms, way, many));
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
