//! The reference model: a few sets that say what must be true of a world, whatever happened to it.
//! It looks at every event as it is told, and at the stores, which are what outlives a process.

use super::watch::Watch;
use beeline_proto::id::{DeviceFp, Label, MessageId};
use client_core::event::{DeliveryState, Event, Fabric, MessageState, PeerState, Received};
use client_core::state::OutboxRow;
use client_core::testing::tap::Shared;
use client_core::testing::{MemoryStore, NodeId, World};
use std::collections::{BTreeMap, BTreeSet};

/// What was told to one home.
#[derive(Debug, Default)]
struct Told {
    /// Events looked at.
    seen: usize,
    /// Processes started.
    starts: usize,
    /// States of the peers, as told by the process that runs.
    peers: BTreeMap<Label, PeerState>,
    /// Messages shown: sender and id.
    shown: BTreeSet<(DeviceFp, MessageId)>,
    /// Last place shown of each sender's incarnation, and whether a gap was admitted.
    order: BTreeMap<(DeviceFp, u64), (u64, bool)>,
    /// The furthest state told of each message by the process that runs.
    states: BTreeMap<MessageId, DeliveryState>,
}

/// What a home held before an older image took its place.
#[derive(Debug, Default)]
struct Past {
    outbox: BTreeMap<MessageId, OutboxRow>,
    inbox: BTreeSet<(DeviceFp, MessageId)>,
    /// Whether it did not notice.
    unnoticed: bool,
}

/// What is known of a world.
#[derive(Debug)]
pub(super) struct Model {
    told: BTreeMap<NodeId, Told>,
    /// What homes lost that were restored from a backup.
    past: BTreeMap<NodeId, Past>,
    /// Whose parcels for whom honest relays handed on.
    carried: BTreeSet<(Label, Label)>,
    /// Questions less answers, by who asked, who was asked, and for whom.
    asked: BTreeMap<(NodeId, Label, Label), u64>,
    /// What is said on the links.
    pub(super) watch: Shared<Watch>,
    /// Whether somebody lies: then a relay's word proves nothing.
    pub(super) liars: bool,
    /// What must not have happened.
    pub(super) violation: Option<String>,
    /// Events looked at in all.
    pub(super) events: u64,
}

/// Whether the specification has this transition.
fn specified(from: PeerState, to: PeerState) -> bool {
    use PeerState as S;
    matches!(
        (from, to),
        (
            S::Disconnected | S::StoreAndForward,
            S::Discovering | S::Signaling
        ) | (S::Discovering, S::Signaling | S::Failed)
            | (S::Signaling, S::Connecting | S::Failed)
            | (S::Connecting, S::Connected | S::Failed)
            | (S::Connected, S::Disconnected)
            | (S::Failed, S::StoreAndForward)
    )
}

pub(super) fn device_of(world: &World, id: NodeId) -> DeviceFp {
    let node = world.node(id);
    node.user.devices[node.device].1.verify_key().device_fp()
}

pub(super) fn node_of(world: &World, user: &Label) -> Option<NodeId> {
    let mut ids = world.ids().into_iter();
    ids.find(|id| world.node(*id).user.label == *user)
}

impl Model {
    pub(super) fn new(watch: Shared<Watch>) -> Self {
        Self {
            told: BTreeMap::new(),
            past: BTreeMap::new(),
            carried: BTreeSet::new(),
            asked: BTreeMap::new(),
            watch,
            liars: false,
            violation: None,
            events: 0,
        }
    }

    /// Looks at everything told since the last time.
    pub(super) fn look(&mut self, world: &World) {
        let mut watch = self.watch.borrow_mut();
        // What is heard from here on is said by the next thing that happens.
        watch.now_ms = world.next_ms().unwrap_or(0).max(world.now_ms);
        let heard = watch.violation.take();
        drop(watch);
        if let Some(what) = heard {
            self.violation.get_or_insert(what);
        }
        self.look_at_custody(world);
        for id in world.ids() {
            let told = self.told.entry(id).or_default();
            let events = &world.node(id).events;
            if told.starts != world.node(id).starts.len() {
                told.starts = world.node(id).starts.len();
                told.peers.clear();
                // A state whose record was lost with the process is found out anew.
                told.states.clear();
            }
            let fresh = std::mem::replace(&mut told.seen, events.len());
            for (_, event) in &events[fresh..] {
                self.events += 1;
                self.take(world, id, event);
            }
        }
    }

