//! `beeline serve`: registry, gateway and a coordinator in one process. They meet only on the wire,
//! here as anywhere: the gateway dials the registry's gRPC, the coordinator both.

mod coordinator;

use crate::cli::data_dir;
use crate::cli::fail::{Exit, Failure};
use crate::cli::line::Line;
use crate::cli::plain::{self, host};
use crate::cli::print::Printer;
use crate::cli::registry::{SERVE_FILE, ServeFile};
use crate::cli::serve_args::ServeArgs;
use crate::cli::stop::Stop;
use beeline::rtc::IceMode;
use beeline_gateway::Gateway;
use beeline_proto::origin::normalize;
use beeline_proto::pb::identity::v1::Role;
use beeline_registry::Registry;
use coordinator::Embedded;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Who may join with the link that every start prints.
const INVITE_USES: u32 = 100;

/// How long that link works: 7 days.
const INVITE_TTL: Duration = Duration::from_secs(7 * 24 * 3600);

/// Serves until a signal.
pub(crate) async fn serve(
    printer: Printer,
    ice: IceMode,
    args: ServeArgs,
) -> Result<Exit, Failure> {
    let mut stop = Stop::listen()?;
    let data = args
        .data
        .clone()
        .map_or_else(|| data_dir("beeline-server"), Ok)?;
    let servers = Servers::start(&args, &data).await?;
    if let Some(warning) = plain::warning([&servers.gateway.public_url]) {
        printer.notice(&warning);
    }
    let coordinator = if args.no_coordinator {
        Ok(None)
    } else {
        let started = Embedded::start(&servers, &args, &data, (printer, ice)).await;
        started.map(Some)
    };
    let served = match &coordinator {
        Ok(coordinator) => until_stopped(printer, &servers, coordinator.as_ref(), &mut stop).await,
        Err(failure) => Err(failure.clone()),
    };
    if let Ok(Some(coordinator)) = coordinator {
        coordinator.shutdown().await;
    }
    servers.shutdown().await;
    served.map(|()| Exit::Done)
}

/// Says that everything is ready, and waits for a signal.
async fn until_stopped(
    printer: Printer,
    servers: &Servers,
    coordinator: Option<&Embedded>,
    stop: &mut Stop,
) -> Result<(), Failure> {
    let coordinator = coordinator.and_then(Embedded::signal_addr);
    let ready = servers.announce(coordinator).await?;
    printer.line(&ready).await?;
    stop.asked().await;
    Ok(())
}

/// Both servers, running.
pub(crate) struct Servers {
    registry: beeline_registry::Running,
    gateway: beeline_gateway::Running,
    network: String,
    /// Where the gateway and commands on this machine dial gRPC.
    grpc: String,
    certificate: Option<PathBuf>,
    data: PathBuf,
}

impl Servers {
    /// Starts them, and makes sure there is a network that names them.
    pub(crate) async fn start(args: &ServeArgs, data: &Path) -> Result<Self, Failure> {
        let public = public_origins(args)?;
        private_dir(data)?;
        let tls = args.tls_cert.is_some() && !args.grpc.ip().is_loopback();
        let registry = Registry::start(registry_config(args, data, tls)).await;
        let registry = registry.map_err(|error| Failure::new(format!("registry: {error}")))?;
        let grpc = grpc_url(registry.grpc_addr, tls, &public);
        let gateway = Gateway::start(beeline_gateway::Config {
            listen: args.listen,
            registry: grpc.clone(),
            registry_ca: args.tls_cert.clone().filter(|_| tls),
            gateway_token_file: registry.gateway_token_path.clone(),
            tls_cert: args.tls_cert.clone(),
            tls_key: args.tls_key.clone(),
            cache_dir: Some(data.join("gateway")),
            metrics: args.metrics,
            edge: args.edge.clone(),
            ..beeline_gateway::Config::default()
        });
        let gateway = gateway.await;
        let gateway = match gateway {
            Ok(gateway) => gateway,
            Err(error) => {
                registry.shutdown().await;
                return Err(Failure::new(format!("gateway: {error}")));
            }
        };
        let origins = if public.is_empty() {
            vec![gateway.public_url.clone()]
        } else {
            public
        };
        let network = registry
            .ensure_network(None, &origins, std::slice::from_ref(&grpc))
            .await;
        let network = network.map_err(|error| Failure::new(format!("network: {error}")))?;
        Ok(Self {
            registry,
            gateway,
            network,
            grpc,
            certificate: args.tls_cert.clone().filter(|_| tls),
            data: data.to_owned(),
        })
    }

    /// A fresh invite link.
    pub(crate) async fn invite(&self) -> Result<String, Failure> {
        self.invite_as(Role::Member, INVITE_USES, INVITE_TTL).await
    }

    /// An invite link for so many uses and so long.
    async fn invite_as(&self, role: Role, uses: u32, ttl: Duration) -> Result<String, Failure> {
        let network = self.network.as_str();
        let link = self.registry.create_invite(network, role, uses, ttl);
        let link = link
            .await
            .map_err(|error| Failure::new(format!("invite: {error}")))?;
        Ok(link.to_text())
    }

