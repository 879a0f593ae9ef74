//! Writes that the driver hands over together are committed together, whatever the timing.

use super::tests::{outgoing, own, place};
use super::*;
use beeline_proto::id::MessageId;

#[tokio::test]
async fn writes_handed_over_together_share_one_commit() {
    let place = place();
    let Opened {
        store,
        mut answers,
        loaded,
        ..
    } = Store::open(&place.home, None, &own()).expect("opened");
    let message = |n: u64| {
        let mut row = outgoing(0, "carol", n + 1, loaded.incarnation);
        row.id = MessageId(u128::from(n).to_be_bytes());
        Write {
            ticket: StoreTicket(n),
            ops: vec![StoreOp::QueueMessage(row)],
            at_ms: 1,
        }
    };
    store
        .try_write((0..200).map(message).collect())
        .expect("room");
    for n in 0..200 {
        let answer = answers.recv().await.expect("answered");
        let done = matches!(&answer, Answer::Done { ticket, result: Ok(_) } if ticket.0 == n);
        assert!(done, "{answer:?}");
    }
    assert_eq!(store.commits(), 1);
    store.close().await;
}
