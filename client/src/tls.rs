//! TLS for REST and the signalling socket: rustls with ring, the system's certificate
//! authorities, and those of `--ca`.

use crate::error::TlsError;
use crate::limits::CA_LEN_MAX;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

/// A client configuration that trusts the system's authorities and those in `ca` (PEM).
///
/// # Errors
/// [`TlsError`]: `ca` cannot be read or holds no certificate.
pub fn client_config(ca: Option<&Path>) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::debug!(%error, "a system certificate cannot be read");
    }
    // One unreadable authority of the system's must not stop the others.
    roots.add_parsable_certificates(native.certs);
    if let Some(path) = ca {
        for certificate in read_ca(path)? {
            let added = roots.add(certificate);
            added.map_err(|e| ca_error(path, e.to_string()))?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| TlsError::Config(e.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn read_ca(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let file = File::open(path).map_err(|e| ca_error(path, e.to_string()))?;
    let mut pem = Vec::new();
    let read = file.take(CA_LEN_MAX).read_to_end(&mut pem);
    read.map_err(|e| ca_error(path, e.to_string()))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates = certificates.map_err(|e| ca_error(path, e.to_string()))?;
    if certificates.is_empty() {
        return Err(ca_error(path, "it holds no PEM certificate".to_owned()));
    }
    Ok(certificates)
}

fn ca_error(path: &Path, why: String) -> TlsError {
    let path = path.to_owned();
    TlsError::Ca { path, why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_authority_is_added_and_nonsense_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("ca.pem");
        let missing = client_config(Some(&path)).expect_err("missing");
        assert!(missing.to_string().contains("ca.pem"), "{missing}");
        std::fs::write(&path, "no certificate").expect("written");
        client_config(Some(&path)).expect_err("empty");
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
        std::fs::write(&path, made.cert.pem()).expect("written");
        client_config(Some(&path)).expect("taken");
        client_config(None).expect("the system's alone");
    }
}
