//! Small bounded things: a memory of ids, a token bucket, counters.

use crate::limits::COUNTERS_MAX;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Remembers the last `max` values; the oldest is forgotten first.
#[derive(Debug)]
pub(crate) struct Seen<T> {
    max: usize,
    order: VecDeque<T>,
    values: BTreeSet<T>,
}

impl<T: Ord + Clone> Seen<T> {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            max,
            order: VecDeque::new(),
            values: BTreeSet::new(),
        }
    }

    pub(crate) fn contains(&self, value: &T) -> bool {
        self.values.contains(value)
    }

    /// Remembers `value`; whether it is new.
    pub(crate) fn insert(&mut self, value: T) -> bool {
        if !self.values.insert(value.clone()) {
            return false;
        }
        self.order.push_back(value);
        if self.order.len() > self.max
            && let Some(oldest) = self.order.pop_front()
        {
            self.values.remove(&oldest);
        }
        true
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }
}

/// Lets `per_s` things a second pass, `burst` at once.
#[derive(Debug)]
pub(crate) struct Bucket {
    per_s: u64,
    burst: u64,
    /// Thousandths of a thing.
    millis: u64,
    at_ms: u64,
}

impl Bucket {
    pub(crate) fn new(per_s: u64, burst: u64, now_ms: u64) -> Self {
        Self {
            per_s,
            burst,
            millis: burst * 1_000,
            at_ms: now_ms,
        }
    }

    /// Takes one; `false` when there is none.
    pub(crate) fn take(&mut self, now_ms: u64) -> bool {
        self.take_many(1, now_ms)
    }

    /// Whether it is full: nothing was taken lately.
    pub(crate) fn is_full(&self, now_ms: u64) -> bool {
        let passed = now_ms.saturating_sub(self.at_ms);
        let filled = self
            .millis
            .saturating_add(passed.saturating_mul(self.per_s));
        filled >= self.burst * 1_000
    }

    /// Milliseconds until `count` can be taken.
    pub(crate) fn wait_ms(&self, count: u64) -> u64 {
        let missing = (count * 1_000).saturating_sub(self.millis);
        missing.div_ceil(self.per_s.max(1))
    }

    /// Takes `count`, or nothing.
    pub(crate) fn take_many(&mut self, count: u64, now_ms: u64) -> bool {
        let passed = now_ms.saturating_sub(self.at_ms);
        self.at_ms = self.at_ms.max(now_ms);
        let filled = self
            .millis
            .saturating_add(passed.saturating_mul(self.per_s));
        self.millis = filled.min(self.burst * 1_000);
        let cost = count.saturating_mul(1_000);
        let take = self.millis >= cost;
        if take {
            self.millis -= cost;
        }
        take
    }

    /// Gives back what was taken for nothing.
    pub(crate) fn give_back(&mut self, count: u64) {
        let millis = self.millis.saturating_add(count.saturating_mul(1_000));
        self.millis = millis.min(self.burst * 1_000);
    }
}

/// How often each kind of thing happened.
#[derive(Debug, Default)]
pub(crate) struct Counters(BTreeMap<&'static str, u64>);

impl Counters {
    pub(crate) fn count(&mut self, kind: &'static str) {
        if self.0.len() < COUNTERS_MAX || self.0.contains_key(kind) {
            *self.0.entry(kind).or_default() += 1;
        }
    }

    pub(crate) fn all(&self) -> Vec<(&'static str, u64)> {
        self.0.iter().map(|(kind, n)| (*kind, *n)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten() {
        let mut seen = Seen::new(2);
        assert!(seen.insert(1) && seen.insert(2) && !seen.insert(1) && seen.insert(3));
        assert_eq!(
            (seen.contains(&1), seen.contains(&2), seen.len()),
            (false, true, 2)
        );
    }

    #[test]
    fn a_bucket_fills_with_time_up_to_its_burst() {
        let mut bucket = Bucket::new(2, 3, 0);
        let taken = |bucket: &mut Bucket, at| (0..9).filter(|_| bucket.take(at)).count();
        assert_eq!(taken(&mut bucket, 0), 3);
        assert_eq!(taken(&mut bucket, 499), 0);
        assert_eq!(taken(&mut bucket, 1_000), 2);
        assert_eq!(taken(&mut bucket, u64::MAX), 3);
        assert_eq!(taken(&mut bucket, 5), 0);
    }
}
