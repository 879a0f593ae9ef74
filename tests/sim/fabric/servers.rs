//! The real servers of a world: the gateway's hub, and the registry's presence with its leases,
//! sockets and coordinators, as their programs run them, without their sockets and tables.

use beeline_gateway::core::hub::{Admission, Entry, Hub};
use beeline_proto::code::ErrorCode;
use beeline_proto::id::{DeviceFp, Label, NetworkFp, UserFp};
use beeline_proto::limits::HEARTBEAT_S;
use beeline_proto::time::Now;
use beeline_registry::core::coordinators::Beat;
use beeline_registry::core::presence::{Announce, Answer, DeviceKey, Input, Presence};
use beeline_registry::core::record::{Owner, Record};
use beeline_registry::core::sockets::SocketReport;
use client_core::input::{RegistryAnswer, RegistryCoordinator, RegistryError, RegistryPeer};
use client_core::output::RegistryCall;
use client_core::testing::{Backend, Caller, NodeId, User};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The registry's number of the only network.
const NETWORK: i64 = 1;

/// The name of the only gateway.
const GATEWAY: &str = "gateway";

type Answered = Result<RegistryAnswer, RegistryError>;

/// What the registry's tables hold of a user: it outlives the process.
struct Member {
    user: UserFp,
    chain: Vec<u8>,
    devices: Vec<(Label, DeviceFp)>,
}

/// Both servers.
pub(super) struct Servers {
    network: NetworkFp,
    hub: Hub<NodeId>,
    /// Open sockets by device: their numbers.
    sockets: BTreeMap<Label, u64>,
    opened: u64,
    presence: Presence,
    members: BTreeMap<Label, Member>,
    /// Records announced last, by device: rows of the store.
    records: BTreeMap<Label, Arc<Record>>,
}

impl Servers {
    pub(super) fn new(network: NetworkFp) -> Self {
        Self {
            network,
            hub: Hub::default(),
            sockets: BTreeMap::new(),
            opened: 0,
            presence: Presence::default(),
            members: BTreeMap::new(),
            records: BTreeMap::new(),
        }
    }

    /// The gateway reports; all of its sockets, where the registry lacks what it said before.
    fn report(&mut self, now: Now, changes: Vec<(DeviceKey, bool)>) {
        let report = |changes| SocketReport {
            gateway: GATEWAY.to_owned(),
            epoch: 1,
            changes,
        };
        let taken = self
            .presence
            .handle_input(now, Input::Sockets(report(changes)));
        if taken == (Answer::Reported { want_full: true }) {
            let open = self.sockets.keys().cloned();
            let all = open.map(|device| (DeviceKey::new(NETWORK, device), true));
            let all = report(all.collect());
            self.presence.handle_input(now, Input::Sockets(all));
        }
        while self.presence.poll_output().is_some() {}
    }

    fn announce(&mut self, now: Now, caller: &Caller, record: &[u8], named: &[Label]) -> Answered {
        let member = self.members.get(&caller.user);
        let member = member.ok_or(refused(ErrorCode::PermissionDenied))?;
        let owner = Owner {
            network: self.network,
            user: member.user,
            device: caller.fp,
        };
        let known = self.records.get(&caller.device);
        let record = Record::check(record, &owner, known).map_err(|error| refused(error.code()))?;
        self.records
            .insert(caller.device.clone(), Arc::clone(&record));
        let announce = Announce {
            device: DeviceKey::new(NETWORK, caller.device.clone()),
            fp: caller.fp,
            user: caller.user.clone(),
            record,
            named: named.to_vec(),
            confirmed: Vec::new(),
        };
        match self.presence.handle_input(now, Input::Announce(announce)) {
            Answer::Leased(_) => Ok(RegistryAnswer::Announced {
                reannounce_after_s: 300,
                descriptor_version: caller.lists.0,
                revocations_version: caller.lists.1,
            }),
            _ => Err(refused(ErrorCode::Full)),
        }
    }

