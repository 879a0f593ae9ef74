//! Coordinators: members of that role that stay up, and what is known of each. Clients keep links
//! to two of them, chosen by load and by chance; `tending` does the keeping.

use crate::crypto::random_u64;
use crate::event::Rung;
use crate::input::{RegistryCoordinator, SocketId};
use crate::limits::{
    COORDINATOR_FULL_MS, COORDINATOR_LINKS, COORDINATOR_RETRY_MS_MAX, COORDINATOR_SOCKETS,
    COORDINATORS_DIALLED_MAX, COORDINATORS_LISTED_MAX, COORDINATORS_MAX, LIST_COORDINATORS_MS_MAX,
    LIST_COORDINATORS_MS_MIN,
};
use crate::manager::PeerManager;
use crate::output::RegistryCall;
use crate::outputs::Request;
use beeline_proto::envelope::split;
use beeline_proto::id::{DeviceFp, Label};
use beeline_proto::keys::VerifyKey;
use beeline_proto::limits::COORDINATORS_NAMED_MAX;
use beeline_proto::origin::normalize;
use beeline_proto::pb::identity::v1::Role;
use beeline_proto::time::Now;
use std::collections::BTreeMap;

/// How one coordinator stands with us.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Standing {
    /// Links in use and links taken at most, as last heard; (0, 0) before.
    pub(crate) load: (u32, u32),
    /// The registry lists it.
    pub(crate) acts: bool,
    /// Tries in a row that came to nothing.
    pub(crate) failures: u32,
    /// When the last try began, monotonic milliseconds.
    pub(crate) tried_ms: u64,
    /// Until when it is passed over, monotonic milliseconds.
    pub(crate) avoid_until_ms: u64,
}

/// A socket of ours at a coordinator.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OwnSocket {
    pub(crate) device: DeviceFp,
    pub(crate) up: bool,
    /// When it was asked for, monotonic milliseconds.
    pub(crate) since_ms: u64,
}

/// All coordinators we deal with.
#[derive(Debug, Default)]
pub(crate) struct Coordinators {
    standing: BTreeMap<DeviceFp, Standing>,
    pub(crate) sockets: BTreeMap<SocketId, OwnSocket>,
    /// When the registry may be asked for them again, monotonic milliseconds.
    pub(crate) list_ms: u64,
    /// How often it was asked since the wanted links were there.
    lists: u32,
    /// deviceIds named in the last announce.
    pub(crate) named: Vec<Label>,
    /// From when on they are dialled whether or not the gateway is there, monotonic milliseconds.
    pub(crate) ready_ms: u64,
}

impl Coordinators {
    pub(crate) fn get(&self, device: DeviceFp) -> Standing {
        self.standing.get(&device).copied().unwrap_or_default()
    }

    /// The standing of a coordinator, to change.
    pub(crate) fn standing(&mut self, device: DeviceFp) -> &mut Standing {
        if self.standing.len() >= COORDINATORS_MAX && !self.standing.contains_key(&device) {
            let oldest = self.standing.iter().min_by_key(|(_, s)| s.tried_ms);
            if let Some(oldest) = oldest.map(|(device, _)| *device) {
                self.standing.remove(&oldest);
            }
        }
        self.standing.entry(device).or_default()
    }

    /// Our socket at a coordinator.
    pub(crate) fn socket_at(&self, device: DeviceFp) -> Option<(SocketId, OwnSocket)> {
        let of_it = self.sockets.iter().find(|(_, own)| own.device == device);
        of_it.map(|(socket, own)| (*socket, *own))
    }

    /// A number for another socket.
    pub(crate) fn free_socket(&self) -> Option<SocketId> {
        let mut numbers = (1..=COORDINATOR_SOCKETS).map(SocketId);
        numbers.find(|number| !self.sockets.contains_key(number))
    }

