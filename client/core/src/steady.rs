//! The steady clock: how long this device has lived. Ages of messages and of secrets are counted by
//! it, never by the wall clock, which a person, a server or a dead battery may move by years.
//!
//! While a process runs, it goes with the monotonic clock. A rest between two processes is only
//! seen by the wall clock; it counts for at most [`REST_COUNTED_MS_MAX`], and never backwards. So a
//! wall clock that jumped can make things last longer, or end a week early, and no more.

use crate::limits::{CLOCK_SETTLES_MS, REST_COUNTED_MS_MAX, REST_PLAUSIBLE_MS_MAX};
use crate::manager::PeerManager;
use crate::state::{ClockRow, StoreOp};
use beeline_proto::time::Now;

/// The steady clock of a running process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Steady {
    /// What it showed when the process started.
    start_ms: u64,
    started_mono_ms: u64,
    /// The latest wall clock reading kept before this process.
    kept_wall_ms: u64,
    /// Milliseconds the wall clock went forward since, or back, if that is hard to believe.
    jumped_ms: Option<i64>,
}

impl Steady {
    pub(crate) fn start(kept: Option<ClockRow>, now: Now) -> Self {
        let Some(kept) = kept else {
            return Self {
                start_ms: now.wall_ms,
                started_mono_ms: now.mono_ms,
                kept_wall_ms: now.wall_ms,
                jumped_ms: None,
            };
        };
        let rest_ms = now.wall_ms.saturating_sub(kept.wall_ms);
        let back_ms = kept.wall_ms.saturating_sub(now.wall_ms);
        let strange = rest_ms > REST_PLAUSIBLE_MS_MAX || back_ms > CLOCK_SETTLES_MS;
        let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        let jumped_ms = signed(rest_ms).saturating_sub(signed(back_ms));
        Self {
            start_ms: kept
                .steady_ms
                .saturating_add(rest_ms.min(REST_COUNTED_MS_MAX)),
            started_mono_ms: now.mono_ms,
            kept_wall_ms: kept.wall_ms,
            jumped_ms: strange.then_some(jumped_ms),
        }
    }

    /// Milliseconds it shows.
    pub(crate) fn at(&self, now: Now) -> u64 {
        let runs_ms = now.mono_ms.saturating_sub(self.started_mono_ms);
        self.start_ms.saturating_add(runs_ms)
    }

    /// What to keep of it. A wall clock that went back is not believed until the process has run
    /// for a while: after a cold start it may not be set yet.
    fn row(&self, now: Now) -> ClockRow {
        let runs_ms = now.mono_ms.saturating_sub(self.started_mono_ms);
        let settled = runs_ms >= CLOCK_SETTLES_MS;
        let at_least = if settled { 0 } else { self.kept_wall_ms };
        ClockRow {
            steady_ms: self.at(now),
            wall_ms: now.wall_ms.max(at_least),
        }
    }
}

impl PeerManager {
    /// What the steady clock shows, milliseconds.
    pub(crate) fn steady_ms(&self, now: Now) -> u64 {
        self.steady.at(now)
    }

    /// Keeps the steady clock with the next write.
    pub(crate) fn keep_clock(&mut self, now: Now) {
        let row = self.steady.row(now);
        self.lazily(now, StoreOp::KeepClock(row));
    }

    /// After a start: says so if the wall clock cannot be right. Nothing ends because of it.
    pub(crate) fn check_clock(&mut self, now: Now) {
        let Some(ms) = self.steady.jumped_ms else {
            return;
        };
        let days = ms.unsigned_abs() / (24 * 3_600 * 1_000);
        let way = if ms < 0 { "back" } else { "forward" };
        let detail = format!(
            "the clock went {way} by {days} days since this home was last open; if that is not \
             true, set the clock. Nothing was given up because of it"
        );
        self.out.warn(now, "clock", detail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: u64 = 24 * 3_600 * 1_000;

    fn now(mono_ms: u64, wall_ms: u64) -> Now {
        Now { mono_ms, wall_ms }
    }

    fn kept(steady_ms: u64, wall_ms: u64) -> Option<ClockRow> {
        Some(ClockRow { steady_ms, wall_ms })
    }

    #[test]
    fn it_begins_with_the_wall_clock_and_goes_with_the_monotonic_one() {
        let steady = Steady::start(None, now(5, 1_000));
        assert_eq!(steady.at(now(5, 1_000)), 1_000);
        assert_eq!(steady.at(now(25, 9_999_999_999)), 1_020);
        assert_eq!(steady.at(now(30, 0)), 1_025);
        assert_eq!(steady.jumped_ms, None);
    }

    #[test]
    fn a_rest_counts_up_to_a_week_and_never_backwards() {
        let shown = |wall_ms: u64| {
            let steady = Steady::start(kept(50 * DAY_MS, 100 * DAY_MS), now(7, wall_ms));
            (steady.at(now(7, 0)), steady.jumped_ms.is_some())
        };
        assert_eq!(shown(100 * DAY_MS), (50 * DAY_MS, false));
        assert_eq!(shown(103 * DAY_MS), (53 * DAY_MS, false));
        assert_eq!(shown(140 * DAY_MS), (57 * DAY_MS, false));
        assert_eq!(shown(3_800 * DAY_MS), (57 * DAY_MS, true));
        assert_eq!(shown(u64::MAX), (57 * DAY_MS, true));
        assert_eq!(shown(0), (50 * DAY_MS, true));
    }

    #[test]
    fn a_clock_not_set_yet_is_not_kept() {
        let steady = Steady::start(kept(50 * DAY_MS, 100 * DAY_MS), now(0, 3));
        assert_eq!(steady.row(now(10, 13)).wall_ms, 100 * DAY_MS);
        let late = now(CLOCK_SETTLES_MS, 99 * DAY_MS);
        assert_eq!(steady.row(late).wall_ms, 99 * DAY_MS);
    }
}
