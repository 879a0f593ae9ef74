//! Socket opens and closes on their way to the registry: the last word per device, in batches, and
//! a full list when the registry has lost count or we have.

use crate::limits::{REPORT_CHANGES_MAX, REPORT_PENDING_MAX};
use beeline_proto::pb::registry::v1::SocketChange;
use std::collections::BTreeMap;

/// networkId and deviceId.
type Device = (Box<str>, Box<str>);

/// Changes not yet taken by the registry.
#[derive(Debug)]
pub struct Reports {
    pending: BTreeMap<Device, bool>,
    capacity: usize,
    /// Whether the next report must start from the list of open sockets.
    full: bool,
}

impl Default for Reports {
    fn default() -> Self {
        Self {
            pending: BTreeMap::new(),
            capacity: REPORT_PENDING_MAX,
            // The registry knows nothing of a gateway that has just started.
            full: true,
        }
    }
}

impl Reports {
    /// Notes that a socket opened or closed; the newest word on a device counts.
    pub fn note(&mut self, network: &str, device: &str, open: bool) {
        if self.pending.len() >= self.capacity {
            self.pending.clear();
            self.full = true;
        }
        if !self.full {
            self.pending.insert((network.into(), device.into()), open);
        }
    }

    /// The registry asks for the full list, or a new epoch makes it forget the old one.
    pub fn want_full(&mut self) {
        self.full = true;
        self.pending.clear();
    }

    /// Whether the next report must be preceded by [`Reports::start_full`].
    pub fn is_full_wanted(&self) -> bool {
        self.full
    }

    /// Takes the list of all open sockets. Called before it is read, so that what changes meanwhile
    /// is noted again, not lost.
    pub fn start_full(&mut self) {
        self.full = false;
        self.pending.clear();
    }

    /// The changes of the next report, at most 1,000; they are no longer pending.
    pub fn take(&mut self) -> Vec<SocketChange> {
        let mut changes = Vec::with_capacity(self.pending.len().min(REPORT_CHANGES_MAX));
        while changes.len() < REPORT_CHANGES_MAX
            && let Some(((network_id, device_id), open)) = self.pending.pop_first()
        {
            changes.push(SocketChange {
                network_id: network_id.into(),
                device_id: device_id.into(),
                open,
            });
        }
        changes
    }

    /// Takes back the changes of a report that did not arrive; newer words stay.
    pub fn give_back(&mut self, changes: Vec<SocketChange>) {
        for change in changes {
            let device = (change.network_id.into(), change.device_id.into());
            self.pending.entry(device).or_insert(change.open);
        }
    }

    /// Whether a full batch waits: there is no reason to gather more.
    pub fn is_batch_waiting(&self) -> bool {
        self.pending.len() >= REPORT_CHANGES_MAX
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty() && !self.full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started() -> Reports {
        let mut reports = Reports::default();
        assert!(reports.is_full_wanted());
        reports.start_full();
        reports
    }

    fn said(changes: &[SocketChange]) -> Vec<(&str, bool)> {
        changes
            .iter()
            .map(|c| (c.device_id.as_str(), c.open))
            .collect()
    }

    #[test]
    fn the_last_word_on_a_device_counts() {
        let mut reports = started();
        reports.note("home", "a", true);
        reports.note("home", "b", true);
        reports.note("home", "a", false);
        let changes = reports.take();
        assert_eq!(said(&changes), [("a", false), ("b", true)]);
        assert!(reports.is_empty());
        // It did not arrive, and meanwhile a came back.
        reports.note("home", "a", true);
        reports.give_back(changes);
        assert_eq!(said(&reports.take()), [("a", true), ("b", true)]);
    }

    #[test]
    fn batches_are_bounded() {
        let mut reports = started();
        for n in 0..REPORT_CHANGES_MAX + 1 {
            reports.note("home", &format!("d{n}"), true);
        }
        assert!(reports.is_batch_waiting());
        assert_eq!(reports.take().len(), REPORT_CHANGES_MAX);
        assert!(!reports.is_batch_waiting());
        assert_eq!(reports.take().len(), 1);
    }

    #[test]
    fn too_many_changes_become_one_full_list() {
        let mut reports = started();
        reports.capacity = 3;
        for n in 0..4 {
            reports.note("home", &format!("d{n}"), true);
        }
        assert!(reports.is_full_wanted() && reports.take().is_empty());
        // What changes while the list is being read is noted.
        reports.start_full();
        reports.note("home", "d1", false);
        assert_eq!(said(&reports.take()), [("d1", false)]);
    }
}
