//! Deleting a conversation. Texts, envelopes and steps go, and their places are overwritten; the
//! rows stay as tombstones, so that what comes again is known and idempotency keys hold for ever.

use super::devices;
use super::ops::{OpError, message_id};
use beeline_proto::id::{Label, MessageId, sha256};
use rusqlite::{Connection, params};

/// Messages deleted in one transaction: a few hundred KiB of the log.
const CHUNK: i64 = 256;

/// Deletes up to a chunk of the messages with a user that are over: theirs that were shown, ours
/// that are not tried for any more. Returns how many; 0 when none is left.
pub(super) fn forget(conn: &Connection, user: &Label) -> Result<usize, OpError> {
    erasing(conn, || forget_chunk(conn, user))
}

/// Runs deletions that overwrite their places everywhere; the writer empties the WAL afterwards.
pub(super) fn erasing<T>(
    conn: &Connection,
    delete: impl FnOnce() -> Result<T, OpError>,
) -> Result<T, OpError> {
    conn.pragma_update_and_check(None, "secure_delete", true, |_| Ok(()))?;
    let done = delete();
    conn.pragma_update_and_check(None, "secure_delete", "fast", |_| Ok(()))?;
    done
}

fn forget_chunk(conn: &Connection, user: &Label) -> Result<usize, OpError> {
    let mut gone = devices::forget_copies(conn, user, CHUNK)?;
    for (device, id) in theirs(conn, user)? {
        let sql = "UPDATE inbox SET text = '', envelope = x'', deleted = 1
                   WHERE device_fp = ?1 AND id = ?2";
        conn.prepare_cached(sql)?.execute(params![device, id.0])?;
        let sql = "DELETE FROM steps WHERE id = ?2 AND device_fp = ?1";
        conn.prepare_cached(sql)?.execute(params![device, id.0])?;
        gone += 1;
    }
    for (id, envelope) in ours(conn, user)? {
        let hash = envelope.map(|bytes| sha256(&bytes).to_vec());
        let sql = "UPDATE outbox SET text = '', envelope = NULL, reason = NULL, hash = ?2,
                       deleted = 1
                   WHERE id = ?1";
        conn.prepare_cached(sql)?.execute(params![id.0, hash])?;
        conn.prepare_cached("DELETE FROM custody WHERE message = ?1")?
            .execute([id.0])?;
        let sql = "DELETE FROM steps WHERE id = ?1 AND device_fp = x''";
        conn.prepare_cached(sql)?.execute([id.0])?;
        gone += 1;
    }
    Ok(gone)
}

type Theirs = Vec<(Vec<u8>, MessageId)>;

fn theirs(conn: &Connection, user: &Label) -> Result<Theirs, OpError> {
    let sql = "SELECT device_fp, id FROM inbox
               WHERE from_user_id = ?1 AND show = 'shown' AND deleted = 0 LIMIT ?2";
    let of = params![user.as_str(), CHUNK];
    let mut statement = conn.prepare_cached(sql)?;
    let found = statement.query_map(of, |row| Ok((row.get(0)?, message_id(row, 1)?)))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

type Ours = Vec<(MessageId, Option<Vec<u8>>)>;

/// Ours that are over, and that no device is still to get.
fn ours(conn: &Connection, user: &Label) -> Result<Ours, OpError> {
    let sql = "SELECT id, envelope FROM outbox AS o
               WHERE to_user_id = ?1 AND deleted = 0
                   AND state IN ('delivered', 'read', 'expired', 'rejected')
                   AND NOT EXISTS (SELECT 1 FROM outbox_parcels WHERE message = o.id)
                   AND NOT EXISTS (SELECT 1 FROM outbox_acks WHERE message = o.id)
               LIMIT ?2";
    let of = params![user.as_str(), CHUNK];
    let mut statement = conn.prepare_cached(sql)?;
    let found = statement.query_map(of, |row| Ok((message_id(row, 0)?, row.get(1)?)))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}
