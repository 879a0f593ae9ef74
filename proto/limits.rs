//! Every size, count and duration that the wire sets, each with its reason. A part's own limits
//! live in that part's `limits.rs`. Tests send each limit and limit + 1.

/// A label, bytes: fits URLs, logs and file names everywhere.
pub const LABEL_LEN_MAX: usize = 64;

/// An encoded parcel, bytes: with frame overhead below the 16 KiB every WebRTC stack carries in one
/// message, so that every path can take it.
pub const PARCEL_LEN_MAX: usize = 16_000;

/// Sizes that encoded parcels are padded to, so that length tells little of the content.
pub const PARCEL_BUCKETS: [usize; 6] = [512, 1_024, 2_048, 4_096, 8_192, PARCEL_LEN_MAX];

/// Payload of an envelope, bytes: a full chat text with its context fits, and the sealed whole
/// stays under [`PARCEL_LEN_MAX`].
pub const PAYLOAD_LEN_MAX: usize = 14_000;

/// An encoded envelope, bytes: the payload and at most 111 bytes of key, type, lengths, signature.
pub const ENVELOPE_LEN_MAX: usize = PAYLOAD_LEN_MAX + 111;

/// Chat text, bytes: leaves room for envelope and chain in one parcel. Longer texts are files.
pub const TEXT_LEN_MAX: usize = 12_000;

/// A session description, bytes: ours are about 600; browsers' data-only ones stay under 2 KiB.
pub const SDP_LEN_MAX: usize = 8 * 1024;

/// One candidate line, bytes (RFC 8839 lines are under 200).
pub const CANDIDATE_LEN_MAX: usize = 512;

/// Remote candidates used per negotiation: each is paired with every local one and checked.
pub const CANDIDATES_MAX: usize = 32;

/// A signalling frame, bytes: a padded parcel in base64 (21,336) or 8 KiB of SDP, with room.
pub const SIGNAL_FRAME_LEN_MAX: usize = 64 * 1024;

/// A DataChannel frame unless both HELLOs allow more, bytes: what every browser takes.
pub const FRAME_LEN_DEFAULT: usize = 16 * 1024;

/// A DataChannel frame between our own clients, bytes: 64 KiB less our header.
pub const FRAME_LEN_MAX: usize = 64 * 1024 - 256;

/// Items in one DataChannel frame: bounds the work one frame can cause.
pub const FRAME_ITEMS_MAX: usize = 64;

/// Messages one ACK or READ names.
pub const ACK_ITEMS_MAX: usize = 64;

/// Devices of one user: bounds a device list to about 2.5 KiB and a send to 16 seals.
pub const DEVICES_PER_USER_MAX: usize = 16;

/// Registrar keys of one network: enough to rotate.
pub const REGISTRAR_KEYS_MAX: usize = 4;

/// Origins of one kind in a descriptor.
pub const ORIGINS_MAX: usize = 8;

/// An origin or signalling address, bytes.
pub const ORIGIN_LEN_MAX: usize = 256;

/// Revoked serials in one list: 4,096 varints stay under [`PAYLOAD_LEN_MAX`] below 2^21.
pub const REVOCATIONS_MAX: usize = 4_096;

/// A chain, bytes: beside the longest text it still fits one parcel, and the longest descriptor,
/// membership and device list fit into it.
pub const CHAIN_LEN_MAX: usize = 3_500;

/// A descriptor's envelope, bytes: what a chain has left beside a membership (at most 360) and a
/// list of 16 devices with the longest labels (at most 2,410). Room for about ten origins.
pub const DESCRIPTOR_LEN_MAX: usize = 720;

/// Uses of one invite.
pub const INVITE_USES_MAX: u32 = 10_000;

/// Lifetime of an invite, seconds: 30 days.
pub const INVITE_TTL_MAX_S: u32 = 30 * 24 * 3600;

/// Coordinators a device names in its announce.
pub const COORDINATORS_NAMED_MAX: usize = 4;

/// Lifetime of a parcel, seconds: as long as a sender tries, 30 days.
pub const PARCEL_TTL_MAX_S: u32 = 30 * 24 * 3600;

/// Members that keep for one recipient device, counted from the front of its order: enough that
/// sender and recipient meet though each misses some, few enough to ask each.
pub const CUSTODIANS_MAX: usize = 16;

/// Parcels in one page of what a custodian keeps, and parcel ids in one STORE_DELETE.
pub const STORE_PAGE_MAX: usize = 64;

/// The place where a page starts, bytes: room for whatever order a custodian has.
pub const STORE_CURSOR_LEN_MAX: usize = 32;

/// A recipient-signed ticket beside a deposit, bytes: an envelope of a few hundred.
pub const STORE_TICKET_LEN_MAX: usize = 1_024;

/// How long a sender tries before it says `expired`, milliseconds: 30 days.
pub const MESSAGE_EXPIRY_MS: u64 = 30 * 24 * 3600 * 1000;

/// How often a bundle is replaced, milliseconds: 24 hours.
pub const BUNDLE_ROTATE_MS: u64 = 24 * 3600 * 1000;

/// How long a bundle's secret outlives its successor, milliseconds: a parcel's life and a day.
pub const BUNDLE_KEEP_MS: u64 = PARCEL_TTL_MAX_S as u64 * 1000 + 24 * 3600 * 1000;

