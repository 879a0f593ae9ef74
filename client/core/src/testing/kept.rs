//! What the store in memory keeps for others.

use super::store::MemoryStore;
use crate::state::{KeptLoad, KeptParcel, KeptRow, KeptSum, StoreOp, StoreResult};
use beeline_proto::id::{DeviceFp, ParcelId, UserFp};
use std::collections::BTreeMap;

fn sums<'a>(rows: impl Iterator<Item = &'a KeptRow>) -> Vec<KeptSum> {
    let mut by_pair: BTreeMap<(DeviceFp, UserFp), (u64, u64)> = BTreeMap::new();
    for row in rows {
        let sum = by_pair.entry((row.recipient, row.user)).or_default();
        sum.0 += 1;
        sum.1 += row.parcel.len() as u64;
    }
    let sum = |((recipient, user), (parcels, bytes))| KeptSum {
        recipient,
        user,
        parcels,
        bytes,
    };
    by_pair.into_iter().map(sum).collect()
}

impl MemoryStore {
    pub(super) fn load_kept(&self) -> KeptLoad {
        KeptLoad {
            sums: sums(self.kept.values()),
            order: self.kept.last_key_value().map_or(0, |(order, _)| *order),
        }
    }

    pub(super) fn apply_kept(&mut self, op: &StoreOp) -> StoreResult {
        match op {
            StoreOp::Keep(row) => self.find(row.recipient, row.id).unwrap_or_else(|| {
                let before = self.kept.insert(row.order, row.clone());
                assert!(before.is_none(), "an order is given out once");
                StoreResult::Inserted { seq_reused: false }
            }),
            StoreOp::FindKept { recipient, id } => {
                self.find(*recipient, *id).unwrap_or(StoreResult::Missing)
            }
            StoreOp::ReadKept {
                recipient,
                after,
                limit,
                bytes_max,
            } => self.page(*recipient, *after, (*limit as usize, *bytes_max)),
            StoreOp::DropKept { recipient, ids } => self.drop_if(
                |row| row.recipient == *recipient && ids.contains(&row.id),
                usize::MAX,
            ),
            StoreOp::ExpireKept { steady_ms, limit } => {
                self.drop_if(|row| row.expires_ms <= *steady_ms, *limit as usize)
            }
            _ => StoreResult::Done,
        }
    }

    fn find(&self, recipient: DeviceFp, id: ParcelId) -> Option<StoreResult> {
        let same = |row: &&KeptRow| row.recipient == recipient && row.id == id;
        self.kept.values().find(same).map(|row| StoreResult::Kept {
            expires_ms: row.expires_ms,
        })
    }

    fn page(
        &self,
        recipient: DeviceFp,
        after: u64,
        (limit, bytes_max): (usize, u64),
    ) -> StoreResult {
        let next = self
            .kept
            .range(after.saturating_add(1)..)
            .map(|(_, row)| row);
        let mut next = next.filter(|row| row.recipient == recipient).peekable();
        let (mut parcels, mut bytes) = (Vec::new(), 0);
        while let Some(row) = next.peek() {
            bytes += row.parcel.len() as u64;
            if parcels.len() >= limit || (bytes > bytes_max && !parcels.is_empty()) {
                break;
            }
            parcels.push(KeptParcel {
                order: row.order,
                parcel: row.parcel.clone(),
            });
            next.next();
        }
        let more = next.peek().is_some();
        StoreResult::Page { parcels, more }
    }

    fn drop_if(&mut self, which: impl Fn(&KeptRow) -> bool, most: usize) -> StoreResult {
        let gone = self.kept.iter().filter(|(_, row)| which(row));
        let gone: Vec<u64> = gone.map(|(order, _)| *order).take(most).collect();
        let rows: Vec<KeptRow> = gone.iter().filter_map(|n| self.kept.remove(n)).collect();
        StoreResult::Gone(sums(rows.iter()))
    }
}
