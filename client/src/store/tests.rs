//! The store under test: every operation, crashes, a full disk, sharing of commits.

use super::ops::{apply, mark};
use super::writer::Writer;
use super::*;
use crate::limits::GROUP_COMMIT_MAX;
use crate::report::Unshown;
use beeline_proto::id::{DeviceFp, EnvelopeHash, KeyId, Label, MessageId, UserFp};
use beeline_proto::keys::SealSecret;
use client_core::event::{DeliveryState, Path, Rung};
use client_core::state::{BundleRow, ContactRow, InboxRow, OutboxRow, RouteRow, StreamRow};
use rusqlite::Connection;

/// A home of its own, gone with the value.
pub(super) struct Place {
    _dir: tempfile::TempDir,
    pub(super) home: Home,
}

pub(super) fn place() -> Place {
    let dir = tempfile::tempdir().expect("a directory");
    let home = Home::at(&dir.path().join("home"));
    home.prepare().expect("made");
    Place { _dir: dir, home }
}

pub(super) fn label(text: &str) -> Label {
    Label::new(text).expect("label")
}

pub(super) fn own() -> Own {
    Own {
        chain: vec![1],
        revocations: vec![2],
    }
}

pub(super) fn outgoing(n: u8, to: &str, seq: u64, incarnation: u64) -> OutboxRow {
    OutboxRow {
        id: MessageId([n; 16]),
        to: label(to),
        seq,
        incarnation,
        text: format!("text {n}"),
        queued_ms: 1_000 + u64::from(n),
        born_ms: 500 + u64::from(n),
        envelope: None,
        parcels: Vec::new(),
        acked: Vec::new(),
        state: DeliveryState::Queued,
        idempotency_key: None,
    }
}

pub(super) fn incoming(n: u8, seq: u64) -> InboxRow {
    InboxRow {
        id: MessageId([n; 16]),
        device: DeviceFp([9; 32]),
        user: UserFp([8; 32]),
        from: label("carol"),
        hash: EnvelopeHash([n; 32]),
        envelope: vec![n; 40],
        incarnation: u64::MAX,
        seq,
        text: format!("to you {n}"),
        path: Path::Direct,
        sent_at_ms: 500,
        received_ms: 2_000 + u64::from(n),
    }
}

pub(super) fn release(n: u8, next_seq: u64) -> StoreOp {
    let device = DeviceFp([9; 32]);
    StoreOp::Release {
        device,
        id: MessageId([n; 16]),
        stream: StreamRow {
            device,
            incarnation: u64::MAX,
            next_seq,
        },
    }
}

pub(super) fn state(n: u8, state: DeliveryState, at_ms: u64) -> StoreOp {
    StoreOp::SetState {
        id: MessageId([n; 16]),
        state,
        rung: Some(Rung::Registry),
        path: Some(Path::Direct),
        reason: None,
        at_ms,
    }
}

pub(super) fn conn(place: &Place) -> Connection {
    open::open_writer(&place.home, open::Check::Full).expect("opened")
}

pub(super) fn loaded(place: &Place) -> Loaded {
    load::load(&conn(place), &own()).expect("loaded").0
}

pub(super) fn reader(place: &Place) -> Reader {
    let identity = crate::identity::tests::nobody();
    Reader::of(&place.home, &identity).expect("opened")
}

pub(super) fn done(conn: &Connection, ops: &[StoreOp]) -> Vec<StoreResult> {
    apply(conn, ops, 77).expect("applied")
}

#[test]
fn a_new_store_knows_itself_and_keeps_knowing() {
    let place = place();
    let (first, mine) = load::load(&conn(&place), &own()).expect("loaded");
    assert_ne!(first.incarnation, 0);
    assert_eq!(mine, own());
    let conn = conn(&place);
    let other = Own::default();
    let (again, mine) = load::load(&conn, &other).expect("loaded");
    assert_eq!((again.incarnation, mine), (first.incarnation, own()));
    let newer = StoreOp::PutOwnChain {
        chain: vec![3],
        revocations: vec![4],
    };
    done(&conn, &[newer, StoreOp::SetIncarnation(u64::MAX)]);
    let (after, mine) = load::load(&conn, &other).expect("loaded");
    assert_eq!(after.incarnation, u64::MAX);
    assert_eq!((mine.chain, mine.revocations), (vec![3], vec![4]));
}

