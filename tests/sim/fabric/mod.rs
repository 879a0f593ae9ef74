//! The fabric under trouble: whole networks of real peer managers in virtual time, with crashes,
//! dead servers, broken links, wrong clocks and liars, held to a reference model after every step.
//!
//! ```sh
//! tests/sim/run                    # 20,000 schedules, optimized
//! BEELINE_SIM_SEED=7 tests/run one_schedule      # one again, with what was wrong
//! ```

mod custody;
mod hits;
mod liars;
mod model;
mod planted;
mod schedule;
mod servers;
mod watch;

use hits::Hits;
use schedule::run;
use std::sync::atomic::{AtomicU64, Ordering};

/// Schedules of an ordinary test run: about a minute and a half on two cores, not optimized.
const SCHEDULES: u64 = 2_000;

/// A number of the environment.
pub(crate) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// What became of many schedules.
#[derive(Debug, Default)]
struct Summary {
    /// The seeds that failed, and why.
    failed: Vec<(u64, String)>,
    hits: Hits,
    messages: u64,
    events: u64,
}

/// A line of progress comes after so many schedules.
const PROGRESS: u64 = 2_500;

/// Runs `count` schedules from seed `from` on all cores.
fn run_all(from: u64, count: u64) -> Summary {
    let next = AtomicU64::new(from);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let worker = || {
        let mut all = Summary::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= from + count {
                return all;
            }
            let outcome = run(seed);
            all.hits.add(&outcome.hits);
            all.messages += outcome.messages as u64;
            all.events += outcome.events;
            if let Some(why) = outcome.violation {
                say(&format!("seed {seed}: {why}"));
                all.failed.push((seed, why));
            }
            let done = seed - from + 1;
            if done.is_multiple_of(PROGRESS) {
                say(&format!("{done} of {count} schedules"));
            }
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(worker)).collect();
        let mut all = Summary::default();
        for worker in workers {
            let one = worker.join().expect("a schedule panicked");
            all.failed.extend(one.failed);
            all.hits.add(&one.hits);
            all.messages += one.messages;
            all.events += one.events;
        }
        all
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
    let from = number("BEELINE_SIM_FROM").unwrap_or(1);
    let all = run_all(from, count);
    let (messages, events) = (all.messages, all.events);
    say(&format!(
        "{count} schedules, {messages} messages, {events} events"
    ));
    say(&all.hits.table());
    let failed = all.failed;
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
