//! The crate's callbacks, forwarded. They run on the crate's driver: none may wait.

use std::sync::Arc;

use tokio::sync::mpsc;
use webrtc::data_channel::DataChannel;
use webrtc::peer_connection::{
    PeerConnectionEventHandler, RTCIceGatheringState, RTCPeerConnectionIceEvent,
    RTCPeerConnectionState,
};

use super::shared::LinkShared;

/// What the crate tells the link task.
pub(super) enum Signal {
    /// A local candidate, as a candidate line.
    Candidate(String),
    /// Gathering is complete.
    GatheringDone,
    /// The connection changed its state.
    State(RTCPeerConnectionState),
    /// The peer opened a channel of its own.
    Announced,
}

pub(super) struct Handler {
    signals: mpsc::Sender<Signal>,
    shared: Arc<LinkShared>,
}

impl Handler {
    pub(super) fn new(signals: mpsc::Sender<Signal>, shared: Arc<LinkShared>) -> Self {
        Self { signals, shared }
    }

    /// A full queue means the link task is held up by a driver that does not take events, or a
    /// peer floods it with happenings: a lost signal would leave the link in doubt, so it ends.
    fn signal(&self, signal: Signal) {
        if self.signals.try_send(signal).is_err() {
            self.shared.report_driver_end();
        }
    }
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        match event.candidate.to_json() {
            Ok(init) => self.signal(Signal::Candidate(init.candidate)),
            Err(error) => tracing::debug!(%error, "a local candidate has no text form"),
        }
    }

    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            self.signal(Signal::GatheringDone);
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        self.signal(Signal::State(state));
    }

    async fn on_data_channel(&self, _channel: Arc<dyn DataChannel>) {
        self.signal(Signal::Announced);
    }
}
