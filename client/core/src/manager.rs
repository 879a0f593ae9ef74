//! `PeerManager`: hands each input to the part it is for, and hands out what they want done.

use crate::acks::Acks;
use crate::bounded::{Bucket, Seen};
use crate::bundles::Bundles;
use crate::collect::Collected;
use crate::config::Config;
use crate::contacts::Contacts;
use crate::coordinators::Coordinators;
use crate::crypto::Crypto;
use crate::custodian::Deposit;
use crate::early::EarlyCandidates;
use crate::error::StartError;
use crate::files::Files;
use crate::heartbeat::Heartbeat;
use crate::inbox::Inbox;
use crate::input::{Command, Input, LinkId, RtcEvent, SignalInput};
use crate::keeping::Keeping;
use crate::limits::{
    NACKS_BURST, NACKS_PER_S, OPENS_BURST, OPENS_PER_S, PARCELS_SEEN_MAX, SESSIONS_SEEN_MAX,
};
use crate::link::Links;
use crate::me::Me;
use crate::neighbours::Neighbours;
use crate::outbox::Outbox;
use crate::output::Output;
use crate::outputs::Outputs;
use crate::pages::Pages;
use crate::peer::Peer;
use crate::placing::Placing;
use crate::presence::Presence;
use crate::queries::Queries;
use crate::reads::Reads;
use crate::relay::Carried;
use crate::routes::Routes;
use crate::sought::Sought;
use crate::state::{Identity, Loaded, StoreOp};
use crate::steady::Steady;
use crate::talk::Talks;
use crate::timer::{Timer, Timers};
use crate::vias::Vias;
use crate::visits::Visits;
use crate::ways::Way;
use beeline_proto::id::{DeviceFp, Label, ParcelId, SessionId};
use beeline_proto::time::Now;
use std::collections::{BTreeMap, BTreeSet};

/// One member device: everything it decides. See the crate's contract.
pub struct PeerManager {
    pub(crate) me: Me,
    pub(crate) crypto: Box<dyn Crypto>,
    pub(crate) out: Outputs,
    pub(crate) timers: Timers,
    pub(crate) steady: Steady,
    pub(crate) bundles: Bundles,
    pub(crate) contacts: Contacts,
    pub(crate) routes: Routes,
    pub(crate) vias: Vias,
    pub(crate) peers: BTreeMap<Label, Peer>,
    pub(crate) links: Links,
    pub(crate) outbox: Outbox,
    pub(crate) placing: Placing,
    pub(crate) inbox: Inbox,
    pub(crate) acks: Acks,
    pub(crate) files: Files,
    pub(crate) reads: Reads,
    pub(crate) presence: Presence,
    pub(crate) early: EarlyCandidates,
    pub(crate) talks: Talks,
    pub(crate) sought: Sought,
    pub(crate) neighbours: Neighbours,
    pub(crate) coordinators: Coordinators,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) queries: Queries,
    /// Sessions that were offered before.
    pub(crate) sessions_seen: Seen<(DeviceFp, SessionId)>,
    /// Parcels opened before.
    pub(crate) parcels_seen: Seen<ParcelId>,
    /// Parcels answered with a NACK before, in which stretch of `NACK_AGAIN_MS`, and which way.
    pub(crate) nacked: Seen<(ParcelId, u64, Way)>,
    pub(crate) opens: Bucket,
    pub(crate) nacks: Bucket,
    pub(crate) relay_requests: Bucket,
    pub(crate) carried: Carried,
    pub(crate) keeping: Keeping,
    /// Deposits of this input, to be written together.
    pub(crate) depositing: (Vec<StoreOp>, Vec<Deposit>),
    pub(crate) pages: Pages,
    pub(crate) collected: Collected,
    /// Users with durable messages to seal before the outputs are drained.
    pub(crate) unsealed: BTreeSet<Label>,
    /// Since when they wait for the rest of a burst to be durable, monotonic milliseconds.
    pub(crate) burst_since_ms: Option<u64>,
    pub(crate) visits: Visits,
    /// Links with items to put into frames before the outputs are drained.
    pub(crate) dirty: BTreeSet<LinkId>,
    pub(crate) draining: bool,
}

