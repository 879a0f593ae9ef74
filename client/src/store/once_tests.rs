//! Once, for ever, and erased for real: secrets in no file, tombstones, settled messages, copied
//! homes, conversations in their order.

use super::tests::{
    Place, conn, done, incoming, label, loaded, outgoing, own, place, reader, release, results,
    state, write, writer,
};
use super::writer::Writer;
use super::*;
use crate::home::Home;
use crate::limits::CHECK_ALL_EVERY_MS;
use beeline_proto::id::{DeviceFp, EnvelopeHash, KeyId, MessageId, sha256};
use beeline_proto::keys::SealSecret;
use client_core::event::DeliveryState;
use client_core::state::{BundleRow, ClockRow, SettledRow};
use rusqlite::Connection;
use std::io::{Seek as _, SeekFrom, Write as _};

/// Whether some bytes are in any file of a home.
fn on_disk(home: &Home, secret: &[u8]) -> bool {
    let files = std::fs::read_dir(home.dir()).expect("listed");
    let holds = |path: std::path::PathBuf| {
        let bytes = std::fs::read(path).unwrap_or_default();
        bytes.windows(secret.len()).any(|w| w == secret)
    };
    files.flatten().any(|file| holds(file.path()))
}

fn secret(n: u8) -> [u8; 32] {
    sha256(&[n, 77])
}

fn bundle(n: u8) -> BundleRow {
    BundleRow {
        key_id: KeyId(sha256(&[n])[..16].try_into().expect("16 bytes")),
        made_ms: u64::from(n),
        born_ms: u64::from(n),
        published_ms: 0,
        secret: SealSecret::from_bytes(secret(n)),
        envelope: vec![n; 230],
    }
}

fn erase(n: u8) -> StoreOp {
    StoreOp::EraseBundle(bundle(n).key_id)
}

/// The files of a home as they are now, in another directory: what `cp` or a power cut leaves.
fn copy(place: &Place, name: &str) -> Home {
    let to = place.home.dir().parent().expect("parent").join(name);
    crate::unix::create_private_dir(&to).expect("made");
    for file in std::fs::read_dir(place.home.dir())
        .expect("listed")
        .flatten()
    {
        std::fs::copy(file.path(), to.join(file.file_name())).expect("copied");
    }
    Home::at(&to)
}

#[test]
fn of_many_secrets_those_erased_are_in_no_file() {
    let place = place();
    let (mut writer, mut answered) = writer(&place);
    let (_jobs, mut jobs) = mpsc::channel(64);
    // The table grows over pages that are split and joined, with other rows in between.
    for n in 0..120u8 {
        let mail = StoreOp::QueueMessage(outgoing(n, "carol", u64::from(n) + 1, 1));
        writer.batch(
            write(1, vec![StoreOp::PutBundle(bundle(n)), mail]),
            &mut jobs,
        );
        let settled = state(n, DeliveryState::Delivered, 5);
        writer.batch(write(2, vec![settled]), &mut jobs);
        let Some(old) = n.checked_sub(32) else {
            continue;
        };
        writer.batch(write(3, vec![erase(old)]), &mut jobs);
        assert!(!on_disk(&place.home, &secret(old)), "{old} after {n}");
        assert!(
            on_disk(&place.home, &secret(old + 1)),
            "{old} is the oldest"
        );
    }
    assert!(
        results(&mut answered)
            .iter()
            .all(|(_, result)| result.is_ok())
    );
    for n in 0..88u8 {
        assert!(!on_disk(&place.home, &secret(n)), "{n} came back");
    }
}

#[test]
fn a_reader_puts_the_last_trace_off_and_a_kill_leaves_it_to_the_next_start() {
    let place = place();
    let (mut writer, _answered) = writer(&place);
    let (_jobs, mut jobs) = mpsc::channel(64);
    writer.batch(write(1, vec![StoreOp::PutBundle(bundle(1))]), &mut jobs);
    let reading = open::open_reader(&place.home).expect("opened");
    reading
        .execute_batch("BEGIN; SELECT * FROM bundles")
        .expect("reads");
    writer
        .conn
        .as_ref()
        .expect("open")
        .busy_timeout(std::time::Duration::ZERO)
        .expect("set");
    writer.batch(write(2, vec![erase(1)]), &mut jobs);
    assert!(on_disk(&place.home, &secret(1)), "the reader still sees it");
    let killed = copy(&place, "killed");
    reading.execute_batch("COMMIT").expect("done");
    let mail = StoreOp::QueueMessage(outgoing(1, "carol", 1, 1));
    writer.batch(write(3, vec![mail]), &mut jobs);
    assert!(
        !on_disk(&place.home, &secret(1)),
        "gone with the next commit"
    );
    assert!(on_disk(&killed, &secret(1)));
    drop(open::open_writer(&killed, open::Check::Quick).expect("opened"));
    assert!(!on_disk(&killed, &secret(1)), "gone with the next start");
}

