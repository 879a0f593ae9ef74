//! What the client's core alone costs: messages between two managers that know many users, and ten
//! minutes of a thousand peers. Everything else is virtual: links, stores, servers, time.

use crate::measure::{Goal, Report, Samples, say, timed};
use crate::proc::cpu_us;
use client_core::event::DeliveryState;
use client_core::state::ContactRow;
use client_core::testing::{EPOCH_MS, NodeId, World, label};

const ROUNDS: usize = 5;
const MESSAGES: usize = 300;

/// Users that each side knows; the goal compares the last two.
const KNOWN: [usize; 3] = [1, 100, 10_000];

/// The thousand peers: how many, and how many of them one coordinator serves.
const PEERS: usize = 1_000;
const PER_COORDINATOR: usize = 200;

/// Minutes of them, virtual.
const MINUTES: u64 = 10;

/// Two that are linked, each knowing so many users.
fn pair(known: usize) -> (World, NodeId, NodeId) {
    let mut world = World::new(1);
    let (alice, carol) = (world.member_stopped("alice"), world.member_stopped("carol"));
    let expires_ms = EPOCH_MS + 365 * 24 * 3_600 * 1_000;
    for n in 0..known.saturating_sub(1) {
        let name = format!("user{n}");
        let user = world
            .authority
            .admit(&name, &name, &[&format!("{name}_phone")], expires_ms);
        let row = ContactRow {
            user: user.key.verify_key().user_fp(),
            label: label(&name),
            chain: world.authority.chain(&user),
            verified: false,
            claimed_chain: None,
            knows_us: (0, 0),
            read_receipts: true,
        };
        for id in [alice, carol] {
            let contacts = &mut world.node_mut(id).store.contacts;
            contacts.insert(row.label.clone(), row.clone());
        }
    }
    world.start(alice);
    world.start(carol);
    world.drive(100);
    exchange(&mut world, alice, 1);
    (world, alice, carol)
}

/// Alice sends so many, one after the other.
fn exchange(world: &mut World, alice: NodeId, messages: usize) {
    for _ in 0..messages {
        let before = world.node(alice).count(DeliveryState::Delivered);
        world.send(alice, "carol", "x");
        world.drive_until(10_000, |w| {
            w.node(alice).count(DeliveryState::Delivered) > before
        });
        for id in world.ids() {
            world.node_mut(id).events.clear();
        }
    }
}

/// Messages a second, with their ACKs, by users known.
fn by_users_known(report: &mut Report) {
    let mut worlds: Vec<_> = KNOWN.iter().map(|known| pair(*known)).collect();
    let mut rates = vec![Samples::default(); KNOWN.len()];
    for _ in 0..ROUNDS {
        for ((world, alice, _), rates) in worlds.iter_mut().zip(&mut rates) {
            let (elapsed, ()) = timed(|| exchange(world, *alice, MESSAGES));
            rates.0.push(MESSAGES as f64 / elapsed.as_secs_f64());
        }
    }
    for (known, rate) in KNOWN.iter().zip(&rates) {
        say(&format!(
            "{known} users known: {rate} messages/s between two managers"
        ));
    }
    let cost = rates[1].over(&rates[2]);
    report.plain(
        "cost, 10,000 users known over 100",
        "x",
        cost,
        Goal::AtMost(1.3),
    );
}

/// Seconds of CPU for ten minutes of a thousand peers that talk.
fn thousand_peers(report: &mut Report) -> Result<(), String> {
    let mut world = World::new(3);
    for n in 0..(PEERS / PER_COORDINATOR + 2) {
        world.coordinator(&format!("host{n}"));
    }
    world.drive(3_000);
    let (setup, ids) = timed(|| {
        let mut ids = Vec::new();
        for n in 0..PEERS {
            ids.push(world.member(&format!("m{n}")));
            world.drive(10);
        }
        world.drive(10_000);
        ids
    });
    let before_us = cpu_us(std::process::id())?;
    let (elapsed, sent) = timed(|| {
        let mut sent = 0;
        for _ in 0..MINUTES * PEERS as u64 {
            let (from, to) = (world.chance(PEERS as u64), world.chance(PEERS as u64));
            if from != to {
                world.send(ids[from as usize], &format!("m{to}"), "x");
                sent += 1;
            }
            world.drive(60_000 / PEERS as u64);
        }
        world.drive(10_000);
        sent
    });
    let states = ids
        .iter()
        .map(|id| world.node(*id).count(DeliveryState::Delivered));
    let delivered: usize = states.sum();
    say(&format!(
        "1,000 peers, 10 minutes, {sent} messages, {delivered} delivered; set up in {setup:?}"
    ));
    let spent_us = cpu_us(std::process::id())? - before_us;
    say(&format!("{elapsed:?} by the clock on the wall"));
    let seconds = Samples(vec![spent_us / 1e6]);
    report.plain(
        "1,000 peers for ten minutes",
        "s",
        seconds,
        Goal::AtMost(60.0),
    );
    Ok(())
}

/// Runs the part.
pub(crate) fn run(report: &mut Report) -> Result<(), String> {
    by_users_known(report);
    thousand_peers(report)
}
