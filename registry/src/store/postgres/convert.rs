//! Rows and errors between sqlx and the store's own types.

use crate::store::rows::Seed;
use crate::store::{NetworkRow, StoreError, UserRow};
use beeline_proto::id::{NetworkFp, UserFp};
use sqlx::Row as _;
use sqlx::postgres::PgRow;

/// PostgreSQL's integers are signed; everything stored is below 2^63 (checked where it enters).
pub(super) fn int(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// The way back.
pub(super) fn uint(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

/// A column of 32 bytes, whose length the schema checks.
pub(super) fn bytes32(row: &PgRow, column: &str) -> Result<[u8; 32], sqlx::Error> {
    let bytes: &[u8] = row.try_get(column)?;
    let array = bytes.try_into();
    array.map_err(|e: std::array::TryFromSliceError| sqlx::Error::Decode(e.into()))
}

pub(super) fn seed(row: &PgRow, column: &str) -> Result<Seed, sqlx::Error> {
    bytes32(row, column).map(Seed::new)
}

pub(super) fn network_row(row: &PgRow) -> Result<NetworkRow, sqlx::Error> {
    let authority: Option<&[u8]> = row.try_get("authority_seed")?;
    let authority = match authority {
        Some(_) => Some(seed(row, "authority_seed")?),
        None => None,
    };
    Ok(NetworkRow {
        network_no: row.try_get("network_no")?,
        label: row.try_get("label")?,
        fp: NetworkFp(bytes32(row, "fp")?),
        descriptor: row.try_get("descriptor")?,
        revocations: row.try_get("revocations")?,
        revocations_version: uint(row.try_get("revocations_version")?),
        registrar: seed(row, "registrar_seed")?,
        authority,
    })
}

pub(super) fn user_row(row: &PgRow) -> Result<UserRow, sqlx::Error> {
    Ok(UserRow {
        user_no: row.try_get("user_no")?,
        network_no: row.try_get("network_no")?,
        handle: row.try_get("handle")?,
        user_fp: UserFp(bytes32(row, "user_fp")?),
        revoked: row.try_get("revoked")?,
        membership: row.try_get("membership")?,
        device_list: row.try_get("device_list")?,
        joined_ms: uint(row.try_get("joined_ms")?),
    })
}

/// SQLSTATE of a database error.
pub(super) fn sql_state(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

/// Whether the transaction lost a race and may be tried again: unique violation, serialization
/// failure, deadlock.
pub(super) fn lost_race(error: &sqlx::Error) -> bool {
    matches!(
        sql_state(error).as_deref(),
        Some("23505" | "40001" | "40P01")
    )
}

/// Whether the connection broke rather than the statement.
pub(super) fn broken(error: &sqlx::Error) -> bool {
    let ended = || sql_state(error).is_some_and(|s| s.starts_with("57P") || s.starts_with("08"));
    matches!(error, sqlx::Error::Io(_) | sqlx::Error::Protocol(_)) || ended()
}

pub(super) fn failed(error: sqlx::Error) -> StoreError {
    let state = sql_state(&error);
    match state.as_deref() {
        Some("53100") => StoreError::Full,
        // Connection, resources, operator's intervention (timeouts too), locks.
        Some(s) if ["08", "53", "57"].iter().any(|c| s.starts_with(c)) || s == "55P03" => {
            StoreError::Unavailable(error.to_string())
        }
        Some(_) => StoreError::Failed(error.to_string()),
        None => match error {
            sqlx::Error::Decode(_)
            | sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::RowNotFound => StoreError::Failed(error.to_string()),
            _ => StoreError::Unavailable(error.to_string()),
        },
    }
}
