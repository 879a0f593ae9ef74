//! Announces, lookups, socket reports, heartbeats.

use super::{Member, Ops, lock};
use crate::core::coordinators::Beat;
use crate::core::page::{self, List};
use crate::core::presence::{Announce, Answer, Confirmed, DeviceKey, DeviceView, Input};
use crate::core::record::{Owner, Record};
use crate::core::sockets::SocketReport;
use crate::directory::{Network, User, UserDevice};
use crate::error::Error;
use crate::limits::{
    COORDINATORS_PAGE, GATEWAY_ID_LEN_MAX, HEARTBEAT_DEVICES_MAX, LAST_COORDINATORS_MAX, PAGE,
    PAGE_LEN_MAX, REANNOUNCE_S, RESTORE_ROWS, SOCKET_CHANGES_MAX, SOCKET_REPORT_S,
};
use crate::store::LeaseRow;
use beeline_proto::id::{DeviceFp, Label};
use beeline_proto::limits::{
    COORDINATOR_TTL_S, COORDINATORS_NAMED_MAX, HEARTBEAT_S, PRESENCE_TTL_S,
};
use beeline_proto::pb::coordinator::v1::{
    Coordinator, HeartbeatRequest, HeartbeatResponse, ListCoordinatorsRequest,
    ListCoordinatorsResponse,
};
use beeline_proto::pb::identity::v1::Versions;
use beeline_proto::pb::registry::v1::{
    AnnounceRequest, AnnounceResponse, GetDeviceResponse, ListActivePeersRequest,
    ListActivePeersResponse, Peer, PeerDevice, ReportSocketsRequest, ReportSocketsResponse,
};
use beeline_proto::time::Timestamp;
use prost::Message as _;
use std::sync::Arc;

const FULL: Error = Error::Full("the registry holds as many leases as it may; try again later");

impl Ops {
    /// Takes a lease for the calling device; answered when it is stored.
    pub async fn announce(
        &self,
        member: &Member,
        request: &AnnounceRequest,
    ) -> Result<AnnounceResponse, Error> {
        let named = named_coordinators(&request.coordinators)?;
        let network = &member.network;
        let device = DeviceKey::new(network.no, member.device.label.clone());
        let (known, confirmed) = self.known_record(member, &device).await?;
        let owner = Owner {
            network: network.fp,
            user: member.user.fp(),
            device: member.device.fp,
        };
        let record = Record::check(&request.record, &owner, known.as_ref())?;
        let now = self.clock.now();
        let expires_ms = now.wall_ms + u64::from(PRESENCE_TTL_S) * 1_000;
        let row = LeaseRow {
            network_no: network.no,
            device_fp: member.device.fp.0,
            device: member.device.label.to_string(),
            handle: member.user.handle.to_string(),
            version: record.version,
            record: Arc::clone(&record.bytes),
            named: join_named(&named),
            confirmed: String::new(),
            expires_ms,
            seen_ms: now.wall_ms,
        };
        self.leases.write(row).await?;
        // Revoked while the row was being written: the lease must not outlive that.
        let user = self.directory.user(network.no, &member.user.handle).await?;
        let stays = |u: &Arc<User>| !u.revoked && u.device(member.device.fp).is_some();
        if !user.as_ref().is_some_and(stays) {
            return Err(Error::Revoked);
        }
        let announce = Announce {
            device,
            fp: member.device.fp,
            user: member.user.handle.clone(),
            record,
            named,
            confirmed,
        };
        match self.presence_input(Input::Announce(announce)) {
            Answer::Leased(end_ms) => Ok(AnnounceResponse {
                expire_time: Some(Timestamp::from_ms(end_ms)),
                reannounce_after: REANNOUNCE_S,
                versions: Some(Versions {
                    descriptor: network.descriptor.version(),
                    revocations: network.revocations_version,
                    device_list: member.user.list_version,
                }),
            }),
            _ => Err(FULL),
        }
    }

