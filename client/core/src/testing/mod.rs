//! A world in virtual time: managers, stores in memory, a registry, a gateway and connections that
//! behave, or misbehave, as told. Built on the public API; a run follows from its seed.

mod air;
mod authority;
mod backend;
mod crypto;
mod fabric;
mod file_rows;
mod files;
mod kept;
mod node;
mod process;
mod servers;
mod store;
pub mod tap;
mod timing;

pub use authority::{Authority, User, key_of, label};
pub use backend::{Backend, Caller};
pub use crypto::CheapCrypto;
pub use fabric::{Fabric, Lease};
pub use file_rows::MemoryFiles;
pub use files::{Chunk, Disk, Fault};
pub use node::{Node, NodeId};
pub use process::{Answered, Found, Process};
pub use servers::Registry;
pub use store::MemoryStore;
pub use timing::Timing;

use crate::files::rows::FileInKey;
use crate::input::{Command, CommandId, Input, LinkId, SignalInput, SocketId};
use crate::output::{SignalKind, StoreTicket};
use crate::state::StoreOp;
use beeline_proto::id::Label;
use beeline_proto::time::Now;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Outputs one input may cause; more would be a loop.
const OUTPUTS_MAX: usize = 100_000;

/// A frame on its way through the gateway.
#[derive(Debug, Clone, PartialEq)]
pub struct Signalled {
    /// The sender as the gateway will say.
    pub from: Label,
    /// The receiver.
    pub to: Label,
    /// The frame's type.
    pub kind: SignalKind,
    /// The parcel.
    pub parcel: Vec<u8>,
}

/// What the gateway makes of a frame.
pub type OnSignal = Box<dyn FnMut(Signalled) -> Vec<Signalled>>;

/// What becomes of a chunk of a file from one node to another.
pub type OnChunk = Box<dyn FnMut(NodeId, NodeId, Chunk) -> Vec<Chunk>>;

/// What becomes of a DataChannel message from one node to another.
pub type OnFrame = Box<dyn FnMut(NodeId, NodeId, Vec<u8>) -> Vec<Vec<u8>>>;

enum Happening {
    Input(Input),
    Commit(StoreTicket, Vec<StoreOp>),
    Frame(LinkId, Vec<u8>),
    Chunk(LinkId, Chunk),
    Flush(FileInKey),
    Open(LinkId),
}

/// The world.
pub struct World {
    /// Milliseconds since its beginning.
    pub now_ms: u64,
    /// The network's keys.
    pub authority: Authority,
    /// The registry.
    pub registry: Registry,
    /// Coordinators' leases and sockets.
    pub fabric: Fabric,
    /// How long things take.
    pub timing: Timing,
    /// Whether the gateway works.
    pub gateway_up: bool,
    /// A hostile or lossy gateway.
    pub on_signal: Option<OnSignal>,
    /// A hostile or lossy link.
    pub on_frame: Option<OnFrame>,
    /// A sender of chunks that lies, or a driver that loses some.
    pub on_chunk: Option<OnChunk>,
    /// Somebody terminates DTLS in between and the library does not notice.
    pub intercepted: bool,
    /// Frames a link takes before it is full.
    pub budget: usize,
    /// Whether parcels are sealed for real.
    pub real_crypto: bool,
    /// Pairs between which no connection comes about: their NATs do not let it, or a network ends
    /// between them. Ordered pairs; either order forbids it.
    pub apart: BTreeSet<(NodeId, NodeId)>,
    /// Pairs without a direct path, linked through the TURN server of the first.
    pub relayed: BTreeSet<(NodeId, NodeId)>,
    /// Frames from the first to the second are lost.
    pub muted: BTreeSet<(NodeId, NodeId)>,
    /// The largest number of outputs one input has caused.
    pub outputs_max: usize,
    /// Signalling frames that reached the gateway, for tests to look at and play again.
    pub signalled: Vec<Signalled>,
    backend: Option<Box<dyn Backend>>,
    nodes: Vec<Node>,
    agenda: BTreeMap<(u64, u64), (NodeId, u32, Happening)>,
    /// When each running manager wants to be woken.
    wakes: BTreeMap<NodeId, u64>,
    wake_order: BTreeSet<(u64, NodeId)>,
    counter: u64,
    rng: ChaCha8Rng,
}

