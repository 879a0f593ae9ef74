//! The task of one link: carries out commands, forwards happenings, closes once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use webrtc::data_channel::RTCDataChannelInit;
use webrtc::error::{Error, Result};
use webrtc::peer_connection::{
    PeerConnection, RTCIceCandidateInit, RTCPeerConnectionState, RTCSessionDescription,
    RTCStatsReportEntry, StatsSelector,
};
use webrtc::runtime::Runtime;

use super::factory::RtcFactory;
use super::flow::{ChannelNews, Flow, To};
use super::guess::{Guesses, outside};
use super::handler::Signal;
use super::lane::Channel;
use super::limits::{
    CLOSE_WAIT, FILE_WINDOW_FIRST, MAX_LOCAL_CANDIDATES, SIGNAL_QUEUE, WRITABLE_AT,
};
use super::peer::{Command, LinkReport};
use super::policy::{Candidate, CheckedDescription, check_candidate, check_description};
use super::reach::Reach;
use super::repeat::repeat;
use super::shared::LinkShared;
use super::{CloseReason, FileEvent, IceCandidate, LinkId, RtcEvent};

/// Identification of the data section, as the crate numbers sections.
const DATA_MID: &str = "0";

/// Each channel opens once, and stalls or goes once.
const NEWS_QUEUE: usize = 6;

/// What is to be sent on `msg` and on `file`.
type Outboxes = (mpsc::Receiver<Bytes>, mpsc::Receiver<Bytes>);

/// What the task is born with.
pub(super) struct Link {
    pub(super) id: LinkId,
    pub(super) events: mpsc::Sender<(LinkId, RtcEvent)>,
    pub(super) files: Option<mpsc::Sender<(LinkId, FileEvent)>>,
    pub(super) shared: Arc<LinkShared>,
    pub(super) budget: usize,
}

impl Link {
    /// Runs the link to its end and reports it.
    pub(super) async fn run(
        self,
        factory: RtcFactory,
        mut commands: mpsc::Receiver<Command>,
        outboxes: Outboxes,
    ) {
        let (signals_tx, signals) = mpsc::channel(SIGNAL_QUEUE);
        // On the heap of its own: what starting takes is not kept for the life of the link.
        let starting = Box::pin(Running::start(&self, &factory, signals_tx, outboxes));
        let reason = match starting.await {
            Ok(mut running) => {
                let reason = running.serve(&self, &mut commands, signals).await;
                running.stop(&self.shared).await;
                reason
            }
            Err(error) => CloseReason::Setup(error.to_string()),
        };
        self.shared.msg.open.store(false, Ordering::Release);
        self.shared.file.open.store(false, Ordering::Release);
        commands.close();
        self.tell(RtcEvent::Closed { reason }).await;
    }

    /// Makes one of the two channels and what moves its messages.
    async fn flow(
        &self,
        channel: Channel,
        connection: &Arc<dyn PeerConnection>,
        factory: &RtcFactory,
    ) -> Result<Flow> {
        let (label, stream) = channel.name();
        let init = RTCDataChannelInit {
            negotiated: Some(stream),
            ..Default::default()
        };
        let made = connection.create_data_channel(label, Some(init)).await?;
        let (to, room_at) = match channel {
            Channel::Msg => (To::Events(self.events.clone()), self.budget / WRITABLE_AT),
            Channel::File => (To::Files(self.files.clone()), FILE_WINDOW_FIRST),
        };
        let flow = Flow {
            id: self.id,
            to,
            shared: Arc::clone(&self.shared),
            channel,
            stream: made,
            runtime: factory.runtime(),
        };
        flow.set_room(room_at).await?;
        Ok(flow)
    }

    /// Tells of another path than before. Until the channel is open, whoever tells that tells this.
    async fn tell_path(&self) {
        if !self.shared.msg.open.load(Ordering::Acquire) {
            return;
        }
        if let Some(path) = self.shared.path_news() {
            self.tell(RtcEvent::Path(path)).await;
        }
    }

    /// Nobody listening is how a client shuts down: `serve` notices.
    async fn tell(&self, event: RtcEvent) {
        let _ = self.events.send((self.id, event)).await;
    }
}

/// A link whose connection exists.
struct Running {
    connection: Arc<dyn PeerConnection>,
    runtime: Arc<dyn Runtime>,
    /// Reader and sender; they end with this struct.
    flow: JoinSet<()>,
    news: mpsc::Receiver<ChannelNews>,
    /// Candidates that came before the description they belong to; at most one queue full.
    early: Vec<String>,
    /// Whether the peer's description is in force.
    described: bool,
    local_ufrag: Option<String>,
    gathered: usize,
    guesses: Option<Guesses>,
    /// Addresses of reflexive candidates told, guessed or not.
    outside: Vec<SocketAddr>,
    interrupted: bool,
}

