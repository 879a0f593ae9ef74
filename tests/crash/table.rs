//! Many stories, and the table of what came of them.

use super::home::{Planted, Wrong};
use super::points::{CUSTODY, POINTS, Place, Point, Role, Setting};
use super::story::{Outcome, Power, run};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Crashes at failpoints in the whole run.
const CRASHES: u64 = 13_500;

/// Torn images in the whole run.
const IMAGES: u64 = 5_000;

/// The share of an ordinary test run, percent.
const SHARE: u64 = 1;

/// Stories a crash may take at most: some places are not passed in every story.
const STORIES_PER_CRASH: u64 = 4;

/// A number of the environment.
pub(crate) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The harness shows it for a test that fails, or with `--nocapture`.
#[expect(
    clippy::print_stdout,
    reason = "the table and the seeds are what the whole run is for"
)]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// So many of `whole`, at least `least`.
pub(crate) fn share_of(whole: u64, least: u64) -> u64 {
    let percent = number("BEELINE_CRASH_SHARE").unwrap_or(SHARE).min(100);
    (whole * percent / 100).max(least)
}

/// One line of the table.
#[derive(Debug, Default)]
pub(crate) struct Row {
    stories: u64,
    fired: u64,
    messages: u64,
    wrong: Vec<(u64, Wrong, String)>,
}

impl Row {
    fn add(&mut self, seed: u64, outcome: Outcome) {
        self.stories += 1;
        self.fired += outcome.fired;
        self.messages += outcome.messages;
        let wrong = outcome.wrong.into_iter();
        self.wrong
            .extend(wrong.map(|(class, what)| (seed, class, what)));
    }

    fn count(&self, class: Wrong) -> usize {
        self.wrong.iter().filter(|(_, of, _)| *of == class).count()
    }

    fn line(&self, name: &str, role: &str, ms: u128) -> String {
        let [lost, doubled, misordered, ahead, integrity] = [
            Wrong::Lost,
            Wrong::Doubled,
            Wrong::Misordered,
            Wrong::Ahead,
            Wrong::Integrity,
        ]
        .map(|class| self.count(class));
        let each = ms as f64 / self.fired.max(1) as f64;
        format!(
            "{name:<34} {role:<9} {:>6} {:>6} {:>7} {lost:>5} {doubled:>5} {misordered:>5} \
             {ahead:>5} {integrity:>5} {each:>7.1}",
            self.stories, self.fired, self.messages
        )
    }
}

/// The table's head.
fn head() -> String {
    format!(
        "{:<34} {:<9} {:>6} {:>6} {:>7} {:>5} {:>5} {:>5} {:>5} {:>5} {:>7}",
        "point",
        "role",
        "runs",
        "crash",
        "message",
        "lost",
        "twice",
        "order",
        "ahead",
        "damag",
        "ms"
    )
}

/// Runs stories at a point on all cores until it fired often enough.
fn fill(point: &Point, power: Power, quota: u64, first_seed: u64) -> Row {
    let (next, fired) = (AtomicU64::new(0), AtomicU64::new(0));
    let row = Mutex::new(Row::default());
    let work = || {
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            let enough = fired.load(Ordering::Relaxed) >= quota;
            if enough || n >= quota * STORIES_PER_CRASH {
                return;
            }
            let seed = first_seed + n;
            let outcome = match point.setting {
                Setting::Custody => super::custody::run(seed, point),
                _ => run(seed, point, power, Planted::default()),
            };
            fired.fetch_add(outcome.fired, Ordering::Relaxed);
            row.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .add(seed, outcome);
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(work);
        }
    });
    row.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the table says what a crash costs; nothing depends on it"
)]
fn now() -> Instant {
    Instant::now()
}

/// A line of the table, and what was wrong.
fn line_of(point: &Point, power: Power, quota: u64, first_seed: u64) -> (u64, Vec<String>) {
    let before = now();
    let row = fill(point, power, quota, first_seed);
    let ms = now().duration_since(before).as_millis();
    say(&row.line(point.name, point.role.name(), ms));
    let mut wrong: Vec<String> = row
        .wrong
        .iter()
        .take(5)
        .map(|(seed, class, what)| {
            let (name, role) = (point.name, point.role.name());
            format!("{class:?} at '{name}' of the {role}, seed {seed}: {what}")
        })
        .collect();
    if row.fired < quota {
        wrong.push(format!(
            "'{}' of the {} was reached {} times in {} stories, {quota} are wanted",
            point.name,
            point.role.name(),
            row.fired,
            row.stories
        ));
    }
    (row.fired, wrong)
}

#[test]
fn crashes_at_every_failpoint() {
    let quota = share_of(CRASHES, 1).div_ceil((POINTS.len() + CUSTODY.len()) as u64);
    say(&head());
    let mut wrong = Vec::new();
    let mut crashes = 0;
    for point in POINTS.iter().chain(CUSTODY) {
        let (fired, what) = line_of(point, Power::Sometimes, quota, 1);
        crashes += fired;
        wrong.extend(what);
    }
    say(&format!(
        "{crashes} crashes at {} failpoints",
        POINTS.len() + CUSTODY.len()
    ));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn torn_images_after_a_power_loss() {
    say(&head());
    let mut wrong = Vec::new();
    for role in [Role::Sender, Role::Recipient] {
        let point = Point {
            name: "power loss, torn image",
            role,
            place: Place::AnyCall,
            setting: Setting::Talk,
        };
        wrong.extend(line_of(&point, Power::Always, share_of(IMAGES / 2, 20), 1_000_000).1);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn one_story_of_a_seed() {
    let seed = number("BEELINE_CRASH_SEED").unwrap_or(1);
    let name = std::env::var("BEELINE_CRASH_POINT").unwrap_or_default();
    let role = std::env::var("BEELINE_CRASH_ROLE").unwrap_or_default();
    let power = match number("BEELINE_CRASH_POWER") {
        Some(1) => Power::Always,
        _ => Power::Sometimes,
    };
    let fits =
        |point: &&Point| point.name == name && (role.is_empty() || point.role.name() == role);
    let all = || POINTS.iter().chain(CUSTODY);
    let point = all().find(fits).unwrap_or(&POINTS[0]);
    let play = || match point.setting {
        Setting::Custody => super::custody::run(seed, point),
        _ => run(seed, point, power, Planted::default()),
    };
    let outcome = play();
    let story = outcome.story.join("\n");
    say(&story);
    assert!(outcome.wrong.is_empty(), "{:?}", outcome.wrong);
    let again = play();
    assert_eq!(again.story.join("\n"), story, "a seed decides everything");
}