impl PeerManager {
    /// Starts from what the store loaded.
    ///
    /// # Errors
    /// [`StartError`] if our own chain does not verify or the configuration is not usable.
    pub fn new(
        config: Config,
        identity: Identity,
        loaded: Loaded,
        crypto: Box<dyn Crypto>,
        now: Now,
    ) -> Result<Self, StartError> {
        config.check()?;
        let keeping = Keeping::load(config.keep, &loaded.kept);
        let me = Me::new(config, identity, loaded.incarnation)?;
        me.check_role()?;
        let (contacts, unverified) = Contacts::load(loaded.contacts, me.network());
        let mut manager = Self {
            me,
            crypto,
            out: Outputs::new(now),
            timers: Timers::default(),
            steady: Steady::start(loaded.clock, now),
            bundles: Bundles::new(loaded.bundles),
            contacts,
            routes: Routes::default(),
            vias: Vias::default(),
            peers: BTreeMap::new(),
            links: Links::default(),
            outbox: Outbox::new(loaded.seqs),
            placing: Placing::default(),
            inbox: Inbox::load(&loaded.streams, loaded.held),
            acks: Acks::default(),
            files: Files::load(loaded.files),
            reads: Reads::default(),
            presence: Presence::default(),
            early: EarlyCandidates::default(),
            talks: Talks::default(),
            sought: Sought::default(),
            neighbours: Neighbours::default(),
            coordinators: Coordinators::default(),
            heartbeat: Heartbeat::default(),
            queries: Queries::default(),
            sessions_seen: Seen::new(SESSIONS_SEEN_MAX),
            parcels_seen: Seen::new(PARCELS_SEEN_MAX),
            nacked: Seen::new(PARCELS_SEEN_MAX),
            opens: Bucket::new(OPENS_PER_S, OPENS_BURST, now.mono_ms),
            nacks: Bucket::new(NACKS_PER_S, NACKS_BURST, now.mono_ms),
            relay_requests: Self::relay_request_bucket(now),
            carried: Carried::default(),
            keeping,
            depositing: Default::default(),
            pages: Pages::default(),
            collected: Collected::default(),
            unsealed: BTreeSet::new(),
            burst_since_ms: None,
            visits: Visits::default(),
            dirty: BTreeSet::new(),
            draining: false,
        };
        manager.warn_loaded(now, unverified, loaded.copied);
        manager.know_ourselves();
        manager.check_clock(now);
        manager.load_routes(loaded.routes, now);
        manager.begin(now);
        manager.outbox.load_settled(loaded.settled, now.mono_ms);
        manager.load_outbox(loaded.outbox, loaded.custody, now);
        manager.resume_files(now);
        manager.resume_streams(now);
        if manager.me.is_removed() {
            manager.end_removed(now);
        }
        manager.settle(now);
        Ok(manager)
    }

    /// Starts what a device does by itself. One that was taken off its user's list only knows what
    /// it has.
    fn begin(&mut self, now: Now) {
        self.draining = self.me.is_removed();
        if !self.draining {
            self.start_presence(now);
            self.start_tending(now);
            self.start_heartbeat(now);
        }
    }

    /// Says what was wrong with what the store loaded.
    fn warn_loaded(&mut self, now: Now, unverified: Vec<Label>, copied: Option<String>) {
        for label in unverified {
            let detail = format!("the stored chain of {label} does not verify; it is not used");
            self.out.warn(now, "stored-contact", detail);
        }
        if let Some(detail) = copied {
            self.out.warn(now, "home-copied", detail);
        }
    }

    /// Takes one input. Mutates once, never blocks, never fails.
    pub fn handle_input(&mut self, now: Now, input: Input) {
        match input {
            Input::Timeout => {}
            Input::Command(command) => self.on_command(now, command),
            Input::Signal(signal) => self.on_signal(now, signal),
            Input::Rtc { link, event } => self.on_link_event(now, link, event),
            Input::Registry { request, answer } => self.on_registry(now, request, answer),
            Input::Store { ticket, result } => self.on_written(now, ticket, result),
            Input::Stored(writes) => {
                for (ticket, result) in writes {
                    self.on_written(now, ticket, result);
                }
            }
            Input::File(event) => self.on_file_event(now, event),
            Input::NetworkChanged => self.on_network_changed(now),
            Input::Drain => self.on_drain(now),
        }
        self.fire_due(now);
        self.settle(now);
    }

