//! Answers to `peers`, `routes`, `history`, `why`, `verify` and `status`, from a running client or,
//! where nobody runs it, from its store: whoever asks, by command line or socket, gets these lines.

mod files;
mod story;

use super::args::{FileAction, FileId};
use super::device_line::DeviceLine;
use super::fail::Failure;
use super::line::{
    CoordinatorPart, FilePart, HistoryLine, Line, LinkPart, PeerLine, RouteLine, StatusLine,
    VerifyLine,
};
use beeline::Client;
use beeline::error::QueryError;
use beeline::report::{
    CoordinatorInfo, Counts, HistoryItem, LinkInfo, PeerInfo, RouteInfo, SafetyNumber, Who,
};
use beeline::store::Reader;
use beeline_proto::code::ErrorCode;
use beeline_proto::id::{Label, MessageId};
use beeline_proto::safety::grouped;
use beeline_proto::time::Timestamp;
use client_core::event::PeerState;
use data_encoding::HEXLOWER;
use std::collections::BTreeSet;
use story::story_lines;

/// Names the question that puts a device list in force.
const PUT_LIST: &str = "put-device-list";

/// The state of a message that another device of ours sent: there it is known.
const COPIED: &str = "copied";

/// Messages of one `history`.
const HISTORY_LINES_MAX: usize = 1_000;

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Question {
    /// Known users and the connection to each.
    Peers,
    /// The route cache.
    Routes,
    /// Messages with a user.
    History(Label),
    /// Delete the messages with a user.
    Forget(Label),
    /// Tell a user of reading, or not.
    ReadReceipts {
        /// The user.
        user: Label,
        /// Whether to tell.
        on: bool,
    },
    /// Put a newer list of our devices in force, and publish it.
    PutDeviceList(Vec<u8>),
    /// The life of a message.
    Why(MessageId),
    /// The files under way and waiting.
    Files,
    /// Do something with one of them.
    ChangeFile(FileAction),
    /// The safety number with a user.
    Verify {
        /// The user.
        user: Label,
        /// Whether to accept a changed key.
        accept: bool,
    },
}

impl Question {
    /// Whether the answer changes something, so that only the owner of the home may give it.
    pub(crate) fn changes(&self) -> bool {
        match self {
            Self::Forget(_)
            | Self::ReadReceipts { .. }
            | Self::PutDeviceList(_)
            | Self::ChangeFile(_) => true,
            Self::Verify { accept, .. } => *accept,
            Self::Peers | Self::Routes | Self::History(_) | Self::Why(_) | Self::Files => false,
        }
    }

    /// Whether others are to hear of the change at once, so that it needs the network.
    pub(crate) fn is_published(&self) -> bool {
        matches!(self, Self::PutDeviceList(_))
    }

    /// Its name and subject on the socket.
    pub(crate) fn to_wire(&self) -> (&'static str, String, bool) {
        match self {
            Self::Peers => ("peers", String::new(), false),
            Self::Routes => ("routes", String::new(), false),
            Self::History(user) => ("history", user.to_string(), false),
            Self::Forget(user) => ("forget", user.to_string(), false),
            Self::ReadReceipts { user, on } => ("read-receipts", user.to_string(), *on),
            Self::PutDeviceList(list) => (PUT_LIST, HEXLOWER.encode(list), false),
            Self::Why(id) => ("why", id.to_text(), false),
            Self::Files => ("files", String::new(), false),
            Self::ChangeFile(action) => {
                let (name, id) = files::to_wire(*action);
                (name, id.to_text(), false)
            }
            Self::Verify { user, accept } => ("verify", user.to_string(), *accept),
        }
    }

