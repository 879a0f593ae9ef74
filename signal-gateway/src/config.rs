//! What a gateway is told at its start. Flags of `beeline-gateway`; `beeline serve` shares
//! [`EdgeArgs`] and fills in the rest.

use crate::limits::{ICE_TTL_MAX_S, ICE_TTL_MIN_S, Limits};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// Where `beeline-gateway` listens by default.
pub const DEFAULT_LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// A gateway's configuration.
#[derive(Clone, Debug, clap::Args)]
pub struct Config {
    /// Address to serve REST and WebSocket on; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value_t = DEFAULT_LISTEN)]
    pub listen: SocketAddr,
    /// The registry's gRPC
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8081")]
    pub registry: String,
    /// PEM certificate by which an https registry is trusted
    #[arg(long, value_name = "FILE")]
    pub registry_ca: Option<PathBuf>,
    /// Secret shared with the registry, which creates the file in its data directory
    #[arg(long, value_name = "FILE", default_value = "gateway.token")]
    pub gateway_token_file: PathBuf,
    /// PEM certificate chain; with it, https and wss are served
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// PEM private key of the certificate
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Directory for signed lists and token keys, so that a gateway can start while the registry
    /// is down
    #[arg(long, value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
    /// Address to serve Prometheus metrics on
    #[arg(long, value_name = "ADDR")]
    pub metrics: Option<SocketAddr>,
    /// What the edge says to the outside.
    #[command(flatten)]
    pub edge: EdgeArgs,
    /// Rates, counts and time-outs.
    #[arg(skip)]
    pub limits: Limits,
}

/// Flags that `beeline serve` has too.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct EdgeArgs {
    /// Origin under which clients reach this gateway, such as `https://signal.example`; may be given
    /// again. Default: the listen address
    #[arg(long = "public-url", value_name = "URL")]
    pub public_urls: Vec<String>,
    /// STUN server handed to clients, such as stun:stun.example:3478; may be given again
    #[arg(long = "stun", value_name = "URL")]
    pub stun: Vec<String>,
    /// TURN server handed to clients, such as turn:turn.example:3478; may be given again
    #[arg(long = "turn-url", value_name = "URL", requires = "turn_secret_file")]
    pub turn_urls: Vec<String>,
    /// File with the secret shared with the TURN servers (static-auth-secret)
    #[arg(long, value_name = "FILE")]
    pub turn_secret_file: Option<PathBuf>,
    /// How long TURN credentials last, seconds; clients ask anew at half of it. Default: 600
    #[arg(long, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(ICE_TTL_MIN_S..=ICE_TTL_MAX_S))]
    pub turn_ttl: Option<u64>,
    /// Web origin whose pages may use this gateway, such as `https://app.example`; may be given again
    #[arg(long = "allow-origin", value_name = "ORIGIN")]
    pub allow_origins: Vec<String>,
    /// Connections taken from one IPv4 address or IPv6 /64, loopback exempt; raise it behind a
    /// reverse proxy. Default: 4096, of which 64 without a credential
    #[arg(long, value_name = "N")]
    pub max_connections_per_ip: Option<usize>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: DEFAULT_LISTEN,
            registry: "http://127.0.0.1:8081".into(),
            registry_ca: None,
            gateway_token_file: "gateway.token".into(),
            tls_cert: None,
            tls_key: None,
            cache_dir: None,
            metrics: None,
            edge: EdgeArgs::default(),
            limits: Limits::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args as _, Command, FromArgMatches as _};

    #[test]
    fn flags_and_defaults_agree() {
        let command = Config::augment_args(Command::new("beeline-gateway"));
        command.clone().debug_assert();
        let matches = command
            .try_get_matches_from(["beeline-gateway"])
            .expect("no flag is needed");
        let parsed = Config::from_arg_matches(&matches).expect("defaults parse");
        assert_eq!(format!("{parsed:?}"), format!("{:?}", Config::default()));
    }
}
