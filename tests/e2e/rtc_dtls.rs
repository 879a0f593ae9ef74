//! DTLS over real sockets: the suite (T-DTLS-4), a wrong fingerprint (T-DTLS-2), and an attacker
//! beside the path (T-DTLS-6).

use std::net::SocketAddr;
use std::time::Duration;

use beeline::rtc::{CloseReason, RtcEvent, RtcFactory, SignalError};
use beeline_tests::attack::forgeries;
use beeline_tests::rtc::{Node, Peer, call, connect, loopback, next};
use tokio::net::UdpSocket;
use webrtc::runtime::default_runtime;

const CHACHA: &str = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256";

fn factory() -> RtcFactory {
    RtcFactory::new(loopback()).expect("a sound configuration")
}

async fn bare() -> Node {
    Node::bare(default_runtime().expect("tokio is built in"), None).await
}

async fn cipher(node: &Node) -> String {
    match &node.peer {
        Peer::Wrapped(peer) => peer.report().await.dtls_cipher,
        Peer::Bare(peer) => peer.report().await.0,
    }
}

/// Our side alone decides: whatever a peer prefers, and whichever role it takes.
#[tokio::test]
async fn t_dtls_4_the_suite_is_chacha20_poly1305() {
    for (mut a, mut b) in [
        (Node::wrapped(&factory(), 1), Node::wrapped(&factory(), 2)),
        (Node::wrapped(&factory(), 1), bare().await),
        (bare().await, Node::wrapped(&factory(), 2)),
    ] {
        connect(&mut a, &mut b).await;
        assert_eq!(
            (cipher(&a).await.as_str(), cipher(&b).await.as_str()),
            (CHACHA, CHACHA)
        );
    }
    let (mut a, mut b) = (bare().await, bare().await);
    connect(&mut a, &mut b).await;
    let chosen = cipher(&a).await;
    assert!(
        chosen.contains("AES_128_GCM"),
        "the crate has another first choice: {chosen}"
    );
}

/// Changes the last digit of the fingerprint in a description.
fn spoil(sdp: &str) -> String {
    let lines = sdp
        .lines()
        .map(|line| match line.strip_prefix("a=fingerprint:") {
            Some(value) => {
                let (rest, last) = value.split_at(value.len() - 1);
                let other = if last == "0" { "1" } else { "0" };
                format!("a=fingerprint:{rest}{other}")
            }
            None => line.to_owned(),
        });
    lines.collect::<Vec<_>>().join("\r\n") + "\r\n"
}

#[tokio::test]
async fn t_dtls_2_a_wrong_fingerprint_never_opens() {
    for spoil_offer in [true, false] {
        let (mut a, mut b) = (Node::wrapped(&factory(), 1), Node::wrapped(&factory(), 2));
        call(&mut a, &mut b, |is_offer, sdp| {
            if is_offer == spoil_offer {
                spoil(&sdp)
            } else {
                sdp
            }
        })
        .await;
        assert_eq!(
            (a.open, b.open),
            (None, None),
            "offer spoiled: {spoil_offer}"
        );
        // The side that was given the wrong fingerprint refuses, with bad_certificate (42).
        let (deceived, other) = if spoil_offer { (b, a) } else { (a, b) };
        assert_eq!(
            deceived.closed,
            Some(CloseReason::HandshakeRefused { alert: 42 })
        );
        assert_eq!(other.closed, Some(CloseReason::Remote));
    }
}

#[tokio::test]
async fn a_second_description_cannot_change_the_certificate() {
    let (mut a, mut b) = (Node::wrapped(&factory(), 1), Node::wrapped(&factory(), 2));
    let mut answer = String::new();
    call(&mut a, &mut b, |is_offer, sdp| {
        if !is_offer {
            answer.clone_from(&sdp);
        }
        sdp
    })
    .await;
    let changed = a.handle().accept_answer(&spoil(&answer));
    assert_eq!(changed, Err(SignalError::FingerprintChanged));
    assert_eq!(a.closed, None::<CloseReason>);
}

/// Calls under attack, and how many of a hundred must open.
const CALLS: usize = 100;
const MUST_OPEN: usize = 99;

/// One call while `attacker` floods every port either side names.
async fn survives(attacker: &UdpSocket) -> bool {
    let (mut a, mut b) = (Node::wrapped(&factory(), 1), Node::wrapped(&factory(), 2));
    let mut targets: Vec<SocketAddr> = Vec::new();
    let mut pace = tokio::time::interval(Duration::from_millis(1));
    let forgeries = forgeries();
    let mut turn = 0;
    a.handle().offer().expect("a fresh link takes an offer");
    while !((a.open.is_some() || a.closed.is_some()) && (b.open.is_some() || b.closed.is_some())) {
        let (from_a, event) = tokio::select! {
            event = next(&mut a), if a.closed.is_none() => (true, event),
            event = next(&mut b), if b.closed.is_none() => (false, event),
            _ = pace.tick() => {
                for target in &targets {
                    // A full socket buffer only slows the attacker.
                    let _ = attacker.try_send_to(&forgeries[turn % forgeries.len()], *target);
                }
                turn += 1;
                continue;
            }
        };
        let to = if from_a { b.handle() } else { a.handle() };
        match event {
            RtcEvent::LocalDescription { sdp } if from_a => {
                to.accept_offer(&sdp).expect("it is an honest offer");
            }
            RtcEvent::LocalDescription { sdp } => {
                to.accept_answer(&sdp).expect("it is an honest answer");
            }
            RtcEvent::Candidate(candidate) => {
                let words: Vec<&str> = candidate.candidate.split(' ').collect();
                let address = format!("{}:{}", words[4], words[5]);
                targets.push(address.parse().expect("a candidate names an address"));
                to.add_candidate(&candidate)
                    .expect("it is an honest candidate");
            }
            _ => {}
        }
    }
    a.open.is_some() && b.open.is_some()
}

#[tokio::test]
async fn t_dtls_6_an_attacker_beside_the_path_changes_nothing() {
    let attacker = UdpSocket::bind("127.0.0.2:0")
        .await
        .expect("loopback is a whole network");
    let mut opened = 0;
    for _ in 0..CALLS {
        opened += usize::from(survives(&attacker).await);
    }
    assert!(opened >= MUST_OPEN, "{opened} of {CALLS}");
}