    /// The next thing to do; drain to `None` before the next input.
    #[must_use]
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop()
    }

    /// When to come back with [`Input::Timeout`], in the milliseconds of [`Now::mono_ms`]; `None`
    /// while nothing is pending. Never in the past.
    pub fn poll_timeout(&self) -> Option<u64> {
        self.timers.next()
    }

    fn on_command(&mut self, now: Now, command: Command) {
        match command {
            Command::Send {
                command,
                to,
                text,
                idempotency_key,
            } => self.on_send(now, command, to, text, idempotency_key),
            Command::MarkRead { messages } => self.on_mark_read(now, &messages),
            Command::AcceptKey { command, user } => self.on_accept_key(now, command, &user),
            Command::SetReadReceipts { command, user, on } => {
                self.on_set_read_receipts(command, &user, on);
            }
            Command::File(call) => self.on_file_call(now, call),
            Command::Connect { to } => self.on_connect(now, &to),
            Command::PutDeviceList {
                command,
                device_list,
            } => self.on_put_device_list(now, command, &device_list),
        }
    }

    fn on_signal(&mut self, now: Now, signal: SignalInput) {
        if self.draining {
            return;
        }
        match signal {
            SignalInput::Up(socket) => self.on_socket_up(now, socket),
            SignalInput::Down(socket) => self.on_socket_down(now, socket, "the socket closed"),
            SignalInput::Lists {
                descriptor,
                revocations,
            } => self.take_lists(now, &descriptor, &revocations),
            SignalInput::Parcel {
                socket,
                kind,
                from,
                parcel,
            } => self.on_signal_parcel(now, (socket, kind, &from), &parcel),
            SignalInput::Plain { from, .. } => {
                let detail = format!("a plain signalling frame from {from} was refused");
                self.out.warn(now, "plain-signalling", detail);
            }
            SignalInput::Error { socket, code, to } => {
                self.on_signal_error(now, socket, code, &to);
            }
            SignalInput::Superseded { socket, proof } => self.on_superseded(now, socket, &proof),
        }
    }

    fn on_link_event(&mut self, now: Now, link: LinkId, event: RtcEvent) {
        if self.links.get(link).is_none() {
            return;
        }
        match event {
            RtcEvent::LocalDescription { sdp } => self.on_local_description(now, link, sdp),
            RtcEvent::Candidate(candidate) => self.on_local_candidate(now, link, candidate),
            RtcEvent::EndOfCandidates => self.on_local_candidate(now, link, Default::default()),
            RtcEvent::Path(path) => self.on_path(now, link, path),
            RtcEvent::Open {
                local_fingerprint,
                remote_fingerprint,
            } => self.on_channel_open(now, link, local_fingerprint, remote_fingerprint),
            RtcEvent::Message(bytes) => self.on_frame(now, link, &bytes),
            RtcEvent::Writable => self.on_writable(now, link),
            RtcEvent::Silent => self.on_link_silent(now, link),
            RtcEvent::Full { refused } => self.on_full(link, refused),
            RtcEvent::Closed { reason } => self.end_link(now, link, &reason),
        }
    }

    fn fire_due(&mut self, now: Now) {
        // Firing arms nothing before now + 1, so this ends; the bound says so.
        for _ in 0..=self.timers.len() {
            let Some(timer) = self.timers.pop_due(now.mono_ms) else {
                return;
            };
            match timer {
                Timer::Ladder(user) => self.climb(now, &user),
                Timer::Retry(user) => self.on_retry(now, &user),
                Timer::Serve(user) => self.on_serve(now, &user),
                Timer::Custody(user) => self.on_custody_timer(&user),
                Timer::Session(link) => self.on_session_timeout(now, link),
                Timer::Redial(link) => self.on_redial(now, link),
                Timer::Candidates(link) => self.tell_relays(link),
                Timer::Soon(device) => self.on_soon(now, device),
                Timer::Path(link) => self.on_path_due(now, link),
                Timer::Route(link, to) => self.on_route_doubt(now, link, to),
                Timer::Gap(device, incarnation) => self.on_gap(now, (device, incarnation)),
                Timer::Acks(device) => self.flush_acks(now, device),
                // The links with more to send are marked; they go on below, in `settle`.
                Timer::Frames | Timer::Seal => {}
                Timer::Query(user) => self.on_query_timeout(now, &user),
                Timer::State(link) => self.tell_neighbour(now, link),
                Timer::Neighbours => self.on_release(now),
                Timer::Coordinators => self.tend_coordinators(now),
                Timer::Heartbeat => self.beat(now),
                Timer::Announce => self.announce(now),
                Timer::Collect(link) => self.on_collect(now, link),
                Timer::Visit => self.visit(now),
                Timer::LetGo => self.let_go_of_custodians(now),
                Timer::Expire => self.expire_kept(now),
                Timer::Files => self.on_files_timer(now),
                Timer::FileParts => self.on_parts_timer(now),
                Timer::Lazy => self.out.flush_lazy(),
                Timer::Rewrite => self.rewrite(),
                Timer::Sweep => self.sweep(now),
            }
        }
    }

    /// Last act before the outputs are drained, in fixed order: the inbox's batch, what is to
    /// be kept, what is to be sealed, then frames.
    fn settle(&mut self, now: Now) {
        self.flush_inbox();
        self.flush_deposits();
        self.flush_unsealed(now);
        self.settle_placing(now);
        self.flush_frames(now);
    }
}
