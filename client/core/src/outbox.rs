//! Our messages on their way: what is queued, in which order, and how each stands. The rows are the
//! store's; this is their working copy.

use crate::event::{DeliveryState, Rung};
use crate::input::{CommandId, LinkId};
use crate::limits::{OUTBOX_BYTES_MAX, OUTBOX_MAX, OUTBOX_USERS_MAX, SETTLED_MAX};
use crate::state::OutboxRow;
use beeline_proto::id::{DeviceFp, EnvelopeHash, Label, MessageId, ParcelId, sha256};
use beeline_proto::parcel::Parcel;
use std::collections::{BTreeMap, VecDeque};

/// How far a message is towards being sendable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not durable yet: nothing of it touches the network.
    Committing,
    /// Durable; the recipient's key is not pinned yet.
    Unsealed,
    /// Its envelope or parcels are being written.
    Sealing,
    /// May be sent to the devices it has parcels for.
    Sealed,
}

/// One message of ours.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) row: OutboxRow,
    /// Position among all messages of this process.
    pub(crate) order: u64,
    pub(crate) phase: Phase,
    pub(crate) queued_mono_ms: u64,
    pub(crate) hash: Option<EnvelopeHash>,
    /// Which rung gave the route that each device's copy last took over each link.
    pub(crate) via: BTreeMap<(DeviceFp, LinkId), Rung>,
    /// Seals made because of NACKs.
    pub(crate) reseals: u8,
    /// The rung last told about.
    pub(crate) told: Option<Rung>,
    /// What was told last of why nothing came of a rung.
    pub(crate) note: Option<String>,
    /// The call that waits for its commit.
    pub(crate) command: Option<CommandId>,
}

impl Entry {
    pub(crate) fn parcel(&self, device: DeviceFp) -> Option<&Vec<u8>> {
        let found = self.row.parcels.iter().find(|(to, _)| *to == device);
        found.map(|(_, parcel)| parcel)
    }
}

/// What is remembered of a message after its last state here.
#[derive(Debug, Clone)]
pub(crate) struct Settled {
    pub(crate) to: Label,
    pub(crate) state: DeliveryState,
    pub(crate) hash: Option<EnvelopeHash>,
    pub(crate) devices: Vec<DeviceFp>,
    pub(crate) queued_mono_ms: u64,
}

/// A call of `send` that waits for the answer to an earlier one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) command: CommandId,
    pub(crate) text: String,
    pub(crate) key: Option<String>,
}

/// All messages of ours that are not final.
#[derive(Debug)]
pub(crate) struct Outbox {
    entries: BTreeMap<MessageId, Entry>,
    by_peer: BTreeMap<Label, BTreeMap<u64, MessageId>>,
    by_parcel: BTreeMap<ParcelId, MessageId>,
    /// Bytes of all texts, envelopes and parcels.
    bytes: usize,
    seqs: BTreeMap<Label, u64>,
    next_order: u64,
    settled: BTreeMap<MessageId, Settled>,
    settled_order: VecDeque<MessageId>,
    /// Calls that wait, by recipient: only while a call with an idempotency key is not answered, so
    /// that a repeated one leaves no gap in the sequence.
    pub(crate) keyed: BTreeMap<Label, VecDeque<Waiting>>,
}

impl Outbox {
    pub(crate) fn new(seqs: Vec<(Label, u64)>) -> Self {
        Self {
            entries: BTreeMap::new(),
            by_peer: BTreeMap::new(),
            by_parcel: BTreeMap::new(),
            bytes: 0,
            seqs: seqs.into_iter().collect(),
            next_order: 1,
            settled: BTreeMap::new(),
            settled_order: VecDeque::new(),
            keyed: BTreeMap::new(),
        }
    }

    /// Adds a message behind all others.
    pub(crate) fn insert(
        &mut self,
        row: OutboxRow,
        phase: Phase,
        command: Option<CommandId>,
        now_ms: u64,
    ) {
        let (id, order) = (row.id, self.next_order);
        self.next_order += 1;
        self.by_peer
            .entry(row.to.clone())
            .or_default()
            .insert(order, id);
        let entry = Entry {
            order,
            phase,
            queued_mono_ms: now_ms,
            hash: row
                .envelope
                .as_deref()
                .map(|bytes| EnvelopeHash(sha256(bytes))),
            via: BTreeMap::new(),
            reseals: 0,
            told: None,
            note: None,
            command,
            row,
        };
        self.index_parcels(id, &entry.row.parcels);
        self.bytes += bytes_of(&entry.row);
        self.entries.insert(id, entry);
    }

    /// Whether another message for a user has no room.
    pub(crate) fn is_full_for(&self, to: &Label) -> bool {
        let new_user = !self.by_peer.contains_key(to);
        self.entries.len() >= OUTBOX_MAX
            || self.bytes >= OUTBOX_BYTES_MAX
            || (new_user && self.by_peer.len() >= OUTBOX_USERS_MAX)
    }

    fn index_parcels(&mut self, id: MessageId, parcels: &[(DeviceFp, Vec<u8>)]) {
        for parcel in parcels
            .iter()
            .filter_map(|(_, bytes)| Parcel::parse(bytes).ok())
        {
            self.by_parcel.insert(parcel.id(), id);
        }
    }

    fn forget_parcels(&mut self, parcels: &[(DeviceFp, Vec<u8>)]) {
        for parcel in parcels
            .iter()
            .filter_map(|(_, bytes)| Parcel::parse(bytes).ok())
        {
            self.by_parcel.remove(&parcel.id());
        }
    }

    pub(crate) fn get(&self, id: &MessageId) -> Option<&Entry> {
        self.entries.get(id)
    }

