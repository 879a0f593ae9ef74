//! Files on their way: what each is and how far. Their bytes are not here.

use super::forget::erasing;
use super::load::{label, rows, unsigned};
use super::ops::{OpError, fixed, message_id, to_db};
use crate::error::StoreError;
use beeline_proto::id::{DeviceFp, EnvelopeHash, Label, MessageId, UserFp};
use beeline_proto::pb::peer::v1::FileReason;
use client_core::files::rows::{
    FileEnded, FileInRow, FileInState, FileInfo, FileKey, FileLoad, FileOp, FileOutRow,
    FileOutState, SmallFile,
};
use client_core::limits::FILES_ENDED_MAX;
use rusqlite::{Connection, Params, Row, params};

/// Applies one operation.
pub(super) fn apply(conn: &Connection, op: &FileOp) -> Result<(), OpError> {
    match op {
        FileOp::AddOut(row) => add_out(conn, row)?,
        FileOp::SetOut { id, state, reason } => {
            let sql = "UPDATE files_out SET state = ?2, reason = ?3,
                           content = iif(?2 IN ('offered', 'wanted'), content, NULL)
                       WHERE id = ?1";
            let set = params![id.0, state.name(), *reason as i32];
            set_state(conn, sql, set, *state >= FileOutState::Done)?;
        }
        FileOp::HoldOut { id, on } => {
            let sql = "UPDATE files_out SET held = ?2 WHERE id = ?1";
            conn.prepare_cached(sql)?.execute(params![id.0, on])?;
        }
        FileOp::AddIn(row) => add_in(conn, row)?,
        FileOp::HoldIn { key, on } => {
            let sql = "UPDATE files_in SET held = ?3 WHERE device_fp = ?1 AND id = ?2";
            conn.prepare_cached(sql)?
                .execute(params![key.0.0, key.1.0, on])?;
        }
        FileOp::SetIn {
            key,
            state,
            reason,
            path,
        } => {
            let sql = "UPDATE files_in SET state = ?3, reason = ?4, path = ?5,
                           content = iif(?3 IN ('offered', 'accepted'), content, NULL)
                       WHERE device_fp = ?1 AND id = ?2";
            let set = params![key.0.0, key.1.0, state.name(), *reason as i32, path];
            set_state(conn, sql, set, state.is_over())?;
        }
        FileOp::ToldIn(key) => {
            let sql = "UPDATE files_in SET told = 1 WHERE device_fp = ?1 AND id = ?2";
            conn.prepare_cached(sql)?
                .execute(params![key.0.0, key.1.0])?;
        }
    }
    Ok(())
}

/// Sets how far a file is. What a small one held goes with its end, and its place is overwritten.
fn set_state(conn: &Connection, sql: &str, set: impl Params, over: bool) -> Result<(), OpError> {
    let set = || Ok::<usize, OpError>(conn.prepare_cached(sql)?.execute(set)?);
    match over {
        true => erasing(conn, set)?,
        false => set()?,
    };
    Ok(())
}

fn add_out(conn: &Connection, row: &FileOutRow) -> Result<(), OpError> {
    // A repeated call was answered with an earlier message: its file is here.
    let sql = "INSERT INTO files_out (id, to_user_id, source, name, size, root, file_key,
                   chunk_size, list_len, files, state, reason, held, born_ms, content)
               SELECT id, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15
               FROM outbox WHERE id = ?1";
    let info = &row.info;
    conn.prepare_cached(sql)?.execute(params![
        row.id.0,
        row.to.as_str(),
        row.source,
        info.name,
        to_db(info.size),
        info.root,
        info.key.0.as_slice(),
        info.chunk_size,
        info.list_len,
        info.files,
        row.state.name(),
        row.reason as i32,
        row.held,
        to_db(row.born_ms),
        content(info),
    ])?;
    Ok(())
}

fn content(info: &FileInfo) -> Option<&[u8]> {
    info.content.as_ref().map(|content| content.0.as_slice())
}

fn add_in(conn: &Connection, row: &FileInRow) -> Result<(), OpError> {
    let sql = "INSERT OR IGNORE INTO files_in (device_fp, id, user_fp, from_user_id, hash, name,
                   size, root, file_key, chunk_size, list_len, files, state, reason, path, held,
                   told, born_ms, content)
               SELECT device_fp, id, ?3, ?4, hash, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15,
                   ?16, ?17, ?18, ?19 FROM inbox
               WHERE device_fp = ?1 AND id = ?2 AND hash = ?5";
    let info = &row.info;
    conn.prepare_cached(sql)?.execute(params![
        row.device.0,
        row.id.0,
        row.user.0,
        row.from.as_str(),
        row.hash.0,
        info.name,
        to_db(info.size),
        info.root,
        info.key.0.as_slice(),
        info.chunk_size,
        info.list_len,
        info.files,
        row.state.name(),
        row.reason as i32,
        row.path,
        row.held,
        row.told,
        to_db(row.born_ms),
        content(info),
    ])?;
    Ok(())
}

