//! Who is online: a device whose lease runs *and* whose socket some gateway holds open.
//!
//! Inputs are announces, socket reports, heartbeats and the passing of time; the driver asks with
//! [`Presence::device`], [`Presence::online_users`] and [`Presence::coordinators`]. What must be
//! written (last seen, confirmed coordinators) comes out of [`Presence::poll_output`], one row per
//! device however often it changed.

use crate::core::coordinators::{Beat, Beaten, Coordinator, CoordinatorTable};
use crate::core::lease::{LeaseTable, TableFull};
use crate::core::record::Record;
use crate::core::sockets::{SocketReport, SocketTable, Touched};
use crate::limits::LEASES_MAX;
use beeline_proto::id::{DeviceFp, Label};
use beeline_proto::limits::{COORDINATORS_NAMED_MAX, PRESENCE_TTL_S};
use beeline_proto::time::Now;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

/// A device by its label, as gateways and coordinators name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeviceKey {
    /// The registry's number of the network.
    pub network: i64,
    /// The deviceId; empty only in [`DeviceKey::first_of`].
    label: Option<Label>,
}

impl DeviceKey {
    /// The device `label` of a network.
    pub fn new(network: i64, label: Label) -> Self {
        Self {
            network,
            label: Some(label),
        }
    }

    /// What sorts before every device of a network.
    pub(crate) fn first_of(network: i64) -> Self {
        Self {
            network,
            label: None,
        }
    }

    /// The deviceId.
    pub fn label(&self) -> Option<&Label> {
        self.label.as_ref()
    }
}

/// A coordinator that confirmed a device, and when it last did (Unix milliseconds).
pub type Confirmed = (Label, u64);

/// A device's announce that passed [`Record::check`] and is stored.
#[derive(Debug, Clone)]
pub struct Announce {
    /// Which device.
    pub device: DeviceKey,
    /// Its key's fingerprint; another key under the same label is another device.
    pub fp: DeviceFp,
    /// The userId.
    pub user: Label,
    /// Its record.
    pub record: Arc<Record>,
    /// Coordinators it named.
    pub named: Vec<Label>,
    /// Coordinators that had confirmed it, from the store; empty keeps what is known.
    pub confirmed: Vec<Confirmed>,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum Input {
    /// A device takes or renews its lease.
    Announce(Announce),
    /// A lease that ran when the registry stopped: its end (monotonic) and last sight (wall).
    Restore(Announce, u64, u64),
    /// A device left its user's list, or the user was revoked.
    Forget(DeviceKey),
    /// A gateway reports.
    Sockets(SocketReport),
    /// A coordinator reports.
    Heartbeat(Beat),
    /// Time has passed.
    Timeout,
}

/// What to answer the one who sent the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Nothing to say.
    Done,
    /// The lease runs until then, Unix milliseconds.
    Leased(u64),
    /// The report is taken; whether the next must list everything.
    Reported {
        /// The registry lacks what was said before.
        want_full: bool,
    },
    /// A table is full; nothing was changed.
    Full,
}

/// What is to be written for one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The registry's number of the network.
    pub network: i64,
    /// The device.
    pub fp: DeviceFp,
    /// When it was last seen, Unix milliseconds.
    pub seen_ms: u64,
    /// Coordinators that confirmed it, newest first.
    pub confirmed: Vec<Confirmed>,
}

#[derive(Debug)]
struct Lease {
    fp: DeviceFp,
    user: Label,
    record: Arc<Record>,
    named: Vec<Label>,
    confirmed: Vec<Confirmed>,
    seen_ms: u64,
    /// Whether it is counted among the users online.
    counted: bool,
}

/// One device as it is now.
#[derive(Debug, Clone)]
pub struct DeviceView {
    /// Lease and socket.
    pub online: bool,
    /// When it was last seen, Unix milliseconds.
    pub seen_ms: u64,
    /// Its record.
    pub record: Arc<Record>,
    /// Coordinators it named that confirmed it, newest first.
    pub confirmed: Vec<Confirmed>,
}

/// How much is held, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Leases that run.
    pub leases: usize,
    /// Open sockets.
    pub sockets: usize,
    /// Live coordinators.
    pub coordinators: usize,
    /// Users with a listed device online.
    pub users_online: usize,
}

/// The machine.
#[derive(Debug)]
pub struct Presence {
    leases: LeaseTable<DeviceKey, Lease>,
    sockets: SocketTable,
    coordinators: CoordinatorTable,
    /// Users with a listed device online, by network and userId.
    online: BTreeMap<i64, BTreeMap<Label, u32>>,
    /// What is to be written; at most one row per lease.
    unsaved: BTreeMap<DeviceKey, Seen>,
}

impl Default for Presence {
    fn default() -> Self {
        Self::new(
            LEASES_MAX,
            SocketTable::default(),
            CoordinatorTable::default(),
        )
    }
}