/// Unix milliseconds at the beginning of every world.
pub const EPOCH_MS: u64 = 1_795_000_000_000;

/// How long a socket that was given up takes to be up again: the driver's shortest pause on
/// average, and signing in.
const REDIAL_MS: u64 = 300;

/// Frames kept in [`World::signalled`].
const SIGNALLED_MAX: usize = 10_000;

impl World {
    /// A world whose chance follows from `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            now_ms: 1,
            authority: Authority::new("home"),
            registry: Registry::default(),
            fabric: Fabric::default(),
            timing: Timing::default(),
            gateway_up: true,
            on_signal: None,
            on_frame: None,
            on_chunk: None,
            intercepted: false,
            budget: usize::MAX,
            real_crypto: false,
            apart: BTreeSet::new(),
            relayed: BTreeSet::new(),
            muted: BTreeSet::new(),
            outputs_max: 0,
            signalled: Vec::new(),
            backend: None,
            nodes: Vec::new(),
            agenda: BTreeMap::new(),
            wakes: BTreeMap::new(),
            wake_order: BTreeSet::new(),
            counter: 0,
            rng: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// The moment as managers are told it.
    pub fn now(&self) -> Now {
        Now {
            mono_ms: self.now_ms,
            wall_ms: EPOCH_MS + self.now_ms,
        }
    }

    /// The same for one node, whose clock may be wrong.
    fn now_of(&self, id: NodeId) -> Now {
        let skew_ms = self.nodes[id.0].wall_skew_ms;
        Now {
            wall_ms: self.now().wall_ms.saturating_add_signed(skew_ms),
            ..self.now()
        }
    }

    /// A random number below `n`.
    pub fn chance(&mut self, n: u64) -> u64 {
        self.rng.next_u64() % n.max(1)
    }

    /// Admits a user with one device of the same name and starts it.
    pub fn member(&mut self, name: &str) -> NodeId {
        let id = self.member_stopped(name);
        self.start(id);
        id
    }

    /// Admits a user with one device of the same name without starting it.
    pub fn member_stopped(&mut self, name: &str) -> NodeId {
        let device = format!("{name}_phone");
        let expires_ms = EPOCH_MS + 365 * 24 * 3_600 * 1_000;
        let user = self.authority.admit(name, name, &[&device], expires_ms);
        self.device_of(user, 0)
    }

    /// Adds a device of a user, registered and not started.
    pub fn device_of(&mut self, user: User, device: usize) -> NodeId {
        let chain = self.authority.chain(&user);
        self.registry.register(&user.label, chain.clone());
        self.enrol(&user, chain);
        let id = NodeId(self.nodes.len());
        let seed = self.rng.next_u64();
        self.nodes.push(Node::new(user, device, seed));
        id
    }

