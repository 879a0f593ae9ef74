//! The store on SQLite: `registry.db` (FULL) and `leases.db` (NORMAL) in one directory, both
//! written by one thread, read by others.

mod convert;
mod identity;
mod open;
mod presence;
mod worker;

use crate::limits::SQLITE_READERS;
use crate::store::{
    Created, InviteRow, JoinOutcome, JoinRow, LeaseRow, NetworkRow, NewDeviceList, NewNetwork,
    Result, SeenRow, Store, TokenKeyRow, UserRow, Written,
};
use async_trait::async_trait;
pub use open::{OpenError, make_dir};
use rusqlite::Connection;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use worker::Worker;

/// The connections of one thread, one per file.
struct Pair {
    registry: Connection,
    leases: Connection,
}

/// The store.
#[derive(Debug)]
pub struct SqliteStore {
    writer: Worker<Pair>,
    readers: Vec<Worker<Pair>>,
    next_reader: AtomicUsize,
    /// Held for its lock.
    _lock: File,
}

impl SqliteStore {
    /// Opens or creates the store in `dir`, migrates it and checks every setting. `pages_max`
    /// bounds each file, in pages of 4 KiB; `None` leaves SQLite's own bound.
    pub fn open(
        dir: &Path,
        now_ms: u64,
        pages_max: Option<u32>,
    ) -> std::result::Result<Self, OpenError> {
        open::check_version()?;
        let lock = open::lock(dir)?;
        let writers = Pair {
            registry: open::writer(dir, open::REGISTRY, now_ms)?,
            leases: open::writer(dir, open::LEASES, now_ms)?,
        };
        if let Some(pages) = pages_max {
            for (connection, which) in [
                (&writers.registry, open::REGISTRY),
                (&writers.leases, open::LEASES),
            ] {
                // The answer is the bound in force: SQLite never goes below what is in use.
                connection
                    .pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
                    .map_err(|source| OpenError::Sqlite {
                        file: which.file,
                        source,
                    })?;
            }
        }
        let io = |source| OpenError::Io {
            path: dir.to_owned(),
            source,
        };
        let mut readers = Vec::with_capacity(SQLITE_READERS);
        for _ in 0..SQLITE_READERS {
            let pair = Pair {
                registry: open::reader(dir, open::REGISTRY)?,
                leases: open::reader(dir, open::LEASES)?,
            };
            readers.push(Worker::start("registry-read", pair).map_err(io)?);
        }
        tracing::info!(sqlite = rusqlite::version(), dir = %dir.display(), "store opened");
        Ok(Self {
            writer: Worker::start("registry-write", writers).map_err(io)?,
            readers,
            next_reader: AtomicUsize::new(0),
            _lock: lock,
        })
    }

    async fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Pair) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let next = self.next_reader.fetch_add(1, Ordering::Relaxed) % self.readers.len();
        self.readers[next].run(job).await
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn token_keys(&self) -> Result<Vec<TokenKeyRow>> {
        self.read(|p| identity::token_keys(&p.registry)).await
    }

    async fn add_token_key(&self, key: TokenKeyRow, keep: usize) -> Result<()> {
        let job = move |p: &mut Pair| identity::add_token_key(&mut p.registry, &key, keep);
        self.writer.run(job).await
    }

    async fn networks(&self) -> Result<Vec<NetworkRow>> {
        self.read(|p| identity::networks(&p.registry)).await
    }

    async fn create_network(&self, network: NewNetwork) -> Result<Created> {
        let job = move |p: &mut Pair| identity::create_network(&mut p.registry, &network);
        self.writer.run(job).await
    }

    async fn put_descriptor(
        &self,
        network: i64,
        known: u64,
        version: u64,
        descriptor: Vec<u8>,
    ) -> Result<Written> {
        let job = move |p: &mut Pair| {
            identity::put_descriptor(&mut p.registry, network, known, version, &descriptor)
        };
        self.writer.run(job).await
    }

    async fn user(&self, network: i64, handle: &str) -> Result<Option<UserRow>> {
        let handle = handle.to_owned();
        self.read(move |p| identity::user(&p.registry, network, &handle))
            .await
    }

    async fn user_of_device(&self, network: i64, device: &str) -> Result<Option<UserRow>> {
        let device = device.to_owned();
        self.read(move |p| identity::user_of_device(&p.registry, network, &device))
            .await
    }

    async fn users(&self, network: i64, after: &str, limit: usize) -> Result<Vec<UserRow>> {
        let after = after.to_owned();
        self.read(move |p| identity::users(&p.registry, network, &after, limit))
            .await
    }

    async fn put_device_list(&self, list: NewDeviceList) -> Result<Written> {
        let job = move |p: &mut Pair| identity::put_device_list(&mut p.registry, &list);
        self.writer.run(job).await
    }

    async fn put_membership(&self, user: i64, membership: Vec<u8>) -> Result<Written> {
        let job = move |p: &mut Pair| identity::put_membership(&mut p.registry, user, &membership);
        self.writer.run(job).await
    }

    async fn revoke(
        &self,
        network: i64,
        user: i64,
        known: u64,
        revocations: Vec<u8>,
    ) -> Result<Written> {
        let job = move |p: &mut Pair| {
            identity::revoke(&mut p.registry, network, user, known, &revocations)
        };
        self.writer.run(job).await
    }

    async fn create_invite(
        &self,
        invite: InviteRow,
        forget_before_ms: u64,
        cap: u64,
    ) -> Result<Written> {
        let job = move |p: &mut Pair| {
            identity::create_invite(&mut p.registry, &invite, forget_before_ms, cap)
        };
        self.writer.run(job).await
    }

    async fn join(&self, join: JoinRow) -> Result<JoinOutcome> {
        self.writer
            .run(move |p| identity::join(&mut p.registry, &join))
            .await
    }

    async fn put_leases(&self, rows: Vec<LeaseRow>) -> Result<()> {
        self.writer
            .run(move |p| presence::put_leases(&mut p.leases, &rows))
            .await
    }

    async fn put_seen(&self, rows: Vec<SeenRow>) -> Result<()> {
        self.writer
            .run(move |p| presence::put_seen(&mut p.leases, &rows))
            .await
    }

    async fn leases(&self, network: i64, devices: Vec<[u8; 32]>) -> Result<Vec<LeaseRow>> {
        self.read(move |p| presence::leases(&p.leases, network, &devices))
            .await
    }

    async fn live_leases(
        &self,
        after_ms: u64,
        from: (i64, [u8; 32]),
        limit: usize,
    ) -> Result<Vec<LeaseRow>> {
        self.read(move |p| presence::live_leases(&p.leases, after_ms, from, limit))
            .await
    }

    async fn ping(&self) -> Result<()> {
        let one = |p: &mut Pair| p.registry.query_row("SELECT 1", [], |_| Ok(()));
        self.read(move |p| one(p).map_err(convert::failed)).await
    }

    async fn close(&self) {
        self.writer.close().await;
        for reader in &self.readers {
            reader.close().await;
        }
    }
}
