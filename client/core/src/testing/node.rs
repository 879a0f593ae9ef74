//! One home: its process while it runs, its store, its ends of links, what its person saw.

use super::authority::{Authority, User};
use super::crypto::CheapCrypto;
use super::files::Disk;
use super::process::{Answered, Process};
use super::store::MemoryStore;
use crate::config::{Config, Keep};
use crate::crypto::{Crypto, RealCrypto};
use crate::event::{DeliveryState, Event, MessageState, PeerState};
use crate::files::io::FilePolicy;
use crate::input::{Input, LinkId, SignalInput, SocketId, StoreFailure};
use crate::manager::PeerManager;
use crate::state::{Identity, StoreOp};
use beeline_proto::id::{Label, MessageId, NetworkFp};
use beeline_proto::time::Now;
use std::collections::BTreeMap;

/// Names a node of a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeId(pub usize);

/// One end of a connection.
#[derive(Debug, Clone, Default)]
pub(super) struct End {
    pub(super) fingerprint: [u8; 32],
    pub(super) remote: Option<(NodeId, LinkId, [u8; 32])>,
    pub(super) reachable: bool,
    /// It was made without TURN.
    pub(super) direct_only: bool,
    pub(super) opening: bool,
    pub(super) open: bool,
    /// Messages that came before this end was open.
    pub(super) early: Vec<Vec<u8>>,
    pub(super) last_arrival_ms: u64,
    /// When the round trip under way began, and how many bytes left in it.
    pub(super) round: (u64, usize),
    pub(super) under_way: usize,
    pub(super) blocked: bool,
}

/// One home.
pub struct Node {
    /// The user and its devices.
    pub user: User,
    /// Which of them this is.
    pub device: usize,
    /// The process, while it runs.
    pub manager: Option<PeerManager>,
    /// What outlives it.
    pub store: MemoryStore,
    /// Stands in for `store`, and decides when the process ends.
    pub process: Option<Box<dyn Process>>,
    /// Everything told, with its time.
    pub events: Vec<(u64, Event)>,
    /// How many events had been told when each process started.
    pub starts: Vec<usize>,
    /// Whether the gateway's socket is up.
    pub socket_up: bool,
    /// Writes that will fail.
    pub failing_writes: u32,
    /// Changes the configuration before a start.
    pub signal_addr: String,
    /// The address its candidates name; empty for none.
    pub addr: String,
    /// Whether it coordinates.
    pub coordinator: bool,
    /// Whether it may be named to others.
    pub unlisted: bool,
    /// Links it takes at once.
    pub links_max: usize,
    /// Whether it carries parcels for others.
    pub can_relay: bool,
    /// Bytes of files it carries per second for a pair of users.
    pub relay_files_per_s: u64,
    /// Whether it keeps parcels for others.
    pub can_store: bool,
    /// How much of it.
    pub keep: Keep,
    /// The longest frame it takes, bytes; `None` for what a client takes.
    pub frame_len_max: Option<usize>,
    /// Which files it takes.
    pub files: Option<FilePolicy>,
    /// Whether a person is asked about the others.
    pub files_ask: bool,
    /// The bytes of files, as its driver has them.
    pub disk: Disk,
    /// How far its clock is off, milliseconds; may change at any time.
    pub wall_skew_ms: i64,
    pub(super) boot: u32,
    pub(super) last_commit_ms: u64,
    pub(super) ends: BTreeMap<LinkId, End>,
    seed: u64,
}

impl Node {
    pub(super) fn new(user: User, device: usize, seed: u64) -> Self {
        let name = user.devices[device].0.clone();
        Self {
            user,
            device,
            manager: None,
            store: MemoryStore::new(seed),
            process: None,
            events: Vec::new(),
            starts: Vec::new(),
            socket_up: false,
            failing_writes: 0,
            signal_addr: format!("ws://127.0.0.1:8080/{name}"),
            addr: String::new(),
            coordinator: false,
            unlisted: false,
            links_max: crate::limits::LINKS_MAX,
            can_relay: true,
            relay_files_per_s: crate::limits::RELAY_FILE_BYTES_PER_S,
            can_store: false,
            keep: Keep::default(),
            frame_len_max: None,
            files: None,
            files_ask: false,
            disk: Disk::default(),
            wall_skew_ms: 0,
            boot: 0,
            last_commit_ms: 0,
            ends: BTreeMap::new(),
            seed,
        }
    }

    /// Its deviceId.
    pub fn device_label(&self) -> &Label {
        &self.user.devices[self.device].0
    }

    pub(super) fn identity(&self, authority: &Authority) -> Identity {
        let mut identity = authority.identity(&self.user, self.device, self.boot as u8 + 1);
        if let Some((chain, revocations)) = &self.store.own {
            identity.chain.clone_from(chain);
            identity.revocations.clone_from(revocations);
        }
        identity
    }