#[test]
fn a_message_of_ours_is_kept_whole_until_it_is_final() {
    let place = place();
    let db = conn(&place);
    let (start, _) = load::load(&db, &own()).expect("loaded");
    let mut row = outgoing(1, "carol", 1, start.incarnation);
    row.idempotency_key = Some("k".to_owned());
    let queue = StoreOp::QueueMessage(row.clone());
    let fresh = StoreResult::Inserted { seq_reused: false };
    assert_eq!(done(&db, &[queue]), std::slice::from_ref(&fresh));

    let mut repeat = outgoing(2, "carol", 2, start.incarnation);
    repeat.idempotency_key = Some("k".to_owned());
    let sealed = StoreOp::SetSealed {
        id: repeat.id,
        envelope: vec![5],
        parcels: vec![(DeviceFp([4; 32]), vec![6])],
    };
    let results = done(&db, &[StoreOp::QueueMessage(repeat.clone()), sealed]);
    assert_eq!(results, [StoreResult::Known(row.id), StoreResult::Done]);
    repeat.to = label("bob");
    repeat.seq = 1;
    assert_eq!(done(&db, &[StoreOp::QueueMessage(repeat)]), [fresh]);

    let seal = |parcels: &[(u8, u8)]| StoreOp::SetSealed {
        id: row.id,
        envelope: vec![7; 100],
        parcels: parcels
            .iter()
            .map(|(d, p)| (DeviceFp([*d; 32]), vec![*p]))
            .collect(),
    };
    done(&db, &[seal(&[(1, 1), (2, 2)]), seal(&[(1, 3)])]);
    let after = load::load(&db, &own()).expect("loaded").0;
    assert_eq!(after.outbox.len(), 2);
    let mine = after.outbox.iter().find(|r| r.id == row.id).expect("there");
    let mut want = row.clone();
    want.envelope = Some(vec![7; 100]);
    want.parcels = vec![(DeviceFp([1; 32]), vec![3])];
    assert_eq!(*mine, want);
    assert_eq!(after.seqs, [(label("bob"), 1), (label("carol"), 1)]);

    let changed = StoreOp::SetSealed {
        id: row.id,
        envelope: vec![8],
        parcels: Vec::new(),
    };
    apply(&db, &[changed], 0).expect_err("a signed message never changes");
    done(
        &db,
        &[
            state(1, DeliveryState::Trying, 1_100),
            state(1, DeliveryState::Delivered, 1_200),
        ],
    );
    let after = load::load(&db, &own()).expect("loaded").0;
    assert_eq!(after.outbox.len(), 1, "only bob's is open");
    let parcels: i64 = db
        .query_row("SELECT count(*) FROM outbox_parcels", [], |r| r.get(0))
        .expect("asked");
    assert_eq!(parcels, 0);
    assert_eq!(
        after.seqs.len(),
        2,
        "sequence numbers outlive their messages"
    );
}

#[test]
fn a_message_for_us_is_taken_once_for_ever() {
    let place = place();
    let db = conn(&place);
    let receive = |row: &InboxRow| done(&db, &[StoreOp::Receive(row.clone())]);
    let row = incoming(1, 1);
    assert_eq!(receive(&row), [StoreResult::Inserted { seq_reused: false }]);
    assert_eq!(
        receive(&row),
        [StoreResult::Duplicate { seq_reused: false }]
    );
    let mut forged = row.clone();
    forged.hash = EnvelopeHash([99; 32]);
    assert_eq!(receive(&forged), [StoreResult::Conflict]);
    let mut other_device = row.clone();
    other_device.device = DeviceFp([10; 32]);
    let fresh = StoreResult::Inserted { seq_reused: false };
    assert_eq!(receive(&other_device), [fresh]);
    assert_eq!(
        receive(&incoming(2, 1)),
        [StoreResult::Inserted { seq_reused: true }]
    );

    let held = load::load(&db, &own()).expect("loaded").0.held;
    assert_eq!(held.len(), 3);
    assert_eq!(held[0], row);
    done(&db, &[release(1, 2)]);
    let after = load::load(&db, &own()).expect("loaded").0;
    assert_eq!(after.held.len(), 2);
    assert_eq!(after.streams.len(), 1);
    assert_eq!(
        (after.streams[0].incarnation, after.streams[0].next_seq),
        (u64::MAX, 2)
    );
    assert_eq!(
        receive(&row),
        [StoreResult::Duplicate { seq_reused: true }],
        "after the release too"
    );
}

