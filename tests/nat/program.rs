//! A program in a namespace that prints a JSON object a line: started, read, told things, ended.
//! What goes wrong is an error to print beside the others, for one bad try must not end a matrix.

use beeline_tests::netns::Netns;
use serde_json::Value;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Only a hang takes this long, even on a loaded machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// The last of what a program said to people, bytes, in an error.
const TAIL: usize = 2_000;

/// What went wrong, for people.
pub(crate) type Wrong = String;

/// A running program.
pub(crate) struct Program {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Option<Lines<BufReader<ChildStdout>>>,
    errors: PathBuf,
    /// Reads on where nobody else does.
    drain: JoinSet<()>,
}

impl Program {
    /// Starts one in a namespace; what it says to people goes to `dir`. It dies with the value.
    pub(crate) fn start(
        space: &Netns,
        name: &str,
        dir: &Path,
        program: impl AsRef<OsStr>,
        args: &[&str],
    ) -> Result<Self, Wrong> {
        let told = |error: std::io::Error| format!("{name}: {error}");
        let errors = dir.join(format!("{name}.log"));
        let file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(&errors);
        let mut command = Command::from(space.command(program));
        command
            .args(args)
            .env_remove("BEELINE_HOME")
            .kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(Stdio::from(file.map_err(told)?));
        let mut child = command.spawn().map_err(told)?;
        let stdout = child.stdout.take().ok_or("no output")?;
        Ok(Self {
            name: name.to_owned(),
            stdin: child.stdin.take(),
            child,
            lines: Some(BufReader::new(stdout).lines()),
            errors,
            drain: JoinSet::new(),
        })
    }

    /// The next line of any form.
    pub(crate) async fn line(&mut self) -> Result<String, Wrong> {
        let lines = self.lines.as_mut().ok_or("its output is drained")?;
        match timeout(DEADLINE, lines.next_line()).await {
            Ok(Ok(Some(line))) => Ok(line),
            Ok(Ok(None)) => Err(self.wrong("it ended")),
            Ok(Err(error)) => Err(self.wrong(&error.to_string())),
            Err(_) => Err(self.wrong("it says nothing")),
        }
    }

    /// Reads on until the line of an event.
    pub(crate) async fn event(&mut self, event: &str) -> Result<Value, Wrong> {
        loop {
            let line = self.line().await?;
            let line: Value = serde_json::from_str(&line)
                .map_err(|error| self.wrong(&format!("{error} in {line:?}")))?;
            if line["event"] == event {
                return Ok(line);
            }
            if line["event"] == "error" {
                return Err(self.wrong(&line.to_string()));
            }
        }
    }

    /// Reads on until one of two events; whether it is the first.
    pub(crate) async fn either(&mut self, yes: &str, no: &str) -> Result<bool, Wrong> {
        loop {
            let line = self.line().await?;
            let line: Value = serde_json::from_str(&line).map_err(|error| error.to_string())?;
            if line["event"] == yes || line["event"] == no {
                return Ok(line["event"] == yes);
            }
        }
    }

    /// From now on nobody looks at its output, and it can go on printing.
    pub(crate) fn drain(&mut self) {
        if let Some(mut lines) = self.lines.take() {
            self.drain
                .spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        }
    }

    /// Says a line to it.
    pub(crate) async fn say(&mut self, line: &str) -> Result<(), Wrong> {
        let stdin = self.stdin.as_mut().ok_or("its input is closed")?;
        let wrote = stdin.write_all(format!("{line}\n").as_bytes()).await;
        wrote.map_err(|error| format!("{}: {error}", self.name))
    }

    /// Ends it as an operator does; whether it went well.
    pub(crate) async fn end(mut self) -> Result<(), Wrong> {
        drop(self.stdin.take());
        if let Some(pid) = self.child.id() {
            let kill = Command::new("kill")
                .args(["-TERM", &pid.to_string()])
                .status()
                .await;
            kill.map_err(|error| format!("kill: {error}"))?;
        }
        match timeout(DEADLINE, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(self.wrong(&format!("it ended with {status}"))),
            Ok(Err(error)) => Err(self.wrong(&error.to_string())),
            Err(_) => Err(self.wrong("it does not end")),
        }
    }

    /// Reads on until its end; whether it went well.
    pub(crate) async fn done(mut self) -> Result<(), Wrong> {
        self.drain();
        match timeout(DEADLINE, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            _ => Err(self.wrong("it failed")),
        }
    }

    /// `kill -9`.
    pub(crate) async fn kill_now(&mut self) -> Result<(), Wrong> {
        self.child
            .kill()
            .await
            .map_err(|error| format!("{}: {error}", self.name))
    }

    fn wrong(&self, what: &str) -> Wrong {
        let text = std::fs::read(&self.errors).unwrap_or_default();
        let tail = String::from_utf8_lossy(&text[text.len().saturating_sub(TAIL)..]).into_owned();
        format!("{}: {what}\n{tail}", self.name)
    }
}

/// The binary under test: named by the environment, else beside this one.
pub(crate) fn binary(variable: &str, name: &str) -> Result<PathBuf, Wrong> {
    let beside = || {
        let here = std::env::current_exe().ok()?;
        let mut places = here.ancestors().skip(1).take(2);
        // Tests are one directory below the programs.
        places.find_map(|dir| Some(dir.join(name)).filter(|path| path.is_file()))
    };
    let path = std::env::var_os(variable)
        .map(PathBuf::from)
        .or_else(beside);
    path.filter(|path| path.is_file())
        .ok_or_else(|| format!("{name} is missing: cargo build --bins, or tests/nat/run"))
}
