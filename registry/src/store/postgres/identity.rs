//! SQL about who exists. Each writing function is one transaction; one that lost a race answers
//! with an error that [`super::convert::lost_race`] knows, and is run again.

use super::convert::{int, network_row, seed, uint, user_row};
use crate::limits::NETWORKS_MAX;
use crate::store::rows::DeviceRow;
use crate::store::{
    Created, InviteRow, JoinOutcome, JoinRow, NetworkRow, NewDeviceList, NewNetwork, TokenKeyRow,
    UserRow, Written,
};
use sqlx::postgres::{PgConnection, PgPool};
use sqlx::{Error, Row as _};

type Result<T> = std::result::Result<T, Error>;

macro_rules! select_networks {
    ($rest:literal) => {
        concat!(
            "SELECT network_no, label, fp, descriptor, revocations, revocations_version,
                registrar_seed, authority_seed FROM networks ",
            $rest
        )
    };
}

macro_rules! select_users {
    ($rest:literal) => {
        concat!(
            "SELECT u.user_no, u.network_no, u.handle, u.user_fp, u.revoked, u.membership,
                u.device_list, u.joined_ms FROM users u ",
            $rest
        )
    };
}

pub(super) async fn token_keys(pool: &PgPool) -> Result<Vec<TokenKeyRow>> {
    let sql = "SELECT seed, created_ms FROM token_keys ORDER BY created_ms DESC, seed";
    let rows = sqlx::query(sql).fetch_all(pool).await?;
    let read = rows.iter().map(|row| {
        Ok(TokenKeyRow {
            seed: seed(row, "seed")?,
            created_ms: uint(row.try_get("created_ms")?),
        })
    });
    read.collect()
}

pub(super) async fn add_token_key(pool: &PgPool, key: &TokenKeyRow, keep: usize) -> Result<()> {
    let mut tx = pool.begin().await?;
    sqlx::query("INSERT INTO token_keys (seed, created_ms) VALUES ($1, $2)")
        .bind(key.seed.0.as_slice())
        .bind(int(key.created_ms))
        .execute(&mut *tx)
        .await?;
    let forget = "DELETE FROM token_keys WHERE seed NOT IN
        (SELECT seed FROM token_keys ORDER BY created_ms DESC, seed LIMIT $1)";
    sqlx::query(forget)
        .bind(int(keep as u64))
        .execute(&mut *tx)
        .await?;
    tx.commit().await
}

pub(super) async fn networks(pool: &PgPool) -> Result<Vec<NetworkRow>> {
    let rows = sqlx::query(select_networks!("ORDER BY network_no"))
        .fetch_all(pool)
        .await?;
    rows.iter().map(network_row).collect()
}

async fn network_by_fp(c: &mut PgConnection, fp: &[u8]) -> Result<Option<NetworkRow>> {
    let row = sqlx::query(select_networks!("WHERE fp = $1"))
        .bind(fp)
        .fetch_optional(c)
        .await?;
    row.as_ref().map(network_row).transpose()
}

pub(super) async fn create_network(pool: &PgPool, network: &NewNetwork) -> Result<Created> {
    let mut tx = pool.begin().await?;
    if let Some(known) = network_by_fp(&mut tx, &network.fp.0).await? {
        return Ok(Created::Known(known));
    }
    let taken = sqlx::query("SELECT 1 FROM networks WHERE label = $1")
        .bind(&network.label)
        .fetch_optional(&mut *tx)
        .await?;
    if taken.is_some() {
        return Ok(Created::LabelTaken);
    }
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM networks")
        .fetch_one(&mut *tx)
        .await?;
    if uint(count) >= NETWORKS_MAX as u64 {
        return Ok(Created::Full);
    }
    let insert = "INSERT INTO networks (label, fp, descriptor, descriptor_version, registrar_seed,
        authority_seed, created_ms) VALUES ($1, $2, $3, $4, $5, $6, $7)";
    sqlx::query(insert)
        .bind(&network.label)
        .bind(network.fp.0.as_slice())
        .bind(&network.descriptor)
        .bind(int(network.descriptor_version))
        .bind(network.registrar.0.as_slice())
        .bind(network.authority.as_ref().map(|s| s.0.as_slice()))
        .bind(int(network.created_ms))
        .execute(&mut *tx)
        .await?;
    let row = network_by_fp(&mut tx, &network.fp.0).await?;
    tx.commit().await?;
    row.map(Created::New).ok_or(Error::RowNotFound)
}

pub(super) async fn put_descriptor(
    pool: &PgPool,
    network: i64,
    known: u64,
    version: u64,
    descriptor: &[u8],
) -> Result<Written> {
    let sql = "UPDATE networks SET descriptor = $1, descriptor_version = $2
        WHERE network_no = $3 AND descriptor_version = $4";
    let done = sqlx::query(sql)
        .bind(descriptor)
        .bind(int(version))
        .bind(network)
        .bind(int(known))
        .execute(pool)
        .await?;
    Ok(done_if(done.rows_affected()))
}

