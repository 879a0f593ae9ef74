//! How much the link itself can carry, so that what is measured over it is not the link.

use super::{Link, Shape};
use crate::netns::Netns;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

const WEST: &str = "10.9.0.1";
const EAST: &str = "10.9.0.2";

/// What is written at once, bytes.
const PIECE: usize = 256 * 1024;

/// Laid between two namespaces with addresses.
fn laid(mtu: u16, shape: Shape) -> (Netns, Netns, Link) {
    let (west, east) = (Netns::new("west"), Netns::new("east"));
    let link = Link::even((&west, "wire"), (&east, "wire"), mtu, shape);
    west.ip(&format!("addr add {WEST}/32 peer {EAST} dev wire\n"));
    east.ip(&format!("addr add {EAST}/32 peer {WEST} dev wire\n"));
    (west, east, link)
}

#[expect(clippy::disallowed_methods, reason = "speed is measured")]
fn now() -> Instant {
    Instant::now()
}

/// Bytes a second of one TCP stream over a link of this MTU and shape, sending for about `lasting`.
///
/// # Panics
/// Where there are no namespaces, with what to do.
#[must_use]
pub fn throughput(mtu: u16, shape: Shape, lasting: Duration) -> u64 {
    let (west, east, _link) = laid(mtu, shape);
    let listener = east.inside(|| TcpListener::bind((EAST, 7_000)).expect("bound"));
    let mut stream = west.inside(|| TcpStream::connect((EAST, 7_000)).expect("connected"));
    let (mut taken, _) = listener.accept().expect("accepted");
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let mut buffer = vec![0; PIECE];
            let (start, mut bytes) = (now(), 0_u64);
            while let Ok(count @ 1..) = taken.read(&mut buffer) {
                bytes += count as u64;
            }
            let took = now().duration_since(start).as_millis().max(1);
            u64::try_from(u128::from(bytes) * 1_000 / took).unwrap_or(u64::MAX)
        });
        let (piece, end) = (vec![7; PIECE], now() + lasting);
        while now() < end && stream.write_all(&piece).is_ok() {}
        drop(stream);
        reader.join().expect("it reads to the end")
    })
}

/// Median and 99th percentile of `count` round trips of a small datagram.
///
/// # Panics
/// As [`throughput`].
#[must_use]
pub fn round_trips(shape: Shape, count: usize) -> (Duration, Duration) {
    let (west, east, _link) = laid(1_500, shape);
    let bind = |space: &Netns, ip: &'static str, peer: &'static str| {
        space.inside(|| {
            let socket = std::net::UdpSocket::bind((ip, 7_000)).expect("bound");
            socket.connect((peer, 7_000)).expect("connected");
            socket
        })
    };
    let (one, other) = (bind(&west, WEST, EAST), bind(&east, EAST, WEST));
    let mut buffer = [0; 64];
    let mut took: Vec<Duration> = Vec::with_capacity(count);
    for _ in 0..count {
        let start = now();
        one.send(&buffer).expect("sent");
        let len = other.recv(&mut buffer).expect("came");
        other.send(&buffer[..len]).expect("sent");
        one.recv(&mut buffer).expect("came back");
        took.push(now().duration_since(start));
    }
    took.sort_unstable();
    (took[count / 2], took[count * 99 / 100])
}
