//! What a client tells of itself: events, status, peers, routes, history. Plain data; the command
//! line turns it into text and JSON.

use crate::rtc::IceMode;
use beeline_proto::id::{DeviceFp, Label, MessageId, NetworkFp, UserFp};
use beeline_proto::pb::peer::v1::FileReason;
use client_core::event::{DeliveryState, Event, Kept, Path, Rung};
use client_core::files::rows::FileInState;
use client_core::output::SignalKind;
pub use client_core::status::{CoordinatorInfo, LinkInfo, PeerInfo, RouteInfo};
use std::time::Instant;

/// Something that happened, and when.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientEvent {
    /// When, on the process's monotonic clock: differences between clients of one process are
    /// meaningful.
    pub at: Instant,
    /// What.
    pub fact: Fact,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Fact {
    /// The core says so: messages, peers, online, warnings.
    Core(Event),
    /// The signalling socket to a gateway came up.
    SocketUp {
        /// The gateway's origin.
        gateway: String,
    },
    /// The signalling socket is gone, or could not be made.
    SocketDown {
        /// The gateway's origin.
        gateway: String,
        /// Why, for people.
        reason: String,
    },
    /// A signalling frame went out or came in.
    Signal {
        /// Whether we sent it.
        sent: bool,
        /// Its type.
        kind: SignalKind,
        /// The other device's deviceId.
        peer: String,
        /// Length of the parcel in it, bytes.
        bytes: usize,
    },
    /// A WebRTC connection moved on.
    Link {
        /// Which, unique within this process.
        link: u64,
        /// How.
        step: LinkStep,
    },
    /// The registry, or the gateway before it, answered a request or could not.
    Registry {
        /// What was asked, such as `"get-peer"`.
        call: &'static str,
        /// How long it took, microseconds.
        took_us: u64,
        /// Why it failed, if it did.
        failed: Option<String>,
    },
    /// The store failed; nothing is acknowledged and nothing taken until it is repaired.
    StoreFailed {
        /// For people.
        detail: String,
    },
}

/// Steps of a WebRTC connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkStep {
    /// It was created, to make an offer or to answer one.
    Created,
    /// Our description is in force.
    Described,
    /// The DataChannel is open; HELLO follows.
    Open,
    /// Nothing was heard for a while; it may come back.
    Interrupted,
    /// It came back.
    Resumed,
    /// It is gone.
    Closed {
        /// Why, for people.
        reason: String,
    },
}

/// What changes rarely and is waited for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    pub(crate) online: bool,
    pub(crate) socket: Option<String>,
    pub(crate) running_elsewhere: Option<String>,
    pub(crate) store_failed: Option<String>,
}

/// Who a home is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    /// The networkId.
    pub network_label: Label,
    /// The network.
    pub network: NetworkFp,
    /// Our userId.
    pub user_label: Label,
    /// Our user.
    pub user: UserFp,
    /// Our deviceId.
    pub device_label: Label,
    /// Our device.
    pub device: DeviceFp,
    /// Where we serve the signalling socket, while we run as a coordinator:
    /// `wss://host/{our deviceId}`.
    pub served: Option<String>,
}

/// How a running client stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Who it is.
    pub who: Who,
    /// The peer manager in numbers, `online` among them.
    pub core: client_core::status::Status,
    /// What other devices may learn of this host's addresses.
    pub ice: IceMode,
    /// Origin of the gateway its signalling socket is open to.
    pub gateway: Option<String>,
    /// Set when this identity runs elsewhere too: the client stays off the gateway until it is
    /// started anew.
    pub running_elsewhere: Option<String>,
    /// Set while the store has failed.
    pub store_failed: Option<String>,
    /// What the store holds.
    pub counts: Counts,
    /// Commits of the store since the start; concurrent writes share one.
    pub commits: u64,
}

/// What the store holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages of ours not in a final state.
    pub outbox: u64,
    /// Messages for us that were never shown.
    pub unshown: u64,
    /// Contacts with a pinned key.
    pub contacts: u64,
    /// Routes in the cache.
    pub routes: u64,
}

