//! Every bound of file transfer's disk side, with its reason. The wire's own are in
//! `beeline_proto::limits`.

/// Bytes read at once while a file is hashed: enough that reading costs little, small beside
/// [`beeline_proto::limits::FOLDER_LIST_LEN_MAX`]. A multiple of every chunk size.
pub const HASH_READ: usize = 1024 * 1024;

/// Bytes written between two checkpoints, at least: what a power cut can cost, beside what was
/// never synced by then (`kill -9` costs none of it), and what a message has to wait for that is
/// stored on the same disk. With 64 MiB such messages took 11 times as long at worst as without a
/// file, with 8 MiB 4 times, and the file no longer.
pub const CHECKPOINT_EVERY: u64 = 8 * 1024 * 1024;

/// How many times the bytes of its notes are written of a file before they are, at least: those of
/// a terabyte are 2 MiB.
pub const CHECKPOINT_NOTES: u64 = 32;

/// Room that stays free on the disk after everything promised has arrived, bytes: a full disk
/// stops more than this program.
pub const FREE_MIN: u64 = 64 * 1024 * 1024;

/// A name on disk, bytes: the 255 of most file systems, less room for a number.
pub const NAME_LEN_MAX: usize = 240;

/// Of a name that is cut, how much of its end may count as extension and is kept, bytes.
pub const EXTENSION_LEN_MAX: usize = 16;

/// Names tried for one file before it is given up: a thousand copies of one name are a mistake.
pub const NAME_TRIES: u32 = 1_000;

/// Files of a folder kept open at once on either side: chunks come mostly in order.
pub const OPEN_FILES_MAX: usize = 16;

/// Entries of one directory looked at: a folder to send may have no more files in all.
pub const DIR_ENTRIES_MAX: usize = 2 * beeline_proto::limits::FOLDER_FILES_MAX;

/// Unfinished files found in one folder; more were not left by this program.
pub const PARTS_MAX: usize = 4_096;
