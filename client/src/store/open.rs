//! Opening the database: version, settings, check, migrations. Nothing is used that was not
//! asserted.

use super::ground;
use crate::clock;
use crate::crash;
use crate::error::StoreError;
use crate::home::Home;
use crate::limits::{CHECK_ALL_EVERY_MS, CHECK_MAX, STORE_BUSY};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::io::ErrorKind;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

/// 3.51.3, the first without the WAL-reset bug that can lose committed data.
const SQLITE_MIN: i32 = 3_051_003;

/// Steps of the schema, in order; `user_version` counts those done.
const MIGRATIONS: &[&str] = &[
    include_str!("../../../migrations/client/0001_client.sql"),
    include_str!("../../../migrations/client/0002_kept.sql"),
    include_str!("../../../migrations/client/0003_once.sql"),
    include_str!("../../../migrations/client/0004_devices.sql"),
    include_str!("../../../migrations/client/0005_placed.sql"),
    include_str!("../../../migrations/client/0006_files.sql"),
];

/// Settings every writing connection must have, with the value each must answer.
const SETTINGS: &[(&str, &str)] = &[
    ("journal_mode", "wal"),
    // 2 is FULL: a commit returns after the WAL reached the disk.
    ("synchronous", "2"),
    ("foreign_keys", "1"),
    ("trusted_schema", "0"),
    ("cell_size_check", "1"),
    ("mmap_size", "0"),
    ("wal_autocheckpoint", "1000"),
    ("journal_size_limit", "67108864"),
    ("temp_store", "2"),
    // Only macOS knows a difference.
    ("fullfsync", "1"),
    ("checkpoint_fullfsync", "1"),
];

/// How soon a check that is to be given up is interrupted once more.
const INTERRUPT_AGAIN: Duration = Duration::from_millis(10);

/// How thoroughly to look for damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// At every start: all pages, without comparing indexes with tables.
    Quick,
    /// After a failure.
    Full,
}

/// Opens the writing connection; creates and migrates the database where needed.
pub(super) fn open_writer(home: &Home, check: Check) -> Result<Connection, StoreError> {
    if rusqlite::version_number() < SQLITE_MIN {
        return Err(StoreError::Version(rusqlite::version().to_owned()));
    }
    let path = home.database();
    let io = |e: std::io::Error| {
        let why = match e.kind() {
            ErrorKind::StorageFull => "the disk is full; free some space".to_owned(),
            _ => e.to_string(),
        };
        StoreError::Database(format!("{}: {why}", path.display()))
    };
    if !ground::exists(&path) {
        ground::create(&path).map_err(io)?;
        crash::at("store.made");
    }
    ground::sync_names(&path).map_err(io)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = ground::connect(&path, flags)?;
    conn.busy_timeout(STORE_BUSY)?;
    conn.set_prepared_statement_cache_capacity(64);
    settle(&conn)?;
    set(&conn)?;
    check_damage(&conn, check)?;
    migrate(&mut conn)?;
    // What a process that was killed left in the log may be a secret erased since.
    if !empty_wal(&conn) {
        tracing::debug!("the log could not be emptied at the start");
    }
    Ok(conn)
}

/// Moves the log into the database and cuts it off; whether that could be done.
pub(super) fn empty_wal(conn: &Connection) -> bool {
    let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
    let busy = conn.query_row(sql, [], |row| row.get::<_, i64>(0));
    matches!(busy, Ok(0))
}

/// Opens a connection that cannot write.
pub(super) fn open_reader(home: &Home) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = ground::connect(&home.database(), flags)?;
    conn.busy_timeout(STORE_BUSY)?;
    conn.pragma_update(None, "trusted_schema", false)?;
    let version = user_version(&conn)?;
    let known = MIGRATIONS.len() as i64;
    if version > known {
        let found = version;
        return Err(StoreError::Newer { found, known });
    }
    Ok(conn)
}

/// The same of a home at rest. One that was joined and not used yet has no database, or one that
/// has no tables: then there is nothing in it.
pub(super) fn open_at_rest(home: &Home) -> Result<Connection, StoreError> {
    if ground::exists(&home.database()) {
        let conn = open_reader(home)?;
        if user_version(&conn)? > 0 {
            return Ok(conn);
        }
    }
    let mut empty = Connection::open_in_memory()?;
    migrate(&mut empty)?;
    Ok(empty)
}

