//! A token bucket, told the time: a rate with a burst.

/// Lets `per_second` through on average and `burst` at once.
#[derive(Debug, Clone)]
pub struct Bucket {
    per_second: u64,
    /// Capacity and content in thousandths, so that milliseconds divide evenly.
    cap_milli: u64,
    held_milli: u64,
    filled_ms: u64,
}

impl Bucket {
    /// A full bucket.
    pub fn new(per_second: u32, burst: u32) -> Self {
        let cap_milli = u64::from(burst) * 1_000;
        Self {
            per_second: u64::from(per_second),
            cap_milli,
            held_milli: cap_milli,
            filled_ms: 0,
        }
    }

    /// Takes one; `false` when there is none left.
    pub fn take(&mut self, mono_ms: u64) -> bool {
        let passed = mono_ms.saturating_sub(self.filled_ms);
        let gained = passed.saturating_mul(self.per_second);
        self.held_milli = self.held_milli.saturating_add(gained).min(self.cap_milli);
        self.filled_ms = self.filled_ms.max(mono_ms);
        if self.held_milli < 1_000 {
            return false;
        }
        self.held_milli -= 1_000;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_the_rate() {
        let mut bucket = Bucket::new(10, 3);
        let at = |b: &mut Bucket, ms| (0..5).filter(|_| b.take(ms)).count();
        assert_eq!(at(&mut bucket, 0), 3);
        assert_eq!(at(&mut bucket, 99), 0);
        assert_eq!(at(&mut bucket, 100), 1);
        assert_eq!(at(&mut bucket, 1_000_000), 3);
    }
}
