//! The lab's little internet: a router in the middle, servers and a TURN host with public
//! addresses, and two parties, each behind what its kind says.
//!
//! Every party hangs on the router by a link of its own: a plain cable, or an emulated link where
//! the conditions ask for delay, loss or a smaller MTU.

use super::kind::Kind;
use super::rules::{crowd, rules};
use beeline_tests::link::{Link, Shape};
use beeline_tests::netns::{Netns, cable};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::Duration;

/// Registry, gateway and coordinator.
pub(crate) const SERVER: Address = address(10);
/// STUN and TURN.
pub(crate) const TURN: Address = address(20);
/// The second address of the STUN host, from which it tells kinds of NAT apart.
pub(crate) const TURN_OTHER: Address = address(21);
/// The parties, or the outermost NAT of each.
pub(crate) const PARTIES: [Address; 2] = [address(101), address(102)];

/// The router, as every cable sees it.
const ROUTER: &str = "198.51.100.1";
const ROUTER6: &str = "fe80::1";

/// The host inside a LAN whose network is `192.168.N.0/24`.
const INSIDE: u8 = 10;

/// Names for the addresses, for clients of either family.
pub(crate) const HOSTS: &str = "127.0.0.1 localhost\n::1 localhost\n\
    198.51.100.10 beeline.example\n2001:db8::10 beeline.example\n\
    198.51.100.20 turn.example\n2001:db8::20 turn.example\n";

/// One host's public addresses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Address {
    pub(crate) v4: Ipv4Addr,
    pub(crate) v6: Ipv6Addr,
}

const fn address(number: u8) -> Address {
    // Read as hexadecimal, so that both look alike.
    let digits = (number / 100) as u16 * 0x100 + (number / 10 % 10) as u16 * 0x10;
    Address {
        v4: Ipv4Addr::new(198, 51, 100, number),
        v6: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, digits + (number % 10) as u16),
    }
}

/// What the way between two hosts is like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Conditions {
    /// Round trip between any two hosts.
    pub(crate) rtt: Duration,
    /// Share of packets lost between the parties, each way.
    pub(crate) loss: f64,
    /// Largest packet the parties' links carry.
    pub(crate) mtu: u16,
    /// What chance starts from.
    pub(crate) seed: u64,
}

impl Conditions {
    /// A cable.
    pub(crate) const CABLE: Self = Self {
        rtt: Duration::ZERO,
        loss: 0.0,
        mtu: 1_500,
        seed: 1,
    };
}

/// A party: its host and what lies before it.
pub(crate) struct Party {
    pub(crate) kind: Kind,
    pub(crate) host: Netns,
    /// From the host outwards, switches too.
    pub(crate) before: Vec<Netns>,
}

/// All of it.
pub(crate) struct World {
    pub(crate) servers: Netns,
    pub(crate) turn: Netns,
    pub(crate) parties: [Party; 2],
    pub(crate) router: Netns,
    _links: Vec<Link>,
}

impl World {
    /// Builds one; names of hosts are looked up in `hosts`, a file with [`HOSTS`].
    pub(crate) fn build(kinds: [Kind; 2], conditions: Conditions, hosts: &Path) -> Self {
        let mut builder = Builder {
            router: Netns::new("router"),
            conditions,
            hosts,
            links: Vec::new(),
            cables: 0,
        };
        forwards(&builder.router);
        builder.router.nft(&crowd((SERVER.v4, SERVER.v6)));
        let still = Conditions {
            loss: 0.0,
            mtu: 1_500,
            ..conditions
        };
        let servers = builder.host("servers");
        builder.uplink(&servers, &[SERVER], [true, true], still);
        let turn = builder.host("turn");
        builder.uplink(&turn, &[TURN, TURN_OTHER], [true, true], still);
        let parties = match kinds {
            [Kind::SameLan, Kind::SameLan] => builder.shared_lan(),
            [one, other] => [builder.party(one, 0), builder.party(other, 1)],
        };
        Self {
            servers,
            turn,
            parties,
            router: builder.router,
            _links: builder.links,
        }
    }
}

struct Builder<'a> {
    router: Netns,
    conditions: Conditions,
    hosts: &'a Path,
    links: Vec<Link>,
    cables: u32,
}