/// Validity of a membership, milliseconds: 365 days.
pub const MEMBERSHIP_TTL_MS: u64 = 365 * 24 * 3600 * 1000;

/// Grace after a membership's end, milliseconds: 30 days, so that a registry may be down that long.
pub const MEMBERSHIP_GRACE_MS: u64 = 30 * 24 * 3600 * 1000;

/// Until both HELLOs verified, milliseconds; the link closes after it.
pub const HELLO_TIMEOUT_MS: u64 = 5_000;

/// Life of an unanswered session, milliseconds.
pub const SESSION_TIMEOUT_MS: u64 = 30_000;

/// Sessions being made with one peer: ours and theirs in glare.
pub const SESSIONS_PENDING_MAX: usize = 2;

/// A token challenge, milliseconds.
pub const CHALLENGE_TTL_MS: u64 = 30_000;

/// A bearer token, seconds.
pub const TOKEN_TTL_S: u64 = 600;

/// A presence lease, seconds.
pub const PRESENCE_TTL_S: u32 = 600;

/// A coordinator is gone after this long without a heartbeat, seconds.
pub const COORDINATOR_TTL_S: u32 = 60;

/// Pace of coordinator heartbeats, seconds.
pub const HEARTBEAT_S: u32 = 10;

/// Received `sentAt` is shown at most this far ahead of receipt, milliseconds.
pub const SENT_AT_AHEAD_MAX_MS: u64 = 5 * 60 * 1000;

/// An idempotency key, bytes.
pub const IDEMPOTENCY_KEY_LEN_MAX: usize = 128;

/// A file, or a folder's list with all its files, bytes: 1 TiB. With 64 KiB chunks that is
/// [`FILE_CHUNKS_MAX`], whose bitmap is 2 MiB.
pub const FILE_LEN_MAX: u64 = 1 << 40;

/// Chunks of one file: bounds the bitmap to 2 MiB and a proof to [`FILE_PROOF_MAX`] hashes.
pub const FILE_CHUNKS_MAX: u32 = 1 << 24;

/// Smallest chunk, bytes: the leaf of BLAKE3's own tree.
pub const FILE_CHUNK_LEN_MIN: u32 = 1_024;

/// Largest chunk, bytes: what the fastest stack carries best in one message.
pub const FILE_CHUNK_LEN_MAX: u32 = 64 * 1024;

/// Hashes of 32 bytes that prove one chunk, at most: the depth of a tree of [`FILE_CHUNKS_MAX`].
pub const FILE_PROOF_MAX: usize = 24;

/// Bytes of a sealed chunk in one KIND_FILE parcel: with its framing it fills the largest parcel.
pub const FILE_PART_LEN: usize = 15_600;

/// A frame with one file chunk, bytes: the largest chunk, its proof, 16 bytes of tag and at most 64
/// of framing. More than [`FRAME_LEN_MAX`], so a link announces it in its description.
pub const FILE_FRAME_LEN_MAX: usize = FILE_CHUNK_LEN_MAX as usize + FILE_PROOF_MAX * 32 + 16 + 64;

/// The name a file is offered under, bytes: the longest name most file systems have.
pub const FILE_NAME_LEN_MAX: usize = 255;

/// A file that travels whole in its offer, bytes: with the longest name it stays under
/// [`PAYLOAD_LEN_MAX`], so a parcel carries it.
pub const SMALL_FILE_LEN_MAX: u32 = 12 * 1024;

/// Files of one folder: its list is held in memory on both sides.
pub const FOLDER_FILES_MAX: usize = 65_536;

/// A folder's list as it is sent, bytes: 65,536 files with names of 60 bytes.
pub const FOLDER_LIST_LEN_MAX: u32 = 4 * 1024 * 1024;

/// A path in a folder's list, bytes.
pub const FOLDER_PATH_LEN_MAX: usize = 1_024;

/// Directories below each other in a folder: deeper trees are loops or attacks.
pub const FOLDER_DEPTH_MAX: usize = 32;

/// Ranges of chunks one FILE_ACCEPT asks for: at most 24 bytes each, so that it fits a parcel.
pub const FILE_RANGES_MAX: usize = 512;

const _: () = assert!(FILE_LEN_MAX == FILE_CHUNKS_MAX as u64 * FILE_CHUNK_LEN_MAX as u64);
const _: () = assert!(1 << FILE_PROOF_MAX == FILE_CHUNKS_MAX);
const _: () = assert!(TEXT_LEN_MAX + 2_000 <= PAYLOAD_LEN_MAX);
const _: () = assert!(SMALL_FILE_LEN_MAX as usize + FILE_NAME_LEN_MAX + 512 <= PAYLOAD_LEN_MAX);
const _: () = assert!(DESCRIPTOR_LEN_MAX + 360 + 2_410 + 9 <= CHAIN_LEN_MAX);
const _: () = assert!(ENVELOPE_LEN_MAX + 512 <= PARCEL_LEN_MAX);
const _: () = assert!(PARCEL_LEN_MAX + 256 <= FRAME_LEN_DEFAULT);
const _: () = assert!(PARCEL_LEN_MAX * 4 / 3 + 1_024 <= SIGNAL_FRAME_LEN_MAX);
const _: () = assert!(PARCEL_BUCKETS[5] == PARCEL_LEN_MAX);
