//! Being a coordinator: the registry hears that we live, how loaded we are and who is linked to us,
//! as changes. A registry that is gone costs nothing but the tries.

use crate::crypto::random_u64;
use crate::input::{RegistryAnswer, RegistryError};
use crate::intake::Opened;
use crate::limits::{HEARTBEAT_START_MS, LINKS_MAX};
use crate::manager::PeerManager;
use crate::output::RegistryCall;
use crate::outputs::Request;
use crate::timer::Timer;
use beeline_proto::id::{DeviceFp, Label, ParcelId};
use beeline_proto::limits::{COORDINATOR_TTL_S, HEARTBEAT_S};
use beeline_proto::parcel::Parcel;
use beeline_proto::pb::peer::v1::nack::Reason;
use beeline_proto::time::Now;
use std::collections::BTreeSet;

/// What the registry was told of us.
#[derive(Debug, Default)]
pub(crate) struct Heartbeat {
    epoch: u64,
    seq: u64,
    /// deviceIds it knows to be connected.
    told: BTreeSet<Label>,
    /// deviceIds in the heartbeat under way.
    telling: BTreeSet<Label>,
    /// The next one carries the whole list.
    full: bool,
    /// Milliseconds between two.
    pace_ms: u64,
}

impl PeerManager {
    /// After a start.
    pub(crate) fn start_heartbeat(&mut self, now: Now) {
        if !self.me.config.coordinator {
            return;
        }
        self.heartbeat = Heartbeat {
            epoch: random_u64(self.crypto.as_mut()),
            full: true,
            pace_ms: u64::from(HEARTBEAT_S) * 1_000,
            ..Heartbeat::default()
        };
        let at_ms = now.mono_ms + HEARTBEAT_START_MS;
        self.timers.arm(Timer::Heartbeat, at_ms);
    }

    /// Tells the registry that we live.
    pub(crate) fn beat(&mut self, now: Now) {
        self.timers
            .arm(Timer::Heartbeat, now.mono_ms + self.heartbeat.pace_ms);
        if self.draining || self.out.asking(&Request::Heartbeat) {
            return;
        }
        let current = self.connected_labels();
        let beat = &mut self.heartbeat;
        beat.seq += 1;
        let (connected, disconnected) = if beat.full {
            (current.iter().cloned().collect(), Vec::new())
        } else {
            (
                current.difference(&beat.told).cloned().collect(),
                beat.told.difference(&current).cloned().collect(),
            )
        };
        beat.telling = current;
        let call = RegistryCall::Heartbeat {
            load: self.links.by_id.len() as u32,
            capacity: self.me.config.links_max as u32,
            connected,
            disconnected,
            full: beat.full,
            epoch: beat.epoch,
            seq: beat.seq,
        };
        self.out.ask(call, Request::Heartbeat);
    }

    /// deviceIds linked to us that may be named.
    fn connected_labels(&self) -> BTreeSet<Label> {
        let links = self.links.by_id.values();
        let links = links.filter(|link| link.is_ready() && self.may_name(link.device));
        links
            .map(|link| link.device_label.clone())
            .take(LINKS_MAX)
            .collect()
    }

    /// The registry took a heartbeat, or did not: then the next one tells everything.
    pub(crate) fn on_heartbeat(&mut self, now: Now, answer: Result<RegistryAnswer, RegistryError>) {
        let beat = &mut self.heartbeat;
        match answer {
            Ok(RegistryAnswer::HeartbeatTaken { next_s, want_full }) => {
                beat.told = std::mem::take(&mut beat.telling);
                beat.full = want_full;
                let next_s = next_s.clamp(1, COORDINATOR_TTL_S / 2);
                beat.pace_ms = u64::from(next_s) * 1_000;
                let at_ms = now.mono_ms + beat.pace_ms;
                self.timers.arm(Timer::Heartbeat, at_ms);
            }
            _ => {
                beat.full = true;
                self.out.counters.count("heartbeat-failed");
                let random = random_u64(self.crypto.as_mut());
                let fifth = self.heartbeat.pace_ms / 5;
                let at_ms = now.mono_ms + self.heartbeat.pace_ms - random % (fifth + 1);
                self.timers.arm(Timer::Heartbeat, at_ms);
            }
        }
    }

    /// Whether there is no room for a link with another device.
    pub(crate) fn is_full_for(&self, device: DeviceFp) -> bool {
        let known = self.links.of_device(device).next().is_some();
        let room = if known {
            LINKS_MAX
        } else {
            self.me.config.links_max
        };
        self.links.by_id.len() >= room && !planted!(CapIgnored)
    }

    /// Refuses a call because all links are in use, by the way it came.
    pub(crate) fn refuse_call(&mut self, now: Now, opened: &Opened) {
        let subject = (opened.parcel, None);
        self.say_nack(now, opened.from, subject, Reason::Full, opened.way);
    }

    /// A device has no room for our call: it is not called again for a while; whether the parcel
    /// was an offer of ours.
    pub(crate) fn on_call_refused(&mut self, now: Now, from: DeviceFp, parcel: ParcelId) -> bool {
        let offered = |bytes: &[u8]| Parcel::parse(bytes).is_ok_and(|sent| sent.id() == parcel);
        let mut refused = None;
        let calls: Vec<_> = self.links.of_device(from).map(|link| link.id).collect();
        for id in calls {
            let negotiation = self
                .links
                .get_mut(id)
                .and_then(|link| link.negotiation_mut());
            if negotiation.is_some_and(|n| n.sent.iter().any(|(_, bytes)| offered(bytes))) {
                refused = Some(id);
            }
        }
        let Some(id) = refused else {
            return false;
        };
        self.coordinators.note_full(from, now.mono_ms);
        self.close_link(now, id, "the device takes no more links now");
        true
    }
}
