//! The accept loop: every connection has a place among the limits, a deadline for TLS, for its
//! first byte and head, and for writes. HTTP/1.1 only: the socket needs it, and HTTP/2 would only
//! add ways to be flooded.

use crate::core::connections::{Connections, Full};
use crate::http::io::{Connection, Transport};
use crate::limits::{ACCEPT_PAUSE_MS, BACKLOG, ConnectionLimits, HEAD_LEN_MAX, HEADERS_MAX};
use crate::limits::{SEND_BUFFER_LEN, WS_BUFFER_LEN};
use crate::metrics::{Metrics, Turned};
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

/// What a listener's connections share.
pub struct Acceptor {
    /// TLS, where the listener speaks it.
    pub tls: Option<TlsAcceptor>,
    /// Who answers.
    pub router: Router,
    /// What connections are held to.
    pub limits: ConnectionLimits,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The connections' tasks.
    pub tracker: TaskTracker,
    /// Cancelled when connections must finish what they are at and end.
    pub drain: CancellationToken,
    places: Arc<Mutex<Connections>>,
}

/// The other side of a connection, found in every request's extensions.
#[derive(Clone)]
pub struct Peer(Arc<Place>);

/// A connection's place among the limits; given back when the last holder is gone.
struct Place {
    addr: SocketAddr,
    places: Arc<Mutex<Connections>>,
    authenticated: AtomicBool,
    metrics: Arc<Metrics>,
}

impl Peer {
    /// Its address.
    pub fn ip(&self) -> IpAddr {
        self.0.addr.ip()
    }

    /// It has shown a credential that holds.
    pub fn authenticated(&self) {
        if !self.0.authenticated.swap(true, Ordering::AcqRel) {
            self.0
                .places
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .authenticated(self.ip());
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let authenticated = self.authenticated.load(Ordering::Acquire);
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.close(self.addr.ip(), authenticated);
        self.metrics.connections.dec();
    }
}

/// Listens on `addr` with a send buffer that bounds what slow readers cost.
pub fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = match addr {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    // Accepted connections inherit it.
    socket.set_send_buffer_size(SEND_BUFFER_LEN)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

impl Acceptor {
    /// With no connections yet.
    pub fn new(
        tls: Option<TlsAcceptor>,
        router: Router,
        limits: ConnectionLimits,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            tls,
            router,
            limits,
            metrics,
            tracker: TaskTracker::new(),
            drain: CancellationToken::new(),
            places: Arc::new(Mutex::new(Connections::new(limits))),
        }
    }

    /// Accepts until `stop`; an error of `accept` never ends the loop.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, stop: CancellationToken) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stop.cancelled() => return,
            };
            match accepted {
                Ok((tcp, addr)) => self.admit(tcp, addr),
                Err(error) => {
                    self.metrics.turn_away(Turned::Accept);
                    tracing::warn!(%error, "accept failed");
                    sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
                }
            }
        }
    }

    fn admit(self: &Arc<Self>, tcp: TcpStream, addr: SocketAddr) {
        match self.place(addr) {
            Ok(place) => {
                let peer = Peer(Arc::new(place));
                let connection = Arc::clone(self).connection(tcp, peer);
                self.tracker.spawn(connection);
            }
            Err(full) => {
                tracing::debug!(%addr, %full, "connection turned away");
                self.metrics.turn_away(Turned::Full);
            }
        }
    }

    fn place(&self, addr: SocketAddr) -> Result<Place, Full> {
        self.places
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .open(addr.ip())?;
        self.metrics.connections.inc();
        Ok(Place {
            addr,
            places: Arc::clone(&self.places),
            authenticated: AtomicBool::new(false),
            metrics: Arc::clone(&self.metrics),
        })
    }

    async fn connection(self: Arc<Self>, tcp: TcpStream, peer: Peer) {
        // Signalling frames are small and wait for nobody.
        if tcp.set_nodelay(true).is_err() {
            return;
        }
        let Some(transport) = self.transport(tcp).await else {
            self.metrics.turn_away(Turned::Tls);
            return;
        };
        let write_timeout = Duration::from_millis(self.limits.write_ms);
        let io = TokioIo::new(Connection::new(transport, write_timeout));
        let router = self.router.clone();
        let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer.clone());
            router.clone().oneshot(request.map(Body::new))
        });
        let header_timeout = Duration::from_millis(self.limits.header_ms);
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(header_timeout)
            .max_headers(HEADERS_MAX)
            .max_header_size(HEAD_LEN_MAX)
            .max_buf_size(HEAD_LEN_MAX.max(2 * WS_BUFFER_LEN));
        let mut connection = std::pin::pin!(http.serve_connection(io, service).with_upgrades());
        let served = tokio::select! {
            served = connection.as_mut() => served,
            () = self.drain.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = served {
            tracing::debug!(%error, "connection ended early");
            self.metrics.turn_away(Turned::Http);
        }
    }

    async fn transport(&self, tcp: TcpStream) -> Option<Transport> {
        let Some(tls) = &self.tls else {
            return Some(Transport::Plain(tcp));
        };
        let limit = Duration::from_millis(self.limits.tls_ms);
        let stream = timeout(limit, tls.accept(tcp)).await.ok()?.ok()?;
        Some(Transport::Tls(Box::new(stream)))
    }
}