#[test]
fn messages_are_shown_in_the_order_of_release_and_again_after_a_crash() {
    let place = place();
    let db = conn(&place);
    for n in [3, 1, 2] {
        done(&db, &[StoreOp::Receive(incoming(n, n.into()))]);
    }
    for n in [1, 2, 3] {
        done(
            &db,
            &[release(n, u64::from(n) + 1), release(n, u64::from(n) + 1)],
        );
    }
    let reader = reader(&place);
    let unshown = || reader.unshown(100).expect("asked");
    let seen = |all: &[Unshown]| -> Vec<(u8, bool)> {
        all.iter().map(|m| (m.key.id.0[0], m.again)).collect()
    };
    assert_eq!(seen(&unshown()), [(1, false), (2, false), (3, false)]);
    let first = unshown()[0].clone();
    assert_eq!(
        (first.from, first.text.as_str()),
        (label("carol"), "to you 1")
    );
    mark(&db, &[first.key], true, 90).expect("marked");
    assert_eq!(seen(&unshown()), [(1, true), (2, false), (3, false)]);
    mark(&db, &[first.key], false, 91).expect("marked");
    mark(&db, &[first.key], true, 92).expect("a shown one stays shown");
    assert_eq!(seen(&unshown()), [(2, false), (3, false)]);
    assert_eq!(reader.unshown(1).expect("asked").len(), 1);
    let steps: Vec<String> = reader
        .why(MessageId([1; 16]))
        .expect("known")
        .steps
        .into_iter()
        .map(|step| format!("{}@{}", step.state, step.at_ms))
        .collect();
    assert_eq!(
        steps,
        ["received@2001", "released@77", "showing@90", "shown@91"]
    );
}

#[test]
fn bundles_and_contacts_survive() {
    let place = place();
    let db = conn(&place);
    let publish = |n: u8, at_ms| StoreOp::PublishBundle {
        key_id: KeyId([n; 16]),
        at_ms,
    };
    let bundle = |n: u8, made_ms| BundleRow {
        key_id: KeyId([n; 16]),
        made_ms,
        born_ms: made_ms + 1,
        published_ms: 0,
        secret: SealSecret::from_bytes([n; 32]),
        envelope: vec![n],
    };
    done(
        &db,
        &[
            StoreOp::PutBundle(bundle(1, 10)),
            StoreOp::PutBundle(bundle(2, 20)),
            publish(1, 15),
            publish(1, 16),
        ],
    );
    let bundles = load::load(&db, &own()).expect("loaded").0.bundles;
    let dates: Vec<_> = bundles
        .iter()
        .map(|b| (b.made_ms, b.born_ms, b.published_ms))
        .collect();
    assert_eq!(dates, [(20, 21, 0), (10, 11, 15)]);
    assert_eq!(*bundles[1].secret.to_bytes(), [1; 32]);
    done(&db, &[StoreOp::EraseBundle(KeyId([1; 16]))]);
    assert_eq!(load::load(&db, &own()).expect("loaded").0.bundles.len(), 1);

    let contact = ContactRow {
        user: UserFp([1; 32]),
        label: label("carol"),
        chain: vec![1, 2],
        verified: true,
        claimed_chain: Some(vec![3]),
        knows_us: (4, 5),
        read_receipts: false,
    };
    let mut changed = contact.clone();
    changed.user = UserFp([2; 32]);
    done(
        &db,
        &[
            StoreOp::PutContact(contact),
            StoreOp::PutContact(changed.clone()),
        ],
    );
    assert_eq!(
        load::load(&db, &own()).expect("loaded").0.contacts,
        [changed]
    );
}

#[test]
fn routes_survive_until_they_are_removed() {
    let place = place();
    let db = conn(&place);
    let route = RouteRow {
        user_label: label("carol"),
        user: UserFp([1; 32]),
        device: DeviceFp([2; 32]),
        record: vec![9],
        signal_addr: "wss://example.org/carol_1".to_owned(),
        found_by: Rung::Coordinators,
        connected_ms: 1,
        seen_ms: 2,
        demoted_until_ms: 3,
    };
    let mut newer = route.clone();
    newer.seen_ms = 30;
    done(
        &db,
        &[StoreOp::PutRoute(route), StoreOp::PutRoute(newer.clone())],
    );
    assert_eq!(load::load(&db, &own()).expect("loaded").0.routes, [newer]);
    let routes = reader(&place).routes(2).expect("asked");
    assert_eq!((routes.len(), routes[0].demoted), (1, true));
    done(&db, &[StoreOp::RemoveRoute(DeviceFp([2; 32]))]);
    assert_eq!(load::load(&db, &own()).expect("loaded").0.routes, []);
}

