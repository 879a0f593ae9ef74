//! A server of the signalling WebSocket and nothing else, for a coordinator to embed: the gateway's
//! accept loop, limits and sockets, with whatever [`Authority`] it is given, and no registry.

use crate::authority::Authority;
use crate::bus::memory::MemoryBus;
use crate::clock::Clock;
use crate::error::StartError;
use crate::http::accept::Acceptor;
use crate::http::routes::signalling_router;
use crate::limits::{DRAIN_TIMEOUT_MS, GOAWAY_RETRY_MS, Limits};
use crate::listen::{listen, own_origins, public_urls};
use crate::metrics::Metrics;
use crate::signalling::{Parts, Signalling};
use crate::switchboard::{SocketWatcher, Switchboard};
use crate::tls;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// What a signalling server is told at its start.
pub struct SignalConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Origin under which devices reach it, such as `https://hub.example`, where port 0 stands for
    /// the port it listens on; the listen address if `None`.
    pub public_url: Option<String>,
    /// PEM certificate chain; with it, wss is served.
    pub tls_cert: Option<PathBuf>,
    /// PEM private key of the certificate.
    pub tls_key: Option<PathBuf>,
    /// Who vouches for devices.
    pub authority: Arc<dyn Authority>,
    /// The process's clocks, the same as the authority's.
    pub clock: Clock,
    /// The deviceId of the server's own device, whose socket speaks to everybody and is held to
    /// [`SocketLimits::own`](crate::limits::SocketLimits::own) instead.
    pub own_device: Option<String>,
    /// Rates, counts and time-outs.
    pub limits: Limits,
}

/// A signalling server that serves. Dropped without [`SignalServer::shutdown`], it stops at once.
pub struct SignalServer {
    /// Where it listens.
    pub addr: SocketAddr,
    /// The origin devices should dial.
    pub public_url: String,
    /// The origin to dial from this very process: never TLS, always this machine.
    pub local_url: String,
    signalling: Arc<Signalling>,
    acceptors: Vec<Arc<Acceptor>>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

/// Nobody wants to know who comes and goes.
struct Unwatched;

impl SocketWatcher for Unwatched {
    fn opened(&self, _: &crate::authority::Identity) {}
    fn closed(&self, _: &crate::authority::Identity) {}
}

impl SignalServer {
    /// Listens and serves.
    ///
    /// # Errors
    /// [`StartError`], which says what to do.
    pub fn start(config: SignalConfig) -> Result<Self, StartError> {
        let tls = tls::from_flags(config.tls_cert.as_deref(), config.tls_key.as_deref())?;
        let (listener, addr) = listen(config.listen)?;
        let given = config.public_url.map(|url| match url.strip_suffix(":0") {
            Some(host) => format!("{host}:{}", addr.port()),
            None => url,
        });
        let given: Vec<String> = given.into_iter().collect();
        let public = public_urls(&given, addr, tls.is_some())?;
        let mut origins = own_origins(&public, addr);
        let mut listeners = vec![(listener, tls)];
        let mut local = SocketAddr::new(dialled_here(addr.ip()), addr.port());
        if listeners.iter().any(|(_, tls)| tls.is_some()) {
            // The certificate is for the public name; the server's own device needs no other.
            let (listener, addr) = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
            listeners.push((listener, None));
            local = addr;
        }
        let local_url = format!("http://{local}");
        origins.push(local_url.clone());
        let metrics = Arc::new(Metrics::default());
        let bus = Arc::new(MemoryBus::default());
        let switchboard = Switchboard::new(bus, Arc::new(Unwatched), config.own_device);
        let signalling = Arc::new(Signalling::new(Parts {
            switchboard,
            authority: config.authority,
            clock: config.clock,
            limits: config.limits,
            origins,
            web_origins: Vec::new(),
            metrics: Arc::clone(&metrics),
        }));
        let mut server = Self {
            addr,
            public_url: public.into_iter().next().unwrap_or_default(),
            local_url,
            signalling,
            acceptors: Vec::new(),
            stop: CancellationToken::new(),
            tasks: JoinSet::new(),
        };
        for (listener, tls) in listeners {
            let router = signalling_router(Arc::clone(&server.signalling), tls.is_some());
            let (limits, metrics) = (config.limits.connections, Arc::clone(&metrics));
            let acceptor = Arc::new(Acceptor::new(tls, router, limits, metrics));
            let serve = Arc::clone(&acceptor).serve(listener, server.stop.clone());
            server.tasks.spawn(serve);
            server.acceptors.push(acceptor);
        }
        Ok(server)
    }

    /// How many sockets are signed in.
    pub fn sockets(&self) -> usize {
        self.signalling.switchboard.len()
    }

    /// Ends every socket for which the authority no longer vouches; to be called after each change
    /// of what it knows.
    pub fn sweep(&self) {
        self.signalling
            .switchboard
            .sweep(&*self.signalling.authority);
    }

    /// Stops accepting, tells every socket GOAWAY, and ends. Takes a few seconds at most, however
    /// the peers behave.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        self.signalling.switchboard.go_away(GOAWAY_RETRY_MS);
        self.signalling.tracker.close();
        for acceptor in &self.acceptors {
            acceptor.drain.cancel();
            acceptor.tracker.close();
        }
        let drained = async {
            self.signalling.tracker.wait().await;
            for acceptor in &self.acceptors {
                acceptor.tracker.wait().await;
            }
        };
        if timeout(Duration::from_millis(DRAIN_TIMEOUT_MS), drained)
            .await
            .is_err()
        {
            tracing::warn!("connections were cut while they were still busy");
        }
        self.tasks.shutdown().await;
    }
}

/// Where an address listened on is dialled on the machine itself.
fn dialled_here(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    }
}
