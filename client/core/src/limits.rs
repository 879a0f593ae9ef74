//! Every bound of the core, with its reason. The wire's own are in `beeline_proto::limits`.

mod files;
mod keeping;
mod placing;
mod relayed;

pub use files::*;
pub use keeping::*;
pub use placing::*;
pub use relayed::*;

pub use beeline_proto::limits::CUSTODIANS_MAX;

use beeline_proto::limits::CANDIDATES_MAX;

/// Messages of ours not yet final: a month of a busy program. Of 200 bytes each they take 300 MiB.
pub const OUTBOX_MAX: usize = 128 * 1024;

/// Bytes of their texts, envelopes and parcels.
pub const OUTBOX_BYTES_MAX: usize = 384 * 1024 * 1024;

/// Users they are for.
pub const OUTBOX_USERS_MAX: usize = 10_000;

/// Delivered messages that are still served to further devices, about 40 MiB; beyond it the oldest
/// are let go: a device away that long finds the rest at its user's other devices.
pub const SERVED_MAX: usize = 10_000;

/// Messages with one link that wait for an ACK: fills 100 ms of a link at 5,000 messages/s.
pub const LINK_WINDOW: usize = 512;

/// Writes under way from which on a new message is only signed before it is queued: in a burst of
/// sends being durable does not wait for sealing, which follows.
pub const SEAL_FIRST_MAX: usize = 8;

/// How long what a burst queued waits to be sealed while more of it is becoming durable: several
/// commits of a usual disk. A burst without end waits once.
pub const SEAL_WAIT_MS: u64 = 20;

/// Messages of one user sealed in one turn: they take 5 ms, which everything else waits.
pub const SEAL_BATCH_MAX: usize = 64;

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

/// Ways through peers remembered: every device of a large network, through four peers each.
pub const VIAS_MAX: usize = 4 * ROUTES_MAX;

/// Ways through peers remembered for one device: more than are ever tried.
pub const VIAS_PER_DEVICE_MAX: usize = 8;

/// Messages for one device on their way through one relay: it pays for each.
pub const RELAY_WINDOW: usize = 64;

/// Parcels handed to one relay whose answers are understood after their messages are settled: a
/// window of two devices, 8 KiB.
pub const HANDED_MAX: usize = 2 * RELAY_WINDOW;

/// Relays used at once for one device: one more than one, in case it drops what it accepts.
pub const RELAYS_AT_ONCE: usize = 2;

/// Ways to one device looked at for an answer.
pub const WAYS_MAX: usize = 4;

/// Least pause after a relay refused, milliseconds: its answer is for parcels on their way as well.
pub const RELAY_PAUSE_MS_MIN: u64 = 1_000;

/// Bytes carried per second from one user to another: chat, signalling, and no bulk.
pub const RELAY_BYTES_PER_S: u64 = 32 * 1024;

/// Bytes carried in one burst from one user to another: a window of large messages.
pub const RELAY_BYTES_BURST: u64 = 1024 * 1024;

/// How long candidates that a signalling socket took are kept from links of common peers,
/// milliseconds. A link sends 4 KiB in its first round trip: a message and an offer, or an ACK and
/// an answer. They come first, and wait for two commits of a slow disk. Where the socket loses what
/// it takes, a link comes about this much later.
pub const RELAY_CANDIDATES_MS: u64 = 150;

/// Pairs of users whose carried bytes are counted; those idle longest are forgotten.
pub const RELAY_PAIRS_MAX: usize = 4_096;

/// Parcels put into RELAY_REQUEST per second: the narrow way out where only wss passes.
pub const RELAY_REQUESTS_PER_S: u64 = 5;

/// Parcels put into RELAY_REQUEST in one burst.
pub const RELAY_REQUESTS_BURST: u64 = 32;

/// Messages of one user put into RELAY_REQUEST at each climb.
pub const RELAY_REQUEST_BATCH: usize = 8;

/// Devices whose ACKs gather, or whose last one is remembered.
pub const ACK_DEVICES_MAX: usize = 2 * LINKS_MAX;

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

/// Messages whose reading waits to be told, over all users: an evening's, read without a network.
pub const READS_WAITING_MAX: usize = 1_024;

/// Seals of one message because of NACKs, each within [`RESEALS_AGAIN_MS`] of the one before; more
/// would be a loop.
pub const RESEALS_MAX: u8 = 5;

/// After this long without one a message may be sealed anew again, milliseconds: the longest pause
/// between two tries.
pub const RESEALS_AGAIN_MS: u64 = RETRY_MS_MAX;

/// A parcel that comes again is answered with another NACK after this long at most: the last one
/// may have been lost, and without it the message never arrives. About the pause between tries.
pub const NACK_AGAIN_MS: u64 = 10_000;

/// Bundles kept: one a day for the life of a parcel, and as many again for clocks that jumped.
pub const BUNDLES_MAX: usize = 64;

/// Least time for an ACK before a route is doubted, milliseconds.
pub const ROUTE_ACK_MS_MIN: u64 = 300;

/// Most time for an ACK before a route is doubted, milliseconds: three slow satellite hops.
pub const ROUTE_ACK_MS_MAX: u64 = 10_000;