#[test]
fn an_erased_secret_is_in_no_file() {
    let place = place();
    let secret = *b"the secret of one bundle, 32 b.!";
    let conn = conn(&place);
    load::load(&conn, &own()).expect("loaded");
    let (answers, mut answered) = mpsc::channel(64);
    let (_jobs, mut jobs) = mpsc::channel(64);
    let mut writer = Writer::new(conn, place.home.clone(), answers, Arc::default());
    let key_id = KeyId([1; 16]);
    let put = StoreOp::PutBundle(BundleRow {
        key_id,
        made_ms: 1,
        born_ms: 1,
        published_ms: 1,
        secret: SealSecret::from_bytes(secret),
        envelope: vec![1],
    });
    let on_disk = || {
        let files = std::fs::read_dir(place.home.dir()).expect("listed");
        let holds = |path: std::path::PathBuf| {
            let bytes = std::fs::read(path).expect("read");
            bytes.windows(32).any(|w| w == secret)
        };
        files.flatten().any(|file| holds(file.path()))
    };
    for (ticket, op) in [(1, put), (2, StoreOp::EraseBundle(key_id))] {
        assert_eq!(on_disk(), ticket == 2, "before write {ticket}");
        writer.batch(write(ticket, vec![op]), &mut jobs);
        let result = answered.blocking_recv().expect("answered");
        assert!(
            matches!(result, Answer::Done { result: Ok(_), .. }),
            "{result:?}"
        );
    }
    assert!(!on_disk());
}

pub(super) fn write(ticket: u64, ops: Vec<StoreOp>) -> Job {
    Job::Write(Write {
        ticket: StoreTicket(ticket),
        ops,
        at_ms: 1,
    })
}

/// A writer on this thread, with what it answers.
pub(super) fn writer(place: &Place) -> (Writer, mpsc::Receiver<Answer>) {
    let conn = conn(place);
    load::load(&conn, &own()).expect("loaded");
    let (answers, answered) = mpsc::channel(4_096);
    let writer = Writer::new(conn, place.home.clone(), answers, Arc::default());
    (writer, answered)
}

pub(super) fn results(answered: &mut mpsc::Receiver<Answer>) -> Vec<(u64, Result<usize, bool>)> {
    let mut all = Vec::new();
    while let Ok(answer) = answered.try_recv() {
        if let Answer::Done { ticket, result } = answer {
            let result = result.map(|r| r.len()).map_err(|f| f.transient);
            all.push((ticket.0, result));
        }
    }
    all
}

#[test]
fn one_bad_write_does_not_cost_its_neighbours() {
    let place = place();
    let (mut writer, mut answered) = writer(&place);
    let (tx, mut rx) = mpsc::channel(64);
    let good = |ticket: u64| {
        let n = u8::try_from(ticket).expect("small");
        write(
            ticket,
            vec![StoreOp::QueueMessage(outgoing(n, "carol", ticket, 1))],
        )
    };
    // The second operation repeats an id: the first must go with it.
    let bad = write(
        3,
        vec![
            StoreOp::QueueMessage(outgoing(30, "carol", 30, 1)),
            StoreOp::QueueMessage(outgoing(1, "carol", 31, 1)),
        ],
    );
    for job in [good(2), bad, good(4)] {
        tx.try_send(job).expect("room");
    }
    writer.batch(good(1), &mut rx);
    while let Ok(job) = rx.try_recv() {
        writer.batch(job, &mut rx);
    }
    let want = [(1, Ok(1)), (2, Ok(1)), (3, Err(false)), (4, Ok(1))];
    assert_eq!(results(&mut answered), want);
    drop(writer);
    let ids: Vec<u8> = loaded(&place)
        .outbox
        .iter()
        .map(|row| row.id.0[0])
        .collect();
    assert_eq!(ids, [1, 2, 4]);
}

