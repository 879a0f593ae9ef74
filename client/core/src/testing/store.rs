//! A store in memory that honours the operations: in order, all or nothing.

use super::MemoryFiles;
use crate::event::DeliveryState;
use crate::limits::SETTLED_MAX;
use crate::state::{
    BundleRow, ClockRow, ContactRow, CopyRow, CustodyRow, InboxRow, KeptRow, Loaded, OutboxRow,
    RouteRow, SettledRow, StoreOp, StoreResult, StreamRow,
};
use beeline_proto::id::{DeviceFp, EnvelopeHash, Label, MessageId, sha256};
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
    /// What other devices of ours said, for ever.
    pub copies: BTreeMap<(DeviceFp, MessageId), CopyRow>,
    /// Our own chain and revocations, once replaced.
    pub own: Option<(Vec<u8>, Vec<u8>)>,
    /// Receipts of custodians by message, recipient device and custodian.
    pub custody: BTreeMap<(MessageId, DeviceFp, DeviceFp), CustodyRow>,
    /// The steady clock as kept last.
    pub clock: Option<ClockRow>,
    /// What the next start shall be told of a copied home.
    pub copied: Option<String>,
    /// Devices each message of ours was sealed to.
    sealed_to: BTreeMap<MessageId, Vec<DeviceFp>>,
    /// Files on their way.
    pub files: MemoryFiles,
    /// Parcels kept for others, by order.
    pub kept: BTreeMap<u64, KeptRow>,
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
            .filter(|row| !is_final(row.state) || !row.acked.is_empty())
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
            custody: self.custody.values().cloned().collect(),
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
            settled: self.settled(),
            clock: self.clock,
            copied: self.copied.clone(),
            kept: self.load_kept(),
            files: self.files.load(),
        }
    }

    /// The last messages of ours that ended, the oldest first.
    fn settled(&self) -> Vec<SettledRow> {
        let rows = self.queued.iter().filter_map(|id| self.outbox.get(id));
        let ended = rows.filter(|row| is_final(row.state) && row.state != DeliveryState::Rejected);
        let settled = ended.filter_map(|row| {
            let envelope = row.envelope.as_deref()?;
            Some(SettledRow {
                id: row.id,
                to: row.to.clone(),
                state: row.state,
                hash: EnvelopeHash(sha256(envelope)),
                devices: self.sealed_to.get(&row.id).cloned().unwrap_or_default(),
            })
        });
        let mut settled: Vec<SettledRow> = settled.collect();
        settled.split_off(settled.len().saturating_sub(SETTLED_MAX))
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
                    self.note_devices(*id, parcels);
                }
            }
            StoreOp::SetState { id, state, .. } => {
                self.history.push((*id, *state));
                if let Some(row) = self.outbox.get_mut(id) {
                    row.state = *state;
                    if is_final(*state) && (*state > DeliveryState::Read || row.acked.is_empty()) {
                        row.parcels.clear();
                        row.acked.clear();
                    }
                }
            }
            StoreOp::KeepCopy(row) => return self.keep_copy(row),
            StoreOp::SetAcked { .. } | StoreOp::EndServing(_) | StoreOp::DropParcelsFor(_) => {
                self.apply_serving(op);
            }
            StoreOp::Release { device, id, stream } => self.release(*device, *id, *stream),
            StoreOp::PutCustody(_) | StoreOp::RemoveCustody { .. } | StoreOp::SetStored { .. } => {
                self.apply_custody(op);
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
            StoreOp::PutBundle(_) | StoreOp::PublishBundle { .. } | StoreOp::EraseBundle(_) => {
                self.apply_bundle(op);
            }
            StoreOp::PutOwnChain { chain, revocations } => {
                self.own = Some((chain.clone(), revocations.clone()));
            }
            StoreOp::File(op) => self.apply_file(op),
            StoreOp::SetIncarnation(incarnation) => self.incarnation = *incarnation,
            StoreOp::KeepClock(clock) => self.clock = Some(*clock),
            StoreOp::Keep(_)
            | StoreOp::FindKept { .. }
            | StoreOp::ReadKept { .. }
            | StoreOp::DropKept { .. }
            | StoreOp::ExpireKept { .. } => return self.apply_kept(op),
        }
        StoreResult::Done
    }

    fn release(&mut self, device: DeviceFp, id: MessageId, stream: StreamRow) {
        let key = (stream.device, stream.incarnation);
        let next = self.streams.entry(key).or_insert(1);
        *next = (*next).max(stream.next_seq);
        if let Some((_, released)) = self.inbox.get_mut(&(device, id))
            && !std::mem::replace(released, true)
        {
            self.released.push((device, id));
        }
    }

    /// What is still served to devices of the recipient.
    fn apply_serving(&mut self, op: &StoreOp) {
        match op {
            StoreOp::SetAcked { id, device } => {
                if let Some(row) = self.outbox.get_mut(id) {
                    row.parcels.retain(|(to, _)| to != device);
                    if !row.acked.contains(device) {
                        row.acked.push(*device);
                    }
                }
            }
            StoreOp::EndServing(id) => {
                if let Some(row) = self.outbox.get_mut(id) {
                    row.parcels.clear();
                    row.acked.clear();
                }
            }
            StoreOp::DropParcelsFor(device) => {
                for row in self.outbox.values_mut() {
                    row.parcels.retain(|(to, _)| to != device);
                }
            }
            _ => {}
        }
    }

    /// Keys to seal to.
    fn apply_bundle(&mut self, op: &StoreOp) {
        match op {
            StoreOp::PutBundle(row) => self.bundles.push(row.clone()),
            StoreOp::PublishBundle { key_id, at_ms } => {
                let new = |row: &&mut BundleRow| row.key_id == *key_id && row.published_ms == 0;
                if let Some(row) = self.bundles.iter_mut().find(new) {
                    row.published_ms = *at_ms;
                }
            }
            StoreOp::EraseBundle(id) => self.bundles.retain(|row| row.key_id != *id),
            _ => {}
        }
    }

    /// What custodians promised.
    fn apply_custody(&mut self, op: &StoreOp) {
        match op {
            StoreOp::PutCustody(row) if self.outbox.contains_key(&row.message) => {
                let key = (row.message, row.device, row.custodian);
                self.custody.insert(key, row.clone());
            }
            StoreOp::RemoveCustody {
                id,
                device,
                custodian,
            } => {
                let gone = |key: &(MessageId, DeviceFp, DeviceFp)| {
                    (key.0, key.1) == (*id, *device) && custodian.is_none_or(|c| c == key.2)
                };
                self.custody.retain(|key, _| !gone(key));
            }
            StoreOp::SetStored { id, .. } => {
                self.history.push((*id, DeliveryState::Stored));
                if let Some(row) = self.outbox.get_mut(id) {
                    row.state = DeliveryState::Stored;
                }
            }
            _ => {}
        }
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
        self.note_devices(row.id, &row.parcels);
        self.outbox.insert(row.id, row.clone());
        self.queued.push(row.id);
        self.history.push((row.id, DeliveryState::Queued));
        StoreResult::Inserted { seq_reused: false }
    }

    fn keep_copy(&mut self, row: &CopyRow) -> StoreResult {
        match self.copies.get(&(row.device, row.id)) {
            Some(known) if known.hash == row.hash => StoreResult::Duplicate { seq_reused: false },
            Some(_) => StoreResult::Conflict,
            None => {
                self.copies.insert((row.device, row.id), row.clone());
                StoreResult::Inserted { seq_reused: false }
            }
        }
    }

    fn note_devices(&mut self, id: MessageId, parcels: &[(DeviceFp, Vec<u8>)]) {
        let devices = parcels.iter().map(|(device, _)| *device);
        self.sealed_to.insert(id, devices.collect());
    }

    fn receive(&mut self, row: &InboxRow) -> StoreResult {
        let forgotten = |known: &InboxRow| {
            planted!(DuplicatesForgotten) && known.received_ms + 60_000 < row.received_ms
        };
        let place = (row.device, row.incarnation, row.seq);
        let mut others = self.inbox.values().filter(|(old, _)| old.id != row.id);
        let seq_reused = others.any(|(old, _)| (old.device, old.incarnation, old.seq) == place);
        let known = self.inbox.get(&(row.device, row.id));
        match known.filter(|(known, _)| !forgotten(known)) {
            Some((known, _)) if known.hash == row.hash => StoreResult::Duplicate { seq_reused },
            Some(_) => StoreResult::Conflict,
            None => {
                let key = (row.device, row.id);
                self.inbox.insert(key, (row.clone(), false));
                StoreResult::Inserted { seq_reused }
            }
        }
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
