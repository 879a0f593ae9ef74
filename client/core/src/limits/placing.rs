//! Bounds of leaving copies with custodians, each with its reason.

/// Custodians wanted for each device: two may lie or die.
pub const CUSTODIANS_WANTED: usize = 3;

/// Custodians whose standing is remembered; those of no interest longest are forgotten.
pub const CUSTODIANS_REMEMBERED_MAX: usize = 256;

/// Pairs of custodian and recipient device remembered as having no room.
pub const CUSTODIAN_PAIRS_MAX: usize = 1_024;

/// Custodians dialled at once beside those that are linked: two for one recipient, twice.
pub const CUSTODIAN_DIALS_MAX: usize = 4;

/// How long a custodian being dialled is waited for before the next one is asked, milliseconds.
pub const CUSTODIAN_DIAL_MS: u64 = 5_000;

/// How long a link made only to leave parcels is kept, milliseconds: what comes next goes over it
/// as well.
pub const CUSTODIAN_LINK_MS: u64 = 60_000;

/// First pause before a custodian is tried again that refused or was not there, milliseconds.
pub const CUSTODIAN_PAUSE_MS_MIN: u64 = 30_000;

/// Longest such pause, milliseconds.
pub const CUSTODIAN_PAUSE_MS_MAX: u64 = 60 * 60 * 1_000;

/// How long a receipt is waited for, milliseconds: three slow satellite hops and a slow disk.
pub const DEPOSIT_MS: u64 = 15_000;

/// Parcels left with one custodian and not answered.
pub const DEPOSIT_WINDOW: usize = 64;

/// Messages of one user looked at that wait for custodians: more than all windows hold.
pub const PLACE_OPEN_MAX: usize = 4 * DEPOSIT_WINDOW;

/// Looks at what changed with one input: links that one look ends are seen by the next.
pub const PLACE_ROUNDS_MAX: usize = 2;

/// Least pause between two looks at what a user's custodians keep, milliseconds.
pub const PLACE_AGAIN_MS_MIN: u64 = 200;

/// A promise shorter than this is none, seconds: it would end before it is asked for again.
pub const CUSTODY_PROMISE_S_MIN: u32 = 3_600;

/// How often custodians are asked whether they still keep a parcel, milliseconds.
pub const RECHECK_MS: u64 = 6 * 60 * 60 * 1_000;

/// How much that varies, milliseconds, so that not everybody asks at once.
pub const RECHECK_JITTER_MS: u64 = 60 * 60 * 1_000;

/// Least time until a custodian is asked again, milliseconds.
pub const RECHECK_MS_MIN: u64 = 10 * 60 * 1_000;

/// What is due within this time is asked with what is due now, milliseconds.
pub const RECHECK_SLACK_MS: u64 = 5 * 60 * 1_000;

/// A custodian that did not answer is asked again after this long, milliseconds.
pub const RECHECK_RETRY_MS: u64 = 30 * 60 * 1_000;

/// How often; after that another one takes its place.
pub const RECHECK_TRIES_MAX: u32 = 12;
