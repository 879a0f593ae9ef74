//! Relay first, direct soon: while what we say to a device reaches it through others, a link to it
//! is still owed. Where there is neither a link nor a call, or the call was lost, the device is
//! called again, without anybody having something new to say: soon, then ever less, and only while
//! there is something that goes through others.

use crate::event::Rung;
use crate::input::LinkId;
use crate::limits::{
    REDIALS_MAX, SOON_AFTER_MS, SOON_ANEW_MS, SOON_MAX, SOON_MS, SOON_MS_MAX, SOON_SINCE_MS_MAX,
    SOON_SPREAD_MS,
};
use crate::link::{Call, Link, Stage};
use crate::manager::PeerManager;
use crate::timer::Timer;
use crate::ways::Way;
use beeline_proto::id::DeviceFp;
use beeline_proto::time::Now;
use std::collections::BTreeMap;

/// What is known of one device that is reached through others.
#[derive(Debug, Clone, Copy, Default)]
struct Owed {
    /// When something last reached it so, or a link was refused, monotonic milliseconds.
    since_ms: u64,
    /// Calls made for that alone since a link came, or other ways to it.
    calls: u32,
    /// When the next such call may be made, monotonic milliseconds.
    due_ms: u64,
    /// When the pauses last began anew, monotonic milliseconds.
    anew_ms: Option<u64>,
}

/// Devices that are owed a link; the one reached longest ago is forgotten first.
#[derive(Debug, Default)]
pub(crate) struct Soon {
    by_device: BTreeMap<DeviceFp, Owed>,
}

impl Soon {
    /// Something of ours has reached a device through others. The device that is forgotten for it.
    fn note(&mut self, device: DeviceFp, now_ms: u64) -> Option<DeviceFp> {
        let full = self.by_device.len() >= SOON_MAX && !self.by_device.contains_key(&device);
        let idlest = self.by_device.iter().filter(|_| full);
        let idlest = idlest.min_by_key(|(_, owed)| owed.since_ms);
        let idlest = idlest.map(|(device, _)| *device);
        if let Some(idlest) = idlest {
            self.by_device.remove(&idlest);
        }
        self.by_device.entry(device).or_default().since_ms = now_ms;
        idlest
    }

    /// What is owed, if something went through others lately.
    fn owed(&self, device: DeviceFp, now_ms: u64) -> Option<Owed> {
        let lately = |owed: &&Owed| now_ms <= owed.since_ms.saturating_add(SOON_SINCE_MS_MAX);
        self.by_device.get(&device).filter(lately).copied()
    }

    /// Whether a call that is slow is given up for another one: not again and again.
    pub(crate) fn is_urgent(&self, device: DeviceFp, now_ms: u64) -> bool {
        let owed = self.owed(device, now_ms);
        owed.is_some_and(|owed| owed.calls < REDIALS_MAX)
    }

    /// A call is made for that alone.
    pub(crate) fn count(&mut self, device: DeviceFp, now_ms: u64) {
        if let Some(owed) = self.by_device.get_mut(&device) {
            let pause_ms = SOON_MS.get(owed.calls as usize).copied();
            owed.due_ms = now_ms + pause_ms.unwrap_or(SOON_MS_MAX);
            owed.calls = owed.calls.saturating_add(1);
        }
    }

    /// A link to the device was refused: it is called as rarely as may be, whatever goes through
    /// others from now on. The device that is forgotten for it.
    fn refuse(&mut self, device: DeviceFp, now_ms: u64) -> Option<DeviceFp> {
        let idlest = self.note(device, now_ms);
        if let Some(owed) = self.by_device.get_mut(&device) {
            owed.calls = owed.calls.max(SOON_MS.len() as u32);
            owed.due_ms = now_ms + SOON_MS_MAX;
        }
        idlest
    }

