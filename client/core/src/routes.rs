//! Routes: what is known of each device, from its own signed record, and how it was found.

use crate::contacts::Contact;
use crate::event::Rung;
use crate::limits::{ROUTE_DEMOTED_MS, ROUTE_FRESH_MS, ROUTE_KEPT_MS, ROUTES_MAX};
use crate::state::RouteRow;
use beeline_proto::chain::Device;
use beeline_proto::envelope::{Expect, OpenError, Verified, open, split};
use beeline_proto::id::{DeviceFp, KeyId, Label, NetworkFp, UserFp, sha256};
use beeline_proto::keys::SealPublic;
use beeline_proto::limits::ORIGIN_LEN_MAX;
use beeline_proto::pb::identity::v1::{Bundle, DeviceRecord, Role};
use beeline_proto::time::Now;
use std::collections::{BTreeMap, BTreeSet};

/// A key that MESSAGE parcels for a device are sealed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SealKey {
    pub(crate) made_ms: u64,
    pub(crate) id: KeyId,
    pub(crate) key: SealPublic,
}

/// Reads a bundle's envelope; it must be signed by `device`.
pub(crate) fn read_bundle(
    bytes: &[u8],
    network: NetworkFp,
    device: DeviceFp,
) -> Result<SealKey, OpenError> {
    let audiences = [network.0];
    let expect = Expect::new(network, &audiences).signer(device.0);
    let bundle: Verified<Bundle> = open(bytes, &expect)?;
    let bundle = bundle.payload();
    Ok(SealKey {
        made_ms: bundle.made_ms,
        id: KeyId::try_from(bundle.key_id.as_slice()).map_err(|_| OpenError::BadPayload)?,
        key: SealPublic::from_bytes(&bundle.key).map_err(|_| OpenError::BadPayload)?,
    })
}

/// A verified device record.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Record {
    pub(crate) device: DeviceFp,
    pub(crate) version: u64,
    pub(crate) signal_addr: String,
    pub(crate) seal: Option<SealKey>,
    /// Never to be named to others.
    pub(crate) unlisted: bool,
    /// Whether it keeps parcels for others.
    pub(crate) can_store: bool,
    pub(crate) bytes: Vec<u8>,
}

/// Reads a device record's envelope; it must be signed by one of the user's `devices`.
pub(crate) fn read_record(
    bytes: &[u8],
    network: NetworkFp,
    user: UserFp,
    devices: &[Device],
) -> Result<Record, OpenError> {
    let audiences = [network.0];
    let record: Verified<DeviceRecord> = open(bytes, &Expect::new(network, &audiences))?;
    let device = record.signer().device_fp();
    if !devices.iter().any(|listed| listed.fp() == device) {
        return Err(OpenError::WrongSigner);
    }
    let payload = record.payload();
    if payload.user != user.0 || payload.signal_addr.len() > ORIGIN_LEN_MAX {
        return Err(OpenError::BadPayload);
    }
    let seal = match payload.bundle.as_slice() {
        [] => None,
        bundle => Some(read_bundle(bundle, network, device)?),
    };
    Ok(Record {
        device,
        version: payload.version,
        signal_addr: payload.signal_addr.clone(),
        seal,
        unlisted: payload.unlisted,
        can_store: payload.can_store,
        bytes: bytes.to_vec(),
    })
}

/// One device as we know it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Route {
    pub(crate) row: RouteRow,
    pub(crate) version: u64,
    pub(crate) seal: Option<SealKey>,
    /// Never to be named to others, as its own record says.
    pub(crate) unlisted: bool,
    /// Whether it keeps parcels for others, as its own record says.
    pub(crate) can_store: bool,
    /// Whether its user's membership lets it coordinate.
    pub(crate) coordinator: bool,
}

impl Route {
    /// Not for longer than it may be, whatever the clock did meanwhile.
    pub(crate) fn is_demoted(&self, wall_ms: u64) -> bool {
        let left_ms = self.row.demoted_until_ms.saturating_sub(wall_ms);
        (1..=ROUTE_DEMOTED_MS).contains(&left_ms)
    }

    /// Whether it was heard of lately.
    pub(crate) fn is_fresh(&self, wall_ms: u64) -> bool {
        let heard_ms = self.row.seen_ms.max(self.row.connected_ms);
        heard_ms.saturating_add(ROUTE_FRESH_MS) > wall_ms
    }
}

