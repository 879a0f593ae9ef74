//! One request: bounded in time and size, its refusal turned into the shared vocabulary.

use super::Token;
use crate::error::RestError;
use crate::limits::{CONNECT_TIMEOUT, REST_BODY_MAX, REST_TIMEOUT};
use beeline_proto::code::ErrorCode;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::error::Error as _;
use std::sync::Arc;

/// What is done to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Post,
}

/// A pool of connections.
pub(super) struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Http {
    pub(super) fn new(tls: &Arc<rustls::ClientConfig>) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        tcp.set_nodelay(true);
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(rustls::ClientConfig::clone(tls))
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .build(connector);
        Self { client }
    }

    /// Sends one request to `origin` and reads the answer's JSON.
    pub(super) async fn send<A: DeserializeOwned>(
        &self,
        origin: &str,
        method: Method,
        path: &str,
        body: &[u8],
        token: Option<&Token>,
    ) -> Result<A, RestError> {
        let request = request(origin, method, path, body, token)?;
        let exchange = tokio::time::timeout(REST_TIMEOUT, self.exchange(request));
        let answered = exchange.await.map_err(|_| {
            let seconds = REST_TIMEOUT.as_secs();
            RestError::Unreachable(format!("{origin} did not answer in {seconds} s"))
        })?;
        let (status, headers, body) = match answered {
            Ok(answer) => answer,
            Err(Broken::Unreachable(why)) => {
                return Err(RestError::Unreachable(format!("{origin}: {why}")));
            }
            Err(Broken::TooLarge) => {
                let why = format!("more than {REST_BODY_MAX} bytes");
                return Err(protocol(origin, why));
            }
        };
        if !status.is_success() {
            return Err(refusal(origin, status, &headers, &body));
        }
        serde_json::from_slice(&body).map_err(|e| protocol(origin, e.to_string()))
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, HeaderMap, Bytes), Broken> {
        let answer = self.client.request(request).await.map_err(|error| {
            // The outer text says only "client error".
            let why = error.source().map_or_else(|| error.to_string(), root_cause);
            Broken::Unreachable(why)
        })?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, REST_BODY_MAX).collect().await;
        let body = body.map_err(|error| {
            if error.is::<LengthLimitError>() {
                Broken::TooLarge
            } else {
                Broken::Unreachable(error.to_string())
            }
        })?;
        Ok((head.status, head.headers, body.to_bytes()))
    }
}

/// Why there is no whole answer.
enum Broken {
    Unreachable(String),
    TooLarge,
}

/// The innermost reason: "connection refused" rather than "tcp connect error".
fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

fn request(
    origin: &str,
    method: Method,
    path: &str,
    body: &[u8],
    token: Option<&Token>,
) -> Result<Request<Full<Bytes>>, RestError> {
    let mut builder = Request::builder()
        .uri(format!("{origin}{path}"))
        .header(ACCEPT, "application/json, application/problem+json");
    if let Some(token) = token {
        let mut value = HeaderValue::try_from(format!("Bearer {}", token.text()))
            .map_err(|e| protocol(origin, format!("its token: {e}")))?;
        value.set_sensitive(true);
        builder = builder.header(AUTHORIZATION, value);
    }
    builder = match method {
        Method::Get => builder.method("GET"),
        Method::Post => builder
            .method("POST")
            .header(CONTENT_TYPE, "application/json"),
    };
    builder
        .body(Full::new(Bytes::copy_from_slice(body)))
        .map_err(|e| RestError::Unreachable(format!("{origin}: {e}")))
}

/// The JSON of a message.
pub(super) fn encode(body: &impl serde::Serialize) -> Result<Vec<u8>, RestError> {
    serde_json::to_vec(body).map_err(|e| RestError::Refused {
        code: ErrorCode::InvalidArgument,
        detail: e.to_string(),
        retry_after_s: None,
    })
}

/// A problem document (RFC 9457).
#[derive(Debug, Default, Deserialize)]
struct Problem {
    #[serde(default)]
    title: String,
    #[serde(default)]
    detail: String,
    #[serde(default)]
    code: String,
}

fn refusal(origin: &str, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> RestError {
    // A proxy before the gateway may answer with a page of its own.
    let problem: Problem = serde_json::from_slice(body).unwrap_or_default();
    let code = ErrorCode::from_name(&problem.code).unwrap_or_else(|| by_status(status));
    let detail = [problem.detail, problem.title]
        .into_iter()
        .find(|text| !text.is_empty())
        .unwrap_or_else(|| format!("{origin} answered {status}"));
    let retry_after = headers.get(RETRY_AFTER).and_then(|v| v.to_str().ok());
    RestError::Refused {
        code,
        detail,
        retry_after_s: retry_after.and_then(|text| text.parse().ok()),
    }
}

/// The nearest code for an answer that names none.
fn by_status(status: StatusCode) -> ErrorCode {
    match status.as_u16() {
        401 => ErrorCode::Unauthenticated,
        403 => ErrorCode::PermissionDenied,
        404 | 405 => ErrorCode::Unimplemented,
        413 => ErrorCode::TooLarge,
        429 => ErrorCode::RateLimited,
        400..=499 => ErrorCode::InvalidArgument,
        504 => ErrorCode::Timeout,
        502 | 503 => ErrorCode::Unavailable,
        _ => ErrorCode::Internal,
    }
}

fn protocol(origin: &str, why: String) -> RestError {
    let origin = origin.to_owned();
    RestError::Protocol { origin, why }
}

impl RestError {
    /// Whether another gateway may do better: this one is away, full or not what it should be.
    pub(super) fn is_elsewhere_better(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Protocol { .. } => true,
            Self::Refused { code, .. } => matches!(
                code,
                ErrorCode::Unavailable | ErrorCode::Timeout | ErrorCode::Internal
            ),
        }
    }
}
