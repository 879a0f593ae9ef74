//! Our own other devices: copies of what we say, and who is still one of them.

use beeline_proto::code::ErrorCode;
use client_core::event::{DeliveryState, Event, Path};
use client_core::input::{Command, CommandId, Input};
use client_core::testing::{EPOCH_MS, NodeId, User, World};

const HOUR_MS: u64 = 3_600_000;

/// Bob with a phone and a laptop that have heard of each other, and Carol.
struct Stage {
    world: World,
    bob: User,
    phone: NodeId,
    laptop: NodeId,
    carol: NodeId,
}

fn stage(seed: u64) -> Stage {
    let mut world = World::new(seed);
    let expires_ms = EPOCH_MS + 300 * 24 * HOUR_MS;
    let devices = ["phone", "laptop"];
    let mut bob = world.authority.admit("bob", "bob", &devices, expires_ms);
    // Linked later: a list of version 1 has one device.
    bob.list_version = 2;
    let phone = world.device_of(bob.clone(), 0);
    let laptop = world.device_of(bob.clone(), 1);
    let carol = world.member("carol");
    world.start(laptop);
    world.drive(50);
    world.start(phone);
    world.drive(1_000);
    Stage {
        world,
        bob,
        phone,
        laptop,
        carol,
    }
}

/// Texts of copies a device holds, with whom they went to, in the order they were sent.
fn copies(world: &World, id: NodeId) -> Vec<(String, String)> {
    let rows = world.node(id).store.copies.values();
    let mut rows: Vec<_> = rows.map(|row| (row.seq, row)).collect();
    rows.sort_by_key(|(seq, row)| (row.sent_at_ms, *seq));
    rows.into_iter()
        .map(|(_, row)| (row.to.to_string(), row.text.clone()))
        .collect()
}

fn has_copies(world: &World, id: NodeId, texts: &[&str]) -> bool {
    let copies = copies(world, id);
    copies.len() == texts.len() && copies.iter().zip(texts).all(|((_, is), want)| is == want)
}

fn idle(world: &World, id: NodeId) -> bool {
    world.node(id).store.load().outbox.is_empty()
}

fn delivered(world: &World, id: NodeId) -> usize {
    world.node(id).count(DeliveryState::Delivered)
}

/// The person puts a list in force on a device.
fn put(world: &mut World, id: NodeId, user: &User) {
    let device_list = world.authority.device_list(user);
    let command = CommandId(77);
    let put = Command::PutDeviceList {
        command,
        device_list,
    };
    world.input(id, Input::Command(put));
}

fn is_revoked(event: &Event) -> bool {
    matches!(event, Event::Refused { code, .. } if *code == ErrorCode::Revoked)
}

fn is_removed(event: &Event) -> bool {
    matches!(event, Event::Removed { detail } if detail.contains("beeline device join"))
}

/// Bob without his laptop, in the next version.
fn without_laptop(bob: &User) -> User {
    let mut bob = bob.clone();
    bob.devices.truncate(1);
    bob.list_version += 1;
    bob
}

#[test]
fn what_one_device_says_the_other_keeps_as_said_by_us() {
    let mut s = stage(1);
    for text in ["one", "two"] {
        s.world.send(s.phone, "carol", text);
    }
    assert!(
        s.world
            .drive_until(60_000, |w| delivered(w, s.phone) == 2 && idle(w, s.phone))
    );
    assert!(has_copies(&s.world, s.laptop, &["one", "two"]));
    assert!(
        copies(&s.world, s.laptop)
            .iter()
            .all(|(to, _)| to == "carol")
    );
    assert!(
        s.world.node(s.laptop).received().is_empty(),
        "nothing is received"
    );
    assert_eq!(s.world.node(s.carol).received(), ["one", "two"]);
    // The other way round, and nothing comes back as a copy of a copy.
    s.world.send(s.laptop, "carol", "three");
    assert!(
        s.world
            .drive_until(60_000, |w| delivered(w, s.laptop) == 1 && idle(w, s.laptop))
    );
    assert!(has_copies(&s.world, s.phone, &["three"]));
    assert!(has_copies(&s.world, s.laptop, &["one", "two"]));
}

