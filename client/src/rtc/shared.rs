//! What the parts of one connection share: handle, link task, socket filter, crypto wrapper.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;
use std::time::Instant;

use tokio::sync::Notify;
use webrtc::runtime::AsyncUdpSocket;

use super::LinkPath;
use super::assembly::{Abuse, AssemblyGuard};
use super::gate::AddressGate;
use super::lane::{Channel, Lane};
use super::limits::{CONNECTING_MAX, GATHERING_MAX, RELAY_ROUNDS};
use super::pacer::CheckPacer;
use super::reach::{IceMode, Reach};
use super::repeat::Repeater;
use super::socket::is_probe;
use super::turn::PathWatch;

/// The repeater of real connections: it sends where the crate sent.
pub(super) type SocketRepeater = Repeater<Arc<dyn AsyncUdpSocket>>;

/// State of one connection. Every lock is held for a few instructions and never across an await.
#[derive(Debug)]
pub(super) struct LinkShared {
    /// Where checks may go, and what is told.
    pub(super) reach: Reach,
    gate: Mutex<AddressGate>,
    assembly: Mutex<AssemblyGuard>,
    repeater: Mutex<SocketRepeater>,
    pacer: Mutex<CheckPacer>,
    connecting_until: Mutex<Option<Instant>>,
    abuse: OnceLock<Abuse>,
    /// A fatal alert received in the clear, plus one; the crate will echo it.
    echo: AtomicU16,
    /// The fatal alert with which our own DTLS refused the peer's.
    refused: OnceLock<u8>,
    driver_ended: AtomicBool,
    /// Streams of TCP there are.
    pub(super) tcp_streams: AtomicUsize,
    nudged: AtomicBool,
    path: Mutex<PathWatch>,
    /// Rounds the driver is still to make without sleeping long.
    rounds: AtomicUsize,
    socket_reader: Mutex<Option<Waker>>,
    /// Wakes the repeating task: a handshake burst was sent.
    pub(super) repeat: Notify,
    /// Wakes the link task: abuse was found, the path changed, or the crate's driver has ended.
    pub(super) alarm: Notify,
    /// SHA-256 of our certificate, from our first description.
    pub(super) local: OnceLock<[u8; 32]>,
    /// SHA-256 the peer's certificate must have, from its first description.
    pub(super) remote: OnceLock<[u8; 32]>,
    /// The channel `msg`.
    pub(super) msg: Lane,
    /// The channel `file`.
    pub(super) file: Lane,
    /// Largest message the peer takes, bytes.
    pub(super) peer_max_message: AtomicUsize,
}

impl LinkShared {
    pub(super) fn new(assembly: AssemblyGuard, max_message: usize, reach: Reach) -> Arc<Self> {
        let gate = AddressGate::new(reach.mode == IceMode::RelayOnly);
        Arc::new(Self {
            reach,
            gate: Mutex::new(gate),
            assembly: Mutex::new(assembly),
            repeater: Mutex::default(),
            pacer: Mutex::default(),
            connecting_until: Mutex::default(),
            abuse: OnceLock::new(),
            echo: AtomicU16::new(0),
            refused: OnceLock::new(),
            driver_ended: AtomicBool::new(false),
            tcp_streams: AtomicUsize::new(0),
            nudged: AtomicBool::new(false),
            path: Mutex::default(),
            rounds: AtomicUsize::new(0),
            socket_reader: Mutex::default(),
            repeat: Notify::new(),
            alarm: Notify::new(),
            local: OnceLock::new(),
            remote: OnceLock::new(),
            msg: Lane::default(),
            file: Lane::default(),
            peer_max_message: AtomicUsize::new(max_message),
        })
    }

