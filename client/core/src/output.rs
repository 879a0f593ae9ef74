//! What the core wants done.

use crate::event::Event;
use crate::input::{Candidate, LinkId, SocketId};
use crate::state::StoreOp;
use beeline_proto::id::Label;

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Send a frame over a signalling socket.
    Signal(SignalCommand),
    /// Command a WebRTC connection.
    Rtc {
        /// Which link; the first command on it creates the connection.
        link: LinkId,
        /// What to do.
        command: RtcCommand,
    },
    /// Ask the registry; answered by `Input::Registry` exactly once.
    Registry {
        /// Names the request.
        request: RequestId,
        /// What to ask.
        call: RegistryCall,
    },
    /// Write to the store, all or nothing, after every earlier write; answered by `Input::Store`
    /// exactly once.
    Store {
        /// Names the write.
        ticket: StoreTicket,
        /// The operations, in order.
        ops: Vec<StoreOp>,
    },
    /// Tell the application.
    Event(Event),
}

/// Names a registry request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Names a write to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreTicket(pub u64);

/// Which type the signalling frame that carries a parcel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalKind {
    /// OFFER.
    Offer,
    /// ANSWER.
    Answer,
    /// ICE_CANDIDATE.
    IceCandidate,
    /// RELAY_REQUEST.
    RelayRequest,
}

/// What to send over a signalling socket.
#[derive(Debug, Clone, PartialEq)]
pub struct SignalCommand {
    /// Over which socket.
    pub socket: SocketId,
    /// The frame's type.
    pub kind: SignalKind,
    /// The receiving device.
    pub to: Label,
    /// The parcel's bytes.
    pub parcel: Vec<u8>,
}

/// What to do with a WebRTC connection.
#[derive(Debug, Clone, PartialEq)]
pub enum RtcCommand {
    /// Create it and make an offer.
    Offer,
    /// Create it from a remote offer and make an answer.
    AcceptOffer {
        /// The remote session description.
        sdp: String,
    },
    /// Set the remote answer.
    AcceptAnswer {
        /// The remote session description.
        sdp: String,
    },
    /// Add a remote candidate.
    AddCandidate(Candidate),
    /// Send one DataChannel message.
    Send(Vec<u8>),
    /// Close it and forget it. No event follows.
    Close,
}

/// What to ask the registry.
#[derive(Debug, Clone, PartialEq)]
pub enum RegistryCall {
    /// `GET /network/{networkId}/peer/{userId}`.
    GetPeer {
        /// The user.
        user: Label,
    },
    /// `POST /network/{networkId}/announce`.
    Announce {
        /// Envelope of our DeviceRecord.
        record: Vec<u8>,
        /// deviceIds of our coordinators.
        coordinators: Vec<Label>,
    },
    /// The newest descriptor and revocations.
    GetNetwork,
    /// A renewed membership.
    RenewMembership,
    /// Publish our device list.
    PutDeviceList {
        /// Its envelope.
        device_list: Vec<u8>,
    },
}
