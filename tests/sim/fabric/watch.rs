//! A tap on every link: what an honest member may not say, and what it must have heard before.

use super::custody::{Ledger, Said};
use beeline_proto::id::{DeviceFp, Label, MessageId, ParcelId};
use beeline_proto::parcel::{Kind as ParcelKind, Parcel};
use beeline_proto::pb::peer::v1::peer_item::Kind;
use beeline_proto::pb::peer::v1::{ChatMessage, PeerFound, StoreDelete, StoreReceipt};
use client_core::testing::tap::{Shared, cheaply_sealed, items, payload, shared};
use client_core::testing::{NodeId, World};
use std::collections::BTreeMap;

/// A relay that refused is not used again for so long, milliseconds, unless it says something new.
const REFUSED_MS: u64 = 500_000;

/// What was heard on the links.
#[derive(Debug, Default)]
pub(super) struct Watch {
    devices: Vec<DeviceFp>,
    unlisted: Vec<(NodeId, DeviceFp)>,
    labels: Vec<Label>,
    /// How long what was said may be on its way, milliseconds.
    way_ms: u64,
    /// Messages handed to relays, and for whom.
    relayed: BTreeMap<(NodeId, NodeId), BTreeMap<ParcelId, DeviceFp>>,
    /// When the two last began or ended a link.
    turned: BTreeMap<(NodeId, NodeId), u64>,
    /// Since when each relay has no route for whom to which device, as it said.
    refused: BTreeMap<(NodeId, NodeId), BTreeMap<DeviceFp, u64>>,
    /// What is said of kept parcels.
    pub(super) ledger: Ledger,
    /// Virtual milliseconds; the model keeps it.
    pub(super) now_ms: u64,
    /// What must not have been said.
    pub(super) violation: Option<String>,
}

impl Watch {
    /// Watches a world whose members are all there.
    pub(super) fn new(world: &World) -> Shared<Self> {
        let mut watch = Self {
            way_ms: world.timing.link_ms + world.timing.jitter_ms + 20,
            ..Self::default()
        };
        for id in world.ids() {
            let node = world.node(id);
            let device = node.user.devices[node.device].1.verify_key().device_fp();
            watch.devices.push(device);
            watch.labels.push(node.user.label.clone());
            if node.unlisted {
                watch.unlisted.push((id, device));
            }
        }
        shared(watch)
    }

    /// Takes a frame of an honest member.
    pub(super) fn hear(&mut self, from: NodeId, to: NodeId, bytes: &[u8]) {
        for item in items(bytes) {
            if let Err(what) = self.check(from, to, &item) {
                let at = self.now_ms;
                self.violation
                    .get_or_insert_with(|| format!("{from:?} to {to:?} at {at} ms: {what}"));
            }
        }
    }

    fn check(&mut self, from: NodeId, to: NodeId, item: &Kind) -> Result<(), String> {
        let (one, other) = (self.devices[from.0], self.devices[to.0]);
        match item {
            Kind::Relay(bytes) => {
                let parcel = Parcel::parse(bytes).map_err(|error| error.to_string())?;
                let header = parcel.header();
                if header.from != one && header.to != other {
                    return Err("a parcel of another is handed to another".to_owned());
                }
                if header.to == other {
                    self.news(to, from);
                } else if header.kind == ParcelKind::Message {
                    self.may_relay(from, to, &parcel)?;
                }
            }
            Kind::ChatMessage(bytes) | Kind::Ack(bytes) | Kind::Nack(bytes) => {
                let parcel = Parcel::parse(bytes).map_err(|error| error.to_string())?;
                if (parcel.header().from, parcel.header().to) != (one, other) {
                    return Err("a parcel is on a link that is not its own".to_owned());
                }
            }
            Kind::Refusal(refusal) if refusal.code == "NO_ROUTE" => {
                let parcel = ParcelId::try_from(refusal.subject.as_slice()).ok();
                let relayed = self.relayed.get(&(to, from));
                let of = relayed.and_then(|relayed| relayed.get(&parcel?).copied());
                if let Some(device) = of {
                    self.hear_refusal((to, from), device);
                }
            }
            Kind::StoreMessage(store) => self.hear_deposit((one, other), &store.parcel)?,
            Kind::StoreReceipt(bytes) => {
                let receipt: StoreReceipt = payload(bytes);
                if let Ok(parcel) = ParcelId::try_from(receipt.parcel_id.as_slice()) {
                    self.ledger.fresh.push(Said::Receipt(from, parcel));
                }
                self.note_custody(from, to, item);
            }
            Kind::Kept(bytes) => {
                let parcel = Parcel::parse(bytes).map_err(|error| error.to_string())?;
                if parcel.header().to != other {
                    return Err("a kept parcel is handed to another".to_owned());
                }
            }
            Kind::StoreDelete(bytes) => {
                let delete: StoreDelete = payload(bytes);
                let ids = ids_of(&delete);
                self.ledger.fresh.push(Said::Delete(from, to, ids));
            }
            Kind::PeerFound(bytes) => {
                self.news(to, from);
                let found: PeerFound = payload(bytes);
                let named = |id: NodeId| self.labels[id.0].as_str() == found.user_id;
                if self.unlisted.iter().any(|(id, _)| named(*id)) {
                    return Err(format!("{} is named, and is unlisted", found.user_id));
                }
            }
            Kind::NetworkState(bytes) => {
                self.news(to, from);
                self.names_nobody_unlisted((from, to), bytes)?;
            }
            Kind::Hello(_) | Kind::Goodbye(_) => {
                self.turn(from, to);
            }
            _ => {}
        }
        Ok(())
    }

