//! What still holds while the registry is down: proven sockets go on for 24 hours after its last
//! answer; calls to it fail at once for a moment after one has failed.

use crate::limits::{GRACE_MS, REGISTRY_RETRY_MS};
use beeline_proto::time::Now;

/// What is known of the registry's health.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Grace {
    /// Wall clock of its last answer; kept on disk over a restart.
    last_answer_ms: Option<u64>,
    /// Monotonic moment of the last failure, if no answer has followed.
    failed_ms: Option<u64>,
}

impl Grace {
    /// With the last answer as remembered on disk.
    pub fn new(last_answer_ms: Option<u64>) -> Self {
        Self {
            last_answer_ms,
            ..Self::default()
        }
    }

    /// The registry answered, be it with an error of its own; true if it had seemed down.
    pub fn answered(&mut self, now: Now) -> bool {
        self.last_answer_ms = Some(now.wall_ms);
        self.failed_ms.take().is_some()
    }

    /// A call did not reach it, or timed out; true if it had seemed up.
    pub fn failed(&mut self, now: Now) -> bool {
        self.failed_ms.replace(now.mono_ms).is_none()
    }

    /// Whether it seems down.
    pub fn is_down(&self) -> bool {
        self.failed_ms.is_some()
    }

    /// Whether asking it is worth the wait: not in the moment after a failure.
    pub fn may_ask(&self, now: Now) -> bool {
        let wait_until = |at: u64| at.saturating_add(REGISTRY_RETRY_MS);
        self.failed_ms
            .is_none_or(|at| now.mono_ms >= wait_until(at))
    }

    /// Whether sockets may be open on what is remembered: within 24 hours of the last answer. A
    /// last answer in the future, by a clock that was set back, counts as now.
    pub fn holds(&self, now: Now) -> bool {
        self.last_answer_ms
            .is_some_and(|at| now.wall_ms.saturating_sub(at) <= GRACE_MS)
    }

    /// Wall clock of the last answer, to be kept on disk.
    pub fn last_answer_ms(&self) -> Option<u64> {
        self.last_answer_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Now {
        Now {
            mono_ms: ms,
            wall_ms: 1_000_000_000 + ms,
        }
    }

    #[test]
    fn grace_runs_from_the_last_answer() {
        let mut grace = Grace::default();
        assert!(
            !grace.holds(at(0)),
            "a gateway that never heard from its registry has none"
        );
        grace.answered(at(0));
        assert!(grace.failed(at(10)) && !grace.failed(at(11)));
        assert!(grace.is_down() && grace.holds(at(GRACE_MS)));
        assert!(!grace.holds(at(GRACE_MS + 1)));
        assert!(grace.answered(at(GRACE_MS + 2)) && !grace.answered(at(GRACE_MS + 2)));
        assert!(!grace.is_down() && grace.holds(at(GRACE_MS + 3)));
        let remembered = Grace::new(grace.last_answer_ms());
        assert!(remembered.holds(at(GRACE_MS + 3)));
    }

    #[test]
    fn after_a_failure_others_fail_at_once_for_a_moment() {
        let mut grace = Grace::default();
        assert!(grace.may_ask(at(0)));
        grace.failed(at(100));
        assert!(!grace.may_ask(at(100)) && !grace.may_ask(at(100 + REGISTRY_RETRY_MS - 1)));
        assert!(grace.may_ask(at(100 + REGISTRY_RETRY_MS)));
        grace.answered(at(200));
        assert!(grace.may_ask(at(200)));
    }
}