    pub(super) fn gate(&self) -> MutexGuard<'_, AddressGate> {
        lock(&self.gate)
    }

    pub(super) fn repeater(&self) -> MutexGuard<'_, SocketRepeater> {
        lock(&self.repeater)
    }

    pub(super) fn pacer(&self) -> MutexGuard<'_, CheckPacer> {
        lock(&self.pacer)
    }

    pub(super) fn assembly(&self) -> MutexGuard<'_, AssemblyGuard> {
        lock(&self.assembly)
    }

    /// From now on, for [`CONNECTING_MAX`], the driver may not sleep long.
    pub(super) fn start_connecting(&self, now: Instant) {
        self.stay_awake_until(now + CONNECTING_MAX);
        self.pacer().reset();
    }

    /// From now on, for [`GATHERING_MAX`], the driver may not sleep long.
    pub(super) fn start_gathering(&self, now: Instant) {
        self.stay_awake_until(now + GATHERING_MAX);
    }

    fn stay_awake_until(&self, until: Instant) {
        let mut held = lock(&self.connecting_until);
        *held = Some(held.map_or(until, |held| held.max(until)));
    }

    /// The connection is made or given up: the driver may sleep as it likes.
    pub(super) fn stop_connecting(&self) {
        *lock(&self.connecting_until) = None;
    }

    pub(super) fn is_connecting(&self, now: Instant) -> bool {
        lock(&self.connecting_until).is_some_and(|until| now < until)
    }

    /// Has a socket hand the driver a datagram that means nothing, so that it goes round.
    pub(super) fn nudge(&self) {
        self.nudged.store(true, Ordering::Release);
        if let Some(reader) = lock(&self.socket_reader).take() {
            reader.wake();
        }
    }

    /// Whether a nudge is due; each is taken once.
    pub(super) fn take_nudge(&self) -> bool {
        self.nudged.swap(false, Ordering::AcqRel)
    }

    /// Learns the path from a datagram that went out.
    pub(super) fn went_out(&self, to: SocketAddr, datagram: &[u8]) {
        let mut path = lock(&self.path);
        path.went_out(to, datagram);
        if path.has_news() {
            self.alarm.notify_one();
        }
    }

    /// The same from one that came in.
    pub(super) fn came_in(&self, from: SocketAddr, datagram: &[u8]) {
        let mut path = lock(&self.path);
        path.came_in(from, datagram);
        if path.has_news() {
            self.alarm.notify_one();
        }
    }

    /// The path, once for each change.
    pub(super) fn path_news(&self) -> Option<LinkPath> {
        lock(&self.path).take_news()
    }

    pub(super) fn is_relayed(&self) -> bool {
        lock(&self.path).is_relayed()
    }

    /// Something moves on this link: where it is relayed the driver has to go round a few times
    /// before what it causes is out.
    pub(super) fn stir(&self) {
        if self.is_relayed() {
            self.rounds.store(RELAY_ROUNDS, Ordering::Release);
        }
    }

    /// Whether a round is due; each is taken once.
    pub(super) fn take_round(&self) -> bool {
        let one_less = |rounds: usize| rounds.checked_sub(1);
        let (set, get) = (Ordering::AcqRel, Ordering::Acquire);
        self.is_relayed() && self.rounds.fetch_update(set, get, one_less).is_ok()
    }

    /// Somebody waits for datagrams. The driver also probes with a waker that wakes nobody.
    pub(super) fn register_reader(&self, reader: &Waker) {
        if is_probe(reader) {
            return;
        }
        let mut known = lock(&self.socket_reader);
        if !known.as_ref().is_some_and(|known| known.will_wake(reader)) {
            *known = Some(reader.clone());
        }
    }

    /// Keeps the first abuse and raises the alarm.
    pub(super) fn report_abuse(&self, abuse: Abuse) {
        if self.abuse.set(abuse).is_ok() {
            self.alarm.notify_one();
        }
    }

    pub(super) fn abuse(&self) -> Option<Abuse> {
        self.abuse.get().copied()
    }

    /// The peer, or somebody who can write its address, sent a fatal alert in the clear. The
    /// crate echoes it and goes on, which is right: it proves nothing.
    pub(super) fn alert_received(&self, alert: u8) {
        self.echo.store(u16::from(alert) + 1, Ordering::Relaxed);
    }

    /// Our DTLS sent a fatal alert. Unless it is an echo, it has refused the handshake; the crate
    /// would go on as if nothing had happened.
    pub(super) fn alert_sent(&self, alert: u8) {
        let is_echo = self.echo.swap(0, Ordering::Relaxed) == u16::from(alert) + 1;
        if !is_echo && self.refused.set(alert).is_ok() {
            self.alarm.notify_one();
        }
    }

    pub(super) fn refusal(&self) -> Option<u8> {
        self.refused.get().copied()
    }

    /// The crate's driver returned or panicked: nothing will ever happen on this link again.
    pub(super) fn report_driver_end(&self) {
        self.driver_ended.store(true, Ordering::Release);
        self.alarm.notify_one();
    }

    pub(super) fn driver_ended(&self) -> bool {
        self.driver_ended.load(Ordering::Acquire)
    }

    pub(super) fn lane(&self, channel: Channel) -> &Lane {
        match channel {
            Channel::Msg => &self.msg,
            Channel::File => &self.file,
        }
    }
}

/// A poisoned lock guards plain counters here: they stay usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relayed_link_goes_round_a_few_times_after_something_moved() {
        let shared = LinkShared::new(AssemblyGuard::new(1 << 20, 1_024), 1_024, Reach::default());
        let (dtls, channel_data) = ([22, 254, 253], [0x40, 0, 0, 13, 22, 254, 253]);
        let went_out = |datagram: &[u8]| {
            shared.went_out(SocketAddr::from(([192, 0, 2, 1], 3_478)), datagram);
        };
        went_out(&dtls);
        shared.stir();
        assert!(
            !shared.take_round(),
            "a direct one needs no more than it has"
        );
        went_out(&channel_data);
        assert!(!shared.take_round(), "nothing moved yet");
        shared.stir();
        let rounds = std::iter::from_fn(|| shared.take_round().then_some(()));
        assert_eq!(rounds.count(), RELAY_ROUNDS);
        went_out(&dtls);
        shared.stir();
        assert!(!shared.take_round(), "it moved to a direct path");
    }
}