/// All routes, by device; finding those of a user, or the stalest, costs the same however many
/// there are.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    by_device: BTreeMap<DeviceFp, Route>,
    by_user: BTreeMap<Label, BTreeSet<DeviceFp>>,
    by_age: BTreeSet<(u64, DeviceFp)>,
    coordinators: BTreeSet<DeviceFp>,
    keepers: BTreeSet<DeviceFp>,
    /// Forgotten here, and not yet in the store.
    gone: BTreeSet<DeviceFp>,
}

/// Whether a user's membership lets its devices coordinate.
fn may_coordinate(contact: &Contact) -> bool {
    let role = contact.chain.membership.role();
    matches!(role, Role::Coordinator | Role::Admin)
}

impl Routes {
    /// Takes a stored row with its verified record.
    pub(crate) fn load(&mut self, row: RouteRow, record: &Record, contact: &Contact) {
        let route = Route {
            row,
            version: record.version,
            seal: record.seal,
            unlisted: record.unlisted,
            can_store: record.can_store,
            coordinator: may_coordinate(contact),
        };
        self.insert(route);
    }

    /// Devices whose user may coordinate.
    pub(crate) fn coordinators(&self) -> impl Iterator<Item = DeviceFp> {
        self.coordinators.iter().copied()
    }

    /// Devices that keep parcels for others.
    pub(crate) fn keepers(&self) -> impl Iterator<Item = DeviceFp> {
        self.keepers.iter().copied()
    }

