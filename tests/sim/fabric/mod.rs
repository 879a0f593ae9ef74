//! The fabric under trouble: whole networks of real peer managers in virtual time, with crashes,
//! dead servers, broken links, wrong clocks and liars, held to a reference model after every step.
//!
//! ```sh
//! tests/sim/run                    # 20,000 schedules, optimized
//! BEELINE_SIM_SEED=7 tests/run one_schedule      # one again, with what was wrong
//! ```

mod liars;
mod model;
mod planted;
mod schedule;
mod servers;
mod watch;

use schedule::run;
use std::sync::atomic::{AtomicU64, Ordering};

/// Schedules of an ordinary test run: about a minute and a half on two cores, not optimized.
const SCHEDULES: u64 = 2_000;

/// A number of the environment.
pub(crate) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs `count` schedules from seed 1 on all cores; the seeds that failed, and why.
fn run_all(count: u64) -> Vec<(u64, String)> {
    let next = AtomicU64::new(1);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let worker = || {
            let mut failed = Vec::new();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed > count {
                    return failed;
                }
                if let Some(why) = run(seed).violation {
                    failed.push((seed, why));
                }
            }
        };
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(worker)).collect();
        let ended = workers.into_iter().map(|worker| worker.join());
        ended
            .flat_map(|failed| failed.expect("a schedule panicked"))
            .collect()
    })
}

/// The harness shows it for a test that fails, or with `--nocapture`.
#[expect(
    clippy::print_stdout,
    reason = "figures and seeds are what some tests are run for"
)]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// The first of those that failed.
fn told(failed: &[(u64, String)]) -> String {
    let lines = failed.iter().take(40);
    let lines = lines.map(|(seed, why)| format!("  {seed}: {why}\n"));
    lines.collect()
}

#[test]
fn schedules_come_right() {
    let count = number("BEELINE_SIM_SCHEDULES").unwrap_or(SCHEDULES);
    let failed = run_all(count);
    assert!(
        failed.is_empty(),
        "{} of {count} schedules failed; one again: BEELINE_SIM_SEED=n\n{}",
        failed.len(),
        told(&failed)
    );
}

#[test]
fn one_schedule_of_a_seed() {
    let seed = number("BEELINE_SIM_SEED").unwrap_or(1);
    let outcome = run(seed);
    assert_eq!(outcome.violation, None, "seed {seed}:\n{}", outcome.story);
    assert!(outcome.messages > 0 && outcome.events > 0);
}

#[test]
fn a_seed_decides_everything() {
    let count = number("BEELINE_SIM_TWICE").unwrap_or(20);
    for seed in 1..=count {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}