/// Writes again, and syncs, all that the log of an earlier process holds: it may only be in the
/// system's cache, for that process ended before its sync, or its sync failed, which the system
/// forgets. What is committed behind such a hole would go with it when the power does.
fn settle(conn: &Connection) -> Result<(), StoreError> {
    conn.pragma_update(None, "synchronous", "FULL")?;
    let busy: bool = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if busy {
        tracing::warn!("another process reads the store: its log is not emptied yet");
    }
    Ok(())
}

fn set(conn: &Connection) -> Result<(), StoreError> {
    // Only takes in an empty database, so it comes first.
    conn.pragma_update(None, "auto_vacuum", "incremental")?;
    // What is deleted is overwritten where that costs no write of its own; erasing does it
    // everywhere.
    conn.pragma_update_and_check(None, "secure_delete", "fast", |_| Ok(()))?;
    for (name, value) in SETTINGS {
        // Some settings answer with a row, some do not.
        conn.pragma_update_and_check(None, name, value, |_| Ok(()))
            .or_else(|e| match e {
                rusqlite::Error::QueryReturnedNoRows => Ok(()),
                other => Err(other),
            })?;
        let is: String = conn.pragma_query_value(None, name, |row| {
            let value = row.get_ref(0)?;
            Ok(match value.data_type() {
                rusqlite::types::Type::Integer => value.as_i64()?.to_string(),
                _ => value.as_str()?.to_owned(),
            })
        })?;
        if is != *value {
            return Err(StoreError::Setting(format!("{name}={value} (it is {is})")));
        }
    }
    let version = rusqlite::version();
    tracing::debug!(sqlite = version, settings = ?SETTINGS, "store opened");
    Ok(())
}

fn check_damage(conn: &Connection, check: Check) -> Result<(), StoreError> {
    let wall_ms = clock::wall_ms();
    let (verdict, all) = match check {
        Check::Quick if wants_all(conn, wall_ms) => {
            let verdict = within(conn, CHECK_MAX, |conn| verdict(conn, "integrity_check"))?;
            (verdict, true)
        }
        Check::Quick => (
            within(conn, CHECK_MAX, |conn| verdict(conn, "quick_check"))?,
            false,
        ),
        Check::Full => (Some(verdict(conn, "integrity_check")?), true),
    };
    if all {
        note_check(conn, wall_ms);
    }
    match verdict.as_deref() {
        Some("ok") => Ok(()),
        Some(damage) => Err(StoreError::Damaged(damage.to_owned())),
        None => {
            tracing::info!("the store is too large to be checked whole at every start");
            Ok(())
        }
    }
}

/// Whether all of it was last checked more than a week ago, or in a future that cannot be.
fn wants_all(conn: &Connection, wall_ms: u64) -> bool {
    let sql = "SELECT checked_ms FROM own";
    // A database that was just made, or comes from an older version, is checked the next time.
    let checked = conn.query_row(sql, [], |row| row.get::<_, i64>(0));
    let checked_ms = checked.map_or(wall_ms, i64::cast_unsigned);
    wall_ms.abs_diff(checked_ms) > CHECK_ALL_EVERY_MS
}

/// Notes that all was checked, as far as the time allowed; it is no reason not to start.
fn note_check(conn: &Connection, wall_ms: u64) {
    let sql = "UPDATE own SET checked_ms = ?1";
    if let Err(error) = conn.execute(sql, [wall_ms.cast_signed()]) {
        tracing::debug!(%error, "the check is not noted");
    }
}

fn verdict(conn: &Connection, pragma: &str) -> rusqlite::Result<String> {
    conn.pragma_query_value(None, pragma, |row| row.get(0))
}

