//! The UDP socket given to the crate: it shows only what [`AddressGate`](super::gate::AddressGate)
//! admits, a few datagrams at a time, paces checks, and remembers what may have to be repeated.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use webrtc::runtime::{AsyncUdpSocket, RecvMeta, Runtime, Transmit};

use super::gate::is_ice_check;
use super::landing::{Landing, Rest};
use super::limits::{GRO_SEGMENTS, MAX_DROPS_PER_POLL, RECEIVES_PER_TURN};
use super::shared::LinkShared;

#[derive(Debug)]
pub(super) struct FilteredSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    shared: Arc<LinkShared>,
    runtime: Arc<dyn Runtime>,
    landing: Landing,
    rest: Mutex<Rest>,
    /// Receives since nothing was there, or others were let run.
    in_a_row: AtomicUsize,
}

impl FilteredSocket {
    pub(super) fn new(
        inner: Arc<dyn AsyncUdpSocket>,
        shared: Arc<LinkShared>,
        runtime: Arc<dyn Runtime>,
        landing: Landing,
    ) -> Self {
        Self {
            inner,
            shared,
            runtime,
            landing,
            rest: Mutex::default(),
            in_a_row: AtomicUsize::new(0),
        }
    }

    /// Whether a datagram is to be lost on the way out: a check out of turn or to where none may
    /// go, whoever named that address; or anything that would show this host where it hides.
    fn holds_back(&self, transmit: &Transmit<'_>) -> io::Result<bool> {
        let to = transmit.destination;
        {
            let gate = self.shared.gate();
            if !gate.lets_out(to, transmit.contents) {
                return Ok(true);
            }
            if !is_ice_check(transmit.contents) || gate.knows(to) {
                return Ok(false);
            }
        }
        if self.shared.reach.refused(to).is_some() {
            return Ok(true);
        }
        let (now, local) = (self.runtime.now(), self.inner.local_addr()?);
        let may_send = self
            .shared
            .pacer()
            .may_send(now, local, to, transmit.contents);
        Ok(!may_send)
    }

    fn sent(&self, transmit: &Transmit<'_>) {
        self.shared
            .went_out(transmit.destination, transmit.contents);
        self.shared
            .gate()
            .sent(transmit.destination, transmit.contents);
        let mut repeater = self.shared.repeater();
        if repeater.is_done() {
            return;
        }
        let now = self.runtime.now();
        let step = transmit
            .segment_size
            .unwrap_or(transmit.contents.len())
            .max(1);
        for datagram in transmit.contents.chunks(step) {
            if let Some(alert) = fatal_alert(datagram) {
                self.shared.alert_sent(alert);
            }
            if repeater.sent(now, &self.inner, transmit.destination, datagram) {
                self.shared.repeat.notify_one();
            }
        }
    }

    /// Whether the driver has received so much in a row that others are to run first: other tasks
    /// of this thread, and other threads where cores are few. It comes back at once. A probe of
    /// the crate (with a waker that wakes nobody) only hears that nothing is there.
    fn gives_way(&self, cx: &Context<'_>) -> bool {
        if self.in_a_row.fetch_add(1, Ordering::Relaxed) < RECEIVES_PER_TURN {
            return false;
        }
        if !is_probe(cx.waker()) {
            self.in_a_row.store(0, Ordering::Relaxed);
            cx.waker().wake_by_ref();
            std::thread::yield_now();
        }
        true
    }

    /// Keeps the admitted datagrams of one received message, which may hold several of `stride`
    /// bytes each (the last may be shorter). Afterwards `meta.len` is what is left; the crate
    /// skips a message of length 0.
    fn filter(&self, buffer: &mut [u8], meta: &mut RecvMeta) -> bool {
        let stride = meta.stride.max(1);
        let mut gate = self.shared.gate();
        let mut repeater = self.shared.repeater();
        let shaking_hands = !repeater.is_done();
        let mut kept = 0;
        let mut at = 0;
        while at < meta.len {
            let end = (at + stride).min(meta.len);
            if gate.admits(meta.addr, &buffer[at..end]) {
                repeater.received(&buffer[at..end]);
                self.shared.came_in(meta.addr, &buffer[at..end]);
                if shaking_hands && let Some(alert) = fatal_alert(&buffer[at..end]) {
                    self.shared.alert_received(alert);
                }
                if kept < at {
                    buffer.copy_within(at..end, kept);
                }
                kept += end - at;
            }
            at = end;
        }
        meta.len = kept;
        if kept > 0 {
            self.shared.stir();
        }
        kept > 0
    }
}

/// Whether a receive is the crate's look whether there is more, with a waker that wakes nobody. It
/// is known by its data: wakers compare by their functions, of which each crate has a copy.
pub(super) fn is_probe(waker: &Waker) -> bool {
    waker.data().is_null()
}

/// The description of a fatal alert sent in the clear (RFC 6347 §4.1, RFC 5246 §7.2), if there is
/// one among the records of a datagram. After the handshake alerts are encrypted, and the crate
/// ends the connection by itself.
pub(super) fn fatal_alert(datagram: &[u8]) -> Option<u8> {
    let mut rest = datagram;
    loop {
        let (header, body) = rest.split_at_checked(DTLS_HEADER)?;
        let length = usize::from(u16::from_be_bytes([header[11], header[12]]));
        let (body, after) = body.split_at_checked(length)?;
        match (header, body) {
            (&[ALERT, _, _, 0, 0, ..], &[FATAL, description]) => return Some(description),
            _ => rest = after,
        }
    }
}

/// A DTLS record of an epoch that will never come: dropped without a word, from nobody.
const NUDGE: [u8; DTLS_HEADER] = [23, 254, 253, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0];
const DTLS_HEADER: usize = 13;
const ALERT: u8 = 21;
const FATAL: u8 = 2;

