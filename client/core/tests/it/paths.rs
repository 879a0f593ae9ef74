//! Links through TURN: they move to a direct path when there is one, get a new address before a
//! server takes the old one back, and nothing is lost or left behind meanwhile.

use client_core::Input;
use client_core::event::{DeliveryState, Event};
use client_core::files::io::{FilePolicy, FileStage};
use client_core::input::{LinkId, LinkPath, RtcEvent};
use client_core::testing::{NodeId, World};

const MINUTE_MS: u64 = 60_000;

/// Alice and Carol, linked through Alice's TURN server, or through one each.
fn relayed(seed: u64, both: bool) -> (World, NodeId, NodeId) {
    let mut world = World::new(seed);
    world.timing.jitter_ms = seed % 7;
    let (alice, carol) = (world.member("alice"), world.member("carol"));
    world.relayed.insert((alice, carol));
    if both {
        world.relayed.insert((carol, alice));
    }
    world.drive(100);
    world.send(alice, "carol", "hello");
    assert!(world.drive_until(2_000, |w| delivered(w, alice) == 1));
    (world, alice, carol)
}

fn delivered(world: &World, id: NodeId) -> usize {
    world.node(id).count(DeliveryState::Delivered)
}

fn links(world: &World, id: NodeId) -> (usize, usize) {
    let status = world.node(id).running().status(world.now());
    (status.links_open, status.links_pending)
}

/// When the open link to a user opened, in the world's milliseconds.
fn opened_ms(world: &World, id: NodeId, user: &str) -> u64 {
    let peers = world.node(id).running().peers(world.now());
    let peer = peers.iter().find(|peer| peer.label.as_str() == user);
    let link = peer.and_then(|peer| peer.links.first()).expect("linked");
    world.now_ms - link.open_ms
}

/// Counts the offers that went through the gateway.
fn offers(world: &World) -> usize {
    let kind = client_core::output::SignalKind::Offer;
    let signalled = world.signalled.iter();
    signalled.filter(|signalled| signalled.kind == kind).count()
}

/// A node's TURN server says of every address that it ends.
fn take_back(world: &mut World, id: NodeId) {
    for link in (0..64).map(LinkId) {
        let event = RtcEvent::Path(LinkPath::Ending);
        world.input(id, Input::Rtc { link, event });
    }
}

#[test]
fn a_link_through_turn_moves_to_a_direct_path() {
    for seed in 0..20 {
        for both in [false, true] {
            let (mut world, alice, carol) = relayed(seed, both);
            let since_ms = opened_ms(&world, alice, "carol");
            // The direct path was only slower.
            world.relayed.clear();
            let moved = |w: &World| opened_ms(w, alice, "carol") > since_ms;
            assert!(world.drive_until(10_000, moved), "seed {seed} {both}");
            world.drive(500);
            assert_eq!(links(&world, alice), (1, 0), "seed {seed} {both}");
            assert_eq!(links(&world, carol), (1, 0), "seed {seed} {both}");
            let at_ms = opened_ms(&world, alice, "carol");
            world.drive(10 * MINUTE_MS);
            assert_eq!(opened_ms(&world, alice, "carol"), at_ms, "it stays");
        }
    }
}

#[test]
fn where_there_is_no_direct_path_the_link_stays_and_is_tried_ever_less() {
    for both in [false, true] {
        let (mut world, alice, carol) = relayed(3, both);
        let (since_ms, before) = (opened_ms(&world, alice, "carol"), offers(&world));
        let mut counts = Vec::new();
        for minutes in [2, 8, 50, 60, 60, 60] {
            world.drive(minutes * MINUTE_MS);
            counts.push(offers(&world) - before);
        }
        assert_eq!(counts, [3, 4, 4, 5, 6, 7], "both: {both}");
        assert_eq!(opened_ms(&world, alice, "carol"), since_ms);
        for (id, user) in [(alice, "carol"), (carol, "alice")] {
            assert_eq!(links(&world, id), (1, 0));
            assert_eq!(world.node(id).warnings(), Vec::<&str>::new(), "{user}");
            let states = world.node(id).peer_states(user);
            assert_eq!(states.last().map(|s| s.name()), Some("CONNECTED"));
        }
    }
}

#[test]
fn what_is_said_while_a_link_moves_arrives_once_and_in_order() {
    for seed in 0..40 {
        let (mut world, alice, carol) = relayed(seed, seed.is_multiple_of(2));
        world.relayed.clear();
        world.drive(4_900);
        for n in 0..100 {
            world.send(alice, "carol", &format!("a{n}"));
            world.send(carol, "alice", &format!("c{n}"));
            world.drive(seed % 5 + 1);
        }
        let all = |w: &World| delivered(w, alice) == 101 && delivered(w, carol) == 100;
        assert!(world.drive_until(10_000, all), "seed {seed}");
        let said = |who: char| (0..100).map(move |n| format!("{who}{n}"));
        let received = world.node(carol).received();
        assert!(
            received
                .iter()
                .skip(1)
                .eq(said('a').collect::<Vec<_>>().iter())
        );
        let received = world.node(alice).received();
        assert!(received.iter().eq(said('c').collect::<Vec<_>>().iter()));
    }
}

