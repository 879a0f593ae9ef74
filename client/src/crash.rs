//! Named places at which `tests/crash` ends this process as `kill -9` does. Without the feature
//! `testing`, which no shipped binary has, nothing of it is compiled and a call is empty.
//!
//! `BEELINE_CRASH_AT=name:n` ends the process when it comes to the place for the n-th time. Places:
//! `before-commit.WHAT` and `after-commit.WHAT`, where `WHAT` is what a write is about (`queue`,
//! `seal`, `tried`, `delivered`, `receive`, `release`, `contact`, `new-key`, `erase`, `stored`,
//! `keep`, `drop`, `showing`, `shown`, `other`); `before.ACT` and `after.ACT` for `frame`,
//! `signal`, `queued`, `delivered` and `received`; `migration.begun`, `migration.done`,
//! `store.made`; `show.marked`, `show.printed` and `show.done` around a line of `listen`;
//! `file.written` and `file.noted` for a chunk, `file.synced`, `place` and `placed` for a file.
//!
//! `BEELINE_GRANTS_IN=DIR` notes which chunks of files this process was allowed to send: a line
//! `turn from count` each in the file `DIR/<pid>`, which outlives `kill -9`. A new turn begins with
//! each time a receiver asks.

use client_core::event::{DeliveryState, Event};
use client_core::output::{Output, RtcCommand};
use client_core::state::StoreOp;

/// The process ends here, if it is told to.
#[inline]
pub fn at(_place: &str) {
    #[cfg(feature = "testing")]
    armed::reached(_place, None);
}

/// The same for a place with its subject: what a write is about, or what is done.
#[inline]
pub(crate) fn at_with(_place: &str, _what: &str) {
    #[cfg(feature = "testing")]
    armed::reached(_place, Some(_what));
}

/// Notes chunks that may be sent, if it is told to.
#[inline]
pub(crate) fn granted(_turn: u64, _from: u64, _count: u64) {
    #[cfg(feature = "testing")]
    noted::granted(_turn, _from, _count);
}

/// What an operation is about.
pub(crate) fn about(op: &StoreOp) -> &'static str {
    match op {
        StoreOp::QueueMessage(_) => "queue",
        StoreOp::SetSealed { .. } => "seal",
        StoreOp::SetState { state, .. } if *state < DeliveryState::Delivered => "tried",
        StoreOp::SetState { .. } => "delivered",
        StoreOp::Receive(_) => "receive",
        StoreOp::Release { .. } => "release",
        StoreOp::PutContact(_) => "contact",
        StoreOp::PutBundle(_) => "new-key",
        StoreOp::EraseBundle(_) => "erase",
        StoreOp::PutCustody(_) | StoreOp::SetStored { .. } => "stored",
        StoreOp::Keep(_) => "keep",
        StoreOp::DropKept { .. } => "drop",
        _ => "other",
    }
}

/// What an output does, where a process may end around it.
pub(crate) fn act(output: &Output) -> &'static str {
    match output {
        Output::Rtc {
            command: RtcCommand::Send(_),
            ..
        } => "frame",
        Output::Signal(_) => "signal",
        Output::Event(Event::Queued { .. }) => "queued",
        Output::Event(Event::Received(_)) => "received",
        Output::Event(Event::MessageState(state)) if state.state == DeliveryState::Delivered => {
            "delivered"
        }
        _ => "other",
    }
}

#[cfg(feature = "testing")]
mod armed {
    use rustix::process::{Signal, getpid, kill_process};
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Names the place and how often it is passed until the end.
    const VARIABLE: &str = "BEELINE_CRASH_AT";

    static TARGET: OnceLock<Option<(String, AtomicU64)>> = OnceLock::new();

    fn target() -> Option<(String, AtomicU64)> {
        let told = std::env::var(VARIABLE).ok()?;
        let (place, times) = told.rsplit_once(':')?;
        Some((place.to_owned(), AtomicU64::new(times.parse().ok()?)))
    }

    pub(super) fn reached(place: &str, what: Option<&str>) {
        let Some((name, left)) = TARGET.get_or_init(target) else {
            return;
        };
        let here = match what {
            None => name == place,
            Some(what) => name
                .strip_prefix(place)
                .and_then(|rest| rest.strip_prefix('.'))
                .is_some_and(|rest| rest == what),
        };
        if here && left.fetch_sub(1, Ordering::SeqCst) == 1 {
            // Nothing is flushed, dropped or said.
            let _ = kill_process(getpid(), Signal::KILL);
        }
    }
}

#[cfg(feature = "testing")]
mod noted {
    use std::fs::{File, OpenOptions};
    use std::io::Write as _;
    use std::path::Path;
    use std::sync::OnceLock;

    /// Names the directory the notes are in.
    const VARIABLE: &str = "BEELINE_GRANTS_IN";

    static FILE: OnceLock<Option<File>> = OnceLock::new();

    fn open() -> Option<File> {
        let dir = std::env::var_os(VARIABLE)?;
        let path = Path::new(&dir).join(std::process::id().to_string());
        OpenOptions::new().append(true).create(true).open(path).ok()
    }

    pub(super) fn granted(turn: u64, from: u64, count: u64) {
        if let Some(mut file) = FILE.get_or_init(open).as_ref() {
            // One write each: no kill leaves half a line. What is not written fails the test.
            let _ = file.write_all(format!("{turn} {from} {count}\n").as_bytes());
        }
    }
}
