//! Lines beside moving files: bars on a terminal, lines everywhere else.

use super::fail::Failure;
use super::file_line::RELAYED;
use super::human::one_line;
use super::line::{FileLine, Line};
use super::print::Printer;
use super::tries::Tries;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

/// A bar: name, bar, how much of how much, speed, time left.
const TEMPLATE: &str =
    "{msg:24!} {wide_bar} {bytes:>10}/{total_bytes:<10} {bytes_per_sec:>12} {eta:>4}";

/// Shows lines and moving files.
pub(crate) struct View {
    printer: Printer,
    bars: Option<Bars>,
    /// Files of which it was said that others hand them on.
    relayed: BTreeSet<String>,
    tally: Tally,
    tries: Tries,
}

/// What was shown of files of ours.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// On their way, by their ids; whether others, or the recipient, have what can go ahead.
    pub(crate) open: BTreeMap<String, bool>,
    /// How many arrived.
    pub(crate) sent: u64,
    /// Bytes of those.
    pub(crate) bytes: u64,
    /// How many came to nothing.
    pub(crate) failed: u64,
}

impl Tally {
    fn note(&mut self, line: &Line) {
        if let Line::State(state) = line
            && matches!(state.state.as_str(), "stored" | "delivered")
            && let Some(stored) = self.open.get_mut(&state.id)
        {
            *stored = true;
        }
        let Line::File(file) = line else {
            return;
        };
        if file.direction != "out" {
            return;
        }
        match file.state.as_str() {
            "done" => {
                self.sent += 1;
                self.bytes = self.bytes.saturating_add(file.size);
            }
            "ended" => self.failed += 1,
            _ => {
                self.open.entry(file.id.clone()).or_insert(false);
                return;
            }
        }
        self.open.remove(&file.id);
    }
}

/// The bars of a terminal. They are drawn off the runtime: a terminal may stand still.
#[derive(Clone, Default)]
struct Bars {
    all: MultiProgress,
    by_id: Arc<Mutex<BTreeMap<String, ProgressBar>>>,
}

impl View {
    /// With bars where a person looks at a terminal.
    pub(crate) fn new(printer: Printer) -> Self {
        let watched = std::io::stderr().is_terminal() && std::io::stdout().is_terminal();
        let bars = (watched && !printer.is_json()).then(Bars::default);
        let tally = Tally::default();
        Self {
            printer,
            bars,
            relayed: BTreeSet::new(),
            tally,
            tries: Tries::default(),
        }
    }

    /// What was shown of files of ours.
    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Whether scripts read it.
    pub(crate) fn is_json(&self) -> bool {
        self.printer.is_json()
    }

    /// Shows one line, and once for people where a file goes through others.
    pub(crate) async fn show(&mut self, line: Line) -> Result<(), Failure> {
        if let Line::File(file) = &line
            && self.is_newly_relayed(file)
            && !self.printer.is_json()
        {
            let relayed = FileLine {
                state: RELAYED.to_owned(),
                ..file.clone()
            };
            self.show_one(Line::File(relayed)).await?;
        }
        self.show_one(line).await
    }

    fn is_newly_relayed(&mut self, file: &FileLine) -> bool {
        if file.way.as_deref() == Some("relay") {
            return self.relayed.insert(file.id.clone());
        }
        self.relayed.remove(&file.id);
        false
    }

    async fn show_one(&mut self, line: Line) -> Result<(), Failure> {
        self.tally.note(&line);
        if !self.printer.is_json() && !self.tries.is_news(&line) {
            return Ok(());
        }
        let moving = matches!(&line, Line::File(file) if file.state == "moving");
        let Some(bars) = self.bars.clone() else {
            // Without a terminal nobody watches it move; scripts may.
            if moving && !self.printer.is_json() {
                return Ok(());
            }
            return self.printer.line(&line).await;
        };
        let printer = self.printer;
        let shown = tokio::task::spawn_blocking(move || bars.show(printer, &line));
        match shown.await {
            Ok(shown) => shown.map_err(|error| Failure::output(&error)),
            Err(_) => Err(Failure::new("the output ended early: going down")),
        }
    }
}

impl Bars {
    fn show(&self, printer: Printer, line: &Line) -> std::io::Result<()> {
        let mut by_id = self.by_id.lock().unwrap_or_else(PoisonError::into_inner);
        if let Line::File(file) = line {
            if file.state == "moving" {
                let bar = by_id.entry(file.id.clone());
                let bar = bar.or_insert_with(|| self.all.add(bar_of(file)));
                bar.set_position(file.done.unwrap_or(0));
                return Ok(());
            }
            if let Some(bar) = by_id.remove(&file.id) {
                bar.finish_and_clear();
                self.all.remove(&bar);
            }
        }
        let text = printer.text(line);
        self.all.suspend(|| {
            let mut out = std::io::stdout().lock();
            writeln!(out, "{text}").and_then(|()| out.flush())
        })
    }
}

fn bar_of(file: &FileLine) -> ProgressBar {
    let bar = ProgressBar::new(file.size);
    // The template is a constant; a broken one would give the plain style.
    if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
        bar.set_style(style);
    }
    bar.with_message(one_line(&file.name))
}

#[cfg(test)]
mod tests {
    use super::super::line::StateLine;
    use super::*;

    #[test]
    fn the_template_is_one() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
    }

    #[test]
    fn what_was_shown_is_counted() {
        let mut tally = Tally::default();
        for (id, state) in [
            ("a", "offered"),
            ("b", "offered"),
            ("c", "moving"),
            ("a", "done"),
            ("b", "ended"),
        ] {
            tally.note(&Line::File(FileLine {
                id: id.to_owned(),
                direction: "out".to_owned(),
                state: state.to_owned(),
                size: 9,
                ..FileLine::default()
            }));
        }
        assert_eq!((tally.sent, tally.bytes, tally.failed), (1, 9, 1));
        assert_eq!(tally.open, BTreeMap::from([("c".to_owned(), false)]));
        tally.note(&Line::State(StateLine {
            id: "c".to_owned(),
            state: "stored".to_owned(),
            ..StateLine::default()
        }));
        assert_eq!(tally.open, BTreeMap::from([("c".to_owned(), true)]));
    }

    #[test]
    fn a_bar_comes_and_goes_with_its_file() {
        let bars = Bars::default();
        let file = |state: &str| {
            Line::File(FileLine {
                id: "x".to_owned(),
                state: state.to_owned(),
                size: 9,
                done: Some(3),
                ..FileLine::default()
            })
        };
        let count = || bars.by_id.lock().expect("no panic").len();
        bars.show(Printer::new(false), &file("moving"))
            .expect("shown");
        assert_eq!(count(), 1);
        bars.show(Printer::new(false), &file("done"))
            .expect("shown");
        assert_eq!(count(), 0);
    }
}
