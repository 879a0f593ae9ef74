//! The composition root: files, listeners, authority, switchboard, tasks, in the order they depend
//! on each other; and the order in which they end.

use crate::authority::registry::RegistryAuthority;
use crate::bus::Bus;
use crate::bus::memory::MemoryBus;
use crate::clock::Clock;
use crate::config::Config;
use crate::core::ice_servers::IceConfig;
use crate::error::StartError;
use crate::http::accept::Acceptor;
use crate::http::rest::App;
use crate::http::{metrics, routes};
use crate::limits::{
    ConnectionLimits, DRAIN_TIMEOUT_MS, GOAWAY_RETRY_MS, ICE_TTL_S, ICE_URLS_MAX, Limits,
    SECRET_FILE_LEN_MAX,
};
use crate::listen::{listen, own_origins, public_urls};
use crate::metrics::Metrics;
use crate::registry_client::disk::{self, Remembered};
use crate::registry_client::reporter::{Reporter, random};
use crate::registry_client::{RegistryClient, polling};
use crate::signalling::{Parts, Signalling};
use crate::switchboard::{SocketWatcher, Switchboard};
use crate::tls;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// A signal gateway.
pub struct Gateway;

/// A gateway that serves. Dropped without [`Running::shutdown`], it stops at once.
pub struct Running {
    /// Where it listens.
    pub addr: SocketAddr,
    /// The origin clients should dial: the first `--public-url`, else the listen address.
    pub public_url: String,
    /// Where metrics are served.
    pub metrics_addr: Option<SocketAddr>,
    signalling: Arc<Signalling>,
    authority: Arc<RegistryAuthority>,
    reporter: Arc<Reporter>,
    identity: (String, u64),
    acceptor: Arc<Acceptor>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
    cache_dir: Option<PathBuf>,
}

impl Gateway {
    /// Starts a gateway of its own.
    pub async fn start(config: Config) -> Result<Running, StartError> {
        Self::start_on(config, Arc::new(MemoryBus::default())).await
    }

    /// Starts a node of several that share `bus`.
    pub async fn start_on(mut config: Config, bus: Arc<dyn Bus>) -> Result<Running, StartError> {
        if let Some(count) = config.edge.max_connections_per_ip {
            config.limits.connections.per_ip = count;
            config.limits.connections.per_ip_unauthenticated = count;
        }
        let clock = Clock::start();
        let tls = tls::from_flags(config.tls_cert.as_deref(), config.tls_key.as_deref())?;
        let ice = ice_config(&config)?;
        let remembered = match config.cache_dir.clone() {
            Some(dir) => remembered(dir).await,
            None => Remembered::default(),
        };
        let authority = authority(&config, &remembered, clock)?;
        remembered.restore(&authority);

        let (listener, addr) = listen(config.listen)?;
        let public = public_urls(&config.edge.public_urls, addr, tls.is_some())?;
        let metrics = Arc::new(Metrics::default());
        let reporter = Arc::new(Reporter::default());
        let watcher: Arc<dyn SocketWatcher> = Arc::<Reporter>::clone(&reporter);
        let signalling = Arc::new(Signalling::new(Parts {
            switchboard: Switchboard::new(bus, watcher, None),
            authority: Arc::<RegistryAuthority>::clone(&authority),
            clock,
            limits: config.limits,
            origins: own_origins(&public, addr),
            web_origins: config.edge.allow_origins.clone(),
            metrics: Arc::clone(&metrics),
        }));
        let app = App::new(
            Arc::clone(&signalling),
            Arc::clone(&authority),
            ice,
            tls.is_some(),
        );
        let router = routes::router(Arc::new(app));
        let connections = config.limits.connections;
        let acceptor = Acceptor::new(tls, router, connections, Arc::clone(&metrics));
        let mut running = Running {
            addr,
            public_url: public.into_iter().next().unwrap_or_default(),
            metrics_addr: None,
            identity: (format!("gateway-{addr}-{:016x}", random()), random()),
            signalling,
            authority,
            reporter,
            acceptor: Arc::new(acceptor),
            stop: CancellationToken::new(),
            tasks: JoinSet::new(),
            cache_dir: config.cache_dir,
        };
        if let Some(addr) = config.metrics {
            running.spawn_metrics(addr, metrics, connections)?;
        }
        running.spawn_tasks(listener, &config.limits);
        Ok(running)
    }
}

impl Running {
    /// Serves metrics, on a listener of their own.
    fn spawn_metrics(
        &mut self,
        addr: SocketAddr,
        metrics: Arc<Metrics>,
        limits: ConnectionLimits,
    ) -> Result<(), StartError> {
        let (listener, addr) = listen(addr)?;
        let router = metrics::router(Arc::clone(&metrics), Arc::clone(&self.authority));
        let acceptor = Arc::new(Acceptor::new(None, router, limits, metrics));
        self.tasks
            .spawn(acceptor.serve(listener, self.stop.clone()));
        self.metrics_addr = Some(addr);
        Ok(())
    }

