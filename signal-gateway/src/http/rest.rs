//! The REST edge: checks the caller's token here, for a fast 401, and passes requests on to the
//! registry, which decides. Bodies and answers are the proto3 JSON of the schema's messages.

use crate::authority::registry::RegistryAuthority;
use crate::authority::{Authority as _, Identity};
use crate::core::connections::Origin;
use crate::core::ice_servers::{self, IceConfig};
use crate::core::quota::Table;
use crate::http::accept::Peer;
use crate::http::openapi as document;
use crate::http::problem::Problem;
use crate::http::upgrade;
use crate::limits::CALLERS_MAX;
use crate::signalling::Signalling;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Path, Query, Request, State};
use axum::http::HeaderMap;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use beeline_proto::code::ErrorCode;
use beeline_proto::id::{DeviceFp, Label};
use beeline_proto::pb::auth::v1 as auth;
use beeline_proto::pb::coordinator::v1 as coordinator;
use beeline_proto::pb::registry::v1 as registry;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, PoisonError};

/// What the handlers share.
pub struct App {
    /// The sockets' side.
    pub signalling: Arc<Signalling>,
    /// Who vouches, with the registry behind.
    pub authority: Arc<RegistryAuthority>,
    /// STUN and TURN.
    pub ice: IceConfig,
    /// Whether the listener speaks TLS.
    pub tls: bool,
    /// Requests per device.
    requests: Mutex<Table<DeviceFp>>,
    /// TURN credentials per device.
    ice_issues: Mutex<Table<DeviceFp>>,
    /// Challenges and tokens per address and device.
    challenges: Mutex<Table<(Origin, String)>>,
    /// Challenges, tokens and joins per address.
    addresses: Mutex<Table<Origin>>,
}

type Answer<T> = Result<Json<T>, Problem>;

/// A caller whose token holds.
struct Caller<'a> {
    token: &'a str,
    identity: Identity,
}

impl App {
    /// With everybody's rates untouched.
    pub fn new(
        signalling: Arc<Signalling>,
        authority: Arc<RegistryAuthority>,
        ice: IceConfig,
        tls: bool,
    ) -> Self {
        let limits = signalling.limits;
        Self {
            signalling,
            authority,
            ice,
            tls,
            requests: Mutex::new(Table::new(limits.request_rate, CALLERS_MAX)),
            ice_issues: Mutex::new(Table::new(limits.ice_rate, CALLERS_MAX)),
            challenges: Mutex::new(Table::new(limits.challenge_rate, CALLERS_MAX)),
            addresses: Mutex::new(Table::new(limits.address_rate, CALLERS_MAX)),
        }
    }

    /// The caller of a request, within its rate.
    async fn caller<'a>(&self, headers: &'a HeaderMap, peer: &Peer) -> Result<Caller<'a>, Problem> {
        const MISSING: &str = "send Authorization: Bearer with a token of POST /auth/token";
        let missing = Problem::new(ErrorCode::Unauthenticated, MISSING);
        let token = upgrade::bearer(headers)?.ok_or(missing)?;
        let identity = self.authority.verify_token(token).await?;
        peer.authenticated();
        take(&self.requests, identity.device, self.now_ms())?;
        Ok(Caller { token, identity })
    }

    /// The caller, of the network in the path.
    async fn member<'a>(
        &self,
        headers: &'a HeaderMap,
        peer: &Peer,
        network_id: &str,
    ) -> Result<Caller<'a>, Problem> {
        let caller = self.caller(headers, peer).await?;
        if &*caller.identity.network_label != network_id {
            // The same whether the other network exists or not.
            let text = "the token is for another network";
            return Err(Problem::new(ErrorCode::PermissionDenied, text));
        }
        Ok(caller)
    }

    /// A place in the rate of an address without a token.
    fn stranger(&self, peer: &Peer) -> Result<(), Problem> {
        if !self.is_counted(peer) {
            return Ok(());
        }
        take(&self.addresses, Origin::of(peer.ip()), self.now_ms())
    }

    /// The same, and in the rate of the device that it says it is, at that address.
    fn stranger_as(&self, peer: &Peer, network: &str, device: &str) -> Result<(), Problem> {
        // Only names are kept: nobody chooses how long a key is.
        let invalid = |error: beeline_proto::id::LabelError| {
            Problem::new(ErrorCode::InvalidArgument, error.to_string())
        };
        let network = Label::new(network).map_err(invalid)?;
        let device = Label::new(device).map_err(invalid)?;
        self.stranger(peer)?;
        if !self.is_counted(peer) {
            return Ok(());
        }
        let key = (Origin::of(peer.ip()), format!("{network}/{device}"));
        take(&self.challenges, key, self.now_ms())
    }

    fn is_counted(&self, peer: &Peer) -> bool {
        let limits = self.signalling.limits.connections;
        limits.count_loopback || !peer.ip().to_canonical().is_loopback()
    }

    fn now_ms(&self) -> u64 {
        self.signalling.clock.now().mono_ms
    }
}

