//! Events as steps of the specification. Nothing is told that did not happen: a search counts as in
//! vain when the next rung starts, as found when something comes of it.

use crate::cli::fail::Failure;
use crate::cli::line::StepLine;
use beeline::LinkStep;
use beeline::report::{ClientEvent, Fact};
use beeline_proto::id::MessageId;
use client_core::event::{DeliveryState, Event, Fabric, MessageState, Path, PeerState, Rung};
use client_core::output::SignalKind;
use std::time::Instant;

/// The life of one message, or of the link that follows it.
pub(super) struct Story {
    from: String,
    to: String,
    id: Option<MessageId>,
    /// When all of it began.
    began: Instant,
    /// Peers the sender was connected to when it asked.
    peers: usize,
    /// The rung being tried.
    rung: Option<Rung>,
    /// ICE candidates on the way, told once.
    candidates: u32,
    /// Parcels handed on by peers, told once for each direction, then as a number.
    carried: Vec<(String, String)>,
    linked: bool,
    state: DeliveryState,
}

/// Steps of the specification.
const CHECK_LOCAL: u32 = 1;
const DISCOVERY: u32 = 2;
const WEBRTC: u32 = 3;
const MESSAGE: u32 = 4;
const REGISTRY: u32 = 5;

type Told = Vec<(u32, String)>;

impl Story {
    /// A message that was just queued.
    pub(super) fn new(
        (from, to): (&str, &str),
        id: MessageId,
        began: Instant,
        peers: usize,
    ) -> Self {
        Self {
            id: Some(id),
            peers,
            ..Self::of_link(from, to, began)
        }
    }

    /// The link two people are making.
    pub(super) fn of_link(from: &str, to: &str, began: Instant) -> Self {
        Self {
            from: from.to_owned(),
            to: to.to_owned(),
            id: None,
            began,
            peers: 0,
            rung: None,
            candidates: 0,
            carried: Vec::new(),
            linked: false,
            state: DeliveryState::Queued,
        }
    }

    /// Whether the message came to an end.
    pub(super) fn is_over(&self) -> bool {
        self.state >= DeliveryState::Delivered
    }

    /// Whether the sender has a link of its own to the receiver now.
    pub(super) fn is_linked(&self) -> bool {
        self.linked
    }

