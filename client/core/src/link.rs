//! Links: one WebRTC connection each, from the offer to the GOODBYE.

use crate::event::Rung;
use crate::frames::SendQueue;
use crate::input::{LinkId, LinkPath};
use crate::limits::{HANDED_MAX, LINKS_MAX, ROUTE_ACK_MS_MAX, ROUTE_ACK_MS_MIN};
use crate::negotiation::{Negotiation, Side};
use crate::nets::Nets;
use crate::soon::Soon;
use beeline_proto::id::{DeviceFp, Label, ParcelId, SessionId};
use beeline_proto::pb::peer::v1::Hello;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// One link.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) id: LinkId,
    pub(crate) user: Label,
    pub(crate) device: DeviceFp,
    pub(crate) device_label: Label,
    pub(crate) session: SessionId,
    pub(crate) side: Side,
    /// The rung that led to it; `None` if the peer found us.
    pub(crate) found_by: Option<Rung>,
    /// How many calls with the device came to nothing before it.
    pub(crate) redials: u32,
    /// Public networks the other end is in, as its candidates say.
    pub(crate) nets: Nets,
    /// Which way its packets go.
    pub(crate) path: LinkPath,
    /// A try to leave a path through TURN: of use only if it is direct.
    pub(crate) direct_only: bool,
    /// How often such a try was made for this link, and for those it came after.
    pub(crate) moves: usize,
    pub(crate) stage: Stage,
}

/// What a call takes over from those to the same device that it replaces.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Before {
    /// The rung that led to ours; `None` if the peer found us.
    pub(crate) found_by: Option<Rung>,
    /// How many calls came to nothing.
    pub(crate) redials: u32,
}

/// How a device is called.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    /// The rung that led to it.
    pub(crate) rung: Rung,
    /// The call that this one replaces.
    pub(crate) instead_of: Option<LinkId>,
    /// The open link whose place it is to take.
    pub(crate) beside: Option<LinkId>,
    /// Whether only a direct path is of use.
    pub(crate) direct_only: bool,
}

impl Call {
    /// The first one.
    pub(crate) fn on(rung: Rung) -> Self {
        Self {
            rung,
            instead_of: None,
            beside: None,
            direct_only: false,
        }
    }

    /// The same, in place of one that came to nothing so far.
    pub(crate) fn instead_of(self, id: LinkId) -> Self {
        Self {
            instead_of: Some(id),
            ..self
        }
    }

    /// Whether it is made though there is this link to the device: one that it is to follow or that
    /// is given up already, or a mere try for something better.
    pub(crate) fn bears(&self, link: &Link) -> bool {
        let known = [self.instead_of, self.beside].contains(&Some(link.id));
        let tries = link.is_moving() && !self.direct_only;
        known || tries || link.ready().is_some_and(|ready| ready.direct.doubted)
    }
}

/// How far a link is.
#[derive(Debug)]
pub(crate) enum Stage {
    /// Offer, answer and candidates are exchanged; ICE, DTLS and SCTP run.
    Negotiating(Negotiation),
    /// The channel is open, our HELLO is out, theirs is awaited; nothing else is parsed.
    Greeting {
        /// SHA-256 of our DTLS certificate.
        local: [u8; 32],
        /// SHA-256 of the remote one.
        remote: [u8; 32],
    },
    /// Both HELLOs verified.
    Ready(Ready),
}

/// Messages on their way to one device over one link: the device's own, or a relay's.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    /// Messages sent and not acknowledged, by their order in the outbox, with the time of sending.
    pub(crate) in_flight: BTreeMap<u64, u64>,
    /// Order of the last message sent: later ones are still to go.
    pub(crate) cursor: u64,
    /// Smoothed milliseconds from message to ACK; `None` before the first.
    pub(crate) rtt_ms: Option<u64>,
    /// Nothing was acknowledged in time: other rungs are climbed beside it.
    pub(crate) doubted: bool,
    /// The rung that told of it, for a relay.
    pub(crate) found_by: Option<Rung>,
}

impl Flow {
    /// A flow through a relay.
    pub(crate) fn found_by(rung: Rung) -> Self {
        Self {
            found_by: Some(rung),
            ..Self::default()
        }
    }

