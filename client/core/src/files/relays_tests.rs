//! Pace, turns, refusals of parts.

use super::*;
use crate::input::SocketId;

const DEVICE: DeviceFp = DeviceFp([1; 32]);
const PEER: Way = Way::Relay(LinkId(7));
const LEN: usize = 65_712;

fn key(n: u8) -> RelayKey {
    (MessageId([n; 16]), DEVICE)
}

/// Seals whatever is to be sealed.
fn seal(relays: &mut Relays) {
    for (id, index) in relays.take_unsealed(|_| true) {
        relays.sealed(id, index, &vec![index as u8; LEN]);
    }
}

/// What goes until `end_ms`: (when, whose, chunk, where).
fn run(relays: &mut Relays, from_ms: u64, end_ms: u64) -> Vec<(u64, u8, u64, u32)> {
    let (mut now_ms, mut sent) = (from_ms, Vec::new());
    while now_ms <= end_ms {
        seal(relays);
        while let Some(part) = relays.next(now_ms, |_| true) {
            sent.push((now_ms, part.key.0.0[0], part.index, part.at));
            seal(relays);
        }
        let Some(at_ms) = relays.wake_ms(now_ms) else {
            break;
        };
        assert!(at_ms > now_ms, "it would be woken at once for ever");
        now_ms = at_ms;
    }
    sent
}

/// How many bytes that is.
fn bytes(sent: &[(u64, u8, u64, u32)]) -> u64 {
    let len = |at: u32| FILE_PART_LEN.min(LEN - at as usize) as u64;
    sent.iter().map(|(_, _, _, at)| len(*at)).sum()
}

fn hand(relays: &mut Relays, part: &Part, n: u8) -> ParcelId {
    let parcel = ParcelId([n; 32]);
    relays.note_handed(parcel, LinkId(7), part);
    parcel
}

#[test]
fn all_files_share_one_pace() {
    let mut relays = Relays::default();
    for n in 1..=4 {
        assert!(relays.ask(key(n), PEER, Ranges::all(100), 0));
    }
    let sent = run(&mut relays, 0, 10_000);
    let bytes = bytes(&sent);
    let most = 10 * RELAY_FILE_BYTES_PER_S + FILE_PARTS_BURST;
    assert!((most * 9 / 10..=most).contains(&bytes), "{bytes}");
    for n in 1..=4 {
        let share = sent.iter().filter(|(_, file, ..)| *file == n).count();
        assert!(share.abs_diff(sent.len() / 4) <= 2, "{n}: {share}");
    }
}

#[test]
fn sockets_have_a_pace_of_their_own() {
    let mut relays = Relays::default();
    relays.ask(key(1), Way::Socket(SocketId(0)), Ranges::all(100), 0);
    let bytes = bytes(&run(&mut relays, 0, 10_000));
    let most = 10 * SOCKET_FILE_BYTES_PER_S + FILE_PARTS_BURST;
    assert!((most * 9 / 10..=most).contains(&bytes), "{bytes}");
}

#[test]
fn what_is_refused_goes_once_more_and_nothing_else() {
    let mut relays = Relays::default();
    relays.ask(key(1), PEER, Ranges::all(2), 0);
    seal(&mut relays);
    let (mut now_ms, mut parts) = (0, Vec::new());
    while parts.len() < 6 {
        while let Some(part) = relays.next(now_ms, |_| true) {
            parts.push(part);
            seal(&mut relays);
        }
        now_ms = relays.wake_ms(now_ms).expect("more is to go");
    }
    // The last part of the first chunk, while the second one goes.
    let parcel = hand(&mut relays, &parts[4], 4);
    assert_eq!(relays.refused(parcel, LinkId(8)), None, "another link");
    assert_eq!(relays.refused(parcel, LinkId(7)), Some(key(1)));
    assert_eq!(relays.refused(parcel, LinkId(7)), None, "once");
    relays.pause(key(1), 3_000, now_ms);
    let sent = run(&mut relays, now_ms, now_ms + 60_000);
    assert!(sent[0].0 >= now_ms + 3_000);
    let again: Vec<u32> = sent.iter().filter(|s| s.2 == 0).map(|s| s.3).collect();
    assert_eq!(again, [4 * FILE_PART_LEN as u32]);
    assert_eq!(
        sent.iter().filter(|s| s.2 == 1).count(),
        5 - (parts.len() - 5)
    );
    let gaps = sent.windows(2).map(|pair| pair[1].0 - pair[0].0);
    assert!(gaps.min() >= Some(3_000), "no faster than it said");
}

#[test]
fn what_is_asked_anew_makes_void_what_was_asked_before() {
    let mut relays = Relays::default();
    relays.ask(key(1), PEER, Ranges::all(50), 0);
    run(&mut relays, 0, 1_000);
    let mut last = Ranges::default();
    last.insert(90, 1);
    relays.ask(key(1), PEER, last, 1_000);
    let sent = run(&mut relays, 1_000, 60_000);
    assert_eq!(sent.len(), 5);
    assert!(sent.iter().all(|(_, _, index, _)| *index == 90));
}

#[test]
fn a_busy_way_is_looked_at_again_and_a_gone_one_waits_to_be_asked() {
    let mut relays = Relays::default();
    relays.ask(key(1), PEER, Ranges::all(1), 0);
    seal(&mut relays);
    assert_eq!(relays.next(0, |_| false), None);
    assert_eq!(relays.wake_ms(0), Some(FILE_PART_BUSY_MS));
    assert!(relays.is_used(LinkId(7)));
    assert_eq!(relays.rest_on(LinkId(7)), [key(1)]);
    assert_eq!(
        (relays.next(0, |_| true), relays.is_used(LinkId(7))),
        (None, false)
    );
    assert_eq!(relays.wake_ms(0), Some(FILE_APART_IDLE_MS));
    assert_eq!(relays.end_idle(FILE_APART_IDLE_MS), [key(1)]);
    assert_eq!(relays.wake_ms(FILE_APART_IDLE_MS), None);
}

#[test]
fn there_are_only_so_many() {
    let mut relays = Relays::default();
    let asked = (0..100).filter(|n| relays.ask(key(*n), PEER, Ranges::all(1), 0));
    assert_eq!(asked.count(), FILES_APART_OUT_MAX);
    assert!(
        relays.ask(key(0), PEER, Ranges::all(1), 0),
        "one that is there may"
    );
    assert!(relays.end(key(0)) && !relays.end(key(0)));
    assert!(relays.ask(key(99), PEER, Ranges::all(1), 0));
}
