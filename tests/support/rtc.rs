//! Two WebRTC peers and the signalling between them, wrapped or bare, for tests.

use std::net::Ipv4Addr;
use std::sync::Arc;

use beeline::rtc::{BindTo, CloseReason, FileEvent, IceCandidate, LinkId, RtcConfig, RtcEvent};
use beeline::rtc::{RtcFactory, RtcPeer, SignalError};
use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use webrtc::data_channel::{DataChannel, DataChannelEvent, RTCDataChannelInit};
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceCandidateInit,
    RTCPeerConnectionIceEvent, RTCPeerConnectionState, RTCSessionDescription, SettingEngineBuilder,
    StatsSelector,
};
use webrtc::runtime::Runtime;

/// Events one peer may have waiting in a test.
const EVENTS: usize = 1_024;

/// A configuration that stays on this machine.
pub fn loopback() -> RtcConfig {
    RtcConfig {
        bind: BindTo::Loopback,
        ..RtcConfig::default()
    }
}

/// What happens, by link.
pub type Events<T> = mpsc::Receiver<(LinkId, T)>;

/// One peer and its events.
pub struct Node {
    /// The peer itself.
    pub peer: Peer,
    events: mpsc::Receiver<(LinkId, RtcEvent)>,
    /// Of the channel `file`; nothing comes from a bare peer.
    pub files: mpsc::Receiver<(LinkId, FileEvent)>,
    /// Set once open: our fingerprint and the other's.
    pub open: Option<([u8; 32], [u8; 32])>,
    /// Set once closed.
    pub closed: Option<CloseReason>,
}

/// A peer behind the wrapper, or the crate as it comes.
pub enum Peer {
    /// Behind `beeline::rtc`.
    Wrapped(RtcPeer),
    /// The crate `webrtc` with nothing around it.
    Bare(BarePeer),
}

impl Node {
    /// A wrapped peer.
    pub fn wrapped(factory: &RtcFactory, id: u64) -> Self {
        let (sender, events) = mpsc::channel(EVENTS);
        let (files_sender, files) = mpsc::channel(EVENTS);
        let peer = Peer::Wrapped(factory.open_with_files(LinkId(id), sender, files_sender));
        Self {
            peer,
            events,
            files,
            open: None,
            closed: None,
        }
    }

    /// A bare peer on loopback, or on `address`.
    pub async fn bare(runtime: Arc<dyn Runtime>, address: Option<(Ipv4Addr, u16)>) -> Self {
        let (sender, events) = mpsc::channel(EVENTS);
        let peer = Peer::Bare(BarePeer::new(runtime, address, sender).await);
        let (_, files) = mpsc::channel(1);
        Self {
            peer,
            events,
            files,
            open: None,
            closed: None,
        }
    }

    /// The handle of a wrapped peer.
    pub fn handle(&self) -> &RtcPeer {
        match &self.peer {
            Peer::Wrapped(peer) => peer,
            Peer::Bare(_) => panic!("a bare peer has no handle"),
        }
    }

    /// The bare peer.
    pub fn bare_peer(&self) -> &BarePeer {
        match &self.peer {
            Peer::Wrapped(_) => panic!("it is wrapped"),
            Peer::Bare(peer) => peer,
        }
    }

    /// The next event; `None` after the last.
    pub async fn event(&mut self) -> Option<RtcEvent> {
        let (_, event) = self.events.recv().await?;
        match &event {
            RtcEvent::Open {
                local_fingerprint,
                remote_fingerprint,
            } => {
                self.open = Some((*local_fingerprint, *remote_fingerprint));
            }
            RtcEvent::Closed { reason } => self.closed = Some(reason.clone()),
            _ => {}
        }
        Some(event)
    }

    /// Its parts, for a test that waits on all of them at once: events, file events, the handle.
    pub fn split(self) -> (Events<RtcEvent>, Events<FileEvent>, RtcPeer) {
        match self.peer {
            Peer::Wrapped(peer) => (self.events, self.files, peer),
            Peer::Bare(_) => panic!("a bare peer has no handle"),
        }
    }

    /// Whether nothing of interest to a connecting test will come any more.
    fn settled(&self) -> bool {
        self.open.is_some() || self.closed.is_some()
    }

