//! `beeline listen` and `beeline run`: stay online; `listen` also shows what comes.

use super::answer;
use super::events::{line_of_event, online};
use super::fail::{Exit, Failure};
use super::file_line::FileLine;
use super::file_meter::Meter;
use super::file_view::View;
use super::line::{FilePart, Line, MessageLine};
use super::plain;
use super::reach::{Context, Owned};
use super::stop::Stop;
use beeline::Options;
use beeline::crash;
use beeline::identity::Identity;
use beeline::limits::UNSHOWN_MAX;
use beeline::report::{ClientEvent, Fact, Unshown, Who};
use beeline_proto::code::ErrorCode;
use beeline_proto::id::MessageId;
use beeline_proto::time::Timestamp;
use client_core::event::Event;
use client_core::files::io::{FileStage, FileTold};
use std::collections::BTreeMap;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

/// What to show.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Show {
    /// Nothing: messages wait for a `listen`.
    Nothing,
    /// Every message.
    Messages {
        /// No more than this many.
        left: Option<u64>,
        /// Whether a person reads along.
        read: bool,
    },
}

/// Stays online until a signal, or until enough was shown.
pub(crate) async fn stay(context: &Context, options: Options, show: Show) -> Result<Exit, Failure> {
    let mut stop = Stop::listen()?;
    let owned = tokio::select! {
        owned = context.own(options) => owned?,
        () = stop.asked() => return Ok(Exit::Done),
    };
    let served = owned.client.who().served.iter();
    if let Ok(identity) = Identity::load(&context.home)
        && let Some(warning) = plain::warning(identity.gateways.iter().chain(served))
    {
        context.printer.notice(&warning);
    }
    let mut session = Session {
        owned: &owned,
        show,
        is_online: false,
        view: View::new(context.printer),
        files: BTreeMap::new(),
    };
    let ended = tokio::select! {
        ended = session.run() => ended,
        () = stop.asked() => Ok(()),
    };
    owned.shutdown().await;
    ended.map(|()| Exit::Done)
}

struct Session<'a> {
    owned: &'a Owned,
    show: Show,
    is_online: bool,
    /// Files on their way.
    view: View,
    /// What was seen of them; as many as the core has files on their way.
    files: BTreeMap<MessageId, Seen>,
}

/// A file on its way.
#[derive(Default)]
struct Seen {
    /// Its speed.
    meter: Meter,
    /// Whether more was told of it than that it is offered and taken.
    told: bool,
}

/// Whether to go on.
#[derive(PartialEq, Eq)]
enum Next {
    GoOn,
    Enough,
}