/// How long a doubted route is passed over, milliseconds.
pub const ROUTE_DEMOTED_MS: u64 = 10 * 60 * 1_000;

/// How long a route counts as fresh after it was last heard of, milliseconds: a day, as long as a
/// bundle is used.
pub const ROUTE_FRESH_MS: u64 = 24 * 3_600 * 1_000;

/// A route nobody has heard of for this long is forgotten, milliseconds: as long as a sender tries.
pub const ROUTE_KEPT_MS: u64 = 30 * 24 * 3_600 * 1_000;

/// Peers asked for one user on one rung.
pub const QUERY_PEERS_MAX: usize = 3;

/// How long an answer to a query is waited for, milliseconds: three slow satellite hops.
pub const QUERY_MS: u64 = 2_000;

/// Queries open at once: three for each of three hundred users.
pub const QUERIES_MAX: usize = 1_024;

/// Users asked for when a link opens: what the other side answers in one burst.
pub const QUERIES_ON_LINK_MAX: usize = QUERIES_BURST as usize;

/// Queries of one link looked at per second: each costs us a verification and a signature.
pub const QUERIES_PER_S: u64 = 5;

/// Queries of one link looked at in one burst.
pub const QUERIES_BURST: u64 = 10;

/// Request ids of one link remembered: more than one burst, so that a copy is answered once.
pub const QUERIES_SEEN_MAX: usize = 64;

/// Devices named in one answer to a query.
pub const FOUND_DEVICES_MAX: usize = 3;

/// An answer to a query, bytes: the longest chain and three records of 1 KiB, with room.
pub const FOUND_LEN_MAX: usize = 8 * 1024;

/// Bytes answered on a link at most for each byte received on it: asking is no way to make others
/// send much.
pub const ANSWER_BYTES_FACTOR: u64 = 4;

/// States of one link looked at per second: one tells all there is in eight.
pub const STATES_PER_S: u64 = 1;

/// States of one link looked at in one burst: two whole tables of 512 neighbours.
pub const STATES_BURST: u64 = 16;

/// Users asked for in vain on one link whose coming is told at once: those of one busy sender.
pub const SOUGHT_PER_LINK_MAX: usize = 32;

/// Changes in one state.
pub const STATE_CHANGES_MAX: usize = 64;

/// A state without changes in its frame, bytes: about 250 are measured.
pub const STATE_LEN: u64 = 264;

/// One change in a state, bytes.
pub const STATE_CHANGE_LEN: u64 = 50;

/// A state, bytes: 64 changes, with room.
pub const STATE_LEN_MAX: usize = 6 * 1024;

/// Bytes of states told to one device per second: under 0.7 MB a day, whatever happens around us.
pub const STATE_BYTES_PER_S: u64 = 8;

/// Bytes of states told in one burst: a whole table of 512 neighbours.
pub const STATE_BYTES_BURST: u64 = 32 * 1024;

/// News waits this long for more news, milliseconds.
pub const STATE_DEBOUNCE_MS: u64 = 1_000;

/// With more links than this news goes out with what is told anyway.
pub const STATE_EARLY_LINKS_MAX: usize = 16;

/// Shortest pause between two states without news, milliseconds.
pub const STATE_MS_MIN: u64 = 30_000;

/// Longest pause between two states, on an idle link, milliseconds.
pub const STATE_MS_MAX: u64 = 5 * 60 * 1_000;

/// A device that comes and goes is told of twice, and then this often, milliseconds.
pub const FLAP_MS: u64 = 5 * 60 * 1_000;

/// Devices whose coming and going is followed: those linked, and as many that were.
pub const NEIGHBOURS_MAX: usize = 2 * LINKS_MAX;

/// Devices heard of over all neighbours.
pub const HEARD_MAX: usize = VIAS_MAX;

/// Coordinators a client keeps links to: one may go at any time.
pub const COORDINATOR_LINKS: usize = 2;

/// Sockets at coordinators at once, numbered from 1: two, and two more where those are slow.
pub const COORDINATOR_SOCKETS: u64 = 4;

/// Coordinators whose standing is remembered.
pub const COORDINATORS_MAX: usize = 256;

/// Coordinators of a registry's list that are looked at.
pub const COORDINATORS_LISTED_MAX: usize = 16;

/// Coordinators dialled for one lookup beside those that are linked.
pub const COORDINATORS_DIALLED_MAX: usize = 2;

/// How long a start waits for the gateway before it dials coordinators at their own sockets,
/// milliseconds.
pub const COORDINATOR_START_MS: u64 = 100;

/// While none is linked, how long one is waited for before others are tried too, milliseconds.
pub const COORDINATOR_HEDGE_MS: u64 = 500;

/// How long a coordinator's socket may take to open, milliseconds.
pub const COORDINATOR_SOCKET_MS: u64 = 5_000;

/// Longest pause before a coordinator is tried again, milliseconds: all of them may come back, and
/// a try costs a few KiB.
pub const COORDINATOR_RETRY_MS_MAX: u64 = 5 * 60 * 1_000;

