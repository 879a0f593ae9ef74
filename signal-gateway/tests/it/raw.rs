//! A client that keeps to no rules: bytes over TCP, and what comes back.

use crate::client::within;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A connection.
pub(crate) struct Raw {
    pub(crate) tcp: TcpStream,
    seen: Vec<u8>,
}

impl Raw {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        let tcp = TcpStream::connect(addr).await.expect("connect");
        Self {
            tcp,
            seen: Vec::new(),
        }
    }

    /// Connects and upgrades, with these header lines beside the handshake's.
    pub(crate) async fn upgraded(addr: SocketAddr, device: &str, extra: &str) -> Self {
        let mut raw = Self::connect(addr).await;
        let opening = format!(
            "GET /{device} HTTP/1.1\r\nHost: gw\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             {extra}\r\n"
        );
        raw.tcp.write_all(opening.as_bytes()).await.expect("write");
        while !raw.seen.windows(4).any(|w| w == b"\r\n\r\n") {
            assert_ne!(raw.more().await, 0, "the upgrade is answered");
        }
        raw
    }

    async fn more(&mut self) -> usize {
        // A reset is an end like any other.
        within(self.tcp.read_buf(&mut self.seen)).await.unwrap_or(0)
    }

    /// Writes all of it, or as much as the other side takes before it hangs up.
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        let _ = self.tcp.write_all(bytes).await;
    }

    /// Writes while reading, so that neither side waits for the other; everything that came.
    pub(crate) async fn write_until_end(mut self, bytes: &[u8]) -> Vec<u8> {
        let (mut read, mut write) = self.tcp.into_split();
        let mut seen = std::mem::take(&mut self.seen);
        let reading =
            async { while within(read.read_buf(&mut seen)).await.is_ok_and(|n| n > 0) {} };
        let writing = async {
            let _ = write.write_all(bytes).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = reading => {}
            () = writing => {}
        }
        seen
    }

    /// Everything until the other side ends the connection.
    pub(crate) async fn until_end(mut self) -> Vec<u8> {
        while self.more().await > 0 {}
        self.seen
    }
}

/// Status code of an HTTP answer.
pub(crate) fn status(answer: &[u8]) -> Option<u16> {
    let text = String::from_utf8_lossy(answer.get(..12)?).into_owned();
    text.strip_prefix("HTTP/1.1 ")?.parse().ok()
}

/// The text of an upgrade answer's head.
pub(crate) fn head(answer: &[u8]) -> String {
    let end = answer
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .expect("a head");
    String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase()
}

/// Code of the close frame among the server's frames (RFC 6455 §5.2), if there is one.
pub(crate) fn close_code(answer: &[u8]) -> Option<u16> {
    let start = answer.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let mut rest = &answer[start..];
    loop {
        let (opcode, len) = (rest.first()? & 0x0f, usize::from(*rest.get(1)?));
        let (len, head) = match len {
            126 => (
                usize::from(u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?])),
                4,
            ),
            len => (len, 2),
        };
        let payload = rest.get(head..head + len)?;
        if opcode == 8 {
            return Some(u16::from_be_bytes([*payload.first()?, *payload.get(1)?]));
        }
        rest = &rest[head + len..];
    }
}

/// A client's frame, masked with zeroes, its first byte as given.
pub(crate) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..126 => frame.push(0x80 | len as u8),
        len => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&u16::try_from(len).expect("short").to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}
