//! `beeline doctor`: how this host is connected, and what to change.
//!
//! Every check asks the way Beeline itself asks. What is told never holds a key, a token, a
//! password or another person's address.

mod nat;
mod servers;
mod stun;
mod turn;
mod verdict;

pub use nat::Nat;

use crate::error::QueryError;
use crate::home::Home;
use crate::identity::Identity;
use crate::limits::{DOCTOR_SERVERS_MAX, DOCTOR_STEP, ICE_SERVERS_MAX};
use crate::options::Options;
use crate::rest::{Gateways, Rest, TokenError};
use crate::rtc::{IceServer, LinkReport};
use crate::tls;
use beeline_proto::chain::VerifiedChain;
use beeline_proto::id::Label;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use stun::{From, Seen, any_towards, ask, socket_towards};

/// How one thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// It works, and could be better.
    Note,
    /// It does not work.
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What: one of a small set, such as `"nat-v4"`.
    pub name: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// The result in a word, for programs, where there is one.
    pub value: Option<String>,
    /// For people.
    pub detail: String,
    /// What to change, for people.
    pub advice: Option<String>,
    /// How long the answer took.
    pub took: Option<Duration>,
}

impl Check {
    fn new(name: &'static str, verdict: Verdict, detail: String) -> Self {
        Self {
            name,
            verdict,
            value: None,
            detail,
            advice: None,
            took: None,
        }
    }

    fn good(name: &'static str, detail: String) -> Self {
        Self::new(name, Verdict::Good, detail)
    }

    fn bad(name: &'static str, detail: String, advice: &str) -> Self {
        Self::new(name, Verdict::Bad, detail).advise(advice)
    }

    fn advise(self, advice: &str) -> Self {
        let advice = Some(advice.to_owned());
        Self { advice, ..self }
    }

    fn value(self, value: String) -> Self {
        let value = Some(value);
        Self { value, ..self }
    }

    fn took(self, took: Duration) -> Self {
        let took = Some(took);
        Self { took, ..self }
    }
}

/// What a running client knows of its own connections.
#[derive(Debug, Clone, Default)]
pub(crate) struct Running {
    /// The gateway its socket is open to.
    pub(crate) gateway: Option<String>,
    /// Its open links.
    pub(crate) links: Vec<Linked>,
}

/// One open link.
#[derive(Debug, Clone)]
pub(crate) struct Linked {
    pub(crate) user: Label,
    pub(crate) device: Label,
    pub(crate) report: LinkReport,
}

/// Examines the host for the home of `options`, which nobody runs. Needs no lock.
///
/// # Errors
/// [`TokenError`]: the home cannot be used.
pub async fn at_rest(options: &Options) -> Result<Vec<Check>, TokenError> {
    examine(options, None).await
}

/// The same, and the connections of the client that runs there.
pub(crate) async fn examine(
    options: &Options,
    running: Option<&Running>,
) -> Result<Vec<Check>, TokenError> {
    let home = Home::at(&options.home);
    let identity = Arc::new(Identity::load(&home).map_err(QueryError::from)?);
    let chain = VerifiedChain::open(&identity.chain, identity.network)?;
    let gateways = Gateways::of(&identity.gateways, &chain);
    let tls = tls::client_config(options.ca.as_deref())?;
    let rest = Rest::new(Arc::clone(&identity), gateways.clone(), &tls);

    let gateways = gateways.dial.into_iter().take(DOCTOR_SERVERS_MAX);
    let asked = gateways.map(servers::gateway);
    let mut checks = futures::future::join_all(asked).await;
    let signed_in = in_time("sign-in", servers::sign_in(&rest)).await;
    let is_in = signed_in.iter().all(|check| check.verdict != Verdict::Bad);
    checks.extend(signed_in);
    // Who is not let in need not ask.
    let mut given = Vec::new();
    if is_in {
        checks.extend(in_time("registry", servers::record(&rest, &identity)).await);
        let (told, servers) = ice_servers(&rest, options).await;
        checks.push(told);
        given = servers;
    } else if let Ok(config) = options.rtc(&[]) {
        given = config.ice_servers;
    }
    checks.extend(verdict::privacy(options.ice, &given));
    checks.extend(by_udp(&given).await);
    checks.extend(by_turn(&given).await);
    checks.extend(running.into_iter().flat_map(connections));
    verdict::advise_on_the_whole(&mut checks);
    Ok(checks)
}

/// Waits for checks, or says that they took too long.
async fn in_time(name: &'static str, checks: impl Future<Output = Vec<Check>>) -> Vec<Check> {
    let done = tokio::time::timeout(DOCTOR_STEP, checks).await;
    done.unwrap_or_else(|_| {
        let detail = format!("no answer within {} s", DOCTOR_STEP.as_secs());
        vec![Check::bad(
            name,
            detail,
            "see whether the servers are up and not overloaded",
        )]
    })
}

