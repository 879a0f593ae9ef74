//! Every bound of the WebRTC wrapper, with its reason. Hazards and measurements: `docs/webrtc.md`.

use std::time::Duration;

/// Kernel socket buffers, bytes each way. The default of about 208 KiB overflows after some 90
/// datagrams and every tail loss then costs a 1 s retransmission timeout (10 × the throughput).
pub const SOCKET_BUFFER: usize = 4 * 1024 * 1024;

/// SCTP receive window, bytes: window / round trip is the ceiling of throughput, and a 1 MiB
/// window stalls small messages.
pub const SCTP_WINDOW: u32 = 4 * 1024 * 1024;

/// Longest sleep of the crate's driver while a connection is being made. It misses wake-ups: an
/// input makes work possible, yet it sleeps until its next timer (set-up 605 ms instead of 7).
pub const CONNECTING_SLEEP: Duration = Duration::from_millis(2);

/// For how long one description exchange may hold the sleep clamp. An attempt that takes longer
/// goes on at the crate's own pace, so a dead peer does not keep a core ticking.
pub const CONNECTING_MAX: Duration = Duration::from_secs(10);

/// The same while only our own description is known, from when on candidates are gathered: a few
/// round trips to STUN and TURN servers. Whether anybody answers is not known yet.
pub const GATHERING_MAX: Duration = Duration::from_secs(1);

/// Rounds of the crate's driver after something moved on a relayed link. It hands TURN's packets
/// out before it makes them, so what goes to the peer leaves one round late: read, answered, and
/// packed is three.
pub const RELAY_ROUNDS: usize = 3;
/// Longest sleep of the driver between these.
pub const RELAY_ROUND: Duration = Duration::from_millis(1);

/// Interval between rounds of ICE checks; DTLS starts only at such a tick.
pub const ICE_CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// Checks sent per pair before it is given up: 20 s at the interval above. The crate's 7 would
/// give a pair up after 140 ms, before the first answer on a slow path can arrive.
pub const ICE_MAX_CHECKS: u16 = 1_000;

/// Checks one socket sends to one silent address at the interval above: half a second's worth.
pub const FAST_CHECKS: u32 = 25;
/// Interval of the checks after those; the crate's default.
pub const SLOW_CHECK_INTERVAL: Duration = Duration::from_millis(200);

/// How long a better candidate type is waited for before a pair of this type may be nominated: not
/// at all. The crate waits 500 ms and 1 s, which is the whole set-up time behind a NAT. A host pair
/// that works is checked first and answers first.
pub const ACCEPT_REFLEXIVE_AFTER: Duration = Duration::ZERO;
/// As [`ACCEPT_REFLEXIVE_AFTER`], for relayed candidates, where the crate waits 2 s: two ticks. A
/// direct pair has its head start anyway: its candidates are there a round trip sooner, and a check
/// through TURN is two round trips where a direct one is one.
pub const ACCEPT_RELAY_AFTER: Duration = Duration::from_millis(40);

/// How often a TURN server is asked to go on lending an address, at least. The crate asks after
/// half of the time it was given, and does not ask again when the nonce was too old: with ten
/// minutes of both, one such answer and the address is gone. Refusals come to light in time, too.
pub const TURN_REFRESH: Duration = Duration::from_secs(120);

/// Silence after which ICE is *disconnected* (the link may still come back).
pub const ICE_DISCONNECTED: Duration = Duration::from_secs(6);
/// Further silence after which ICE has *failed* and the link is closed.
pub const ICE_FAILED: Duration = Duration::from_secs(25);
/// Pace of consent checks on an idle link (RFC 7675).
pub const ICE_KEEPALIVE: Duration = Duration::from_secs(2);

/// Remote candidates used per set of ICE credentials; each costs checks towards an address the
/// peer names (RFC 8445 §19.5), and the crate has no cap.
pub const MAX_REMOTE_CANDIDATES: usize = 32;
/// Local candidates reported per gathering; hosts with more addresses than this gain nothing.
pub const MAX_LOCAL_CANDIDATES: usize = 32;
/// How long a NAT is believed to keep ports because it kept the last one seen: people move to other
/// networks that give them the same address.
pub const GUESS_FOR: Duration = Duration::from_secs(600);
/// Addresses of ours of which it is remembered: as many as one link binds.
pub const GUESS_ADDRESSES: usize = MAX_LOCAL_ADDRESSES;
/// Bytes of one candidate line. The longest legal one (two IPv6 addresses) is below 256.
pub const MAX_CANDIDATE_BYTES: usize = 512;
/// Bytes of one remote description. A data-only description is below 2 KiB.
pub const MAX_SDP_BYTES: usize = 8 * 1024;
/// Lines of one remote description, candidates included.
pub const MAX_SDP_LINES: usize = 128;
/// Lowest remote port checks are sent to: below are system services, never ICE agents.
pub const MIN_REMOTE_PORT: u16 = 1_024;

