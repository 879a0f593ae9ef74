//! Timers as an enum: one arm, one purpose, one place that fires it.

use crate::input::LinkId;
use crate::limits::TIMERS_MAX;
use beeline_proto::id::{DeviceFp, Label};
use std::collections::{BTreeMap, BTreeSet};

/// What can come due.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// The next rung of the user's ladder starts.
    Ladder(Label),
    /// Messages for the user are tried again.
    Retry(Label),
    /// Devices of the user are still to get something delivered: they are tried again.
    Serve(Label),
    /// A session has no link yet, or a link no HELLO: it ends.
    Session(LinkId),
    /// A session is slower than a healthy one: the device is called anew.
    Redial(LinkId),
    /// Candidates of a session go over links of common peers as well.
    Candidates(LinkId),
    /// The device is reached through others, and called for a link of its own.
    Soon(DeviceFp),
    /// A link through TURN tries for a better path.
    Path(LinkId),
    /// What custodians keep for the user is looked after.
    Custody(Label),
    /// Nothing sent over the link to the device was acknowledged: the route is doubted.
    Route(LinkId, DeviceFp),
    /// Held messages of the stream (device, incarnation) are shown with their gap.
    Gap(DeviceFp, u64),
    /// Gathered ACKs go to the device.
    Acks(DeviceFp),
    /// Frames that did not fit between two inputs go on.
    Frames,
    /// Peers asked for the user have not answered.
    Query(Label),
    /// The neighbour at the other end of the link is told who is linked to us.
    State(LinkId),
    /// What is owed of devices that come and go is told.
    Neighbours,
    /// Links with coordinators are looked after.
    Coordinators,
    /// As a coordinator we tell the registry that we live.
    Heartbeat,
    /// We announce ourselves, or try again.
    Announce,
    /// What a custodian keeps for us is asked for again over the link.
    Collect(LinkId),
    /// Members that keep for us are called on.
    Visit,
    /// Links made only to leave parcels are looked at.
    LetGo,
    /// More of what is kept for others has ended.
    Expire,
    /// Files that wait for a link, or for chunks, are looked at.
    Files,
    /// The next part of a file goes through others.
    FileParts,
    /// What a burst queued has waited long enough to be sealed.
    Seal,
    /// Operations that waited for a write to ride on are written.
    Lazy,
    /// What failed writes recorded is written again.
    Rewrite,
    /// Expired messages, old bundles and the bundle's age are looked at.
    Sweep,
}

/// The armed timers: each at most once.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    at: BTreeMap<Timer, u64>,
    order: BTreeSet<(u64, Timer)>,
}

impl Timers {
    /// Arms `timer` for `at_ms`, in place of what it was armed for.
    pub(crate) fn arm(&mut self, timer: Timer, at_ms: u64) {
        self.cancel(&timer);
        if self.at.len() < TIMERS_MAX {
            self.order.insert((at_ms, timer.clone()));
            self.at.insert(timer, at_ms);
        }
    }

    /// Arms `timer` unless it is armed already.
    pub(crate) fn arm_if_idle(&mut self, timer: Timer, at_ms: u64) {
        if !self.at.contains_key(&timer) {
            self.arm(timer, at_ms);
        }
    }

    /// Arms `timer`, or brings it forward to `at_ms`.
    pub(crate) fn arm_by(&mut self, timer: Timer, at_ms: u64) {
        if self.when(&timer).is_none_or(|armed_ms| armed_ms > at_ms) {
            self.arm(timer, at_ms);
        }
    }

    /// Disarms `timer`.
    pub(crate) fn cancel(&mut self, timer: &Timer) {
        if let Some(at_ms) = self.at.remove(timer) {
            self.order.remove(&(at_ms, timer.clone()));
        }
    }

    /// When `timer` comes due.
    pub(crate) fn when(&self, timer: &Timer) -> Option<u64> {
        self.at.get(timer).copied()
    }

    /// When the first timer comes due.
    pub(crate) fn next(&self) -> Option<u64> {
        self.order.first().map(|(at_ms, _)| *at_ms)
    }

    /// Takes a timer that is due at `now_ms`.
    pub(crate) fn pop_due(&mut self, now_ms: u64) -> Option<Timer> {
        let (at_ms, _) = self.order.first()?;
        if *at_ms > now_ms {
            return None;
        }
        let (_, timer) = self.order.pop_first()?;
        self.at.remove(&timer);
        Some(timer)
    }

    /// How many are armed.
    pub(crate) fn len(&self) -> usize {
        self.at.len()
    }

    /// Disarms everything.
    pub(crate) fn clear(&mut self) {
        self.at.clear();
        self.order.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_fire_in_order_and_once() {
        let mut timers = Timers::default();
        timers.arm(Timer::Sweep, 30);
        timers.arm(Timer::Lazy, 10);
        timers.arm(Timer::Lazy, 20);
        timers.arm_if_idle(Timer::Lazy, 5);
        timers.arm(Timer::Announce, 1);
        timers.cancel(&Timer::Announce);
        assert_eq!(timers.next(), Some(20));
        assert_eq!(timers.pop_due(19), None);
        assert_eq!(timers.pop_due(40), Some(Timer::Lazy));
        assert_eq!(timers.when(&Timer::Sweep), Some(30));
        assert_eq!(timers.pop_due(40), Some(Timer::Sweep));
        assert_eq!((timers.pop_due(40), timers.len()), (None, 0));
    }
}
