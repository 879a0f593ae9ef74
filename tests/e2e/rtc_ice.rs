//! ICE over real sockets: the candidate cap (T-ICE-1), the candidates no check is sent to
//! (T-ICE-2), and a restart.

use beeline::rtc::limits::MAX_REMOTE_CANDIDATES;
use beeline::rtc::{IceCandidate, RtcEvent, RtcFactory, SignalError};
use beeline_tests::rtc::{Node, Peer, connect, loopback, message, next};
use bytes::Bytes;
use webrtc::runtime::default_runtime;

const FLOOD: usize = 10_000;

/// Candidates at as many addresses, none of which answers.
fn candidate(n: usize) -> IceCandidate {
    let (port, host) = (2_000 + n % 60_000, 1 + n / 60_000);
    let candidate = format!("candidate:{n} 1 udp 2130706431 127.0.1.{host} {port} typ host");
    IceCandidate {
        candidate,
        ..IceCandidate::default()
    }
}

/// The description of `node`'s offer.
async fn offer(node: &mut Node) -> String {
    node.offer().await;
    loop {
        if let RtcEvent::LocalDescription { sdp } = next(node).await {
            return sdp;
        }
    }
}

#[tokio::test]
async fn t_ice_1_of_ten_thousand_candidates_few_are_used() {
    let factory = RtcFactory::new(loopback()).expect("a sound configuration");
    let mut caller = Node::wrapped(&factory, 1);
    let sdp = offer(&mut caller).await;
    let mut victim = Node::wrapped(&factory, 2);
    victim
        .handle()
        .accept_offer(&sdp)
        .expect("it is an honest offer");
    let (mut used, mut refused) = (0, 0);
    for n in 0..FLOOD {
        match victim.candidate(&candidate(n)).await {
            Ok(taken) => used += usize::from(taken),
            Err(SignalError::TooManyCandidates) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(
        (used, refused),
        (MAX_REMOTE_CANDIDATES, FLOOD - MAX_REMOTE_CANDIDATES)
    );
    while !matches!(next(&mut victim).await, RtcEvent::LocalDescription { .. }) {}
    let known = victim.handle().report().await.remote_candidates;
    assert_eq!(
        known, MAX_REMOTE_CANDIDATES,
        "what was taken reached the crate, and no more"
    );

    let bare = Node::bare(default_runtime().expect("tokio is built in"), None).await;
    bare.accept(true, &sdp)
        .await
        .expect("a bare peer takes all");
    for n in 0..FLOOD / 10 {
        bare.candidate(&candidate(n))
            .await
            .expect("a bare peer takes all");
    }
    let Peer::Bare(peer) = &bare.peer else {
        unreachable!("made bare")
    };
    let known = peer.report().await.1;
    assert!(
        known >= FLOOD / 10,
        "the crate now caps candidates: {known}"
    );
}

#[tokio::test]
async fn t_ice_2_no_check_goes_where_none_may() {
    let factory = RtcFactory::new(loopback()).expect("a sound configuration");
    let mut caller = Node::wrapped(&factory, 1);
    let sdp = offer(&mut caller).await;
    let mut config = loopback();
    config.accept_loopback = false;
    let factory = RtcFactory::new(config).expect("a sound configuration");
    let mut victim = Node::wrapped(&factory, 2);
    victim
        .handle()
        .accept_offer(&sdp)
        .expect("it is an honest offer");
    for address in [
        "127.0.0.1 5000",
        "169.254.169.254 5000",
        "224.0.0.1 5000",
        "10.0.0.1 53",
    ] {
        let candidate = format!("candidate:1 1 udp 2130706431 {address} typ host");
        let candidate = IceCandidate {
            candidate,
            ..IceCandidate::default()
        };
        assert_eq!(
            victim.handle().add_candidate(&candidate),
            Ok(false),
            "{address}"
        );
    }
    while !matches!(next(&mut victim).await, RtcEvent::LocalDescription { .. }) {}
    assert_eq!(victim.handle().report().await.remote_candidates, 0);
}

#[tokio::test]
async fn a_restart_keeps_the_link() {
    let factory = RtcFactory::new(loopback()).expect("a sound configuration");
    let (mut a, mut b) = (Node::wrapped(&factory, 1), Node::wrapped(&factory, 2));
    connect(&mut a, &mut b).await;
    a.handle().restart_ice().expect("an open link restarts");
    let mut answered = false;
    while !answered {
        let (from_a, event) = tokio::select! {
            event = next(&mut a) => (true, event),
            event = next(&mut b) => (false, event),
        };
        match (from_a, event) {
            (true, RtcEvent::LocalDescription { sdp }) => {
                b.handle()
                    .accept_offer(&sdp)
                    .expect("it is an honest offer");
            }
            (false, RtcEvent::LocalDescription { sdp }) => {
                a.handle()
                    .accept_answer(&sdp)
                    .expect("it is an honest answer");
                answered = true;
            }
            (true, RtcEvent::Candidate(c)) => drop(b.handle().add_candidate(&c)),
            (false, RtcEvent::Candidate(c)) => drop(a.handle().add_candidate(&c)),
            (_, RtcEvent::Closed { reason }) => panic!("{reason}"),
            _ => {}
        }
    }
    a.handle()
        .send(Bytes::from_static(b"still here"))
        .expect("the link is open");
    assert_eq!(message_past_signals(&mut a, &mut b).await, "still here");
}

/// The next message at `b`, carrying late candidates on the way.
async fn message_past_signals(a: &mut Node, b: &mut Node) -> Bytes {
    tokio::select! {
        got = message(b) => got,
        () = async { loop {
            if let RtcEvent::Closed { reason } = next(a).await { panic!("{reason}") }
        } } => unreachable!("it loops"),
    }
}
