//! What a client tells of itself as lines: for `Watch` on the socket, `listen` and `run`.

use super::deliver::line_of;
use super::line::{Line, MessageLine, PeerLine};
use beeline::report::{ClientEvent, Fact, Who};
use beeline_proto::time::Timestamp;
use client_core::event::Event;

/// The line of an event; `None` for what only a log or a benchmark wants.
pub(crate) fn line_of_event(event: &ClientEvent, who: &Who) -> Option<Line> {
    match &event.fact {
        Fact::Core(event) => line_of_core(event, who),
        Fact::StoreFailed { detail } => Some(Line::Warning {
            kind: "store-failed".to_owned(),
            detail: detail.clone(),
        }),
        _ => None,
    }
}

fn line_of_core(event: &Event, who: &Who) -> Option<Line> {
    let warning = |kind: &str, detail: String| {
        let kind = kind.to_owned();
        Some(Line::Warning { kind, detail })
    };
    match event {
        Event::MessageState(state) => Some(Line::State(line_of(state))),
        Event::Received(message) => Some(Line::Message(MessageLine {
            id: message.id.to_text(),
            from: message.from.to_string(),
            from_device: message.from_device.to_string(),
            text: message.text.clone(),
            path: message.path.name().to_owned(),
            sent_at: Timestamp::from_ms(message.sent_at_ms).to_string(),
            again: false,
            late: false,
            offer: false,
            file: None,
        })),
        Event::File(told) => Some(Line::File(told.into())),
        Event::PeerState {
            user, to, reason, ..
        } => Some(Line::Peer(PeerLine {
            user: user.to_string(),
            state: to.name().to_owned(),
            reason: Some(reason.clone()),
            ..PeerLine::default()
        })),
        Event::Online => Some(online(who)),
        Event::Offline { reason } => Some(Line::Offline {
            reason: reason.clone(),
        }),
        Event::KeyChanged { user, .. } => warning(
            "key-changed",
            format!(
                "{user} has another key now, and sending to {user} is blocked: compare with \
                 `beeline verify {user}`, then accept with `beeline verify {user} --accept`"
            ),
        ),
        Event::RunningElsewhere { detail } => warning("running-elsewhere", detail.clone()),
        Event::Removed { detail } => warning("device-removed", detail.clone()),
        Event::Warned { kind, detail } => warning(kind, detail.clone()),
        Event::Queued { .. }
        | Event::Refused { .. }
        | Event::Done { .. }
        | Event::ListPublished { .. }
        | Event::Fabric(_) => None,
    }
}

/// `online` of a device.
pub(crate) fn online(who: &Who) -> Line {
    Line::Online {
        network: who.network_label.to_string(),
        user: who.user_label.to_string(),
        device: who.device_label.to_string(),
        signal_addr: who.served.clone(),
    }
}
