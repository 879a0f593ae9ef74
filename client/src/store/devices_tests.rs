//! The store knows which devices have a message of ours, across restarts.

use super::tests::{conn, done, label, loaded, outgoing, place, reader, state};
use beeline_proto::id::{DeviceFp, EnvelopeHash, MessageId, UserFp};
use client_core::event::DeliveryState;
use client_core::state::{CopyRow, OutboxRow, StoreOp, StoreResult};
use rusqlite::Connection;

const PHONE: DeviceFp = DeviceFp([1; 32]);
const LAPTOP: DeviceFp = DeviceFp([2; 32]);

/// A message with a parcel for each of two devices.
fn to_two(n: u8) -> StoreOp {
    StoreOp::QueueMessage(OutboxRow {
        envelope: Some(vec![n; 9]),
        parcels: vec![(PHONE, vec![n, 1]), (LAPTOP, vec![n, 2])],
        ..outgoing(n, "carol", u64::from(n), 7)
    })
}

fn acked(n: u8, device: DeviceFp) -> StoreOp {
    let id = MessageId([n; 16]);
    StoreOp::SetAcked { id, device }
}

fn counts(conn: &Connection) -> (i64, i64) {
    let count = |table: &str| -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        conn.query_row(&sql, [], |row| row.get(0)).expect("counts")
    };
    (count("outbox_parcels"), count("outbox_acks"))
}

#[test]
fn a_delivered_message_is_loaded_while_a_device_is_to_get_it() {
    let place = place();
    let delivered = state(1, DeliveryState::Delivered, 5_000);
    {
        let conn = conn(&place);
        done(&conn, &[to_two(1)]);
        done(&conn, &[acked(1, PHONE), delivered]);
        // READ ends nothing either.
        done(&conn, &[state(1, DeliveryState::Read, 6_000)]);
    }
    let row = loaded(&place).outbox.pop().expect("still served");
    assert_eq!(row.state, DeliveryState::Read);
    assert_eq!(row.acked, [PHONE]);
    assert_eq!(row.parcels, [(LAPTOP, vec![1, 2])]);

    let conn = conn(&place);
    // Sealed anew for the laptop: who has it is kept.
    let sealed = StoreOp::SetSealed {
        id: row.id,
        envelope: vec![1; 9],
        parcels: vec![(LAPTOP, vec![9])],
    };
    done(&conn, &[sealed, acked(1, PHONE)]);
    assert_eq!(counts(&conn), (1, 1));
    done(&conn, &[StoreOp::EndServing(row.id)]);
    assert_eq!(counts(&conn), (0, 0));
    assert!(loaded(&place).outbox.is_empty());
}

#[test]
fn a_message_for_one_device_leaves_nothing_behind() {
    let place = place();
    let conn = conn(&place);
    done(&conn, &[to_two(1), to_two(2), to_two(3)]);
    // Delivered to all there are; expired; and one nobody knows of.
    done(&conn, &[state(1, DeliveryState::Delivered, 5_000)]);
    done(
        &conn,
        &[acked(2, PHONE), state(2, DeliveryState::Expired, 5_000)],
    );
    done(
        &conn,
        &[acked(9, PHONE), StoreOp::EndServing(MessageId([9; 16]))],
    );
    assert_eq!(counts(&conn), (2, 0));
    let left = loaded(&place).outbox;
    assert_eq!(left.iter().map(|row| row.id.0[0]).collect::<Vec<_>>(), [3]);
}

#[test]
fn a_device_that_left_its_users_list_has_no_parcels() {
    let place = place();
    let conn = conn(&place);
    done(&conn, &[to_two(1), to_two(2)]);
    done(&conn, &[StoreOp::DropParcelsFor(PHONE)]);
    for row in loaded(&place).outbox {
        assert_eq!(row.parcels, [(LAPTOP, vec![row.id.0[0], 2])]);
    }
}

fn copy(n: u8, hash: u8) -> StoreOp {
    StoreOp::KeepCopy(CopyRow {
        id: MessageId([n; 16]),
        device: PHONE,
        to: label("carol"),
        user: UserFp([8; 32]),
        hash: EnvelopeHash([hash; 32]),
        envelope: vec![n; 40],
        incarnation: u64::MAX,
        seq: u64::from(n),
        text: format!("from the phone {n}"),
        sent_at_ms: 900,
        received_ms: 2_000 + u64::from(n),
    })
}

#[test]
fn a_copy_is_taken_once_and_told_as_sent_by_our_other_device() {
    let place = place();
    let conn = conn(&place);
    let inserted = StoreResult::Inserted { seq_reused: false };
    assert_eq!(
        done(&conn, &[copy(1, 1), copy(2, 2)]),
        [inserted.clone(), inserted]
    );
    let again = done(&conn, &[copy(1, 1), copy(1, 9)]);
    assert_eq!(
        again,
        [
            StoreResult::Duplicate { seq_reused: false },
            StoreResult::Conflict
        ]
    );
    done(&conn, &[StoreOp::QueueMessage(outgoing(3, "carol", 1, 7))]);
    let reader = reader(&place);
    let history = reader.history(&label("carol"), 10).expect("asked");
    let told: Vec<_> = history
        .iter()
        .map(|i| (i.ours, i.text.as_str(), i.sent_by))
        .collect();
    let by = Some(PHONE);
    assert_eq!(
        told,
        [
            (true, "text 3", None),
            (true, "from the phone 1", by),
            (true, "from the phone 2", by)
        ]
    );
    let story = reader.why(MessageId([2; 16])).expect("known");
    assert_eq!(story.item.sent_by, by);
    let steps: Vec<&str> = story.steps.iter().map(|s| s.state.as_str()).collect();
    assert_eq!(steps, ["copied"]);
    assert_eq!(reader.counts().expect("asked").unshown, 0);
}
