//! The thread of one direction: takes packets from a device, keeps each until it is due, and puts
//! it into the other device.

use super::{Count, Fate, Shaper};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::VecDeque;
use std::io::PipeReader;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tun_rs::SyncDevice;

/// Packets taken before due ones are looked at again.
const BURST: usize = 64;

/// Bytes on their way at once; more are dropped. A second of 100 MB/s.
const HELD_MAX: usize = 100 * 1024 * 1024;

/// Buffers kept for the next packets; a burst, and some more.
const SPARE_MAX: usize = 4 * BURST;

#[expect(clippy::disallowed_methods, reason = "a link lives by the clock")]
fn now() -> Instant {
    Instant::now()
}

/// What a [`super::Link`] and its threads share.
#[derive(Debug, Default)]
pub(super) struct Gate {
    pub(super) cut: AtomicBool,
    passed: AtomicU64,
    lost: AtomicU64,
    full: AtomicU64,
    dropped: AtomicU64,
}

impl Gate {
    pub(super) fn count(&self) -> Count {
        Count {
            passed: self.passed.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
            full: self.full.load(Ordering::Relaxed),
            cut: self.dropped.load(Ordering::Relaxed),
        }
    }
}

/// Packets on their way, in order of their time.
#[derive(Default)]
struct Held {
    packets: VecDeque<(Duration, Vec<u8>)>,
    bytes: usize,
    spare: Vec<Vec<u8>>,
}

impl Held {
    fn push(&mut self, due: Duration, packet: &[u8]) {
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(packet);
        self.bytes += packet.len();
        self.packets.push_back((due, buffer));
    }

    fn pop_due(&mut self, now: Duration) -> Option<Vec<u8>> {
        let (due, _) = self.packets.front()?;
        if *due > now {
            return None;
        }
        let (_, packet) = self.packets.pop_front()?;
        self.bytes -= packet.len();
        Some(packet)
    }

    fn give_back(&mut self, buffer: Vec<u8>) {
        if self.spare.len() < SPARE_MAX {
            self.spare.push(buffer);
        }
    }

    fn next_due(&self) -> Option<Duration> {
        self.packets.front().map(|(due, _)| *due)
    }
}

/// One direction.
pub(super) struct Carrier {
    pub(super) from: Arc<SyncDevice>,
    pub(super) to: Arc<SyncDevice>,
    pub(super) stop: PipeReader,
    pub(super) gate: Arc<Gate>,
    pub(super) shaper: Shaper,
    /// Bytes before each packet that are not on the wire.
    pub(super) header: usize,
}

impl Carrier {
    /// Carries until the pipe's other end is gone, or a device is.
    pub(super) fn carry(mut self) {
        let start = now();
        let clock = || now().duration_since(start);
        let mut held = Held::default();
        let mut buffer = vec![0; self.header + usize::from(super::MTU_MAX)];
        loop {
            let at = clock();
            while let Some(packet) = held.pop_due(at) {
                self.put(&packet);
                held.give_back(packet);
            }
            match self.take_burst(at, &mut held, &mut buffer) {
                Ok(true) => {}
                Ok(false) => {
                    let next = held.next_due();
                    let wait = next.map(|due| due.saturating_sub(clock()));
                    if !self.wait(wait) {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    }

    /// Takes what is there; whether there may be more.
    fn take_burst(
        &mut self,
        now: Duration,
        held: &mut Held,
        buffer: &mut [u8],
    ) -> std::io::Result<bool> {
        for _ in 0..BURST {
            let len = match self.from.recv(buffer) {
                Ok(len) => len,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            };
            let packet = &buffer[..len];
            if self.gate.cut.load(Ordering::Relaxed) {
                self.gate.dropped.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            match self.shaper.offer(now, len.saturating_sub(self.header)) {
                Fate::Lost => self.gate.lost.fetch_add(1, Ordering::Relaxed),
                Fate::Due(due) if due <= now && held.packets.is_empty() => {
                    self.put(packet);
                    continue;
                }
                Fate::Due(due) if held.bytes < HELD_MAX => {
                    held.push(due, packet);
                    continue;
                }
                Fate::Full | Fate::Due(_) => self.gate.full.fetch_add(1, Ordering::Relaxed),
            };
        }
        Ok(true)
    }

    /// A device that is down takes nothing, as a pulled cable does.
    fn put(&self, packet: &[u8]) {
        let count = match self.to.send(packet) {
            Ok(_) => &self.gate.passed,
            Err(_) => &self.gate.dropped,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits for a packet, the next due time or the end; `false` at the end.
    fn wait(&self, wait: Option<Duration>) -> bool {
        let timeout = wait.and_then(|wait| Timespec::try_from(wait).ok());
        let mut fds = [
            PollFd::new(&*self.from, PollFlags::IN),
            PollFd::new(&self.stop, PollFlags::IN),
        ];
        let polled = poll(&mut fds, timeout.as_ref());
        let interrupted = polled == Err(rustix::io::Errno::INTR);
        (polled.is_ok() || interrupted) && fds[1].revents().is_empty()
    }
}
