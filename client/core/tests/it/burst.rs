//! Sends that come together: being durable does not wait for sealing, and all the rest holds.

use crate::speaker::acquainted;
use client_core::event::Event;
use client_core::limits::{SEAL_BATCH_MAX, SEAL_FIRST_MAX, SEAL_WAIT_MS};
use client_core::testing::{NodeId, World};

/// Messages of a burst: the last batch is not full.
const BURST: usize = 3 * SEAL_BATCH_MAX + SEAL_FIRST_MAX + 5;

/// Bursts a millisecond apart: what the first leaves to be sealed could be written before the last
/// is durable.
const WAVES: usize = 6;

fn burst(world: &mut World, alice: NodeId) -> Vec<String> {
    let texts: Vec<String> = (0..BURST).map(|n| format!("{n}")).collect();
    for text in &texts {
        world.send(alice, "carol", text);
    }
    texts
}

/// How many of Alice's waiting messages are signed, and how many have parcels.
fn waiting(world: &World, alice: NodeId) -> (usize, usize) {
    let rows = world.node(alice).store.load().outbox;
    let signed = rows.iter().filter(|row| row.envelope.is_some()).count();
    let sealed = rows.iter().filter(|row| !row.parcels.is_empty()).count();
    (signed, sealed)
}

fn queued(world: &World, alice: NodeId) -> usize {
    let queued = |(_, event): &&(u64, Event)| matches!(event, Event::Queued { .. });
    world.node(alice).events.iter().filter(queued).count()
}

fn settles(world: &mut World, alice: NodeId, carol: NodeId, texts: &[String]) {
    let done = |w: &World| w.node(alice).store.load().outbox.is_empty();
    assert!(world.drive_until(3_600_000, done), "not all delivered");
    world.drive(60_000);
    let shown = world.node(carol).store.shown();
    assert_eq!(shown[0], "one");
    assert_eq!(shown[1..], *texts, "each once, in order");
}

#[test]
fn a_burst_is_signed_when_durable_and_sealed_afterwards() {
    let (mut world, alice, carol) = acquainted(1);
    let texts = burst(&mut world, alice);
    let durable = |w: &World| w.node(alice).store.load().outbox.len() == BURST;
    assert!(world.drive_until(1_000, durable));
    assert_eq!(waiting(&world, alice), (BURST, SEAL_FIRST_MAX));
    assert!(world.drive_until(1_000, |w| queued(w, alice) == BURST + 1));
    settles(&mut world, alice, carol, &texts);
}

#[test]
fn all_of_a_burst_is_durable_before_more_than_its_first_is_sealed() {
    let (mut world, alice, carol) = acquainted(3);
    let mut texts = Vec::new();
    for _ in 0..WAVES {
        texts.extend(burst(&mut world, alice));
        world.drive(1);
    }
    let told = |w: &World| queued(w, alice) == WAVES * BURST + 1;
    assert!(world.drive_until(1_000, told));
    assert_eq!(waiting(&world, alice), (WAVES * BURST, SEAL_FIRST_MAX));
    settles(&mut world, alice, carol, &texts);
}

#[test]
fn a_burst_without_end_is_sealed_while_it_lasts() {
    let (mut world, alice, carol) = acquainted(4);
    let mut texts = Vec::new();
    // A commit takes longer than what comes between two sends: one is always under way.
    for n in 0..4 * SEAL_WAIT_MS {
        for m in 0..SEAL_FIRST_MAX {
            texts.push(format!("{n}.{m}"));
            world.send(alice, "carol", &texts[texts.len() - 1]);
        }
        world.drive(1);
    }
    let waiting = waiting(&world, alice).0;
    assert!(waiting < texts.len() / 2, "{waiting} still wait");
    settles(&mut world, alice, carol, &texts);
}

#[test]
fn a_burst_to_somebody_away_is_sealed_as_well() {
    let (mut world, alice, carol) = acquainted(2);
    world.crash(carol);
    world.drive(60_000);
    let texts = burst(&mut world, alice);
    let sealed = |w: &World| waiting(w, alice) == (BURST, BURST);
    assert!(
        world.drive_until(1_000, sealed),
        "{:?}",
        waiting(&world, alice)
    );
    world.start(carol);
    settles(&mut world, alice, carol, &texts);
}

#[test]
fn a_burst_survives_a_sender_killed_at_any_moment() {
    for at_ms in 0..40 {
        let (mut world, alice, carol) = acquainted(at_ms);
        let texts = burst(&mut world, alice);
        let durable = |w: &World| w.node(alice).store.load().outbox.len() == BURST;
        assert!(world.drive_until(1_000, durable));
        world.drive(at_ms);
        world.crash(alice);
        world.drive(50);
        world.start(alice);
        settles(&mut world, alice, carol, &texts);
    }
}

#[test]
fn a_batch_that_cannot_be_written_is_sealed_again() {
    let (mut world, alice, carol) = acquainted(3);
    world.crash(carol);
    world.drive(60_000);
    let texts = burst(&mut world, alice);
    assert!(world.drive_until(1_000, |w| queued(w, alice) == BURST + 1));
    world.node_mut(alice).failing_writes = 1;
    world.drive(1_000);
    world.start(carol);
    settles(&mut world, alice, carol, &texts);
}
