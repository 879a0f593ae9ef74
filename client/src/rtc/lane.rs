//! The two channels of a link, as sender and receiver share them: `msg` for everything that is
//! said, `file` for chunks of files. Each has its own queue, its own budget and its own counters,
//! so that neither waits for the other's.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

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
    /// Bytes in use up to which a blocked sender is told to go on.
    pub(super) room_at: AtomicUsize,
    /// Only of `file`: how much to have under way.
    window: Mutex<FileWindow>,
}

impl Lane {
    /// Bytes of it that are not acknowledged.
    pub(super) fn in_use(&self) -> usize {
        self.queued.load(Ordering::Acquire) + self.outstanding.load(Ordering::Acquire)
    }

    /// How much of a file to have under way on this link.
    pub(super) fn window(&self) -> MutexGuard<'_, FileWindow> {
        // A poisoned lock guards plain counters: they stay usable.
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
