//! NETWORK_STATE: neighbours hear who is linked to whom, cheaply, and a liar gains little.

use crate::tap::{Shared, counted, frame, items, payload, shared, sign_as};
use beeline_proto::id::DeviceFp;
use beeline_proto::pb::peer::v1::NetworkState;
use beeline_proto::pb::peer::v1::network_state::Neighbour;
use beeline_proto::pb::peer::v1::peer_item::Kind;
use client_core::event::DeliveryState;
use client_core::testing::{NodeId, World};

fn delivered(world: &World, id: NodeId) -> usize {
    world.node(id).count(DeliveryState::Delivered)
}

fn device(world: &World, id: NodeId) -> DeviceFp {
    world.node(id).user.devices[0].1.verify_key().device_fp()
}

/// Connected peers that `id` holds to be linked to `user`.
fn vias(world: &World, id: NodeId, user: &str) -> usize {
    let peers = world.node(id).running().peers(world.now());
    let peer = peers.iter().find(|peer| peer.label.as_str() == user);
    peer.map_or(0, |peer| peer.vias)
}

/// Links two nodes by a message.
fn meet(world: &mut World, from: NodeId, to: &str) {
    let before = delivered(world, from);
    world.send(from, to, "hello");
    assert!(world.drive_until(5_000, |w| delivered(w, from) == before + 1));
}

/// Alice knows Carol, who is linked to Bob only, to whom Alice is linked too.
fn common_friend(seed: u64) -> (World, NodeId, NodeId, NodeId) {
    let mut world = World::new(seed);
    let (alice, bob) = (world.member("alice"), world.member("bob"));
    let carol = world.member("carol");
    world.drive(50);
    meet(&mut world, alice, "carol");
    world.crash(carol);
    meet(&mut world, alice, "bob");
    world.drive(10_000);
    (world, alice, bob, carol)
}

/// Every state that goes by: from, to, bytes, and what it says.
type States = Shared<Vec<(NodeId, NodeId, usize, NetworkState)>>;

fn watch(world: &mut World) -> States {
    let seen: States = shared(Vec::new());
    let tap = seen.clone();
    world.on_frame = Some(Box::new(move |from, to, bytes| {
        for item in items(&bytes) {
            if let Kind::NetworkState(envelope) = item {
                let state = payload::<NetworkState>(&envelope);
                tap.borrow_mut().push((from, to, envelope.len(), state));
            }
        }
        vec![bytes]
    }));
    seen
}

#[test]
fn who_comes_and_who_goes_is_told_to_neighbours() {
    let (mut world, alice, bob, carol) = common_friend(1);
    assert_eq!(vias(&world, alice, "carol"), 0);
    world.start(carol);
    world.drive(50);
    meet(&mut world, carol, "bob");
    assert!(world.drive_until(1_500, |w| vias(w, alice, "carol") == 1));
    world.crash(carol);
    assert!(world.drive_until(8_000, |w| vias(w, alice, "carol") == 0));
    assert_eq!(counted(&world, alice, "state-digest"), 0);
    assert_eq!(counted(&world, bob, "state-digest"), 0);
}

#[test]
fn what_a_neighbour_told_ends_with_its_link() {
    let (mut world, alice, bob, carol) = common_friend(2);
    world.start(carol);
    world.drive(50);
    meet(&mut world, carol, "bob");
    world.drive(2_000);
    assert_eq!(vias(&world, alice, "carol"), 1);
    world.crash(bob);
    world.drive(10_000);
    assert_eq!(vias(&world, alice, "carol"), 0);
}

#[test]
fn an_unlisted_device_is_not_told_of() {
    let (mut world, alice, _bob, carol) = common_friend(3);
    let seen = watch(&mut world);
    world.node_mut(carol).unlisted = true;
    world.start(carol);
    world.drive(50);
    meet(&mut world, carol, "bob");
    world.drive(600_000);
    let hidden = device(&world, carol).to_vec();
    let named = |state: &NetworkState| state.changes.iter().any(|c| c.device == hidden);
    let states = seen.borrow();
    assert!(!states.is_empty());
    assert!(!states.iter().any(|(.., state)| named(state)));
    assert_eq!(vias(&world, alice, "carol"), 0);
}