/// The servers that links use, and where they are from.
async fn ice_servers(rest: &Rest, options: &Options) -> (Check, Vec<IceServer>) {
    let asked = tokio::time::timeout(DOCTOR_STEP, rest.ice_servers()).await;
    let (told, given) = match asked {
        Ok(Ok((servers, _))) => (None, servers),
        Ok(Err(error)) => (Some(error.to_string()), Vec::new()),
        Err(_) => (
            Some("the gateway names none in time".to_owned()),
            Vec::new(),
        ),
    };
    let servers = options.rtc(&given).map(|config| config.ice_servers);
    let servers = servers.unwrap_or_default();
    let urls: Vec<&str> = urls(&servers).collect();
    let check = match (told, urls.is_empty()) {
        (None, false) => Check::good("ice-servers", urls.join(", ")),
        (None, true) => verdict::no_servers(),
        (Some(why), _) => {
            let advice = "links are made with host addresses and --ice-server alone";
            let check = Check::new("ice-servers", Verdict::Note, why);
            check.advise(advice)
        }
    };
    (check.value(urls.len().to_string()), servers)
}

fn urls(servers: &[IceServer]) -> impl Iterator<Item = &str> {
    let all = servers.iter().flat_map(|server| &server.urls);
    all.map(String::as_str)
}

/// Whether this host has a route there: no family is missed that it does not have. Connecting a
/// datagram socket sends nothing.
fn has_way_to(address: SocketAddr) -> bool {
    let socket = std::net::UdpSocket::bind(any_towards(address));
    socket.is_ok_and(|socket| socket.connect(address).is_ok())
}

/// The addresses of every STUN server that this host has a way to, TURN servers included: they
/// answer the same questions.
async fn stun_addresses(servers: &[IceServer]) -> Vec<(String, SocketAddr)> {
    let mut found: Vec<(String, SocketAddr)> = Vec::new();
    for url in urls(servers).take(ICE_SERVERS_MAX) {
        let Some((_, rest)) = url.split_once(':') else {
            continue;
        };
        let host = rest.split('?').next().unwrap_or(rest);
        let named = match host.rsplit_once(':') {
            Some((_, port)) if port.parse::<u16>().is_ok() => host.to_owned(),
            _ => format!("{host}:3478"),
        };
        let Ok(addresses) = tokio::net::lookup_host(&named).await else {
            continue;
        };
        for address in addresses.filter(|address| has_way_to(*address)) {
            if !found.iter().any(|(_, known)| *known == address) {
                found.push((host.to_owned(), address));
            }
        }
    }
    found.truncate(DOCTOR_SERVERS_MAX);
    found
}

/// Asks one STUN server; what it is called, where it is, and how it sees us.
async fn asked((host, at): (String, SocketAddr)) -> (String, SocketAddr, Option<Seen>) {
    let seen = match socket_towards(at).await {
        Ok(socket) => ask(&socket, at, From::Here).await,
        Err(_) => None,
    };
    (host, at, seen)
}

/// Asks every STUN server, and finds out what kind of NAT there is, for each family.
async fn by_udp(servers: &[IceServer]) -> Vec<Check> {
    let addresses = stun_addresses(servers).await;
    if addresses.is_empty() {
        return Vec::new();
    }
    let asked = addresses.into_iter().map(asked);
    let answers = futures::future::join_all(asked).await;
    let mut checks: Vec<Check> = answers
        .iter()
        .map(|(host, at, seen)| verdict::stun(host, *at, *seen))
        .collect();
    for is_v4 in [true, false] {
        let of_family = answers.iter().filter(|(_, at, _)| at.is_ipv4() == is_v4);
        let mut answering = of_family.filter(|(_, _, seen)| seen.is_some());
        let first = answering.next().map(|(_, at, _)| *at);
        let second = answering.map(|(_, at, _)| *at);
        let second = second
            .into_iter()
            .find(|at| first.is_some_and(|f| f.ip() != at.ip()));
        let found = match first {
            Some(first) => nat::discover(first, second).await,
            None => None,
        };
        checks.extend(verdict::nat(
            is_v4,
            found,
            answers.iter().any(|(_, _, s)| s.is_some()),
        ));
    }
    checks
}

/// Asks every TURN server for an address.
async fn by_turn(servers: &[IceServer]) -> Vec<Check> {
    let mut checks = Vec::new();
    let turn = servers.iter().filter(|server| !server.username.is_empty());
    for server in turn.take(DOCTOR_SERVERS_MAX) {
        let reached = !stun_addresses(std::slice::from_ref(server))
            .await
            .is_empty();
        let took = match reached {
            true => turn::allocate(server).await,
            false => None,
        };
        checks.push(verdict::turn(&server.urls, reached, took));
    }
    checks
}

/// What a running client is connected with.
fn connections(running: &Running) -> Vec<Check> {
    let socket = match &running.gateway {
        Some(gateway) => Check::good(
            "socket",
            format!("the signalling socket is open to {gateway}"),
        ),
        None => Check::new(
            "socket",
            Verdict::Note,
            "no signalling socket to a gateway".to_owned(),
        )
        .advise("it is dialled again by itself; coordinators carry calls meanwhile"),
    };
    let links = running.links.iter().map(verdict::link);
    [socket].into_iter().chain(links).collect()
}
