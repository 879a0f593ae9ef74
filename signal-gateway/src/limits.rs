//! Every bound of the gateway, with its reason. What the wire itself sets is in
//! [`beeline_proto::limits`]. [`Limits`] holds those that an operator or a test may set.

use crate::core::quota::Rate;

/// WebSocket read and write buffer, bytes each: the library's 128 KiB default would cost 1.3 GB at
/// 10,000 idle sockets, and signalling frames rarely exceed 2 KiB.
pub const WS_BUFFER_LEN: usize = 4 * 1024;

/// Bytes waiting to be written to one socket, beside its queue; beyond it the socket is cut.
pub const WS_WRITE_BUFFER_LEN_MAX: usize = 256 * 1024;

/// Bytes a socket may send without completing a message: a full frame, its header and the control
/// frames between, with room; empty fragments cannot go on for ever.
pub const WS_BYTES_PER_MESSAGE_MAX: usize = 3 * 64 * 1024;

/// Frames waiting for one socket: a full negotiation with trickled candidates from two peers.
pub const QUEUE_FRAMES_MAX: usize = 64;

/// Bytes waiting for one socket: four frames of full size, or 64 of 4 KiB.
pub const QUEUE_LEN_MAX: usize = 256 * 1024;

/// How many times as much may wait for the socket of a coordinator's own device, which hundreds
/// call at once.
pub const QUEUE_OWN_FACTOR: usize = 16;

/// One write to a socket, milliseconds; a reader slower than that is cut.
pub const WRITE_TIMEOUT_MS: u64 = 10_000;

/// After a close frame was sent, how long its answer is waited for, milliseconds.
pub const CLOSE_TIMEOUT_MS: u64 = 1_000;

/// From the upgrade to a complete first frame, milliseconds.
pub const FIRST_FRAME_TIMEOUT_MS: u64 = 5_000;

/// How long a sign-in may take, milliseconds: two calls to the registry and their time-outs.
pub const SIGN_IN_TIMEOUT_MS: u64 = 5_000;

/// A silent socket is pinged after this, milliseconds: below the 30 s of common NATs and proxies.
pub const PING_AFTER_MS: u64 = 25_000;

/// A socket that said nothing for this long is dead, milliseconds: two pings unanswered.
pub const DEAD_AFTER_MS: u64 = 60_000;

/// First byte and whole request head, milliseconds.
pub const HEADER_TIMEOUT_MS: u64 = 5_000;

/// TLS handshake, milliseconds.
pub const TLS_HANDSHAKE_TIMEOUT_MS: u64 = 5_000;

/// Reading a request's body and answering it, milliseconds.
pub const REQUEST_TIMEOUT_MS: u64 = 10_000;

/// Pause after `accept` failed, milliseconds: the usual cause, no file descriptors, needs time.
pub const ACCEPT_PAUSE_MS: u64 = 50;

/// Connections the kernel holds before we accept them.
pub const BACKLOG: u32 = 1_024;

/// Headers of a request.
pub const HEADERS_MAX: usize = 32;

/// Head of a request, bytes.
pub const HEAD_LEN_MAX: usize = 16 * 1024;

/// Request target, bytes.
pub const URI_LEN_MAX: usize = 2 * 1024;

/// Body of a request, bytes: the largest, a join, is a proof and a device list of 16.
pub const BODY_LEN_MAX: usize = 64 * 1024;

/// A bearer token, bytes: ours are about 700.
pub const TOKEN_LEN_MAX: usize = 4 * 1024;

/// Verified tokens remembered: one for each of 10,000 devices.
pub const TOKEN_CACHE_MAX: usize = 10_000;

/// Callers with a bucket of their own, per kind of bucket.
pub const CALLERS_MAX: usize = 16_384;

/// Leeway on `exp` and `nbf` of tokens, seconds: clocks of well-kept machines.
pub const TOKEN_LEEWAY_S: u64 = 30;

/// Token keys taken from the registry.
pub const TOKEN_KEYS_MAX: usize = 16;

/// An unknown `kid` makes the gateway ask for the keys again, at most this often, milliseconds.
pub const KEYS_REFRESH_MIN_MS: u64 = 5_000;

/// Networks whose signed lists are held: about 10 KiB each.
pub const NETWORKS_MAX: usize = 1_024;

/// Labels the registry said it does not know, remembered so that asking again costs it nothing.
pub const UNKNOWN_NETWORKS_MAX: usize = 1_024;

/// How long such an answer holds, milliseconds.
pub const UNKNOWN_NETWORK_TTL_MS: u64 = 5_000;

