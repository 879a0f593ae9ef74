//! The clock of the process: the one place of the client that reads the time.

use beeline_proto::time::Now;
use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

static START: OnceLock<Instant> = OnceLock::new();

/// The monotonic clock.
#[expect(
    clippy::disallowed_methods,
    reason = "the native client's one reader of the monotonic clock"
)]
pub(crate) fn instant() -> Instant {
    Instant::now()
}

/// Unix milliseconds; 0 on a clock set before 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "the native client's one reader of the wall clock"
)]
pub(crate) fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// Both clocks, as the core wants them: milliseconds since the first call, and Unix milliseconds.
pub(crate) fn now() -> Now {
    let mono = instant().duration_since(start());
    Now {
        mono_ms: u64::try_from(mono.as_millis()).unwrap_or(u64::MAX),
        wall_ms: wall_ms(),
    }
}

/// The moment `mono_ms` of [`now`] names.
pub(crate) fn at(mono_ms: u64) -> Instant {
    start() + std::time::Duration::from_millis(mono_ms)
}

fn start() -> Instant {
    *START.get_or_init(instant)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_survives_its_number() {
        let before = now();
        let moment = at(before.mono_ms);
        assert!(moment <= instant());
        assert!(now().mono_ms >= before.mono_ms);
        assert!(before.wall_ms > 1_700_000_000_000);
    }
}