    /// A home is about to be what it was when `image` was made. What it committed and queued since
    /// is gone with it, and nobody can bring it back; all else holds.
    pub(super) fn restore(
        &mut self,
        world: &World,
        id: NodeId,
        image: &MemoryStore,
        noticed: bool,
    ) {
        let (store, device) = (&world.node(id).store, device_of(world, id));
        let past = self.past.entry(id).or_default();
        past.outbox.extend(store.outbox.clone());
        past.inbox.extend(store.inbox.keys().copied());
        past.unnoticed |= !noticed;
        let told = self.told.entry(id).or_default();
        told.shown = image.released.iter().copied().collect();
        for (stream, (last, gap)) in &mut told.order {
            *last = image.streams.get(stream).map_or(0, |next| next - 1);
            *gap = true;
        }
        // It counts places anew that others have seen.
        for told in self.told.values_mut() {
            let streams = told.order.iter_mut();
            let own = streams.filter(|((of, _), _)| *of == device);
            own.for_each(|(_, (_, gap))| *gap = true);
        }
    }

    /// A message of a home, also of one before a backup was restored.
    pub(super) fn sent_by(
        &self,
        world: &World,
        id: NodeId,
        message: &MessageId,
    ) -> Option<OutboxRow> {
        let past = self.past.get(&id);
        let row = world.node(id).store.outbox.get(message);
        row.or_else(|| past?.outbox.get(message)).cloned()
    }

    /// Whether a home committed a message, perhaps before a backup was restored.
    pub(super) fn was_committed(
        &self,
        world: &World,
        id: NodeId,
        key: &(DeviceFp, MessageId),
    ) -> bool {
        let past = self.past.get(&id);
        world.node(id).store.inbox.contains_key(key)
            || past.is_some_and(|past| past.inbox.contains(key))
    }

    pub(super) fn fail(&mut self, world: &World, id: NodeId, what: &str) {
        let who = &world.node(id).user.label;
        let at = world.now_ms;
        self.violation
            .get_or_insert_with(|| format!("{who} at {at} ms: {what}"));
    }

    fn take(&mut self, world: &World, id: NodeId, event: &Event) {
        match event {
            Event::MessageState(state) => self.take_state(world, id, state),
            Event::Received(message) => self.take_shown(world, id, message),
            Event::PeerState { user, from, to, .. } => {
                let told = self.told.entry(id).or_default();
                let known = told.peers.insert(user.clone(), *to);
                let connected = told.peers.values().filter(|s| **s == PeerState::Connected);
                let links = connected.count();
                if links > world.node(id).links_max {
                    self.fail(world, id, &format!("has {links} links"));
                }
                let known = known.unwrap_or(PeerState::Disconnected);
                if known != *from || !specified(*from, *to) {
                    let what = format!("{user} went {known:?}, {from:?} -> {to:?}");
                    self.fail(world, id, &what);
                }
            }
            Event::Fabric(fabric) => self.take_fabric(world, id, fabric),
            _ => {}
        }
    }

    fn take_fabric(&mut self, world: &World, id: NodeId, fabric: &Fabric) {
        match fabric {
            Fabric::Carried {
                from: Some(from),
                to: Some(to),
                ..
            } => {
                self.carried.insert((from.clone(), to.clone()));
            }
            Fabric::Asked { peer, user } => {
                let mut rows = world.node(id).store.outbox.values();
                if !rows.any(|row| row.to == *user) {
                    self.fail(world, id, &format!("asks for {user} without a message"));
                }
                let asked = (id, peer.clone(), user.clone());
                *self.asked.entry(asked).or_default() += 1;
            }
            Fabric::Found { peer, user, .. } => {
                let asked = self.asked.get_mut(&(id, peer.clone(), user.clone()));
                match asked.filter(|asked| **asked > 0) {
                    Some(asked) => *asked -= 1,
                    None => self.fail(world, id, &format!("takes an unasked answer for {user}")),
                }
            }
            _ => {}
        }
    }

    /// A state is never ahead of its proof, and never taken back once proven.
    fn take_state(&mut self, world: &World, id: NodeId, state: &MessageState) {
        let told = self.told.entry(id).or_default();
        let before = told.states.get(&state.id).copied();
        if before.is_some_and(|before| state.state < before) {
            let what = format!("{} went back to {:?}", state.id, state.state);
            return self.fail(world, id, &what);
        }
        told.states
            .insert(state.id, state.state.max(before.unwrap_or(state.state)));
        let from = device_of(world, id);
        let committed = || {
            let to = node_of(world, &state.to);
            to.is_some_and(|to| self.was_committed(world, to, &(from, state.id)))
        };
        let me = world.node(id).user.label.clone();
        let carried = self.carried.contains(&(me, state.to.clone()));
        let wrong = match state.state {
            DeliveryState::Delivered | DeliveryState::Read => !committed(),
            DeliveryState::Relayed => !carried && !self.liars,
            DeliveryState::Stored => self.is_stored_wrongly(world, id, state),
            // Nobody changes keys, and nothing lasts a month.
            DeliveryState::Expired | DeliveryState::Rejected => true,
            DeliveryState::Queued => !world.node(id).store.outbox.contains_key(&state.id),
            DeliveryState::Trying => false,
        };
        if wrong {
            let what = format!("{} is told {:?} without proof", state.id, state.state);
            self.fail(world, id, &what);
        }
    }