#[test]
fn a_link_that_dies_while_it_tries_to_move_is_made_anew_at_once() {
    for seed in 0..20 {
        let (mut world, alice, carol) = relayed(seed, true);
        world.timing.dead_ms = 100;
        // A try is under way, and cannot come to anything.
        world.drive(5_500);
        assert_eq!(links(&world, alice), (1, 1), "seed {seed}");
        world.cut(alice, carol);
        world.send(alice, "carol", "again");
        assert!(
            world.drive_until(2_000, |w| delivered(w, alice) == 2),
            "seed {seed}"
        );
        world.drive(MINUTE_MS);
        assert_eq!(links(&world, alice), (1, 0));
        assert_eq!(links(&world, carol), (1, 0));
    }
}

#[test]
fn a_call_of_the_other_side_goes_before_a_try() {
    for seed in 0..20 {
        let (mut world, alice, carol) = relayed(seed, true);
        world.drive(5_500);
        // Carol is on another network while Alice tries for something better.
        for id in [alice, carol] {
            world.timing.dead_ms = 31_000;
            if id == carol {
                world.cut(alice, carol);
                world.input(carol, Input::NetworkChanged);
            }
        }
        world.send(carol, "alice", "from elsewhere");
        assert!(
            world.drive_until(2_000, |w| delivered(w, carol) == 1),
            "seed {seed}"
        );
        world.drive(MINUTE_MS);
        assert_eq!(links(&world, alice), (1, 0), "seed {seed}");
    }
}

#[test]
fn an_address_that_ends_is_replaced_before_it_does() {
    for seed in 0..20 {
        for both in [false, true] {
            let (mut world, alice, carol) = relayed(seed, both);
            let since_ms = opened_ms(&world, alice, "carol");
            take_back(&mut world, alice);
            if both {
                world.drive(seed);
                take_back(&mut world, carol);
            }
            world.send(carol, "alice", "meanwhile");
            world.drive(2_000);
            assert!(opened_ms(&world, alice, "carol") > since_ms, "seed {seed}");
            assert_eq!(delivered(&world, carol), 1);
            for id in [alice, carol] {
                assert_eq!(links(&world, id), (1, 0), "seed {seed}, both: {both}");
            }
        }
    }
}

#[test]
fn credentials_that_end_again_and_again_drop_no_call() {
    let (mut world, alice, carol) = relayed(5, false);
    for n in 0..50 {
        world.drive(10 * MINUTE_MS);
        take_back(&mut world, alice);
        world.drive(1_000);
        world.send(alice, "carol", &format!("{n}"));
        world.drive(1_000);
        assert_eq!(delivered(&world, alice), n + 2);
    }
    for (id, user) in [(alice, "carol"), (carol, "alice")] {
        assert_eq!(links(&world, id), (1, 0));
        let lost = |state: &client_core::event::PeerState| state.name() == "DISCONNECTED";
        assert!(
            !world.node(id).peer_states(user).iter().any(lost),
            "no call dropped"
        );
    }
    // Each new link remembers what was tried: three, one after 5 min, then one an hour.
    assert!(offers(&world) <= 1 + 50 + 4 + 9, "{}", offers(&world));
}

#[test]
fn an_address_that_cannot_be_replaced_now_is_asked_for_again() {
    let (mut world, alice, carol) = relayed(2, false);
    world.set_gateway(false);
    world.drive(100);
    take_back(&mut world, alice);
    world.drive(90_000);
    assert_eq!(links(&world, alice).0, 1, "the old one lives meanwhile");
    let since_ms = opened_ms(&world, alice, "carol");
    world.set_gateway(true);
    let renewed = |w: &World| opened_ms(w, alice, "carol") > since_ms;
    assert!(world.drive_until(2 * 30_000 + 5_000, renewed));
    world.drive(1_000);
    assert_eq!(links(&world, carol), (1, 0));
}

#[test]
fn a_stranger_cannot_move_what_is_not_linked() {
    let mut world = World::new(1);
    let (alice, carol) = (world.member("alice"), world.member("carol"));
    world.relayed.insert((alice, carol));
    world.drive(100);
    world.send(alice, "carol", "hello");
    world.drive(2_000);
    // Alice tries for a direct path; Carol has forgotten the link they had.
    world.drive(2_900);
    world.timing.dead_ms = 20_000;
    world.crash(carol);
    world.start(carol);
    world.drive(6_000);
    assert_eq!(links(&world, carol), (0, 0), "a mere try makes no link");
}

#[test]
fn a_file_goes_on_over_the_link_that_follows() {
    let mut world = World::new(4);
    let (alice, carol) = (world.member("alice"), world.member_stopped("carol"));
    world.node_mut(carol).files = Some(FilePolicy {
        from: None,
        size_max: u64::MAX,
        total_max: u64::MAX,
    });
    world.start(carol);
    world.relayed.insert((alice, carol));
    world.drive(100);
    world.send(alice, "carol", "hello");
    world.drive(4_500);
    world.relayed.clear();
    world.timing.link_ms = 20;
    let since_ms = opened_ms(&world, alice, "carol");
    world.send_file(alice, "carol", "holiday.mov", 500 * 1024 * 1024);
    let done = |told: &Event| match told {
        Event::File(told) => matches!(told.stage, FileStage::Done { .. }),
        _ => false,
    };
    world.drive(200);
    assert!(!world.node(alice).told(done), "it takes longer than that");
    assert!(world.drive_until(60_000, |w| w.node(alice).told(done)));
    assert!(
        opened_ms(&world, alice, "carol") > since_ms,
        "it moved meanwhile"
    );
    assert_eq!(world.node(carol).disk.done.len(), 1);
    // 8,000 chunks, and what was under way.
    let sent = world.node(alice).disk.sent;
    assert!((8_000..8_200).contains(&sent), "{sent}");
}
