//! One `send` from the commit to the awaited state, told line by line. The same code serves the
//! command and, over the socket, commands of other processes: same output, same exit codes.

use super::fail::{Exit, Failure};
use super::line::{Line, StateLine};
use super::print::Printer;
use super::reason::in_words;
use super::tries::Tries;
use beeline::Client;
use beeline::error::SendError;
use beeline::report::{ClientEvent, Fact};
use beeline_proto::code::ErrorCode;
use beeline_proto::id::{Label, MessageId};
use beeline_proto::limits::{IDEMPOTENCY_KEY_LEN_MAX, TEXT_LEN_MAX};
use beeline_proto::pb::client::v1::SendResponse;
use client_core::event::{DeliveryState, Event, MessageState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

/// What is sent, and what is waited for.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    /// The recipient.
    pub(crate) to: Label,
    /// The text.
    pub(crate) text: String,
    /// The state to wait for.
    pub(crate) wait: DeliveryState,
    /// How long to wait for it.
    pub(crate) timeout: Duration,
    /// Makes a repeated call harmless.
    pub(crate) idempotency_key: String,
}

impl Order {
    /// Refuses what cannot be sent, before anything is opened.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if self.text.is_empty() {
            return Err(Failure::coded(
                ErrorCode::InvalidArgument,
                "the text is empty: write something to send",
            ));
        }
        if self.text.len() > TEXT_LEN_MAX {
            return Err(too_long());
        }
        if self.idempotency_key.len() > IDEMPOTENCY_KEY_LEN_MAX {
            return Err(Failure::coded(
                ErrorCode::InvalidArgument,
                format!("--idempotency-key has more than {IDEMPOTENCY_KEY_LEN_MAX} bytes"),
            ));
        }
        Ok(())
    }
}

/// The refusal of a text that does not fit one message.
pub(crate) fn too_long() -> Failure {
    Failure::coded(
        ErrorCode::TooLarge,
        format!("the text has more than {TEXT_LEN_MAX} bytes: use send-file for it"),
    )
}

/// The state a word of the command line or the socket names.
pub(crate) fn awaited(word: &str) -> Option<DeliveryState> {
    match word {
        "queued" => Some(DeliveryState::Queued),
        "stored" => Some(DeliveryState::Stored),
        "" | "delivered" => Some(DeliveryState::Delivered),
        "read" => Some(DeliveryState::Read),
        _ => None,
    }
}

/// Where the lines of a `send` go.
pub(crate) enum Sink {
    /// To our own output; without `queued` where an earlier try has printed it.
    Print {
        /// The output.
        printer: Printer,
        /// Whether an earlier try has printed `queued`.
        resumed: bool,
        /// Whether the message is known to be durable.
        queued: AtomicBool,
    },
    /// To another process, through the socket.
    Socket(mpsc::Sender<Result<SendResponse, tonic::Status>>),
}

impl Sink {
    /// Our own output.
    pub(crate) fn print(printer: Printer, resumed: bool) -> Self {
        let queued = AtomicBool::new(resumed);
        Self::Print {
            printer,
            resumed,
            queued,
        }
    }

    /// Whether the message is known to be durable.
    pub(crate) fn has_queued(&self) -> bool {
        match self {
            Self::Print { queued, .. } => queued.load(Ordering::Acquire),
            Self::Socket(_) => false,
        }
    }

    async fn state(&self, line: StateLine, tries: &mut Tries) -> Result<(), Failure> {
        let is_queued = line.state == DeliveryState::Queued.name();
        let line = Line::State(line);
        if let Self::Print { queued, .. } = self {
            queued.store(true, Ordering::Release);
        }
        match self {
            Self::Print { resumed: true, .. } if is_queued => Ok(()),
            Self::Print { printer, .. } => printer.news(&line, tries).await,
            Self::Socket(sender) => {
                let response = SendResponse {
                    json: line.to_json(),
                    ..SendResponse::default()
                };
                let sent = sender.send(Ok(response)).await;
                sent.map_err(|_| Failure::new("the caller is gone"))
            }
        }
    }
}