fn done_if(changed: u64) -> Written {
    if changed == 1 {
        Written::Done
    } else {
        Written::Stale
    }
}

pub(super) async fn user(
    c: impl sqlx::PgExecutor<'_>,
    network: i64,
    handle: &str,
) -> Result<Option<UserRow>> {
    let row = sqlx::query(select_users!("WHERE u.network_no = $1 AND u.handle = $2"))
        .bind(network)
        .bind(handle)
        .fetch_optional(c)
        .await?;
    row.as_ref().map(user_row).transpose()
}

pub(super) async fn user_of_device(
    pool: &PgPool,
    network: i64,
    device: &str,
) -> Result<Option<UserRow>> {
    let sql = select_users!(
        "JOIN devices d ON d.user_no = u.user_no WHERE d.network_no = $1 AND d.label = $2"
    );
    let row = sqlx::query(sql)
        .bind(network)
        .bind(device)
        .fetch_optional(pool)
        .await?;
    row.as_ref().map(user_row).transpose()
}

pub(super) async fn users(
    pool: &PgPool,
    network: i64,
    after: &str,
    limit: usize,
) -> Result<Vec<UserRow>> {
    let sql = select_users!("WHERE u.network_no = $1 AND u.handle > $2 ORDER BY u.handle LIMIT $3");
    let rows = sqlx::query(sql)
        .bind(network)
        .bind(after)
        .bind(int(limit as u64))
        .fetch_all(pool)
        .await?;
    rows.iter().map(user_row).collect()
}

/// Names the devices of a list; `Some` label when one of them is another user's.
async fn claim_devices(
    tx: &mut PgConnection,
    network: i64,
    user: i64,
    devices: &[DeviceRow],
) -> Result<Option<String>> {
    sqlx::query("DELETE FROM devices WHERE user_no = $1")
        .bind(user)
        .execute(&mut *tx)
        .await?;
    // In one order everywhere, so that two lists cannot wait for each other.
    let mut devices: Vec<&DeviceRow> = devices.iter().collect();
    devices.sort_by(|a, b| a.label.cmp(&b.label));
    for device in devices {
        let insert = "INSERT INTO devices (network_no, label, device_fp, user_no)
            VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
        let done = sqlx::query(insert)
            .bind(network)
            .bind(&device.label)
            .bind(device.fp.as_slice())
            .bind(user)
            .execute(&mut *tx)
            .await?;
        if done.rows_affected() != 1 {
            return Ok(Some(device.label.clone()));
        }
    }
    Ok(None)
}

pub(super) async fn put_device_list(pool: &PgPool, list: &NewDeviceList) -> Result<Written> {
    let mut tx = pool.begin().await?;
    let sql = "UPDATE users SET device_list = $1, list_version = $2
        WHERE user_no = $3 AND list_version = $4 AND NOT revoked";
    let done = sqlx::query(sql)
        .bind(&list.device_list)
        .bind(int(list.version))
        .bind(list.user_no)
        .bind(int(list.known))
        .execute(&mut *tx)
        .await?;
    if done.rows_affected() != 1 {
        return Ok(Written::Stale);
    }
    let taken = claim_devices(&mut tx, list.network_no, list.user_no, &list.devices).await?;
    if taken.is_some() {
        return Ok(Written::Taken);
    }
    tx.commit().await?;
    Ok(Written::Done)
}

pub(super) async fn put_membership(pool: &PgPool, user: i64, membership: &[u8]) -> Result<Written> {
    let sql = "UPDATE users SET membership = $1 WHERE user_no = $2 AND NOT revoked";
    let done = sqlx::query(sql)
        .bind(membership)
        .bind(user)
        .execute(pool)
        .await?;
    Ok(done_if(done.rows_affected()))
}

pub(super) async fn revoke(
    pool: &PgPool,
    network: i64,
    user: i64,
    known: u64,
    revocations: &[u8],
) -> Result<Written> {
    let mut tx = pool.begin().await?;
    let list = "UPDATE networks SET revocations = $1, revocations_version = $2
        WHERE network_no = $3 AND revocations_version = $4";
    let listed = sqlx::query(list)
        .bind(revocations)
        .bind(int(known + 1))
        .bind(network)
        .bind(int(known))
        .execute(&mut *tx)
        .await?;
    let mark = "UPDATE users SET revoked = TRUE
        WHERE user_no = $1 AND network_no = $2 AND NOT revoked";
    let marked = sqlx::query(mark)
        .bind(user)
        .bind(network)
        .execute(&mut *tx)
        .await?;
    if listed.rows_affected() != 1 || marked.rows_affected() != 1 {
        return Ok(Written::Stale);
    }
    tx.commit().await?;
    Ok(Written::Done)
}

