//! The store knows who keeps a message of ours, across restarts, and tells it for `why`.

use super::tests::{conn, done, loaded, outgoing, place, reader, state};
use beeline_proto::id::{DeviceFp, MessageId, ParcelId, UserFp};
use client_core::event::{DeliveryState, Kept, Path};
use client_core::state::{CustodyRow, OutboxRow, StoreOp};

const PHONE: DeviceFp = DeviceFp([1; 32]);
const LAPTOP: DeviceFp = DeviceFp([2; 32]);

fn queued(n: u8) -> StoreOp {
    StoreOp::QueueMessage(OutboxRow {
        envelope: Some(vec![n; 9]),
        parcels: vec![(PHONE, vec![n, 1]), (LAPTOP, vec![n, 2])],
        ..outgoing(n, "carol", u64::from(n), 7)
    })
}

fn row(n: u8, device: DeviceFp, custodian: u8) -> CustodyRow {
    CustodyRow {
        message: MessageId([n; 16]),
        device,
        custodian: DeviceFp([custodian; 32]),
        user: UserFp([custodian; 32]),
        parcel: ParcelId([n; 32]),
        since_ms: 1_000,
        heard_ms: 2_000,
        until_ms: u64::MAX,
    }
}

fn put(row: &CustodyRow) -> StoreOp {
    StoreOp::PutCustody(row.clone())
}

fn remove(n: u8, device: DeviceFp, custodian: Option<u8>) -> StoreOp {
    StoreOp::RemoveCustody {
        id: MessageId([n; 16]),
        device,
        custodian: custodian.map(|c| DeviceFp([c; 32])),
    }
}

fn stored(n: u8, kept: Kept) -> StoreOp {
    StoreOp::SetStored {
        id: MessageId([n; 16]),
        kept,
        at_ms: 3_000,
    }
}

#[test]
fn promises_outlive_the_process_as_long_as_their_parcels_are_to_go() {
    let place = place();
    let (phone, laptop) = (row(1, PHONE, 8), row(1, LAPTOP, 8));
    {
        let conn = conn(&place);
        done(
            &conn,
            &[queued(1), put(&phone), put(&laptop), put(&row(1, PHONE, 9))],
        );
        // Of a message that is not here nothing is kept.
        done(
            &conn,
            &[put(&row(2, PHONE, 8)), stored(2, Kept { n: 1, k: 1 })],
        );
        let again = CustodyRow {
            heard_ms: 9_000,
            ..phone.clone()
        };
        done(
            &conn,
            &[
                put(&again),
                remove(1, PHONE, Some(9)),
                remove(1, PHONE, Some(7)),
            ],
        );
    }
    let mut custody = loaded(&place).custody;
    custody.sort_by_key(|row| row.device);
    let again = CustodyRow {
        heard_ms: 9_000,
        ..phone
    };
    assert_eq!(custody, [again, laptop.clone()]);
    {
        let conn = conn(&place);
        let sealed = StoreOp::SetSealed {
            id: MessageId([1; 16]),
            envelope: vec![1; 9],
            parcels: vec![(LAPTOP, vec![1, 2])],
        };
        done(&conn, &[sealed, remove(1, PHONE, None)]);
    }
    assert_eq!(loaded(&place).custody, [laptop]);
    let id = MessageId([1; 16]);
    done(&conn(&place), &[state(1, DeliveryState::Delivered, 5_000)]);
    assert!(loaded(&place).custody.is_empty(), "nothing is left to do");
    let story = reader(&place).why(id).expect("it is here");
    assert_eq!(story.keepers.len(), 1, "and who kept it is known");
}

#[test]
fn stored_is_told_with_how_many_and_by_whom() {
    let place = place();
    let db = conn(&place);
    done(
        &db,
        &[
            queued(1),
            put(&row(1, PHONE, 8)),
            stored(1, Kept { n: 1, k: 3 }),
        ],
    );
    for n in 0..200 {
        done(&db, &[stored(1, Kept { n, k: u32::MAX })]);
    }
    let story = reader(&place).why(MessageId([1; 16])).expect("it is here");
    let last = story.steps.last().and_then(|step| step.kept);
    let k = u32::MAX;
    assert_eq!(last, Some(Kept { n: 199, k }));
    assert!(story.steps.len() < 70, "{} steps", story.steps.len());
    assert_eq!(story.item.state, DeliveryState::Stored);
    assert_eq!(story.item.path, Some(Path::Stored));
    let keeper = &story.keepers[0];
    assert_eq!(
        (keeper.device, keeper.recipient),
        (DeviceFp([8; 32]), PHONE)
    );
    assert_eq!((&keeper.user_label, &keeper.device_label), (&None, &None));
    assert_eq!(keeper.until_ms, u64::MAX);
}
