//! A registry for tests: the real gRPC services with real signatures over a table in memory. It
//! records what the gateway sends, and can go down and come back on its port.

use crate::world::{Member, Network, TOKEN_KEY_SEED, TOKEN_KID, key, token, wall_ms};
use beeline_proto::code::ErrorCode;
use beeline_proto::envelope::{Expect, open};
use beeline_proto::pb::auth::v1 as auth;
use beeline_proto::pb::auth::v1::auth_service_server::{AuthService, AuthServiceServer};
use beeline_proto::pb::coordinator::v1 as coordinator;
use beeline_proto::pb::coordinator::v1::coordinator_service_server::{
    CoordinatorService, CoordinatorServiceServer,
};
use beeline_proto::pb::registry::v1 as pb;
use beeline_proto::pb::registry::v1::registry_service_server::{
    RegistryService, RegistryServiceServer,
};
use beeline_proto::time::Timestamp;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status};

/// The secret of the tests' gateways.
pub(crate) const GATEWAY_TOKEN: &str =
    "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// What the registry holds and has heard.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) networks: BTreeMap<String, Network>,
    /// networkId and deviceId to the member and what GetDevice answers.
    pub(crate) devices: BTreeMap<(String, String), (Member, pb::GetDeviceResponse)>,
    /// Open sockets as reported.
    pub(crate) sockets: BTreeMap<(String, String), bool>,
    /// Requests with a member's credential: method and credential.
    pub(crate) calls: Vec<(&'static str, String)>,
    pub(crate) want_full: bool,
    pub(crate) key_seed: Option<u8>,
}

/// Shared by the services.
#[derive(Clone)]
pub(crate) struct FakeRegistry {
    state: Arc<Mutex<State>>,
    /// Counts reports, so that a test can wait for one.
    reports: Arc<watch::Sender<u64>>,
}

/// A running one.
pub(crate) struct Server {
    pub(crate) fake: FakeRegistry,
    pub(crate) addr: SocketAddr,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Server {
    pub(crate) async fn start(fake: FakeRegistry) -> Self {
        Self::start_at(fake, "127.0.0.1:0".parse().expect("address")).await
    }

    async fn start_at(fake: FakeRegistry, addr: SocketAddr) -> Self {
        let listener = TcpListener::bind(addr).await.expect("bind");
        let addr = listener.local_addr().expect("address");
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let server = tonic::transport::Server::builder()
            .add_service(RegistryServiceServer::new(fake.clone()))
            .add_service(CoordinatorServiceServer::new(fake.clone()))
            .add_service(AuthServiceServer::new(fake.clone()));
        let stopped = stop.clone();
        tasks.spawn(async move {
            let incoming = TcpListenerStream::new(listener);
            // Connections end with the server, not only new ones.
            let served = server.serve_with_incoming_shutdown(incoming, stopped.cancelled_owned());
            served.await.expect("serve");
        });
        Self {
            fake,
            addr,
            stop,
            tasks,
        }
    }

    /// Goes down, connections and all.
    pub(crate) async fn stop(mut self) -> (FakeRegistry, SocketAddr) {
        self.stop.cancel();
        let ended = crate::client::within(self.tasks.join_next()).await;
        ended.expect("one task").expect("no panic");
        (self.fake, self.addr)
    }

    /// Comes back where it was.
    pub(crate) async fn restart((fake, addr): (FakeRegistry, SocketAddr)) -> Self {
        Self::start_at(fake, addr).await
    }
}

impl FakeRegistry {
    pub(crate) fn new() -> Self {
        Self {
            state: Arc::default(),
            reports: Arc::new(watch::Sender::new(0)),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("state")
    }

    /// Enrols members.
    pub(crate) fn enrol(&self, network: &Network, members: &[&Member]) {
        let mut state = self.lock();
        state
            .networks
            .insert(network.label.clone(), network.clone());
        for member in members {
            let id = (network.label.clone(), member.device.clone());
            state
                .devices
                .insert(id, ((*member).clone(), network.device(member)));
        }
    }

    /// Waits until the reports say so.
    pub(crate) async fn reported(&self, network: &str, device: &str, open: bool) {
        let id = (network.to_owned(), device.to_owned());
        let mut reports = self.reports.subscribe();
        let seen = |_: &u64| self.lock().sockets.get(&id).copied().unwrap_or_default() == open;
        crate::client::within(reports.wait_for(seen))
            .await
            .expect("reports go on");
    }

    fn gateway<T>(&self, request: &Request<T>) -> Result<(), Status> {
        match request.metadata().get("authorization") {
            Some(value) if value == format!("Gateway {GATEWAY_TOKEN}").as_str() => Ok(()),
            _ => Err(status(ErrorCode::Unauthenticated)),
        }
    }

    fn member<T>(&self, method: &'static str, request: &Request<T>) -> Result<(), Status> {
        let value = request
            .metadata()
            .get("authorization")
            .and_then(|v| v.to_str().ok());
        let value = value.ok_or(status(ErrorCode::Unauthenticated))?.to_owned();
        self.lock().calls.push((method, value));
        Ok(())
    }
}

/// A refusal as the registry writes it.
pub(crate) fn status(code: ErrorCode) -> Status {
    let mut status = Status::new(Code::from(code.grpc()), code.title());
    status
        .metadata_mut()
        .insert("beeline-code", code.name().parse().expect("ascii"));
    status
}

fn nobody<T>() -> Result<Response<T>, Status> {
    Err(status(ErrorCode::Unimplemented))
}

#[tonic::async_trait]
impl AuthService for FakeRegistry {
    async fn get_challenge(
        &self,
        request: Request<auth::GetChallengeRequest>,
    ) -> Result<Response<auth::GetChallengeResponse>, Status> {
        let request = request.into_inner();
        if request.network_id.is_empty() {
            return Err(status(ErrorCode::InvalidArgument));
        }
        Ok(Response::new(auth::GetChallengeResponse {
            nonce: vec![8; 32],
            expire_time: Some(Timestamp::from_ms(wall_ms() + 30_000)),
        }))
    }

