//! The address outside, guessed from STUN's last answer: told before STUN is heard, told once, and
//! not at all in another network or where addresses are hidden.

use crate::rtc_privacy::{hidden, said};
use beeline::rtc::{IceMode, IceServer, RtcEvent, RtcFactory};
use beeline_tests::rtc::{Node, next};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::timeout;

const FIRST: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
const SECOND: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 77);

/// A STUN server (RFC 8489) that sees everybody at one address, behind a NAT that keeps ports.
async fn stun_server(socket: UdpSocket, outside: Ipv4Addr) {
    const MAGIC: u32 = 0x2112_a442;
    let mut buffer = [0; 1_500];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        let Some(rest) = buffer[..length].get(4..20) else {
            continue;
        };
        let SocketAddr::V4(from) = from else { continue };
        let mut answer = vec![0x01, 0x01, 0, 12];
        answer.extend(rest);
        answer.extend([0x00, 0x20, 0, 8, 0, 1]);
        answer.extend((from.port() ^ 0x2112).to_be_bytes());
        answer.extend((u32::from(outside) ^ MAGIC).to_be_bytes());
        let _ = socket.send_to(&answer, from).await;
    }
}

/// One that sees everybody at `outside` until it ends.
struct Stun {
    at: SocketAddr,
    serving: JoinSet<()>,
}

impl Stun {
    async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bound");
        let at = socket.local_addr().expect("bound");
        let mut serving = JoinSet::new();
        serving.spawn(stun_server(socket, FIRST));
        Self { at, serving }
    }

    /// From now on it sees everybody elsewhere.
    async fn see_elsewhere(&mut self) {
        self.serving.shutdown().await;
        let socket = UdpSocket::bind(self.at).await.expect("it was free");
        self.serving.spawn(stun_server(socket, SECOND));
    }

    fn factory(&self, mode: IceMode) -> RtcFactory {
        let server = IceServer {
            urls: vec![format!("stun:{}", self.at)],
            ..IceServer::default()
        };
        hidden(mode, vec![server])
    }
}

/// All reflexive candidates of a new link.
async fn reflexive(factory: &RtcFactory) -> Vec<String> {
    let mut told = said(&mut Node::wrapped(factory, 1)).await;
    told.retain(|line| line.contains(" typ srflx "));
    told
}

fn is_at(line: &str, outside: Ipv4Addr) -> bool {
    line.contains(&format!(" {outside} "))
}

fn assert_only(told: &[String], outside: Ipv4Addr) {
    assert!(
        told.len() == 1 && is_at(&told[0], outside),
        "one candidate: {told:?}"
    );
}

#[tokio::test]
async fn what_is_outside_is_told_before_stun_is_heard_and_only_once() {
    let mut stun = Stun::start().await;
    let factory = stun.factory(IceMode::All);
    assert_eq!(reflexive(&factory).await.len(), 1);
    // Told by guess and by STUN, it is told once.
    let told = reflexive(&factory).await;
    assert_only(&told, FIRST);
    // Where nobody answers there is nothing but the guess, at the port of the host's candidate.
    stun.serving.shutdown().await;
    let mut node = Node::wrapped(&factory, 1);
    node.offer().await;
    let mut port = None;
    loop {
        let RtcEvent::Candidate(candidate) = next(&mut node).await else {
            continue;
        };
        let words: Vec<&str> = candidate.candidate.split(' ').collect();
        if words[7] == "host" && words[2] == "udp" {
            port = Some(words[5].to_owned());
        } else if words[7] == "srflx" {
            assert!(is_at(&candidate.candidate, FIRST), "{words:?}");
            assert_eq!(Some(words[5]), port.as_deref());
            return;
        }
    }
}

#[tokio::test]
async fn in_another_network_nothing_is_guessed() {
    let mut stun = Stun::start().await;
    let factory = stun.factory(IceMode::All);
    assert_eq!(reflexive(&factory).await.len(), 1);
    stun.see_elsewhere().await;
    // Without a word of it there are both, and then only what STUN says.
    assert_eq!(reflexive(&factory).await.len(), 2);
    let told = reflexive(&factory).await;
    assert_only(&told, SECOND);
    factory.forget_network();
    stun.serving.shutdown().await;
    let mut node = Node::wrapped(&factory, 1);
    node.offer().await;
    while let Ok(event) = timeout(Duration::from_secs(1), next(&mut node)).await {
        let RtcEvent::Candidate(candidate) = event else {
            continue;
        };
        assert!(!candidate.candidate.contains("srflx"), "{candidate:?}");
    }
}

#[tokio::test]
async fn who_hides_addresses_tells_no_guess() {
    let mut stun = Stun::start().await;
    let factory = stun.factory(IceMode::NoPrivate);
    let told = reflexive(&factory).await;
    assert_only(&told, FIRST);
    stun.see_elsewhere().await;
    let told = reflexive(&factory).await;
    assert_only(&told, SECOND);
}
