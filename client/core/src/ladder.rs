//! The discovery ladder: six rungs, each with the moment it starts at the latest. A rung with
//! nobody left to ask lets the next start at once; only an end-to-end ACK, which ends the ladder
//! itself, stops it.

use crate::event::Rung;

/// All rungs in order.
pub(crate) const RUNGS: [Rung; 6] = [
    Rung::Connected,
    Rung::Cache,
    Rung::Peers,
    Rung::Coordinators,
    Rung::Registry,
    Rung::StoreAndForward,
];

/// What a ladder wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// This rung starts now.
    Start(Rung),
    /// Nothing before this moment, unless an attempt ends.
    WaitUntil(u64),
    /// Every rung was started; attempts are in flight.
    Wait,
    /// Every rung was started and nothing is in flight.
    Exhausted,
}

/// One climb for one user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ladder {
    started_ms: u64,
    /// Rungs started.
    climbed: usize,
    /// The rung started last that had something to try.
    tried: Option<Rung>,
}

impl Ladder {
    pub(crate) fn new(now_ms: u64) -> Self {
        Self {
            started_ms: now_ms,
            climbed: 0,
            tried: None,
        }
    }

    /// Notes that a rung had something to try.
    pub(crate) fn note_tried(&mut self, rung: Rung) {
        self.tried = Some(rung);
    }

    /// The rung started last that had something to try.
    pub(crate) fn tried(&self) -> Option<Rung> {
        self.tried
    }

    /// What comes next. `in_flight`: an attempt may still succeed. `waiting`: a message is out on
    /// an open link that has not been doubted yet; only its ACK, or the doubt, goes on.
    pub(crate) fn step(&mut self, now_ms: u64, in_flight: bool, waiting: bool) -> Step {
        let Some(next) = RUNGS.get(self.climbed).copied() else {
            return if in_flight || waiting {
                Step::Wait
            } else {
                Step::Exhausted
            };
        };
        let due_ms = self.started_ms.saturating_add(next.starts_by_ms());
        if self.climbed > 0 && waiting {
            return Step::Wait;
        }
        if self.climbed > 0 && in_flight && now_ms < due_ms {
            return Step::WaitUntil(due_ms);
        }
        self.climbed += 1;
        Step::Start(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The moments at which rungs start, when attempts stay in flight from rung `busy_from` on.
    fn timeline(busy_from: Rung) -> Vec<(Rung, u64)> {
        let (mut ladder, mut now, mut starts) = (Ladder::new(0), 0, Vec::new());
        for _ in 0..20 {
            let busy = starts.last().is_some_and(|(rung, _)| *rung >= busy_from);
            match ladder.step(now, busy, false) {
                Step::Start(rung) => starts.push((rung, now)),
                Step::WaitUntil(at) => now = at,
                Step::Wait | Step::Exhausted => break,
            }
        }
        starts
    }

    #[test]
    fn rungs_start_at_their_times_while_attempts_are_in_flight() {
        let want = RUNGS.map(|rung| (rung, rung.starts_by_ms()));
        assert_eq!(timeline(Rung::Connected), want);
        let times: Vec<u64> = want.iter().map(|(_, at)| *at).collect();
        assert_eq!(times, [0, 5, 50, 200, 500, 1_000]);
    }

    #[test]
    fn a_rung_with_nobody_to_ask_lets_the_next_start_at_once() {
        let starts = timeline(Rung::Registry);
        let want = [0, 0, 0, 0, 0, 1_000];
        assert_eq!(starts.iter().map(|(_, at)| *at).collect::<Vec<_>>(), want);
    }

    #[test]
    fn a_message_on_an_undoubted_link_holds_the_ladder() {
        let mut ladder = Ladder::new(0);
        assert_eq!(ladder.step(0, false, false), Step::Start(Rung::Connected));
        assert_eq!(ladder.step(250, true, true), Step::Wait);
        assert_eq!(ladder.step(300, false, false), Step::Start(Rung::Cache));
        ladder.note_tried(Rung::Cache);
        assert_eq!(ladder.tried(), Some(Rung::Cache));
    }

    #[test]
    fn it_ends() {
        let mut ladder = Ladder::new(0);
        for rung in RUNGS {
            assert_eq!(ladder.step(0, false, false), Step::Start(rung));
        }
        assert_eq!(ladder.step(0, true, false), Step::Wait);
        assert_eq!(ladder.step(0, false, false), Step::Exhausted);
    }
}
