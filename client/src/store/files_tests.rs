//! Files in the store: kept while they are on their way, bound to the message that offers them.

use super::super::load;
use super::super::tests::{
    Place, conn, done, incoming, label, loaded, outgoing, own, place, reader, release,
};
use beeline_proto::id::{DeviceFp, EnvelopeHash, MessageId, UserFp};
use beeline_proto::pb::peer::v1::FileReason;
use client_core::event::DeliveryState;
use client_core::files::rows::{
    FileEnded, FileInRow, FileInState, FileInfo, FileKey, FileLoad, FileOp, FileOutRow,
    FileOutState, SmallFile,
};
use client_core::state::StoreOp;

fn info() -> FileInfo {
    FileInfo {
        name: "holiday.mov".to_owned(),
        size: 1 << 40,
        root: [1; 32],
        key: FileKey::new([2; 32]),
        chunk_size: 65_536,
        list_len: 300,
        files: 2,
        content: None,
    }
}

fn ours(n: u8) -> FileOutRow {
    FileOutRow {
        id: MessageId([n; 16]),
        to: label("carol"),
        info: info(),
        source: "/films/holiday.mov".to_owned(),
        state: FileOutState::Offered,
        reason: FileReason::Unspecified,
        held: false,
        born_ms: 7,
    }
}

fn theirs(n: u8) -> FileInRow {
    FileInRow {
        device: DeviceFp([9; 32]),
        id: MessageId([n; 16]),
        user: UserFp([8; 32]),
        from: label("carol"),
        hash: EnvelopeHash([n; 32]),
        info: info(),
        state: FileInState::Offered,
        reason: FileReason::Unspecified,
        path: String::new(),
        held: false,
        told: false,
        born_ms: 8,
    }
}

fn file(op: FileOp) -> StoreOp {
    StoreOp::File(op)
}

fn on_disk(place: &Place) -> FileLoad {
    loaded(place).files
}

#[test]
fn a_file_of_ours_is_there_until_it_ended() {
    let place = place();
    let db = conn(&place);
    let (start, _) = load::load(&db, &own()).expect("loaded");
    let queue = StoreOp::QueueMessage(outgoing(1, "carol", 1, start.incarnation));
    // One whose message was not queued is not kept.
    done(
        &db,
        &[
            queue,
            file(FileOp::AddOut(ours(1))),
            file(FileOp::AddOut(ours(2))),
        ],
    );
    assert_eq!(on_disk(&place).out, [ours(1)]);
    let set = |state, reason| {
        let id = MessageId([1; 16]);
        file(FileOp::SetOut { id, state, reason })
    };
    done(&db, &[set(FileOutState::Wanted, FileReason::Unspecified)]);
    assert_eq!(on_disk(&place).out[0].state, FileOutState::Wanted);
    for on in [true, false] {
        let id = MessageId([1; 16]);
        done(&db, &[file(FileOp::HoldOut { id, on })]);
        assert_eq!(on_disk(&place).out[0].held, on);
        assert_eq!(reader(&place).files().expect("read").len(), 1);
    }
    done(&db, &[set(FileOutState::Ended, FileReason::NoRoom)]);
    assert!(reader(&place).files().expect("read").is_empty());
    let kept = on_disk(&place);
    assert!(kept.out.is_empty());
    // Who was away hears why.
    let ended = FileEnded {
        id: MessageId([1; 16]),
        to: label("carol"),
        reason: FileReason::NoRoom,
    };
    assert_eq!(kept.ended, [ended]);
}

#[test]
fn a_file_for_us_is_there_until_its_sender_knows_what_became_of_it() {
    let place = place();
    let db = conn(&place);
    load::load(&db, &own()).expect("loaded");
    let key = (DeviceFp([9; 32]), MessageId([1; 16]));
    let other = FileInRow {
        hash: EnvelopeHash([7; 32]),
        ..theirs(1)
    };
    // The offer must be there, and be the very one.
    done(&db, &[file(FileOp::AddIn(theirs(1)))]);
    done(
        &db,
        &[StoreOp::Receive(incoming(1, 1)), file(FileOp::AddIn(other))],
    );
    assert!(on_disk(&place).incoming.is_empty());
    done(
        &db,
        &[
            StoreOp::Receive(incoming(1, 1)),
            file(FileOp::AddIn(theirs(1))),
        ],
    );
    assert_eq!(on_disk(&place).incoming, [theirs(1)]);
    for on in [true, false] {
        done(&db, &[file(FileOp::HoldIn { key, on })]);
        assert_eq!(on_disk(&place).incoming[0].held, on);
    }
    let set = |state, reason, path: &str| {
        let path = path.to_owned();
        file(FileOp::SetIn {
            key,
            state,
            reason,
            path,
        })
    };
    done(
        &db,
        &[set(
            FileInState::Done,
            FileReason::Unspecified,
            "/in/holiday.mov",
        )],
    );
    // What comes again changes nothing.
    done(
        &db,
        &[
            StoreOp::Receive(incoming(1, 1)),
            file(FileOp::AddIn(theirs(1))),
        ],
    );
    let kept = on_disk(&place).incoming;
    assert_eq!(
        (kept[0].state, kept[0].path.as_str()),
        (FileInState::Done, "/in/holiday.mov")
    );
    done(&db, &[file(FileOp::ToldIn(key))]);
    assert!(on_disk(&place).incoming.is_empty());
}