/// The verdict of a check, or `None` if it takes longer than `limit`.
fn within(
    conn: &Connection,
    limit: Duration,
    check: impl FnOnce(&Connection) -> rusqlite::Result<String>,
) -> Result<Option<String>, StoreError> {
    let interrupt = conn.get_interrupt_handle();
    let (done, waiting) = sync_channel::<()>(1);
    let watch = std::thread::Builder::new().name("beeline-check".to_owned());
    let watch = watch.spawn(move || {
        let mut patience = limit;
        // Again and again: one that comes before the check has begun does nothing.
        while waiting.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
            interrupt.interrupt();
            patience = INTERRUPT_AGAIN;
        }
    });
    let watch = watch.map_err(|e| StoreError::Database(format!("no thread for a check: {e}")))?;
    let verdict = check(conn);
    drop(done);
    // It holds the connection's handle; it ends now and cannot fail.
    let _ = watch.join();
    match verdict {
        Ok(verdict) => Ok(Some(verdict)),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn user_version(conn: &Connection) -> Result<i64, StoreError> {
    Ok(conn.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

/// Runs the steps that are due, each in one transaction with its number.
fn migrate(conn: &mut Connection) -> Result<(), StoreError> {
    let known = MIGRATIONS.len() as i64;
    let found = user_version(conn)?;
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    let due = usize::try_from(found).unwrap_or(0);
    for (index, step) in MIGRATIONS.iter().enumerate().skip(due) {
        let tx = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        tx.execute_batch(step)?;
        crash::at("migration.begun");
        tx.pragma_update(None, "user_version", index as i64 + 1)?;
        tx.commit()?;
        crash::at("migration.done");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unix;

    fn home() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().expect("a directory");
        let home = Home::at(&dir.path().join("home"));
        home.prepare().expect("made");
        (dir, home)
    }

    #[test]
    fn a_new_store_is_private_migrated_and_set() {
        let (_dir, home) = home();
        let conn = open_writer(&home, Check::Quick).expect("opened");
        assert_eq!(user_version(&conn), Ok(MIGRATIONS.len() as i64));
        let vacuum: i64 = conn
            .pragma_query_value(None, "auto_vacuum", |r| r.get(0))
            .expect("asked");
        assert_eq!(vacuum, 2);
        conn.execute_batch("BEGIN IMMEDIATE; DELETE FROM steps; COMMIT")
            .expect("tables are there");
        for name in ["client.db", "client.db-wal", "client.db-shm"] {
            let path = home.dir().join(name);
            assert_eq!(unix::wider_than_private(&path).expect(name), None, "{name}");
        }
        drop(conn);
        open_writer(&home, Check::Full).expect("opened again");
        let reader = open_reader(&home).expect("read after a clean close");
        reader
            .execute("DELETE FROM steps", [])
            .expect_err("it cannot write");
    }

    #[test]
    fn nothing_is_found_in_a_home_that_was_not_used_yet_and_nothing_made() {
        let (_dir, home) = home();
        let count = || {
            let conn = open_at_rest(&home).expect("opened");
            conn.query_row("SELECT count(*) FROM steps", [], |row| row.get(0))
        };
        assert_eq!((count(), home.database().exists()), (Ok(0), false));
        // A start that ended before the first table was there.
        ground::create(&home.database()).expect("made");
        assert_eq!(count(), Ok(0));
        let conn = open_writer(&home, Check::Quick).expect("opened");
        let step =
            "INSERT INTO steps (device_fp, id, step, at_ms, state) VALUES (x'', x'', 1, 1, '')";
        conn.execute(step, []).expect("written");
        assert_eq!(count(), Ok(1));
    }

    #[test]
    fn a_newer_store_and_a_damaged_one_are_refused() {
        let (_dir, home) = home();
        let conn = open_writer(&home, Check::Quick).expect("opened");
        conn.pragma_update(None, "user_version", 99).expect("set");
        drop(conn);
        let newer = open_writer(&home, Check::Quick).expect_err("newer");
        assert_eq!(
            newer,
            StoreError::Newer {
                found: 99,
                known: MIGRATIONS.len() as i64
            }
        );
        std::fs::write(home.database(), vec![0x5a; 8192]).expect("overwritten");
        open_writer(&home, Check::Quick).expect_err("damaged");
    }

    #[test]
    fn a_check_that_takes_too_long_is_given_up() {
        let (_dir, home) = home();
        let conn = open_writer(&home, Check::Quick).expect("opened");
        let endless = |conn: &Connection| {
            let sql = "WITH RECURSIVE n(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM n)
                       SELECT sum(x) FROM n";
            conn.query_row(sql, [], |row| row.get(0))
        };
        assert_eq!(within(&conn, Duration::ZERO, endless), Ok(None));
        let quick = |conn: &Connection| verdict(conn, "quick_check");
        assert_eq!(within(&conn, CHECK_MAX, quick), Ok(Some("ok".to_owned())));
    }

    #[test]
    fn a_failed_step_leaves_nothing() {
        let (_dir, home) = home();
        let mut conn = open_writer(&home, Check::Quick).expect("opened");
        conn.execute_batch("DROP TABLE steps").expect("dropped");
        conn.pragma_update(None, "user_version", 0).expect("set");
        migrate(&mut conn).expect_err("the first table is there already");
        let steps: i64 = conn
            .query_row(
                "SELECT count(*) FROM sqlite_schema WHERE name = 'steps'",
                [],
                |r| r.get(0),
            )
            .expect("asked");
        assert_eq!((steps, user_version(&conn)), (0, Ok(0)));
    }
}
