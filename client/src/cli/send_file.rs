//! `beeline send-file`: offers files, and tells how they go until all are through, have come to
//! nothing, or nothing moves any more. The same code serves other processes through the socket.

use super::args::SendFileArgs;
use super::deliver::line_of;
use super::fail::{Exit, Failure};
use super::file_line::{FileLine, FilesLine};
use super::file_meter::Meter;
use super::file_view::View;
use super::line::{Line, StateLine};
use super::reach::{Context, Way, as_hidden};
use super::send::random_key;
use super::stop::Stop;
use super::units;
use crate::ipc::caller::CallError;
use beeline::Client;
use beeline::error::{FileSendError, SendError};
use beeline::report::{ClientEvent, Fact};
use beeline_proto::code::ErrorCode;
use beeline_proto::id::{Label, MessageId};
use beeline_proto::pb::client::v1::SendFileResponse;
use client_core::event::{DeliveryState, Event};
use client_core::files::io::{FileStage, FileTold};
use client_core::files::rows::FileOutState;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

/// Paths of one command: each is a transfer of its own, and a folder is one.
const PATHS_MAX: usize = 256;

/// What is to be sent.
#[derive(Debug, Clone)]
pub(crate) struct FileOrder {
    /// The recipient.
    pub(crate) to: Label,
    /// Files and folders.
    pub(crate) paths: Vec<PathBuf>,
    /// How long to wait while nothing moves.
    pub(crate) timeout: Duration,
    /// Makes a repeated call harmless; with a number for each path.
    pub(crate) idempotency_key: String,
}

impl FileOrder {
    /// Refuses what cannot be sent, before anything is opened.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let invalid = |text: String| Failure::coded(ErrorCode::InvalidArgument, text);
        if self.paths.is_empty() || self.paths.len() > PATHS_MAX {
            return Err(invalid(format!("name 1 to {PATHS_MAX} files or folders")));
        }
        if let Some(path) = self.paths.iter().find(|path| !path.is_absolute()) {
            return Err(invalid(format!("{} is no absolute path", path.display())));
        }
        Ok(())
    }
}

/// Offers files and waits for them.
pub(crate) async fn send_file(context: &Context, args: SendFileArgs) -> Result<Exit, Failure> {
    let order = FileOrder {
        to: args.user,
        paths: absolute(args.paths)?,
        timeout: args.timeout,
        idempotency_key: random_key()?,
    };
    order.check()?;
    let options = context.options("send-file", &args.link);
    let mut view = View::new(context.printer);
    let (mut resumed, began) = (false, Instant::now());
    loop {
        match context.reach(options.clone()).await? {
            Way::Own(owned) => {
                let mut sink = FileSink::View(&mut view);
                let mut stop = Stop::listen()?;
                let sent = tokio::select! {
                    sent = deliver_files(&owned.client, &order, &mut sink) => sent.map_err(Some),
                    () = stop.asked() => Err(None),
                };
                let sent = match sent {
                    Ok(exit) => Ok(exit),
                    Err(Some(failure)) => Err(failure),
                    Err(None) => interrupted(context, &order, &mut view, began).await,
                };
                owned.shutdown().await;
                return sent;
            }
            Way::Through(mut caller) => {
                let mut stop = Stop::listen()?;
                let sent = tokio::select! {
                    sent = async {
                        as_hidden(context, &mut caller).await?;
                        caller.send_file(&order, &mut view).await
                    } => sent,
                    () = stop.asked() => {
                        return interrupted(context, &order, &mut view, began).await;
                    }
                };
                match sent {
                    Ok(exit) => return Ok(exit),
                    Err(CallError::Failed(failure)) => return Err(failure),
                    // The idempotency key makes the second try the same offers.
                    Err(CallError::Gone) if !resumed => resumed = true,
                    Err(CallError::Gone) => return Ok(Exit::Queued),
                }
            }
        }
    }
}

