//! A tap on links: reads what goes by, and makes what a lying member would say.

use super::{NodeId, User, World};
use beeline_proto::envelope::{Context, sign, split};
use beeline_proto::id::{MessageId, NetworkFp, SessionId};
use beeline_proto::keys::SigningKey;
use beeline_proto::parcel::{Content, Parcel};
use beeline_proto::payload::Payload;
use beeline_proto::pb::envelope::v1::Context as PbContext;
use beeline_proto::pb::peer::v1::peer_item::Kind;
use beeline_proto::pb::peer::v1::{PeerFrame, PeerItem};
use prost::Message as _;
use std::cell::RefCell;
use std::rc::Rc;

/// Something a test and a hook share.
pub type Shared<T> = Rc<RefCell<T>>;

/// Makes one.
pub fn shared<T>(value: T) -> Shared<T> {
    Rc::new(RefCell::new(value))
}

/// The items of a frame.
///
/// # Panics
/// If it is not one: managers make no others.
pub fn items(frame: &[u8]) -> Vec<Kind> {
    let frame = PeerFrame::decode(frame).expect("a frame");
    frame.items.into_iter().filter_map(|i| i.kind).collect()
}

/// A frame of one item.
pub fn frame(kind: Kind) -> Vec<u8> {
    let item = PeerItem { kind: Some(kind) };
    PeerFrame { items: vec![item] }.encode_to_vec()
}

/// What an envelope holds.
///
/// # Panics
/// If it is not one, or holds something else.
pub fn payload<T: Payload>(envelope: &[u8]) -> T {
    let raw = split(envelope).expect("an envelope");
    T::decode(raw.payload).expect("its payload")
}

/// Signs as a user's first device.
pub fn sign_as<T: Payload>(user: &User, payload: &T) -> Vec<u8> {
    sign(&user.devices[0].1, payload)
}

/// A cheaply sealed parcel whose payload its sender changed; `None` where it holds another one.
pub fn reword<T: Payload>(
    user: &User,
    parcel: &[u8],
    change: impl FnOnce(&mut T),
) -> Option<Vec<u8>> {
    let parcel = Parcel::parse(parcel).ok()?;
    let content = cheaply_sealed(&parcel)?;
    let raw = split(&content.envelope).ok()?;
    if raw.payload_type != T::TYPE {
        return None;
    }
    let mut said = payload::<T>(&content.envelope);
    change(&mut said);
    super::crypto::with_envelope(&parcel, sign_as(user, &said))
}

/// A context for a user's first device on a link.
///
/// # Panics
/// If the session is not 16 bytes.
pub fn context(network: NetworkFp, to: &SigningKey, session: &[u8], n: u8) -> PbContext {
    let id = MessageId([n; 16]);
    let session = SessionId::try_from(session).expect("a session");
    let context = Context::unordered(network, to.verify_key().fp(), id);
    context.on_link(session).to_pb()
}

/// What a parcel holds, read without any key: cheap sealing hides nothing. `None` where it was
/// sealed for real.
pub fn cheaply_sealed(parcel: &Parcel) -> Option<Content> {
    super::crypto::peek(parcel)
}

/// How often a kind of refusal was counted.
pub fn counted(world: &World, id: NodeId, kind: &str) -> u64 {
    let status = world.node(id).running().status(world.now());
    let of_kind = status.refused.iter().filter(|(k, _)| *k == kind);
    of_kind.map(|(_, n)| n).sum()
}