    /// Another link, and what is on its way on the old one is not heard.
    fn turn(&mut self, one: NodeId, other: NodeId) {
        for (node, relay) in [(one, other), (other, one)] {
            self.news(node, relay);
            self.turned.insert((node, relay), self.now_ms);
        }
    }

    fn hear_refusal(&mut self, ends: (NodeId, NodeId), device: DeviceFp) {
        let turned = self.turned.get(&ends);
        if turned.is_some_and(|at| self.now_ms.saturating_sub(*at) < self.way_ms) {
            // It may be said on the old one.
            return;
        }
        let refused = self.refused.entry(ends).or_default();
        refused.entry(device).or_insert(self.now_ms);
    }

    /// Somebody leaves a parcel with a custodian: its own, and a message's.
    fn hear_deposit(&mut self, ends: (DeviceFp, DeviceFp), bytes: &[u8]) -> Result<(), String> {
        let parcel = Parcel::parse(bytes).map_err(|error| error.to_string())?;
        let header = parcel.header();
        if header.from != ends.0 || header.to == ends.1 || header.kind != ParcelKind::Message {
            return Err("what is no message of its own is left with another".to_owned());
        }
        self.note_deposit(bytes);
        Ok(())
    }

    /// Takes note of what a deposited parcel holds.
    fn note_deposit(&mut self, bytes: &[u8]) {
        let Ok(parcel) = Parcel::parse(bytes) else {
            return;
        };
        let Some(content) = cheaply_sealed(&parcel) else {
            return self.ledger.unread.push(parcel.id());
        };
        let context = payload::<ChatMessage>(&content.envelope).context;
        let message = context.and_then(|c| MessageId::try_from(c.message_id.as_slice()).ok());
        if let Some(message) = message {
            let holds = (parcel.header().from, message);
            self.ledger.holds.insert(parcel.id(), holds);
        }
    }

    /// Takes note of what binds or frees a custodian, whoever says it.
    pub(super) fn note_custody(&mut self, from: NodeId, to: NodeId, item: &Kind) {
        if let Kind::StoreMessage(store) = item {
            self.note_deposit(&store.parcel);
        }
        if let Kind::StoreDelete(bytes) = item {
            let ids = ids_of(&payload(bytes)).into_iter();
            self.ledger.released.extend(ids.map(|id| (to, id)));
        }
        if let Kind::StoreReceipt(bytes) = item {
            let receipt: StoreReceipt = payload(bytes);
            if let Ok(parcel) = ParcelId::try_from(receipt.parcel_id.as_slice()) {
                self.ledger.receipts.entry(parcel).or_default().insert(from);
            }
        }
    }

    /// `relay` says something to `node` that may be a reason to try it again.
    fn news(&mut self, node: NodeId, relay: NodeId) {
        self.refused.remove(&(node, relay));
    }

    fn may_relay(&mut self, from: NodeId, relay: NodeId, parcel: &Parcel) -> Result<(), String> {
        let device = parcel.header().to;
        let refused = self
            .refused
            .get(&(from, relay))
            .and_then(|r| r.get(&device));
        let since = refused.map(|at| self.now_ms.saturating_sub(*at));
        if since.is_some_and(|ms| (self.way_ms..REFUSED_MS).contains(&ms)) {
            return Err("a message goes to a relay that has no route".to_owned());
        }
        let relayed = self.relayed.entry((from, relay)).or_default();
        relayed.insert(parcel.id(), device);
        Ok(())
    }

    fn names_nobody_unlisted(&self, ends: (NodeId, NodeId), bytes: &[u8]) -> Result<(), String> {
        for (id, device) in &self.unlisted {
            let own = *id == ends.0 || *id == ends.1;
            if !own && bytes.windows(32).any(|part| part == device.0) {
                return Err(format!("{id:?} is named, and is unlisted"));
            }
        }
        Ok(())
    }
}

fn ids_of(delete: &StoreDelete) -> Vec<ParcelId> {
    let ids = delete.parcel_ids.iter();
    ids.filter_map(|id| ParcelId::try_from(id.as_slice()).ok())
        .collect()
}
