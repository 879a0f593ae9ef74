//! Every bound of the native client's driver, store and adapters, with its reason. The wire's own
//! are in `beeline_proto::limits`, those of WebRTC in `rtc::limits`.

use std::time::Duration;

/// Commands of the application waiting for the driver: a burst of sends, each at most 12 KB.
pub const COMMAND_QUEUE: usize = 256;

/// Commands taken before their writes go to the store: sends that come together share a commit. To
/// sign so many takes 5 ms, which the first of them waits; they are sealed afterwards.
pub const COMMANDS_PER_TURN: usize = 256;

/// Calls taken and not yet answered: each waits for its commit.
pub const COMMANDS_PENDING_MAX: usize = 1_024;

/// Writes of the core that wait for room in the store's queue; from here on nothing that could
/// cause another is taken.
pub const STORE_BACKLOG_MAX: usize = 1_024;

/// How often the host's addresses are looked at where the kernel tells of changes as well.
pub const NETWORK_POLL: Duration = Duration::from_secs(5);

/// The same where it does not: a look costs some 50 µs.
pub const NETWORK_POLL_ALONE: Duration = Duration::from_secs(1);

/// Servers of one sort that `doctor` asks: enough to tell, few enough to wait for.
pub const DOCTOR_SERVERS_MAX: usize = 8;

/// How long one step of `doctor` may take that others wait for.
pub const DOCTOR_STEP: Duration = Duration::from_secs(6);

/// Questions to a silent STUN server; the waits double from [`STUN_WAIT`], 1.4 s in all.
pub const STUN_TRIES: u32 = 3;
/// First wait for a STUN server's answer: a round trip to the other side of the world fits.
pub const STUN_WAIT: Duration = Duration::from_millis(200);
/// A STUN answer, bytes: with software, origin, other address, fingerprint under 200.
pub const STUN_ANSWER_MAX: usize = 1_500;

/// How long a TURN server may take to give an address: four round trips, one of them lost.
pub const TURN_WAIT: Duration = Duration::from_secs(4);

/// A clock this far off is told, milliseconds: signed times are clamped to receipt and 5 min.
pub const CLOCK_SKEW_NOTED_MS: u64 = 5_000;
/// A clock this far off is a fault, milliseconds: TURN credentials live ten minutes by it, and
/// tokens are forgiven half a minute.
pub const CLOCK_SKEW_BAD_MS: u64 = 60_000;

/// Messages of the kernel read at once; more wait for the next time.
pub const NETWORK_EVENTS_MAX: usize = 64;

/// How long addresses and routes must rest before a change is told: they come in several steps.
pub const NETWORK_SETTLE: Duration = Duration::from_millis(100);

/// How long a host without any network waits for one before that is told; and how long a network
/// that does not rest is waited for.
pub const NETWORK_GONE: Duration = Duration::from_secs(2);

/// Pause between two changes told: each makes every link and socket anew.
pub const NETWORK_PAUSE: Duration = Duration::from_secs(1);

/// Time that went by between two looks from which on the process was asleep, milliseconds: what was
/// open may have been forgotten by NATs and servers.
pub const SLEPT_AFTER_MS: u64 = 30_000;

/// Events kept for a slow subscriber; it is told how many it missed.
pub const EVENT_QUEUE: usize = 4_096;

/// Happenings of all links waiting for the driver; a full queue holds the links up, and through
/// SCTP the peers.
pub const RTC_QUEUE: usize = 512;

/// Pieces of work waiting for a thread that touches files: the core grants at most five for each
/// link, and asks little else.
pub const FILE_WORK_QUEUE: usize = 8 * LINKS_MAX;

/// Frames of files waiting to be written, of all links together: 16 MiB. A full queue holds the
/// links up, and through SCTP the senders.
pub const FILE_FRAMES_QUEUE: usize = 256;

/// What the threads of files tell the driver, waiting; they wait for it.
pub const FILE_REPORTS_QUEUE: usize = 256;

/// Chunks written before it is said: half a mebibyte of the largest. Each word costs the driver a
/// turn.
pub const FILE_REPORT_CHUNKS: u64 = 8;

/// How long fewer of them wait to be said: short beside what a person sees, long beside what the
/// next ones take to come.
pub const FILE_REPORT_WAIT: Duration = Duration::from_millis(5);

/// Files hashed for an offer and kept readable until somebody asks for them; others are hashed once
/// more. At most 8 MiB of hashes each.
pub const FILE_SOURCES_KEPT: usize = 4;

/// Links open or being made at once, as many as the core makes: each costs about 260 KiB and a
/// task.
pub const LINKS_MAX: usize = client_core::limits::LINKS_MAX;

/// Writes of the core waiting for the store thread, by how they were handed over.
pub const STORE_QUEUE: usize = 1_024;

/// Writes handed over together, and from which on a commit takes no more. With
/// [`GROUP_COMMIT_WAIT`] this bounds the wait of the first.
pub const GROUP_COMMIT_MAX: usize = 256;

/// How long writes that are already waiting may be added to a commit. A lone write waits for
/// nobody.
pub const GROUP_COMMIT_WAIT: Duration = Duration::from_millis(2);

/// How long a writer waits for another process that holds the database (a backup, `sqlite3`).
pub const STORE_BUSY: Duration = Duration::from_secs(5);

/// How long the check at start may take: about a gigabyte from a warm cache.
pub const CHECK_MAX: Duration = Duration::from_secs(2);

/// How often all of the store is checked at a start, indexes too, milliseconds: once a week.
pub const CHECK_ALL_EVERY_MS: u64 = 7 * 24 * 3_600 * 1_000;

