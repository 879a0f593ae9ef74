//! Our bundles: the keys MESSAGE parcels are sealed to. A new one every 24 hours; an old secret is
//! erased once a newer one has been out for a parcel's whole life and a day, and never by its own
//! age: while nobody hears of us, others go on sealing to the last one they have. Ages are counted
//! on the steady clock.

use crate::crypto::{Crypto, random_id};
use crate::limits::BUNDLES_MAX;
use crate::me::Me;
use crate::state::BundleRow;
use beeline_proto::id::KeyId;
use beeline_proto::keys::SealSecret;
use beeline_proto::limits::{BUNDLE_KEEP_MS, BUNDLE_ROTATE_MS};
use beeline_proto::pb::identity::v1::Bundle;
use zeroize::Zeroizing;

/// Our bundles, the newest first.
#[derive(Debug, Default)]
pub(crate) struct Bundles {
    rows: Vec<BundleRow>,
    /// When the newest was made that others know of and we do not, milliseconds.
    known_ms: u64,
}

impl Bundles {
    pub(crate) fn new(mut rows: Vec<BundleRow>) -> Self {
        rows.sort_by_key(|row| std::cmp::Reverse(row.made_ms));
        rows.truncate(BUNDLES_MAX);
        Self { rows, known_ms: 0 }
    }

    pub(crate) fn newest(&self) -> Option<&BundleRow> {
        self.rows.first()
    }

    pub(crate) fn secret(&self, key_id: KeyId) -> Option<&SealSecret> {
        let row = self.rows.iter().find(|row| row.key_id == key_id);
        row.map(|row| &row.secret)
    }

    /// Whether there is none, or the newest is out and a day old. One that nobody has cannot have
    /// been sealed to.
    pub(crate) fn wants_new(&self, steady_ms: u64) -> bool {
        let old = |row: &BundleRow| row.born_ms.saturating_add(BUNDLE_ROTATE_MS) <= steady_ms;
        let due = |row: &BundleRow| row.published_ms != 0 && old(row);
        self.newest().is_none_or(due)
    }

    /// Makes the next bundle; it is used once the store has it.
    pub(crate) fn make(
        &self,
        me: &Me,
        crypto: &mut dyn Crypto,
        (wall_ms, steady_ms): (u64, u64),
    ) -> BundleRow {
        let mut secret = Zeroizing::new([0u8; 32]);
        crypto.random(secret.as_mut());
        let secret = SealSecret::from_bytes(*secret);
        let key_id = KeyId(random_id(crypto));
        let newest_ms = self.newest().map_or(0, |row| row.made_ms);
        let after = newest_ms.max(self.known_ms).saturating_add(1);
        let made_ms = after.max(wall_ms);
        let payload = Bundle {
            context: me.context(crypto, me.network().0),
            made_ms,
            key: secret.public().0.to_vec(),
            key_id: key_id.to_vec(),
        };
        BundleRow {
            key_id,
            made_ms,
            born_ms: steady_ms,
            published_ms: 0,
            secret,
            envelope: me.sign(crypto, &payload),
        }
    }

    /// Somebody knows of one made at this moment: the next one counts as newer.
    pub(crate) fn outdo(&mut self, made_ms: u64) {
        self.known_ms = self.known_ms.max(made_ms);
    }

    /// Puts a stored bundle to use.
    pub(crate) fn insert(&mut self, row: BundleRow) {
        self.rows.insert(0, row);
        self.rows.truncate(BUNDLES_MAX);
    }

    /// Somebody has this bundle now; whether nobody had it before.
    pub(crate) fn publish(&mut self, key_id: KeyId, steady_ms: u64) -> bool {
        let unpublished = |row: &&mut BundleRow| row.key_id == key_id && row.published_ms == 0;
        let Some(row) = self.rows.iter_mut().find(unpublished) else {
            return false;
        };
        row.published_ms = steady_ms.max(1);
        true
    }

    /// Takes out the bundles whose secrets are due to be erased.
    pub(crate) fn take_outlived(&mut self, steady_ms: u64) -> Vec<KeyId> {
        let mut due = Vec::new();
        // When the first of the newer ones came out.
        let mut newer_ms: Option<u64> = None;
        for row in &self.rows {
            let out = |ms: u64| ms.saturating_add(BUNDLE_KEEP_MS) < steady_ms;
            if newer_ms.is_some_and(out) {
                due.push(row.key_id);
            }
            if row.published_ms != 0 {
                let first = newer_ms.map_or(row.published_ms, |ms| ms.min(row.published_ms));
                newer_ms = Some(first);
            }
        }
        self.rows.retain(|row| !due.contains(&row.key_id));
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(n: u8, made_ms: u64) -> BundleRow {
        BundleRow {
            key_id: KeyId([n; 16]),
            made_ms,
            born_ms: made_ms,
            published_ms: 0,
            secret: SealSecret::from_bytes([n; 32]),
            envelope: Vec::new(),
        }
    }

    fn id(n: u8) -> KeyId {
        KeyId([n; 16])
    }

    #[test]
    fn a_bundle_lives_its_day_and_its_secret_a_parcel_longer() {
        let mut bundles = Bundles::new(vec![row(1, 10)]);
        assert!(Bundles::default().wants_new(0));
        assert!(bundles.publish(id(1), 10) && !bundles.publish(id(1), 11));
        assert!(!bundles.wants_new(10 + BUNDLE_ROTATE_MS - 1));
        assert!(bundles.wants_new(10 + BUNDLE_ROTATE_MS));
        bundles.insert(row(2, 10 + BUNDLE_ROTATE_MS));
        assert!(bundles.publish(id(2), 20 + BUNDLE_ROTATE_MS));
        let gone = 20 + BUNDLE_ROTATE_MS + BUNDLE_KEEP_MS + 1;
        assert_eq!(bundles.take_outlived(gone - 1), []);
        assert!(bundles.secret(id(1)).is_some());
        assert_eq!(bundles.take_outlived(gone), [id(1)]);
        assert!(bundles.secret(id(1)).is_none());
        assert_eq!(bundles.newest().map(|row| row.key_id), Some(id(2)));
        assert_eq!(bundles.take_outlived(u64::MAX), []);
    }

    #[test]
    fn a_secret_outlives_any_number_of_successors_that_nobody_has() {
        let mut bundles = Bundles::new(vec![row(1, 10)]);
        bundles.publish(id(1), 10);
        bundles.insert(row(2, 20));
        assert!(!bundles.wants_new(u64::MAX), "nobody has the newest");
        assert_eq!(bundles.take_outlived(u64::MAX), []);
        bundles.insert(row(3, 30));
        bundles.publish(id(3), 40);
        bundles.publish(id(2), 50);
        assert_eq!(bundles.take_outlived(40 + BUNDLE_KEEP_MS), []);
        let due = bundles.take_outlived(41 + BUNDLE_KEEP_MS);
        assert_eq!(due, [id(2), id(1)]);
    }
}
