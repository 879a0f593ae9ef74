//! Children: the bench binary started again as a server or a peer, on a core of its own.
//!
//! A child prints one JSON line when it is ready. From then on it answers each line on its
//! standard input by one line on its standard output, and ends when its input does, so that no
//! child outlives the benchmark however that ends.

use crate::measure::text;
use beeline_tests::netns::Netns;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::pin::Pin;
use std::process::{Command, Stdio};

/// First argument of a child's command line.
pub(crate) const FLAG: &str = "role";

/// The core servers run on.
pub(crate) const SERVER_CORE: usize = 0;
/// The core loads run on, this process among them.
pub(crate) const LOAD_CORE: usize = 1;

/// Every core, as `taskset` says it.
const ANYWHERE: &str = "0-1023";

/// A running child; dropping it ends it.
pub(crate) struct Child {
    process: std::process::Child,
    input: Option<std::process::ChildStdin>,
    output: BufReader<std::process::ChildStdout>,
    /// What it said when it was ready.
    pub(crate) ready: Value,
}

impl Child {
    /// Starts this binary as `role args…` on one core and waits until it is ready.
    pub(crate) fn start(core: usize, role: &str, args: &[&str]) -> Result<Self, String> {
        let exe = std::env::current_exe().map_err(text)?;
        let exe = exe.to_str().ok_or("a path that is no text")?;
        Self::run(core, exe, &[&[FLAG, role], args].concat())
    }

    /// The same on whichever cores there are.
    pub(crate) fn start_anywhere(role: &str, args: &[&str]) -> Result<Self, String> {
        let exe = std::env::current_exe().map_err(text)?;
        let exe = exe.to_str().ok_or("a path that is no text")?;
        Self::run_on(ANYWHERE, exe, &[&[FLAG, role], args].concat())
    }

    /// The same inside a network namespace, if one is given.
    pub(crate) fn start_in(
        space: Option<&Netns>,
        role: &str,
        args: &[&str],
    ) -> Result<Self, String> {
        let Some(space) = space else {
            return Self::start_anywhere(role, args);
        };
        let exe = std::env::current_exe().map_err(text)?;
        let exe = exe.to_str().ok_or("a path that is no text")?;
        let args = [&[FLAG, role], args].concat();
        Self::spawn(space.command("taskset"), ANYWHERE, exe, &args)
    }

    /// Starts a program that speaks as this binary's children do.
    pub(crate) fn run(core: usize, program: &str, args: &[&str]) -> Result<Self, String> {
        Self::run_on(&core.to_string(), program, args)
    }

    fn run_on(cores: &str, program: &str, args: &[&str]) -> Result<Self, String> {
        Self::spawn(Command::new("taskset"), cores, program, args)
    }

    fn spawn(
        mut taskset: Command,
        cores: &str,
        program: &str,
        args: &[&str],
    ) -> Result<Self, String> {
        let mut process = taskset
            .args(["-c", cores])
            .arg(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("taskset (package util-linux): {e}"))?;
        let (Some(input), Some(output)) = (process.stdin.take(), process.stdout.take()) else {
            return Err("a child without pipes".into());
        };
        let output = BufReader::new(output);
        let mut child = Self {
            process,
            input: Some(input),
            output,
            ready: Value::Null,
        };
        child.ready = child
            .line()
            .map_err(|e| format!("{}: {e}", args.join(" ")))?;
        Ok(child)
    }

    /// The child's process id: `taskset` becomes the child, it does not stay between.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Sends one request and waits for its answer.
    pub(crate) fn ask(&mut self, request: &Value) -> Result<Value, String> {
        self.tell(request)?;
        self.line()
    }

    /// Sends one request; [`Child::line`] reads the answer.
    pub(crate) fn tell(&mut self, request: &Value) -> Result<(), String> {
        let input = self
            .input
            .as_mut()
            .ok_or("the child has been told to end")?;
        writeln!(input, "{request}").map_err(text)
    }

