//! Where time goes inside a manager: its secrets at work, counted and timed one by one.

use crate::measure::now;
use beeline_proto::keys::{SealPublic, SealSecret, SigningKey};
use beeline_proto::parcel::{Content, Header, Parcel, ParcelError, SealError};
use beeline_proto::pb::envelope::v1::PayloadType;
use client_core::crypto::{Crypto, RealCrypto};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often something was done, and for how long.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Work {
    pub(crate) count: u64,
    pub(crate) time: Duration,
}

impl Work {
    /// Counts one doing.
    pub(crate) fn add(&mut self, time: Duration) {
        self.count += 1;
        self.time += time;
    }
}

/// What a pair of managers has done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) sign: Work,
    pub(crate) seal: Work,
    pub(crate) open: Work,
    /// `handle_input` and `poll_output`, everything above included.
    pub(crate) manager: Work,
    /// Frames handed to links, and their bytes.
    pub(crate) frames: u64,
    pub(crate) frame_bytes: u64,
}

/// The tally of both sides; one thread runs them.
#[derive(Clone, Default)]
pub(crate) struct Spent(Arc<Mutex<Tally>>);

impl Spent {
    /// The tally, to read or to change.
    pub(crate) fn tally(&self) -> MutexGuard<'_, Tally> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what was counted and starts anew.
    pub(crate) fn take(&self) -> Tally {
        std::mem::take(&mut *self.tally())
    }
}

/// The real thing with a stopwatch.
pub(crate) struct TimedCrypto {
    inner: RealCrypto,
    spent: Spent,
}

impl TimedCrypto {
    /// `seed` guards nothing here.
    pub(crate) fn new(seed: [u8; 32], spent: Spent) -> Self {
        Self {
            inner: RealCrypto::new(seed),
            spent,
        }
    }
}

impl Crypto for TimedCrypto {
    fn sign(&mut self, key: &SigningKey, kind: PayloadType, payload: &[u8]) -> Vec<u8> {
        let start = now();
        let envelope = self.inner.sign(key, kind, payload);
        self.spent.tally().sign.add(start.elapsed());
        envelope
    }

    fn seal(
        &mut self,
        header: &Header,
        recipient: &SealPublic,
        content: &Content,
    ) -> Result<Vec<u8>, SealError> {
        let start = now();
        let sealed = self.inner.seal(header, recipient, content);
        self.spent.tally().seal.add(start.elapsed());
        sealed
    }

    fn open_parcel(&self, parcel: &Parcel, secret: &SealSecret) -> Result<Content, ParcelError> {
        let start = now();
        let content = self.inner.open_parcel(parcel, secret);
        self.spent.tally().open.add(start.elapsed());
        content
    }

    fn random(&mut self, out: &mut [u8]) {
        self.inner.random(out);
    }
}
