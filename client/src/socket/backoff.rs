//! How long to wait before dialling again: exponential, with full jitter, so that a thousand
//! clients of a restarted gateway do not come back in one moment.

use crate::identity::random;
use crate::limits::{RECONNECT_MAX, RECONNECT_MIN};
use std::time::Duration;

/// A socket that lived this long was sound: the next delay starts small again.
const SOUND_AFTER: Duration = Duration::from_secs(10);

/// Delays that double.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The delay before the next dial.
    pub(super) fn next(&mut self) -> Duration {
        let ceiling = self.ceiling();
        self.failures = self.failures.saturating_add(1);
        // Without randomness the whole delay is the safe choice.
        let fraction = random().map_or(u32::MAX, u32::from_le_bytes);
        ceiling.mul_f64(f64::from(fraction) / f64::from(u32::MAX))
    }

    /// The delay before the first dial on another network.
    pub(super) fn afresh(&mut self) -> Duration {
        self.failures = 0;
        self.next()
    }

    /// Tells how long the last socket lived.
    pub(super) fn lived(&mut self, lived: Duration) {
        if lived >= SOUND_AFTER {
            self.failures = 0;
        }
    }

    fn ceiling(&self) -> Duration {
        let factor = 1u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        RECONNECT_MIN.saturating_mul(factor).min(RECONNECT_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_cap_and_start_again() {
        let mut backoff = Backoff::default();
        let mut ceilings = Vec::new();
        for _ in 0..40 {
            let ceiling = backoff.ceiling();
            assert!(backoff.next() <= ceiling);
            ceilings.push(ceiling);
        }
        assert_eq!(ceilings[0], RECONNECT_MIN);
        assert_eq!(ceilings[1], RECONNECT_MIN * 2);
        assert!(ceilings[6..].iter().all(|c| *c == RECONNECT_MAX));
        backoff.lived(SOUND_AFTER - Duration::from_millis(1));
        assert_eq!(backoff.ceiling(), RECONNECT_MAX);
        backoff.lived(SOUND_AFTER);
        assert_eq!(backoff.ceiling(), RECONNECT_MIN);
        backoff.failures = 40;
        assert!(backoff.afresh() <= RECONNECT_MIN);
        assert_eq!(
            backoff.ceiling(),
            RECONNECT_MIN * 2,
            "and it goes on from there"
        );
    }
}
