//! Queries of ours: connected peers are asked for a user. What they answer is a hint: it adds
//! routes and ways, and never stops a ladder.

use crate::crypto::random_id;
use crate::event::{Event, Fabric, Rung};
use crate::input::LinkId;
use crate::limits::{
    FOUND_DEVICES_MAX, FOUND_LEN_MAX, QUERIES_MAX, QUERIES_ON_LINK_MAX, QUERY_MS, QUERY_PEERS_MAX,
};
use crate::link::Link;
use crate::manager::PeerManager;
use crate::timer::Timer;
use beeline_proto::id::{DeviceFp, Label};
use beeline_proto::pb::peer::v1::peer_item::Kind;
use beeline_proto::pb::peer::v1::{PeerFound, PeerQuery};
use beeline_proto::time::Now;
use std::collections::{BTreeMap, BTreeSet};

/// One question to one peer.
#[derive(Debug, Clone, Copy)]
struct Asked {
    request: [u8; 16],
    link: LinkId,
    rung: Rung,
    until_ms: u64,
    /// Not answered yet.
    open: bool,
}

/// All questions of the last moments, by the user they are for and the device asked.
#[derive(Debug, Default)]
pub(crate) struct Queries {
    by_user: BTreeMap<Label, BTreeMap<DeviceFp, Asked>>,
    open: BTreeMap<[u8; 16], (Label, DeviceFp)>,
}

impl Queries {
    /// Whether an answer for a user may still come.
    pub(crate) fn is_open(&self, user: &Label) -> bool {
        let asked = self.by_user.get(user).into_iter().flatten();
        asked.into_iter().any(|(_, asked)| asked.open)
    }

    /// Whether a device was asked for a user a moment ago.
    pub(crate) fn was_asked(&self, user: &Label, device: DeviceFp) -> bool {
        self.by_user
            .get(user)
            .is_some_and(|asked| asked.contains_key(&device))
    }

    /// How many are open.
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    fn insert(&mut self, user: &Label, device: DeviceFp, asked: Asked) {
        self.open.insert(asked.request, (user.clone(), device));
        let of_user = self.by_user.entry(user.clone()).or_default();
        of_user.insert(device, asked);
    }

    /// Takes the answer to a question asked on this link, once: for whom, and on which rung.
    fn answered(&mut self, request: [u8; 16], link: LinkId) -> Option<(Label, Rung)> {
        let (user, device) = self.open.get(&request)?.clone();
        let asked = self.by_user.get_mut(&user)?.get_mut(&device)?;
        if asked.link != link {
            return None;
        }
        asked.open = false;
        let rung = asked.rung;
        self.open.remove(&request);
        Some((user, rung))
    }

    /// Forgets what is over for a user; when the next question is, if any is left.
    fn expire(&mut self, user: &Label, now_ms: u64) -> Option<u64> {
        let of_user = self.by_user.get_mut(user)?;
        let open = &mut self.open;
        of_user.retain(|_, asked| {
            let over = asked.until_ms <= now_ms;
            if over {
                open.remove(&asked.request);
            }
            !over
        });
        let next = of_user.values().map(|asked| asked.until_ms).min();
        if next.is_none() {
            self.by_user.remove(user);
        }
        next
    }
}

/// An answer nobody asked for is for nobody.
fn unasked(found: &PeerFound) -> Option<(Label, Rung)> {
    let label = Label::new(&found.user_id).ok();
    label
        .filter(|_| planted!(FoundUnasked))
        .map(|label| (label, Rung::Peers))
}

impl PeerManager {
    /// Whether an answer about a user may still come.
    pub(crate) fn is_querying(&self, label: &Label) -> bool {
        self.queries.is_open(label)
    }

    /// Asks the best few connected peers for a user; whether any was asked.
    pub(crate) fn ask_peers(&mut self, now: Now, label: &Label, rung: Rung) -> bool {
        let mut tried = false;
        for id in self.best_to_ask(now, label) {
            tried |= self.ask_over(now, label, id, rung);
        }
        tried
    }

    /// Coordinators first, then peers said to be connected to the user, then those that answer
    /// fastest; never the user itself.
    fn best_to_ask(&self, now: Now, label: &Label) -> Vec<LinkId> {
        let contact = self.contacts.get(label);
        let devices = contact.map(|contact| contact.chain.devices.devices.iter());
        let through: BTreeSet<DeviceFp> = devices
            .into_iter()
            .flatten()
            .flat_map(|device| self.vias.usable(device.fp(), now.mono_ms))
            .map(|(through, _)| through)
            .collect();
        let rank = |link: &Link| {
            let coordinator = self.is_coordinator(link.device);
            let near = through.contains(&link.device);
            let rtt_ms = link.rtt_ms().unwrap_or(u64::MAX);
            (!coordinator, !near, rtt_ms, link.id)
        };
        let may = |link: &&Link| {
            link.is_ready() && link.user != *label && !self.queries.was_asked(label, link.device)
        };
        let known = self.known_coordinators();
        let first: BTreeSet<DeviceFp> = known.into_iter().chain(through.iter().copied()).collect();
        let first = first.into_iter().filter_map(|d| self.links.ready_to(d));
        let first = first.filter_map(|id| self.links.get(id)).filter(may);
        let mut best: Vec<_> = first.map(rank).collect();
        // Only where these are too few are all links looked at.
        if best.len() < QUERY_PEERS_MAX {
            best = self.links.by_id.values().filter(may).map(rank).collect();
        }
        best.sort_unstable();
        best.truncate(QUERY_PEERS_MAX);
        best.into_iter().map(|(.., id)| id).collect()
    }

