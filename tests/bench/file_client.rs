//! One side of [`file`](crate::file): a whole client in a process of its own, with its store, links
//! and disk, as `send-file` and `listen --files` run it.

use crate::measure::{now, text};
use crate::peers;
use crate::role::{Child, Desk};
use beeline::{Client, Fact, FilesOptions, Options};
use beeline_proto::id::Label;
use beeline_tests::netns::Netns;
use client_core::event::Event;
use client_core::files::io::{FilePolicy, FileStage};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// How long one request may take before it is said to hang.
const PATIENCE: Duration = Duration::from_secs(600);
/// The largest file taken, and all of them together, bytes.
const TAKEN: u64 = 1 << 40;
/// Pause between messages beside a file, and idle.
const CHAT_EVERY: Duration = Duration::from_millis(2);

/// A client and what it told.
pub(crate) struct FileClient {
    pub(crate) child: Child,
    /// Its home and inbox; gone with it.
    dir: tempfile::TempDir,
}

/// What a transfer showed.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// From the call until the receiver had said that it has it, seconds.
    pub(crate) took_s: f64,
    /// Of this, until the offer was made: reading and hashing, seconds.
    pub(crate) offered_s: f64,
    /// Round trips of messages meanwhile, microseconds.
    pub(crate) chat_us: Vec<f64>,
}

impl FileClient {
    /// Joins and starts a user; on loopback, or in a namespace. Its disk is in `disk`.
    pub(crate) fn start(
        space: Option<&Netns>,
        invite: &str,
        name: &str,
        disk: &Path,
    ) -> Result<Self, String> {
        let dir = tempfile::tempdir_in(disk).map_err(text)?;
        let home = dir.path().display().to_string();
        let loopback = space.is_none().to_string();
        let child = Child::start_in(space, "file-client", &[&home, invite, name, &loopback])?;
        Ok(Self { child, dir })
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Where its files arrive.
    pub(crate) fn inbox(&self) -> std::path::PathBuf {
        self.dir.path().join("inbox")
    }

    /// Messages to a user one by one: from `send` to DELIVERED, microseconds each.
    pub(crate) fn chat(&mut self, to: &str, count: usize) -> Result<Vec<f64>, String> {
        let answer = self.child.ask(&json!({ "chat": to, "count": count }))?;
        numbers(&answer["micros"])
    }

    /// A file or folder to a user, with messages beside it if `chat`.
    pub(crate) fn send(&mut self, to: &str, path: &Path, chat: bool) -> Result<Sent, String> {
        let path = path.display().to_string();
        let answer = self
            .child
            .ask(&json!({ "file": path, "to": to, "chat": chat }))?;
        let number = |key: &str| answer[key].as_f64().ok_or(format!("no {key}"));
        Ok(Sent {
            took_s: number("took_s")?,
            offered_s: number("offered_s")?,
            chat_us: numbers(&answer["micros"])?,
        })
    }
}

fn numbers(value: &Value) -> Result<Vec<f64>, String> {
    let values = value.as_array().ok_or("no times")?;
    Ok(values.iter().filter_map(Value::as_f64).collect())
}

/// The role: `file-client DIR INVITE NAME LOOPBACK`.
pub(crate) fn play(args: &[String], desk: &mut Desk) -> Result<(), String> {
    let [dir, invite, name, loopback] = args else {
        return Err("file-client DIR INVITE NAME LOOPBACK".into());
    };
    let options = Options {
        home: Path::new(dir).join("home"),
        command: "bench".to_owned(),
        loopback: loopback == "true",
        files: Some(FilesOptions {
            dir: Path::new(dir).join("inbox"),
            policy: FilePolicy {
                from: None,
                size_max: TAKEN,
                total_max: TAKEN,
            },
            ask: false,
        }),
        ..Options::default()
    };
    let runtime = beeline::runtime().build().map_err(text)?;
    let client = runtime.block_on(peers::start(options, invite, name))?;
    desk.say(&json!({ "user": name }));
    desk.serve(
        |work| runtime.block_on(work),
        async |request| {
            let done = tokio::time::timeout(PATIENCE, serve(&client, &request)).await;
            done.unwrap_or_else(|_| Err(format!("{request} takes too long")))
        },
    );
    runtime.block_on(client.shutdown());
    Ok(())
}

async fn serve(client: &Client, request: &Value) -> Result<Value, String> {
    let user = |key: &str| peers::label(request[key].as_str().unwrap_or_default());
    if request["chat"].is_string() {
        let count = request["count"].as_u64().unwrap_or(1);
        return peers::deliver(client, &user("chat")?, count, CHAT_EVERY).await;
    }
    let path = request["file"].as_str().ok_or("which file?")?;
    let (to, chat) = (user("to")?, request["chat"] == true);
    let mut micros = Vec::new();
    let sent = send_file(client, &to, Path::new(path));
    tokio::pin!(sent);
    let (took_s, offered_s) = loop {
        if !chat {
            break sent.as_mut().await?;
        }
        tokio::select! {
            done = sent.as_mut() => break done?,
            told = peers::deliver(client, &to, 1, CHAT_EVERY) => {
                micros.extend(numbers(&told?["micros"])?);
            }
        }
    };
    Ok(json!({ "took_s": took_s, "offered_s": offered_s, "micros": micros }))
}

/// From the call to the receiver's word, and of this until the offer was made, seconds.
async fn send_file(client: &Client, to: &Label, path: &Path) -> Result<(f64, f64), String> {
    let (mut events, start) = (client.subscribe(), now());
    let sent = client.send_file(to, path, None, |_| true).await;
    let id = sent.map_err(text)?.id;
    let offered_s = start.elapsed().as_secs_f64();
    loop {
        let event = peers::next(&mut events).await?;
        let Fact::Core(Event::File(told)) = event.fact else {
            continue;
        };
        match told.stage {
            _ if told.id != id => {}
            FileStage::Done { .. } => return Ok(((event.at - start).as_secs_f64(), offered_s)),
            FileStage::Ended { reason, detail } => {
                return Err(format!("it ended: {reason:?} {detail:?}"));
            }
            _ => {}
        }
    }
}