#[test]
fn a_message_to_show_carries_the_file_it_offers() {
    let place = place();
    let db = conn(&place);
    load::load(&db, &own()).expect("loaded");
    let said = |n: u8, text: &str| {
        let mut row = incoming(n, u64::from(n));
        row.text = text.to_owned();
        StoreOp::Receive(row)
    };
    // The second is a text that somebody typed.
    let text = "[file] holiday.mov, 5 bytes";
    let ops = [said(1, text), file(FileOp::AddIn(theirs(1))), said(2, text)];
    done(&db, &ops);
    done(&db, &[said(3, "hello")]);
    done(&db, &[release(1, 2), release(2, 3), release(3, 4)]);
    let shown = || reader(&place).unshown(9).expect("asked");
    let files: Vec<_> = shown().into_iter().map(|m| m.file).collect();
    let offered = files[0].as_ref().expect("it offers one");
    assert_eq!(
        (offered.name.as_str(), offered.size, offered.state),
        ("holiday.mov", 1 << 40, FileInState::Offered)
    );
    assert_eq!(files[1..], [None, None]);
    let set = FileOp::SetIn {
        key: (DeviceFp([9; 32]), MessageId([1; 16])),
        state: FileInState::Done,
        reason: FileReason::Unspecified,
        path: "/in/holiday.mov".to_owned(),
    };
    done(&db, &[file(set)]);
    let path = shown()[0].file.as_ref().map(|file| file.path.clone());
    assert_eq!(path.as_deref(), Some("/in/holiday.mov"));
}

#[test]
fn a_deleted_conversation_takes_its_files_along() {
    let place = place();
    let db = conn(&place);
    let (start, _) = load::load(&db, &own()).expect("loaded");
    let queue = StoreOp::QueueMessage(outgoing(1, "carol", 1, start.incarnation));
    done(&db, &[queue, file(FileOp::AddOut(ours(1)))]);
    super::forget(&db, &label("carol")).expect("nothing is over");
    assert_eq!(on_disk(&place).out.len(), 1);
    let (id, reason) = (MessageId([1; 16]), FileReason::Unspecified);
    let state = FileOutState::Done;
    done(&db, &[file(FileOp::SetOut { id, state, reason })]);
    super::forget(&db, &label("carol")).expect("deleted");
    let left: i64 = db
        .query_row("SELECT count(*) FROM files_out", [], |row| row.get(0))
        .expect("counted");
    assert_eq!(left, 0);
    let history = reader(&place).history(&label("carol"), 9).expect("read");
    assert_eq!(history[0].state, DeliveryState::Queued);
}

#[test]
fn the_content_of_a_small_file_is_there_as_long_as_it_is_needed_and_then_nowhere() {
    let place = place();
    let db = conn(&place);
    let (start, _) = load::load(&db, &own()).expect("loaded");
    let small = FileInfo {
        size: 5,
        list_len: 0,
        files: 0,
        content: Some(SmallFile::new(b"hello".to_vec())),
        ..info()
    };
    let mut out = ours(1);
    out.info = small.clone();
    let mut incoming_row = theirs(2);
    incoming_row.info = small;
    let queue = StoreOp::QueueMessage(outgoing(1, "carol", 1, start.incarnation));
    let receive = StoreOp::Receive(incoming(2, 1));
    done(
        &db,
        &[
            queue,
            file(FileOp::AddOut(out.clone())),
            receive,
            file(FileOp::AddIn(incoming_row.clone())),
        ],
    );
    let kept = on_disk(&place);
    assert_eq!((&kept.out[0], &kept.incoming[0]), (&out, &incoming_row));
    let reason = FileReason::Unspecified;
    let key = (DeviceFp([9; 32]), MessageId([2; 16]));
    let set = |state| {
        let path = String::new();
        file(FileOp::SetIn {
            key,
            state,
            reason,
            path,
        })
    };
    done(&db, &[set(FileInState::Accepted)]);
    assert!(on_disk(&place).incoming[0].info.is_small());
    let (id, state) = (MessageId([1; 16]), FileOutState::Done);
    let over = file(FileOp::SetOut { id, state, reason });
    done(&db, &[over, set(FileInState::Declined)]);
    assert!(!on_disk(&place).incoming[0].info.is_small());
    let left: i64 = db
        .query_row(
            "SELECT (SELECT count(content) FROM files_in) + (SELECT count(content) FROM files_out)",
            [],
            |row| row.get(0),
        )
        .expect("counted");
    assert_eq!(left, 0);
}