impl Presence {
    /// An empty machine for so many leases.
    pub fn new(leases: usize, sockets: SocketTable, coordinators: CoordinatorTable) -> Self {
        Self {
            leases: LeaseTable::new(leases),
            sockets,
            coordinators,
            online: BTreeMap::new(),
            unsaved: BTreeMap::new(),
        }
    }

    /// Takes one input. Whatever a remote sends, the worst answer is [`Answer::Full`].
    pub fn handle_input(&mut self, now: Now, input: Input) -> Answer {
        self.expire(now);
        match input {
            Input::Announce(announce) => {
                let lease_ms = u64::from(PRESENCE_TTL_S) * 1_000;
                let end_ms = now.mono_ms + lease_ms;
                match self.announce(announce, end_ms, now.wall_ms) {
                    Ok(()) => Answer::Leased(now.wall_ms + lease_ms),
                    Err(TableFull) => Answer::Full,
                }
            }
            Input::Restore(announce, end_ms, seen_ms) => {
                match self.announce(announce, end_ms, seen_ms) {
                    Ok(()) => Answer::Done,
                    Err(TableFull) => Answer::Full,
                }
            }
            Input::Forget(device) => self.forget(&device),
            Input::Sockets(report) => {
                let mut touched = Touched::new();
                let taken = self.sockets.report(now, report, &mut touched);
                self.refresh_all(touched);
                match taken {
                    Ok(want_full) => Answer::Reported { want_full },
                    Err(TableFull) => Answer::Full,
                }
            }
            Input::Heartbeat(beat) => {
                let coordinator = beat.coordinator.clone();
                match self.coordinators.beat(now, beat) {
                    Ok(beaten) => self.confirm(now, &coordinator, &beaten),
                    Err(TableFull) => Answer::Full,
                }
            }
            Input::Timeout => Answer::Done,
        }
    }

    /// The next row to write; drained to `None`.
    pub fn poll_output(&mut self) -> Option<Seen> {
        self.unsaved.pop_first().map(|(_, seen)| seen)
    }

    /// When [`Input::Timeout`] has work to do, monotonic milliseconds.
    pub fn poll_timeout(&self) -> Option<u64> {
        let ends = [
            self.leases.poll_timeout(),
            self.sockets.poll_timeout(),
            self.coordinators.poll_timeout(),
        ];
        ends.into_iter().flatten().min()
    }

    /// A device as it is now, if its lease runs and its key is `fp`.
    pub fn device(&self, device: &DeviceKey, fp: DeviceFp) -> Option<DeviceView> {
        let lease = self.leases.get(device).filter(|l| l.fp == fp)?;
        let vouched_ms = self.sockets.vouched_ms(device);
        Some(DeviceView {
            online: vouched_ms.is_some(),
            seen_ms: lease.seen_ms.max(vouched_ms.unwrap_or(0)),
            record: Arc::clone(&lease.record),
            confirmed: self.confirmed_now(device, lease),
        })
    }

    /// The record of a device whose lease runs.
    pub fn record(&self, device: &DeviceKey, fp: DeviceFp) -> Option<Arc<Record>> {
        let lease = self.leases.get(device).filter(|l| l.fp == fp)?;
        Some(Arc::clone(&lease.record))
    }

    /// Users of a network with a listed device online, by userId, after `after`.
    pub fn online_users(&self, network: i64, after: Option<&Label>, limit: usize) -> Vec<Label> {
        let Some(users) = self.online.get(&network) else {
            return Vec::new();
        };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let page = users.range((from, Bound::Unbounded)).take(limit);
        page.map(|(user, _)| user.clone()).collect()
    }

    /// Live coordinators of a network with a listed record, least loaded first.
    pub fn coordinators(&self, network: i64) -> Vec<(Label, Label, Coordinator, Arc<Record>)> {
        let live = self.coordinators.of_network(network);
        let named = live.into_iter().filter_map(|(key, coordinator)| {
            let lease = self.leases.get(&key)?;
            let label = key.label()?.clone();
            let record = Arc::clone(&lease.record);
            (!record.unlisted).then(|| (label, lease.user.clone(), coordinator, record))
        });
        named.collect()
    }

    /// How much is held.
    pub fn counts(&self) -> Counts {
        Counts {
            leases: self.leases.len(),
            sockets: self.sockets.len(),
            coordinators: self.coordinators.len(),
            users_online: self.online.values().map(BTreeMap::len).sum(),
        }
    }

    fn expire(&mut self, now: Now) {
        let mut touched = Touched::new();
        self.sockets.expire(now, &mut touched);
        self.refresh_all(touched);
        self.coordinators.expire(now);
        while let Some((device, lease)) = self.leases.pop_ended(now.mono_ms) {
            self.uncount(&device, &lease);
        }
    }

