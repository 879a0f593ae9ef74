//! Several devices of one user: who has a message of ours, who is still to get it, and what other
//! devices of ours said.

use super::load::{label, rows, unsigned};
use super::ops::{OpError, add_step, drop_parcels, fixed, message_id, to_db};
use crate::error::StoreError;
use crate::limits::HISTORY_MAX;
use crate::report::HistoryItem;
use beeline_proto::id::{DeviceFp, Label, MessageId};
use client_core::event::DeliveryState;
use client_core::state::{CopyRow, StoreResult};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

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
        Some(true) => return Ok(StoreResult::Duplicate),
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

const COPIES: &str = "SELECT id, to_user_id, text, received_ms, sent_at_ms, device_fp FROM copies";

/// The last messages to a user that other devices of ours sent, the newest first.
pub(super) fn copies(
    conn: &Connection,
    user: &Label,
    limit: usize,
) -> Result<Vec<HistoryItem>, StoreError> {
    let sql =
        format!("{COPIES} WHERE to_user_id = ?1 ORDER BY received_ms DESC, rowid DESC LIMIT ?2");
    let of = params![user.as_str(), limit.min(HISTORY_MAX) as i64];
    rows(conn, &sql, of, item)
}

/// A message that another device of ours sent.
pub(super) fn copy(conn: &Connection, id: MessageId) -> Result<Option<HistoryItem>, StoreError> {
    let sql = format!("{COPIES} WHERE id = ?1 ORDER BY received_ms LIMIT 1");
    Ok(rows(conn, &sql, [id.0], item)?.pop())
}

fn item(row: &Row<'_>) -> rusqlite::Result<HistoryItem> {
    Ok(HistoryItem {
        id: message_id(row, 0)?,
        ours: true,
        with: label(row, 1)?,
        text: row.get(2)?,
        at_ms: unsigned(row, 3)?,
        sent_at_ms: unsigned(row, 4)?,
        // Where it stands is known where it was sent.
        state: DeliveryState::Queued,
        path: None,
        reason: None,
        sent_by: Some(DeviceFp(fixed(row, 5)?)),
    })
}
