//! What outlives the process: the rows the store keeps, the operations the core wants on them, and
//! what the store answers. The store holds no decisions: it runs these in order, all or nothing,
//! and commits them durably (SQLite WAL, `synchronous=FULL`) before it answers.

use crate::event::{DeliveryState, Path, Rung};
use beeline_proto::id::{DeviceFp, EnvelopeHash, KeyId, Label, MessageId, ParcelId, UserFp};
use beeline_proto::keys::{SealSecret, SigningKey};

/// Who we are: loaded once, never changed by the core.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Our deviceId.
    pub device_label: Label,
    /// Our userId.
    pub user_label: Label,
    /// Signs everything we say.
    pub device_key: SigningKey,
    /// Opens CONTROL parcels.
    pub control_key: SealSecret,
    /// Our serialized chain: descriptor, membership, device list.
    pub chain: Vec<u8>,
    /// Envelope of the newest revocations; empty if there are none.
    pub revocations: Vec<u8>,
    /// Random per process start.
    pub boot_id: [u8; 16],
}

/// Everything the store loads at start for the core.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// Random number made with the database; a new one after a restored backup.
    pub incarnation: u64,
    /// Our bundles, the newest first.
    pub bundles: Vec<BundleRow>,
    /// Contacts: users whose key is pinned.
    pub contacts: Vec<ContactRow>,
    /// Routes to devices.
    pub routes: Vec<RouteRow>,
    /// Messages not in a final state, by (to, seq).
    pub outbox: Vec<OutboxRow>,
    /// Highest seq used per recipient within the incarnation in force.
    pub seqs: Vec<(Label, u64)>,
    /// Per sender device and incarnation: the next seq whose turn to be shown it is.
    pub streams: Vec<StreamRow>,
    /// Messages committed but not yet released to be shown, by (device, incarnation, seq).
    pub held: Vec<InboxRow>,
    /// What is kept for others.
    pub kept: KeptLoad,
}

/// What is kept for others, in sums: it costs the same however many parcels there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeptLoad {
    /// One sum for each (recipient, user) with anything.
    pub sums: Vec<KeptSum>,
    /// Highest order in use; 0 for none.
    pub order: u64,
    /// The clock of keeping when it was last written, milliseconds of its own; see
    /// [`StoreOp::ExpireKept`].
    pub clock_ms: u64,
    /// The wall clock at that moment, Unix ms; 0 for never.
    pub wall_ms: u64,
}

/// Parcels kept for one device that one user deposited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptSum {
    /// The device they are for.
    pub recipient: DeviceFp,
    /// The user whose device deposited them.
    pub user: UserFp,
    /// How many.
    pub parcels: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A parcel kept for somebody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptRow {
    /// Order of arrival, from 1: what pages go by. Grows, also over restarts, while anything is
    /// kept.
    pub order: u64,
    /// The device it is for.
    pub recipient: DeviceFp,
    /// The user whose device deposited it.
    pub user: UserFp,
    /// Its id: unique for the recipient.
    pub id: ParcelId,
    /// Until when it is kept, by the clock of keeping, milliseconds.
    pub expires_ms: u64,
    /// Its bytes.
    pub parcel: Vec<u8>,
}

/// One parcel of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptParcel {
    /// Its order.
    pub order: u64,
    /// Its bytes.
    pub parcel: Vec<u8>,
}

/// A bundle of ours with its secret.
#[derive(Debug, Clone)]
pub struct BundleRow {
    /// Names it in parcel headers.
    pub key_id: KeyId,
    /// When it was made, Unix ms.
    pub made_ms: u64,
    /// When a newer one was first published, Unix ms; 0 while it is the newest.
    pub superseded_ms: u64,
    /// Opens MESSAGE parcels.
    pub secret: SealSecret,
    /// Its envelope.
    pub envelope: Vec<u8>,
}

impl PartialEq for BundleRow {
    fn eq(&self, other: &Self) -> bool {
        self.key_id == other.key_id && self.made_ms == other.made_ms
    }
}

/// A user whose key is pinned.
#[derive(Debug, Clone, PartialEq)]
pub struct ContactRow {
    /// The user.
    pub user: UserFp,
    /// The userId the user was pinned under.
    pub label: Label,
    /// The serialized chain that verified last, newest device list.
    pub chain: Vec<u8>,
    /// Whether a person compared the safety number.
    pub verified: bool,
    /// A changed key waiting for the person: the serialized chain that claims it.
    pub claimed_chain: Option<Vec<u8>>,
    /// Versions of our own lists the user has acknowledged: our chain need not travel again.
    pub knows_us: (u64, u64),
}

/// A way to a device: a row of `peer_routes`.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteRow {
    /// The userId.
    pub user_label: Label,
    /// The user.
    pub user: UserFp,
    /// The device.
    pub device: DeviceFp,
    /// Envelope of its newest DeviceRecord.
    pub record: Vec<u8>,
    /// Where its signalling socket is reached.
    pub signal_addr: String,
    /// Which rung found it.
    pub found_by: Rung,
    /// When a link to it was last open, Unix ms; 0 for never.
    pub connected_ms: u64,
    /// When it was last heard of, Unix ms.
    pub seen_ms: u64,
    /// Until when it is demoted after a failure, Unix ms; 0 for not.
    pub demoted_until_ms: u64,
}

/// A message of ours.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxRow {
    /// The message.
    pub id: MessageId,
    /// The recipient as addressed.
    pub to: Label,
    /// Order within (incarnation, recipient).
    pub seq: u64,
    /// The incarnation it was queued in.
    pub incarnation: u64,
    /// The text.
    pub text: String,
    /// When it was queued, Unix ms.
    pub queued_ms: u64,
    /// The signed envelope, once the recipient's key is pinned; never changes afterwards.
    pub envelope: Option<Vec<u8>>,
    /// The sealed parcels by recipient device, byte-identical on every retry until a NACK.
    pub parcels: Vec<(DeviceFp, Vec<u8>)>,
    /// Where it stands.
    pub state: DeliveryState,
    /// The caller's idempotency key.
    pub idempotency_key: Option<String>,
}