    pub(crate) fn get(&self, device: DeviceFp) -> Option<&Route> {
        self.by_device.get(&device)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Route> {
        self.by_device.values()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_device.len()
    }

    /// Routes to the devices of one user.
    pub(crate) fn of_user<'a>(&'a self, label: &'a Label) -> impl Iterator<Item = &'a Route> {
        let devices = self.by_user.get(label).into_iter().flatten();
        devices.filter_map(|device| self.by_device.get(device))
    }

    /// Devices of a user to dial on a rung. The cache passes over those that failed lately, and
    /// takes stale ones only if it has nothing else.
    pub(crate) fn to_dial(&self, label: &Label, rung: Rung, wall_ms: u64) -> Vec<DeviceFp> {
        let usable = |route: &&Route| rung != Rung::Cache || !route.is_demoted(wall_ms);
        let usable: Vec<&Route> = self.of_user(label).filter(usable).collect();
        let fresh = |route: &&Route| route.is_fresh(wall_ms);
        let only_fresh = rung == Rung::Cache && usable.iter().any(fresh);
        let chosen = usable
            .into_iter()
            .filter(|route| !only_fresh || fresh(route));
        chosen.map(|route| route.row.device).collect()
    }

    /// Takes a verified record; the row to keep if it told something. The newest record and the
    /// newest bundle win, except over a live link (`live`), where the device speaks for itself.
    pub(crate) fn learn(
        &mut self,
        contact: &Contact,
        record: Record,
        found_by: Rung,
        live: bool,
        now: Now,
    ) -> Option<RouteRow> {
        let old = self.by_device.get(&record.device);
        if let Some(old) = old
            && record.version <= old.version
            && !(live && record.bytes != old.row.record)
        {
            self.note_role(record.device, may_coordinate(contact));
            return self.touch(record.device, found_by, live, now);
        }
        let newer = |new: &SealKey| {
            let known = old.and_then(|old| old.seal);
            live || known.is_none_or(|known| new.made_ms > known.made_ms)
        };
        let seal = record.seal.filter(newer).or(old.and_then(|old| old.seal));
        let row = RouteRow {
            user_label: contact.row.label.clone(),
            user: contact.row.user,
            device: record.device,
            record: record.bytes,
            signal_addr: record.signal_addr,
            found_by,
            connected_ms: if live {
                now.wall_ms
            } else {
                old.map_or(0, |o| o.row.connected_ms)
            },
            seen_ms: now.wall_ms,
            demoted_until_ms: if live {
                0
            } else {
                old.map_or(0, |o| o.row.demoted_until_ms)
            },
        };
        let route = Route {
            row: row.clone(),
            version: record.version,
            seal,
            unlisted: record.unlisted,
            can_store: record.can_store,
            coordinator: may_coordinate(contact),
        };
        self.insert(route);
        Some(row)
    }

    /// Reads a record of a contact's device. The one we hold was verified when it came: where it is
    /// these very bytes it is not verified again.
    pub(crate) fn read(
        &self,
        bytes: &[u8],
        network: NetworkFp,
        contact: &Contact,
    ) -> Result<Record, OpenError> {
        match self.held(bytes, contact) {
            Some(record) => Ok(record),
            None => {
                let devices = &contact.chain.devices.devices;
                read_record(bytes, network, contact.row.user, devices)
            }
        }
    }

    fn held(&self, bytes: &[u8], contact: &Contact) -> Option<Record> {
        let device = DeviceFp(sha256(split(bytes).ok()?.signer_key));
        let route = self.by_device.get(&device)?;
        let same = route.row.record == bytes && route.row.user == contact.row.user;
        contact.device(device).filter(|_| same)?;
        Some(Record {
            device,
            version: route.version,
            signal_addr: route.row.signal_addr.clone(),
            seal: route.seal,
            unlisted: route.unlisted,
            can_store: route.can_store,
            bytes: bytes.to_vec(),
        })
    }

    fn note_role(&mut self, device: DeviceFp, coordinator: bool) {
        if let Some(route) = self.by_device.get_mut(&device) {
            route.coordinator = coordinator;
            if coordinator {
                self.coordinators.insert(device);
            } else {
                self.coordinators.remove(&device);
            }
        }
    }

    /// Notes that a known device was heard of again; the row to keep if a link to it is open.
    fn touch(
        &mut self,
        device: DeviceFp,
        found_by: Rung,
        live: bool,
        now: Now,
    ) -> Option<RouteRow> {
        let route = self.by_device.get_mut(&device)?;
        self.by_age.remove(&(route.row.seen_ms, device));
        self.by_age.insert((now.wall_ms, device));
        route.row.seen_ms = now.wall_ms;
        if live {
            route.row.connected_ms = now.wall_ms;
            route.row.demoted_until_ms = 0;
            route.row.found_by = found_by;
        }
        live.then(|| route.row.clone())
    }

    /// Notes that somebody says the device is there.
    pub(crate) fn hear(&mut self, device: DeviceFp, wall_ms: u64) {
        if let Some(route) = self.by_device.get_mut(&device) {
            self.by_age.remove(&(route.row.seen_ms, device));
            route.row.seen_ms = route.row.seen_ms.max(wall_ms);
            self.by_age.insert((route.row.seen_ms, device));
        }
    }

    /// A key named in a NACK or made known otherwise by the device itself: always replaces.
    pub(crate) fn replace_seal(&mut self, device: DeviceFp, seal: SealKey) {
        if let Some(route) = self.by_device.get_mut(&device) {
            route.seal = Some(seal);
        }
    }

    /// Passes the route over for ten minutes.
    pub(crate) fn demote(&mut self, device: DeviceFp, wall_ms: u64) -> Option<RouteRow> {
        let route = self.by_device.get_mut(&device)?;
        route.row.demoted_until_ms = wall_ms.saturating_add(ROUTE_DEMOTED_MS);
        Some(route.row.clone())
    }

    /// Devices whose routes the store shall forget too, once.
    pub(crate) fn take_gone(&mut self) -> BTreeSet<DeviceFp> {
        std::mem::take(&mut self.gone)
    }

    /// Forgets what nobody has heard of for a month.
    pub(crate) fn forget_old(&mut self, wall_ms: u64) {
        while let Some((seen_ms, device)) = self.by_age.first().copied()
            && seen_ms.saturating_add(ROUTE_KEPT_MS) < wall_ms
        {
            self.remove(device);
        }
    }

    /// Forgets a route, here and in the store.
    pub(crate) fn remove(&mut self, device: DeviceFp) {
        if self.by_device.contains_key(&device) {
            self.gone.insert(device);
        }
        self.take_out(device);
    }

    fn take_out(&mut self, device: DeviceFp) {
        let Some(route) = self.by_device.remove(&device) else {
            return;
        };
        self.by_age.remove(&(route.row.seen_ms, device));
        self.coordinators.remove(&device);
        self.keepers.remove(&device);
        if let Some(devices) = self.by_user.get_mut(&route.row.user_label) {
            devices.remove(&device);
            if devices.is_empty() {
                self.by_user.remove(&route.row.user_label);
            }
        }
    }

    fn insert(&mut self, route: Route) {
        let device = route.row.device;
        self.take_out(device);
        self.gone.remove(&device);
        self.by_age.insert((route.row.seen_ms, device));
        let of_user = self.by_user.entry(route.row.user_label.clone());
        of_user.or_default().insert(device);
        if route.coordinator {
            self.coordinators.insert(device);
        }
        if route.can_store {
            self.keepers.insert(device);
        }
        self.by_device.insert(device, route);
        if self.by_device.len() > ROUTES_MAX
            && let Some((_, stalest)) = self.by_age.first().copied()
        {
            self.remove(stalest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contacts::Contacts;
    use crate::testing::Authority;
    use beeline_proto::chain::VerifiedChain;

    const LABEL: &str = "carol";

    fn contact() -> Contact {
        let mut authority = Authority::new("x");
        let carol = authority.admit(LABEL, LABEL, &["phone"], 9);
        let chain = VerifiedChain::open(&authority.chain(&carol), authority.network());
        let mut contacts = Contacts::default();
        contacts.see(chain.expect("good"));
        contacts.get(&carol.label).expect("pinned").clone()
    }

    fn record(n: u8, version: u64, made_ms: u64) -> Record {
        let key = SealPublic([n; 32]);
        Record {
            device: DeviceFp([n; 32]),
            version,
            signal_addr: String::new(),
            seal: Some(SealKey {
                made_ms,
                id: key.key_id(),
                key,
            }),
            unlisted: false,
            can_store: false,
            bytes: vec![n, version as u8, made_ms as u8],
        }
    }

    fn at(ms: u64) -> Now {
        Now {
            mono_ms: ms,
            wall_ms: ms,
        }
    }

    #[test]
    fn the_newest_record_and_bundle_win_but_a_live_word_always_does() {
        let (contact, mut routes) = (contact(), Routes::default());
        let device = DeviceFp([1; 32]);
        let made = |routes: &Routes| routes.get(device).and_then(|r| r.seal).map(|s| s.made_ms);
        assert!(
            routes
                .learn(&contact, record(1, 5, 50), Rung::Registry, false, at(1))
                .is_some()
        );
        assert!(
            routes
                .learn(&contact, record(1, 4, 90), Rung::Cache, false, at(2))
                .is_none()
        );
        assert_eq!(made(&routes), Some(50));
        routes.learn(&contact, record(1, 6, 40), Rung::Registry, false, at(3));
        assert_eq!(
            made(&routes),
            Some(50),
            "a newer record with an older bundle"
        );
        routes.learn(&contact, record(1, 3, 30), Rung::Connected, true, at(4));
        assert_eq!(made(&routes), Some(30), "the device itself says so");
    }

    #[test]
    fn a_doubted_route_is_passed_over_until_a_link_proves_it() {
        let (contact, mut routes) = (contact(), Routes::default());
        let device = DeviceFp([1; 32]);
        routes.learn(&contact, record(1, 5, 50), Rung::Registry, false, at(1));
        routes.demote(device, 1_000);
        let demoted = |routes: &Routes, ms| routes.get(device).is_some_and(|r| r.is_demoted(ms));
        assert!(demoted(&routes, 1_000 + ROUTE_DEMOTED_MS - 1));
        assert!(!demoted(&routes, 1_000 + ROUTE_DEMOTED_MS));
        routes.learn(&contact, record(1, 5, 50), Rung::Cache, true, at(1_001));
        assert!(!demoted(&routes, 1_002));
    }

    #[test]
    fn routes_are_bounded_and_the_stalest_goes() {
        let (contact, mut routes) = (contact(), Routes::default());
        for n in 0..ROUTES_MAX as u64 + 10 {
            let mut device = [0u8; 32];
            device[..8].copy_from_slice(&n.to_be_bytes());
            let record = Record {
                device: DeviceFp(device),
                ..record(1, 1, 1)
            };
            routes.learn(&contact, record, Rung::Registry, false, at(n));
        }
        assert_eq!(routes.len(), ROUTES_MAX);
        assert!(routes.get(DeviceFp([0; 32])).is_none());
    }
}
