//! `beeline serve`: flags.

use super::args::{KeepArgs, LinkArgs};
use clap::Args;
use std::net::SocketAddr;
use std::path::PathBuf;

/// `serve`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  beeline serve
  beeline serve --listen 0.0.0.0:443 --public-url https://chat.example.org \\
    --tls-cert cert.pem --tls-key key.pem --data /var/lib/beeline
  beeline --json serve --listen 127.0.0.1:0 --grpc 127.0.0.1:0 --data ./server

The first start creates a network; every start prints a fresh invite link (100 uses, 7 days). More
links: `beeline network invite --data DIR`. The servers never see what people write, and may be
down: links between devices stay, and devices find each other through coordinators.

Inside runs one coordinator: a member named coordinator_1, in the directory coordinator of --data.
It keeps its address from start to start, for others remember it. It dials the servers as everybody
does, at --public-url. SIGINT and SIGTERM drain and end everything.")]
pub(crate) struct ServeArgs {
    /// Where REST and the signalling WebSocket listen; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
    /// Where gRPC listens; port 0 picks a free one; with TLS where it is not loopback
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8081")]
    pub(crate) grpc: SocketAddr,
    /// Where the servers keep their data [default: $XDG_DATA_HOME/beeline-server]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Serve without a coordinator of its own
    #[arg(long)]
    pub(crate) no_coordinator: bool,
    /// Where the coordinator's signalling socket listens [default: where it was last time, at first
    /// the port of --listen plus 2]
    #[arg(long, value_name = "ADDR", conflicts_with = "no_coordinator")]
    pub(crate) coordinator_listen: Option<SocketAddr>,
    /// Origin under which others reach the coordinator [default: the host of --public-url, and the
    /// port it listens on]
    #[arg(long, value_name = "URL", conflicts_with = "no_coordinator")]
    pub(crate) coordinator_url: Option<String>,
    /// Certificate authorities in PEM that the coordinator trusts beside the system's
    #[arg(long, value_name = "FILE", conflicts_with = "no_coordinator")]
    pub(crate) ca: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) keep: KeepArgs,
    #[command(flatten)]
    pub(crate) link: LinkArgs,
    /// Keep the registry in PostgreSQL: postgres://user:password@host/database
    #[arg(
        long,
        value_name = "URL",
        env = "BEELINE_DATABASE_URL",
        hide_env_values = true
    )]
    pub(crate) database_url: Option<String>,
    /// Certificate chain in PEM, for https and wss; the end entity first
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Private key in PEM of the certificate
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// What the edge says to the outside
    #[command(flatten)]
    pub(crate) edge: beeline_gateway::EdgeArgs,
    /// Where Prometheus metrics of the gateway are served, the registry's at the next port; keep
    /// both off the internet [default: nowhere]
    #[arg(long, value_name = "ADDR")]
    pub(crate) metrics: Option<SocketAddr>,
    /// Describe the gRPC services to whoever asks, also when not on loopback
    #[arg(long)]
    pub(crate) reflection: bool,
}
