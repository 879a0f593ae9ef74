//! Looking for a link because of files: for whom we want something from, and for whom asked us.
//! Messages need none of this, they have the ladder; a file needs a link of its own device.

use super::incoming::Incoming;
use super::outgoing::Outgoing;
use super::rows::FileOutState;
use crate::backoff::pause_ms;
use crate::crypto::random_u64;
use crate::event::Rung;
use crate::limits::FILE_SEEKS_MAX;
use crate::manager::PeerManager;
use crate::timer::Timer;
use beeline_proto::id::{DeviceFp, Label};
use beeline_proto::time::Now;

/// A device that is looked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seek {
    /// How often in vain.
    attempt: u32,
    /// When next.
    due_ms: u64,
    /// Since when it is wanted.
    pub(super) since_ms: u64,
}

impl PeerManager {
    /// A device is wanted: it is looked for at once, and then with growing pauses.
    pub(super) fn seek(&mut self, now: Now, device: DeviceFp) {
        let full = self.files.seeks.len() >= FILE_SEEKS_MAX;
        if self.draining || full || self.files.seeks.contains_key(&device) {
            return;
        }
        let due_ms = now.mono_ms + 1;
        let seek = Seek {
            attempt: 0,
            due_ms,
            since_ms: now.mono_ms,
        };
        self.files.seeks.insert(device, seek);
        self.timers.arm_by(Timer::Files, due_ms);
    }

    /// After a start: devices that had asked for a file of ours may not know that we are back.
    pub(super) fn seek_receivers(&mut self, now: Now) {
        let wanted = |o: &&Outgoing| o.row.state == FileOutState::Wanted && !o.row.held;
        let users: Vec<Label> = {
            let wanted = self.files.out.values().filter(wanted);
            wanted.map(|o| o.row.to.clone()).collect()
        };
        for user in users {
            for device in self.devices_of(&user) {
                self.seek(now, device);
            }
        }
    }

    /// Whether a link to a device would help.
    pub(crate) fn files_want(&self, device: DeviceFp) -> bool {
        let wants = |i: &Incoming| i.row.device == device && i.wants_link();
        if self.me.config.files.is_some() && self.files.incoming.values().any(wants) {
            return true;
        }
        let user = self.contacts.of_device(device).map(|c| &c.row.label);
        let wanted = |o: &Outgoing| {
            o.row.state == FileOutState::Wanted
                && !o.row.held
                && !o.theirs
                && Some(&o.row.to) == user
        };
        self.files.out.values().any(wanted)
    }

    /// Looks for the devices whose pause is over.
    pub(super) fn seek_due(&mut self, now: Now) {
        let due = self.files.seeks.iter();
        let due = due.filter(|(_, seek)| seek.due_ms <= now.mono_ms);
        for device in due.map(|(device, _)| *device).collect::<Vec<_>>() {
            let linked = self.links.ready_to(device).is_some();
            if linked || self.draining || !self.files_want(device) {
                self.files.seeks.remove(&device);
                continue;
            }
            let random = random_u64(self.crypto.as_mut());
            if let Some(seek) = self.files.seeks.get_mut(&device) {
                seek.due_ms = now.mono_ms + pause_ms(seek.attempt, random).max(1);
                seek.attempt = seek.attempt.saturating_add(1);
            }
            self.look_for(now, device);
        }
    }

    fn look_for(&mut self, now: Now, device: DeviceFp) {
        let Some(user) = self.contacts.of_device(device).map(|c| c.row.label.clone()) else {
            return;
        };
        if self.is_blocked(&user) {
            return;
        }
        if self.links.of_user(&user).any(|link| link.is_ready()) {
            // Another device of the user is linked: this one is called itself.
            return self.dial(now, &user, device, Rung::Cache);
        }
        self.on_connect(now, &user);
    }

    /// Nothing comes over the link to a device though we asked: another one is made beside it.
    pub(super) fn doubt_path(&mut self, now: Now, device: DeviceFp) {
        if let Some(link) = self.links.ready_to(device) {
            self.on_link_silent(now, link);
        }
    }

    /// A user was heard of, or a way came up: its devices are looked for anew.
    pub(crate) fn seek_anew(&mut self, now: Now, user: &Label) {
        for device in self.devices_of(user) {
            if let Some(seek) = self.files.seeks.get_mut(&device) {
                (seek.attempt, seek.due_ms) = (0, now.mono_ms + 1);
                self.timers.arm_by(Timer::Files, now.mono_ms + 1);
            }
        }
    }

    /// A way came up: all are looked for anew.
    pub(crate) fn seek_all_anew(&mut self, now: Now) {
        for seek in self.files.seeks.values_mut() {
            (seek.attempt, seek.due_ms) = (0, now.mono_ms + 1);
        }
        self.arm_files(now);
    }

    /// Whether a device of a user is looked for because of files.
    pub(crate) fn is_seeking(&self, user: &Label) -> bool {
        let mut devices = self.devices_of(user).into_iter();
        devices.any(|device| self.files.seeks.contains_key(&device))
    }

    /// Comes back when something is due.
    pub(super) fn arm_files(&mut self, now: Now) {
        let seeks = self.files.seeks.values().map(|seek| seek.due_ms);
        let incoming = self.files.incoming.values().filter_map(|i| i.due_ms);
        let records = self.files.out.values().filter_map(Outgoing::record_due_ms);
        if let Some(at_ms) = seeks.chain(incoming).chain(records).min() {
            self.timers.arm(Timer::Files, at_ms.max(now.mono_ms + 1));
        }
    }
}
