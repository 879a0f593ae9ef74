//! The gateway's side of the registry's gRPC: a few HTTP/2 connections, the gateway's credential,
//! deadlines, and what is known of the registry's health.

pub mod disk;
pub mod lists;
pub mod polling;
pub mod reporter;

use crate::clock::Clock;
use crate::core::grace::Grace;
use crate::limits::{
    REGISTRY_ANSWER_LEN_MAX, REGISTRY_CHANNELS, REGISTRY_CONNECT_TIMEOUT_MS, REGISTRY_TIMEOUT_MS,
};
use beeline_proto::code::ErrorCode;
use beeline_proto::pb::auth::v1 as auth;
use beeline_proto::pb::auth::v1::auth_service_client::AuthServiceClient;
use beeline_proto::pb::coordinator::v1 as coordinator;
use beeline_proto::pb::coordinator::v1::coordinator_service_client::CoordinatorServiceClient;
use beeline_proto::pb::registry::v1 as registry;
use beeline_proto::pb::registry::v1::registry_service_client::RegistryServiceClient;
use beeline_proto::time::Now;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::timeout;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Response, Status};

/// Why a call failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct RpcError {
    /// The registry's code, or `Unavailable` where it did not answer.
    pub code: ErrorCode,
    /// For people.
    pub detail: String,
}

impl RpcError {
    fn unavailable() -> Self {
        Self {
            code: ErrorCode::Unavailable,
            detail: "the registry does not answer; try again later".into(),
        }
    }
}

/// Why the client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is no URL, or TLS cannot be set up for it.
    #[error("--registry {0:?} is not a usable URL: {1}")]
    Address(String, String),
    /// The credential has other characters than a header may hold.
    #[error("the gateway token must be 64 hexadecimal digits")]
    Credential,
}

/// Who asks.
#[derive(Clone, Copy)]
enum Credential<'a> {
    /// The gateway itself.
    Gateway,
    /// A member, by the token it sent us.
    Bearer(&'a str),
    /// Nobody: the request carries its proof.
    None,
}

/// The registry.
pub struct RegistryClient {
    channels: Vec<Channel>,
    next: AtomicUsize,
    credential: MetadataValue<Ascii>,
    grace: Mutex<Grace>,
    clock: Clock,
}

macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident, $client:ident . $method:ident,
       $request:ty => $response:ty, $credential:ident $(($bearer:ident))?;)*) => {$(
        $(#[$doc])*
        pub async fn $name(
            &self,
            $($bearer: &str,)?
            request: $request,
        ) -> Result<$response, RpcError> {
            let credential = Credential::$credential $(($bearer))?;
            self.call(credential, request, |channel, request| async move {
                let client = $client::new(channel);
                let mut client = client.max_decoding_message_size(REGISTRY_ANSWER_LEN_MAX);
                client.$method(request).await
            })
            .await
        }
    )*};
}

impl RegistryClient {
    /// Connects when first asked. `ca` is the PEM certificate an https registry is trusted by.
    pub fn new(
        url: &str,
        ca: Option<&[u8]>,
        token: &str,
        last_answer_ms: Option<u64>,
        clock: Clock,
    ) -> Result<Self, ClientError> {
        let is_secret = token.len() == 64 && token.bytes().all(|b| b.is_ascii_hexdigit());
        let credential = MetadataValue::try_from(format!("Gateway {token}"));
        let mut credential = match credential {
            Ok(credential) if is_secret => credential,
            _ => return Err(ClientError::Credential),
        };
        credential.set_sensitive(true);
        let channels = (0..REGISTRY_CHANNELS).map(|_| Ok(endpoint(url, ca)?.connect_lazy()));
        Ok(Self {
            channels: channels.collect::<Result<_, ClientError>>()?,
            next: AtomicUsize::new(0),
            credential,
            grace: Mutex::new(Grace::new(last_answer_ms)),
            clock,
        })
    }

    calls! {
        /// Passes on a request for a challenge.
        get_challenge, AuthServiceClient.get_challenge,
            auth::GetChallengeRequest => auth::GetChallengeResponse, None;
        /// Passes on a signed challenge.
        create_token, AuthServiceClient.create_token,
            auth::CreateTokenRequest => auth::CreateTokenResponse, None;
        /// The keys tokens are signed with.
        list_token_keys, AuthServiceClient.list_token_keys,
            auth::ListTokenKeysRequest => auth::ListTokenKeysResponse, Gateway;
        /// Passes on a request to join.
        join, RegistryServiceClient.join,
            registry::JoinRequest => registry::JoinResponse, None;
        /// A network's signed lists.
        get_network, RegistryServiceClient.get_network,
            registry::GetNetworkRequest => registry::GetNetworkResponse, Gateway;
        /// A device's chain.
        get_device, RegistryServiceClient.get_device,
            registry::GetDeviceRequest => registry::GetDeviceResponse, Gateway;
        /// Tells of opened and closed sockets.
        report_sockets, RegistryServiceClient.report_sockets,
            registry::ReportSocketsRequest => registry::ReportSocketsResponse, Gateway;
        /// Passes on an announce.
        announce, RegistryServiceClient.announce,
            registry::AnnounceRequest => registry::AnnounceResponse, Bearer(token);
        /// Passes on a look-up of one user.
        get_peer, RegistryServiceClient.get_peer,
            registry::GetPeerRequest => registry::GetPeerResponse, Bearer(token);
        /// Passes on a request for a page of users.
        list_active_peers, RegistryServiceClient.list_active_peers,
            registry::ListActivePeersRequest => registry::ListActivePeersResponse, Bearer(token);
        /// Passes on a coordinator's heartbeat.
        heartbeat, CoordinatorServiceClient.heartbeat,
            coordinator::HeartbeatRequest => coordinator::HeartbeatResponse, Bearer(token);
        /// Passes on a request for the coordinators that live.
        list_coordinators, CoordinatorServiceClient.list_coordinators,
            coordinator::ListCoordinatorsRequest => coordinator::ListCoordinatorsResponse,
            Bearer(token);
    }