    async fn create_token(
        &self,
        request: Request<auth::CreateTokenRequest>,
    ) -> Result<Response<auth::CreateTokenResponse>, Status> {
        let request = request.into_inner();
        let state = self.lock();
        let id = (request.network_id.clone(), request.device_id);
        let refused = || status(ErrorCode::Unauthenticated);
        let (member, _) = state.devices.get(&id).ok_or_else(refused)?;
        let network = state.networks.get(&id.0).ok_or_else(refused)?;
        let fp = member.fp().0;
        let audiences = [fp];
        let expect = Expect::new(network.fp(), &audiences).signer(fp);
        let proof = open::<auth::TokenProof>(&request.proof, &expect).map_err(|_| refused())?;
        if proof.payload().nonce != [8; 32] {
            return Err(refused());
        }
        Ok(Response::new(auth::CreateTokenResponse {
            token: token(network, member),
            expire_time: Some(Timestamp::from_ms(wall_ms() + 600_000)),
        }))
    }

    async fn list_token_keys(
        &self,
        request: Request<auth::ListTokenKeysRequest>,
    ) -> Result<Response<auth::ListTokenKeysResponse>, Status> {
        self.gateway(&request)?;
        let seed = self.lock().key_seed.unwrap_or(TOKEN_KEY_SEED);
        let key = auth::TokenKey {
            kid: TOKEN_KID.into(),
            public_key: key(seed).verify_key().to_bytes().to_vec(),
        };
        Ok(Response::new(auth::ListTokenKeysResponse {
            keys: vec![key],
        }))
    }
}

#[tonic::async_trait]
impl CoordinatorService for FakeRegistry {
    async fn heartbeat(
        &self,
        request: Request<coordinator::HeartbeatRequest>,
    ) -> Result<Response<coordinator::HeartbeatResponse>, Status> {
        self.member("Heartbeat", &request)?;
        Ok(Response::new(coordinator::HeartbeatResponse {
            next_heartbeat_s: 10,
            expire_time: Some(Timestamp::from_ms(wall_ms() + 60_000)),
            want_full: false,
        }))
    }

    async fn list_coordinators(
        &self,
        request: Request<coordinator::ListCoordinatorsRequest>,
    ) -> Result<Response<coordinator::ListCoordinatorsResponse>, Status> {
        self.member("ListCoordinators", &request)?;
        let one = coordinator::Coordinator {
            device_id: "bob_1".into(),
            record: vec![1],
            chain: vec![2],
            load: request.into_inner().page_size,
            capacity: 512,
        };
        Ok(Response::new(coordinator::ListCoordinatorsResponse {
            coordinators: vec![one],
        }))
    }
}

#[tonic::async_trait]
impl RegistryService for FakeRegistry {
    async fn join(
        &self,
        request: Request<pb::JoinRequest>,
    ) -> Result<Response<pb::JoinResponse>, Status> {
        match request.into_inner().proof.as_slice() {
            [] => Err(status(ErrorCode::InviteInvalid)),
            _ => Ok(Response::new(pb::JoinResponse::default())),
        }
    }

