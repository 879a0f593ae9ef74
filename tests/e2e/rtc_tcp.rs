//! Links over TCP, for who has no UDP: what is told, what is dialled, and what strangers at the
//! port of a coordinator can do.

use beeline::rtc::limits::{MAX_TCP_CANDIDATES, MAX_TCP_STREAMS};
use beeline::rtc::{IceCandidate, IceMode, RtcConfig, RtcEvent, RtcFactory, Tcp};
use beeline_tests::rtc::{Node, loopback, message, next};
use bytes::Bytes;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

fn node(tcp: Tcp, id: u64) -> Node {
    let config = RtcConfig { tcp, ..loopback() };
    let factory = RtcFactory::new(config).expect("a sound configuration");
    Node::wrapped(&factory, id)
}

fn is_tcp(candidate: &IceCandidate) -> bool {
    candidate.candidate.contains(" tcp ")
}

/// Carries a call on which no candidate of UDP arrives; what `b` told of TCP. `told` hears of each
/// before `a` does.
async fn call(a: &mut Node, b: &mut Node, mut told: impl AsyncFnMut(SocketAddr)) {
    a.offer().await;
    while a.open.is_none() || b.open.is_none() {
        let (from_a, event) = tokio::select! {
            event = next(a) => (true, event),
            event = next(b) => (false, event),
        };
        match event {
            RtcEvent::LocalDescription { sdp } => {
                let to = if from_a { &*b } else { &*a };
                to.accept(from_a, &sdp)
                    .await
                    .expect("an honest description");
            }
            RtcEvent::Candidate(candidate) if is_tcp(&candidate) => {
                assert!(
                    !from_a,
                    "it only dials, so it tells of nothing: {candidate:?}"
                );
                told(address(&candidate)).await;
                assert_eq!(a.candidate(&candidate).await, Ok(true));
            }
            RtcEvent::Closed { reason } => panic!("closed: {reason}"),
            _ => {}
        }
    }
}

fn address(candidate: &IceCandidate) -> SocketAddr {
    let words: Vec<&str> = candidate.candidate.split(' ').collect();
    format!("{}:{}", words[4], words[5])
        .parse()
        .expect("an address")
}

async fn talk(a: &mut Node, b: &mut Node) {
    // More than the datagrams that may wait for a stream.
    let long = Bytes::from(vec![7; 60_000]);
    for _ in 0..10 {
        a.handle().send(long.clone()).expect("it is open");
        assert_eq!(message(b).await, long);
    }
    b.handle()
        .send(Bytes::from_static(b"back"))
        .expect("it is open");
    assert_eq!(message(a).await, "back");
}

#[tokio::test]
async fn who_has_no_udp_has_a_link_with_a_coordinator() {
    let (mut a, mut b) = (node(Tcp::Dial, 1), node(Tcp::Serve, 2));
    call(&mut a, &mut b, async |_| ()).await;
    talk(&mut a, &mut b).await;
    let report = a.handle().report().await;
    assert!(report.over_tcp && report.local_type == "host", "{report:?}");
    assert!(b.handle().report().await.over_tcp);
}

#[tokio::test]
async fn it_does_not_matter_who_calls() {
    let (mut a, mut b) = (node(Tcp::Serve, 1), node(Tcp::Dial, 2));
    a.offer().await;
    while a.open.is_none() || b.open.is_none() {
        let (from_a, event) = tokio::select! {
            event = next(&mut a) => (true, event),
            event = next(&mut b) => (false, event),
        };
        let to = if from_a { &b } else { &a };
        match event {
            RtcEvent::LocalDescription { sdp } => {
                to.accept(from_a, &sdp)
                    .await
                    .expect("an honest description");
            }
            RtcEvent::Candidate(candidate) if is_tcp(&candidate) => {
                assert_eq!(to.candidate(&candidate).await, Ok(true));
            }
            RtcEvent::Closed { reason } => panic!("closed: {reason}"),
            _ => {}
        }
    }
    talk(&mut a, &mut b).await;
}

#[tokio::test]
async fn strangers_at_the_port_are_few_and_are_not_listened_to() {
    let (mut a, mut b) = (node(Tcp::Dial, 1), node(Tcp::Serve, 2));
    let mut strangers = Vec::new();
    call(&mut a, &mut b, async |at| {
        // As many as there is room for but one, with what is no datagram or comes from nobody.
        for number in 1..MAX_TCP_STREAMS {
            let mut stranger = TcpStream::connect(at).await.expect("it listens");
            let said: &[u8] = match number % 3 {
                0 => b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                // An alert of DTLS that ends the call, were it believed.
                1 => &[0, 15, 21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 2, 40],
                _ => &[255],
            };
            stranger.write_all(said).await.expect("it reads");
            strangers.push(stranger);
        }
    })
    .await;
    talk(&mut a, &mut b).await;
    // Who spoke HTTP was hung up on.
    let mut rest = Vec::new();
    let ended = strangers[2].read_to_end(&mut rest).await;
    assert!(rest.is_empty(), "{ended:?}: {rest:?}");
}

#[tokio::test]
async fn more_candidates_than_a_coordinator_has_addresses_are_not_dialled() {
    let (mut a, mut b) = (node(Tcp::Serve, 1), node(Tcp::Dial, 2));
    a.offer().await;
    let offer = loop {
        if let RtcEvent::LocalDescription { sdp } = next(&mut a).await {
            break sdp;
        }
    };
    b.accept(true, &offer).await.expect("an honest offer");
    let mut taken = 0;
    for port in 5_000..5_100 {
        let line = format!("candidate:1 1 tcp 1 127.0.0.1 {port} typ host tcptype passive");
        let candidate = IceCandidate {
            candidate: line,
            ..IceCandidate::default()
        };
        taken += usize::from(b.candidate(&candidate).await == Ok(true));
    }
    assert_eq!(taken, MAX_TCP_CANDIDATES);
    while !matches!(next(&mut b).await, RtcEvent::LocalDescription { .. }) {}
}

#[tokio::test]
async fn who_uses_turn_alone_dials_nobody() {
    for (mode, taken) in [(IceMode::All, true), (IceMode::RelayOnly, false)] {
        let config = RtcConfig {
            tcp: Tcp::Dial,
            mode,
            ..loopback()
        };
        let factory = RtcFactory::new(config).expect("a sound configuration");
        let hiding = Node::wrapped(&factory, 1);
        let candidate = IceCandidate {
            candidate: "candidate:1 1 tcp 1 127.0.0.1 5000 typ host tcptype passive".to_owned(),
            ..IceCandidate::default()
        };
        assert_eq!(hiding.candidate(&candidate).await, Ok(taken), "{mode}");
    }
}
