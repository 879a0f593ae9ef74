//! What outlives the process: the rows the store keeps, the operations the core wants on them, and
//! what the store answers. The store holds no decisions: it runs these in order, all or nothing,
//! and commits them durably (SQLite WAL, `synchronous=FULL`) before it answers.

use crate::event::{DeliveryState, Kept, Path, Rung};
use crate::files::rows::{FileLoad, FileOp};
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
    /// Messages not in a final state, and delivered ones some device is still to get, by (to, seq).
    pub outbox: Vec<OutboxRow>,
    /// Receipts of custodians for the parcels of these messages.
    pub custody: Vec<CustodyRow>,
    /// Highest seq used per recipient within the incarnation in force.
    pub seqs: Vec<(Label, u64)>,
    /// Per sender device and incarnation: the next seq whose turn to be shown it is.
    pub streams: Vec<StreamRow>,
    /// Messages committed but not yet released to be shown, by (device, incarnation, seq).
    pub held: Vec<InboxRow>,
    /// Messages of ours that ended as delivered or expired, the oldest first, at most
    /// [`crate::limits::SETTLED_MAX`]: a late ACK or a READ may still come.
    pub settled: Vec<SettledRow>,
    /// The steady clock as it was kept last; `None` in a database that was just made.
    pub clock: Option<ClockRow>,
    /// What shows that this home was copied or restored since it was last open, for people. The
    /// store has given it a new incarnation then.
    pub copied: Option<String>,
    /// What is kept for others.
    pub kept: KeptLoad,
    /// Files on their way.
    pub files: FileLoad,
}

/// The steady clock when it was last kept. It counts the time this device lives, whatever becomes
/// of its wall clock; how long things last is counted by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockRow {
    /// What it showed, milliseconds. It began with the wall clock's reading.
    pub steady_ms: u64,
    /// What the wall clock showed, Unix ms.
    pub wall_ms: u64,
}

/// A message of ours that is not tried for any more, and what a late word on it must prove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettledRow {
    /// The message.
    pub id: MessageId,
    /// The recipient as addressed.
    pub to: Label,
    /// `Delivered`, `Read` or `Expired`.
    pub state: DeliveryState,
    /// Hash of its envelope.
    pub hash: EnvelopeHash,
    /// The devices it was sealed to.
    pub devices: Vec<DeviceFp>,
}

/// What is kept for others, in sums: it costs the same however many parcels there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeptLoad {
    /// One sum for each (recipient, user) with anything.
    pub sums: Vec<KeptSum>,
    /// Highest order in use; 0 for none.
    pub order: u64,
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
    /// Until when it is kept, on the steady clock.
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
    /// The same moment on the steady clock, for its age.
    pub born_ms: u64,
    /// When somebody first had it, on the steady clock; 0 while nobody has.
    pub published_ms: u64,
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
    /// Whether the user is told that a person has read its messages.
    pub read_receipts: bool,
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
    /// The same moment on the steady clock, for its age.
    pub born_ms: u64,
    /// The signed envelope, once the recipient's key is pinned; never changes afterwards.
    pub envelope: Option<Vec<u8>>,
    /// The sealed parcels by recipient device, byte-identical on every retry until a NACK.
    pub parcels: Vec<(DeviceFp, Vec<u8>)>,
    /// Devices that have acknowledged it while others are still to get it.
    pub acked: Vec<DeviceFp>,
    /// Where it stands.
    pub state: DeliveryState,
    /// The caller's idempotency key.
    pub idempotency_key: Option<String>,
}

/// What one custodian has promised for one parcel of ours: one row for each message, recipient
/// device and custodian.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustodyRow {
    /// The message.
    pub message: MessageId,
    /// The recipient device.
    pub device: DeviceFp,
    /// The custodian's device.
    pub custodian: DeviceFp,
    /// The custodian's user.
    pub user: UserFp,
    /// The parcel it keeps.
    pub parcel: ParcelId,
    /// When its first receipt came, Unix ms.
    pub since_ms: u64,
    /// When its last receipt came, Unix ms.
    pub heard_ms: u64,
    /// Until when it promised to keep it, Unix ms.
    pub until_ms: u64,
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

/// A message of ours that another device of ours sent.
#[derive(Debug, Clone, PartialEq)]
pub struct CopyRow {
    /// The message.
    pub id: MessageId,
    /// Which of our devices sent it: dedup is by (device, id), for ever.
    pub device: DeviceFp,
    /// The recipient's userId.
    pub to: Label,
    /// The recipient.
    pub user: UserFp,
    /// Hash of the envelope as received.
    pub hash: EnvelopeHash,
    /// The envelope as received.
    pub envelope: Vec<u8>,
    /// The sending device's incarnation.
    pub incarnation: u64,
    /// Its order.
    pub seq: u64,
    /// The text.
    pub text: String,
    /// The sending device's time, Unix ms.
    pub sent_at_ms: u64,
    /// When it came here, Unix ms.
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
    /// A device has a message of ours; others are still to get it. Its parcel is dropped; the
    /// others' outlive `SetState` to `Delivered` and `Read`.
    SetAcked {
        /// The message.
        id: MessageId,
        /// The device.
        device: DeviceFp,
    },
    /// Nobody is left to get this message of ours: its parcels, and who has it, are dropped.
    EndServing(MessageId),
    /// A device is not its user's any more: every parcel for it is dropped.
    DropParcelsFor(DeviceFp),
    /// Insert or replace what a custodian promised, if the message is there.
    PutCustody(CustodyRow),
    /// Remove what a custodian promised for one recipient device of a message.
    RemoveCustody {
        /// The message.
        id: MessageId,
        /// The recipient device.
        device: DeviceFp,
        /// The custodian's device; `None` for every custodian.
        custodian: Option<DeviceFp>,
    },
    /// Record that custodians hold a message of ours, for `why` and `history`.
    SetStored {
        /// The message.
        id: MessageId,
        /// How many, of how many wanted.
        kept: Kept,
        /// When, Unix ms.
        at_ms: u64,
    },
    /// Insert a message for us. Answers `Inserted`, `Duplicate` (same hash), `Conflict` (another
    /// hash under the same id), with `seq_reused` where another id has the same seq.
    Receive(InboxRow),
    /// Insert a copy of what another device of ours said. Answers as `Receive` does.
    KeepCopy(CopyRow),
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
    /// Insert a new bundle of ours.
    PutBundle(BundleRow),
    /// Note that somebody has a bundle of ours now, unless somebody had it before.
    PublishBundle {
        /// The bundle.
        key_id: KeyId,
        /// When, on the steady clock.
        at_ms: u64,
    },
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
    /// Keep the steady clock.
    KeepClock(ClockRow),
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
    /// Something about files.
    File(FileOp),
    /// Delete kept parcels whose time has passed. Answers `Gone`.
    ExpireKept {
        /// What the steady clock shows.
        steady_ms: u64,
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
    Duplicate {
        /// Another message id used this (device, incarnation, seq) too: it is said with each ACK,
        /// as the one that said it first may be lost.
        seq_reused: bool,
    },
    /// For `Receive`: another envelope has this id.
    Conflict,
    /// For `Keep` and `FindKept`: the parcel is kept already.
    Kept {
        /// Until when, on the steady clock.
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
