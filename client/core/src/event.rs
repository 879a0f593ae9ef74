//! What the application sees. Names are past participles or nouns.

use crate::input::CommandId;
use beeline_proto::code::ErrorCode;
use beeline_proto::id::{DeviceFp, Label, MessageId, UserFp};

/// What a person is told whose device was taken off its user's list.
pub const REMOVED: &str = "this device was taken off its user's device list: it gets and sends \
     nothing any more; to use it again, link it anew, with `beeline device link` on another device \
     and `beeline device join` in a new home here";

/// Why a message is tried and nothing of it can go out: no device of the recipient was ever online,
/// so there is no key to seal for. It waits here.
pub const NEVER_ONLINE: &str = "NEVER_ONLINE";

/// Something the application may want to know.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A message of ours is durable: `send` may return.
    Queued {
        /// The call.
        command: CommandId,
        /// The message.
        id: MessageId,
        /// Whether an earlier call with the same idempotency key had made it.
        repeated: bool,
    },
    /// A command was refused; nothing changed.
    Refused {
        /// The call.
        command: CommandId,
        /// The shared error code.
        code: ErrorCode,
        /// For people: what to do.
        detail: String,
    },
    /// A command other than `Send` was carried out.
    Done {
        /// The call.
        command: CommandId,
    },
    /// The registry holds a list of our devices, or refused it.
    ListPublished {
        /// Its version: answers to older ones may still come.
        version: u64,
        /// Why it was refused, for people.
        error: Option<String>,
    },
    /// A message of ours changed state.
    MessageState(MessageState),
    /// A message for us is committed and its turn to be shown has come.
    Received(Received),
    /// A peer changed state.
    PeerState {
        /// The user.
        user: Label,
        /// From.
        from: PeerState,
        /// To.
        to: PeerState,
        /// Why, for people.
        reason: String,
    },
    /// We can be reached: a signalling socket is ready, and we are announced. While the registry
    /// cannot be asked, those who know us already reach us without that.
    Online,
    /// We cannot be reached any more.
    Offline {
        /// Why, for people.
        reason: String,
    },
    /// A contact's user key is not the pinned one; sending to it is blocked.
    KeyChanged {
        /// The contact.
        user: Label,
        /// The pinned user.
        pinned: UserFp,
        /// The user now claimed.
        claimed: UserFp,
    },
    /// This identity runs elsewhere too: the person must choose.
    RunningElsewhere {
        /// What was seen, for people.
        detail: String,
    },
    /// Our user took this device off the device list: nothing works any more.
    Removed {
        /// What to do, for people.
        detail: String,
    },
    /// A step of a search among peers, ours or one we helped with.
    Fabric(Fabric),
    /// Something hostile or broken was refused; for logs and `status`.
    Warned {
        /// What it is, one of a small set, such as `"fingerprint-mismatch"`.
        kind: &'static str,
        /// For people.
        detail: String,
    },
}

/// A step of a search among peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fabric {
    /// We asked a connected peer for a user: PEER_QUERY.
    Asked {
        /// The peer's userId.
        peer: Label,
        /// The userId looked for.
        user: Label,
    },
    /// We answered a connected peer: PEER_FOUND.
    Answered {
        /// The peer's userId.
        peer: Label,
        /// The userId it looked for.
        user: Label,
    },
    /// A connected peer answered us: PEER_FOUND. A hint, until an end-to-end ACK.
    Found {
        /// The peer's userId.
        peer: Label,
        /// The userId looked for.
        user: Label,
        /// Where the device named first is reached, as its record says.
        signal_addr: String,
        /// Whether the peer is linked to it and hands parcels on.
        can_relay: bool,
    },
    /// A message of ours goes through a peer linked to its recipient.
    Through {
        /// The message.
        id: MessageId,
        /// The peer's userId.
        peer: Label,
    },
    /// We handed a parcel on from one linked peer to another.
    Carried {
        /// The sender's userId; `None` if it is not known here.
        from: Option<Label>,
        /// The recipient's userId; `None` if it is not known here.
        to: Option<Label>,
        /// Bytes.
        bytes: usize,
    },
}

