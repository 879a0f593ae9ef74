//! Large networks in virtual time: what an idle member says and hears, and what a thousand peers
//! that talk cost.

use client_core::event::DeliveryState;
use client_core::testing::tap::{Shared, shared};
use client_core::testing::{NodeId, World};

/// Members one coordinator of a crowd serves: its links are 512, and each member wants two.
const PER_COORDINATOR: usize = 200;

/// A settled network of so many members, with the coordinators they need; the members.
pub(crate) fn crowd(seed: u64, members: usize) -> (World, Vec<NodeId>) {
    let mut world = World::new(seed);
    world.timing.link_ms = 20;
    for n in 0..(members / PER_COORDINATOR + 2) {
        world.coordinator(&format!("host{n}"));
    }
    world.drive(3_000);
    let mut ids = Vec::new();
    for n in 0..members {
        ids.push(world.member(&format!("m{n}")));
        world.drive(10);
    }
    world.drive(10_000);
    (world, ids)
}

/// Counts the bytes of frames that each node sends and gets.
pub(crate) fn count_bytes(world: &mut World) -> Shared<Vec<(u64, u64)>> {
    let counts = shared(vec![(0, 0); world.ids().len()]);
    let tap = counts.clone();
    world.on_frame = Some(Box::new(move |from, to, bytes| {
        let mut counts = tap.borrow_mut();
        counts[from.0].0 += bytes.len() as u64;
        counts[to.0].1 += bytes.len() as u64;
        vec![bytes]
    }));
    counts
}

/// Bytes the median member sends and gets in a day, from an hour of it.
fn idle_day(members: usize) -> u64 {
    let (mut world, ids) = crowd(7, members);
    world.drive(600_000);
    let counts = count_bytes(&mut world);
    world.drive(1_200_000);
    let counts = counts.borrow();
    let mut bytes: Vec<u64> = ids
        .iter()
        .map(|id| counts[id.0].0 + counts[id.0].1)
        .collect();
    bytes.sort_unstable();
    bytes[bytes.len() / 2] * 72
}

#[test]
fn an_idle_member_stays_under_two_megabytes_a_day() {
    // The large one is for `tests/sim/run`: it is far beyond what a debug build does in a minute.
    let large = super::fabric::number("BEELINE_SIM_PEERS").map(|_| 2_000);
    for members in [Some(200), large].into_iter().flatten() {
        let day = idle_day(members);
        super::fabric::say(&format!("an idle day among {members}: {day} bytes"));
        assert!(day < 2_000_000, "{day} bytes a day among {members}");
    }
}

#[test]
fn everybody_in_a_crowd_that_talks_is_heard() {
    let members = super::fabric::number("BEELINE_SIM_PEERS").unwrap_or(100) as usize;
    let (mut world, ids) = crowd(3, members);
    let begin = world.now_ms;
    let mut sent = 0;
    // Each speaks about every other minute, half of the time to somebody it never met.
    while world.now_ms < begin + 600_000 {
        let from = ids[world.chance(members as u64) as usize];
        let near = 1 + world.chance(5);
        let far = world.chance(members as u64);
        let step = if world.chance(2) == 0 { near } else { far };
        let to = ids[(from.0 + step as usize) % members];
        if from != to {
            let to = world.node(to).user.label.clone();
            world.send(from, to.as_str(), "x");
            sent += 1;
        }
        world.drive(120_000 / members as u64);
    }
    world.drive(30_000);
    let states = ids
        .iter()
        .map(|id| world.node(*id).count(DeliveryState::Delivered));
    assert_eq!(states.sum::<usize>(), sent);
    for id in world.ids() {
        for fill in world.node(id).running().fill() {
            assert!(fill.len <= fill.max, "{fill:?}");
        }
    }
}