    /// Makes an offer.
    pub async fn offer(&self) {
        match &self.peer {
            Peer::Wrapped(peer) => peer.offer().expect("a fresh link takes an offer"),
            Peer::Bare(peer) => peer.offer().await,
        }
    }

    /// Hands over the offer or answer of the other side.
    pub async fn accept(&self, is_offer: bool, sdp: &str) -> Result<(), SignalError> {
        match &self.peer {
            Peer::Wrapped(peer) if is_offer => peer.accept_offer(sdp).map(drop),
            Peer::Wrapped(peer) => peer.accept_answer(sdp).map(drop),
            Peer::Bare(peer) => {
                peer.accept(is_offer, sdp).await;
                Ok(())
            }
        }
    }

    /// Hands over a candidate of the other side.
    pub async fn candidate(&self, candidate: &IceCandidate) -> Result<bool, SignalError> {
        match &self.peer {
            Peer::Wrapped(peer) => peer.add_candidate(candidate),
            Peer::Bare(peer) => {
                peer.candidate(&candidate.candidate).await;
                Ok(true)
            }
        }
    }
}

/// The next event of a peer that is not closed.
pub async fn next(node: &mut Node) -> RtcEvent {
    node.event()
        .await
        .expect("a peer says Closed before it falls silent")
}

/// The next message, past everything else.
pub async fn message(node: &mut Node) -> Bytes {
    loop {
        match next(node).await {
            RtcEvent::Message(message) => return message,
            RtcEvent::Closed { reason } => panic!("closed: {reason}"),
            _ => {}
        }
    }
}

/// Carries the signalling of one call until both sides are open or closed. `tamper` sees every
/// description on its way (`true`: the offer) and may change it.
pub async fn call(a: &mut Node, b: &mut Node, mut tamper: impl FnMut(bool, String) -> String) {
    a.offer().await;
    while !(a.settled() && b.settled()) {
        let (from_a, event) = tokio::select! {
            biased;
            event = a.event(), if a.closed.is_none() => (true, event),
            event = b.event(), if b.closed.is_none() => (false, event),
        };
        let event = event.expect("a peer says Closed before it falls silent");
        let to = if from_a { &*b } else { &*a };
        match event {
            RtcEvent::LocalDescription { sdp } => {
                let sdp = tamper(from_a, sdp);
                // What is refused never opens; the test sees that.
                let _ = to.accept(from_a, &sdp).await;
            }
            RtcEvent::Candidate(candidate) => {
                let _ = to.candidate(&candidate).await;
            }
            _ => {}
        }
    }
}

/// Carries an honest call.
pub async fn connect(a: &mut Node, b: &mut Node) {
    call(a, b, |_, sdp| sdp).await;
}

/// The crate as it comes, with a handler that turns its happenings into the wrapper's events.
pub struct BarePeer {
    connection: Arc<dyn PeerConnection>,
    runtime: Arc<dyn Runtime>,
    channel: Arc<dyn DataChannel>,
    events: mpsc::Sender<(LinkId, RtcEvent)>,
    early: std::sync::Mutex<Vec<RTCIceCandidateInit>>,
}

struct BareHandler(mpsc::Sender<(LinkId, RtcEvent)>);

#[async_trait::async_trait]
impl PeerConnectionEventHandler for BareHandler {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        let line = event
            .candidate
            .to_json()
            .expect("a candidate has a text form")
            .candidate;
        let candidate = IceCandidate {
            candidate: line,
            ..IceCandidate::default()
        };
        let _ = self.0.try_send((LinkId(0), RtcEvent::Candidate(candidate)));
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        if matches!(
            state,
            RTCPeerConnectionState::Failed | RTCPeerConnectionState::Closed
        ) {
            let closed = RtcEvent::Closed {
                reason: CloseReason::Failed,
            };
            let _ = self.0.try_send((LinkId(0), closed));
        }
    }
}

