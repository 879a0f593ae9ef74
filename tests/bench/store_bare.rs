//! The ceilings of the registry's store: one rusqlite connection, one `UNNEST` by sqlx.

use crate::measure::text;
use crate::store::Writer;
use beeline_registry::store::LeaseRow;
use rusqlite::{Connection, params};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// WAL and NORMAL, as `leases.db`.
const SQLITE: &str = "PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    CREATE TABLE leases (
        network_no INTEGER NOT NULL, device_fp BLOB NOT NULL, device TEXT NOT NULL,
        handle TEXT NOT NULL, version INTEGER NOT NULL, record BLOB NOT NULL, named TEXT NOT NULL,
        expires_ms INTEGER NOT NULL, seen_ms INTEGER NOT NULL,
        PRIMARY KEY (network_no, device_fp)
    ) STRICT, WITHOUT ROWID;";

const SQLITE_PUT: &str = "INSERT INTO leases VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
    ON CONFLICT (network_no, device_fp) DO UPDATE SET
        device = excluded.device, handle = excluded.handle, version = excluded.version,
        record = excluded.record, named = excluded.named, expires_ms = excluded.expires_ms,
        seen_ms = excluded.seen_ms";

/// One connection, written on the thread that calls.
pub(crate) struct BareSqlite(Mutex<Connection>);

impl BareSqlite {
    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        let connection = Connection::open(path).map_err(text)?;
        connection.execute_batch(SQLITE).map_err(text)?;
        Ok(Self(Mutex::new(connection)))
    }

    fn write(&self, rows: &[LeaseRow]) -> rusqlite::Result<()> {
        let mut connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction()?;
        {
            let mut put = transaction.prepare_cached(SQLITE_PUT)?;
            for row in rows {
                let (version, expires) = (row.version as i64, row.expires_ms as i64);
                let (fp, seen) = (row.device_fp.as_slice(), row.seen_ms as i64);
                put.execute(params![
                    row.network_no,
                    fp,
                    row.device,
                    row.handle,
                    version,
                    &*row.record,
                    row.named,
                    expires,
                    seen
                ])?;
            }
        }
        transaction.commit()
    }
}

#[async_trait::async_trait]
impl Writer for BareSqlite {
    async fn put(&self, rows: Vec<LeaseRow>) -> Result<(), String> {
        self.write(&rows).map_err(text)
    }
}

const POSTGRES: &str = "CREATE TABLE leases (
    network_no BIGINT NOT NULL, device_fp BYTEA NOT NULL, device TEXT NOT NULL,
    handle TEXT NOT NULL, version BIGINT NOT NULL, record BYTEA NOT NULL, named TEXT NOT NULL,
    expires_ms BIGINT NOT NULL, seen_ms BIGINT NOT NULL,
    PRIMARY KEY (network_no, device_fp))";

const POSTGRES_PUT: &str = "INSERT INTO leases
    SELECT * FROM UNNEST($1::bigint[], $2::bytea[], $3::text[], $4::text[], $5::bigint[],
        $6::bytea[], $7::text[], $8::bigint[], $9::bigint[])
    ON CONFLICT (network_no, device_fp) DO UPDATE SET
        device = excluded.device, handle = excluded.handle, version = excluded.version,
        record = excluded.record, named = excluded.named, expires_ms = excluded.expires_ms,
        seen_ms = excluded.seen_ms";

/// One connection to a database of our own.
pub(crate) struct BarePostgres {
    admin: PgPool,
    pool: PgPool,
    name: String,
}

impl BarePostgres {
    /// Makes a database on the server at `url`.
    pub(crate) async fn open(url: &str) -> Result<Self, String> {
        let (admin, name, url) = new_database(url, "bare").await?;
        // As the store's own connections for presence: a commit does not wait for the disk.
        let options = url.parse::<PgConnectOptions>().map_err(text)?;
        let options = options.options([("synchronous_commit", "off")]);
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .connect_with(options);
        let pool = pool.await.map_err(text)?;
        sqlx::query(POSTGRES).execute(&pool).await.map_err(text)?;
        Ok(Self { admin, pool, name })
    }

    /// Drops the database.
    pub(crate) async fn close(self) {
        self.pool.close().await;
        drop_database(&self.admin, &self.name).await;
    }
}

/// Makes a database; returns the server's pool, the database's name and its address.
pub(crate) async fn new_database(
    url: &str,
    what: &str,
) -> Result<(PgPool, String, String), String> {
    let admin = PgPoolOptions::new()
        .max_connections(1)
        .connect(url)
        .await
        .map_err(text)?;
    let name = format!("bench_{what}_{}", std::process::id());
    let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
    sqlx::query(create).execute(&admin).await.map_err(text)?;
    let (server, _) = url
        .rsplit_once('/')
        .ok_or("BEELINE_TEST_POSTGRES is no URL")?;
    let address = format!("{server}/{name}");
    Ok((admin, name, address))
}

/// Drops a database made by [`new_database`]; one that stays is the cluster's, which is temporary.
pub(crate) async fn drop_database(admin: &PgPool, name: &str) {
    let drop = sqlx::AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
    if let Err(error) = sqlx::query(drop).execute(admin).await {
        crate::measure::say(&format!("{name} was left behind: {error}"));
    }
}

#[async_trait::async_trait]
impl Writer for BarePostgres {
    async fn put(&self, rows: Vec<LeaseRow>) -> Result<(), String> {
        let numbers = |of: fn(&LeaseRow) -> i64| rows.iter().map(of).collect::<Vec<i64>>();
        let texts = |of: fn(&LeaseRow) -> &str| rows.iter().map(of).collect::<Vec<&str>>();
        let fps: Vec<&[u8]> = rows.iter().map(|r| r.device_fp.as_slice()).collect();
        let records: Vec<&[u8]> = rows.iter().map(|r| &*r.record).collect();
        sqlx::query(POSTGRES_PUT)
            .bind(numbers(|r| r.network_no))
            .bind(fps)
            .bind(texts(|r| &r.device))
            .bind(texts(|r| &r.handle))
            .bind(numbers(|r| r.version as i64))
            .bind(records)
            .bind(texts(|r| &r.named))
            .bind(numbers(|r| r.expires_ms as i64))
            .bind(numbers(|r| r.seen_ms as i64))
            .execute(&self.pool)
            .await
            .map_err(text)?;
        Ok(())
    }
}
