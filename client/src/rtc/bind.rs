//! Which addresses and which port one connection binds.
//!
//! The crate resolves its addresses anew at every bind, ICE restarts included, so this answers
//! with the interfaces of that moment. Its own reading of `0.0.0.0` leaves loopback out.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs, UdpSocket};

use rtc::shared::ifaces::ifaces;

use super::config::{BindTo, RtcConfig};
use super::limits::{MAX_LOCAL_ADDRESSES, MAX_PORT_PROBES};
use super::reach::Tcp;

/// The addresses of one connection, worked out when asked.
#[derive(Debug, Clone)]
pub(super) struct BindPlan {
    bind: BindTo,
    port_range: Option<(u16, u16)>,
    /// Where in the range to begin, so that links do not all try the same port first.
    start: u32,
    is_tcp: bool,
}

impl BindPlan {
    pub(super) fn new(config: &RtcConfig, start: u32) -> Self {
        Self {
            bind: config.bind.clone(),
            port_range: config.port_range,
            start,
            is_tcp: false,
        }
    }

    /// The same for streams of TCP. Only who takes them needs a port of the range.
    pub(super) fn for_tcp(config: &RtcConfig, start: u32) -> Self {
        Self {
            port_range: config.port_range.filter(|_| config.tcp == Tcp::Serve),
            is_tcp: true,
            ..Self::new(config, start)
        }
    }

    /// Whether a connection made now can be reached on loopback.
    pub(super) fn has_loopback(&self) -> bool {
        self.addresses().iter().any(IpAddr::is_loopback)
    }

    fn addresses(&self) -> Vec<IpAddr> {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let mut addresses = match &self.bind {
            BindTo::Loopback => vec![loopback],
            BindTo::Addresses(list) => list.clone(),
            BindTo::Everywhere => outward(usable_addresses()),
        };
        let mut seen = Vec::new();
        addresses.retain(|ip| {
            !seen.contains(ip) && {
                seen.push(*ip);
                true
            }
        });
        addresses.truncate(MAX_LOCAL_ADDRESSES);
        addresses
    }
}

/// Of these addresses, those links are made with: loopback where there is nothing else. Beside
/// another address it is of no use, for two processes of one machine meet at that one too; and it
/// would double the pairs every link has to check, and let a peer have us check our own services.
fn outward(usable: Vec<IpAddr>) -> Vec<IpAddr> {
    let mut outward = usable;
    outward.retain(|ip| !ip.is_loopback());
    if outward.is_empty() {
        outward.push(Ipv4Addr::LOCALHOST.into());
    }
    outward
}

/// The addresses of all interfaces that a peer could send to; loopback is one.
pub(crate) fn usable_addresses() -> Vec<IpAddr> {
    let interfaces = ifaces().unwrap_or_default();
    let addresses = interfaces.iter().filter_map(|i| i.addr).map(|a| a.ip());
    addresses.filter(|ip| is_usable(*ip)).collect()
}

/// Loopback in IPv4, and everything a peer could send to.
fn is_usable(ip: IpAddr) -> bool {
    let link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.is_loopback(),
    };
    !link_local && !ip.is_unspecified() && !ip.is_multicast()
}

impl BindPlan {
    /// The first port of the range, from `start` on and around, that is free on every address. For
    /// TCP it must be free for UDP, too: the crate takes two candidates at one address and port for
    /// the same one.
    fn free_port(&self, addresses: &[IpAddr], low: u16, high: u16) -> io::Result<u16> {
        let size = u32::from(high - low) + 1;
        let is_free = |ip: &IpAddr, port: u16| {
            UdpSocket::bind((*ip, port)).is_ok()
                && (!self.is_tcp || TcpListener::bind((*ip, port)).is_ok())
        };
        for step in 0..size.min(MAX_PORT_PROBES) {
            let offset = (self.start % size + step) % size;
            let Ok(port) = u16::try_from(u32::from(low) + offset) else {
                continue;
            };
            if addresses.iter().all(|ip| is_free(ip, port)) {
                return Ok(port);
            }
        }
        let kind = if self.is_tcp { "TCP" } else { "UDP" };
        let text = format!("no free {kind} port in {low}-{high}: widen --rtc-ports");
        Err(io::Error::new(io::ErrorKind::AddrInUse, text))
    }
}

impl ToSocketAddrs for BindPlan {
    type Iter = std::vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        let addresses = self.addresses();
        let port = match self.port_range {
            None => 0,
            Some((low, high)) => match self.free_port(&addresses, low, high) {
                // A link needs no TCP.
                Err(_) if self.is_tcp => return Ok(Vec::new().into_iter()),
                port => port?,
            },
        };
        let bound: Vec<_> = addresses
            .into_iter()
            .map(|ip| SocketAddr::new(ip, port))
            .collect();
        Ok(bound.into_iter())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn plan(bind: BindTo, port_range: Option<(u16, u16)>, start: u32) -> BindPlan {
        let config = RtcConfig {
            bind,
            port_range,
            ..RtcConfig::default()
        };
        BindPlan::new(&config, start)
    }

    #[test]
    fn loopback_is_for_hosts_without_network() {
        let [lan, lo, v6] = ["192.168.1.2", "127.0.0.1", "2001:db8::1"].map(|a| a.parse().unwrap());
        assert_eq!(outward(vec![lo]), [lo]);
        assert_eq!(outward(vec![]), [lo]);
        assert_eq!(outward(vec![lo, lan, v6]), [lan, v6]);
        let all: Vec<_> = plan(BindTo::Everywhere, None, 0)
            .to_socket_addrs()
            .unwrap()
            .collect();
        assert!(!all.is_empty());
        assert!(
            all.iter()
                .all(|a| a.port() == 0 && !a.ip().is_unspecified())
        );
    }

    #[test]
    fn a_range_skips_ports_in_use_and_says_when_none_is_left() {
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let alone = plan(BindTo::Loopback, Some((port, port)), 7).to_socket_addrs();
        assert_eq!(alone.unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(taken);
        let free: Vec<_> = plan(BindTo::Loopback, Some((port, port)), 7)
            .to_socket_addrs()
            .unwrap()
            .collect();
        assert_eq!(free, [SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)]);
    }

    #[test]
    fn a_port_for_tcp_is_free_for_udp_too_and_a_link_does_without() {
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let config = |tcp| RtcConfig {
            bind: BindTo::Loopback,
            port_range: Some((port, port)),
            tcp,
            ..RtcConfig::default()
        };
        let ports = |tcp| -> Vec<u16> {
            let plan = BindPlan::for_tcp(&config(tcp), 7).to_socket_addrs();
            plan.unwrap().map(|at| at.port()).collect()
        };
        assert_eq!(ports(Tcp::Serve), [0; 0]);
        assert_eq!(ports(Tcp::Dial), [0], "it listens nowhere, so any will do");
        drop(taken);
        assert_eq!(ports(Tcp::Serve), [port]);
    }

    #[test]
    fn the_start_spreads_links_over_the_range() {
        let port = |start| {
            let mut all = plan(BindTo::Loopback, Some((42_000, 42_999)), start)
                .to_socket_addrs()
                .unwrap();
            all.next().unwrap().port()
        };
        assert_ne!(port(1), port(500));
        assert!((42_000..=42_999).contains(&port(u32::MAX)));
    }
}
