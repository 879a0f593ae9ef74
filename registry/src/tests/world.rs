//! A registry on a free port with a network, and people who join it.

use crate::{Clock, Config, Registry, Running};
use beeline_proto::code::ErrorCode;
use beeline_proto::envelope::{Context, sign};
use beeline_proto::id::{MessageId, NetworkFp, sha256};
use beeline_proto::invite::InviteLink;
use beeline_proto::keys::{SealSecret, SigningKey};
use beeline_proto::pb::auth::v1 as auth;
use beeline_proto::pb::auth::v1::auth_service_client::AuthServiceClient;
use beeline_proto::pb::coordinator::v1::coordinator_service_client::CoordinatorServiceClient;
use beeline_proto::pb::identity::v1 as identity;
use beeline_proto::pb::identity::v1::Role;
use beeline_proto::pb::registry::v1 as registry;
use beeline_proto::pb::registry::v1::registry_service_client::RegistryServiceClient;
use beeline_proto::time::Now;
use prost::Message as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Request, Status};

pub(super) const NETWORK: &str = "home";
pub(super) const ORIGIN: &str = "http://127.0.0.1:8080";

/// The time, moved by hand.
#[derive(Clone, Default)]
pub(super) struct Hands(Arc<AtomicU64>);

impl Hands {
    pub(super) fn forward(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }

    pub(super) fn now(&self) -> Now {
        let passed = self.0.load(Ordering::SeqCst);
        Now {
            mono_ms: 1 + passed,
            wall_ms: 1_800_000_000_000 + passed,
        }
    }

    fn clock(&self) -> Clock {
        let hands = self.clone();
        Clock::new(move || hands.now())
    }
}

pub(super) struct World {
    pub(super) dir: tempfile::TempDir,
    pub(super) hands: Hands,
    pub(super) running: Running,
    pub(super) channel: Channel,
    database_url: Option<String>,
}

/// A random 32 bytes, for keys of which only the difference matters.
pub(super) fn fresh<const N: usize>() -> [u8; N] {
    crate::random::bytes().unwrap()
}

/// The shared code of a refusal.
pub(super) fn code(status: &Status) -> ErrorCode {
    let name = status
        .metadata()
        .get("beeline-code")
        .expect("every refusal has a code");
    ErrorCode::from_name(name.to_str().unwrap()).expect("of the vocabulary")
}

/// A request with this `authorization`; none when empty.
pub(super) fn with<T>(authorization: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if !authorization.is_empty() {
        let value = authorization.parse().unwrap();
        request.metadata_mut().insert("authorization", value);
    }
    request
}

/// A connection of its own.
async fn connect(running: &Running) -> Channel {
    let uri = format!("http://{}", running.grpc_addr);
    let endpoint = Channel::from_shared(uri).unwrap();
    endpoint.connect().await.unwrap()
}

impl World {
    /// Another connection.
    pub(super) async fn connect(&self) -> Channel {
        connect(&self.running).await
    }

