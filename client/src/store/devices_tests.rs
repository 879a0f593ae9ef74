//! The store knows which devices have a message of ours, across restarts.

use super::tests::{conn, done, loaded, outgoing, place, state};
use beeline_proto::id::{DeviceFp, MessageId};
use client_core::event::DeliveryState;
use client_core::state::{OutboxRow, StoreOp};
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
