//! Our messages on their way: what is queued, in which order, and how each stands. The rows are the
//! store's; this is their working copy.

mod room;

use crate::event::{DeliveryState, Kept, Rung};
use crate::files::io::FileSource;
use crate::input::{CommandId, LinkId};
use crate::limits::SETTLED_MAX;
use crate::placement::Placement;
use crate::state::{OutboxRow, SettledRow};
use beeline_proto::id::{DeviceFp, EnvelopeHash, Label, MessageId, ParcelId, sha256};
use beeline_proto::parcel::Parcel;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

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
    /// Seals made because of NACKs, shortly one after the other.
    pub(crate) reseals: u8,
    /// When the last of them was made, by the monotonic clock.
    pub(crate) resealed_ms: u64,
    /// The rung last told about.
    pub(crate) told: Option<Rung>,
    /// What was told last of why nothing came of a rung.
    pub(crate) note: Option<String>,
    /// Where copies for devices that are away are kept, by recipient device.
    pub(crate) custody: BTreeMap<DeviceFp, Placement>,
    /// How many custodians hold it, as told last.
    pub(crate) kept: Option<Kept>,
    /// The same, being written.
    pub(crate) keeping: Option<Kept>,
    /// The call that waits for its commit.
    pub(crate) command: Option<CommandId>,
    /// Devices that are still to get it whatever its state: the recipient's others once one has it.
    pub(crate) left: BTreeSet<DeviceFp>,
    /// Bytes it counts for; see [`room`].
    weight: usize,
}

impl Entry {
    /// Whether no device of the recipient has it yet, as far as we know.
    pub(crate) fn is_open(&self) -> bool {
        self.row.state < DeliveryState::Delivered
    }

    /// Where it stands, counting what is being written: no earlier state may be written after it.
    pub(crate) fn state(&self) -> DeliveryState {
        match self.keeping {
            Some(_) => self.row.state.max(DeliveryState::Stored),
            None => self.row.state,
        }
    }

    pub(crate) fn parcel(&self, device: DeviceFp) -> Option<&Vec<u8>> {
        let found = self.row.parcels.iter().find(|(to, _)| *to == device);
        found.map(|(_, parcel)| parcel)
    }