    /// Reads the next answer.
    pub(crate) fn line(&mut self) -> Result<Value, String> {
        let mut line = String::new();
        if self.output.read_line(&mut line).map_err(text)? == 0 {
            return Err("it ended; what it said is above".into());
        }
        let answer: Value = serde_json::from_str(&line).map_err(text)?;
        match answer.get("error").and_then(Value::as_str) {
            Some(error) => Err(error.to_owned()),
            None => Ok(answer),
        }
    }

    /// A text of the ready line.
    pub(crate) fn said(&self, key: &str) -> Result<&str, String> {
        self.ready
            .get(key)
            .and_then(Value::as_str)
            .ok_or_else(|| format!("no {key} from a child"))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        drop(self.input.take());
        // It ends by itself when its input does; one that hangs is not waited for for ever.
        for _ in 0..200 {
            if !matches!(self.process.try_wait(), Ok(None)) {
                return;
            }
            crate::measure::pause(std::time::Duration::from_millis(10));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Binds this process, and every thread it starts, to one core.
pub(crate) fn pin_self(core: usize) -> Result<(), String> {
    let pid = std::process::id().to_string();
    let pinned = Command::new("taskset")
        .args(["-a", "-c", "-p", &core.to_string(), &pid])
        .stdout(Stdio::null())
        .status()
        .map_err(|e| format!("taskset (package util-linux): {e}"))?;
    pinned
        .success()
        .then_some(())
        .ok_or_else(|| "taskset refused".into())
}

/// What a child does: gets its arguments, and its side of the conversation.
pub(crate) type Role = fn(&[String], &mut Desk) -> Result<(), String>;

/// A child's side of the conversation.
pub(crate) struct Desk(std::io::Lines<BufReader<std::io::Stdin>>);

impl Desk {
    /// Says something, first of all that the child is ready.
    #[expect(clippy::print_stdout, reason = "the parent reads it")]
    pub(crate) fn say(&mut self, value: &Value) {
        println!("{value}");
    }

    /// The next request; `None` when the child shall end.
    pub(crate) fn next(&mut self) -> Option<Value> {
        let line = self.0.next()?.ok()?;
        serde_json::from_str(&line).ok()
    }

    /// Answers each request inside a runtime that `block_on` enters, and whose tasks go on while
    /// this waits for the next one.
    pub(crate) fn serve<'a>(
        &mut self,
        block_on: impl FnOnce(Pin<Box<dyn Future<Output = ()> + 'a>>),
        mut answer: impl AsyncFnMut(Value) -> Result<Value, String> + 'a,
    ) {
        // The waiting is on another thread.
        let (asked, mut requests) = tokio::sync::mpsc::channel(1);
        let (said, answers) = std::sync::mpsc::sync_channel::<Value>(1);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                while let Some(request) = self.next() {
                    if asked.blocking_send(request).is_err() {
                        return;
                    }
                    let Ok(answer) = answers.recv() else { return };
                    self.say(&answer);
                }
            });
            block_on(Box::pin(async move {
                while let Some(request) = requests.recv().await {
                    let answer = answer(request).await;
                    let answer = answer.unwrap_or_else(|error| json!({ "error": error }));
                    if said.send(answer).is_err() {
                        break;
                    }
                }
            }));
        });
    }

    /// Waits until the child shall end, whatever is said meanwhile.
    pub(crate) fn until_the_end(&mut self) {
        while self.next().is_some() {}
    }
}

/// Plays the role named by the first argument; what goes wrong is told to the parent.
pub(crate) fn play(roles: &[(&str, Role)], args: &[String]) {
    let mut desk = Desk(BufReader::new(std::io::stdin()).lines());
    let role = args
        .first()
        .and_then(|name| roles.iter().find(|(known, _)| known == name));
    let played = match role {
        Some((_, role)) => role(&args[1..], &mut desk),
        None => Err(format!("no role is called {:?}", args.first())),
    };
    if let Err(error) = played {
        desk.say(&serde_json::json!({ "error": error }));
        std::process::exit(1);
    }
}
