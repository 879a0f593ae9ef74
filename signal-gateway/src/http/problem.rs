//! The only way from an error to an HTTP answer: problem documents (RFC 9457) with the code of the
//! shared vocabulary.

use crate::authority::AuthError;
use crate::registry_client::RpcError;
use axum::body::Body;
use axum::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use beeline_proto::code::ErrorCode;
use serde::Serialize;
use std::borrow::Cow;

/// Media type of a problem document.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// An error on its way out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    code: ErrorCode,
    status: StatusCode,
    detail: Cow<'static, str>,
    retry_after_s: Option<u32>,
}

/// The document's members.
#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
}

impl Problem {
    /// A problem with the code's own status.
    pub fn new(code: ErrorCode, detail: impl Into<Cow<'static, str>>) -> Self {
        let retries = matches!(code, ErrorCode::RateLimited | ErrorCode::Unavailable);
        Self {
            code,
            status: StatusCode::from_u16(code.http()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            detail: detail.into(),
            retry_after_s: retries.then_some(1),
        }
    }

    /// The same with another status, where HTTP has a closer one.
    pub fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// Over a rate: come back after so many milliseconds.
    pub fn rate_limited(wait_ms: u32) -> Self {
        let mut problem = Self::new(ErrorCode::RateLimited, "too many requests; wait as told");
        problem.retry_after_s = Some(wait_ms.div_ceil(1_000).max(1));
        problem
    }

    /// The closest problem to a bare status that a library answered with.
    fn of_status(status: StatusCode) -> Self {
        let (code, detail) = match status {
            StatusCode::NOT_FOUND => (ErrorCode::NotFound, "no such resource; see /openapi.json"),
            StatusCode::METHOD_NOT_ALLOWED => (
                ErrorCode::Unimplemented,
                "this resource has other methods; see /openapi.json",
            ),
            StatusCode::PAYLOAD_TOO_LARGE => (ErrorCode::TooLarge, "a body is at most 64 KiB"),
            s if s.is_client_error() => (ErrorCode::InvalidArgument, "the request is not valid"),
            _ => (ErrorCode::Internal, "a fault of the gateway"),
        };
        Self::new(code, detail).status(status)
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        Self::new(error.code, error.why)
    }
}

impl From<RpcError> for Problem {
    fn from(error: RpcError) -> Self {
        Self::new(error.code, error.detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let document = Document {
            r#type: format!("urn:beeline:error:{}", self.code),
            title: self.code.title(),
            status: self.status.as_u16(),
            detail: &self.detail,
            code: self.code.name(),
        };
        let body = serde_json::to_vec(&document).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// Replaces an error answer that a library wrote as text by a problem document.
pub async fn enforce(response: Response) -> Response {
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    let is_problem = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes() == PROBLEM_JSON.as_bytes());
    if !is_error || is_problem {
        return response;
    }
    let mut problem = Problem::of_status(status).into_response();
    // `Allow` of a 405 stays.
    for (name, value) in response.headers() {
        if name == ALLOW {
            problem.headers_mut().insert(name.clone(), value.clone());
        }
    }
    problem
}
