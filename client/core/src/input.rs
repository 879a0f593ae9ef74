//! What the driver tells the core.

use crate::files::io::{FileCall, FileEvent};
use crate::output::{RequestId, SignalKind, StoreTicket};
use crate::state::StoreResult;
use beeline_proto::code::ErrorCode;
use beeline_proto::id::{Label, MessageId, UserFp};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The moment asked for by `poll_timeout` has come.
    Timeout,
    /// The application wants something.
    Command(Command),
    /// The signalling side reports.
    Signal(SignalInput),
    /// A WebRTC connection reports.
    Rtc {
        /// Which link.
        link: LinkId,
        /// What happened on it.
        event: RtcEvent,
    },
    /// The registry answered a request.
    Registry {
        /// Which request.
        request: RequestId,
        /// Its answer.
        answer: Result<RegistryAnswer, RegistryError>,
    },
    /// The store finished a write.
    Store {
        /// Which write.
        ticket: StoreTicket,
        /// One result per operation, in order, or why the whole write failed.
        result: Result<Vec<StoreResult>, StoreFailure>,
    },
    /// The store finished several writes, in order: what they allow goes out together.
    Stored(Vec<(StoreTicket, Result<Vec<StoreResult>, StoreFailure>)>),
    /// The driver reports on the bytes of a file.
    File(FileEvent),
    /// The host's network changed: addresses or routes came or went, or it has slept. Told once
    /// things have settled, and not more often than about once a second.
    NetworkChanged,
    /// The process is asked to end: say GOODBYE and close.
    Drain,
}

/// Names a command, so that its outcome can be told to whoever gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub u64);

/// What the application can ask for.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Queue a text. Answered by `Event::Queued` after the commit, or `Event::Refused`.
    Send {
        /// Names the call.
        command: CommandId,
        /// The recipient.
        to: Label,
        /// The text, at most `TEXT_LEN_MAX` bytes of UTF-8.
        text: String,
        /// A repeated key returns the first call's message instead of a new one.
        idempotency_key: Option<String>,
    },
    /// Say that messages were read by a person. Nothing is said to users for whom
    /// [`Command::SetReadReceipts`] has switched it off.
    MarkRead {
        /// Their ids with the user they came from.
        messages: Vec<(UserFp, MessageId)>,
    },
    /// Accept the changed user key of a contact, so that sending is possible again.
    AcceptKey {
        /// Names the call.
        command: CommandId,
        /// The contact.
        user: Label,
    },
    /// Put a newer list of our own devices in force, signed by our user key, and publish it.
    /// Answered by `Event::Done`, or `Event::Refused`.
    PutDeviceList {
        /// Names the call.
        command: CommandId,
        /// Its envelope.
        device_list: Vec<u8>,
    },
    /// Say, or do not say any more, to a contact that its messages were read. Answered by
    /// `Event::Done` after the commit, or `Event::Refused`.
    SetReadReceipts {
        /// Names the call.
        command: CommandId,
        /// The contact.
        user: Label,
        /// Whether to say it.
        on: bool,
    },
    /// Something with files.
    File(FileCall),
    /// Open a link to a user without sending anything.
    Connect {
        /// The user.
        to: Label,
    },
}

/// Names one WebRTC connection, made by the core; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

impl LinkId {
    /// No link: for chunks of files that come in parts, through others.
    pub const RELAYED: Self = Self(u64::MAX);
}

/// What a WebRTC connection reports.
#[derive(Debug, Clone, PartialEq)]
pub enum RtcEvent {
    /// Our description is set: the offer or answer to send.
    LocalDescription {
        /// The session description.
        sdp: String,
    },
    /// A local candidate was found.
    Candidate(Candidate),
    /// No more local candidates will come.
    EndOfCandidates,
    /// Which way the packets go; direct while nothing is told. Told before `Open`, and whenever it
    /// changes.
    Path(LinkPath),
    /// The DataChannel is open.
    Open {
        /// SHA-256 of our DTLS certificate.
        local_fingerprint: [u8; 32],
        /// SHA-256 of the remote DTLS certificate.
        remote_fingerprint: [u8; 32],
    },
    /// One DataChannel message arrived: a serialized `PeerFrame`.
    Message(Vec<u8>),
    /// The send budget has room again after `Full`.
    Writable,
    /// Sends did not fit the budget and were not taken: hold back until `Writable`. Reported at
    /// once after the outputs were drained, before any other input.
    Full {
        /// The frames not taken, in order: the first that did not fit and all that followed it.
        refused: Vec<Vec<u8>>,
    },
    /// Nothing was heard from the other end for some seconds; the path may be gone.
    Silent,
    /// The connection is gone, or could not be made.
    Closed {
        /// Why, for people.
        reason: String,
    },
}

/// Which way the packets of a link go, as far as our own end knows: what the other end has a TURN
/// server for looks direct from here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LinkPath {
    /// Straight to the address of the other end.
    #[default]
    Direct,
    /// Through an address that a TURN server lends us.
    Relayed,
    /// The same, and the server will not lend it any longer: it ends within minutes.
    Ending,
}

