//! SQL about who was seen where.

use super::convert::{bytes32, int, uint};
use crate::store::{LeaseRow, SeenRow};
use sqlx::postgres::{PgPool, PgRow};
use sqlx::{Error, Row as _};
use std::sync::Arc;

macro_rules! select_leases {
    ($rest:literal) => {
        concat!(
            "SELECT network_no, device_fp, device, handle, version, record, named, confirmed,
                expires_ms, seen_ms FROM leases ",
            $rest
        )
    };
}

fn lease_row(row: &PgRow) -> Result<LeaseRow, Error> {
    let record: &[u8] = row.try_get("record")?;
    Ok(LeaseRow {
        network_no: row.try_get("network_no")?,
        device_fp: bytes32(row, "device_fp")?,
        device: row.try_get("device")?,
        handle: row.try_get("handle")?,
        version: uint(row.try_get("version")?),
        record: Arc::from(record),
        named: row.try_get("named")?,
        confirmed: row.try_get("confirmed")?,
        expires_ms: uint(row.try_get("expires_ms")?),
        seen_ms: uint(row.try_get("seen_ms")?),
    })
}

/// One statement for the whole batch; each device at most once.
pub(super) async fn put_leases(pool: &PgPool, rows: &[LeaseRow]) -> Result<(), Error> {
    let sql = "INSERT INTO leases (network_no, device_fp, device, handle, version, record, named,
            expires_ms, seen_ms)
        SELECT * FROM UNNEST($1::BIGINT[], $2::BYTEA[], $3::TEXT[], $4::TEXT[], $5::BIGINT[],
            $6::BYTEA[], $7::TEXT[], $8::BIGINT[], $9::BIGINT[])
        ON CONFLICT (network_no, device_fp) DO UPDATE SET
            device = excluded.device, handle = excluded.handle, version = excluded.version,
            record = excluded.record, named = excluded.named,
            expires_ms = greatest(leases.expires_ms, excluded.expires_ms),
            seen_ms = greatest(leases.seen_ms, excluded.seen_ms)
        WHERE excluded.version >= leases.version";
    sqlx::query(sql)
        .bind(rows.iter().map(|r| r.network_no).collect::<Vec<_>>())
        .bind(
            rows.iter()
                .map(|r| r.device_fp.as_slice())
                .collect::<Vec<_>>(),
        )
        .bind(rows.iter().map(|r| r.device.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.handle.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| int(r.version)).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| &*r.record).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.named.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| int(r.expires_ms)).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| int(r.seen_ms)).collect::<Vec<_>>())
        .execute(pool)
        .await?;
    Ok(())
}

/// One statement for the whole batch.
pub(super) async fn put_seen(pool: &PgPool, rows: &[SeenRow]) -> Result<(), Error> {
    let sql = "UPDATE leases SET seen_ms = greatest(leases.seen_ms, new.seen_ms),
            confirmed = new.confirmed
        FROM UNNEST($1::BIGINT[], $2::BYTEA[], $3::BIGINT[], $4::TEXT[])
            AS new (network_no, device_fp, seen_ms, confirmed)
        WHERE leases.network_no = new.network_no AND leases.device_fp = new.device_fp";
    sqlx::query(sql)
        .bind(rows.iter().map(|r| r.network_no).collect::<Vec<_>>())
        .bind(
            rows.iter()
                .map(|r| r.device_fp.as_slice())
                .collect::<Vec<_>>(),
        )
        .bind(rows.iter().map(|r| int(r.seen_ms)).collect::<Vec<_>>())
        .bind(
            rows.iter()
                .map(|r| r.confirmed.as_str())
                .collect::<Vec<_>>(),
        )
        .execute(pool)
        .await?;
    Ok(())
}

pub(super) async fn leases(
    pool: &PgPool,
    network: i64,
    devices: &[[u8; 32]],
) -> Result<Vec<LeaseRow>, Error> {
    let rows = sqlx::query(select_leases!(
        "WHERE network_no = $1 AND device_fp = ANY($2)"
    ))
    .bind(network)
    .bind(devices.iter().map(|d| d.as_slice()).collect::<Vec<_>>())
    .fetch_all(pool)
    .await?;
    rows.iter().map(lease_row).collect()
}

pub(super) async fn live_leases(
    pool: &PgPool,
    after_ms: u64,
    from: (i64, [u8; 32]),
    limit: usize,
) -> Result<Vec<LeaseRow>, Error> {
    let sql = select_leases!(
        "WHERE (network_no, device_fp) > ($1, $2) AND expires_ms > $3
         ORDER BY network_no, device_fp LIMIT $4"
    );
    let rows = sqlx::query(sql)
        .bind(from.0)
        .bind(from.1.as_slice())
        .bind(int(after_ms))
        .bind(int(limit as u64))
        .fetch_all(pool)
        .await?;
    rows.iter().map(lease_row).collect()
}
