//! Opening SQLite: one owner per directory, checked version and settings, migrations.

use crate::store::migrations::{Area, Migration, SQLITE, TABLE};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, TransactionBehavior, params};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Oldest SQLite without the WAL-reset corruption of 3.7.0 to 3.51.2.
const VERSION_MIN: (i32, &str) = (3_051_003, "3.51.3");

/// How long a connection waits for another's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a store cannot be opened. Nothing is served then.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory or a file in it.
    #[error("{path}: {source}")]
    Io {
        /// What could not be used.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A key-bearing file that others may read.
    #[error("{0} may be read by others; run: chmod 600 {0}")]
    Open(PathBuf),
    /// Another process owns the directory.
    #[error("{0} is in use by another registry; stop it, or give another --data directory")]
    InUse(PathBuf),
    /// SQLite is too old.
    #[error("SQLite {0} can corrupt a database; {min} or newer is needed", min = VERSION_MIN.1)]
    Version(String),
    /// A setting did not take.
    #[error("{file}: PRAGMA {pragma} is {got}, not {want}")]
    Pragma {
        /// Which file.
        file: &'static str,
        /// Which setting.
        pragma: &'static str,
        /// Its value.
        got: String,
        /// What it should be.
        want: String,
    },
    /// Migrations cannot be applied.
    #[error("{0}")]
    Migration(String),
    /// The database refused.
    #[error("{file}: {source}")]
    Sqlite {
        /// Which file.
        file: &'static str,
        /// Why.
        source: rusqlite::Error,
    },
}

/// Which of the two files.
#[derive(Debug, Clone, Copy)]
pub(super) struct Which {
    pub(super) file: &'static str,
    area: Area,
    /// PRAGMA synchronous: 2 is FULL, 1 is NORMAL.
    synchronous: i64,
}

pub(super) const REGISTRY: Which = Which {
    file: "registry.db",
    area: Area::Identity,
    synchronous: 2,
};

pub(super) const LEASES: Which = Which {
    file: "leases.db",
    area: Area::Presence,
    synchronous: 1,
};

/// Makes the directory, 0700, if it is not there.
pub fn make_dir(dir: &Path) -> Result<(), OpenError> {
    let mut builder = std::fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(dir);
    made.map_err(|source| OpenError::Io {
        path: dir.to_owned(),
        source,
    })
}

/// Makes the directory and locks it for as long as the file lives.
pub(super) fn lock(dir: &Path) -> Result<File, OpenError> {
    make_dir(dir)?;
    let path = dir.join("registry.lock");
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600);
    let file = match options.open(&path) {
        Ok(file) => file,
        Err(source) => return Err(OpenError::Io { path, source }),
    };
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(OpenError::InUse(dir.to_owned())),
        Err(std::fs::TryLockError::Error(source)) => Err(OpenError::Io { path, source }),
    }
}

/// Refuses a SQLite that can lose data.
pub(super) fn check_version() -> Result<(), OpenError> {
    if rusqlite::version_number() < VERSION_MIN.0 {
        return Err(OpenError::Version(rusqlite::version().to_owned()));
    }
    Ok(())
}