impl Builder<'_> {
    fn host(&self, name: &str) -> Netns {
        let host = Netns::with_hosts(name, self.hosts);
        host.sysctl(&[
            ("ipv6/conf/all/accept_dad", "0"),
            ("ipv6/conf/default/accept_dad", "0"),
            ("ipv6/conf/default/accept_ra", "0"),
        ]);
        host
    }

    /// Hangs a namespace on the router, with these addresses of these families.
    fn uplink(&mut self, end: &Netns, all: &[Address], families: [bool; 2], how: Conditions) {
        self.cables += 1;
        let port = format!("port{}", self.cables);
        let (near, far) = ((&self.router, port.as_str()), (end, "wan"));
        if how
            == (Conditions {
                seed: how.seed,
                ..Conditions::CABLE
            })
        {
            cable(near, far);
        } else {
            let shape = Shape {
                // From host to host and back a packet crosses four such links.
                delay: how.rtt / 4,
                loss: how.loss / 2.0,
                seed: how.seed.wrapping_add(2 * u64::from(self.cables)),
                ..Shape::default()
            };
            self.links.push(Link::even(near, far, how.mtu, shape));
        }
        let [v4, v6] = families;
        let mut here = String::new();
        let mut there = String::new();
        if v4 {
            here += &format!("addr add {ROUTER}/32 dev {port}\n");
            for Address { v4, .. } in all {
                here += &format!("route add {v4}/32 dev {port}\n");
                there += &format!("addr add {v4}/32 dev wan\n");
            }
            there += &format!("route add {ROUTER} dev wan\nroute add default via {ROUTER}\n");
        }
        if v6 {
            here += &format!("addr add {ROUTER6}/64 dev {port} nodad\n");
            for Address { v6, .. } in all {
                here += &format!("route add {v6}/128 dev {port}\n");
                there += &format!("addr add {v6}/128 dev wan nodad\n");
            }
            there += &format!("route add default via {ROUTER6} dev wan\n");
        }
        self.router.ip(&here);
        end.ip(&there);
    }

    fn party(&mut self, kind: Kind, index: usize) -> Party {
        let host = self.host(["alice", "carol"][index]);
        let mut before = Vec::new();
        let public = &[PARTIES[index]];
        if kind.is_behind_nat() {
            let lan = 1 + u8::try_from(index).expect("two parties");
            let nat = self.nat(kind, &Ipv4Addr::new(192, 168, lan, INSIDE));
            cable((&nat, "lan"), (&host, "eth0"));
            join_lan(&nat, "lan", lan);
            join_host(&host, lan, INSIDE);
            let outermost = if kind == Kind::Double {
                let outer = self.nat(Kind::PortRestricted, &Ipv4Addr::new(100, 64, lan, INSIDE));
                cable((&outer, "lan"), (&nat, "wan"));
                outer.ip(&format!("addr add 100.64.{lan}.1/24 dev lan\n"));
                nat.ip(&format!(
                    "addr add 100.64.{lan}.{INSIDE}/24 dev wan\n\
                     route add default via 100.64.{lan}.1\n"
                ));
                before.push(nat);
                outer
            } else {
                nat
            };
            self.uplink(&outermost, public, [true, false], self.conditions);
            before.push(outermost);
        } else {
            let families = [kind.has_ipv4(), kind.has_ipv6()];
            self.uplink(&host, public, families, self.conditions);
        }
        Party { kind, host, before }
    }

    fn nat(&self, kind: Kind, inside: &Ipv4Addr) -> Netns {
        let nat = self.host(&format!("nat {}", kind.name()));
        forwards(&nat);
        nat.nft(&rules(kind, *inside));
        nat
    }

    /// Two hosts on one switch behind one NAT.
    fn shared_lan(&mut self) -> [Party; 2] {
        let kind = Kind::SameLan;
        let (switch, lan) = (Netns::new("switch"), 1);
        switch.ip("link add lan type bridge\nlink set lan up\n");
        let plug = |port: &str, end: &Netns, name: &str| {
            cable((&switch, port), (end, name));
            switch.ip(&format!("link set {port} master lan\n"));
        };
        let nat = self.nat(kind, &Ipv4Addr::new(192, 168, lan, INSIDE));
        plug("nat", &nat, "lan");
        join_lan(&nat, "lan", lan);
        self.uplink(&nat, &[PARTIES[0]], [true, false], self.conditions);
        let hosts = [self.host("alice"), self.host("carol")];
        for (index, host) in (0..).zip(&hosts) {
            plug(&format!("port{index}"), host, "eth0");
            join_host(host, lan, INSIDE + index);
        }
        let [one, other] = hosts;
        let before = vec![switch, nat];
        let one = Party {
            kind,
            host: one,
            before,
        };
        [
            one,
            Party {
                kind,
                host: other,
                before: Vec::new(),
            },
        ]
    }
}

fn forwards(router: &Netns) {
    router.sysctl(&[("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")]);
}

fn join_lan(nat: &Netns, device: &str, lan: u8) {
    nat.ip(&format!("addr add 192.168.{lan}.1/24 dev {device}\n"));
}

/// Behind a NAT there is IPv4 only.
fn join_host(host: &Netns, lan: u8, number: u8) {
    host.sysctl(&[("ipv6/conf/eth0/disable_ipv6", "1")]);
    host.ip(&format!(
        "addr add 192.168.{lan}.{number}/24 dev eth0\nroute add default via 192.168.{lan}.1\n"
    ));
}
