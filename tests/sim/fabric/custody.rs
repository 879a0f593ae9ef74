//! Custody as the reference model sees it: what honest custodians promised they keep, nobody has a
//! parcel deleted that it has not committed, and `stored` has its receipts.

use super::model::{Model, device_of};
use beeline_proto::id::{DeviceFp, MessageId, ParcelId};
use beeline_proto::parcel::Parcel;
use client_core::event::{DeliveryState, MessageState};
use client_core::state::OutboxRow;
use client_core::testing::{NodeId, World};
use std::collections::{BTreeMap, BTreeSet};

/// Something said about kept parcels by somebody honest.
#[derive(Debug, Clone)]
pub(super) enum Said {
    /// A custodian promises to keep a parcel.
    Receipt(NodeId, ParcelId),
    /// A recipient tells a custodian that it needs parcels no more.
    Delete(NodeId, NodeId, Vec<ParcelId>),
}

/// What was heard of custody, and what follows from it.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Receipts said by anybody, honest or not.
    pub(super) receipts: BTreeMap<ParcelId, BTreeSet<NodeId>>,
    /// What deposited parcels hold: the sender's device and the message.
    pub(super) holds: BTreeMap<ParcelId, (DeviceFp, MessageId)>,
    /// Parcels deposited since the model looked last that were sealed for real.
    pub(super) unread: Vec<ParcelId>,
    /// Said since the model looked last.
    pub(super) fresh: Vec<Said>,
    /// What honest custodians have promised, and lost on no disk.
    promised: BTreeSet<(NodeId, ParcelId)>,
    /// What recipients have released custodians from.
    pub(super) released: BTreeSet<(NodeId, ParcelId)>,
}

fn keeps(world: &World, id: NodeId, parcel: &ParcelId) -> bool {
    let kept = &world.node(id).store.kept;
    kept.values().any(|row| row.id == *parcel)
}

/// A parcel that waits for somebody with the sender away.
#[derive(Debug, Clone)]
pub(super) struct Left {
    pub(super) sender: NodeId,
    pub(super) recipient: NodeId,
    message: MessageId,
    text: String,
}

impl Model {
    /// Finds out from those who made them what parcels hold that nobody else can read.
    fn read_deposits(&mut self, world: &World) {
        let mut watch = self.watch.borrow_mut();
        let unread = std::mem::take(&mut watch.ledger.unread);
        if unread.is_empty() {
            return;
        }
        for id in world.ids() {
            let rows = world.node(id).store.outbox.values();
            let parcels = rows.flat_map(|row| row.parcels.iter().map(|(_, b)| (row.id, b)));
            for (message, bytes) in parcels {
                let parcel = Parcel::parse(bytes).map(|parcel| parcel.id()).ok();
                if let Some(parcel) = parcel.filter(|parcel| unread.contains(parcel)) {
                    let held = (device_of(world, id), message);
                    watch.ledger.holds.insert(parcel, held);
                }
            }
        }
    }

    /// Looks at what was said of kept parcels since the last time.
    pub(super) fn look_at_custody(&mut self, world: &World) {
        self.read_deposits(world);
        let fresh = std::mem::take(&mut self.watch.borrow_mut().ledger.fresh);
        for said in fresh {
            match said {
                Said::Receipt(custodian, parcel) => {
                    let mut watch = self.watch.borrow_mut();
                    let released = watch.ledger.released.contains(&(custodian, parcel));
                    watch.ledger.promised.insert((custodian, parcel));
                    drop(watch);
                    if !released && !keeps(world, custodian, &parcel) {
                        self.fail(world, custodian, "promises what it has not committed");
                    }
                }
                Said::Delete(recipient, custodian, ids) => {
                    for id in ids {
                        let mut watch = self.watch.borrow_mut();
                        watch.ledger.released.insert((custodian, id));
                        let key = watch.ledger.holds.get(&id).copied();
                        drop(watch);
                        if key.is_some_and(|key| !self.was_committed(world, recipient, &key)) {
                            self.fail(world, recipient, "has deleted what it has not committed");
                        }
                    }
                }
            }
        }
    }

    /// What was promised is still there.
    pub(super) fn check_custody(&mut self, world: &World) {
        let watch = self.watch.borrow();
        let ledger = &watch.ledger;
        let promised = ledger.promised.iter();
        let mut due = promised.filter(|promise| !ledger.released.contains(*promise));
        let gone = due.find(|(id, parcel)| !keeps(world, *id, parcel)).copied();
        drop(watch);
        if let Some((custodian, _)) = gone {
            self.fail(world, custodian, "keeps no more what it has promised");
        }
    }

