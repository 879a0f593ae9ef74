//! Queries of others: answered from what we hold ourselves, never handed on, and never with a no.

use crate::event::{Event, Fabric};
use crate::input::LinkId;
use crate::limits::FOUND_DEVICES_MAX;
use crate::manager::PeerManager;
use crate::routes::Route;
use crate::sought::Name;
use beeline_proto::id::{Label, SessionId, UserFp};
use beeline_proto::pb::peer::v1::peer_found::Found;
use beeline_proto::pb::peer::v1::peer_item::Kind;
use beeline_proto::pb::peer::v1::{PeerFound, PeerQuery};
use beeline_proto::time::Now;

impl PeerManager {
    /// A peer asks for a user.
    pub(crate) fn on_peer_query(&mut self, now: Now, id: LinkId, bytes: &[u8]) {
        if !self.talks.may_be_asked(id, now.mono_ms) {
            return self.out.counters.count("too-many-queries");
        }
        let query = self.open_on_link::<PeerQuery>(now, id, bytes, "query-refused");
        let Some(query) = query else {
            return;
        };
        let payload = query.payload();
        let Ok(request) = <[u8; 16]>::try_from(payload.request_id.as_slice()) else {
            return self.out.counters.count("query-unfitting");
        };
        if !self.talks.is_new(id, request) {
            return self.out.counters.count("query-again");
        }
        self.note_sought(id, payload);
        if planted!(QueryPassedOn)
            && let Ok(label) = Label::new(&payload.looking_for_id)
        {
            self.ask_peers(now, &label, crate::event::Rung::Peers);
        }
        // One that names the fingerprint holds a chain of the user already.
        let pinned = !payload.looking_for.is_empty();
        if let Some(label) = self.sought(payload) {
            self.answer_query(now, id, &label, request, pinned);
        }
    }

    /// Remembers who asks for somebody that is not linked to us.
    fn note_sought(&mut self, id: LinkId, query: &PeerQuery) {
        let name = match query.looking_for.as_slice() {
            [] => Label::new(&query.looking_for_id).ok().map(Name::Label),
            user => UserFp::try_from(user).ok().map(Name::User),
        };
        let label = match &name {
            Some(Name::Label(label)) => Some(label),
            Some(Name::User(user)) => self.contacts.label_of_user(*user),
            None => return,
        };
        let open = |label: &Label| self.links.of_user(label).any(|link| link.is_ready());
        let linked = label.is_some_and(open);
        if let Some(name) = name.filter(|_| !linked) {
            self.sought.note(name, id);
        }
    }

    /// The user a query is for, if it may be told of.
    fn sought(&self, query: &PeerQuery) -> Option<Label> {
        let label = match query.looking_for.as_slice() {
            [] => Label::new(&query.looking_for_id).ok()?,
            user => {
                let user = UserFp::try_from(user).ok()?;
                self.contacts.label_of_user(user)?.clone()
            }
        };
        let contact = self.contacts.get(&label)?;
        let good = !contact.is_blocked() && self.me.admits(&contact.chain).is_ok();
        good.then_some(label)
    }

    /// Names up to three devices of a user, those connected to us first, as far as the bytes the
    /// link has sent allow.
    fn answer_query(
        &mut self,
        now: Now,
        id: LinkId,
        label: &Label,
        request: [u8; 16],
        pinned: bool,
    ) {
        let Some(link) = self.links.get(id) else {
            return;
        };
        let (device, session) = (link.device, link.session);
        let Some(contact) = self.contacts.get(label) else {
            return;
        };
        let open_to = |route: &Route| self.links.ready_to(route.row.device).is_some();
        let may_name = |route: &&Route| {
            (!route.unlisted || planted!(UnlistedNamed))
                && contact.device(route.row.device).is_some()
        };
        let mut routes: Vec<(bool, &Route)> = self
            .routes
            .of_user(label)
            .filter(may_name)
            .map(|route| (open_to(route), route))
            .filter(|(open, route)| *open || route.is_fresh(now.wall_ms))
            .collect();
        routes.sort_by_key(|(open, route)| (!open, std::cmp::Reverse(route.row.seen_ms)));
        routes.truncate(FOUND_DEVICES_MAX);
        let Some((first_open, first)) = routes.first().copied() else {
            return;
        };
        let found = PeerFound {
            context: None,
            request_id: request.to_vec(),
            user_id: label.to_string(),
            signal_addr: first.row.signal_addr.clone(),
            can_relay: self.me.config.can_relay && first_open,
            devices: routes
                .iter()
                .map(|(open, r)| say_found(now, *open, r))
                .collect(),
            chain: contact.chain.to_bytes(),
        };
        self.say_found(id, (device.0, session), found, pinned);
    }

    /// Sends the most that the link's credit allows: all of it, then without the chain for one who
    /// holds it, then fewer devices.
    fn say_found(
        &mut self,
        id: LinkId,
        to: ([u8; 32], SessionId),
        mut found: PeerFound,
        pinned: bool,
    ) {
        let credit = self.talks.credit(id);
        loop {
            let device = beeline_proto::id::DeviceFp(to.0);
            found.context = self.me.context_on(self.crypto.as_mut(), device, to.1);
            let len = prost::Message::encoded_len(&found) + ENVELOPE_LEN;
            if len as u64 <= credit {
                break;
            }
            if pinned && !found.chain.is_empty() {
                found.chain.clear();
            } else if found.devices.len() > 1 {
                found.devices.pop();
            } else {
                return self.out.counters.count("query-beyond-credit");
            }
        }
        let envelope = self.me.sign(self.crypto.as_mut(), &found);
        let len = envelope.len();
        if self.say(id, Kind::PeerFound(envelope)) {
            self.talks.answered(id, len);
            let peer = self.links.get(id).map(|link| link.user.clone());
            if let Some((peer, user)) = peer.zip(Label::new(&found.user_id).ok()) {
                self.out
                    .event(Event::Fabric(Fabric::Answered { peer, user }));
            }
        }
    }
}

/// Bytes an envelope and its place in a frame add to a payload.
const ENVELOPE_LEN: usize = 120;

fn say_found(now: Now, connected: bool, route: &Route) -> Found {
    let seen_ms = now.wall_ms.saturating_sub(route.row.seen_ms);
    Found {
        record: route.row.record.clone(),
        connected,
        seen_ms_ago: if connected { 0 } else { seen_ms },
    }
}