/// A message for us.
#[derive(Debug, Clone, PartialEq)]
pub struct InboxRow {
    /// The message.
    pub id: MessageId,
    /// The sending device: dedup is by (device, id), for ever.
    pub device: DeviceFp,
    /// The sending user.
    pub user: UserFp,
    /// The sending userId.
    pub from: Label,
    /// Hash of the envelope as received.
    pub hash: EnvelopeHash,
    /// The envelope as received.
    pub envelope: Vec<u8>,
    /// The sender's incarnation.
    pub incarnation: u64,
    /// The sender's order.
    pub seq: u64,
    /// The text.
    pub text: String,
    /// How it came.
    pub path: Path,
    /// Clamped sender's time, Unix ms.
    pub sent_at_ms: u64,
    /// When it was received, Unix ms.
    pub received_ms: u64,
}

/// What was shown of one sender's stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamRow {
    /// The sending device.
    pub device: DeviceFp,
    /// Its incarnation.
    pub incarnation: u64,
    /// The next seq to release.
    pub next_seq: u64,
}

/// One operation.
#[derive(Debug, Clone, PartialEq)]
pub enum StoreOp {
    /// Insert a message of ours, unless its idempotency key is known for the recipient.
    /// Answers `Inserted` or `Known(id)`.
    QueueMessage(OutboxRow),
    /// Set the envelope (once) and the parcels of a message of ours.
    SetSealed {
        /// The message.
        id: MessageId,
        /// The signed envelope.
        envelope: Vec<u8>,
        /// The sealed parcels by device.
        parcels: Vec<(DeviceFp, Vec<u8>)>,
    },
    /// Record a state of a message of ours, with its proof's details, for `why` and `history`.
    SetState {
        /// The message.
        id: MessageId,
        /// The state.
        state: DeliveryState,
        /// The rung, where it has one.
        rung: Option<Rung>,
        /// The path, where it has one.
        path: Option<Path>,
        /// Why, where it has a reason.
        reason: Option<String>,
        /// When, Unix ms.
        at_ms: u64,
    },
    /// Insert a message for us. Answers `Inserted`, `Duplicate` (same hash), `Conflict` (another
    /// hash under the same id), with `seq_reused` where another id has the same seq.
    Receive(InboxRow),
    /// Release a received message to be shown, and advance its stream.
    Release {
        /// The sending device.
        device: DeviceFp,
        /// The message.
        id: MessageId,
        /// The stream after it.
        stream: StreamRow,
    },
    /// Insert or replace the contact with this label.
    PutContact(ContactRow),
    /// Insert or replace the route to this device. Our own device has one too: it keeps the version
    /// of our record.
    PutRoute(RouteRow),
    /// Remove the route to this device, if there is one.
    RemoveRoute(DeviceFp),
    /// Insert a new bundle of ours; the older ones are superseded at its `made_ms`.
    PutBundle(BundleRow),
    /// Erase a bundle's secret.
    EraseBundle(KeyId),
    /// Replace our own chain and revocations.
    PutOwnChain {
        /// The serialized chain.
        chain: Vec<u8>,
        /// Envelope of the revocations.
        revocations: Vec<u8>,
    },
    /// Start a new incarnation after a restored backup was noticed.
    SetIncarnation(u64),
    /// Keep a parcel for somebody else. Answers `Inserted`, or `Kept` where it is here already.
    Keep(KeptRow),
    /// Look whether a parcel is kept. Answers `Kept` or `Missing`.
    FindKept {
        /// The device it is for.
        recipient: DeviceFp,
        /// Its id.
        id: ParcelId,
    },
    /// Read the next parcels kept for a device, by order. Answers `Page`.
    ReadKept {
        /// The device.
        recipient: DeviceFp,
        /// Only those of a higher order.
        after: u64,
        /// At most this many.
        limit: u32,
        /// No further than this many bytes, but for the first.
        bytes_max: u64,
    },
    /// Delete parcels kept for a device; those not kept for it are passed over. Answers `Gone`.
    DropKept {
        /// The device.
        recipient: DeviceFp,
        /// Their ids.
        ids: Vec<ParcelId>,
    },
    /// Note the clock of keeping, and delete the parcels that ended by it. Answers `Gone`.
    ExpireKept {
        /// The clock of keeping, milliseconds: it runs while the process does.
        clock_ms: u64,
        /// The wall clock, Unix ms: says how long the process was away.
        wall_ms: u64,
        /// At most this many.
        limit: u32,
    },
}

/// What one operation did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreResult {
    /// Done.
    Done,
    /// The row is new.
    Inserted {
        /// For `Receive`: another message id already used this (device, incarnation, seq).
        seq_reused: bool,
    },
    /// For `QueueMessage`: the idempotency key had made this message.
    Known(MessageId),
    /// For `Receive`: this very envelope is here already.
    Duplicate,
    /// For `Receive`: another envelope has this id.
    Conflict,
    /// For `Keep` and `FindKept`: the parcel is kept already.
    Kept {
        /// Until when, by the clock of keeping, milliseconds.
        expires_ms: u64,
    },
    /// For `FindKept`: it is not kept.
    Missing,
    /// For `ReadKept`.
    Page {
        /// The parcels, by order.
        parcels: Vec<KeptParcel>,
        /// Whether there are more.
        more: bool,
    },
    /// For `DropKept` and `ExpireKept`: what was deleted, in sums.
    Gone(Vec<KeptSum>),
}
