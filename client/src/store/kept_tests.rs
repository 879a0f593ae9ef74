//! What is kept under test: once, in order, page by page, for its recipient alone, over restarts.

use super::super::ops::apply;
use super::super::{Own, load, open};
use super::*;
use crate::home::Home;

const NEW: StoreResult = StoreResult::Inserted { seq_reused: false };

/// A home of its own, gone with the value.
struct Place {
    _dir: tempfile::TempDir,
    home: Home,
}

fn place() -> Place {
    let dir = tempfile::tempdir().expect("a directory");
    let home = Home::at(&dir.path().join("home"));
    home.prepare().expect("made");
    Place { _dir: dir, home }
}

fn conn(place: &Place) -> Connection {
    open::open_writer(&place.home, open::Check::Full).expect("opened")
}

fn loaded(conn: &Connection) -> KeptLoad {
    let own = Own::default();
    load::load(conn, &own).expect("loaded").0.kept
}

fn row(order: u64, recipient: u8, user: u8, len: usize) -> KeptRow {
    let mut id = [recipient; 32];
    id[..8].copy_from_slice(&order.to_be_bytes());
    KeptRow {
        order,
        recipient: DeviceFp([recipient; 32]),
        user: UserFp([user; 32]),
        id: ParcelId(id),
        expires_ms: 1_000 * order,
        parcel: vec![order as u8; len],
    }
}

fn one(conn: &Connection, op: StoreOp) -> StoreResult {
    let results = apply(conn, &[op], 1).expect("applied");
    results.into_iter().next().expect("one result")
}

fn page(
    conn: &Connection,
    recipient: u8,
    after: u64,
    limit: u32,
    bytes_max: u64,
) -> (Vec<u64>, bool) {
    let op = StoreOp::ReadKept {
        recipient: DeviceFp([recipient; 32]),
        after,
        limit,
        bytes_max,
    };
    let StoreResult::Page { parcels, more } = one(conn, op) else {
        panic!("a page");
    };
    for parcel in &parcels {
        assert!(parcel.parcel.iter().all(|byte| *byte == parcel.order as u8));
    }
    (parcels.iter().map(|parcel| parcel.order).collect(), more)
}

fn sum(recipient: u8, user: u8, parcels: u64, bytes: u64) -> KeptSum {
    KeptSum {
        recipient: DeviceFp([recipient; 32]),
        user: UserFp([user; 32]),
        parcels,
        bytes,
    }
}

#[test]
fn a_parcel_is_kept_once_for_each_recipient() {
    let place = place();
    let db = conn(&place);
    let first = row(1, 7, 1, 100);
    assert_eq!(one(&db, StoreOp::Keep(first.clone())), NEW);
    let again = KeptRow {
        order: 2,
        expires_ms: 9_999,
        ..first.clone()
    };
    let kept = StoreResult::Kept { expires_ms: 1_000 };
    assert_eq!(one(&db, StoreOp::Keep(again)), kept);
    let other = KeptRow {
        order: 3,
        recipient: DeviceFp([8; 32]),
        ..first.clone()
    };
    assert_eq!(one(&db, StoreOp::Keep(other)), NEW);
    let find = |recipient: u8| StoreOp::FindKept {
        recipient: DeviceFp([recipient; 32]),
        id: first.id,
    };
    assert_eq!(one(&db, find(7)), kept);
    assert_eq!(one(&db, find(9)), StoreResult::Missing);
    let load = loaded(&db);
    assert_eq!(load.sums, [sum(7, 1, 1, 100), sum(8, 1, 1, 100)]);
    assert_eq!(load.order, 3);
}

#[test]
fn an_order_given_out_twice_is_a_defect_and_changes_nothing() {
    let place = place();
    let db = conn(&place);
    one(&db, StoreOp::Keep(row(1, 7, 1, 10)));
    let ops = [StoreOp::Keep(row(1, 8, 1, 10))];
    apply(&db, &ops, 1).expect_err("the order is taken");
    assert_eq!(loaded(&db).sums, [sum(7, 1, 1, 10)]);
}

#[test]
fn pages_follow_the_order_and_end_at_each_bound() {
    let place = place();
    let db = conn(&place);
    for order in 1..=10 {
        one(
            &db,
            StoreOp::Keep(row(order, 7 + (order % 2) as u8, 1, 100)),
        );
    }
    for (after, limit, bytes_max, orders, more) in [
        (0, 64, u64::MAX, vec![2, 4, 6, 8, 10], false),
        (0, 5, u64::MAX, vec![2, 4, 6, 8, 10], false),
        (0, 4, u64::MAX, vec![2, 4, 6, 8], true),
        (0, 1, u64::MAX, vec![2], true),
        (0, 0, u64::MAX, vec![], true),
        (0, 64, 0, vec![2], true),
        (0, 64, 100, vec![2], true),
        (0, 64, 199, vec![2], true),
        (0, 64, 200, vec![2, 4], true),
        (0, 64, 499, vec![2, 4, 6, 8], true),
        (0, 64, 500, vec![2, 4, 6, 8, 10], false),
        (8, 64, 0, vec![10], false),
        (9, 64, u64::MAX, vec![10], false),
        (10, 64, u64::MAX, vec![], false),
        (u64::MAX, u32::MAX, u64::MAX, vec![], false),
        (1 << 63, 64, u64::MAX, vec![], false),
    ] {
        let got = page(&db, 7, after, limit, bytes_max);
        assert_eq!(got, (orders, more), "{after} {limit} {bytes_max}");
    }
    assert_eq!(page(&db, 9, 0, 64, u64::MAX), (vec![], false));
}