/// One state of one of our messages. Never ahead of its proof.
#[derive(Debug, Clone, PartialEq)]
pub struct MessageState {
    /// The message.
    pub id: MessageId,
    /// The recipient.
    pub to: Label,
    /// The state.
    pub state: DeliveryState,
    /// The rung being tried, for `Trying`.
    pub rung: Option<Rung>,
    /// Who keeps it, for `Stored`.
    pub kept: Option<Kept>,
    /// How it travelled, from `Relayed` on.
    pub path: Option<Path>,
    /// Which rung found the peer, from `Delivered` on.
    pub found_by: Option<Rung>,
    /// Why, for `Rejected` and `Expired`, or a note for `Trying`.
    pub reason: Option<String>,
    /// Milliseconds since the message was queued, in this process.
    pub elapsed_ms: u64,
}

/// How many custodians hold a message for its recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Custodians whose signed receipts we hold, for the device that is served best.
    pub n: u32,
    /// Custodians wanted for it, as many as can be had now: 3 at most.
    pub k: u32,
}

impl Kept {
    /// Whether that is enough to call it stored: two receipts, or one where no more can be had.
    pub fn is_enough(self) -> bool {
        if planted!(StoredFromOneReceipt) {
            return self.n > 0;
        }
        self.n >= self.k.clamp(1, 2)
    }
}

/// States of a message, in the order they can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeliveryState {
    /// Durable here.
    Queued,
    /// Being tried on a rung.
    Trying,
    /// A relay took it.
    Relayed,
    /// Custodians hold it.
    Stored,
    /// The recipient's device committed it.
    Delivered,
    /// A person read it.
    Read,
    /// We stopped trying.
    Expired,
    /// The recipient, or we, refused it for good.
    Rejected,
}

impl DeliveryState {
    /// As printed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Trying => "trying",
            Self::Relayed => "relayed",
            Self::Stored => "stored",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Expired => "expired",
            Self::Rejected => "rejected",
        }
    }
}

/// Rungs of the discovery ladder, in the order they start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rung {
    /// 0 ms: an open link.
    Connected,
    /// 5 ms: the route cache.
    Cache,
    /// 50 ms: ask connected peers.
    Peers,
    /// 200 ms: cached coordinators.
    Coordinators,
    /// 500 ms: the registry, the last resort.
    Registry,
    /// 1000 ms: store and forward.
    StoreAndForward,
}

impl Rung {
    /// As printed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Cache => "cache",
            Self::Peers => "peers",
            Self::Coordinators => "coordinators",
            Self::Registry => "registry",
            Self::StoreAndForward => "store-and-forward",
        }
    }

    /// Milliseconds after the start at which the rung starts at the latest.
    pub fn starts_by_ms(self) -> u64 {
        match self {
            Self::Connected => 0,
            Self::Cache => 5,
            Self::Peers => 50,
            Self::Coordinators => 200,
            Self::Registry => 500,
            Self::StoreAndForward => 1000,
        }
    }
}

/// How a message travelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// Over a link between the two devices.
    Direct,
    /// Through a common peer.
    Relay,
    /// Through a custodian.
    Stored,
}

impl Path {
    /// As printed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Relay => "relay",
            Self::Stored => "stored",
        }
    }
}

/// A message for us.
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    /// The message.
    pub id: MessageId,
    /// The sending user.
    pub from: Label,
    /// The sending user's fingerprint.
    pub from_user: UserFp,
    /// The sending device.
    pub from_device: DeviceFp,
    /// The text.
    pub text: String,
    /// How it came.
    pub path: Path,
    /// When it was sent by the sender's clock, Unix ms, clamped to receipt + 5 min.
    pub sent_at_ms: u64,
    /// Whether earlier messages of the sender are still missing.
    pub after_gap: bool,
}

/// Connection states of a peer, as the specification names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PeerState {
    /// Nothing going on.
    Disconnected,
    /// Rungs are being climbed.
    Discovering,
    /// An offer is out, or an answer owed.
    Signaling,
    /// ICE, DTLS, SCTP and HELLO are under way.
    Connecting,
    /// A link is open and both HELLOs verified.
    Connected,
    /// The last attempt in flight ended without a link.
    Failed,
    /// Messages wait for a retry, for presence or a network change.
    StoreAndForward,
}

impl PeerState {
    /// As the specification spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Disconnected => "DISCONNECTED",
            Self::Discovering => "DISCOVERING",
            Self::Signaling => "SIGNALING",
            Self::Connecting => "CONNECTING",
            Self::Connected => "CONNECTED",
            Self::Failed => "FAILED",
            Self::StoreAndForward => "STORE_AND_FORWARD",
        }
    }
}