#[test]
fn a_copy_delivers_nothing_and_is_served_while_the_message_waits() {
    let mut s = stage(2);
    s.world.send(s.phone, "carol", "known");
    assert!(
        s.world
            .drive_until(60_000, |w| delivered(w, s.phone) == 1 && idle(w, s.phone))
    );
    s.world.crash(s.carol);
    s.world.drive(1_000);
    s.world.send(s.phone, "carol", "waits");
    let copied = |w: &World| has_copies(w, s.laptop, &["known", "waits"]);
    assert!(s.world.drive_until(60_000, copied));
    s.world.drive(60_000);
    assert_eq!(delivered(&s.world, s.phone), 1);
    assert_eq!(
        s.world.node(s.phone).running().status(s.world.now()).outbox,
        1
    );
    // Across a restart: the copy is not served again, the message is delivered in the end.
    s.world.crash(s.phone);
    s.world.start(s.phone);
    s.world.start(s.carol);
    assert!(
        s.world
            .drive_until(HOUR_MS, |w| delivered(w, s.phone) == 2 && idle(w, s.phone))
    );
    assert!(has_copies(&s.world, s.laptop, &["known", "waits"]));
}

#[test]
fn a_copy_for_a_device_that_is_away_waits_for_it() {
    let mut s = stage(3);
    s.world.crash(s.laptop);
    s.world.drive(60_000);
    s.world.send(s.phone, "carol", "one");
    assert!(s.world.drive_until(60_000, |w| delivered(w, s.phone) == 1));
    s.world.drive(1_000);
    s.world.crash(s.phone);
    s.world.drive(HOUR_MS);
    s.world.start(s.phone);
    s.world.drive(HOUR_MS);
    assert!(!idle(&s.world, s.phone));
    s.world.start(s.laptop);
    assert!(s.world.drive_until(HOUR_MS, |w| idle(w, s.phone)));
    assert!(has_copies(&s.world, s.laptop, &["one"]));
    assert_eq!(delivered(&s.world, s.phone), 1);
}

#[test]
fn a_copy_to_somebody_unknown_blocks_no_other_copy() {
    let mut s = stage(4);
    s.world.send(s.phone, "nobody", "to nobody");
    s.world.send(s.phone, "carol", "to carol");
    let copied = |w: &World| has_copies(w, s.laptop, &["to carol"]);
    assert!(s.world.drive_until(60_000, copied));
    // Once the other one is signed its copy goes, too.
    let expires_ms = EPOCH_MS + 300 * 24 * HOUR_MS;
    let user = s
        .world
        .authority
        .admit("nobody", "nobody", &["n1"], expires_ms);
    let nobody = s.world.device_of(user, 0);
    s.world.start(nobody);
    assert!(s.world.drive_until(HOUR_MS, |w| idle(w, s.phone)));
    assert_eq!(copies(&s.world, s.laptop).len(), 2);
    assert_eq!(delivered(&s.world, s.phone), 2);
}

#[test]
fn a_device_that_never_met_the_recipient_knows_whom_a_copy_went_to() {
    let mut s = stage(5);
    s.world.send(s.phone, "carol", "one");
    assert!(
        s.world
            .drive_until(60_000, |w| idle(w, s.phone) && delivered(w, s.phone) == 1)
    );
    // The laptop pinned the same Carol: it can write to her with every server gone.
    s.world.registry.down = true;
    s.world.send(s.laptop, "carol", "two");
    assert!(s.world.drive_until(60_000, |w| delivered(w, s.laptop) == 1));
    let paths = s.world.node(s.laptop).message_states();
    assert!(
        paths
            .iter()
            .any(|state| state.path == Some(Path::Direct) || state.path == Some(Path::Relay))
    );
}

