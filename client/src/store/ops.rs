//! The operations of the core, one function each, inside a transaction somebody else began.

use super::custody;
use super::devices;
use super::files;
use super::forget::erasing;
use super::kept;
use super::names::{is_final, is_given_up};
use crate::report::InboxKey;
use beeline_proto::id::{DeviceFp, KeyId, MessageId};
use client_core::event::{DeliveryState, Kept, Path, Rung};
use client_core::state::{
    BundleRow, ContactRow, InboxRow, OutboxRow, RouteRow, StoreOp, StoreResult, StreamRow,
};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, params};

/// `trying` and `stored` steps kept per message, each: thirty days of retries, or a custodian that
/// comes and goes, would otherwise fill the disk.
const STEPS_MAX: i64 = 64;

/// Why an operation did not take.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpError {
    /// The database says no.
    #[error(transparent)]
    Sql(#[from] rusqlite::Error),
    /// It contradicts what is stored; a defect of the caller.
    #[error("{0}")]
    Contradiction(&'static str),
}

/// Unsigned numbers are kept in signed columns bit by bit.
pub(super) fn to_db(number: u64) -> i64 {
    number.cast_signed()
}

/// Applies the operations of one write, in order. `at_ms` is the moment of the write.
pub(super) fn apply(
    conn: &Connection,
    ops: &[StoreOp],
    at_ms: u64,
) -> Result<Vec<StoreResult>, OpError> {
    ops.iter().map(|op| apply_one(conn, op, at_ms)).collect()
}

fn apply_one(conn: &Connection, op: &StoreOp, at_ms: u64) -> Result<StoreResult, OpError> {
    match op {
        StoreOp::QueueMessage(row) => return queue(conn, row),
        StoreOp::Receive(row) => return receive(conn, row),
        StoreOp::KeepCopy(row) => return devices::keep_copy(conn, row),
        StoreOp::SetSealed {
            id,
            envelope,
            parcels,
        } => {
            set_envelope(conn, *id, envelope)?;
            set_parcels(conn, *id, parcels)?;
        }
        StoreOp::SetState {
            id,
            state,
            rung,
            path,
            reason,
            at_ms,
        } => {
            let step = Step {
                state: *state,
                rung: *rung,
                path: *path,
                reason: reason.as_deref(),
                kept: None,
                at_ms: *at_ms,
            };
            set_state(conn, *id, &step)?;
        }
        StoreOp::SetAcked { id, device } => devices::set_acked(conn, *id, *device)?,
        StoreOp::EndServing(id) => devices::end_serving(conn, *id)?,
        StoreOp::DropParcelsFor(device) => devices::drop_parcels_for(conn, *device)?,
        StoreOp::SetStored { id, kept, at_ms } => {
            set_state(conn, *id, &Step::stored(*kept, *at_ms))?;
        }
        StoreOp::PutCustody(_) | StoreOp::RemoveCustody { .. } => {
            custody::apply(conn, op)?;
        }
        StoreOp::Release { device, id, stream } => {
            let (device, id) = (*device, *id);
            release(conn, InboxKey { device, id }, stream, at_ms)?;
        }
        StoreOp::PutContact(row) => put_contact(conn, row)?,
        StoreOp::PutRoute(row) => put_route(conn, row)?,
        StoreOp::RemoveRoute(device) => {
            let sql = "DELETE FROM peer_routes WHERE device_fp = ?1";
            conn.prepare_cached(sql)?.execute([device.0])?;
        }
        StoreOp::PutBundle(row) => put_bundle(conn, row)?,
        StoreOp::PublishBundle { key_id, at_ms } => {
            let sql = "UPDATE bundles SET published_ms = ?2
                       WHERE key_id = ?1 AND published_ms = 0";
            conn.prepare_cached(sql)?
                .execute(params![key_id.0, to_db(*at_ms)])?;
        }
        StoreOp::EraseBundle(id) => erase_bundle(conn, *id)?,
        StoreOp::PutOwnChain { .. } | StoreOp::SetIncarnation(_) | StoreOp::KeepClock(_) => {
            put_own(conn, op)?;
        }
        StoreOp::File(op) => files::apply(conn, op)?,
        StoreOp::Keep(_)
        | StoreOp::FindKept { .. }
        | StoreOp::ReadKept { .. }
        | StoreOp::DropKept { .. }
        | StoreOp::ExpireKept { .. } => return kept::apply(conn, op),
    }
    Ok(StoreResult::Done)
}

/// Sets what the one row about ourselves says.
fn put_own(conn: &Connection, op: &StoreOp) -> Result<(), OpError> {
    match op {
        StoreOp::PutOwnChain { chain, revocations } => {
            let sql = "UPDATE own SET chain = ?1, revocations = ?2";
            conn.prepare_cached(sql)?
                .execute(params![chain, revocations])?;
        }
        StoreOp::SetIncarnation(incarnation) => {
            let sql = "UPDATE own SET incarnation = ?1";
            conn.prepare_cached(sql)?.execute([to_db(*incarnation)])?;
        }
        StoreOp::KeepClock(clock) => {
            let sql = "UPDATE own SET steady_ms = ?1, wall_ms = ?2";
            let kept = [to_db(clock.steady_ms), to_db(clock.wall_ms)];
            conn.prepare_cached(sql)?.execute(kept)?;
        }
        _ => {}
    }
    Ok(())
}

fn queue(conn: &Connection, row: &OutboxRow) -> Result<StoreResult, OpError> {
    if let Some(key) = &row.idempotency_key {
        let sql = "SELECT id FROM outbox WHERE to_user_id = ?1 AND idempotency_key = ?2";
        let known = conn
            .prepare_cached(sql)?
            .query_row(params![row.to.as_str(), key], |r| message_id(r, 0))
            .optional()?;
        if let Some(id) = known {
            return Ok(StoreResult::Known(id));
        }
    }
    conn.prepare_cached(
        "INSERT INTO outbox (id, to_user_id, incarnation, seq, text, queued_ms, envelope, state,
             idempotency_key, born_ms, sealed_to)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?
    .execute(params![
        row.id.0,
        row.to.as_str(),
        to_db(row.incarnation),
        to_db(row.seq),
        row.text,
        to_db(row.queued_ms),
        row.envelope,
        row.state.name(),
        row.idempotency_key,
        to_db(row.born_ms),
        sealed_to(&row.parcels),
    ])?;
    conn.prepare_cached(
        "INSERT INTO sequences (to_user_id, incarnation, seq) VALUES (?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET seq = max(seq, excluded.seq)",
    )?
    .execute(params![
        row.to.as_str(),
        to_db(row.incarnation),
        to_db(row.seq)
    ])?;
    let mut insert = conn.prepare_cached(
        "INSERT INTO outbox_parcels (message, device_fp, parcel) VALUES (?1, ?2, ?3)",
    )?;
    for (device, parcel) in &row.parcels {
        insert.execute(params![row.id.0, device.0, parcel])?;
    }
    add_step(
        conn,
        &[],
        row.id,
        row.queued_ms,
        DeliveryState::Queued.name(),
    )?;
    Ok(StoreResult::Inserted { seq_reused: false })
}

/// Sets the envelope of a message once; a message that is not there is left so.
fn set_envelope(conn: &Connection, id: MessageId, envelope: &[u8]) -> Result<(), OpError> {
    let sql = "UPDATE outbox SET envelope = ?2 WHERE id = ?1 AND envelope IS NULL";
    let set = conn.prepare_cached(sql)?.execute(params![id.0, envelope])?;
    if set == 1 {
        return Ok(());
    }
    let sql = "SELECT envelope = ?2 FROM outbox WHERE id = ?1";
    let same: Option<bool> = conn
        .prepare_cached(sql)?
        .query_row(params![id.0, envelope], |r| r.get(0))
        .optional()?;
    if same == Some(false) {
        return Err(OpError::Contradiction("a signed message never changes"));
    }
    Ok(())
}

/// The devices of parcels, as one column keeps them.
fn sealed_to(parcels: &[(DeviceFp, Vec<u8>)]) -> Vec<u8> {
    let devices = parcels.iter().map(|(device, _)| device.0);
    devices.collect::<Vec<_>>().concat()
}

/// Replaces the parcels of a message; a message that is not there is left so.
fn set_parcels(
    conn: &Connection,
    id: MessageId,
    parcels: &[(DeviceFp, Vec<u8>)],
) -> Result<(), OpError> {
    drop_parcels(conn, id)?;
    let sql = "UPDATE outbox SET sealed_to = ?2 WHERE id = ?1";
    conn.prepare_cached(sql)?
        .execute(params![id.0, sealed_to(parcels)])?;
    let mut insert = conn.prepare_cached(
        "INSERT INTO outbox_parcels (message, device_fp, parcel)
         SELECT id, ?2, ?3 FROM outbox WHERE id = ?1",
    )?;
    for (device, parcel) in parcels {
        insert.execute(params![id.0, device.0, parcel])?;
    }
    Ok(())
}

/// Drops every parcel of a message.
pub(super) fn drop_parcels(conn: &Connection, id: MessageId) -> Result<(), OpError> {
    let sql = "DELETE FROM outbox_parcels WHERE message = ?1";
    conn.prepare_cached(sql)?.execute([id.0])?;
    Ok(())
}

/// What `SetState` says.
struct Step<'a> {
    state: DeliveryState,
    rung: Option<Rung>,
    path: Option<Path>,
    reason: Option<&'a str>,
    kept: Option<Kept>,
    at_ms: u64,
}

