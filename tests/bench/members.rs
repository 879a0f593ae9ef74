//! Members by the thousand: keys from a counter, joined over gRPC, and what they sign.

use crate::measure::text;
use crate::servers::{NETWORK, ORIGIN};
use crate::sockets::{Socket, dial};
use beeline_proto::envelope::{Context, sign};
use beeline_proto::id::{MessageId, NetworkFp, sha256};
use beeline_proto::invite::InviteLink;
use beeline_proto::keys::{SealSecret, SigningKey};
use beeline_proto::origin;
use beeline_proto::pb::auth::v1 as auth;
use beeline_proto::pb::auth::v1::auth_service_client::AuthServiceClient;
use beeline_proto::pb::identity::v1 as identity;
use beeline_proto::pb::registry::v1::JoinRequest;
use beeline_proto::pb::registry::v1::registry_service_client::RegistryServiceClient;
use beeline_proto::pb::signal::v1::signal_frame::Type;
use beeline_proto::pb::signal::v1::{SignalFrame, SocketProof};
use futures::{SinkExt as _, StreamExt as _, TryStreamExt as _};
use prost::Message as _;
use tokio_tungstenite::tungstenite::Message;
use tonic::transport::Channel;

/// Calls under way at once while members join or sign in.
const AT_ONCE: usize = 32;

/// 32 bytes that depend on a name and a number only: a benchmark's keys guard nothing.
fn bytes(name: &str, number: u64) -> [u8; 32] {
    sha256(format!("bench {name} {number}").as_bytes())
}

fn message_id(number: u64) -> MessageId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    MessageId(id)
}

/// A member with one device.
pub(crate) struct Member {
    network: NetworkFp,
    /// The userId.
    pub(crate) handle: String,
    /// The deviceId.
    pub(crate) label: String,
    device: SigningKey,
    user: SigningKey,
    bundle: Vec<u8>,
    chain: Vec<u8>,
}

impl Member {
    fn new(number: u64, network: NetworkFp) -> Self {
        let device = SigningKey::from_seed(&bytes("device", number));
        let sealing = SealSecret::from_bytes(bytes("bundle", number)).public();
        let bundle = identity::Bundle {
            context: Some(Context::unordered(network, network.0, message_id(number)).to_pb()),
            made_ms: 1,
            key: sealing.0.to_vec(),
            key_id: sealing.key_id().to_vec(),
        };
        Self {
            network,
            handle: format!("bench{number:05}"),
            label: format!("bench{number:05}_dev001"),
            bundle: sign(&device, &bundle),
            device,
            user: SigningKey::from_seed(&bytes("user", number)),
            chain: Vec::new(),
        }
    }

    fn context(
        &self,
        audience: [u8; 32],
        number: u64,
    ) -> Option<beeline_proto::pb::envelope::v1::Context> {
        Some(Context::unordered(self.network, audience, message_id(number)).to_pb())
    }

    fn device_list(&self, number: u64) -> Vec<u8> {
        let list = identity::DeviceList {
            context: self.context(self.user.verify_key().fp(), number),
            version: 1,
            devices: vec![identity::Device {
                label: self.label.clone(),
                device_key: self.device.verify_key().to_bytes().to_vec(),
                control_key: SealSecret::from_bytes(bytes("control", number))
                    .public()
                    .0
                    .to_vec(),
            }],
        };
        sign(&self.user, &list)
    }

    async fn join(number: u64, link: &InviteLink, channel: Channel) -> Result<Self, String> {
        let mut member = Self::new(number, link.network);
        let device_list = member.device_list(number);
        let proof = identity::JoinProof {
            context: member.context(link.network.0, number),
            user_id: member.handle.clone(),
            user_key: member.user.verify_key().to_bytes().to_vec(),
            device_list_hash: sha256(&device_list).to_vec(),
            nonce: bytes("nonce", number).to_vec(),
        };
        let request = JoinRequest {
            network_id: NETWORK.to_owned(),
            proof: sign(&link.key, &proof),
            device_list: device_list.clone(),
        };
        let joined = RegistryServiceClient::new(channel)
            .join(request)
            .await
            .map_err(text)?;
        let joined = joined.into_inner();
        let chain = identity::Chain {
            descriptor: joined.descriptor,
            membership: joined.membership,
            device_list,
        };
        member.chain = chain.encode_to_vec();
        Ok(member)
    }

