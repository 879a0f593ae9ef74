//! What a peer learns of this host's addresses (T-ICE-3): what is really in descriptions and
//! candidates, and to whom datagrams really go.

use beeline::rtc::{
    CloseReason, IceCandidate, IceMode, IceServer, RtcConfig, RtcEvent, RtcFactory,
};
use beeline_tests::rtc::{Node, connect, loopback, next};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use tokio::net::UdpSocket;

/// The address that [`turn_server`] gives to everybody; nothing is there.
const RELAYED: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 20), 49_160);

pub(crate) fn hidden(mode: IceMode, servers: Vec<IceServer>) -> RtcFactory {
    let config = RtcConfig {
        mode,
        ice_servers: servers,
        ..loopback()
    };
    RtcFactory::new(config).expect("a sound configuration")
}

/// All that an offering peer says until it has no more candidates.
pub(crate) async fn said(node: &mut Node) -> Vec<String> {
    node.offer().await;
    let mut said = Vec::new();
    loop {
        match next(node).await {
            RtcEvent::LocalDescription { sdp } => said.push(sdp),
            RtcEvent::Candidate(candidate) => said.push(candidate.candidate),
            RtcEvent::EndOfCandidates => return said,
            RtcEvent::Closed { reason } => panic!("closed: {reason}"),
            _ => {}
        }
    }
}

/// An offer of a peer that is somewhere else.
async fn somebodys_offer() -> String {
    let factory = RtcFactory::new(loopback()).expect("a sound configuration");
    let mut other = Node::wrapped(&factory, 9);
    said(&mut other).await.swap_remove(0)
}

#[tokio::test]
async fn private_addresses_are_in_nothing_that_is_told() {
    let mut open = Node::wrapped(&hidden(IceMode::All, vec![]), 1);
    let told = said(&mut open).await.join("\n");
    assert!(
        told.contains("127.0.0.1"),
        "else this test shows nothing: {told}"
    );
    let mut hiding = Node::wrapped(&hidden(IceMode::NoPrivate, vec![]), 1);
    let told = said(&mut hiding).await;
    assert_eq!(told.len(), 1, "a description and no candidate: {told:?}");
    assert!(!told[0].contains("127.0.0.1"), "{told:?}");
}

#[tokio::test]
async fn with_relay_only_the_relayed_address_is_all_that_is_told_and_used() {
    let turn = UdpSocket::bind("127.0.0.1:0").await.expect("bound");
    let at = turn.local_addr().expect("bound");
    let (asked_for, mut permissions) = tokio::sync::mpsc::channel(64);
    let mut serving = tokio::task::JoinSet::new();
    serving.spawn(turn_server(turn, asked_for));
    let server = IceServer {
        urls: vec![format!("turn:{at}")],
        username: "1700:a".to_owned(),
        credential: "b".to_owned(),
    };
    let mut hiding = Node::wrapped(&hidden(IceMode::RelayOnly, vec![server.clone()]), 1);
    let told = said(&mut hiding).await;
    let [description, candidate] = &told[..] else {
        panic!("a description and one candidate: {told:?}");
    };
    assert!(!description.contains("127.0.0.1"), "{description}");
    let only = format!(
        "{} {} typ relay raddr 0.0.0.0 rport 0",
        RELAYED.ip(),
        RELAYED.port()
    );
    assert!(candidate.contains(&only), "{candidate}");

    // An address that works as well as any: it is reached through TURN or not at all.
    let bystander = UdpSocket::bind("127.0.0.1:0").await.expect("bound");
    let there = bystander.local_addr().expect("bound");
    let answering = Node::wrapped(&hidden(IceMode::RelayOnly, vec![server]), 2);
    answering
        .accept(true, &somebodys_offer().await)
        .await
        .expect("an honest offer");
    let candidate = IceCandidate {
        candidate: format!(
            "candidate:1 1 udp 2130706431 127.0.0.1 {} typ host",
            there.port()
        ),
        ..IceCandidate::default()
    };
    assert_eq!(answering.candidate(&candidate).await, Ok(true));
    let asked = permissions.recv().await.expect("a check, through TURN");
    assert_eq!(asked, there);
    // Whoever else knows the socket is not answered either: nothing comes back but from TURN.
    let mut buffer = [0; 1_500];
    let heard = bystander.try_recv_from(&mut buffer);
    assert!(heard.is_err(), "a datagram came directly: {heard:?}");
}

