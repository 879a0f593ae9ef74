//! Public networks: which prefixes the other end of a link is reached in, as its candidates say.
//! Two custodians in one of them may go down together, so they count as one.

use beeline_proto::limits::CANDIDATES_MAX;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A public prefix: /24 of IPv4, /48 of IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Prefix {
    V4([u8; 3]),
    V6([u8; 6]),
}

/// The public prefixes one device was seen in, at most [`CANDIDATES_MAX`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Nets(BTreeSet<Prefix>);

impl Nets {
    /// Notes a candidate-attribute (RFC 8839), with or without `a=`. Relayed candidates are passed
    /// over: they say where a TURN server is.
    pub(crate) fn note_candidate(&mut self, candidate: &str) {
        let line = candidate.trim();
        let line = line.strip_prefix("a=").unwrap_or(line);
        let Some(rest) = line.strip_prefix("candidate:") else {
            return;
        };
        let words: Vec<&str> = rest.split_ascii_whitespace().take(8).collect();
        let [_, _, _, _, addr, _, "typ", kind] = words[..] else {
            return;
        };
        let prefix = addr.parse().ok().and_then(prefix_of);
        if let Some(prefix) = prefix.filter(|_| kind != "relay" && self.0.len() < CANDIDATES_MAX) {
            self.0.insert(prefix);
        }
    }

    /// Notes the candidates in a session description.
    pub(crate) fn note_sdp(&mut self, sdp: &str) {
        let lines = sdp.lines().filter(|line| line.starts_with("a=candidate:"));
        for line in lines.take(CANDIDATES_MAX) {
            self.note_candidate(line);
        }
    }

    /// Whether both were seen in one public network.
    pub(crate) fn overlap(&self, other: &Self) -> bool {
        !self.0.is_disjoint(&other.0)
    }
}

/// The prefix of a public address; `None` for loopback, private, shared and link-local ones.
fn prefix_of(addr: IpAddr) -> Option<Prefix> {
    match addr.to_canonical() {
        IpAddr::V4(addr) => is_public_v4(addr).then(|| {
            let [a, b, c, _] = addr.octets();
            Prefix::V4([a, b, c])
        }),
        IpAddr::V6(addr) => is_public_v6(addr).then(|| {
            let [a, b, c, d, e, f, ..] = addr.octets();
            Prefix::V6([a, b, c, d, e, f])
        }),
    }
}

fn is_public_v4(addr: Ipv4Addr) -> bool {
    let [a, b, ..] = addr.octets();
    // 100.64.0.0/10 is shared by a provider's customers (RFC 6598).
    let shared = a == 100 && (64..128).contains(&b);
    !(addr.is_loopback() || addr.is_private() || addr.is_link_local() || shared || a == 0)
}

fn is_public_v6(addr: Ipv6Addr) -> bool {
    !(addr.is_loopback()
        || addr.is_unspecified()
        || addr.is_unique_local()
        || addr.is_unicast_link_local())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(addrs: &[&str]) -> Nets {
        let mut nets = Nets::default();
        for addr in addrs {
            nets.note_candidate(&format!("candidate:1 1 udp 1 {addr} 9 typ host"));
        }
        nets
    }

    #[test]
    fn one_public_prefix_is_one_place_and_a_private_one_is_none() {
        let overlap = |one: &str, other: &str| nets(&[one]).overlap(&nets(&[other]));
        assert!(overlap("198.51.100.1", "198.51.100.254"));
        assert!(!overlap("198.51.100.1", "198.51.101.1"));
        assert!(overlap("2001:db8:1:2::1", "2001:db8:1:ffff::9"));
        assert!(!overlap("2001:db8:1::1", "2001:db8:2::1"));
        assert!(overlap("::ffff:198.51.100.1", "198.51.100.2"));
        for exempt in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.7.7",
            "100.64.0.1",
            "0.0.0.0",
            "::1",
            "fe80::1",
            "fd00::1",
            "x.local",
        ] {
            assert!(!overlap(exempt, exempt), "{exempt}");
        }
    }

    #[test]
    fn any_address_in_common_counts_but_for_a_relay_s() {
        let both = nets(&["10.0.0.1", "198.51.100.1", "2001:db8::1"]);
        assert!(both.overlap(&nets(&["198.51.100.9"])));
        let mut relayed = Nets::default();
        relayed
            .note_candidate("candidate:1 1 udp 1 198.51.100.9 9 typ relay raddr 0.0.0.0 rport 0");
        assert!(!both.overlap(&relayed));
        let mut described = Nets::default();
        described.note_sdp("v=0\r\na=candidate:1 1 udp 1 198.51.100.9 9 typ srflx\r\n");
        assert!(both.overlap(&described));
    }

    #[test]
    fn junk_says_nothing_and_floods_are_bounded() {
        for junk in [
            "",
            "candidate:",
            "candidate:1 1 udp 1 1.2.3.4",
            "a=x",
            "candidate:0",
        ] {
            let mut nets = Nets::default();
            nets.note_candidate(junk);
            assert_eq!(nets, Nets::default(), "{junk}");
        }
        let many: Vec<String> = (0..200).map(|n| format!("198.51.{n}.1")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(nets(&many).0.len(), CANDIDATES_MAX);
    }
}
