//! Sealing: a message is signed once when the recipient's key is pinned, and sealed once per device
//! whose bundle is known. Both are written before they are used, and repeated byte for byte.

use crate::crypto::random_id;
use crate::limits::{SEAL_BATCH_MAX, SEAL_FIRST_MAX, SEAL_WAIT_MS};
use crate::manager::PeerManager;
use crate::outbox::Phase;
use crate::outputs::Write;
use crate::routes::SealKey;
use crate::state::{OutboxRow, StoreOp};
use crate::timer::Timer;
use beeline_proto::chain::Device;
use beeline_proto::envelope::Context;
use beeline_proto::id::{DeviceFp, KeyId, Label, MessageId};
use beeline_proto::keys::SealPublic;
use beeline_proto::limits::PARCEL_TTL_MAX_S;
use beeline_proto::parcel::{Content, Header, Kind, SealError};
use beeline_proto::pb::peer::v1::{ChatMessage, FileOffer};
use beeline_proto::time::Now;
use std::collections::BTreeSet;

/// What one message still needs.
struct Needs {
    id: MessageId,
    envelope: Option<Vec<u8>>,
    devices: Vec<(DeviceFp, SealKey)>,
}

impl PeerManager {
    /// Seals an envelope to a device's control key.
    pub(crate) fn seal_control(
        &mut self,
        user: &Label,
        device: DeviceFp,
        envelope: Vec<u8>,
        chain: Vec<u8>,
        ttl_s: u32,
    ) -> Option<Vec<u8>> {
        let key = self
            .contacts
            .get(user)?
            .device(device)
            .map(|d: &Device| d.control_key)?;
        let header = self.header(device, Kind::Control, key.key_id(), ttl_s);
        let content = Content { envelope, chain };
        let sealed = self.crypto.seal(&header, &key, &content);
        if sealed.is_err() {
            self.out.counters.count("seal-failed");
        }
        sealed.ok()
    }

    pub(crate) fn header(&self, to: DeviceFp, kind: Kind, key_id: KeyId, ttl_s: u32) -> Header {
        Header {
            network: self.me.network(),
            from: self.me.device,
            to,
            kind,
            key_id,
            ttl_s,
        }
    }

    /// Signs a message for a pinned user.
    fn sign_message(&mut self, row: &OutboxRow, user: [u8; 32]) -> Vec<u8> {
        let context = Context {
            network: self.me.network(),
            audience: user,
            message_id: row.id,
            incarnation: row.incarnation,
            seq: row.seq,
            link_session: None,
        };
        if let Some(offer) = self.file_offer(row) {
            let context = Some(context.to_pb());
            let offer = FileOffer { context, ..offer };
            return self.me.sign(self.crypto.as_mut(), &offer);
        }
        let message = ChatMessage {
            context: Some(context.to_pb()),
            content: row.text.clone(),
            timestamp: row.queued_ms / 1_000,
            timestamp_ms: (row.queued_ms % 1_000) as u32,
        };
        self.me.sign(self.crypto.as_mut(), &message)
    }

    /// Seals a message's envelope to one device, with our chain beside it until the device has
    /// acknowledged it, where both fit. (Where they do not, the link's offer has carried it.) With
    /// a copy for a device of ours goes the recipient's chain instead.
    pub(crate) fn seal_message(
        &mut self,
        to: &Label,
        device: DeviceFp,
        key: (KeyId, SealPublic),
        envelope: &[u8],
    ) -> Option<Vec<u8>> {
        let chain = self.chain_beside(to, device);
        let header = self.header(device, Kind::Message, key.0, PARCEL_TTL_MAX_S);
        let mut content = Content {
            envelope: envelope.to_vec(),
            chain,
        };
        let mut sealed = self.crypto.seal(&header, &key.1, &content);
        if sealed == Err(SealError::TooLarge) && !content.chain.is_empty() {
            content.chain.clear();
            sealed = self.crypto.seal(&header, &key.1, &content);
        }
        if sealed.is_err() {
            self.out.counters.count("seal-failed");
        }
        sealed.ok()
    }

    fn chain_beside(&self, to: &Label, device: DeviceFp) -> Vec<u8> {
        let contact = self.contacts.get(to);
        if self.is_own_other(device) {
            return contact.map(|c| c.row.chain.clone()).unwrap_or_default();
        }
        let versions = self.me.versions();
        let ours = (versions.descriptor, versions.device_list);
        match contact.is_some_and(|c| c.knows_us(device, ours)) {
            true => Vec::new(),
            false => self.me.chain.to_bytes(),
        }
    }

    /// Signs and seals what waits for a user, as far as keys are known: the operations to write and
    /// the messages they concern. At most a batch of messages at a time.
    pub(crate) fn seal_waiting(&mut self, to: &Label) -> (Vec<StoreOp>, Vec<MessageId>) {
        let needs = self.needs(to);
        let mut ops = Vec::new();
        let mut ids = Vec::new();
        for need in needs {
            let Some(entry) = self.outbox.get(&need.id) else {
                continue;
            };
            let mut row = entry.row.clone();
            let (before, signed) = (row.parcels.len(), need.envelope.is_some());
            self.seal_row(&mut row, need.envelope, &need.devices);
            // A key nothing can be sealed to would otherwise be written again and again.
            if signed && row.parcels.len() == before {
                continue;
            }
            let Some(envelope) = row.envelope else {
                continue;
            };
            ops.push(StoreOp::SetSealed {
                id: need.id,
                envelope: envelope.clone(),
                parcels: row.parcels.clone(),
            });
            self.outbox.set_sealed(need.id, &envelope, row.parcels);
            ids.push(need.id);
        }
        (ops, ids)
    }