fn take<K: Ord>(table: &Mutex<Table<K>>, key: K, now_ms: u64) -> Result<(), Problem> {
    let taken = table
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take(key, now_ms);
    taken.map_err(Problem::rate_limited)
}

/// Reads a body as the proto3 JSON of a message.
fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        let text = format!("the body is not the JSON this resource takes: {error}");
        Problem::new(ErrorCode::InvalidArgument, text)
    })
}

/// The networkId of a path; a body that names another is refused.
fn label(path: String, body: &str) -> Result<String, Problem> {
    let checked = Label::new(&path);
    checked.map_err(|error| Problem::new(ErrorCode::InvalidArgument, error.to_string()))?;
    if !body.is_empty() && body != path {
        let text = "networkId in the body is not the one of the path";
        return Err(Problem::new(ErrorCode::InvalidArgument, text));
    }
    Ok(path)
}

/// Page of a listing.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Page {
    #[serde(default)]
    page_size: u32,
    #[serde(default)]
    page_token: String,
}

/// `GET /network/{networkId}/active-peers`
pub async fn active_peers(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    Path(network_id): Path<String>,
    Query(page): Query<Page>,
    headers: HeaderMap,
) -> Answer<registry::ListActivePeersResponse> {
    let network_id = label(network_id, "")?;
    let caller = app.member(&headers, &peer, &network_id).await?;
    let request = registry::ListActivePeersRequest {
        network_id,
        page_size: page.page_size,
        page_token: page.page_token,
    };
    Ok(Json(
        app.authority
            .client()
            .list_active_peers(caller.token, request)
            .await?,
    ))
}