    /// How long to wait for an ACK before the route is doubted.
    pub(crate) fn patience_ms(&self) -> u64 {
        let rtt = self.rtt_ms.unwrap_or(0);
        rtt.saturating_mul(3)
            .clamp(ROUTE_ACK_MS_MIN, ROUTE_ACK_MS_MAX)
    }

    /// Takes an ACK of the message at `order` that came back this very way.
    pub(crate) fn acknowledged(&mut self, order: u64, now_ms: u64) {
        if let Some(sent_ms) = self.in_flight.remove(&order) {
            let sample = now_ms.saturating_sub(sent_ms);
            let smooth = |rtt: u64| (7 * rtt + sample) / 8;
            self.rtt_ms = Some(self.rtt_ms.map_or(sample, smooth));
        }
        self.doubted = false;
    }

    /// Whether an ACK has come back this way, and nothing spoke against it since.
    pub(crate) fn is_proven(&self) -> bool {
        self.rtt_ms.is_some() && !self.doubted
    }

    /// Everything unacknowledged goes out once more.
    pub(crate) fn restart(&mut self) {
        self.cursor = 0;
        self.in_flight.clear();
        self.doubted = false;
    }
}

/// What an open link keeps.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) queue: SendQueue,
    /// Messages for the device at the other end.
    pub(crate) direct: Flow,
    /// Messages for other devices, which it hands on.
    pub(crate) relayed: BTreeMap<DeviceFp, Flow>,
    /// Parcels handed to it last, and for whom: its answer may come after the message is settled.
    handed: VecDeque<(ParcelId, DeviceFp)>,
    /// Whether it carries parcels for others, as its HELLO says.
    pub(crate) can_relay: bool,
    /// Whether it keeps parcels for others, as its HELLO says.
    pub(crate) can_store: bool,
    pub(crate) since_ms: u64,
    /// Items of theirs that were refused.
    pub(crate) refused: u32,
}

impl Ready {
    pub(crate) fn new(queue: SendQueue, hello: &Hello, now_ms: u64) -> Self {
        Self {
            queue,
            direct: Flow::default(),
            relayed: BTreeMap::new(),
            can_relay: hello.can_relay,
            can_store: hello.can_store,
            handed: VecDeque::new(),
            since_ms: now_ms,
            refused: 0,
        }
    }

    /// Notes that a parcel was handed to the peer, for `to`.
    pub(crate) fn note_handed(&mut self, parcel: ParcelId, to: DeviceFp) {
        self.handed.push_back((parcel, to));
        if self.handed.len() > HANDED_MAX {
            self.handed.pop_front();
        }
    }

    /// For whom a parcel was handed to the peer lately.
    pub(crate) fn handed_for(&self, parcel: &ParcelId) -> Option<DeviceFp> {
        let mut latest = self.handed.iter().rev();
        latest.find_map(|(known, to)| (known == parcel).then_some(*to))
    }
}

impl Link {
    pub(crate) fn ready(&self) -> Option<&Ready> {
        match &self.stage {
            Stage::Ready(ready) => Some(ready),
            _ => None,
        }
    }

    pub(crate) fn ready_mut(&mut self) -> Option<&mut Ready> {
        match &mut self.stage {
            Stage::Ready(ready) => Some(ready),
            _ => None,
        }
    }

    /// What is on its way to `to` over this link.
    pub(crate) fn flow(&self, to: DeviceFp) -> Option<&Flow> {
        let ready = self.ready()?;
        if to == self.device {
            return Some(&ready.direct);
        }
        ready.relayed.get(&to)
    }

    /// The same, to change.
    pub(crate) fn flow_mut(&mut self, to: DeviceFp) -> Option<&mut Flow> {
        let own = to == self.device;
        let ready = self.ready_mut()?;
        if own {
            return Some(&mut ready.direct);
        }
        ready.relayed.get_mut(&to)
    }

    pub(crate) fn negotiation_mut(&mut self) -> Option<&mut Negotiation> {
        match &mut self.stage {
            Stage::Negotiating(negotiation) => Some(negotiation),
            _ => None,
        }
    }

    /// Smoothed milliseconds from a message to its ACK.
    pub(crate) fn rtt_ms(&self) -> Option<u64> {
        self.ready().and_then(|ready| ready.direct.rtt_ms)
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready().is_some()
    }

    /// Whether it is a try to leave a path through TURN, and not open yet.
    pub(crate) fn is_moving(&self) -> bool {
        self.direct_only && !self.is_ready()
    }

