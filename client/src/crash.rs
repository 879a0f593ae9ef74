//! Named places at which `tests/crash` ends this process as `kill -9` does. Without the feature
//! `testing`, which no shipped binary has, nothing of it is compiled and a call is empty.
//!
//! `BEELINE_CRASH_AT=name:n` ends the process when it comes to the place for the n-th time. Places:
//! `before-commit.WHAT` and `after-commit.WHAT`, where `WHAT` is what a write is about (`queue`,
//! `seal`, `tried`, `delivered`, `receive`, `release`, `contact`, `new-key`, `erase`, `stored`,
//! `keep`, `drop`, `showing`, `shown`, `other`); `before.ACT` and `after.ACT` for `frame`,
//! `signal`, `queued`, `delivered` and `received`; `migration.begun`, `migration.done`,
//! `store.made`; `show.marked`, `show.printed` and `show.done` around a line of `listen`.

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