    pub(super) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(super) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Self::config(dir.path().join("data"));
        change(&mut config);
        let database_url = config.database_url.clone();
        let hands = Hands::default();
        let running = Registry::start_at(config, hands.clock()).await.unwrap();
        let origins = [ORIGIN.to_owned()];
        running
            .ensure_network(Some(NETWORK), &origins, &[])
            .await
            .unwrap();
        Self::around(dir, hands, running, database_url).await
    }

    fn config(data: PathBuf) -> Config {
        Config {
            grpc: "127.0.0.1:0".parse().unwrap(),
            data,
            gateway_origins: vec![ORIGIN.to_owned()],
            ..Config::default()
        }
    }

    async fn around(
        dir: tempfile::TempDir,
        hands: Hands,
        running: Running,
        database_url: Option<String>,
    ) -> Self {
        let channel = connect(&running).await;
        Self {
            dir,
            hands,
            running,
            channel,
            database_url,
        }
    }

    /// Stops the registry and starts it again on the same directory.
    pub(super) async fn restart(self) -> Self {
        let Self {
            dir,
            hands,
            running,
            channel,
            database_url,
        } = self;
        drop(channel);
        running.shutdown().await;
        let mut config = Self::config(dir.path().join("data"));
        config.database_url.clone_from(&database_url);
        let running = Registry::start_at(config, hands.clock()).await.unwrap();
        Self::around(dir, hands, running, database_url).await
    }

    pub(super) fn registry(&self) -> RegistryServiceClient<Channel> {
        RegistryServiceClient::new(self.channel.clone())
    }

    pub(super) fn coordinator(&self) -> CoordinatorServiceClient<Channel> {
        CoordinatorServiceClient::new(self.channel.clone())
    }

    pub(super) fn auth(&self) -> AuthServiceClient<Channel> {
        AuthServiceClient::new(self.channel.clone())
    }

    /// The gateways' `authorization`.
    pub(super) fn gateway(&self) -> String {
        let token = std::fs::read_to_string(&self.running.gateway_token_path).unwrap();
        format!("Gateway {}", token.trim())
    }

    /// The operator's `authorization`.
    pub(super) fn operator(&self) -> String {
        let token = std::fs::read_to_string(&self.running.operator_token_path).unwrap();
        format!("Operator {}", token.trim())
    }

    pub(super) async fn invite(&self, network: &str, role: Role, uses: u32) -> InviteLink {
        let week = Duration::from_secs(7 * 24 * 3600);
        self.running
            .create_invite(network, role, uses, week)
            .await
            .unwrap()
    }

    /// A person with one device who has joined and signed in.
    pub(super) async fn person(&self, network: &str, name: &str, role: Role) -> Person {
        let link = self.invite(network, role, 1).await;
        let mut person = Person::new(link.network, name);
        let join = person.join_request(&link);
        self.registry().join(join).await.unwrap();
        person.network_id = network.to_owned();
        person.token = self.sign_in(&person).await.unwrap();
        person
    }

    pub(super) async fn member(&self, name: &str) -> Person {
        self.person(NETWORK, name, Role::Member).await
    }

    pub(super) async fn sign_in(&self, person: &Person) -> Result<String, Status> {
        let challenge = person.challenge_request();
        let nonce = self
            .auth()
            .get_challenge(challenge)
            .await?
            .into_inner()
            .nonce;
        let request = person.token_request(nonce, ORIGIN);
        Ok(self.auth().create_token(request).await?.into_inner().token)
    }

    /// Reports one socket as a gateway would.
    pub(super) async fn socket(
        &self,
        person: &Person,
        open: bool,
    ) -> registry::ReportSocketsResponse {
        let change = registry::SocketChange {
            network_id: person.network_id.clone(),
            device_id: person.device_label.clone(),
            open,
        };
        self.report("gw", 1, vec![change]).await
    }

    pub(super) async fn report(
        &self,
        gateway: &str,
        epoch: u64,
        changes: Vec<registry::SocketChange>,
    ) -> registry::ReportSocketsResponse {
        let report = registry::ReportSocketsRequest {
            gateway_id: gateway.to_owned(),
            epoch,
            changes,
        };
        let request = with(&self.gateway(), report);
        self.registry()
            .report_sockets(request)
            .await
            .unwrap()
            .into_inner()
    }

    pub(super) async fn announce(
        &self,
        person: &Person,
        record: Vec<u8>,
        coordinators: &[&str],
    ) -> Result<registry::AnnounceResponse, Status> {
        let announce = registry::AnnounceRequest {
            network_id: person.network_id.clone(),
            record,
            coordinators: coordinators.iter().map(|c| (*c).to_owned()).collect(),
        };
        let request = with(&person.bearer(), announce);
        Ok(self.registry().announce(request).await?.into_inner())
    }

    pub(super) async fn peer(&self, asker: &Person, name: &str) -> Result<registry::Peer, Status> {
        let ask = registry::GetPeerRequest {
            network_id: asker.network_id.clone(),
            user_id: name.to_owned(),
        };
        let response = self.registry().get_peer(with(&asker.bearer(), ask)).await?;
        Ok(response.into_inner().peer.expect("a peer"))
    }
}