#[test]
fn a_full_disk_refuses_what_does_not_fit_and_takes_the_rest_again() {
    let place = place();
    let (mut writer, mut answered) = writer(&place);
    let (tx, mut rx) = mpsc::channel(64);
    let pages = |writer: &Writer, pragma: &str, value: Option<i64>| -> i64 {
        let conn = writer.conn.as_ref().expect("open");
        let sql = value.map_or(format!("PRAGMA {pragma}"), |v| {
            format!("PRAGMA {pragma} = {v}")
        });
        conn.query_row(&sql, [], |r| r.get(0)).expect("asked")
    };
    let used = pages(&writer, "page_count", None);
    pages(&writer, "max_page_count", Some(used + 4));
    let message = |ticket: u64, len: usize| {
        let n = u8::try_from(ticket).expect("small");
        let mut row = outgoing(n, "carol", ticket, 1);
        row.text = "x".repeat(len);
        write(ticket, vec![StoreOp::QueueMessage(row)])
    };
    tx.try_send(message(2, 60_000)).expect("room");
    tx.try_send(message(3, 100)).expect("room");
    writer.batch(message(1, 100), &mut rx);
    while let Ok(job) = rx.try_recv() {
        writer.batch(job, &mut rx);
    }
    let want = [(1, Ok(1)), (2, Err(true)), (3, Ok(1))];
    assert_eq!(results(&mut answered), want);
    pages(&writer, "max_page_count", Some(1_000_000));
    writer.batch(message(2, 60_000), &mut rx);
    assert_eq!(results(&mut answered), [(2, Ok(1))]);
    drop(writer);
    assert_eq!(loaded(&place).outbox.len(), 3);
}

#[test]
fn a_crash_before_the_commit_leaves_nothing_and_after_it_everything() {
    let place = place();
    let db = conn(&place);
    load::load(&db, &own()).expect("loaded");
    db.execute_batch("BEGIN IMMEDIATE").expect("begun");
    done(&db, &[StoreOp::QueueMessage(outgoing(1, "carol", 1, 1))]);
    // A copy of the files as they are is what a power cut leaves behind.
    let copy = |name: &str| {
        let to = place.home.dir().parent().expect("parent").join(name);
        crate::unix::create_private_dir(&to).expect("made");
        for file in ["client.db", "client.db-wal"] {
            std::fs::copy(place.home.dir().join(file), to.join(file)).expect("copied");
        }
        Home::at(&to)
    };
    let before = copy("before");
    db.execute_batch("COMMIT").expect("committed");
    let after = copy("after");
    for (home, want) in [(before, 0), (after, 1)] {
        let conn = open::open_writer(&home, open::Check::Full).expect("opened");
        let outbox = load::load(&conn, &own()).expect("loaded").0.outbox;
        assert_eq!(outbox.len(), want);
    }
}

#[test]
fn after_a_broken_database_nothing_is_acknowledged() {
    let place = place();
    let (mut writer, mut answered) = writer(&place);
    let (_tx, mut rx) = mpsc::channel(64);
    writer.batch(
        write(1, vec![StoreOp::QueueMessage(outgoing(1, "carol", 1, 1))]),
        &mut rx,
    );
    let conn = writer.conn.as_ref().expect("open");
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |r| {
        r.get::<_, i64>(0)
    })
    .expect("emptied");
    conn.execute_batch("PRAGMA shrink_memory")
        .expect("forgotten");
    let pages = std::fs::metadata(place.home.database())
        .expect("there")
        .len();
    let mut bytes = std::fs::read(place.home.database()).expect("read");
    bytes[4096..].fill(0x5a);
    assert!(pages > 8192);
    std::fs::write(place.home.database(), bytes).expect("overwritten");
    for ticket in [2, 3] {
        let n = u8::try_from(ticket).expect("small");
        let row = outgoing(n, "carol", ticket, 1);
        writer.batch(write(ticket, vec![StoreOp::QueueMessage(row)]), &mut rx);
    }
    let mut failed = false;
    let mut refused = Vec::new();
    while let Ok(answer) = answered.try_recv() {
        match answer {
            Answer::Failed(detail) => failed |= detail.is_some(),
            Answer::Done { ticket, result } if ticket.0 > 1 => refused.push(result.is_err()),
            Answer::Done { .. } => {}
        }
    }
    assert!(failed);
    assert_eq!(refused, [true, true]);
}

