//! Accounts under test: every share at its limit, what is given back.

use super::*;
use crate::fixtures::device;
use crate::limits::{KEEP_RECIPIENT_BYTES_MAX, KEEP_RECIPIENT_PARCELS_MAX};

/// The largest amount there is.
const HUGE: u64 = 1 << 40;

fn user(n: u64) -> UserFp {
    UserFp(device(n).0)
}

fn space(parcels: u64, bytes: u64) -> Space {
    Space { parcels, bytes }
}

fn empty(total: Space, recipient: Space) -> Keeping {
    let keep = Keep {
        total,
        recipient,
        per_s: 4,
    };
    Keeping::load(keep, &KeptLoad::default())
}

/// How many parcels of `bytes` there is room for, one after another.
fn taken(
    keeping: &mut Keeping,
    bytes: u64,
    mut next: impl FnMut(u64) -> (DeviceFp, UserFp),
) -> u64 {
    for n in 0.. {
        let (recipient, user) = next(n);
        if !keeping.has_room(recipient, user, bytes) {
            return n;
        }
        keeping.reserve(recipient, user, bytes);
    }
    0
}

#[test]
fn each_share_ends_where_it_says() {
    let one = |_| (device(1), user(1));
    let users = |n| (device(1), user(n));
    let recipients = |n| (device(n), user(1));
    let all = |n| (device(n), user(n));
    let huge = space(HUGE, HUGE);
    for (total, recipient, bytes, next, room) in [
        // A user for one recipient: a sixteenth, in parcels and in bytes.
        (huge, space(32, HUGE), 1, one as fn(u64) -> _, 2),
        (huge, space(HUGE, 1_600), 50, one, 2),
        (huge, space(HUGE, 1_599), 50, one, 1),
        (huge, space(15, HUGE), 1, one, 0),
        (huge, space(0, HUGE), 1, one, 0),
        (huge, space(HUGE, 0), 1, one, 0),
        // All users for one recipient: the half that is open to all.
        (huge, space(32, HUGE), 1, users, 16),
        (huge, space(33, HUGE), 1, users, 16),
        (huge, space(HUGE, 2_000), 100, users, 10),
        // One user for all recipients: a sixteenth of the whole.
        (space(64, HUGE), huge, 1, recipients, 4),
        (space(HUGE, 1_600), huge, 10, recipients, 10),
        // Everybody for everybody: the whole.
        (space(7, HUGE), huge, 1, all, 0),
        (space(16, HUGE), huge, 1, all, 16),
        (space(HUGE, 1_600), huge, 100, all, 16),
        (space(HUGE, 1_599), huge, 100, all, 0),
        (
            space(u64::MAX, u64::MAX),
            space(u64::MAX, u64::MAX),
            u64::MAX,
            one,
            0,
        ),
        (space(0, 0), space(0, 0), 0, one, 0),
    ] {
        let mut keeping = empty(total, recipient);
        let found = taken(&mut keeping, bytes, next);
        assert_eq!(found, room, "{total:?} {recipient:?} {bytes}");
    }
}

#[test]
fn a_thousand_users_at_once_share_the_open_half_and_all_devices_of_one_its_part() {
    let recipient = space(KEEP_RECIPIENT_PARCELS_MAX, KEEP_RECIPIENT_BYTES_MAX);
    let mut keeping = empty(space(HUGE, HUGE), recipient);
    // In turn, a parcel of 16,000 bytes each: 524 fit into 8 MiB.
    let thousand = |n| (device(1), user(n % 1_000));
    assert_eq!(taken(&mut keeping, 16_000, thousand), 524);
    // Another recipient is not touched; one user alone gets 65 there, however many devices it has.
    let one = |_| (device(2), user(1));
    assert_eq!(taken(&mut keeping, 16_000, one), 65);
    assert!(keeping.has_room(device(2), user(2), 16_000));
    assert_eq!(keeping.len().0, 525);
}

#[test]
fn what_is_given_back_is_room_again_and_accounts_at_nothing_go() {
    let mut keeping = empty(space(16, 16_000), space(HUGE, HUGE));
    keeping.reserve(device(1), user(1), 1_000);
    assert!(!keeping.has_room(device(1), user(1), 1), "the user's part");
    let sum = KeptSum {
        recipient: device(1),
        user: user(1),
        parcels: 1,
        bytes: 1_000,
    };
    keeping.release(&sum);
    assert!(keeping.has_room(device(1), user(1), 1_000));
    assert_eq!((keeping.len().0, keeping.total()), (0, Space::default()));
    // Nothing goes below nothing.
    keeping.release(&sum);
    assert_eq!(keeping.total(), Space::default());
}

#[test]
fn who_has_nothing_is_known_until_a_write_was_in_doubt() {
    let mut keeping = empty(space(HUGE, HUGE), space(HUGE, HUGE));
    keeping.reserve(device(1), user(1), 1);
    assert!(keeping.has_any(device(1)) && !keeping.has_any(device(2)));
    keeping.doubt();
    assert!(keeping.has_any(device(2)), "the disk is asked from now on");
}

#[test]
fn accounts_are_bounded_and_known_pairs_go_on() {
    let mut keeping = empty(space(HUGE, HUGE), space(HUGE, HUGE));
    let all = |n| (device(n), user(n));
    assert_eq!(taken(&mut keeping, 1, all), KEEP_PAIRS_MAX as u64);
    assert!(keeping.has_room(device(5), user(5), 1));
    assert!(!keeping.has_room(device(5), user(6), 1));
}

#[test]
fn the_rate_is_the_users_and_says_how_long_to_wait() {
    let mut keeping = empty(space(HUGE, HUGE), space(HUGE, HUGE));
    let burst = (0..).take_while(|_| keeping.take_turn(user(1), 0).is_ok());
    assert_eq!(burst.count() as u64, 4 * KEEP_BURST_S);
    assert_eq!(keeping.take_turn(user(1), 0), Err(250));
    assert_eq!(
        keeping.take_turn(user(2), 0),
        Ok(()),
        "others are not touched"
    );
    assert_eq!(keeping.take_turn(user(1), 250), Ok(()));
    for n in 10..KEEP_DEPOSITORS_MAX as u64 + 10 {
        let _ = keeping.take_turn(user(n), 250);
    }
    assert!(keeping.len().1 <= KEEP_DEPOSITORS_MAX);
    assert_eq!(keeping.take_turn(user(u64::MAX), 250), Err(1_000));
    assert_eq!(keeping.take_turn(user(u64::MAX), 60_000), Ok(()));
}

#[test]
fn sums_are_taken_over_from_the_store() {
    let sum = |n, parcels| KeptSum {
        recipient: device(n),
        user: user(1),
        parcels,
        bytes: parcels * 10,
    };
    let loaded = KeptLoad {
        sums: vec![sum(1, 2), sum(2, 3)],
        order: 9,
    };
    let keep = Keep {
        total: space(96, HUGE),
        ..Keep::default()
    };
    let mut keeping = Keeping::load(keep, &loaded);
    assert_eq!(keeping.total(), space(5, 50));
    assert_eq!(keeping.next_order(), 10);
    assert!(keeping.has_room(device(3), user(1), 1));
    keeping.reserve(device(3), user(1), 1);
    assert!(
        !keeping.has_room(device(3), user(1), 1),
        "a sixteenth of 96"
    );
    assert!(keeping.has_room(device(3), user(2), 1));
}
