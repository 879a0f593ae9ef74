//! The real ICE, DTLS and SCTP of two peers, in virtual time: set-up over any path, and what an
//! attacker beside the path can do to it (T-DTLS-6).

#![expect(
    clippy::print_stdout,
    reason = "set-up times for docs/webrtc.md, traces for a parent"
)]

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use beeline::rtc::{BindTo, CloseReason, RtcConfig, RtcEvent, RtcFactory};
use beeline_tests::attack::forgeries;
use beeline_tests::rtc::{Node, connect, message, next};
use beeline_tests::vnet::{Line, Path, VirtualNet, host};
use bytes::Bytes;
use webrtc::peer_connection::crypto;

const LOSSY: Path = Path {
    delay: MS_50,
    jitter: Duration::from_millis(5),
    loss: 50,
    reorder: 50,
    rate: 0,
};
const MS_50: Duration = Duration::from_millis(50);
/// Longest a call over a lossy path may take, virtual: DTLS doubles its timer from 1 s, and
/// messages of one flight are lost independently.
const LOSSY_SETUP: Duration = Duration::from_secs(30);

/// What one run showed.
struct Run {
    setup: Duration,
    trace: Vec<Line>,
}

/// A port no other test of this binary has: real sockets hold the virtual ones' places.
fn port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    20_000 + NEXT.fetch_add(1, Ordering::Relaxed) % 10_000
}

/// A factory on `net` at its own address, so that the two sides are two hosts.
fn factory(net: &VirtualNet, last: u8, port: u16) -> RtcFactory {
    let config = RtcConfig {
        bind: BindTo::Addresses(vec![IpAddr::V4(host(last))]),
        port_range: Some((port, port)),
        ..RtcConfig::default()
    };
    let crypto = crypto::default_provider().expect("the crate has cryptography");
    RtcFactory::with_parts(config, net.runtime(), crypto).expect("a sound configuration")
}

/// One call over `path`, and messages of several fragments both ways.
async fn run(seed: u64, path: Path, port: u16) -> Run {
    let net = VirtualNet::new(seed, path);
    let (left, right) = (factory(&net, 2, port), factory(&net, 3, port));
    let mut a = Node::wrapped(&left, 1);
    let mut b = Node::wrapped(&right, 2);
    connect(&mut a, &mut b).await;
    let setup = net.now();
    let (a_own, a_other) = a
        .open
        .unwrap_or_else(|| panic!("seed {seed}: {:?}", a.closed));
    assert_eq!(
        b.open,
        Some((a_other, a_own)),
        "seed {seed}: each side names both certificates"
    );
    let trace = net.trace();
    for n in 0..20u8 {
        let sent = Bytes::from(vec![n; 3_000]);
        a.handle()
            .send(sent.clone())
            .expect("an open link takes it");
        assert_eq!(message(&mut b).await, sent);
        b.handle()
            .send(sent.clone())
            .expect("an open link takes it");
        assert_eq!(message(&mut a).await, sent);
    }
    drop((a, b));
    left.drained().await;
    right.drained().await;
    Run { setup, trace }
}

/// Set-up of the crate as it comes, over the same path.
async fn bare_setup(seed: u64, path: Path) -> Duration {
    let net = VirtualNet::new(seed, path);
    let port = port();
    let mut a = Node::bare(net.runtime(), Some((host(2), port))).await;
    let mut b = Node::bare(net.runtime(), Some((host(3), port))).await;
    connect(&mut a, &mut b).await;
    assert!(
        a.open.is_some() && b.open.is_some(),
        "{:?} {:?}",
        a.closed,
        b.closed
    );
    net.now()
}

