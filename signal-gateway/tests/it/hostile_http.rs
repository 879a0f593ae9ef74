//! Connections that stall, crowd or break HTTP, and the honest ones beside them.

use crate::client::{Socket, get};
use crate::raw::{Raw, close_code, status};
use crate::stack::Stack;
use std::time::Duration;

/// Short, so that a test waits for the gateway's deadlines and not for minutes.
const SHORT_MS: u64 = 300;

/// T-HTTP-1, scaled down: connections that send nothing, a byte, half a head, half a body, or
/// nothing after the upgrade are all ended by the gateway, and a legitimate client is served.
#[tokio::test]
async fn stalling_connections_are_ended() {
    let stack = Stack::limited(|limits| {
        limits.connections.header_ms = SHORT_MS;
        limits.connections.request_ms = SHORT_MS;
        limits.sockets.first_frame_ms = SHORT_MS;
    })
    .await;
    let mut stalled = Vec::new();
    for start in ["", "G", "GET /healthz HTTP/1.1\r\nHost: gw\r\n"] {
        for _ in 0..20 {
            let mut raw = Raw::connect(stack.addr).await;
            raw.write(start.as_bytes()).await;
            stalled.push(raw);
        }
    }
    let half_body = "POST /auth/challenge HTTP/1.1\r\nHost: gw\r\nContent-Length: 100\r\n\r\n{";
    let mut body = Raw::connect(stack.addr).await;
    body.write(half_body.as_bytes()).await;
    let silent = Raw::upgraded(stack.addr, "alice_1", "").await;
    assert_eq!(get(stack.addr, "/healthz", None).await.status, 200);
    for raw in stalled {
        // The end of the answer, if there is one, is the end of the connection.
        raw.until_end().await;
    }
    assert_eq!(status(&body.until_end().await), Some(504));
    assert_eq!(close_code(&silent.until_end().await), Some(4001));
    assert_eq!(get(stack.addr, "/healthz", None).await.status, 200);
}

/// Bytes that trickle in do not buy time: neither in a head nor in a first frame.
#[tokio::test]
async fn trickling_does_not_buy_time() {
    let stack = Stack::limited(|limits| {
        limits.connections.header_ms = SHORT_MS;
        limits.sockets.first_frame_ms = SHORT_MS;
    })
    .await;
    let header = Raw::connect(stack.addr).await;
    let frame = Raw::upgraded(stack.addr, "alice_1", "").await;
    let (header, frame) = tokio::join!(
        trickle(header, b"GET /healthz HTTP/1.1\r\nHost: ".to_vec()),
        trickle(frame, vec![0x81, 0x80 | 126, 1, 0, 0, 0, 0, 0]),
    );
    assert_ne!(status(&header), Some(200));
    assert_eq!(close_code(&frame), Some(4001));
}

/// Sends one byte at a time, for ever, until the gateway hangs up.
async fn trickle(mut raw: Raw, start: Vec<u8>) -> Vec<u8> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut seen = Vec::new();
    raw.write(&start).await;
    let mut ticks = tokio::time::interval(Duration::from_millis(SHORT_MS / 6));
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                let _ = raw.tcp.write_all(b"a").await;
            }
            read = raw.tcp.read_buf(&mut seen) => {
                if !read.is_ok_and(|n| n > 0) {
                    let mut all = raw.until_end().await;
                    all.extend(seen);
                    return all;
                }
            }
        }
    }
}

#[tokio::test]
async fn heads_are_bounded() {
    let stack = Stack::start().await;
    let lines = |count: usize| -> String { (0..count).map(|n| format!("X-{n}: y\r\n")).collect() };
    for (what, head, want) in [
        (
            "31 headers",
            format!("GET /healthz HTTP/1.1\r\nHost: gw\r\n{}\r\n", lines(30)),
            200,
        ),
        (
            "33 headers",
            format!("GET /healthz HTTP/1.1\r\nHost: gw\r\n{}\r\n", lines(32)),
            431,
        ),
        (
            "100,000 headers",
            format!("GET / HTTP/1.1\r\nHost: gw\r\n{}\r\n", lines(100_000)),
            431,
        ),
        (
            "a line of 1 MiB",
            format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(1 << 20)),
            431,
        ),
        (
            "no HTTP",
            "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n".to_owned(),
            400,
        ),
    ] {
        let head = head.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
        let answer = Raw::connect(stack.addr)
            .await
            .write_until_end(head.as_bytes())
            .await;
        // A peer still sending when the connection ends may lose the answer, never the end.
        let status = status(&answer);
        assert!(
            status == Some(want) || (head.len() > 20_000 && status.is_none()),
            "{what}: {status:?}"
        );
    }
    assert_eq!(get(stack.addr, "/healthz", None).await.status, 200);
}

#[tokio::test]
async fn one_address_has_so_many_connections() {
    let stack = Stack::with(|config| {
        config.limits.connections.count_loopback = true;
        config.edge.max_connections_per_ip = Some(3);
    })
    .await;
    let alice = Socket::proven(stack.addr, &stack.home, &stack.alice).await;
    let bob = Socket::proven(stack.addr, &stack.home, &stack.bob).await;
    let third = Raw::upgraded(stack.addr, "carol_1", "").await;
    let fourth = Raw::connect(stack.addr).await.until_end().await;
    assert_eq!(fourth, b"", "turned away without a word");
    drop((alice, bob));
    stack.registry.fake.reported("home", "alice_1", false).await;
    stack.registry.fake.reported("home", "bob_1", false).await;
    assert_eq!(get(stack.addr, "/healthz", None).await.status, 200);
    drop(third);
}

#[tokio::test]
async fn strangers_leave_room_for_members() {
    let stack = Stack::limited(|limits| limits.connections.unauthenticated = 2).await;
    // Members do not count, however many.
    let _alice = Socket::proven(stack.addr, &stack.home, &stack.alice).await;
    let _bob = Socket::bearer(stack.addr, "bob_1", &stack.token(&stack.bob)).await;
    let first = Raw::upgraded(stack.addr, "x", "").await;
    let _second = Raw::upgraded(stack.addr, "y", "").await;
    assert_eq!(Raw::connect(stack.addr).await.until_end().await, b"");
    // One signs off, and there is room again.
    first
        .write_until_end(&crate::raw::masked(0x88, &[0x03, 0xe8]))
        .await;
    let _carol = Socket::proven(stack.addr, &stack.home, &stack.carol).await;
}

/// T-HTTP-1 for members: challenges and joins have a rate, of each name and of each address. Many
/// devices behind one address do not get in each other's way.
#[tokio::test]
async fn strangers_have_a_rate() {
    let stack = Stack::limited(|limits| {
        limits.connections.count_loopback = true;
        limits.challenge_rate.burst = 2;
        limits.address_rate.burst = 7;
    })
    .await;
    let ask = async |device: &str| {
        let ids = serde_json::json!({ "networkId": "home", "deviceId": device });
        crate::client::post(stack.addr, "/auth/challenge", None, &ids).await
    };
    for device in ["alice_1", "bob_1", "carol_1"] {
        assert_eq!(ask(device).await.status, 200, "{device}");
        assert_eq!(ask(device).await.status, 200, "{device} at its limit");
    }
    let limited = ask("alice_1").await;
    assert_eq!(limited.problem(), (429, "RATE_LIMITED".into()), "one more");
    assert!(limited.headers.contains_key("retry-after"));
    // That was the seventh of this address.
    let limited = ask("dave_1").await;
    assert_eq!(
        limited.problem(),
        (429, "RATE_LIMITED".into()),
        "the address"
    );
}