/// `POST /network/{networkId}/announce`
pub async fn announce(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    Path(network_id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer<registry::AnnounceResponse> {
    let network_id = label(network_id, "")?;
    let caller = app.member(&headers, &peer, &network_id).await?;
    let mut request: registry::AnnounceRequest = read(&body)?;
    request.network_id = label(network_id, &request.network_id)?;
    Ok(Json(
        app.authority
            .client()
            .announce(caller.token, request)
            .await?,
    ))
}

/// `GET /network/{networkId}/peer/{userId}`
pub async fn peer(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    Path((network_id, user_id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer<registry::Peer> {
    let network_id = label(network_id, "")?;
    let user_id = label(user_id, "")?;
    let caller = app.member(&headers, &peer, &network_id).await?;
    let request = registry::GetPeerRequest {
        network_id,
        user_id,
    };
    let answer = app
        .authority
        .client()
        .get_peer(caller.token, request)
        .await?;
    let missing = Problem::new(ErrorCode::NotFound, "no such user in this network");
    answer.peer.map(Json).ok_or(missing)
}

/// `GET /network/{networkId}/coordinators`
pub async fn coordinators(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    Path(network_id): Path<String>,
    Query(page): Query<Page>,
    headers: HeaderMap,
) -> Answer<coordinator::ListCoordinatorsResponse> {
    let network_id = label(network_id, "")?;
    let caller = app.member(&headers, &peer, &network_id).await?;
    let request = coordinator::ListCoordinatorsRequest {
        network_id,
        page_size: page.page_size,
    };
    Ok(Json(
        app.authority
            .client()
            .list_coordinators(caller.token, request)
            .await?,
    ))
}

/// `POST /coordinator/heartbeat`
pub async fn heartbeat(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer<coordinator::HeartbeatResponse> {
    let caller = app.caller(&headers, &peer).await?;
    let mut request: coordinator::HeartbeatRequest = read(&body)?;
    let own = &caller.identity.network_label;
    if request.network_id.is_empty() {
        request.network_id = own.to_string();
    } else if *request.network_id != **own {
        let text = "the token is for another network";
        return Err(Problem::new(ErrorCode::PermissionDenied, text));
    }
    Ok(Json(
        app.authority
            .client()
            .heartbeat(caller.token, request)
            .await?,
    ))
}

/// `POST /auth/challenge`
pub async fn challenge(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    body: Bytes,
) -> Answer<auth::GetChallengeResponse> {
    let request: auth::GetChallengeRequest = read(&body)?;
    app.stranger_as(&peer, &request.network_id, &request.device_id)?;
    Ok(Json(app.authority.client().get_challenge(request).await?))
}

/// `POST /auth/token`
pub async fn token(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    body: Bytes,
) -> Answer<auth::CreateTokenResponse> {
    let request: auth::CreateTokenRequest = read(&body)?;
    app.stranger_as(&peer, &request.network_id, &request.device_id)?;
    Ok(Json(app.authority.client().create_token(request).await?))
}

/// `POST /network/{networkId}/join`
pub async fn join(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    Path(network_id): Path<String>,
    body: Bytes,
) -> Answer<registry::JoinResponse> {
    let network_id = label(network_id, "")?;
    app.stranger(&peer)?;
    let mut request: registry::JoinRequest = read(&body)?;
    request.network_id = label(network_id, &request.network_id)?;
    Ok(Json(app.authority.client().join(request).await?))
}

/// `GET /network/{networkId}/ice-servers`
pub async fn ice_servers(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    Path(network_id): Path<String>,
    headers: HeaderMap,
) -> Answer<ice_servers::IceServers> {
    let network_id = label(network_id, "")?;
    let caller = app.member(&headers, &peer, &network_id).await?;
    take(&app.ice_issues, caller.identity.device, app.now_ms())?;
    // Credentials outlive the request: a revoked device gets none.
    let identity = app.authority.confirm(caller.identity).await?;
    let wall_ms = app.signalling.clock.now().wall_ms;
    Ok(Json(ice_servers::for_device(
        &app.ice,
        &identity.device_label,
        wall_ms,
    )))
}

/// A JSON Web Key of an Ed25519 public key (RFC 8037 §2).
#[derive(Serialize)]
struct Jwk {
    kty: &'static str,
    crv: &'static str,
    x: String,
    kid: String,
    r#use: &'static str,
    alg: &'static str,
}

/// `GET /.well-known/jwks.json` (RFC 7517 §5)
pub async fn jwks(State(app): State<Arc<App>>) -> Response {
    let keys = app.authority.jwks().into_iter().map(|(kid, x)| Jwk {
        kty: "OKP",
        crv: "Ed25519",
        x,
        kid,
        r#use: "sig",
        alg: "EdDSA",
    });
    let set = serde_json::json!({ "keys": keys.collect::<Vec<_>>() });
    ([(CACHE_CONTROL, "public, max-age=60")], Json(set)).into_response()
}

/// `GET /openapi.json`
pub async fn openapi() -> Response {
    (
        [(CACHE_CONTROL, "public, max-age=60")],
        Json(document::document()),
    )
        .into_response()
}

/// `GET /healthz`
pub async fn healthz() -> Json<serde_json::Value> {
    Json(serde_json::json!({ "status": "ok" }))
}

/// `GET /readyz`
pub async fn readyz(State(app): State<Arc<App>>) -> Answer<serde_json::Value> {
    let grace = app.authority.client().grace();
    if !grace.is_down() && app.authority.has_keys() {
        return Ok(Json(serde_json::json!({ "status": "ready" })));
    }
    if grace.holds(app.signalling.clock.now()) {
        return Ok(Json(serde_json::json!({ "status": "grace" })));
    }
    Err(Problem::new(
        ErrorCode::Unavailable,
        "the registry has not been reached",
    ))
}

const JOIN_PAGE: &str = include_str!("join.html");

/// `GET /join`: where an invite link leads in a browser. The fragment stays there.
pub async fn join_page() -> Response {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'",
        ),
    ];
    (headers, JOIN_PAGE).into_response()
}

/// `GET /{deviceId}`
pub async fn socket(
    State(app): State<Arc<App>>,
    Path(device_id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    upgrade::upgrade(Arc::clone(&app.signalling), &device_id, request).await
}