/// Names a message for us: ids are the sender's choice, so the device belongs to the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InboxKey {
    /// The sending device.
    pub device: DeviceFp,
    /// The message.
    pub id: MessageId,
}

/// A message to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unshown {
    /// Names it for `mark_showing` and `mark_shown`.
    pub key: InboxKey,
    /// The sending user.
    pub user: UserFp,
    /// The sending userId.
    pub from: Label,
    /// The text.
    pub text: String,
    /// How it came.
    pub path: Path,
    /// Clamped sender's time, Unix ms.
    pub sent_at_ms: u64,
    /// When it was received, Unix ms.
    pub received_ms: u64,
    /// Whether a person may have seen it already: an earlier process died while showing it.
    pub again: bool,
    /// Earlier messages of its sender that are missing right before it; each shows when it comes.
    pub missing: u64,
    /// Whether later ones of its sender were shown already: it fills a gap.
    pub late: bool,
    /// The file it offers.
    pub file: Option<FilePast>,
}

/// One line of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryItem {
    /// The message.
    pub id: MessageId,
    /// Whether it is ours.
    pub ours: bool,
    /// The other user's userId.
    pub with: Label,
    /// The text.
    pub text: String,
    /// When it was queued or received here, Unix ms.
    pub at_ms: u64,
    /// When it was sent, by the sender's clock, Unix ms.
    pub sent_at_ms: u64,
    /// Where it stands. One of theirs that is here is `Delivered`.
    pub state: DeliveryState,
    /// How it travelled, once known.
    pub path: Option<Path>,
    /// Why, for `Rejected` and `Expired`.
    pub reason: Option<String>,
    /// The other device of ours that sent it; only there its state is known.
    pub sent_by: Option<DeviceFp>,
    /// Earlier messages of theirs that are missing right before it.
    pub missing: u64,
    /// The file it offers.
    pub file: Option<FilePast>,
}

/// What became of the file that a message offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePast {
    /// Its name as its sender calls it.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Files of a folder; 0 for a file.
    pub files: u32,
    /// How far it is.
    pub state: FileInState,
    /// Held back by us.
    pub held: bool,
    /// Why it was declined or ended.
    pub reason: FileReason,
    /// Where it is, once it is here; empty for one of ours.
    pub path: String,
}

/// What happened to a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Story {
    /// The message.
    pub item: HistoryItem,
    /// Its steps, oldest first.
    pub steps: Vec<StoryStep>,
    /// Who keeps, or kept, a copy of one of ours for its recipient, the first asked first.
    pub keepers: Vec<StoryKeeper>,
}

/// A custodian's signed promise to keep a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoryKeeper {
    /// The custodian's user.
    pub user: UserFp,
    /// Its userId, where it is a contact.
    pub user_label: Option<Label>,
    /// The custodian's device.
    pub device: DeviceFp,
    /// Its deviceId, where it is known.
    pub device_label: Option<Label>,
    /// The recipient's device the copy is for.
    pub recipient: DeviceFp,
    /// That device's deviceId, where it is known.
    pub recipient_label: Option<Label>,
    /// When it first promised, Unix ms.
    pub since_ms: u64,
    /// When it last promised, Unix ms.
    pub heard_ms: u64,
    /// Until when, Unix ms.
    pub until_ms: u64,
}

/// One step of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoryStep {
    /// When, Unix ms.
    pub at_ms: u64,
    /// What: a delivery state's name for ours; `"received"`, `"released"`, `"showing"`, `"shown"`
    /// for theirs.
    pub state: String,
    /// The rung, where it has one.
    pub rung: Option<Rung>,
    /// The path, where it has one.
    pub path: Option<Path>,
    /// Why, where it has a reason.
    pub reason: Option<String>,
    /// How many custodians held it, for `"stored"`.
    pub kept: Option<Kept>,
}

/// The digits two people compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SafetyNumber {
    /// The contact.
    pub user: Label,
    /// 60 digits for the pinned key; `beeline_proto::safety::grouped` makes them readable.
    pub digits: String,
    /// Whether a person has compared them.
    pub verified: bool,
    /// Set while sending is blocked: the digits for the key the contact now claims.
    pub claimed: Option<String>,
}