/// Users whose device lists a coordinator remembers, at most 16 deviceIds each: about 4 MiB.
pub const CLAIMS_MAX: usize = 4_096;

/// Sign-ins under way at once: bounds signature checks and calls to the registry.
pub const SIGN_INS_MAX: usize = 64;

/// Parts the table of sockets is split into, so that two cores rarely wait for one another.
pub const HUB_SHARDS: usize = 64;

/// HTTP/2 connections to the registry: one is half as fast as four, sixty-four no faster.
pub const REGISTRY_CHANNELS: usize = 4;

/// One call to the registry, milliseconds.
pub const REGISTRY_TIMEOUT_MS: u64 = 3_000;

/// Connecting to the registry, milliseconds.
pub const REGISTRY_CONNECT_TIMEOUT_MS: u64 = 2_000;

/// After a call found the registry down, how long others fail at once, milliseconds.
pub const REGISTRY_RETRY_MS: u64 = 1_000;

/// Pause between two socket reports while there are changes, milliseconds.
pub const REPORT_EVERY_MS: u64 = 1_000;

/// Changes in one report, as the schema says.
pub const REPORT_CHANGES_MAX: usize = 1_000;

/// Changes waiting for the registry; beyond it, they are dropped and the next report is a full one.
pub const REPORT_PENDING_MAX: usize = 50_000;

/// Longest pause between two reports, milliseconds, whatever the registry asks: it forgets a
/// gateway that is silent for 60 s.
pub const REPORT_IDLE_MAX_MS: u64 = 20_000;

/// How often signed lists are fetched, milliseconds: a revocation cuts sockets well within 60 s.
pub const LISTS_EVERY_MS: u64 = 15_000;

/// How often token keys are fetched, milliseconds.
pub const KEYS_EVERY_MS: u64 = 60_000;

/// Each open socket's device is looked up again this often, seconds: a device taken off its user's
/// list is cut within 60 s.
pub const RECHECK_EVERY_S: u64 = 50;

/// Such look-ups under way at once.
pub const RECHECKS_MAX: usize = 8;

/// How long sockets outlive the registry's last answer, milliseconds: 24 hours.
pub const GRACE_MS: u64 = 24 * 3600 * 1000;

/// A cache file larger than this is not read, bytes: 1,024 networks of 36 KiB in base64.
pub const CACHE_FILE_LEN_MAX: u64 = 64 * 1024 * 1024;

/// From the call to shut down until connections are cut, milliseconds.
pub const DRAIN_TIMEOUT_MS: u64 = 5_000;

/// When a client that was told GOAWAY may come back, milliseconds: the restart of a gateway.
pub const GOAWAY_RETRY_MS: u32 = 2_000;

/// Frames of one socket that are wrong in themselves before it is closed, and how fast that is
/// forgiven.
pub const VIOLATION_RATE: Rate = Rate::per_minute(6, 16);

/// Frames over the rate that are dropped before the socket is closed, and how fast that is
/// forgiven.
pub const FLOOD_RATE: Rate = Rate::per_second(10, 200);

/// Answers to frames over the rate: dropping must be cheaper than sending.
pub const RATE_ERROR_RATE: Rate = Rate::per_second(1, 2);

/// Pings and pongs of one socket.
pub const CONTROL_RATE: Rate = Rate::per_second(5, 60);

/// Offers to one target, so that a re-offer passes and ringing does not.
pub const OFFER_TARGET_RATE: Rate = Rate::per_second(1, 3);

/// Targets of one socket with a bucket of their own.
pub const OFFER_TARGETS_MAX: usize = 16;

/// Lifetime of TURN credentials unless configured otherwise, seconds.
pub const ICE_TTL_S: u64 = 600;

/// Shortest lifetime of TURN credentials, seconds: clients ask for new ones every quarter of a
/// minute at most.
pub const ICE_TTL_MIN_S: u64 = 30;

/// Longest lifetime of TURN credentials, seconds: a day, for whoever was a member that long.
pub const ICE_TTL_MAX_S: u64 = 24 * 3_600;

/// STUN and TURN addresses handed out.
pub const ICE_URLS_MAX: usize = 16;

/// A secret or credential file larger than this is not one, bytes.
pub const SECRET_FILE_LEN_MAX: u64 = 4 * 1024;

/// Answers the registry may give, bytes: a page of 100 users with 16 devices each.
pub const REGISTRY_ANSWER_LEN_MAX: usize = 4 * 1024 * 1024;