/// Someone with one device.
#[derive(Clone)]
pub(super) struct Person {
    pub(super) network: NetworkFp,
    pub(super) network_id: String,
    pub(super) handle: String,
    pub(super) user: SigningKey,
    pub(super) device: SigningKey,
    pub(super) device_label: String,
    pub(super) control: [u8; 32],
    pub(super) token: String,
}

impl Person {
    pub(super) fn new(network: NetworkFp, name: &str) -> Self {
        Self {
            network,
            network_id: NETWORK.to_owned(),
            handle: name.to_owned(),
            user: SigningKey::from_seed(&fresh()),
            device: SigningKey::from_seed(&fresh()),
            device_label: format!("{name}_device"),
            control: SealSecret::from_bytes(fresh()).public().0,
            token: String::new(),
        }
    }

    pub(super) fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }

    pub(super) fn context(
        &self,
        audience: [u8; 32],
    ) -> Option<beeline_proto::pb::envelope::v1::Context> {
        Some(Context::unordered(self.network, audience, MessageId(fresh())).to_pb())
    }

    pub(super) fn device_list(&self, version: u64) -> Vec<u8> {
        self.device_list_of(version, &[(&self.device_label, &self.device)])
    }

    pub(super) fn device_list_of(&self, version: u64, devices: &[(&str, &SigningKey)]) -> Vec<u8> {
        let device = |(label, key): &(&str, &SigningKey)| identity::Device {
            label: (*label).to_owned(),
            device_key: key.verify_key().to_bytes().to_vec(),
            control_key: self.control.to_vec(),
        };
        let list = identity::DeviceList {
            context: self.context(self.user.verify_key().fp()),
            version,
            devices: devices.iter().map(device).collect(),
        };
        sign(&self.user, &list)
    }

    pub(super) fn join_request(&self, link: &InviteLink) -> registry::JoinRequest {
        self.join_request_for(link, self.device_list(1))
    }

    pub(super) fn join_request_for(
        &self,
        link: &InviteLink,
        device_list: Vec<u8>,
    ) -> registry::JoinRequest {
        let proof = identity::JoinProof {
            context: self.context(link.network.0),
            user_id: self.handle.clone(),
            user_key: self.user.verify_key().to_bytes().to_vec(),
            device_list_hash: sha256(&device_list).to_vec(),
            nonce: fresh::<32>().to_vec(),
        };
        registry::JoinRequest {
            network_id: link.network_id.to_string(),
            proof: sign(&link.key, &proof),
            device_list,
        }
    }

    pub(super) fn challenge_request(&self) -> auth::GetChallengeRequest {
        auth::GetChallengeRequest {
            network_id: self.network_id.clone(),
            device_id: self.device_label.clone(),
        }
    }

    pub(super) fn token_request(&self, nonce: Vec<u8>, origin: &str) -> auth::CreateTokenRequest {
        let proof = auth::TokenProof {
            context: self.context(self.device.verify_key().fp()),
            origin: origin.to_owned(),
            nonce,
        };
        auth::CreateTokenRequest {
            network_id: self.network_id.clone(),
            device_id: self.device_label.clone(),
            proof: sign(&self.device, &proof),
        }
    }

    pub(super) fn bundle(&self, made_ms: u64) -> Vec<u8> {
        let bundle = identity::Bundle {
            context: self.context(self.network.0),
            made_ms,
            key: SealSecret::from_bytes(fresh()).public().0.to_vec(),
            key_id: fresh::<16>().to_vec(),
        };
        sign(&self.device, &bundle)
    }

    /// The payload of a good record, to be spoilt.
    pub(super) fn record_payload(&self, version: u64) -> identity::DeviceRecord {
        identity::DeviceRecord {
            context: self.context(self.network.0),
            user: self.user.verify_key().fp().to_vec(),
            version,
            signal_addr: format!("ws://127.0.0.1:8080/{}", self.device_label),
            can_relay: true,
            unlisted: false,
            bundle: self.bundle(version),
            can_store: false,
        }
    }

    pub(super) fn record(&self, version: u64) -> Vec<u8> {
        sign(&self.device, &self.record_payload(version))
    }

    /// The parts of a chain.
    pub(super) fn chain(peer: &registry::Peer) -> identity::Chain {
        identity::Chain::decode(peer.chain.as_slice()).unwrap()
    }
}
