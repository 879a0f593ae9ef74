//! Notices that the host is on another network: what the kernel tells of addresses and routes, a
//! look from time to time beside it, and time that went by while nobody looked.
//!
//! It only says that something changed, once it has settled; what follows is the core's to say.

use crate::clock;
use crate::limits::{
    NETWORK_GONE, NETWORK_PAUSE, NETWORK_POLL, NETWORK_POLL_ALONE, NETWORK_SETTLE, SLEPT_AFTER_MS,
};
use crate::rtc::usable_addresses;
use crate::unix::NetworkEvents;
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::Instant;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// The host's network, watched.
pub(crate) struct Network {
    events: Option<NetworkEvents>,
    poll: Interval,
    watch: Watch,
}

impl Network {
    /// Begins to watch. Must be called inside a tokio runtime.
    pub(crate) fn new() -> Self {
        let events = NetworkEvents::open();
        let events = events.inspect_err(|error| tracing::debug!(%error, "the network is polled"));
        let mut network = Self {
            events: events.ok(),
            poll: interval(NETWORK_POLL),
            watch: Watch::new(clock::wall_ms(), Picture::take()),
        };
        network.set_pace();
        network
    }

    fn set_pace(&mut self) {
        self.poll = interval(match self.events {
            Some(_) => NETWORK_POLL,
            None => NETWORK_POLL_ALONE,
        });
        self.poll
            .set_missed_tick_behavior(MissedTickBehavior::Delay);
    }

    /// Returns when the network has changed. May be dropped and called again at any time.
    pub(crate) async fn changed(&mut self) {
        loop {
            let due = self.watch.due();
            let heard = tokio::select! {
                heard = hear(self.events.as_ref()) => heard,
                _ = self.poll.tick() => Ok(()),
                () = until(due) => Ok(()),
            };
            if let Err(error) = heard {
                tracing::warn!(%error, "the kernel tells no more of the network: it is polled");
                self.events = None;
                self.set_pace();
            }
            let (now, wall_ms) = (clock::instant(), clock::wall_ms());
            if self.watch.look(now, wall_ms, Picture::take()) {
                return;
            }
        }
    }
}

