//! What custodians keep, from both sides: taken, paged out, pushed, deleted, over crashes.

mod collect;
mod crashes;
mod deposit;
mod fabric;
mod hostile;

use crate::tap::{Shared, context};
use crate::tap::{frame, items, payload, shared, sign_as};
use beeline_proto::envelope::Context;
use beeline_proto::id::{DeviceFp, KeyId, MessageId, ParcelId};
use beeline_proto::keys::{SealPublic, SigningKey};
use beeline_proto::limits::PARCEL_TTL_MAX_S;
use beeline_proto::parcel::{Content, Header, Kind as ParcelKind, Parcel};
use beeline_proto::pb::identity::v1::{Bundle, DeviceRecord};
use beeline_proto::pb::peer::v1::peer_item::Kind;
use beeline_proto::pb::peer::v1::{ChatMessage, Hello, Refusal, StoreMessage, StoreReceipt};
use client_core::crypto::Crypto;
use client_core::testing::{CheapCrypto, NodeId, World};
use std::collections::BTreeMap;

/// A custodian Bob, Alice who is linked to it, and Carol who is away and known to both. What goes
/// over links is noted.
struct Scene {
    world: World,
    alice: NodeId,
    bob: NodeId,
    carol: NodeId,
    /// (from, to, item) of everything said on links.
    said: Shared<Vec<(NodeId, NodeId, Kind)>>,
    /// Session of the newest link, by (from, to).
    sessions: Shared<BTreeMap<(NodeId, NodeId), Vec<u8>>>,
    crypto: CheapCrypto,
    count: u64,
}

/// The first device key of a node.
fn key(world: &World, id: NodeId) -> SigningKey {
    let node = world.node(id);
    node.user.devices[node.device].1.clone()
}

fn fp(world: &World, id: NodeId) -> DeviceFp {
    key(world, id).verify_key().device_fp()
}

/// The newest bundle of a node, as in its record.
fn bundle(world: &World, id: NodeId) -> (KeyId, SealPublic) {
    let store = &world.node(id).store;
    let record = store.routes[&fp(world, id)].record.clone();
    let record: DeviceRecord = payload(&record);
    let bundle: Bundle = payload(&record.bundle);
    let key = SealPublic::from_bytes(&bundle.key).expect("a key");
    (
        KeyId::try_from(bundle.key_id.as_slice()).expect("an id"),
        key,
    )
}

impl Scene {
    fn new(seed: u64) -> Self {
        Self::with(seed, |_| {})
    }

    /// The same; `set` changes the custodian before it starts.
    fn with(seed: u64, set: impl FnOnce(&mut client_core::testing::Node)) -> Self {
        let mut world = World::new(seed);
        let (alice, carol) = (world.member("alice"), world.member("carol"));
        let bob = world.member_stopped("bob");
        world.node_mut(bob).can_store = true;
        set(world.node_mut(bob));
        world.start(bob);
        let (said, sessions) = (shared(Vec::new()), shared(BTreeMap::new()));
        let (notes, hellos) = (said.clone(), sessions.clone());
        world.on_frame = Some(Box::new(move |from, to, bytes| {
            for item in items(&bytes) {
                if let Kind::Hello(hello) = &item {
                    let hello: Hello = payload(hello);
                    let session = hello.context.expect("a context").link_session;
                    hellos.borrow_mut().insert((from, to), session);
                }
                notes.borrow_mut().push((from, to, item));
            }
            // Depositors here did not deposit by themselves: what they get for it ends here.
            let receipt = |item: &Kind| matches!(item, Kind::StoreReceipt(_));
            let mut items = items(&bytes);
            if !items.iter().any(receipt) {
                return vec![bytes];
            }
            items.retain(|item| !receipt(item));
            items.into_iter().map(frame).collect()
        }));
        world.drive(2_000);
        let mut scene = Self {
            world,
            alice,
            bob,
            carol,
            said,
            sessions,
            crypto: CheapCrypto::new(seed),
            count: 0,
        };
        for from in [alice, carol] {
            scene.world.send(from, "bob", "hello");
        }
        scene.world.drive(2_000);
        scene.world.crash(carol);
        scene.world.drive(10_000);
        scene.said.borrow_mut().clear();
        scene
    }

