//! Rows and errors between rusqlite and the store's own types.

use crate::store::rows::Seed;
use crate::store::{NetworkRow, StoreError, UserRow};
use beeline_proto::id::{NetworkFp, UserFp};
use rusqlite::{ErrorCode, Row};
use zeroize::Zeroizing;

/// SQLite's integers are signed; everything stored is below 2^63 (checked where it enters).
pub(super) fn int(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// The way back.
pub(super) fn uint(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

/// A seed, whose length the schema checks.
pub(super) fn seed(bytes: [u8; 32]) -> Seed {
    Seed(Zeroizing::new(bytes))
}

pub(super) fn failed(error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full,
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::SystemIoFailure
            | ErrorCode::CannotOpen
            | ErrorCode::ReadOnly,
        ) => StoreError::Unavailable(error.to_string()),
        _ => StoreError::Failed(error.to_string()),
    }
}

pub(super) fn network_row(row: &Row<'_>) -> rusqlite::Result<NetworkRow> {
    let authority: Option<[u8; 32]> = row.get(7)?;
    Ok(NetworkRow {
        network_no: row.get(0)?,
        label: row.get(1)?,
        fp: NetworkFp(row.get(2)?),
        descriptor: row.get(3)?,
        revocations: row.get(4)?,
        revocations_version: uint(row.get(5)?),
        registrar: seed(row.get(6)?),
        authority: authority.map(seed),
    })
}

pub(super) fn user_row(row: &Row<'_>) -> rusqlite::Result<UserRow> {
    Ok(UserRow {
        user_no: row.get(0)?,
        network_no: row.get(1)?,
        handle: row.get(2)?,
        user_fp: UserFp(row.get(3)?),
        revoked: row.get(4)?,
        membership: row.get(5)?,
        device_list: row.get(6)?,
        joined_ms: uint(row.get(7)?),
    })
}