    fn find(&self, user: &Label) -> Answered {
        let member = self.members.get(user).ok_or(refused(ErrorCode::NotFound))?;
        let mut peer = RegistryPeer {
            chain: member.chain.clone(),
            ..RegistryPeer::default()
        };
        for (label, fp) in &member.devices {
            let view = self
                .presence
                .device(&DeviceKey::new(NETWORK, label.clone()), *fp);
            if let Some(view) = view {
                peer.online |= view.online;
                let confirmed = view.confirmed.iter().map(|(label, _)| label.to_string());
                peer.last_coordinators.extend(confirmed);
            }
            let record = self.records.get(label);
            peer.records
                .extend(record.map(|record| record.bytes.to_vec()));
        }
        Ok(RegistryAnswer::Peer(peer))
    }

    fn beat(&mut self, now: Now, caller: &Caller, call: &RegistryCall) -> Option<Answered> {
        let RegistryCall::Heartbeat {
            load,
            capacity,
            connected,
            disconnected,
            full,
            epoch,
            seq,
        } = call
        else {
            return None;
        };
        let beat = Beat {
            coordinator: DeviceKey::new(NETWORK, caller.device.clone()),
            epoch: *epoch,
            seq: *seq,
            load: *load,
            capacity: *capacity,
            full: *full,
            connected: connected.clone(),
            disconnected: disconnected.clone(),
        };
        Some(
            match self.presence.handle_input(now, Input::Heartbeat(beat)) {
                Answer::Reported { want_full } => Ok(RegistryAnswer::HeartbeatTaken {
                    next_s: HEARTBEAT_S,
                    want_full,
                }),
                _ => Err(refused(ErrorCode::Full)),
            },
        )
    }

    fn coordinators(&self) -> Answered {
        let live = self.presence.coordinators(NETWORK).into_iter();
        let listed = live.filter_map(|(_, user, coordinator, record)| {
            Some(RegistryCoordinator {
                chain: self.members.get(&user)?.chain.clone(),
                record: record.bytes.to_vec(),
                load: coordinator.load,
                capacity: coordinator.capacity,
            })
        });
        Ok(RegistryAnswer::Coordinators(listed.collect()))
    }
}

fn refused(code: ErrorCode) -> RegistryError {
    RegistryError::Refused {
        code,
        detail: code.title().to_owned(),
    }
}

impl Backend for Servers {
    fn enrol(&mut self, user: &User, chain: Vec<u8>) {
        let devices = user.devices.iter();
        let devices = devices.map(|(label, key, _)| (label.clone(), key.verify_key().device_fp()));
        let member = Member {
            user: user.key.verify_key().user_fp(),
            chain,
            devices: devices.collect(),
        };
        self.members.insert(user.label.clone(), member);
    }

    fn socket(&mut self, now: Now, device: &Label, node: NodeId, open: bool) {
        if open {
            self.opened += 1;
            let entry = Entry {
                id: self.opened,
                proven: true,
                sink: node,
            };
            let admitted = self.hub.open(self.network, device.as_str(), entry);
            assert!(
                matches!(admitted, Admission::Admitted { .. }),
                "a proven socket is admitted"
            );
            self.sockets.insert(device.clone(), self.opened);
        } else if let Some(id) = self.sockets.remove(device) {
            self.hub.close(&self.network, device.as_str(), id);
        }
        assert_eq!(self.hub.len(), self.sockets.len(), "the hub counts right");
        let change = (DeviceKey::new(NETWORK, device.clone()), open);
        self.report(now, vec![change]);
    }

    fn route(&self, device: &Label) -> Option<NodeId> {
        self.hub.route(&self.network, device.as_str()).copied()
    }

    fn ask(&mut self, now: Now, caller: &Caller, call: &RegistryCall) -> Option<Answered> {
        // The gateway reports every few seconds, also when nothing happened.
        self.report(now, Vec::new());
        let answer = match call {
            RegistryCall::GetPeer { user } => self.find(user),
            RegistryCall::Announce {
                record,
                coordinators,
            } => self.announce(now, caller, record, coordinators),
            RegistryCall::Heartbeat { .. } => return self.beat(now, caller, call),
            RegistryCall::ListCoordinators => self.coordinators(),
            RegistryCall::GetNetwork
            | RegistryCall::RenewMembership
            | RegistryCall::PutDeviceList { .. } => return None,
        };
        while self.presence.poll_output().is_some() {}
        Some(answer)
    }

    fn restart(&mut self) {
        self.presence = Presence::default();
    }
}
