//! The ceiling of links: the crate `webrtc` 0.21 as it comes, two peers of one process on
//! loopback. Only multicast DNS is off, because without a multicast route it does not start.

use crate::measure::text;
use bytes::BytesMut;
use rtc::ice::mdns::MulticastDnsMode;
use std::sync::Arc;
use tokio::sync::mpsc;
use webrtc::data_channel::{DataChannel, DataChannelEvent};
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceCandidateInit,
    RTCPeerConnectionIceEvent, RTCSessionDescription, SettingEngineBuilder,
};
use webrtc::runtime::default_runtime;

/// Happenings of one peer that wait for the signalling.
const EVENTS: usize = 64;

/// What the crate's handler reports.
enum Event {
    Candidate(RTCIceCandidateInit),
    Channel(Arc<dyn DataChannel>),
}

struct Handler(mpsc::Sender<Event>);

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        if let Ok(init) = event.candidate.to_json() {
            let _ = self.0.send(Event::Candidate(init)).await;
        }
    }

    async fn on_data_channel(&self, channel: Arc<dyn DataChannel>) {
        let _ = self.0.send(Event::Channel(channel)).await;
    }
}

/// One peer.
struct Peer {
    connection: Arc<dyn PeerConnection>,
    events: mpsc::Receiver<Event>,
}

impl Peer {
    async fn new() -> Result<Self, String> {
        let (sender, events) = mpsc::channel(EVENTS);
        let settings = SettingEngineBuilder::new()
            .with_include_loopback_candidate(true)
            .with_multicast_dns_mode(MulticastDnsMode::Disabled)
            .build();
        let connection = PeerConnectionBuilder::new()
            .with_setting_engine(settings)
            .with_handler(Arc::new(Handler(sender)))
            .with_runtime(default_runtime().ok_or("the crate has no runtime")?)
            .with_udp_addrs(vec!["127.0.0.1:0"])
            .build()
            .await
            .map_err(text)?;
        Ok(Self {
            connection: Arc::new(connection),
            events,
        })
    }
}

/// Two connected peers, each with its end of one reliable, ordered channel.
pub(crate) struct BarePair {
    peers: [Peer; 2],
    /// The offerer's end, then the answerer's.
    pub(crate) channels: [Arc<dyn DataChannel>; 2],
}

impl BarePair {
    /// Makes an offer and everything after it until both ends of the channel are open.
    pub(crate) async fn connect() -> Result<Self, String> {
        let (mut a, mut b) = (Peer::new().await?, Peer::new().await?);
        let channel = a
            .connection
            .create_data_channel("msg", None)
            .await
            .map_err(text)?;
        describe(&a, &b).await.map_err(text)?;
        let mut far = None;
        let far = {
            // One future reads the channel to its opening: `poll` may not be cut short.
            let opening = opened(&channel);
            tokio::pin!(opening);
            let mut open = false;
            while far.is_none() || !open {
                tokio::select! {
                    event = a.events.recv() => drop(pass(event, &b).await?),
                    event = b.events.recv() => far = pass(event, &a).await?.or(far),
                    done = &mut opening, if !open => { done?; open = true }
                }
            }
            far.ok_or("no channel arrived")?
        };
        opened(&far).await?;
        Ok(Self {
            peers: [a, b],
            channels: [channel, far],
        })
    }

    /// Sends `message` and waits for one back; the other end must be [`echo`]ing.
    pub(crate) async fn round_trip(&self, message: &[u8]) -> Result<(), String> {
        self.send(message).await?;
        self.receive().await
    }

    /// Sends `message`.
    pub(crate) async fn send(&self, message: &[u8]) -> Result<(), String> {
        let [near, _] = &self.channels;
        near.send(BytesMut::from(message)).await.map_err(text)
    }

    /// Waits for a message of the other end.
    pub(crate) async fn receive(&self) -> Result<(), String> {
        received(&self.channels[0]).await
    }

    /// Sends so many bytes each way and waits until they have arrived.
    pub(crate) async fn greet(&self, bytes: usize) -> Result<(), String> {
        let [near, far] = &self.channels;
        for (from, to) in [(near, far), (far, near)] {
            from.send(BytesMut::zeroed(bytes)).await.map_err(text)?;
            received(to).await?;
        }
        Ok(())
    }

    /// Closes both.
    pub(crate) async fn close(self) {
        for peer in &self.peers {
            // What cannot be closed is dropped.
            let _ = peer.connection.close().await;
        }
    }
}

/// Answers each message with `answer`, until the channel closes.
pub(crate) async fn echo(channel: Arc<dyn DataChannel>, answer: Vec<u8>) {
    while let Some(event) = channel.poll().await {
        if matches!(event, DataChannelEvent::OnMessage(_))
            && channel.send(BytesMut::from(&answer[..])).await.is_err()
        {
            return;
        }
    }
}

async fn describe(a: &Peer, b: &Peer) -> webrtc::error::Result<()> {
    let offer = a.connection.create_offer(None).await?;
    a.connection.set_local_description(offer.clone()).await?;
    b.connection
        .set_remote_description(RTCSessionDescription::offer(offer.sdp)?)
        .await?;
    let answer = b.connection.create_answer(None).await?;
    b.connection.set_local_description(answer.clone()).await?;
    a.connection
        .set_remote_description(RTCSessionDescription::answer(answer.sdp)?)
        .await
}

/// Carries a candidate over; returns the channel that arrived, if it was one.
async fn pass(event: Option<Event>, to: &Peer) -> Result<Option<Arc<dyn DataChannel>>, String> {
    match event {
        Some(Event::Candidate(init)) => {
            to.connection.add_ice_candidate(init).await.map_err(text)?;
            Ok(None)
        }
        Some(Event::Channel(channel)) => Ok(Some(channel)),
        None => Err("a bare peer fell silent".into()),
    }
}

async fn received(channel: &Arc<dyn DataChannel>) -> Result<(), String> {
    loop {
        match channel.poll().await {
            Some(DataChannelEvent::OnMessage(_)) => return Ok(()),
            Some(_) => {}
            None => return Err("the bare channel closed".into()),
        }
    }
}

async fn opened(channel: &Arc<dyn DataChannel>) -> Result<(), String> {
    loop {
        match channel.poll().await {
            Some(DataChannelEvent::OnOpen) => return Ok(()),
            Some(_) => {}
            None => return Err("a bare channel closed before it opened".into()),
        }
    }
}
