//! Packets between two namespaces, through two devices and two threads.

use beeline_tests::link::{Count, Fate, Link, Shape, Shaper};
use beeline_tests::netns::Netns;
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

/// Only a hang takes this long, even on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// One way, in the test of delay.
const DELAY: Duration = Duration::from_millis(20);

/// What two devices and two threads may add on a machine that has a moment.
const OVERHEAD: Duration = Duration::from_millis(5);

const WEST: &str = "10.9.0.1";
const EAST: &str = "10.9.0.2";

#[expect(clippy::disallowed_methods, reason = "delay is what is looked at")]
fn now() -> Instant {
    Instant::now()
}

/// Two namespaces, a link, and a socket on each side.
struct Ends {
    west: UdpSocket,
    east: UdpSocket,
    link: Link,
    spaces: [Netns; 2],
}

fn lay(mtu: u16, shapes: [Shape; 2]) -> Ends {
    let spaces = [Netns::new("west"), Netns::new("east")];
    for space in &spaces {
        // Only our own packets shall take chances.
        space.sysctl(&[("ipv6/conf/default/disable_ipv6", "1")]);
    }
    let link = Link::lay((&spaces[0], "wire"), (&spaces[1], "wire"), mtu, shapes);
    for (space, near, far) in [(&spaces[0], WEST, EAST), (&spaces[1], EAST, WEST)] {
        space.ip(&format!("addr add {near}/32 peer {far} dev wire\n"));
    }
    let bound = |space: &Netns, ip: &'static str, peer: &'static str| {
        space.inside(|| {
            let socket = UdpSocket::bind((ip, 7_000)).expect("bound");
            socket.connect((peer, 7_000)).expect("connected");
            socket.set_read_timeout(Some(DEADLINE)).expect("set");
            socket
        })
    };
    let (west, east) = (bound(&spaces[0], WEST, EAST), bound(&spaces[1], EAST, WEST));
    Ends {
        west,
        east,
        link,
        spaces,
    }
}

fn number(socket: &UdpSocket) -> u32 {
    let mut buffer = [0; 4];
    let len = socket.recv(&mut buffer).expect("a packet");
    assert_eq!(len, 4);
    u32::from_be_bytes(buffer)
}

#[test]
fn a_round_trip_takes_what_was_asked_and_hardly_more() {
    let shape = Shape {
        delay: DELAY,
        ..Shape::default()
    };
    let ends = lay(1_500, [shape.clone(), shape]);
    let deadline = now() + DEADLINE;
    for ping in 0_u32.. {
        let sent = now();
        ends.west.send(&ping.to_be_bytes()).expect("sent");
        ends.east
            .send(&number(&ends.east).to_be_bytes())
            .expect("sent");
        assert_eq!(number(&ends.west), ping);
        let took = now().duration_since(sent);
        assert!(took >= 2 * DELAY, "a packet was early: {took:?}");
        // A loaded machine may be late at any one of them, so one in time is enough.
        if took < 2 * DELAY + OVERHEAD {
            return;
        }
        assert!(now() < deadline, "never in time, last {took:?}");
    }
}

#[test]
fn exactly_the_packets_are_lost_that_the_seed_says() {
    const PACKETS: u32 = 2_000;
    let shape = Shape {
        loss: 0.1,
        seed: 42,
        ..Shape::default()
    };
    let ends = lay(1_500, [shape.clone(), Shape::default()]);
    let mut said = Shaper::new(shape);
    let mut lost = 0;
    for packet in 0..PACKETS {
        ends.west.send(&packet.to_be_bytes()).expect("sent");
        match said.offer(Duration::ZERO, 32) {
            Fate::Due(_) => assert_eq!(number(&ends.east), packet),
            _ => lost += 1,
        }
    }
    // The last one is counted a moment after it has arrived.
    while ends.link.counts()[0].lost + ends.link.counts()[0].passed < u64::from(PACKETS) {
        std::thread::yield_now();
    }
    let [there, back] = ends.link.counts();
    assert_eq!(there.lost, lost);
    assert!((150..=250).contains(&lost), "{lost} of {PACKETS} at 10 %");
    assert_eq!(back, Count::default());
}

#[test]
fn the_mtu_holds_and_a_cut_link_passes_nothing_until_mended() {
    let ends = lay(1_280, [Shape::default(), Shape::default()]);
    // 1,280 bytes less the IP and UDP headers fit; one more is refused where fragments are.
    ends.west.send(&[7; 1_252]).expect("it fits");
    let mut buffer = [0; 2_000];
    assert_eq!(ends.east.recv(&mut buffer).expect("it came"), 1_252);
    assert!(
        ends.spaces[0]
            .run("ip", &["link", "show", "wire"])
            .contains("mtu 1280")
    );

    ends.link.cut(true);
    for packet in 0_u32..10 {
        ends.west
            .send(&packet.to_be_bytes())
            .expect("sent into the void");
    }
    while ends.link.counts()[0].cut < 10 {
        std::thread::yield_now();
    }
    ends.link.cut(false);
    ends.west.send(&99_u32.to_be_bytes()).expect("sent");
    assert_eq!(number(&ends.east), 99);
}

#[test]
fn an_end_that_is_down_and_up_again_goes_on() {
    let ends = lay(1_500, [Shape::default(), Shape::default()]);
    ends.spaces[1].ip("link set wire down\n");
    // What is sent meanwhile may be refused or lost, as it likes.
    let _ = ends.west.send(&1_u32.to_be_bytes());
    ends.spaces[1].ip(&format!(
        "link set wire up\nroute replace {WEST} dev wire\n"
    ));
    ends.east
        .set_read_timeout(Some(Duration::from_millis(20)))
        .expect("set");
    let deadline = now() + DEADLINE;
    let mut buffer = [0; 4];
    loop {
        let _ = ends.west.send(&2_u32.to_be_bytes());
        match ends.east.recv(&mut buffer) {
            Ok(_) if buffer == 2_u32.to_be_bytes() => return,
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        assert!(now() < deadline, "the link did not come back");
    }
}

/// The threads end with the link and the namespaces with theirs: nothing is left behind.
#[test]
fn nothing_is_left_of_it() {
    let ends = lay(1_500, [Shape::default(), Shape::default()]);
    let pids = [ends.spaces[0].pid(), ends.spaces[1].pid()];
    drop(ends);
    for pid in pids {
        assert!(!std::path::Path::new(&format!("/proc/{pid}/ns/net")).exists());
    }
}
