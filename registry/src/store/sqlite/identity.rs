//! SQL about who exists, in `registry.db`.

use super::convert::{failed, int, network_row, seed, uint, user_row};
use crate::limits::NETWORKS_MAX;
use crate::store::{
    Created, InviteRow, JoinOutcome, JoinRow, NetworkRow, NewDeviceList, NewNetwork, Result,
    TokenKeyRow, UserRow, Written,
};
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};

const NETWORK: &str = "network_no, label, fp, descriptor, revocations, revocations_version,
    registrar_seed, authority_seed";

const USER: &str = "u.user_no, u.network_no, u.handle, u.user_fp, u.revoked, u.membership,
    u.device_list, u.joined_ms";

/// A transaction that takes the write lock at once, so that it never has to give up half-way.
fn begin(connection: &mut Connection) -> Result<Transaction<'_>> {
    connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failed)
}

pub(super) fn token_keys(connection: &Connection) -> Result<Vec<TokenKeyRow>> {
    let sql = "SELECT seed, created_ms FROM token_keys ORDER BY created_ms DESC, seed";
    let mut statement = connection.prepare_cached(sql).map_err(failed)?;
    let rows = statement.query_map([], |row| {
        Ok(TokenKeyRow {
            seed: seed(row.get(0)?),
            created_ms: uint(row.get(1)?),
        })
    });
    rows.map_err(failed)?
        .collect::<rusqlite::Result<_>>()
        .map_err(failed)
}

pub(super) fn add_token_key(c: &mut Connection, key: &TokenKeyRow, keep: usize) -> Result<()> {
    let tx = begin(c)?;
    let insert = "INSERT INTO token_keys (seed, created_ms) VALUES (?1, ?2)";
    tx.execute(insert, params![key.seed.0.as_slice(), int(key.created_ms)])
        .map_err(failed)?;
    let forget = "DELETE FROM token_keys WHERE seed NOT IN
        (SELECT seed FROM token_keys ORDER BY created_ms DESC, seed LIMIT ?1)";
    tx.execute(forget, [int(keep as u64)]).map_err(failed)?;
    tx.commit().map_err(failed)
}

pub(super) fn networks(connection: &Connection) -> Result<Vec<NetworkRow>> {
    let sql = format!("SELECT {NETWORK} FROM networks ORDER BY network_no");
    let mut statement = connection.prepare_cached(&sql).map_err(failed)?;
    let rows = statement.query_map([], network_row).map_err(failed)?;
    rows.collect::<rusqlite::Result<_>>().map_err(failed)
}

fn network_by(
    c: &Connection,
    column: &str,
    value: &dyn rusqlite::ToSql,
) -> Result<Option<NetworkRow>> {
    let sql = format!("SELECT {NETWORK} FROM networks WHERE {column} = ?1");
    let mut statement = c.prepare_cached(&sql).map_err(failed)?;
    statement
        .query_row([value], network_row)
        .optional()
        .map_err(failed)
}

pub(super) fn create_network(c: &mut Connection, network: &NewNetwork) -> Result<Created> {
    let tx = begin(c)?;
    if let Some(known) = network_by(&tx, "fp", &network.fp.0.as_slice())? {
        return Ok(Created::Known(known));
    }
    if network_by(&tx, "label", &network.label)?.is_some() {
        return Ok(Created::LabelTaken);
    }
    let count: i64 = tx
        .query_row("SELECT count(*) FROM networks", [], |row| row.get(0))
        .map_err(failed)?;
    if uint(count) >= NETWORKS_MAX as u64 {
        return Ok(Created::Full);
    }
    let insert = "INSERT INTO networks (label, fp, descriptor, descriptor_version, registrar_seed,
        authority_seed, created_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let values = params![
        network.label,
        network.fp.0.as_slice(),
        network.descriptor,
        int(network.descriptor_version),
        network.registrar.0.as_slice(),
        network.authority.as_ref().map(|s| s.0.as_slice()),
        int(network.created_ms),
    ];
    tx.execute(insert, values).map_err(failed)?;
    let row = network_by(&tx, "fp", &network.fp.0.as_slice())?;
    tx.commit().map_err(failed)?;
    row.map(Created::New)
        .ok_or_else(|| failed(rusqlite::Error::QueryReturnedNoRows))
}

pub(super) fn put_descriptor(
    c: &mut Connection,
    network: i64,
    known: u64,
    version: u64,
    descriptor: &[u8],
) -> Result<Written> {
    let sql = "UPDATE networks SET descriptor = ?1, descriptor_version = ?2
        WHERE network_no = ?3 AND descriptor_version = ?4";
    let changed = c.execute(sql, params![descriptor, int(version), network, int(known)]);
    Ok(done_if(changed.map_err(failed)?))
}