#[tokio::test]
async fn answers_keep_the_order_and_close_gives_the_home_back() {
    let place = place();
    let lock = place.home.lock("test").expect("free");
    let Opened {
        store,
        mut answers,
        loaded,
        ..
    } = Store::open(&place.home, Some(lock), &own()).expect("opened");
    for n in 0..200u64 {
        let mut row = outgoing(0, "carol", n + 1, loaded.incarnation);
        row.id = MessageId(u128::from(n).to_be_bytes());
        let write = Write {
            ticket: StoreTicket(n),
            ops: vec![StoreOp::QueueMessage(row)],
            at_ms: 1,
        };
        store.try_write(vec![write]).expect("room");
    }
    for n in 0..200u64 {
        let answer = answers.recv().await.expect("answered");
        let Answer::Done { ticket, result } = answer else {
            panic!("{answer:?}");
        };
        assert_eq!(ticket.0, n, "answers keep the order");
        result.expect("committed");
    }
    assert!((1..=200).contains(&store.commits()));
    assert!(place.home.owner().is_some());
    store.close().await;
    assert_eq!(place.home.owner(), None);
    store.mark(&[], true).await.expect_err("it is closed");
    let late = Write {
        ticket: StoreTicket(900),
        ops: Vec::new(),
        at_ms: 1,
    };
    let refused = store.try_write(vec![late]).expect_err("it is closed");
    assert!(
        matches!(&refused, NotTaken::Ended(gone) if *gone == [StoreTicket(900)]),
        "{refused:?}"
    );
}

#[test]
fn writes_that_wait_share_one_commit() {
    let place = place();
    let (mut writer, mut answered) = writer(&place);
    writer.window = std::time::Duration::from_secs(3600);
    let commits = Arc::clone(&writer.commits);
    let (tx, mut rx) = mpsc::channel(1_024);
    let message = |n: u64| {
        let mut row = outgoing(0, "carol", n, 1);
        row.id = MessageId(u128::from(n).to_be_bytes());
        write(n, vec![StoreOp::QueueMessage(row)])
    };
    for n in 2..=200 {
        tx.try_send(message(n)).expect("room");
    }
    assert!(!writer.batch(message(1), &mut rx));
    assert_eq!(commits.load(Ordering::Relaxed), 1);
    assert_eq!(results(&mut answered).len(), 200);

    for n in 202..=201 + GROUP_COMMIT_MAX as u64 {
        tx.try_send(message(n)).expect("room");
    }
    tx.try_send(Job::Close).expect("room");
    assert!(
        !writer.batch(message(201), &mut rx),
        "full before it came to the close"
    );
    let left = rx.blocking_recv().expect("one too many");
    assert!(writer.batch(left, &mut rx), "the close is behind it");
    assert_eq!(commits.load(Ordering::Relaxed), 3);
    assert_eq!(results(&mut answered).len(), GROUP_COMMIT_MAX + 1);

    writer.window = std::time::Duration::ZERO;
    tx.try_send(message(900)).expect("room");
    writer.batch(message(901), &mut rx);
    assert_eq!(results(&mut answered).len(), 1, "nothing is added");
}

#[test]
fn both_sides_of_a_conversation_tell_one_story() {
    let place = place();
    let db = conn(&place);
    load::load(&db, &own()).expect("loaded");
    let ours = StoreOp::QueueMessage(outgoing(1, "carol", 1, 1));
    let theirs = StoreOp::Receive(incoming(2, 1));
    let stranger = StoreOp::QueueMessage(outgoing(3, "bob", 1, 1));
    done(&db, &[ours, theirs, stranger, release(2, 2)]);
    for at_ms in 1_100..1_400 {
        done(&db, &[state(1, DeliveryState::Trying, at_ms)]);
    }
    done(&db, &[state(1, DeliveryState::Delivered, 1_500)]);
    let reader = reader(&place);
    let history = reader.history(&label("carol"), 10).expect("asked");
    let lines: Vec<_> = history
        .iter()
        .map(|item| (item.ours, item.text.as_str(), item.state))
        .collect();
    let delivered = DeliveryState::Delivered;
    assert_eq!(
        lines,
        [(true, "text 1", delivered), (false, "to you 2", delivered)]
    );
    assert_eq!(
        reader.history(&label("carol"), 1).expect("asked")[0].text,
        "to you 2"
    );
    let story = reader.why(MessageId([1; 16])).expect("known");
    let steps: Vec<&str> = story.steps.iter().map(|s| s.state.as_str()).collect();
    assert_eq!(
        (steps[0], steps[1], steps[steps.len() - 1]),
        ("queued", "trying", "delivered")
    );
    assert_eq!(steps.len(), 66, "old tries are forgotten, the rest never");
    assert_eq!(story.steps[65].path, Some(Path::Direct));
    assert!(reader.why(MessageId([77; 16])).is_err());
    let counts = reader.counts().expect("asked");
    assert_eq!((counts.outbox, counts.unshown), (1, 1));
}
