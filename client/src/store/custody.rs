//! What custodians promised to keep of our messages.

use super::load::{rows, unsigned};
use super::ops::{OpError, fixed, message_id, to_db};
use crate::error::StoreError;
use crate::report::StoryKeeper;
use beeline_proto::chain::VerifiedChain;
use beeline_proto::id::{DeviceFp, Label, MessageId, NetworkFp, ParcelId, UserFp};
use client_core::state::{CustodyRow, StoreOp};
use rusqlite::{Connection, Row, params};
use std::collections::BTreeMap;

/// Carries out an operation on promises; others are none of its business.
pub(super) fn apply(conn: &Connection, op: &StoreOp) -> Result<(), OpError> {
    match op {
        StoreOp::PutCustody(row) => put(conn, row),
        StoreOp::RemoveCustody {
            id,
            device,
            custodian,
        } => remove(conn, *id, *device, *custodian),
        _ => Ok(()),
    }
}

/// Inserts or replaces a promise, if its message is there.
fn put(conn: &Connection, row: &CustodyRow) -> Result<(), OpError> {
    conn.prepare_cached(
        "INSERT OR REPLACE INTO custody (message, device_fp, custodian_fp, user_fp, parcel,
             since_ms, heard_ms, until_ms)
         SELECT id, ?2, ?3, ?4, ?5, ?6, ?7, ?8 FROM outbox WHERE id = ?1",
    )?
    .execute(params![
        row.message.0,
        row.device.0,
        row.custodian.0,
        row.user.0,
        row.parcel.0,
        to_db(row.since_ms),
        to_db(row.heard_ms),
        to_db(row.until_ms),
    ])?;
    Ok(())
}

/// Removes the promise of one custodian for one recipient device, or those of all.
fn remove(
    conn: &Connection,
    id: MessageId,
    device: DeviceFp,
    custodian: Option<DeviceFp>,
) -> Result<(), OpError> {
    conn.prepare_cached(
        "DELETE FROM custody
         WHERE message = ?1 AND device_fp = ?2 AND custodian_fp = coalesce(?3, custodian_fp)",
    )?
    .execute(params![id.0, device.0, custodian.map(|device| device.0)])?;
    Ok(())
}

const COLUMNS: &str = "c.message, c.device_fp, custodian_fp, user_fp, c.parcel, since_ms, heard_ms,
                       until_ms";

/// The promises for parcels that are still to reach their devices.
pub(super) fn load(conn: &Connection) -> Result<Vec<CustodyRow>, StoreError> {
    // The cross join keeps the order: open parcels are few, promises of the past are not.
    let sql = format!(
        "SELECT {COLUMNS} FROM outbox_parcels AS p
         CROSS JOIN custody AS c ON c.message = p.message AND c.device_fp = p.device_fp"
    );
    rows(conn, &sql, [], read)
}

/// Who keeps a message of ours, the oldest first, with the names we know.
pub(super) fn keepers(
    conn: &Connection,
    network: NetworkFp,
    id: MessageId,
) -> Result<Vec<StoryKeeper>, StoreError> {
    let promised = of_message(conn, id)?;
    if promised.is_empty() {
        return Ok(Vec::new());
    }
    let sql = "SELECT chain FROM contacts
               WHERE user_fp IN (SELECT user_fp FROM custody WHERE message = ?1)
                   OR user_id = (SELECT to_user_id FROM outbox WHERE id = ?1)";
    let mut names: BTreeMap<DeviceFp, (Label, Label)> = BTreeMap::new();
    for chain in rows(conn, sql, [id.0], |row| row.get::<_, Vec<u8>>(0))? {
        let Ok(chain) = VerifiedChain::open(&chain, network) else {
            continue;
        };
        for device in &chain.devices.devices {
            let user = chain.membership.handle.clone();
            names.insert(device.fp(), (user, device.label.clone()));
        }
    }
    let device_label = |fp| names.get(&fp).map(|(_, device)| device.clone());
    let keeper = |row: CustodyRow| StoryKeeper {
        user: row.user,
        user_label: names.get(&row.custodian).map(|(user, _)| user.clone()),
        device: row.custodian,
        device_label: device_label(row.custodian),
        recipient: row.device,
        recipient_label: device_label(row.device),
        since_ms: row.since_ms,
        heard_ms: row.heard_ms,
        until_ms: row.until_ms,
    };
    Ok(promised.into_iter().map(keeper).collect())
}

/// The promises for one message, the oldest first.
fn of_message(conn: &Connection, id: MessageId) -> Result<Vec<CustodyRow>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM custody AS c WHERE message = ?1 ORDER BY since_ms");
    rows(conn, &sql, [id.0], read)
}

fn read(row: &Row<'_>) -> rusqlite::Result<CustodyRow> {
    Ok(CustodyRow {
        message: message_id(row, 0)?,
        device: DeviceFp(fixed(row, 1)?),
        custodian: DeviceFp(fixed(row, 2)?),
        user: UserFp(fixed(row, 3)?),
        parcel: ParcelId(fixed(row, 4)?),
        since_ms: unsigned(row, 5)?,
        heard_ms: unsigned(row, 6)?,
        until_ms: unsigned(row, 7)?,
    })
}
