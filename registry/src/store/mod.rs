//! What survives a restart: one trait, two databases, one suite of tests that both must pass.
//!
//! A store decides nothing but what only a transaction can decide: who was first. Outcomes of that
//! kind are values ([`Created`], [`JoinOutcome`], [`Written`]); a [`StoreError`] means the database
//! itself failed and nothing was changed.

pub mod migrations;
pub mod postgres;
pub mod rows;
pub mod sqlite;

#[cfg(test)]
pub(crate) mod contract_tests;

use async_trait::async_trait;
pub use rows::{
    Created, InviteRow, JoinOutcome, JoinRow, LeaseRow, NetworkRow, NewDeviceList, NewNetwork,
    SeenRow, TokenKeyRow, UserRow, Written,
};

/// The database failed; nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No room on the disk, or the database's own size limit.
    #[error("the registry cannot write: its disk is full; nothing was changed, try again later")]
    Full,
    /// Busy, closed, or out of reach.
    #[error("the registry's database is not available; nothing was changed, try again: {0}")]
    Unavailable(String),
    /// Anything else, as the database tells it.
    #[error("the registry's database failed; nothing was changed: {0}")]
    Failed(String),
}

/// The result of every operation.
pub type Result<T> = std::result::Result<T, StoreError>;

/// The registry's memory.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug + 'static {
    /// The token keys, newest first.
    async fn token_keys(&self) -> Result<Vec<TokenKeyRow>>;

    /// Adds a token key and forgets all but the newest `keep`.
    async fn add_token_key(&self, key: TokenKeyRow, keep: usize) -> Result<()>;

    /// All networks, in the order they were created.
    async fn networks(&self) -> Result<Vec<NetworkRow>>;

    /// Creates a network unless its label or fingerprint is taken.
    async fn create_network(&self, network: NewNetwork) -> Result<Created>;

    /// Replaces the descriptor if its version is still `known`.
    async fn put_descriptor(
        &self,
        network: i64,
        known: u64,
        version: u64,
        descriptor: Vec<u8>,
    ) -> Result<Written>;

    /// The user with this handle.
    async fn user(&self, network: i64, handle: &str) -> Result<Option<UserRow>>;

    /// The user whose device list in force names this label.
    async fn user_of_device(&self, network: i64, device: &str) -> Result<Option<UserRow>>;

    /// Users after `after` in the byte order of their handles.
    async fn users(&self, network: i64, after: &str, limit: usize) -> Result<Vec<UserRow>>;

    /// Replaces a user's device list if its version is still the known one and every label and key
    /// is free or the user's own.
    async fn put_device_list(&self, list: NewDeviceList) -> Result<Written>;

    /// Replaces a user's membership unless the user is revoked.
    async fn put_membership(&self, user: i64, membership: Vec<u8>) -> Result<Written>;

    /// Revokes a user and replaces the revocation list, if its version is still `known`.
    async fn revoke(
        &self,
        network: i64,
        user: i64,
        known: u64,
        revocations: Vec<u8>,
    ) -> Result<Written>;

    /// Adds an invite and forgets those that ended before `forget_before_ms`. [`Written::Taken`]
    /// when the key is known or there are `cap` invites already.
    async fn create_invite(
        &self,
        invite: InviteRow,
        forget_before_ms: u64,
        cap: u64,
    ) -> Result<Written>;

    /// Counts a use of the invite and adds the user, all or nothing. The same request again finds
    /// what it made.
    async fn join(&self, join: JoinRow) -> Result<JoinOutcome>;

    /// Writes leases, at most one per device; an older record never replaces a newer one.
    async fn put_leases(&self, rows: Vec<LeaseRow>) -> Result<()>;

    /// Notes when devices were last seen and who confirmed them; unknown devices are left out.
    async fn put_seen(&self, rows: Vec<SeenRow>) -> Result<()>;

    /// The leases of these devices, ended ones included.
    async fn leases(&self, network: i64, devices: Vec<[u8; 32]>) -> Result<Vec<LeaseRow>>;

    /// Leases that end after `after_ms`, in the order of (network, device), from behind `from`.
    async fn live_leases(
        &self,
        after_ms: u64,
        from: (i64, [u8; 32]),
        limit: usize,
    ) -> Result<Vec<LeaseRow>>;

    /// Whether the database answers.
    async fn ping(&self) -> Result<()>;

    /// Ends all work; later calls fail with [`StoreError::Unavailable`].
    async fn close(&self);
}
