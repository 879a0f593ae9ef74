//! The one place of the gateway that reads clocks; everything else is told [`Now`].

use beeline_proto::time::Now;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::time::{Duration, Instant};

/// The process's two clocks.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Monotonic time counts from this call.
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// Both clocks at this moment.
    pub fn now(&self) -> Now {
        #[expect(clippy::disallowed_methods, reason = "the driver's clock")]
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Now {
            mono_ms: millis(self.start.elapsed()),
            wall_ms: millis(wall),
        }
    }

    /// The runtime's instant at which the monotonic clock shows `mono_ms`; a far future is cut to
    /// ten years, which the runtime can still add up.
    pub fn instant(&self, mono_ms: u64) -> Instant {
        const TEN_YEARS_MS: u64 = 10 * 365 * 24 * 3600 * 1000;
        self.start + Duration::from_millis(mono_ms.min(TEN_YEARS_MS))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
