//! Two wrapped peers over real sockets: talking, sizes, back-pressure, closing, addresses, ports.

use beeline::rtc::limits::DEFAULT_MESSAGE_BYTES;
use beeline::rtc::{CloseReason, RtcConfig, RtcEvent, RtcFactory, SendError};
use beeline_tests::rtc::{Node, connect, loopback, message, next};
use bytes::Bytes;

fn factory(config: RtcConfig) -> RtcFactory {
    RtcFactory::new(config).expect("a sound configuration")
}

async fn pair(config: RtcConfig) -> (Node, Node) {
    let factory = factory(config);
    let (mut a, mut b) = (Node::wrapped(&factory, 1), Node::wrapped(&factory, 2));
    connect(&mut a, &mut b).await;
    assert!(
        a.open.is_some() && b.open.is_some(),
        "{:?} {:?}",
        a.closed,
        b.closed
    );
    (a, b)
}

#[tokio::test]
async fn peers_connect_and_talk() {
    let (mut a, mut b) = pair(loopback()).await;
    for size in [1, 200, 16 * 1024, DEFAULT_MESSAGE_BYTES] {
        let sent = Bytes::from(vec![7; size]);
        a.handle()
            .send(sent.clone())
            .expect("an open link takes it");
        assert_eq!(message(&mut b).await, sent);
        b.handle()
            .send(sent.clone())
            .expect("an open link takes it");
        assert_eq!(message(&mut a).await, sent);
    }
    let over = Bytes::from(vec![7; DEFAULT_MESSAGE_BYTES + 1]);
    let refused = Err(SendError::TooLarge(DEFAULT_MESSAGE_BYTES));
    assert_eq!(a.handle().send(over.clone()), refused);
    assert_eq!(a.handle().send_file(over), refused);
}

#[tokio::test]
async fn the_default_addresses_connect_two_peers_of_one_machine() {
    let (mut a, mut b) = pair(RtcConfig::default()).await;
    a.handle()
        .send(Bytes::from_static(b"hello"))
        .expect("an open link takes it");
    assert_eq!(message(&mut b).await, "hello");
    b.handle().close();
    assert_eq!(closed(&mut a).await, CloseReason::Remote);
}

async fn closed(node: &mut Node) -> CloseReason {
    while node.closed.is_none() {
        next(node).await;
    }
    node.closed.clone().expect("just seen")
}

#[tokio::test]
async fn closing_is_told_once_to_each_side() {
    let (mut a, mut b) = pair(loopback()).await;
    a.handle().close();
    assert_eq!(closed(&mut a).await, CloseReason::Local);
    assert_eq!(closed(&mut b).await, CloseReason::Remote);
    assert_eq!(a.event().await, None);
    assert_eq!(b.event().await, None);
    assert_eq!(
        a.handle().send(Bytes::from_static(b"late")),
        Err(SendError::Closed)
    );
}

#[tokio::test]
async fn a_dropped_handle_closes_the_link() {
    let factory = factory(loopback());
    let (mut a, mut b) = (Node::wrapped(&factory, 1), Node::wrapped(&factory, 2));
    connect(&mut a, &mut b).await;
    drop(a);
    assert_eq!(closed(&mut b).await, CloseReason::Remote);
    drop(b);
    factory.drained().await;
}

#[tokio::test]
async fn a_sender_is_held_back_and_told_when_to_go_on() {
    const MESSAGES: u32 = 3_000;
    let config = RtcConfig {
        send_budget: 256 * 1024,
        ..loopback()
    };
    let budget = config.send_budget;
    let (mut a, mut b) = pair(config).await;
    let mut blocked = 0;
    let sender = async {
        for n in 0..MESSAGES {
            let mut body = vec![0; 4_096];
            body[..4].copy_from_slice(&n.to_be_bytes());
            let body = Bytes::from(body);
            while let Err(refused) = a.handle().send(body.clone()) {
                assert_eq!(refused, SendError::Blocked);
                blocked += 1;
                while next(&mut a).await != RtcEvent::Writable {}
            }
            assert!(a.handle().buffered() <= budget);
        }
    };
    let reader = async {
        for n in 0..MESSAGES {
            assert_eq!(message(&mut b).await[..4], n.to_be_bytes());
        }
    };
    tokio::join!(sender, reader);
    assert!(blocked > 0, "twelve megabytes fit no budget of 256 KiB");
}

#[tokio::test]
async fn ports_come_from_the_range_and_its_end_is_told() {
    // Two free ports, found by the kernel; the links take both, the third finds none.
    let held = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback has a port");
    let port = held.local_addr().expect("it is bound").port();
    drop(held);
    let config = RtcConfig {
        port_range: Some((port, port)),
        ..loopback()
    };
    let first = factory(config);
    let mut a = Node::wrapped(&first, 1);
    let mut b = Node::wrapped(&factory(loopback()), 2);
    let mut used = Vec::new();
    a.handle().offer().expect("a fresh link takes an offer");
    while used.is_empty() {
        match next(&mut a).await {
            RtcEvent::Candidate(c) => used.push(c.candidate),
            RtcEvent::LocalDescription { sdp } => {
                b.handle()
                    .accept_offer(&sdp)
                    .expect("it is an honest offer");
            }
            _ => {}
        }
    }
    assert!(used[0].contains(&format!(" {port} typ host")), "{used:?}");
    let mut late = Node::wrapped(&first, 3);
    let CloseReason::Setup(why) = closed(&mut late).await else {
        panic!("{:?}", late.closed);
    };
    assert!(why.contains("--rtc-ports"), "{why}");
    b.handle().close();
    assert_eq!(closed(&mut b).await, CloseReason::Local);
}