    /// Signs a row if it has no envelope yet, and adds parcels for `devices`.
    fn seal_row(
        &mut self,
        row: &mut OutboxRow,
        envelope: Option<Vec<u8>>,
        devices: &[(DeviceFp, SealKey)],
    ) {
        let Some(user) = self.contacts.get(&row.to).map(|contact| contact.row.user.0) else {
            return;
        };
        let envelope = envelope.unwrap_or_else(|| self.sign_message(row, user));
        for (device, key) in devices {
            let parcel = self.seal_message(&row.to, *device, (key.id, key.key), &envelope);
            if let Some(parcel) = parcel {
                row.parcels.push((*device, parcel));
            }
        }
        row.envelope = Some(envelope);
    }

    /// Signs and seals a new row before it is queued, if the recipient's key is pinned. In a burst
    /// it is only signed: [`Self::seal_late`] follows.
    pub(crate) fn seal_new(&mut self, row: &mut OutboxRow) {
        if self.is_blocked(&row.to) {
            return;
        }
        let mut keys = match self.files.offers(&row.id) {
            // Where the file is, our other devices cannot say.
            true => Vec::new(),
            false => self.seal_keys(&self.me.user_label),
        };
        // Copies to our own other devices are sealed here only.
        if !keys.is_empty() || self.out.writes_open() < SEAL_FIRST_MAX {
            keys.extend(self.seal_keys(&row.to));
        }
        self.seal_row(row, None, &keys);
    }

    /// Devices of a user with the bundles known.
    fn seal_keys(&self, to: &Label) -> Vec<(DeviceFp, SealKey)> {
        let key = |device: DeviceFp| self.routes.get(device).and_then(|route| route.seal);
        let devices = self.devices_of(to).into_iter();
        devices
            .filter_map(|device| Some((device, key(device)?)))
            .collect()
    }

    fn needs(&self, to: &Label) -> Vec<Needs> {
        if self.contacts.get(to).is_none() || self.is_blocked(to) {
            return Vec::new();
        }
        let keys = self.seal_keys(to);
        let left = keys.iter().map(|(device, _)| *device);
        let left = left.flat_map(|device| self.outbox.left_to(device, 0));
        // A delivered one is met once for each device left, and sealed for all of them at once.
        let mut met = BTreeSet::new();
        let wanting = self.outbox.after(to, 0).chain(left).filter_map(|entry| {
            let has = |device| entry.parcel(device).is_some() || entry.row.acked.contains(&device);
            let missing = |(device, _): &&(DeviceFp, SealKey)| !has(*device);
            let devices: Vec<_> = keys.iter().filter(missing).copied().collect();
            let wants = match entry.phase {
                Phase::Unsealed => true,
                Phase::Sealed => !devices.is_empty(),
                Phase::Committing | Phase::Sealing => false,
            };
            (wants && met.insert(entry.order)).then(|| Needs {
                id: entry.row.id,
                envelope: entry.row.envelope.clone(),
                devices,
            })
        });
        wanting.take(SEAL_BATCH_MAX).collect()
    }

    /// Seals at the end of this input what became durable without parcels, all of it together.
    pub(crate) fn seal_late(&mut self, id: MessageId) {
        let entry = self.outbox.get(&id).filter(|e| e.row.parcels.is_empty());
        if let Some(to) = entry.map(|entry| entry.row.to.clone())
            && !self.seal_keys(&to).is_empty()
        {
            self.unsealed.insert(to);
        }
    }

    /// Seals for the users that [`Self::seal_late`] noted. While more messages of ours are on their
    /// way to the disk that waits a little: whoever called `send` waits for the disk, not for this.
    pub(crate) fn flush_unsealed(&mut self, now: Now) {
        if !self.out.is_queueing() {
            self.burst_since_ms = None;
        }
        if self.unsealed.is_empty() {
            return;
        }
        if self.out.is_queueing() {
            let since = *self.burst_since_ms.get_or_insert(now.mono_ms);
            let until = since.saturating_add(SEAL_WAIT_MS);
            if now.mono_ms < until {
                return self.timers.arm_if_idle(Timer::Seal, until);
            }
        }
        self.timers.cancel(&Timer::Seal);
        for to in std::mem::take(&mut self.unsealed) {
            self.seal_and_write(&to);
        }
    }

    /// Seals what waits for a user and writes it.
    pub(crate) fn seal_and_write(&mut self, to: &Label) {
        let (ops, ids) = self.seal_waiting(to);
        if !ids.is_empty() {
            self.out.write(ops, Write::Seal(ids));
        }
    }

    /// A new random message id.
    pub(crate) fn new_message_id(&mut self) -> MessageId {
        MessageId(random_id(self.crypto.as_mut()))
    }
}
