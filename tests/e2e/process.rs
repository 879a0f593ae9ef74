//! Real processes: start a binary, read its lines as they come, end it gently or not at all.
//! Every wait is for a line or an end, under one deadline that only a hang reaches.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Only a hang takes this long, even on a loaded machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(90);

/// The binary under test: named by the environment, else beside the test's own.
pub(crate) fn binary(variable: &str, name: &str) -> PathBuf {
    let path = std::env::var_os(variable).map_or_else(
        || {
            let exe = std::env::current_exe().expect("a test knows its own path");
            let profile = exe
                .ancestors()
                .nth(2)
                .expect("target/<profile>/deps/<test>");
            profile.join(name)
        },
        PathBuf::from,
    );
    assert!(
        path.is_file(),
        "{} is missing: run tests/run, or cargo build --bins",
        path.display()
    );
    path
}

/// A `beeline` command line, with `--json` and no settings of whoever runs the test.
pub(crate) fn beeline(args: &[&str]) -> Command {
    let mut command = Command::new(binary("BEELINE_BIN", "beeline"));
    command.env_remove("BEELINE_HOME").arg("--json").args(args);
    command
}

/// A command line of one of the packages in Python beside this file.
pub(crate) fn python(package: &str, args: &[&str]) -> Command {
    let python = std::env::var_os("BEELINE_TEST_PYTHON")
        .expect("BEELINE_TEST_PYTHON names a Python: run tests/run, which makes one");
    let mut command = Command::new(python);
    command
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .args(["-m", package])
        .args(args);
    command
}

/// A device's home, gone with the value.
pub(crate) struct Home {
    path: PathBuf,
    _dir: TempDir,
}

impl Home {
    /// One that is not there yet.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("home");
        Self { path, _dir: dir }
    }

    /// A home that has joined.
    pub(crate) async fn joined(invite: &str, user: &str, more: &[&str]) -> Self {
        let home = Self::new();
        let mut args = vec!["join", invite, "--user", user];
        args.extend_from_slice(more);
        let done = home.run(&args).await;
        done.expect_code(0);
        assert_eq!(done.only("joined")["user"], user, "{done}");
        home
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A command in this home.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = beeline(&[]);
        command.arg("--home").arg(self.path()).args(args);
        command
    }

    /// Runs a command in this home to its end.
    pub(crate) async fn run(&self, args: &[&str]) -> Done {
        run(self.command(args)).await
    }

    /// Starts a command in this home.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        Running::start(self.command(args))
    }

    /// Starts `listen` and waits until it can be reached.
    pub(crate) async fn listening(&self, args: &[&str]) -> Running {
        let mut listen = self.start(&[&["listen"], args].concat());
        listen.event("online").await;
        listen
    }
}

/// How a command ended.
pub(crate) struct Done {
    code: Option<i32>,
    lines: Vec<Value>,
    stderr: String,
}

impl Done {
    /// Fails unless the command ended with this exit code.
    pub(crate) fn expect_code(&self, code: i32) {
        assert_eq!(self.code, Some(code), "{self}");
    }

    /// Whether a signal ended it.
    pub(crate) fn was_killed(&self) -> bool {
        self.code.is_none()
    }

    /// The lines of one event.
    pub(crate) fn all(&self, event: &str) -> Vec<&Value> {
        let of = |line: &&Value| line["event"] == event;
        self.lines.iter().filter(of).collect()
    }

    /// Whether it printed nothing at all.
    pub(crate) fn is_silent(&self) -> bool {
        self.lines.is_empty() && self.stderr.is_empty()
    }

    /// The one line of an event.
    pub(crate) fn only(&self, event: &str) -> &Value {
        let all = self.all(event);
        assert_eq!(all.len(), 1, "one line of {event}: {self}");
        all[0]
    }

    /// The states a message went through, in order, each once.
    pub(crate) fn states(&self) -> Vec<&str> {
        let states = self.all("state").into_iter();
        let mut names: Vec<&str> = states.filter_map(|line| line["state"].as_str()).collect();
        names.dedup();
        names
    }

    /// What it said to people.
    pub(crate) fn stderr(&self) -> &str {
        &self.stderr
    }
}

