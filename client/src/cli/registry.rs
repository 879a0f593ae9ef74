//! The way of `beeline network` to the registry's gRPC: as the operator of a `serve` on this
//! machine, or as an admin from home.

use super::fail::Failure;
use super::network_args::Authority;
use super::reach::Context;
use super::token;
use beeline::identity::Identity;
use beeline_proto::chain::VerifiedChain;
use beeline_proto::code::ErrorCode;
use beeline_proto::id::{Label, NetworkFp};
use beeline_proto::pb::registry::v1::registry_service_client::RegistryServiceClient;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Status};

/// What `serve` leaves in its data directory for commands on the same machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServeFile {
    /// Where gRPC answers, such as `http://127.0.0.1:8081`.
    pub(crate) grpc: String,
    /// The networkId of the first network.
    pub(crate) network: String,
    /// File with the operator's token.
    pub(crate) operator_token: String,
    /// PEM file that verifies the registry's certificate; empty without TLS.
    #[serde(default)]
    pub(crate) certificate: String,
}

/// Its name.
pub(crate) const SERVE_FILE: &str = "serve.json";

/// Longest file of a server's data directory that is read, bytes.
const FILE_LEN_MAX: u64 = 64 * 1024;

/// Until a call must have answered.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// A registry, and the right to administer a network of it.
pub(crate) struct Registry {
    /// The service.
    pub(crate) service: RegistryServiceClient<Channel>,
    /// The network meant.
    pub(crate) network: Label,
    /// What it is, where that is known from elsewhere than the registry.
    pub(crate) pinned: Option<NetworkFp>,
    authorization: MetadataValue<Ascii>,
}

impl Registry {
    /// Finds the registry and the credential.
    pub(crate) async fn reach(context: &Context, by: &Authority) -> Result<Self, Failure> {
        match &by.data {
            Some(data) => {
                let registry = by.registry.as_deref();
                Self::as_operator(data, registry, by.network.as_ref()).await
            }
            None => Self::as_admin(context, by).await,
        }
    }

    /// By the operator's token, which lies in the server's data directory.
    pub(crate) async fn as_operator(
        data: &Path,
        registry: Option<&str>,
        network: Option<&Label>,
    ) -> Result<Self, Failure> {
        let file = match registry {
            None => read_serve_file(data)?,
            Some(url) => ServeFile {
                grpc: url.to_owned(),
                network: String::new(),
                operator_token: data.join("operator.token").display().to_string(),
                certificate: String::new(),
            },
        };
        let network = match network {
            Some(network) => network.clone(),
            None => Label::new(&file.network)
                .map_err(|_| Failure::usage("say which network is meant: --network ID"))?,
        };
        let token = read(Path::new(&file.operator_token)).map_err(|error| {
            let path = &file.operator_token;
            Failure::new(format!(
                "cannot read the operator's token in {path}: {error}"
            ))
        })?;
        let certificate = Some(file.certificate.as_str()).filter(|path| !path.is_empty());
        let channel = connect(&file.grpc, certificate.map(Path::new))
            .await
            .map_err(|why| {
                let text = format!("{} does not answer ({why})", file.grpc);
                Failure::coded(
                    ErrorCode::Unavailable,
                    format!("{text}; {}", start_it(data)),
                )
            })?;
        Self::new(
            channel,
            network,
            None,
            &format!("Operator {}", token.trim()),
        )
    }

    async fn as_admin(context: &Context, by: &Authority) -> Result<Self, Failure> {
        let identity = Identity::load(&context.home);
        let identity = identity.map_err(|error| Failure::new(error.to_string()))?;
        if by
            .network
            .as_ref()
            .is_some_and(|network| *network != identity.network_label)
        {
            let ours = &identity.network_label;
            return Err(Failure::usage(format!(
                "this home belongs to {ours}: use another --home"
            )));
        }
        let chain = VerifiedChain::open(&identity.chain, identity.network);
        let chain = chain.map_err(|error| Failure::new(error.to_string()))?;
        let origins = &chain.descriptor.verified.payload().registry_origins;
        let token = token::fetch(context).await?;
        let ca = Some(context.ca_file()).filter(|file| file.exists());
        let mut why = "the network names no registry".to_owned();
        for origin in origins {
            match connect(origin, ca.as_deref()).await {
                Ok(channel) => {
                    let credential = format!("Bearer {}", token.text());
                    let pinned = Some(identity.network);
                    return Self::new(channel, identity.network_label, pinned, &credential);
                }
                Err(error) => why = format!("{origin}: {error}"),
            }
        }
        let text = format!("no registry can be reached from here ({why})");
        Err(Failure::coded(ErrorCode::Unavailable, text))
    }

