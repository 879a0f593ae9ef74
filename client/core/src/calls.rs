//! Calls: dialling a device and being dialled, by offer, answer and candidates, each signed and
//! sealed as a CONTROL parcel, the same bytes on every route.

use crate::early::Offered;
use crate::event::Rung;
use crate::input::{Candidate, LinkId, LinkPath};
use crate::limits::{MOVE_TRY_MS, REDIAL_CONNECTING_MS, REDIAL_UNANSWERED_MS, REDIALS_MAX};
use crate::link::{Before, Call, Flow, Link, Stage};
use crate::manager::PeerManager;
use crate::negotiation::{Negotiation, Side};
use crate::nets::Nets;
use crate::output::{RtcCommand, SignalKind};
use crate::paths::NO_BETTER;
use crate::peer::Move;
use crate::timer::Timer;
use beeline_proto::id::{DeviceFp, EnvelopeHash, Label, SessionId, sha256};
use beeline_proto::limits::SESSION_TIMEOUT_MS;
use beeline_proto::pb::peer::v1::{Answer, IceCandidate, Offer};
use beeline_proto::time::Now;
use std::collections::BTreeSet;

/// Negotiations per session: a changed network means a new session, so there is one.
pub(crate) const NEGOTIATION: u32 = 1;

impl PeerManager {
    /// Dials the devices of a user that routes are known to; whether any is being dialled now.
    pub(crate) fn dial_routes(&mut self, now: Now, label: &Label, rung: Rung) -> bool {
        let devices = self.routes.to_dial(label, rung, now.wall_ms);
        for device in devices {
            self.dial(now, label, device, rung);
        }
        self.links.of_user(label).any(|link| link.is_dialling())
    }

    /// Makes an offer to a device, unless a link to it is open, or under way.
    pub(crate) fn dial(&mut self, now: Now, label: &Label, device: DeviceFp, rung: Rung) {
        self.call(now, label, device, Call::on(rung));
    }

    /// The same, beside another link or in place of it.
    pub(crate) fn call(&mut self, now: Now, label: &Label, device: DeviceFp, call: Call) {
        let busy = self.links.of_device(device).any(|link| !call.bears(link));
        if busy {
            return self.widen_calls(now, device);
        }
        if self.draining || self.links.by_id.len() >= self.me.config.links_max {
            return;
        }
        let Some(contact) = self.contacts.get(label) else {
            return;
        };
        if self.me.revokes(&contact.chain) {
            return;
        }
        let Some(device_label) = contact.device(device).map(|device| device.label.clone()) else {
            return;
        };
        let redials = self.count_call(device, call.direct_only);
        let id = self.out.fresh_link();
        let session = SessionId(crate::crypto::random_id(self.crypto.as_mut()));
        let stage = Stage::Negotiating(Negotiation::offering());
        self.add_link(
            now,
            Link {
                id,
                user: label.clone(),
                device,
                device_label,
                session,
                side: Side::Offerer,
                found_by: Some(call.rung),
                redials,
                nets: Nets::default(),
                path: LinkPath::default(),
                direct_only: call.direct_only,
                moves: 0,
                stage,
            },
        );
        let direct_only = call.direct_only;
        self.out.command(id, RtcCommand::Offer { direct_only });
        let moves = [Move::Discover, Move::Signal];
        self.move_peer(now, label, &moves, call.rung.name());
        if let Some(old) = call.instead_of {
            self.close_link(now, old, "called anew");
        }
        if !direct_only {
            self.end_moves(now, device, "called anew");
        }
    }

    fn add_link(&mut self, now: Now, link: Link) {
        let id = link.id;
        let wait_ms = match link.side {
            Side::Offerer => REDIAL_UNANSWERED_MS,
            Side::Answerer => REDIAL_CONNECTING_MS,
        };
        let session_ms = if link.direct_only {
            MOVE_TRY_MS
        } else {
            SESSION_TIMEOUT_MS
        };
        let timer = Timer::Session(id);
        self.timers.arm(timer, now.mono_ms + session_ms);
        self.sessions_seen.insert((link.device, link.session));
        self.links.insert(link);
        self.arm_redial(now, id, wait_ms);
    }

    /// How many calls before came to nothing; one that only tries for a better path is none.
    fn count_call(&mut self, device: DeviceFp, direct_only: bool) -> u32 {
        if direct_only {
            return 0;
        }
        self.links.count_call(device)
    }