impl Session<'_> {
    async fn run(&mut self) -> Result<(), Failure> {
        let mut events = self.owned.client.subscribe();
        self.look_around().await?;
        self.show_undecided().await?;
        // What an earlier process left, before anything new.
        if self.show_waiting().await? == Next::Enough {
            return Ok(());
        }
        loop {
            if self.step(&mut events).await? == Next::Enough {
                return Ok(());
            }
        }
    }

    async fn step(&mut self, events: &mut Receiver<ClientEvent>) -> Result<Next, Failure> {
        match events.recv().await {
            Ok(event) => self.on_event(&event).await,
            Err(RecvError::Lagged(_)) => {
                self.look_around().await?;
                self.show_waiting().await
            }
            Err(RecvError::Closed) => Err(Failure::new("the client ended by itself; see the log")),
        }
    }

    async fn on_event(&mut self, event: &ClientEvent) -> Result<Next, Failure> {
        match &event.fact {
            Fact::Core(Event::Received(_)) => self.show_waiting().await,
            Fact::Core(Event::Online) => {
                self.tell_online(true).await?;
                Ok(Next::GoOn)
            }
            Fact::Core(Event::Offline { .. }) => {
                self.is_online = false;
                self.tell(event).await
            }
            Fact::Core(Event::File(told)) => {
                let mut line = FileLine::from(told);
                let seen = self.files.entry(told.id).or_default();
                seen.meter.measure(&mut line, event.at);
                let was_told = seen.told;
                seen.told |= !matches!(told.stage, FileStage::Offered | FileStage::Accepted);
                if matches!(told.stage, FileStage::Done { .. } | FileStage::Ended { .. }) {
                    self.files.remove(&told.id);
                }
                if self.view.is_json() || !is_said_by_message(told, self.show, was_told) {
                    self.view.show(Line::File(line)).await?;
                }
                Ok(Next::GoOn)
            }
            Fact::Core(Event::RunningElsewhere { detail }) => Err(elsewhere(detail)),
            Fact::Core(Event::Removed { detail }) => Err(removed(detail)),
            Fact::Core(Event::KeyChanged { .. } | Event::Warned { .. })
            | Fact::StoreFailed { .. } => self.tell(event).await,
            _ => Ok(Next::GoOn),
        }
    }

    async fn tell(&mut self, event: &ClientEvent) -> Result<Next, Failure> {
        if let Some(line) = line_of_event(event, self.who()) {
            self.view.show(line).await?;
        }
        Ok(Next::GoOn)
    }

    fn who(&self) -> &Who {
        self.owned.client.who()
    }

    /// Tells what may have happened before we listened, or while we did not keep up.
    async fn look_around(&mut self) -> Result<(), Failure> {
        let status = self.owned.client.status().await.map_err(answer::failure)?;
        if let Some(detail) = &status.running_elsewhere {
            return Err(elsewhere(detail));
        }
        if let Some(detail) = status.core.removed {
            // What had come before is shown before this ends.
            self.show_waiting().await?;
            return Err(removed(detail));
        }
        self.tell_online(status.core.online).await
    }

    /// Offers that wait for a person since an earlier process.
    async fn show_undecided(&mut self) -> Result<(), Failure> {
        let files = self.owned.client.files().await.map_err(answer::failure)?;
        for file in files {
            if matches!(file.told.stage, FileStage::Undecided { .. }) {
                self.files.entry(file.told.id).or_default().told = true;
                self.view.show(Line::File(FileLine::from(&file))).await?;
            }
        }
        Ok(())
    }

    async fn tell_online(&mut self, is_online: bool) -> Result<(), Failure> {
        if is_online && !self.is_online {
            let line = online(self.who());
            self.view.show(line).await?;
        }
        self.is_online = is_online;
        Ok(())
    }

    async fn show_waiting(&mut self) -> Result<Next, Failure> {
        if matches!(self.show, Show::Nothing) {
            return Ok(Next::GoOn);
        }
        loop {
            let waiting = self
                .owned
                .client
                .unshown(UNSHOWN_MAX)
                .await
                .map_err(answer::failure)?;
            if waiting.is_empty() {
                return Ok(Next::GoOn);
            }
            for message in &waiting {
                if self.show(message).await? == Next::Enough {
                    return Ok(Next::Enough);
                }
            }
        }
    }

    /// Shows one message: committed before and after, so that a kill at any moment repeats it with
    /// `again` or not at all.
    async fn show(&mut self, message: &Unshown) -> Result<Next, Failure> {
        let client = &self.owned.client;
        let key = [message.key];
        client.mark_showing(&key).await.map_err(answer::failure)?;
        crash::at("show.marked");
        if let Some(gap) = answer::gap_line(&message.from, message.missing) {
            self.view.show(gap).await?;
        }
        self.view.show(line_of(message)).await?;
        crash::at("show.printed");
        client.mark_shown(&key).await.map_err(answer::failure)?;
        crash::at("show.done");
        let Show::Messages { left, read } = &mut self.show else {
            return Ok(Next::GoOn);
        };
        if *read {
            let said = client.mark_read(&[(message.user, message.key.id)]).await;
            said.map_err(answer::failure)?;
        }
        // An offer is no message that somebody waits for.
        let counted = u64::from(message.file.is_none());
        *left = left.map(|left| left.saturating_sub(counted));
        Ok(if *left == Some(0) {
            Next::Enough
        } else {
            Next::GoOn
        })
    }
}

/// Whether the message that offers a file tells a person the same. That it is taken goes without
/// saying where nobody was asked, nor anything else was told of it before.
fn is_said_by_message(told: &FileTold, show: Show, was_told: bool) -> bool {
    let said = match told.stage {
        FileStage::Offered => !told.ours,
        FileStage::Accepted => !told.ours && !was_told,
        _ => false,
    };
    said && matches!(show, Show::Messages { .. })
}

fn elsewhere(detail: &str) -> Failure {
    Failure::new(format!(
        "this device's identity runs elsewhere too ({detail}): end one of the two, and start this \
         one again if it is the one to keep; if the home was copied, join anew with the copy"
    ))
}

/// Nothing comes any more, and nothing goes.
fn removed(detail: &str) -> Failure {
    Failure::coded(ErrorCode::Revoked, detail)
}

fn line_of(message: &Unshown) -> Line {
    Line::Message(MessageLine {
        id: message.key.id.to_text(),
        from: message.from.to_string(),
        from_device: message.key.device.to_string(),
        text: message.text.clone(),
        path: message.path.name().to_owned(),
        sent_at: Timestamp::from_ms(message.sent_at_ms).to_string(),
        again: message.again,
        late: message.late,
        offer: message.file.is_some(),
        file: message.file.as_ref().map(FilePart::from),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use beeline_proto::id::Label;

    #[test]
    fn an_offer_is_told_once_by_its_message_where_messages_are_shown() {
        let told = |ours, stage| FileTold {
            id: MessageId([1; 16]),
            user: Label::new("alice").expect("a label"),
            ours,
            name: "a".to_owned(),
            size: 1,
            files: 0,
            small: false,
            stage,
            through: None,
        };
        let (left, read) = (None, false);
        let messages = Show::Messages { left, read };
        let offered = |ours| told(ours, FileStage::Offered);
        assert!(is_said_by_message(&offered(false), messages, false));
        assert!(!is_said_by_message(&offered(true), messages, false));
        assert!(!is_said_by_message(&offered(false), Show::Nothing, false));
        // Taken by itself, or after somebody was asked.
        let taken = |ours| told(ours, FileStage::Accepted);
        assert!(is_said_by_message(&taken(false), messages, false));
        assert!(!is_said_by_message(&taken(false), messages, true));
        assert!(!is_said_by_message(&taken(true), messages, false));
        assert!(!is_said_by_message(&taken(false), Show::Nothing, false));
    }
}