/// Addresses of our own network's servers that are known as such: a network has a few servers with
/// a few addresses each.
pub const MAX_OWN_SERVERS: usize = 64;

/// Remote addresses that may speak DTLS on one link: every candidate, and as many
/// peer-reflexive addresses found by checks.
pub const MAX_PROVEN_ADDRESSES: usize = 2 * MAX_REMOTE_CANDIDATES;
/// Datagrams one poll may throw away before it yields, so that a flood cannot hold the thread.
pub const MAX_DROPS_PER_POLL: usize = 64;

/// How long a link tries by UDP before it dials a candidate of TCP: a round trip to a coordinator
/// far away, and short beside what people wait.
pub const TCP_HEAD_START: Duration = Duration::from_millis(250);
/// The same where somebody answers by UDP and yet no link comes of it.
pub const TCP_LAST_START: Duration = Duration::from_secs(2);
/// How long dialling may take.
pub const TCP_CONNECT: Duration = Duration::from_secs(10);
/// How often a link that listens for streams looks whether it is open by now, and listens no more.
pub const TCP_LISTEN_LOOK: Duration = Duration::from_secs(1);
/// How many looks it listens for at most: as long as a peer may take to answer.
pub const TCP_LISTEN_LOOKS: u32 = 30;
/// Candidates of TCP used per description: a coordinator has one for each of its addresses.
pub const MAX_TCP_CANDIDATES: usize = 4;
/// Streams of one link at once, strangers' included: one for each candidate, and one that is going.
pub const MAX_TCP_STREAMS: usize = 2 * MAX_TCP_CANDIDATES;
/// Bytes read of a stream at once, as many as the crate has room for.
pub const TCP_READ: usize = 4_096;
/// Bytes of one datagram on a stream: what fits a packet, and more.
pub const MAX_TCP_DATAGRAM: usize = 2_048;
/// Datagrams waiting to be written to a stream: about the bytes a UDP socket holds by default.
pub const TCP_QUEUE: usize = 256;

/// Bytes of a buffer that links of a factory receive into: what the kernel hands over at once, 64
/// datagrams of 1,500 bytes.
pub const LANDING_BYTES: usize = 64 * 1_500;
/// Such buffers kept while nobody uses them: one serves all links but those whose datagrams wait.
pub const LANDING_SPARE: usize = 2;
/// Datagrams the crate is given at once. It keeps two buffers of so many for each connection; told
/// what the kernel can do (64), they are 190 KB of every idle link.
pub const GRO_SEGMENTS: usize = 8;

/// Receives of a socket, of [`GRO_SEGMENTS`] datagrams each, before its driver lets others run:
/// half a millisecond of the fastest. The crate goes on for as long as there are more, and of what
/// it has received nobody hears meanwhile, nor is anything sent or stored.
pub const RECEIVES_PER_TURN: usize = 16;

/// Largest message sent or accepted, bytes, unless configured otherwise: a frame with the largest
/// file chunk. Descriptions announce it (RFC 8841 §6.1); who announces none takes 64 KiB.
pub const DEFAULT_MESSAGE_BYTES: usize = beeline_proto::limits::FILE_FRAME_LEN_MAX;
/// Hard limit of the crate for one message, bytes.
pub const MAX_MESSAGE_BYTES: usize = 256 * 1024;

/// One send budget per connection, bytes not yet acknowledged by the peer. The crate's default is
/// unbounded, and its own limit is per channel.
pub const SEND_BUDGET: usize = 1024 * 1024;
/// `Writable` is told when the budget in use has fallen to this part of the whole.
pub const WRITABLE_AT: usize = 4;
/// Messages waiting in one link's outbox; with the byte budget this bounds tiny messages too.
pub const MAX_OUTBOX_MESSAGES: usize = 4_096;

