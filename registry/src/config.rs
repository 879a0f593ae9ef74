//! What can be set. The same flags serve `beeline-registry` and `beeline serve`.

use clap::Args;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// Where it listens when nothing is said: loopback, so that nothing is public by accident.
const GRPC_DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8081);

/// Where it keeps its files when nothing is said.
const DATA_DEFAULT: &str = "beeline-data";

/// Settings of a registry.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// Address of the gRPC services; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value_t = GRPC_DEFAULT)]
    pub grpc: SocketAddr,

    /// Directory of the databases and credentials, 0700, one registry each
    #[arg(long, value_name = "DIR", default_value = DATA_DEFAULT)]
    pub data: PathBuf,

    /// PostgreSQL instead of SQLite: postgres://user:password@host/database
    #[arg(
        long,
        value_name = "URL",
        env = "BEELINE_DATABASE_URL",
        hide_env_values = true
    )]
    pub database_url: Option<String>,

    /// Largest size of each SQLite file, in pages of 4 KiB; SQLite's own bound otherwise
    #[arg(long, value_name = "PAGES")]
    pub sqlite_pages_max: Option<u32>,

    /// Certificate chain (PEM) to serve TLS with
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// Its private key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// The gateways' credential; made when missing [default: gateway.token in the data directory]
    #[arg(long, value_name = "FILE")]
    pub gateway_token_file: Option<PathBuf>,

    /// Origin of a gateway that new descriptors name, such as `https://signal.example`; repeatable
    #[arg(long = "gateway-origin", value_name = "URL")]
    pub gateway_origins: Vec<String>,

    /// Origin of a registry that new descriptors name; repeatable
    #[arg(long = "registry-origin", value_name = "URL")]
    pub registry_origins: Vec<String>,

    /// Describe the services to whoever asks, also when not on loopback
    #[arg(long)]
    pub reflection: bool,

    /// Address of the metrics, in plain HTTP at /metrics
    #[arg(long, value_name = "ADDR")]
    pub metrics: Option<SocketAddr>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            grpc: GRPC_DEFAULT,
            data: PathBuf::from(DATA_DEFAULT),
            database_url: None,
            sqlite_pages_max: None,
            tls_cert: None,
            tls_key: None,
            gateway_token_file: None,
            gateway_origins: Vec::new(),
            registry_origins: Vec::new(),
            reflection: false,
            metrics: None,
        }
    }
}

impl Config {
    /// The gateways' credential file.
    pub fn gateway_token_path(&self) -> PathBuf {
        let default = || self.data.join("gateway.token");
        self.gateway_token_file.clone().unwrap_or_else(default)
    }

    /// The operator's credential file.
    pub fn operator_token_path(&self) -> PathBuf {
        self.data.join("operator.token")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        config: Config,
    }

    #[test]
    fn the_flags_and_the_default_agree() {
        let parsed = Program::try_parse_from(["registry"])
            .expect("no flag is required")
            .config;
        assert_eq!(format!("{parsed:?}"), format!("{:?}", Config::default()));
    }

    #[test]
    fn half_of_a_tls_identity_is_refused() {
        for half in ["--tls-cert", "--tls-key"] {
            assert!(Program::try_parse_from(["registry", half, "x.pem"]).is_err());
        }
    }
}