#[test]
fn a_settled_message_is_remembered_with_what_a_late_word_must_prove() {
    let place = place();
    let db = conn(&place);
    load::load(&db, &own()).expect("loaded");
    let to = [DeviceFp([7; 32]), DeviceFp([8; 32])];
    for n in 1..=4u8 {
        let sealed = StoreOp::SetSealed {
            id: MessageId([n; 16]),
            envelope: vec![n; 50],
            parcels: to.map(|device| (device, vec![n])).to_vec(),
        };
        let queued = StoreOp::QueueMessage(outgoing(n, "carol", n.into(), 1));
        done(&db, &[queued, sealed]);
    }
    // Never signed: nobody can have it.
    done(&db, &[StoreOp::QueueMessage(outgoing(5, "carol", 5, 1))]);
    let ends = [
        (1, DeliveryState::Delivered),
        (2, DeliveryState::Expired),
        (3, DeliveryState::Rejected),
        (5, DeliveryState::Expired),
    ];
    done(&db, &ends.map(|(n, end)| state(n, end, 9)));
    let row = |n: u8, state| SettledRow {
        id: MessageId([n; 16]),
        to: label("carol"),
        state,
        hash: EnvelopeHash(sha256(&[n; 50])),
        devices: to.to_vec(),
    };
    let want = [
        row(1, DeliveryState::Delivered),
        row(2, DeliveryState::Expired),
    ];
    assert_eq!(loaded(&place).settled, want);
    forget::forget(&db, &label("carol")).expect("forgotten");
    assert_eq!(loaded(&place).settled, want, "deleted, and still known");
    assert_eq!(loaded(&place).outbox.len(), 1, "what is on its way stays");
}

#[test]
fn the_steady_clock_is_kept() {
    let place = place();
    let db = conn(&place);
    assert_eq!(load::load(&db, &own()).expect("loaded").0.clock, None);
    let clock = ClockRow {
        steady_ms: u64::MAX,
        wall_ms: 7,
    };
    done(&db, &[StoreOp::KeepClock(clock)]);
    assert_eq!(loaded(&place).clock, Some(clock));
}

/// Opens a home as a process would, and closes it.
async fn opened(home: &Home) -> Loaded {
    let opened = Store::open(home, None, &own()).expect("opened");
    opened.store.close().await;
    opened.loaded
}

#[tokio::test]
async fn a_copied_or_restored_home_counts_anew_at_once() {
    let place = place();
    let first = opened(&place.home).await;
    let mail = StoreOp::QueueMessage(outgoing(1, "carol", 9, first.incarnation));
    done(&conn(&place), &[mail]);
    let second = opened(&place.home).await;
    assert_eq!(
        (second.copied, second.incarnation),
        (None, first.incarnation)
    );
    assert_eq!(second.seqs, [(label("carol"), 9)]);

    // A copy, running beside the original.
    let copied = opened(&copy(&place, "copied")).await;
    assert!(
        copied
            .copied
            .is_some_and(|why| why.contains("another file"))
    );
    assert_ne!(copied.incarnation, first.incarnation);
    assert_eq!(copied.seqs, []);
    assert_eq!(
        copied.outbox[0].incarnation, first.incarnation,
        "what was said stays"
    );

    // The database alone put back into its own file.
    let backup = std::fs::read(place.home.database()).expect("read");
    assert_eq!(opened(&place.home).await.copied, None);
    std::fs::write(place.home.database(), backup).expect("put back");
    let restored = opened(&place.home).await;
    assert!(restored.copied.is_some());
    assert_ne!(restored.incarnation, first.incarnation);
    let after = opened(&place.home).await;
    assert_eq!(
        (after.copied, after.incarnation),
        (None, restored.incarnation)
    );
}

/// What a conversation looks like: texts, with a number where so many are missing.
fn lines(place: &Place) -> Vec<String> {
    let items = reader(place).history(&label("carol"), 100).expect("asked");
    let line = |item: &crate::report::HistoryItem| match item.missing {
        0 => item.text.clone(),
        n => format!("{n} missing, {}", item.text),
    };
    items.iter().map(line).collect()
}

