//! The gate in front of every method: a place among the calls in work, the credential, the
//! deadline, a net under panics, and the count of it all.

use crate::error::Error;
use crate::grpc::caller::Caller;
use crate::grpc::policy::{self, Method, Who};
use crate::grpc::status::{CODE_KEY, code_of, foreign_code};
use crate::limits::{CALL_TIMEOUT, CALLS_IN_FLIGHT_MAX};
use crate::ops::Ops;
use crate::secrets::Secrets;
use beeline_proto::code::ErrorCode;
use futures::FutureExt as _;
use http::{HeaderMap, HeaderValue, Request, Response, header::AUTHORIZATION};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

/// Makes gates.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    ops: Arc<Ops>,
    secrets: Arc<Secrets>,
    places: Arc<Semaphore>,
}

impl Gate {
    /// A gate that asks `ops` about tokens and compares the rest with `secrets`.
    pub(super) fn new(ops: Arc<Ops>, secrets: Arc<Secrets>) -> Self {
        Self {
            ops,
            secrets,
            places: Arc::new(Semaphore::new(CALLS_IN_FLIGHT_MAX)),
        }
    }

    /// Finds out who calls and whether they may.
    async fn admit(&self, method: &Method, headers: &HeaderMap) -> Result<Caller, Error> {
        if method.who == Who::Anyone {
            self.ops.admit_open_call()?;
            return Ok(Caller::Nobody);
        }
        let caller = self.caller(headers).await?;
        if caller.is(method.who) {
            Ok(caller)
        } else {
            Err(Error::Denied)
        }
    }

    async fn caller(&self, headers: &HeaderMap) -> Result<Caller, Error> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let value = values.next().ok_or(Error::NoCredential)?;
        if values.next().is_some() {
            return Err(Error::BadCredential);
        }
        let value = value.to_str().map_err(|_| Error::BadCredential)?;
        let (scheme, credential) = value.split_once(' ').ok_or(Error::BadCredential)?;
        if scheme.eq_ignore_ascii_case("bearer") {
            let member = self.ops.member(credential).await?;
            Ok(Caller::Member(Box::new(member)))
        } else if scheme.eq_ignore_ascii_case("gateway") && self.secrets.is_gateway(credential) {
            Ok(Caller::Gateway)
        } else if scheme.eq_ignore_ascii_case("operator") && self.secrets.is_operator(credential) {
            Ok(Caller::Operator)
        } else {
            Err(Error::BadCredential)
        }
    }
}

impl<S> Layer<S> for Gate {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated {
            gate: self.clone(),
            inner,
        }
    }
}

/// A service behind a [`Gate`].
#[derive(Debug, Clone)]
pub(super) struct Gated<S> {
    gate: Gate,
    inner: S,
}

impl<S> Service<Request<Body>> for Gated<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The service that was polled ready is the one to call; its clone takes its place.
        let fresh = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, fresh);
        let gate = self.gate.clone();
        Box::pin(async move {
            let started = Instant::now();
            let method = policy::find(request.uri().path());
            let name = method.map_or("unknown", |m| m.path);
            let response = match method {
                Some(method) => pass(&gate, method, inner, request).await?,
                None => Status::from(Error::Unimplemented).into_http(),
            };
            let code = code_of(response.headers());
            gate.ops
                .metrics()
                .observe_call(name, code, started.elapsed().as_secs_f64());
            Ok(response)
        })
    }
}

async fn pass<S>(
    gate: &Gate,
    method: &Method,
    mut inner: S,
    mut request: Request<Body>,
) -> Result<Response<Body>, S::Error>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    let refuse = |error: Error| Ok(Status::from(error).into_http());
    let Ok(_place) = gate.places.try_acquire() else {
        return refuse(Error::Busy);
    };
    let _in_work = gate.ops.metrics().begin_call();
    let work = async {
        match gate.admit(method, request.headers()).await {
            Ok(caller) => {
                request.extensions_mut().insert(caller);
                inner.call(request).await
            }
            Err(error) => refuse(error),
        }
    };
    match timeout(CALL_TIMEOUT, AssertUnwindSafe(work).catch_unwind()).await {
        Ok(Ok(response)) => response.map(name_code),
        Ok(Err(_panic)) => {
            tracing::error!(method = method.path, "a call panicked");
            refuse(Error::Damaged("call"))
        }
        Err(_elapsed) => refuse(Error::Timeout),
    }
}

/// Gives a response that tonic made by itself a code of the shared vocabulary.
fn name_code(mut response: Response<Body>) -> Response<Body> {
    if let Some(code) = foreign_code(response.headers()) {
        let headers = response.headers_mut();
        headers.insert(CODE_KEY, HeaderValue::from_static(code.name()));
        if code == ErrorCode::InvalidArgument {
            headers.insert("grpc-status", HeaderValue::from(code.grpc()));
        }
    }
    response
}
