//! Conversations as people see them: in the order things were said, with what is missing where it
//! is missing, and what came late in its place.

use super::files_read;
use super::load::{label, path, rows, unsigned};
use super::names;
use super::ops::{fixed, message_id};
use crate::error::StoreError;
use crate::limits::{HISTORY_MAX, UNSHOWN_MAX};
use crate::report::{FilePast, HistoryItem, InboxKey, Unshown};
use beeline_proto::id::{DeviceFp, Label, MessageId};
use client_core::event::DeliveryState;
use client_core::files::OFFER_PREFIX;
use rusqlite::{Connection, Row, params};
use std::collections::BTreeMap;

const OURS: &str = "SELECT o.id, o.to_user_id, o.text, o.queued_ms, o.state, o.path, o.reason,
                        o.rowid
                    FROM outbox AS o";
const THEIRS: &str = "SELECT id, from_user_id, text, received_ms, sent_at_ms, path,
                          device_fp, incarnation, seq
                      FROM inbox";

const COPIES: &str = "SELECT id, to_user_id, text, received_ms, sent_at_ms, device_fp, incarnation,
                          seq
                      FROM copies";

/// One line, and what places it.
struct Placed {
    item: HistoryItem,
    /// Ours: none and the row. Theirs, and copies of what our other devices said: the stream and
    /// the seq.
    stream: Option<(DeviceFp, u64)>,
    order: u64,
}

impl Placed {
    /// Finds the file it offers, if it does.
    fn find_file(&mut self, conn: &Connection) -> Result<(), StoreError> {
        let sender = self.stream.map(|(device, _)| device);
        if self.item.sent_by.is_none() {
            self.item.file = file_of(conn, sender, (self.item.id, &self.item.text))?;
        }
        Ok(())
    }
}

/// The file that a message offers. A text that only looks like an offer has none.
fn file_of(
    conn: &Connection,
    sender: Option<DeviceFp>,
    (id, text): (MessageId, &str),
) -> Result<Option<FilePast>, StoreError> {
    match text.starts_with(OFFER_PREFIX) {
        true => files_read::past(conn, sender, id),
        false => Ok(None),
    }
}

/// The last `limit` messages with a user, oldest first.
pub(super) fn history(
    conn: &Connection,
    user: &Label,
    limit: usize,
) -> Result<Vec<HistoryItem>, StoreError> {
    let limit = limit.min(HISTORY_MAX);
    let of = params![user.as_str(), limit as i64];
    let ours = format!(
        "{OURS} WHERE o.to_user_id = ?1 AND o.deleted = 0
         ORDER BY o.queued_ms DESC, o.rowid DESC LIMIT ?2"
    );
    let theirs = format!(
        "{THEIRS} WHERE from_user_id = ?1 AND show <> 'held' AND deleted = 0
         ORDER BY received_ms DESC, rowid DESC LIMIT ?2"
    );
    let mut placed = rows(conn, &ours, of, our_item)?;
    placed.extend(rows(conn, &theirs, of, their_item)?);
    let copies = format!(
        "{COPIES} WHERE to_user_id = ?1 AND deleted = 0
         ORDER BY received_ms DESC, rowid DESC LIMIT ?2"
    );
    placed.extend(rows(conn, &copies, of, copied_item)?);
    let mut placed = in_place(conn, placed)?;
    let mut last = placed.split_off(placed.len().saturating_sub(limit));
    for one in &mut last {
        one.find_file(conn)?;
    }
    Ok(last.into_iter().map(|one| one.item).collect())
}

/// Puts lines in order. Within a stream the numbers decide, whatever the clocks said; between
/// streams the time of the first that follows: what came late stands where it was missed.
fn in_place(conn: &Connection, placed: Vec<Placed>) -> Result<Vec<Placed>, StoreError> {
    let mut streams: BTreeMap<Option<(DeviceFp, u64)>, Vec<Placed>> = BTreeMap::new();
    for one in placed {
        streams.entry(one.stream).or_default().push(one);
    }
    let mut all = Vec::new();
    for (stream, mut lines) in streams {
        lines.sort_by_key(|one| one.order);
        if let Some(stream) = stream {
            let mut last: Option<u64> = None;
            for one in &mut lines {
                // Most lines follow the one before them: nothing is missing.
                if last.and_then(|seq| seq.checked_add(1)) != Some(one.order) {
                    one.item.missing = missing_before(conn, stream, one.order)?;
                }
                last = Some(one.order);
            }
        }
        let mut at_ms = u64::MAX;
        let mut timed: Vec<(u64, Placed)> = Vec::with_capacity(lines.len());
        for one in lines.into_iter().rev() {
            at_ms = at_ms.min(one.item.at_ms);
            timed.push((at_ms, one));
        }
        all.extend(timed.into_iter().rev());
    }
    // Stable: one stream keeps its order.
    all.sort_by_key(|(at_ms, _)| *at_ms);
    Ok(all.into_iter().map(|(_, one)| one).collect())
}

/// How many of a stream are missing right before `seq`. Before the first that ever came nothing is
/// known to be missing: this device may be newer than the conversation. Tombstones are not missing.
fn missing_before(conn: &Connection, stream: (DeviceFp, u64), seq: u64) -> Result<u64, StoreError> {
    let before = seq_before(conn, stream, seq)?;
    Ok(before.map_or(0, |last| seq.saturating_sub(last).saturating_sub(1)))
}