/// Ctrl-C: what is offered stays so. Says what that means, and how to end it.
async fn interrupted(
    context: &Context,
    order: &FileOrder,
    view: &mut View,
    began: Instant,
) -> Result<Exit, Failure> {
    let tally = view.tally();
    let (left, first) = (tally.open.len(), tally.open.keys().next().cloned());
    let stored = tally.open.values().all(|stored| *stored);
    let known = left as u64 + tally.sent + tally.failed;
    let unoffered = (order.paths.len() as u64).saturating_sub(known);
    let line = FilesLine {
        sent: tally.sent,
        bytes: tally.bytes,
        failed: tally.failed,
        waiting: left as u64,
        elapsed_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    view.show(Line::Files(line)).await?;
    if let Some(id) = first {
        context.printer.notice(&format!(
            "Interrupted: what is offered waits in the outbox, and goes on by itself whenever this \
             home is online, as with `beeline run`. `beeline files` lists it; to give one up: \
             beeline files cancel {id}"
        ));
    }
    if unoffered > 0 {
        let were = units::counted(unoffered, "file named was", "files named were");
        let text = format!("Interrupted: {were} not offered.");
        context.printer.notice(&text);
    }
    Ok(match left {
        0 => Exit::Error,
        _ if stored => Exit::Stored,
        _ => Exit::Queued,
    })
}

/// Another process may do the work, and it stands elsewhere.
fn absolute(paths: Vec<PathBuf>) -> Result<Vec<PathBuf>, Failure> {
    let absolute = |path: PathBuf| {
        let found = std::fs::canonicalize(&path);
        found.map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))
    };
    paths.into_iter().map(absolute).collect()
}

/// Where the lines go.
pub(crate) enum FileSink<'a> {
    /// To our own output.
    View(&'a mut View),
    /// To another process, through the socket.
    Socket(&'a mpsc::Sender<Result<SendFileResponse, tonic::Status>>),
}

impl FileSink<'_> {
    async fn show(&mut self, line: Line) -> Result<(), Failure> {
        match self {
            Self::View(view) => view.show(line).await,
            Self::Socket(sender) => {
                let response = SendFileResponse {
                    json: line.to_json(),
                    ..SendFileResponse::default()
                };
                let sent = sender.send(Ok(response)).await;
                sent.map_err(|_| Failure::new("the caller is gone"))
            }
        }
    }
}

/// One file on its way.
#[derive(Debug, Default)]
struct Sending {
    name: String,
    size: u64,
    meter: Meter,
    /// `Some(true)` once it arrived, `Some(false)` once it came to nothing.
    over: Option<bool>,
    /// Members keep its offer for the recipient; of a small file, or the recipient has it.
    stored: bool,
    /// It travels in its offer.
    small: bool,
}

/// Offers the files of an order, and tells of them until they are over or nothing moves.
pub(crate) async fn deliver_files(
    client: &Client,
    order: &FileOrder,
    sink: &mut FileSink<'_>,
) -> Result<Exit, Failure> {
    order.check()?;
    let began = Instant::now();
    // Before sending: no event is missed.
    let mut events = client.subscribe();
    let mut all: BTreeMap<MessageId, Sending> = BTreeMap::new();
    for (n, path) in order.paths.iter().enumerate() {
        let key = format!("{}-{n}", order.idempotency_key);
        let sent = client
            .send_file(&order.to, path, Some(&key), |_| true)
            .await
            .map_err(refusal)?;
        all.insert(sent.id, Sending::default());
        if sent.repeated {
            catch_up(client, &mut all).await?;
        }
    }
    let mut deadline = Instant::now() + order.timeout;
    while all.values().any(|sending| sending.over.is_none()) {
        match timeout_at(deadline, events.recv()).await {
            Err(_) => break,
            Ok(Ok(event)) => {
                if tell(&event, &mut all, sink).await? {
                    deadline = Instant::now() + order.timeout;
                }
            }
            Ok(Err(RecvError::Lagged(_))) => catch_up(client, &mut all).await?,
            Ok(Err(RecvError::Closed)) => {
                let text = "beeline is shutting down; the files go on when it is back";
                return Err(Failure::coded(ErrorCode::Unavailable, text));
            }
        }
    }
    sink.show(Line::Files(summary(&all, began))).await?;
    Ok(exit(&all))
}

fn refusal(error: FileSendError) -> Failure {
    match error {
        FileSendError::File(error) => Failure::new(error.to_string()),
        FileSendError::Send(SendError::Refused { code, detail }) => Failure::coded(code, detail),
        FileSendError::Send(error @ SendError::Stopped) => {
            Failure::coded(ErrorCode::Unavailable, error.to_string())
        }
    }
}