fn shown(db: &Connection, n: u8) {
    let key = InboxKey {
        device: DeviceFp([9; 32]),
        id: MessageId([n; 16]),
    };
    ops::mark(db, &[key], true, 1).expect("showing");
    ops::mark(db, &[key], false, 1).expect("shown");
}

#[test]
fn what_is_missing_is_seen_and_filled_in_place() {
    let place = place();
    let db = conn(&place);
    load::load(&db, &own()).expect("loaded");
    // Seq 4 first: this device knows nothing of earlier ones. 6 and 7 do not come for now.
    for (n, seq) in [(1, 4), (2, 5), (3, 8)] {
        done(
            &db,
            &[StoreOp::Receive(incoming(n, seq)), release(n, seq + 1)],
        );
    }
    let unshown = reader(&place).unshown(9).expect("asked");
    let gaps: Vec<_> = unshown.iter().map(|m| (m.missing, m.late)).collect();
    assert_eq!(gaps, [(0, false), (0, false), (2, false)]);
    assert_eq!(
        lines(&place),
        ["to you 1", "to you 2", "2 missing, to you 3"]
    );
    for n in [1, 2, 3] {
        shown(&db, n);
    }
    done(&db, &[StoreOp::Receive(incoming(4, 7)), release(4, 9)]);
    let late = reader(&place).unshown(9).expect("asked");
    assert_eq!((late[0].missing, late[0].late), (1, true));
    let want = ["to you 1", "to you 2", "1 missing, to you 4", "to you 3"];
    assert_eq!(lines(&place), want, "in its place, though it came last");
}

#[test]
fn a_deleted_conversation_leaves_tombstones_that_keep_every_promise() {
    let place = place();
    let (mut writer, mut answered) = writer(&place);
    let (_jobs, mut jobs) = mpsc::channel(64);
    let mut ours = outgoing(1, "carol", 1, 1);
    ours.text = "a text of ours that nobody shall find".to_owned();
    ours.idempotency_key = Some("k".to_owned());
    let mut theirs = incoming(2, 1);
    theirs.text = "a text of theirs that nobody shall find".to_owned();
    let unshown = StoreOp::Receive(incoming(3, 2));
    let ops = vec![
        StoreOp::QueueMessage(ours.clone()),
        state(1, DeliveryState::Delivered, 5),
        StoreOp::QueueMessage(outgoing(4, "carol", 2, 1)),
        StoreOp::QueueMessage(outgoing(5, "bob", 1, 1)),
        StoreOp::Receive(theirs.clone()),
        release(2, 2),
        unshown,
        release(3, 3),
    ];
    writer.batch(write(1, ops), &mut jobs);
    shown(writer.conn.as_ref().expect("open"), 2);
    let (answer, mut gone) = oneshot::channel();
    let user = label("carol");
    writer.batch(Job::Forget { user, answer }, &mut jobs);
    assert_eq!(gone.try_recv().expect("answered"), Ok(2));
    for text in [&ours.text, &theirs.text] {
        assert!(!on_disk(&place.home, text.as_bytes()), "{text}");
    }
    assert_eq!(
        lines(&place),
        ["text 4", "to you 3"],
        "what is not over stays"
    );
    let story = reader(&place).why(MessageId([1; 16])).expect("known");
    assert_eq!((story.item.text.as_str(), story.steps.len()), ("", 0));
    // The key made a message; the message is here; the number is taken.
    ours.id = MessageId([6; 16]);
    ours.seq = 3;
    let again = vec![
        StoreOp::QueueMessage(ours),
        StoreOp::Receive(theirs.clone()),
    ];
    let known = done(writer.conn.as_ref().expect("open"), &again);
    assert_eq!(
        known,
        [
            StoreResult::Known(MessageId([1; 16])),
            StoreResult::Duplicate { seq_reused: false }
        ]
    );
    theirs.hash = EnvelopeHash([1; 32]);
    let other = done(
        writer.conn.as_ref().expect("open"),
        &[StoreOp::Receive(theirs.clone())],
    );
    assert_eq!(other, [StoreResult::Conflict]);
    theirs.id = MessageId([7; 16]);
    let reused = done(
        writer.conn.as_ref().expect("open"),
        &[StoreOp::Receive(theirs)],
    );
    assert_eq!(reused, [StoreResult::Inserted { seq_reused: true }]);
    assert_eq!(results(&mut answered).len(), 1);
}

