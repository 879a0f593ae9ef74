//! TLS for the listener: rustls with ring, from PEM files.

use crate::error::StartError;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// The acceptor of `--tls-cert` and `--tls-key`, which go together; `None` without both.
///
/// # Errors
/// [`StartError`]: a file is not usable, or one of the two is missing.
pub fn from_flags(
    cert: Option<&Path>,
    key: Option<&Path>,
) -> Result<Option<TlsAcceptor>, StartError> {
    match (cert, key) {
        (Some(cert), Some(key)) => Ok(Some(acceptor(cert, key)?)),
        (None, None) => Ok(None),
        _ => {
            let text = "--tls-cert and --tls-key go together";
            Err(StartError::Flag(text.into()))
        }
    }
}

/// Reads a certificate chain and its key. HTTP/1.1 is all that is offered (RFC 7301).
pub fn acceptor(cert: &Path, key: &Path) -> Result<TlsAcceptor, StartError> {
    let unusable = |path: &Path, error: &dyn std::fmt::Display| {
        StartError::Tls(format!("{} is not usable: {error}", path.display()))
    };
    let chain = CertificateDer::pem_file_iter(cert).map_err(|error| unusable(cert, &error))?;
    let chain: Vec<_> = chain
        .collect::<Result<_, _>>()
        .map_err(|error| unusable(cert, &error))?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(cert, &error))?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|error| unusable(cert, &error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
