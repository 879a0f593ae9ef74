//! Bytes on the wire for one message of 200 bytes to somebody away: every deposit, receipt, page,
//! copy and ACK until the sender knows that it is delivered, as frames hold them. Everything else
//! that is said meanwhile (greetings, states, questions, calls) is told beside it.

use crate::measure::{Goal, Report, Samples, say, text};
use beeline_proto::pb::peer::v1::peer_item::Kind;
use beeline_proto::pb::peer::v1::{PeerFrame, PeerItem};
use client_core::event::{DeliveryState, Event};
use client_core::testing::{NodeId, World};
use prost::Message as _;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Bytes of text.
const TEXT: usize = 200;
/// Custodians that keep a copy each.
const COPIES: u32 = 3;
/// Bytes for all of it.
const GOAL_KIB: f64 = 12.0;
/// Worlds; their chance differs.
const WORLDS: u64 = 7;

/// How many items of each kind, and their bytes.
type Tally = Rc<RefCell<BTreeMap<&'static str, (usize, usize)>>>;

/// The name of what belongs to the message; nothing for what would be said without it.
fn name(item: &PeerItem) -> Option<&'static str> {
    Some(match item.kind.as_ref()? {
        Kind::StoreMessage(_) => "STORE_MESSAGE",
        Kind::StoreReceipt(_) => "STORE_RECEIPT",
        Kind::StoreFetch(_) => "STORE_FETCH",
        Kind::StoreDelete(_) => "STORE_DELETE",
        Kind::StorePage(_) => "page ends",
        Kind::Kept(_) => "kept parcels",
        Kind::ChatMessage(_) => "CHAT_MESSAGE",
        Kind::Ack(_) => "ACK",
        Kind::Nack(_) => "NACK",
        Kind::Refusal(_) => "refusals",
        _ => return None,
    })
}

const OTHER: &str = "all else";

/// One story; the bytes that belong to the message.
fn story(seed: u64, met: bool) -> Result<(f64, Tally), String> {
    let mut world = World::new(seed);
    world.real_crypto = true;
    let host = world.coordinator_stopped("host");
    let friends = ["bob", "dave"].map(|name| world.member_stopped(name));
    for id in [host, friends[0], friends[1]] {
        world.node_mut(id).can_store = true;
        world.start(id);
    }
    let (alice, carol) = (world.member("alice"), world.member("carol"));
    world.drive(3_000);
    for (from, to) in [
        (alice, "bob"),
        (alice, "dave"),
        (carol, "bob"),
        (carol, "dave"),
    ] {
        deliver(&mut world, from, to)?;
    }
    if met {
        deliver(&mut world, alice, "carol")?;
    }
    world.timing.dead_ms = 10;
    world.crash(carol);
    world.drive(1_000);
    let tally = Tally::default();
    let counted = Rc::clone(&tally);
    world.on_frame = Some(Box::new(move |_, _, bytes: Vec<u8>| {
        for item in PeerFrame::decode(&bytes[..]).unwrap_or_default().items {
            let mut counted = counted.borrow_mut();
            let sum = counted.entry(name(&item).unwrap_or(OTHER)).or_default();
            // Its tag and length in the frame as well.
            *sum = (sum.0 + 1, sum.1 + item.encoded_len() + 3);
        }
        vec![bytes]
    }));
    away(&mut world, alice, carol)?;
    let bytes = tally
        .borrow()
        .iter()
        .filter(|(name, _)| **name != OTHER)
        .map(|(_, sum)| sum.1)
        .sum::<usize>();
    Ok((bytes as f64 / 1024.0, tally))
}

fn deliver(world: &mut World, from: NodeId, to: &str) -> Result<(), String> {
    let before = world.node(from).count(DeliveryState::Delivered);
    world.send(from, to, "hello");
    let done = |w: &World| w.node(from).count(DeliveryState::Delivered) > before;
    match world.drive_until(60_000, done) {
        true => Ok(()),
        false => Err(format!("nothing was delivered to {to}")),
    }
}

/// Alice sends to Carol, who is away, and leaves; Carol comes; Alice returns.
fn away(world: &mut World, alice: NodeId, carol: NodeId) -> Result<(), String> {
    world.send(alice, "carol", &"x".repeat(TEXT));
    let stored = |w: &World| {
        let states = w.node(alice).message_states();
        states
            .iter()
            .any(|s| s.kept.is_some_and(|kept| kept.n >= COPIES))
    };
    if !world.drive_until(60_000, stored) {
        return Err("it was not stored".into());
    }
    world.crash(alice);
    world.drive(1_000);
    world.start(carol);
    let shown = |w: &World| {
        let long = |event: &Event| matches!(event, Event::Received(m) if m.text.len() == TEXT);
        w.node(carol).told(long)
    };
    if !world.drive_until(300_000, shown) {
        return Err("it was not shown".into());
    }
    world.drive(60_000);
    world.start(alice);
    let known = |w: &World| w.node(alice).store.load().outbox.is_empty();
    if !world.drive_until(1_200_000, known) {
        return Err("nobody told its sender".into());
    }
    world.drive(60_000);
    Ok(())
}

/// Reports both: to somebody never met, with our chain beside the message, and to a contact.
pub(crate) fn run(report: &mut Report) -> Result<(), String> {
    for (what, met) in [("a contact", true), ("somebody never met", false)] {
        let mut all = Samples::default();
        let mut last = None;
        for seed in 0..WORLDS {
            let (kib, tally) = story(seed, met).map_err(text)?;
            all.0.push(kib);
            last = Some(tally);
        }
        if let Some(tally) = last {
            for (name, (count, bytes)) in tally.borrow().iter() {
                say(&format!("  {count:>3} {name:<14} {bytes:>6} bytes"));
            }
        }
        let name = format!("one stored and delivered message, {what}");
        report.plain(&name, "KiB", all, Goal::AtMost(GOAL_KIB));
    }
    Ok(())
}
