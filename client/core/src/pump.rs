//! The pump: puts messages on open links, in order, within a window, and watches for their ACKs. A
//! link carries messages for its own device, and for devices its peer hands them on to.

use crate::event::{DeliveryState, Event, Fabric, MessageState, Path, Rung};
use crate::input::LinkId;
use crate::limits::{LINK_WINDOW, RELAY_WINDOW, RELAYS_AT_ONCE};
use crate::link::{Flow, Link};
use crate::manager::PeerManager;
use crate::outbox::{Entry, Phase};
use crate::timer::Timer;
use crate::ways::Way;
use beeline_proto::id::{DeviceFp, Label, MessageId};
use beeline_proto::pb::peer::v1::peer_item::Kind;
use beeline_proto::time::Now;

impl PeerManager {
    /// Pumps every open link of a user, and the relays to its devices.
    pub(crate) fn pump_user(&mut self, now: Now, user: &Label) {
        let ready = self.links.of_user(user).filter(|link| link.is_ready());
        for id in ready.map(|link| link.id).collect::<Vec<_>>() {
            self.pump(now, id);
        }
        self.pump_relays(now, user);
    }

    /// Puts what is next on a link: for its device, and for those its peer relays to.
    pub(crate) fn pump(&mut self, now: Now, id: LinkId) {
        let Some(link) = self.links.get(id) else {
            return;
        };
        let (user, device) = (link.user.clone(), link.device);
        let relayed = link.ready().map(|ready| ready.relayed.keys().copied());
        let relayed: Vec<DeviceFp> = relayed.into_iter().flatten().collect();
        self.pump_flow(now, id, &user, device);
        for to in relayed {
            let owner = self.contacts.of_device(to).map(|c| c.row.label.clone());
            if let Some(owner) = owner {
                self.pump_flow(now, id, &owner, to);
            }
        }
    }

    /// Relay first, direct soon: until a device's own link has carried an ACK, its messages go
    /// through peers that are linked to it as well.
    pub(crate) fn pump_relays(&mut self, now: Now, user: &Label) {
        if self.draining || self.is_blocked(user) {
            return;
        }
        let waiting = self.outbox.has_waiting(user);
        for to in self.devices_of(user) {
            if !waiting && !self.outbox.is_left(to) {
                continue;
            }
            if self.is_proven(to) {
                self.drop_relays(to);
                continue;
            }
            for (through, via) in self.vias.usable(to, now.mono_ms) {
                let link = self.links.ready_to(through);
                let Some(id) = link.filter(|id| self.may_relay_through(*id, to)) else {
                    continue;
                };
                if let Some(ready) = self.links.get_mut(id).and_then(|link| link.ready_mut()) {
                    let flow = || Flow::found_by(via.found_by);
                    ready.relayed.entry(to).or_insert_with(flow);
                }
                self.pump_flow(now, id, user, to);
            }
        }
    }

    /// Whether a device's own link has carried an ACK and is not doubted.
    fn is_proven(&self, device: DeviceFp) -> bool {
        let link = self
            .links
            .ready_to(device)
            .and_then(|id| self.links.get(id));
        let flow = link.and_then(|link| link.flow(device));
        flow.is_some_and(Flow::is_proven)
    }

    fn may_relay_through(&self, id: LinkId, to: DeviceFp) -> bool {
        let has_flow = |link: &&Link| link.ready().is_some_and(|r| r.relayed.contains_key(&to));
        let Some(link) = self.links.get(id) else {
            return false;
        };
        let used = self.links.by_id.values().filter(has_flow).count();
        let room = has_flow(&link) || used < RELAYS_AT_ONCE;
        room && link.ready().is_some_and(|ready| ready.can_relay)
    }

    /// The direct link has carried an ACK: nothing goes through relays any more.
    pub(crate) fn drop_relays(&mut self, to: DeviceFp) {
        let mut ended = Vec::new();
        for link in self.links.by_id.values_mut() {
            let id = link.id;
            if let Some(ready) = link.ready_mut()
                && ready.relayed.remove(&to).is_some()
            {
                ended.push(id);
            }
        }
        for id in ended {
            self.timers.cancel(&Timer::Route(id, to));
        }
    }