#[test]
fn a_device_taken_off_the_list_gets_nothing_new_and_its_links_close() {
    let mut s = stage(6);
    // Carol is linked to both; the phone takes the laptop off.
    s.world.send(s.carol, "bob", "to both");
    assert!(
        s.world
            .drive_until(60_000, |w| idle(w, s.carol) && delivered(w, s.carol) == 1)
    );
    assert_eq!(s.world.node(s.laptop).received(), ["to both"]);
    let rest = without_laptop(&s.bob);
    put(&mut s.world, s.phone, &rest);
    s.world.drive(2_000);
    let done = |e: &Event| {
        matches!(
            e,
            Event::Done {
                command: CommandId(77)
            }
        )
    };
    assert!(s.world.node(s.phone).told(done));
    s.world.send(s.phone, "carol", "from the phone");
    s.world.send(s.carol, "bob", "to the phone alone");
    assert!(
        s.world
            .drive_until(60_000, |w| idle(w, s.carol) && delivered(w, s.carol) == 2)
    );
    assert!(
        s.world
            .drive_until(60_000, |w| idle(w, s.phone) && delivered(w, s.phone) == 1)
    );
    s.world.drive(HOUR_MS);
    assert_eq!(s.world.node(s.laptop).received(), ["to both"]);
    assert!(has_copies(&s.world, s.laptop, &[]));
    for id in [s.carol, s.phone] {
        let peers = s.world.node(id).running().peers(s.world.now());
        let links = peers.iter().flat_map(|peer| &peer.links);
        assert!(
            links
                .clone()
                .all(|link| link.device_label.as_str() != "laptop")
        );
    }
    // It was told, sends no more, and what it says is refused.
    assert!(s.world.node(s.laptop).told(is_removed));
    s.world.send(s.laptop, "carol", "let me in");
    s.world.drive(60_000);
    assert_eq!(s.world.node(s.carol).received(), ["from the phone"]);
    assert!(s.world.node(s.laptop).told(is_revoked));
    // It knows it after a restart, too, whoever is there to tell it.
    s.world.crash(s.laptop);
    s.world.registry.down = true;
    s.world.crash(s.phone);
    let told = s.world.node(s.laptop).events.len();
    s.world.start(s.laptop);
    s.world.drive(60_000);
    let node = s.world.node(s.laptop);
    let again = node.events[told..].iter().any(|(_, e)| is_removed(e));
    assert!(again && node.running().status(s.world.now()).removed.is_some());
    s.world.send(s.laptop, "carol", "let me in");
    s.world.drive(60_000);
    let events = &s.world.node(s.laptop).events[told..];
    assert!(events.iter().any(|(_, e)| is_revoked(e)));
    assert_eq!(s.world.node(s.carol).received(), ["from the phone"]);
}

#[test]
fn a_device_that_knows_it_was_taken_off_answers_nobody() {
    let mut s = stage(8);
    let dave = s.world.member("dave");
    for id in [s.carol, dave] {
        s.world.send(id, "bob", "to both");
        assert!(
            s.world
                .drive_until(60_000, |w| idle(w, id) && delivered(w, id) == 1)
        );
    }
    // Dave is away while the laptop is taken off, and Carol tells it so. When Dave is back nobody
    // can give him a newer list than the one he has.
    s.world.crash(dave);
    let rest = without_laptop(&s.bob);
    put(&mut s.world, s.phone, &rest);
    s.world.drive(2_000);
    assert!(s.world.node(s.laptop).told(is_removed));
    s.world.crash(s.phone);
    s.world.crash(s.carol);
    s.world.registry.down = true;
    s.world.start(dave);
    s.world.send(dave, "bob", "to the phone alone");
    s.world.drive(HOUR_MS);
    assert_eq!(s.world.node(s.laptop).received(), ["to both", "to both"]);
    s.world.start(s.phone);
    assert!(s.world.drive_until(HOUR_MS, |w| delivered(w, dave) == 2));
    let heard = s.world.node(s.phone).received();
    assert!(heard.contains(&"to the phone alone"));
    assert_eq!(s.world.node(s.laptop).received(), ["to both", "to both"]);
}

#[test]
fn a_device_that_was_away_when_it_was_taken_off_gets_and_says_nothing() {
    let mut s = stage(7);
    s.world.send(s.carol, "bob", "to both");
    assert!(
        s.world
            .drive_until(60_000, |w| idle(w, s.carol) && delivered(w, s.carol) == 1)
    );
    s.world.crash(s.laptop);
    s.world.drive(1_000);
    // Waits for the laptop at Carol and, as a copy, at the phone.
    s.world.send(s.carol, "bob", "before");
    s.world.send(s.phone, "carol", "said before");
    assert!(s.world.drive_until(60_000, |w| delivered(w, s.carol) == 2));
    let rest = without_laptop(&s.bob);
    put(&mut s.world, s.phone, &rest);
    assert!(
        s.world
            .drive_until(60_000, |w| idle(w, s.carol) && idle(w, s.phone))
    );
    let sealed = |world: &World, id: NodeId| {
        let rows = world.node(id).store.outbox.values();
        rows.map(|row| row.parcels.len()).sum::<usize>()
    };
    assert_eq!(
        (sealed(&s.world, s.carol), sealed(&s.world, s.phone)),
        (0, 0)
    );
    // It comes back without knowing: nobody takes a word of it. No registry tells it either.
    s.world.registry.down = true;
    s.world.start(s.laptop);
    s.world.drive(1_000);
    s.world.send(s.laptop, "carol", "it is me");
    s.world.drive(HOUR_MS);
    assert_eq!(s.world.node(s.carol).received(), ["said before"]);
    assert_eq!(s.world.node(s.laptop).received(), ["to both"]);
    assert!(has_copies(&s.world, s.laptop, &[]) && has_copies(&s.world, s.phone, &[]));
    assert_eq!(delivered(&s.world, s.laptop), 0);
}