    /// Shown once, to whom it was sent, as it was sent, in order, and not before it is committed.
    fn take_shown(&mut self, world: &World, id: NodeId, message: &Received) {
        let sender = node_of(world, &message.from);
        let row = sender.and_then(|sender| self.sent_by(world, sender, &message.id));
        let (Some(row), Some(sender)) = (row, sender) else {
            return self.fail(world, id, "shows what nobody sent");
        };
        let fits = row.to == world.node(id).user.label && row.text == message.text;
        let key = (message.from_device, message.id);
        let released = world.node(id).store.inbox.get(&key);
        if !fits || !released.is_some_and(|(_, released)| *released) {
            return self.fail(world, id, "shows what was not sent to it, or not released");
        }
        let (seq, stream) = (row.seq, (message.from_device, row.incarnation));
        let counts_anew = self.past.get(&sender).is_some_and(|past| past.unnoticed);
        let told = self.told.entry(id).or_default();
        if !told.shown.insert(key) {
            return self.fail(world, id, "shows a message twice");
        }
        let (last, gap) = told.order.entry(stream).or_default();
        let late = seq < *last;
        *gap |= message.after_gap || counts_anew;
        let wrong = late && !*gap;
        *last = seq.max(*last);
        if wrong {
            self.fail(world, id, "shows messages out of order");
        }
    }

    /// Bounded collections are within their bounds.
    pub(super) fn check_bounds(&mut self, world: &World) {
        for id in world.ids() {
            let Some(manager) = world.node(id).manager.as_ref() else {
                continue;
            };
            for fill in manager.fill() {
                if fill.len > fill.max {
                    let what = format!("{} holds {} of {}", fill.what, fill.len, fill.max);
                    self.fail(world, id, &what);
                }
            }
        }
    }

    /// What is not as it must be in the end: every message that was ever durable is committed and
    /// released at its recipient, and its sender knows.
    pub(super) fn missing(&self, world: &World, but: &BTreeSet<NodeId>) -> Option<String> {
        for id in world.ids().into_iter().filter(|id| !but.contains(id)) {
            for row in world.node(id).store.outbox.values() {
                let to = node_of(world, &row.to).filter(|to| !but.contains(to));
                let wrong = to.and_then(|to| self.wrong_with(world, (id, to), row));
                if wrong.is_some() {
                    return wrong;
                }
            }
        }
        None
    }

    fn wrong_with(
        &self,
        world: &World,
        (from, to): (NodeId, NodeId),
        row: &OutboxRow,
    ) -> Option<String> {
        let (me, text) = (&world.node(from).user.label, &row.text);
        let key = (device_of(world, from), row.id);
        let lost_since = self.was_committed(world, to, &key);
        match world.node(to).store.inbox.get(&key) {
            // Its recipient had it, said so, and went back to before.
            None if lost_since && row.state >= DeliveryState::Delivered => None,
            None => Some(format!("{me} to {}: {text} is lost", row.to)),
            Some((_, false)) => Some(format!("{me} to {}: {text} is not shown", row.to)),
            Some(_) if row.state < DeliveryState::Delivered => {
                let state = row.state.name();
                Some(format!("{me} holds {text} for {state}"))
            }
            Some(_) => None,
        }
    }

    /// In the end, whoever used a place in a sequence twice and was told so counts anew.
    pub(super) fn counts_twice(&self, world: &World) -> Option<String> {
        for (id, past) in self.past.iter().filter(|(_, past)| past.unnoticed) {
            let (store, device) = (&world.node(*id).store, device_of(world, *id));
            for row in store.outbox.values() {
                let twice = past.outbox.values().any(|old| {
                    let place = |row: &OutboxRow| (row.to.clone(), row.incarnation, row.seq);
                    let to = node_of(world, &old.to);
                    // The sender hears of it only with the ACK of a message it has.
                    let seen = to.is_some_and(|to| {
                        let shown = &world.node(to).store.released;
                        let at = |id| shown.iter().position(|key| *key == (device, id));
                        at(old.id).is_some_and(|old| at(row.id).is_some_and(|new| old < new))
                    });
                    seen && old.id != row.id && place(old) == place(row)
                });
                if twice && store.incarnation == row.incarnation {
                    let me = &world.node(*id).user.label;
                    return Some(format!("{me} was restored, and goes on counting"));
                }
            }
        }
        None
    }
}
