//! What came of it, for people: a line a pair, and what to think of it.

use super::hide::Hide;
use super::kind::direct;
use super::play::{Row, Try};
use super::scenario::Scenario;
use std::time::Duration;

/// The head of the table.
pub(crate) fn head(scenario: &Scenario) -> String {
    let conditions = &scenario.conditions;
    format!(
        "{}: {}\n{:?}, round trip {} ms, loss {} %, MTU {}; {} tries a pair; ms from `send`\n\n\
         {:<38} {:<7} {:>9} {:<18} {:>6} {:>6} {:>6}   {:>7} {:>6} {:>6} {:>6}\n",
        scenario.name,
        scenario.about,
        scenario.ice,
        conditions.rtt.as_millis(),
        conditions.loss * 100.0,
        conditions.mtu,
        scenario.tries,
        "pair",
        "theory",
        "delivered",
        "first path",
        "p50",
        "p95",
        "max",
        "linked",
        "p50",
        "p95",
        "max",
    )
}

/// One line, and below it what went wrong.
pub(crate) fn line(row: &Row) -> String {
    let [one, other] = row.kinds;
    let tries = row.tries.len();
    let firsts: Vec<_> = row
        .tries
        .iter()
        .filter_map(|done| done.first.as_ref())
        .collect();
    let is_direct = direct(one, other) && row.hide != Hide::RelayOnly;
    let theory = match (row.must_link(), is_direct) {
        (true, true) => "direct",
        (true, false) => "TURN",
        (false, _) => "relay",
    };
    let linked: Vec<Duration> = row.tries.iter().filter_map(|done| done.link).collect();
    let must = if row.must_link() {
        format!("{}/{tries}", linked.len())
    } else {
        "-".to_owned()
    };
    let mut text = format!(
        "{:<38} {theory:<7} {:>9} {:<18} {}   {must:>7} {}\n",
        format!("{} + {}", one.name(), other.name()),
        format!("{}/{tries}", firsts.len()),
        paths(firsts.iter().map(|(_, path)| path.as_str()).collect()),
        three(firsts.iter().map(|(took, _)| *took).collect()),
        three(linked),
    );
    for (number, done) in row.tries.iter().enumerate() {
        if let Some(wrong) = &done.wrong {
            text += &format!(
                "    try {number}: {}\n",
                wrong.trim().replace('\n', "\n      ")
            );
        }
    }
    text += &again(row);
    text += &files(row);
    let alone = |side: usize| {
        let missed = row
            .tries
            .iter()
            .filter(|done| !done.coordinator[side])
            .count();
        (missed > 0 && row.kinds[side].has_udp())
            .then(|| format!("    {missed} × no link to the coordinator before, on side {side}\n"))
    };
    text + &alone(0).unwrap_or_default() + &alone(1).unwrap_or_default()
}

/// The files that met no trouble, where there were any.
fn files(row: &Row) -> String {
    let all = row.tries.iter().filter_map(|done| done.file.as_ref());
    let each = |(took, way): &(Duration, String)| {
        let seconds = took.as_secs_f64();
        format!("    a file arrived the same after {seconds:.1} s, {way}\n")
    };
    all.map(each).collect()
}

/// How it went on after trouble, where there was any.
fn again(row: &Row) -> String {
    let all = row.tries.iter();
    let again: Vec<_> = all.filter_map(|done| done.again.as_ref()).collect();
    if again.is_empty() {
        return String::new();
    }
    let back: Vec<Duration> = row.tries.iter().filter_map(|done| done.back).collect();
    format!(
        "    after it: delivered {}, {}, p50/p95/max {}; directly again {}, {}\n",
        again.len(),
        paths(again.iter().map(|(_, path)| path.as_str()).collect()),
        three(again.iter().map(|(took, _)| *took).collect()),
        back.len(),
        three(back.clone()),
    )
}

/// The steps of the median try, each with its time.
pub(crate) fn steps(row: &Row) -> String {
    let mut delivered: Vec<&Try> = row
        .tries
        .iter()
        .filter(|done| done.first.is_some())
        .collect();
    delivered.sort_by_key(|done| done.first.as_ref().map(|(took, _)| *took));
    let Some(median) = delivered.get(delivered.len() / 2) else {
        return String::new();
    };
    let mut text = String::from("    the median one:");
    let mut last = Duration::ZERO;
    for step in &median.steps {
        let share = step.at.saturating_sub(last).as_millis();
        text += &format!(" {} {} +{share}", step.state, step.how);
        last = step.at;
    }
    if let Some(link) = median.link {
        text += &format!("; link at {}", link.as_millis());
    }
    text + "\n"
}

fn paths(mut names: Vec<&str>) -> String {
    names.sort_unstable();
    let mut told = Vec::new();
    for same in names.chunk_by(|one, other| one == other) {
        told.push(format!("{} {}", same[0], same.len()));
    }
    told.join(", ")
}

/// Median, 95th percentile and maximum, milliseconds.
fn three(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |share: usize| {
        let rank = (times.len() * share).div_ceil(100).max(1) - 1;
        times
            .get(rank)
            .map_or_else(|| "-".to_owned(), |time| time.as_millis().to_string())
    };
    format!("{:>6} {:>6} {:>6}", at(50), at(95), at(100))
}

/// The last line; whether all is well.
pub(crate) fn verdict(rows: &[Row], took: Duration) -> (String, bool) {
    let tries: usize = rows.iter().map(|row| row.tries.len()).sum();
    let bad = |row: &&Row| row.tries.iter().any(|done| done.wrong.is_some());
    let bad: Vec<String> = rows
        .iter()
        .filter(bad)
        .map(|row| format!("{} + {}", row.kinds[0].name(), row.kinds[1].name()))
        .collect();
    let text = format!(
        "\n{} pairs, {tries} tries in {} s: {}\n",
        rows.len(),
        took.as_secs(),
        if bad.is_empty() {
            "all as they must be".to_owned()
        } else {
            format!("wrong: {}", bad.join("; "))
        },
    );
    (text, bad.is_empty())
}