/// The highest seq of a stream below `seq` that is here.
fn seq_before(
    conn: &Connection,
    (device, incarnation): (DeviceFp, u64),
    seq: u64,
) -> Result<Option<u64>, StoreError> {
    // Numbers from 2^63 on are negative in the column; no honest sender comes there.
    let sql = "SELECT max(seq) FROM inbox
               WHERE device_fp = ?1 AND incarnation = ?2 AND seq < ?3 AND seq > 0";
    let of = params![device.0, incarnation.cast_signed(), seq.cast_signed()];
    let found = conn
        .prepare_cached(sql)?
        .query_row(of, |row| row.get::<_, Option<i64>>(0))?;
    Ok(found.map(i64::cast_unsigned))
}

/// One message with any user.
pub(super) fn find(conn: &Connection, id: MessageId) -> Result<Option<HistoryItem>, StoreError> {
    let of = [id.0];
    let ours = format!("{OURS} WHERE o.id = ?1");
    let theirs = format!("{THEIRS} WHERE id = ?1 ORDER BY received_ms LIMIT 1");
    let mut found = rows(conn, &ours, of, our_item)?.pop();
    if found.is_none() {
        found = rows(conn, &theirs, of, their_item)?.pop();
    }
    if found.is_none() {
        let copies = format!("{COPIES} WHERE id = ?1 ORDER BY received_ms LIMIT 1");
        found = rows(conn, &copies, of, copied_item)?.pop();
    }
    if let Some(one) = &mut found {
        one.find_file(conn)?;
    }
    Ok(found.map(|one| one.item))
}

/// Messages to show, in order, at most `limit`.
pub(super) fn unshown(conn: &Connection, limit: usize) -> Result<Vec<Unshown>, StoreError> {
    let sql = "SELECT device_fp, id, user_fp, from_user_id, text, path, sent_at_ms, received_ms,
                   show = 'showing', late, incarnation, seq
               FROM inbox WHERE show IN ('released', 'showing')
               ORDER BY released LIMIT ?1";
    let of = [limit.min(UNSHOWN_MAX) as i64];
    let found = rows(conn, sql, of, |row| {
        let message = Unshown {
            key: InboxKey {
                device: DeviceFp(fixed(row, 0)?),
                id: message_id(row, 1)?,
            },
            user: beeline_proto::id::UserFp(fixed(row, 2)?),
            from: label(row, 3)?,
            text: row.get(4)?,
            path: path(row, 5)?,
            sent_at_ms: unsigned(row, 6)?,
            received_ms: unsigned(row, 7)?,
            again: row.get(8)?,
            missing: 0,
            late: row.get(9)?,
            file: None,
        };
        Ok((message, unsigned(row, 10)?, unsigned(row, 11)?))
    })?;
    let place = |(mut message, incarnation, seq): (Unshown, u64, u64)| {
        let stream = (message.key.device, incarnation);
        message.missing = missing_before(conn, stream, seq)?;
        let said = (message.key.id, message.text.as_str());
        message.file = file_of(conn, Some(message.key.device), said)?;
        Ok(message)
    };
    found.into_iter().map(place).collect()
}

fn our_item(row: &Row<'_>) -> rusqlite::Result<Placed> {
    let at_ms = unsigned(row, 3)?;
    let path: Option<String> = row.get(5)?;
    Ok(Placed {
        item: HistoryItem {
            id: message_id(row, 0)?,
            ours: true,
            with: label(row, 1)?,
            text: row.get(2)?,
            at_ms,
            sent_at_ms: at_ms,
            state: names::state(row.get_ref(4)?.as_str()?),
            path: path.and_then(|name| names::path(&name)),
            reason: row.get(6)?,
            missing: 0,
            file: None,
            sent_by: None,
        },
        stream: None,
        order: unsigned(row, 7)?,
    })
}

fn their_item(row: &Row<'_>) -> rusqlite::Result<Placed> {
    Ok(Placed {
        item: HistoryItem {
            id: message_id(row, 0)?,
            ours: false,
            with: label(row, 1)?,
            text: row.get(2)?,
            at_ms: unsigned(row, 3)?,
            sent_at_ms: unsigned(row, 4)?,
            state: DeliveryState::Delivered,
            path: Some(path(row, 5)?),
            reason: None,
            missing: 0,
            file: None,
            sent_by: None,
        },
        stream: Some((DeviceFp(fixed(row, 6)?), unsigned(row, 7)?)),
        order: unsigned(row, 8)?,
    })
}

fn copied_item(row: &Row<'_>) -> rusqlite::Result<Placed> {
    let device = DeviceFp(fixed(row, 5)?);
    Ok(Placed {
        item: HistoryItem {
            id: message_id(row, 0)?,
            ours: true,
            with: label(row, 1)?,
            text: row.get(2)?,
            at_ms: unsigned(row, 3)?,
            sent_at_ms: unsigned(row, 4)?,
            // Where it stands is known where it was sent.
            state: DeliveryState::Queued,
            path: None,
            reason: None,
            missing: 0,
            file: None,
            sent_by: Some(device),
        },
        stream: Some((device, unsigned(row, 6)?)),
        order: unsigned(row, 7)?,
    })
}
