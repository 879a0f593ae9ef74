//! Climbing: runs a user's ladder, tells its messages about it, and waits with growing pauses when
//! every rung is exhausted.

use crate::backoff::pause_ms;
use crate::crypto::random_u64;
use crate::event::{DeliveryState, Event, PeerState, Rung};
use crate::input::LinkId;
use crate::ladder::{Ladder, RUNGS, Step};
use crate::limits::{HEARD_MS, PEERS_MAX, ROUTE_DEMOTED_MS, TRYING_TOLD_MAX};
use crate::link::Flow;
use crate::manager::PeerManager;
use crate::outbox::{Entry, Phase};
use crate::peer::{Move, Peer, after};
use crate::pump::state_of;
use crate::state::StoreOp;
use crate::timer::Timer;
use beeline_proto::id::{DeviceFp, Label, MessageId};
use beeline_proto::time::Now;

impl PeerManager {
    /// The connection state kept for a user, made if there is none.
    pub(crate) fn peer(&mut self, now: Now, label: &Label) -> &mut Peer {
        if !self.peers.contains_key(label) && self.peers.len() >= PEERS_MAX {
            self.forget_idlest_peer();
        }
        let peer = self
            .peers
            .entry(label.clone())
            .or_insert_with(|| Peer::new(label.clone(), now.mono_ms));
        peer.used_ms = now.mono_ms;
        peer
    }

    /// Forgets the state of the user idle longest; what it has waiting is found again by a retry.
    fn forget_idlest_peer(&mut self) {
        let idle = |peer: &&Peer| {
            self.links.of_user(&peer.label).next().is_none()
                && peer.ladder.is_none()
                && !self.outbox.has_waiting(&peer.label)
        };
        let idlest = self
            .peers
            .values()
            .filter(idle)
            .min_by_key(|peer| peer.used_ms);
        if let Some(label) = idlest.map(|peer| peer.label.clone()) {
            self.peers.remove(&label);
        }
    }

    /// Makes `moves`, those that exist from the state each finds, and tells about each.
    pub(crate) fn move_peer(&mut self, now: Now, label: &Label, moves: &[Move], reason: &str) {
        for by in moves {
            let peer = self.peer(now, label);
            let Some(to) = after(peer.state, *by) else {
                continue;
            };
            let from = std::mem::replace(&mut peer.state, to);
            self.out.event(Event::PeerState {
                user: label.clone(),
                from,
                to,
                reason: reason.to_owned(),
            });
        }
    }

    /// Starts a climb for a user unless one is under way.
    pub(crate) fn start_climb(&mut self, now: Now, label: &Label) {
        if self.draining || self.is_blocked(label) {
            return;
        }
        let peer = self.peer(now, label);
        if peer.ladder.is_none() {
            peer.ladder = Some(Ladder::new(now.mono_ms));
            for device in self.devices_of(label) {
                self.links.forget_calls(device);
            }
            self.move_peer(now, label, &[Move::Discover], "looking for a way");
        }
        self.climb(now, label);
    }

    pub(crate) fn is_blocked(&self, label: &Label) -> bool {
        self.contacts
            .get(label)
            .is_some_and(|contact| contact.is_blocked())
    }

    /// Goes up the ladder as far as it may now.
    pub(crate) fn climb(&mut self, now: Now, label: &Label) {
        for _ in 0..=RUNGS.len() {
            let wanted = self.peers.get(label).is_some_and(|peer| peer.wanted);
            if !wanted && !self.outbox.has_waiting(label) {
                return self.stop_climb(now, label);
            }
            let (in_flight, waiting) = self.attempts(label);
            let ladder = self
                .peers
                .get_mut(label)
                .and_then(|peer| peer.ladder.as_mut());
            let Some(ladder) = ladder else {
                return;
            };
            match ladder.step(now.mono_ms, in_flight, waiting) {
                Step::Start(rung) => self.start_rung(now, label, rung),
                Step::WaitUntil(at_ms) => {
                    return self.timers.arm(Timer::Ladder(label.clone()), at_ms);
                }
                Step::Wait => return self.timers.cancel(&Timer::Ladder(label.clone())),
                Step::Exhausted => return self.give_up(now, label),
            }
        }
    }

