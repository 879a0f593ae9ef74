//! Accounts of what is kept for others: who has how much of whose space. One small record for each
//! (recipient, user), so that memory does not grow with the parcels.

use crate::bounded::Bucket;
use crate::config::{Keep, Space};
use crate::limits::{
    KEEP_BURST_S, KEEP_DEPOSITORS_MAX, KEEP_OPEN_PARTS, KEEP_PAIRS_MAX, KEEP_USER_PARTS,
};
use crate::state::{KeptLoad, KeptSum};
use beeline_proto::id::{DeviceFp, UserFp};
use std::collections::BTreeMap;

impl Space {
    fn with(self, bytes: u64) -> Self {
        Self {
            parcels: self.parcels.saturating_add(1),
            bytes: self.bytes.saturating_add(bytes),
        }
    }

    fn less(self, other: Self) -> Self {
        Self {
            parcels: self.parcels.saturating_sub(other.parcels),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }

    fn part(self, parts: u64) -> Self {
        Self {
            parcels: self.parcels / parts,
            bytes: self.bytes / parts,
        }
    }

    fn fits(self, most: Self) -> bool {
        self.parcels <= most.parcels && self.bytes <= most.bytes
    }

    fn is_empty(self) -> bool {
        self.parcels == 0
    }
}

/// All accounts.
#[derive(Debug)]
pub(crate) struct Keeping {
    limits: Keep,
    total: Space,
    recipients: BTreeMap<DeviceFp, Space>,
    users: BTreeMap<UserFp, Space>,
    pairs: BTreeMap<(DeviceFp, UserFp), Space>,
    rates: BTreeMap<UserFp, Bucket>,
    order: u64,
    /// A write failed: there may be more on disk than is accounted for.
    doubtful: bool,
    /// Deposits not yet committed.
    pub(crate) in_flight: usize,
}

fn take_from<K: Ord>(accounts: &mut BTreeMap<K, Space>, key: K, amount: Space) {
    if let Some(account) = accounts.get_mut(&key) {
        *account = account.less(amount);
        if account.is_empty() {
            accounts.remove(&key);
        }
    }
}

impl Keeping {
    /// Takes what the store has in sums.
    pub(crate) fn load(limits: Keep, loaded: &KeptLoad) -> Self {
        let mut keeping = Self {
            limits,
            total: Space::default(),
            recipients: BTreeMap::new(),
            users: BTreeMap::new(),
            pairs: BTreeMap::new(),
            rates: BTreeMap::new(),
            order: loaded.order,
            doubtful: false,
            in_flight: 0,
        };
        for sum in &loaded.sums {
            keeping.add(sum);
        }
        keeping
    }

    fn add(&mut self, sum: &KeptSum) {
        let sum_of = |account: &mut Space| {
            account.parcels = account.parcels.saturating_add(sum.parcels);
            account.bytes = account.bytes.saturating_add(sum.bytes);
        };
        sum_of(&mut self.total);
        sum_of(self.recipients.entry(sum.recipient).or_default());
        sum_of(self.users.entry(sum.user).or_default());
        sum_of(self.pairs.entry((sum.recipient, sum.user)).or_default());
    }

    /// Whether one more parcel of `bytes` has room: in all, in the recipient's space, and in the
    /// user's share of both. Nobody holds a ticket yet, so half of each recipient's space is left.
    pub(crate) fn has_room(&self, recipient: DeviceFp, user: UserFp, bytes: u64) -> bool {
        let pair = (recipient, user);
        let of = |account: Option<&Space>| account.copied().unwrap_or_default().with(bytes);
        let limits = &self.limits;
        let known = self.pairs.contains_key(&pair) || self.pairs.len() < KEEP_PAIRS_MAX;
        known
            && self.total.with(bytes).fits(limits.total)
            && of(self.users.get(&user)).fits(limits.total.part(KEEP_USER_PARTS))
            && of(self.recipients.get(&recipient)).fits(limits.recipient.part(KEEP_OPEN_PARTS))
            && of(self.pairs.get(&pair)).fits(limits.recipient.part(KEEP_USER_PARTS))
    }

    /// Takes room for one parcel.
    pub(crate) fn reserve(&mut self, recipient: DeviceFp, user: UserFp, bytes: u64) {
        self.add(&KeptSum {
            recipient,
            user,
            parcels: 1,
            bytes,
        });
    }

    /// Gives room back.
    pub(crate) fn release(&mut self, sum: &KeptSum) {
        let amount = Space {
            parcels: sum.parcels,
            bytes: sum.bytes,
        };
        self.total = self.total.less(amount);
        take_from(&mut self.recipients, sum.recipient, amount);
        take_from(&mut self.users, sum.user, amount);
        take_from(&mut self.pairs, (sum.recipient, sum.user), amount);
    }

    /// Counts a deposit of a user, or says how many milliseconds to wait.
    pub(crate) fn take_turn(&mut self, user: UserFp, now_ms: u64) -> Result<(), u64> {
        let per_s = self.limits.per_s;
        if !self.rates.contains_key(&user) && self.rates.len() >= KEEP_DEPOSITORS_MAX {
            self.rates.retain(|_, bucket| !bucket.is_full(now_ms));
            if self.rates.len() >= KEEP_DEPOSITORS_MAX {
                return Err(1_000);
            }
        }
        let new = || Bucket::new(per_s, per_s * KEEP_BURST_S, now_ms);
        let bucket = self.rates.entry(user).or_insert_with(new);
        if bucket.take(now_ms) {
            return Ok(());
        }
        Err(bucket.wait_ms(1).max(1))
    }

    /// The order of the next parcel.
    pub(crate) fn next_order(&mut self) -> u64 {
        self.order = self.order.saturating_add(1);
        self.order
    }

    /// A write failed, and may have reached the disk all the same.
    pub(crate) fn doubt(&mut self) {
        self.doubtful = true;
    }

    /// Whether anything may be kept for a device.
    pub(crate) fn has_any(&self, recipient: DeviceFp) -> bool {
        self.doubtful || self.recipients.contains_key(&recipient)
    }

    /// What is kept in all, with what is not yet committed.
    pub(crate) fn total(&self) -> Space {
        self.total
    }

    /// Accounts of pairs, and of rates.
    pub(crate) fn len(&self) -> (usize, usize) {
        (self.pairs.len(), self.rates.len())
    }
}

#[cfg(test)]
#[path = "keeping_tests.rs"]
mod tests;