#[test]
fn an_idle_link_is_told_less_and_less() {
    let (mut world, alice, bob, _carol) = common_friend(4);
    world.drive(3_600_000);
    let seen = watch(&mut world);
    world.drive(3_600_000);
    let states = seen.borrow();
    let from = |id| states.iter().filter(|(from, ..)| *from == id).count();
    assert_eq!((from(alice), from(bob)), (12, 12));
    assert!(
        states
            .iter()
            .all(|(_, _, len, s)| *len <= 264 && s.digest.len() == 16)
    );
}

#[test]
fn states_of_a_liar_are_bounded_and_those_of_another_link_refused() {
    let (mut world, alice, bob, _carol) = common_friend(5);
    let user = world.node(bob).user.clone();
    world.on_frame = Some(Box::new(move |from, _, bytes| {
        let state = items(&bytes).into_iter().find_map(|item| match item {
            Kind::NetworkState(envelope) if from == bob => Some(payload(&envelope)),
            _ => None,
        });
        let Some(state): Option<NetworkState> = state else {
            return vec![bytes];
        };
        // A hundred states of devices that do not exist; the last of another link.
        let lie = |n: u64| {
            let mut state = state.clone();
            state.sequence += n;
            state.changes = (0..64).map(|at| invented(64 * n + at)).collect();
            if let Some(context) = state.context.as_mut().filter(|_| n == 0) {
                context.link_session = vec![9; 16];
            }
            frame(Kind::NetworkState(sign_as(&user, &state)))
        };
        (0..100).chain([5]).map(lie).collect()
    }));
    world.drive(400_000);
    let running = world.node(alice).running();
    for fill in running.fill() {
        assert!(fill.len <= fill.max, "{fill:?}");
    }
    let heard = running.fill().into_iter().find(|fill| fill.what == "heard");
    assert!(
        heard.is_some_and(|fill| (1..=512).contains(&fill.len)),
        "{heard:?}"
    );
    assert!(world.node(alice).warnings().contains(&"state-refused"));
    assert!(counted(&world, alice, "too-many-states") > 50);
    // She is none the worse for it.
    world.on_frame = None;
    meet(&mut world, alice, "bob");
}

fn invented(n: u64) -> Neighbour {
    let mut device = vec![7; 32];
    device[..8].copy_from_slice(&n.to_be_bytes());
    Neighbour {
        device,
        connected: true,
        record_version: 1,
        coordinator: true,
    }
}

#[test]
fn an_old_state_played_again_is_ignored() {
    let (mut world, alice, bob, carol) = common_friend(6);
    world.start(carol);
    world.drive(50);
    meet(&mut world, carol, "bob");
    world.drive(2_000);
    // From now on every state comes twice.
    world.on_frame = Some(Box::new(move |from, _, bytes| {
        let state = items(&bytes)
            .iter()
            .any(|i| matches!(i, Kind::NetworkState(_)));
        vec![bytes; if state && from == bob { 2 } else { 1 }]
    }));
    world.drive(300_000);
    assert!(counted(&world, alice, "state-again") > 0);
    assert_eq!(vias(&world, alice, "carol"), 1);
}

/// Two coordinators and so many members, settled.
fn network(members: usize) -> (World, Vec<NodeId>) {
    let mut world = World::new(7);
    world.coordinator("ca");
    world.coordinator("cb");
    world.drive(2_000);
    let mut ids = Vec::new();
    for n in 0..members {
        ids.push(world.member(&format!("m{n}")));
        world.drive(20);
    }
    world.drive(10_000);
    (world, ids)
}

/// Bytes of frames one member sends and gets in a while.
fn traffic(world: &mut World, of: NodeId, ms: u64) -> usize {
    let bytes = shared(0);
    let tap = bytes.clone();
    world.on_frame = Some(Box::new(move |from, to, frame| {
        if from == of || to == of {
            *tap.borrow_mut() += frame.len();
        }
        vec![frame]
    }));
    world.drive(ms);
    world.on_frame = None;
    *bytes.borrow()
}