    /// Plans when a call is made anew. One that only tries for a better path is not.
    fn arm_redial(&mut self, now: Now, id: LinkId, wait_ms: u64) {
        let link = self.links.get(id).filter(|link| !link.direct_only);
        if let Some(redials) = link.map(|link| link.redials) {
            let wait_ms = wait_ms << redials.min(REDIALS_MAX);
            self.timers.arm(Timer::Redial(id), now.mono_ms + wait_ms);
        }
    }

    /// What a call has said so far was said once more, on a new way: it has its time again, where
    /// that was over.
    pub(crate) fn rearm_redial(&mut self, now: Now, id: LinkId) {
        if self.timers.when(&Timer::Redial(id)).is_none() {
            let link = self.links.get_mut(id);
            let described = link.and_then(|link| link.negotiation_mut());
            let described = described.is_some_and(|n| !n.is_awaiting_answer());
            let wait_ms = if described {
                REDIAL_CONNECTING_MS
            } else {
                REDIAL_UNANSWERED_MS
            };
            self.arm_redial(now, id, wait_ms);
        }
    }

    /// A call takes longer than a healthy one: whoever took it may be gone. If there is still a
    /// reason to, if only that the device is reached through others, it is called anew; a call of
    /// its own that had to wait is answered instead.
    pub(crate) fn on_redial(&mut self, now: Now, id: LinkId) {
        let Some(link) = self.links.get(id) else {
            return;
        };
        if !matches!(link.stage, Stage::Negotiating(_)) {
            return;
        }
        let (user, device) = (link.user.clone(), link.device);
        if link.side == Side::Offerer && self.early.has_deferred(device) {
            return self.close_link(now, id, "the offer was not answered");
        }
        // Without a socket nothing was said yet, and what waits is said when one comes up; after
        // some tries the session ends in its time, and the growing pauses between climbs begin. A
        // later climb calls once.
        let reached =
            !self.presence.sockets().is_empty() || !self.relays_to(now, device).is_empty();
        let again = self.peers.get(&user).is_some_and(|peer| peer.attempt > 0);
        if link.redials >= REDIALS_MAX || !reached || again {
            return;
        }
        let rung = link.found_by.unwrap_or(Rung::Cache);
        let wanted = self.peers.get(&user).is_some_and(|peer| peer.wanted);
        let waits = self.outbox.has_waiting(&user)
            || self.outbox.is_left(device)
            || self.files_want(device);
        let reason = wanted || waits || rung == Rung::Coordinators;
        if reason || self.links.soon.is_urgent(device, now.mono_ms) {
            if !reason {
                self.links.soon.count(device, now.mono_ms);
            }
            let detail = format!(
                "{user}, device {}: no link in time, called anew",
                device.short()
            );
            self.out.warn(now, "slow-call", detail);
            self.call(now, &user, device, Call::on(rung).instead_of(id));
        }
    }

    /// Makes the link for an offer that was verified, after what there was `before`.
    pub(crate) fn accept_offer(
        &mut self,
        now: Now,
        label: &Label,
        device: (DeviceFp, Label),
        offer: Offered,
        before: Before,
    ) {
        let Offered {
            session,
            hash,
            sdp,
            direct_only,
        } = offer;
        let redials = self.count_call(device.0, direct_only);
        let id = self.out.fresh_link();
        let mut nets = Nets::default();
        nets.note_sdp(&sdp);
        self.add_link(
            now,
            Link {
                id,
                user: label.clone(),
                device: device.0,
                device_label: device.1,
                session,
                side: Side::Answerer,
                found_by: before.found_by,
                redials: before.redials.max(redials),
                nets,
                path: LinkPath::default(),
                direct_only,
                moves: 0,
                stage: Stage::Negotiating(Negotiation::answering(hash)),
            },
        );
        let accept = RtcCommand::AcceptOffer { sdp, direct_only };
        self.out.command(id, accept);
        if direct_only {
            self.note_move(now, device.0);
        }
        self.move_peer(now, label, &[Move::Signal], "the peer calls");
        for (index, candidate) in self.early.take(device.0, session, hash) {
            self.apply_candidate(id, index, candidate);
        }
    }

