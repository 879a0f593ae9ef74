//! Which messages may be signed, and as what: the tie between a generated message, its payload
//! type, and the [`Context`] that is its first field.

use crate::pb::envelope::v1::{Context, PayloadType};
use crate::pb::{
    auth::v1 as auth, identity::v1 as identity, peer::v1 as peer, signal::v1 as signal,
};

/// A message that travels as the payload of an envelope.
pub trait Payload: prost::Message + Default {
    /// Its type, and so its signing domain.
    const TYPE: PayloadType;

    /// What the signature is bound to; `None` is refused by every verifier.
    fn context(&self) -> Option<&Context>;
}

macro_rules! payloads {
    ($($message:path => $kind:ident,)*) => {$(
        impl Payload for $message {
            const TYPE: PayloadType = PayloadType::$kind;

            fn context(&self) -> Option<&Context> {
                self.context.as_ref()
            }
        }
    )*};
}

payloads! {
    identity::NetworkDescriptor => NetworkDescriptor,
    identity::Membership => Membership,
    identity::Revocations => Revocations,
    identity::Invite => Invite,
    identity::JoinProof => JoinProof,
    identity::DeviceList => DeviceList,
    identity::Bundle => Bundle,
    identity::DeviceRecord => DeviceRecord,
    auth::TokenProof => TokenProof,
    signal::SocketProof => SocketProof,
    identity::DeviceOffer => DeviceOffer,
    identity::DeviceRequest => DeviceRequest,
    peer::Hello => Hello,
    peer::ChatMessage => ChatMessage,
    peer::Ack => Ack,
    peer::Nack => Nack,
    peer::Read => Read,
    peer::Goodbye => Goodbye,
    peer::Offer => Offer,
    peer::Answer => Answer,
    peer::IceCandidate => IceCandidate,
    peer::PeerQuery => PeerQuery,
    peer::PeerFound => PeerFound,
    peer::NetworkState => NetworkState,
    peer::StoreReceipt => StoreReceipt,
    peer::StoreFetch => StoreFetch,
    peer::StoreDelete => StoreDelete,
    peer::FileOffer => FileOffer,
    peer::FileAccept => FileAccept,
    peer::FileDone => FileDone,
}
