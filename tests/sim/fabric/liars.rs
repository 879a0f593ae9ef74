//! Those who do not play by the rules: a member that drops what it should hand on, answers with
//! records of others, speaks of neighbours it has not, repeats what it said, acknowledges what it
//! never kept, eats the ACKs it should
//! hand back, or promises to keep what it does not; and a gateway that repeats and reorders.

use super::watch::Watch;
use beeline_proto::envelope::Context;
use beeline_proto::id::{DeviceFp, MessageId, NetworkFp};
use beeline_proto::parcel::{Header, Kind as ParcelKind, Parcel};
use beeline_proto::pb::peer::v1::peer_item::Kind;
use beeline_proto::pb::peer::v1::{Ack, ChatMessage, NetworkState, PeerFound, StoreReceipt, ack};
use beeline_proto::pb::peer::v1::{PeerFrame, PeerItem};
use client_core::crypto::Crypto as _;
use client_core::testing::tap::{Shared, cheaply_sealed, items, payload, shared, sign_as};
use client_core::testing::{CheapCrypto, NodeId, Signalled, User, World};
use prost::Message as _;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use std::collections::BTreeMap;

/// What a lying member does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lie {
    /// Says that it handed a parcel on, and drops it.
    Drop,
    /// Claims to be linked to everybody it names, and names records that are not theirs.
    Garble,
    /// Tells neighbours of links it has not.
    Poison,
    /// Says everything again later.
    Repeat,
    /// Acknowledges, with a wrong hash, what it throws away. Only where sealing is cheap.
    Pretend,
    /// Hands on messages, and eats what comes back.
    EatAcks,
    /// Promises to keep what it throws away.
    Promise,
    /// Neither keeps what is left with it nor says so.
    Swallow,
    /// Keeps, and hands nothing over.
    Withhold,
    /// Hands what was left with it to whoever is there, again and again.
    Misdeliver,
}

impl Lie {
    /// Whether it takes a custodian to tell it.
    pub(super) fn is_of_custody(self) -> bool {
        matches!(
            self,
            Self::Promise | Self::Swallow | Self::Withhold | Self::Misdeliver
        )
    }
}

pub(super) const LIES: [Lie; 10] = [
    Lie::Drop,
    Lie::Garble,
    Lie::Poison,
    Lie::Repeat,
    Lie::Pretend,
    Lie::EatAcks,
    Lie::Promise,
    Lie::Swallow,
    Lie::Withhold,
    Lie::Misdeliver,
];

/// Items a liar keeps to say again.
const KEPT: usize = 16;

/// Items of a frame to which nothing is added any more.
const CROWDED: usize = 56;

/// A member that lies.
struct Liar {
    lie: Lie,
    network: NetworkFp,
    user: User,
    /// Everybody, by node.
    users: Vec<User>,
    crypto: CheapCrypto,
    /// What it will say next to whom.
    next: BTreeMap<NodeId, Vec<Kind>>,
    /// What it said to whom.
    said: BTreeMap<NodeId, Vec<Kind>>,
    /// Parcels that were left with it.
    left: Vec<Vec<u8>>,
    /// Items made, for ids.
    made: u8,
}

/// Lets `liars` lie from now on, and has the links of all others watched.
pub(super) fn tap(world: &mut World, liars: &[(NodeId, Lie)], watch: Shared<Watch>) {
    let users: Vec<User> = world
        .ids()
        .into_iter()
        .map(|id| world.node(id).user.clone())
        .collect();
    let network = world.authority.network();
    let liar = |&(id, lie): &(NodeId, Lie)| Liar {
        lie,
        network,
        user: users[id.0].clone(),
        users: users.clone(),
        crypto: CheapCrypto::new(id.0 as u64),
        next: BTreeMap::new(),
        said: BTreeMap::new(),
        left: Vec::new(),
        made: 0,
    };
    let mut liars: BTreeMap<NodeId, Liar> = liars.iter().map(|l| (l.0, liar(l))).collect();
    world.on_frame = Some(Box::new(move |from, to, bytes| {
        let said = match liars.get_mut(&from) {
            Some(liar) => {
                let said = liar.speak(to, &bytes);
                for item in said.iter().flat_map(|frame| items(frame)) {
                    watch.borrow_mut().note_custody(from, to, &item);
                }
                said
            }
            None => {
                watch.borrow_mut().hear(from, to, &bytes);
                vec![bytes]
            }
        };
        match liars.get_mut(&to) {
            Some(liar) => said
                .into_iter()
                .flat_map(|b| liar.listen(from, b))
                .collect(),
            None => said,
        }
    }));
}

