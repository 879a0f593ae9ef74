//! The registry and the gateway of a world.

use super::node::NodeId;
use super::{Happening, SIGNALLED_MAX, Signalled, World};
use crate::input::{Input, RegistryAnswer, RegistryError, RegistryPeer, SignalInput, SocketId};
use crate::output::{RegistryCall, SignalCommand};
use beeline_proto::code::ErrorCode;
use beeline_proto::envelope::split;
use beeline_proto::id::Label;
use beeline_proto::pb::identity::v1 as pb;
use prost::Message as _;
use std::collections::BTreeMap;

/// What the registry knows of one user.
#[derive(Debug, Clone, Default)]
struct Known {
    chain: Vec<u8>,
    records: BTreeMap<Label, Vec<u8>>,
}

/// A registry.
#[derive(Debug, Default)]
pub struct Registry {
    /// It cannot be reached.
    pub down: bool,
    /// Envelope of the revocations it hands out.
    pub revocations: Vec<u8>,
    /// Version it claims for them.
    pub revocations_version: u64,
    /// Envelope of a renewed membership it hands out to whoever asks.
    pub renewal: Option<Vec<u8>>,
    /// How often a user was asked for.
    pub lookups: usize,
    /// Device lists it will refuse.
    pub refusing_lists: u32,
    users: BTreeMap<Label, Known>,
}

impl Registry {
    /// Sets the chain of a user; a hostile registry sets somebody else's.
    pub fn register(&mut self, user: &Label, chain: Vec<u8>) {
        self.users.entry(user.clone()).or_default().chain = chain;
    }

    /// The chain of the user a device belongs to, and the device's record.
    pub fn of_device(&self, device: &Label) -> Option<(Vec<u8>, Vec<u8>)> {
        let mut users = self.users.values();
        users.find_map(|known| Some((known.chain.clone(), known.records.get(device)?.clone())))
    }

    /// Puts a record of a device in place: a hostile registry hands out an old one.
    pub fn put_record(&mut self, user: &Label, device: &Label, record: Vec<u8>) {
        let known = self.users.entry(user.clone()).or_default();
        known.records.insert(device.clone(), record);
    }

    /// Forgets a user.
    pub fn forget(&mut self, user: &Label) {
        self.users.remove(user);
    }

    /// Forgets the records of a user: it was never online.
    pub fn forget_records(&mut self, user: &Label) {
        if let Some(known) = self.users.get_mut(user) {
            known.records.clear();
        }
    }
}

/// Version of a record, and when its bundle was made.
fn ages(record: &[u8]) -> Option<(u64, u64)> {
    let record = pb::DeviceRecord::decode(split(record).ok()?.payload).ok()?;
    let bundle = split(&record.bundle).ok().map(|bundle| bundle.payload);
    let bundle = bundle.and_then(|payload| pb::Bundle::decode(payload).ok());
    Some((record.version, bundle.map_or(0, |bundle| bundle.made_ms)))
}

/// Whether a registry takes a record where it has another: only one that is newer.
fn replaces(record: &[u8], known: &[u8]) -> bool {
    let (new, old) = (ages(record), ages(known));
    let newer = new
        .zip(old)
        .is_none_or(|(new, old)| new.0 > old.0 && new.1 >= old.1);
    record == known || newer
}

fn refused(code: ErrorCode) -> RegistryError {
    RegistryError::Refused {
        code,
        detail: code.title().to_owned(),
    }
}

impl World {
    fn take_announce(
        &mut self,
        id: NodeId,
        record: Vec<u8>,
        coordinators: Vec<Label>,
    ) -> Result<RegistryAnswer, RegistryError> {
        let node = self.node(id);
        let (user, device) = (node.user.label.clone(), node.device_label().clone());
        self.fabric.announced.insert(device.clone(), coordinators);
        let known = self.registry.users.entry(user).or_default();
        let held = known.records.get(&device);
        if held.is_some_and(|held| !replaces(&record, held)) {
            return Err(refused(ErrorCode::Conflict));
        }
        known.records.insert(device, record);
        Ok(RegistryAnswer::Announced {
            reannounce_after_s: 300,
            descriptor_version: self.authority.descriptor_version,
            revocations_version: self.registry.revocations_version,
        })
    }

