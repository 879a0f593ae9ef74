//! An address guessed from what STUN said before, which saves who is called a round trip.
//!
//! Most NATs keep the port of a host where it is free. So once STUN has said for an address of ours
//! that the port came out as it went in, the next link's is known before it is asked: the address
//! outside, and the port bound. A peer behind a NAT that lets in only whom it has sent to needs it
//! to answer our first check. STUN is asked all the same, and what it says is told as well; a wrong
//! guess costs the peer a few checks to a port of our own NAT.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::limits::{GUESS_ADDRESSES, GUESS_FOR};

/// What a host candidate's priority has over a reflexive one's of the same address (RFC 8445
/// §5.1.2: type preferences 126 and 100).
const OVER_REFLEXIVE: u32 = (126 - 100) << 24;

/// What STUN said last of one of our addresses.
#[derive(Debug)]
struct Seen {
    base: IpAddr,
    /// The address outside, where the port was kept.
    outside: Option<IpAddr>,
    at: Instant,
}

/// What STUN said of our addresses in one network.
#[derive(Debug, Default)]
struct All {
    /// Counts the networks.
    network: u64,
    seen: VecDeque<Seen>,
}

/// What STUN said, for all links of a client.
#[derive(Debug, Clone, Default)]
pub(super) struct Guesses {
    all: Arc<Mutex<All>>,
    /// The network that a link was opened in: what it hears later may still be of that one.
    network: u64,
}

impl Guesses {
    /// The same for a link that is opened now.
    pub(super) fn of_now(&self) -> Self {
        Self {
            all: Arc::clone(&self.all),
            network: self.all().network,
        }
    }

    /// Forgets all of it: another network may give us the same address.
    pub(super) fn forget(&self) {
        let mut all = self.all();
        *all = All {
            network: all.network + 1,
            seen: VecDeque::new(),
        };
    }

    fn all(&self) -> MutexGuard<'_, All> {
        // A list of addresses stays usable whoever panicked.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Learns from a candidate that STUN's answer has just brought.
    pub(super) fn learn(&self, candidate: &str, now: Instant) {
        let Some((at, base)) = reflexive(candidate) else {
            return;
        };
        let kept = at.port() == base.port() && at.ip() != base.ip();
        let seen = Seen {
            base: base.ip(),
            outside: kept.then_some(at.ip()),
            at: now,
        };
        let mut all = self.all();
        if all.network != self.network {
            return;
        }
        all.seen.retain(|other| other.base != seen.base);
        if all.seen.len() == GUESS_ADDRESSES {
            all.seen.pop_front();
        }
        all.seen.push_back(seen);
    }

    /// The reflexive candidate that most likely goes with this one of a host.
    pub(super) fn guess(&self, candidate: &str, now: Instant) -> Option<String> {
        let words: Vec<&str> = candidate.split(' ').collect();
        let &[foundation, _, "udp", priority, ip, port, "typ", "host", ..] = &words[..] else {
            return None;
        };
        // Another base has another one (RFC 8445 §5.1.1.3).
        let foundation = foundation.strip_prefix("candidate:")?;
        let base: IpAddr = ip.parse().ok()?;
        let priority = priority.parse::<u32>().ok()?.checked_sub(OVER_REFLEXIVE)?;
        let all = self.all();
        if all.network != self.network {
            return None;
        }
        let seen = all.seen.iter().find(|seen| seen.base == base)?;
        let outside = seen.outside?;
        (now.saturating_duration_since(seen.at) < GUESS_FOR).then(|| {
            format!(
                "candidate:{foundation:.31}g 1 udp {priority} {outside} {port} typ srflx \
                 raddr {base} rport {port}"
            )
        })
    }
}

/// Where a reflexive candidate is seen, and the address behind it.
fn reflexive(candidate: &str) -> Option<(SocketAddr, SocketAddr)> {
    let words: Vec<&str> = candidate.split(' ').collect();
    let &[
        _,
        _,
        "udp",
        _,
        ip,
        port,
        "typ",
        "srflx",
        "raddr",
        base,
        "rport",
        base_port,
        ..,
    ] = &words[..]
    else {
        return None;
    };
    let at = |ip: &str, port: &str| Some(SocketAddr::new(ip.parse().ok()?, port.parse().ok()?));
    Some((at(ip, port)?, at(base, base_port)?))
}

