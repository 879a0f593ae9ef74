//! A tap on every link: what an honest member may not say, and what it must have heard before.

use beeline_proto::id::{DeviceFp, ParcelId};
use beeline_proto::parcel::{Kind as ParcelKind, Parcel};
use beeline_proto::pb::peer::v1::peer_item::Kind;
use client_core::testing::tap::{Shared, items, shared};
use client_core::testing::{NodeId, World};
use std::collections::BTreeMap;

/// A relay that refused is not used again before this, milliseconds, unless it says something new;
/// what was on its way when it refused is not counted, which is over after the second.
const REFUSED_MS: (u64, u64) = (2_000, 500_000);

/// What was heard on the links.
#[derive(Debug, Default)]
pub(super) struct Watch {
    devices: Vec<DeviceFp>,
    unlisted: Vec<(NodeId, DeviceFp)>,
    /// When each relay refused which parcel of whom with NO_ROUTE.
    refused: BTreeMap<(NodeId, NodeId), BTreeMap<ParcelId, u64>>,
    /// Virtual milliseconds; the model keeps it.
    pub(super) now_ms: u64,
    /// What must not have been said.
    pub(super) violation: Option<String>,
}

impl Watch {
    /// Watches a world whose members are all there.
    pub(super) fn new(world: &World) -> Shared<Self> {
        let mut watch = Self::default();
        for id in world.ids() {
            let node = world.node(id);
            let device = node.user.devices[node.device].1.verify_key().device_fp();
            watch.devices.push(device);
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
                    self.may_relay(from, to, &parcel.id())?;
                }
            }
            Kind::ChatMessage(bytes) | Kind::Ack(bytes) | Kind::Nack(bytes) => {
                let parcel = Parcel::parse(bytes).map_err(|error| error.to_string())?;
                if (parcel.header().from, parcel.header().to) != (one, other) {
                    return Err("a parcel is on a link that is not its own".to_owned());
                }
            }
            Kind::Refusal(refusal) if refusal.code == "NO_ROUTE" => {
                if let Ok(parcel) = ParcelId::try_from(refusal.subject.as_slice()) {
                    let refused = self.refused.entry((to, from)).or_default();
                    refused.entry(parcel).or_insert(self.now_ms);
                }
            }
            Kind::PeerFound(bytes) | Kind::NetworkState(bytes) => {
                self.news(to, from);
                self.names_nobody_unlisted((from, to), bytes)?;
            }
            Kind::Hello(_) => self.news(to, from),
            _ => {}
        }
        Ok(())
    }

    /// `relay` says something to `node` that may be a reason to try it again.
    fn news(&mut self, node: NodeId, relay: NodeId) {
        self.refused.remove(&(node, relay));
    }

    fn may_relay(&self, from: NodeId, relay: NodeId, parcel: &ParcelId) -> Result<(), String> {
        let refused = self.refused.get(&(from, relay)).and_then(|r| r.get(parcel));
        let since = refused.map(|at| self.now_ms.saturating_sub(*at));
        match since {
            Some(ms) if (REFUSED_MS.0..REFUSED_MS.1).contains(&ms) => {
                Err("a parcel goes to a relay that refused it".to_owned())
            }
            _ => Ok(()),
        }
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
