//! The coordinator inside `serve`: an ordinary member with a home of its own, joined by itself at
//! the first start, then run like `run --coordinator` in this process.

use super::Servers;
use crate::cli::fail::Failure;
use crate::cli::print::Printer;
use crate::cli::reach::{Context, Owned};
use crate::cli::serve_args::ServeArgs;
use beeline::coordinator::last_port;
use beeline::error::JoinError;
use beeline::home::Home;
use beeline::identity::Identity;
use beeline::join::join;
use beeline::rtc::IceMode;
use beeline::{CoordinatorOptions, Options};
use beeline_proto::pb::identity::v1::Role;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// Its userId (`coordinator` alone is reserved for routes), where nobody has taken it: a second
/// `serve` on one database finds it taken.
const USER: &str = "coordinator_1";

/// How long the link it joins with works: it is used at once.
const INVITE_TTL: Duration = Duration::from_secs(600);

/// How far its default port is from the gateway's; the registry's is between.
const PORT_STEP: u16 = 2;

/// The coordinator, running.
pub(crate) struct Embedded {
    owned: Owned,
}

impl Embedded {
    /// Joins where it has not yet, and starts it.
    pub(crate) async fn start(
        servers: &Servers,
        args: &ServeArgs,
        data: &Path,
        (printer, ice): (Printer, IceMode),
    ) -> Result<Self, Failure> {
        let home = Home::at(&data.join("coordinator"));
        let context = Context { home, printer, ice };
        let options = options(&context, args);
        let started = start(&context, options, servers).await;
        let owned = started.map_err(|failure| {
            Failure::new(format!(
                "the coordinator inside cannot start: {failure}; --no-coordinator serves without it"
            ))
        })?;
        Ok(Self { owned })
    }

    /// Where it serves.
    pub(crate) fn signal_addr(&self) -> Option<String> {
        self.owned.client.who().served.clone()
    }

    /// Says GOODBYE and gives its home back.
    pub(crate) async fn shutdown(self) {
        self.owned.shutdown().await;
    }
}

async fn start(context: &Context, options: Options, servers: &Servers) -> Result<Owned, Failure> {
    if context.home.is_joined() {
        let identity = Identity::load(&context.home);
        let identity = identity.map_err(|error| Failure::new(error.to_string()))?;
        if identity.network_label.as_str() != servers.network {
            return Err(Failure::new(format!(
                "{} is a device of the network {}, not of {}; move it away",
                context.home.dir().display(),
                identity.network_label,
                servers.network
            )));
        }
    } else {
        join_as_coordinator(&options, servers).await?;
    }
    context.own(options).await
}

async fn join_as_coordinator(options: &Options, servers: &Servers) -> Result<(), Failure> {
    let link = servers.invite_as(Role::Coordinator, 1, INVITE_TTL).await?;
    let mut joined = join(options, &link, USER, None).await;
    if let Err(JoinError::UserTaken(_)) = joined {
        let mut random = [0; 4];
        getrandom::fill(&mut random).map_err(|error| Failure::new(error.to_string()))?;
        let user = format!("coordinator_{:08x}", u32::from_be_bytes(random));
        joined = join(options, &link, &user, None).await;
    }
    let Err(error) = joined else {
        return Ok(());
    };
    let text = error.to_string();
    let advice = if text.contains("certificate") {
        "; where a private authority signed the server's certificate, give it with --ca FILE"
    } else {
        ""
    };
    Err(Failure::new(format!("{text}{advice}")))
}

fn options(context: &Context, args: &ServeArgs) -> Options {
    let coordinator = CoordinatorOptions {
        listen: listen(args, last_port(&context.home)),
        public_url: public_url(args),
        tls_cert: args.tls_cert.clone(),
        tls_key: args.tls_key.clone(),
    };
    Options {
        // A certificate that nobody else signed is its own authority.
        ca: args.ca.clone().or_else(|| args.tls_cert.clone()),
        coordinator: Some(coordinator),
        keep: args.keep.keep(),
        relay_files_per_s: args.keep.relay_files,
        ..context.options("serve", &args.link)
    }
}

/// Where it listens: as told, else where it was last time, else beside the gateway.
fn listen(args: &ServeArgs, last: Option<u16>) -> SocketAddr {
    if let Some(told) = args.coordinator_listen {
        return told;
    }
    let beside = match (last, args.listen.port()) {
        // Port 0 takes the one of last time.
        (Some(_), _) | (None, 0) => 0,
        (None, port) => port.checked_add(PORT_STEP).unwrap_or_default(),
    };
    SocketAddr::new(args.listen.ip(), beside)
}

/// The origin others dial: as told, else the gateway's host with the port it listens on, which
/// port 0 stands for.
fn public_url(args: &ServeArgs) -> Option<String> {
    args.coordinator_url.clone().or_else(|| {
        let url = args.edge.public_urls.first()?;
        let (scheme, _) = url.split_once("://")?;
        Some(format!("{scheme}://{}:0", crate::cli::plain::host(url)?))
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::args;
    use super::*;

    #[test]
    fn it_listens_beside_the_gateway_and_stays_there() {
        let at = |line: &[&str], last| listen(&args(line), last).to_string();
        assert_eq!(at(&[], None), "127.0.0.1:8082");
        assert_eq!(at(&["--listen", "0.0.0.0:443"], None), "0.0.0.0:445");
        assert_eq!(at(&["--listen", "127.0.0.1:0"], None), "127.0.0.1:0");
        assert_eq!(
            at(&["--listen", "127.0.0.1:9000"], Some(8082)),
            "127.0.0.1:0"
        );
        assert_eq!(at(&["--listen", "[::1]:65535"], None), "[::1]:0");
        let told = ["--coordinator-listen", "127.0.0.1:7"];
        assert_eq!(at(&told, Some(8082)), "127.0.0.1:7");
    }

    #[test]
    fn it_is_found_at_the_gateways_host() {
        let of = |line: &[&str]| public_url(&args(line));
        assert_eq!(of(&[]), None);
        let public = ["--public-url", "https://chat.example.org"];
        assert_eq!(of(&public).as_deref(), Some("https://chat.example.org:0"));
        let told = ["--coordinator-url", "https://hub.example.org"];
        let told = of(&[&public[..], &told[..]].concat());
        assert_eq!(told.as_deref(), Some("https://hub.example.org"));
    }
}
