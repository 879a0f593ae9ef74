//! What the core starts with, read in one go.

use super::custody;
use super::names;
use super::ops::{fixed, message_id};
use crate::error::StoreError;
use crate::limits::LOAD_ROWS_MAX;
use beeline_proto::id::{DeviceFp, EnvelopeHash, KeyId, Label, MessageId, UserFp, sha256};
use beeline_proto::keys::SealSecret;
use client_core::event::{DeliveryState, Path, Rung};
use client_core::limits::SETTLED_MAX;
use client_core::state::{
    BundleRow, ClockRow, ContactRow, InboxRow, Loaded, OutboxRow, RouteRow, SettledRow, StreamRow,
};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Params, Row};
use std::collections::BTreeMap;

/// Our own chain and revocations as the store has them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Own {
    /// The serialized chain.
    pub(crate) chain: Vec<u8>,
    /// Envelope of the revocations; empty if there are none.
    pub(crate) revocations: Vec<u8>,
}

/// Reads everything the core wants. A database that was just made gets `first` and a random
/// incarnation.
pub(super) fn load(conn: &Connection, first: &Own) -> Result<(Loaded, Own), StoreError> {
    let (incarnation, own) = match own(conn)? {
        Some(found) => found,
        None => (make_own(conn, first)?, first.clone()),
    };
    let mut loaded = Loaded {
        incarnation,
        bundles: bundles(conn)?,
        contacts: contacts(conn)?,
        routes: routes(conn)?,
        outbox: outbox(conn)?,
        custody: custody::load(conn)?,
        seqs: seqs(conn, incarnation)?,
        streams: streams(conn)?,
        held: held(conn)?,
        settled: settled(conn)?,
        clock: clock(conn)?,
        copied: None,
        kept: super::kept::load(conn)?,
        files: super::files::load(conn)?,
    };
    // Sorted here: the columns are signed, the numbers are not.
    loaded.outbox.sort_by(|a, b| {
        fn key(row: &OutboxRow) -> (&Label, u64, u64) {
            (&row.to, row.queued_ms, row.seq)
        }
        key(a).cmp(&key(b))
    });
    loaded
        .held
        .sort_by_key(|row| (row.device, row.incarnation, row.seq));
    Ok((loaded, own))
}

fn own(conn: &Connection) -> Result<Option<(u64, Own)>, StoreError> {
    let sql = "SELECT incarnation, chain, revocations FROM own";
    let found = conn.query_row(sql, [], |row| {
        let (chain, revocations) = (row.get(1)?, row.get(2)?);
        Ok((unsigned(row, 0)?, Own { chain, revocations }))
    });
    Ok(found.optional()?)
}

fn make_own(conn: &Connection, first: &Own) -> Result<u64, StoreError> {
    let incarnation = new_incarnation()?;
    conn.execute(
        "INSERT INTO own (one, incarnation, chain, revocations) VALUES (1, ?1, ?2, ?3)",
        rusqlite::params![
            super::ops::to_db(incarnation),
            first.chain,
            first.revocations
        ],
    )?;
    Ok(incarnation)
}

/// A random incarnation; 0 stands for "none" on the wire.
pub(super) fn new_incarnation() -> Result<u64, StoreError> {
    let random = crate::identity::random::<8>().map_err(StoreError::Database)?;
    Ok(u64::from_le_bytes(random).max(1))
}

