//! Pictures of the manager for `status`, `peers` and `routes`.

use crate::event::REMOVED;
use crate::limits::{
    ACK_DEVICES_MAX, COLLECT_SETTLED_MAX, CONTACTS_MAX, COORDINATORS_MAX, CUSTODIAN_PAIRS_MAX,
    CUSTODIANS_MAX, CUSTODIANS_REMEMBERED_MAX, EARLY_CANDIDATES_MAX, HEARD_MAX, HELD_TOTAL_MAX,
    KEEP_DEPOSITORS_MAX, KEEP_IN_FLIGHT_MAX, KEEP_PAIRS_MAX, LINKS_MAX, NEIGHBOURS_MAX, OUTBOX_MAX,
    PARCELS_SEEN_MAX, PEERS_MAX, QUERIES_MAX, READS_WAITING_MAX, RECEIVE_PENDING_MAX,
    RELAY_PAIRS_MAX, REQUESTS_MAX, ROUTES_MAX, SESSIONS_SEEN_MAX, SETTLED_MAX, SOON_MAX,
    SOUGHT_PER_LINK_MAX, STREAMS_MAX, TIMERS_MAX, VIAS_MAX, VISIT_COORDINATORS_MAX,
};
use crate::link::Link;
use crate::manager::PeerManager;
use crate::status::{CoordinatorInfo, Fill, LinkInfo, PeerInfo, RouteInfo, Status};
use crate::timer::Timer;
use beeline_proto::id::Label;
use beeline_proto::time::Now;
use std::collections::BTreeSet;

/// A number as one of things in memory.
fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

impl PeerManager {
    /// The whole, in numbers, at `now`.
    pub fn status(&self, now: Now) -> Status {
        let versions = self.me.versions();
        let open = self
            .links
            .by_id
            .values()
            .filter(|link| link.is_ready())
            .count();
        let announce = self.timers.when(&Timer::Announce);
        Status {
            user_label: self.me.user_label.clone(),
            device_label: self.me.device_label.clone(),
            user: self.me.user,
            device: self.me.device,
            online: self.presence.online,
            removed: self.me.is_removed().then_some(REMOVED),
            socket_up: self.presence.gateway_up(),
            announce_in_ms: announce.map(|at_ms| at_ms.saturating_sub(now.mono_ms)),
            links_open: open,
            links_pending: self.links.by_id.len() - open,
            outbox: self.outbox.len(),
            held: self.inbox.streams.held_total(),
            contacts: self.contacts.len(),
            routes: self.routes.len(),
            descriptor_version: versions.descriptor,
            revocations_version: versions.revocations,
            device_list_version: versions.device_list,
            membership_expires_ms: self.me.chain.membership.verified.payload().expires_ms,
            bundle_made_ms: self.bundles.newest().map_or(0, |row| row.made_ms),
            coordinators: self.coordinator_infos(),
            keeps: self.me.config.can_store,
            kept: self.keeping.total(),
            kept_max: self.me.config.keep.total,
            refused: self.out.counters.all(),
        }
    }

    fn coordinator_infos(&self) -> Vec<CoordinatorInfo> {
        let info = |device| {
            let (user_label, device_label) = self.labels_of(device)?;
            let (load, capacity) = self.coordinators.get(device).load;
            let socket = self.coordinators.socket_at(device);
            Some(CoordinatorInfo {
                user_label,
                device_label,
                linked: self.is_linked(device),
                socket_up: socket.is_some_and(|(_, own)| own.up),
                load,
                capacity,
            })
        };
        let known = self.known_coordinators().into_iter();
        known.filter_map(info).collect()
    }