    /// The disk of a custodian is not what it was: what is not on it any more is lost.
    pub(super) fn forget_promises(&mut self, world: &World, id: NodeId) {
        let mut watch = self.watch.borrow_mut();
        let promised = &mut watch.ledger.promised;
        promised.retain(|(of, parcel)| *of != id || keeps(world, id, parcel));
    }

    /// Whether a message is told to be stored without enough receipts.
    pub(super) fn is_stored_wrongly(
        &self,
        world: &World,
        id: NodeId,
        state: &MessageState,
    ) -> bool {
        let (Some(kept), Some(row)) = (state.kept, self.sent_by(world, id, &state.id)) else {
            return true;
        };
        let watch = self.watch.borrow();
        let ledger = &watch.ledger;
        let own = (device_of(world, id), state.id);
        let now = row.parcels.iter();
        let now = now.filter_map(|(_, bytes)| Some(Parcel::parse(bytes).ok()?.id()));
        // Sealed anew in the meantime, it was stored all the same.
        let ever = ledger.holds.iter().filter(|(_, held)| **held == own);
        let parcels = now.chain(ever.map(|(parcel, _)| *parcel));
        let custodians = parcels.filter_map(|parcel| ledger.receipts.get(&parcel));
        let custodians: BTreeSet<&NodeId> = custodians.flatten().filter(|c| **c != id).collect();
        let receipts = custodians.len();
        // Once stored it stays so, and what is told is how many keep it still.
        let history = world.node(id).store.states(state.id);
        let told = history.iter().filter(|s| **s == DeliveryState::Stored);
        let enough = kept.k.clamp(1, 2);
        (told.count() < 2 && kept.n < enough) || (kept.n as usize) > receipts
    }

    /// Messages of senders that honest custodians keep, and their recipients can get and open
    /// without them.
    pub(super) fn left_with_custodians(
        &self,
        world: &World,
        liars: &BTreeSet<NodeId>,
    ) -> Vec<Left> {
        let mut left = Vec::new();
        for sender in world.ids() {
            for row in world.node(sender).store.outbox.values() {
                let recipient = super::model::node_of(world, &row.to);
                let recipient = recipient.filter(|to| !liars.contains(to) && *to != sender);
                let waits = row.state < DeliveryState::Delivered;
                if let Some(recipient) = recipient.filter(|_| waits)
                    && can_be_had(world, (sender, recipient), row, liars)
                {
                    left.push(Left {
                        sender,
                        recipient,
                        message: row.id,
                        text: row.text.clone(),
                    });
                }
            }
        }
        left
    }

    /// Which of what was left did not come.
    pub(super) fn not_handed_over(&self, world: &World, left: &[Left]) -> Option<String> {
        let missing = left.iter().find(|left| {
            let key = (device_of(world, left.sender), left.message);
            let there = world.node(left.recipient).store.inbox.get(&key);
            there.is_none_or(|(_, released)| !released)
        })?;
        let to = &world.node(missing.recipient).user.label;
        let text = &missing.text;
        Some(format!(
            "{text} is kept by somebody honest, and does not reach {to}"
        ))
    }
}

/// Whether an honest custodian keeps a message, and its recipient knows that custodian, can link to
/// it, and holds all it takes to accept the message.
fn can_be_had(
    world: &World,
    (sender, to): (NodeId, NodeId),
    row: &OutboxRow,
    liars: &BTreeSet<NodeId>,
) -> bool {
    let (store, from) = (&world.node(to).store, &world.node(sender).user.label);
    if !store.contacts.contains_key(from) {
        return false;
    }
    let parcels = row.parcels.iter();
    let parcels = parcels.filter_map(|(_, bytes)| Parcel::parse(bytes).ok());
    let mut opens = parcels.filter(|parcel| {
        let mut bundles = store.bundles.iter();
        bundles.any(|bundle| bundle.key_id == parcel.header().key_id)
    });
    opens.any(|parcel| {
        world.ids().into_iter().any(|id| {
            let apart = world.apart.contains(&(id, to)) || world.apart.contains(&(to, id));
            let known = store.routes.contains_key(&device_of(world, id));
            let honest = !liars.contains(&id) && id != sender;
            // Where one of the two has no link to spare it is handed over when there is one.
            let both = [id, to].into_iter();
            let room = both.map(|end| world.node(end).links_max).min() > Some(world.ids().len());
            honest && room && !apart && known && keeps(world, id, &parcel.id())
        })
    })
}