/// Tells an event that is about one of the files; whether something moved.
async fn tell(
    event: &ClientEvent,
    all: &mut BTreeMap<MessageId, Sending>,
    sink: &mut FileSink<'_>,
) -> Result<bool, Failure> {
    match &event.fact {
        Fact::Core(Event::File(told)) if told.ours => {
            let Some(sending) = all.get_mut(&told.id) else {
                return Ok(false);
            };
            sending.note(told);
            let mut line = FileLine::from(told);
            sending.meter.measure(&mut line, event.at);
            sink.show(Line::File(line)).await?;
            Ok(true)
        }
        Fact::Core(Event::MessageState(state)) => {
            let Some(sending) = all.get_mut(&state.id) else {
                return Ok(false);
            };
            let delivered = sending.small && state.state == DeliveryState::Delivered;
            sending.stored |= delivered || state.state == DeliveryState::Stored;
            if sending.small {
                let line = StateLine {
                    name: Some(sending.name.clone()),
                    ..line_of(state)
                };
                sink.show(Line::State(line)).await?;
            }
            Ok(delivered)
        }
        _ => Ok(false),
    }
}

impl Sending {
    fn note(&mut self, told: &FileTold) {
        self.name.clone_from(&told.name);
        (self.size, self.small) = (told.size, told.small);
        match told.stage {
            FileStage::Done { .. } => self.over = Some(true),
            FileStage::Ended { .. } => self.over = Some(false),
            _ => {}
        }
    }
}

/// Reads from the store which are over, after events were missed.
async fn catch_up(client: &Client, all: &mut BTreeMap<MessageId, Sending>) -> Result<(), Failure> {
    for (id, sending) in all {
        let found = client.file_sent(*id).await;
        let found = found.map_err(|error| Failure::new(error.to_string()))?;
        if let Some((state, size)) = found {
            sending.size = size;
            sending.over = match state {
                FileOutState::Done => Some(true),
                FileOutState::Ended => Some(false),
                FileOutState::Offered | FileOutState::Wanted => None,
            };
            let story = client.why(*id).await;
            let state = story.map(|story| story.item.state).ok();
            let delivered = sending.small && state == Some(DeliveryState::Delivered);
            sending.stored |= delivered || state == Some(DeliveryState::Stored);
        }
    }
    Ok(())
}

fn summary(all: &BTreeMap<MessageId, Sending>, began: Instant) -> FilesLine {
    let count = |over: Option<bool>| all.values().filter(|s| s.over == over).count() as u64;
    let sent = all.values().filter(|s| s.over == Some(true));
    FilesLine {
        sent: count(Some(true)),
        bytes: sent.map(|sending| sending.size).sum(),
        failed: count(Some(false)),
        waiting: count(None),
        elapsed_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
    }
}

fn exit(all: &BTreeMap<MessageId, Sending>) -> Exit {
    if all.values().any(|sending| sending.over == Some(false)) {
        return Exit::Error;
    }
    let mut waiting = all.values().filter(|s| s.over.is_none()).peekable();
    if waiting.peek().is_none() {
        Exit::Done
    } else if waiting.all(|sending| sending.stored) {
        Exit::Stored
    } else {
        Exit::Queued
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(paths: &[&str]) -> FileOrder {
        FileOrder {
            to: Label::new("carol").expect("a label"),
            paths: paths.iter().map(PathBuf::from).collect(),
            timeout: Duration::from_secs(1),
            idempotency_key: "k".to_owned(),
        }
    }

    #[test]
    fn an_order_names_files_that_anybody_finds() {
        assert!(order(&["/a", "/b/c"]).check().is_ok());
        assert!(order(&[]).check().is_err());
        assert!(order(&["here/a"]).check().is_err());
        assert!(order(&["/a"; PATHS_MAX + 1]).check().is_err());
    }

    #[test]
    fn exit_codes_follow_the_worst_of_all() {
        let sending = |over, stored| Sending {
            over,
            stored,
            ..Sending::default()
        };
        for (files, want) in [
            (vec![sending(Some(true), false)], Exit::Done),
            (
                vec![sending(Some(true), false), sending(Some(false), false)],
                Exit::Error,
            ),
            (
                vec![sending(Some(true), false), sending(None, false)],
                Exit::Queued,
            ),
            (vec![sending(None, true)], Exit::Stored),
        ] {
            let ids = (0u8..).map(|n| MessageId([n; 16]));
            let all: BTreeMap<_, _> = ids.zip(files).collect();
            assert_eq!(exit(&all), want);
        }
    }
}
