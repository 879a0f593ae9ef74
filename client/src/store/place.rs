//! Whether this database is the one that was open last. A home that was copied, or restored from a
//! backup, would number its messages as the original does, so it counts anew at once.
//!
//! The database remembers which file it was and how often it was opened; a small file beside it
//! remembers the count too. A copy is another file; a backup put back into the same file, alone, is
//! behind the count. Both put back together look untouched: then recipients notice, and say so in
//! their ACK. A home taken for a copy by mistake costs nothing but new numbers.

use super::load::{new_incarnation, unsigned};
use super::ops::to_db;
use crate::error::StoreError;
use crate::home::Home;
use crate::limits::OPENED_LEN_MAX;
use crate::unix;
use client_core::state::Loaded;
use rusqlite::{Connection, params};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;

/// Notes this opening; a copy gets a new incarnation.
pub(super) fn note(conn: &Connection, home: &Home, loaded: &mut Loaded) -> Result<(), StoreError> {
    let sql = "SELECT opened, inode FROM own";
    let (opened, known) =
        conn.query_row(sql, [], |row| Ok((unsigned(row, 0)?, unsigned(row, 1)?)))?;
    let Ok(inode) = unix::inode(&home.database()) else {
        return Ok(());
    };
    let beside = read_count(&home.opened());
    loaded.copied = why_copied(opened, known, inode, beside).map(|why| {
        format!(
            "this home was copied, or restored from a backup, since it was last open ({why}); its \
             new messages are numbered anew. If the original still runs, end one of the two"
        )
    });
    if loaded.copied.is_some() {
        loaded.incarnation = new_incarnation()?;
        loaded.seqs.clear();
    }
    let count = opened.max(beside.unwrap_or(0)).saturating_add(1);
    conn.execute(
        "UPDATE own SET opened = ?1, inode = ?2, incarnation = ?3",
        params![to_db(count), to_db(inode), to_db(loaded.incarnation)],
    )?;
    // After the commit: a crash in between looks like a restored backup, which is harmless.
    if let Err(error) = write_count(home, count) {
        tracing::warn!(%error, "a restored backup of this home may go unnoticed");
    }
    Ok(())
}

/// What shows that this is not the database that was open last.
fn why_copied(opened: u64, known: u64, inode: u64, beside: Option<u64>) -> Option<String> {
    if opened == 0 {
        return None;
    }
    if known != inode {
        return Some("the database is another file".to_owned());
    }
    match beside {
        None => Some("the file \"opened\" is missing".to_owned()),
        Some(count) if count != opened => Some(format!(
            "it was opened {count} times, the database knows of {opened}"
        )),
        Some(_) => None,
    }
}

fn read_count(path: &Path) -> Option<u64> {
    let mut text = String::new();
    let file = File::open(path).ok()?;
    file.take(OPENED_LEN_MAX).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Replaces the file as a whole.
fn write_count(home: &Home, count: u64) -> std::io::Result<()> {
    let path = home.opened();
    let new = path.with_extension("new");
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = unix::create_private_file(&new)?;
    writeln!(file, "{count}")?;
    std::fs::rename(&new, &path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_open_last_goes_on_counting() {
        assert_eq!(why_copied(0, 0, 5, None), None, "never opened before");
        assert_eq!(why_copied(3, 5, 5, Some(3)), None);
        for (known, beside) in [(4, Some(3)), (5, None), (5, Some(2)), (5, Some(4))] {
            assert!(
                why_copied(3, known, 5, beside).is_some(),
                "{known} {beside:?}"
            );
        }
    }
}