impl std::fmt::Display for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.was_killed() {
            true => writeln!(f, "killed")?,
            false => writeln!(f, "exit code {:?}", self.code)?,
        }
        for line in &self.lines {
            writeln!(f, "  {line}")?;
        }
        write!(f, "{}", self.stderr)
    }
}

/// Runs a command to its end.
pub(crate) async fn run(command: Command) -> Done {
    Running::start(command).end().await
}

/// Runs a command to its end with something on its standard input.
pub(crate) async fn run_with_input(mut command: Command, input: &[u8]) -> Done {
    command.stdin(Stdio::piped());
    let mut running = Running::start(command);
    let mut stdin = running.child.stdin.take().expect("stdin is piped");
    // A command may refuse before it has read everything.
    let _ = stdin.write_all(input).await;
    drop(stdin);
    running.end().await
}

/// A process that runs.
pub(crate) struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    seen: Vec<Value>,
    stderr: Arc<Mutex<String>>,
    reader: JoinSet<()>,
}

impl Running {
    /// Starts it; it dies with the value.
    pub(crate) fn start(mut command: Command) -> Self {
        command
            .kill_on_drop(true)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let stdout = child.stdout.take().expect("stdout is piped");
        let mut from = child.stderr.take().expect("stderr is piped");
        let stderr = Arc::new(Mutex::new(String::new()));
        let into = Arc::clone(&stderr);
        let mut reader = JoinSet::new();
        reader.spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut buffer).await {
                let text = String::from_utf8_lossy(&buffer[..count]);
                into.lock().expect("nobody panics here").push_str(&text);
            }
        });
        Self {
            child,
            lines: BufReader::new(stdout).lines(),
            seen: Vec::new(),
            stderr,
            reader,
        }
    }

    /// Starts it with somebody at its standard input.
    pub(crate) fn typed(mut command: Command) -> (Self, ChildStdin) {
        command.stdin(Stdio::piped());
        let mut running = Self::start(command);
        let stdin = running.child.stdin.take().expect("stdin is piped");
        (running, stdin)
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("it was not waited for yet")
    }

    /// The next line; `None` at the end of the output.
    pub(crate) async fn line(&mut self) -> Option<Value> {
        let line = match timeout(DEADLINE, self.lines.next_line()).await {
            Ok(line) => line.expect("its output is UTF-8 lines")?,
            Err(_) => panic!("no line in {DEADLINE:?}; so far: {}", self.story()),
        };
        let value: Value = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("{error} in {line:?}; so far: {}", self.story()));
        assert!(
            value["event"].is_string(),
            "a line without an event: {line}"
        );
        self.seen.push(value.clone());
        Some(value)
    }

    /// Reads on until a line that fits.
    pub(crate) async fn until(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        while let Some(line) = self.line().await {
            if fits(&line) {
                return line;
            }
        }
        panic!("it ended before {what}: {}", self.story());
    }

    /// Reads on until an event.
    pub(crate) async fn event(&mut self, event: &str) -> Value {
        self.until(event, |line| line["event"] == event).await
    }

    /// Reads on until a message is in a state.
    pub(crate) async fn state(&mut self, state: &str) -> Value {
        self.until(state, |line| {
            line["event"] == "state" && line["state"] == state
        })
        .await
    }

    /// What it said so far.
    pub(crate) fn story(&self) -> String {
        let lines: Vec<String> = self.seen.iter().map(ToString::to_string).collect();
        let stderr = self.stderr.lock().expect("nobody panics here").clone();
        format!("{}\n{stderr}", lines.join("\n"))
    }

    /// `kill -9`, and gone before this returns; what it had printed stays readable.
    pub(crate) async fn kill(mut self) -> Done {
        self.child.start_kill().expect("it was not waited for yet");
        self.end().await
    }

    /// The same where its place is taken by another.
    pub(crate) async fn kill_now(&mut self) {
        self.child.start_kill().expect("it runs");
        let status = timeout(DEADLINE, self.child.wait()).await;
        status
            .expect("nothing outlives kill -9")
            .expect("it can be waited for");
    }

    /// Asks it to end, as an operator does.
    pub(crate) async fn terminate(self) -> Done {
        signal(self.pid(), "TERM").await;
        self.end().await
    }

    /// Waits for its end.
    pub(crate) async fn end(mut self) -> Done {
        let mut lines = std::mem::take(&mut self.seen);
        while let Some(line) = self.line().await {
            lines.push(line);
        }
        let status = timeout(DEADLINE, self.child.wait()).await;
        let status = status
            .expect("it closed its output but runs on")
            .expect("it can be waited for");
        let read = timeout(DEADLINE, self.reader.join_next()).await;
        read.expect("its error output ends with it");
        Done {
            code: status.code(),
            lines,
            stderr: self.stderr.lock().expect("nobody panics here").clone(),
        }
    }
}

