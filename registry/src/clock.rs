//! The one place that reads the time; everything else is told.

use beeline_proto::time::Now;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// Where a registry takes its time from.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Now + Send + Sync>);

impl Clock {
    /// The machine's clocks. Monotonic time counts from now.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the driver that owns the clock"
    )]
    pub fn system() -> Self {
        let start = Instant::now();
        Self::new(move || {
            let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            Now {
                mono_ms: millis(start.elapsed()),
                wall_ms: millis(since_1970.unwrap_or_default()),
            }
        })
    }

    /// A clock of the caller's, for tests in virtual time.
    pub fn new(read: impl Fn() -> Now + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// The time now.
    pub fn now(&self) -> Now {
        (self.0)()
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Clock({:?})", self.now())
    }
}