/// Bytes under way on one link, those of a file and of chat beside it, up to which another frame of
/// the file goes: most of the peer's window. On a path of 50 ms that is 79 MB/s.
pub const FILE_WINDOW_MAX: usize = SCTP_WINDOW as usize / 16 * 15;
/// The same before anything is known of the path, and at least: two of the largest frames.
pub const FILE_WINDOW_FIRST: usize = 128 * 1024;
/// Of what a path holds, how much is kept under way: less starves it when acknowledgements come
/// late, more makes chat wait.
pub const FILE_GAIN: f64 = 1.5;
/// What machines need beside the path: from an acknowledgement until more is handed over, while
/// others run too. A word of chat waits so much longer.
pub const FILE_SLACK: Duration = Duration::from_micros(600);
/// A rate is measured over so much time, or over the shortest to an acknowledgement where that is
/// longer: several turns of a busy machine, in each of which many acknowledgements are taken.
pub const FILE_RATE_OVER: Duration = Duration::from_millis(10);
/// How long the shortest time to an acknowledgement is believed, twice over.
pub const FILE_BASE_FOR: Duration = Duration::from_secs(10);
/// How long every acknowledgement must be later than our own bytes explain, until the path is taken
/// for a longer one: more than a busy machine sleeps.
pub const FILE_LATE_FOR: Duration = Duration::from_secs(1);
/// How often a frame that waits looks at the path by itself. The crate tells of room only when
/// what it has made packets of falls below the mark; what it holds beside that may be all that was
/// above.
pub const FILE_LOOK: Duration = Duration::from_millis(20);
/// Bytes of files that wait in a link's outbox, sealed, until the path takes them: some 4 ms of
/// the fastest, for which a busy machine may not run the thread that makes them. Chat goes past.
pub const FILE_OUTBOX_BYTES: usize = 1024 * 1024;
/// Bytes left there when their sender is asked for more: several frames each time it is woken.
pub const FILE_OUTBOX_LOW: usize = FILE_OUTBOX_BYTES / 2;
/// File frames waiting there: bounds tiny ones, which the bytes do not.
pub const MAX_FILE_OUTBOX: usize = 1_024;

/// SCTP streams a peer may use. Beeline has few, long-lived channels; each stream the crate
/// accepts costs memory for the life of the link.
pub const MAX_STREAMS: u16 = 8;
/// Fixed cost charged for every DATA chunk held, bytes: the crate keeps a record of about this size
/// beside its payload, so a byte count alone would let tiny chunks through.
pub const CHUNK_OVERHEAD: usize = 256;
/// How much of one unfinished message a stream may hold, in largest messages. More than one,
/// because retransmitted fragments are counted again.
pub const UNFINISHED_MESSAGES: usize = 4;
/// DATA chunks that may be held unread on one link. An honest window of small messages stays
/// below; 1-byte chunks nobody can read would otherwise reach a hundred times the window.
pub const MAX_UNREAD_CHUNKS: u32 = 256 * 1024;
/// DATA chunks the crate may still take while its own SACKs say the window is shut. A shut window
/// admits nothing while a message can be read, so more than this means nothing ever can.
pub const MAX_CHUNKS_BEYOND_WINDOW: u32 = 64;

/// Messages after which the crate's driver is nudged: half of what it hands over at a time.
pub const NUDGE_EVERY: u32 = 128;
/// How long sent data may go without any acknowledgement before the link is given up. The crate
/// stops retransmitting for good after its sixth timeout, 63 s after the first loss.
pub const STALLED_AFTER: Duration = Duration::from_secs(70);
/// How often that is looked at.
pub const STALL_CHECK: Duration = Duration::from_secs(10);

/// Local addresses one connection binds; each is a socket with buffers of its own.
pub const MAX_LOCAL_ADDRESSES: usize = 8;
/// First repetition of a handshake burst the peer did not react to; then it doubles. The crate
/// waits 1 s for DTLS and 3 s for SCTP, and can lose its DTLS timer altogether.
pub const REPEAT_FIRST: Duration = Duration::from_millis(150);
/// Repetitions of one burst: 150 ms × (2⁷ − 1) = 19 s, longer than any path takes.
pub const MAX_REPEATS: u32 = 7;
/// Datagrams kept of one burst. The longest, a DTLS flight with certificate, is two.
pub const MAX_BURST: usize = 8;

/// Commands waiting for one link: every candidate, and room for descriptions and closing.
pub const COMMAND_QUEUE: usize = MAX_REMOTE_CANDIDATES + 16;
/// Happenings of the crate waiting for one link's task: all candidates and state changes.
pub const SIGNAL_QUEUE: usize = 128;
/// Attempts to find a free port of a configured range by binding, per connection.
pub const MAX_PORT_PROBES: u32 = 1_000;
/// How long closing may wait for the crate's driver, which sends its last packets then.
pub const CLOSE_WAIT: Duration = Duration::from_millis(200);
