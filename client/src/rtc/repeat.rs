//! Repeats what was sent last until the link is open.
//!
//! The crate's DTLS disarms its retransmission timer when any handshake record arrives, even one
//! that completes nothing, and does not arm it again: lose the one datagram of the server's first
//! flight, and the client's repeated hello finds a server that never answers (8 s, then failed).
//! Its SCTP repeats after 3 s. So the socket keeps the datagrams of the last burst and sends them
//! again, byte for byte, while nothing comes back. A peer that has them already drops them by
//! DTLS's replay window (RFC 6347 §4.1.2.6).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use webrtc::runtime::{Runtime, Transmit};

use super::limits::{MAX_BURST, MAX_REPEATS, REPEAT_FIRST};
use super::shared::LinkShared;

/// What was sent last, and when to send it again. Pure; `S` says through which socket.
#[derive(Debug)]
pub(super) struct Repeater<S> {
    burst: Vec<(S, SocketAddr, Vec<u8>)>,
    due: Option<Instant>,
    repeats: u32,
    /// Whether the peer has spoken since the burst began.
    answered: bool,
    opened: bool,
    done: bool,
}

impl<S> Default for Repeater<S> {
    fn default() -> Self {
        Self {
            burst: Vec::new(),
            due: None,
            repeats: 0,
            answered: false,
            opened: false,
            done: false,
        }
    }
}

impl<S: Clone> Repeater<S> {
    /// Takes note of a datagram sent. `true` when there is something new to wait for.
    pub(super) fn sent(
        &mut self,
        now: Instant,
        through: &S,
        to: SocketAddr,
        datagram: &[u8],
    ) -> bool {
        if self.done || !carries_dtls(datagram) {
            return false;
        }
        if self.answered {
            self.burst.clear();
            self.answered = false;
        }
        if self.burst.len() == MAX_BURST {
            self.burst.remove(0);
        }
        self.burst.push((through.clone(), to, datagram.to_vec()));
        self.repeats = 0;
        let due = self.due.replace(now + REPEAT_FIRST);
        due.is_none()
    }

    /// Takes note of a datagram received from a proven address.
    pub(super) fn received(&mut self, datagram: &[u8]) {
        if self.done || !carries_dtls(datagram) {
            return;
        }
        self.answered = true;
        if self.opened {
            self.stop();
        }
    }

    /// Our side is open. The other is, once it is heard again: until then the last burst may be
    /// all it waits for.
    pub(super) fn opened(&mut self) {
        self.opened = true;
    }

    /// Forgets everything, for good.
    pub(super) fn stop(&mut self) {
        self.done = true;
        self.burst = Vec::new();
        self.due = None;
    }

    /// Whether nothing will be repeated any more.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// When the burst is to be sent again.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The burst, if it is to be sent now.
    pub(super) fn take(&mut self, now: Instant) -> Vec<(S, SocketAddr, Vec<u8>)> {
        if self.due.is_none_or(|due| now < due) {
            return Vec::new();
        }
        self.repeats += 1;
        self.due = (self.repeats < MAX_REPEATS).then(|| now + REPEAT_FIRST * (1 << self.repeats));
        if self.due.is_none() && self.opened {
            self.done = true;
        }
        self.burst.clone()
    }
}

/// DTLS by its first byte (RFC 7983), bare or in TURN channel data (RFC 8656 §12.4).
fn carries_dtls(datagram: &[u8]) -> bool {
    let first = match datagram.first() {
        Some(64..=79) => datagram.get(4),
        first => first,
    };
    matches!(first, Some(20..=63))
}

/// Sends what the repeater of a link says, when it says so.
pub(super) async fn repeat(shared: Arc<LinkShared>, runtime: Arc<dyn Runtime>) {
    loop {
        let due = shared.repeater().due();
        let Some(due) = due else {
            shared.repeat.notified().await;
            continue;
        };
        let now = runtime.now();
        if now < due {
            runtime.sleep(due - now).await;
            continue;
        }
        let burst = shared.repeater().take(now);
        for (socket, to, bytes) in burst {
            let transmit = Transmit {
                destination: to,
                ecn: None,
                contents: &bytes,
                segment_size: None,
                src_ip: None,
            };
            // A datagram that cannot be sent is a datagram lost.
            let _ = std::future::poll_fn(|cx| socket.poll_send(cx, &transmit)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    #![expect(
        clippy::disallowed_methods,
        reason = "the clock only gives a start to count from"
    )]
    use std::time::Duration;

    use super::*;

    const HELLO: &[u8] = &[22, 1];
    const FLIGHT: &[u8] = &[22, 2];
    const STUN: &[u8] = &[0, 1];

    fn to() -> SocketAddr {
        "10.0.0.1:4000".parse().unwrap()
    }

    fn bytes(burst: Vec<((), SocketAddr, Vec<u8>)>) -> Vec<Vec<u8>> {
        burst.into_iter().map(|(_, _, bytes)| bytes).collect()
    }

    #[test]
    fn an_unanswered_burst_is_repeated_ever_more_slowly_and_ends() {
        let (mut repeater, start) = (Repeater::default(), Instant::now());
        assert!(repeater.sent(start, &(), to(), HELLO));
        assert!(!repeater.sent(start, &(), to(), STUN), "ICE repeats itself");
        let mut waits = Vec::new();
        let mut now = start;
        while let Some(due) = repeater.due() {
            assert!(
                repeater.take(due - Duration::from_millis(1)).is_empty(),
                "not before"
            );
            waits.push(due - now);
            now = due;
            assert_eq!(bytes(repeater.take(now)), [HELLO]);
        }
        assert_eq!(waits.len(), MAX_REPEATS as usize);
        assert!(waits.windows(2).all(|pair| pair[1] == 2 * pair[0]));
    }

    #[test]
    fn an_answer_makes_way_for_the_next_burst() {
        let (mut repeater, start) = (Repeater::default(), Instant::now());
        repeater.sent(start, &(), to(), HELLO);
        repeater.received(FLIGHT);
        repeater.sent(start, &(), to(), &[22, 3]);
        repeater.sent(start, &(), to(), &[20, 4]);
        assert_eq!(
            bytes(repeater.take(start + REPEAT_FIRST)),
            [[22, 3], [20, 4]]
        );
    }

    #[test]
    fn a_peer_heard_after_opening_ends_it() {
        let (mut repeater, start) = (Repeater::default(), Instant::now());
        repeater.sent(start, &(), to(), HELLO);
        repeater.opened();
        assert!(repeater.due().is_some(), "the peer may still wait for this");
        repeater.received(FLIGHT);
        assert!(repeater.is_done() && repeater.due().is_none());
        assert!(!repeater.sent(start, &(), to(), HELLO));
    }

    #[test]
    fn a_burst_is_bounded_and_turn_is_seen_through() {
        let (mut repeater, start) = (Repeater::default(), Instant::now());
        for n in 0..100 {
            repeater.sent(start, &(), to(), &[0x40, 0, 0, 2, 22, n]);
        }
        let burst = bytes(repeater.take(start + REPEAT_FIRST));
        assert_eq!(burst.len(), MAX_BURST);
        assert_eq!(burst.last().unwrap()[5], 99);
    }
}
