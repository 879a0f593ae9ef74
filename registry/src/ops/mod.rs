//! One function per method: read, ask the core, write. Callers have been authenticated and allowed
//! by [`crate::grpc`]; `serve` calls some of them directly.

mod members;
mod networks;
mod presence;
mod signin;

use crate::clock::Clock;
use crate::core::bucket::Bucket;
use crate::core::challenge::ChallengeTable;
use crate::core::presence::{Answer, Input, Presence, Seen};
use crate::directory::{Directory, Network, User, UserDevice};
use crate::error::Error;
use crate::limits::{BATCH_ROWS_MAX, CHALLENGES_MAX, OPEN_CALLS_BURST, OPEN_CALLS_PER_SECOND};
use crate::metrics::Metrics;
use crate::store::{SeenRow, Store};
use crate::token::Tokens;
use crate::writer::LeaseWriter;
use beeline_proto::pb::identity::v1::Role;
pub use networks::Origins;
use std::sync::{Arc, Mutex, MutexGuard};

/// A member's device that has proven itself.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its network.
    pub network: Arc<Network>,
    /// Its user.
    pub user: Arc<User>,
    /// The device.
    pub device: UserDevice,
}

impl Member {
    /// What the user may do.
    pub fn role(&self) -> Role {
        self.user.role
    }
}

/// What every operation works with.
#[derive(Debug)]
pub struct Ops {
    store: Arc<dyn Store>,
    directory: Directory,
    tokens: Tokens,
    clock: Clock,
    leases: LeaseWriter,
    metrics: Arc<Metrics>,
    /// Origins that descriptors made here name.
    origins: Origins,
    presence: Mutex<Presence>,
    challenges: Mutex<ChallengeTable>,
    open_calls: Mutex<Bucket>,
    /// One change to networks, invites and revocations at a time.
    admin: Arc<tokio::sync::Mutex<()>>,
}

/// The parts an [`Ops`] is put together from.
#[derive(Debug)]
pub struct Parts {
    /// The database.
    pub store: Arc<dyn Store>,
    /// Networks and users over it.
    pub directory: Directory,
    /// The token keys.
    pub tokens: Tokens,
    /// The time.
    pub clock: Clock,
    /// Where leases are written.
    pub leases: LeaseWriter,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Origins that descriptors made here name.
    pub origins: Origins,
}

impl Ops {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        Self {
            store: parts.store,
            directory: parts.directory,
            tokens: parts.tokens,
            clock: parts.clock,
            leases: parts.leases,
            metrics: parts.metrics,
            origins: parts.origins,
            presence: Mutex::default(),
            challenges: Mutex::new(ChallengeTable::new(CHALLENGES_MAX)),
            open_calls: Mutex::new(Bucket::new(OPEN_CALLS_PER_SECOND, OPEN_CALLS_BURST)),
            admin: Arc::default(),
        }
    }

    /// The networks and users.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The token keys.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// What is counted.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), Error> {
        Ok(self.store.ping().await?)
    }

    /// Counts a call without a credential; too many at once are refused.
    pub fn admit_open_call(&self) -> Result<(), Error> {
        let now = self.clock.now();
        let admitted = lock(&self.open_calls).take(now.mono_ms);
        if admitted {
            Ok(())
        } else {
            Err(Error::RateLimited)
        }
    }

    /// Who holds this token now: the user and device as they are in force, not as the token says.
    pub async fn member(&self, token: &str) -> Result<Member, Error> {
        let access = self.tokens.verify(self.clock.now(), token)?;
        let network = self
            .directory
            .network_by_fp(access.network)
            .ok_or(Error::BadCredential)?;
        let user = self.directory.user(network.no, &access.handle).await?;
        let user = user
            .filter(|u| u.fp() == access.user)
            .ok_or(Error::BadCredential)?;
        if user.revoked {
            return Err(Error::Revoked);
        }
        let device = user.device(access.device).cloned().ok_or(Error::Revoked)?;
        Ok(Member {
            network,
            user,
            device,
        })
    }

    /// Holds back every change to networks, invites and revocations.
    #[cfg(test)]
    pub(crate) async fn hold_admin(&self) -> tokio::sync::OwnedMutexGuard<()> {
        Arc::clone(&self.admin).lock_owned().await
    }

    /// Gives one input to the presence machine.
    fn presence_input(&self, input: Input) -> Answer {
        let now = self.clock.now();
        lock(&self.presence).handle_input(now, input)
    }

    /// Lets time pass, and writes what that and earlier inputs left to write. What could not be
    /// written stays in `pending` for the next round.
    pub async fn sweep(&self, pending: &mut Vec<SeenRow>) {
        self.presence_input(Input::Timeout);
        self.metrics.observe_presence(lock(&self.presence).counts());
        loop {
            if pending.is_empty() {
                let mut presence = lock(&self.presence);
                let rows = std::iter::from_fn(|| presence.poll_output());
                pending.extend(rows.take(BATCH_ROWS_MAX).map(seen_row));
            }
            if pending.is_empty() {
                return;
            }
            if let Err(error) = self.store.put_seen(pending.clone()).await {
                tracing::warn!(%error, rows = pending.len(), "last seen not written, will retry");
                return;
            }
            pending.clear();
        }
    }
}

/// A poisoned lock means a bug elsewhere has already been reported; the data behind it is whole,
/// because every mutation is one call.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn seen_row(seen: Seen) -> SeenRow {
    SeenRow {
        network_no: seen.network,
        device_fp: seen.fp.0,
        seen_ms: seen.seen_ms,
        confirmed: presence::join_confirmed(&seen.confirmed),
    }
}
