//! What is kept for others: the operations, inside a transaction somebody else began, and what is
//! loaded of it, which are sums only.

use super::load::unsigned;
use super::ops::{OpError, fixed, to_db};
use crate::error::StoreError;
use beeline_proto::id::{DeviceFp, ParcelId, UserFp};
use client_core::state::{KeptLoad, KeptParcel, KeptRow, KeptSum, StoreOp, StoreResult};
use rusqlite::{Connection, OptionalExtension as _, params};
use std::collections::BTreeMap;

/// Applies an operation on what is kept; others do nothing.
pub(super) fn apply(conn: &Connection, op: &StoreOp) -> Result<StoreResult, OpError> {
    match op {
        StoreOp::Keep(row) => keep(conn, row),
        StoreOp::FindKept { recipient, id } => find(conn, *recipient, *id),
        StoreOp::ReadKept {
            recipient,
            after,
            limit,
            bytes_max,
        } => read(conn, *recipient, *after, (*limit, *bytes_max)),
        StoreOp::DropKept { recipient, ids } => delete(conn, *recipient, ids),
        StoreOp::ExpireKept { steady_ms, limit } => expire(conn, *steady_ms, *limit),
        _ => Ok(StoreResult::Done),
    }
}

/// Keeps a parcel, once.
fn keep(conn: &Connection, row: &KeptRow) -> Result<StoreResult, OpError> {
    let sql = "INSERT INTO kept (n, recipient, user_fp, id, expires_ms, bytes, parcel)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (recipient, id) DO NOTHING";
    let new = conn.prepare_cached(sql)?.execute(params![
        to_db(row.order),
        row.recipient.0,
        row.user.0,
        row.id.0,
        to_db(row.expires_ms),
        to_db(row.parcel.len() as u64),
        row.parcel,
    ])?;
    match new {
        0 => find(conn, row.recipient, row.id),
        _ => Ok(StoreResult::Inserted { seq_reused: false }),
    }
}

/// Whether a parcel is kept.
fn find(conn: &Connection, recipient: DeviceFp, id: ParcelId) -> Result<StoreResult, OpError> {
    let sql = "SELECT expires_ms FROM kept WHERE recipient = ?1 AND id = ?2";
    let found = conn
        .prepare_cached(sql)?
        .query_row(params![recipient.0, id.0], |row| unsigned(row, 0))
        .optional()?;
    Ok(
        found.map_or(StoreResult::Missing, |expires_ms| StoreResult::Kept {
            expires_ms,
        }),
    )
}

/// Reads the next parcels for a device: one range scan.
fn read(
    conn: &Connection,
    recipient: DeviceFp,
    after: u64,
    (limit, bytes_max): (u32, u64),
) -> Result<StoreResult, OpError> {
    // Orders start at 1 and never reach the sign bit.
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let sql = "SELECT n, bytes, parcel FROM kept INDEXED BY kept_page
               WHERE recipient = ?1 AND n > ?2 ORDER BY n LIMIT ?3";
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(params![recipient.0, after, i64::from(limit) + 1])?;
    let (mut parcels, mut bytes) = (Vec::new(), 0_u64);
    while let Some(row) = rows.next()? {
        bytes = bytes.saturating_add(unsigned(row, 1)?);
        let full = parcels.len() >= limit as usize;
        if full || (bytes > bytes_max && !parcels.is_empty()) {
            return Ok(StoreResult::Page {
                parcels,
                more: true,
            });
        }
        parcels.push(KeptParcel {
            order: unsigned(row, 0)?,
            parcel: row.get(2)?,
        });
    }
    Ok(StoreResult::Page {
        parcels,
        more: false,
    })
}

/// Deletes parcels of one device; others it can name none.
fn delete(
    conn: &Connection,
    recipient: DeviceFp,
    ids: &[ParcelId],
) -> Result<StoreResult, OpError> {
    let sql = "DELETE FROM kept WHERE recipient = ?1 AND id = ?2 RETURNING user_fp, bytes";
    let mut statement = conn.prepare_cached(sql)?;
    let mut gone = Sums::default();
    for id in ids {
        let found = statement
            .query_row(params![recipient.0, id.0], |row| {
                Ok((UserFp(fixed(row, 0)?), unsigned(row, 1)?))
            })
            .optional()?;
        if let Some((user, bytes)) = found {
            gone.add(recipient, user, bytes);
        }
    }
    Ok(gone.into_result())
}

/// Deletes what has ended, `limit` parcels at most.
fn expire(conn: &Connection, steady_ms: u64, limit: u32) -> Result<StoreResult, OpError> {
    let sql = "DELETE FROM kept WHERE n IN (
                   SELECT n FROM kept WHERE expires_ms <= ?1 ORDER BY expires_ms LIMIT ?2)
               RETURNING recipient, user_fp, bytes";
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(params![to_db(steady_ms), limit])?;
    let mut gone = Sums::default();
    while let Some(row) = rows.next()? {
        gone.add(
            DeviceFp(fixed(row, 0)?),
            UserFp(fixed(row, 1)?),
            unsigned(row, 2)?,
        );
    }
    Ok(gone.into_result())
}

/// What was deleted, by (recipient, user).
#[derive(Default)]
struct Sums(BTreeMap<(DeviceFp, UserFp), (u64, u64)>);

impl Sums {
    fn add(&mut self, recipient: DeviceFp, user: UserFp, bytes: u64) {
        let sum = self.0.entry((recipient, user)).or_default();
        *sum = (sum.0 + 1, sum.1.saturating_add(bytes));
    }

    fn into_sums(self) -> Vec<KeptSum> {
        let sum = |((recipient, user), (parcels, bytes))| KeptSum {
            recipient,
            user,
            parcels,
            bytes,
        };
        self.0.into_iter().map(sum).collect()
    }

    fn into_result(self) -> StoreResult {
        StoreResult::Gone(self.into_sums())
    }
}

/// What the core starts with: sums, however many parcels there are. They are added up here: SQLite
/// would sort all rows in memory to group them.
pub(super) fn load(conn: &Connection) -> Result<KeptLoad, StoreError> {
    let sql = "SELECT recipient, user_fp, bytes FROM kept INDEXED BY kept_page";
    let mut statement = conn.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut sums = Sums::default();
    while let Some(row) = rows.next()? {
        let (recipient, user) = (DeviceFp(fixed(row, 0)?), UserFp(fixed(row, 1)?));
        sums.add(recipient, user, unsigned(row, 2)?);
    }
    let order = conn.query_row("SELECT coalesce(max(n), 0) FROM kept", [], |row| {
        unsigned(row, 0)
    })?;
    let sums = sums.into_sums();
    Ok(KeptLoad { sums, order })
}

#[cfg(test)]
#[path = "kept_tests.rs"]
mod tests;
