//! Every bound of the core, with its reason. The wire's own are in `beeline_proto::limits`.

use beeline_proto::limits::CANDIDATES_MAX;

/// Messages of ours not yet final: a month of a busy program, about 40 MiB with their parcels.
pub const OUTBOX_MAX: usize = 10_000;

/// Messages with one link that wait for an ACK: fills 100 ms of a link at 5,000 messages/s.
pub const LINK_WINDOW: usize = 512;

/// Items waiting on one link for room: a window of messages and the ACKs of the other direction.
pub const LINK_QUEUE_MAX: usize = 1_024;

/// Frames handed to a link between two inputs: its send budget decides about more.
pub const FRAMES_PER_DRAIN: usize = 16;

/// Calls of `send` that wait because an earlier one with an idempotency key is not answered yet.
pub const KEYED_WAIT_MAX: usize = 256;

/// Writes to the store not answered yet: more means the disk does not follow.
pub const STORE_IN_FLIGHT_MAX: usize = 4_096;

/// Requests to the registry not answered yet: one per user looked up, and our own few.
pub const REQUESTS_MAX: usize = 256;

/// Operations kept for the next write; a full batch is written at once.
pub const LAZY_OPS_MAX: usize = 256;

/// How long an operation may wait for a write to ride on, milliseconds.
pub const LAZY_MS: u64 = 1_000;

/// Operations of failed writes kept for another try; beyond it, states of messages are found out
/// anew after a restart.
pub const FAILED_OPS_MAX: usize = 4_096;

/// How long after a failed write its operations are tried again, milliseconds.
pub const REWRITE_MS: u64 = 2_000;

/// Users with connection state; those idle longest are forgotten (their contact row is not). More
/// than can be busy at once: each of these has a message, a link, or a question to the registry.
pub const PEERS_MAX: usize = 16_384;

/// Pinned users: every member of a large network.
pub const CONTACTS_MAX: usize = 16_384;

/// Routes kept; those heard of longest ago go first.
pub const ROUTES_MAX: usize = 4_096;

/// Links and sessions at once; the driver needs about 260 KiB for each.
pub const LINKS_MAX: usize = 512;

/// Signalling sockets used at once: the gateway's and four coordinators'.
pub const SOCKETS_MAX: usize = 8;

/// Session ids remembered so that an old offer cannot be played again.
pub const SESSIONS_SEEN_MAX: usize = 4_096;

/// Parcel ids remembered so that copies on several routes are opened once, and NACKs sent once.
pub const PARCELS_SEEN_MAX: usize = 2_048;

/// Candidates kept that came before their offer, over all sessions.
pub const EARLY_CANDIDATES_MAX: usize = 2 * CANDIDATES_MAX;

/// Candidates of one side of one negotiation, and the end of them.
pub const CANDIDATE_SLOTS: usize = CANDIDATES_MAX + 1;

/// Messages for us in one write: bounds what one failed write makes senders repeat.
pub const RECEIVE_BATCH_MAX: usize = 128;

/// Messages for us waiting for a write; more are dropped without an ACK and sent again.
pub const RECEIVE_PENDING_MAX: usize = 1_024;

/// Messages for us held back for earlier ones, per stream: a busy minute.
pub const HELD_MAX: usize = 1_000;

/// Incarnations followed per sending device; a device has one, and a new one per restored backup.
pub const STREAMS_PER_DEVICE_MAX: usize = 16;

/// Streams followed: one for every contact; the idlest that holds nothing goes first.
pub const STREAMS_MAX: usize = CONTACTS_MAX;

/// Messages held back over all streams: about 20 MiB.
pub const HELD_TOTAL_MAX: usize = 8_000;

/// How long later messages wait for an earlier one, milliseconds.
pub const GAP_MS: u64 = 30_000;

/// How long ACKs of one device gather once one was just sent, milliseconds: some ten messages of a
/// stream. They gather only while more than one write falls into it.
pub const ACK_GATHER_MS: u64 = 2;