fn done_if(changed: usize) -> Written {
    if changed == 1 {
        Written::Done
    } else {
        Written::Stale
    }
}

pub(super) fn user(c: &Connection, network: i64, handle: &str) -> Result<Option<UserRow>> {
    let sql = format!("SELECT {USER} FROM users u WHERE network_no = ?1 AND handle = ?2");
    let mut statement = c.prepare_cached(&sql).map_err(failed)?;
    statement
        .query_row(params![network, handle], user_row)
        .optional()
        .map_err(failed)
}

pub(super) fn user_of_device(
    c: &Connection,
    network: i64,
    device: &str,
) -> Result<Option<UserRow>> {
    let sql = format!(
        "SELECT {USER} FROM devices d JOIN users u USING (user_no)
         WHERE d.network_no = ?1 AND d.label = ?2"
    );
    let mut statement = c.prepare_cached(&sql).map_err(failed)?;
    statement
        .query_row(params![network, device], user_row)
        .optional()
        .map_err(failed)
}

pub(super) fn users(
    c: &Connection,
    network: i64,
    after: &str,
    limit: usize,
) -> Result<Vec<UserRow>> {
    let sql = format!(
        "SELECT {USER} FROM users u WHERE network_no = ?1 AND handle > ?2 ORDER BY handle LIMIT ?3"
    );
    let mut statement = c.prepare_cached(&sql).map_err(failed)?;
    let rows = statement.query_map(params![network, after, int(limit as u64)], user_row);
    rows.map_err(failed)?
        .collect::<rusqlite::Result<_>>()
        .map_err(failed)
}

/// Names the devices of a list; `Some` label when one of them is another user's.
fn claim_devices(
    tx: &Transaction<'_>,
    network: i64,
    user: i64,
    devices: &[crate::store::rows::DeviceRow],
) -> Result<Option<String>> {
    tx.execute("DELETE FROM devices WHERE user_no = ?1", [user])
        .map_err(failed)?;
    let taken = "SELECT 1 FROM devices WHERE network_no = ?1 AND (label = ?2 OR device_fp = ?3)";
    let insert = "INSERT INTO devices (network_no, label, device_fp, user_no)
        VALUES (?1, ?2, ?3, ?4)";
    for device in devices {
        let fp = device.fp.as_slice();
        let other: Option<i64> = tx
            .query_row(taken, params![network, device.label, fp], |row| row.get(0))
            .optional()
            .map_err(failed)?;
        if other.is_some() {
            return Ok(Some(device.label.clone()));
        }
        tx.execute(insert, params![network, device.label, fp, user])
            .map_err(failed)?;
    }
    Ok(None)
}

pub(super) fn put_device_list(c: &mut Connection, list: &NewDeviceList) -> Result<Written> {
    let tx = begin(c)?;
    let sql = "UPDATE users SET device_list = ?1, list_version = ?2
        WHERE user_no = ?3 AND list_version = ?4 AND revoked = 0";
    let values = params![
        list.device_list,
        int(list.version),
        list.user_no,
        int(list.known)
    ];
    if tx.execute(sql, values).map_err(failed)? != 1 {
        return Ok(Written::Stale);
    }
    if claim_devices(&tx, list.network_no, list.user_no, &list.devices)?.is_some() {
        return Ok(Written::Taken);
    }
    tx.commit().map_err(failed)?;
    Ok(Written::Done)
}

pub(super) fn put_membership(c: &mut Connection, user: i64, membership: &[u8]) -> Result<Written> {
    let sql = "UPDATE users SET membership = ?1 WHERE user_no = ?2 AND revoked = 0";
    Ok(done_if(
        c.execute(sql, params![membership, user]).map_err(failed)?,
    ))
}

pub(super) fn revoke(
    c: &mut Connection,
    network: i64,
    user: i64,
    known: u64,
    revocations: &[u8],
) -> Result<Written> {
    let tx = begin(c)?;
    let list = "UPDATE networks SET revocations = ?1, revocations_version = ?2
        WHERE network_no = ?3 AND revocations_version = ?4";
    let values = params![revocations, int(known + 1), network, int(known)];
    let listed = tx.execute(list, values).map_err(failed)?;
    let mark =
        "UPDATE users SET revoked = 1 WHERE user_no = ?1 AND network_no = ?2 AND revoked = 0";
    let marked = tx.execute(mark, params![user, network]).map_err(failed)?;
    if listed != 1 || marked != 1 {
        return Ok(Written::Stale);
    }
    tx.commit().map_err(failed)?;
    Ok(Written::Done)
}

