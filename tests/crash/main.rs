//! Crashes: what was durable stays, comes once and in order, and nobody is told more than is true,
//! wherever a process ends and whatever its disk does.
//!
//! * In process: real peer managers over the network in memory of `client_core::testing`, each with
//!   the real store on a disk in memory that stops, fails, fills up, or loses what was not synced
//!   (`vfs`, `disk`). A story goes to a failpoint (`points`), ends there, starts again from what is
//!   left, and in the end is held against the databases and the screens (`check`).
//! * Out of process: the built `beeline`, killed at named places and at any moment (`kill`), also
//!   while messages are kept for somebody who is away (`kill_kept`), and while a file is on its way
//!   (`kill_files`).
//!
//! ```sh
//! tests/crash/run                  # all of it, optimized, with the table; --share 5 for 5 %
//! BEELINE_CRASH_SEED=7 BEELINE_CRASH_POINT='C3 in commit of a send' tests/run one_story
//! ```
//! A failure names its point, role and seed; the second line plays it again and tells the story.

mod check;
mod custody;
mod disk;
mod durable;
mod home;
mod kill;
mod kill_files;
mod kill_kept;
mod planted;
mod points;
#[path = "../e2e/process.rs"]
#[allow(dead_code, reason = "`tests/e2e` uses the rest of it")]
mod process;
#[path = "../e2e/shown.rs"]
#[allow(dead_code, reason = "`tests/e2e` uses the rest of it")]
mod shown;
mod story;
mod table;