    /// Reads what [`Question::to_wire`] wrote.
    pub(crate) fn from_wire(name: &str, subject: &str, accept: bool) -> Result<Self, Failure> {
        let user = || {
            Label::new(subject)
                .map_err(|e| Failure::coded(ErrorCode::InvalidArgument, e.to_string()))
        };
        match name {
            "peers" => Ok(Self::Peers),
            "routes" => Ok(Self::Routes),
            "history" => Ok(Self::History(user()?)),
            "forget" => Ok(Self::Forget(user()?)),
            "read-receipts" => Ok(Self::ReadReceipts {
                user: user()?,
                on: accept,
            }),
            PUT_LIST => {
                let list = HEXLOWER.decode(subject.as_bytes());
                let damaged = "the device list is not hexadecimal";
                let list = list.map_err(|_| Failure::coded(ErrorCode::InvalidArgument, damaged))?;
                Ok(Self::PutDeviceList(list))
            }
            "why" => Ok(Self::Why(message_id(subject)?)),
            "verify" => Ok(Self::Verify {
                user: user()?,
                accept,
            }),
            "files" => Ok(Self::Files),
            _ => match files::action_of(name) {
                Some(action) => {
                    let id = message_id(subject)?;
                    Ok(Self::ChangeFile(action(FileId { id })))
                }
                None => Err(unknown(name)),
            },
        }
    }
}

/// What a beeline of another version asks.
fn unknown(name: &str) -> Failure {
    let text = format!("{name:?} is no question this beeline knows: restart it");
    Failure::coded(ErrorCode::Unimplemented, text)
}

/// Reads a message id as people type it.
pub(crate) fn message_id(text: &str) -> Result<MessageId, Failure> {
    MessageId::from_text(text).ok_or_else(|| {
        let advice =
            "is not a message id: give the 26 characters that send, listen and history print";
        Failure::coded(ErrorCode::InvalidArgument, format!("{text:?} {advice}"))
    })
}

/// Answers a question from a running client.
pub(crate) async fn answer(client: &Client, question: &Question) -> Result<Vec<Line>, Failure> {
    let lines = match question {
        Question::Peers => peer_lines(
            client.peers().await.map_err(failure)?,
            &client.routes().await.map_err(failure)?,
        ),
        Question::Routes => route_lines(client.routes().await.map_err(failure)?),
        Question::History(user) => {
            let items = client.history(user, HISTORY_LINES_MAX).await;
            history_lines(items.map_err(failure)?)
        }
        Question::Forget(user) => {
            let messages = client.forget(user).await.map_err(failure)?;
            let user = user.to_string();
            vec![Line::Deleted { user, messages }]
        }
        Question::ReadReceipts { user, on } => {
            let set = client.set_read_receipts(user, *on).await;
            set.map_err(failure)?;
            let (user, on) = (user.to_string(), *on);
            vec![Line::ReadReceipts { user, on }]
        }
        Question::PutDeviceList(list) => {
            let put = client.put_device_list(list.clone()).await;
            let registry = put.map_err(failure)?;
            vec![Line::Device(DeviceLine::DeviceList {
                published: registry == Some(Ok(())),
                reason: registry.and_then(Result::err),
            })]
        }
        Question::Why(id) => story_lines(&client.why(*id).await.map_err(failure)?),
        Question::Files => files::lines(client.files().await.map_err(failure)?),
        Question::ChangeFile(action) => vec![files::change(client, *action).await?],
        Question::Verify { user, accept } => {
            verify_lines(&client.verify(user, *accept).await.map_err(failure)?)
        }
    };
    Ok(lines)
}

/// Answers a question from the store of a home that nobody runs; nothing is accepted there.
pub(crate) fn answer_at_rest(reader: &Reader, question: &Question) -> Result<Vec<Line>, Failure> {
    let routes = || reader.routes(wall_ms()).map_err(failure);
    let lines = match question {
        Question::Peers => peer_lines(Vec::new(), &routes()?),
        Question::Routes => route_lines(routes()?),
        Question::History(user) => {
            history_lines(reader.history(user, HISTORY_LINES_MAX).map_err(failure)?)
        }
        Question::Why(id) => story_lines(&reader.why(*id).map_err(failure)?),
        Question::Files => files::lines(reader.files().map_err(failure)?),
        Question::Verify { user, .. } => {
            verify_lines(&reader.safety_number(user).map_err(failure)?)
        }
        Question::Forget(_)
        | Question::ReadReceipts { .. }
        | Question::PutDeviceList(_)
        | Question::ChangeFile(_) => {
            let text = "only a process that owns the home can do that";
            return Err(Failure::coded(ErrorCode::Unavailable, text));
        }
    };
    Ok(lines)
}