fn frames(items: Vec<Kind>) -> Vec<Vec<u8>> {
    if items.is_empty() {
        return Vec::new();
    }
    let items = items.into_iter().map(|kind| PeerItem { kind: Some(kind) });
    let items = items.collect();
    vec![PeerFrame { items }.encode_to_vec()]
}

impl Liar {
    fn speak(&mut self, to: NodeId, bytes: &[u8]) -> Vec<Vec<u8>> {
        let said = items(bytes).into_iter();
        let mut told: Vec<Kind> = said.filter_map(|item| self.twist(item)).collect();
        let greeting = told.iter().any(|item| matches!(item, Kind::Hello(_)));
        if !greeting && told.len() < CROWDED {
            told.extend(self.next.remove(&to).unwrap_or_default());
        }
        if self.lie == Lie::Misdeliver && !greeting && told.len() < CROWDED {
            told.extend(self.left.iter().take(3).cloned().map(Kind::Kept));
            let over = self.left.len().min(1);
            self.left.rotate_left(over);
        }
        if self.lie == Lie::Repeat && !greeting && told.len() < CROWDED {
            let fresh = told.clone();
            let said = self.said.entry(to).or_default();
            told.extend(said.iter().take(3).cloned());
            let lasting = |item: &Kind| !matches!(item, Kind::Goodbye(_));
            said.extend(fresh.into_iter().filter(lasting));
            let over = said.len().saturating_sub(KEPT);
            said.drain(..over);
        }
        frames(told)
    }

    /// Hears what others say to it; it is not told of what it pretends to have.
    fn listen(&mut self, from: NodeId, bytes: Vec<u8>) -> Vec<Vec<u8>> {
        use Lie::{Misdeliver, Pretend, Promise, Swallow};
        if !matches!(self.lie, Pretend | Promise | Swallow | Misdeliver) {
            return vec![bytes];
        }
        let all = items(&bytes);
        let before = all.len();
        let rest: Vec<Kind> = all.into_iter().filter(|i| self.hears(from, i)).collect();
        if rest.len() == before {
            return vec![bytes];
        }
        frames(rest)
    }

    /// Whether its own process hears of an item.
    fn hears(&mut self, from: NodeId, item: &Kind) -> bool {
        let answer = match (self.lie, item) {
            (Lie::Pretend, _) => match self.pretend(from, item) {
                Some(ack) => ack,
                None => return true,
            },
            (Lie::Promise, Kind::StoreMessage(store)) => match self.promise(from, &store.parcel) {
                Some(receipt) => receipt,
                None => return true,
            },
            (Lie::Swallow, Kind::StoreMessage(_)) => return false,
            (Lie::Misdeliver, Kind::StoreMessage(store)) if self.left.len() < KEPT => {
                self.left.push(store.parcel.clone());
                return true;
            }
            _ => return true,
        };
        let next = self.next.entry(from).or_default();
        if next.len() < KEPT {
            next.push(answer);
        }
        false
    }

    /// The receipt for a parcel that is thrown away.
    fn promise(&mut self, from: NodeId, parcel: &[u8]) -> Option<Kind> {
        let parcel = Parcel::parse(parcel).ok()?;
        let audience = self.users[from.0].devices[0].1.verify_key().device_fp();
        self.made = self.made.wrapping_add(1);
        let id = MessageId([self.made; 16]);
        let receipt = StoreReceipt {
            context: Some(Context::unordered(self.network, audience.0, id).to_pb()),
            parcel_id: parcel.id().to_vec(),
            keep_s: 30 * 24 * 3_600,
        };
        Some(Kind::StoreReceipt(sign_as(&self.user, &receipt)))
    }

