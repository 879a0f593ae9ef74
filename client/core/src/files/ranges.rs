//! Which chunks of a file: ranges in order, none touching another.

use crate::limits::FILE_RANGES_MAX;
use beeline_proto::pb::peer::v1::FileRange;
use std::collections::BTreeMap;

/// A set of chunk indexes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ranges {
    /// First index → the one after the last.
    ends: BTreeMap<u64, u64>,
    len: u64,
}

impl Ranges {
    /// Every index from 0 to below `count`.
    pub fn all(count: u64) -> Self {
        let mut all = Self::default();
        all.insert(0, count);
        all
    }

    /// How many indexes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether `index` is in it.
    pub fn contains(&self, index: u64) -> bool {
        let before = self.ends.range(..=index).next_back();
        before.is_some_and(|(_, end)| index < *end)
    }

    /// The ranges: first index and how many.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.ends.iter().map(|(from, end)| (*from, end - from))
    }

    /// Adds `count` indexes from `from` on; those beyond 2⁶⁴ are left out.
    pub fn insert(&mut self, from: u64, count: u64) {
        let (mut from, mut end) = (from, from.saturating_add(count));
        if from >= end {
            return;
        }
        // What overlaps or touches becomes one.
        while let Some((old_from, old_end)) = self.ends.range(..=end).next_back() {
            let (old_from, old_end) = (*old_from, *old_end);
            if old_end < from {
                break;
            }
            self.ends.remove(&old_from);
            self.len -= old_end - old_from;
            (from, end) = (from.min(old_from), end.max(old_end));
        }
        self.ends.insert(from, end);
        self.len += end - from;
    }

    /// Takes out `count` indexes from `from` on.
    pub fn remove(&mut self, from: u64, count: u64) {
        let end = from.saturating_add(count);
        if from >= end {
            return;
        }
        while let Some((old_from, old_end)) = self.ends.range(..end).next_back() {
            let (old_from, old_end) = (*old_from, *old_end);
            if old_end <= from {
                break;
            }
            self.ends.remove(&old_from);
            self.len -= old_end - old_from;
            for (from, end) in [(old_from, from.min(old_end)), (end.max(old_from), old_end)] {
                if from < end {
                    self.ends.insert(from, end);
                    self.len += end - from;
                }
            }
        }
    }

    /// Takes the first indexes that follow one another, at most `max`: the first and how many.
    pub fn take_first(&mut self, max: u64) -> Option<(u64, u64)> {
        let (from, end) = self.ends.first_key_value()?;
        let (from, count) = (*from, (end - from).min(max));
        if count == 0 {
            return None;
        }
        self.remove(from, count);
        Some((from, count))
    }

    /// The first `count` indexes.
    pub fn first(&self, count: u64) -> Self {
        let (mut first, mut left) = (Self::default(), count);
        for (from, count) in self.iter() {
            let count = count.min(left);
            first.insert(from, count);
            left -= count;
        }
        first
    }

    /// The first ranges as they go over the wire, as many as are agreed, and how many indexes.
    pub fn to_pb(&self) -> (Vec<FileRange>, u64) {
        let first = self.iter().take(FILE_RANGES_MAX);
        let ranges: Vec<FileRange> = first
            .map(|(from, count)| FileRange { from, count })
            .collect();
        let count = ranges.iter().map(|range| range.count).sum();
        (ranges, count)
    }

    /// Ranges a peer asks for, of `chunks` there are; `None` where they are not in order, overlap,
    /// are none or too many, or go beyond the end.
    pub fn from_pb(ranges: &[FileRange], chunks: u64) -> Option<Self> {
        if ranges.is_empty() || ranges.len() > FILE_RANGES_MAX {
            return None;
        }
        let mut asked = Self::default();
        let mut after = 0;
        for range in ranges {
            let end = range.from.checked_add(range.count)?;
            if range.count == 0 || range.from < after || end > chunks {
                return None;
            }
            asked.insert(range.from, range.count);
            after = end;
        }
        Some(asked)
    }
}

impl FromIterator<(u64, u64)> for Ranges {
    fn from_iter<T: IntoIterator<Item = (u64, u64)>>(ranges: T) -> Self {
        let mut all = Self::default();
        for (from, count) in ranges {
            all.insert(from, count);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
    use std::collections::BTreeSet;

    /// Ranges against a plain set of numbers.
    #[test]
    fn ranges_are_what_a_set_is() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..300 {
            let (mut ranges, mut oracle) = (Ranges::default(), BTreeSet::new());
            for _ in 0..40 {
                let (from, count) = (rng.next_u64() % 50, rng.next_u64() % 12);
                match rng.next_u64() % 3 {
                    0 => {
                        ranges.remove(from, count);
                        oracle.retain(|n| !(from..from + count).contains(n));
                    }
                    1 => {
                        ranges.insert(from, count);
                        oracle.extend(from..from + count);
                    }
                    _ => {
                        let taken = ranges.take_first(count);
                        assert_eq!(taken.is_none(), oracle.is_empty() || count == 0);
                        for n in taken.into_iter().flat_map(|(from, n)| from..from + n) {
                            assert_eq!(oracle.pop_first(), Some(n));
                        }
                    }
                }
                let listed: Vec<u64> = ranges.iter().flat_map(|(f, n)| f..f + n).collect();
                assert!(listed.iter().eq(oracle.iter()), "{ranges:?} {oracle:?}");
                assert_eq!(ranges.len(), oracle.len() as u64);
                assert!((0..64).all(|n| ranges.contains(n) == oracle.contains(&n)));
                let touching = ranges.ends.iter().zip(ranges.ends.iter().skip(1));
                assert!(touching.into_iter().all(|((_, end), (from, _))| end < from));
            }
        }
    }

    #[test]
    fn what_a_peer_asks_for_is_checked() {
        let of = |list: &[(u64, u64)]| -> Vec<FileRange> {
            let range = |(from, count): &(u64, u64)| FileRange {
                from: *from,
                count: *count,
            };
            list.iter().map(range).collect()
        };
        let good = Ranges::from_pb(&of(&[(0, 2), (5, 5)]), 10);
        assert_eq!(good.map(|ranges| ranges.len()), Some(7));
        for bad in [
            &[][..],
            &[(0, 0)],
            &[(9, 2)],
            &[(5, 1), (0, 1)],
            &[(0, 2), (1, 2)],
            &[(u64::MAX, 2)],
            &[(10, 1)],
        ] {
            assert_eq!(Ranges::from_pb(&of(bad), 10), None, "{bad:?}");
        }
        let many: Vec<_> = (0..=FILE_RANGES_MAX as u64).map(|n| (2 * n, 1)).collect();
        assert_eq!(Ranges::from_pb(&of(&many), u64::MAX), None);
        let kept = Ranges::from_pb(&of(&many[1..]), u64::MAX).expect("as many as are agreed");
        assert_eq!(kept.to_pb(), (of(&many[1..]), FILE_RANGES_MAX as u64));
        assert_eq!(Ranges::all(u64::MAX).len(), u64::MAX);
    }
}
