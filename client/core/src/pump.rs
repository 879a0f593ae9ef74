//! The pump: puts messages on open links, in order, within a window, and watches for their ACKs.

use crate::event::{DeliveryState, Event, MessageState, Path, Rung};
use crate::input::LinkId;
use crate::limits::LINK_WINDOW;
use crate::manager::PeerManager;
use crate::outbox::{Entry, Phase};
use crate::timer::Timer;
use beeline_proto::id::{Label, MessageId};
use beeline_proto::pb::peer::v1::peer_item::Kind;
use beeline_proto::time::Now;

impl PeerManager {
    /// Pumps every open link of a user.
    pub(crate) fn pump_user(&mut self, now: Now, user: &Label) {
        for id in self.links.ids(|link| link.user == *user && link.is_ready()) {
            self.pump(now, id);
        }
    }

    /// Puts what is next for the link's device on the link. Stops at the first message that is not
    /// ready for this device, so that order holds.
    pub(crate) fn pump(&mut self, now: Now, id: LinkId) {
        let Some(link) = self.links.get(id) else {
            return;
        };
        let (user, device, found_by) = (link.user.clone(), link.device, link.found_by);
        let Some(ready) = link.ready() else {
            return;
        };
        let (cursor, since_ms) = (ready.cursor, ready.since_ms);
        let room = LINK_WINDOW
            .saturating_sub(ready.in_flight.len())
            .min(ready.queue.room());
        let mut unsealed = false;
        let mut batch = Vec::new();
        for entry in self.outbox.after(&user, cursor).take(room) {
            match (entry.phase, entry.parcel(device)) {
                (Phase::Sealed, Some(parcel)) => {
                    batch.push((entry.row.id, entry.order, parcel.clone()));
                }
                (Phase::Sealed | Phase::Unsealed, _) => {
                    unsealed = true;
                    break;
                }
                (Phase::Committing | Phase::Sealing, _) => break,
            }
        }
        for (message, order, parcel) in batch {
            if !self.say(id, Kind::ChatMessage(parcel)) {
                break;
            }
            if let Some(ready) = self.links.get_mut(id).and_then(|link| link.ready_mut()) {
                ready.cursor = order;
                ready.in_flight.insert(order, now.mono_ms);
            }
            if let Some(entry) = self.outbox.get_mut(&message) {
                // A link made while the message waited was found for it by a rung of its climb.
                let fresh = since_ms > entry.queued_mono_ms;
                let rung = found_by.filter(|_| fresh).unwrap_or(Rung::Connected);
                entry.via.insert(device, rung);
            }
        }
        if unsealed {
            self.seal_and_write(&user);
        }
        self.watch_link(now, id);
    }

    /// Starts the wait for an ACK while durable messages wait for the link's user.
    pub(crate) fn watch_link(&mut self, now: Now, id: LinkId) {
        let Some(link) = self.links.get(id) else {
            return;
        };
        let Some(ready) = link.ready().filter(|ready| !ready.doubted) else {
            return;
        };
        if self.outbox.has_waiting(&link.user) {
            let at_ms = now.mono_ms + ready.patience_ms();
            self.timers.arm_if_idle(Timer::Route(id), at_ms);
        } else {
            self.timers.cancel(&Timer::Route(id));
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
        path,
        found_by: None,
        reason: None,
        elapsed_ms: now.mono_ms.saturating_sub(entry.queued_mono_ms),
    }
}
