//! Which devices have a signalling socket open, as their gateways tell.

use crate::core::lease::{LeaseTable, TableFull};
use crate::core::presence::DeviceKey;
use crate::limits::{GATEWAY_SILENT_MS, GATEWAYS_MAX, SOCKETS_MAX};
use beeline_proto::time::Now;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One report of a gateway.
#[derive(Debug, Clone)]
pub struct SocketReport {
    /// Names the gateway.
    pub gateway: String,
    /// Random per gateway start.
    pub epoch: u64,
    /// What happened, in order: `true` for opened.
    pub changes: Vec<(DeviceKey, bool)>,
}

/// Devices whose sockets changed, and when they were last seen (Unix milliseconds).
pub type Touched = BTreeMap<DeviceKey, u64>;

/// Open sockets by gateway and by device. A gateway that stops reporting loses its sockets.
#[derive(Debug)]
pub struct SocketTable {
    gateways: LeaseTable<Arc<str>, Gateway>,
    devices: BTreeMap<DeviceKey, Vec<Arc<str>>>,
    open: usize,
    cap: usize,
}

#[derive(Debug)]
struct Gateway {
    epoch: u64,
    reported_wall_ms: u64,
    open: BTreeSet<DeviceKey>,
}

impl Default for SocketTable {
    fn default() -> Self {
        Self::new(GATEWAYS_MAX, SOCKETS_MAX)
    }
}

impl SocketTable {
    /// An empty table for so many gateways and sockets.
    pub fn new(gateways: usize, sockets: usize) -> Self {
        Self {
            gateways: LeaseTable::new(gateways),
            devices: BTreeMap::new(),
            open: 0,
            cap: sockets,
        }
    }

    /// Takes a report; every device whose sockets changed is added to `touched`. Answers whether
    /// the registry lacks what this gateway said before, so that it must list all its sockets.
    pub fn report(
        &mut self,
        now: Now,
        report: SocketReport,
        touched: &mut Touched,
    ) -> Result<bool, TableFull> {
        let opens = report.changes.iter().filter(|(_, open)| *open).count();
        if self.open + opens > self.cap {
            return Err(TableFull);
        }
        let name: Arc<str> = Arc::from(report.gateway.as_str());
        let end_ms = now.mono_ms + GATEWAY_SILENT_MS;
        let known = self.gateways.get(&name).map(|g| g.epoch) == Some(report.epoch);
        if known {
            self.gateways.renew(&name, end_ms);
            if let Some(gateway) = self.gateways.get_mut(&name) {
                gateway.reported_wall_ms = now.wall_ms;
            }
        } else {
            let fresh = Gateway {
                epoch: report.epoch,
                reported_wall_ms: now.wall_ms,
                open: BTreeSet::new(),
            };
            if let Some(old) = self.gateways.grant(Arc::clone(&name), end_ms, fresh)? {
                self.close_all(&name, old, touched);
            }
        }
        for (device, open) in report.changes {
            self.change(&name, &device, open);
            touched.insert(device, now.wall_ms);
        }
        Ok(!known)
    }

    fn change(&mut self, name: &Arc<str>, device: &DeviceKey, open: bool) {
        let Some(gateway) = self.gateways.get_mut(name) else {
            return;
        };
        if open && gateway.open.insert(device.clone()) {
            self.open += 1;
            let at = self.devices.entry(device.clone()).or_default();
            at.push(Arc::clone(name));
        } else if !open && gateway.open.remove(device) {
            self.forget(name, device);
        }
    }

    fn forget(&mut self, name: &Arc<str>, device: &DeviceKey) {
        self.open -= 1;
        if let Some(at) = self.devices.get_mut(device) {
            at.retain(|n| n != name);
            if at.is_empty() {
                self.devices.remove(device);
            }
        }
    }

    fn close_all(&mut self, name: &Arc<str>, gateway: Gateway, touched: &mut Touched) {
        for device in gateway.open {
            self.forget(name, &device);
            touched.insert(device, gateway.reported_wall_ms);
        }
    }

    /// Closes the sockets of gateways that have been silent for too long.
    pub fn expire(&mut self, now: Now, touched: &mut Touched) {
        while let Some((name, gateway)) = self.gateways.pop_ended(now.mono_ms) {
            self.close_all(&name, gateway, touched);
        }
    }

    /// Whether the device has a socket open.
    pub fn is_open(&self, device: &DeviceKey) -> bool {
        self.devices.contains_key(device)
    }

    /// When a gateway last vouched for the device's open socket, Unix milliseconds.
    pub fn vouched_ms(&self, device: &DeviceKey) -> Option<u64> {
        let at = self.devices.get(device)?;
        let vouched = at.iter().filter_map(|name| self.gateways.get(name));
        vouched.map(|g| g.reported_wall_ms).max()
    }

    /// Open sockets in all.
    pub fn len(&self) -> usize {
        self.open
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.open == 0
    }

    /// When the next gateway would be taken for dead.
    pub fn poll_timeout(&self) -> Option<u64> {
        self.gateways.poll_timeout()
    }
}