#[test]
fn an_old_list_offered_again_is_refused_and_another_of_the_same_version_too() {
    let mut s = stage(8);
    let rest = without_laptop(&s.bob);
    put(&mut s.world, s.phone, &rest);
    s.world.drive(1_000);
    let version = |s: &Stage| {
        s.world
            .node(s.phone)
            .running()
            .status(s.world.now())
            .device_list_version
    };
    assert_eq!(version(&s), 3);
    let refusals = |s: &Stage| {
        let refused = |e: &&(u64, Event)| matches!(e.1, Event::Refused { .. });
        s.world.node(s.phone).events.iter().filter(refused).count()
    };
    let old = s.bob.clone();
    put(&mut s.world, s.phone, &old);
    let mut other = s.bob.clone();
    other.list_version = 3;
    put(&mut s.world, s.phone, &other);
    assert_eq!((refusals(&s), version(&s)), (2, 3));
    // Neither is without this very device in force here.
    let mut without_us = s.bob.clone();
    without_us.devices.remove(0);
    without_us.list_version = 4;
    put(&mut s.world, s.phone, &without_us);
    assert_eq!((refusals(&s), version(&s)), (3, 3));
}

#[test]
fn sixteen_devices_are_taken_and_seventeen_are_not() {
    let mut world = World::new(9);
    let alice = world.member("alice");
    let names: Vec<String> = (0..17).map(|n| format!("d{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let expires_ms = EPOCH_MS + 300 * 24 * HOUR_MS;
    let mut bob = world.authority.admit("bob", "bob", &names, expires_ms);
    let all = bob.devices.clone();
    bob.devices.truncate(1);
    let first = world.device_of(bob.clone(), 0);
    world.start(first);
    world.drive(50);
    bob.list_version = 2;
    bob.devices.clone_from(&all);
    put(&mut world, first, &bob);
    let refused = |e: &Event| matches!(e, Event::Refused { detail, .. } if detail.contains("16"));
    assert!(world.node(first).told(refused));
    bob.devices.truncate(16);
    put(&mut world, first, &bob);
    world.drive(1_000);
    assert_eq!(
        world
            .node(first)
            .running()
            .status(world.now())
            .device_list_version,
        2
    );
    let others: Vec<NodeId> = (1..16).map(|n| world.device_of(bob.clone(), n)).collect();
    for id in &others {
        world.start(*id);
    }
    world.drive(1_000);
    world.send(alice, "bob", "to sixteen");
    let all_have = |w: &World| {
        others
            .iter()
            .all(|id| w.node(*id).received() == ["to sixteen"])
    };
    assert!(world.drive_until(HOUR_MS, all_have));
    world.drive(1_000);
    assert_eq!(delivered(&world, alice), 1);
}

#[test]
fn reading_is_not_told_to_ourselves_and_we_are_never_written_among_the_contacts() {
    let mut s = stage(10);
    let (command, user) = (CommandId(78), s.bob.label.clone());
    let set = Command::SetReadReceipts {
        command,
        user: user.clone(),
        on: true,
    };
    s.world.input(s.phone, Input::Command(set));
    s.world.drive(1_000);
    let refused = |e: &Event| matches!(e, Event::Refused { command: c, .. } if *c == command);
    assert!(s.world.node(s.phone).told(refused));
    assert!(!s.world.node(s.phone).store.contacts.contains_key(&user));
}

#[test]
fn a_refusal_of_an_older_list_is_not_about_the_newer_one() {
    let mut s = stage(11);
    s.world.registry.refusing_lists = 1;
    let told = s.world.node(s.phone).events.len();
    // Two, faster than the registry answers.
    let mut third = s.bob.clone();
    third.list_version = 3;
    put(&mut s.world, s.phone, &third);
    let fourth = without_laptop(&third);
    put(&mut s.world, s.phone, &fourth);
    s.world.drive(1_000);
    let events = s.world.node(s.phone).events[told..].iter();
    let published: Vec<(u64, bool)> = events
        .filter_map(|(_, event)| match event {
            Event::ListPublished { version, error } => Some((*version, error.is_none())),
            _ => None,
        })
        .collect();
    assert_eq!(published, [(3, false), (4, true)]);
}