impl Step<'_> {
    /// What `SetStored` says.
    fn stored(kept: Kept, at_ms: u64) -> Self {
        Self {
            state: DeliveryState::Stored,
            rung: None,
            path: Some(Path::Stored),
            reason: None,
            kept: Some(kept),
            at_ms,
        }
    }
}

fn set_state(conn: &Connection, id: MessageId, step: &Step<'_>) -> Result<(), OpError> {
    let sql = "UPDATE outbox SET state = ?2, path = coalesce(?3, path), reason = ?4 WHERE id = ?1";
    let (state, path) = (step.state.name(), step.path.map(Path::name));
    let known = conn
        .prepare_cached(sql)?
        .execute(params![id.0, state, path, step.reason])?;
    if known == 0 {
        return Ok(());
    }
    conn.prepare_cached(
        "INSERT INTO steps (device_fp, id, at_ms, state, rung, path, reason, kept, wanted)
         VALUES (x'', ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        id.0,
        to_db(step.at_ms),
        state,
        step.rung.map(Rung::name),
        path,
        step.reason,
        step.kept.map(|kept| kept.n),
        step.kept.map(|kept| kept.k),
    ])?;
    if step.state == DeliveryState::Trying || step.kept.is_some() {
        forget_old_steps(conn, id, state)?;
    }
    if is_given_up(step.state) || (is_final(step.state) && !devices::is_served(conn, id)?) {
        devices::end_serving(conn, id)?;
    }
    Ok(())
}