    /// An error unless the message was delivered.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        match self.state {
            DeliveryState::Delivered | DeliveryState::Read => Ok(()),
            state => Err(Failure::new(format!(
                "the message ended as {}",
                state.name()
            ))),
        }
    }

    /// What there is to tell of an event.
    pub(super) fn tell(&mut self, who: &'static str, event: &ClientEvent) -> Vec<StepLine> {
        let told = match &event.fact {
            Fact::Core(core) => self.tell_core(who, core),
            Fact::Signal {
                sent, kind, peer, ..
            } if self.is_about(who) => self.tell_signal(*sent, *kind, peer),
            Fact::Link { step, .. } if self.is_about(who) => tell_link(step),
            Fact::Registry {
                call: "get-peer",
                took_us,
                failed,
            } if who == self.from => {
                let ms = *took_us as f64 / 1_000.0;
                let what = match failed {
                    None => format!("GET /peer/{}: found, signed, in {ms:.1} ms", self.to),
                    Some(why) => format!("GET /peer/{}: {why}", self.to),
                };
                vec![(REGISTRY, what)]
            }
            _ => Vec::new(),
        };
        let line = |(step, what)| StepLine {
            step: Some(step),
            who: who.to_owned(),
            what,
            elapsed_ms: Some(elapsed_ms(self.began, event.at)),
        };
        told.into_iter().map(line).collect()
    }

    /// What was only counted.
    pub(super) fn sum_up(&mut self) -> Vec<StepLine> {
        let all = self.carried.len();
        if all <= 2 {
            return Vec::new();
        }
        self.carried.clear();
        vec![StepLine {
            who: "peers".to_owned(),
            what: format!("{all} parcels were handed on in all, opened by nobody on the way"),
            ..StepLine::default()
        }]
    }

    fn is_about(&self, who: &str) -> bool {
        who == self.from || who == self.to
    }

    fn tell_core(&mut self, who: &str, event: &Event) -> Told {
        match event {
            Event::MessageState(state) if Some(state.id) == self.id => self.tell_state(state),
            Event::Received(message) if Some(message.id) == self.id => {
                let text = &message.text;
                let how = match message.path {
                    Path::Direct => "directly",
                    Path::Relay => "handed on by a peer",
                    Path::Stored => "from one that kept it",
                };
                let what = format!("has it, {how}, committed and acknowledged: \"{text}\"");
                vec![(MESSAGE, what)]
            }
            Event::PeerState {
                user,
                from,
                to,
                reason,
            } if self.is_about(who) && self.is_about(user.as_str()) => {
                self.linked |= who == self.from && *to == PeerState::Connected;
                let step = if *to == PeerState::Discovering {
                    CHECK_LOCAL
                } else {
                    WEBRTC
                };
                let what = format!("{user}: {} -> {} ({reason})", from.name(), to.name());
                vec![(step, what)]
            }
            Event::Fabric(step) => self.tell_fabric(step),
            Event::Warned { kind, detail } => vec![(WEBRTC, format!("{kind}: {detail}"))],
            _ => Vec::new(),
        }
    }

    fn tell_fabric(&mut self, step: &Fabric) -> Told {
        let name = |label: &Option<beeline_proto::id::Label>| {
            label
                .as_ref()
                .map_or("somebody".to_owned(), ToString::to_string)
        };
        match step {
            Fabric::Asked { peer, user } => {
                let mut told = self.in_vain(Rung::Peers);
                self.rung = self.rung.max(Some(Rung::Peers));
                told.push((DISCOVERY, format!("PEER_QUERY to {peer}: where is {user}?")));
                told
            }
            Fabric::Answered { peer, user } => vec![(
                DISCOVERY,
                format!("PEER_FOUND to {peer}: {user}'s signed record"),
            )],
            Fabric::Found {
                peer,
                user,
                signal_addr,
                can_relay,
            } => vec![(
                DISCOVERY,
                format!(
                    "PEER_FOUND by {peer}: {user}, verified; signalAddr {signal_addr}, \
                     canRelay {can_relay}"
                ),
            )],
            Fabric::Through { id, peer } if Some(*id) == self.id => vec![(
                MESSAGE,
                format!("gives it, sealed for {}, to {peer} to hand on", self.to),
            )],
            Fabric::Through { .. } => Vec::new(),
            Fabric::Carried { from, to, bytes } => {
                let pair = (name(from), name(to));
                let first = !self.carried.contains(&pair);
                self.carried.push(pair.clone());
                let (from, to) = pair;
                let what = format!("hands a sealed parcel of {from} on to {to}, {bytes} bytes");
                first.then_some((MESSAGE, what)).into_iter().collect()
            }
        }
    }

    fn tell_state(&mut self, state: &MessageState) -> Told {
        self.state = self.state.max(state.state);
        match (state.state, state.rung) {
            (DeliveryState::Trying, Some(rung)) => {
                let mut told = self.in_vain(rung);
                self.rung = Some(rung);
                // A reason is what came of it.
                match &state.reason {
                    Some(reason) => told.push((DISCOVERY, reason.clone())),
                    None => told.extend(self.search(rung)),
                }
                told
            }
            (DeliveryState::Relayed, _) => {
                let what = "relayed: it is on the link to the receiver".to_owned();
                vec![(MESSAGE, what)]
            }
            (DeliveryState::Delivered, _) => {
                // A message may go through a peer, and its acknowledgement over a link made since.
                let way = match state.path {
                    Some(Path::Direct) => "directly",
                    Some(Path::Relay) => "through a peer",
                    Some(Path::Stored) | None => "by another way",
                };
                let by = state.found_by.map_or("unknown", |rung| rung.name());
                let what = format!(
                    "\u{2713} Delivered in {} ms, found by {by}; the acknowledgement came {way}",
                    state.elapsed_ms
                );
                vec![(MESSAGE, what)]
            }
            (DeliveryState::Queued, _) => Vec::new(),
            (other, _) => {
                let why = state.reason.as_deref().unwrap_or("no reason given");
                vec![(MESSAGE, format!("{}: {why}", other.name()))]
            }
        }
    }

    /// A rung starts: those before it that could not even be tried had nothing.
    fn in_vain(&self, rung: Rung) -> Told {
        if self.rung.is_some() || rung <= Rung::Cache {
            return Vec::new();
        }
        let to = &self.to;
        let mut told = vec![(
            CHECK_LOCAL,
            format!("no open link to {to}, no recent route in SQLite"),
        )];
        if rung > Rung::Peers && self.peers == 0 {
            told.push((DISCOVERY, "no connected peer to ask".to_owned()));
        }
        told
    }

    /// A rung starts.
    fn search(&self, rung: Rung) -> Option<(u32, String)> {
        let told = match rung {
            Rung::Connected => (CHECK_LOCAL, format!("has an open link to {}", self.to)),
            Rung::Cache => (CHECK_LOCAL, format!("has a route to {} in SQLite", self.to)),
            // Each question is told by itself.
            Rung::Peers | Rung::Coordinators => return None,
            Rung::Registry => (REGISTRY, "asks the registry, the last resort".to_owned()),
            Rung::StoreAndForward => (REGISTRY, "switches to store and forward".to_owned()),
        };
        Some(told)
    }

    fn tell_signal(&mut self, sent: bool, kind: SignalKind, peer: &str) -> Told {
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

/// Milliseconds of the story, in tenths.
pub(super) fn elapsed_ms(began: Instant, at: Instant) -> f64 {
    let elapsed = at.saturating_duration_since(began);
    (elapsed.as_secs_f64() * 10_000.0).round() / 10.0
}

fn tell_link(step: &LinkStep) -> Told {
    let what = match step {
        LinkStep::Created => "creates an RTCPeerConnection".to_owned(),
        LinkStep::Open => "DataChannel open: ICE, DTLS and SCTP are done".to_owned(),
        LinkStep::Closed { reason } => format!("link closed: {reason}"),
        LinkStep::Described | LinkStep::Interrupted | LinkStep::Resumed => return Vec::new(),
    };
    vec![(WEBRTC, what)]
}
