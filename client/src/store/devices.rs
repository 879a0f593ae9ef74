//! Several devices of one user: who has a message of ours, and who is still to get it.

use super::ops::{OpError, drop_parcels};
use beeline_proto::id::{DeviceFp, MessageId};
use rusqlite::Connection;

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