/// ACKs within [`ACK_GATHER_MS`] of each other before one waits for others: few for a stream.
pub const ACK_TRIES_MIN: u32 = 8;

/// The same once waiting was in vain again and again: of a long ping-pong one in so many pays it,
/// less than one in a hundred.
pub const ACK_TRIES_MAX: u32 = 128;

/// Delivered and expired messages remembered, so that a READ or a late ACK finds them.
pub const SETTLED_MAX: usize = 4_096;

/// Seals of one message for one device because of NACKs; more would be a loop.
pub const RESEALS_MAX: u8 = 5;

/// Bundles kept: one a day for the life of a parcel, and as many again for clocks that jumped.
pub const BUNDLES_MAX: usize = 64;

/// Least time for an ACK before a route is doubted, milliseconds.
pub const ROUTE_ACK_MS_MIN: u64 = 300;

/// Most time for an ACK before a route is doubted, milliseconds: three slow satellite hops.
pub const ROUTE_ACK_MS_MAX: u64 = 10_000;

/// How long a doubted route is passed over, milliseconds.
pub const ROUTE_DEMOTED_MS: u64 = 10 * 60 * 1_000;

/// First pause before another try, milliseconds.
pub const RETRY_MS_MIN: u64 = 1_000;

/// Longest pause before another try, milliseconds.
pub const RETRY_MS_MAX: u64 = 10 * 60 * 1_000;

/// How often expiry and old bundles are looked for, milliseconds.
pub const SWEEP_MS: u64 = 60 * 60 * 1_000;

/// A membership is renewed this long before its end, milliseconds.
pub const RENEW_BEFORE_MS: u64 = 30 * 24 * 3_600 * 1_000;

/// Parcels from signalling sockets opened per second: a call has about ten, each costs 0.1 ms.
pub const OPENS_PER_S: u64 = 500;

/// Parcels from signalling sockets opened in one burst: a hundred calls at once.
pub const OPENS_BURST: u64 = 2_000;

/// Calls of one user answered per second: each makes a WebRTC connection.
pub const CALLS_PER_S: u64 = 1;

/// Calls of one user answered in one burst: sixteen devices that come back at once.
pub const CALLS_BURST: u64 = 16;

/// Items of one link that may be refused before it is closed.
pub const REFUSED_ITEMS_MAX: u32 = 64;

/// NACKs and refusals sent per second, over all peers.
pub const NACKS_PER_S: u64 = 20;

/// NACKs and refusals sent in one burst.
pub const NACKS_BURST: u64 = 100;

/// Warnings told per second; the rest is only counted.
pub const WARNINGS_PER_S: u64 = 10;

/// Warnings told in one burst.
pub const WARNINGS_BURST: u64 = 50;

/// Kinds of refusals counted: the code names about thirty.
pub const COUNTERS_MAX: usize = 64;

/// Messages told about each rung; the rest of a long queue follows them silently.
pub const TRYING_TOLD_MAX: usize = 64;

/// Text of a GOODBYE, bytes.
pub const GOODBYE_LEN_MAX: usize = 200;

/// An offer without an answer is repeated as a new one after this long, milliseconds; each time
/// twice as long. Answers take a round trip and 20 ms; what took longer was
/// given to a process, or a gateway, that is gone.
pub const REDIAL_UNANSWERED_MS: u64 = 2_000;

/// The same once the descriptions are exchanged, milliseconds: ICE through a slow TURN server takes
/// two seconds.
pub const REDIAL_CONNECTING_MS: u64 = 8_000;

/// How often a call is made anew before its session is left to end.
pub const REDIALS_MAX: u32 = 3;

/// Timers armed at once: three per link and one for its ACKs, two per recipient of a message, one
/// per stream that holds messages, and a handful of our own.
pub const TIMERS_MAX: usize = 4 * LINKS_MAX + 2 * (PEERS_MAX + OUTBOX_MAX) + HELD_TOTAL_MAX + 16;

const _: () = assert!(PEERS_MAX > OUTBOX_MAX + LINKS_MAX + REQUESTS_MAX);
