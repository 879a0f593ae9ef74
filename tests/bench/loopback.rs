//! Two whole peer managers on real WebRTC links in one thread, with nothing else real: signalling
//! is handed over in memory, and the store says "committed" at once.
//!
//! This is the client without its disk and its servers, and a driver as thin as the native one's.

use crate::measure::{now, text};
use crate::spent::{Spent, TimedCrypto};
use beeline::rtc::{self, BindTo, IceCandidate, RtcConfig, RtcFactory, RtcPeer};
use beeline_proto::id::Label;
use beeline_proto::time::Now;
use bytes::Bytes;
use client_core::event::{DeliveryState, Event, PeerState};
use client_core::input::{Candidate, Command, CommandId, LinkId, RegistryAnswer, RegistryPeer};
use client_core::input::{RtcEvent, SignalInput, SocketId};
use client_core::output::{RegistryCall, RtcCommand};
use client_core::state::{Loaded, StoreOp, StoreResult};
use client_core::testing::{Authority, User};
use client_core::{Config, Input, Output, PeerManager};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Events of one side's links that may wait.
const EVENTS: usize = 1_024;
/// Seconds until announcing again; longer than a benchmark.
const REANNOUNCE_S: u32 = 3_600;
/// How long one thing may take before the benchmark says that it hangs.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often a link is looked at while it is watched; the runtime's clock is no finer than 1 ms.
const LOOK: Duration = Duration::from_millis(1);
/// The life of a membership, milliseconds.
const YEAR_MS: u64 = 365 * 24 * 3_600 * 1_000;

/// The gateway's socket.
const GATEWAY: SocketId = SocketId(0);

/// One side.
struct Side {
    name: Label,
    manager: PeerManager,
    chain: Vec<u8>,
    record: Vec<u8>,
    factory: RtcFactory,
    links: BTreeMap<LinkId, RtcPeer>,
    sender: mpsc::Sender<(rtc::LinkId, rtc::RtcEvent)>,
    events: mpsc::Receiver<(rtc::LinkId, rtc::RtcEvent)>,
    inputs: VecDeque<Input>,
    /// Frames that found no room since the manager was last told, in order.
    refused: BTreeMap<LinkId, Vec<Vec<u8>>>,
}

/// When something was seen first, during a set-up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moments {
    pub(crate) offered: Option<Instant>,
    pub(crate) described: Option<Instant>,
    pub(crate) answered: Option<Instant>,
    /// Only when watched: ICE has chosen a pair.
    pub(crate) nominated: Option<Instant>,
    /// Only when watched: DTLS is done.
    pub(crate) secured: Option<Instant>,
    pub(crate) open: [Option<Instant>; 2],
    pub(crate) connected: [Option<Instant>; 2],
}

/// Alice (0) and Carol (1).
pub(crate) struct Loopback {
    sides: [Side; 2],
    start: Instant,
    /// What both managers have cost.
    pub(crate) spent: Spent,
    /// Of the newest link.
    pub(crate) moments: Moments,
    /// Messages of Alice's that Carol's device acknowledged.
    pub(crate) delivered: usize,
    commands: u64,
}

impl Loopback {
    /// Two members who know nothing of each other.
    pub(crate) fn new() -> Result<Self, String> {
        let mut authority = Authority::new("bench");
        let spent = Spent::default();
        let start = now();
        let expires_ms = wall_ms() + YEAR_MS;
        let alice = authority.admit("alice", "alice", &["alice_phone"], expires_ms);
        let carol = authority.admit("carol", "carol", &["carol_phone"], expires_ms);
        let sides = [
            Side::new(&authority, &alice, 1, &spent)?,
            Side::new(&authority, &carol, 2, &spent)?,
        ];
        let (moments, delivered, commands) = Default::default();
        let mut pair = Self {
            sides,
            start,
            spent,
            moments,
            delivered,
            commands,
        };
        for side in [0, 1] {
            pair.input(side, Input::Signal(SignalInput::Up(GATEWAY)))?;
        }
        Ok(pair)
    }