    fn announce(&mut self, new: Announce, end_ms: u64, wall_ms: u64) -> Result<(), TableFull> {
        let device = new.device;
        let known = self.leases.get(&device).filter(|l| l.fp == new.fp);
        let mut confirmed = match known {
            Some(lease) if new.confirmed.is_empty() => lease.confirmed.clone(),
            _ => new.confirmed,
        };
        confirmed.retain(|(label, _)| new.named.contains(label));
        let lease = Lease {
            fp: new.fp,
            user: new.user,
            record: new.record,
            named: new.named,
            confirmed,
            seen_ms: wall_ms.max(known.map_or(0, |l| l.seen_ms)),
            counted: false,
        };
        if let Some(before) = self.leases.grant(device.clone(), end_ms, lease)? {
            self.uncount(&device, &before);
        }
        self.refresh(wall_ms, &device);
        if let Some(lease) = self.leases.get(&device) {
            let now_confirmed = self.confirmed_now(&device, lease);
            self.note_confirmed(&device, now_confirmed);
        }
        Ok(())
    }

    fn forget(&mut self, device: &DeviceKey) -> Answer {
        if let Some(lease) = self.leases.remove(device) {
            self.uncount(device, &lease);
        }
        self.unsaved.remove(device);
        self.coordinators.remove(device);
        Answer::Done
    }

    /// Brings a lease's place among the users online in line with its socket; a device without one
    /// was last seen at `seen_ms`.
    fn refresh(&mut self, seen_ms: u64, device: &DeviceKey) {
        let open = self.sockets.is_open(device);
        let Some(lease) = self.leases.get_mut(device) else {
            return;
        };
        let counts = open && !lease.record.unlisted;
        if counts && !lease.counted {
            let users = self.online.entry(device.network).or_default();
            *users.entry(lease.user.clone()).or_insert(0) += 1;
        } else if !counts && lease.counted {
            drop_one(&mut self.online, device.network, &lease.user);
        }
        lease.counted = counts;
        if !open && seen_ms > lease.seen_ms {
            lease.seen_ms = seen_ms;
            let seen = seen_row(device, lease);
            self.unsaved.insert(device.clone(), seen);
        }
    }

    fn refresh_all(&mut self, touched: Touched) {
        for (device, seen_ms) in touched {
            self.refresh(seen_ms, &device);
        }
    }

    fn uncount(&mut self, device: &DeviceKey, lease: &Lease) {
        if lease.counted {
            drop_one(&mut self.online, device.network, &lease.user);
        }
    }

    /// Confirmed coordinators with those that claim the device at this moment, newest first.
    fn confirmed_now(&self, device: &DeviceKey, lease: &Lease) -> Vec<Confirmed> {
        let mut all = lease.confirmed.clone();
        let Some(label) = device.label() else {
            return all;
        };
        for named in &lease.named {
            let coordinator = DeviceKey::new(device.network, named.clone());
            if let Some(at) = self.coordinators.claims(&coordinator, label) {
                all.retain(|(l, _)| l != named);
                all.push((named.clone(), at));
            }
        }
        all.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        all.truncate(COORDINATORS_NAMED_MAX);
        all
    }

    fn note_confirmed(&mut self, device: &DeviceKey, confirmed: Vec<Confirmed>) {
        let Some(lease) = self.leases.get_mut(device) else {
            return;
        };
        let names = |list: &[Confirmed]| list.iter().map(|c| c.0.clone()).collect::<BTreeSet<_>>();
        let changed = names(&lease.confirmed) != names(&confirmed);
        lease.confirmed = confirmed;
        if changed {
            let seen = seen_row(device, lease);
            self.unsaved.insert(device.clone(), seen);
        }
    }

    /// A coordinator's claim counts only for devices that named it.
    fn confirm(&mut self, now: Now, coordinator: &DeviceKey, beaten: &Beaten) -> Answer {
        let Some(name) = coordinator.label() else {
            return Answer::Done;
        };
        for label in beaten.came.iter().chain(&beaten.went) {
            let device = DeviceKey::new(coordinator.network, label.clone());
            let Some(lease) = self.leases.get(&device) else {
                continue;
            };
            if !lease.named.contains(name) {
                continue;
            }
            let mut confirmed = lease.confirmed.clone();
            confirmed.retain(|(l, _)| l != name);
            confirmed.insert(0, (name.clone(), now.wall_ms));
            confirmed.truncate(COORDINATORS_NAMED_MAX);
            self.note_confirmed(&device, confirmed);
        }
        Answer::Reported {
            want_full: beaten.want_full,
        }
    }
}

fn drop_one(online: &mut BTreeMap<i64, BTreeMap<Label, u32>>, network: i64, user: &Label) {
    let Some(users) = online.get_mut(&network) else {
        return;
    };
    if let Some(count) = users.get_mut(user) {
        *count -= 1;
        if *count == 0 {
            users.remove(user);
        }
    }
    if users.is_empty() {
        online.remove(&network);
    }
}

fn seen_row(device: &DeviceKey, lease: &Lease) -> Seen {
    Seen {
        network: device.network,
        fp: lease.fp,
        seen_ms: lease.seen_ms,
        confirmed: lease.confirmed.clone(),
    }
}