/// Sends a signal by name to one process.
pub(crate) async fn signal(pid: u32, name: &str) {
    let line = format!("kill -{name} {pid}");
    let status = Command::new("sh").args(["-c", &line]).status().await;
    assert!(status.expect("there is a shell").success(), "{line}");
}

/// A `serve` and what it said when it was ready.
pub(crate) struct Served {
    /// The process.
    pub(crate) running: Running,
    /// Its `ready` line.
    pub(crate) ready: Value,
    data: TempDir,
}

impl Served {
    /// Starts one on free ports, without a coordinator of its own.
    pub(crate) async fn start(more: &[&str]) -> Self {
        Self::start_with(&[&["--no-coordinator"], more].concat()).await
    }

    /// Starts one on free ports.
    pub(crate) async fn start_with(more: &[&str]) -> Self {
        let data = tempfile::tempdir().expect("a temporary directory");
        let mut running = Running::start(serve_command(data.path(), more));
        let ready = running.event("ready").await;
        Self {
            running,
            ready,
            data,
        }
    }

    /// The invite link it printed.
    pub(crate) fn invite(&self) -> &str {
        self.ready["invite"].as_str().expect("an invite link")
    }

    /// A link for a coordinator, from the operator.
    pub(crate) async fn coordinator_invite(&self) -> String {
        let data = self.data().to_str().expect("a UTF-8 path");
        let line = ["network", "invite", "--role", "coordinator", "--data", data];
        let invited = run(beeline(&line)).await;
        invited.expect_code(0);
        let link = invited.only("invite");
        assert_eq!(link["role"], "coordinator");
        link["invite"].as_str().expect("a link").to_owned()
    }

    /// The networkId.
    pub(crate) fn network(&self) -> &str {
        self.ready["network"].as_str().expect("a network")
    }

    /// Its data directory.
    pub(crate) fn data(&self) -> &Path {
        self.data.path()
    }

    /// Ends it and starts it again at the same addresses.
    pub(crate) async fn restart(self) -> Self {
        self.restart_with(&[]).await
    }

    /// The same, with more flags.
    pub(crate) async fn restart_with(self, more: &[&str]) -> Self {
        self.running.terminate().await.expect_code(0);
        Self::again(self.ready, self.data, more).await
    }

    /// Kills it, lets something happen without it, and starts it again at the same addresses.
    pub(crate) async fn killed_while(self, happens: impl AsyncFnOnce()) -> Self {
        self.running.kill().await;
        happens().await;
        Self::again(self.ready, self.data, &[]).await
    }

    async fn again(ready: Value, data: TempDir, more: &[&str]) -> Self {
        let at = |key: &str| {
            let url = ready[key].as_str().expect("an address");
            url.rsplit('/').next().unwrap_or(url).to_owned()
        };
        let (listen, grpc) = (at("url"), at("grpc"));
        let mut command = beeline(&["serve", "--data"]);
        command.arg(data.path());
        if ready["coordinator"].is_null() {
            command.arg("--no-coordinator");
        }
        command
            .args(["--listen", &listen, "--grpc", &grpc])
            .args(more);
        let mut running = Running::start(command);
        let ready = running.event("ready").await;
        Self {
            running,
            ready,
            data,
        }
    }
}

fn serve_command(data: &Path, more: &[&str]) -> Command {
    let mut command = beeline(&["serve"]);
    command.args(["--listen", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--data"]);
    command.arg(data).args(more);
    command
}