    /// Serves, and keeps the gateway and the registry informed of each other.
    fn spawn_tasks(&mut self, listener: TcpListener, limits: &Limits) {
        self.tasks
            .spawn(Arc::clone(&self.acceptor).serve(listener, self.stop.clone()));
        let (lists_every_ms, recheck_every_s) = (limits.lists_every_ms, limits.recheck_every_s);
        let (authority, signalling) = (Arc::clone(&self.authority), Arc::clone(&self.signalling));
        self.tasks.spawn(async move {
            polling::lists(&authority, &signalling.switchboard, lists_every_ms).await;
        });
        let (authority, signalling) = (Arc::clone(&self.authority), Arc::clone(&self.signalling));
        self.tasks.spawn(async move {
            polling::devices(&authority, &signalling.switchboard, recheck_every_s).await;
        });
        let (authority, signalling) = (Arc::clone(&self.authority), Arc::clone(&self.signalling));
        let (reporter, identity) = (Arc::clone(&self.reporter), self.identity.clone());
        self.tasks.spawn(async move {
            let (client, switchboard) = (authority.client(), &signalling.switchboard);
            reporter
                .run(client, switchboard, &identity.0, identity.1)
                .await;
        });
        if let Some(dir) = self.cache_dir.clone() {
            let authority = Arc::clone(&self.authority);
            self.tasks
                .spawn(async move { disk::run(&authority, dir).await });
        }
    }

    /// How many sockets are signed in.
    pub fn sockets(&self) -> usize {
        self.signalling.switchboard.len()
    }

    /// Stops accepting, tells every socket GOAWAY, lets requests finish, reports the closed sockets
    /// and ends. Takes a few seconds at most, however the peers behave.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        self.signalling.switchboard.go_away(GOAWAY_RETRY_MS);
        self.acceptor.drain.cancel();
        self.signalling.tracker.close();
        self.acceptor.tracker.close();
        let drained = async {
            self.signalling.tracker.wait().await;
            self.acceptor.tracker.wait().await;
        };
        if timeout(Duration::from_millis(DRAIN_TIMEOUT_MS), drained)
            .await
            .is_err()
        {
            tracing::warn!("connections were cut while they were still busy");
        }
        self.tasks.shutdown().await;
        let (client, switchboard) = (self.authority.client(), &self.signalling.switchboard);
        let (id, epoch) = (self.identity.0.as_str(), self.identity.1);
        self.reporter.finish(client, switchboard, id, epoch).await;
        if let Some(dir) = &self.cache_dir {
            disk::save(&self.authority, dir).await;
        }
    }
}

async fn remembered(dir: PathBuf) -> Remembered {
    let load = tokio::task::spawn_blocking(move || Remembered::load(&dir));
    load.await.unwrap_or_default()
}

fn authority(
    config: &Config,
    remembered: &Remembered,
    clock: Clock,
) -> Result<Arc<RegistryAuthority>, StartError> {
    let token = read_file("the gateway token", &config.gateway_token_file)?;
    let token = String::from_utf8_lossy(&token);
    let ca = match &config.registry_ca {
        Some(path) => Some(read_file("the registry's CA certificate", path)?),
        None => None,
    };
    let last = Some(remembered.last_answer_ms).filter(|ms| *ms > 0);
    let client = RegistryClient::new(&config.registry, ca.as_deref(), token.trim(), last, clock)?;
    Ok(Arc::new(RegistryAuthority::new(Arc::new(client), clock)))
}

fn read_file(what: &'static str, path: &Path) -> Result<Vec<u8>, StartError> {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| {
        file.take(SECRET_FILE_LEN_MAX.max(64 * 1024))
            .read_to_end(&mut bytes)
    });
    match read {
        Ok(_) => Ok(bytes),
        Err(error) => Err(StartError::File {
            what,
            path: path.to_owned(),
            error,
        }),
    }
}

fn ice_config(config: &Config) -> Result<IceConfig, StartError> {
    let edge = &config.edge;
    let schemes_ok = edge
        .stun
        .iter()
        .all(|u| u.starts_with("stun:") || u.starts_with("stuns:"))
        && edge
            .turn_urls
            .iter()
            .all(|u| u.starts_with("turn:") || u.starts_with("turns:"));
    if !schemes_ok {
        let text = "--stun takes stun:host:port and --turn-url turn:host:port";
        return Err(StartError::Flag(text.into()));
    }
    if edge.stun.len() + edge.turn_urls.len() > ICE_URLS_MAX {
        return Err(StartError::Flag(format!(
            "at most {ICE_URLS_MAX} STUN and TURN servers"
        )));
    }
    let secret = match &edge.turn_secret_file {
        Some(path) => read_file("the TURN secret", path)?.trim_ascii().to_vec(),
        None => Vec::new(),
    };
    if secret.is_empty() && !edge.turn_urls.is_empty() {
        let text = "--turn-url needs --turn-secret-file with the servers' static-auth-secret";
        return Err(StartError::Flag(text.into()));
    }
    Ok(IceConfig {
        stun: edge.stun.clone(),
        turn: edge.turn_urls.clone(),
        secret,
        ttl_s: edge.turn_ttl.unwrap_or(ICE_TTL_S),
    })
}