impl Running {
    async fn start(
        link: &Link,
        factory: &RtcFactory,
        signals: mpsc::Sender<Signal>,
        (outbox, file_outbox): Outboxes,
    ) -> Result<Self> {
        let connection = factory.build(&link.shared, signals).await?;
        let (news_tx, news) = mpsc::channel(NEWS_QUEUE);
        let mut tasks = JoinSet::new();
        for (channel, outbox) in [(Channel::Msg, outbox), (Channel::File, file_outbox)] {
            let flow = link.flow(channel, &connection, factory).await?;
            tasks.spawn(flow.clone().read(news_tx.clone()));
            tasks.spawn(flow.clone().watch(news_tx.clone()));
            tasks.spawn(flow.send(outbox));
        }
        tasks.spawn(repeat(Arc::clone(&link.shared), factory.runtime()));
        Ok(Self {
            connection,
            runtime: factory.runtime(),
            flow: tasks,
            news,
            early: Vec::new(),
            described: false,
            local_ufrag: None,
            gathered: 0,
            guesses: factory.guesses(),
            outside: Vec::new(),
            interrupted: false,
        })
    }

    async fn serve(
        &mut self,
        link: &Link,
        commands: &mut mpsc::Receiver<Command>,
        mut signals: mpsc::Receiver<Signal>,
    ) -> CloseReason {
        loop {
            let step = tokio::select! {
                biased;
                () = link.shared.alarm.notified() => {
                    link.tell_path().await;
                    on_alarm(&link.shared)
                }
                () = link.events.closed() => Err(CloseReason::Local),
                news = self.news.recv() => on_news(&link.shared, news),
                Some(signal) = signals.recv() => self.on_signal(link, signal).await,
                command = commands.recv() => match command {
                    None | Some(Command::Close) => Err(CloseReason::Local),
                    Some(command) => self
                        .on_command(link, command)
                        .await
                        .map_err(|error| CloseReason::Setup(error.to_string())),
                },
            };
            if let Err(reason) = step {
                return reason;
            }
        }
    }

    async fn on_signal(
        &mut self,
        link: &Link,
        signal: Signal,
    ) -> std::result::Result<(), CloseReason> {
        match signal {
            Signal::Candidate(candidate) => {
                if let Some(guesses) = &self.guesses {
                    guesses.learn(&candidate, self.runtime.now());
                }
                self.on_candidate(link, candidate).await;
            }
            Signal::GatheringDone => link.tell(RtcEvent::EndOfCandidates).await,
            Signal::Announced => return Err(CloseReason::UnknownChannel),
            Signal::State(RTCPeerConnectionState::Failed) => return Err(CloseReason::Failed),
            Signal::State(RTCPeerConnectionState::Closed) => return Err(CloseReason::Remote),
            Signal::State(RTCPeerConnectionState::Disconnected) if !self.interrupted => {
                self.interrupted = true;
                link.tell(RtcEvent::Interrupted).await;
            }
            Signal::State(RTCPeerConnectionState::Connected) => {
                if link.shared.msg.open.load(Ordering::Acquire) {
                    link.shared.stop_connecting();
                }
                if std::mem::take(&mut self.interrupted) {
                    link.tell(RtcEvent::Resumed).await;
                }
            }
            Signal::State(_) => {}
        }
        Ok(())
    }

    /// Tells a candidate, and with a host's the reflexive one that most likely goes with it.
    async fn on_candidate(&mut self, link: &Link, candidate: String) {
        let now = self.runtime.now();
        let guess = self.guesses.as_ref().and_then(|g| g.guess(&candidate, now));
        for candidate in std::iter::once(candidate).chain(guess) {
            if let Some(at) = outside(&candidate) {
                if self.outside.contains(&at) {
                    continue;
                }
                self.outside.push(at);
            }
            self.tell_candidate(link, candidate).await;
        }
    }

    async fn tell_candidate(&mut self, link: &Link, candidate: String) {
        let Some(candidate) = link.shared.reach.told(&candidate) else {
            return;
        };
        if self.gathered == MAX_LOCAL_CANDIDATES {
            return;
        }
        self.gathered += 1;
        let candidate = IceCandidate {
            candidate,
            sdp_mid: Some(DATA_MID.to_owned()),
            sdp_m_line_index: Some(0),
            username_fragment: self.local_ufrag.clone(),
        };
        link.tell(RtcEvent::Candidate(candidate)).await;
    }

    async fn on_command(&mut self, link: &Link, command: Command) -> Result<()> {
        match command {
            Command::Offer { restart } => {
                if restart {
                    self.connection.restart_ice().await?;
                }
                self.described = false;
                let offer = self.connection.create_offer(None).await?;
                self.set_local(link, offer).await
            }
            Command::AcceptOffer(remote) => {
                self.set_remote(link, RTCSessionDescription::offer(remote.sdp)?)
                    .await?;
                let answer = self.connection.create_answer(None).await?;
                self.set_local(link, answer).await
            }
            Command::AcceptAnswer(remote) => {
                self.set_remote(link, RTCSessionDescription::answer(remote.sdp)?)
                    .await
            }
            Command::AddCandidate(line) if self.described => self.add_candidate(line).await,
            Command::AddCandidate(line) => {
                self.early.push(line);
                Ok(())
            }
            Command::Report(answer) => {
                // The asker may have gone; there is nobody to report to then.
                let _ = answer.send(self.report(&link.shared).await);
                Ok(())
            }
            Command::Close => Ok(()),
        }
    }

