//! The REST client: JSON over HTTP to the gateways of the network, the first that answers; and gRPC
//! to its registries for the three calls that REST does not offer.
//!
//! A token is asked for when one is needed, sent only to the origin it was asked at and only if
//! the network's descriptor names that origin, and renewed before it ends. It never stands in a
//! URL.

mod grpc;
mod http;
mod token;

pub use token::Token;

use crate::error::{QueryError, RestError, TlsError};
use crate::home::Home;
use crate::identity::Identity;
use crate::options::Options;
use crate::rtc::IceServer;
use crate::tls;
use beeline_proto::chain::VerifiedChain;
use beeline_proto::code::ErrorCode;
use beeline_proto::id::Label;
use beeline_proto::origin::normalize;
use beeline_proto::pb::coordinator::v1 as coordinator;
use beeline_proto::pb::registry::v1 as registry;
use client_core::input::{RegistryAnswer, RegistryCoordinator, RegistryError, RegistryPeer};
use client_core::output::RegistryCall;
use grpc::Grpc;
use http::{Http, Method};
use serde::Deserialize;
use std::sync::Arc;
use token::Tokens;
use tokio_util::sync::CancellationToken;

/// Where the gateways are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateways {
    /// Origins to dial, the first tried first.
    pub dial: Vec<String>,
    /// Origins the descriptor names, normalized: tokens go nowhere else.
    pub named: Vec<String>,
    /// Origins of the registries' gRPC, for what REST does not offer.
    pub registries: Vec<String>,
}

impl Gateways {
    /// From the gateways of the invite link and the newest chain: what the link says and the
    /// descriptor confirms comes first, then the descriptor's others. A descriptor that names none
    /// leaves the link's.
    pub fn of(link: &[String], chain: &VerifiedChain) -> Self {
        let payload = chain.descriptor.verified.payload();
        let origins = payload.gateway_origins.iter();
        let named: Vec<String> = origins.filter_map(|o| normalize(o)).collect();
        let dial = dial_order(link, &named);
        let registries = payload.registry_origins.iter();
        Self {
            dial,
            named,
            registries: registries.filter_map(|o| normalize(o)).collect(),
        }
    }
}

/// The gateways of the link that the descriptor confirms, then the descriptor's others.
fn dial_order(link: &[String], named: &[String]) -> Vec<String> {
    let link = link.iter().filter_map(|g| normalize(g));
    let mut dial: Vec<String> = link
        .filter(|g| named.is_empty() || named.contains(g))
        .collect();
    for origin in named {
        if !dial.contains(origin) {
            dial.push(origin.clone());
        }
    }
    dial
}

/// Asks the gateways.
pub struct Rest {
    http: Http,
    grpc: Grpc,
    gateways: Gateways,
    network: Label,
    tokens: Arc<Tokens>,
    /// Ends the requests under way: the network they were sent on is gone.
    left: CancellationToken,
}

impl Rest {
    /// A client for one identity.
    pub fn new(
        identity: Arc<Identity>,
        gateways: Gateways,
        tls: &Arc<rustls::ClientConfig>,
    ) -> Self {
        let network = identity.network_label.clone();
        Self {
            http: Http::new(tls),
            grpc: Grpc::new(tls),
            gateways,
            network,
            tokens: Arc::new(Tokens::new(identity)),
            left: CancellationToken::new(),
        }
    }

    /// The same client on another network: new connections, the tokens it has. Requests under way
    /// on this one end as unreachable.
    pub fn leave(&self, tls: &Arc<rustls::ClientConfig>) -> Self {
        self.left.cancel();
        Self {
            http: Http::new(tls),
            grpc: Grpc::new(tls),
            gateways: self.gateways.clone(),
            network: self.network.clone(),
            tokens: Arc::clone(&self.tokens),
            left: CancellationToken::new(),
        }
    }

    /// Does `what`, unless the network is left before it is done.
    async fn here<A>(
        &self,
        what: impl Future<Output = Result<A, RestError>>,
    ) -> Result<A, RestError> {
        tokio::select! {
            done = what => done,
            () = self.left.cancelled() => {
                Err(RestError::Unreachable("the network changed".to_owned()))
            }
        }
    }

