//! The reference model: a few sets that say what must be true of a world, whatever happened to it.
//! It looks at every event as it is told, and at the stores, which are what outlives a process.

use super::watch::Watch;
use beeline_proto::id::{DeviceFp, Label, MessageId};
use client_core::event::{DeliveryState, Event, Fabric, MessageState, PeerState, Received};
use client_core::testing::tap::Shared;
use client_core::testing::{NodeId, World};
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
    /// Last place shown of each sender, and whether a gap was admitted.
    order: BTreeMap<DeviceFp, (u64, bool)>,
    /// The furthest state told of each message by the process that runs.
    states: BTreeMap<MessageId, DeliveryState>,
}

/// What is known of a world.
#[derive(Debug)]
pub(super) struct Model {
    told: BTreeMap<NodeId, Told>,
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

fn device_of(world: &World, id: NodeId) -> DeviceFp {
    let node = world.node(id);
    node.user.devices[node.device].1.verify_key().device_fp()
}

fn node_of(world: &World, user: &Label) -> Option<NodeId> {
    let mut ids = world.ids().into_iter();
    ids.find(|id| world.node(*id).user.label == *user)
}

impl Model {
    pub(super) fn new(watch: Shared<Watch>) -> Self {
        Self {
            told: BTreeMap::new(),
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

    fn fail(&mut self, world: &World, id: NodeId, what: &str) {
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
            to.is_some_and(|to| world.node(to).store.inbox.contains_key(&(from, state.id)))
        };
        let me = world.node(id).user.label.clone();
        let carried = self.carried.contains(&(me, state.to.clone()));
        let wrong = match state.state {
            DeliveryState::Delivered | DeliveryState::Read => !committed(),
            DeliveryState::Relayed => !carried && !self.liars,
            // Nobody changes keys, nothing lasts a month, nobody keeps parcels yet.
            DeliveryState::Expired | DeliveryState::Rejected | DeliveryState::Stored => true,
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
        let row = sender.and_then(|sender| world.node(sender).store.outbox.get(&message.id));
        let Some(row) = row else {
            return self.fail(world, id, "shows what nobody sent");
        };
        let fits = row.to == world.node(id).user.label && row.text == message.text;
        let key = (message.from_device, message.id);
        let released = world.node(id).store.inbox.get(&key);
        if !fits || !released.is_some_and(|(_, released)| *released) {
            return self.fail(world, id, "shows what was not sent to it, or not released");
        }
        let seq = row.seq;
        let told = self.told.entry(id).or_default();
        if !told.shown.insert(key) {
            return self.fail(world, id, "shows a message twice");
        }
        let (last, gap) = told.order.entry(message.from_device).or_default();
        let late = seq < *last;
        *gap |= message.after_gap;
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
    pub(super) fn missing(&self, world: &World, but: Option<NodeId>) -> Option<String> {
        for id in world.ids() {
            if Some(id) == but {
                continue;
            }
            let (node, from) = (world.node(id), device_of(world, id));
            for (message, row) in &node.store.outbox {
                let to = node_of(world, &row.to).filter(|to| Some(*to) != but);
                let Some(to) = to else {
                    continue;
                };
                let (me, text) = (&node.user.label, &row.text);
                let there = world.node(to).store.inbox.get(&(from, *message));
                match there {
                    None => return Some(format!("{me} to {}: {text} is lost", row.to)),
                    Some((_, false)) => {
                        return Some(format!("{me} to {}: {text} is not shown", row.to));
                    }
                    Some(_) if row.state < DeliveryState::Delivered => {
                        let state = row.state.name();
                        return Some(format!("{me} holds {text} for {state}", state = state));
                    }
                    Some(_) => {}
                }
            }
        }
        None
    }
}
