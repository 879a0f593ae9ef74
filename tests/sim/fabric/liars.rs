//! Those who do not play by the rules: a member that drops what it should hand on, answers with
//! records of others, or speaks of neighbours it has not; and a gateway that repeats and reorders.

use beeline_proto::pb::peer::v1::peer_item::Kind;
use beeline_proto::pb::peer::v1::{NetworkState, PeerFound, PeerFrame, PeerItem};
use client_core::testing::tap::{Shared, items, payload, shared, sign_as};
use client_core::testing::{NodeId, Signalled, User, World};
use prost::Message as _;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// What a lying member does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lie {
    /// Says that it handed a parcel on, and drops it.
    Drop,
    /// Claims to be linked to everybody it names, and names records that are not theirs.
    Garble,
    /// Tells neighbours of links it has not.
    Poison,
}

pub(super) const LIES: [Lie; 3] = [Lie::Drop, Lie::Garble, Lie::Poison];

/// Lets `liar` lie from now on.
pub(super) fn corrupt(world: &mut World, liar: NodeId, lie: Lie) {
    let user = world.node(liar).user.clone();
    let devices: Vec<[u8; 32]> = world
        .ids()
        .into_iter()
        .map(|id| world.node(id).user.devices[0].1.verify_key().fp())
        .collect();
    world.on_frame = Some(Box::new(move |from, _, bytes| {
        if from != liar {
            return vec![bytes];
        }
        let said = items(&bytes).into_iter();
        let told: Vec<PeerItem> = said
            .filter_map(|item| twist(lie, item, &user, &devices))
            .map(|kind| PeerItem { kind: Some(kind) })
            .collect();
        if told.is_empty() {
            return Vec::new();
        }
        vec![PeerFrame { items: told }.encode_to_vec()]
    }));
}

fn twist(lie: Lie, item: Kind, user: &User, devices: &[[u8; 32]]) -> Option<Kind> {
    match (lie, item) {
        (Lie::Drop, Kind::Relay(_)) => None,
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
            Some(Kind::PeerFound(sign_as(user, &found)))
        }
        (Lie::Poison, Kind::NetworkState(envelope)) => {
            let mut state: NetworkState = payload(&envelope);
            for device in devices {
                let mut said = state.changes.first().cloned().unwrap_or_default();
                said.device = device.to_vec();
                said.connected = true;
                said.record_version = u64::MAX;
                state.changes.push(said);
            }
            state.changes.truncate(64);
            Some(Kind::NetworkState(sign_as(user, &state)))
        }
        (_, item) => Some(item),
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