    /// A parcel of a message from one node for another, sealed as if it could be.
    fn parcel(&mut self, from: NodeId, to: NodeId, text: &str) -> Vec<u8> {
        let bundle = bundle(&self.world, to);
        self.parcel_for(from, to, text, bundle)
    }

    fn parcel_for(
        &mut self,
        from: NodeId,
        to: NodeId,
        text: &str,
        (key_id, key): (KeyId, SealPublic),
    ) -> Vec<u8> {
        self.count += 1;
        let world = &self.world;
        let mut id = [0x70; 16];
        id[..8].copy_from_slice(&self.count.to_be_bytes());
        let message = ChatMessage {
            context: Some(
                Context {
                    network: world.authority.network(),
                    audience: world.node(to).user.key.verify_key().fp(),
                    message_id: MessageId(id),
                    incarnation: 9,
                    seq: self.count,
                    link_session: None,
                }
                .to_pb(),
            ),
            content: text.to_owned(),
            timestamp: 1,
            timestamp_ms: 0,
        };
        let content = Content {
            envelope: sign_as(&world.node(from).user, &message),
            chain: world.authority.chain(&world.node(from).user),
        };
        let header = self.header(from, to, key_id);
        self.crypto.seal(&header, &key, &content).expect("sealed")
    }

    fn header(&self, from: NodeId, to: NodeId, key_id: KeyId) -> Header {
        Header {
            network: self.world.authority.network(),
            from: fp(&self.world, from),
            to: fp(&self.world, to),
            kind: ParcelKind::Message,
            key_id,
            ttl_s: PARCEL_TTL_MAX_S,
        }
    }

    /// Something is said on the link between two nodes, whoever would say it.
    fn say(&mut self, from: NodeId, to: NodeId, kind: Kind) {
        assert!(self.world.say(from, to, frame(kind)), "they are linked");
    }

    /// A node deposits with the custodian.
    fn deposit(&mut self, from: NodeId, parcel: &[u8]) {
        let store = StoreMessage {
            parcel: parcel.to_vec(),
            ticket: Vec::new(),
        };
        self.say(from, self.bob, Kind::StoreMessage(store));
    }

    /// The same, and what came of it.
    fn deposited(&mut self, from: NodeId, parcel: &[u8]) -> Result<StoreReceipt, Refusal> {
        let before = self.said.borrow().len();
        self.deposit(from, parcel);
        self.world.drive(100);
        self.answer(before, from).expect("an answer")
    }

    /// What the custodian answered to a deposit of a node, after so many things were said.
    fn answer(&self, after: usize, to: NodeId) -> Option<Result<StoreReceipt, Refusal>> {
        let said = self.said.borrow();
        said[after..].iter().find_map(|(from, at, item)| {
            if (*from, *at) != (self.bob, to) {
                return None;
            }
            match item {
                Kind::StoreReceipt(receipt) => Some(Ok(payload(receipt))),
                Kind::Refusal(refusal) => Some(Err(refusal.clone())),
                _ => None,
            }
        })
    }

    /// How often an item was said from one node to another.
    fn count_said(&self, from: NodeId, to: NodeId, which: impl Fn(&Kind) -> bool) -> usize {
        let said = self.said.borrow();
        let of_them = said.iter().filter(|(f, t, _)| (*f, *t) == (from, to));
        of_them.filter(|(_, _, item)| which(item)).count()
    }

    /// Parcels in the custodian's store.
    fn kept(&self) -> usize {
        self.world.node(self.bob).store.kept.len()
    }

    fn accounts(&self) -> (u64, u64) {
        let status = self.world.node(self.bob).running().status(self.world.now());
        (status.kept.parcels, status.kept.bytes)
    }

    /// A context for a node on its link with another one.
    fn context(&self, from: NodeId, to: NodeId, n: u8) -> beeline_proto::pb::envelope::v1::Context {
        let session = self.sessions.borrow()[&(from, to)].clone();
        let network = self.world.authority.network();
        context(network, &key(&self.world, to), &session, n)
    }

    fn start_carol(&mut self) {
        let carol = self.carol;
        self.world.start(carol);
        self.world.drive(5_000);
    }

    fn carol_got(&self) -> Vec<String> {
        let got = self.world.node(self.carol).received();
        got.into_iter().map(ToOwned::to_owned).collect()
    }
}

fn id_of(parcel: &[u8]) -> ParcelId {
    Parcel::parse(parcel).expect("a parcel").id()
}
