//! Samples, ratios and the table they are printed in; the clock of this process.

use std::time::{Duration, Instant};

/// Prints a line for people.
#[expect(clippy::print_stdout, reason = "a benchmark's output is its product")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// Reads the clock.
#[expect(clippy::disallowed_methods, reason = "benchmarks measure time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Runs `work` and returns how long it took.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let start = now();
    let value = work();
    (start.elapsed(), value)
}

/// Lets time pass where nothing can be waited for: between looks at another process.
#[expect(
    clippy::disallowed_methods,
    reason = "no runtime runs on the thread that asks"
)]
pub(crate) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// An error as the text it is reported with.
pub(crate) fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// One figure of several rounds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(pub(crate) Vec<f64>);

impl Samples {
    /// Smallest, middle and largest.
    pub(crate) fn spread(&self) -> (f64, f64, f64) {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |i: usize| sorted.get(i).copied().unwrap_or(f64::NAN);
        (
            at(0),
            at(sorted.len() / 2),
            at(sorted.len().saturating_sub(1)),
        )
    }

    /// The value below which `share` (0 to 1) of the samples lie.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1);
        let at = (share * last as f64).round() as usize;
        sorted.get(at.min(last)).copied().unwrap_or(f64::NAN)
    }

    /// Round by round, divided by another's.
    pub(crate) fn over(&self, ceiling: &Self) -> Self {
        Self(self.0.iter().zip(&ceiling.0).map(|(a, b)| a / b).collect())
    }
}

impl std::fmt::Display for Samples {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (min, median, max) = self.spread();
        let digits = if median.abs() >= 100.0 { 0 } else { 2 };
        write!(f, "{min:.digits$} / {median:.digits$} / {max:.digits$}")
    }
}

/// What a row's ratio should be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
    /// No goal: reported for what it tells.
    Told,
}

struct Row {
    name: String,
    unit: &'static str,
    ours: Samples,
    ceiling: Option<(String, Samples)>,
    goal: Goal,
}

/// The rows measured so far.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
    broken: Vec<String>,
}

impl Report {
    /// Adds a figure beside its ceiling.
    pub(crate) fn ratio(
        &mut self,
        name: &str,
        unit: &'static str,
        ours: Samples,
        (ceiling_name, ceiling): (&str, Samples),
        goal: Goal,
    ) {
        let row = Row {
            name: name.into(),
            unit,
            ours,
            ceiling: Some((ceiling_name.into(), ceiling)),
            goal,
        };
        say(&row.to_string());
        self.rows.push(row);
    }

    /// Adds a figure without a ceiling; its goal, if any, is absolute.
    pub(crate) fn plain(&mut self, name: &str, unit: &'static str, ours: Samples, goal: Goal) {
        let row = Row {
            name: name.into(),
            unit,
            ours,
            ceiling: None,
            goal,
        };
        say(&row.to_string());
        self.rows.push(row);
    }

    /// Notes that a part could not be measured.
    pub(crate) fn broken(&mut self, part: &str, why: &str) {
        say(&format!("{part} could not be measured: {why}"));
        self.broken.push(format!("{part}: {why}"));
    }

    /// Whether a part could not be measured.
    pub(crate) fn is_broken(&self) -> bool {
        !self.broken.is_empty()
    }

    /// Prints all rows once more, together.
    pub(crate) fn print(&self) {
        say("\n# all figures (min / median / max)");
        for row in &self.rows {
            say(&row.to_string());
        }
        for broken in &self.broken {
            say(&format!("NOT MEASURED {broken}"));
        }
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:<44} {:>26} {:<9}",
            self.name,
            self.ours.to_string(),
            self.unit
        )?;
        let judged = match &self.ceiling {
            Some((name, ceiling)) => {
                let ratio = self.ours.over(ceiling);
                write!(f, " | {name}: {ceiling} | ratio {ratio}")?;
                ratio
            }
            None => self.ours.clone(),
        };
        let (_, median, _) = judged.spread();
        match self.goal {
            Goal::AtMost(goal) => write!(f, " | goal ≤ {goal} {}", verdict(median <= goal)),
            Goal::AtLeast(goal) => write!(f, " | goal ≥ {goal} {}", verdict(median >= goal)),
            Goal::Told => Ok(()),
        }
    }
}

fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "NOT MET" }
}