/// Sends, and tells every state until the awaited one, an end, or the timeout.
pub(crate) async fn deliver(client: &Client, order: &Order, sink: &Sink) -> Result<Exit, Failure> {
    order.check()?;
    // Before sending: no event is missed.
    let mut events = client.subscribe();
    let deadline = Instant::now() + order.timeout;
    let key = Some(order.idempotency_key.as_str());
    let sent = client
        .send(&order.to, &order.text, key)
        .await
        .map_err(refusal)?;
    let mut told = Told::new(sent.id, order);
    told.tell(
        told.state_line(DeliveryState::Queued),
        DeliveryState::Queued,
        sink,
    )
    .await?;
    if sent.repeated {
        told.catch_up(client, sink).await?;
    }
    while !told.is_over() {
        match timeout_at(deadline, next_state(&mut events, sent.id)).await {
            Err(_) => break,
            Ok(Next::State(state)) => {
                told.tell(line_of(&state), state.state, sink).await?;
            }
            Ok(Next::Missed) => told.catch_up(client, sink).await?,
            Ok(Next::Ended) => return Err(Failure::coded(ErrorCode::Unavailable, STOPPED)),
        }
    }
    Ok(told.exit())
}

const STOPPED: &str = "beeline is shutting down; the message stays in the outbox";

fn refusal(error: SendError) -> Failure {
    match error {
        SendError::Refused { code, detail } => Failure::coded(code, detail),
        SendError::Stopped => Failure::coded(ErrorCode::Unavailable, error.to_string()),
    }
}

/// What has been told of one message.
struct Told {
    id: MessageId,
    to: String,
    wait: DeliveryState,
    /// The highest state told so far.
    best: DeliveryState,
    /// What a person has read of the tries.
    tries: Tries,
}

impl Told {
    fn new(id: MessageId, order: &Order) -> Self {
        Self {
            id,
            to: order.to.to_string(),
            wait: order.wait,
            best: DeliveryState::Queued,
            tries: Tries::default(),
        }
    }

    fn state_line(&self, state: DeliveryState) -> StateLine {
        StateLine {
            id: self.id.to_text(),
            state: state.name().to_owned(),
            to: self.to.clone(),
            ..StateLine::default()
        }
    }

    async fn tell(
        &mut self,
        line: StateLine,
        state: DeliveryState,
        sink: &Sink,
    ) -> Result<(), Failure> {
        self.best = self.best.max(state);
        sink.state(line, &mut self.tries).await
    }

    /// Reads where the message stands from the store, after events were missed or before we came.
    async fn catch_up(&mut self, client: &Client, sink: &Sink) -> Result<(), Failure> {
        let story = client.why(self.id).await;
        let story = story.map_err(|error| Failure::new(error.to_string()))?;
        let state = story.item.state;
        if state <= self.best {
            return Ok(());
        }
        let mut line = self.state_line(state);
        line.path = story.item.path.map(|path| path.name().to_owned());
        let kept = story.steps.iter().rev().find_map(|step| step.kept);
        let kept = kept.filter(|_| state == DeliveryState::Stored);
        (line.n, line.k) = (kept.map(|kept| kept.n), kept.map(|kept| kept.k));
        line.detail = reason_detail(story.item.reason.as_deref(), &self.to);
        line.reason = story.item.reason;
        line.elapsed_ms = match (story.steps.first(), story.steps.last()) {
            (Some(first), Some(last)) => last.at_ms.saturating_sub(first.at_ms),
            _ => 0,
        };
        self.tell(line, state, sink).await
    }

    fn failed(&self) -> bool {
        matches!(self.best, DeliveryState::Expired | DeliveryState::Rejected)
    }

    fn is_over(&self) -> bool {
        self.failed() || self.best >= self.wait
    }

