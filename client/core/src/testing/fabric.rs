//! Coordinators of a world: members with the role, each with a signalling server of its own, and
//! the registry's list of them.

use super::node::NodeId;
use super::{EPOCH_MS, Happening, World};
use crate::input::{Input, RegistryAnswer, RegistryCoordinator, SignalInput, SocketId};
use crate::output::{RegistryCall, SignalCommand, SocketCommand};
use beeline_proto::code::ErrorCode;
use beeline_proto::id::Label;
use beeline_proto::limits::HEARTBEAT_S;
use beeline_proto::pb::identity::v1::Role;
use std::collections::{BTreeMap, BTreeSet};

/// What the registry holds of one coordinator.
#[derive(Debug, Clone, Default)]
pub struct Lease {
    /// Links in use and links at most, as it says.
    pub load: (u32, u32),
    /// deviceIds it says are linked to it.
    pub connected: BTreeSet<Label>,
    /// When it was last heard of.
    pub heard_ms: u64,
    /// Heartbeats taken.
    pub beats: u64,
    /// Heartbeats that carried the whole list.
    pub fulls: u64,
}

/// Coordinators' leases, and sockets at coordinators.
#[derive(Debug, Default)]
pub struct Fabric {
    /// Leases by deviceId.
    pub leases: BTreeMap<Label, Lease>,
    /// Open sockets: whose, which, at whom.
    pub sockets: BTreeMap<(NodeId, SocketId), NodeId>,
    /// Whether nothing answers at the address of a coordinator that is gone.
    pub silent: bool,
    /// Devices' announced coordinators.
    pub announced: BTreeMap<Label, Vec<Label>>,
}

impl World {
    /// Admits a user with the coordinator's role and starts it as one, at an address of its own.
    pub fn coordinator(&mut self, name: &str) -> NodeId {
        let id = self.coordinator_stopped(name);
        self.start(id);
        id
    }

    /// The same, not started.
    pub fn coordinator_stopped(&mut self, name: &str) -> NodeId {
        let device = format!("{name}_host");
        let expires_ms = EPOCH_MS + 365 * 24 * 3_600 * 1_000;
        let role = Role::Coordinator;
        let user = self
            .authority
            .admit_as(role, (name, name), &[&device], expires_ms);
        let id = self.device_of(user, 0);
        let node = self.node_mut(id);
        node.coordinator = true;
        node.signal_addr = format!("ws://{name}.example:9000/{device}");
        id
    }

    /// Its own signalling server serves it first of all.
    pub(super) fn serve_own_socket(&mut self, id: NodeId) {
        if self.node(id).coordinator {
            let up = Input::Signal(SignalInput::Up(SocketId::OWN));
            self.schedule_at(id, self.now_ms + 1, Happening::Input(up));
        }
    }

    /// A node opens or closes its socket at a coordinator.
    pub(super) fn own_socket(&mut self, id: NodeId, socket: SocketId, command: SocketCommand) {
        let addr = match command {
            SocketCommand::Open { addr } => addr,
            SocketCommand::Close => {
                self.fabric.sockets.remove(&(id, socket));
                return;
            }
            SocketCommand::Redial => return self.redial(id),
        };
        let serves = |other: &NodeId| {
            let node = self.node(*other);
            node.coordinator && node.manager.is_some() && node.signal_addr == addr
        };
        let at = self.ids().into_iter().find(serves);
        let (signal, after) = match at {
            Some(at) => {
                self.fabric.sockets.insert((id, socket), at);
                // A handshake and a HELLO: two round trips.
                (SignalInput::Up(socket), 4 * self.timing.signal_ms)
            }
            None if self.fabric.silent => return,
            None => (SignalInput::Down(socket), self.timing.signal_ms),
        };
        self.schedule(id, after, Happening::Input(Input::Signal(signal)));
    }

    /// A coordinator is gone, and the sockets at it; or a process, and its own sockets.
    pub(super) fn drop_sockets(&mut self, gone: NodeId) {
        let mut lost = Vec::new();
        self.fabric.sockets.retain(|(id, socket), at| {
            if *at == gone {
                lost.push((*id, *socket));
            }
            *at != gone && *id != gone
        });
        for (id, socket) in lost {
            let down = Input::Signal(SignalInput::Down(socket));
            self.schedule(id, 1, Happening::Input(down));
        }
    }

    /// A frame to a coordinator's signalling server, or from it.
    pub(super) fn relay_at_coordinator(&mut self, id: NodeId, signal: SignalCommand) {
        let from = self.node(id).device_label().clone();
        let at = match signal.socket {
            SocketId::OWN => Some(id),
            socket => self.fabric.sockets.get(&(id, socket)).copied(),
        };
        let Some(at) = at else {
            return;
        };
        let own = (self.node(at).device_label() == &signal.to).then_some((at, SocketId::OWN));
        let sockets = self.fabric.sockets.iter();
        let mut there = sockets.filter(|((other, _), server)| {
            **server == at && *self.node(*other).device_label() == signal.to
        });
        let to = own.or_else(|| there.next().map(|(key, _)| *key));
        let (to, input) = match to {
            Some((to, socket)) => (
                to,
                SignalInput::Parcel {
                    socket,
                    kind: signal.kind,
                    from: from.to_string(),
                    parcel: signal.parcel,
                },
            ),
            None => (
                id,
                SignalInput::Error {
                    socket: signal.socket,
                    code: ErrorCode::PeerOffline,
                    to: signal.to.to_string(),
                },
            ),
        };
        let after = self.timing.signal_ms;
        self.schedule(to, after, Happening::Input(Input::Signal(input)));
    }

    /// A coordinator's heartbeat.
    pub(super) fn take_heartbeat(&mut self, id: NodeId, call: RegistryCall) -> RegistryAnswer {
        let name = self.node(id).device_label().clone();
        let now_ms = self.now_ms;
        let lease = self.fabric.leases.entry(name).or_default();
        if let RegistryCall::Heartbeat {
            load,
            capacity,
            connected,
            disconnected,
            full,
            ..
        } = call
        {
            if full {
                lease.connected.clear();
                lease.fulls += 1;
            }
            lease.connected.extend(connected);
            for gone in disconnected {
                lease.connected.remove(&gone);
            }
            (lease.load, lease.heard_ms) = ((load, capacity), now_ms);
            lease.beats += 1;
        }
        RegistryAnswer::HeartbeatTaken {
            next_s: HEARTBEAT_S,
            want_full: false,
        }
    }

    /// The coordinators whose lease runs.
    pub(super) fn coordinators_listed(&self) -> RegistryAnswer {
        let alive = |lease: &Lease| lease.heard_ms + 60_000 > self.now_ms;
        let leases = self.fabric.leases.iter().filter(|(_, l)| alive(l));
        let mut listed: Vec<RegistryCoordinator> = leases
            .filter_map(|(name, lease)| {
                let (chain, record) = self.registry.of_device(name)?;
                Some(RegistryCoordinator {
                    chain,
                    record,
                    load: lease.load.0,
                    capacity: lease.load.1,
                })
            })
            .collect();
        listed.sort_by_key(|coordinator| coordinator.load);
        RegistryAnswer::Coordinators(listed)
    }

    /// Coordinators a user's devices named that also claim them.
    pub(super) fn last_coordinators(&self, devices: &[Label]) -> Vec<String> {
        let mut last = Vec::new();
        for device in devices {
            for named in self.fabric.announced.get(device).into_iter().flatten() {
                let lease = self.fabric.leases.get(named);
                if lease.is_some_and(|lease| lease.connected.contains(device)) {
                    last.push(named.to_string());
                }
            }
        }
        last
    }
}