/// One ICE candidate (RFC 8839).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Candidate {
    /// The candidate-attribute.
    pub candidate: String,
    /// Media stream identification tag.
    pub sdp_mid: String,
    /// Index of the media description.
    pub sdp_m_line_index: u32,
    /// ICE username fragment.
    pub username_fragment: String,
}

/// Which signalling socket: the gateway's is 0; coordinators' sockets count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(pub u64);

impl SocketId {
    /// The gateway's.
    pub const GATEWAY: Self = Self(0);
    /// A coordinator's own socket at the signalling server it runs itself. While it is up the
    /// coordinator can be reached at its own address, whatever became of gateway and registry.
    pub const OWN: Self = Self(u64::MAX);
}

/// What the signalling side reports.
#[derive(Debug, Clone, PartialEq)]
pub enum SignalInput {
    /// A socket is ready (its HELLO was answered).
    Up(SocketId),
    /// A socket is gone, or could not be opened.
    Down(SocketId),
    /// The gateway handed over signed lists newer than ours; verified before they are believed.
    Lists {
        /// Envelope of the descriptor; empty where ours is as new.
        descriptor: Vec<u8>,
        /// Envelope of the revocations; empty where ours are as new.
        revocations: Vec<u8>,
    },
    /// A parcel came in an OFFER, ANSWER, ICE_CANDIDATE or RELAY_REQUEST.
    Parcel {
        /// Over which socket.
        socket: SocketId,
        /// The frame's type.
        kind: SignalKind,
        /// The sender's deviceId as the gateway says; a hint, never proof.
        from: String,
        /// The parcel's bytes.
        parcel: Vec<u8>,
    },
    /// A frame came whose body is not a parcel; refused and counted.
    Plain {
        /// Over which socket.
        socket: SocketId,
        /// The sender's deviceId as the gateway says.
        from: String,
    },
    /// The gateway refused a frame we sent.
    Error {
        /// Over which socket.
        socket: SocketId,
        /// The shared error code.
        code: ErrorCode,
        /// The deviceId the frame was for.
        to: String,
    },
    /// A newer socket of this device took over; the proof of its sign-in as carried.
    Superseded {
        /// Over which socket.
        socket: SocketId,
        /// Envelope of the winner's SocketProof.
        proof: Vec<u8>,
    },
}

/// What the registry answered.
#[derive(Debug, Clone, PartialEq)]
pub enum RegistryAnswer {
    /// To `GetPeer`: what it knows of the user.
    Peer(RegistryPeer),
    /// To `Announce`: the lease.
    Announced {
        /// Seconds after which to announce again.
        reannounce_after_s: u32,
        /// Version of the descriptor the registry holds.
        descriptor_version: u64,
        /// Version of the revocations the registry holds.
        revocations_version: u64,
    },
    /// To `GetNetwork`: the signed lists.
    Network {
        /// Envelope of the descriptor.
        descriptor: Vec<u8>,
        /// Envelope of the revocations; empty if there are none.
        revocations: Vec<u8>,
    },
    /// To `RenewMembership`: the new membership's envelope.
    Membership(Vec<u8>),
    /// To `PutDeviceList`: the version in force.
    DeviceList(u64),
    /// To `Heartbeat`: our lease as a coordinator runs.
    HeartbeatTaken {
        /// Seconds until the next one is expected.
        next_s: u32,
        /// Whether the next one must carry the whole list of connected devices.
        want_full: bool,
    },
    /// To `ListCoordinators`: those whose lease runs, least loaded first.
    Coordinators(Vec<RegistryCoordinator>),
}

/// One coordinator as the registry describes it. Nothing here is believed without its signatures.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RegistryCoordinator {
    /// Its serialized chain.
    pub chain: Vec<u8>,
    /// Envelope of its device record.
    pub record: Vec<u8>,
    /// Links in use.
    pub load: u32,
    /// Links it takes at most.
    pub capacity: u32,
}

/// One user as the registry describes it. Nothing here is believed without its signatures.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RegistryPeer {
    /// The user's serialized chain.
    pub chain: Vec<u8>,
    /// Whether the registry believes the user online.
    pub online: bool,
    /// Envelopes of the device records.
    pub records: Vec<Vec<u8>>,
    /// deviceIds of the last coordinators.
    pub last_coordinators: Vec<String>,
}

/// Why a registry request failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistryError {
    /// The registry answered no.
    Refused {
        /// The shared error code.
        code: ErrorCode,
        /// For people.
        detail: String,
    },
    /// The registry, or the gateway before it, cannot be reached or cannot answer now.
    Unreachable {
        /// For people.
        detail: String,
    },
}

/// Why a write failed; nothing of it was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreFailure {
    /// Whether a later try may succeed (disk full, busy).
    pub transient: bool,
    /// For people.
    pub detail: String,
}