    /// The record in force for a device and who confirmed it: from memory while its lease runs,
    /// else from the store.
    async fn known_record(
        &self,
        member: &Member,
        device: &DeviceKey,
    ) -> Result<(Option<Arc<Record>>, Vec<Confirmed>), Error> {
        let held = lock(&self.presence).record(device, member.device.fp);
        if held.is_some() {
            return Ok((held, Vec::new()));
        }
        let rows = self
            .store
            .leases(member.network.no, vec![member.device.fp.0])
            .await?;
        let Some(row) = rows.into_iter().next() else {
            return Ok((None, Vec::new()));
        };
        let record = Record::stored(&row.record).ok_or(Error::Damaged("device record"))?;
        Ok((Some(Arc::new(record)), split_confirmed(&row.confirmed)))
    }

    /// One user of the caller's network, with what is known of each device.
    pub async fn get_peer(&self, network: &Network, user_id: &str) -> Result<Peer, Error> {
        let handle = Label::new(user_id)?;
        let user = self.directory.user(network.no, &handle).await?;
        let user = user.ok_or(Error::NotFound("user"))?;
        if user.revoked {
            return Err(Error::Revoked);
        }
        self.peer(network, &user).await
    }

    async fn peer(&self, network: &Network, user: &User) -> Result<Peer, Error> {
        let now = self.clock.now();
        let mut views: Vec<Option<DeviceView>> = {
            let mut presence = lock(&self.presence);
            presence.handle_input(now, Input::Timeout);
            let view = |d: &UserDevice| {
                presence.device(&DeviceKey::new(network.no, d.label.clone()), d.fp)
            };
            user.devices.iter().map(view).collect()
        };
        let missing = user
            .devices
            .iter()
            .zip(&views)
            .filter(|(_, view)| view.is_none());
        let missing: Vec<[u8; 32]> = missing.map(|(device, _)| device.fp.0).collect();
        if !missing.is_empty() {
            for row in self.store.leases(network.no, missing).await? {
                let place = user.devices.iter().position(|d| d.fp.0 == row.device_fp);
                if let (Some(place), Some(view)) = (place, stored_view(&row)) {
                    views[place] = Some(view);
                }
            }
        }
        Ok(peer_of(network, user, &views))
    }

    /// A page of users with a listed device online. Devices that asked not to be listed are left
    /// out.
    pub async fn list_active_peers(
        &self,
        network: &Network,
        request: &ListActivePeersRequest,
    ) -> Result<ListActivePeersResponse, Error> {
        let size = page::size(request.page_size, PAGE)?;
        let after = page::after(List::ActivePeers, &request.page_token)?;
        self.presence_input(Input::Timeout);
        let users = lock(&self.presence).online_users(network.no, after.as_ref(), size + 1);
        let mut response = ListActivePeersResponse::default();
        let mut len = 0;
        let mut last: Option<&Label> = None;
        for handle in users.iter().take(size) {
            if len > PAGE_LEN_MAX {
                break;
            }
            last = Some(handle);
            let Some(user) = self.directory.user(network.no, handle).await? else {
                continue;
            };
            let mut peer = self.peer(network, &user).await?;
            peer.devices.retain(is_listed);
            peer.online = peer.devices.iter().any(|d| d.online);
            // Gone, or revoked, since the page was begun.
            if peer.online && !user.revoked {
                len += peer.encoded_len();
                response.peers.push(peer);
            }
        }
        if last != users.last()
            && let Some(last) = last
        {
            response.next_page_token = page::token(List::ActivePeers, last.as_str());
        }
        Ok(response)
    }

    /// Takes a gateway's report.
    pub fn report_sockets(
        &self,
        request: ReportSocketsRequest,
    ) -> Result<ReportSocketsResponse, Error> {
        if request.gateway_id.is_empty() || request.gateway_id.len() > GATEWAY_ID_LEN_MAX {
            return Err(Error::Invalid("gateway_id must be 1 to 64 bytes"));
        }
        if request.changes.len() > SOCKET_CHANGES_MAX {
            return Err(Error::Invalid(
                "a report holds at most 1,000 changes; send more of them",
            ));
        }
        let mut changes = Vec::with_capacity(request.changes.len());
        for change in request.changes {
            // A network or device that has gone since is no fault of the gateway's.
            let network = self.directory.network(&change.network_id);
            let (Some(network), Ok(label)) = (network, Label::new(&change.device_id)) else {
                continue;
            };
            changes.push((DeviceKey::new(network.no, label), change.open));
        }
        let report = SocketReport {
            gateway: request.gateway_id,
            epoch: request.epoch,
            changes,
        };
        match self.presence_input(Input::Sockets(report)) {
            Answer::Reported { want_full } => Ok(ReportSocketsResponse {
                next_report_s: SOCKET_REPORT_S,
                want_full,
            }),
            _ => Err(Error::Full(
                "too many gateways or open sockets; nothing was taken",
            )),
        }
    }