    /// A token for REST and gRPC.
    pub(crate) async fn token(&self, channel: Channel) -> Result<String, String> {
        let mut client = AuthServiceClient::new(channel);
        let network_id = NETWORK.to_owned();
        let device_id = self.label.clone();
        let ask = auth::GetChallengeRequest {
            network_id,
            device_id,
        };
        let nonce = client
            .get_challenge(ask.clone())
            .await
            .map_err(text)?
            .into_inner()
            .nonce;
        let proof = auth::TokenProof {
            context: self.context(self.device.verify_key().fp(), 0),
            origin: ORIGIN.to_owned(),
            nonce,
        };
        let request = auth::CreateTokenRequest {
            network_id: ask.network_id,
            device_id: ask.device_id,
            proof: sign(&self.device, &proof),
        };
        Ok(client
            .create_token(request)
            .await
            .map_err(text)?
            .into_inner()
            .token)
    }

    /// A signed device record of this version.
    pub(crate) fn record(&self, version: u64) -> Vec<u8> {
        let record = identity::DeviceRecord {
            context: self.context(self.network.0, version),
            user: self.user.verify_key().fp().to_vec(),
            version,
            signal_addr: format!("ws://127.0.0.1:8080/{}", self.label),
            bundle: self.bundle.clone(),
            ..Default::default()
        };
        sign(&self.device, &record)
    }

    /// A proven socket at the gateway.
    pub(crate) async fn socket(&self, url: &str) -> Result<Socket, String> {
        let url = format!("{url}/{}", self.label);
        let mut socket = dial(&url).await?;
        let nonce = hello(&mut socket).await?.nonce;
        let proof = SocketProof {
            context: self.context(self.device.verify_key().fp(), 0),
            origin: origin::normalize(&url).ok_or("the gateway's address is no origin")?,
            nonce,
            boot_id: self.device.verify_key().fp()[..16].to_vec(),
            device_id: self.label.clone(),
        };
        let answer = SignalFrame {
            r#type: Type::Hello as i32,
            proof: sign(&self.device, &proof),
            chain: self.chain.clone(),
            ..SignalFrame::default()
        };
        let answer = serde_json::to_string(&answer).map_err(text)?;
        socket.send(Message::text(answer)).await.map_err(text)?;
        match hello(&mut socket).await? {
            frame if frame.ready => Ok(socket),
            frame => Err(format!("not ready: {frame:?}")),
        }
    }
}

/// The next HELLO of the gateway.
async fn hello(socket: &mut Socket) -> Result<SignalFrame, String> {
    loop {
        let message = socket
            .next()
            .await
            .ok_or("the gateway hung up")?
            .map_err(text)?;
        let Message::Text(body) = message else {
            continue;
        };
        let frame: SignalFrame = serde_json::from_str(&body).map_err(text)?;
        if frame.r#type() != Type::Hello {
            return Err(format!("the gateway said {body}"));
        }
        return Ok(frame);
    }
}

/// Joins members numbered from 0.
pub(crate) async fn join(count: usize, url: &str, invite: &str) -> Result<Vec<Member>, String> {
    let link = &InviteLink::parse(invite).map_err(text)?;
    let channel = connect(url).await?;
    let joins = (0..count as u64).map(|number| Member::join(number, link, channel.clone()));
    futures::stream::iter(joins)
        .buffered(AT_ONCE)
        .try_collect()
        .await
}

/// Tokens for all of them.
pub(crate) async fn tokens(members: &[Member], url: &str) -> Result<Vec<String>, String> {
    let channel = connect(url).await?;
    let tokens = members.iter().map(|member| member.token(channel.clone()));
    futures::stream::iter(tokens)
        .buffered(AT_ONCE)
        .try_collect()
        .await
}

/// Proven sockets for all of them.
pub(crate) async fn sockets(
    members: &[Member],
    url: &str,
) -> Result<Vec<(String, Socket)>, String> {
    let dials = members
        .iter()
        .map(|member| async move { Ok((member.label.clone(), member.socket(url).await?)) });
    futures::stream::iter(dials)
        .buffered(AT_ONCE)
        .try_collect()
        .await
}

/// One HTTP/2 connection to a gRPC server.
pub(crate) async fn connect(url: &str) -> Result<Channel, String> {
    let endpoint = Channel::from_shared(url.to_owned()).map_err(text)?;
    endpoint.tcp_nodelay(true).connect().await.map_err(text)
}
