//! Bounds of files that go through others, because the two devices have no link.

use super::RELAY_PAIRS_MAX;
use beeline_proto::limits::PARCEL_LEN_MAX;

/// How long a file waits for a link before it goes through others, milliseconds. Where a link is
/// possible it takes two seconds at 200 ms and 2 % loss; a call that comes to nothing is made anew
/// after two, or eight, seconds. So this is past the second call, and nobody else carries what goes
/// directly a moment later.
pub const FILE_APART_MS: u64 = 15_000;

/// Bytes of one file under way through others: two of the largest chunks, two seconds of a relay.
/// In base64 they fit into what a gateway keeps for one socket, 256 KiB, with room for others.
pub const FILE_APART_WINDOW: u64 = 128 * 1024;

/// Files for us that come through others at once: more would only make each of them slower.
pub const FILES_APART_IN_MAX: usize = 4;

/// Files of ours that go through others at once, each with one chunk in memory: 1 MiB.
pub const FILES_APART_OUT_MAX: usize = 16;

/// Bytes of files that a peer carries per second from one user to another, and that we send through
/// peers, all files together: a megabyte in sixteen seconds, half of a small uplink.
pub const RELAY_FILE_BYTES_PER_S: u64 = 64 * 1024;

/// What may be carried of files in one burst, in seconds of the quota, but at least two parcels:
/// what is under way at once, and half of it again for clocks that disagree.
pub const RELAY_FILE_BURST_S: u64 = 3;

/// Bytes of files carried per second for all pairs of users together, where one pair has the usual
/// share: a megabit, which the uplink of a home can spare.
pub const RELAY_FILES_FACTOR: u64 = 2;

/// The most an owner can allow: sums of it stay far from any bound.
pub const RELAY_FILES_PER_S_MAX: u64 = 1 << 30;

/// Bytes of files we send per second through signalling sockets, all files together: two parcels,
/// of the twenty frames that a gateway takes from a socket. It is the narrow way out.
pub const SOCKET_FILE_BYTES_PER_S: u64 = 32 * 1024;

/// Bytes of parts sent in one burst by a way: two parcels, so that a late timer costs nothing.
pub const FILE_PARTS_BURST: u64 = 2 * PARCEL_LEN_MAX as u64;

/// Parts sent at one input; the next follow when their time comes.
pub const FILE_PARTS_AT_ONCE: usize = 4;

/// Items waiting on a link beside which a part of a file may wait too: a chat message that comes
/// after it waits for 128 KiB at most.
pub const FILE_PART_BEHIND_MAX: usize = 8;

/// When a part is tried again that found its link busy with something else, milliseconds.
pub const FILE_PART_BUSY_MS: u64 = 250;

/// Longest pause after a relay refused a part, milliseconds.
pub const FILE_PART_PAUSE_MS_MAX: u64 = 60_000;

/// Parts handed to relays last, whose refusal is understood: more than a window of the largest
/// chunks.
pub const FILE_PARTS_HANDED: usize = 32;

/// How long a file of ours is kept ready for a receiver that does not ask again, milliseconds: two
/// of its longer pauses. To open it once more it is hashed again.
pub const FILE_APART_IDLE_MS: u64 = 10 * 60 * 1_000;

/// Chunks of one file of which some parts are there: a window of those that are two parts long.
pub const FILE_PARTIAL_CHUNKS: usize = 8;

/// Parts opened per second, whoever sends them: four senders at the usual quota have half of it.
pub const FILE_PARTS_PER_S: u64 = 32;

/// Parts opened in one burst.
pub const FILE_PARTS_OPENED_BURST: u64 = 128;

/// How often a sender is told through others what came of its file, with growing pauses; then on
/// the next link.
pub const FILE_END_TRIES: u32 = 5;

/// Lifetime of a part, seconds. Nobody keeps one.
pub const FILE_PART_TTL_S: u32 = 60;

const _: () = assert!(FILE_APART_WINDOW / 3 * 4 < 256 * 1024);
const _: () = assert!(RELAY_PAIRS_MAX > FILES_APART_OUT_MAX);
