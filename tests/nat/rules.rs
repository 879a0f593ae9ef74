//! What makes a Linux machine a NAT of a kind: rules of nftables, from `wan` to `lan`.
//!
//! Two things are easy to get wrong. Unsolicited UDP must be *dropped on input*: a packet that
//! the machine takes for itself is remembered, the later outbound flow finds its port taken, gets
//! another one, and a port-restricted NAT behaves like a symmetric one. And what is let in must be
//! let in before the routing (`dnat`), or it never becomes a flow of the host inside. `masquerade`
//! keeps the port where it can, and with one host inside it can; so a port of the host names its
//! mapping.

use super::kind::Kind;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Addresses a NAT remembers to have been sent to; more than any scenario has.
const REMEMBERED: u32 = 4_096;

/// Addresses from which one party's connections seem to come to the servers.
const CROWD: u8 = 200;

/// Rules of the router: TCP reaches `server` from many addresses in turn, for it counts
/// sign-ins by address, and a matrix has as many as a town. Nothing else is touched, or tracked.
pub(crate) fn crowd(server: (Ipv4Addr, Ipv6Addr)) -> String {
    let of_all = |address: &dyn Fn(u8) -> String| -> String {
        (0..CROWD)
            .map(|number| format!("{number} : {}, ", address(number)))
            .collect()
    };
    let v4 = of_all(&|number| Ipv4Addr::from([203, 0, 113, 1 + number]).to_string());
    // Those of IPv6 are counted by network.
    let v6 = of_all(&|number| format!("2001:db8:{:x}::1", 0x100 + u16::from(number)));
    format!(
        "table inet plain {{
           chain first {{
             type filter hook prerouting priority raw; policy accept;
             meta l4proto != tcp notrack
           }}
         }}
         table ip crowd {{
           chain after {{
             type nat hook postrouting priority srcnat; policy accept;
             ip daddr {} meta l4proto tcp snat to numgen inc mod {CROWD} map {{ {v4} }}
           }}
         }}
         table ip6 crowd {{
           chain after {{
             type nat hook postrouting priority srcnat; policy accept;
             ip6 daddr {} meta l4proto tcp snat to numgen inc mod {CROWD} map {{ {v6} }}
           }}
         }}\n",
        server.0, server.1
    )
}

/// Rules of the router: no UDP passes between two addresses. [`JOINED`] takes them away.
pub(crate) fn parted([one, other]: [Ipv4Addr; 2]) -> String {
    format!(
        "table ip parted {{
           chain between {{
             type filter hook forward priority filter; policy accept;
             ip saddr {one} ip daddr {other} meta l4proto udp drop
             ip saddr {other} ip daddr {one} meta l4proto udp drop
           }}
         }}\n"
    )
}

/// See [`parted`].
pub(crate) const JOINED: &str = "delete table ip parted\n";

/// The rules of a NAT of this kind in front of `host`.
///
/// # Panics
/// For a kind without a NAT.
pub(crate) fn rules(kind: Kind, host: Ipv4Addr) -> String {
    assert!(kind.is_behind_nat(), "{} has no NAT", kind.name());
    let masquerade = match kind {
        Kind::Symmetric => "masquerade fully-random",
        _ => "masquerade",
    };
    let (remember, let_in) = match kind {
        Kind::FullCone => (String::new(), format!("meta l4proto udp dnat to {host}")),
        Kind::AddressRestricted => (
            "iifname \"lan\" meta l4proto udp update @talked { udp sport . ip daddr }".to_owned(),
            format!("meta l4proto udp udp dport . ip saddr @talked dnat to {host}"),
        ),
        _ => (String::new(), String::new()),
    };
    let let_in = match let_in.as_str() {
        "" => String::new(),
        rule => format!("iifname \"wan\" {rule}"),
    };
    let block = match kind {
        Kind::UdpBlocked => "meta l4proto udp drop",
        _ => "",
    };
    format!(
        "table ip lab {{
           set talked {{
             type inet_service . ipv4_addr; flags dynamic, timeout; timeout 5m; size {REMEMBERED};
           }}
           chain before {{
             type nat hook prerouting priority dstnat; policy accept;
             {let_in}
           }}
           chain after {{
             type nat hook postrouting priority srcnat; policy accept;
             oifname \"wan\" {masquerade}
           }}
           chain itself {{
             type filter hook input priority filter; policy accept;
             meta l4proto udp drop
           }}
           chain through {{
             type filter hook forward priority filter; policy drop;
             {block}
             {remember}
             iifname \"lan\" oifname \"wan\" accept
             ct state established,related accept
             ct status dnat accept
           }}
         }}\n"
    )
}
