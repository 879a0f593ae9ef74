//! Bounds of keeping parcels for others, and of collecting one's own.

/// Bytes kept for others in all: what nobody notices on a disk of today.
pub const KEEP_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Parcels kept for others in all: most have 1 KiB or more, and each costs a row besides.
pub const KEEP_PARCELS_MAX: u64 = 262_144;

/// Bytes kept for one recipient device: two weeks away, with a thousand messages a day.
pub const KEEP_RECIPIENT_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Parcels kept for one recipient device.
pub const KEEP_RECIPIENT_PARCELS_MAX: u64 = 16_384;

/// One user's part of a recipient's space, and of the whole: a sixteenth, so that nobody alone can
/// use up either.
pub const KEEP_USER_PARTS: u64 = 16;

/// Half of a recipient's space is for whoever holds a ticket of the recipient: strangers cannot
/// keep out those it wants to hear from.
pub const KEEP_OPEN_PARTS: u64 = 2;

/// Pairs of a recipient and a user that anything is kept for: about 10 MiB of accounts.
pub const KEEP_PAIRS_MAX: usize = 65_536;

/// Deposits of one user taken per second: a person's devices, or a program that is not in a hurry.
pub const KEEP_PER_S: u64 = 64;

/// Seconds of deposits that may come in one burst: an outbox that has waited.
pub const KEEP_BURST_S: u64 = 16;

/// Most deposits of one user per second that can be configured: more than a disk commits.
pub const KEEP_PER_S_MAX: u64 = 1_000_000;

/// Users whose rate of deposits is followed; those idle longest are forgotten.
pub const KEEP_DEPOSITORS_MAX: usize = 4_096;

/// Deposits not yet committed: some 16 MiB at most, and more than one group commit takes.
pub const KEEP_IN_FLIGHT_MAX: usize = 1_024;

/// When whoever found no room may ask again, milliseconds.
pub const KEEP_FULL_MS: u64 = 10 * 60 * 1_000;

/// When whoever met a store that does not follow may ask again, milliseconds.
pub const KEEP_BUSY_MS: u64 = 1_000;

/// Parcels that end in one write: what is due may be much, and others wait for the disk.
pub const KEEP_EXPIRE_BATCH: u32 = 256;

/// Pause between two such writes, milliseconds.
pub const KEEP_EXPIRE_MS: u64 = 50;

/// Bytes of one page of what is kept, unless its first parcel alone is larger: what one link holds
/// in memory.
pub const PAGE_BYTES_MAX: u64 = 128 * 1024;

/// Items of a page that wait in a link's queue: enough to fill frames, few enough to hold back.
pub const PAGE_AHEAD: usize = 16;

/// STORE_FETCH and STORE_DELETE of one link looked at per second: each costs a verification and a
/// look at the disk.
pub const STORE_ASKS_PER_S: u64 = 200;

/// The same in one burst: all that can be kept for one device at the default.
pub const STORE_ASKS_BURST: u64 = 1_024;

/// Kept parcels of one link that are received and not yet committed: two pages.
pub const COLLECT_UNDER_WAY_MAX: usize = 128;

/// Committed parcels of one link that wait to be named in a STORE_DELETE.
pub const COLLECT_SETTLED_MAX: usize = 1_024;

/// Pages asked for in one pass: more than anybody keeps for one device by default; a custodian
/// that never comes to an end is left alone until the next link.
pub const COLLECT_PAGES_MAX: u32 = 4_096;

/// How often the pause after a refused question doubles: from one second to ten minutes.
pub const COLLECT_DOUBLINGS_MAX: u32 = 10;

/// How long an answer to a question is hoped for while nothing of it comes, milliseconds: after
/// that a link is kept for it no longer.
pub const COLLECT_ANSWER_MS: u64 = 60_000;

/// When a pass is repeated because something of it could not be stored, milliseconds.
pub const COLLECT_AGAIN_MS: u64 = 30_000;

/// Members that keep for us called at once.
pub const VISITS_AT_ONCE: usize = 2;

/// Coordinators called on beside them: senders ask one of these first, whichever they are linked
/// to.
pub const VISIT_COORDINATORS_MAX: usize = 64;

/// Whoever comes online to send calls on those that keep for it this much later, milliseconds: once
/// the ladder for what it sends has come to its end.
pub const VISIT_AFTER_MS: u64 = 1_500;

/// How long a call for a visit is waited for before the next one, milliseconds: one that is there
/// answers in a fraction of it.
pub const VISIT_STEP_MS: u64 = 2_000;

/// How often each is called on, milliseconds: sixteen calls to nobody cost some 100 KiB.
pub const VISIT_AGAIN_MS: u64 = 6 * 3_600 * 1_000;

/// One that others say is there is called again no sooner than this, milliseconds.
pub const VISIT_HEARD_MS: u64 = 5 * 60 * 1_000;

/// How often the pause after calls that came to nothing grows fourfold: from half a minute to more
/// than [`VISIT_AGAIN_MS`].
pub const VISIT_DOUBLINGS_MAX: u32 = 5;

/// One whose link was lost, or that was not there, is called again after this long, milliseconds,
/// and as much again at most by chance: it may have had more.
pub const VISIT_LOST_MS: u64 = 30_000;

/// How long a link made for a visit stays, milliseconds.
pub const VISIT_STAY_MS: u64 = 60_000;

/// Members that keep for us we stay linked to: as many as a sender leaves parcels with, beside a
/// coordinator.
pub const VISIT_LINKS: usize = 2;