/// Bytes the kernel keeps for one connection that reads slowly.
pub const SEND_BUFFER_LEN: u32 = 128 * 1024;

/// Bytes read and thrown away after a close frame, so that the peer can read it.
pub const CLOSE_DRAIN_LEN_MAX: usize = 1024 * 1024;

/// What each socket is held to; an operator or a test may set it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SocketLimits {
    /// Frames, of whatever type.
    pub frame_rate: Rate,
    /// Offers.
    pub offer_rate: Rate,
    /// From the upgrade to a complete first frame, milliseconds.
    pub first_frame_ms: u64,
    /// A silent socket is pinged after this, milliseconds.
    pub ping_after_ms: u64,
    /// A socket that said nothing for this long is dead, milliseconds.
    pub dead_after_ms: u64,
    /// One write, milliseconds.
    pub write_ms: u64,
}

impl Default for SocketLimits {
    fn default() -> Self {
        Self {
            frame_rate: Rate::per_second(20, 60),
            offer_rate: Rate::per_second(2, 10),
            first_frame_ms: FIRST_FRAME_TIMEOUT_MS,
            ping_after_ms: PING_AFTER_MS,
            dead_after_ms: DEAD_AFTER_MS,
            write_ms: WRITE_TIMEOUT_MS,
        }
    }
}

impl SocketLimits {
    /// For the socket of a coordinator's own device: when it comes back, hundreds call it within
    /// seconds, and each is answered with up to a score of frames.
    pub fn own(self) -> Self {
        Self {
            frame_rate: Rate::per_second(1_000, 8_192),
            offer_rate: Rate::per_second(100, 1_024),
            ..self
        }
    }
}

/// What connections are held to before they are sockets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectionLimits {
    /// Connections of one IPv4 address or IPv6 /64: a carrier's NAT puts thousands of devices
    /// behind one, each with a socket and now and then a request. Loopback is exempt unless
    /// [`ConnectionLimits::count_loopback`]: local proxies, demos and tests live there.
    pub per_ip: usize,
    /// Of these, connections that have not shown a credential yet.
    pub per_ip_unauthenticated: usize,
    /// Whether loopback addresses count like others.
    pub count_loopback: bool,
    /// Connections in all.
    pub total: usize,
    /// Connections that have not shown a credential yet.
    pub unauthenticated: usize,
    /// First byte and whole request head, milliseconds; also how long an idle one is kept.
    pub header_ms: u64,
    /// TLS handshake, milliseconds.
    pub tls_ms: u64,
    /// Reading a request's body and answering it, milliseconds.
    pub request_ms: u64,
    /// One write that makes no progress, milliseconds.
    pub write_ms: u64,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            per_ip: 4_096,
            per_ip_unauthenticated: 64,
            count_loopback: false,
            total: 50_000,
            unauthenticated: 2_000,
            header_ms: HEADER_TIMEOUT_MS,
            tls_ms: TLS_HANDSHAKE_TIMEOUT_MS,
            request_ms: REQUEST_TIMEOUT_MS,
            write_ms: WRITE_TIMEOUT_MS,
        }
    }
}

/// Everything an operator or a test may set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Connections.
    pub connections: ConnectionLimits,
    /// Sockets.
    pub sockets: SocketLimits,
    /// Requests per device.
    pub request_rate: Rate,
    /// Challenges and tokens of one device at one address, so that nobody elsewhere uses up a
    /// device's; loopback is exempt like for connections.
    pub challenge_rate: Rate,
    /// Challenges, tokens and joins of one address, whoever it is: a carrier's NAT has thousands of
    /// devices behind it, each of which signs in every nine minutes. Ten a second cost the registry
    /// one thousandth of a core.
    pub address_rate: Rate,
    /// TURN credentials per device.
    pub ice_rate: Rate,
    /// Sign-ins per device: a new socket has full buckets.
    pub sign_in_rate: Rate,
    /// How often signed lists are fetched, milliseconds.
    pub lists_every_ms: u64,
    /// How often the device behind each open socket is looked up again, seconds.
    pub recheck_every_s: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: ConnectionLimits::default(),
            sockets: SocketLimits::default(),
            request_rate: Rate::per_second(10, 30),
            challenge_rate: Rate::per_minute(5, 20),
            address_rate: Rate::per_minute(600, 1_200),
            ice_rate: Rate::per_minute(6, 6),
            sign_in_rate: Rate::per_second(1, 10),
            lists_every_ms: LISTS_EVERY_MS,
            recheck_every_s: RECHECK_EVERY_S,
        }
    }
}
