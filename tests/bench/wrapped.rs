//! Two links of `beeline::rtc` in one process, with the signalling between them done by hand.

use crate::measure::text;
use beeline::rtc::{BindTo, LinkId, RtcConfig, RtcEvent, RtcFactory, RtcPeer};
use bytes::Bytes;
use tokio::sync::mpsc;

/// Events of one link that may wait.
const EVENTS: usize = 256;

type Events = mpsc::Receiver<(LinkId, RtcEvent)>;

/// Two connected links.
pub(crate) struct WrappedPair {
    factory: RtcFactory,
    a: (RtcPeer, Events),
    b: (RtcPeer, Events),
}

impl WrappedPair {
    /// Makes an offer and everything after it until both channels are open.
    pub(crate) async fn connect() -> Result<Self, String> {
        let config = RtcConfig {
            bind: BindTo::Loopback,
            ..RtcConfig::default()
        };
        let factory = RtcFactory::new(config).map_err(text)?;
        let (sender, events) = mpsc::channel(EVENTS);
        let mut a = (factory.open(LinkId(1), sender), events);
        let (sender, events) = mpsc::channel(EVENTS);
        let mut b = (factory.open(LinkId(2), sender), events);
        a.0.offer().map_err(text)?;
        let (mut open_a, mut open_b) = (false, false);
        while !(open_a && open_b) {
            tokio::select! {
                event = a.1.recv() => open_a |= pass(event, &b.0, true)?,
                event = b.1.recv() => open_b |= pass(event, &a.0, false)?,
            }
        }
        Ok(Self { factory, a, b })
    }

    /// Sends so many bytes each way and waits until they have arrived.
    pub(crate) async fn greet(&mut self, bytes: usize) -> Result<(), String> {
        self.a.0.send(Bytes::from(vec![0; bytes])).map_err(text)?;
        received(&mut self.b.1).await?;
        self.b.0.send(Bytes::from(vec![0; bytes])).map_err(text)?;
        received(&mut self.a.1).await
    }

    /// Closes both and waits until they are gone.
    pub(crate) async fn close(self) {
        drop((self.a, self.b));
        self.factory.drained().await;
    }
}

async fn received(events: &mut Events) -> Result<(), String> {
    loop {
        match events.recv().await.ok_or("a link fell silent")?.1 {
            RtcEvent::Message(_) => return Ok(()),
            RtcEvent::Closed { reason } => return Err(format!("a link closed: {reason}")),
            _ => {}
        }
    }
}

/// Carries what one side says over to the other; returns whether it said that it is open.
fn pass(event: Option<(LinkId, RtcEvent)>, to: &RtcPeer, offer: bool) -> Result<bool, String> {
    match event.ok_or("a link fell silent")?.1 {
        RtcEvent::LocalDescription { sdp } if offer => to.accept_offer(&sdp).map(drop),
        RtcEvent::LocalDescription { sdp } => to.accept_answer(&sdp).map(drop),
        RtcEvent::Candidate(candidate) => to.add_candidate(&candidate).map(drop),
        RtcEvent::Closed { reason } => return Err(format!("a link closed: {reason}")),
        event => return Ok(matches!(event, RtcEvent::Open { .. })),
    }
    .map_err(text)?;
    Ok(false)
}
