//! From a request to a WebSocket (RFC 6455 §4.2): the checks of the opening handshake, of the
//! browser's `Origin`, and of a bearer token that came along. No extension is ever agreed to.

use crate::authority::Identity;
use crate::core::name::Name;
use crate::core::session::Grant;
use crate::http::accept::Peer;
use crate::http::io::Connection;
use crate::http::problem::Problem;
use crate::http::ws;
use crate::signalling::Signalling;
use axum::body::Body;
use axum::http::header::{
    AUTHORIZATION, CONNECTION, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use axum::response::{IntoResponse as _, Response};
use beeline_proto::code::ErrorCode;
use beeline_proto::id::Label;
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// The subprotocol of the signalling socket.
pub const SUBPROTOCOL: &str = "beeline";

/// What stands before a token in `Sec-WebSocket-Protocol`, where browsers put it.
const BEARER_PREFIX: &str = "bearer.";

/// Answers a request for `/{device}`.
pub async fn upgrade(
    signalling: Arc<Signalling>,
    device: &str,
    mut request: Request<Body>,
) -> Result<Response, Problem> {
    Label::new(device)
        .map_err(|error| Problem::new(ErrorCode::InvalidArgument, error.to_string()))?;
    let key = opening(request.headers())?;
    check_origin(&signalling.web_origins, request.headers())?;
    let (subprotocol, bearer) = credentials(request.headers())?;
    let granted = match bearer {
        Some(token) => Some(signalling.sign_in_bearer(&token, device).await?),
        None => None,
    };
    let peer = request.extensions().get::<Peer>().cloned();
    let (Some(peer), Some(name)) = (peer, Name::new(device)) else {
        return Err(Problem::new(
            ErrorCode::Internal,
            "the connection cannot be upgraded",
        ));
    };
    if granted.is_some() {
        peer.authenticated();
    }
    let pending = hyper::upgrade::on(&mut request);
    let task = open(Arc::clone(&signalling), name, pending, peer, granted);
    signalling.tracker.spawn(task);
    Ok(switching(&key, subprotocol))
}

/// Waits for the connection and runs the socket on it.
async fn open(
    signalling: Arc<Signalling>,
    name: Name,
    pending: hyper::upgrade::OnUpgrade,
    peer: Peer,
    granted: Option<(Identity, Grant)>,
) {
    let Ok(upgraded) = pending.await else {
        return;
    };
    // The accept loop serves nothing else, so this cannot fail; if it did, the socket just closes.
    if let Ok(parts) = upgraded.downcast::<TokioIo<Connection>>() {
        let (connection, early) = (parts.io.into_inner(), parts.read_buf);
        ws::run(signalling, name, connection, early, peer, granted).await;
    }
}

/// The key of a valid opening handshake.
fn opening(headers: &HeaderMap) -> Result<HeaderValue, Problem> {
    let has = |name: HeaderName, token: &str| {
        let values = headers
            .get_all(name)
            .into_iter()
            .filter_map(|v| v.to_str().ok());
        values
            .flat_map(|v| v.split(','))
            .any(|part| part.trim().eq_ignore_ascii_case(token))
    };
    if !has(CONNECTION, "upgrade") || !has(UPGRADE, "websocket") {
        let text = "this is a WebSocket: connect with ws:// or wss://";
        let problem = Problem::new(ErrorCode::InvalidArgument, text);
        return Err(problem.status(StatusCode::UPGRADE_REQUIRED));
    }
    let invalid = |text: &'static str| Problem::new(ErrorCode::InvalidArgument, text);
    if headers
        .get(SEC_WEBSOCKET_VERSION)
        .is_none_or(|v| v.as_bytes() != b"13")
    {
        return Err(
            invalid("Sec-WebSocket-Version must be 13").status(StatusCode::UPGRADE_REQUIRED)
        );
    }
    let key = headers
        .get(SEC_WEBSOCKET_KEY)
        .ok_or(invalid("Sec-WebSocket-Key is missing"))?;
    let nonce = data_encoding::BASE64.decode(key.as_bytes());
    if nonce.is_ok_and(|nonce| nonce.len() == 16) {
        Ok(key.clone())
    } else {
        Err(invalid("Sec-WebSocket-Key must be 16 bytes in base64"))
    }
}

/// Browsers always say whose page opens a socket; only pages of the allow-list may.
fn check_origin(allowed: &[String], headers: &HeaderMap) -> Result<(), Problem> {
    let mut origins = headers.get_all(ORIGIN).into_iter();
    let known = |origin: &HeaderValue| allowed.iter().any(|a| a.as_bytes() == origin.as_bytes());
    if origins.all(known) {
        return Ok(());
    }
    let text = "pages of this origin may not open sockets here; see --allow-origin";
    Err(Problem::new(ErrorCode::PermissionDenied, text))
}

/// Whether the subprotocol was asked for, and the token that came along, if one did.
fn credentials(headers: &HeaderMap) -> Result<(bool, Option<String>), Problem> {
    let protocols = headers.get_all(SEC_WEBSOCKET_PROTOCOL).into_iter();
    let protocols: Vec<&str> = protocols
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .map(str::trim)
        .collect();
    let in_protocol = protocols.iter().find_map(|p| p.strip_prefix(BEARER_PREFIX));
    let token = match bearer(headers)? {
        Some(token) => Some(token),
        None => in_protocol,
    };
    Ok((protocols.contains(&SUBPROTOCOL), token.map(str::to_owned)))
}

/// The token of an `Authorization: Bearer` header (RFC 6750 §2.1), if there is one header.
pub fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    const MALFORMED: &str = "Authorization must be one header: Bearer <token>";
    let mut values = headers.get_all(AUTHORIZATION).into_iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let text = value.to_str().ok().filter(|_| values.next().is_none());
    let token = text.and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme
            .eq_ignore_ascii_case("bearer")
            .then_some(token.trim())
    });
    match token {
        Some(token) => Ok(Some(token)),
        None => Err(Problem::new(ErrorCode::Unauthenticated, MALFORMED)),
    }
}

fn switching(key: &HeaderValue, subprotocol: bool) -> Response {
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    if subprotocol {
        headers.insert(
            SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static(SUBPROTOCOL),
        );
    }
    response
}