/// Unix milliseconds, to tell which routes are demoted.
#[expect(
    clippy::disallowed_methods,
    reason = "a command that only looks has no driver to ask"
)]
fn wall_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis().try_into().unwrap_or(u64::MAX))
}

/// The shared error behind a failed question.
pub(crate) fn failure(error: QueryError) -> Failure {
    let text = error.to_string();
    match error {
        QueryError::NotFound(_) => Failure::coded(ErrorCode::NotFound, text),
        QueryError::Refused { code, .. } => Failure::coded(code, text),
        QueryError::Stopped => Failure::coded(ErrorCode::Unavailable, text),
        QueryError::Home(_) | QueryError::Store(_) => Failure::new(text),
    }
}

fn at(ms: u64) -> String {
    Timestamp::from_ms(ms).to_string()
}

/// Peers the manager knows, and users only the route cache knows.
fn peer_lines(known: Vec<PeerInfo>, routes: &[RouteInfo]) -> Vec<Line> {
    let seen: BTreeSet<String> = known.iter().map(|peer| peer.label.to_string()).collect();
    let running = known.into_iter().map(|peer| PeerLine {
        user: peer.label.to_string(),
        state: peer.state.name().to_owned(),
        fingerprint: peer.user.map(|user| user.to_string()),
        verified: peer.verified,
        key_changed: peer.blocked,
        via: peer.vias as u64,
        waiting: peer.waiting as u64,
        retry_in_ms: peer.retry_in_ms,
        links: peer.links.iter().map(link_part).collect(),
        reason: None,
    });
    let others = routes.iter().map(|route| route.user_label.to_string());
    let others: BTreeSet<String> = others.filter(|user| !seen.contains(user)).collect();
    let resting = others.into_iter().map(|user| PeerLine {
        user,
        state: PeerState::Disconnected.name().to_owned(),
        ..PeerLine::default()
    });
    let mut lines: Vec<PeerLine> = running.chain(resting).collect();
    lines.sort_by(|a, b| a.user.cmp(&b.user));
    lines.into_iter().map(Line::Peer).collect()
}

fn link_part(link: &LinkInfo) -> LinkPart {
    LinkPart {
        device: link.device_label.to_string(),
        found_by: link.found_by.map(|rung| rung.name().to_owned()),
        rtt_ms: link.rtt_ms,
        open_ms: link.open_ms,
    }
}

fn route_lines(routes: Vec<RouteInfo>) -> Vec<Line> {
    let line = |route: RouteInfo| {
        Line::Route(RouteLine {
            user: route.user_label.to_string(),
            device: route.device.to_string(),
            signal_addr: route.signal_addr,
            found_by: route.found_by.name().to_owned(),
            seen_at: at(route.seen_ms),
            connected_at: (route.connected_ms > 0).then(|| at(route.connected_ms)),
            freshness: if route.fresh { "fresh" } else { "stale" }.to_owned(),
            demoted: route.demoted,
        })
    };
    routes.into_iter().map(line).collect()
}

/// The line before a message before which some are missing.
pub(crate) fn gap_line(user: &Label, missing: u64) -> Option<Line> {
    (missing > 0).then(|| Line::Gap {
        user: user.to_string(),
        missing,
    })
}

/// Where a message stands; of one that another device of ours sent that is known there.
fn state_word(item: &HistoryItem) -> &'static str {
    match item.sent_by {
        None => item.state.name(),
        Some(_) => COPIED,
    }
}