    pub(super) fn ask_registry(
        &mut self,
        id: NodeId,
        call: RegistryCall,
    ) -> Result<RegistryAnswer, RegistryError> {
        if self.registry.down {
            return Err(RegistryError::Unreachable {
                detail: "connection refused".to_owned(),
            });
        }
        if let Some(answer) = self.ask_backend(id, &call) {
            return answer;
        }
        match call {
            RegistryCall::GetPeer { user } => {
                self.registry.lookups += 1;
                let known = self.registry.users.get(&user);
                let known = known.ok_or(refused(ErrorCode::NotFound))?;
                let devices: Vec<Label> = known.records.keys().cloned().collect();
                Ok(RegistryAnswer::Peer(RegistryPeer {
                    chain: known.chain.clone(),
                    online: true,
                    records: known.records.values().cloned().collect(),
                    last_coordinators: self.last_coordinators(&devices),
                }))
            }
            RegistryCall::Announce {
                record,
                coordinators,
            } => self.take_announce(id, record, coordinators),
            RegistryCall::GetNetwork => Ok(RegistryAnswer::Network {
                descriptor: self.authority.descriptor(),
                revocations: self.registry.revocations.clone(),
            }),
            RegistryCall::RenewMembership => {
                let renewal = self.registry.renewal.clone();
                renewal
                    .map(RegistryAnswer::Membership)
                    .ok_or(refused(ErrorCode::Unavailable))
            }
            RegistryCall::PutDeviceList { .. } if self.registry.refusing_lists > 0 => {
                self.registry.refusing_lists -= 1;
                Err(refused(ErrorCode::Conflict))
            }
            RegistryCall::PutDeviceList { device_list } => {
                Ok(self.put_device_list(id, device_list))
            }
            call @ RegistryCall::Heartbeat { .. } => Ok(self.take_heartbeat(id, call)),
            RegistryCall::ListCoordinators => Ok(self.coordinators_listed()),
        }
    }

    /// The newest list of a member's devices is part of its chain from now on.
    fn put_device_list(&mut self, id: NodeId, list: Vec<u8>) -> RegistryAnswer {
        let version = |list: &[u8]| {
            let raw = split(list).ok();
            let list = raw.and_then(|raw| pb::DeviceList::decode(raw.payload).ok());
            list.map_or(0, |list| list.version)
        };
        let user = self.node(id).user.label.clone();
        let known = self.registry.users.entry(user).or_default();
        let mut chain = pb::Chain::decode(known.chain.as_slice()).unwrap_or_default();
        if version(&list) > version(&chain.device_list) {
            chain.device_list = list;
            known.chain = chain.encode_to_vec();
        }
        RegistryAnswer::DeviceList(version(&chain.device_list))
    }

    /// The gateway takes a frame.
    pub(super) fn relay(&mut self, id: NodeId, signal: SignalCommand) {
        if signal.socket != SocketId::GATEWAY {
            return self.relay_at_coordinator(id, signal);
        }
        let frame = Signalled {
            from: self.node(id).device_label().clone(),
            to: signal.to,
            kind: signal.kind,
            parcel: signal.parcel,
        };
        if self.signalled.len() < SIGNALLED_MAX {
            self.signalled.push(frame.clone());
        }
        if !self.gateway_up || !self.node(id).socket_up {
            return;
        }
        let frames = match self.on_signal.as_mut() {
            Some(hook) => hook(frame),
            None => vec![frame],
        };
        for frame in frames {
            self.pass_on(id, frame);
        }
    }

    /// The gateway hands a frame to the device it names.
    pub fn pass_on(&mut self, sender: NodeId, frame: Signalled) {
        let socket = SocketId(0);
        let (to, input) = match self.route(&frame.to) {
            Some(to) => (
                to,
                SignalInput::Parcel {
                    socket,
                    kind: frame.kind,
                    from: frame.from.to_string(),
                    parcel: frame.parcel,
                },
            ),
            None => (
                sender,
                SignalInput::Error {
                    socket,
                    code: ErrorCode::PeerOffline,
                    to: frame.to.to_string(),
                },
            ),
        };
        let after = self.timing.signal_ms;
        self.schedule(to, after, Happening::Input(Input::Signal(input)));
    }
}