#[test]
fn what_makes_the_store_smaller_may_use_the_room_kept_for_it() {
    let place = place();
    let (mut writer, mut answered) = writer(&place);
    let (_jobs, mut jobs) = mpsc::channel(64);
    let queued = |n: u8| StoreOp::QueueMessage(outgoing(n, "carol", n.into(), 1));
    writer.batch(write(1, (1..40).map(queued).collect()), &mut jobs);
    let limit = |writer: &Writer, pages: i64| {
        let sql = format!("PRAGMA max_page_count = {pages}");
        let conn = writer.conn.as_ref().expect("open");
        conn.query_row(&sql, [], |r| r.get::<_, i64>(0))
            .expect("set");
    };
    limit(&writer, 1);
    ballast::keep(&place.home);
    let large = |n: u8| {
        let mut row = outgoing(n, "carol", n.into(), 1);
        row.text = "x".repeat(60_000);
        StoreOp::QueueMessage(row)
    };
    writer.batch(write(2, vec![large(50)]), &mut jobs);
    assert!(
        place.home.ballast().exists(),
        "not for what makes it larger"
    );
    let ends = (1..40).map(|n| {
        let mut end = state(n, DeliveryState::Rejected, 5);
        if let StoreOp::SetState { reason, .. } = &mut end {
            *reason = Some("y".repeat(2_000));
        }
        end
    });
    writer.batch(write(3, ends.collect()), &mut jobs);
    assert!(!place.home.ballast().exists());
    let want = [(1, Ok(39)), (2, Err(true)), (3, Err(true))];
    assert_eq!(results(&mut answered), want);
    limit(&writer, 100_000);
    let end = state(1, DeliveryState::Rejected, 5);
    writer.batch(write(4, vec![end]), &mut jobs);
    assert_eq!(results(&mut answered), [(4, Ok(1))]);
}

#[test]
fn all_of_the_store_is_checked_once_a_week() {
    let place = place();
    let start = |place: &Place| open::open_writer(&place.home, open::Check::Quick).expect("opened");
    let checked = |db: &Connection| -> i64 {
        let sql = "SELECT checked_ms FROM own";
        db.query_row(sql, [], |r| r.get(0)).expect("asked")
    };
    let db = start(&place);
    load::load(&db, &own()).expect("loaded");
    assert_eq!(checked(&db), 0);
    drop(db);
    let db = start(&place);
    let first = checked(&db);
    assert!(first > 0, "checked at the second start");
    let old = first - CHECK_ALL_EVERY_MS.cast_signed() + 60_000;
    for (was, again) in [(old, false), (old - 120_000, true), (first * 2, true)] {
        db.execute("UPDATE own SET checked_ms = ?1", [was])
            .expect("set");
        let db = start(&place);
        assert_eq!(checked(&db) != was, again, "{was}");
    }
}

/// Writes junk over every page a table or an index of it begins with, as a failing disk does.
fn damage(place: &Place, conn: &Connection, table: &str) {
    let ask = "PRAGMA wal_checkpoint(TRUNCATE); PRAGMA shrink_memory;";
    conn.execute_batch(ask).expect("nothing of it in memory");
    let ask = "PRAGMA page_size";
    let size: u32 = conn.query_row(ask, [], |r| r.get(0)).expect("a size");
    let sql = "SELECT rootpage FROM sqlite_master WHERE tbl_name = ?1 AND rootpage > 0";
    let mut roots = conn.prepare(sql).expect("prepared");
    let roots = roots.query_map([table], |r| r.get::<_, u32>(0));
    let roots: Vec<u32> = roots.expect("asked").flatten().collect();
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(place.home.database());
    let mut file = file.expect("there");
    for root in roots {
        let at = u64::from(root - 1) * u64::from(size);
        file.seek(SeekFrom::Start(at)).expect("sought");
        file.write_all(&[0xff; 512]).expect("written");
    }
}

#[test]
fn a_damaged_store_is_noticed_by_deleting_too() {
    let place = place();
    let (mut writer, mut answered) = writer(&place);
    let (_tx, mut jobs) = mpsc::channel(1);
    damage(&place, writer.conn.as_ref().expect("open"), "inbox");
    let (answer, mut told) = oneshot::channel();
    let user = label("carol");
    writer.batch(Job::Forget { user, answer }, &mut jobs);
    let outcome = told.try_recv().expect("an answer");
    assert!(outcome.is_err(), "{outcome:?}");
    let failed = std::iter::from_fn(|| answered.try_recv().ok());
    let failed = failed.filter(|answer| matches!(answer, Answer::Failed(Some(_))));
    assert!(failed.count() > 0, "it is closed, opened and checked");
}
