//! How fast ICE may ask an address that has not answered (RFC 8445 §14, §19.5). Pure.
//!
//! The crate asks every pair at every tick, 50 times a second at ours, for as long as it tries.
//! The addresses are the peer's to name, so that is an amplifier. Quick checks are worth having
//! only at first; after that the pace is the crate's own default. What is held back looks to the
//! crate like a lost datagram.

use std::net::SocketAddr;
use std::time::Instant;

use super::gate::is_ice_check;
use super::limits::{FAST_CHECKS, MAX_PROVEN_ADDRESSES, SLOW_CHECK_INTERVAL};

/// Paces the checks of one socket.
#[derive(Debug, Default)]
pub(super) struct CheckPacer {
    asked: Vec<Asked>,
}

#[derive(Debug)]
struct Asked {
    address: SocketAddr,
    checks: u32,
    last: Instant,
}

impl CheckPacer {
    /// Whether `datagram` may leave for `to`, an address that has proved nothing yet.
    pub(super) fn may_send(
        &mut self,
        now: Instant,
        local: SocketAddr,
        to: SocketAddr,
        datagram: &[u8],
    ) -> bool {
        if !is_ice_check(datagram) {
            return true;
        }
        // The crate pairs loopback with the world; the kernel refuses that at every check.
        if local.ip().is_loopback() != to.ip().is_loopback() {
            return false;
        }
        let Some(asked) = self.asked.iter_mut().find(|asked| asked.address == to) else {
            if self.asked.len() == MAX_PROVEN_ADDRESSES {
                return false;
            }
            self.asked.push(Asked {
                address: to,
                checks: 1,
                last: now,
            });
            return true;
        };
        let due = asked.checks < FAST_CHECKS || now >= asked.last + SLOW_CHECK_INTERVAL;
        if due {
            asked.checks = asked.checks.saturating_add(1);
            asked.last = now;
        }
        due
    }

    /// New descriptions are in force: every address may be asked quickly again.
    pub(super) fn reset(&mut self) {
        self.asked.clear();
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

    fn request() -> Vec<u8> {
        let mut request = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
        request.resize(20, 0);
        request.extend_from_slice(&[0, 6, 0, 0]);
        request
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn checks_are_quick_at_first_and_slow_for_ever() {
        let (mut pacer, start) = (CheckPacer::default(), Instant::now());
        let (local, to) = (address("10.0.0.1:4000"), address("10.0.0.2:4000"));
        let mut sent = 0;
        for tick in 0..1_000 {
            let now = start + Duration::from_millis(20) * tick;
            sent += u32::from(pacer.may_send(now, local, to, &request()));
        }
        assert_eq!(sent, FAST_CHECKS + (1_000 - FAST_CHECKS) / 10);
        assert!(
            pacer.may_send(start, local, to, &[22, 0]),
            "only checks are paced"
        );
        assert!(pacer.may_send(start, local, address("10.0.0.3:4000"), &request()));
        pacer.reset();
        assert!(pacer.may_send(start, local, to, &request()));
    }

    #[test]
    fn loopback_and_the_world_do_not_mix() {
        let (mut pacer, now) = (CheckPacer::default(), Instant::now());
        let (inside, outside) = (address("127.0.0.1:4000"), address("10.0.0.1:4000"));
        assert!(!pacer.may_send(now, inside, outside, &request()));
        assert!(!pacer.may_send(now, outside, inside, &request()));
        assert!(pacer.may_send(now, inside, inside, &request()));
    }

    #[test]
    fn the_table_is_bounded() {
        let (mut pacer, now) = (CheckPacer::default(), Instant::now());
        let local = address("10.0.0.1:4000");
        let mut sent = 0;
        for port in 0..1_000 {
            let to = SocketAddr::new(local.ip(), port);
            sent += usize::from(pacer.may_send(now, local, to, &request()));
        }
        assert_eq!(sent, MAX_PROVEN_ADDRESSES);
    }
}