/// Reads what is on its way.
pub(super) fn load(conn: &Connection) -> Result<FileLoad, StoreError> {
    let out = "SELECT name, size, root, file_key, chunk_size, list_len, files, content, id,
                   to_user_id, source, state, reason, held, born_ms
               FROM files_out
               WHERE state IN ('offered', 'wanted')
                   OR (state = 'done' AND id IN (SELECT message FROM outbox_acks))";
    let incoming = "SELECT name, size, root, file_key, chunk_size, list_len, files, content,
                        device_fp, id, user_fp, from_user_id, hash, state, reason, path, held,
                        born_ms
                    FROM files_in WHERE told = 0";
    let ended = "SELECT id, to_user_id, reason FROM files_out WHERE state = 'ended'
                 ORDER BY rowid DESC LIMIT ?1";
    let mut ended = rows(conn, ended, [FILES_ENDED_MAX as i64], |row| {
        Ok(FileEnded {
            id: message_id(row, 0)?,
            to: label(row, 1)?,
            reason: reason(row, 2)?,
        })
    })?;
    ended.reverse();
    Ok(FileLoad {
        out: rows(conn, out, [], out_row)?,
        ended,
        incoming: rows(conn, incoming, [], in_row)?,
    })
}

/// How far a file of ours is, and its size.
pub(super) fn sent(
    conn: &Connection,
    id: MessageId,
) -> Result<Option<(FileOutState, u64)>, StoreError> {
    let sql = "SELECT state, size FROM files_out WHERE id = ?1";
    let mut found = rows(conn, sql, [id.0], |row| {
        let state = FileOutState::from_name(row.get_ref(0)?.as_str()?);
        Ok((state.unwrap_or(FileOutState::Ended), unsigned(row, 1)?))
    })?;
    Ok(found.pop())
}

/// The first eight columns.
fn info(row: &Row<'_>) -> rusqlite::Result<FileInfo> {
    Ok(FileInfo {
        name: row.get(0)?,
        size: unsigned(row, 1)?,
        root: fixed(row, 2)?,
        key: FileKey::new(fixed(row, 3)?),
        chunk_size: row.get(4)?,
        list_len: row.get(5)?,
        files: row.get(6)?,
        content: row.get::<_, Option<Vec<u8>>>(7)?.map(SmallFile::new),
    })
}

fn reason(row: &Row<'_>, column: usize) -> rusqlite::Result<FileReason> {
    let number: i32 = row.get(column)?;
    Ok(FileReason::try_from(number).unwrap_or(FileReason::Unspecified))
}

fn out_row(row: &Row<'_>) -> rusqlite::Result<FileOutRow> {
    let state = row.get_ref(11)?.as_str()?;
    Ok(FileOutRow {
        id: message_id(row, 8)?,
        to: label(row, 9)?,
        info: info(row)?,
        source: row.get(10)?,
        state: FileOutState::from_name(state).unwrap_or(FileOutState::Ended),
        reason: reason(row, 12)?,
        held: row.get(13)?,
        born_ms: unsigned(row, 14)?,
    })
}

fn in_row(row: &Row<'_>) -> rusqlite::Result<FileInRow> {
    let state = row.get_ref(13)?.as_str()?;
    Ok(FileInRow {
        device: DeviceFp(fixed(row, 8)?),
        id: message_id(row, 9)?,
        user: UserFp(fixed(row, 10)?),
        from: label(row, 11)?,
        hash: EnvelopeHash(fixed(row, 12)?),
        info: info(row)?,
        state: FileInState::from_name(state).unwrap_or(FileInState::Ended),
        reason: reason(row, 14)?,
        path: row.get(15)?,
        held: row.get(16)?,
        told: false,
        born_ms: unsigned(row, 17)?,
    })
}

/// Deletes what is over of the files with a user.
pub(super) fn forget(conn: &Connection, user: &Label) -> Result<(), OpError> {
    let sql = "DELETE FROM files_out WHERE to_user_id = ?1 AND state IN ('done', 'ended')";
    conn.prepare_cached(sql)?.execute([user.as_str()])?;
    let sql = "DELETE FROM files_in WHERE from_user_id = ?1 AND told = 1";
    conn.prepare_cached(sql)?.execute([user.as_str()])?;
    Ok(())
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