async fn hear(events: Option<&NetworkEvents>) -> io::Result<()> {
    match events {
        Some(events) => events.next().await,
        None => std::future::pending().await,
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

/// The host's network at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Picture {
    /// The addresses it would use towards the outside, of either family.
    sources: [Option<IpAddr>; 2],
    /// Every address a peer could send to.
    addresses: BTreeSet<IpAddr>,
}

impl Picture {
    fn take() -> Self {
        Self {
            sources: source_addresses(),
            addresses: usable_addresses().into_iter().collect(),
        }
    }

    /// Whether connections made under `before` may lead nowhere now: something was lost, or goes
    /// another way. A mere addition hurts nobody.
    fn breaks(&self, before: &Self) -> bool {
        let kept = before.addresses.is_subset(&self.addresses);
        self.sources != before.sources || !kept
    }

    fn is_cut_off(&self) -> bool {
        self.sources == [None, None]
    }
}

/// The addresses this host would use towards the outside. Connecting a datagram socket sends
/// nothing; the kernel only looks up the route. The targets are for documentation (RFC 5737, 3849).
fn source_addresses() -> [Option<IpAddr>; 2] {
    let towards = |from: IpAddr, to: IpAddr| -> Option<IpAddr> {
        let socket = UdpSocket::bind((from, 0)).ok()?;
        socket.connect((to, 9)).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    let v4 = towards(
        Ipv4Addr::UNSPECIFIED.into(),
        Ipv4Addr::new(192, 0, 2, 1).into(),
    );
    let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    [v4, towards(Ipv6Addr::UNSPECIFIED.into(), v6.into())]
}

/// When a change is told. Pure: pictures and times in, verdict out.
#[derive(Debug)]
struct Watch {
    known: Picture,
    /// Unix milliseconds of the last look.
    looked_ms: u64,
    /// A change not told yet: when the first was seen, and when it will have settled.
    untold: Option<(Instant, Instant)>,
    told: Option<Instant>,
}

impl Watch {
    fn new(wall_ms: u64, known: Picture) -> Self {
        Self {
            known,
            looked_ms: wall_ms,
            untold: None,
            told: None,
        }
    }

    /// When to look again whatever happens.
    fn due(&self) -> Option<Instant> {
        let (_, settled) = self.untold?;
        let rested = self.told.map(|told| told + NETWORK_PAUSE);
        Some(rested.map_or(settled, |rested| rested.max(settled)))
    }

    /// Takes a picture; whether a change is to be told now. Where nothing is left to go by, it is
    /// waited for a while: most interfaces that go come back.
    fn look(&mut self, now: Instant, wall_ms: u64, seen: Picture) -> bool {
        let slept = wall_ms.saturating_sub(self.looked_ms) >= SLEPT_AFTER_MS;
        self.looked_ms = wall_ms;
        if slept || seen.breaks(&self.known) {
            let quiet = match seen.is_cut_off() {
                true => NETWORK_GONE,
                false => NETWORK_SETTLE,
            };
            let since = self.untold.map_or(now, |(since, _)| since);
            self.untold = Some((since, (now + quiet).min(since + NETWORK_GONE)));
        }
        self.known = seen;
        let due = self.due().is_some_and(|due| due <= now);
        if due {
            self.untold = None;
            self.told = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const EPOCH_MS: u64 = 1_795_000_000_000;

    /// A host with these last numbers of addresses; the first is its source towards the outside.
    fn host(numbers: &[u8]) -> Picture {
        let address = |n: &u8| IpAddr::from([192, 168, 1, *n]);
        Picture {
            sources: [numbers.first().map(address), None],
            addresses: numbers.iter().map(address).collect(),
        }
    }

    /// Takes these pictures at these milliseconds, and looks when it is due; when it told.
    fn told(pictures: &[(u64, Picture)]) -> Vec<u64> {
        let start = clock::instant();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut watch = Watch::new(EPOCH_MS, host(&[2]));
        let (mut told, mut last) = (Vec::new(), host(&[2]));
        let end = (100_000, pictures.last().expect("some").1.clone());
        for (ms, picture) in pictures.iter().chain([&end]) {
            while let Some(due) = watch.due().filter(|due| *due < at(*ms)) {
                let now_ms = u64::try_from(due.duration_since(start).as_millis()).expect("short");
                if watch.look(due, EPOCH_MS, last.clone()) {
                    told.push(now_ms);
                }
            }
            if watch.look(at(*ms), EPOCH_MS, picture.clone()) {
                told.push(*ms);
            }
            last = picture.clone();
        }
        told
    }

    #[test]
    fn another_address_is_told_once_it_has_settled() {
        assert_eq!(told(&[(10, host(&[2]))]), Vec::<u64>::new());
        assert_eq!(told(&[(1_000, host(&[3]))]), [1_100]);
        let steps = [(1_000, host(&[])), (1_020, host(&[3])), (1_060, host(&[4]))];
        assert_eq!(told(&steps), [1_160]);
    }

    #[test]
    fn an_interface_that_comes_back_at_once_is_a_change_as_well() {
        let steps = [(1_000, host(&[])), (1_010, host(&[2]))];
        assert_eq!(told(&steps), [1_110]);
        let long = [(1_000, host(&[])), (9_000, host(&[2]))];
        assert_eq!(told(&long), [3_000, 9_100], "gone is told, and being back");
    }

    #[test]
    fn what_is_added_breaks_nothing_and_what_is_lost_does() {
        let steps = [(1_000, host(&[2, 5])), (2_000, host(&[2]))];
        assert_eq!(told(&steps), [2_100]);
    }

    #[test]
    fn a_network_that_never_rests_is_told_now_and_then() {
        let restless = (0..600u64).map(|n| (1_000 + n * 50, host(&[(n % 2) as u8])));
        let told = told(&restless.collect::<Vec<_>>());
        assert_eq!(told[0], 3_000);
        let pauses = told.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(pauses.clone().all(|pause| pause >= 1_000), "{told:?}");
        assert!(told.len() >= 10, "{told:?}");
    }

    #[test]
    fn time_that_nobody_saw_pass_is_a_change() {
        let now = clock::instant();
        let mut watch = Watch::new(EPOCH_MS, host(&[2]));
        assert!(!watch.look(now, EPOCH_MS + SLEPT_AFTER_MS - 1, host(&[2])));
        assert_eq!(watch.due(), None);
        // A clock set back is none.
        assert!(!watch.look(now, EPOCH_MS - 3_600_000, host(&[2])));
        assert_eq!(watch.due(), None);
        assert!(!watch.look(now, EPOCH_MS, host(&[2])));
        let due = watch.due().expect("it slept");
        assert!(watch.look(due, EPOCH_MS + 100, host(&[2])));
        assert!(!watch.look(due, EPOCH_MS + 100, host(&[2])));
    }

    #[tokio::test]
    async fn nothing_is_told_where_nothing_changes() {
        let mut network = Network::new();
        let changed = std::pin::pin!(network.changed());
        let waker = std::task::Waker::noop();
        let polled = changed.poll(&mut std::task::Context::from_waker(waker));
        assert!(polled.is_pending());
    }
}