    /// The ACK for a message that is thrown away.
    fn pretend(&mut self, from: NodeId, item: &Kind) -> Option<Kind> {
        let Kind::ChatMessage(bytes) = item else {
            return None;
        };
        let envelope = cheaply_sealed(&Parcel::parse(bytes).ok()?)?.envelope;
        let message: ChatMessage = payload(&envelope);
        let item = ack::Item {
            msg_id: message.context?.message_id,
            envelope_hash: vec![7; 32],
            seq_reused: false,
        };
        let (_, device, control) = &self.users[from.0].devices[0];
        let audience = self.users[from.0].key.verify_key().fp();
        let id = MessageId([from.0 as u8; 16]);
        let said = Ack {
            context: Some(Context::unordered(self.network, audience, id).to_pb()),
            items: vec![item],
            known: None,
        };
        let key = control.public();
        let header = Header {
            network: self.network,
            from: self.user.devices[0].1.verify_key().device_fp(),
            to: device.verify_key().device_fp(),
            kind: ParcelKind::Control,
            key_id: key.key_id(),
            ttl_s: 60,
        };
        let content = beeline_proto::parcel::Content {
            envelope: sign_as(&self.user, &said),
            chain: Vec::new(),
        };
        let sealed = self.crypto.seal(&header, &key, &content).ok()?;
        Some(Kind::Ack(sealed))
    }

    fn twist(&self, item: Kind) -> Option<Kind> {
        match (self.lie, item) {
            (Lie::Drop, Kind::Relay(_)) | (Lie::Withhold, Kind::Kept(_)) => None,
            (Lie::EatAcks, Kind::Relay(bytes)) => {
                let own = self.user.devices[0].1.verify_key().device_fp();
                let parcel = Parcel::parse(&bytes).ok();
                let eaten = parcel.is_some_and(|parcel| {
                    let header = parcel.header();
                    header.kind == ParcelKind::Control && header.from != own
                });
                (!eaten).then_some(Kind::Relay(bytes))
            }
            (Lie::Garble, Kind::PeerFound(envelope)) => {
                let mut found: PeerFound = payload(&envelope);
                found.can_relay = true;
                let first = found.devices.first().cloned()?;
                // Old bytes, bytes of nobody, and a link that is not there.
                let mut broken = first.clone();
                broken.record.reverse();
                broken.connected = true;
                found.devices = vec![broken, first];
                found.devices[1].connected = true;
                Some(Kind::PeerFound(sign_as(&self.user, &found)))
            }
            (Lie::Poison, Kind::NetworkState(envelope)) => {
                let mut state: NetworkState = payload(&envelope);
                for user in &self.users {
                    let device: DeviceFp = user.devices[0].1.verify_key().device_fp();
                    let mut said = state.changes.first().cloned().unwrap_or_default();
                    said.device = device.to_vec();
                    said.connected = true;
                    said.record_version = u64::MAX;
                    state.changes.push(said);
                }
                state.changes.truncate(64);
                Some(Kind::NetworkState(sign_as(&self.user, &state)))
            }
            (_, item) => Some(item),
        }
    }
}

/// Repeats some signalling frames and holds some back until the next one, while `on` says so.
pub(super) fn shuffle_signals(world: &mut World, seed: u64) -> Shared<bool> {
    let on = shared(true);
    let active = on.clone();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut held: Vec<Signalled> = Vec::new();
    world.on_signal = Some(Box::new(move |frame| {
        if !*active.borrow() {
            let mut all = std::mem::take(&mut held);
            all.push(frame);
            return all;
        }
        match rng.next_u64() % 8 {
            0 => vec![frame.clone(), frame],
            1 if held.len() < 8 => {
                held.push(frame);
                Vec::new()
            }
            2 => Vec::new(),
            _ => {
                let mut all = vec![frame];
                all.append(&mut held);
                all
            }
        }
    }));
    on
}