/// Keeps the last steps of a state of a message of ours.
fn forget_old_steps(conn: &Connection, id: MessageId, state: &str) -> Result<(), OpError> {
    conn.prepare_cached(
        "DELETE FROM steps WHERE step IN (
             SELECT step FROM steps WHERE id = ?1 AND device_fp = x'' AND state = ?2
             ORDER BY step DESC LIMIT -1 OFFSET ?3)",
    )?
    .execute(params![id.0, state, STEPS_MAX])?;
    Ok(())
}

/// Notes what happened to a message, for `why`.
pub(super) fn add_step(
    conn: &Connection,
    device: &[u8],
    id: MessageId,
    at_ms: u64,
    state: &str,
) -> Result<(), OpError> {
    let sql = "INSERT INTO steps (device_fp, id, at_ms, state) VALUES (?1, ?2, ?3, ?4)";
    conn.prepare_cached(sql)?
        .execute(params![device, id.0, to_db(at_ms), state])?;
    Ok(())
}

fn receive(conn: &Connection, row: &InboxRow) -> Result<StoreResult, OpError> {
    let sql = "SELECT hash = ?3 FROM inbox WHERE device_fp = ?1 AND id = ?2";
    let known: Option<bool> = conn
        .prepare_cached(sql)?
        .query_row(params![row.device.0, row.id.0, row.hash.0], |r| r.get(0))
        .optional()?;
    if known == Some(false) {
        return Ok(StoreResult::Conflict);
    }
    let (device, incarnation) = (row.device.0, to_db(row.incarnation));
    let stream = params![device, incarnation, to_db(row.seq), row.id.0];
    let sql = "SELECT 1 FROM inbox
        WHERE device_fp = ?1 AND incarnation = ?2 AND seq = ?3 AND id <> ?4";
    let seq_reused = conn.prepare_cached(sql)?.exists(stream)?;
    if known == Some(true) {
        return Ok(StoreResult::Duplicate { seq_reused });
    }
    conn.prepare_cached(
        "INSERT INTO inbox (device_fp, id, user_fp, from_user_id, hash, envelope, incarnation, seq,
             text, path, sent_at_ms, received_ms, show)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 'held')",
    )?
    .execute(params![
        row.device.0,
        row.id.0,
        row.user.0,
        row.from.as_str(),
        row.hash.0,
        row.envelope,
        to_db(row.incarnation),
        to_db(row.seq),
        row.text,
        row.path.name(),
        to_db(row.sent_at_ms),
        to_db(row.received_ms),
    ])?;
    add_step(conn, &row.device.0, row.id, row.received_ms, "received")?;
    Ok(StoreResult::Inserted { seq_reused })
}