fn history_lines(items: Vec<HistoryItem>) -> Vec<Line> {
    let line = |item: HistoryItem| {
        let gap = gap_line(&item.with, item.missing);
        let state = state_word(&item).to_owned();
        let line = Line::History(HistoryLine {
            id: item.id.to_text(),
            direction: if item.ours { "sent" } else { "received" }.to_owned(),
            user: item.with.to_string(),
            text: item.text,
            state,
            device: item.sent_by.map(|device| device.short().to_string()),
            path: item.path.map(|path| path.name().to_owned()),
            reason: item.reason,
            sent_at: at(item.sent_at_ms),
            at: at(item.at_ms),
            file: item.file.as_ref().map(FilePart::from),
        });
        gap.into_iter().chain([line])
    };
    items.into_iter().flat_map(line).collect()
}

fn verify_lines(number: &SafetyNumber) -> Vec<Line> {
    vec![Line::Verify(VerifyLine {
        user: number.user.to_string(),
        safety_number: grouped(&number.digits),
        verified: number.verified,
        claimed_safety_number: number.claimed.as_deref().map(grouped),
    })]
}

/// The status of a running client.
pub(crate) async fn status(client: &Client) -> Result<Line, Failure> {
    let status = client.status().await.map_err(failure)?;
    let mut line = status_line(&status.who, status.counts);
    line.running = true;
    line.pid = Some(std::process::id());
    line.online = status.core.online;
    line.signal_addr.clone_from(&status.who.served);
    line.ice = Some(status.ice.name().to_owned());
    line.gateway = status.gateway;
    line.running_elsewhere = status.running_elsewhere;
    line.removed = status.core.removed.map(str::to_owned);
    line.store_failed = status.store_failed;
    line.links = status.core.links_open as u64;
    line.connecting = status.core.links_pending as u64;
    line.coordinators = status.core.coordinators.iter().map(coordinator).collect();
    line.files = files::summary(&client.files().await.map_err(failure)?);
    line.kept = status.core.kept.parcels;
    line.kept_bytes = status.core.kept.bytes;
    if status.core.keeps {
        line.kept_bytes_max = status.core.kept_max.bytes;
    }
    let counted = |(kind, count): &(&'static str, u64)| ((*kind).to_owned(), *count);
    line.refused = status.core.refused.iter().map(counted).collect();
    Ok(Line::Status(Box::new(line)))
}

fn coordinator(info: &CoordinatorInfo) -> CoordinatorPart {
    CoordinatorPart {
        user: info.user_label.to_string(),
        device: info.device_label.to_string(),
        linked: info.linked,
        socket: info.socket_up,
        load: info.load,
        capacity: info.capacity,
    }
}

/// The status of a home that nobody runs.
pub(crate) fn status_at_rest(reader: &Reader) -> Result<Line, Failure> {
    let counts = reader.counts().map_err(failure)?;
    let mut line = status_line(reader.who(), counts);
    line.removed = reader.removed().map_err(failure)?.map(str::to_owned);
    line.files = files::summary(&reader.files().map_err(failure)?);
    Ok(Line::Status(Box::new(line)))
}

fn status_line(who: &Who, counts: Counts) -> StatusLine {
    StatusLine {
        network: who.network_label.to_string(),
        user: who.user_label.to_string(),
        device: who.device_label.to_string(),
        network_fingerprint: who.network.to_string(),
        user_fingerprint: who.user.to_string(),
        device_fingerprint: who.device.to_string(),
        contacts: counts.contacts,
        routes: counts.routes,
        outbox: counts.outbox,
        unshown: counts.unshown,
        ..StatusLine::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_survive_the_socket() {
        let carol = Label::new("carol").expect("a label");
        for question in [
            Question::Peers,
            Question::Routes,
            Question::History(carol.clone()),
            Question::Forget(carol.clone()),
            Question::ReadReceipts {
                user: carol.clone(),
                on: false,
            },
            Question::Why(MessageId([9; 16])),
            Question::Files,
            Question::Verify {
                user: carol,
                accept: true,
            },
        ] {
            let (name, subject, accept) = question.to_wire();
            assert_eq!(Question::from_wire(name, &subject, accept), Ok(question));
        }
        assert!(Question::from_wire("future", "", false).is_err());
        assert!(
            Question::from_wire("why", "short", false).is_err_and(|f| f.message.contains("26"))
        );
    }
}
