//! The bounds of the outbox, and that what leaves it leaves no weight behind.

use super::*;
use crate::limits::{OUTBOX_BYTES_MAX, OUTBOX_MAX, OUTBOX_USERS_MAX};

fn row(n: u32, to: &str, text: usize) -> OutboxRow {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&n.to_be_bytes());
    OutboxRow {
        id: MessageId(id),
        to: Label::new(to).expect("a label"),
        seq: u64::from(n) + 1,
        incarnation: 1,
        text: "x".repeat(text),
        queued_ms: 1,
        born_ms: 1,
        envelope: None,
        parcels: Vec::new(),
        acked: Vec::new(),
        state: DeliveryState::Queued,
        idempotency_key: None,
    }
}

fn outbox() -> Outbox {
    Outbox::new(Vec::new())
}

fn add(outbox: &mut Outbox, n: u32, to: &str, text: usize) {
    outbox.insert(row(n, to, text), Phase::Committing, None, 0);
}

fn carol() -> Label {
    Label::new("carol").expect("a label")
}

#[test]
fn it_holds_a_hundred_thousand_messages_and_then_no_more() {
    let mut outbox = outbox();
    for n in 0..OUTBOX_MAX as u32 {
        assert!(!outbox.is_full_for(&carol()), "full at {n}");
        add(&mut outbox, n, "carol", 1);
    }
    const { assert!(OUTBOX_MAX > 100_000) };
    assert!(outbox.is_full_for(&carol()));
    outbox.remove(&row(7, "carol", 1).id);
    assert!(!outbox.is_full_for(&carol()));
}

#[test]
fn bytes_are_counted_through_sealing_and_leave_with_the_message() {
    let mut outbox = outbox();
    add(&mut outbox, 1, "carol", 100);
    assert_eq!(outbox.bytes, 100);
    let id = row(1, "carol", 0).id;
    let parcels = vec![
        (DeviceFp([1; 32]), vec![0; 512]),
        (DeviceFp([2; 32]), vec![0; 512]),
    ];
    outbox.set_sealed(id, &[0; 300], parcels);
    assert_eq!(outbox.bytes, 100 + 300 + 2 * 512);
    outbox.unseal(&id);
    assert_eq!(outbox.bytes, 100);
    outbox.settle(id, DeliveryState::Delivered);
    assert_eq!(outbox.bytes, 0);
}

#[test]
fn long_texts_fill_it_by_their_bytes() {
    let mut outbox = outbox();
    outbox.bytes = OUTBOX_BYTES_MAX - 1;
    assert!(!outbox.is_full_for(&carol()));
    add(&mut outbox, 1, "carol", 1);
    assert!(outbox.is_full_for(&carol()));
}

#[test]
fn one_user_more_has_no_room_while_the_others_have() {
    let mut outbox = outbox();
    for n in 0..OUTBOX_USERS_MAX as u32 {
        add(&mut outbox, n, &format!("user{n}"), 1);
    }
    assert!(outbox.is_full_for(&carol()));
    assert!(!outbox.is_full_for(&Label::new("user7").expect("a label")));
}