    /// The line that says everything is ready, once commands on this machine can find us.
    async fn announce(&self, coordinator: Option<String>) -> Result<Line, Failure> {
        let invite = self.invite().await?;
        self.write_serve_file()?;
        Ok(Line::Ready {
            url: self.gateway.public_url.clone(),
            grpc: self.registry.grpc_addr.to_string(),
            network: self.network.clone(),
            invite,
            coordinator,
        })
    }

    fn write_serve_file(&self) -> Result<(), Failure> {
        let shown = |path: &Path| path.display().to_string();
        let file = ServeFile {
            grpc: self.grpc.clone(),
            network: self.network.clone(),
            operator_token: shown(&self.registry.operator_token_path),
            certificate: self.certificate.as_deref().map(shown).unwrap_or_default(),
        };
        let (path, draft) = (self.data.join(SERVE_FILE), self.data.join("serve.json.new"));
        let text = serde_json::to_string(&file).unwrap_or_default();
        let write = || -> std::io::Result<()> {
            let mut options = std::fs::OpenOptions::new();
            let mut out = options
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&draft)?;
            writeln!(out, "{text}")?;
            std::fs::rename(&draft, &path)
        };
        write().map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))
    }

    /// Drains both, the gateway first: it reports its closed sockets to the registry.
    pub(crate) async fn shutdown(self) {
        // Left behind, it would send people to a server that is not there.
        let _ = std::fs::remove_file(self.data.join(SERVE_FILE));
        self.gateway.shutdown().await;
        self.registry.shutdown().await;
    }
}

fn registry_config(args: &ServeArgs, data: &Path, tls: bool) -> beeline_registry::Config {
    let next = |addr: SocketAddr| match addr.port() {
        0 => addr,
        port => SocketAddr::new(addr.ip(), port.saturating_add(1)),
    };
    beeline_registry::Config {
        grpc: args.grpc,
        data: data.to_owned(),
        database_url: args.database_url.clone(),
        tls_cert: args.tls_cert.clone().filter(|_| tls),
        tls_key: args.tls_key.clone().filter(|_| tls),
        metrics: args.metrics.map(next),
        reflection: args.reflection,
        ..beeline_registry::Config::default()
    }
}

/// The origins given by `--public-url`. Listening everywhere is no address anybody can dial.
fn public_origins(args: &ServeArgs) -> Result<Vec<String>, Failure> {
    if args.edge.public_urls.is_empty() && args.listen.ip().is_unspecified() {
        return Err(Failure::usage(format!(
            "--listen {} is every address of this machine: say with --public-url which one clients \
             dial, such as --public-url https://chat.example.org",
            args.listen
        )));
    }
    let origin = |url: &String| {
        normalize(url).ok_or_else(|| {
            Failure::usage(format!(
                "--public-url {url:?} is no URL such as https://chat.example.org"
            ))
        })
    };
    args.edge.public_urls.iter().map(origin).collect()
}

/// Where gRPC is dialled: by the certificate's name where there is one, else on this machine.
fn grpc_url(addr: SocketAddr, tls: bool, public: &[String]) -> String {
    let port = addr.port();
    let local = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    if !tls {
        return format!("http://{}", SocketAddr::new(local, port));
    }
    match public.first().and_then(|origin| host(origin)) {
        Some(host) => format!("https://{host}:{port}"),
        None => format!("https://{}", SocketAddr::new(local, port)),
    }
}

fn private_dir(path: &Path) -> Result<(), Failure> {
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path);
    made.map_err(|error| Failure::new(format!("cannot make {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    pub(super) fn args(line: &[&str]) -> ServeArgs {
        let line = [&["beeline", "serve"], line].concat();
        let cli = crate::cli::args::Cli::try_parse_from(line).expect("complete");
        let crate::cli::args::Command::Serve(args) = cli.command else {
            panic!("serve is serve");
        };
        *args
    }

    #[test]
    fn everywhere_is_no_address_to_dial() {
        let refused = public_origins(&args(&["--listen", "0.0.0.0:80"])).expect_err("nowhere");
        assert_eq!(refused.exit, Exit::Usage);
        let given = [
            "--listen",
            "0.0.0.0:80",
            "--public-url",
            "https://Chat.Example.org/",
        ];
        assert_eq!(
            public_origins(&args(&given)),
            Ok(vec!["https://chat.example.org".to_owned()])
        );
        assert_eq!(public_origins(&args(&[])), Ok(Vec::new()));
    }

    #[test]
    fn grpc_is_dialled_where_its_certificate_is_good() {
        let addr: SocketAddr = "0.0.0.0:8081".parse().expect("an address");
        let public = vec!["https://chat.example.org".to_owned()];
        assert_eq!(grpc_url(addr, false, &public), "http://127.0.0.1:8081");
        assert_eq!(
            grpc_url(addr, true, &public),
            "https://chat.example.org:8081"
        );
        let six: SocketAddr = "[::]:1".parse().expect("an address");
        assert_eq!(grpc_url(six, false, &[]), "http://[::1]:1");
    }

    #[test]
    fn the_defaults_stay_on_this_machine() {
        let args = args(&[]);
        assert!(args.listen.ip().is_loopback() && args.grpc.ip().is_loopback());
        assert!(args.metrics.is_none() && !args.reflection);
    }
}