    async fn get_network(
        &self,
        request: Request<pb::GetNetworkRequest>,
    ) -> Result<Response<pb::GetNetworkResponse>, Status> {
        self.gateway(&request)?;
        let state = self.lock();
        let network = state.networks.get(&request.get_ref().network_id);
        Ok(Response::new(
            network.ok_or_else(|| status(ErrorCode::NotFound))?.lists(),
        ))
    }

    async fn announce(
        &self,
        request: Request<pb::AnnounceRequest>,
    ) -> Result<Response<pb::AnnounceResponse>, Status> {
        self.member("Announce", &request)?;
        Ok(Response::new(pb::AnnounceResponse {
            expire_time: Some(Timestamp::from_ms(wall_ms() + 600_000)),
            reannounce_after: 300,
            versions: None,
        }))
    }

    async fn get_peer(
        &self,
        request: Request<pb::GetPeerRequest>,
    ) -> Result<Response<pb::GetPeerResponse>, Status> {
        self.member("GetPeer", &request)?;
        let user_id = request.into_inner().user_id;
        if user_id == "nobody" {
            return Err(status(ErrorCode::NotFound));
        }
        let peer = pb::Peer {
            user_id,
            last_seen: Some(Timestamp::from_ms(1_705_737_600_000)),
            last_coordinators: vec!["bob_device_123".into(), "eve_device_789".into()],
            ..pb::Peer::default()
        };
        Ok(Response::new(pb::GetPeerResponse { peer: Some(peer) }))
    }

    async fn list_active_peers(
        &self,
        request: Request<pb::ListActivePeersRequest>,
    ) -> Result<Response<pb::ListActivePeersResponse>, Status> {
        self.member("ListActivePeers", &request)?;
        let request = request.into_inner();
        let peer = pb::Peer {
            user_id: format!("user{}", request.page_size),
            online: true,
            ..pb::Peer::default()
        };
        Ok(Response::new(pb::ListActivePeersResponse {
            peers: vec![peer],
            next_page_token: request.page_token,
        }))
    }

    async fn report_sockets(
        &self,
        request: Request<pb::ReportSocketsRequest>,
    ) -> Result<Response<pb::ReportSocketsResponse>, Status> {
        self.gateway(&request)?;
        let mut state = self.lock();
        for change in request.into_inner().changes {
            state
                .sockets
                .insert((change.network_id, change.device_id), change.open);
        }
        let want_full = std::mem::take(&mut state.want_full);
        drop(state);
        self.reports.send_modify(|count| *count += 1);
        Ok(Response::new(pb::ReportSocketsResponse {
            next_report_s: 20,
            want_full,
        }))
    }

    async fn get_device(
        &self,
        request: Request<pb::GetDeviceRequest>,
    ) -> Result<Response<pb::GetDeviceResponse>, Status> {
        self.gateway(&request)?;
        let request = request.into_inner();
        let id = (request.network_id, request.device_id);
        let state = self.lock();
        let device = state.devices.get(&id).map(|(_, device)| device.clone());
        device
            .map(Response::new)
            .ok_or_else(|| status(ErrorCode::NotFound))
    }

    async fn put_device_list(
        &self,
        _: Request<pb::PutDeviceListRequest>,
    ) -> Result<Response<pb::PutDeviceListResponse>, Status> {
        nobody()
    }

    async fn renew_membership(
        &self,
        _: Request<pb::RenewMembershipRequest>,
    ) -> Result<Response<pb::RenewMembershipResponse>, Status> {
        nobody()
    }

    async fn create_network(
        &self,
        _: Request<pb::CreateNetworkRequest>,
    ) -> Result<Response<pb::CreateNetworkResponse>, Status> {
        nobody()
    }

    async fn put_descriptor(
        &self,
        _: Request<pb::PutDescriptorRequest>,
    ) -> Result<Response<pb::PutDescriptorResponse>, Status> {
        nobody()
    }

    async fn create_invite(
        &self,
        _: Request<pb::CreateInviteRequest>,
    ) -> Result<Response<pb::CreateInviteResponse>, Status> {
        nobody()
    }

    async fn list_members(
        &self,
        _: Request<pb::ListMembersRequest>,
    ) -> Result<Response<pb::ListMembersResponse>, Status> {
        nobody()
    }

    async fn revoke_member(
        &self,
        _: Request<pb::RevokeMemberRequest>,
    ) -> Result<Response<pb::RevokeMemberResponse>, Status> {
        nobody()
    }
}