#[tokio::test]
async fn with_relay_only_and_no_turn_nothing_is_told_at_all() {
    let mut alone = Node::wrapped(&hidden(IceMode::RelayOnly, vec![]), 1);
    alone.offer().await;
    let RtcEvent::Closed { reason } = next(&mut alone).await else {
        panic!("something was told");
    };
    assert!(
        matches!(&reason, CloseReason::Setup(why) if why.contains("--ice relay-only")),
        "{reason}"
    );
}

#[tokio::test]
async fn own_servers_get_no_check_whoever_names_them() {
    let (sdp_named, trickled) = (
        UdpSocket::bind("127.0.0.1:0").await.expect("bound"),
        UdpSocket::bind("127.0.0.1:0").await.expect("bound"),
    );
    let config = loopback();
    let ports = [&sdp_named, &trickled].map(|s| s.local_addr().expect("bound"));
    config.own_servers.add(ports);
    let factory = RtcFactory::new(config).expect("a sound configuration");
    let (mut a, mut b) = (Node::wrapped(&factory, 1), Node::wrapped(&factory, 2));
    let line = |at: SocketAddr| {
        format!(
            "candidate:1 1 udp 2130706431 127.0.0.1 {} typ host",
            at.port()
        )
    };
    let candidate = IceCandidate {
        candidate: line(ports[1]),
        ..IceCandidate::default()
    };
    assert_eq!(b.candidate(&candidate).await, Ok(false));
    let named = format!("a={}\r\n", line(ports[0]));
    beeline_tests::rtc::call(&mut a, &mut b, |_, sdp| sdp + &named).await;
    assert!(
        a.open.is_some() && b.open.is_some(),
        "the honest candidates work"
    );
    let mut buffer = [0; 1_500];
    for server in [&sdp_named, &trickled] {
        let heard = server.try_recv_from(&mut buffer);
        assert!(heard.is_err(), "one of our servers was asked: {heard:?}");
    }
    // Others at the same address are asked: it is the server that is spared, not its host.
    let factory = RtcFactory::new(loopback()).expect("a sound configuration");
    connect(
        &mut Node::wrapped(&factory, 3),
        &mut Node::wrapped(&factory, 4),
    )
    .await;
}

/// A TURN server (RFC 8656) that gives [`RELAYED`] to everybody, says yes to everything, and tells
/// whom it is to let in.
async fn turn_server(socket: UdpSocket, permissions: tokio::sync::mpsc::Sender<SocketAddr>) {
    const MAGIC: u32 = 0x2112_a442;
    const PEER: u16 = 0x0012;
    const NONCE: u16 = 0x0015;
    let mut buffer = [0; 1_500];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        let Some((header, mut rest)) = buffer[..length].split_at_checked(20) else {
            continue;
        };
        let kind = u16::from_be_bytes([header[0], header[1]]);
        let (mut authentic, mut peer) = (false, None);
        while let Some((head, body)) = rest.split_at_checked(4) {
            let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
            match (u16::from_be_bytes([head[0], head[1]]), body) {
                (NONCE, _) => authentic = true,
                (PEER, &[_, 1, p0, p1, a, b, c, d, ..]) => {
                    let ip = u32::from_be_bytes([a, b, c, d]) ^ MAGIC;
                    let port = u16::from_be_bytes([p0, p1]) ^ 0x2112;
                    peer = Some(SocketAddr::from((Ipv4Addr::from(ip), port)));
                }
                _ => {}
            }
            rest = body.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        if let Some(peer) = peer {
            let _ = permissions.try_send(peer);
        }
        let mut attributes = Vec::new();
        let mut put = |kind: u16, value: &[u8]| {
            attributes.extend(kind.to_be_bytes());
            attributes.extend(u16::try_from(value.len()).expect("short").to_be_bytes());
            attributes.extend(value);
        };
        let class = match (kind, authentic) {
            (0x0003, false) => {
                put(0x0009, &[0, 0, 4, 1]);
                put(0x0014, b"test");
                put(NONCE, b"once");
                0x0110
            }
            (0x0003, true) => {
                let [p0, p1] = (RELAYED.port() ^ 0x2112).to_be_bytes();
                let [a, b, c, d] = (u32::from(*RELAYED.ip()) ^ MAGIC).to_be_bytes();
                put(0x0016, &[0, 1, p0, p1, a, b, c, d]);
                put(0x000d, &600_u32.to_be_bytes());
                0x0100
            }
            // A request, not an indication.
            (kind, _) if kind & 0x0110 == 0 => 0x0100,
            _ => continue,
        };
        let mut answer = (kind | class).to_be_bytes().to_vec();
        answer.extend(
            u16::try_from(attributes.len())
                .expect("short")
                .to_be_bytes(),
        );
        answer.extend(&header[4..]);
        answer.extend(attributes);
        let _ = socket.send_to(&answer, from).await;
    }
}
