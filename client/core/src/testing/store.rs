//! A store in memory that honours the operations: in order, all or nothing.

use crate::event::DeliveryState;
use crate::state::{
    BundleRow, ContactRow, InboxRow, KeptRow, Loaded, OutboxRow, RouteRow, StoreOp, StoreResult,
    StreamRow,
};
use beeline_proto::id::{DeviceFp, Label, MessageId};
use std::collections::{BTreeMap, BTreeSet};

/// Everything one home keeps. Cloned to model a crash before a commit.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    /// The incarnation in force.
    pub incarnation: u64,
    /// Bundles, the newest last.
    pub bundles: Vec<BundleRow>,
    /// Contacts by label.
    pub contacts: BTreeMap<Label, ContactRow>,
    /// Routes by device.
    pub routes: BTreeMap<DeviceFp, RouteRow>,
    /// Messages of ours, for ever.
    pub outbox: BTreeMap<MessageId, OutboxRow>,
    /// Order of queueing.
    pub queued: Vec<MessageId>,
    /// Every state of every message of ours, in order.
    pub history: Vec<(MessageId, DeliveryState)>,
    /// Messages for us, for ever, and whether they were released.
    pub inbox: BTreeMap<(DeviceFp, MessageId), (InboxRow, bool)>,
    /// Releases in order: what an application shows.
    pub released: Vec<(DeviceFp, MessageId)>,
    /// Next seq per stream.
    pub streams: BTreeMap<(DeviceFp, u64), u64>,
    /// Our own chain and revocations, once replaced.
    pub own: Option<(Vec<u8>, Vec<u8>)>,
    /// Parcels kept for others, by order.
    pub kept: BTreeMap<u64, KeptRow>,
    /// The clock of keeping and the wall clock, when last noted.
    pub kept_clock: (u64, u64),
    seqs: BTreeMap<(Label, u64), u64>,
    /// Places in sequences given out: recipient, incarnation, seq.
    places: BTreeSet<(Label, u64, u64)>,
    /// Idempotency keys by recipient.
    keys: BTreeMap<(Label, String), MessageId>,
}

/// Whether a message is not tried for any more.
fn is_final(state: DeliveryState) -> bool {
    matches!(
        state,
        DeliveryState::Delivered
            | DeliveryState::Read
            | DeliveryState::Expired
            | DeliveryState::Rejected
    )
}

impl MemoryStore {
    /// An empty store of a new database.
    pub fn new(incarnation: u64) -> Self {
        Self {
            incarnation,
            ..Self::default()
        }
    }

    /// What a process loads at start.
    pub fn load(&self) -> Loaded {
        let mut outbox: Vec<OutboxRow> = self
            .queued
            .iter()
            .filter_map(|id| self.outbox.get(id))
            .filter(|row| !is_final(row.state))
            .cloned()
            .collect();
        outbox.sort_by(|a, b| (&a.to, a.seq).cmp(&(&b.to, b.seq)));
        let current = self
            .seqs
            .iter()
            .filter(|((_, inc), _)| *inc == self.incarnation);
        let held = self.inbox.values().filter(|(_, released)| !released);
        let mut held: Vec<InboxRow> = held.map(|(row, _)| row.clone()).collect();
        held.sort_by_key(|row| (row.device, row.incarnation, row.seq));
        Loaded {
            incarnation: self.incarnation,
            bundles: self.bundles.iter().rev().cloned().collect(),
            contacts: self.contacts.values().cloned().collect(),
            routes: self.routes.values().cloned().collect(),
            outbox,
            seqs: current.map(|((to, _), seq)| (to.clone(), *seq)).collect(),
            streams: self
                .streams
                .iter()
                .map(|((device, incarnation), next_seq)| StreamRow {
                    device: *device,
                    incarnation: *incarnation,
                    next_seq: *next_seq,
                })
                .collect(),
            held,
            kept: self.load_kept(),
        }
    }

    /// Applies a write.
    pub fn apply(&mut self, ops: &[StoreOp]) -> Vec<StoreResult> {
        ops.iter().map(|op| self.apply_one(op)).collect()
    }

