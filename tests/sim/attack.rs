//! One member of two hundred attacks all others: what it makes them say is little, and they hear
//! each other as before. One that is no member makes them say nothing.

use super::crowd::{count_bytes, crowd};
use beeline_proto::id::DeviceFp;
use beeline_proto::parcel::{Content, Header, Kind as ParcelKind};
use beeline_proto::pb::peer::v1::network_state::Neighbour;
use beeline_proto::pb::peer::v1::peer_item::Kind;
use beeline_proto::pb::peer::v1::{Hello, NetworkState, PeerQuery};
use client_core::crypto::Crypto as _;
use client_core::event::DeliveryState;
use client_core::output::SignalKind;
use client_core::testing::tap::{context, counted, frame, items, payload, shared, sign_as};
use client_core::testing::{CheapCrypto, NodeId, Signalled, User, World, label};
use std::collections::BTreeMap;

/// How long each attack lasts, milliseconds.
const ATTACK_MS: u64 = 30_000;

/// One frame on each link so often, milliseconds.
const EVERY_MS: u64 = 100;

/// What the attacker floods its neighbours with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attack {
    /// Questions for everybody.
    Query,
    /// Parcels to hand on that nobody can open.
    Relay,
    /// Parcels to hand on to devices nobody has.
    Nowhere,
    /// Links it has not.
    State,
    /// Bytes.
    Garbage,
}

struct Attacker {
    id: NodeId,
    user: User,
    /// The sessions of its links.
    sessions: BTreeMap<NodeId, Vec<u8>>,
    crypto: CheapCrypto,
    n: u64,
}

/// A crowd whose member `mallory` has links to its coordinators and to twenty others.
fn besieged(seed: u64) -> (World, Vec<NodeId>, Attacker) {
    let (mut world, ids) = crowd(seed, 200);
    let id = world.member_stopped("mallory");
    let sessions = shared(BTreeMap::new());
    let seen = sessions.clone();
    world.on_frame = Some(Box::new(move |from, to, bytes| {
        if from == id {
            for item in items(&bytes) {
                if let Kind::Hello(envelope) = item {
                    let hello: Hello = payload(&envelope);
                    let session = hello.context.map(|context| context.link_session);
                    seen.borrow_mut().insert(to, session.unwrap_or_default());
                }
            }
        }
        vec![bytes]
    }));
    world.start(id);
    world.drive(2_000);
    for n in 0..20 {
        world.send(id, &format!("m{}", n * 7), "hello");
        world.drive(100);
    }
    world.drive(5_000);
    world.on_frame = None;
    let sessions = sessions.take();
    assert!(sessions.len() >= 20, "{}", sessions.len());
    let attacker = Attacker {
        id,
        user: world.node(id).user.clone(),
        sessions,
        crypto: CheapCrypto::new(seed),
        n: 0,
    };
    (world, ids, attacker)
}

impl Attacker {
    fn parcel(&mut self, world: &World, to: DeviceFp, key: NodeId) -> Vec<u8> {
        // Sealed to a key of its own: the recipient cannot open it.
        let key = world.node(key).user.devices[0].2.public();
        let header = Header {
            network: world.authority.network(),
            from: self.user.devices[0].1.verify_key().device_fp(),
            to,
            kind: ParcelKind::Message,
            key_id: key.key_id(),
            ttl_s: 60,
        };
        let content = Content {
            envelope: vec![7; 300],
            chain: Vec::new(),
        };
        self.crypto.seal(&header, &key, &content).expect("it fits")
    }

    fn item(&mut self, world: &World, to: NodeId, attack: Attack) -> Vec<u8> {
        self.n += 1;
        let n = self.n;
        let network = world.authority.network();
        let session = self.sessions[&to].clone();
        let context = context(
            network,
            &world.node(to).user.devices[0].1,
            &session,
            n as u8,
        );
        let somebody = NodeId(world.ids().len() - 2 - (n as usize * 7) % 190);
        match attack {
            Attack::Query => {
                let mut request_id = vec![0; 16];
                request_id[..8].copy_from_slice(&n.to_be_bytes());
                let query = PeerQuery {
                    context: Some(context),
                    looking_for_id: world.node(somebody).user.label.to_string(),
                    request_id,
                    ..PeerQuery::default()
                };
                frame(Kind::PeerQuery(sign_as(&self.user, &query)))
            }
            Attack::Relay => {
                let device = &world.node(somebody).user.devices[0].1;
                let device = device.verify_key().device_fp();
                frame(Kind::Relay(self.parcel(world, device, self.id)))
            }
            Attack::Nowhere => {
                let device = DeviceFp([n as u8; 32]);
                frame(Kind::Relay(self.parcel(world, device, self.id)))
            }
            Attack::State => {
                let neighbour = |k: usize| Neighbour {
                    device: world.node(NodeId(k)).user.devices[0]
                        .1
                        .verify_key()
                        .fp()
                        .to_vec(),
                    connected: true,
                    record_version: u64::MAX,
                    ..Neighbour::default()
                };
                let state = NetworkState {
                    context: Some(context),
                    sequence: 1_000_000 + n,
                    changes: (0..64).map(neighbour).collect(),
                    ..NetworkState::default()
                };
                frame(Kind::NetworkState(sign_as(&self.user, &state)))
            }
            Attack::Garbage => vec![n as u8; 200],
        }
    }

