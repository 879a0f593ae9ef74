//! Coordinators that live, how loaded they are, and which devices they claim to be linked to.

use crate::core::lease::{LeaseTable, TableFull};
use crate::core::presence::DeviceKey;
use crate::limits::{COORDINATOR_DEVICES_MAX, COORDINATORS_MAX};
use beeline_proto::id::Label;
use beeline_proto::limits::COORDINATOR_TTL_S;
use beeline_proto::time::Now;
use std::collections::BTreeSet;

/// One heartbeat, its lists within their limits.
#[derive(Debug, Clone)]
pub struct Beat {
    /// Who beats.
    pub coordinator: DeviceKey,
    /// Random per process start.
    pub epoch: u64,
    /// Counts heartbeats within the epoch, from 1.
    pub seq: u64,
    /// Links in use.
    pub load: u32,
    /// Links at most.
    pub capacity: u32,
    /// Whether `connected` is everything.
    pub full: bool,
    /// Devices that came.
    pub connected: Vec<Label>,
    /// Devices that went.
    pub disconnected: Vec<Label>,
}

/// What a heartbeat changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Beaten {
    /// Whether the next heartbeat must carry everything.
    pub want_full: bool,
    /// Devices claimed now that were not before.
    pub came: Vec<Label>,
    /// Devices no longer claimed.
    pub went: Vec<Label>,
}

/// A coordinator whose lease runs.
#[derive(Debug, Clone)]
pub struct Coordinator {
    epoch: u64,
    seq: u64,
    /// Links in use.
    pub load: u32,
    /// Links at most.
    pub capacity: u32,
    /// When it last beat, Unix milliseconds.
    pub beat_wall_ms: u64,
    connected: BTreeSet<Label>,
}

/// Live coordinators by network and device.
#[derive(Debug)]
pub struct CoordinatorTable {
    live: LeaseTable<DeviceKey, Coordinator>,
    devices_cap: usize,
}

impl Default for CoordinatorTable {
    fn default() -> Self {
        Self::new(COORDINATORS_MAX, COORDINATOR_DEVICES_MAX)
    }
}

impl CoordinatorTable {
    /// An empty table for so many coordinators, and devices per coordinator.
    pub fn new(coordinators: usize, devices: usize) -> Self {
        Self {
            live: LeaseTable::new(coordinators),
            devices_cap: devices,
        }
    }

    /// Takes a heartbeat. One that is not newer within its epoch changes nothing.
    pub fn beat(&mut self, now: Now, beat: Beat) -> Result<Beaten, TableFull> {
        let known = self.live.get(&beat.coordinator);
        let same = known.filter(|c| c.epoch == beat.epoch);
        if same.is_some_and(|c| beat.seq <= c.seq) {
            return Ok(Beaten::default());
        }
        // The first heartbeat of an epoch lists what came since nothing, so it is whole.
        let unbroken = beat.seq == same.map_or(0, |c| c.seq).saturating_add(1);
        let before = known.map(|c| c.connected.clone()).unwrap_or_default();
        let mut connected = match same {
            Some(c) if !beat.full => c.connected.clone(),
            _ => BTreeSet::new(),
        };
        connected.extend(beat.connected);
        for gone in &beat.disconnected {
            connected.remove(gone);
        }
        if connected.len() > self.devices_cap {
            return Err(TableFull);
        }
        let beaten = Beaten {
            want_full: !beat.full && !unbroken,
            came: connected.difference(&before).cloned().collect(),
            went: before.difference(&connected).cloned().collect(),
        };
        let coordinator = Coordinator {
            epoch: beat.epoch,
            seq: beat.seq,
            load: beat.load,
            capacity: beat.capacity,
            beat_wall_ms: now.wall_ms,
            connected,
        };
        let end_ms = now.mono_ms + u64::from(COORDINATOR_TTL_S) * 1_000;
        self.live.grant(beat.coordinator, end_ms, coordinator)?;
        Ok(beaten)
    }

    /// Ends a coordinator's lease.
    pub fn remove(&mut self, coordinator: &DeviceKey) {
        self.live.remove(coordinator);
    }

    /// When `coordinator` last claimed `device`, if it lives and does.
    pub fn claims(&self, coordinator: &DeviceKey, device: &Label) -> Option<u64> {
        let live = self.live.get(coordinator)?;
        live.connected.contains(device).then_some(live.beat_wall_ms)
    }

    /// The live coordinators of a network, least loaded first.
    pub fn of_network(&self, network: i64) -> Vec<(DeviceKey, Coordinator)> {
        let from = DeviceKey::first_of(network);
        let all = self.live.range_from(from);
        let mut found: Vec<_> = all
            .take_while(|(key, _)| key.network == network)
            .map(|(key, c)| (key.clone(), c.clone()))
            .collect();
        // load/capacity compared without division; no capacity counts as full.
        found.sort_by(|(ka, a), (kb, b)| {
            let left = u64::from(a.load) * u64::from(b.capacity.max(1));
            let right = u64::from(b.load) * u64::from(a.capacity.max(1));
            (a.capacity == 0, left)
                .cmp(&(b.capacity == 0, right))
                .then_with(|| ka.cmp(kb))
        });
        found
    }

    /// Ends the leases whose time has come.
    pub fn expire(&mut self, now: Now) {
        while self.live.pop_ended(now.mono_ms).is_some() {}
    }

    /// How many live.
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Whether none lives.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// When the next one ends.
    pub fn poll_timeout(&self) -> Option<u64> {
        self.live.poll_timeout()
    }
}