/// Where a reflexive candidate of UDP is seen.
pub(super) fn outside(candidate: &str) -> Option<SocketAddr> {
    reflexive(candidate).map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::rtc::policy::{Candidate, check_candidate};
    use crate::rtc::reach::Reach;

    const HOST: &str = "candidate:1 1 udp 2130706431 10.1.0.2 40001 typ host";

    #[expect(
        clippy::disallowed_methods,
        reason = "any moment does: the rest is counted from it"
    )]
    fn now() -> Instant {
        Instant::now()
    }

    fn told(outside: &str, port: u16, base: &str, base_port: u16) -> String {
        format!(
            "candidate:2 1 udp 1694498815 {outside} {port} typ srflx raddr {base} rport {base_port}"
        )
    }

    #[test]
    fn a_port_that_was_kept_is_guessed_again() {
        let (guesses, now) = (Guesses::default(), now());
        assert_eq!(guesses.guess(HOST, now), None);
        guesses.learn(&told("203.0.113.9", 5000, "10.1.0.2", 5000), now);
        let guess = guesses.guess(HOST, now).unwrap();
        let at = "203.0.113.9:40001".parse().unwrap();
        let checked = check_candidate(&guess, &Reach::default());
        assert_eq!(checked, Ok(Candidate::Use(at)));
        assert!(guess.contains(" 1694498815 "), "{guess}");
        // As STUN's own answer for that port, which is then not told once more.
        let answer = |port| outside(&told("203.0.113.9", port, "10.1.0.2", 40_001));
        assert_eq!(outside(&guess), answer(40_001));
        assert_ne!(outside(&guess), answer(40_002));
        // For no other address, and for nothing but a host's by UDP.
        let other = HOST.replace("10.1.0.2", "10.1.0.3");
        for line in [&other, &HOST.replace("udp", "tcp"), &guess, ""] {
            assert_eq!(guesses.guess(line, now), None, "{line}");
        }
    }

    #[test]
    fn nothing_is_guessed_where_the_port_was_changed_or_there_is_no_nat() {
        let (guesses, now) = (Guesses::default(), now());
        guesses.learn(&told("203.0.113.9", 5000, "10.1.0.2", 5000), now);
        guesses.learn(&told("203.0.113.9", 61234, "10.1.0.2", 5001), now);
        assert_eq!(guesses.guess(HOST, now), None);
        guesses.learn(&told("10.1.0.2", 5002, "10.1.0.2", 5002), now);
        assert_eq!(guesses.guess(HOST, now), None);
    }

    #[test]
    fn it_is_believed_for_a_while() {
        let (guesses, now) = (Guesses::default(), now());
        guesses.learn(&told("203.0.113.9", 5000, "10.1.0.2", 5000), now);
        let last = GUESS_FOR
            .checked_sub(std::time::Duration::from_millis(1))
            .unwrap();
        assert!(guesses.guess(HOST, now + last).is_some());
        assert_eq!(guesses.guess(HOST, now + GUESS_FOR), None);
    }

    #[test]
    fn another_network_is_told_nothing_of_the_last_one() {
        let (before, now) = (Guesses::default(), now());
        before.learn(&told("203.0.113.9", 5000, "10.1.0.2", 5000), now);
        before.forget();
        let after = before.of_now();
        assert_eq!(after.guess(HOST, now), None);
        // An answer that was under way meanwhile is of the network before, or of this one.
        before.learn(&told("203.0.113.9", 5001, "10.1.0.2", 5001), now);
        assert_eq!(after.guess(HOST, now), None);
        after.learn(&told("203.0.113.77", 5001, "10.1.0.2", 5001), now);
        let guess = after.guess(HOST, now).unwrap();
        assert!(guess.contains(" 203.0.113.77 40001 "), "{guess}");
        assert_eq!(before.guess(HOST, now), None);
    }

    #[test]
    fn so_many_addresses_are_remembered_and_the_oldest_goes_first() {
        let (guesses, now) = (Guesses::default(), now());
        let host = |n: usize| HOST.replace("10.1.0.2", &format!("10.1.1.{n}"));
        for n in 0..=GUESS_ADDRESSES {
            guesses.learn(
                &told("203.0.113.9", 5000, &format!("10.1.1.{n}"), 5000),
                now,
            );
        }
        assert_eq!(guesses.guess(&host(0), now), None);
        assert!(guesses.guess(&host(1), now).is_some());
        assert!(guesses.guess(&host(GUESS_ADDRESSES), now).is_some());
    }
}