    /// Whether it is open, and nothing speaks against it.
    pub(crate) fn is_sound(&self) -> bool {
        self.ready().is_some_and(|ready| !ready.direct.doubted)
    }

    /// Whether our own offer is behind it and it is not open yet.
    pub(crate) fn is_dialling(&self) -> bool {
        self.side == Side::Offerer && !self.is_ready()
    }
}

/// All links, by id; which are of a user or a device costs the same however many there are.
#[derive(Debug, Default)]
pub(crate) struct Links {
    pub(crate) by_id: BTreeMap<LinkId, Link>,
    by_user: BTreeMap<Label, BTreeSet<LinkId>>,
    by_device: BTreeMap<DeviceFp, BTreeSet<LinkId>>,
    /// Calls with a device, either side's, since a link came of one or a climb began.
    calls: BTreeMap<DeviceFp, u32>,
    /// Devices reached through others, which are owed a link.
    pub(crate) soon: Soon,
}

impl Links {
    /// Counts another call with a device; how many before came to nothing.
    pub(crate) fn count_call(&mut self, device: DeviceFp) -> u32 {
        if self.calls.len() >= LINKS_MAX && !self.calls.contains_key(&device) {
            self.calls.pop_first();
        }
        let calls = self.calls.entry(device).or_default();
        let before = *calls;
        *calls = calls.saturating_add(1);
        before
    }

    /// A link came of a call, or there is a new reason to call.
    pub(crate) fn forget_calls(&mut self, device: DeviceFp) {
        self.calls.remove(&device);
    }

    pub(crate) fn insert(&mut self, link: Link) {
        let users = self.by_user.entry(link.user.clone()).or_default();
        users.insert(link.id);
        self.by_device
            .entry(link.device)
            .or_default()
            .insert(link.id);
        self.by_id.insert(link.id, link);
    }

    pub(crate) fn remove(&mut self, id: LinkId) -> Option<Link> {
        let link = self.by_id.remove(&id)?;
        if let Some(ids) = self.by_user.get_mut(&link.user) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_user.remove(&link.user);
            }
        }
        if let Some(ids) = self.by_device.get_mut(&link.device) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_device.remove(&link.device);
            }
        }
        Some(link)
    }

    pub(crate) fn get(&self, id: LinkId) -> Option<&Link> {
        self.by_id.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        self.by_id.get_mut(&id)
    }

    pub(crate) fn of_user<'a>(&'a self, user: &'a Label) -> impl Iterator<Item = &'a Link> {
        let ids = self.by_user.get(user).into_iter().flatten();
        ids.filter_map(|id| self.by_id.get(id))
    }

    pub(crate) fn of_device(&self, device: DeviceFp) -> impl Iterator<Item = &Link> {
        let ids = self.by_device.get(&device).into_iter().flatten();
        ids.filter_map(|id| self.by_id.get(id))
    }

    /// The open link to a device; there is one at most.
    pub(crate) fn ready_to(&self, device: DeviceFp) -> Option<LinkId> {
        self.of_device(device)
            .find(|link| link.is_ready())
            .map(|link| link.id)
    }

    /// The link a session of a device is for.
    pub(crate) fn by_session(&self, device: DeviceFp, session: SessionId) -> Option<LinkId> {
        let found = self.of_device(device).find(|link| link.session == session);
        found.map(|link| link.id)
    }

    /// Ids of the links that satisfy `which`.
    pub(crate) fn ids(&self, which: impl Fn(&Link) -> bool) -> Vec<LinkId> {
        self.by_id
            .values()
            .filter(|link| which(link))
            .map(|link| link.id)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_follows_the_round_trip_within_bounds() {
        let mut flow = Flow::default();
        assert_eq!((flow.patience_ms(), flow.is_proven()), (300, false));
        for (order, sent, acked) in [(1, 0, 200), (2, 200, 400)] {
            flow.in_flight.insert(order, sent);
            flow.doubted = true;
            flow.acknowledged(order, acked);
        }
        assert_eq!((flow.patience_ms(), flow.is_proven()), (600, true));
        flow.in_flight.insert(3, 0);
        flow.acknowledged(3, 1_000_000);
        assert_eq!(flow.patience_ms(), ROUTE_ACK_MS_MAX);
        flow.acknowledged(9, 2_000_000);
        assert_eq!(flow.in_flight.len(), 0);
    }
}