    /// Carries out one request of the core.
    ///
    /// # Errors
    /// As the core wants them.
    pub async fn call(&self, call: &RegistryCall) -> Result<RegistryAnswer, RegistryError> {
        let called = self.here(self.try_call(call)).await;
        called.map_err(|error| match error {
            // The gateway says it of the registry behind it: that is no answer of the registry.
            RestError::Refused { code, detail, .. } if !answers(code) => {
                RegistryError::Unreachable { detail }
            }
            RestError::Refused { code, detail, .. } => RegistryError::Refused { code, detail },
            other => RegistryError::Unreachable {
                detail: other.to_string(),
            },
        })
    }

    async fn try_call(&self, call: &RegistryCall) -> Result<RegistryAnswer, RestError> {
        let network = self.network.as_str();
        match call {
            RegistryCall::GetPeer { user } => {
                let path = format!("/network/{network}/peer/{user}");
                let peer: registry::Peer = self.ask(Method::Get, &path, &()).await?;
                Ok(RegistryAnswer::Peer(RegistryPeer {
                    chain: peer.chain,
                    online: peer.online,
                    records: records(peer.devices),
                    last_coordinators: peer.last_coordinators,
                }))
            }
            RegistryCall::Announce {
                record,
                coordinators,
            } => {
                let body = registry::AnnounceRequest {
                    network_id: network.to_owned(),
                    record: record.clone(),
                    coordinators: coordinators.iter().map(Label::to_string).collect(),
                };
                let path = format!("/network/{network}/announce");
                let lease: registry::AnnounceResponse =
                    self.ask(Method::Post, &path, &body).await?;
                let versions = lease.versions.unwrap_or_default();
                Ok(RegistryAnswer::Announced {
                    reannounce_after_s: lease.reannounce_after,
                    descriptor_version: versions.descriptor,
                    revocations_version: versions.revocations,
                })
            }
            RegistryCall::Heartbeat { .. } => self.heartbeat(call).await,
            RegistryCall::ListCoordinators => {
                let path = format!("/network/{network}/coordinators");
                let list: coordinator::ListCoordinatorsResponse =
                    self.ask(Method::Get, &path, &()).await?;
                let coordinators = list.coordinators.into_iter().map(|c| RegistryCoordinator {
                    chain: c.chain,
                    record: c.record,
                    load: c.load,
                    capacity: c.capacity,
                });
                Ok(RegistryAnswer::Coordinators(coordinators.collect()))
            }
            RegistryCall::GetNetwork
            | RegistryCall::RenewMembership
            | RegistryCall::PutDeviceList { .. } => {
                let token = self.token().await?;
                let registries = &self.gateways.registries;
                self.grpc.ask(registries, network, call, &token).await
            }
        }
    }