pub(super) async fn create_invite(
    pool: &PgPool,
    invite: &InviteRow,
    forget_before_ms: u64,
    cap: u64,
) -> Result<Written> {
    let mut tx = pool.begin().await?;
    sqlx::query("DELETE FROM invites WHERE network_no = $1 AND expires_ms < $2")
        .bind(invite.network_no)
        .bind(int(forget_before_ms))
        .execute(&mut *tx)
        .await?;
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM invites WHERE network_no = $1")
        .bind(invite.network_no)
        .fetch_one(&mut *tx)
        .await?;
    if uint(count) >= cap {
        return Ok(Written::Taken);
    }
    let insert = "INSERT INTO invites (network_no, invite_key, role, uses, expires_ms, envelope)
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
    let done = sqlx::query(insert)
        .bind(invite.network_no)
        .bind(invite.key.as_slice())
        .bind(invite.role)
        .bind(i64::from(invite.uses))
        .bind(int(invite.expires_ms))
        .bind(&invite.envelope)
        .execute(&mut *tx)
        .await?;
    if done.rows_affected() != 1 {
        return Ok(Written::Taken);
    }
    tx.commit().await?;
    Ok(Written::Done)
}

pub(super) async fn join(pool: &PgPool, join: &JoinRow) -> Result<JoinOutcome> {
    let mut tx = pool.begin().await?;
    // Held until the end: joins by one invite come one after the other.
    let invite = "SELECT role, expires_ms FROM invites WHERE network_no = $1 AND invite_key = $2
        FOR UPDATE";
    let invite = sqlx::query(invite)
        .bind(join.network_no)
        .bind(join.invite_key.as_slice())
        .fetch_optional(&mut *tx)
        .await?;
    let Some(invite) = invite else {
        return Ok(JoinOutcome::InviteInvalid);
    };
    let role: i32 = invite.try_get("role")?;
    let expires_ms = uint(invite.try_get("expires_ms")?);
    if let Some(outcome) = known_user(&mut tx, join).await? {
        return Ok(outcome);
    }
    if expires_ms <= join.now_ms || !use_invite(&mut tx, join).await? {
        return Ok(JoinOutcome::InviteInvalid);
    }
    let user_no = insert_user(&mut tx, join, role).await?;
    let taken = claim_devices(&mut tx, join.network_no, user_no, &join.devices).await?;
    if let Some(label) = taken {
        return Ok(JoinOutcome::DeviceTaken(label));
    }
    let row = user(&mut *tx, join.network_no, &join.handle).await?;
    tx.commit().await?;
    row.map(JoinOutcome::Joined).ok_or(Error::RowNotFound)
}

/// The answer when the handle or the key is a member's already.
async fn known_user(tx: &mut PgConnection, join: &JoinRow) -> Result<Option<JoinOutcome>> {
    let by_key = sqlx::query("SELECT 1 FROM users WHERE network_no = $1 AND user_fp = $2")
        .bind(join.network_no)
        .bind(join.user_fp.0.as_slice())
        .fetch_optional(&mut *tx)
        .await?;
    let by_handle = user(&mut *tx, join.network_no, &join.handle).await?;
    Ok(JoinOutcome::of_known(join, by_handle, by_key.is_some()))
}

/// Counts one use in a slot of its own; `false` when there is none left.
async fn use_invite(tx: &mut PgConnection, join: &JoinRow) -> Result<bool> {
    let key = join.invite_key.as_slice();
    let count = "UPDATE invites SET used = used + 1
        WHERE network_no = $1 AND invite_key = $2 AND used < uses RETURNING used";
    let slot: Option<i64> = sqlx::query_scalar(count)
        .bind(join.network_no)
        .bind(key)
        .fetch_optional(&mut *tx)
        .await?;
    let Some(slot) = slot else {
        return Ok(false);
    };
    let note = "INSERT INTO invite_uses (network_no, invite_key, slot, user_fp, used_ms)
        VALUES ($1, $2, $3, $4, $5)";
    sqlx::query(note)
        .bind(join.network_no)
        .bind(key)
        .bind(slot)
        .bind(join.user_fp.0.as_slice())
        .bind(int(join.now_ms))
        .execute(&mut *tx)
        .await?;
    Ok(true)
}

async fn insert_user(tx: &mut PgConnection, join: &JoinRow, role: i32) -> Result<i64> {
    let serial = "UPDATE networks SET next_serial = next_serial + 1 WHERE network_no = $1
        RETURNING next_serial - 1";
    let serial: i64 = sqlx::query_scalar(serial)
        .bind(join.network_no)
        .fetch_one(&mut *tx)
        .await?;
    let membership = (join.sign)(role, uint(serial));
    let insert = "INSERT INTO users (network_no, handle, user_fp, role, serial, membership,
        list_version, device_list, joined_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        RETURNING user_no";
    sqlx::query_scalar(insert)
        .bind(join.network_no)
        .bind(&join.handle)
        .bind(join.user_fp.0.as_slice())
        .bind(role)
        .bind(serial)
        .bind(membership)
        .bind(int(join.list_version))
        .bind(&join.device_list)
        .bind(int(join.now_ms))
        .fetch_one(&mut *tx)
        .await
}
