//! What the database lies on: the file system, or for tests a disk that can fail.

use rusqlite::{Connection, OpenFlags};
use std::io;
use std::path::Path;

/// Whether the database is there.
pub(super) fn exists(database: &Path) -> bool {
    #[cfg(feature = "testing")]
    if let Some(ground) = super::testing::ground_of(database) {
        return ground.exists(database);
    }
    database.exists()
}

/// Makes an empty database that only its owner can read.
pub(super) fn create(database: &Path) -> io::Result<()> {
    #[cfg(feature = "testing")]
    if let Some(ground) = super::testing::ground_of(database) {
        return ground.create(database);
    }
    crate::unix::create_private_file(database)?.sync_all()
}

/// Makes the names of the database and its log durable: whoever made them may have ended before.
pub(super) fn sync_names(database: &Path) -> io::Result<()> {
    let dir = database.parent().unwrap_or(database);
    #[cfg(feature = "testing")]
    if let Some(ground) = super::testing::ground_of(database) {
        return ground.sync_dir(dir);
    }
    crate::unix::sync_dir(dir)
}

/// Opens the database.
pub(super) fn connect(database: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    #[cfg(feature = "testing")]
    if let Some(ground) = super::testing::ground_of(database) {
        return Connection::open_with_flags_and_vfs(database, flags, ground.vfs());
    }
    Connection::open_with_flags(database, flags)
}