#[test]
fn an_idle_member_of_a_large_network_says_and_hears_little() {
    let (mut world, ids) = network(200);
    let of = ids[150];
    // From the first minute on: the table, and less and less.
    let first = traffic(&mut world, of, 3_600_000);
    let hour = traffic(&mut world, of, 3_600_000);
    let day = first + 23 * hour;
    assert!(day < 500_000, "{day} bytes a day");
    // About 280 kB are measured; the bound on each link's states alone would let it be 1.4 MB.
}

#[test]
fn one_that_comes_and_goes_does_not_make_others_speak() {
    let (mut world, ids) = network(40);
    let mallory = world.member("mallory");
    world.drive(600_000);
    let bystander = ids[7];
    let calm = traffic(&mut world, bystander, 600_000);
    let seen = watch(&mut world);
    for _ in 0..60 {
        world.crash(mallory);
        world.drive(8_000);
        world.start(mallory);
        world.drive(2_000);
    }
    let named = device(&world, mallory).to_vec();
    let states = seen.borrow();
    let told = states.iter().filter(|(_, to, _, state)| {
        *to == bystander && state.changes.iter().any(|c| c.device == named)
    });
    assert!(told.count() <= 8, "by two coordinators in ten minutes");
    let bytes: usize = states
        .iter()
        .filter(|(from, to, ..)| *from == bystander || *to == bystander)
        .map(|(_, _, len, _)| len)
        .sum();
    assert!(bytes <= calm + 2_000, "{bytes} bytes, {calm} without");
}

/// Bytes that one node sends, and all others, in frames and by signalling, while `act` runs.
pub(crate) fn all_traffic(
    world: &mut World,
    of: NodeId,
    act: impl FnOnce(&mut World),
) -> (usize, usize) {
    let bytes = shared((0, 0));
    let name = world.node(of).device_label().clone();
    let count = |own: bool, len: usize, bytes: &Shared<(usize, usize)>| {
        let mut bytes = bytes.borrow_mut();
        bytes.0 += if own { len } else { 0 };
        bytes.1 += if own { 0 } else { len };
    };
    let (frames, signals) = (bytes.clone(), bytes.clone());
    world.on_frame = Some(Box::new(move |from, _, frame| {
        count(from == of, frame.len(), &frames);
        vec![frame]
    }));
    world.on_signal = Some(Box::new(move |signal| {
        count(signal.from == name, signal.parcel.len(), &signals);
        vec![signal]
    }));
    act(world);
    (world.on_frame, world.on_signal) = (None, None);
    *bytes.borrow()
}

#[test]
fn one_that_comes_and_goes_costs_others_little_more_than_itself() {
    let (mut world, _ids) = network(60);
    let mallory = world.member("mallory");
    world.drive(600_000);
    let (_, calm) = all_traffic(&mut world, mallory, |world| world.drive(600_000));
    let (sent, caused) = all_traffic(&mut world, mallory, |world| {
        for _ in 0..60 {
            world.crash(mallory);
            world.drive(8_000);
            world.start(mallory);
            world.drive(2_000);
        }
    });
    let caused = caused.saturating_sub(calm);
    assert!(caused <= 5 * sent, "{caused} bytes caused by {sent}");
}

#[test]
fn who_was_sought_in_vain_is_told_of_at_once_even_among_many() {
    let (mut world, ids) = network(40);
    let carol = world.member_stopped("carol");
    world.registry.down = true;
    world.send(ids[3], "carol", "when you come");
    world.drive(100_000);
    assert_eq!(delivered(&world, ids[3]), 0);
    // The coordinators' leases run again.
    world.registry.down = false;
    world.drive(12_000);
    world.start(carol);
    world.drive(300);
    world.registry.down = true;
    assert!(world.drive_until(2_000, |w| delivered(w, ids[3]) == 1));
}