    /// How full the bounded collections are: none is ever beyond its bound.
    pub fn fill(&self) -> Vec<Fill> {
        let fill = |what, len, max| Fill { what, len, max };
        let (now, most) = (self.keeping.total(), self.me.config.keep.total);
        let of = |now, most| (count(now), count(most));
        let (kept, bytes) = (of(now.parcels, most.parcels), of(now.bytes, most.bytes));
        vec![
            fill("outbox", self.outbox.len(), OUTBOX_MAX),
            fill("settled", self.outbox.settled_len(), SETTLED_MAX),
            fill("reads", self.reads.len(), READS_WAITING_MAX),
            fill("contacts", self.contacts.len(), CONTACTS_MAX),
            fill("routes", self.routes.len(), ROUTES_MAX),
            fill("peers", self.peers.len(), PEERS_MAX),
            fill("links", self.links.by_id.len(), LINKS_MAX),
            fill("sessions", self.sessions_seen.len(), SESSIONS_SEEN_MAX),
            fill("parcels", self.parcels_seen.len(), PARCELS_SEEN_MAX),
            fill("nacked", self.nacked.len(), PARCELS_SEEN_MAX),
            fill("early", self.early.len(), EARLY_CANDIDATES_MAX + LINKS_MAX),
            fill("neighbours", self.neighbours.len().0, NEIGHBOURS_MAX),
            fill("heard", self.neighbours.len().1, HEARD_MAX),
            fill("soon", self.links.soon.len(), SOON_MAX),
            fill("sought", self.sought.len(), SOUGHT_PER_LINK_MAX * LINKS_MAX),
            fill("coordinators", self.coordinators.len(), COORDINATORS_MAX),
            fill("talks", self.talks.len(), LINKS_MAX),
            fill("queries", self.queries.len(), QUERIES_MAX),
            fill("acks", self.acks.len(), ACK_DEVICES_MAX),
            fill("vias", self.vias.len(), VIAS_MAX),
            fill("placing", self.placing.len(), OUTBOX_MAX),
            fill(
                "custodians",
                self.placing.custodians.len().0,
                CUSTODIANS_REMEMBERED_MAX,
            ),
            fill("full", self.placing.custodians.len().1, CUSTODIAN_PAIRS_MAX),
            fill("carried", self.carried.len(), RELAY_PAIRS_MAX),
            fill("deposits", self.keeping.in_flight, KEEP_IN_FLIGHT_MAX),
            fill("kept", kept.0, kept.1),
            fill("kept-bytes", bytes.0, bytes.1),
            fill("kept-pairs", self.keeping.len().0, KEEP_PAIRS_MAX),
            fill("depositors", self.keeping.len().1, KEEP_DEPOSITORS_MAX),
            fill("pages", self.pages.len(), LINKS_MAX),
            fill("collected", self.collected.len().0, LINKS_MAX),
            fill(
                "settled-kept",
                self.collected.len().1,
                COLLECT_SETTLED_MAX * LINKS_MAX,
            ),
            fill(
                "visits",
                self.visits.len(),
                CUSTODIANS_MAX + VISIT_COORDINATORS_MAX,
            ),
            fill("arrived", self.inbox.len(), RECEIVE_PENDING_MAX),
            fill("requests", self.out.requests_open(), REQUESTS_MAX + 5),
            fill("timers", self.timers.len(), TIMERS_MAX),
            fill("streams", self.inbox.streams.len(), STREAMS_MAX),
            fill("held", self.inbox.streams.held_total(), HELD_TOTAL_MAX),
        ]
    }

    /// How often somebody was searched for to keep a parcel: the work of it grows with the network.
    #[cfg(feature = "testing")]
    pub fn searches(&self) -> u64 {
        self.placing.searches
    }

    /// The users we deal with, by label.
    pub fn peers(&self, now: Now) -> Vec<PeerInfo> {
        let mut labels: BTreeSet<&Label> = self.peers.keys().collect();
        labels.extend(self.contacts.iter().map(|contact| &contact.row.label));
        labels
            .into_iter()
            .map(|label| self.peer_info(now, label))
            .collect()
    }

    fn peer_info(&self, now: Now, label: &Label) -> PeerInfo {
        let contact = self.contacts.get(label);
        let retry = self.timers.when(&Timer::Retry(label.clone()));
        let links = self
            .links
            .of_user(label)
            .filter_map(|link| link_info(now, link));
        PeerInfo {
            label: label.clone(),
            user: contact.map(|contact| contact.row.user),
            state: self
                .peers
                .get(label)
                .map_or(crate::event::PeerState::Disconnected, |p| p.state),
            verified: contact.is_some_and(|contact| contact.row.verified),
            blocked: contact.is_some_and(|contact| contact.is_blocked()),
            devices: contact.map_or(0, |contact| contact.chain.devices.devices.len()),
            links: links.collect(),
            vias: self.vias_to(now, label),
            waiting: self.outbox.count_for(label),
            retry_in_ms: retry.map(|at_ms| at_ms.saturating_sub(now.mono_ms)),
        }
    }

    fn vias_to(&self, now: Now, label: &Label) -> usize {
        let contact = self.contacts.get(label);
        let devices = contact.map(|contact| contact.chain.devices.devices.iter());
        let devices = devices.into_iter().flatten();
        devices
            .map(|device| self.vias.usable(device.fp(), now.mono_ms).len())
            .sum()
    }

    /// The routes known, by label and device.
    pub fn routes(&self, now: Now) -> Vec<RouteInfo> {
        let mut routes: Vec<RouteInfo> = self
            .routes
            .iter()
            .map(|route| RouteInfo {
                user_label: route.row.user_label.clone(),
                device: route.row.device,
                signal_addr: route.row.signal_addr.clone(),
                found_by: route.row.found_by,
                connected_ms: route.row.connected_ms,
                seen_ms: route.row.seen_ms,
                fresh: route.is_fresh(now.wall_ms),
                demoted: route.is_demoted(now.wall_ms),
            })
            .collect();
        routes.sort_by(|a, b| (&a.user_label, a.device).cmp(&(&b.user_label, b.device)));
        routes
    }
}

fn link_info(now: Now, link: &Link) -> Option<LinkInfo> {
    let ready = link.ready()?;
    Some(LinkInfo {
        id: link.id,
        device: link.device,
        device_label: link.device_label.clone(),
        found_by: link.found_by,
        rtt_ms: ready.direct.rtt_ms,
        open_ms: now.mono_ms.saturating_sub(ready.since_ms),
    })
}
