//! The two channels of a link, as sender and receiver share them: `msg` for everything that is
//! said, `file` for chunks of files. Each has its own queue, its own budget and its own counters,
//! so that neither waits for the other's.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::limits::{FILE_OUTBOX_BYTES, FILE_OUTBOX_LOW, FILE_WINDOW_MAX};
use super::window::FileWindow;

/// Which channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channel {
    /// Reliable and ordered; what it carries is urgent.
    Msg,
    /// The same for bulk, which waits where the two compete.
    File,
}

impl Channel {
    /// Label and SCTP stream, agreed out of band: no DCEP (RFC 8832), which costs a round trip.
    pub(super) const fn name(self) -> (&'static str, u16) {
        match self {
            Self::Msg => ("msg", 0),
            Self::File => ("file", 1),
        }
    }
}

/// Counters of one channel's sending side.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// Whether the channel is open.
    pub(super) open: AtomicBool,
    /// Bytes in the outbox.
    pub(super) queued: AtomicUsize,
    /// Bytes handed to the crate in all.
    pub(super) sent: AtomicU64,
    /// Bytes handed to the crate and, when last asked, not yet acknowledged.
    pub(super) outstanding: AtomicUsize,
    /// Whether a send was refused and its sender is owed word of room.
    pub(super) blocked: AtomicBool,
    /// Of `msg`: bytes in use up to which a blocked sender is told to go on. Of `file`: bytes not
    /// acknowledged up to which the next frame is handed to the crate.
    pub(super) room_at: AtomicUsize,
    /// Only of `file`: how much to have under way.
    window: Mutex<FileWindow>,
    /// Only of `file`: there may be room under way again.
    gate: Notify,
}

impl Lane {
    /// Bytes of it that are not acknowledged.
    pub(super) fn in_use(&self) -> usize {
        self.queued.load(Ordering::Acquire) + self.outstanding.load(Ordering::Acquire)
    }

    /// Whether a frame of a file may wait in the outbox: there it is ready when the path is, and in
    /// nobody's way.
    pub(super) fn takes_frame(&self) -> bool {
        self.queued.load(Ordering::Acquire) < FILE_OUTBOX_BYTES
    }

    /// Whether so few frames wait that their sender should make more.
    pub(super) fn wants_frames(&self) -> bool {
        self.queued.load(Ordering::Acquire) <= FILE_OUTBOX_LOW
    }

    /// Whether the path takes another frame of a file, with so many bytes of chat beside it: with
    /// them, too, the peer's window stays open.
    pub(super) fn may_go(&self, beside: usize) -> bool {
        let outstanding = self.outstanding.load(Ordering::Acquire);
        outstanding <= self.room_at.load(Ordering::Acquire)
            && outstanding + beside <= FILE_WINDOW_MAX
    }

    /// Returns when the path may take another frame of a file. One task waits here.
    pub(super) async fn room(&self) {
        self.gate.notified().await;
    }

    /// Something was acknowledged, or more may be under way: whoever waits looks again.
    pub(super) fn look_again(&self, beside: usize) {
        if self.may_go(beside) {
            self.gate.notify_one();
        }
    }

    /// How much of a file to have under way on this link.
    pub(super) fn window(&self) -> MutexGuard<'_, FileWindow> {
        // A poisoned lock guards plain counters: they stay usable.
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