    fn exit(&self) -> Exit {
        if self.failed() {
            Exit::Error
        } else if self.best >= self.wait {
            Exit::Done
        } else if self.best >= DeliveryState::Stored {
            Exit::Stored
        } else {
            Exit::Queued
        }
    }
}

/// What came next about one message.
enum Next {
    State(Box<MessageState>),
    Missed,
    Ended,
}

async fn next_state(events: &mut Receiver<ClientEvent>, id: MessageId) -> Next {
    loop {
        match events.recv().await {
            Ok(event) => {
                let Fact::Core(Event::MessageState(state)) = event.fact else {
                    continue;
                };
                // The commit was told already.
                if state.id == id && state.state != DeliveryState::Queued {
                    return Next::State(Box::new(state));
                }
            }
            Err(RecvError::Lagged(_)) => return Next::Missed,
            Err(RecvError::Closed) => return Next::Ended,
        }
    }
}

/// A state as printed.
pub(crate) fn line_of(state: &MessageState) -> StateLine {
    StateLine {
        id: state.id.to_text(),
        state: state.state.name().to_owned(),
        to: state.to.to_string(),
        name: None,
        rung: state.rung.map(|rung| rung.name().to_owned()),
        n: state.kept.map(|kept| kept.n),
        k: state.kept.map(|kept| kept.k),
        path: state.path.map(|path| path.name().to_owned()),
        found_by: state.found_by.map(|rung| rung.name().to_owned()),
        reason: state.reason.clone(),
        detail: reason_detail(state.reason.as_deref(), state.to.as_str()),
        elapsed_ms: state.elapsed_ms,
    }
}

fn reason_detail(reason: Option<&str>, user: &str) -> Option<String> {
    reason.and_then(|reason| in_words(reason, user))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(text: &str) -> Order {
        Order {
            to: Label::new("carol").expect("a label"),
            text: text.to_owned(),
            wait: DeliveryState::Delivered,
            timeout: Duration::from_secs(1),
            idempotency_key: "k".to_owned(),
        }
    }

    #[test]
    fn a_text_has_an_end_and_a_beginning() {
        assert!(order(&"x".repeat(TEXT_LEN_MAX)).check().is_ok());
        let long = order(&"x".repeat(TEXT_LEN_MAX + 1))
            .check()
            .expect_err("too long");
        assert_eq!(long.code, Some(ErrorCode::TooLarge));
        assert!(long.message.contains("send-file"), "{long}");
        assert!(order("").check().is_err());
        let mut keyed = order("x");
        keyed.idempotency_key = "k".repeat(IDEMPOTENCY_KEY_LEN_MAX + 1);
        assert!(keyed.check().is_err());
    }

    #[test]
    fn exit_codes_follow_the_best_state_reached() {
        use DeliveryState::{Delivered, Expired, Queued, Read, Rejected, Relayed, Stored, Trying};
        let cases = [
            (Delivered, Delivered, Exit::Done),
            (Delivered, Read, Exit::Done),
            (Delivered, Stored, Exit::Stored),
            (Delivered, Relayed, Exit::Queued),
            (Delivered, Trying, Exit::Queued),
            (Stored, Stored, Exit::Done),
            (Stored, Relayed, Exit::Queued),
            (Queued, Queued, Exit::Done),
            (Delivered, Rejected, Exit::Error),
            (Queued, Expired, Exit::Error),
        ];
        for (wait, best, exit) in cases {
            let mut told = Told::new(MessageId([0; 16]), &order("x"));
            (told.wait, told.best) = (wait, best);
            assert_eq!(told.exit(), exit, "waiting for {wait:?}, reached {best:?}");
        }
    }

    #[test]
    fn words_name_states() {
        assert_eq!(awaited(""), Some(DeliveryState::Delivered));
        assert_eq!(awaited("stored"), Some(DeliveryState::Stored));
        assert_eq!(awaited("tomorrow"), None);
    }
}
