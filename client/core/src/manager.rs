//! `PeerManager`: hands each input to the part it is for, and hands out what they want done.

use crate::config::Config;
use crate::crypto::Crypto;
use crate::error::StartError;
use crate::input::Input;
use crate::output::Output;
use crate::state::{Identity, Loaded};
use crate::status::{PeerInfo, RouteInfo, Status};
use beeline_proto::chain::VerifiedChain;
use beeline_proto::id::Label;
use beeline_proto::time::Now;
use std::collections::VecDeque;

/// One member device: everything it decides. See the crate's contract.
pub struct PeerManager {
    out: VecDeque<Output>,
}

impl PeerManager {
    /// Starts from what the store loaded.
    ///
    /// # Errors
    /// [`StartError`] if our own chain does not verify or the configuration is not usable.
    pub fn new(
        config: Config,
        identity: Identity,
        loaded: Loaded,
        crypto: Box<dyn Crypto>,
        now: Now,
    ) -> Result<Self, StartError> {
        config.check()?;
        VerifiedChain::open(&identity.chain, config.network)?;
        let _ = (loaded, crypto, now);
        Ok(Self {
            out: VecDeque::new(),
        })
    }

    /// Takes one input. Mutates once, never blocks, never fails.
    pub fn handle_input(&mut self, now: Now, input: Input) {
        let _ = (now, input);
    }

    /// The next thing to do; drain to `None` before the next input.
    #[must_use]
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When to come back with [`Input::Timeout`], in the milliseconds of [`Now::mono_ms`]; `None`
    /// while nothing is pending. Never in the past.
    pub fn poll_timeout(&self) -> Option<u64> {
        None
    }

    /// The whole, in numbers, at `now`.
    pub fn status(&self, now: Now) -> Status {
        let _ = now;
        unreachable!("filled in with the parts")
    }

    /// The users we deal with, by label.
    pub fn peers(&self, now: Now) -> Vec<PeerInfo> {
        let _ = now;
        Vec::new()
    }

    /// The routes known, by label and device.
    pub fn routes(&self, now: Now) -> Vec<RouteInfo> {
        let _ = now;
        Vec::new()
    }

    /// The 60 digits to compare with `user`; `None` while its key is not pinned.
    pub fn safety_number(&self, user: &Label) -> Option<String> {
        let _ = user;
        None
    }
}