    /// Whether an attempt for a user may still succeed, and whether an open link still may.
    pub(crate) fn attempts(&self, label: &Label) -> (bool, bool) {
        let asking = self.is_asking_for(label) || self.is_querying(label);
        let making = self.links.of_user(label).any(|link| !link.is_ready());
        let hopeful = self.outbox.has_waiting(label) && self.has_hope(label);
        (asking || making, hopeful)
    }

    /// Whether messages wait for a user and nothing under way may still deliver them: an open link
    /// that is doubted does not count.
    pub(crate) fn is_stranded(&self, label: &Label) -> bool {
        let (in_flight, hopeful) = self.attempts(label);
        !in_flight && !hopeful && self.outbox.has_waiting(label)
    }

    /// Whether something is out for a user that has not been doubted yet.
    fn has_hope(&self, label: &Label) -> bool {
        let direct = self.links.of_user(label).filter_map(|link| link.ready());
        if direct.into_iter().any(|ready| !ready.direct.doubted) {
            return true;
        }
        let Some(contact) = self.contacts.get(label) else {
            return false;
        };
        let devices = &contact.chain.devices.devices;
        self.links.by_id.values().any(|link| {
            let relayed = link.ready().map(|ready| &ready.relayed);
            relayed
                .filter(|flows| !flows.is_empty())
                .is_some_and(|flows| {
                    let out = |flow: &Flow| !flow.doubted && !flow.in_flight.is_empty();
                    devices.iter().any(|d| flows.get(&d.fp()).is_some_and(out))
                })
        })
    }

    fn start_rung(&mut self, now: Now, label: &Label, rung: Rung) {
        let tried = match rung {
            Rung::Connected => {
                self.pump_user(now, label);
                self.links.of_user(label).any(|link| link.is_ready())
            }
            Rung::Cache => {
                self.pump_relays(now, label);
                self.dial_routes(now, label, rung) || self.has_relay(now, label)
            }
            Rung::Peers => self.ask_peers(now, label, rung),
            Rung::Coordinators => self.ask_coordinators(now, label),
            Rung::Registry => self.look_up(label),
            Rung::StoreAndForward => {
                let placed = self.start_placing(now, label);
                // That asks nobody to keep anything: it is no try of this rung.
                self.request_relay(now, label);
                placed
            }
        };
        if tried {
            self.tell_tried(now, label, rung);
        }
    }

    /// Whether a connected peer may hand on what is for a user.
    fn has_relay(&self, now: Now, label: &Label) -> bool {
        let mut devices = self.devices_of(label).into_iter();
        devices.any(|device| !self.relays_to(now, device).is_empty())
    }

    /// Something is being tried on a rung: the user's messages are told, and those that join them.
    fn tell_tried(&mut self, now: Now, label: &Label, rung: Rung) {
        let peer = self.peers.get_mut(label);
        if let Some(ladder) = peer.and_then(|peer| peer.ladder.as_mut()) {
            ladder.note_tried(rung);
        }
        self.tell_trying(now, label, rung);
    }

    /// Tells the messages of a user which rung is tried for them, each rung once.
    pub(crate) fn tell_trying(&mut self, now: Now, label: &Label, rung: Rung) {
        let durable = |entry: &&Entry| entry.phase != Phase::Committing;
        let waiting = self
            .outbox
            .after(label, 0)
            .filter(durable)
            .take(TRYING_TOLD_MAX);
        let ids: Vec<_> = waiting
            .filter(|entry| entry.told != Some(rung))
            .map(|entry| entry.row.id)
            .collect();
        for id in ids {
            self.tell_trying_one(now, id, rung);
        }
    }

