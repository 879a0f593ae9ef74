//! Why a gateway does not start.

use crate::registry_client::ClientError;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why [`crate::Gateway::start`] failed; each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A file cannot be read.
    #[error("cannot read {what} {path:?}: {error}")]
    File {
        /// What it is for.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}: {error}")]
    Listen {
        /// Which.
        addr: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// `--public-url` is no origin.
    #[error("--public-url {0:?} must be http://host[:port] or https://host[:port]")]
    PublicUrl(String),
    /// The registry's address or credential is unusable.
    #[error(transparent)]
    Registry(#[from] ClientError),
    /// The certificate or key is unusable.
    #[error("TLS: {0}")]
    Tls(String),
    /// A flag's value is unusable.
    #[error("{0}")]
    Flag(String),
}