    pub(crate) fn get_mut(&mut self, id: &MessageId) -> Option<&mut Entry> {
        self.entries.get_mut(id)
    }

    /// The message a parcel of ours carries.
    pub(crate) fn of_parcel(&self, parcel: &ParcelId) -> Option<MessageId> {
        self.by_parcel.get(parcel).copied()
    }

    /// Sets envelope and parcels of a message and marks it as being written.
    pub(crate) fn set_sealed(
        &mut self,
        id: MessageId,
        envelope: &[u8],
        parcels: Vec<(DeviceFp, Vec<u8>)>,
    ) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        self.bytes -= bytes_of(&entry.row);
        entry.hash = Some(EnvelopeHash(sha256(envelope)));
        entry.row.envelope = Some(envelope.to_vec());
        entry.phase = Phase::Sealing;
        let old = std::mem::replace(&mut entry.row.parcels, parcels.clone());
        self.bytes += bytes_of(&entry.row);
        self.forget_parcels(&old);
        self.index_parcels(id, &parcels);
    }

    /// Takes back envelope and parcels that could not be written.
    pub(crate) fn unseal(&mut self, id: &MessageId) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        self.bytes -= bytes_of(&entry.row);
        entry.phase = Phase::Unsealed;
        entry.hash = None;
        entry.row.envelope = None;
        let parcels = std::mem::take(&mut entry.row.parcels);
        self.bytes += bytes_of(&entry.row);
        self.forget_parcels(&parcels);
    }

    /// Takes a message out.
    pub(crate) fn remove(&mut self, id: &MessageId) -> Option<Entry> {
        let entry = self.entries.remove(id)?;
        self.bytes -= bytes_of(&entry.row);
        if let Some(orders) = self.by_peer.get_mut(&entry.row.to) {
            orders.remove(&entry.order);
            if orders.is_empty() {
                self.by_peer.remove(&entry.row.to);
            }
        }
        self.forget_parcels(&entry.row.parcels);
        Some(entry)
    }

    /// Takes a message out for good, remembering it for late ACKs and READs.
    pub(crate) fn settle(&mut self, id: MessageId, state: DeliveryState) -> Option<Entry> {
        let entry = self.remove(&id)?;
        self.remember(
            id,
            Settled {
                to: entry.row.to.clone(),
                state,
                hash: entry.hash,
                devices: entry
                    .row
                    .parcels
                    .iter()
                    .map(|(device, _)| *device)
                    .collect(),
                queued_mono_ms: entry.queued_mono_ms,
            },
        );
        Some(entry)
    }

    fn remember(&mut self, id: MessageId, settled: Settled) {
        if self.settled.insert(id, settled).is_none() {
            self.settled_order.push_back(id);
        }
        if self.settled_order.len() > SETTLED_MAX
            && let Some(oldest) = self.settled_order.pop_front()
        {
            self.settled.remove(&oldest);
        }
    }

    pub(crate) fn settled_mut(&mut self, id: &MessageId) -> Option<&mut Settled> {
        self.settled.get_mut(id)
    }

    /// Whether a message is known to be further than `state`.
    pub(crate) fn is_beyond(&self, id: &MessageId, state: DeliveryState) -> bool {
        let waiting = self.entries.get(id).map(|entry| entry.row.state);
        let known = waiting.or_else(|| self.settled.get(id).map(|settled| settled.state));
        known.is_some_and(|known| known > state)
    }

    /// Messages for a user after `order`, in order.
    pub(crate) fn after(&self, to: &Label, order: u64) -> impl Iterator<Item = &Entry> {
        let orders = self.by_peer.get(to);
        let rest = orders.map(|orders| orders.range(order.saturating_add(1)..));
        let ids = rest.into_iter().flatten();
        ids.filter_map(|(_, id)| self.entries.get(id))
    }

    /// Whether durable messages wait for a user.
    pub(crate) fn has_waiting(&self, to: &Label) -> bool {
        self.after(to, 0)
            .any(|entry| entry.phase != Phase::Committing)
    }

    pub(crate) fn count_for(&self, to: &Label) -> usize {
        self.by_peer.get(to).map_or(0, BTreeMap::len)
    }

    /// Users with messages.
    pub(crate) fn recipients(&self) -> Vec<Label> {
        self.by_peer.keys().cloned().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn ids(&self, which: impl Fn(&Entry) -> bool) -> Vec<MessageId> {
        let found = self.entries.values().filter(|entry| which(entry));
        found.map(|entry| entry.row.id).collect()
    }

    /// Allocates the next place in a recipient's sequence.
    pub(crate) fn next_seq(&mut self, to: &Label) -> u64 {
        let seq = self.seqs.entry(to.clone()).or_insert(0);
        *seq += 1;
        *seq
    }

    /// Gives back a place nobody took, if no later one was given out.
    pub(crate) fn return_seq(&mut self, to: &Label, seq: u64) {
        if self.seqs.get(to) == Some(&seq) {
            self.seqs.insert(to.clone(), seq - 1);
        }
    }

    /// A new incarnation counts from one again.
    pub(crate) fn restart_seqs(&mut self) {
        self.seqs.clear();
    }

    pub(crate) fn settled_len(&self) -> usize {
        self.settled.len()
    }
}

/// What a row weighs: a full outbox of long texts must not fill the memory.
fn bytes_of(row: &OutboxRow) -> usize {
    let envelope = row.envelope.as_ref().map_or(0, Vec::len);
    let parcels: usize = row.parcels.iter().map(|(_, parcel)| parcel.len()).sum();
    row.text.len() + envelope + parcels
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
