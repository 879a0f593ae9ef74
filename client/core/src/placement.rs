//! Placement: where copies of one message for one device are kept, as signed receipts say.

use crate::state::CustodyRow;
use beeline_proto::id::{DeviceFp, MessageId, ParcelId, UserFp};
use std::collections::{BTreeMap, BTreeSet};

/// The copies of one parcel.
#[derive(Debug)]
pub(crate) struct Placement {
    /// The parcel; sealed anew, the message starts over.
    pub(crate) parcel: ParcelId,
    /// Custodians it was left with whose answer is awaited, and some that did not answer.
    pub(crate) asked: BTreeSet<DeviceFp>,
    /// Custodians whose receipts we hold.
    pub(crate) keepers: BTreeMap<DeviceFp, Keeper>,
}

/// What one custodian has promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Keeper {
    pub(crate) user: UserFp,
    /// When its first receipt came, Unix ms.
    pub(crate) since_ms: u64,
    /// When its last receipt came, Unix ms.
    pub(crate) heard_ms: u64,
    /// Until when it keeps it, Unix ms.
    pub(crate) until_ms: u64,
    /// When it is asked again, monotonic milliseconds.
    pub(crate) check_ms: u64,
    /// Times it was asked again since its last receipt.
    pub(crate) tries: u32,
}

impl Placement {
    pub(crate) fn new(parcel: ParcelId) -> Self {
        Self {
            parcel,
            asked: BTreeSet::new(),
            keepers: BTreeMap::new(),
        }
    }

    /// The row of one keeper.
    pub(crate) fn row(
        &self,
        message: MessageId,
        device: DeviceFp,
        custodian: DeviceFp,
    ) -> Option<CustodyRow> {
        let keeper = self.keepers.get(&custodian)?;
        Some(CustodyRow {
            message,
            device,
            custodian,
            user: keeper.user,
            parcel: self.parcel,
            since_ms: keeper.since_ms,
            heard_ms: keeper.heard_ms,
            until_ms: keeper.until_ms,
        })
    }
}