    /// Renews a coordinator's lease.
    pub fn heartbeat(
        &self,
        member: &Member,
        request: HeartbeatRequest,
    ) -> Result<HeartbeatResponse, Error> {
        let lists = [&request.connected, &request.disconnected];
        if lists.iter().any(|list| list.len() > HEARTBEAT_DEVICES_MAX) {
            return Err(Error::Invalid(
                "a heartbeat lists at most 512 devices each way",
            ));
        }
        if request.seq == 0 {
            return Err(Error::Invalid("seq counts from 1"));
        }
        let labels = |list: &[String]| {
            let labels = list.iter().map(|text| Label::new(text));
            labels.collect::<Result<Vec<_>, _>>()
        };
        let beat = Beat {
            coordinator: DeviceKey::new(member.network.no, member.device.label.clone()),
            epoch: request.epoch,
            seq: request.seq,
            load: request.load,
            capacity: request.capacity,
            full: request.full,
            connected: labels(&request.connected)?,
            disconnected: labels(&request.disconnected)?,
        };
        let end_ms = self.clock.now().wall_ms + u64::from(COORDINATOR_TTL_S) * 1_000;
        match self.presence_input(Input::Heartbeat(beat)) {
            Answer::Reported { want_full } => Ok(HeartbeatResponse {
                next_heartbeat_s: HEARTBEAT_S,
                expire_time: Some(Timestamp::from_ms(end_ms)),
                want_full,
            }),
            _ => Err(Error::Full(
                "too many coordinators, or too many devices on this one",
            )),
        }
    }

    /// Live coordinators of the caller's network.
    pub async fn list_coordinators(
        &self,
        network: &Network,
        request: &ListCoordinatorsRequest,
    ) -> Result<ListCoordinatorsResponse, Error> {
        let size = page::size(request.page_size, COORDINATORS_PAGE)?;
        self.presence_input(Input::Timeout);
        let mut live = lock(&self.presence).coordinators(network.no);
        live.truncate(size);
        let mut coordinators = Vec::with_capacity(live.len());
        for (label, handle, coordinator, record) in live {
            let Some(user) = self.directory.user(network.no, &handle).await? else {
                continue;
            };
            coordinators.push(Coordinator {
                device_id: label.to_string(),
                record: record.bytes.to_vec(),
                chain: user.chain(network),
                load: coordinator.load,
                capacity: coordinator.capacity,
            });
        }
        Ok(ListCoordinatorsResponse { coordinators })
    }

    /// One device's chain, for a gateway.
    pub async fn get_device(
        &self,
        network_id: &str,
        device_id: &str,
    ) -> Result<GetDeviceResponse, Error> {
        let label = Label::new(device_id)?;
        let network = self
            .directory
            .network(network_id)
            .ok_or(Error::NotFound("network"))?;
        let user = self.directory.user_of_device(network.no, &label).await?;
        let user = user.ok_or(Error::NotFound("device"))?;
        Ok(GetDeviceResponse {
            chain: user.chain(&network),
            revoked: user.revoked,
        })
    }

    /// Takes up the leases that ran when the registry stopped. Sockets come back with the gateways'
    /// next reports. Answers how many there were.
    pub async fn restore(&self) -> Result<usize, Error> {
        let start = self.clock.now();
        let mut from = (i64::MIN, [0; 32]);
        let mut count = 0;
        loop {
            let rows = self
                .store
                .live_leases(start.wall_ms, from, RESTORE_ROWS)
                .await?;
            let Some(last) = rows.last() else {
                return Ok(count);
            };
            from = (last.network_no, last.device_fp);
            for row in &rows {
                count += usize::from(self.restore_one(row));
            }
        }
    }