    async fn set_local(&mut self, link: &Link, description: RTCSessionDescription) -> Result<()> {
        // Our own description goes through the same eyes: what it says is what we tell others.
        let CheckedDescription {
            fingerprint,
            ufrag,
            sdp,
            candidates,
            ..
        } = check_description(&description.sdp).map_err(|error| Error::Other(error.to_string()))?;
        link.shared.local.get_or_init(|| fingerprint);
        self.local_ufrag = Some(ufrag);
        self.gathered = 0;
        self.outside.clear();
        link.shared.start_gathering(self.runtime.now());
        self.connection.set_local_description(description).await?;
        link.tell(RtcEvent::LocalDescription { sdp }).await;
        let here = Reach {
            loopback: true,
            ..Reach::default()
        };
        // After a restart the crate lists the addresses it keeps here and does not tell them again.
        for candidate in candidates {
            if matches!(check_candidate(&candidate, &here), Ok(Candidate::Use(_))) {
                self.on_candidate(link, candidate).await;
            }
        }
        Ok(())
    }

    async fn set_remote(&mut self, link: &Link, description: RTCSessionDescription) -> Result<()> {
        link.shared.start_connecting(self.runtime.now());
        self.connection.set_remote_description(description).await?;
        self.described = true;
        for line in std::mem::take(&mut self.early) {
            self.add_candidate(line).await?;
        }
        Ok(())
    }

    async fn add_candidate(&self, candidate: String) -> Result<()> {
        let init = RTCIceCandidateInit {
            candidate,
            ..RTCIceCandidateInit::default()
        };
        self.connection.add_ice_candidate(init).await
    }

    async fn report(&self, shared: &LinkShared) -> LinkReport {
        let now = self.runtime.now();
        let stats = self.connection.get_stats(now, StatsSelector::None).await;
        let remote =
            |entry: &&RTCStatsReportEntry| matches!(entry, RTCStatsReportEntry::RemoteCandidate(_));
        let pair = stats.candidate_pairs().find(|pair| pair.nominated);
        // The crate lists candidates under longer names than pairs refer to them by.
        let kind = |id: String| match stats.get(&id) {
            Some(
                RTCStatsReportEntry::LocalCandidate(candidate)
                | RTCStatsReportEntry::RemoteCandidate(candidate),
            ) => candidate.candidate_type.to_string(),
            // What was learned from a check is in no list.
            _ => "prflx".to_owned(),
        };
        let local = |id: &str| kind(format!("RTCLocalIceCandidate_{id}"));
        let remote_kind = |id: &str| kind(format!("RTCRemoteIceCandidate_{id}"));
        let over_tcp = pair.is_some_and(|pair| {
            match stats.get(&format!("RTCLocalIceCandidate_{}", pair.local_candidate_id)) {
                Some(RTCStatsReportEntry::LocalCandidate(ours)) => ours.protocol.starts_with("tcp"),
                _ => false,
            }
        });
        LinkReport {
            over_tcp,
            local_type: pair.map_or_else(String::new, |pair| local(&pair.local_candidate_id)),
            remote_type: pair
                .map_or_else(String::new, |pair| remote_kind(&pair.remote_candidate_id)),
            dtls_cipher: stats
                .transport()
                .map(|t| t.dtls_cipher.clone())
                .unwrap_or_default(),
            remote_candidates: stats.iter().filter(remote).count(),
            dropped_datagrams: shared.gate().dropped(),
            round_trip: pair.map_or(0.0, |pair| pair.current_round_trip_time),
        }
    }

    async fn stop(mut self, shared: &LinkShared) {
        shared.stop_connecting();
        // It holds the sockets, and the handle may outlive the link.
        shared.repeater().stop();
        self.flow.shutdown().await;
        match tokio::time::timeout(CLOSE_WAIT, self.connection.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "closing a connection"),
            Err(_) => tracing::debug!("the WebRTC driver did not stop in time"),
        }
    }
}

fn on_alarm(shared: &LinkShared) -> std::result::Result<(), CloseReason> {
    if let Some(abuse) = shared.abuse() {
        return Err(CloseReason::Abuse(abuse));
    }
    if let Some(alert) = shared.refusal() {
        return Err(CloseReason::HandshakeRefused { alert });
    }
    match (
        shared.driver_ended(),
        shared.msg.open.load(Ordering::Acquire),
    ) {
        (false, _) => Ok(()),
        // The crate's driver ends in error when DTLS has used up its retransmissions.
        (true, false) => Err(CloseReason::Failed),
        (true, true) => Err(CloseReason::DriverStopped),
    }
}

fn on_news(shared: &LinkShared, news: Option<ChannelNews>) -> std::result::Result<(), CloseReason> {
    match news {
        Some(ChannelNews::Open) => {
            shared.stop_connecting();
            shared.repeater().opened();
            Ok(())
        }
        Some(ChannelNews::Stalled) => Err(CloseReason::Stalled),
        Some(ChannelNews::Gone) | None => Err(CloseReason::Remote),
    }
}