/// Runs a query of at most [`LOAD_ROWS_MAX`] rows.
pub(super) fn rows<T>(
    conn: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, StoreError> {
    let mut statement = conn.prepare_cached(sql)?;
    let found = statement.query_map(params, read)?.take(LOAD_ROWS_MAX);
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

fn bundles(conn: &Connection) -> Result<Vec<BundleRow>, StoreError> {
    let sql = "SELECT key_id, made_ms, born_ms, published_ms, secret, envelope FROM bundles
               ORDER BY made_ms DESC";
    rows(conn, sql, [], |row| {
        Ok(BundleRow {
            key_id: KeyId(fixed(row, 0)?),
            made_ms: unsigned(row, 1)?,
            born_ms: unsigned(row, 2)?,
            published_ms: unsigned(row, 3)?,
            secret: SealSecret::from_bytes(fixed(row, 4)?),
            envelope: row.get(5)?,
        })
    })
}

fn contacts(conn: &Connection) -> Result<Vec<ContactRow>, StoreError> {
    let sql = "SELECT user_fp, user_id, chain, verified, claimed_chain, knows_membership,
                   knows_devices, read_receipts
               FROM contacts ORDER BY user_id";
    rows(conn, sql, [], contact)
}

/// Reads a row of `contacts`, columns in the order of the table.
pub(super) fn contact(row: &Row<'_>) -> rusqlite::Result<ContactRow> {
    Ok(ContactRow {
        user: UserFp(fixed(row, 0)?),
        label: label(row, 1)?,
        chain: row.get(2)?,
        verified: row.get(3)?,
        claimed_chain: row.get(4)?,
        knows_us: (unsigned(row, 5)?, unsigned(row, 6)?),
        read_receipts: row.get(7)?,
    })
}

/// All routes, the most recently connected first.
pub(super) fn routes(conn: &Connection) -> Result<Vec<RouteRow>, StoreError> {
    let sql = "SELECT user_id, user_fp, device_fp, record, signal_addr, found_by, connected_ms,
                   seen_ms, demoted_until_ms
               FROM peer_routes ORDER BY connected_ms DESC, seen_ms DESC";
    rows(conn, sql, [], |row| {
        Ok(RouteRow {
            user_label: label(row, 0)?,
            user: UserFp(fixed(row, 1)?),
            device: DeviceFp(fixed(row, 2)?),
            record: row.get(3)?,
            signal_addr: row.get(4)?,
            found_by: names::rung(row.get_ref(5)?.as_str()?).unwrap_or(Rung::Cache),
            connected_ms: unsigned(row, 6)?,
            seen_ms: unsigned(row, 7)?,
            demoted_until_ms: unsigned(row, 8)?,
        })
    })
}

fn outbox(conn: &Connection) -> Result<Vec<OutboxRow>, StoreError> {
    let mut parcels = parcels(conn)?;
    let mut acks = acks(conn)?;
    let sql = "SELECT id, to_user_id, seq, incarnation, text, queued_ms, envelope, state,
                   idempotency_key, born_ms
               FROM outbox WHERE state IN ('queued', 'trying', 'relayed', 'stored')
                   OR id IN (SELECT message FROM outbox_acks)";
    rows(conn, sql, [], |row| {
        let id = message_id(row, 0)?;
        Ok(OutboxRow {
            id,
            to: label(row, 1)?,
            seq: unsigned(row, 2)?,
            incarnation: unsigned(row, 3)?,
            text: row.get(4)?,
            queued_ms: unsigned(row, 5)?,
            born_ms: unsigned(row, 9)?,
            envelope: row.get(6)?,
            parcels: parcels.remove(&id).unwrap_or_default(),
            acked: acks.remove(&id).unwrap_or_default(),
            state: names::state(row.get_ref(7)?.as_str()?),
            idempotency_key: row.get(8)?,
        })
    })
}

/// The last messages of ours that ended as delivered or expired, the oldest first. Half of the room
/// is for each, so that neither makes the other forgotten.
fn settled(conn: &Connection) -> Result<Vec<SettledRow>, StoreError> {
    let mut all = Vec::new();
    for state in [DeliveryState::Delivered, DeliveryState::Expired] {
        // The word stands in the statement, so that the index of expired ones serves.
        let sql = format!(
            "SELECT rowid, id, to_user_id, sealed_to, hash, envelope FROM outbox
             WHERE state = '{}' ORDER BY rowid DESC LIMIT ?1",
            state.name()
        );
        let most = [(SETTLED_MAX / 2) as i64];
        all.extend(rows(conn, &sql, most, |row| {
            Ok((row.get(0)?, settled_row(row, state)?))
        })?);
    }
    all.sort_by_key(|(rowid, _): &(i64, _)| *rowid);
    Ok(all.into_iter().filter_map(|(_, row)| row).collect())
}

/// One of them; `None` for one that was never signed.
fn settled_row(row: &Row<'_>, state: DeliveryState) -> rusqlite::Result<Option<SettledRow>> {
    let of_deleted = row.get_ref(4)?.as_blob_or_null()?;
    let envelope = row.get_ref(5)?.as_blob_or_null()?;
    let of_deleted = of_deleted.and_then(|hash| hash.try_into().ok().map(EnvelopeHash));
    let Some(hash) = envelope
        .map(|bytes| EnvelopeHash(sha256(bytes)))
        .or(of_deleted)
    else {
        return Ok(None);
    };
    let devices = row.get_ref(3)?.as_blob()?.chunks_exact(32);
    let devices = devices.filter_map(|fp| fp.try_into().ok().map(DeviceFp));
    Ok(Some(SettledRow {
        id: message_id(row, 1)?,
        to: label(row, 2)?,
        state,
        hash,
        devices: devices.collect(),
    }))
}

fn clock(conn: &Connection) -> Result<Option<ClockRow>, StoreError> {
    let sql = "SELECT steady_ms, wall_ms FROM own WHERE steady_ms IS NOT NULL";
    let found = conn.query_row(sql, [], |row| {
        Ok(ClockRow {
            steady_ms: unsigned(row, 0)?,
            wall_ms: unsigned(row, 1)?,
        })
    });
    Ok(found.optional()?)
}

type Parcels = BTreeMap<MessageId, Vec<(DeviceFp, Vec<u8>)>>;

fn parcels(conn: &Connection) -> Result<Parcels, StoreError> {
    let sql = "SELECT message, device_fp, parcel FROM outbox_parcels ORDER BY message, device_fp";
    let all = rows(conn, sql, [], |row| {
        Ok((message_id(row, 0)?, DeviceFp(fixed(row, 1)?), row.get(2)?))
    })?;
    let mut by_message = Parcels::new();
    for (message, device, parcel) in all {
        let of_message = by_message.entry(message).or_default();
        of_message.push((device, parcel));
    }
    Ok(by_message)
}

fn acks(conn: &Connection) -> Result<BTreeMap<MessageId, Vec<DeviceFp>>, StoreError> {
    let sql = "SELECT message, device_fp FROM outbox_acks ORDER BY message, device_fp";
    let all = rows(conn, sql, [], |row| {
        Ok((message_id(row, 0)?, DeviceFp(fixed(row, 1)?)))
    })?;
    let mut by_message: BTreeMap<MessageId, Vec<DeviceFp>> = BTreeMap::new();
    for (message, device) in all {
        by_message.entry(message).or_default().push(device);
    }
    Ok(by_message)
}

fn seqs(conn: &Connection, incarnation: u64) -> Result<Vec<(Label, u64)>, StoreError> {
    let sql = "SELECT to_user_id, seq FROM sequences WHERE incarnation = ?1 ORDER BY to_user_id";
    let of = [super::ops::to_db(incarnation)];
    rows(conn, sql, of, |row| Ok((label(row, 0)?, unsigned(row, 1)?)))
}

fn streams(conn: &Connection) -> Result<Vec<StreamRow>, StoreError> {
    let sql = "SELECT device_fp, incarnation, next_seq FROM streams ORDER BY device_fp";
    rows(conn, sql, [], |row| {
        Ok(StreamRow {
            device: DeviceFp(fixed(row, 0)?),
            incarnation: unsigned(row, 1)?,
            next_seq: unsigned(row, 2)?,
        })
    })
}

fn held(conn: &Connection) -> Result<Vec<InboxRow>, StoreError> {
    let sql = "SELECT id, device_fp, user_fp, from_user_id, hash, envelope, incarnation, seq, text,
                   path, sent_at_ms, received_ms
               FROM inbox WHERE show = 'held'";
    rows(conn, sql, [], |row| {
        Ok(InboxRow {
            id: message_id(row, 0)?,
            device: DeviceFp(fixed(row, 1)?),
            user: UserFp(fixed(row, 2)?),
            from: label(row, 3)?,
            hash: EnvelopeHash(fixed(row, 4)?),
            envelope: row.get(5)?,
            incarnation: unsigned(row, 6)?,
            seq: unsigned(row, 7)?,
            text: row.get(8)?,
            path: path(row, 9)?,
            sent_at_ms: unsigned(row, 10)?,
            received_ms: unsigned(row, 11)?,
        })
    })
}

/// Reads a path; one nobody wrote counts as direct.
pub(super) fn path(row: &Row<'_>, column: usize) -> rusqlite::Result<Path> {
    let name = row.get_ref(column)?.as_str()?;
    Ok(names::path(name).unwrap_or(Path::Direct))
}

/// Reads a label.
pub(super) fn label(row: &Row<'_>, column: usize) -> rusqlite::Result<Label> {
    let text = row.get_ref(column)?.as_str()?;
    Label::new(text)
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(e)))
}

/// Reads an unsigned number from its signed column.
pub(super) fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(i64::cast_unsigned)
}
