//! One registry per database: a session lock, held by a connection of its own and watched. Presence
//! and revocation are answered from memory, so two registries on one database would disagree.

use super::convert::failed;
use crate::store::StoreError;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// The lock's key: the first eight bytes of SHA-256("beeline/registry"), as PostgreSQL takes them.
const KEY: i64 = 0xb30f_b437_8dd7_487e_u64 as i64;

/// How often the connection is looked after.
const WATCH_INTERVAL: Duration = Duration::from_secs(5);

/// Tries at start: a registry that was killed may keep its session for a moment.
const START_TRIES: usize = 8;

/// Pause between them.
const START_PAUSE: Duration = Duration::from_millis(250);

/// The lock, held until it is dropped.
#[derive(Debug)]
pub(super) struct Owner {
    lost: Arc<AtomicBool>,
    watch: JoinHandle<()>,
}

/// Why there is no lock.
pub(super) enum NoLock {
    /// Somebody else holds it.
    Taken,
    /// The database failed.
    Failed(StoreError),
}

impl Owner {
    /// Takes the lock.
    pub(super) async fn take(options: PgConnectOptions) -> Result<Self, NoLock> {
        let mut tries = 1;
        let connection = loop {
            match lock(&options).await {
                Err(NoLock::Taken) if tries < START_TRIES => {
                    tries += 1;
                    sleep(START_PAUSE).await;
                }
                other => break other?,
            }
        };
        let lost = Arc::new(AtomicBool::new(false));
        let work = watch(options, connection, Arc::clone(&lost));
        #[expect(
            clippy::disallowed_methods,
            reason = "the task ends with the owner, which aborts it on drop"
        )]
        let watch = tokio::spawn(work);
        Ok(Self { lost, watch })
    }

    /// Refuses once another registry has taken the database over.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        if self.lost.load(Ordering::Acquire) {
            let why = "another registry has taken this database over; stop one of them";
            return Err(StoreError::Unavailable(why.to_owned()));
        }
        Ok(())
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

async fn lock(options: &PgConnectOptions) -> Result<PgConnection, NoLock> {
    let failed = |error| NoLock::Failed(failed(error));
    let mut connection = options.connect().await.map_err(failed)?;
    let taken: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
        .bind(KEY)
        .fetch_one(&mut connection)
        .await
        .map_err(failed)?;
    if taken {
        Ok(connection)
    } else {
        Err(NoLock::Taken)
    }
}

/// Keeps the connection alive; when it breaks (the database restarted), takes the lock again.
async fn watch(options: PgConnectOptions, mut connection: PgConnection, lost: Arc<AtomicBool>) {
    loop {
        sleep(WATCH_INTERVAL).await;
        if connection.ping().await.is_ok() {
            continue;
        }
        loop {
            match lock(&options).await {
                Ok(again) => {
                    connection = again;
                    lost.store(false, Ordering::Release);
                    break;
                }
                Err(NoLock::Taken) => {
                    if !lost.swap(true, Ordering::AcqRel) {
                        tracing::error!("another registry has taken the database over");
                    }
                }
                Err(NoLock::Failed(error)) => {
                    tracing::warn!(%error, "the database is not reachable");
                }
            }
            sleep(WATCH_INTERVAL).await;
        }
    }
}
