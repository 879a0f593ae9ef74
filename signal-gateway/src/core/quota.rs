//! Token buckets with the time passed in, one at a time and as a bounded table by caller.

use std::collections::BTreeMap;

/// How fast a bucket refills and how much it holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// Tokens the bucket holds when full; at least 1.
    pub burst: u32,
    /// Milliseconds until one token comes back; at least 1.
    pub every_ms: u32,
}

impl Rate {
    /// `count` per second, `burst` at once.
    pub const fn per_second(count: u32, burst: u32) -> Self {
        Self::per_ms(count, 1_000, burst)
    }

    /// `count` per minute, `burst` at once.
    pub const fn per_minute(count: u32, burst: u32) -> Self {
        Self::per_ms(count, 60_000, burst)
    }

    const fn per_ms(count: u32, ms: u32, burst: u32) -> Self {
        let every_ms = ms / (if count == 0 { 1 } else { count });
        Self {
            burst: if burst == 0 { 1 } else { burst },
            every_ms: if every_ms == 0 { 1 } else { every_ms },
        }
    }

    fn full_ms(self) -> u64 {
        u64::from(self.burst) * u64::from(self.every_ms)
    }
}

/// One caller's bucket. Holds the moment at which it would be full again, which is all there is to
/// know (the generic cell rate algorithm); a fresh one is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Bucket {
    full_at_ms: u64,
}

impl Bucket {
    /// Takes one token at `now_ms` (monotonic), or says after how many milliseconds one is there.
    pub fn take(&mut self, rate: Rate, now_ms: u64) -> Result<(), u32> {
        let owed = self.full_at_ms.saturating_sub(now_ms);
        let after = owed.saturating_add(u64::from(rate.every_ms));
        if after > rate.full_ms() {
            return Err(u32::try_from(after - rate.full_ms()).unwrap_or(u32::MAX));
        }
        self.full_at_ms = now_ms.saturating_add(after);
        Ok(())
    }

    /// Whether it is full, and so the same as a fresh one.
    pub fn is_full(&self, now_ms: u64) -> bool {
        self.full_at_ms <= now_ms
    }
}

/// Buckets by caller, at most `capacity`. Full buckets are forgotten when room is needed; callers
/// beyond that share one bucket, so that a crowd of strangers can slow each other but not grow the
/// table.
#[derive(Debug)]
pub struct Table<K> {
    rate: Rate,
    capacity: usize,
    buckets: BTreeMap<K, Bucket>,
    shared: Bucket,
    /// Earliest moment of the next sweep, so that a full table is not searched at each call.
    sweep_at_ms: u64,
}

/// Time between two sweeps of a table that is full, milliseconds.
const SWEEP_EVERY_MS: u64 = 1_000;

impl<K: Ord> Table<K> {
    /// An empty table.
    pub fn new(rate: Rate, capacity: usize) -> Self {
        Self {
            rate,
            capacity,
            buckets: BTreeMap::new(),
            shared: Bucket::default(),
            sweep_at_ms: 0,
        }
    }

    /// Takes one of `key`'s tokens, or says after how many milliseconds one is there.
    pub fn take(&mut self, key: K, now_ms: u64) -> Result<(), u32> {
        if let Some(bucket) = self.buckets.get_mut(&key) {
            return bucket.take(self.rate, now_ms);
        }
        if self.buckets.len() >= self.capacity && now_ms >= self.sweep_at_ms {
            self.sweep_at_ms = now_ms + SWEEP_EVERY_MS;
            self.buckets.retain(|_, bucket| !bucket.is_full(now_ms));
        }
        if self.buckets.len() >= self.capacity {
            return self.shared.take(self.rate, now_ms);
        }
        self.buckets.entry(key).or_default().take(self.rate, now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let rate = Rate::per_second(20, 60);
        let mut bucket = Bucket::default();
        let start = 1_000_000;
        let burst = (0..100)
            .take_while(|_| bucket.take(rate, start).is_ok())
            .count();
        assert_eq!(burst, 60);
        assert_eq!(bucket.take(rate, start), Err(50));
        assert_eq!(bucket.take(rate, start + 49), Err(1));
        assert_eq!(bucket.take(rate, start + 50), Ok(()));
        let second = (0..1_000)
            .filter(|ms| bucket.take(rate, start + 50 + ms).is_ok())
            .count();
        assert_eq!(second, 19);
        assert!(bucket.is_full(start + 10_000));
    }

    #[test]
    fn extreme_times_do_not_overflow() {
        let mut bucket = Bucket::default();
        let rate = Rate {
            burst: u32::MAX,
            every_ms: u32::MAX,
        };
        for now in [0, u64::from(u32::MAX), u64::MAX / 4, 0] {
            let _ = bucket.take(rate, now);
        }
    }

    #[test]
    fn a_full_table_makes_strangers_share() {
        let mut table = Table::new(Rate::per_second(1, 2), 3);
        for key in 0..3 {
            assert_eq!(table.take(key, 10), Ok(()));
        }
        assert_eq!(table.take(7, 10), Ok(()));
        assert_eq!(table.take(8, 10), Ok(()));
        assert!(table.take(9, 10).is_err());
        assert_eq!(
            table.take(0, 10),
            Ok(()),
            "a known caller keeps its own bucket"
        );
        // All refilled: forgotten, and there is room for new ones.
        assert_eq!(table.take(9, 5_000), Ok(()));
        assert_eq!(table.buckets.len(), 1);
    }
}
