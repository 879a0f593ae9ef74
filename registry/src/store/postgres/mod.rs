//! The store on PostgreSQL: one pool for who exists, one that writes presence without waiting for
//! the disk, and a lock that keeps other registries out.

mod convert;
mod identity;
mod open;
mod owner;
mod presence;

use crate::store::{
    Created, InviteRow, JoinOutcome, JoinRow, LeaseRow, NetworkRow, NewDeviceList, NewNetwork,
    Result, SeenRow, Store, TokenKeyRow, UserRow, Written,
};
use async_trait::async_trait;
use convert::{broken, failed, lost_race};
pub use open::OpenError;
use open::Opened;
use sqlx::Error;
use sqlx::postgres::PgPool;

/// Tries of a transaction that loses races: each loss means another one won, and the second try
/// finds what it did.
const TRIES_MAX: usize = 4;

/// The store.
#[derive(Debug)]
pub struct PostgresStore {
    opened: Opened,
}

impl PostgresStore {
    /// Connects to `url`, migrates the database and checks the settings.
    pub async fn open(url: &str, now_ms: u64) -> std::result::Result<Self, OpenError> {
        let opened = open::open(url, now_ms).await?;
        Ok(Self { opened })
    }

    /// The pool for who exists, unless the database is no longer ours.
    fn identity(&self) -> Result<&PgPool> {
        self.opened.owner.check()?;
        Ok(&self.opened.identity)
    }

    fn presence(&self) -> Result<&PgPool> {
        self.opened.owner.check()?;
        Ok(&self.opened.presence)
    }
}

/// Runs what may be run twice again when `again` says so about its error.
async fn repeat<T, F: Future<Output = std::result::Result<T, Error>>>(
    again: impl Fn(&Error) -> bool,
    mut work: impl FnMut() -> F,
) -> Result<T> {
    let mut tries = 1;
    loop {
        match work().await {
            Ok(value) => return Ok(value),
            Err(error) if tries < TRIES_MAX && again(&error) => tries += 1,
            Err(error) => return Err(failed(error)),
        }
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn token_keys(&self) -> Result<Vec<TokenKeyRow>> {
        let pool = self.identity()?;
        repeat(broken, || identity::token_keys(pool)).await
    }

    async fn add_token_key(&self, key: TokenKeyRow, keep: usize) -> Result<()> {
        identity::add_token_key(self.identity()?, &key, keep)
            .await
            .map_err(failed)
    }

    async fn networks(&self) -> Result<Vec<NetworkRow>> {
        let pool = self.identity()?;
        repeat(broken, || identity::networks(pool)).await
    }

    async fn create_network(&self, network: NewNetwork) -> Result<Created> {
        let pool = self.identity()?;
        repeat(lost_race, || identity::create_network(pool, &network)).await
    }

    async fn put_descriptor(
        &self,
        network: i64,
        known: u64,
        version: u64,
        descriptor: Vec<u8>,
    ) -> Result<Written> {
        let pool = self.identity()?;
        let written = identity::put_descriptor(pool, network, known, version, &descriptor);
        written.await.map_err(failed)
    }

    async fn user(&self, network: i64, handle: &str) -> Result<Option<UserRow>> {
        let pool = self.identity()?;
        repeat(broken, || identity::user(pool, network, handle)).await
    }

    async fn user_of_device(&self, network: i64, device: &str) -> Result<Option<UserRow>> {
        let pool = self.identity()?;
        repeat(broken, || identity::user_of_device(pool, network, device)).await
    }

    async fn users(&self, network: i64, after: &str, limit: usize) -> Result<Vec<UserRow>> {
        let pool = self.identity()?;
        repeat(broken, || identity::users(pool, network, after, limit)).await
    }

    async fn put_device_list(&self, list: NewDeviceList) -> Result<Written> {
        let pool = self.identity()?;
        repeat(lost_race, || identity::put_device_list(pool, &list)).await
    }

    async fn put_membership(&self, user: i64, membership: Vec<u8>) -> Result<Written> {
        let written = identity::put_membership(self.identity()?, user, &membership);
        written.await.map_err(failed)
    }

    async fn revoke(
        &self,
        network: i64,
        user: i64,
        known: u64,
        revocations: Vec<u8>,
    ) -> Result<Written> {
        let pool = self.identity()?;
        repeat(lost_race, || {
            identity::revoke(pool, network, user, known, &revocations)
        })
        .await
    }

    async fn create_invite(
        &self,
        invite: InviteRow,
        forget_before_ms: u64,
        cap: u64,
    ) -> Result<Written> {
        let pool = self.identity()?;
        repeat(lost_race, || {
            identity::create_invite(pool, &invite, forget_before_ms, cap)
        })
        .await
    }

    async fn join(&self, join: JoinRow) -> Result<JoinOutcome> {
        let pool = self.identity()?;
        repeat(lost_race, || identity::join(pool, &join)).await
    }

    async fn put_leases(&self, rows: Vec<LeaseRow>) -> Result<()> {
        let pool = self.presence()?;
        let again = |error: &Error| broken(error) || lost_race(error);
        repeat(again, || presence::put_leases(pool, &rows)).await
    }

    async fn put_seen(&self, rows: Vec<SeenRow>) -> Result<()> {
        let pool = self.presence()?;
        let again = |error: &Error| broken(error) || lost_race(error);
        repeat(again, || presence::put_seen(pool, &rows)).await
    }

    async fn leases(&self, network: i64, devices: Vec<[u8; 32]>) -> Result<Vec<LeaseRow>> {
        let pool = self.identity()?;
        repeat(broken, || presence::leases(pool, network, &devices)).await
    }

    async fn live_leases(
        &self,
        after_ms: u64,
        from: (i64, [u8; 32]),
        limit: usize,
    ) -> Result<Vec<LeaseRow>> {
        let pool = self.identity()?;
        repeat(broken, || {
            presence::live_leases(pool, after_ms, from, limit)
        })
        .await
    }

    async fn ping(&self) -> Result<()> {
        let pool = self.identity()?;
        let one = || async { sqlx::query("SELECT 1").execute(pool).await.map(|_| ()) };
        repeat(broken, one).await
    }

    async fn close(&self) {
        self.opened.identity.close().await;
        self.opened.presence.close().await;
    }
}
