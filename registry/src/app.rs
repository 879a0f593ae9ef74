//! Putting a registry together, and taking it down.

use crate::clock::Clock;
use crate::config::Config;
use crate::directory::Directory;
use crate::error::Error;
use crate::grpc::{Serving, serve};
use crate::limits::{DRAIN_TIMEOUT, SWEEP_INTERVAL, TOKEN_KEY_AGE_MAX_MS, TOKEN_KEYS_MAX};
use crate::listener::listen;
use crate::metrics::Metrics;
use crate::metrics_http;
use crate::ops::{Ops, Origins, Parts};
use crate::random;
use crate::secrets::{SecretError, Secrets};
use crate::store::postgres::{self, PostgresStore};
use crate::store::rows::Seed;
use crate::store::sqlite::{self, SqliteStore};
use crate::store::{Store, TokenKeyRow};
use crate::tls::{self, TlsError};
use crate::token::Tokens;
use crate::writer::LeaseWriter;
use beeline_proto::invite::InviteLink;
use beeline_proto::keys::SigningKey;
use beeline_proto::pb::identity::v1::Role;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// Why a registry does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store on SQLite.
    #[error("the store cannot be opened: {0}")]
    Sqlite(#[from] sqlite::OpenError),
    /// The store on PostgreSQL.
    #[error("the store cannot be opened: {0}")]
    Postgres(#[from] postgres::OpenError),
    /// A credential file.
    #[error("a credential cannot be used: {0}")]
    Secret(#[from] SecretError),
    /// The TLS identity.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// An address.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
    /// What the store holds, or a setting.
    #[error(transparent)]
    Setup(#[from] Error),
    /// The schema cannot be reflected.
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// The registry; see [`Registry::start`].
#[derive(Debug)]
pub struct Registry;

impl Registry {
    /// Opens the store and serves. Returns once calls are accepted.
    pub async fn start(config: Config) -> Result<Running, StartError> {
        Self::start_at(config, Clock::system()).await
    }

    /// The same with a clock of the caller's.
    pub async fn start_at(config: Config, clock: Clock) -> Result<Running, StartError> {
        let origins = Origins {
            gateway: config.gateway_origins.clone(),
            registry: config.registry_origins.clone(),
        };
        let origins = origins.normal()?;
        let tls = tls::acceptor(config.tls_cert.as_deref(), config.tls_key.as_deref())?;
        let store = open_store(&config, &clock).await?;
        let paths = (config.gateway_token_path(), config.operator_token_path());
        let secrets = Arc::new(Secrets::load(&paths.0, &paths.1)?);
        let (leases, write_leases) = LeaseWriter::new(Arc::clone(&store));
        let ops = Arc::new(Ops::new(Parts {
            directory: Directory::load(Arc::clone(&store)).await?,
            tokens: load_tokens(store.as_ref(), &clock).await?,
            metrics: Arc::new(Metrics::default()),
            store: Arc::clone(&store),
            clock,
            leases,
            origins,
        }));
        let restored = ops.restore().await?;
        let (listener, grpc_addr) = bind(config.grpc).await?;
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let (incoming, accept) = listen(listener, tls, stop.clone(), tasks.clone());
        let reflection = config.reflection || grpc_addr.ip().is_loopback();
        let stopped = stop.clone();
        let (serving, server) = serve(Arc::clone(&ops), secrets, incoming, reflection, stopped)?;
        serving.set(true).await;
        tasks.spawn(accept);
        tasks.spawn(sweep(Arc::clone(&ops), stop.clone()));
        let mut metrics_addr = None;
        if let Some(addr) = config.metrics {
            let (listener, addr) = bind(addr).await?;
            metrics_addr = Some(addr);
            let metrics = Arc::clone(ops.metrics());
            tasks.spawn(metrics_http::serve(
                listener,
                metrics,
                stop.clone(),
                tasks.clone(),
            ));
        }
        let writer = tasks.spawn(write_leases);
        let server = tasks.spawn(server);
        tracing::info!(%grpc_addr, restored, "registry serves");
        Ok(Running {
            grpc_addr,
            metrics_addr,
            gateway_token_path: paths.0,
            operator_token_path: paths.1,
            ops,
            serving,
            store,
            server,
            writer,
            tasks,
            stop: stop.drop_guard(),
        })
    }
}

async fn bind(addr: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |error| StartError::Listen(addr, error);
    let listener = TcpListener::bind(addr).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

async fn open_store(config: &Config, clock: &Clock) -> Result<Arc<dyn Store>, StartError> {
    let now_ms = clock.now().wall_ms;
    if let Some(url) = &config.database_url {
        // The credentials are files in any case.
        sqlite::make_dir(&config.data)?;
        return Ok(Arc::new(PostgresStore::open(url, now_ms).await?));
    }
    let (dir, pages_max) = (config.data.clone(), config.sqlite_pages_max);
    let open = move || SqliteStore::open(&dir, now_ms, pages_max);
    match tokio::task::spawn_blocking(open).await {
        Ok(store) => Ok(Arc::new(store?)),
        Err(_panicked) => Err(Error::Damaged("store").into()),
    }
}

/// The token keys in store, the newest renewed when it is old.
async fn load_tokens(store: &dyn Store, clock: &Clock) -> Result<Tokens, Error> {
    let now_ms = clock.now().wall_ms;
    let mut rows = store.token_keys().await?;
    let young = |row: &TokenKeyRow| now_ms.saturating_sub(row.created_ms) < TOKEN_KEY_AGE_MAX_MS;
    if !rows.first().is_some_and(young) {
        let row = TokenKeyRow {
            seed: Seed(random::signing_key()?.to_seed()),
            created_ms: now_ms,
        };
        store.add_token_key(row, TOKEN_KEYS_MAX).await?;
        rows = store.token_keys().await?;
    }
    let keys: Vec<SigningKey> = rows
        .iter()
        .map(|r| SigningKey::from_seed(&r.seed.0))
        .collect();
    Tokens::new(&keys).ok_or(Error::Damaged("token keys"))
}

/// Ends leases in time and writes what was seen, once more at the end.
async fn sweep(ops: Arc<Ops>, stop: CancellationToken) {
    let mut pending = Vec::new();
    let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = ticks.tick() => ops.sweep(&mut pending).await,
        }
    }
    ops.sweep(&mut pending).await;
}

/// A registry that serves. Dropping it stops it without waiting; [`Running::shutdown`] waits.
#[derive(Debug)]
pub struct Running {
    /// Where it listens.
    pub grpc_addr: SocketAddr,
    /// Where the metrics are, if anywhere.
    pub metrics_addr: Option<SocketAddr>,
    /// The gateways' credential file.
    pub gateway_token_path: PathBuf,
    /// The operator's credential file.
    pub operator_token_path: PathBuf,
    pub(crate) ops: Arc<Ops>,
    serving: Serving,
    store: Arc<dyn Store>,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
    writer: JoinHandle<()>,
    tasks: TaskTracker,
    stop: DropGuard,
}

impl Running {
    /// Makes sure there is a network (`label`, or the first one made) whose descriptor names these
    /// origins; answers its networkId. At the first start it is created, its keys held here.
    /// Changed origins make a new descriptor version where the registry holds the authority key;
    /// an empty list leaves what is there.
    pub async fn ensure_network(
        &self,
        label: Option<&str>,
        gateway_origins: &[String],
        registry_origins: &[String],
    ) -> Result<String, Error> {
        let origins = Origins {
            gateway: gateway_origins.to_vec(),
            registry: registry_origins.to_vec(),
        };
        let network = self.ops.ensure_network(label, &origins).await?;
        Ok(network.label.to_string())
    }

    /// Makes an invite to `network` for so many uses (0 means one) and so long (zero means 7 days).
    pub async fn create_invite(
        &self,
        network: &str,
        role: Role,
        uses: u32,
        ttl: Duration,
    ) -> Result<InviteLink, Error> {
        let found = self.ops.directory().network(network);
        let network = found.ok_or(Error::NotFound("network"))?;
        let ttl_s = u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX);
        self.ops.invite_link(&network, role, uses, ttl_s).await
    }

    /// What is counted, as a scraper reads it.
    pub fn metrics_text(&self) -> Result<String, std::fmt::Error> {
        self.ops.metrics().text()
    }

    /// Stops: health says so, no new connections, calls in work end, what was seen is written, the
    /// store is closed.
    pub async fn shutdown(self) {
        self.serving.set(false).await;
        drop(self.stop);
        let abort = self.server.abort_handle();
        match tokio::time::timeout(DRAIN_TIMEOUT, self.server).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!(%error, "the server ended with an error"),
            Ok(Err(error)) => tracing::warn!(%error, "the server's task failed"),
            Err(_elapsed) => {
                tracing::warn!("calls still in work were cut");
                abort.abort();
            }
        }
        // The last handle on the lease queue goes with `ops`; then the writer ends by itself.
        drop(self.ops);
        let _ = tokio::time::timeout(DRAIN_TIMEOUT, self.writer).await;
        self.tasks.close();
        let _ = tokio::time::timeout(DRAIN_TIMEOUT, self.tasks.wait()).await;
        self.store.close().await;
        tracing::info!("registry stopped");
    }
}