impl BarePeer {
    async fn new(
        runtime: Arc<dyn Runtime>,
        address: Option<(Ipv4Addr, u16)>,
        events: mpsc::Sender<(LinkId, RtcEvent)>,
    ) -> Self {
        let address = address.unwrap_or((Ipv4Addr::LOCALHOST, 0));
        let connection = PeerConnectionBuilder::new()
            .with_setting_engine(
                SettingEngineBuilder::new()
                    .with_include_loopback_candidate(true)
                    .with_multicast_dns_mode(rtc::ice::mdns::MulticastDnsMode::Disabled)
                    .build(),
            )
            .with_handler(Arc::new(BareHandler(events.clone())))
            .with_runtime(Arc::clone(&runtime))
            .with_udp_addrs(vec![address])
            .build()
            .await
            .expect("the crate starts");
        let init = RTCDataChannelInit {
            negotiated: Some(0),
            ..RTCDataChannelInit::default()
        };
        let channel = connection
            .create_data_channel("msg", Some(init))
            .await
            .expect("a channel");
        let reader = TaskTracker::new();
        reader.spawn(bare_read(Arc::clone(&channel), events.clone()));
        let early = std::sync::Mutex::default();
        Self {
            connection: Arc::new(connection),
            runtime,
            channel,
            events,
            early,
        }
    }

    async fn offer(&self) {
        let offer = self.connection.create_offer(None).await.expect("an offer");
        self.set_local(offer).await;
    }

    async fn set_local(&self, description: RTCSessionDescription) {
        let sdp = description.sdp.clone();
        self.connection
            .set_local_description(description)
            .await
            .expect("it is ours");
        let _ = self
            .events
            .send((LinkId(0), RtcEvent::LocalDescription { sdp }))
            .await;
    }

    async fn accept(&self, is_offer: bool, sdp: &str) {
        let make = if is_offer {
            RTCSessionDescription::offer
        } else {
            RTCSessionDescription::answer
        };
        let description = make(sdp.to_owned()).expect("it is SDP");
        self.connection
            .set_remote_description(description)
            .await
            .expect("it is taken");
        let early = std::mem::take(&mut *self.early.lock().expect("no panic holds it"));
        for init in early {
            self.connection
                .add_ice_candidate(init)
                .await
                .expect("it is a candidate");
        }
        if is_offer {
            let answer = self
                .connection
                .create_answer(None)
                .await
                .expect("an answer");
            self.set_local(answer).await;
        }
    }

    async fn candidate(&self, line: &str) {
        let init = RTCIceCandidateInit {
            candidate: line.to_owned(),
            ..Default::default()
        };
        if self.connection.remote_description().await.is_none() {
            self.early.lock().expect("no panic holds it").push(init);
        } else {
            self.connection
                .add_ice_candidate(init)
                .await
                .expect("it is a candidate");
        }
    }

    /// Sends a message; the crate's queue is unbounded.
    pub async fn send(&self, message: Bytes) {
        self.channel
            .send(BytesMut::from(&message[..]))
            .await
            .expect("the channel is open");
    }

    /// Ends it; dropped, its driver would go on.
    pub async fn close(&self) {
        self.connection.close().await.expect("it ends");
    }

    /// The negotiated cipher suite and the number of remote candidates.
    pub async fn report(&self) -> (String, usize) {
        let stats = self
            .connection
            .get_stats(self.runtime.now(), StatsSelector::None)
            .await;
        let remote = |entry: &&webrtc::peer_connection::RTCStatsReportEntry| {
            matches!(
                entry,
                webrtc::peer_connection::RTCStatsReportEntry::RemoteCandidate(_)
            )
        };
        let cipher = stats
            .transport()
            .map(|t| t.dtls_cipher.clone())
            .unwrap_or_default();
        (cipher, stats.iter().filter(remote).count())
    }
}

async fn bare_read(channel: Arc<dyn DataChannel>, events: mpsc::Sender<(LinkId, RtcEvent)>) {
    while let Some(event) = channel.poll().await {
        let event = match event {
            DataChannelEvent::OnOpen => RtcEvent::Open {
                local_fingerprint: [0; 32],
                remote_fingerprint: [0; 32],
            },
            DataChannelEvent::OnMessage(message) => RtcEvent::Message(message.data.freeze()),
            DataChannelEvent::OnClose => RtcEvent::Closed {
                reason: CloseReason::Remote,
            },
            _ => continue,
        };
        if events.send((LinkId(0), event)).await.is_err() {
            return;
        }
    }
}
