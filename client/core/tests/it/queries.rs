//! Asking friends: who is asked, what is answered, and what a liar can do with it.

use crate::tap::{Shared, context, counted, frame, items, payload, shared, sign_as};
use beeline_proto::pb::peer::v1::peer_found::Found;
use beeline_proto::pb::peer::v1::peer_item::Kind;
use beeline_proto::pb::peer::v1::{PeerFound, PeerQuery};
use client_core::event::{DeliveryState, Rung};
use client_core::testing::{NodeId, User, World};

fn delivered(world: &World, id: NodeId) -> usize {
    world.node(id).count(DeliveryState::Delivered)
}

/// Alice and Carol each know Bob, and not each other; the registry is dead.
fn common_friend(seed: u64) -> (World, NodeId, NodeId, NodeId) {
    let mut world = World::new(seed);
    let (alice, bob) = (world.member("alice"), world.member("bob"));
    let carol = world.member("carol");
    world.drive(50);
    world.send(alice, "bob", "hello");
    world.send(carol, "bob", "hello");
    assert!(world.drive_until(2_000, |w| delivered(w, alice) == 1
        && delivered(w, carol) == 1));
    world.drive(2_000);
    world.registry.down = true;
    (world, alice, bob, carol)
}

/// Counts the queries and answers that go by, with their bytes.
fn tally(world: &mut World) -> Shared<[(usize, usize); 2]> {
    let seen = shared([(0, 0); 2]);
    let tap = seen.clone();
    world.on_frame = Some(Box::new(move |_, _, bytes| {
        for item in items(&bytes) {
            let (at, len) = match item {
                Kind::PeerQuery(envelope) => (0, envelope.len()),
                Kind::PeerFound(envelope) => (1, envelope.len()),
                _ => continue,
            };
            let mut tap = tap.borrow_mut();
            tap[at].0 += 1;
            tap[at].1 += len;
        }
        vec![bytes]
    }));
    seen
}

/// The rungs told for the message queued last.
fn rungs(world: &World, id: NodeId) -> Vec<(Rung, u64)> {
    let last = world.node(id).last_queued();
    let states = world.node(id).message_states();
    let of_it = states
        .iter()
        .filter(|s| Some(s.id) == last && s.reason.is_none());
    of_it
        .filter_map(|s| Some((s.rung?, s.elapsed_ms)))
        .collect()
}

#[test]
fn a_common_friend_tells_where_somebody_is() {
    let (mut world, alice, _bob, carol) = common_friend(1);
    let seen = tally(&mut world);
    let lookups = world.registry.lookups;
    world.send(alice, "carol", "never met");
    assert!(world.drive_until(1_000, |w| delivered(w, alice) == 2));
    let states = world.node(alice).message_states();
    let found_by = states.last().and_then(|state| state.found_by);
    assert_eq!(found_by, Some(Rung::Peers));
    assert_eq!(world.registry.lookups, lookups);
    assert_eq!((seen.borrow()[0].0, seen.borrow()[1].0), (1, 1));
    world.drive(10);
    assert_eq!(world.node(carol).received(), ["never met"]);
    // Who was found is remembered.
    let route = world.node(alice).running().routes(world.now());
    let route = route
        .iter()
        .find(|route| route.user_label.as_str() == "carol");
    assert!(route.is_some());
}

#[test]
fn nobody_says_no_and_the_ladder_goes_on_at_its_times() {
    let (mut world, alice, _bob, _carol) = common_friend(2);
    let seen = tally(&mut world);
    world.send(alice, "nobody", "x");
    world.drive(1_500);
    assert_eq!((seen.borrow()[0].0, seen.borrow()[1].0), (1, 0));
    let told = rungs(&world, alice);
    assert_eq!(told, [(Rung::Peers, 3), (Rung::Registry, 503)]);
}