    fn new(
        channel: Channel,
        network: Label,
        pinned: Option<NetworkFp>,
        credential: &str,
    ) -> Result<Self, Failure> {
        let mut authorization: MetadataValue<Ascii> = credential
            .parse()
            .map_err(|_| Failure::new("the credential is damaged: it is not plain text"))?;
        authorization.set_sensitive(true);
        Ok(Self {
            service: RegistryServiceClient::new(channel),
            network,
            pinned,
            authorization,
        })
    }

    /// A request with the credential.
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let value = self.authorization.clone();
        request.metadata_mut().insert("authorization", value);
        request
    }
}

/// What the registry said no with.
pub(crate) fn refused(status: &Status) -> Failure {
    let name = status
        .metadata()
        .get("beeline-code")
        .and_then(|name| name.to_str().ok());
    let code = name.and_then(ErrorCode::from_name);
    let text = match status.message() {
        "" => status.code().description(),
        text => text,
    };
    Failure {
        code,
        ..Failure::new(text)
    }
}

fn read_serve_file(data: &Path) -> Result<ServeFile, Failure> {
    let path = data.join(SERVE_FILE);
    let text = read(&path).map_err(|error| {
        let text = format!("no server runs with {} ({error})", data.display());
        Failure::coded(
            ErrorCode::Unavailable,
            format!("{text}; {}", start_it(data)),
        )
    })?;
    serde_json::from_str(&text)
        .map_err(|error| Failure::new(format!("{} is damaged: {error}", path.display())))
}

fn start_it(data: &Path) -> String {
    format!("start it first: beeline serve --data {}", data.display())
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?
        .take(FILE_LEN_MAX)
        .read_to_string(&mut text)?;
    Ok(text)
}

/// Connects, trusting the system's authorities and those in `ca`.
async fn connect(url: &str, ca: Option<&Path>) -> Result<Channel, String> {
    let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|error| error.to_string())?;
    let mut endpoint = endpoint.connect_timeout(CALL_TIMEOUT).timeout(CALL_TIMEOUT);
    if url.starts_with("https:") {
        let tls = ClientTlsConfig::new().trust_anchors(roots(ca)?.roots);
        endpoint = endpoint
            .tls_config(tls)
            .map_err(|error| error.to_string())?;
    }
    endpoint.connect().await.map_err(|error| deepest(&error))
}

/// The innermost cause: what a person can do something about.
fn deepest(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.last().map(ToString::to_string).unwrap_or_default()
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca {
        let pem = read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let added = certificate.map_err(|error| error.to_string());
            let added = added.and_then(|der| roots.add(der).map_err(|error| error.to_string()));
            added.map_err(|error| format!("{}: {error}", path.display()))?;
        }
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_without_a_server_says_how_to_start_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let missing = read_serve_file(dir.path()).expect_err("nothing is there");
        assert!(
            missing.message.contains("beeline serve --data"),
            "{missing}"
        );
        std::fs::write(dir.path().join(SERVE_FILE), "{").expect("written");
        let damaged = read_serve_file(dir.path()).expect_err("half a file");
        assert!(damaged.message.contains("damaged"), "{damaged}");
    }

    #[test]
    fn a_serve_file_survives() {
        let file = ServeFile {
            grpc: "http://127.0.0.1:1".into(),
            network: "home".into(),
            operator_token: "t".into(),
            certificate: String::new(),
        };
        let text = serde_json::to_string(&file).expect("written");
        assert_eq!(
            serde_json::from_str::<ServeFile>(&text).expect("read"),
            file
        );
    }
}
