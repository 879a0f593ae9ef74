//! The gateway's hub in this process: [`beeline_gateway::SignalServer`] with an offline authority.

use super::{CoordinatorOptions, Lists};
use crate::error::StartError;
use crate::home::Home;
use crate::identity::Identity;
use crate::limits::{HUB_CONNECTIONS_MAX, HUB_UNPROVEN_MAX, PORT_FILE_LEN_MAX};
use crate::unix;
use beeline_gateway::authority::offline::OfflineAuthority;
use beeline_gateway::clock::Clock;
use beeline_gateway::limits::{ConnectionLimits, Limits};
use beeline_gateway::{SignalConfig, SignalServer};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Listens and serves in `tasks`, until the sender of `lists` is gone. Returns the origin others
/// dial, and the one to dial from this process.
pub(super) fn start(
    options: &CoordinatorOptions,
    home: &Home,
    identity: &Identity,
    lists: watch::Receiver<Lists>,
    tasks: &mut JoinSet<()>,
) -> Result<(String, String), StartError> {
    let clock = Clock::start();
    let authority = {
        let lists = lists.borrow();
        let (descriptor, revocations) = (&lists.descriptor, &lists.revocations);
        OfflineAuthority::new(identity.network, descriptor, revocations, clock)
    };
    let authority = authority.map_err(|error| StartError::Option(error.to_string()))?;
    let authority = Arc::new(authority);
    let config = |listen: SocketAddr| SignalConfig {
        listen,
        public_url: options.public_url.clone(),
        tls_cert: options.tls_cert.clone(),
        tls_key: options.tls_key.clone(),
        authority: Arc::<OfflineAuthority>::clone(&authority),
        clock,
        own_device: Some(identity.device.to_string()),
        limits: limits(),
    };
    let server = listen(options.listen, home, config)
        .map_err(|error| StartError::Option(format!("coordinator: {error}")))?;
    keep_port(home, server.addr.port());
    let urls = (server.public_url.clone(), server.local_url.clone());
    tasks.spawn(run(server, authority, lists));
    Ok(urls)
}

/// A gateway's, but for fewer connections.
fn limits() -> Limits {
    let usual = Limits::default();
    Limits {
        connections: ConnectionLimits {
            total: HUB_CONNECTIONS_MAX,
            unauthenticated: HUB_UNPROVEN_MAX,
            ..usual.connections
        },
        ..usual
    }
}

/// At the address given; for port 0 at the port of last time, or any if that one is taken now.
fn listen(
    addr: SocketAddr,
    home: &Home,
    config: impl Fn(SocketAddr) -> SignalConfig,
) -> Result<SignalServer, beeline_gateway::StartError> {
    if addr.port() == 0
        && let Some(port) = last_port(home)
    {
        match SignalServer::start(config(SocketAddr::new(addr.ip(), port))) {
            Err(error @ beeline_gateway::StartError::Listen { .. }) => {
                tracing::warn!(%error, "a coordinator moves to another port");
            }
            started => return started,
        }
    }
    SignalServer::start(config(addr))
}

/// Holds the sockets against each newer list, and says goodbye at the end.
async fn run(
    server: SignalServer,
    authority: Arc<OfflineAuthority>,
    mut lists: watch::Receiver<Lists>,
) {
    while lists.changed().await.is_ok() {
        let newer = lists.borrow_and_update().clone();
        match authority.update(&newer.descriptor, &newer.revocations) {
            Ok(true) => server.sweep(),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "a coordinator's lists are not newer ones"),
        }
    }
    server.shutdown().await;
}

/// The port this home was served at last time.
pub fn last_port(home: &Home) -> Option<u16> {
    let mut text = String::new();
    let file = File::open(home.coordinator_port()).ok()?;
    file.take(PORT_FILE_LEN_MAX)
        .read_to_string(&mut text)
        .ok()?;
    text.trim().parse().ok().filter(|port| *port > 0)
}

/// Remembers the port; not being able to costs others a lookup after the next start.
fn keep_port(home: &Home, port: u16) {
    if last_port(home) == Some(port) {
        return;
    }
    let (path, draft) = (
        home.coordinator_port(),
        home.dir().join("coordinator.port.new"),
    );
    let write = || -> std::io::Result<()> {
        let _ = std::fs::remove_file(&draft);
        writeln!(unix::create_private_file(&draft)?, "{port}")?;
        std::fs::rename(&draft, &path)
    };
    if let Err(error) = write() {
        tracing::warn!(%error, path = %path.display(), "the coordinator's port is not remembered");
    }
}
