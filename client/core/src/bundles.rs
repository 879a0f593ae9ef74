//! Our bundles: the keys MESSAGE parcels are sealed to. A new one every 24 hours; an old secret is
//! erased once its successor has been out for a parcel's whole life and a day.

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
}

impl Bundles {
    pub(crate) fn new(mut rows: Vec<BundleRow>) -> Self {
        rows.sort_by_key(|row| std::cmp::Reverse(row.made_ms));
        rows.truncate(BUNDLES_MAX);
        Self { rows }
    }

    pub(crate) fn newest(&self) -> Option<&BundleRow> {
        self.rows.first()
    }

    pub(crate) fn secret(&self, key_id: KeyId) -> Option<&SealSecret> {
        let row = self.rows.iter().find(|row| row.key_id == key_id);
        row.map(|row| &row.secret)
    }

    /// Whether there is none, or the newest is a day old.
    pub(crate) fn wants_new(&self, wall_ms: u64) -> bool {
        let due = |row: &BundleRow| row.made_ms.saturating_add(BUNDLE_ROTATE_MS) <= wall_ms;
        self.newest().is_none_or(due)
    }

    /// Makes the next bundle; it is used once the store has it.
    pub(crate) fn make(&self, me: &Me, crypto: &mut dyn Crypto, wall_ms: u64) -> BundleRow {
        let mut secret = Zeroizing::new([0u8; 32]);
        crypto.random(secret.as_mut());
        let secret = SealSecret::from_bytes(*secret);
        let key_id = KeyId(random_id(crypto));
        let after = self.newest().map_or(0, |row| row.made_ms.saturating_add(1));
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
            superseded_ms: 0,
            secret,
            envelope: me.sign(crypto, &payload),
        }
    }

    /// Puts a stored bundle to use.
    pub(crate) fn insert(&mut self, row: BundleRow) {
        for old in self.rows.iter_mut().filter(|old| old.superseded_ms == 0) {
            old.superseded_ms = row.made_ms;
        }
        self.rows.insert(0, row);
        self.rows.truncate(BUNDLES_MAX);
    }

    /// Takes out the bundles whose secrets are due to be erased.
    pub(crate) fn take_outlived(&mut self, wall_ms: u64) -> Vec<KeyId> {
        let outlived = |row: &BundleRow| {
            row.superseded_ms != 0 && row.superseded_ms.saturating_add(BUNDLE_KEEP_MS) < wall_ms
        };
        let due: Vec<KeyId> = self
            .rows
            .iter()
            .filter(|r| outlived(r))
            .map(|r| r.key_id)
            .collect();
        self.rows.retain(|row| !due.contains(&row.key_id));
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(n: u8, made_ms: u64, superseded_ms: u64) -> BundleRow {
        BundleRow {
            key_id: KeyId([n; 16]),
            made_ms,
            superseded_ms,
            secret: SealSecret::from_bytes([n; 32]),
            envelope: Vec::new(),
        }
    }

    #[test]
    fn a_bundle_lives_its_day_and_its_secret_a_parcel_longer() {
        let mut bundles = Bundles::new(vec![row(1, 10, 0)]);
        assert!(Bundles::default().wants_new(0));
        assert!(!bundles.wants_new(10 + BUNDLE_ROTATE_MS - 1));
        assert!(bundles.wants_new(10 + BUNDLE_ROTATE_MS));
        bundles.insert(row(2, 10 + BUNDLE_ROTATE_MS, 0));
        let gone = 10 + BUNDLE_ROTATE_MS + BUNDLE_KEEP_MS + 1;
        assert_eq!(bundles.take_outlived(gone - 1), []);
        assert!(bundles.secret(KeyId([1; 16])).is_some());
        assert_eq!(bundles.take_outlived(gone), [KeyId([1; 16])]);
        assert!(bundles.secret(KeyId([1; 16])).is_none());
        assert_eq!(bundles.newest().map(|row| row.key_id), Some(KeyId([2; 16])));
        assert_eq!(bundles.take_outlived(u64::MAX), []);
    }
}