    async fn heartbeat(&self, call: &RegistryCall) -> Result<RegistryAnswer, RestError> {
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
            return Err(nowhere());
        };
        let body = coordinator::HeartbeatRequest {
            network_id: self.network.to_string(),
            load: *load,
            capacity: *capacity,
            connected: connected.iter().map(Label::to_string).collect(),
            disconnected: disconnected.iter().map(Label::to_string).collect(),
            full: *full,
            epoch: *epoch,
            seq: *seq,
        };
        let taken: coordinator::HeartbeatResponse = self
            .ask(Method::Post, "/coordinator/heartbeat", &body)
            .await?;
        Ok(RegistryAnswer::HeartbeatTaken {
            next_s: taken.next_heartbeat_s,
            want_full: taken.want_full,
        })
    }

    /// The STUN and TURN servers of the network, and for how many seconds they are good.
    ///
    /// # Errors
    /// [`RestError`].
    pub async fn ice_servers(&self) -> Result<(Vec<IceServer>, u64), RestError> {
        let path = format!("/network/{}/ice-servers", self.network);
        let asked = self.ask(Method::Get, &path, &());
        let answer: IceAnswer = self.here(asked).await?;
        let servers = answer.ice_servers.into_iter().map(|server| IceServer {
            urls: server.urls,
            username: server.username,
            credential: server.credential,
        });
        Ok((servers.collect(), answer.ttl))
    }

    /// A bearer token for the first gateway that gives one.
    ///
    /// # Errors
    /// [`RestError`].
    pub async fn token(&self) -> Result<Token, RestError> {
        let mut last = nowhere();
        for origin in &self.gateways.named {
            match self.tokens.get(&self.http, origin).await {
                Err(RestError::Unreachable(why)) => last = RestError::Unreachable(why),
                other => return other,
            }
        }
        Err(last)
    }

    /// Asks each gateway in turn until one can be reached.
    async fn ask<A: serde::de::DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl serde::Serialize,
    ) -> Result<A, RestError> {
        let body = match method {
            Method::Get => Vec::new(),
            Method::Post => http::encode(body)?,
        };
        let mut last = nowhere();
        for origin in &self.gateways.dial {
            match self.ask_one(origin, method, path, &body).await {
                Err(error) if error.is_elsewhere_better() => last = error,
                other => return other,
            }
        }
        Err(last)
    }

    async fn ask_one<A: serde::de::DeserializeOwned>(
        &self,
        origin: &str,
        method: Method,
        path: &str,
        body: &[u8],
    ) -> Result<A, RestError> {
        if !self.gateways.named.iter().any(|named| named == origin) {
            let why = format!("{origin} is not a gateway of this network");
            return Err(RestError::Unreachable(why));
        }
        let token = self.tokens.get(&self.http, origin).await?;
        let first = self
            .http
            .send(origin, method, path, body, Some(&token))
            .await;
        match first {
            // The registry may have new token keys: one new token, then the answer stands.
            Err(RestError::Refused {
                code: ErrorCode::Unauthenticated,
                ..
            }) => {
                self.tokens.forget(origin);
                let token = self.tokens.get(&self.http, origin).await?;
                self.http
                    .send(origin, method, path, body, Some(&token))
                    .await
            }
            other => other,
        }
    }
}

/// Whether a refusal with this code is the registry's word on the request.
fn answers(code: ErrorCode) -> bool {
    !matches!(
        code,
        ErrorCode::Unavailable | ErrorCode::Timeout | ErrorCode::Internal
    )
}

fn nowhere() -> RestError {
    RestError::Unreachable("the network names no gateway".to_owned())
}

fn records(devices: Vec<registry::PeerDevice>) -> Vec<Vec<u8>> {
    let records = devices.into_iter().map(|device| device.record);
    records.filter(|record| !record.is_empty()).collect()
}

/// The answer to `/ice-servers`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct IceAnswer {
    #[serde(default)]
    ice_servers: Vec<IceServerJson>,
    #[serde(default)]
    ttl: u64,
}

/// One entry of it, as W3C `RTCIceServer`.
#[derive(Debug, Deserialize)]
struct IceServerJson {
    #[serde(default)]
    urls: Vec<String>,
    #[serde(default)]
    username: String,
    #[serde(default)]
    credential: String,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The home cannot be used.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The identity does not verify.
    #[error("the identity in this home does not verify: {0}")]
    Chain(#[from] beeline_proto::chain::ChainError),
    /// The gateways gave none.
    #[error(transparent)]
    Rest(#[from] RestError),
}

/// A bearer token for the home of `options`, for `curl` and the like. Needs no lock: it works
/// beside a running client.
///
/// # Errors
/// [`TokenError`].
pub async fn token(options: &Options) -> Result<Token, TokenError> {
    let home = Home::at(&options.home);
    let identity = Identity::load(&home).map_err(QueryError::from)?;
    let chain = VerifiedChain::open(&identity.chain, identity.network)?;
    let gateways = Gateways::of(&identity.gateways, &chain);
    let tls = tls::client_config(options.ca.as_deref())?;
    let rest = Rest::new(Arc::new(identity), gateways, &tls);
    Ok(rest.token().await?)
}

/// Joins by `Rest`'s transport, without a token: the invite's signature is the credential.
pub(crate) async fn post_join(
    tls: &Arc<rustls::ClientConfig>,
    gateways: &[String],
    request: &registry::JoinRequest,
) -> Result<registry::JoinResponse, RestError> {
    let http = Http::new(tls);
    let path = format!("/network/{}/join", request.network_id);
    let body = http::encode(request)?;
    let mut last = nowhere();
    for gateway in gateways {
        let Some(origin) = normalize(gateway) else {
            continue;
        };
        match http.send(&origin, Method::Post, &path, &body, None).await {
            Err(error) if error.is_elsewhere_better() => last = error,
            other => return other,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests;
