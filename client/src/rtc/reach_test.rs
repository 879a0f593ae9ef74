//! Tests of what may be sent to and what is told: tables.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn ip(text: &str) -> SocketAddr {
    SocketAddr::new(text.parse().unwrap(), 5_000)
}

#[test]
fn no_check_goes_where_only_we_reach() {
    let reach = Reach::default();
    for (refused, why) in [
        ("0.0.0.0", "unspecified"),
        ("::", "unspecified"),
        ("::ffff:0.0.0.0", "unspecified"),
        ("127.0.0.1", "loopback"),
        ("127.255.0.9", "loopback"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("::127.0.0.1", "loopback"),
        ("64:ff9b::7f00:1", "loopback"),
        ("2002:7f00:1::1", "loopback"),
        ("169.254.169.254", "link-local"),
        ("169.254.1.1", "link-local"),
        ("::ffff:169.254.169.254", "link-local"),
        ("64:ff9b::169.254.169.254", "link-local"),
        ("2002:a9fe:a9fe::1", "link-local"),
        ("fe80::1", "link-local"),
        ("febf::1", "link-local"),
        ("100.100.100.200", "a provider's metadata service"),
        ("168.63.129.16", "a provider's metadata service"),
        ("fd00:ec2::254", "a provider's metadata service"),
        ("fd20:ce::254", "a provider's metadata service"),
        ("224.0.0.251", "multicast"),
        ("239.255.255.255", "multicast"),
        ("ff02::fb", "multicast"),
        ("0.1.2.3", "reserved"),
        ("192.0.0.192", "reserved"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "reserved"),
        ("64:ff9b::ffff:ffff", "reserved"),
        ("100::1", "reserved"),
        ("fec0::1", "reserved"),
    ] {
        assert_eq!(reach.refused(ip(refused)), Some(why), "{refused}");
    }
    // Those of a LAN are how its members meet. Those of documentation are nobody's, so no harm
    // comes of them; the lab's internet is made of them.
    for used in [
        "8.8.8.8",
        "10.1.2.3",
        "192.168.1.4",
        "192.0.2.1",
        "198.51.100.7",
        "100.64.0.1",
        "169.253.255.255",
        "fd00::1",
        "fd00:ec2::253",
        "2001:db8::1",
        "2606:4700::1111",
        "64:ff9b::808:808",
        "::ffff:8.8.8.8",
    ] {
        assert_eq!(reach.refused(ip(used)), None, "{used}");
    }
}

#[test]
fn loopback_is_for_who_binds_it() {
    let here = Reach {
        loopback: true,
        ..Reach::default()
    };
    assert_eq!(here.refused(ip("127.0.0.1")), None);
    assert_eq!(here.refused(ip("::1")), None);
    assert_eq!(here.refused(ip("0.0.0.0")), Some("unspecified"));
}

#[test]
fn our_own_servers_are_never_asked_and_their_hosts_may_be() {
    let reach = Reach::default();
    reach
        .servers
        .add(["203.0.113.5:8443", "[2001:db8::5]:3478"].map(address));
    for own in [
        "203.0.113.5:8443",
        "[::ffff:203.0.113.5]:8443",
        "[2001:db8::5]:3478",
    ] {
        assert_eq!(reach.refused(address(own)), Some("our own server"), "{own}");
    }
    // A coordinator is often at home on the gateway's host, and relayed addresses on TURN's.
    for other in [
        "203.0.113.5:49160",
        "[2001:db8::5]:49160",
        "203.0.113.6:8443",
    ] {
        assert_eq!(reach.refused(address(other)), None, "{other}");
    }
}

#[test]
fn own_servers_are_bounded() {
    let servers = OwnServers::default();
    servers.add((1..=1_000).map(|port| SocketAddr::from(([10, 0, 0, 1], port))));
    servers.add([address("10.0.0.2:1")]);
    assert!(servers.has(address("10.0.0.1:1")) && !servers.has(address("10.0.0.2:1")));
    assert_eq!(servers.0.lock().unwrap().len(), MAX_OWN_SERVERS);
}

const HOST: &str = "candidate:1 1 udp 2130706431 192.168.1.4 4000 typ host";
const PUBLIC_HOST: &str = "candidate:1 1 udp 2130706431 203.0.113.9 4000 typ host";
const SRFLX: &str =
    "candidate:2 1 udp 1694498815 203.0.113.7 5000 typ srflx raddr 192.168.1.4 rport 4000";
const SRFLX_INSIDE: &str =
    "candidate:2 1 udp 1694498815 100.64.0.7 5000 typ srflx raddr 192.168.1.4 rport 4000";
const RELAY: &str =
    "candidate:3 1 udp 16777215 198.51.100.20 49160 typ relay raddr 192.168.1.4 rport 4000";
const RELAY_V6: &str = "candidate:3 1 udp 16777215 2001:db8::20 49160 typ relay raddr fd00::4 \
                        rport 4000 generation 0";
const PRFLX: &str = "candidate:4 1 udp 1 203.0.113.7 5001 typ prflx raddr 192.168.1.4 rport 4000";
const TCP: &str = "candidate:5 1 tcp 1 192.168.1.4 4000 typ host tcptype passive";
const ODD: &str = "candidate:6 1 udp 1 name.local 4000 typ relay";

#[test]
fn a_mode_tells_no_more_than_it_says() {
    let told = |mode: IceMode| {
        let reach = Reach {
            mode,
            ..Reach::default()
        };
        let all = [
            HOST,
            PUBLIC_HOST,
            SRFLX,
            SRFLX_INSIDE,
            RELAY,
            RELAY_V6,
            PRFLX,
            TCP,
            ODD,
        ];
        all.iter()
            .filter_map(|line| reach.told(line))
            .collect::<Vec<_>>()
    };
    let relays = [
        "candidate:3 1 udp 16777215 198.51.100.20 49160 typ relay raddr 0.0.0.0 rport 0",
        "candidate:3 1 udp 16777215 2001:db8::20 49160 typ relay raddr :: rport 0 generation 0",
    ];
    // All but the one of TCP.
    assert_eq!(told(IceMode::All).len(), 8);
    assert_eq!(told(IceMode::RelayOnly), relays);
    let srflx = "candidate:2 1 udp 1694498815 203.0.113.7 5000 typ srflx raddr 0.0.0.0 rport 0";
    assert_eq!(told(IceMode::NoPrivate), [&[srflx], &relays[..]].concat());
}

#[test]
fn of_tcp_only_what_takes_streams_is_told_and_only_openly() {
    const ACTIVE: &str = "candidate:5 1 tcp 1 192.168.1.4 9 typ host tcptype active";
    let told = |tcp, mode, line: &str| {
        let reach = Reach {
            tcp,
            mode,
            ..Reach::default()
        };
        reach.told(line).is_some()
    };
    assert!(told(Tcp::Serve, IceMode::All, TCP));
    assert!(!told(Tcp::Serve, IceMode::All, ACTIVE));
    for tcp in [Tcp::No, Tcp::Dial] {
        assert!(!told(tcp, IceMode::All, TCP));
    }
    for mode in [IceMode::NoPrivate, IceMode::RelayOnly] {
        assert!(!told(Tcp::Serve, mode, TCP));
    }
}

#[test]
fn who_hides_private_addresses_asks_none() {
    let reach = Reach {
        mode: IceMode::NoPrivate,
        loopback: true,
        ..Reach::default()
    };
    for private in [
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.4",
        "100.127.0.1",
        "fd00::1",
        "127.0.0.1",
    ] {
        assert_eq!(reach.refused(ip(private)), Some("private"), "{private}");
    }
    for public in ["172.32.0.1", "100.128.0.1", "8.8.8.8", "2001:db8::1"] {
        assert_eq!(reach.refused(ip(public)), None, "{public}");
    }
}

#[test]
fn a_mode_is_read_as_it_is_written() {
    for mode in IceMode::ALL {
        assert_eq!(mode.to_string().parse(), Ok(mode));
    }
    assert!("relay".parse::<IceMode>().is_err());
    assert_eq!(IceMode::default(), IceMode::All);
}