#[test]
fn a_page_is_one_range_scan() {
    let place = place();
    let db = conn(&place);
    let plan = |sql: &str| -> String {
        let mut statement = db
            .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
            .expect("a plan");
        let count = statement.parameter_count();
        let params = rusqlite::params_from_iter(vec![rusqlite::types::Null; count]);
        let lines = statement.query_map(params, |row| row.get::<_, String>(3));
        let lines: rusqlite::Result<Vec<String>> = lines.expect("asked").collect();
        lines.expect("read").join("; ")
    };
    let page = plan(
        "SELECT n, bytes, parcel FROM kept INDEXED BY kept_page
         WHERE recipient = ?1 AND n > ?2 ORDER BY n LIMIT ?3",
    );
    assert_eq!(
        page,
        "SEARCH kept USING INDEX kept_page (recipient=? AND n>?)"
    );
    let sums = plan(
        "SELECT recipient, user_fp, count(*), sum(bytes) FROM kept INDEXED BY kept_page
         GROUP BY recipient, user_fp",
    );
    assert!(sums.contains("COVERING INDEX kept_page"), "{sums}");
    let due = plan("SELECT n FROM kept WHERE expires_ms <= ?1 ORDER BY expires_ms LIMIT ?2");
    assert_eq!(
        due,
        "SEARCH kept USING COVERING INDEX kept_end (expires_ms<?)"
    );
}

#[test]
fn a_recipient_deletes_its_own_and_hears_how_much_it_was() {
    let place = place();
    let db = conn(&place);
    for (order, recipient, user) in [(1, 7, 1), (2, 7, 2), (3, 7, 1), (4, 8, 1)] {
        one(&db, StoreOp::Keep(row(order, recipient, user, 100)));
    }
    let drop = |recipient: u8, ids: Vec<ParcelId>| StoreOp::DropKept {
        recipient: DeviceFp([recipient; 32]),
        ids,
    };
    let id = |order, recipient| row(order, recipient, 0, 0).id;
    let gone = one(&db, drop(8, vec![id(1, 7), id(2, 7), ParcelId([0; 32])]));
    assert_eq!(
        gone,
        StoreResult::Gone(vec![]),
        "of others it can name none"
    );
    let mine = vec![id(1, 7), id(2, 7), id(3, 7), id(1, 7)];
    let gone = one(&db, drop(7, mine.clone()));
    let sums = vec![sum(7, 1, 2, 200), sum(7, 2, 1, 100)];
    assert_eq!(gone, StoreResult::Gone(sums));
    assert_eq!(one(&db, drop(7, mine)), StoreResult::Gone(vec![]));
    assert_eq!(loaded(&db).sums, [sum(8, 1, 1, 100)]);
}

#[test]
fn what_has_ended_goes_a_little_at_a_time() {
    let place = place();
    let db = conn(&place);
    for order in 1..=10 {
        one(&db, StoreOp::Keep(row(order, 7, 1, 10)));
    }
    let expire = |steady_ms, limit| StoreOp::ExpireKept { steady_ms, limit };
    assert_eq!(one(&db, expire(999, 64)), StoreResult::Gone(vec![]));
    let gone = |parcels| StoreResult::Gone(vec![sum(7, 1, parcels, parcels * 10)]);
    assert_eq!(one(&db, expire(1_000, 64)), gone(1));
    assert_eq!(one(&db, expire(8_000, 4)), gone(4));
    assert_eq!(one(&db, expire(8_000, 4)), gone(3));
    assert_eq!(one(&db, expire(8_000, 4)), StoreResult::Gone(vec![]));
    assert_eq!(one(&db, expire(8_000, 0)), StoreResult::Gone(vec![]));
    let load = loaded(&db);
    assert_eq!(load.order, 10);
    drop(db);
    let db = conn(&place);
    assert_eq!(loaded(&db), load, "as it was, after a restart");
    assert_eq!(page(&db, 7, 0, 64, u64::MAX).0, [9, 10]);
}

#[test]
fn a_write_that_is_rolled_back_keeps_nothing_and_a_full_disk_refuses() {
    let place = place();
    let mut db = conn(&place);
    let tx = db.transaction().expect("begun");
    apply(&tx, &[StoreOp::Keep(row(1, 7, 1, 10))], 1).expect("applied");
    tx.rollback().expect("rolled back");
    assert_eq!(loaded(&db).sums, []);
    let pages: i64 = db
        .pragma_query_value(None, "page_count", |row| row.get(0))
        .expect("asked");
    db.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
        .expect("set");
    let mut kept = 0;
    for order in 1..=20 {
        match apply(&db, &[StoreOp::Keep(row(order, 7, 1, 16_000))], 1) {
            Ok(_) => kept += 1,
            Err(_) => break,
        }
    }
    assert!(kept < 20, "the disk is full");
    assert_eq!(
        page(&db, 7, 0, 64, u64::MAX).0.len(),
        kept,
        "nothing half kept"
    );
}

#[test]
fn an_older_home_is_moved_on_and_keeps_what_it_has() {
    let place = place();
    // As a home was before it could keep anything.
    let old = Connection::open(place.home.database()).expect("made");
    old.execute_batch(include_str!("../../../migrations/client/0001_client.sql"))
        .expect("the first step");
    old.pragma_update(None, "user_version", 1).expect("set");
    drop(old);
    let db = conn(&place);
    assert_eq!(loaded(&db), KeptLoad::default());
    assert_eq!(one(&db, StoreOp::Keep(row(1, 7, 1, 10))), NEW);
}