    /// Makes the link: Alice dials; done when both HELLOs have been verified on both sides.
    pub(crate) async fn connect(&mut self) -> Result<Moments, String> {
        self.moments = Moments::default();
        let to = self.sides[1].name.clone();
        self.input(0, Input::Command(Command::Connect { to }))?;
        self.run_until(|pair| pair.moments.connected.iter().all(Option::is_some))
            .await?;
        Ok(self.moments)
    }

    /// As [`Loopback::connect`], and looks at Alice's link meanwhile.
    pub(crate) async fn connect_watched(&mut self) -> Result<Moments, String> {
        self.moments = Moments::default();
        let to = self.sides[1].name.clone();
        self.input(0, Input::Command(Command::Connect { to }))?;
        let mut looks = tokio::time::interval(LOOK);
        while !self.moments.connected.iter().all(Option::is_some) {
            // A step waits first and works after, so it may be left while it waits.
            let look = tokio::select! {
                step = self.step() => step.map(|()| false)?,
                _ = looks.tick() => true,
            };
            let Some(link) = self.sides[0].links.values().next().filter(|_| look) else {
                continue;
            };
            let seen = link.report().await;
            if seen.round_trip > 0.0 {
                self.moments.nominated.get_or_insert(now());
            }
            if !seen.dtls_cipher.is_empty() {
                self.moments.secured.get_or_insert(now());
            }
        }
        Ok(self.moments)
    }

    /// Queues a text from Alice to Carol.
    pub(crate) fn send(&mut self, text: &str) -> Result<(), String> {
        self.commands += 1;
        let send = Command::Send {
            command: CommandId(self.commands),
            to: self.sides[1].name.clone(),
            text: text.to_owned(),
            idempotency_key: None,
        };
        self.input(0, Input::Command(send))
    }

    /// Runs until so many messages were delivered.
    pub(crate) async fn until_delivered(&mut self, count: usize) -> Result<(), String> {
        self.run_until(|pair| pair.delivered >= count).await
    }

    /// Closes everything.
    pub(crate) async fn close(self) {
        for side in self.sides {
            drop((side.links, side.events));
            side.factory.drained().await;
        }
    }

    fn now(&self) -> Now {
        let mono = self.start.elapsed().as_millis();
        Now {
            mono_ms: u64::try_from(mono).unwrap_or(u64::MAX),
            wall_ms: wall_ms(),
        }
    }

