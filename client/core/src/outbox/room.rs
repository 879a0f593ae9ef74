//! How much room our messages take: a full outbox of long texts must not fill the memory.

use super::Outbox;
use crate::limits::{OUTBOX_BYTES_MAX, OUTBOX_MAX, OUTBOX_USERS_MAX};
use crate::state::OutboxRow;
use beeline_proto::id::{Label, MessageId};

impl Outbox {
    /// Whether another message for a user has no room.
    pub(crate) fn is_full_for(&self, to: &Label) -> bool {
        let new_user = !self.by_peer.contains_key(to);
        self.entries.len() >= OUTBOX_MAX
            || self.bytes >= OUTBOX_BYTES_MAX
            || (new_user && self.by_peer.len() >= OUTBOX_USERS_MAX)
    }

    /// Counts a message anew after its envelope or parcels changed.
    pub(super) fn weigh(&mut self, id: &MessageId) {
        if let Some(entry) = self.entries.get_mut(id) {
            let weight = weight(&entry.row);
            self.bytes = self.bytes + weight - entry.weight;
            entry.weight = weight;
        }
    }
}

/// Bytes of a row's text, envelope and parcels.
pub(super) fn weight(row: &OutboxRow) -> usize {
    let envelope = row.envelope.as_ref().map_or(0, Vec::len);
    let parcels: usize = row.parcels.iter().map(|(_, parcel)| parcel.len()).sum();
    row.text.len() + envelope + parcels
}