    fn apply_one(&mut self, op: &StoreOp) -> StoreResult {
        match op {
            StoreOp::QueueMessage(row) => return self.queue(row),
            StoreOp::Receive(row) => return self.receive(row),
            StoreOp::SetSealed {
                id,
                envelope,
                parcels,
            } => {
                if let Some(row) = self.outbox.get_mut(id) {
                    let same = row.envelope.as_ref().is_none_or(|old| old == envelope);
                    assert!(same, "an envelope never changes");
                    row.envelope = Some(envelope.clone());
                    row.parcels.clone_from(parcels);
                }
            }
            StoreOp::SetState { id, state, .. } => {
                self.history.push((*id, *state));
                if let Some(row) = self.outbox.get_mut(id) {
                    row.state = *state;
                }
            }
            StoreOp::Release { device, id, stream } => {
                let next = self
                    .streams
                    .entry((stream.device, stream.incarnation))
                    .or_insert(1);
                *next = (*next).max(stream.next_seq);
                if let Some((_, released)) = self.inbox.get_mut(&(*device, *id))
                    && !std::mem::replace(released, true)
                {
                    self.released.push((*device, *id));
                }
            }
            StoreOp::PutContact(row) => {
                self.contacts.insert(row.label.clone(), row.clone());
            }
            StoreOp::PutRoute(row) => {
                self.routes.insert(row.device, row.clone());
            }
            StoreOp::RemoveRoute(device) => {
                self.routes.remove(device);
            }
            StoreOp::PutBundle(row) => {
                for old in self.bundles.iter_mut().filter(|old| old.superseded_ms == 0) {
                    old.superseded_ms = row.made_ms;
                }
                self.bundles.push(row.clone());
            }
            StoreOp::EraseBundle(id) => self.bundles.retain(|row| row.key_id != *id),
            StoreOp::PutOwnChain { chain, revocations } => {
                self.own = Some((chain.clone(), revocations.clone()));
            }
            StoreOp::SetIncarnation(incarnation) => self.incarnation = *incarnation,
            StoreOp::Keep(_)
            | StoreOp::FindKept { .. }
            | StoreOp::ReadKept { .. }
            | StoreOp::DropKept { .. }
            | StoreOp::ExpireKept { .. } => return self.apply_kept(op),
        }
        StoreResult::Done
    }

    fn queue(&mut self, row: &OutboxRow) -> StoreResult {
        let place = (row.to.clone(), row.incarnation, row.seq);
        let key = row.idempotency_key.clone().map(|key| (row.to.clone(), key));
        if let Some(known) = key.as_ref().and_then(|key| self.keys.get(key)) {
            return StoreResult::Known(*known);
        }
        let seq = self
            .seqs
            .entry((row.to.clone(), row.incarnation))
            .or_insert(0);
        *seq = (*seq).max(row.seq);
        assert!(
            self.places.insert(place),
            "a place in the sequence is given out once"
        );
        if let Some(key) = key {
            self.keys.insert(key, row.id);
        }
        self.outbox.insert(row.id, row.clone());
        self.queued.push(row.id);
        self.history.push((row.id, DeliveryState::Queued));
        StoreResult::Inserted { seq_reused: false }
    }

    fn receive(&mut self, row: &InboxRow) -> StoreResult {
        if let Some((known, _)) = self.inbox.get(&(row.device, row.id)) {
            return if known.hash == row.hash {
                StoreResult::Duplicate
            } else {
                StoreResult::Conflict
            };
        }
        let place = (row.device, row.incarnation, row.seq);
        let seq_reused = self
            .inbox
            .values()
            .any(|(old, _)| (old.device, old.incarnation, old.seq) == place);
        self.inbox
            .insert((row.device, row.id), (row.clone(), false));
        StoreResult::Inserted { seq_reused }
    }

    /// The texts an application shows, in order.
    pub fn shown(&self) -> Vec<String> {
        let rows = self.released.iter().filter_map(|key| self.inbox.get(key));
        rows.map(|(row, _)| row.text.clone()).collect()
    }

    /// The states a message of ours went through.
    pub fn states(&self, id: MessageId) -> Vec<DeliveryState> {
        let of_it = self.history.iter().filter(|(message, _)| *message == id);
        of_it.map(|(_, state)| *state).collect()
    }
}