/// Room kept for deleting on a full disk, bytes: the log of one deletion, twenty times over.
pub const BALLAST_LEN: usize = 1024 * 1024;

/// The file that counts the openings of the store, bytes.
pub const OPENED_LEN_MAX: u64 = 32;

/// Rows of one kind loaded at start: the parcels of a full outbox, for sixteen devices each.
pub const LOAD_ROWS_MAX: usize = 16 * client_core::limits::OUTBOX_MAX;

/// Lines of `history` and steps of `why` in one answer.
pub const HISTORY_MAX: usize = 10_000;

/// Messages asked for at once by `unshown`.
pub const UNSHOWN_MAX: usize = 256;

/// A REST answer, bytes: a chain and 16 device records with room; anything longer is cut off.
pub const REST_BODY_MAX: usize = 256 * 1024;

/// A whole REST request, with connecting.
pub const REST_TIMEOUT: Duration = Duration::from_secs(10);

/// Connecting alone, TLS included; then the next gateway is tried.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Registry requests under way at once; more wait in [`REST_QUEUE`].
pub const REST_CONCURRENT: usize = 8;

/// Registry requests waiting; one more is answered as unreachable, which the core retries.
pub const REST_QUEUE: usize = 256;

/// A token is renewed this long before its end.
pub const TOKEN_RENEW_BEFORE: Duration = Duration::from_secs(60);

/// Frames waiting to be sent over the signalling socket; one more is dropped, as offers and
/// candidates are repeated, over this route or another.
pub const SOCKET_SEND_QUEUE: usize = 256;

/// Frames received and waiting for the driver; a full queue stops reading the socket.
pub const SOCKET_RECEIVE_QUEUE: usize = 256;

/// Signalling sockets at once, as many as the core uses.
pub const SOCKETS_MAX: usize = client_core::limits::SOCKETS_MAX;

/// Sockets open, or closing politely in the background; the core opens another only after a pause.
pub const SOCKET_TASKS_MAX: usize = 4 * SOCKETS_MAX;

/// Until the gateway said HELLO and answered ours.
pub const SOCKET_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Pace of our pings on an idle socket: below the 60 s after which common NATs and proxies forget.
pub const SOCKET_PING_EVERY: Duration = Duration::from_secs(25);

/// Without anything heard for this long the socket is dead.
pub const SOCKET_DEAD_AFTER: Duration = Duration::from_secs(60);

/// First delay before the socket is dialled again; it doubles, with full jitter.
pub const RECONNECT_MIN: Duration = Duration::from_millis(500);

/// Longest delay before the socket is dialled again.
pub const RECONNECT_MAX: Duration = Duration::from_secs(30);

/// A GOAWAY may keep us away at most this long.
pub const GOAWAY_MAX: Duration = Duration::from_secs(60);

/// How long a drain may take: GOODBYE to every link, writes under way, the socket's close.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);

/// How long the signalling socket may take to close politely after a drain.
pub const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// Connections to a coordinator's signalling server: sockets of all it may be linked to, and as
/// many again that come and go while it is looked for.
pub const HUB_CONNECTIONS_MAX: usize = 4 * LINKS_MAX;

/// Of these, connections that have not proven a device yet.
pub const HUB_UNPROVEN_MAX: usize = 256;

/// The file that remembers a coordinator's port, bytes.
pub const PORT_FILE_LEN_MAX: u64 = 16;

/// Longest remembered folder for files, bytes: as long as a path may be.
pub const FILES_DIR_LEN_MAX: u64 = 4_096;

/// An identity file, bytes: keys, names and a chain of at most 6 KiB, in text.
pub const IDENTITY_LEN_MAX: u64 = 64 * 1024;

/// A PEM file given by `--ca`, bytes.
pub const CA_LEN_MAX: u64 = 1024 * 1024;

/// ICE servers taken from options and gateway together.
pub const ICE_SERVERS_MAX: usize = 16;

/// Origins of gateways and registries whose addresses are looked up: more than a descriptor names.
pub const OWN_ORIGINS_MAX: usize = 32;

/// How often ICE servers are asked for again, at most and at least: a gateway answers six times a
/// minute.
pub const ICE_REFRESH_MIN: Duration = Duration::from_secs(15);
/// How soon they are asked for again after a failure; doubles up to [`ICE_REFRESH_MIN`].
pub const ICE_RETRY_MIN: Duration = Duration::from_secs(1);
/// See [`ICE_REFRESH_MIN`].
pub const ICE_REFRESH_MAX: Duration = Duration::from_secs(6 * 3600);

/// How long a changed device list waits for the registry, before the command says that it will be
/// published later: under what a caller waits for an answer.
pub const PUBLISH_WAIT: Duration = Duration::from_secs(5);

/// How long a device link lasts, and each side waits for the other's person.
pub const DEVICE_LINK_WAIT: Duration = Duration::from_secs(600);

/// How long one step of taking a new device in may take that needs no person.
pub const DEVICE_STEP_WAIT: Duration = Duration::from_secs(10);

/// Callers without the token that a waiting holder bears with: port scanners, mistyped links.
pub const DEVICE_CALLS_MAX: usize = 64;

/// Revocations handed to a new device, bytes: what fits a frame beside the chain. A longer list
/// it gets from the registry at its first sign-in.
pub const DEVICE_REVOCATIONS_MAX: usize = 3 * 1024;

/// Text of a refusal between two devices, bytes.
pub const DEVICE_REFUSAL_MAX: usize = 200;
