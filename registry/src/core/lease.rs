//! A table of leases: entries that end by themselves unless they are renewed.

use std::collections::{BTreeMap, BTreeSet};

/// Entries by key, each with a monotonic end. Holds at most `cap` of them.
#[derive(Debug)]
pub struct LeaseTable<K, V> {
    cap: usize,
    entries: BTreeMap<K, (u64, V)>,
    /// The same keys by their end.
    ends: BTreeSet<(u64, K)>,
}

/// The table holds as many leases as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the registry holds as many leases as it can; try again later")]
pub struct TableFull;

impl<K: Ord + Clone, V> LeaseTable<K, V> {
    /// An empty table for at most `cap` leases.
    pub fn new(cap: usize) -> Self {
        Self {
            cap,
            entries: BTreeMap::new(),
            ends: BTreeSet::new(),
        }
    }

    /// Grants or replaces a lease that ends at `end_ms`; the value it replaces comes back.
    pub fn grant(&mut self, key: K, end_ms: u64, value: V) -> Result<Option<V>, TableFull> {
        if self.entries.len() >= self.cap && !self.entries.contains_key(&key) {
            return Err(TableFull);
        }
        let before = self.entries.insert(key.clone(), (end_ms, value));
        if let Some((old_end, _)) = &before {
            self.ends.remove(&(*old_end, key.clone()));
        }
        self.ends.insert((end_ms, key));
        Ok(before.map(|(_, value)| value))
    }

    /// Moves the end of a lease; `false` if there is none.
    pub fn renew(&mut self, key: &K, end_ms: u64) -> bool {
        let Some((end, _)) = self.entries.get_mut(key) else {
            return false;
        };
        if *end != end_ms {
            self.ends.remove(&(*end, key.clone()));
            self.ends.insert((end_ms, key.clone()));
            *end = end_ms;
        }
        true
    }

    /// The value under a lease that has not been collected yet.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(_, value)| value)
    }

    /// The same, to change.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key).map(|(_, value)| value)
    }

    /// Ends a lease now.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let (end, value) = self.entries.remove(key)?;
        self.ends.remove(&(end, key.clone()));
        Some(value)
    }

    /// Takes one lease whose end has come.
    pub fn pop_ended(&mut self, mono_ms: u64) -> Option<(K, V)> {
        let (end, key) = self.ends.first()?;
        if *end > mono_ms {
            return None;
        }
        let key = key.clone();
        self.remove(&key).map(|value| (key, value))
    }

    /// When the next lease ends, if any runs.
    pub fn poll_timeout(&self) -> Option<u64> {
        self.ends.first().map(|(end, _)| *end)
    }

    /// Leases that run, in the order of their keys from `from` on.
    pub fn range_from(&self, from: K) -> impl Iterator<Item = (&K, &V)> {
        self.entries.range(from..).map(|(k, (_, v))| (k, v))
    }

    /// How many leases run.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none runs.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_end_in_order_unless_renewed() {
        let mut table = LeaseTable::new(3);
        for (key, end) in [("a", 10), ("b", 20), ("c", 30)] {
            assert_eq!(table.grant(key, end, key.len()), Ok(None));
        }
        assert_eq!(table.poll_timeout(), Some(10));
        assert!(table.renew(&"a", 40));
        assert!(!table.renew(&"z", 40));
        assert_eq!(table.pop_ended(19), None);
        assert_eq!(table.pop_ended(30), Some(("b", 1)));
        assert_eq!(table.pop_ended(30), Some(("c", 1)));
        assert_eq!(table.pop_ended(39), None);
        assert_eq!(table.remove(&"a"), Some(1));
        assert_eq!(table.poll_timeout(), None);
        assert!(table.is_empty());
    }

    #[test]
    fn a_full_table_still_renews_what_it_holds() {
        let mut table = LeaseTable::new(2);
        assert_eq!(table.grant(1, 5, 'x'), Ok(None));
        assert_eq!(table.grant(2, 5, 'y'), Ok(None));
        assert_eq!(table.grant(3, 5, 'z'), Err(TableFull));
        assert_eq!(table.grant(1, 9, 'w'), Ok(Some('x')));
        assert_eq!(table.len(), 2);
        assert_eq!(table.pop_ended(5), Some((2, 'y')));
        assert_eq!(table.grant(3, 5, 'z'), Ok(None));
    }
}
