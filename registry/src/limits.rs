//! Every bound of the registry that is not part of the wire, each with its reason. What the wire
//! sets is in [`beeline_proto::limits`].

use std::time::Duration;

/// A request, bytes: the largest one, 1,000 socket changes of two labels, is under 140 KiB.
pub const DECODE_LEN_MAX: usize = 256 * 1024;

/// Until a call must have answered: clients retry, so a longer wait only piles work up.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Calls in work at once, all connections together: beyond it a caller is told to come back.
pub const CALLS_IN_FLIGHT_MAX: usize = 1_024;

/// HTTP/2 streams of one connection: four connections carry a whole gateway.
pub const STREAMS_PER_CONNECTION_MAX: u32 = 100;

/// Connections in total: one descriptor each, well under the usual limit of 4,096.
pub const CONNECTIONS_MAX: usize = 2_048;

/// Connections from one address that is not loopback: a gateway uses about four.
pub const CONNECTIONS_PER_IP_MAX: usize = 20;

/// Pause after a failed accept, such as one without a free file descriptor.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A request's headers, bytes: a token is under 1 KiB.
pub const HEADER_LIST_LEN_MAX: u32 = 16 * 1024;

/// From accept to the first bytes of HTTP/2, and to the end of the TLS handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Silence after which a connection is pinged.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// How long the answer to that ping may take.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Age at which a connection is asked to go, so that load moves to new processes.
pub const CONNECTION_AGE_MAX: Duration = Duration::from_secs(3_600);

/// How long it may finish what it has begun after that.
pub const CONNECTION_AGE_GRACE: Duration = Duration::from_secs(30);

/// How long calls in work may take at shutdown before they are cut.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Unsolved challenges held, 96 bytes each; the oldest goes first when a flood fills the table.
pub const CHALLENGES_MAX: usize = 65_536;

/// Calls without a credential per second, all callers together: each costs up to two signature
/// checks (about 60 µs), so this is under half of one core.
pub const OPEN_CALLS_PER_SECOND: u32 = 4_000;

/// How many of them may come at once.
pub const OPEN_CALLS_BURST: u32 = 8_000;

/// A bearer token, bytes: ours are about 700.
pub const TOKEN_LEN_MAX: usize = 2 * 1024;

/// Verified tokens remembered, about 600 bytes each.
pub const TOKENS_CACHED_MAX: usize = 32_768;

/// Token keys kept, newest first: tokens live ten minutes, so older keys only serve verifiers that
/// come late.
pub const TOKEN_KEYS_MAX: usize = 4;

/// Age at which a start makes a new token key, milliseconds: 90 days.
pub const TOKEN_KEY_AGE_MAX_MS: u64 = 90 * 24 * 3600 * 1000;

/// Clock difference forgiven when a token is checked, seconds.
pub const TOKEN_LEEWAY_S: u64 = 30;

/// Networks of one registry: all are held in memory, about 4 KiB each.
pub const NETWORKS_MAX: usize = 1_024;

/// Users remembered, about 3 KiB each.
pub const USERS_CACHED_MAX: usize = 16_384;

/// Leases that run at once, about 1.5 KiB each.
pub const LEASES_MAX: usize = 500_000;

/// Seconds after which a device announces again: half a lease, so that one lost try costs nothing.
pub const REANNOUNCE_S: u32 = beeline_proto::limits::PRESENCE_TTL_S / 2;

/// Gateways that report at once.
pub const GATEWAYS_MAX: usize = 256;

/// Open sockets in all.
pub const SOCKETS_MAX: usize = 1_000_000;

/// Changes in one socket report (the schema says so too).
pub const SOCKET_CHANGES_MAX: usize = 1_000;

/// A gateway's name, bytes.
pub const GATEWAY_ID_LEN_MAX: usize = 64;

/// A gateway silent for this long has lost its sockets, milliseconds.
pub const GATEWAY_SILENT_MS: u64 = 60_000;

/// Pace of socket reports, seconds: with the call itself well under the 5 s in which `online` must
/// turn false.
pub const SOCKET_REPORT_S: u32 = 2;

/// Coordinators with a running lease, all networks together.
pub const COORDINATORS_MAX: usize = 4_096;

/// Devices listed per heartbeat, each way (the schema says so too).
pub const HEARTBEAT_DEVICES_MAX: usize = 512;

/// Devices one coordinator may claim.
pub const COORDINATOR_DEVICES_MAX: usize = 8_192;

/// Coordinators answered when the caller does not say, and at most.
pub const COORDINATORS_PAGE: (u32, u32) = (8, 16);

/// Coordinators in `lastCoordinators`: two devices' worth.
pub const LAST_COORDINATORS_MAX: usize = 8;

/// Items of a page when the caller does not say, and at most.
pub const PAGE: (u32, u32) = (50, 100);

/// Bytes after which a page ends early: well under what a gRPC client takes by default (4 MiB).
pub const PAGE_LEN_MAX: usize = 512 * 1024;

/// A page token, bytes: a label in base64 with its tag.
pub const PAGE_TOKEN_LEN_MAX: usize = 128;

/// Live invites of one network.
pub const INVITES_MAX: u64 = 10_000;

/// How long an ended invite is remembered, milliseconds, so that a join whose answer was lost can
/// be asked again.
pub const INVITE_KEEP_MS: u64 = 7 * 24 * 3600 * 1000;

/// Lifetime of an invite when the caller does not say, seconds: 7 days.
pub const INVITE_TTL_S: u32 = 7 * 24 * 3600;

/// A membership younger than this is answered as it is when renewed, milliseconds: 30 days.
pub const RENEW_AGE_MIN_MS: u64 = 30 * 24 * 3600 * 1000;

/// Versions and serials are stored as signed 64-bit integers.
pub const VERSION_MAX: u64 = i64::MAX as u64;

/// Presence rows of one batch: 100 gains ×8 to ×14 over single rows, 1,000 gains only latency.
pub const BATCH_ROWS_MAX: usize = 100;

/// Presence rows waiting for a batch; more than that and callers wait, up to their deadline.
pub const BATCH_QUEUE_MAX: usize = 4_096;

/// Jobs waiting for a database thread.
pub const STORE_QUEUE_MAX: usize = 256;

/// Threads that read SQLite: readers never block each other, and two cores are usual.
pub const SQLITE_READERS: usize = 2;

/// Connections to PostgreSQL.
pub const POSTGRES_CONNECTIONS_MAX: u32 = 8;

/// Rows read at once while starting.
pub const RESTORE_ROWS: usize = 1_000;

/// How often ended leases are looked for when nothing else does, so that memory is given back.
pub const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Scrapers served at once: one is usual.
pub const METRICS_CONNECTIONS_MAX: usize = 8;

/// How long one scrape may take.
pub const METRICS_TIMEOUT: Duration = Duration::from_secs(5);

const _: () = assert!(REANNOUNCE_S * 2 <= beeline_proto::limits::PRESENCE_TTL_S);
const _: () = assert!(SOCKET_REPORT_S * 2 < 5);
const _: () = assert!(LEASES_MAX <= SOCKETS_MAX);
