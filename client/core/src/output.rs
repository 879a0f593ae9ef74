//! What the core wants done.

use crate::event::Event;
use crate::files::io::FileCommand;
use crate::input::{Candidate, LinkId, SocketId};
use crate::state::StoreOp;
use beeline_proto::id::Label;

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Send a frame over a signalling socket.
    Signal(SignalCommand),
    /// Open or close a coordinator's signalling socket. The gateway's (0) is the driver's own: it
    /// is dialled whenever it is lost, and may only be told to do so at once.
    Socket {
        /// Which socket.
        socket: SocketId,
        /// What to do.
        command: SocketCommand,
    },
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
    /// Do something with the bytes of a file.
    File(FileCommand),
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

/// What to do with a signalling socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketCommand {
    /// Dial it, once. Answered by `SignalInput::Up`, and by `SignalInput::Down` when it is gone or
    /// could not be made; nobody but the core decides to dial again.
    Open {
        /// The coordinator's address as its record says: `wss://host/{its deviceId}`. Our own
        /// socket is at the same host under our own deviceId.
        addr: String,
    },
    /// Close it and forget it. No input follows.
    Close,
    /// Give up the gateway's connection, or the pause before the next, and dial again within the
    /// shortest pause, at a moment of chance. `SignalInput::Up` follows as for any other dial; a
    /// `SignalInput::Down` that comes first is not news.
    Redial,
}

/// What to do with a WebRTC connection.
#[derive(Debug, Clone, PartialEq)]
pub enum RtcCommand {
    /// Create it and make an offer.
    Offer {
        /// Ask no TURN server for an address.
        direct_only: bool,
    },
    /// Create it from a remote offer and make an answer.
    AcceptOffer {
        /// The remote session description.
        sdp: String,
        /// Ask no TURN server for an address.
        direct_only: bool,
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
    /// `POST /coordinator/heartbeat`: we live, and this is our load.
    Heartbeat {
        /// Links in use.
        load: u32,
        /// Links taken at most.
        capacity: u32,
        /// deviceIds connected since the last one; all of them if `full`.
        connected: Vec<Label>,
        /// deviceIds gone since the last one.
        disconnected: Vec<Label>,
        /// Whether `connected` is the whole list.
        full: bool,
        /// Random per process start.
        epoch: u64,
        /// Counts heartbeats of this process, from 1.
        seq: u64,
    },
    /// `GET /network/{networkId}/coordinators`.
    ListCoordinators,
}
