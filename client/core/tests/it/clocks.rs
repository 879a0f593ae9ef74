//! Clocks that a person, a server or a dead battery moves by ten years, either way, at any time:
//! nothing is lost, nothing is given up early, nothing is kept for ever.

use crate::speaker::acquainted;
use client_core::event::{DeliveryState, Event};
use client_core::testing::tap::counted;
use client_core::testing::{NodeId, World};

const DAY_MS: u64 = 24 * 3_600 * 1_000;
const TEN_YEARS_MS: i64 = 3_652 * DAY_MS.cast_signed();

fn count(world: &World, id: NodeId, state: DeliveryState) -> usize {
    world.node(id).count(state)
}

fn both_ways(mut test: impl FnMut(i64)) {
    for jump_ms in [TEN_YEARS_MS, -TEN_YEARS_MS] {
        test(jump_ms);
    }
}

#[test]
fn a_jump_while_running_ends_nothing_early_and_nothing_late() {
    both_ways(|jump_ms| {
        let (mut world, alice, carol) = acquainted(1);
        world.crash(carol);
        world.drive(10_000);
        world.send(alice, "carol", "before the jump");
        world.drive(DAY_MS);
        world.node_mut(alice).wall_skew_ms = jump_ms;
        world.drive(DAY_MS);
        world.send(alice, "carol", "with a wrong clock");
        world.drive(DAY_MS);
        world.node_mut(alice).wall_skew_ms = 0;
        world.drive(26 * DAY_MS);
        assert_eq!(count(&world, alice, DeliveryState::Expired), 0, "29 days");
        world.drive(2 * DAY_MS);
        assert_eq!(count(&world, alice, DeliveryState::Expired), 1, "31 days");
        world.start(carol);
        let done = |w: &World| count(w, alice, DeliveryState::Delivered) == 2;
        assert!(world.drive_until(30 * 60_000, done));
    });
}

#[test]
fn a_jump_between_two_processes_is_told_and_gives_up_nothing() {
    both_ways(|jump_ms| {
        let (mut world, alice, carol) = acquainted(1);
        world.crash(carol);
        world.drive(10_000);
        world.send(alice, "carol", "two");
        world.drive(DAY_MS);
        world.crash(alice);
        world.node_mut(alice).wall_skew_ms = jump_ms;
        world.start(alice);
        world.drive(DAY_MS);
        assert_eq!(count(&world, alice, DeliveryState::Expired), 0);
        let told = |event: &Event| {
            matches!(event, Event::Warned { kind, detail }
                if *kind == "clock" && detail.contains("Nothing was given up"))
        };
        assert!(
            world.node(alice).told(told),
            "{:?}",
            world.node(alice).warnings()
        );
        // The clock is set right with the next process.
        world.crash(alice);
        world.node_mut(alice).wall_skew_ms = 0;
        world.start(alice);
        world.drive(DAY_MS);
        assert_eq!(count(&world, alice, DeliveryState::Expired), 0);
        world.start(carol);
        let done = |w: &World| count(w, alice, DeliveryState::Delivered) == 2;
        assert!(world.drive_until(30 * 60_000, done));
    });
}

#[test]
fn a_wrong_clock_erases_no_secret_that_somebody_may_have_sealed_to() {
    both_ways(|jump_ms| {
        let (mut world, alice, carol) = acquainted(1);
        world.drive(3 * DAY_MS);
        // Sealed to the bundle of the first day; then Alice's process rests.
        world.muted.insert((alice, carol));
        world.muted.insert((carol, alice));
        world.send(alice, "carol", "two");
        world.drive(100);
        world.crash(alice);
        world.muted.clear();
        world.node_mut(carol).wall_skew_ms = jump_ms;
        world.drive(3 * DAY_MS);
        world.crash(carol);
        world.start(carol);
        world.drive(3 * DAY_MS);
        world.node_mut(carol).wall_skew_ms = 0;
        world.drive(3 * DAY_MS);
        world.start(alice);
        let done = |w: &World| count(w, alice, DeliveryState::Delivered) == 2;
        assert!(world.drive_until(30 * 60_000, done));
        assert_eq!(counted(&world, carol, "nack-said"), 0);
        // And once the clock is right they are replaced every day, as before.
        let before = world.node(carol).store.bundles.len();
        world.drive(5 * DAY_MS);
        let made = world.node(carol).store.bundles.len() - before;
        assert!((4..=6).contains(&made), "{made}");
    });
}

#[test]
fn a_machine_that_boots_in_1970_every_day_gives_up_nothing_early() {
    let (mut world, alice, carol) = acquainted(1);
    world.crash(carol);
    world.drive(10_000);
    world.send(alice, "carol", "two");
    world.drive(1_000);
    for _ in 0..25 {
        world.crash(alice);
        // Before it has asked for the time.
        world.node_mut(alice).wall_skew_ms = -50 * 365 * DAY_MS.cast_signed();
        world.start(alice);
        world.drive(5 * 60_000);
        world.node_mut(alice).wall_skew_ms = 0;
        world.drive(DAY_MS);
    }
    assert_eq!(count(&world, alice, DeliveryState::Expired), 0);
    world.start(carol);
    let done = |w: &World| count(w, alice, DeliveryState::Delivered) == 2;
    assert!(world.drive_until(30 * 60_000, done));
}

#[test]
fn a_restored_home_with_a_clock_that_went_back_is_found_again() {
    for bundle_too in [false, true] {
        let (mut world, alice, carol) = acquainted(1);
        let (mut other, _, older) = acquainted(1);
        world.drive(if bundle_too { 3 * DAY_MS } else { 10_000 });
        world.crash(carol);
        world.start(carol);
        world.drive(10_000);
        world.crash(carol);
        world.node_mut(carol).wall_skew_ms = -TEN_YEARS_MS;
        // As it was days ago: its record and, after a day, its bundle are older than those known.
        other.crash(older);
        world.node_mut(carol).store = other.node(older).store.clone();
        world.start(carol);
        world.drive(60_000);
        let online = |event: &Event| matches!(event, Event::Online);
        let events = world.node(carol).events.iter().rev();
        let last = events
            .map(|(_, event)| event)
            .find(|event| online(event) || matches!(event, Event::Offline { .. }));
        assert!(last.is_some_and(online), "{last:?}");
        assert_eq!(counted(&world, carol, "record-outdone"), 1);
        // What others know of it is what it has now: they seal to it.
        world.send(alice, "carol", "to the restored one");
        let done = |w: &World| count(w, alice, DeliveryState::Delivered) >= 1;
        assert!(world.drive_until(30 * 60_000, done));
    }
}