    fn restore_one(&self, row: &LeaseRow) -> bool {
        let now = self.clock.now();
        let labels = (Label::new(&row.device), Label::new(&row.handle));
        let (Ok(device), Ok(user)) = labels else {
            return false;
        };
        let Some(record) = Record::stored(&row.record) else {
            return false;
        };
        // A wall clock that was set back must not stretch a lease.
        let left_ms = row.expires_ms.saturating_sub(now.wall_ms);
        let left_ms = left_ms.min(u64::from(PRESENCE_TTL_S) * 1_000);
        let announce = Announce {
            device: DeviceKey::new(row.network_no, device),
            fp: DeviceFp(row.device_fp),
            user,
            record: Arc::new(record),
            named: row
                .named
                .split(',')
                .filter_map(|l| Label::new(l).ok())
                .collect(),
            confirmed: split_confirmed(&row.confirmed),
        };
        let input = Input::Restore(announce, now.mono_ms + left_ms, row.seen_ms);
        lock(&self.presence).handle_input(now, input) == Answer::Done
    }
}

fn named_coordinators(labels: &[String]) -> Result<Vec<Label>, Error> {
    if labels.len() > COORDINATORS_NAMED_MAX {
        return Err(Error::Invalid("a device names at most 4 coordinators"));
    }
    let mut named: Vec<Label> = Vec::with_capacity(labels.len());
    for label in labels {
        let label = Label::new(label)?;
        if !named.contains(&label) {
            named.push(label);
        }
    }
    Ok(named)
}

fn join_named(named: &[Label]) -> String {
    let labels: Vec<&str> = named.iter().map(Label::as_str).collect();
    labels.join(",")
}

/// `label=ms`, joined by commas: labels hold neither sign.
pub(super) fn join_confirmed(confirmed: &[Confirmed]) -> String {
    let items: Vec<String> = confirmed
        .iter()
        .map(|(l, ms)| format!("{l}={ms}"))
        .collect();
    items.join(",")
}

fn split_confirmed(text: &str) -> Vec<Confirmed> {
    let items = text.split(',').filter_map(|item| {
        let (label, ms) = item.split_once('=')?;
        Some((Label::new(label).ok()?, ms.parse().ok()?))
    });
    items.take(COORDINATORS_NAMED_MAX).collect()
}

/// A device whose lease has ended, as it was last seen.
fn stored_view(row: &LeaseRow) -> Option<DeviceView> {
    Some(DeviceView {
        online: false,
        seen_ms: row.seen_ms,
        record: Arc::new(Record::stored(&row.record)?),
        confirmed: split_confirmed(&row.confirmed),
    })
}

fn peer_of(network: &Network, user: &User, views: &[Option<DeviceView>]) -> Peer {
    let mut confirmed: Vec<&Confirmed> = Vec::new();
    let mut devices = Vec::with_capacity(user.devices.len());
    let mut seen_ms = None;
    for (device, view) in user.devices.iter().zip(views) {
        if let Some(view) = view {
            confirmed.extend(&view.confirmed);
            seen_ms = seen_ms.max(Some(view.seen_ms));
        }
        devices.push(PeerDevice {
            device_id: device.label.to_string(),
            online: view.as_ref().is_some_and(|v| v.online),
            last_seen: view.as_ref().map(|v| Timestamp::from_ms(v.seen_ms)),
            signal_addr: view
                .as_ref()
                .map_or_else(String::new, |v| v.record.signal_addr.clone()),
            record: view
                .as_ref()
                .map_or_else(Vec::new, |v| v.record.bytes.to_vec()),
        });
    }
    confirmed.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let mut last_coordinators: Vec<String> = Vec::new();
    for (label, _) in confirmed {
        let label = label.to_string();
        if last_coordinators.len() < LAST_COORDINATORS_MAX && !last_coordinators.contains(&label) {
            last_coordinators.push(label);
        }
    }
    Peer {
        user_id: user.handle.to_string(),
        online: devices.iter().any(|d| d.online),
        last_seen: seen_ms.map(Timestamp::from_ms),
        last_coordinators,
        devices,
        chain: user.chain(network),
    }
}

/// Whether a device may be named in a list.
fn is_listed(device: &PeerDevice) -> bool {
    Record::stored(&device.record).is_none_or(|record| !record.unlisted)
}