    /// The pauses begin anew, each device's at a moment of its own; not if they lately did. Whether
    /// they do.
    fn begin_anew(&mut self, device: DeviceFp, now_ms: u64) -> bool {
        let due = |owed: &&mut Owed| {
            let anew_ms = owed.anew_ms;
            anew_ms.is_none_or(|at_ms| now_ms >= at_ms.saturating_add(SOON_ANEW_MS))
        };
        let Some(owed) = self.by_device.get_mut(&device).filter(due) else {
            return false;
        };
        owed.calls = 0;
        owed.due_ms = now_ms + SOON_AFTER_MS + spread_ms(device);
        owed.anew_ms = Some(now_ms);
        true
    }

    /// How many devices are remembered.
    pub(crate) fn len(&self) -> usize {
        self.by_device.len()
    }
}

/// Where in [`SOON_SPREAD_MS`] a device is called: the same at each start, and another for each.
fn spread_ms(device: DeviceFp) -> u64 {
    let first = device.0.iter().take(8);
    first.fold(0, |sum, byte| sum << 8 | u64::from(*byte)) % SOON_SPREAD_MS
}

impl PeerManager {
    /// A device has what we said, and told us so this way. Where it was through others, a call goes
    /// the same way, and is made anew once it has had its time.
    pub(crate) fn note_through(&mut self, now: Now, device: DeviceFp, way: Way) {
        if !matches!(way, Way::Relay(_) | Way::Socket(_)) {
            return;
        }
        let idlest = self.links.soon.note(device, now.mono_ms);
        self.forget_planned(idlest);
        let calls = self.links.of_device(device);
        let calls = calls.filter(|link| matches!(link.stage, Stage::Negotiating(_)));
        let calls: Vec<LinkId> = calls.map(|link| link.id).collect();
        if !calls.is_empty() {
            self.widen_calls(now, device);
        }
        for id in calls {
            self.rearm_redial(now, id);
        }
        self.plan_soon(now, device);
    }

    /// A device has its link: nothing is owed to it, and no call planned.
    pub(crate) fn forget_soon(&mut self, device: DeviceFp) {
        self.links.soon.by_device.remove(&device);
        self.forget_planned(Some(device));
    }

    /// A link to a device was refused: somebody may sit between. It is not called soon for it.
    pub(crate) fn refuse_soon(&mut self, now: Now, device: DeviceFp) {
        let idlest = self.links.soon.refuse(device, now.mono_ms);
        self.forget_planned(idlest);
    }

    fn forget_planned(&mut self, device: Option<DeviceFp>) {
        if let Some(device) = device {
            self.timers.cancel(&Timer::Soon(device));
        }
    }

    /// A call came to nothing; or a link is gone that was doubted, and nothing went over it before.
    pub(crate) fn on_call_lost(&mut self, now: Now, call: &Link) {
        let lost = call.ready().is_none_or(|ready| ready.direct.doubted);
        if lost && !call.direct_only {
            self.plan_soon(now, call.device);
        }
    }

    /// Plans the next call of a device that is owed a link and has neither one nor a call, unless
    /// it is planned sooner.
    fn plan_soon(&mut self, now: Now, device: DeviceFp) {
        let owed = self.links.soon.owed(device, now.mono_ms);
        let Some(owed) = owed.filter(|_| !self.is_called(device) && !self.draining) else {
            return;
        };
        let at_ms = owed.due_ms.max(now.mono_ms + SOON_AFTER_MS);
        self.timers.arm_by(Timer::Soon(device), at_ms);
    }

    /// Whether there is a link to a device, or a call.
    fn is_called(&self, device: DeviceFp) -> bool {
        self.links.of_device(device).next().is_some()
    }

    /// A device is called because it is owed a link, if it still is. Where a call was counted, or a
    /// link refused, since this was planned, it waits for the longer pause.
    pub(crate) fn on_soon(&mut self, now: Now, device: DeviceFp) {
        let owed = self.links.soon.owed(device, now.mono_ms);
        if owed.is_some_and(|owed| owed.due_ms > now.mono_ms) {
            return self.plan_soon(now, device);
        }
        let user = self.contacts.of_device(device);
        let user = user.map(|contact| contact.row.label.clone());
        let Some(user) = user.filter(|user| owed.is_some() && !self.is_blocked(user)) else {
            return;
        };
        if self.is_called(device) {
            return;
        }
        self.call(now, &user, device, Call::on(Rung::Cache));
        // There may be no room for another link: the next thing that goes through others asks anew.
        if self.is_called(device) {
            self.links.soon.count(device, now.mono_ms);
        }
    }