    /// Asks the peer at the other end of a link for a user; whether it was asked.
    pub(crate) fn ask_over(&mut self, now: Now, label: &Label, id: LinkId, rung: Rung) -> bool {
        let Some(link) = self.links.get(id).filter(|link| link.is_ready()) else {
            return false;
        };
        let (device, session) = (link.device, link.session);
        let fit = link.user != *label && !self.queries.was_asked(label, device);
        if !fit || self.queries.len() >= QUERIES_MAX || !self.talks.may_ask(id, now.mono_ms) {
            return false;
        }
        let user = self.contacts.get(label).map(|contact| contact.row.user);
        let request = random_id(self.crypto.as_mut());
        let query = PeerQuery {
            context: self.me.context_on(self.crypto.as_mut(), device, session),
            looking_for: user.map(|user| user.to_vec()).unwrap_or_default(),
            looking_for_id: match user {
                Some(_) => String::new(),
                None => label.to_string(),
            },
            request_id: request.to_vec(),
        };
        let envelope = self.me.sign(self.crypto.as_mut(), &query);
        if !self.say(id, Kind::PeerQuery(envelope)) {
            return false;
        }
        let until_ms = now.mono_ms + QUERY_MS;
        let asked = Asked {
            request,
            link: id,
            rung,
            until_ms,
            open: true,
        };
        self.queries.insert(label, device, asked);
        if let Some(peer) = self.links.get(id).map(|link| link.user.clone()) {
            let user = label.clone();
            self.out.event(Event::Fabric(Fabric::Asked { peer, user }));
        }
        self.timers
            .arm_if_idle(Timer::Query(label.clone()), until_ms);
        true
    }

    /// Questions for a user are old: who did not answer will not.
    pub(crate) fn on_query_timeout(&mut self, now: Now, label: &Label) {
        if let Some(at_ms) = self.queries.expire(label, now.mono_ms) {
            self.timers.arm(Timer::Query(label.clone()), at_ms);
        }
        self.climb(now, label);
    }

    /// A link is open: those whom nobody has a way to are asked for over it, a few.
    pub(crate) fn ask_for_waiting(&mut self, now: Now, id: LinkId, rung: Rung) {
        let mut asked = 0;
        for label in self.outbox.recipients() {
            if asked >= QUERIES_ON_LINK_MAX {
                return;
            }
            let linked = self.links.of_user(&label).any(|link| link.is_ready());
            if linked || self.is_blocked(&label) || !self.outbox.has_waiting(&label) {
                continue;
            }
            let climbing = self.peers.get(&label).is_some_and(|p| p.ladder.is_some());
            if climbing {
                asked += usize::from(self.ask_over(now, &label, id, rung));
            } else {
                asked += 1;
                self.start_climb(now, &label);
            }
        }
    }

    /// A peer answered.
    pub(crate) fn on_peer_found_item(&mut self, now: Now, id: LinkId, bytes: &[u8]) {
        if bytes.len() > FOUND_LEN_MAX {
            return self.out.counters.count("found-too-large");
        }
        let found = self.open_on_link::<PeerFound>(now, id, bytes, "found-refused");
        let Some(found) = found else {
            return;
        };
        let payload = found.payload();
        let request: Option<[u8; 16]> = payload.request_id.as_slice().try_into().ok();
        let asked = request.and_then(|r| self.queries.answered(r, id));
        let Some((label, rung)) = asked.or_else(|| unasked(payload)) else {
            return self.out.counters.count("found-without-query");
        };
        self.take_found(now, id, &label, rung, payload);
        if planted!(FoundStopsLadder) {
            return self.stop_climb(now, &label);
        }
        self.climb(now, &label);
    }

    fn tell_found(&mut self, id: LinkId, label: &Label, found: &PeerFound) {
        let Some(peer) = self.links.get(id).map(|link| link.user.clone()) else {
            return;
        };
        let first = self.routes.of_user(label).next();
        self.out.event(Event::Fabric(Fabric::Found {
            peer,
            user: label.clone(),
            signal_addr: first.map_or(String::new(), |route| route.row.signal_addr.clone()),
            can_relay: found.can_relay,
        }));
    }

    /// Takes what an answer says of a user, as far as it is signed by that user.
    fn take_found(&mut self, now: Now, id: LinkId, label: &Label, rung: Rung, found: &PeerFound) {
        let named = found.devices.len();
        if !(1..=FOUND_DEVICES_MAX).contains(&named) || found.user_id != label.as_str() {
            return self.out.counters.count("found-unfitting");
        }
        let Some(through) = self.links.get(id).map(|link| link.device) else {
            return;
        };
        // Without a chain the answer is for a user whose chain we told to know.
        let seen = match found.chain.as_slice() {
            [] => self.contacts.get(label).map(|c| c.row.label.clone()),
            chain => self.see_chain(now, chain),
        };
        if seen.as_ref() != Some(label) {
            if let Some(other) = seen {
                let detail = format!("asked for {label}, a peer answered with {other}");
                self.out.warn(now, "wrong-user", detail);
            }
            return;
        }
        for device in &found.devices {
            let Some(known) = self.learn_record(now, label, &device.record, rung) else {
                continue;
            };
            if device.connected {
                self.vias.learn(known, through, rung, true, now.mono_ms);
            }
        }
        if self.routes.of_user(label).next().is_none() {
            return;
        }
        self.tell_found(id, label, found);
        self.seal_and_write(label);
        self.dial_routes(now, label, rung);
        self.pump_user(now, label);
    }
}