    /// Our description is set: it goes out, and our candidates after it.
    pub(crate) fn on_local_description(&mut self, now: Now, id: LinkId, sdp: String) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        let (device, session, side) = (link.device, link.session, link.side);
        let direct_only = link.direct_only;
        let Some(negotiation) = link.negotiation_mut().filter(|n| n.is_describing()) else {
            return;
        };
        let offer_hash = negotiation.offer_hash();
        let context = self.me.context_on(self.crypto.as_mut(), device, session);
        let (kind, envelope) = match (side, offer_hash) {
            (Side::Offerer, _) => {
                let offer = Offer {
                    context,
                    negotiation: NEGOTIATION,
                    sdp,
                    direct_only,
                };
                (
                    SignalKind::Offer,
                    self.me.sign(self.crypto.as_mut(), &offer),
                )
            }
            (Side::Answerer, hash) => {
                let answer = Answer {
                    context,
                    negotiation: NEGOTIATION,
                    offer_hash: hash.map(EnvelopeHash::to_vec).unwrap_or_default(),
                    sdp,
                };
                (
                    SignalKind::Answer,
                    self.me.sign(self.crypto.as_mut(), &answer),
                )
            }
        };
        let candidates = match self
            .links
            .get_mut(id)
            .and_then(|link| link.negotiation_mut())
        {
            Some(negotiation) if side == Side::Offerer => {
                negotiation.offered(EnvelopeHash(sha256(&envelope)))
            }
            Some(negotiation) => negotiation.answered(),
            None => return,
        };
        // With our chain: a peer that does not know us, or knows an older list, can check us.
        let chain = self.me.chain.to_bytes();
        self.signal(now, id, kind, (envelope, chain));
        for (index, candidate) in candidates {
            self.signal_candidate(now, id, index, candidate);
        }
        if side == Side::Answerer {
            self.described(now, id);
        }
    }

    fn described(&mut self, now: Now, id: LinkId) {
        if let Some(user) = self.links.get(id).map(|link| link.user.clone()) {
            self.arm_redial(now, id, REDIAL_CONNECTING_MS);
            let moves = [Move::Signal, Move::Connect];
            self.move_peer(now, &user, &moves, "descriptions exchanged");
        }
    }

    /// A candidate of ours, or (empty) the end of them.
    pub(crate) fn on_local_candidate(&mut self, now: Now, id: LinkId, candidate: Candidate) {
        let negotiation = self
            .links
            .get_mut(id)
            .and_then(|link| link.negotiation_mut());
        if let Some((index, candidate)) = negotiation.and_then(|n| n.local(candidate)) {
            self.signal_candidate(now, id, index, candidate);
        }
    }

    fn signal_candidate(&mut self, now: Now, id: LinkId, index: u32, candidate: Candidate) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        let (device, session) = (link.device, link.session);
        let Some(hash) = link.negotiation_mut().and_then(|n| n.offer_hash()) else {
            return;
        };
        let payload = IceCandidate {
            context: self.me.context_on(self.crypto.as_mut(), device, session),
            negotiation: NEGOTIATION,
            index,
            offer_hash: hash.to_vec(),
            candidate: candidate.candidate,
            sdp_mid: candidate.sdp_mid,
            sdp_m_line_index: candidate.sdp_m_line_index,
            username_fragment: candidate.username_fragment,
        };
        let envelope = self.me.sign(self.crypto.as_mut(), &payload);
        self.signal(now, id, SignalKind::IceCandidate, (envelope, Vec::new()));
    }

    /// An answer to our offer was verified.
    pub(crate) fn accept_answer(&mut self, now: Now, id: LinkId, sdp: String) {
        let negotiation = self
            .links
            .get_mut(id)
            .and_then(|link| link.negotiation_mut());
        let Some(negotiation) = negotiation.filter(|n| n.is_awaiting_answer()) else {
            return;
        };
        let early = negotiation.accept_answer();
        if let Some(link) = self.links.get_mut(id) {
            link.nets.note_sdp(&sdp);
        }
        self.out.command(id, RtcCommand::AcceptAnswer { sdp });
        for candidate in early {
            self.add_candidate(id, candidate);
        }
        self.described(now, id);
    }

    /// A candidate of theirs was verified.
    pub(crate) fn apply_candidate(&mut self, id: LinkId, index: u32, candidate: Candidate) {
        let negotiation = self
            .links
            .get_mut(id)
            .and_then(|link| link.negotiation_mut());
        if let Some(candidate) = negotiation.and_then(|n| n.remote(index, candidate)) {
            self.add_candidate(id, candidate);
        }
    }

    fn add_candidate(&mut self, id: LinkId, candidate: Candidate) {
        if let Some(link) = self.links.get_mut(id) {
            link.nets.note_candidate(&candidate.candidate);
        }
        self.out.command(id, RtcCommand::AddCandidate(candidate));
    }

    /// A session got no link, or the link no HELLO, in time.
    pub(crate) fn on_session_timeout(&mut self, now: Now, id: LinkId) {
        let Some(link) = self.links.get(id) else {
            return;
        };
        let reason = match &link.stage {
            Stage::Negotiating(n) if n.is_awaiting_answer() => "the offer was not answered",
            Stage::Negotiating(_) => "no connection came about in 30 s",
            Stage::Greeting { .. } => "no HELLO came in 5 s",
            Stage::Ready(_) => return,
        };
        if link.is_moving() {
            return self.close_link(now, id, NO_BETTER);
        }
        let (user, device) = (link.user.clone(), link.device.short());
        let detail = format!("{reason} ({user}, device {device})");
        self.out.warn(now, "session-timeout", detail);
        self.close_link(now, id, reason);
    }

    /// Closes a link from our side.
    pub(crate) fn close_link(&mut self, now: Now, id: LinkId, reason: &str) {
        if self.links.get(id).is_some() {
            self.out.command(id, RtcCommand::Close);
            self.end_link(now, id, reason);
        }
    }

    /// A call is over, whatever came of it.
    pub(crate) fn cancel_call_timers(&mut self, id: LinkId) {
        for timer in [Timer::Session(id), Timer::Redial(id), Timer::Candidates(id)] {
            self.timers.cancel(&timer);
        }
    }

    /// A link is gone: what was on it goes another way.
    pub(crate) fn end_link(&mut self, now: Now, id: LinkId, reason: &str) {
        let Some(link) = self.links.remove(id) else {
            return;
        };
        self.cancel_call_timers(id);
        self.timers.cancel(&Timer::Path(id));
        self.timers.cancel(&Timer::Route(id, link.device));
        self.dirty.remove(&id);
        if link.is_ready() && self.links.ready_to(link.device).is_none() {
            // What was to come beside it has to come without it.
            self.end_moves(now, link.device, reason);
        }
        let relayed = self.end_relays(&link);
        // One that is greeting follows on it: the other end, which has both HELLOs, let the old one
        // go. Or it ends as well.
        let goes_on = |other: &Link| !matches!(other.stage, Stage::Negotiating(_));
        if !self.links.of_user(&link.user).any(goes_on) {
            self.move_peer(now, &link.user, &[Move::Lose], reason);
        }
        self.on_link_ended(now, id, link.device, link.is_ready());
        self.take_deferred(now, &link);
        self.on_call_lost(now, &link);
        self.after_attempt(now, &link.user, reason);
        for user in relayed {
            self.after_attempt(now, &user, "the relay is gone");
        }
    }

    /// A link is gone: nothing goes through its peer. The users whose messages were on it.
    fn end_relays(&mut self, link: &Link) -> BTreeSet<Label> {
        let Some(ready) = link.ready() else {
            return BTreeSet::new();
        };
        if self.links.ready_to(link.device).is_none() {
            self.vias.forget_through(link.device);
        }
        for to in ready.relayed.keys() {
            self.timers.cancel(&Timer::Route(link.id, *to));
        }
        let out = |flow: &&Flow| !flow.in_flight.is_empty();
        let busy = ready.relayed.iter().filter(|(_, flow)| out(flow));
        let owner = |to: &DeviceFp| self.contacts.of_device(*to).map(|c| c.row.label.clone());
        busy.filter_map(|(to, _)| owner(to)).collect()
    }
}

impl PeerManager {
    /// Opens a link to a user without sending anything.
    pub(crate) fn on_connect(&mut self, now: Now, to: &Label) {
        let linked = self.links.of_user(to).any(|link| link.is_ready());
        if linked || *to == self.me.user_label {
            return;
        }
        self.peer(now, to).wanted = true;
        self.start_climb(now, to);
    }
}
