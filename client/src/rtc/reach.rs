//! Which addresses a link sends checks to, and which of its own it tells (T-ICE-2, T-ICE-3). Pure.
//!
//! A peer names the addresses we send to, so it must not have us ask what only we reach: services
//! of this machine, of the provider that hosts it, or of our own network's servers. And what we
//! tell a peer is what it learns of us: [`IceMode`] says how much that may be.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use super::limits::MAX_OWN_SERVERS;

/// What a peer may learn of this host's addresses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum IceMode {
    /// Every address it could use.
    #[default]
    All,
    /// None of this host itself: what a STUN server sees of it, and TURN.
    NoPrivate,
    /// None: TURN alone.
    RelayOnly,
}

impl IceMode {
    /// Every mode, the most open first.
    pub const ALL: [Self; 3] = [Self::All, Self::NoPrivate, Self::RelayOnly];

    /// As typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::NoPrivate => "no-private",
            Self::RelayOnly => "relay-only",
        }
    }
}

impl fmt::Display for IceMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for IceMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut all = Self::ALL.into_iter();
        all.find(|mode| mode.name() == text)
            .ok_or_else(|| "it is all, no-private or relay-only".to_owned())
    }
}

/// Links over TCP (RFC 6544), where UDP does not get through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tcp {
    /// None.
    #[default]
    No,
    /// To peers that take streams.
    Dial,
    /// The same, and streams are taken: for a coordinator, which everybody must reach.
    Serve,
}

/// Addresses of our own network's servers, as far as they are known: gateways, registries, STUN and
/// TURN. Shared by all links of a client; at most [`MAX_OWN_SERVERS`].
#[derive(Debug, Clone, Default)]
pub struct OwnServers(Arc<Mutex<BTreeSet<SocketAddr>>>);

impl OwnServers {
    /// Takes note of some.
    pub fn add(&self, addresses: impl IntoIterator<Item = SocketAddr>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for address in addresses {
            if known.len() < MAX_OWN_SERVERS {
                known.insert(canonical(address));
            }
        }
    }

    /// Whether this is one.
    pub fn has(&self, address: SocketAddr) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.contains(&canonical(address))
    }
}

/// Mapped IPv6 as the IPv4 it stands for.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// What one link may send to, and tell.
#[derive(Debug, Clone, Default)]
pub struct Reach {
    /// What a peer may learn of this host.
    pub mode: IceMode,
    /// Whether candidates on this machine are wanted.
    pub loopback: bool,
    /// Whether and how TCP is used.
    pub tcp: Tcp,
    /// Where no check goes.
    pub servers: OwnServers,
}

impl Reach {
    /// Why no check may be sent to `to`, if so.
    pub fn refused(&self, to: SocketAddr) -> Option<&'static str> {
        let ip = stands_for(to.ip());
        let refused = match ip {
            ip if ip.is_loopback() => (!self.loopback).then_some("loopback"),
            IpAddr::V4(v4) => refused_v4(v4),
            IpAddr::V6(v6) => refused_v6(v6),
        };
        // A check to a private address shows the peer ours, if it is there.
        let hidden = self.mode == IceMode::NoPrivate && is_private(ip);
        refused
            .or_else(|| hidden.then_some("private"))
            .or_else(|| self.servers.has(to).then_some("our own server"))
    }

    /// Whether TCP is used at all: it would show this host where only TURN may be used.
    pub fn dials_tcp(&self) -> bool {
        self.tcp != Tcp::No && self.mode != IceMode::RelayOnly
    }

    /// Whether streams are taken: where this is told to nobody, none would come.
    pub fn serves_tcp(&self) -> bool {
        self.tcp == Tcp::Serve && self.mode == IceMode::All
    }

    /// What a peer is told of a candidate of ours, if anything. Where something is kept back, the
    /// address behind it (`raddr`) is, too.
    pub fn told(&self, candidate: &str) -> Option<String> {
        let mut words: Vec<&str> = candidate.split(' ').collect();
        let &[_, _, transport, _, address, _, "typ", kind, ..] = &words[..] else {
            return None;
        };
        // Of those that dial nobody needs to know.
        if transport == "tcp" && !(self.serves_tcp() && is_passive(&words)) {
            return None;
        }
        if self.mode == IceMode::All {
            return Some(candidate.to_owned());
        }
        let ip: IpAddr = address.parse().ok()?;
        let tells = match (self.mode, kind) {
            (_, "relay") => true,
            (IceMode::NoPrivate, "srflx") => !is_private(ip),
            _ => false,
        };
        if !tells {
            return None;
        }
        let nowhere = if ip.is_ipv4() { "0.0.0.0" } else { "::" };
        for at in 0..words.len().saturating_sub(1) {
            match words[at] {
                "raddr" => words[at + 1] = nowhere,
                "rport" => words[at + 1] = "0",
                _ => {}
            }
        }
        Some(words.join(" "))
    }
}

/// Whether a candidate of TCP takes streams.
pub(super) fn is_passive(words: &[&str]) -> bool {
    words.windows(2).any(|pair| pair == ["tcptype", "passive"])
}

/// The IPv4 address that an IPv6 one stands for: mapped and compatible ones, NAT64 (RFC 6052), 6to4
/// (RFC 3056). Whoever may not be asked by one name may not be by another.
fn stands_for(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip.to_canonical() else {
        return ip.to_canonical();
    };
    let pair = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::from([a, b, c, d])
    };
    match v6.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => IpAddr::V6(v6),
        [0, 0, 0, 0, 0, 0, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => pair(high, low),
        [0x2002, high, low, ..] => pair(high, low),
        _ => IpAddr::V6(v6),
    }
}

/// Where providers tell a machine about itself, keys included, beside link-local 169.254.169.254:
/// Alibaba, Azure.
const METADATA_V4: [Ipv4Addr; 2] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
];

/// The same in IPv6: Amazon, Google.
const METADATA_V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

/// The directed broadcast of a LAN is not known here; the kernel refuses to send to it.
fn refused_v4(ip: Ipv4Addr) -> Option<&'static str> {
    match ip.octets() {
        [0, 0, 0, 0] => Some("unspecified"),
        // 169.254/16 holds most providers' metadata services.
        [169, 254, ..] => Some("link-local"),
        _ if METADATA_V4.contains(&ip) => Some("a provider's metadata service"),
        [224..=239, ..] => Some("multicast"),
        // "This network", protocol assignments (Oracle's metadata among them), and what never was
        // assigned, broadcast included.
        [0, ..] | [192, 0, 0, _] | [240..=255, ..] => Some("reserved"),
        _ => None,
    }
}

fn refused_v6(ip: Ipv6Addr) -> Option<&'static str> {
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("unspecified"),
        // Candidates have no scope, so nobody could say on which link.
        [0xfe80..=0xfebf, ..] => Some("link-local"),
        _ if METADATA_V6.contains(&ip) => Some("a provider's metadata service"),
        [0xff00..=0xffff, ..] => Some("multicast"),
        // Discard-only, and site-local, which is no more.
        [0x100, 0, 0, 0, ..] | [0xfec0..=0xfeff, ..] => Some("reserved"),
        _ => None,
    }
}

/// Whether an address says how a network looks inside: RFC 1918, a provider's NAT, unique local.
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || (a == 100 && b & 0xc0 == 64)
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_loopback() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
#[path = "reach_test.rs"]
mod tests;
