//! Bounds of files on their way.

/// Files of ours on their way, or still to be had by further devices.
pub const FILES_OUT_MAX: usize = 1_024;

/// Files of ours of which it is remembered why they came to nothing, for receivers that were away:
/// as many as one user may offer another. Of any other they hear that we do not offer it.
pub const FILES_ENDED_MAX: usize = 256;

/// Files for us that are not over, or whose sender does not know it yet.
pub const FILES_IN_MAX: usize = 1_024;

/// The same from one user: no one takes the place of all others.
pub const FILES_IN_PER_USER_MAX: usize = 256;

/// Files for us written at once; more wait for their turn. Each has two open files.
pub const FILES_ACTIVE_MAX: usize = 16;

/// The same from one user: no one has all the turns.
pub const FILES_ACTIVE_PER_USER_MAX: usize = 8;

/// Devices one file of ours is sent to at once: every device a user may have.
pub const FILE_UPLOADS_MAX: usize = 16;

pub use beeline_proto::limits::FILE_RANGES_MAX;

/// Bytes of one file on their way that the receiver has not said to have written: fills 25 ms at
/// 300 MB/s. It is the most that is sent again after a crash.
pub const FILE_WINDOW_BYTES: u64 = 8 * 1024 * 1024;

/// Bytes asked of the driver for one link that it has not sent: enough to keep it busy while we
/// are not looked at, little enough that a second file soon has its share.
pub const FILE_AHEAD_BYTES: u64 = 4 * 1024 * 1024;

/// Bytes of one file before it is another's turn.
pub const FILE_TURN_BYTES: u64 = 1024 * 1024;

/// The receiver says what it has written after this many bytes: some sixteen times a window.
pub const FILE_REPORT_BYTES: u64 = 1024 * 1024;

/// Least pause between two notes of progress to the application, milliseconds: four a second.
pub const FILE_TOLD_MS: u64 = 250;

/// Nothing came for this long though it was asked for: it is asked for again, milliseconds. Each
/// time twice as long.
pub const FILE_STALL_MS: u64 = 15_000;

/// Times nothing came after which a link is doubted, and another one made beside it: it may be gone
/// at the other end only.
pub const FILE_STALLS_TRUSTED: u32 = 2;

/// Longest wait before it is asked for again, milliseconds.
pub const FILE_STALL_MS_MAX: u64 = 5 * 60 * 1_000;

/// How soon a file is tried again for which our disk had no room, milliseconds: soon after somebody
/// made some, and it costs next to nothing.
pub const FILE_STUCK_AGAIN_MS: u64 = 10_000;

/// How soon an offer that could not be finished or written down is tried again, milliseconds.
pub const FILE_AGAIN_MS: u64 = 2_000;

/// Where a file of ours is, bytes: as long as a path may be.
pub const FILE_SOURCE_LEN_MAX: usize = 4_096;

/// Grants to the driver for one link at one input; what is left goes on with its next answer.
pub const FILE_GRANTS_MAX: usize = 16;

/// Devices looked for because of files.
pub const FILE_SEEKS_MAX: usize = 1_024;
