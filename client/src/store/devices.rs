//! Several devices of one user: who has a message of ours, who is still to get it, and what other
//! devices of ours said.

use super::ops::{OpError, add_step, drop_parcels, to_db};
use beeline_proto::id::{DeviceFp, Label, MessageId};
use client_core::state::{CopyRow, StoreResult};
use rusqlite::{Connection, OptionalExtension as _, params};

/// A device has a message that others are still to get; one that is not there is left so.
pub(super) fn set_acked(conn: &Connection, id: MessageId, device: DeviceFp) -> Result<(), OpError> {
    let sql = "DELETE FROM outbox_parcels WHERE message = ?1 AND device_fp = ?2";
    conn.prepare_cached(sql)?.execute([&id.0[..], &device.0])?;
    let sql = "INSERT OR IGNORE INTO outbox_acks (message, device_fp)
               SELECT id, ?2 FROM outbox WHERE id = ?1";
    conn.prepare_cached(sql)?.execute([&id.0[..], &device.0])?;
    Ok(())
}

/// Nobody is left to get a message.
pub(super) fn end_serving(conn: &Connection, id: MessageId) -> Result<(), OpError> {
    drop_parcels(conn, id)?;
    let sql = "DELETE FROM outbox_acks WHERE message = ?1";
    conn.prepare_cached(sql)?.execute([id.0])?;
    Ok(())
}

/// Whether a device has a message that others are still to get.
pub(super) fn is_served(conn: &Connection, id: MessageId) -> Result<bool, OpError> {
    let sql = "SELECT 1 FROM outbox_acks WHERE message = ?1 LIMIT 1";
    Ok(conn.prepare_cached(sql)?.exists([id.0])?)
}

/// A device is its user's no more: nothing sealed to it is kept.
pub(super) fn drop_parcels_for(conn: &Connection, device: DeviceFp) -> Result<(), OpError> {
    let sql = "DELETE FROM outbox_parcels WHERE device_fp = ?1";
    conn.prepare_cached(sql)?.execute([device.0])?;
    Ok(())
}

/// Keeps what another device of ours said, once.
pub(super) fn keep_copy(conn: &Connection, row: &CopyRow) -> Result<StoreResult, OpError> {
    let sql = "SELECT hash = ?3 FROM copies WHERE device_fp = ?1 AND id = ?2";
    let known: Option<bool> = conn
        .prepare_cached(sql)?
        .query_row(params![row.device.0, row.id.0, row.hash.0], |r| r.get(0))
        .optional()?;
    match known {
        Some(true) => return Ok(StoreResult::Duplicate { seq_reused: false }),
        Some(false) => return Ok(StoreResult::Conflict),
        None => {}
    }
    conn.prepare_cached(
        "INSERT INTO copies (device_fp, id, to_user_id, user_fp, hash, envelope, incarnation, seq,
             text, sent_at_ms, received_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?
    .execute(params![
        row.device.0,
        row.id.0,
        row.to.as_str(),
        row.user.0,
        row.hash.0,
        row.envelope,
        to_db(row.incarnation),
        to_db(row.seq),
        row.text,
        to_db(row.sent_at_ms),
        to_db(row.received_ms),
    ])?;
    add_step(conn, &row.device.0, row.id, row.received_ms, "copied")?;
    Ok(StoreResult::Inserted { seq_reused: false })
}

/// Deletes the texts of copies of what was said to a user, a chunk at a time, as [`super::forget`]
/// does; returns how many.
pub(super) fn forget_copies(conn: &Connection, user: &Label, chunk: i64) -> Result<usize, OpError> {
    let sql = "SELECT device_fp, id FROM copies WHERE to_user_id = ?1 AND deleted = 0 LIMIT ?2";
    let found: Vec<(Vec<u8>, Vec<u8>)> = conn
        .prepare_cached(sql)?
        .query_map(params![user.as_str(), chunk], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    for key in &found {
        let sql = "UPDATE copies SET text = '', envelope = x'', deleted = 1
                   WHERE device_fp = ?1 AND id = ?2";
        conn.prepare_cached(sql)?.execute(params![key.0, key.1])?;
        let sql = "DELETE FROM steps WHERE device_fp = ?1 AND id = ?2";
        conn.prepare_cached(sql)?.execute(params![key.0, key.1])?;
    }
    Ok(found.len())
}
