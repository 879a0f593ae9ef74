//! Events as steps of the specification. Nothing is told that did not happen: a search counts as in
//! vain when the next rung starts, as found when something comes of it.

use crate::cli::line::StepLine;
use beeline::LinkStep;
use beeline::report::{ClientEvent, Fact};
use beeline_proto::id::MessageId;
use client_core::event::{DeliveryState, Event, MessageState, PeerState, Rung};
use client_core::output::SignalKind;
use std::time::Instant;

/// The life of one message.
pub(super) struct Story {
    id: MessageId,
    asked: Instant,
    /// Peers Alice was connected to when she asked.
    peers: usize,
    /// The rung being tried.
    rung: Option<Rung>,
    /// ICE candidates on the way, told once as a number.
    candidates: u32,
    state: DeliveryState,
}

/// Steps of the specification.
const CHECK_LOCAL: u32 = 1;
const DISCOVERY: u32 = 2;
const WEBRTC: u32 = 3;
const MESSAGE: u32 = 4;
const REGISTRY: u32 = 5;

impl Story {
    /// A message that was just queued.
    pub(super) fn new(id: MessageId, asked: Instant, peers: usize) -> Self {
        Self {
            id,
            asked,
            peers,
            rung: None,
            candidates: 0,
            state: DeliveryState::Queued,
        }
    }

    /// Whether the message came to an end.
    pub(super) fn is_over(&self) -> bool {
        self.state >= DeliveryState::Delivered
    }

    /// Where the message stands.
    pub(super) fn state(&self) -> DeliveryState {
        self.state
    }

    /// What there is to tell of an event.
    pub(super) fn tell(&mut self, who: &'static str, event: &ClientEvent) -> Vec<StepLine> {
        let told = match &event.fact {
            Fact::Core(core) => self.tell_core(who, core),
            Fact::Signal {
                sent, kind, peer, ..
            } => self.tell_signal(*sent, *kind, peer),
            Fact::Link { step, .. } => tell_link(step),
            Fact::Registry {
                call: "get-peer",
                took_us,
                failed,
            } => {
                let ms = *took_us as f64 / 1_000.0;
                let what = match failed {
                    None => format!("GET /peer/carol: found, signed, in {ms:.1} ms"),
                    Some(why) => format!("GET /peer/carol: {why}"),
                };
                vec![(REGISTRY, what)]
            }
            _ => Vec::new(),
        };
        let elapsed = event.at.saturating_duration_since(self.asked);
        let line = |(step, what)| StepLine {
            step: Some(step),
            who: who.to_owned(),
            what,
            elapsed_ms: Some((elapsed.as_secs_f64() * 10_000.0).round() / 10.0),
        };
        told.into_iter().map(line).collect()
    }

    fn tell_core(&mut self, who: &str, event: &Event) -> Vec<(u32, String)> {
        match event {
            Event::MessageState(state) if state.id == self.id => self.tell_state(state),
            Event::Received(message) if message.id == self.id => {
                let text = &message.text;
                vec![(
                    MESSAGE,
                    format!("has it, committed and acknowledged: \"{text}\""),
                )]
            }
            Event::PeerState {
                from, to, reason, ..
            } => {
                let step = if *to == PeerState::Discovering {
                    CHECK_LOCAL
                } else {
                    WEBRTC
                };
                let peer = if who == "alice" { "carol" } else { "alice" };
                vec![(
                    step,
                    format!("{peer}: {} -> {} ({reason})", from.name(), to.name()),
                )]
            }
            Event::Warned { kind, detail } => vec![(WEBRTC, format!("{kind}: {detail}"))],
            _ => Vec::new(),
        }
    }

    fn tell_state(&mut self, state: &MessageState) -> Vec<(u32, String)> {
        self.state = self.state.max(state.state);
        match (state.state, state.rung) {
            (DeliveryState::Trying, Some(rung)) => {
                let mut told = self.in_vain();
                self.rung = Some(rung);
                told.extend(self.search(rung));
                told
            }
            (DeliveryState::Delivered, _) => {
                let path = state.path.map_or("unknown", |path| path.name());
                let by = state.found_by.map_or("unknown", |rung| rung.name());
                let ms = state.elapsed_ms;
                let what = format!("\u{2713} Delivered in {ms} ms: path {path}, found by {by}");
                vec![(MESSAGE, what)]
            }
            (DeliveryState::Queued, _) => Vec::new(),
            (other, _) => {
                let why = state.reason.as_deref().unwrap_or("no reason given");
                vec![(MESSAGE, format!("{}: {why}", other.name()))]
            }
        }
    }

    /// The rung before is over without a result.
    fn in_vain(&self) -> Vec<(u32, String)> {
        match self.rung {
            Some(Rung::Connected) => vec![(CHECK_LOCAL, "no open link".to_owned())],
            Some(Rung::Cache) => vec![(CHECK_LOCAL, "no recent route".to_owned())],
            _ => Vec::new(),
        }
    }

    /// A rung starts.
    fn search(&self, rung: Rung) -> Option<(u32, String)> {
        let told = match rung {
            Rung::Connected => (CHECK_LOCAL, "check open links to carol".to_owned()),
            Rung::Cache => (
                CHECK_LOCAL,
                "check peer_routes in SQLite for carol".to_owned(),
            ),
            Rung::Peers if self.peers == 0 => (
                DISCOVERY,
                "ask connected peers: nobody to ask yet".to_owned(),
            ),
            Rung::Peers => (
                DISCOVERY,
                format!("ask connected peers: {} of them", self.peers),
            ),
            Rung::Coordinators => return None,
            Rung::Registry => (REGISTRY, "ask the registry, the last resort".to_owned()),
            Rung::StoreAndForward => (REGISTRY, "switch to store and forward".to_owned()),
        };
        Some(told)
    }

    fn tell_signal(&mut self, sent: bool, kind: SignalKind, peer: &str) -> Vec<(u32, String)> {
        let name = match kind {
            SignalKind::Offer => "OFFER",
            SignalKind::Answer => "ANSWER",
            SignalKind::RelayRequest => "RELAY_REQUEST",
            SignalKind::IceCandidate => {
                self.candidates += 1;
                if self.candidates > 1 {
                    return Vec::new();
                }
                "the first ICE_CANDIDATE"
            }
        };
        let what = match sent {
            true => format!("sends {name} to {peer} through the gateway, sealed"),
            false => format!("receives {name} from {peer}"),
        };
        vec![(WEBRTC, what)]
    }
}

fn tell_link(step: &LinkStep) -> Vec<(u32, String)> {
    let what = match step {
        LinkStep::Created => "creates an RTCPeerConnection".to_owned(),
        LinkStep::Open => "DataChannel open: ICE, DTLS and SCTP are done".to_owned(),
        LinkStep::Closed { reason } => format!("link closed: {reason}"),
        LinkStep::Described | LinkStep::Interrupted | LinkStep::Resumed => return Vec::new(),
    };
    vec![(WEBRTC, what)]
}