    /// A try came to nothing: the next one has to wait, longer each time.
    pub(crate) fn fail(&mut self, device: DeviceFp, now_ms: u64, random: u64) {
        let standing = self.standing(device);
        let pause_ms = crate::backoff::pause_ms(standing.failures, random);
        standing.failures = standing.failures.saturating_add(1);
        let until_ms = now_ms + pause_ms.min(COORDINATOR_RETRY_MS_MAX);
        standing.avoid_until_ms = standing.avoid_until_ms.max(until_ms);
    }

    /// On another network all of them may be reached.
    pub(crate) fn forgive(&mut self) {
        for standing in self.standing.values_mut() {
            (standing.failures, standing.avoid_until_ms) = (0, 0);
        }
    }

    /// It takes no more links for now.
    pub(crate) fn note_full(&mut self, device: DeviceFp, now_ms: u64) {
        self.standing(device).avoid_until_ms = now_ms + COORDINATOR_FULL_MS;
    }

    /// How many are remembered.
    pub(crate) fn len(&self) -> usize {
        self.standing.len()
    }
}

impl PeerManager {
    /// Whether a device is a coordinator: its user's membership has the role, and its record says
    /// where it is reached. An administrator's device at a gateway is one only if it acts as one.
    pub(crate) fn is_coordinator(&self, device: DeviceFp) -> bool {
        let route = self.routes.get(device).filter(|route| route.coordinator);
        let Some(route) = route.filter(|route| !route.row.signal_addr.is_empty()) else {
            return false;
        };
        let contact = self.contacts.of_device(device);
        match contact.map(|contact| contact.chain.membership.role()) {
            Some(Role::Coordinator) => true,
            Some(Role::Admin) => {
                self.coordinators.get(device).acts || !self.is_at_gateway(&route.row.signal_addr)
            }
            _ => false,
        }
    }

    /// Whether an address is a gateway's: a socket of ours is there already.
    pub(crate) fn is_at_gateway(&self, addr: &str) -> bool {
        let descriptor = self.me.chain.descriptor.verified.payload();
        let origin = normalize(addr);
        let mut gateways = descriptor.gateway_origins.iter();
        gateways.any(|gateway| normalize(gateway) == origin)
    }

    /// The coordinators known, in order.
    pub(crate) fn known_coordinators(&self) -> Vec<DeviceFp> {
        let devices = self.routes.coordinators();
        devices
            .filter(|device| self.is_coordinator(*device))
            .collect()
    }

    /// Whether the link to a coordinator is open.
    pub(crate) fn is_linked(&self, device: DeviceFp) -> bool {
        self.links.ready_to(device).is_some()
    }

    /// The user of a device, and the device's own label.
    pub(crate) fn labels_of(&self, device: DeviceFp) -> Option<(Label, Label)> {
        let contact = self.contacts.of_device(device)?;
        let label = contact.device(device)?.label.clone();
        Some((contact.row.label.clone(), label))
    }

    /// Which of `candidates` to link with next: two by chance, the less loaded of them.
    pub(crate) fn choose_coordinator(&mut self, candidates: &[DeviceFp]) -> Option<DeviceFp> {
        let count = candidates.len() as u64;
        if count == 0 {
            return None;
        }
        let random = random_u64(self.crypto.as_mut());
        let first = (random % count) as usize;
        let second = ((random >> 32) % count) as usize;
        let (first, second) = (candidates[first], candidates[second]);
        let less = self.crowding(first) <= self.crowding(second);
        Some(if less { first } else { second })
    }

    /// Links in use of a thousand; a coordinator not heard of counts as half full.
    fn crowding(&self, device: DeviceFp) -> u64 {
        let (load, capacity) = self.coordinators.get(device).load;
        match capacity {
            0 => 500,
            capacity => u64::from(load) * 1_000 / u64::from(capacity),
        }
    }