fn release(
    conn: &Connection,
    key: InboxKey,
    stream: &StreamRow,
    at_ms: u64,
) -> Result<(), OpError> {
    let released = conn
        .prepare_cached(
            "UPDATE inbox SET show = 'released', late = ?3 > seq + 1,
                 released = (SELECT coalesce(max(released), 0) + 1 FROM inbox
                             WHERE released IS NOT NULL)
             WHERE device_fp = ?1 AND id = ?2 AND show = 'held'",
        )?
        .execute(params![key.device.0, key.id.0, to_db(stream.next_seq)])?;
    if released == 1 {
        add_step(conn, &key.device.0, key.id, at_ms, "released")?;
    }
    conn.prepare_cached(
        "INSERT INTO streams (device_fp, incarnation, next_seq) VALUES (?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET next_seq = max(next_seq, excluded.next_seq)",
    )?
    .execute(params![
        stream.device.0,
        to_db(stream.incarnation),
        to_db(stream.next_seq),
    ])?;
    Ok(())
}

/// Marks released messages as being shown, or as shown; others are left as they are.
pub(super) fn mark(
    conn: &Connection,
    keys: &[InboxKey],
    showing: bool,
    at_ms: u64,
) -> Result<(), OpError> {
    let word = if showing { "showing" } else { "shown" };
    let mut update = conn.prepare_cached(
        "UPDATE inbox SET show = ?3
         WHERE device_fp = ?1 AND id = ?2 AND show IN ('released', 'showing')",
    )?;
    for key in keys {
        if update.execute(params![key.device.0, key.id.0, word])? == 1 {
            add_step(conn, &key.device.0, key.id, at_ms, word)?;
        }
    }
    Ok(())
}

fn put_contact(conn: &Connection, row: &ContactRow) -> Result<(), OpError> {
    conn.prepare_cached(
        "INSERT OR REPLACE INTO contacts (user_fp, user_id, chain, verified, claimed_chain,
             knows_membership, knows_devices, read_receipts)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        row.user.0,
        row.label.as_str(),
        row.chain,
        row.verified,
        row.claimed_chain,
        to_db(row.knows_us.0),
        to_db(row.knows_us.1),
        row.read_receipts,
    ])?;
    Ok(())
}

fn put_route(conn: &Connection, row: &RouteRow) -> Result<(), OpError> {
    conn.prepare_cached(
        "INSERT OR REPLACE INTO peer_routes (device_fp, user_id, user_fp, record, signal_addr,
             found_by, connected_ms, seen_ms, demoted_until_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute(params![
        row.device.0,
        row.user_label.as_str(),
        row.user.0,
        row.record,
        row.signal_addr,
        row.found_by.name(),
        to_db(row.connected_ms),
        to_db(row.seen_ms),
        to_db(row.demoted_until_ms),
    ])?;
    Ok(())
}

fn put_bundle(conn: &Connection, row: &BundleRow) -> Result<(), OpError> {
    let secret = row.secret.to_bytes();
    conn.prepare_cached(
        "INSERT OR REPLACE INTO bundles (key_id, made_ms, born_ms, published_ms, secret, envelope)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        row.key_id.0,
        to_db(row.made_ms),
        to_db(row.born_ms),
        to_db(row.published_ms),
        secret.as_slice(),
        row.envelope,
    ])?;
    Ok(())
}

fn erase_bundle(conn: &Connection, id: KeyId) -> Result<(), OpError> {
    erasing(conn, || {
        let sql = "DELETE FROM bundles WHERE key_id = ?1";
        conn.prepare_cached(sql)?.execute([id.0])?;
        Ok(())
    })
}

/// Reads a message id from a column.
pub(super) fn message_id(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<MessageId> {
    fixed(row, column).map(MessageId)
}

/// Reads a blob of one length from a column.
pub(super) fn fixed<const N: usize>(
    row: &rusqlite::Row<'_>,
    column: usize,
) -> rusqlite::Result<[u8; N]> {
    let blob = row.get_ref(column)?.as_blob()?;
    blob.try_into().map_err(|_| {
        let why = format!("{} bytes where {N} belong", blob.len());
        rusqlite::Error::FromSqlConversionFailure(column, Type::Blob, why.into())
    })
}
