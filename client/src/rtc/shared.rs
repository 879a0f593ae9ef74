//! What the parts of one connection share: handle, link task, socket filter, crypto wrapper.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use super::assembly::{Abuse, AssemblyGuard};
use super::gate::AddressGate;
use super::limits::CONNECTING_MAX;

/// State of one connection. Every lock is held for a few instructions and never across an await.
#[derive(Debug)]
pub(super) struct LinkShared {
    gate: Mutex<AddressGate>,
    assembly: Mutex<AssemblyGuard>,
    connecting_until: Mutex<Option<Instant>>,
    abuse: OnceLock<Abuse>,
    driver_ended: AtomicBool,
    /// Wakes the link task: abuse was found, or the crate's driver has ended.
    pub(super) alarm: Notify,
    /// SHA-256 of our certificate, from our first description.
    pub(super) local: OnceLock<[u8; 32]>,
    /// SHA-256 the peer's certificate must have, from its first description.
    pub(super) remote: OnceLock<[u8; 32]>,
    /// Whether the message channel is open.
    pub(super) open: AtomicBool,
    /// Bytes in the outbox.
    pub(super) queued: AtomicUsize,
    /// Bytes handed to the crate and, when last asked, not yet acknowledged.
    pub(super) outstanding: AtomicUsize,
    /// Whether a send was refused and `Writable` is owed.
    pub(super) blocked: AtomicBool,
    /// Largest message the peer takes, bytes.
    pub(super) peer_max_message: AtomicUsize,
}

impl LinkShared {
    pub(super) fn new(assembly: AssemblyGuard, max_message: usize) -> Arc<Self> {
        Arc::new(Self {
            gate: Mutex::default(),
            assembly: Mutex::new(assembly),
            connecting_until: Mutex::default(),
            abuse: OnceLock::new(),
            driver_ended: AtomicBool::new(false),
            alarm: Notify::new(),
            local: OnceLock::new(),
            remote: OnceLock::new(),
            open: AtomicBool::new(false),
            queued: AtomicUsize::new(0),
            outstanding: AtomicUsize::new(0),
            blocked: AtomicBool::new(false),
            peer_max_message: AtomicUsize::new(max_message),
        })
    }

    pub(super) fn gate(&self) -> MutexGuard<'_, AddressGate> {
        lock(&self.gate)
    }

    pub(super) fn assembly(&self) -> MutexGuard<'_, AssemblyGuard> {
        lock(&self.assembly)
    }

    /// From now on, for [`CONNECTING_MAX`], the driver may not sleep long.
    pub(super) fn start_connecting(&self, now: Instant) {
        *lock(&self.connecting_until) = Some(now + CONNECTING_MAX);
    }

    /// The connection is made or given up: the driver may sleep as it likes.
    pub(super) fn stop_connecting(&self) {
        *lock(&self.connecting_until) = None;
    }

    pub(super) fn is_connecting(&self, now: Instant) -> bool {
        lock(&self.connecting_until).is_some_and(|until| now < until)
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

    /// The crate's driver returned or panicked: nothing will ever happen on this link again.
    pub(super) fn report_driver_end(&self) {
        self.driver_ended.store(true, Ordering::Release);
        self.alarm.notify_one();
    }

    pub(super) fn driver_ended(&self) -> bool {
        self.driver_ended.load(Ordering::Acquire)
    }

    /// Bytes of the send budget in use.
    pub(super) fn in_use(&self) -> usize {
        self.queued.load(Ordering::Acquire) + self.outstanding.load(Ordering::Acquire)
    }
}

/// A poisoned lock guards plain counters here: they stay usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