#[tokio::test(start_paused = true)]
async fn peers_connect_without_delay() {
    let wrapped = run(1, Path::default(), port()).await.setup;
    let bare = bare_setup(1, Path::default()).await;
    println!("0 ms one way: {wrapped:?}, as the crate comes {bare:?}");
    // Two ICE ticks; the crate waits for ticks of 200 ms and delayed acknowledgements.
    assert!(wrapped <= Duration::from_millis(50), "{wrapped:?}");
    assert!(
        bare >= 5 * wrapped,
        "the crate has lost its waits: {bare:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn peers_connect_over_50_ms() {
    for seed in 1..=5 {
        let path = Path {
            delay: MS_50,
            ..Path::default()
        };
        let wrapped = run(seed, path, port()).await.setup;
        let bare = bare_setup(seed, path).await;
        println!("50 ms one way, seed {seed}: {wrapped:?}, as the crate comes {bare:?}");
        // ICE 1, nomination 1, DTLS 3 (with cookie), SCTP 2 round trips.
        let pinned = Duration::from_millis(super::contact::SETUP_MS);
        let slack = Duration::from_millis(10);
        assert!(
            wrapped <= pinned && wrapped + slack >= pinned,
            "{wrapped:?}"
        );
        assert!(bare > wrapped, "the crate has lost its waits: {bare:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn peers_connect_over_a_path_that_loses_and_reorders() {
    for seed in 1..=20 {
        let setup = run(seed, LOSSY, port()).await.setup;
        println!("50 ms, 5 % lost, 5 % reordered, seed {seed}: {setup:?}");
        assert!(setup <= LOSSY_SETUP, "seed {seed}: {setup:?}");
    }
}

/// What a sender can hand over while the peer's application reads nothing, bytes: its own budget,
/// the peer's window, and 16 KiB for each place in a queue (1,024 in the test, 512 in the crate,
/// which counts messages there, not bytes).
const UNREAD: usize = (1 + 4 + 24 + 1) * 1024 * 1024;

/// Sends numbered messages until the peer, who reads nothing, has held it up for `patience`.
async fn fill(a: &mut Node, patience: Duration) -> u64 {
    let piece = 16 * 1024;
    let mut sent = 0u64;
    loop {
        let mut message = vec![0; piece];
        message[..8].copy_from_slice(&sent.to_be_bytes());
        if a.handle().send(message.into()).is_ok() {
            sent += 1;
            assert!(sent as usize * piece <= UNREAD, "nothing holds the sender");
            continue;
        }
        let writable = async { while next(a).await != RtcEvent::Writable {} };
        if tokio::time::timeout(patience, writable).await.is_err() {
            return sent;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_does_not_read_holds_the_sender() {
    let net = VirtualNet::new(
        1,
        Path {
            delay: Duration::from_millis(5),
            ..Path::default()
        },
    );
    let port = port();
    let mut a = Node::wrapped(&factory(&net, 2, port), 1);
    let mut b = Node::wrapped(&factory(&net, 3, port), 2);
    connect(&mut a, &mut b).await;
    let sent = fill(&mut a, Duration::from_secs(30)).await;
    // Then it reads, and everything that was taken arrives, in order.
    for n in 0..sent {
        assert_eq!(message(&mut b).await[..8], n.to_be_bytes());
    }
}

/// The crate stops retransmitting for ever after 63 s without acknowledgement and says nothing.
#[tokio::test(start_paused = true)]
async fn a_peer_that_never_reads_is_given_up() {
    let net = VirtualNet::new(
        1,
        Path {
            delay: Duration::from_millis(5),
            ..Path::default()
        },
    );
    let port = port();
    let mut a = Node::wrapped(&factory(&net, 2, port), 1);
    let mut b = Node::wrapped(&factory(&net, 3, port), 2);
    connect(&mut a, &mut b).await;
    fill(&mut a, Duration::from_secs(30)).await;
    while a.closed.is_none() {
        next(&mut a).await;
    }
    assert_eq!(a.closed, Some(CloseReason::Stalled));
    assert!(net.now() < Duration::from_secs(120), "{:?}", net.now());
}

/// Set in the child processes of [`a_seed_decides_the_run`].
const CHILD: &str = "BEELINE_SIM_CHILD";

/// The same seed gives the same datagrams at the same virtual times. What the crate draws from
/// the operating system (keys, cookies, TSNs, transaction ids) changes bytes, not times; but its
/// event loop picks among ready events by a generator that is seeded once per thread, so only
/// whole processes repeat each other.
#[tokio::test(start_paused = true)]
async fn a_seed_decides_the_run() {
    if std::env::var_os(CHILD).is_some() {
        for seed in 1..=10 {
            let run = run(seed, LOSSY, port()).await;
            for line in run.trace {
                let Line {
                    at,
                    way,
                    kind,
                    lost,
                } = line;
                let (from, to) = (last(way.0), last(way.1));
                println!("TRACE {seed} {at:?} {from} {to} {kind} {lost}");
            }
        }
        return;
    }
    let (first, second) = (child(), child());
    assert!(
        first.lines().count() > 500,
        "the child says what it did: {first}"
    );
    for (first, second) in first.lines().zip(second.lines()) {
        assert_eq!(first, second);
    }
    assert_eq!(first.len(), second.len());
}

/// The part of an address that names a host of the virtual network.
fn last(address: SocketAddr) -> u8 {
    match address.ip() {
        IpAddr::V4(ip) => ip.octets()[3],
        IpAddr::V6(_) => unreachable!("the virtual networks speak IPv4"),
    }
}

/// The trace of a process that runs only that test.
fn child() -> String {
    let output = std::process::Command::new(std::env::current_exe().expect("we run"))
        .args([
            "--exact",
            "rtc_virtual::a_seed_decides_the_run",
            "--nocapture",
        ])
        .env(CHILD, "1")
        .output()
        .expect("a test binary runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .filter(|line| line.starts_with("TRACE"))
        .map(|line| format!("{line}\n"))
        .collect()
}

/// Whether a call opens while an attacker at a third address floods both ports at 1 kHz.
async fn survives(net: &VirtualNet, a: &mut Node, b: &mut Node, port: u16) -> bool {
    let attacker = SocketAddr::from((host(9), 6_666));
    let targets = [2, 3].map(|last| SocketAddr::from((host(last), port)));
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    let flood = async {
        for forgery in forgeries().iter().cycle() {
            tick.tick().await;
            for target in targets {
                net.inject(attacker, target, forgery);
            }
        }
    };
    tokio::select! {
        () = flood => false,
        () = connect(a, b) => a.open.is_some() && b.open.is_some(),
        () = tokio::time::sleep(Duration::from_secs(10)) => false,
    }
}

const WRAPPED_CALLS: u64 = 20;
const BARE_CALLS: u64 = 5;

#[tokio::test(start_paused = true)]
async fn t_dtls_6_an_attacker_beside_the_path_changes_nothing() {
    let path = Path {
        delay: Duration::from_millis(5),
        ..Path::default()
    };
    let (mut wrapped, mut bare) = (0, 0);
    for seed in 0..WRAPPED_CALLS {
        let (net, port) = (VirtualNet::new(seed, path), port());
        let mut a = Node::wrapped(&factory(&net, 2, port), 1);
        let mut b = Node::wrapped(&factory(&net, 3, port), 2);
        wrapped += u64::from(survives(&net, &mut a, &mut b, port).await);
    }
    for seed in 0..BARE_CALLS {
        let (net, port) = (VirtualNet::new(seed, path), port());
        let mut a = Node::bare(net.runtime(), Some((host(2), port))).await;
        let mut b = Node::bare(net.runtime(), Some((host(3), port))).await;
        bare += u64::from(survives(&net, &mut a, &mut b, port).await);
    }
    assert_eq!(wrapped, WRAPPED_CALLS);
    assert!(
        bare < BARE_CALLS,
        "the crate now filters by address: the gate may go"
    );
}
