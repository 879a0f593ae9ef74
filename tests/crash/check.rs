//! What must be true in the end, read from the databases and the screens.

use super::home::{Home, Line, Wrong};
use super::points::Role;
use super::story::{Sent, Story};
use beeline::store::testing::Direct;
use std::collections::{BTreeMap, BTreeSet};

/// A message of ours, as the database has it.
struct Ours {
    id: [u8; 16],
    text: String,
    state: String,
}

/// The messages of ours, in the order they were queued.
fn ours(home: &Home, to: &str) -> Vec<Ours> {
    let Some(conn) = home.direct().and_then(Direct::conn) else {
        return Vec::new();
    };
    let sql = "SELECT id, text, state FROM outbox WHERE to_user_id = ?1
               ORDER BY incarnation, seq";
    let mut rows = conn.prepare_cached(sql).expect("the table is there");
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Ours {
            id: row.get(0)?,
            text: row.get(1)?,
            state: row.get(2)?,
        })
    };
    let rows = rows.query_map([to], read).expect("it can be asked");
    rows.map(|row| row.expect("a row")).collect()
}

/// Whether nothing waits any more to be delivered or shown.
pub(crate) fn is_settled(home: &Home) -> bool {
    let Some(conn) = home.direct().and_then(Direct::conn) else {
        return false;
    };
    let sql = "SELECT (SELECT count(*) FROM outbox
                       WHERE state IN ('queued', 'trying', 'relayed', 'stored'))
                    + (SELECT count(*) FROM inbox WHERE show <> 'shown')";
    let waiting: i64 = conn.query_row(sql, [], |row| row.get(0)).unwrap_or(1);
    waiting == 0
}

/// Holds a story that came to its end against what was promised.
pub(crate) fn judge(story: &Story) {
    for (role, other) in [
        (Role::Sender, Role::Recipient),
        (Role::Recipient, Role::Sender),
    ] {
        let (from, to) = (story.home(role).borrow(), story.home(other).borrow());
        let sent = story.sent.iter().filter(|sent| sent.from == role);
        let sent: Vec<&Sent> = sent.collect();
        judge_pair(&from, &to, &sent);
        sound(&from);
    }
}

/// The same for those who sent, and to whom.
pub(crate) fn judge_pair(from: &Home, to: &Home, sent: &[&Sent]) {
    let ours = ours(from, to.user());
    every_return_was_true(sent, from, &ours);
    delivered(from, to, &ours);
    shown(to, &ours);
}

/// `send` returned: the message is there, and once.
fn every_return_was_true(sent: &[&Sent], from: &Home, ours: &[Ours]) {
    let mut rows: BTreeMap<&str, u64> = BTreeMap::new();
    for row in ours {
        *rows.entry(&row.text).or_default() += 1;
    }
    for sent in sent {
        let count = rows.get(sent.text.as_str()).copied().unwrap_or(0);
        let returned = from.returned.get(&sent.command);
        if count == 0 && returned.is_some() {
            from.wrong(
                Wrong::Lost,
                &format!("{} was queued and is gone", sent.text),
            );
        }
        if count > 1 {
            from.wrong(
                Wrong::Doubled,
                &format!("{} is {count} messages", sent.text),
            );
        }
        let other = |id: &&beeline_proto::id::MessageId| !ours.iter().any(|row| row.id == id.0);
        if returned.filter(other).is_some() {
            from.wrong(Wrong::Lost, &format!("{}: no message of its id", sent.text));
        }
    }
}

/// Every message was delivered, and is where it was said to be.
fn delivered(from: &Home, to: &Home, ours: &[Ours]) {
    let screen: BTreeSet<[u8; 16]> = to.screen.iter().map(|line| line.key.id.0).collect();
    for row in ours {
        if row.state != "delivered" && row.state != "read" {
            from.wrong(Wrong::Lost, &format!("{} stays {}", row.text, row.state));
        }
        if !screen.contains(&row.id) {
            let what = format!("{} is {} and was never shown", row.text, row.state);
            from.wrong(Wrong::Lost, &what);
        }
    }
}

/// The screen: what was sent, once, and in order.
fn shown(to: &Home, ours: &[Ours]) {
    let place: BTreeMap<[u8; 16], usize> = ours
        .iter()
        .enumerate()
        .map(|(n, row)| (row.id, n))
        .collect();
    let mut seen: BTreeSet<[u8; 16]> = BTreeSet::new();
    let mut plain: BTreeSet<[u8; 16]> = BTreeSet::new();
    let mut last = None;
    for Line { key, text, again } in &to.screen {
        let id = key.id.0;
        if !again && !plain.insert(id) || *again && seen.contains(&id) && !plain.contains(&id) {
            to.wrong(Wrong::Doubled, &format!("{text} was shown twice"));
        }
        let Some(at) = place.get(&id).copied() else {
            to.wrong(
                Wrong::Doubled,
                &format!("{text} is no message of the sender"),
            );
            continue;
        };
        if ours[at].text != *text {
            to.wrong(Wrong::Doubled, &format!("{text} was {}", ours[at].text));
        }
        if !seen.insert(id) {
            continue;
        }
        if last.is_some_and(|last| at < last) && to.gaps == 0 {
            to.wrong(Wrong::Misordered, &format!("{text} was shown late"));
        }
        last = Some(at);
    }
}

/// The database is sound.
pub(crate) fn sound(home: &Home) {
    let Some(conn) = home.direct().and_then(Direct::conn) else {
        return home.wrong(Wrong::Integrity, "it does not run in peace");
    };
    let verdict = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0));
    let verdict: String = verdict.unwrap_or_else(|error| error.to_string());
    if verdict != "ok" {
        home.wrong(Wrong::Integrity, &verdict);
    }
}