    /// Tells one message which rung is tried for it.
    pub(crate) fn tell_trying_one(&mut self, now: Now, id: MessageId, rung: Rung) {
        // A state never goes back: a relayed message is not told what else is tried for it.
        let further =
            |entry: &Entry| entry.state() > DeliveryState::Trying && !planted!(StateGoesBack);
        if self.outbox.get(&id).is_some_and(further) {
            return;
        }
        self.tell_state(now, id, DeliveryState::Trying, Some(rung));
        self.lazily(
            now,
            StoreOp::SetState {
                id,
                state: DeliveryState::Trying,
                rung: Some(rung),
                path: None,
                reason: None,
                at_ms: now.wall_ms,
            },
        );
    }

    /// Tells the messages of a user why nothing came of what was tried, each reason once.
    pub(crate) fn tell_note(&mut self, now: Now, label: &Label, note: &str) {
        let fresh = |entry: &&Entry| {
            let trying = entry.state() <= DeliveryState::Trying;
            let durable = entry.phase != Phase::Committing;
            trying && durable && entry.note.as_deref() != Some(note)
        };
        let waiting = self.outbox.after(label, 0).filter(fresh);
        let ids: Vec<_> = waiting.take(TRYING_TOLD_MAX).map(|e| e.row.id).collect();
        for id in ids {
            let Some(entry) = self.outbox.get_mut(&id) else {
                continue;
            };
            entry.note = Some(note.to_owned());
            entry.row.state = DeliveryState::Trying;
            let (rung, reason) = (entry.told, Some(note.to_owned()));
            let mut told = state_of(entry, now, rung, None);
            told.reason.clone_from(&reason);
            self.out.event(Event::MessageState(told));
            let op = StoreOp::SetState {
                id,
                state: DeliveryState::Trying,
                rung,
                path: None,
                reason,
                at_ms: now.wall_ms,
            };
            self.lazily(now, op);
        }
    }

    /// Ends a climb because an ACK came or nothing is left to send.
    pub(crate) fn stop_climb(&mut self, now: Now, label: &Label) {
        self.timers.cancel(&Timer::Ladder(label.clone()));
        let Some(peer) = self.peers.get_mut(label) else {
            return;
        };
        peer.ladder = None;
        self.rest(now, label, "nothing left to send");
    }

    /// Every rung was tried, nothing is in flight: wait.
    fn give_up(&mut self, now: Now, label: &Label) {
        // A try within a pause, for a message just sent, makes no later pause longer.
        let is_pausing = self.timers.when(&Timer::Retry(label.clone())).is_some();
        let peer = self.peer(now, label);
        peer.ladder = None;
        peer.wanted = false;
        peer.attempt = peer.attempt.saturating_add(u32::from(!is_pausing)).max(1);
        let reason = peer.last_error.take();
        let reason = reason.unwrap_or_else(|| "no way to the peer is known".to_owned());
        self.timers.cancel(&Timer::Ladder(label.clone()));
        self.rest(now, label, &reason);
        self.plan_retry(now, label);
    }

    /// Moves a peer nothing is in flight for out of the states of an attempt.
    fn rest(&mut self, now: Now, label: &Label, reason: &str) {
        let (in_flight, _) = self.attempts(label);
        if !in_flight {
            self.move_peer(now, label, &[Move::Fail, Move::Wait], reason);
        }
    }

    /// Plans the next try, if anything waits.
    pub(crate) fn plan_retry(&mut self, now: Now, label: &Label) {
        if !self.outbox.has_waiting(label) || self.draining || planted!(RetryNotArmed) {
            return;
        }
        let attempt = self.peers.get(label).map_or(0, |peer| peer.attempt);
        let pause = pause_ms(attempt.saturating_sub(1), random_u64(self.crypto.as_mut()));
        let at_ms = now.mono_ms.saturating_add(pause);
        self.timers.arm_if_idle(Timer::Retry(label.clone()), at_ms);
    }

