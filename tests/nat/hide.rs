//! Clients that hide where they are: what they are started with, and a watch on their host that no
//! datagram leaves for where it would show them.

use super::kind::{Kind, direct};
use super::program::Wrong;
use super::servers::Ice;
use super::world::TURN;
use beeline_tests::netns::Netns;
use serde::Deserialize;

/// What others may learn of a client's host; `--ice` of the clients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Hide {
    /// Everything.
    #[default]
    All,
    /// None of its own addresses.
    NoPrivate,
    /// Nothing: TURN alone.
    RelayOnly,
}

/// What `nft` says of a counter that counted nothing.
const NOTHING: &str = "counter packets 0 ";

impl Hide {
    /// The mode's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::NoPrivate => "no-private",
            Self::RelayOnly => "relay-only",
        }
    }

    /// Whether a link between two must come.
    pub(crate) fn must_link(self, [one, other]: [Kind; 2], ice: Ice) -> bool {
        // The TURN server hands out addresses of IPv4, and is reached by UDP.
        let by_turn = |kind: Kind| kind.has_udp() && kind.has_ipv4();
        let turn = ice.has_turn() && by_turn(one) && by_turn(other);
        // There is no hairpin, and inside they do not tell each other where they are.
        let hidden = one == Kind::SameLan && other == Kind::SameLan;
        turn || match self {
            Self::All => direct(one, other),
            Self::NoPrivate => direct(one, other) && !hidden,
            Self::RelayOnly => false,
        }
    }

    /// Whether a client has a link to a coordinator with a public address: without UDP by TCP,
    /// which would show a host that uses TURN alone.
    pub(crate) fn links_out(self, kind: Kind, ice: Ice) -> bool {
        self != Self::RelayOnly || self.must_link([kind, Kind::Open], ice)
    }

    /// Counts on a host what would show it, from now on.
    pub(crate) fn watch(self, host: &Netns) {
        let shows = match self {
            Self::All => return,
            Self::NoPrivate => {
                "ip daddr { 10.0.0.0/8, 100.64.0.0/10, 172.16.0.0/12, 192.168.0.0/16 }"
            }
            Self::RelayOnly => &format!("ip daddr != {}", TURN.v4),
        };
        // Names are looked up in a file here, so all UDP is the links'.
        let mut rules = format!("meta nfproto ipv4 meta l4proto udp {shows} counter\n");
        if self == Self::RelayOnly {
            rules += "meta nfproto ipv6 meta l4proto udp counter\n";
        }
        host.nft(&format!(
            "add table inet watch\ndelete table inet watch\ntable inet watch {{\nchain out {{\n\
             type filter hook output priority 0; policy accept;\n{rules}}}\n}}\n"
        ));
    }

    /// Whether nothing showed the host since.
    pub(crate) fn check(self, host: &Netns) -> Result<(), Wrong> {
        if self == Self::All {
            return Ok(());
        }
        let told = host.run("nft", &["list", "table", "inet", "watch"]);
        let counts = told.lines().filter(|line| line.contains("counter"));
        let shown: Vec<&str> = counts.filter(|line| !line.contains(NOTHING)).collect();
        if shown.is_empty() {
            return Ok(());
        }
        let host = host.name();
        Err(format!("{host} showed itself: {}", shown.join("; ").trim()))
    }
}