    /// Gives one side an input and carries out all that follows, on both.
    fn input(&mut self, side: usize, input: Input) -> Result<(), String> {
        self.sides[side].inputs.push_back(input);
        while let Some(side) = (0..2).find(|side| !self.sides[*side].inputs.is_empty()) {
            let Some(input) = self.sides[side].inputs.pop_front() else {
                continue;
            };
            let at = self.now();
            let mut outputs = Vec::new();
            let began = now();
            self.sides[side].manager.handle_input(at, input);
            while let Some(output) = self.sides[side].manager.poll_output() {
                outputs.push(output);
            }
            self.spent.tally().manager.add(began.elapsed());
            for output in outputs {
                self.carry_out(side, output)?;
            }
            let this = &mut self.sides[side];
            for (link, refused) in std::mem::take(&mut this.refused) {
                let event = RtcEvent::Full { refused };
                this.inputs.push_front(Input::Rtc { link, event });
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, side: usize, output: Output) -> Result<(), String> {
        match output {
            Output::Signal(signal) => {
                let from = format!("{}_phone", self.sides[side].name);
                let input = SignalInput::Parcel {
                    socket: GATEWAY,
                    kind: signal.kind,
                    from,
                    parcel: signal.parcel,
                };
                self.sides[side ^ 1].inputs.push_back(Input::Signal(input));
            }
            Output::Store { ticket, ops } => {
                let result = Ok(ops.iter().map(committed).collect());
                self.sides[side]
                    .inputs
                    .push_back(Input::Store { ticket, result });
            }
            // Nobody here is a coordinator, or offers files.
            Output::Socket { .. } | Output::File(_) => {}
            Output::Registry { request, call } => {
                let answer = Ok(self.ask(side, call)?);
                self.sides[side]
                    .inputs
                    .push_back(Input::Registry { request, answer });
            }
            Output::Rtc { link, command } => self.command(side, link, command)?,
            Output::Event(event) => self.happened(side, event)?,
        }
        Ok(())
    }

    fn ask(&mut self, side: usize, call: RegistryCall) -> Result<RegistryAnswer, String> {
        match call {
            RegistryCall::Announce { record, .. } => {
                self.sides[side].record = record;
                Ok(RegistryAnswer::Announced {
                    reannounce_after_s: REANNOUNCE_S,
                    descriptor_version: 1,
                    revocations_version: 0,
                })
            }
            RegistryCall::GetPeer { .. } => Ok(RegistryAnswer::Peer(RegistryPeer {
                chain: self.sides[side ^ 1].chain.clone(),
                online: true,
                records: vec![self.sides[side ^ 1].record.clone()],
                last_coordinators: Vec::new(),
            })),
            RegistryCall::ListCoordinators => Ok(RegistryAnswer::Coordinators(Vec::new())),
            call => Err(format!("nobody answers {call:?} here")),
        }
    }

    fn command(&mut self, side: usize, link: LinkId, command: RtcCommand) -> Result<(), String> {
        let this = &mut self.sides[side];
        let (factory, sender) = (&this.factory, &this.sender);
        let open = || factory.open(rtc::LinkId(link.0), sender.clone());
        let peer = this.links.entry(link).or_insert_with(open);
        match command {
            RtcCommand::Offer { .. } => {
                self.moments.offered.get_or_insert(now());
                peer.offer().map_err(text)
            }
            RtcCommand::AcceptOffer { sdp, .. } => peer.accept_offer(&sdp).map(drop).map_err(text),
            RtcCommand::AcceptAnswer { sdp } => {
                self.moments.answered.get_or_insert(now());
                peer.accept_answer(&sdp).map(drop).map_err(text)
            }
            RtcCommand::AddCandidate(candidate) => {
                let candidate = IceCandidate {
                    candidate: candidate.candidate,
                    ..IceCandidate::default()
                };
                peer.add_candidate(&candidate).map(drop).map_err(text)
            }
            RtcCommand::Send(frame) => {
                if let Some(refused) = this.refused.get_mut(&link) {
                    refused.push(frame);
                    return Ok(());
                }
                let bytes = Bytes::from(frame);
                match peer.send(bytes.clone()) {
                    Err(rtc::SendError::Blocked) => {
                        this.refused.insert(link, vec![bytes.into()]);
                        return Ok(());
                    }
                    sent => sent.map_err(text)?,
                }
                let mut tally = self.spent.tally();
                tally.frames += 1;
                tally.frame_bytes += bytes.len() as u64;
                Ok(())
            }
            RtcCommand::Close => {
                this.links.remove(&link);
                Ok(())
            }
        }
    }

    fn happened(&mut self, side: usize, event: Event) -> Result<(), String> {
        match event {
            Event::MessageState(told) if told.state == DeliveryState::Delivered => {
                self.delivered += 1;
            }
            Event::PeerState {
                to: PeerState::Connected,
                ..
            } => {
                self.moments.connected[side].get_or_insert(now());
            }
            Event::PeerState {
                from: PeerState::Connected,
                to,
                reason,
                ..
            } => {
                return Err(format!("the link went {}: {reason}", to.name()));
            }
            Event::Refused { detail, .. } | Event::Warned { detail, .. } => return Err(detail),
            _ => {}
        }
        Ok(())
    }

    async fn run_until(&mut self, done: impl Fn(&Self) -> bool) -> Result<(), String> {
        let until = now() + PATIENCE;
        while !done(self) {
            if now() > until {
                return Err(format!("nothing more happens: {:?}", self.moments));
            }
            self.step().await?;
        }
        Ok(())
    }

    /// Waits for one thing to happen on either side.
    async fn step(&mut self) -> Result<(), String> {
        let timeouts = self
            .sides
            .iter()
            .filter_map(|side| side.manager.poll_timeout());
        let wake = timeouts.min().map_or(PATIENCE, Duration::from_millis);
        let wake = (self.start + wake).min(now() + PATIENCE);
        let [a, b] = &mut self.sides;
        let (side, event) = tokio::select! {
            biased;
            event = a.events.recv() => (0, event),
            event = b.events.recv() => (1, event),
            () = tokio::time::sleep_until(wake.into()) => {
                self.input(0, Input::Timeout)?;
                return self.input(1, Input::Timeout);
            }
        };
        let (link, event) = event.ok_or("the links fell silent")?;
        if !self.sides[side].links.contains_key(&LinkId(link.0)) {
            return Ok(());
        }
        match self.translate(side, event)? {
            Some(event) => self.input(
                side,
                Input::Rtc {
                    link: LinkId(link.0),
                    event,
                },
            ),
            None => Ok(()),
        }
    }

    fn translate(&mut self, side: usize, event: rtc::RtcEvent) -> Result<Option<RtcEvent>, String> {
        Ok(Some(match event {
            rtc::RtcEvent::LocalDescription { sdp } => {
                self.moments.described.get_or_insert(now());
                RtcEvent::LocalDescription { sdp }
            }
            rtc::RtcEvent::Candidate(candidate) => RtcEvent::Candidate(Candidate {
                candidate: candidate.candidate,
                ..Candidate::default()
            }),
            rtc::RtcEvent::EndOfCandidates => RtcEvent::EndOfCandidates,
            rtc::RtcEvent::Open {
                local_fingerprint,
                remote_fingerprint,
            } => {
                self.moments.open[side].get_or_insert(now());
                RtcEvent::Open {
                    local_fingerprint,
                    remote_fingerprint,
                }
            }
            rtc::RtcEvent::Message(message) => RtcEvent::Message(message.into()),
            rtc::RtcEvent::Writable => RtcEvent::Writable,
            rtc::RtcEvent::Closed { reason } => return Err(format!("a link closed: {reason}")),
            rtc::RtcEvent::Path(_) | rtc::RtcEvent::Interrupted | rtc::RtcEvent::Resumed => {
                return Ok(None);
            }
        }))
    }
}

impl Side {
    fn new(authority: &Authority, user: &User, seed: u8, spent: &Spent) -> Result<Self, String> {
        let name = user.label.clone();
        let config = Config::new(
            authority.network(),
            &format!("ws://127.0.0.1:8080/{name}_phone"),
        );
        let crypto = Box::new(TimedCrypto::new([seed; 32], spent.clone()));
        let identity = authority.identity(user, 0, seed);
        let chain = identity.chain.clone();
        let loaded = Loaded {
            incarnation: 1,
            ..Loaded::default()
        };
        let at = Now {
            mono_ms: 0,
            wall_ms: wall_ms(),
        };
        let manager = PeerManager::new(config, identity, loaded, crypto, at).map_err(text)?;
        let config = RtcConfig {
            bind: BindTo::Loopback,
            ..RtcConfig::default()
        };
        let factory = RtcFactory::new(config).map_err(text)?;
        let (sender, events) = mpsc::channel(EVENTS);
        let (record, links, inputs, refused) = Default::default();
        Ok(Self {
            name,
            manager,
            chain,
            record,
            factory,
            links,
            sender,
            events,
            inputs,
            refused,
        })
    }
}

/// What a store that keeps nothing answers.
fn committed(op: &StoreOp) -> StoreResult {
    match op {
        StoreOp::QueueMessage(_) | StoreOp::Receive(_) => {
            StoreResult::Inserted { seq_reused: false }
        }
        _ => StoreResult::Done,
    }
}

#[expect(clippy::disallowed_methods, reason = "the clock of this driver")]
fn wall_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}