    /// A node, to look at.
    ///
    /// # Panics
    /// If there is no such node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// A node, to change.
    ///
    /// # Panics
    /// If there is no such node.
    pub fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.0]
    }

    /// The nodes.
    pub fn ids(&self) -> Vec<NodeId> {
        (0..self.nodes.len()).map(NodeId).collect()
    }

    /// Starts the process of a node from its store. One with a [`Process`] may end while it starts.
    ///
    /// # Panics
    /// If it does not start: its own chain is good in every test.
    pub fn start(&mut self, id: NodeId) {
        let (now, real) = (self.now_of(id), self.real_crypto);
        let network = self.authority.network();
        let identity = self.node(id).identity(&self.authority);
        if !self.node_mut(id).start(identity, network, real, now) {
            return self.crash(id);
        }
        self.drain(id);
        if self.node(id).manager.is_none() {
            return;
        }
        self.serve_own_socket(id);
        if self.gateway_up {
            self.set_socket(id, true);
        }
    }

    /// The process is killed: what was not committed is gone.
    pub fn crash(&mut self, id: NodeId) {
        self.drop_sockets(id);
        let links = self.node_mut(id).crash();
        self.note_socket(id, false);
        self.note_wake(id);
        for link in links {
            self.lose_link(id, &link, self.timing.dead_ms);
        }
    }

    /// Gives a manager an input now.
    pub fn input(&mut self, id: NodeId, input: Input) {
        let now = self.now_of(id);
        let Some(manager) = self.nodes[id.0].manager.as_mut() else {
            return;
        };
        manager.handle_input(now, input);
        self.drain(id);
    }

    /// Notes when a manager wants to be woken.
    fn note_wake(&mut self, id: NodeId) {
        let manager = self.nodes[id.0].manager.as_ref();
        let at = manager.and_then(|manager| manager.poll_timeout());
        let before = match at {
            Some(at) => self.wakes.insert(id, at),
            None => self.wakes.remove(&id),
        };
        if before != at {
            if let Some(before) = before {
                self.wake_order.remove(&(before, id));
            }
            if let Some(at) = at {
                self.wake_order.insert((at, id));
            }
        }
    }

    /// Sends a text.
    pub fn send(&mut self, id: NodeId, to: &str, text: &str) -> CommandId {
        self.send_keyed(id, to, text, None)
    }

    /// Sends a text with an idempotency key.
    pub fn send_keyed(&mut self, id: NodeId, to: &str, text: &str, key: Option<&str>) -> CommandId {
        self.counter += 1;
        let command = CommandId(self.counter);
        let send = Command::Send {
            command,
            to: label(to),
            text: text.to_owned(),
            idempotency_key: key.map(ToOwned::to_owned),
        };
        self.input(id, Input::Command(send));
        command
    }

    /// Closes every signalling socket, or opens one for every node.
    pub fn set_gateway(&mut self, up: bool) {
        self.gateway_up = up;
        for id in self.ids() {
            self.set_socket(id, up);
        }
    }

    /// Opens or closes the socket of one node; in the order of the calls.
    pub fn set_socket(&mut self, id: NodeId, up: bool) {
        let socket = SocketId(0);
        let signal = if up {
            SignalInput::Up(socket)
        } else {
            SignalInput::Down(socket)
        };
        let at = self.now_ms + 1;
        self.schedule_at(id, at, Happening::Input(Input::Signal(signal)));
    }

    /// A node gives up its socket and dials again.
    fn redial(&mut self, id: NodeId) {
        self.set_socket(id, false);
        if self.gateway_up {
            let up = Input::Signal(SignalInput::Up(SocketId::GATEWAY));
            self.schedule(id, REDIAL_MS, Happening::Input(up));
        }
    }

    fn schedule(&mut self, id: NodeId, after_ms: u64, happening: Happening) -> u64 {
        let jitter = self.timing.jitter_ms;
        let at = self.now_ms
            + after_ms
            + if jitter > 0 {
                self.chance(jitter + 1)
            } else {
                0
            };
        self.schedule_at(id, at, happening);
        at
    }

    fn schedule_at(&mut self, id: NodeId, at_ms: u64, happening: Happening) {
        self.counter += 1;
        let boot = self.nodes[id.0].boot;
        self.agenda
            .insert((at_ms, self.counter), (id, boot, happening));
    }

    /// Carries out what a manager wants, until it wants nothing.
    fn drain(&mut self, id: NodeId) {
        for round in 0.. {
            assert!(round < OUTPUTS_MAX, "the outputs never end");
            let mut outputs = VecDeque::new();
            while let Some(output) = self.nodes[id.0]
                .manager
                .as_mut()
                .and_then(|manager| manager.poll_output())
            {
                outputs.push_back(output);
                assert!(outputs.len() < OUTPUTS_MAX, "the outputs never end");
            }
            self.outputs_max = self.outputs_max.max(outputs.len());
            self.check_timeout(id);
            let refused = self.carry_out(id, outputs);
            if refused.is_empty() {
                return self.note_wake(id);
            }
            let now = self.now_of(id);
            for (link, refused) in refused {
                let event = crate::input::RtcEvent::Full { refused };
                if let Some(manager) = self.nodes[id.0].manager.as_mut() {
                    manager.handle_input(now, Input::Rtc { link, event });
                }
            }
        }
    }

    fn check_timeout(&self, id: NodeId) {
        let timeout = self.nodes[id.0]
            .manager
            .as_ref()
            .and_then(|m| m.poll_timeout());
        assert!(
            timeout.is_none_or(|at| at >= self.now_ms),
            "a timeout in the past"
        );
    }

    fn jitter(&mut self) -> u64 {
        let jitter = self.timing.jitter_ms;
        if jitter > 0 {
            self.chance(jitter + 1)
        } else {
            0
        }
    }

    /// When something happens next.
    pub fn next_ms(&self) -> Option<u64> {
        let wake = self.wake_order.first().map(|(at, _)| *at);
        let agenda = self.agenda.keys().next().map(|(at, _)| *at);
        [wake, agenda].into_iter().flatten().min()
    }

    /// Lets the next thing happen; `false` if nothing is to.
    pub fn step(&mut self) -> bool {
        let Some(at) = self.next_ms() else {
            return false;
        };
        self.now_ms = self.now_ms.max(at);
        let due = self
            .agenda
            .first_key_value()
            .is_some_and(|((at, _), _)| *at <= self.now_ms);
        if due && let Some((_, (id, boot, happening))) = self.agenda.pop_first() {
            if self.nodes[id.0].boot == boot {
                self.happen(id, happening);
            }
        } else if let Some((_, id)) = self.wake_order.first().copied() {
            self.input(id, Input::Timeout);
        }
        true
    }

    fn happen(&mut self, id: NodeId, happening: Happening) {
        match happening {
            Happening::Input(input) => {
                if let Some(open) = self.nodes[id.0].note(&input) {
                    self.note_socket(id, open);
                }
                self.input(id, input);
            }
            Happening::Commit(ticket, ops) => {
                let now = self.now_of(id);
                let Some(result) = self.nodes[id.0].commit(now, &ops) else {
                    return self.crash(id);
                };
                let after = self.timing.answer_ms;
                let input = Input::Store { ticket, result };
                let at = self.now_ms + after;
                self.schedule_at(id, at, Happening::Input(input));
            }
            Happening::Frame(link, bytes) => self.deliver_frame(id, link, bytes),
            Happening::Chunk(link, chunk) => self.take_chunk(id, link, chunk),
            Happening::Flush(key) => self.flush_chunks(id, key),
            Happening::Open(link) => self.open_link(id, link),
        }
    }

    /// Runs for `ms` virtual milliseconds.
    pub fn drive(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        self.drive_until(ms, |_| false);
        self.now_ms = end;
    }

    /// Runs until `done`, at most `ms` virtual milliseconds; whether it was.
    pub fn drive_until(&mut self, ms: u64, mut done: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now_ms + ms;
        // Far more steps than any scenario has; a storm ends the run instead of hanging it.
        for _ in 0..2_000_000u32 {
            if done(self) {
                return true;
            }
            if self.next_ms().is_none_or(|at| at > end) || !self.step() {
                return false;
            }
        }
        false
    }

    /// [`World::drive`] with a bound on steps: chatter is a defect.
    ///
    /// # Panics
    /// If more than `steps` things happen.
    pub fn drive_bounded(&mut self, ms: u64, steps: usize) {
        let end = self.now_ms + ms;
        for step in 0.. {
            assert!(
                step <= steps,
                "more than {steps} things happened in {ms} ms"
            );
            if self.next_ms().is_none_or(|at| at > end) || !self.step() {
                break;
            }
        }
        self.now_ms = end;
    }
}