#[test]
fn a_query_is_asked_of_few_and_not_handed_on() {
    let mut world = World::new(3);
    let alice = world.member("alice");
    let friends: Vec<NodeId> = (0..6)
        .map(|n| world.member(&format!("friend{n}")))
        .collect();
    let carol = world.member("carol");
    world.drive(50);
    for n in 0..6 {
        world.send(alice, &format!("friend{n}"), "hello");
    }
    // Carol is known to the friends' friends only.
    world.send(carol, "friend5", "hello");
    world.drive(3_000);
    world.registry.down = true;
    world.registry.forget(&client_core::testing::label("carol"));
    let seen = tally(&mut world);
    world.send(alice, "nobody", "x");
    world.drive(1_500);
    assert_eq!((seen.borrow()[0].0, seen.borrow()[1].0), (3, 0));
    assert_eq!(friends.len(), 6);
}

#[test]
fn a_peer_is_asked_no_more_than_it_answers() {
    let (mut world, alice, bob, _carol) = common_friend(4);
    let seen = tally(&mut world);
    for n in 0..100 {
        world.send(alice, &format!("nobody{n}"), "x");
    }
    world.drive(900);
    let asked = seen.borrow()[0].0;
    assert!((10..=14).contains(&asked), "{asked} queries in a second");
    assert_eq!(counted(&world, bob, "too-many-queries"), 0);
}

#[test]
fn a_flood_of_queries_is_answered_within_what_it_cost() {
    let (mut world, alice, bob, _carol) = common_friend(5);
    let (network, user) = (world.authority.network(), world.node(alice).user.clone());
    let target = world.node(bob).user.clone();
    // Every query of hers goes out as five hundred, each with an id of its own.
    let bytes = shared([0usize; 2]);
    let tap = bytes.clone();
    world.on_frame = Some(Box::new(move |from, to, sent| {
        let mut frames = vec![sent.clone()];
        if (from, to) == (alice, bob) {
            for item in items(&sent) {
                if let Kind::PeerQuery(envelope) = item {
                    frames = flood(network, &user, &target, &payload(&envelope));
                }
            }
            tap.borrow_mut()[0] += frames.iter().map(Vec::len).sum::<usize>();
        } else if (from, to) == (bob, alice) {
            tap.borrow_mut()[1] += sent.len();
        }
        frames
    }));
    world.send(alice, "carol", "x");
    world.drive(20_000);
    let [sent, caused] = *bytes.borrow();
    assert!(caused <= 4 * sent, "{caused} bytes for {sent}");
    assert!(counted(&world, bob, "too-many-queries") >= 480);
    for fill in world.node(bob).running().fill() {
        assert!(fill.len <= fill.max, "{fill:?}");
    }
}

fn flood(
    network: beeline_proto::id::NetworkFp,
    user: &User,
    target: &User,
    query: &PeerQuery,
) -> Vec<Vec<u8>> {
    let session = query
        .context
        .as_ref()
        .expect("a context")
        .link_session
        .clone();
    let one = |n: u16| {
        let mut request_id = vec![0; 16];
        request_id[..2].copy_from_slice(&n.to_be_bytes());
        let query = PeerQuery {
            context: Some(context(network, &target.devices[0].1, &session, n as u8)),
            request_id,
            ..query.clone()
        };
        frame(Kind::PeerQuery(sign_as(user, &query)))
    };
    (0..500).map(one).collect()
}

/// Bob's answers are replaced by what `lie` makes of them, signed by him.
fn lying_bob(world: &mut World, bob: NodeId, lie: impl Fn(PeerFound) -> Vec<PeerFound> + 'static) {
    let user = world.node(bob).user.clone();
    world.on_frame = Some(Box::new(move |from, _, bytes| {
        let found = items(&bytes).into_iter().find_map(|item| match item {
            Kind::PeerFound(envelope) if from == bob => Some(payload::<PeerFound>(&envelope)),
            _ => None,
        });
        match found {
            None => vec![bytes],
            Some(found) => lie(found)
                .iter()
                .map(|found| frame(Kind::PeerFound(sign_as(&user, found))))
                .collect(),
        }
    }));
}