    /// A socket came up, or the network is another one: what came to nothing says little now.
    pub(crate) fn call_soon_anew(&mut self, now: Now) {
        let devices: Vec<DeviceFp> = self.links.soon.by_device.keys().copied().collect();
        for device in devices {
            if self.links.soon.begin_anew(device, now.mono_ms) {
                self.links.forget_calls(device);
                self.forget_planned(Some(device));
                self.plan_soon(now, device);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::device;
    use std::collections::BTreeSet;

    #[test]
    fn calls_become_rare_and_end_with_what_goes_through_others() {
        let (carol, mut soon) = (device(1), Soon::default());
        assert!(!soon.is_urgent(carol, 0));
        soon.count(carol, 0);
        assert_eq!(soon.len(), 0, "nothing is owed to who was never reached");
        let mut dues = Vec::new();
        for _ in 0..6 {
            soon.note(carol, 1_000);
            assert_eq!(soon.is_urgent(carol, 1_000), dues.len() < 3);
            soon.count(carol, 1_000);
            dues.push(soon.owed(carol, 1_000).expect("owed").due_ms - 1_000);
        }
        assert_eq!(dues[..4], SOON_MS);
        assert_eq!(dues[4..], [SOON_MS_MAX; 2]);
        assert!(soon.owed(carol, 1_000 + SOON_SINCE_MS_MAX).is_some());
        assert!(soon.owed(carol, 1_001 + SOON_SINCE_MS_MAX).is_none());
    }

    #[test]
    fn who_refused_a_link_is_called_as_rarely_as_may_be() {
        let (carol, mut soon) = (device(1), Soon::default());
        soon.refuse(carol, 1_000);
        for n in 0..3 {
            soon.note(carol, 2_000 + n);
            let owed = soon.owed(carol, 2_000 + n).expect("owed");
            assert_eq!(owed.due_ms, 1_000 + SOON_MS_MAX);
            assert!(!soon.is_urgent(carol, 2_000 + n));
        }
        soon.count(carol, 5_000);
        let owed = soon.owed(carol, 5_000).expect("owed");
        assert_eq!(owed.due_ms, 5_000 + SOON_MS_MAX);
    }

    #[test]
    fn pauses_begin_anew_now_and_then_and_not_all_together() {
        let mut soon = Soon::default();
        let devices: Vec<DeviceFp> = (0..100).map(|n| device(n * 7_919)).collect();
        for carol in &devices {
            soon.note(*carol, 1_000);
            soon.count(*carol, 1_000);
            assert!(soon.begin_anew(*carol, 5_000));
        }
        let due = |soon: &Soon, carol| soon.owed(carol, 5_000).expect("owed").due_ms;
        let dues: BTreeSet<u64> = devices.iter().map(|d| due(&soon, *d)).collect();
        assert!(dues.len() > 90, "{dues:?}");
        assert!(dues.iter().all(|at_ms| (6_000..8_000).contains(at_ms)));
        let carol = devices[0];
        soon.count(carol, 6_000);
        assert!(!soon.begin_anew(carol, 5_000 + SOON_ANEW_MS - 1));
        assert_eq!(due(&soon, carol), 6_000 + SOON_MS[0]);
        assert!(soon.begin_anew(carol, 5_000 + SOON_ANEW_MS));
        assert!(!soon.begin_anew(device(1), 5_000), "nothing is owed to it");
    }

    #[test]
    fn who_was_reached_longest_ago_goes_first() {
        let mut soon = Soon::default();
        let notes = (0..SOON_MAX as u64 + 3).map(|n| soon.note(device(n), n));
        let gone: Vec<DeviceFp> = notes.flatten().collect();
        assert_eq!(gone, [0, 1, 2].map(device));
        assert_eq!(soon.note(device(3), 3), None, "it is remembered already");
        assert_eq!(soon.len(), SOON_MAX);
        let kept = |n| soon.owed(device(n), 0).is_some();
        assert_eq!([2, 3].map(kept), [false, true]);
    }
}