impl AsyncUdpSocket for FilteredSocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn poll_send(&self, cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        if self.holds_back(transmit)? {
            return Poll::Ready(Ok(transmit.contents.len()));
        }
        let sent = self.inner.poll_send(cx, transmit);
        if matches!(sent, Poll::Ready(Ok(_))) {
            self.sent(transmit);
        }
        sent
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.shared.register_reader(cx.waker());
        if self.shared.take_nudge() {
            bufs[0][..NUDGE.len()].copy_from_slice(&NUDGE);
            meta[0] = RecvMeta::default();
            meta[0].len = NUDGE.len();
            meta[0].stride = NUDGE.len();
            return Poll::Ready(Ok(1));
        }
        let (Some(room), Some(told)) = (bufs.first_mut(), meta.first_mut()) else {
            return Poll::Ready(Ok(0));
        };
        if self.gives_way(cx) {
            return Poll::Pending;
        }
        let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        if rest.take(&self.landing, room, told) {
            return Poll::Ready(Ok(1));
        }
        let mut buffer = self.landing.take();
        for _ in 0..MAX_DROPS_PER_POLL {
            let mut arrived = [RecvMeta::default()];
            let mut whole = [IoSliceMut::new(&mut buffer)];
            match self.inner.poll_recv(cx, &mut whole, &mut arrived) {
                Poll::Ready(Ok(_)) => {}
                other => {
                    self.in_a_row.store(0, Ordering::Relaxed);
                    self.landing.give(buffer);
                    return other;
                }
            }
            let [mut arrived] = arrived;
            if !self.filter(&mut buffer, &mut arrived) {
                continue;
            }
            let back = rest.fill(buffer, arrived, room, told);
            if told.len > 0 {
                back.into_iter().for_each(|back| self.landing.give(back));
                return Poll::Ready(Ok(1));
            }
            buffer = back.unwrap_or_else(|| self.landing.take());
        }
        self.landing.give(buffer);
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn max_gso_segments(&self) -> usize {
        self.inner.max_gso_segments()
    }

    fn max_gro_segments(&self) -> usize {
        self.inner.max_gro_segments().min(GRO_SEGMENTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A socket that always has one more datagram.
    #[derive(Debug)]
    struct Endless;

    impl AsyncUdpSocket for Endless {
        fn local_addr(&self) -> io::Result<SocketAddr> {
            Ok(([127, 0, 0, 1], 1).into())
        }

        fn poll_send(&self, _: &mut Context<'_>, sent: &Transmit<'_>) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(sent.contents.len()))
        }

        fn poll_recv(
            &self,
            _: &mut Context<'_>,
            bufs: &mut [IoSliceMut<'_>],
            meta: &mut [RecvMeta],
        ) -> Poll<io::Result<usize>> {
            // An answer to a check, which may come from anybody.
            let mut datagram = [0; 20];
            datagram[..8].copy_from_slice(&[1, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42]);
            bufs[0][..20].copy_from_slice(&datagram);
            (meta[0].len, meta[0].stride) = (20, 20);
            Poll::Ready(Ok(1))
        }
    }

    #[test]
    fn a_driver_that_always_finds_more_lets_others_run() {
        use super::super::assembly::AssemblyGuard;
        use super::super::reach::Reach;
        use std::sync::atomic::AtomicUsize;

        struct Count(AtomicUsize);
        impl std::task::Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }

        let guard = AssemblyGuard::new(1 << 20, 1_024);
        let shared = LinkShared::new(guard, 1_024, Reach::default());
        let runtime = webrtc::runtime::default_runtime().expect("tokio");
        let socket = FilteredSocket::new(Arc::new(Endless), shared, runtime, Landing::default());
        let receive = |waker: &Waker| {
            let (mut buffer, mut meta) = ([0; 100], [RecvMeta::default()]);
            let mut bufs = [IoSliceMut::new(&mut buffer)];
            socket.poll_recv(&mut Context::from_waker(waker), &mut bufs, &mut meta)
        };
        let woken = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&woken));
        // Another crate's, as in the crate's driver.
        let probe = futures::task::noop_waker_ref();
        for turn in 0..3 {
            for _ in 0..RECEIVES_PER_TURN {
                assert!(receive(probe).is_ready());
            }
            // A probe ends there, and is not woken; who waits is, and goes on.
            assert!(receive(probe).is_pending());
            assert!(receive(probe).is_pending());
            assert_eq!(woken.0.load(Ordering::Relaxed), turn);
            assert!(receive(&waker).is_pending());
            assert_eq!(woken.0.load(Ordering::Relaxed), turn + 1);
        }
    }

    fn record(kind: u8, epoch: u8, body: &[u8]) -> Vec<u8> {
        let mut record = vec![kind, 254, 253, 0, epoch, 0, 0, 0, 0, 0, 9, 0];
        record.push(u8::try_from(body.len()).expect("short"));
        record.extend_from_slice(body);
        record
    }

    #[test]
    fn only_a_fatal_alert_in_the_clear_is_one() {
        assert_eq!(fatal_alert(&record(21, 0, &[2, 42])), Some(42));
        let behind = [record(22, 0, &[7; 30]), record(21, 0, &[2, 40])].concat();
        assert_eq!(fatal_alert(&behind), Some(40));
        for other in [
            record(21, 0, &[1, 0]),
            record(21, 1, &[2, 42]),
            record(22, 0, &[2, 42]),
            record(21, 0, &[2, 42])[..14].to_vec(),
            vec![],
            vec![21; 12],
            vec![0; 64],
        ] {
            assert_eq!(fatal_alert(&other), None, "{other:?}");
        }
    }
}