#[test]
fn an_answer_for_another_user_is_not_taken() {
    let (mut world, alice, bob, _carol) = common_friend(6);
    let mallory = world.member_stopped("mallory");
    let user = world.node(mallory).user.clone();
    let chain = world.authority.chain(&user);
    lying_bob(&mut world, bob, move |found| {
        let chain = chain.clone();
        vec![PeerFound { chain, ..found }]
    });
    world.send(alice, "carol", "x");
    world.drive(1_500);
    assert!(world.node(alice).warnings().contains(&"wrong-user"));
    assert_eq!(delivered(&world, alice), 1);
    // An honest answer afterwards is taken.
    world.on_frame = None;
    assert!(world.drive_until(10_000, |w| delivered(w, alice) == 2));
}

#[test]
fn a_record_of_somebody_elses_device_is_not_taken() {
    let (mut world, alice, bob, _carol) = common_friend(7);
    let own = world.node(bob).store.routes.values().next().cloned();
    let record = own.expect("Bob's own record is kept").record;
    lying_bob(&mut world, bob, move |found| {
        let device = Found {
            record: record.clone(),
            connected: true,
            seen_ms_ago: 0,
        };
        let devices = vec![device; 3];
        vec![PeerFound { devices, ..found }]
    });
    world.send(alice, "carol", "x");
    world.drive(1_500);
    assert!(world.node(alice).warnings().contains(&"record-refused"));
    let routes = world.node(alice).running().routes(world.now());
    assert!(
        routes
            .iter()
            .all(|route| route.user_label.as_str() == "bob")
    );
}

#[test]
fn answers_nobody_asked_for_and_second_ones_have_no_effect() {
    let (mut world, alice, bob, _carol) = common_friend(8);
    lying_bob(&mut world, bob, |found| {
        let other = PeerFound {
            request_id: vec![9; 16],
            ..found.clone()
        };
        let crowd = PeerFound {
            devices: vec![found.devices[0].clone(); 4],
            ..found.clone()
        };
        vec![other, crowd, found.clone(), found]
    });
    world.send(alice, "carol", "x");
    world.drive(1_500);
    assert_eq!(counted(&world, alice, "found-unfitting"), 1);
    assert_eq!(counted(&world, alice, "found-without-query"), 3);
    assert_eq!(delivered(&world, alice), 1);
}

#[test]
fn an_answer_for_another_link_is_refused() {
    let (mut world, alice, bob, _carol) = common_friend(9);
    lying_bob(&mut world, bob, |mut found| {
        if let Some(context) = found.context.as_mut() {
            context.link_session = vec![1; 16];
        }
        vec![found]
    });
    world.send(alice, "carol", "x");
    world.drive(1_500);
    assert!(world.node(alice).warnings().contains(&"found-refused"));
    assert_eq!(delivered(&world, alice), 1);
}

#[test]
fn a_link_that_opens_is_asked_for_those_who_wait() {
    let (mut world, alice, bob, carol) = common_friend(10);
    world.crash(bob);
    world.drive(10_000);
    world.send(alice, "carol", "x");
    world.drive(20_000);
    assert_eq!(delivered(&world, alice), 1);
    world.start(bob);
    world.drive(100);
    world.send(bob, "carol", "back");
    world.send(bob, "alice", "back");
    assert!(world.drive_until(1_000, |w| delivered(w, alice) == 2));
    world.drive(10);
    assert_eq!(world.node(carol).received(), ["back", "x"]);
}

#[test]
fn an_unlisted_device_is_never_named() {
    let (mut world, alice, _bob, carol) = common_friend(11);
    world.crash(carol);
    world.drive(10_000);
    world.node_mut(carol).unlisted = true;
    world.start(carol);
    world.drive(100);
    world.send(carol, "bob", "here again");
    world.drive(2_000);
    let seen = tally(&mut world);
    world.send(alice, "carol", "x");
    world.drive(5_000);
    assert!(seen.borrow()[0].0 > 0);
    assert_eq!(seen.borrow()[1].0, 0);
}