    /// What is known of the registry's health.
    pub fn grace(&self) -> Grace {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Grace> {
        self.grace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn call<T, R, F>(
        &self,
        credential: Credential<'_>,
        message: T,
        send: impl FnOnce(Channel, Request<T>) -> F,
    ) -> Result<R, RpcError>
    where
        F: Future<Output = Result<Response<R>, Status>>,
    {
        if !self.lock().may_ask(self.clock.now()) {
            return Err(RpcError::unavailable());
        }
        let mut request = Request::new(message);
        if let Some(value) = self.authorization(credential)? {
            request.metadata_mut().insert("authorization", value);
        }
        let index = self.next.fetch_add(1, Ordering::Relaxed) % self.channels.len();
        let answer = send(self.channels[index].clone(), request);
        let answer = timeout(Duration::from_millis(REGISTRY_TIMEOUT_MS), answer).await;
        let settled = self.settle(self.clock.now(), answer.ok());
        let refused = settled
            .as_ref()
            .is_err_and(|e: &RpcError| e.code == ErrorCode::Unauthenticated);
        if refused && matches!(credential, Credential::Gateway) {
            tracing::error!("the registry refuses the gateway's token; see --gateway-token-file");
        }
        settled
    }

    fn authorization(
        &self,
        credential: Credential<'_>,
    ) -> Result<Option<MetadataValue<Ascii>>, RpcError> {
        match credential {
            Credential::Gateway => Ok(Some(self.credential.clone())),
            Credential::None => Ok(None),
            Credential::Bearer(token) => {
                let value = MetadataValue::try_from(format!("Bearer {token}"));
                let mut value = value.map_err(|_| RpcError {
                    code: ErrorCode::Unauthenticated,
                    detail: "the token is malformed".into(),
                })?;
                value.set_sensitive(true);
                Ok(Some(value))
            }
        }
    }

    fn answered(&self, now: Now) {
        if self.lock().answered(now) {
            tracing::info!("the registry answers again");
        }
    }

    /// Notes whether the registry answered, and turns a status into an error.
    fn settle<R>(
        &self,
        now: Now,
        answer: Option<Result<Response<R>, Status>>,
    ) -> Result<R, RpcError> {
        let status = match answer {
            Some(Ok(response)) => {
                self.answered(now);
                return Ok(response.into_inner());
            }
            Some(Err(status)) => status,
            None => Status::deadline_exceeded("no answer in time"),
        };
        let named = status
            .metadata()
            .get("beeline-code")
            .and_then(|v| v.to_str().ok());
        if let Some(code) = named.and_then(ErrorCode::from_name) {
            self.answered(now);
            let detail = status.message().to_owned();
            return Err(RpcError { code, detail });
        }
        match bare_code(status.code()) {
            Some(code) => {
                self.answered(now);
                Err(RpcError {
                    code,
                    detail: code.title().to_owned(),
                })
            }
            None => {
                if self.lock().failed(now) {
                    tracing::warn!(code = ?status.code(), "the registry does not answer");
                }
                Err(RpcError::unavailable())
            }
        }
    }
}

/// The shared code of a status without one; `None` where the registry itself has not spoken.
fn bare_code(code: Code) -> Option<ErrorCode> {
    match code {
        Code::InvalidArgument => Some(ErrorCode::InvalidArgument),
        Code::Unauthenticated => Some(ErrorCode::Unauthenticated),
        Code::PermissionDenied => Some(ErrorCode::PermissionDenied),
        Code::NotFound => Some(ErrorCode::NotFound),
        Code::AlreadyExists => Some(ErrorCode::AlreadyExists),
        Code::OutOfRange => Some(ErrorCode::TooLarge),
        Code::ResourceExhausted => Some(ErrorCode::RateLimited),
        Code::Unimplemented => Some(ErrorCode::Unimplemented),
        Code::FailedPrecondition | Code::Aborted => Some(ErrorCode::Conflict),
        Code::DataLoss => Some(ErrorCode::Internal),
        _ => None,
    }
}

fn endpoint(url: &str, ca: Option<&[u8]>) -> Result<Endpoint, ClientError> {
    let wrong =
        |error: &dyn std::fmt::Display| ClientError::Address(url.to_owned(), error.to_string());
    let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|error| wrong(&error))?;
    let mut endpoint = endpoint
        .connect_timeout(Duration::from_millis(REGISTRY_CONNECT_TIMEOUT_MS))
        .timeout(Duration::from_millis(REGISTRY_TIMEOUT_MS))
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(5));
    if url.starts_with("https://") {
        let pem = ca.ok_or_else(|| wrong(&"https needs --registry-ca"))?;
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem));
        endpoint = endpoint.tls_config(tls).map_err(|error| wrong(&error))?;
    }
    Ok(endpoint)
}
