//! The simulator can fail: each planted bug of `client-core` is caught by a schedule whose seed is
//! known, and the binary that people get has none of them.
//!
//! ```sh
//! BEELINE_SIM_HUNT=3000 tests/run planted_bugs   # look for seeds anew, after a change of the core
//! BEELINE_SIM_BUG=21                             # from the bug of this number on
//! ```

use super::schedule::run;
use super::{number, say};
use client_core::planted::{BUGS, Bug, switch_on};
use std::process::Command;

/// The seed of a schedule that catches each bug.
const CAUGHT_BY: &[(Bug, u64)] = &[
    (Bug::AckBeforeCommit, 1),
    (Bug::DuplicateNotAcked, 13),
    (Bug::DuplicateShown, 2),
    (Bug::HashUnchecked, 59),
    (Bug::AckOnlyDirect, 6),
    (Bug::RelayedButDropped, 6),
    (Bug::RelayedTwice, 2),
    (Bug::NoRouteIgnored, 250),
    (Bug::RelayNeverDoubted, 52),
    (Bug::FoundUnasked, 16),
    (Bug::FoundStopsLadder, 52),
    (Bug::QueryPassedOn, 1),
    (Bug::UnlistedNamed, 13),
    (Bug::StaleSealKey, 1),
    (Bug::RetryNotArmed, 14),
    (Bug::SentBeforeCommit, 11),
    (Bug::SealStuck, 574),
    (Bug::FailedWriteForgotten, 33),
    (Bug::OrderByArrival, 5),
    (Bug::CapIgnored, 2),
    (Bug::StateGoesBack, 6),
    (Bug::ReceiptBeforeCommit, 3),
    (Bug::EvictedWhenFull, 23),
    (Bug::KeptToAnybody, 3),
    (Bug::DeletedBeforeCommit, 5),
    (Bug::KeptNotFetched, 13),
    (Bug::StoredFromOneReceipt, 15),
    (Bug::SilentWithoutKey, 1),
    (Bug::DuplicatesForgotten, 45),
    (Bug::WallClockExpires, 41),
    (Bug::CountsOn, 237),
];

/// What a schedule says with a bug switched on.
fn caught(bug: Bug, seed: u64) -> Option<String> {
    switch_on(Some(bug));
    let outcome = std::panic::catch_unwind(|| run(seed).violation);
    switch_on(None);
    outcome.unwrap_or_else(|_| Some("an assertion of the world".to_owned()))
}

#[test]
fn planted_bugs_are_caught() {
    let hunt = number("BEELINE_SIM_HUNT").unwrap_or(0);
    let first = number("BEELINE_SIM_BUG").unwrap_or(0);
    let mut missed = Vec::new();
    for bug in BUGS.iter().skip(first as usize) {
        let known = CAUGHT_BY.iter().find(|(of, _)| of == bug);
        let seeds = known.map(|(_, seed)| *seed).into_iter().chain(1..=hunt);
        let found = seeds.filter_map(|seed| Some((seed, caught(*bug, seed)?)));
        match { found }.next() {
            Some((seed, why)) => say(&format!("    (Bug::{bug:?}, {seed}), // {why}")),
            None => missed.push(*bug),
        }
    }
    assert_eq!(
        missed,
        [],
        "not caught; look for seeds with BEELINE_SIM_HUNT"
    );
}

#[test]
fn planted_bugs_are_not_in_what_people_get() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    for package in ["beeline", "beeline-registry", "beeline-gateway"] {
        let tree = Command::new(&cargo)
            .args(["tree", "--locked", "--offline", "-p", package])
            .args(["-e", "features,no-dev", "--prefix", "none"])
            .output()
            .expect("cargo tree runs");
        let tree = String::from_utf8_lossy(&tree.stdout).into_owned();
        assert!(tree.contains(package), "{tree}");
        for line in [
            "client-core feature \"planted\"",
            "client-core feature \"testing\"",
            "beeline feature \"testing\"",
            "beeline-vfs ",
        ] {
            assert!(!tree.contains(line), "{package} has {line}");
        }
    }
}