pub(super) fn create_invite(
    c: &mut Connection,
    invite: &InviteRow,
    forget_before_ms: u64,
    cap: u64,
) -> Result<Written> {
    let tx = begin(c)?;
    let forget = "DELETE FROM invites WHERE network_no = ?1 AND expires_ms < ?2";
    tx.execute(forget, params![invite.network_no, int(forget_before_ms)])
        .map_err(failed)?;
    let count = "SELECT count(*) FROM invites WHERE network_no = ?1";
    let count: i64 = tx
        .query_row(count, [invite.network_no], |row| row.get(0))
        .map_err(failed)?;
    if uint(count) >= cap {
        return Ok(Written::Taken);
    }
    let insert = "INSERT INTO invites (network_no, invite_key, role, uses, expires_ms, envelope)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING";
    let values = params![
        invite.network_no,
        invite.key.as_slice(),
        invite.role,
        invite.uses,
        int(invite.expires_ms),
        invite.envelope,
    ];
    if tx.execute(insert, values).map_err(failed)? != 1 {
        return Ok(Written::Taken);
    }
    tx.commit().map_err(failed)?;
    Ok(Written::Done)
}

pub(super) fn join(c: &mut Connection, join: &JoinRow) -> Result<JoinOutcome> {
    let tx = begin(c)?;
    let invite = "SELECT role, expires_ms FROM invites WHERE network_no = ?1 AND invite_key = ?2";
    let key = join.invite_key.as_slice();
    let invite: Option<(i32, i64)> = tx
        .query_row(invite, params![join.network_no, key], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()
        .map_err(failed)?;
    let Some((role, expires_ms)) = invite else {
        return Ok(JoinOutcome::InviteInvalid);
    };
    if let Some(outcome) = known_user(&tx, join)? {
        return Ok(outcome);
    }
    if uint(expires_ms) <= join.now_ms || !use_invite(&tx, join)? {
        return Ok(JoinOutcome::InviteInvalid);
    }
    let user_no = insert_user(&tx, join, role)?;
    if let Some(label) = claim_devices(&tx, join.network_no, user_no, &join.devices)? {
        return Ok(JoinOutcome::DeviceTaken(label));
    }
    let row = user(&tx, join.network_no, &join.handle)?;
    tx.commit().map_err(failed)?;
    row.map(JoinOutcome::Joined)
        .ok_or_else(|| failed(rusqlite::Error::QueryReturnedNoRows))
}

/// The answer when the handle or the key is a member's already.
fn known_user(tx: &Transaction<'_>, join: &JoinRow) -> Result<Option<JoinOutcome>> {
    let by_key = "SELECT handle FROM users WHERE network_no = ?1 AND user_fp = ?2";
    let by_key: Option<String> = tx
        .query_row(
            by_key,
            params![join.network_no, join.user_fp.0.as_slice()],
            |row| row.get(0),
        )
        .optional()
        .map_err(failed)?;
    let by_handle = user(tx, join.network_no, &join.handle)?;
    Ok(JoinOutcome::of_known(join, by_handle, by_key.is_some()))
}

/// Counts one use in a slot of its own; `false` when there is none left.
fn use_invite(tx: &Transaction<'_>, join: &JoinRow) -> Result<bool> {
    let key = join.invite_key.as_slice();
    let count = "UPDATE invites SET used = used + 1
        WHERE network_no = ?1 AND invite_key = ?2 AND used < uses RETURNING used";
    let slot: Option<i64> = tx
        .query_row(count, params![join.network_no, key], |row| row.get(0))
        .optional()
        .map_err(failed)?;
    let Some(slot) = slot else {
        return Ok(false);
    };
    let note = "INSERT INTO invite_uses (network_no, invite_key, slot, user_fp, used_ms)
        VALUES (?1, ?2, ?3, ?4, ?5)";
    let fp = join.user_fp.0.as_slice();
    tx.execute(
        note,
        params![join.network_no, key, slot, fp, int(join.now_ms)],
    )
    .map_err(failed)?;
    Ok(true)
}

fn insert_user(tx: &Transaction<'_>, join: &JoinRow, role: i32) -> Result<i64> {
    let serial = "UPDATE networks SET next_serial = next_serial + 1 WHERE network_no = ?1
        RETURNING next_serial - 1";
    let serial: i64 = tx
        .query_row(serial, [join.network_no], |row| row.get(0))
        .map_err(failed)?;
    let membership = (join.sign)(role, uint(serial));
    let insert = "INSERT INTO users (network_no, handle, user_fp, role, serial, membership,
        list_version, device_list, joined_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    let values = params![
        join.network_no,
        join.handle,
        join.user_fp.0.as_slice(),
        role,
        serial,
        membership,
        int(join.list_version),
        join.device_list,
        int(join.now_ms),
    ];
    tx.execute(insert, values).map_err(failed)?;
    Ok(tx.last_insert_rowid())
}