/// How long one that takes no more links is passed over, milliseconds.
pub const COORDINATOR_FULL_MS: u64 = 5 * 60 * 1_000;

/// How long a link made for one lookup is kept beyond the wanted two, milliseconds.
pub const COORDINATOR_EXTRA_MS: u64 = 60_000;

/// While too few coordinators are linked, the registry is asked for some: after this long,
/// milliseconds, and each time twice as long.
pub const LIST_COORDINATORS_MS_MIN: u64 = 2_000;

/// Longest pause between two such questions, milliseconds.
pub const LIST_COORDINATORS_MS_MAX: u64 = 10 * 60 * 1_000;

/// The registry hears this soon that our coordinators changed, milliseconds.
pub const ANNOUNCE_CHANGE_MS: u64 = 5_000;

/// The first heartbeat comes this long after a start, milliseconds: the socket and the record come
/// first.
pub const HEARTBEAT_START_MS: u64 = 500;

/// Timers of the fabric: one per user asked for, one per link for what is told on it, a handful.
pub const FABRIC_TIMERS_MAX: usize = QUERIES_MAX + LINKS_MAX + 8;

/// First pause before another try, milliseconds.
pub const RETRY_MS_MIN: u64 = 1_000;

/// Longest pause before another try, milliseconds.
pub const RETRY_MS_MAX: u64 = 10 * 60 * 1_000;

/// A user heard of again within this time starts no further climb, milliseconds: who comes and goes
/// cannot make others work.
pub const HEARD_MS: u64 = 5_000;

/// How often expiry and old bundles are looked for, milliseconds.
pub const SWEEP_MS: u64 = 60 * 60 * 1_000;

/// Of a rest between two processes this much counts for the age of messages and secrets,
/// milliseconds: a week. The wall clock alone cannot tell a longer one from a wrong clock.
pub const REST_COUNTED_MS_MAX: u64 = 7 * 24 * 3_600 * 1_000;

/// A longer rest is taken for a wrong clock and told, milliseconds: a year in a drawer.
pub const REST_PLAUSIBLE_MS_MAX: u64 = 365 * 24 * 3_600 * 1_000;

/// After this long in one process the wall clock is taken for set, milliseconds: machines without a
/// battery ask for the time when they are up.
pub const CLOCK_SETTLES_MS: u64 = 3_600 * 1_000;

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

/// While what we say to a device reaches it through others, it is called that long after a call was
/// lost, or the first thing went so, milliseconds: a climb calls sooner, and nobody is back sooner.
pub const SOON_AFTER_MS: u64 = 1_000;

/// Least pauses after each such call, milliseconds: a few for servers and peers that start again,
/// one for a network that has come to rest.
pub const SOON_MS: [u64; 4] = [2_000, 8_000, 30_000, 5 * 60 * 1_000];

/// The same from then on, milliseconds: as where a link goes through TURN.
pub const SOON_MS_MAX: u64 = MOVE_MS_MAX;

/// Those pauses begin anew for a device at most once in this time, milliseconds: what a session
/// has. Sockets that come up one after the other, or come and go, all tell the same.
pub const SOON_ANEW_MS: u64 = 30_000;

/// Calls that begin anew together are spread over this, milliseconds: not every device is called at
/// one moment, nor do two call each other, and nobody waits noticeably longer for a link.
pub const SOON_SPREAD_MS: u64 = 2_000;

/// How long after the last thing went through others a device is still called for it, milliseconds:
/// two calls that came to nothing in the time a session has.
pub const SOON_SINCE_MS_MAX: u64 = 60_000;

/// Devices reached through others that are remembered: more could not be linked.
pub const SOON_MAX: usize = LINKS_MAX;

/// When a link through TURN tries for a direct path, milliseconds after it opened or after the last
/// try: three tries for what only came too late, one for a network that has come to rest.
pub const MOVE_MS: [u64; 4] = [5_000, 15_000, 45_000, 5 * 60 * 1_000];

/// The same from then on, milliseconds: networks change in ways nobody tells of.
pub const MOVE_MS_MAX: u64 = 60 * 60 * 1_000;

/// How long such a try may take, milliseconds: signalling, gathering, and checks over a slow path.
/// Where there is no direct path it costs both ends a core at rest for no longer.
pub const MOVE_TRY_MS: u64 = 10_000;

/// How long after a TURN server has said that an address ends another try for a new one is made,
/// milliseconds: the time a session has.
pub const RENEW_AGAIN_MS: u64 = 30_000;

/// Timers armed at once: six per link, one for the ACKs of each device, one for each that is
/// reached through others, three per recipient of a
/// message and one per relay to its devices, one per stream that holds messages, and a handful of
/// our own.
pub const TIMERS_MAX: usize = 6 * LINKS_MAX
    + ACK_DEVICES_MAX
    + SOON_MAX
    + (3 + RELAYS_AT_ONCE) * (PEERS_MAX + OUTBOX_USERS_MAX)
    + HELD_TOTAL_MAX
    + 16
    + FABRIC_TIMERS_MAX;

const _: () = assert!(PEERS_MAX > OUTBOX_USERS_MAX + LINKS_MAX + REQUESTS_MAX);
