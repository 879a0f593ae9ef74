//! Connecting to PostgreSQL: settings of every session, migrations, the owner's lock.

use super::convert::failed;
use super::owner::{NoLock, Owner};
use crate::limits::POSTGRES_CONNECTIONS_MAX;
use crate::store::StoreError;
use crate::store::migrations::{Migration, POSTGRES, TABLE};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use std::str::FromStr as _;
use std::time::Duration;

/// How long a call waits for a connection; under its own deadline of five seconds.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// Connections that only write presence: one batch is written while the next is made.
const PRESENCE_CONNECTIONS_MAX: u32 = 2;

/// Why a store cannot be opened. Nothing is served then.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL.
    #[error("--database-url is not a PostgreSQL URL: {0}")]
    Url(String),
    /// Another registry uses the database.
    #[error("another registry uses this database; stop it, or give each a database of its own")]
    InUse,
    /// Migrations cannot be applied.
    #[error("{0}")]
    Migration(String),
    /// The database refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The two pools and the lock.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) identity: PgPool,
    pub(super) presence: PgPool,
    pub(super) owner: Owner,
}

/// Connects, locks, migrates.
pub(super) async fn open(url: &str, now_ms: u64) -> Result<Opened, OpenError> {
    let options = PgConnectOptions::from_str(url).map_err(|e| OpenError::Url(e.to_string()))?;
    let options = options.application_name("beeline-registry").options([
        ("statement_timeout", "3s"),
        ("lock_timeout", "1s"),
        ("idle_in_transaction_session_timeout", "10s"),
        ("default_transaction_isolation", "read committed"),
    ]);
    let owner = Owner::take(options.clone()).await.map_err(|no| match no {
        NoLock::Taken => OpenError::InUse,
        NoLock::Failed(error) => OpenError::Store(error),
    })?;
    let durable = options.clone().options([("synchronous_commit", "on")]);
    let quick = options.options([("synchronous_commit", "off")]);
    let identity = pool(POSTGRES_CONNECTIONS_MAX, durable).await?;
    let presence = pool(PRESENCE_CONNECTIONS_MAX, quick).await?;
    migrate(&identity, now_ms).await?;
    check_settings(&identity, "on").await?;
    check_settings(&presence, "off").await?;
    let version: String = sqlx::query_scalar("SHOW server_version")
        .fetch_one(&identity)
        .await
        .map_err(failed)?;
    tracing::info!(postgres = version, "store opened");
    Ok(Opened {
        identity,
        presence,
        owner,
    })
}

async fn pool(connections: u32, options: PgConnectOptions) -> Result<PgPool, OpenError> {
    let pool = PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        // A round trip per call; a connection that broke costs one repeated read instead.
        .test_before_acquire(false);
    Ok(pool.connect_with(options).await.map_err(failed)?)
}

/// Reads the settings back: a pooler between us and the database may have dropped them.
async fn check_settings(pool: &PgPool, synchronous_commit: &str) -> Result<(), OpenError> {
    let wanted = [
        ("synchronous_commit", synchronous_commit),
        ("statement_timeout", "3s"),
        ("lock_timeout", "1s"),
        ("idle_in_transaction_session_timeout", "10s"),
    ];
    for (setting, want) in wanted {
        let got: String = sqlx::query_scalar("SELECT current_setting($1)")
            .bind(setting)
            .fetch_one(pool)
            .await
            .map_err(failed)?;
        if got != want {
            let why = format!("PostgreSQL's {setting} is {got}, not {want}; is a pooler between?");
            return Err(OpenError::Store(StoreError::Failed(why)));
        }
    }
    Ok(())
}

async fn migrate(pool: &PgPool, now_ms: u64) -> Result<(), OpenError> {
    let mut connection = pool.acquire().await.map_err(failed)?;
    let table = TABLE.replace("{BYTES}", "BYTEA");
    sqlx::raw_sql(AssertSqlSafe(table))
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    let newest = "SELECT coalesce(max(version), 0) FROM schema_migrations";
    let newest: i64 = sqlx::query_scalar(newest)
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    let known = POSTGRES.iter().map(|m| m.version).max().unwrap_or(0);
    if newest > known {
        return Err(OpenError::Migration(Migration::newer(newest)));
    }
    for migration in POSTGRES {
        let mut tx = connection.begin().await.map_err(failed)?;
        let applied = "SELECT sha256 FROM schema_migrations WHERE version = $1";
        let applied = sqlx::query(applied)
            .bind(migration.version)
            .fetch_optional(&mut *tx)
            .await
            .map_err(failed)?;
        if let Some(row) = applied {
            let hash: Vec<u8> = row.try_get("sha256").map_err(failed)?;
            if hash != migration.hash() {
                return Err(OpenError::Migration(migration.changed()));
            }
            continue;
        }
        sqlx::raw_sql(migration.sql)
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
        sqlx::query("INSERT INTO schema_migrations VALUES ($1, $2, $3, $4)")
            .bind(migration.version)
            .bind(migration.name)
            .bind(migration.hash())
            .bind(i64::try_from(now_ms).unwrap_or(i64::MAX))
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
        tx.commit().await.map_err(failed)?;
    }
    Ok(())
}