    /// The id of the parcel for a device.
    pub(crate) fn parcel_id(&self, device: DeviceFp) -> Option<ParcelId> {
        let parcel = Parcel::parse(self.parcel(device)?);
        parcel.ok().map(|parcel| parcel.id())
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

impl Settled {
    fn of(entry: &Entry, state: DeliveryState) -> Self {
        let devices = entry.row.parcels.iter().map(|(device, _)| *device);
        Self {
            to: entry.row.to.clone(),
            state,
            hash: entry.hash,
            devices: devices.collect(),
            queued_mono_ms: entry.queued_mono_ms,
        }
    }
}

/// A call of `send` that waits for the answer to an earlier one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) command: CommandId,
    pub(crate) text: String,
    pub(crate) key: Option<String>,
    pub(crate) file: Option<Box<FileSource>>,
}

/// All messages of ours that some device is still to get. Those that none has yet are *open*: only
/// they are waited for. The others are delivered, and served to the devices left.
#[derive(Debug)]
pub(crate) struct Outbox {
    entries: BTreeMap<MessageId, Entry>,
    /// The open ones.
    by_peer: BTreeMap<Label, BTreeMap<u64, MessageId>>,
    /// The delivered ones, the oldest first.
    served: BTreeMap<u64, MessageId>,
    /// What each device is still to get whatever its state.
    left: BTreeMap<DeviceFp, BTreeMap<u64, MessageId>>,
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
            served: BTreeMap::new(),
            left: BTreeMap::new(),
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
            resealed_ms: 0,
            told: None,
            note: None,
            custody: BTreeMap::new(),
            kept: None,
            keeping: None,
            command,
            left: BTreeSet::new(),
            weight: room::weight(&row),
            row,
        };
        if entry.is_open() {
            let of_peer = self.by_peer.entry(entry.row.to.clone());
            of_peer.or_default().insert(order, id);
        } else {
            self.served.insert(order, id);
            if !self.settled.contains_key(&id) {
                self.remember(id, Settled::of(&entry, entry.row.state));
            }
        }
        self.index_parcels(id, &entry.row.parcels);
        self.bytes += entry.weight;
        self.entries.insert(id, entry);
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
        entry.hash = Some(EnvelopeHash(sha256(envelope)));
        entry.row.envelope = Some(envelope.to_vec());
        entry.phase = Phase::Sealing;
        let old = std::mem::replace(&mut entry.row.parcels, parcels.clone());
        let same = |device: &DeviceFp| {
            let before = old.iter().find(|(to, _)| to == device);
            before.is_some() && before == parcels.iter().find(|(to, _)| to == device)
        };
        entry.custody.retain(|device, _| same(device));
        self.forget_parcels(&old);
        self.index_parcels(id, &parcels);
        self.weigh(&id);
    }

    /// Takes back envelope and parcels that could not be written.
    pub(crate) fn unseal(&mut self, id: &MessageId) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        entry.phase = Phase::Unsealed;
        entry.hash = None;
        entry.row.envelope = None;
        let parcels = std::mem::take(&mut entry.row.parcels);
        self.weigh(id);
        self.forget_parcels(&parcels);
    }

    /// Takes a message out.
    pub(crate) fn remove(&mut self, id: &MessageId) -> Option<Entry> {
        let entry = self.entries.remove(id)?;
        self.bytes -= entry.weight;
        self.close(&entry.row.to, entry.order);
        self.served.remove(&entry.order);
        for device in &entry.left {
            self.unindex(*device, entry.order);
        }
        self.forget_parcels(&entry.row.parcels);
        Some(entry)
    }

    /// A message is not open any more.
    fn close(&mut self, to: &Label, order: u64) {
        if let Some(orders) = self.by_peer.get_mut(to) {
            orders.remove(&order);
            if orders.is_empty() {
                self.by_peer.remove(to);
            }
        }
    }

    fn unindex(&mut self, device: DeviceFp, order: u64) {
        if let Some(orders) = self.left.get_mut(&device) {
            orders.remove(&order);
            if orders.is_empty() {
                self.left.remove(&device);
            }
        }
    }

    /// Takes a message out for good, remembering it for late ACKs and READs.
    pub(crate) fn settle(&mut self, id: MessageId, state: DeliveryState) -> Option<Entry> {
        let entry = self.remove(&id)?;
        self.remember(id, Settled::of(&entry, state));
        Some(entry)
    }

    /// A first device has an open message: it is DELIVERED, and `left` are served from now on.
    pub(crate) fn deliver(&mut self, id: MessageId, left: &[DeviceFp]) {
        let Some(entry) = self.entries.get_mut(&id).filter(|entry| entry.is_open()) else {
            return;
        };
        let settled = Settled::of(entry, DeliveryState::Delivered);
        entry.row.state = DeliveryState::Delivered;
        let (to, order) = (entry.row.to.clone(), entry.order);
        self.close(&to, order);
        self.served.insert(order, id);
        self.remember(id, settled);
        for device in left {
            self.leave(id, *device);
        }
    }

    /// A device is to get a message whatever its state, unless it has it.
    pub(crate) fn leave(&mut self, id: MessageId, device: DeviceFp) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        if !entry.row.acked.contains(&device) && entry.left.insert(device) {
            let of_device = self.left.entry(device).or_default();
            of_device.insert(entry.order, id);
        }
    }

    /// A device is to get a message no more. Its parcel is dropped.
    pub(crate) fn unleave(&mut self, id: MessageId, device: DeviceFp) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        let order = entry.order;
        entry.left.remove(&device);
        let (gone, kept) = std::mem::take(&mut entry.row.parcels)
            .into_iter()
            .partition::<Vec<_>, _>(|(to, _)| *to == device);
        entry.row.parcels = kept;
        self.forget_parcels(&gone);
        self.weigh(&id);
        self.unindex(device, order);
    }

    /// Whether a message is delivered and nobody is left to get it.
    pub(crate) fn is_done(&self, id: &MessageId) -> bool {
        let entry = self.entries.get(id);
        entry.is_some_and(|entry| !entry.is_open() && entry.left.is_empty())
    }

    /// Takes what earlier processes settled, the oldest first.
    pub(crate) fn load_settled(&mut self, rows: Vec<SettledRow>, now_ms: u64) {
        for row in rows {
            let settled = Settled {
                to: row.to,
                state: row.state,
                hash: Some(row.hash),
                devices: row.devices,
                queued_mono_ms: now_ms,
            };
            self.remember(row.id, settled);
        }
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
        let settled = self.settled.get(id).map(|settled| settled.state);
        let known = settled.or_else(|| self.entries.get(id).map(Entry::state));
        known.is_some_and(|known| known > state)
    }

    /// Open messages for a user after `order`, in order.
    pub(crate) fn after(&self, to: &Label, order: u64) -> impl Iterator<Item = &Entry> {
        let orders = self.by_peer.get(to);
        let rest = orders.map(|orders| orders.range(order.saturating_add(1)..));
        let ids = rest.into_iter().flatten();
        ids.filter_map(|(_, id)| self.entries.get(id))
    }

    /// What a device of a user is to get after `order`, in order, at most `max`.
    pub(crate) fn due(&self, to: &Label, device: DeviceFp, order: u64, max: usize) -> Vec<&Entry> {
        let left = self.left_to(device, order).take(max);
        let mut due: Vec<&Entry> = self.after(to, order).take(max).chain(left).collect();
        due.sort_unstable_by_key(|entry| entry.order);
        due.truncate(max);
        due
    }

    /// What a device is still to get whatever its state, after `order`, in order.
    pub(crate) fn left_to(&self, device: DeviceFp, order: u64) -> impl Iterator<Item = &Entry> {
        let orders = self.left.get(&device);
        let rest = orders.map(|orders| orders.range(order.saturating_add(1)..));
        let ids = rest.into_iter().flatten();
        ids.filter_map(|(_, id)| self.entries.get(id))
    }

    /// Whether a device is still to get something whatever its state.
    pub(crate) fn is_left(&self, device: DeviceFp) -> bool {
        self.left.contains_key(&device)
    }

    /// Devices that are still to get something whatever its state.
    pub(crate) fn left_devices(&self) -> impl Iterator<Item = DeviceFp> {
        self.left.keys().copied()
    }

    /// Whether open durable messages wait for a user.
    pub(crate) fn has_waiting(&self, to: &Label) -> bool {
        self.after(to, 0)
            .any(|entry| entry.phase != Phase::Committing)
    }

    pub(crate) fn count_for(&self, to: &Label) -> usize {
        self.by_peer.get(to).map_or(0, BTreeMap::len)
    }

    /// Users with open messages.
    pub(crate) fn recipients(&self) -> Vec<Label> {
        self.by_peer.keys().cloned().collect()
    }

    /// How many are open.
    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.served.len()
    }

    /// How many are delivered and still served.
    pub(crate) fn served_len(&self) -> usize {
        self.served.len()
    }

    /// The delivered message served longest.
    pub(crate) fn oldest_served(&self) -> Option<MessageId> {
        self.served.first_key_value().map(|(_, id)| *id)
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

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
