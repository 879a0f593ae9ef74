//! What is refused before anything is served, and what every connection is held to.

use super::*;
use crate::store::sqlite::SqliteStore;
use crate::store::{Store as _, StoreError};

fn data() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    (dir, data)
}

#[tokio::test]
async fn the_settings_are_in_force_on_every_connection() {
    let (_dir, data) = data();
    SqliteStore::open(&data, 1, None)
        .expect("opens")
        .close()
        .await;
    for (which, synchronous) in [(REGISTRY, "2"), (LEASES, "1")] {
        for connection in [writer(&data, which, 2), reader(&data, which)] {
            let connection = connection.expect("opens");
            check_pragma(&connection, which, "synchronous", synchronous).expect("as it must be");
            check_pragma(&connection, which, "journal_mode", "wal").expect("as it must be");
            check_pragma(&connection, which, "foreign_keys", "1").expect("as it must be");
            // The check itself can fail.
            let other = check_pragma(&connection, which, "synchronous", "3");
            assert!(matches!(other, Err(OpenError::Pragma { .. })));
        }
        let connection = reader(&data, which).expect("opens");
        assert!(
            connection.execute_batch("CREATE TABLE x (y)").is_err(),
            "readers only read"
        );
    }
}

/// `.cargo/config.toml` says why, and switches it off.
#[test]
fn every_connection_has_a_page_cache_of_its_own() {
    let connection = Connection::open_in_memory().expect("opens");
    let mut options = connection
        .prepare("PRAGMA compile_options")
        .expect("a statement");
    let options = options.query_map([], |row| row.get::<_, String>(0));
    let shared = |option: &String| option == "ENABLE_MEMORY_MANAGEMENT";
    let found = options.expect("answers").flatten().find(shared);
    assert_eq!(
        found, None,
        "build from the repository, where .cargo/config.toml counts"
    );
}

#[tokio::test]
async fn migrations_are_applied_once_and_never_changed() {
    let (_dir, data) = data();
    SqliteStore::open(&data, 1, None)
        .expect("opens")
        .close()
        .await;
    SqliteStore::open(&data, 2, None)
        .expect("opens again")
        .close()
        .await;
    let connection = Connection::open(data.join("registry.db")).expect("opens");
    let applied = "SELECT count(*), max(applied_ms) FROM schema_migrations";
    let applied = connection.query_row(applied, [], |row| Ok((row.get(0)?, row.get(1)?)));
    assert_eq!(applied, Ok((1, 1)));
    connection
        .execute("UPDATE schema_migrations SET sha256 = x'00'", [])
        .expect("changed");
    let refused = SqliteStore::open(&data, 3, None).expect_err("a changed file");
    assert!(refused.to_string().contains("another text"), "{refused}");
    let newer = "UPDATE schema_migrations SET version = 99";
    connection.execute(newer, []).expect("changed");
    let refused = SqliteStore::open(&data, 3, None).expect_err("a newer program's");
    assert!(refused.to_string().contains("update it"), "{refused}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let (_dir, data) = data();
    make_dir(&data).expect("a directory");
    let path = data.join("registry.db");
    std::fs::write(&path, vec![b'x'; 8_192]).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("set");
    let refused = SqliteStore::open(&data, 1, None).expect_err("not a database");
    assert!(refused.to_string().contains("registry.db"), "{refused}");
}

#[test]
fn the_sqlite_in_use_is_new_enough() {
    check_version().expect("compiled in");
    assert!(VERSION_MIN.0 >= 3_051_003);
}

#[test]
fn errors_keep_apart_what_the_caller_can_do() {
    let of = |code| {
        let error = rusqlite::ffi::Error::new(code);
        super::super::convert::failed(rusqlite::Error::SqliteFailure(error, None))
    };
    assert_eq!(of(rusqlite::ffi::SQLITE_FULL), StoreError::Full);
    for code in [
        rusqlite::ffi::SQLITE_BUSY,
        rusqlite::ffi::SQLITE_IOERR,
        rusqlite::ffi::SQLITE_READONLY,
    ] {
        assert!(matches!(of(code), StoreError::Unavailable(_)));
    }
    for code in [
        rusqlite::ffi::SQLITE_CORRUPT,
        rusqlite::ffi::SQLITE_CONSTRAINT,
    ] {
        assert!(matches!(of(code), StoreError::Failed(_)));
    }
}
