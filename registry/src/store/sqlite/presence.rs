//! SQL about who was seen where, in `leases.db`.

use super::convert::{failed, int, uint};
use crate::store::{LeaseRow, Result, SeenRow};
use rusqlite::{Connection, OptionalExtension as _, Row, TransactionBehavior, params};
use std::sync::Arc;

const LEASE: &str = "network_no, device_fp, device, handle, version, record, named, confirmed,
    expires_ms, seen_ms";

fn lease_row(row: &Row<'_>) -> rusqlite::Result<LeaseRow> {
    let record: Vec<u8> = row.get(5)?;
    Ok(LeaseRow {
        network_no: row.get(0)?,
        device_fp: row.get(1)?,
        device: row.get(2)?,
        handle: row.get(3)?,
        version: uint(row.get(4)?),
        record: Arc::from(record),
        named: row.get(6)?,
        confirmed: row.get(7)?,
        expires_ms: uint(row.get(8)?),
        seen_ms: uint(row.get(9)?),
    })
}

/// One transaction for the whole batch.
pub(super) fn put_leases(c: &mut Connection, rows: &[LeaseRow]) -> Result<()> {
    let tx = c
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failed)?;
    {
        let sql =
            "INSERT INTO leases (network_no, device_fp, device, handle, version, record, named,
                expires_ms, seen_ms)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
            ON CONFLICT (network_no, device_fp) DO UPDATE SET
                device = excluded.device, handle = excluded.handle, version = excluded.version,
                record = excluded.record, named = excluded.named,
                expires_ms = max(expires_ms, excluded.expires_ms),
                seen_ms = max(seen_ms, excluded.seen_ms)
            WHERE excluded.version >= version";
        let mut statement = tx.prepare_cached(sql).map_err(failed)?;
        for row in rows {
            let values = params![
                row.network_no,
                row.device_fp.as_slice(),
                row.device,
                row.handle,
                int(row.version),
                &*row.record,
                row.named,
                int(row.expires_ms),
                int(row.seen_ms),
            ];
            statement.execute(values).map_err(failed)?;
        }
    }
    tx.commit().map_err(failed)
}

/// One transaction for the whole batch.
pub(super) fn put_seen(c: &mut Connection, rows: &[SeenRow]) -> Result<()> {
    let tx = c
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failed)?;
    {
        let sql = "UPDATE leases SET seen_ms = max(seen_ms, ?1), confirmed = ?2
            WHERE network_no = ?3 AND device_fp = ?4";
        let mut statement = tx.prepare_cached(sql).map_err(failed)?;
        for row in rows {
            let fp = row.device_fp.as_slice();
            let values = params![int(row.seen_ms), row.confirmed, row.network_no, fp];
            statement.execute(values).map_err(failed)?;
        }
    }
    tx.commit().map_err(failed)
}

pub(super) fn leases(c: &Connection, network: i64, devices: &[[u8; 32]]) -> Result<Vec<LeaseRow>> {
    let sql = format!("SELECT {LEASE} FROM leases WHERE network_no = ?1 AND device_fp = ?2");
    let mut statement = c.prepare_cached(&sql).map_err(failed)?;
    let mut found = Vec::with_capacity(devices.len());
    for device in devices {
        let row = statement.query_row(params![network, device.as_slice()], lease_row);
        found.extend(row.optional().map_err(failed)?);
    }
    Ok(found)
}

pub(super) fn live_leases(
    c: &Connection,
    after_ms: u64,
    from: (i64, [u8; 32]),
    limit: usize,
) -> Result<Vec<LeaseRow>> {
    let sql = format!(
        "SELECT {LEASE} FROM leases WHERE (network_no, device_fp) > (?1, ?2) AND expires_ms > ?3
         ORDER BY network_no, device_fp LIMIT ?4"
    );
    let mut statement = c.prepare_cached(&sql).map_err(failed)?;
    let values = params![from.0, from.1.as_slice(), int(after_ms), int(limit as u64)];
    let rows = statement.query_map(values, lease_row).map_err(failed)?;
    rows.collect::<rusqlite::Result<_>>().map_err(failed)
}