    /// Asks the coordinators we have links to for a user, and dials others, over whose links it is
    /// asked for once they are open; whether either was tried.
    pub(crate) fn ask_coordinators(&mut self, now: Now, label: &Label) -> bool {
        let mut tried = false;
        let mut others = Vec::new();
        for device in self.known_coordinators() {
            if let Some(id) = self.links.ready_to(device) {
                tried |= self.ask_over(now, label, id, Rung::Coordinators);
            } else if self.may_start(now, device) {
                others.push(device);
            }
        }
        for _ in 0..COORDINATORS_DIALLED_MAX {
            let Some(device) = self.choose_coordinator(&others) else {
                break;
            };
            others.retain(|other| *other != device);
            tried |= self.start_coordinator(now, device);
        }
        tried
    }

    /// The registry names coordinators a user was last linked to: they are asked, or dialled.
    pub(crate) fn ask_last_coordinators(&mut self, now: Now, label: &Label, names: &[String]) {
        for device in self.known_coordinators() {
            let Some((_, name)) = self.labels_of(device) else {
                continue;
            };
            let mut named = names.iter().take(COORDINATORS_NAMED_MAX);
            if !named.any(|said| said == name.as_str()) {
                continue;
            }
            if let Some(id) = self.links.ready_to(device) {
                self.ask_over(now, label, id, Rung::Registry);
            } else if self.may_start(now, device) {
                self.start_coordinator(now, device);
            }
        }
    }

    /// Asks the registry for coordinators while too few are linked, less and less often.
    pub(crate) fn list_coordinators(&mut self, now: Now) {
        let known = self.known_coordinators();
        let linked = known.iter().filter(|device| self.is_linked(**device));
        if linked.count() >= COORDINATOR_LINKS {
            self.coordinators.lists = 0;
            return;
        }
        let early = self.coordinators.list_ms > now.mono_ms;
        if early || !self.presence.online || self.out.asking(&Request::Coordinators) {
            return;
        }
        let random = random_u64(self.crypto.as_mut());
        let doubling = crate::backoff::pause_ms(self.coordinators.lists, random);
        let pause_ms = (LIST_COORDINATORS_MS_MIN * doubling / 1_000).min(LIST_COORDINATORS_MS_MAX);
        self.coordinators.lists = self.coordinators.lists.saturating_add(1);
        self.coordinators.list_ms = now.mono_ms + pause_ms;
        self.out
            .ask(RegistryCall::ListCoordinators, Request::Coordinators);
    }

    /// The registry's list: what of it is signed is believed, and how loaded they are.
    pub(crate) fn on_coordinators_listed(&mut self, now: Now, listed: &[RegistryCoordinator]) {
        for one in listed.iter().take(COORDINATORS_LISTED_MAX) {
            let signer = split(&one.record).ok().map(|raw| raw.signer_key);
            let signer = signer.and_then(|key| VerifyKey::from_bytes(key).ok());
            if signer.is_some_and(|key| key.device_fp() == self.me.device) {
                continue;
            }
            let Some(label) = self.see_chain(now, &one.chain) else {
                continue;
            };
            let Some(device) = self.learn_record(now, &label, &one.record, Rung::Registry) else {
                continue;
            };
            self.note_load(device, (one.load, one.capacity));
            self.coordinators.standing(device).acts = true;
        }
        self.tend_soon(now, 1);
    }

    /// A coordinator's load, from itself or from the registry.
    pub(crate) fn note_load(&mut self, device: DeviceFp, load: (u32, u32)) {
        if self
            .routes
            .get(device)
            .is_some_and(|route| route.coordinator)
        {
            self.coordinators.standing(device).load = load;
        }
    }

    /// deviceIds of the coordinators we are linked to, to be named in an announce.
    pub(crate) fn coordinators_named(&self) -> Vec<Label> {
        let known = self.known_coordinators().into_iter();
        let linked = known.filter(|device| self.is_linked(*device));
        let labels = linked.filter_map(|device| self.labels_of(device));
        labels
            .map(|(_, device)| device)
            .take(COORDINATORS_NAMED_MAX)
            .collect()
    }
}