    /// Starts a process; `false` if it ended at once.
    pub(super) fn start(
        &mut self,
        mut identity: Identity,
        network: NetworkFp,
        real: bool,
        now: Now,
    ) -> bool {
        self.boot += 1;
        self.starts.push(self.events.len());
        let loaded = match self.process.as_mut().map(|process| process.load(now)) {
            None => self.store.load(),
            Some(None) => return false,
            Some(Some((loaded, own))) => {
                if let Some((chain, revocations)) = own {
                    (identity.chain, identity.revocations) = (chain, revocations);
                }
                loaded
            }
        };
        let seed = self.seed ^ u64::from(self.boot);
        let crypto: Box<dyn Crypto> = if real {
            let mut bytes = [0u8; 32];
            bytes[..8].copy_from_slice(&seed.to_be_bytes());
            Box::new(RealCrypto::new(bytes))
        } else {
            Box::new(CheapCrypto::new(seed))
        };
        let usual = Config::new(network, &self.signal_addr);
        let config = Config {
            coordinator: self.coordinator,
            unlisted: self.unlisted,
            links_max: self.links_max,
            can_relay: self.can_relay,
            relay_files_per_s: self.relay_files_per_s,
            can_store: self.can_store,
            keep: self.keep,
            files: self.files.clone(),
            files_ask: self.files_ask,
            frame_len_max: self.frame_len_max.unwrap_or(usual.frame_len_max),
            ..usual
        };
        let manager = PeerManager::new(config, identity, loaded, crypto, now);
        self.manager = Some(manager.expect("its own chain is good"));
        true
    }

    pub(super) fn crash(&mut self) -> Vec<End> {
        self.boot += 1;
        self.manager = None;
        self.disk.crash();
        self.socket_up = false;
        std::mem::take(&mut self.ends).into_values().collect()
    }

    /// Notes what an input says of the gateway's socket: whether it is open now.
    pub(super) fn note(&mut self, input: &Input) -> Option<bool> {
        let open = match input {
            Input::Signal(SignalInput::Up(SocketId::GATEWAY)) => true,
            Input::Signal(SignalInput::Down(SocketId::GATEWAY)) => false,
            _ => return None,
        };
        self.socket_up = open;
        Some(open)
    }

    pub(super) fn tell(&mut self, at_ms: u64, event: Event) {
        self.events.push((at_ms, event));
    }

    pub(super) fn commit(&mut self, now: Now, ops: &[StoreOp]) -> Answered {
        if let Some(process) = self.process.as_mut() {
            return process.commit(now, ops);
        }
        if self.failing_writes > 0 {
            self.failing_writes -= 1;
            return Some(Err(StoreFailure {
                transient: true,
                detail: "the disk is full".to_owned(),
            }));
        }
        Some(Ok(self.store.apply(ops)))
    }

    /// States told of messages of ours, in order.
    pub fn message_states(&self) -> Vec<&MessageState> {
        let states = self.events.iter().filter_map(|(_, event)| match event {
            Event::MessageState(state) => Some(state),
            _ => None,
        });
        states.collect()
    }

    /// The message queued last.
    pub fn last_queued(&self) -> Option<MessageId> {
        self.events.iter().rev().find_map(|(_, event)| match event {
            Event::Queued { id, .. } => Some(*id),
            _ => None,
        })
    }

    /// How many messages were told to be in a state.
    pub fn count(&self, state: DeliveryState) -> usize {
        self.message_states()
            .iter()
            .filter(|told| told.state == state)
            .count()
    }

    /// Texts received, in the order told, over all processes of this home.
    pub fn received(&self) -> Vec<&str> {
        let texts = self.events.iter().filter_map(|(_, event)| match event {
            Event::Received(received) => Some(received.text.as_str()),
            _ => None,
        });
        texts.collect()
    }

    /// Kinds of warnings told.
    pub fn warnings(&self) -> Vec<&'static str> {
        let kinds = self.events.iter().filter_map(|(_, event)| match event {
            Event::Warned { kind, .. } => Some(*kind),
            _ => None,
        });
        kinds.collect()
    }

    /// States of a peer told, in order.
    pub fn peer_states(&self, user: &str) -> Vec<PeerState> {
        let states = self.events.iter().filter_map(|(_, event)| match event {
            Event::PeerState { user: of, to, .. } if of.as_str() == user => Some(*to),
            _ => None,
        });
        states.collect()
    }

    /// Whether an event was told.
    pub fn told(&self, which: impl Fn(&Event) -> bool) -> bool {
        self.events.iter().any(|(_, event)| which(event))
    }

    /// The running process.
    ///
    /// # Panics
    /// If it does not run.
    pub fn running(&self) -> &PeerManager {
        self.manager.as_ref().expect("the process runs")
    }
}