/// Opens the connection that writes, creating and migrating the file.
pub(super) fn writer(dir: &Path, which: Which, now_ms: u64) -> Result<Connection, OpenError> {
    let path = dir.join(which.file);
    create_private(&path)?;
    let sql = |source| OpenError::Sqlite {
        file: which.file,
        source,
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(&path, flags).map_err(sql)?;
    // Takes effect only while the file is empty.
    connection
        .pragma_update(None, "auto_vacuum", "INCREMENTAL")
        .map_err(sql)?;
    connection
        .pragma_update(None, "journal_mode", "WAL")
        .map_err(sql)?;
    settle(&connection, which)?;
    migrate(&mut connection, which, now_ms)?;
    check_pragma(&connection, which, "journal_mode", "wal")?;
    check_pragma(&connection, which, "auto_vacuum", "2")?;
    Ok(connection)
}

/// Opens a connection that only reads.
pub(super) fn reader(dir: &Path, which: Which) -> Result<Connection, OpenError> {
    let sql = |source| OpenError::Sqlite {
        file: which.file,
        source,
    };
    // WAL readers write to the -shm file, so the file is opened for writing and the statements are
    // held back.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(dir.join(which.file), flags).map_err(sql)?;
    settle(&connection, which)?;
    connection
        .pragma_update(None, "query_only", true)
        .map_err(sql)?;
    check_pragma(&connection, which, "query_only", "1")?;
    Ok(connection)
}

/// Sets what SQLite keeps per connection, and reads it back.
fn settle(connection: &Connection, which: Which) -> Result<(), OpenError> {
    let sql = |source| OpenError::Sqlite {
        file: which.file,
        source,
    };
    connection.busy_timeout(BUSY_TIMEOUT).map_err(sql)?;
    let settings: [(&'static str, i64); 8] = [
        ("synchronous", which.synchronous),
        ("foreign_keys", 1),
        ("trusted_schema", 0),
        ("cell_size_check", 1),
        ("mmap_size", 0),
        ("wal_autocheckpoint", 1_000),
        ("journal_size_limit", 64 * 1024 * 1024),
        ("temp_store", 2),
    ];
    for (pragma, value) in settings {
        connection.pragma_update(None, pragma, value).map_err(sql)?;
    }
    for (pragma, value) in settings {
        // Without memory mapping compiled in there is nothing to read back.
        if pragma != "mmap_size" {
            check_pragma(connection, which, pragma, &value.to_string())?;
        }
    }
    check_pragma(
        connection,
        which,
        "busy_timeout",
        &BUSY_TIMEOUT.as_millis().to_string(),
    )
}

/// Compares a setting with what it must be.
pub(super) fn check_pragma(
    connection: &Connection,
    which: Which,
    pragma: &'static str,
    want: &str,
) -> Result<(), OpenError> {
    let read = |row: &rusqlite::Row<'_>| row.get::<_, rusqlite::types::Value>(0);
    let value = connection.pragma_query_value(None, pragma, read);
    let value = value.map_err(|source| OpenError::Sqlite {
        file: which.file,
        source,
    })?;
    let got = match value {
        rusqlite::types::Value::Integer(n) => n.to_string(),
        rusqlite::types::Value::Text(text) => text,
        other => format!("{other:?}"),
    };
    if got == want {
        return Ok(());
    }
    Err(OpenError::Pragma {
        file: which.file,
        pragma,
        got,
        want: want.to_owned(),
    })
}

/// Creates the file 0600, as SQLite's own files beside it then are; refuses a wider one.
fn create_private(path: &Path) -> Result<(), OpenError> {
    let io = |source| OpenError::Io {
        path: path.to_owned(),
        source,
    };
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600);
    let file = options.open(path).map_err(io)?;
    let mode = file.metadata().map_err(io)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(OpenError::Open(path.to_owned()));
    }
    file.sync_all().map_err(io)?;
    // The name is durable only once its directory is.
    let dir = path.parent().unwrap_or(Path::new("."));
    File::open(dir).and_then(|d| d.sync_all()).map_err(io)
}

fn migrate(connection: &mut Connection, which: Which, now_ms: u64) -> Result<(), OpenError> {
    let sql = |source| OpenError::Sqlite {
        file: which.file,
        source,
    };
    let table = TABLE.replace("{BYTES}", "BLOB");
    connection.execute_batch(&table).map_err(sql)?;
    let newest = "SELECT coalesce(max(version), 0) FROM schema_migrations";
    let newest: i64 = connection
        .query_row(newest, [], |row| row.get(0))
        .map_err(sql)?;
    let known = SQLITE.iter().map(|m| m.version).max().unwrap_or(0);
    if newest > known {
        return Err(OpenError::Migration(Migration::newer(newest)));
    }
    for migration in SQLITE.iter().filter(|m| m.area == which.area) {
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let tx = tx.map_err(sql)?;
        let applied = "SELECT sha256 FROM schema_migrations WHERE version = ?1";
        let applied: Option<Vec<u8>> = tx
            .query_row(applied, [migration.version], |row| row.get(0))
            .optional()
            .map_err(sql)?;
        match applied {
            Some(hash) if hash == migration.hash() => continue,
            Some(_) => return Err(OpenError::Migration(migration.changed())),
            None => {}
        }
        tx.execute_batch(migration.sql).map_err(sql)?;
        let note = "INSERT INTO schema_migrations VALUES (?1, ?2, ?3, ?4)";
        let now_ms = i64::try_from(now_ms).unwrap_or(i64::MAX);
        tx.execute(
            note,
            params![migration.version, migration.name, migration.hash(), now_ms],
        )
        .map_err(sql)?;
        tx.commit().map_err(sql)?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
