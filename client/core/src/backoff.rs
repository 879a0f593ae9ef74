//! Pauses between tries: doubling, with jitter from the caller's random number.

use crate::limits::{RETRY_MS_MAX, RETRY_MS_MIN};

/// Milliseconds to wait before try `attempt` (from 0): 1 s, 2 s, 4 s … 10 min, ± 20 %.
pub(crate) fn pause_ms(attempt: u32, random: u64) -> u64 {
    let doubled = RETRY_MS_MIN
        .checked_shl(attempt.min(32))
        .unwrap_or(RETRY_MS_MAX);
    let base = doubled.min(RETRY_MS_MAX);
    let fifth = base / 5;
    base - fifth + random % (2 * fifth + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_a_bound_and_jitter_within_a_fifth() {
        for (attempt, base) in [
            (0, 1_000),
            (1, 2_000),
            (5, 32_000),
            (10, 600_000),
            (u32::MAX, 600_000),
        ] {
            assert_eq!(pause_ms(attempt, 0), base - base / 5);
            assert_eq!(pause_ms(attempt, 2 * (base / 5)), base + base / 5);
            for random in [1, 77, u64::MAX] {
                assert!(pause_ms(attempt, random).abs_diff(base) <= base / 5);
            }
        }
    }
}
