//! Questions about files on their way, where nobody runs the home.

use super::load::{rows, unsigned};
use crate::error::StoreError;
use crate::report::FilePast;
use beeline_proto::id::{DeviceFp, MessageId};
use beeline_proto::pb::peer::v1::FileReason;
use client_core::files::io::{FileStage, FileTold};
use client_core::files::now::{FileNow, FileWait};
use client_core::files::rows::{FileInRow, FileInState, FileOutRow, FileOutState};
use rusqlite::{Connection, params};

/// The files that are not over, the oldest first.
pub(super) fn waiting(conn: &Connection) -> Result<Vec<FileNow>, StoreError> {
    let load = super::files::load(conn)?;
    let ours = load.out.iter();
    let ours = ours.filter(|row| row.state < FileOutState::Done);
    let theirs = load.incoming.iter().filter(|row| !row.state.is_over());
    let mut all: Vec<FileNow> = ours.map(our_file).chain(theirs.map(their_file)).collect();
    all.sort_by_key(|file| file.born_ms);
    Ok(all)
}

fn our_file(row: &FileOutRow) -> FileNow {
    let stage = match row.state {
        _ if row.held => FileStage::Paused { by_us: true },
        FileOutState::Wanted => FileStage::Accepted,
        _ => FileStage::Offered,
    };
    let told = FileTold::of(&row.info, row.id, (&row.to, true), stage, None);
    at_rest(told, row.held, row.born_ms)
}

fn their_file(row: &FileInRow) -> FileNow {
    let stage = match row.state {
        _ if row.held => FileStage::Paused { by_us: true },
        FileInState::Offered => FileStage::Undecided { folder: true },
        _ => FileStage::Accepted,
    };
    let told = FileTold::of(&row.info, row.id, (&row.from, false), stage, None);
    at_rest(told, row.held, row.born_ms)
}

fn at_rest(told: FileTold, held: bool, born_ms: u64) -> FileNow {
    let waits = match told.stage {
        FileStage::Undecided { .. } => FileWait::Decision,
        _ => FileWait::Owner,
    };
    FileNow {
        told,
        done: None,
        waits: (!held).then_some(waits),
        born_ms,
    }
}

/// What became of the file that a message offers: one of ours, or of another device's.
pub(super) fn past(
    conn: &Connection,
    sender: Option<DeviceFp>,
    id: MessageId,
) -> Result<Option<FilePast>, StoreError> {
    let ours = "SELECT name, size, files, state, held, reason, '' FROM files_out WHERE id = ?2";
    let theirs = "SELECT name, size, files, state, held, reason, path FROM files_in
                  WHERE device_fp = ?1 AND id = ?2";
    let sql = if sender.is_none() { ours } else { theirs };
    let device = sender.map(|device| device.0);
    let mut found = rows(conn, sql, params![device, id.0], |row| {
        let state = row.get_ref(3)?.as_str()?;
        let ours = FileOutState::from_name(state).map(|state| match state {
            FileOutState::Offered => FileInState::Offered,
            FileOutState::Wanted => FileInState::Accepted,
            FileOutState::Done => FileInState::Done,
            FileOutState::Ended => FileInState::Ended,
        });
        let reason: i32 = row.get(5)?;
        Ok(FilePast {
            name: row.get(0)?,
            size: unsigned(row, 1)?,
            files: row.get(2)?,
            state: FileInState::from_name(state)
                .or(ours)
                .unwrap_or(FileInState::Ended),
            held: row.get(4)?,
            reason: FileReason::try_from(reason).unwrap_or(FileReason::Unspecified),
            path: row.get(6)?,
        })
    })?;
    Ok(found.pop())
}
