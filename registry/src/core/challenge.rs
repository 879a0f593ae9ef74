//! Challenges: random nonces handed out to whoever asks, answered at most once, within 30 seconds.

use beeline_proto::limits::CHALLENGE_TTL_MS;
use beeline_proto::time::Now;
use std::collections::{BTreeMap, VecDeque};

/// Open challenges; the oldest go first, by age or when the table is full.
#[derive(Debug)]
pub struct ChallengeTable {
    cap: usize,
    open: BTreeMap<[u8; 32], Challenge>,
    /// Nonces in the order they were handed out, answered ones included until they are passed.
    order: VecDeque<(u64, [u8; 32])>,
}

#[derive(Debug)]
struct Challenge {
    network: String,
    device: String,
    end_ms: u64,
}

impl ChallengeTable {
    /// An empty table for at most `cap` challenges.
    pub fn new(cap: usize) -> Self {
        Self {
            cap: cap.max(1),
            open: BTreeMap::new(),
            order: VecDeque::new(),
        }
    }

    /// Notes that `nonce`, fresh from the driver's random source, was handed out. Says when it
    /// ends, in Unix milliseconds. Both names are only compared later, never looked up here.
    pub fn issue(&mut self, now: Now, nonce: [u8; 32], network: &str, device: &str) -> u64 {
        self.collect(now);
        while self.order.len() >= self.cap {
            if let Some((_, oldest)) = self.order.pop_front() {
                self.open.remove(&oldest);
            }
        }
        let end_ms = now.mono_ms + CHALLENGE_TTL_MS;
        let challenge = Challenge {
            network: network.to_owned(),
            device: device.to_owned(),
            end_ms,
        };
        self.open.insert(nonce, challenge);
        self.order.push_back((end_ms, nonce));
        now.wall_ms + CHALLENGE_TTL_MS
    }

    /// Uses a nonce up. `true` only for one that is open, not ended, and was handed out for this
    /// network and device.
    pub fn answer(&mut self, now: Now, nonce: &[u8; 32], network: &str, device: &str) -> bool {
        let Some(challenge) = self.open.remove(nonce) else {
            return false;
        };
        now.mono_ms < challenge.end_ms && challenge.network == network && challenge.device == device
    }

    /// How many are held.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    fn collect(&mut self, now: Now) {
        while let Some((end_ms, nonce)) = self.order.front() {
            if *end_ms > now.mono_ms {
                break;
            }
            self.open.remove(nonce);
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Now {
        Now {
            mono_ms: ms,
            wall_ms: 1_000_000 + ms,
        }
    }

    #[test]
    fn a_nonce_answers_once_in_time_and_for_whom_it_was_made() {
        let mut table = ChallengeTable::new(10);
        assert_eq!(table.issue(at(0), [1; 32], "n", "d"), 1_030_000);
        assert!(table.answer(at(1), &[1; 32], "n", "d"));
        assert!(!table.answer(at(1), &[1; 32], "n", "d"), "single use");
        table.issue(at(0), [2; 32], "n", "d");
        assert!(!table.answer(at(30_000), &[2; 32], "n", "d"), "ended");
        table.issue(at(0), [3; 32], "n", "d");
        assert!(
            !table.answer(at(1), &[3; 32], "other", "d"),
            "other network"
        );
        assert!(
            !table.answer(at(1), &[3; 32], "n", "d"),
            "a wrong answer uses it up"
        );
        assert!(!table.answer(at(1), &[4; 32], "n", "d"), "never made");
    }

    #[test]
    fn a_flood_stays_bounded_and_old_ones_go() {
        let mut table = ChallengeTable::new(100);
        for n in 0..1_000u32 {
            let mut nonce = [0; 32];
            nonce[..4].copy_from_slice(&n.to_be_bytes());
            table.issue(at(0), nonce, "n", "d");
            assert!(table.len() <= 100);
            assert_eq!(table.open.len(), table.order.len());
        }
        table.issue(at(30_000), [0xff; 32], "n", "d");
        assert_eq!((table.len(), table.open.len()), (1, 1));
    }
}