    /// The pause is over: everything unacknowledged goes out again, then the ladder is climbed.
    pub(crate) fn on_retry(&mut self, now: Now, label: &Label) {
        self.timers.cancel(&Timer::Retry(label.clone()));
        if self
            .peers
            .get(label)
            .is_some_and(|peer| peer.ladder.is_some())
        {
            // The climb under way plans the next one.
            return;
        }
        for device in self.devices_of(label) {
            self.restart_flows(device);
        }
        self.start_climb(now, label);
        self.pump_user(now, label);
    }

    /// Tries again at once for everybody: a socket came up, or the network changed.
    pub(crate) fn retry_all(&mut self, now: Now) {
        self.placing.touch_all();
        self.call_soon_anew(now);
        for label in self.outbox.recipients() {
            if self
                .peers
                .get(&label)
                .is_none_or(|peer| peer.ladder.is_none())
            {
                self.timers.cancel(&Timer::Retry(label.clone()));
                self.peer(now, &label).attempt = 0;
                self.start_climb(now, &label);
            }
        }
        for label in self.served_users() {
            self.serve_anew(now, &label);
        }
        self.seek_all_anew(now);
    }

    /// A device was heard of, by a parcel of its own or from a neighbour: what waits for it is
    /// tried at once, not too often.
    pub(crate) fn heard_of(&mut self, now: Now, device: DeviceFp) {
        if let Some(label) = self.contacts.of_device(device).map(|c| c.row.label.clone()) {
            self.heard_of_user(now, &label);
        }
    }

    /// The same for a user, who may be one we never met.
    pub(crate) fn heard_of_user(&mut self, now: Now, label: &Label) {
        let waiting = self.outbox.has_waiting(label);
        if !waiting && !self.is_serving(label) && !self.is_seeking(label) {
            return;
        }
        let peer = self.peer(now, label);
        let pause_ms = now.mono_ms.saturating_sub(peer.heard_ms);
        if peer.ladder.is_some() || pause_ms < HEARD_MS {
            return self.pump_relays(now, label);
        }
        peer.heard_ms = now.mono_ms;
        peer.attempt = 0;
        if waiting {
            self.on_retry(now, label);
        }
        self.serve_anew(now, label);
        self.seek_anew(now, label);
    }

    /// An attempt for a user ended: goes on climbing, or comes to rest.
    pub(crate) fn after_attempt(&mut self, now: Now, label: &Label, reason: &str) {
        let peer = self.peer(now, label);
        peer.last_error = Some(reason.to_owned());
        if peer.ladder.is_some() {
            return self.climb(now, label);
        }
        self.rest(now, label, reason);
        if self.is_stranded(label) {
            let peer = self.peer(now, label);
            if peer.attempt == 0 && peer.state == PeerState::Disconnected {
                peer.attempt = 1;
                self.start_climb(now, label);
            } else {
                self.plan_retry(now, label);
            }
        }
    }

    /// A message sent over this link to a device was not acknowledged in time.
    pub(crate) fn on_route_doubt(&mut self, now: Now, id: LinkId, to: DeviceFp) {
        let user = self.contacts.of_device(to).map(|c| c.row.label.clone());
        let (Some(link), Some(user)) = (self.links.get_mut(id), user) else {
            return;
        };
        if link.device != to && planted!(RelayNeverDoubted) {
            return;
        }
        if link.device != to {
            return self.end_relay(now, id, to, ROUTE_DEMOTED_MS);
        }
        let Some(ready) = link.ready_mut() else {
            return;
        };
        ready.direct.doubted = true;
        if let Some(row) = self.routes.demote(to, now.wall_ms) {
            self.lazily(now, StoreOp::PutRoute(row));
        }
        self.peer(now, &user).last_error = Some("no acknowledgement in time".to_owned());
        self.start_climb(now, &user);
    }

    /// Keeps an operation for the next write.
    pub(crate) fn lazily(&mut self, now: Now, op: StoreOp) {
        if self.out.lazily(op) {
            let at_ms = now.mono_ms + crate::limits::LAZY_MS;
            self.timers.arm_if_idle(Timer::Lazy, at_ms);
        }
    }
}
