//! Where output goes: `--json` one object a line, people plain text with colour on a terminal only.
//! Every line is flushed before the call returns. Logs and errors go to stderr.

use super::fail::Failure;
use super::human::{Style, render};
use super::line::Line;
use super::tries::Tries;
use std::io::{self, IsTerminal as _, Write as _};

/// Prints lines. Cheap to clone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Printer {
    json: bool,
    style: Style,
}

impl Printer {
    /// Colour when stdout is a terminal and `NO_COLOR` is unset or empty (no-color.org).
    pub(crate) fn new(json: bool) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let color = !json && !refused && io::stdout().is_terminal();
        Self {
            json,
            style: Style { color },
        }
    }

    /// Prints one line and flushes. A reader that does not read holds up a blocking thread, never
    /// the runtime.
    pub(crate) async fn line(self, line: &Line) -> Result<(), Failure> {
        let text = if self.json {
            line.to_json()
        } else {
            render(line, self.style)
        };
        write(text).await
    }

    /// Prints a line that came as JSON from the owner of the home.
    pub(crate) async fn json(self, json: String) -> Result<(), Failure> {
        match self.json {
            true => write(json).await,
            false => self.line(&read(&json)?).await,
        }
    }

    /// Prints a line about a message, unless a person has read it.
    pub(crate) async fn news(self, line: &Line, tries: &mut Tries) -> Result<(), Failure> {
        match self.json || tries.is_news(line) {
            true => self.line(line).await,
            false => Ok(()),
        }
    }

    /// The same with a line that came as JSON from the owner of the home.
    pub(crate) async fn news_json(self, json: String, tries: &mut Tries) -> Result<(), Failure> {
        match self.json {
            true => write(json).await,
            false => self.news(&read(&json)?, tries).await,
        }
    }

    /// Tells why a command failed: on stderr, and as an event where events are wanted.
    pub(crate) fn failure(self, failure: &Failure) {
        if failure.message.is_empty() {
            return;
        }
        if self.json {
            let line = Line::Error {
                code: failure.code.map(|code| code.name().to_owned()),
                message: failure.message.clone(),
            };
            let mut out = io::stdout().lock();
            // Nobody is left to tell when this fails.
            let _ = writeln!(out, "{}", line.to_json()).and_then(|()| out.flush());
        }
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let style = Style {
            color: !refused && io::stderr().is_terminal(),
        };
        let mut err = io::stderr().lock();
        let _ = writeln!(err, "{} {}", style.bad("error:"), failure.message);
    }

    /// Tells something a person should know: on stderr.
    pub(crate) fn notice(self, text: &str) {
        let _ = writeln!(io::stderr().lock(), "{text}");
    }
}

fn read(json: &str) -> Result<Line, Failure> {
    serde_json::from_str(json).map_err(|_| {
        Failure::new("the running beeline speaks another version: restart it, then try again")
    })
}

async fn write(mut text: String) -> Result<(), Failure> {
    text.push('\n');
    let written = tokio::task::spawn_blocking(move || {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush())
    });
    match written.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Failure::output(&error)),
        Err(_) => Err(Failure::new(
            "the output ended early: the process is going down",
        )),
    }
}