    /// Puts what is next for a device on a link. Stops at the first message that is not ready for
    /// this device, so that order holds.
    fn pump_flow(&mut self, now: Now, id: LinkId, user: &Label, to: DeviceFp) {
        let Some((cursor, room)) = self.room(id, to) else {
            return;
        };
        // Copies for a device of ours are of many streams: none waits for another.
        let copies = *user == self.me.user_label;
        let mut unsealed = false;
        let mut batch = Vec::new();
        for entry in self.outbox.due(user, to, cursor, room) {
            match (entry.phase, entry.parcel(to)) {
                (Phase::Sealed, Some(parcel)) => {
                    batch.push((entry.row.id, entry.order, parcel.clone()));
                }
                (Phase::Sealed | Phase::Unsealed, _) => {
                    unsealed = true;
                    if !copies {
                        break;
                    }
                }
                (Phase::Committing | Phase::Sealing, _) if copies => {}
                (Phase::Committing | Phase::Sealing, _) => break,
            }
        }
        for (message, order, parcel) in batch {
            let way = self.way_over(id, to);
            if way != Way::Direct(id) {
                self.note_handed(id, to, &parcel);
            }
            let item = match self.files.offers(&message) {
                true => Kind::FileOffer(parcel),
                false => Kind::ChatMessage(parcel),
            };
            if !self.send_parcel(now, way, to, item) {
                break;
            }
            if let Some(flow) = self.links.get_mut(id).and_then(|link| link.flow_mut(to)) {
                flow.cursor = order;
                flow.in_flight.insert(order, now.mono_ms);
            }
            self.note_rung(message, id, to);
            self.tell_through(way, message, id);
        }
        if unsealed {
            self.unsealed.insert(user.clone());
        }
        self.watch_flow(now, id, user, to);
    }

    fn tell_through(&mut self, way: Way, id: MessageId, link: LinkId) {
        let peer = self.links.get(link).map(|link| link.user.clone());
        if let (Way::Relay(_), Some(peer)) = (way, peer) {
            self.out.event(Event::Fabric(Fabric::Through { id, peer }));
        }
    }

    /// Where a flow stands, and how many messages it takes now.
    fn room(&self, id: LinkId, to: DeviceFp) -> Option<(u64, usize)> {
        let link = self.links.get(id)?;
        let flow = link.flow(to)?;
        let window = if to == link.device {
            LINK_WINDOW
        } else {
            RELAY_WINDOW
        };
        let room = window.saturating_sub(flow.in_flight.len());
        Some((flow.cursor, room.min(link.ready()?.queue.room())))
    }

    /// Notes which rung gave the way a message just took.
    fn note_rung(&mut self, message: MessageId, id: LinkId, to: DeviceFp) {
        let Some(link) = self.links.get(id) else {
            return;
        };
        let relay = link.flow(to).and_then(|flow| flow.found_by);
        let (found_by, since_ms) = (link.found_by, link.ready().map_or(0, |r| r.since_ms));
        if let Some(entry) = self.outbox.get_mut(&message) {
            // A link made while the message waited was found for it by a rung of its climb.
            let fresh = since_ms > entry.queued_mono_ms;
            let rung = relay.or(found_by.filter(|_| fresh));
            entry.via.insert((to, id), rung.unwrap_or(Rung::Connected));
        }
    }

    /// Starts the wait for an ACK while durable messages wait for the user, or the device.
    pub(crate) fn watch_flow(&mut self, now: Now, id: LinkId, user: &Label, to: DeviceFp) {
        let flow = self.links.get(id).and_then(|link| link.flow(to));
        let Some(flow) = flow.filter(|flow| !flow.doubted) else {
            return;
        };
        let timer = Timer::Route(id, to);
        if self.outbox.has_waiting(user) || self.outbox.is_left(to) {
            let at_ms = now.mono_ms + flow.patience_ms();
            self.timers.arm_if_idle(timer, at_ms);
        } else {
            self.timers.cancel(&timer);
        }
    }

    /// Tells a state of a message that is still in the outbox.
    pub(crate) fn tell_state(
        &mut self,
        now: Now,
        id: MessageId,
        state: DeliveryState,
        rung: Option<Rung>,
    ) {
        let Some(entry) = self.outbox.get_mut(&id) else {
            return;
        };
        entry.row.state = state;
        if rung.is_some() {
            entry.told = rung;
        }
        let told = state_of(entry, now, rung, None);
        self.out.event(Event::MessageState(told));
    }

    /// Tells how far a message has come on its path.
    pub(crate) fn tell_path(&mut self, now: Now, id: MessageId, state: DeliveryState, path: Path) {
        let Some(entry) = self.outbox.get_mut(&id) else {
            return;
        };
        entry.row.state = state;
        let told = state_of(entry, now, None, Some(path));
        self.out.event(Event::MessageState(told));
    }
}

/// The state of an entry as told to the application.
pub(crate) fn state_of(
    entry: &Entry,
    now: Now,
    rung: Option<Rung>,
    path: Option<Path>,
) -> MessageState {
    MessageState {
        id: entry.row.id,
        to: entry.row.to.clone(),
        state: entry.row.state,
        rung,
        kept: entry
            .kept
            .filter(|_| entry.row.state == DeliveryState::Stored),
        path,
        found_by: None,
        reason: None,
        elapsed_ms: now.mono_ms.saturating_sub(entry.queued_mono_ms),
    }
}
