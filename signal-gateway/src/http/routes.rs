//! Every route of the gateway, once: the router and the OpenAPI document are both made from it.

use crate::http::problem::{self, Problem};
use crate::http::rest::{self, App};
use crate::http::upgrade;
use crate::limits::{BODY_LEN_MAX, URI_LEN_MAX};
use crate::metrics::RequestLabels;
use crate::signalling::Signalling;
use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, MatchedPath, Path, Request, State};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state, map_response};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, get, post};
use beeline_proto::code::ErrorCode;
use std::sync::Arc;
use std::time::Duration;
use tower_http::cors::{AllowOrigin, CorsLayer};

/// One route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Route {
    /// Users online, in pages.
    ActivePeers,
    /// Takes a lease on presence.
    Announce,
    /// One user.
    Peer,
    /// Coordinators that live.
    Coordinators,
    /// A coordinator's heartbeat.
    Heartbeat,
    /// A challenge for a token.
    Challenge,
    /// A token.
    Token,
    /// Makes an invite's holder a member.
    Join,
    /// STUN and TURN servers.
    IceServers,
    /// Token keys (RFC 7517).
    Jwks,
    /// This interface, described.
    OpenApi,
    /// Whether the process lives.
    Healthz,
    /// Whether it can serve.
    Readyz,
    /// A page for people who open an invite link.
    JoinPage,
    /// The signalling socket.
    Socket,
}

impl Route {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::ActivePeers,
        Self::Announce,
        Self::Peer,
        Self::Coordinators,
        Self::Heartbeat,
        Self::Challenge,
        Self::Token,
        Self::Join,
        Self::IceServers,
        Self::Jwks,
        Self::OpenApi,
        Self::Healthz,
        Self::Readyz,
        Self::JoinPage,
        Self::Socket,
    ];

    /// Its path, with parameters in braces.
    pub fn path(self) -> &'static str {
        match self {
            Self::ActivePeers => "/network/{networkId}/active-peers",
            Self::Announce => "/network/{networkId}/announce",
            Self::Peer => "/network/{networkId}/peer/{userId}",
            Self::Coordinators => "/network/{networkId}/coordinators",
            Self::Heartbeat => "/coordinator/heartbeat",
            Self::Challenge => "/auth/challenge",
            Self::Token => "/auth/token",
            Self::Join => "/network/{networkId}/join",
            Self::IceServers => "/network/{networkId}/ice-servers",
            Self::Jwks => "/.well-known/jwks.json",
            Self::OpenApi => "/openapi.json",
            Self::Healthz => "/healthz",
            Self::Readyz => "/readyz",
            Self::JoinPage => "/join",
            Self::Socket => "/{deviceId}",
        }
    }

    /// Its method.
    pub fn method(self) -> Method {
        match self {
            Self::Announce | Self::Heartbeat | Self::Challenge | Self::Token | Self::Join => {
                Method::POST
            }
            _ => Method::GET,
        }
    }

    fn handler(self) -> MethodRouter<Arc<App>> {
        match self {
            Self::ActivePeers => get(rest::active_peers),
            Self::Announce => post(rest::announce),
            Self::Peer => get(rest::peer),
            Self::Coordinators => get(rest::coordinators),
            Self::Heartbeat => post(rest::heartbeat),
            Self::Challenge => post(rest::challenge),
            Self::Token => post(rest::token),
            Self::Join => post(rest::join),
            Self::IceServers => get(rest::ice_servers),
            Self::Jwks => get(rest::jwks),
            Self::OpenApi => get(rest::openapi),
            Self::Healthz => get(rest::healthz),
            Self::Readyz => get(rest::readyz),
            Self::JoinPage => get(rest::join_page),
            Self::Socket => get(rest::socket),
        }
    }
}

/// The router with what surrounds every route.
pub fn router(app: Arc<App>) -> Router {
    let add = |router: Router<Arc<App>>, route: Route| router.route(route.path(), route.handler());
    let routes = Route::ALL.into_iter().fold(Router::new(), add);
    let (signalling, tls) = (Arc::clone(&app.signalling), app.tls);
    surround(routes.with_state(app), signalling, tls)
}

/// The routes of a server that does nothing but signalling: the socket, and whether it lives.
pub fn signalling_router(signalling: Arc<Signalling>, tls: bool) -> Router {
    let socket = |State(signalling): State<Arc<Signalling>>,
                  Path(device): Path<String>,
                  request| async move {
        upgrade::upgrade(signalling, &device, request).await
    };
    let routes = Router::new()
        .route(Route::Healthz.path(), get(rest::healthz))
        .route(Route::Socket.path(), get(socket))
        .with_state(Arc::clone(&signalling));
    surround(routes, signalling, tls)
}

/// What surrounds every route, outermost last.
fn surround(routes: Router, signalling: Arc<Signalling>, tls: bool) -> Router {
    let cors = cors(&signalling.web_origins);
    routes
        .layer(DefaultBodyLimit::max(BODY_LEN_MAX))
        .layer(from_fn_with_state(signalling, limit_and_count))
        .layer(map_response(problem::enforce))
        .layer(cors)
        .layer(from_fn_with_state(tls, harden))
        .layer(from_fn(refuse_long_uris))
}

async fn refuse_long_uris(request: Request, next: Next) -> Response {
    let target = request
        .uri()
        .path_and_query()
        .map_or(0, |target| target.as_str().len());
    if target > URI_LEN_MAX {
        let text = "a request target is at most 2 KiB";
        let problem = Problem::new(ErrorCode::TooLarge, text).status(StatusCode::URI_TOO_LONG);
        return problem.into_response();
    }
    next.run(request).await
}

/// A deadline for the whole request, and a count by route and status.
async fn limit_and_count(
    State(signalling): State<Arc<Signalling>>,
    path: Option<MatchedPath>,
    request: Request<Body>,
    next: Next,
) -> Response {
    let limit = Duration::from_millis(signalling.limits.connections.request_ms);
    let response = match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(ErrorCode::Timeout, "the request took too long").into_response(),
    };
    let labels = RequestLabels {
        route: path.map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned()),
        status: response.status().as_u16(),
    };
    signalling.metrics.requests.get_or_create(&labels).inc();
    response
}

/// Headers of every answer: nothing is cached unless a handler says so, nothing is sniffed.
async fn harden(State(tls): State<bool>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if tls {
        let year = HeaderValue::from_static("max-age=31536000");
        headers.insert(STRICT_TRANSPORT_SECURITY, year);
    }
    response
}

/// Pages of the allow-list may call the REST edge; no cookies are ever involved.
fn cors(web_origins: &[String]) -> CorsLayer {
    let origins = web_origins
        .iter()
        .filter_map(|o| HeaderValue::from_str(o).ok());
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([AUTHORIZATION, CONTENT_TYPE])
        .max_age(Duration::from_secs(600))
}