    fn flood(&mut self, world: &mut World, attack: Attack) -> u64 {
        let mut sent = 0;
        for to in self.sessions.keys().copied().collect::<Vec<_>>() {
            let bytes = self.item(world, to, attack);
            let len = bytes.len() as u64;
            sent += if world.say(self.id, to, bytes) {
                len
            } else {
                0
            };
        }
        sent
    }
}

/// Lets time pass, with an attack or without one, while members talk; bytes the attacker sent on
/// purpose, bytes all others said, and messages that arrived.
fn siege(seed: u64, attack: Option<Attack>) -> (u64, u64, usize) {
    let (mut world, ids, mut attacker) = besieged(seed);
    let counts = count_bytes(&mut world);
    let (begin, mut sent) = (world.now_ms, 0);
    let mut n = 0;
    while world.now_ms < begin + ATTACK_MS {
        if let Some(attack) = attack {
            sent += attacker.flood(&mut world, attack);
        }
        n += 1;
        let (from, to) = (ids[n * 11 % ids.len()], n * 11 + 3);
        world.send(from, &format!("m{}", to % ids.len()), "x");
        world.drive(EVERY_MS);
    }
    world.drive(5_000);
    let said = counts.borrow();
    let others = world.ids().into_iter().filter(|id| *id != attacker.id);
    let said = others.map(|id| said[id.0].0).sum();
    let delivered = ids
        .iter()
        .map(|id| world.node(*id).count(DeliveryState::Delivered));
    let delivered = delivered.sum();
    for id in world.ids() {
        for fill in world.node(id).running().fill() {
            assert!(fill.len <= fill.max, "{fill:?}");
        }
    }
    (sent, said, delivered)
}

#[test]
fn an_attacker_causes_less_than_five_times_what_it_sends() {
    let (_, quiet, delivered) = siege(1, None);
    assert_eq!(delivered, (ATTACK_MS / EVERY_MS) as usize);
    let attacks = [
        Attack::Query,
        Attack::Relay,
        Attack::Nowhere,
        Attack::State,
        Attack::Garbage,
    ];
    for attack in attacks {
        let (sent, said, still) = siege(1, Some(attack));
        let caused = said.saturating_sub(quiet);
        super::fabric::say(&format!("{attack:?}: {sent} bytes sent, {caused} caused"));
        assert!(caused <= 5 * sent, "{attack:?}: {caused} bytes for {sent}");
        assert_eq!(still, delivered, "{attack:?}: honest messages suffer");
    }
}

#[test]
fn a_stranger_causes_nothing() {
    let (mut world, ids, mut attacker) = besieged(2);
    // Somebody of another network: its proofs are good there, and nothing here.
    let mut elsewhere = client_core::testing::Authority::new("elsewhere");
    let stranger = elsewhere.admit("stranger", "stranger", &["stranger_phone"], u64::MAX);
    attacker.user = stranger;
    let count = |world: &World| {
        world
            .signalled
            .iter()
            .map(|s| s.parcel.len())
            .sum::<usize>()
    };
    world.drive(30_000);
    world.signalled.clear();
    let frames = count_bytes(&mut world);
    world.drive(ATTACK_MS);
    let (quiet, quiet_frames) = (
        count(&world),
        frames.borrow().iter().map(|c| c.0).sum::<u64>(),
    );
    world.signalled.clear();
    let frames = count_bytes(&mut world);
    let mut sent = 0;
    for n in 0..ATTACK_MS / EVERY_MS {
        let to = ids[n as usize % ids.len()];
        let device = world.node(to).user.devices[0].1.verify_key().device_fp();
        let parcel = attacker.parcel(&world, device, attacker.id);
        sent += parcel.len();
        let frame = Signalled {
            from: label("stranger_phone"),
            to: world.node(to).device_label().clone(),
            kind: [SignalKind::Offer, SignalKind::RelayRequest][n as usize % 2],
            parcel,
        };
        world.pass_on(attacker.id, frame);
        world.drive(EVERY_MS);
    }
    let caused = count(&world).saturating_sub(quiet);
    let said = frames.borrow().iter().map(|c| c.0).sum::<u64>();
    let caused = caused as u64 + said.saturating_sub(quiet_frames);
    assert!(caused <= sent as u64, "{caused} bytes for {sent}");
    assert!(ids.iter().all(|id| counted(&world, *id, "nack-said") <= 2));
}
