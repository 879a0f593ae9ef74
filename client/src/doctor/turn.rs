//! Whether a TURN server gives this host an address: asked for as a link would, by the same code.

use crate::clock;
use crate::limits::TURN_WAIT;
use crate::rtc::{IceMode, IceServer, LinkId, RtcConfig, RtcEvent, RtcFactory};
use std::time::Duration;
use tokio::sync::mpsc;

/// Happenings of one gathering: a few candidates.
const EVENTS: usize = 64;

/// Has a link gather at this server alone; how long until it had a relayed address. `None` where it
/// got none in time.
pub(super) async fn allocate(server: &IceServer) -> Option<Duration> {
    let config = RtcConfig {
        ice_servers: vec![server.clone()],
        mode: IceMode::RelayOnly,
        ..RtcConfig::default()
    };
    let factory = RtcFactory::new(config).ok()?;
    let (events, mut heard) = mpsc::channel(EVENTS);
    let since = clock::instant();
    let link = factory.open(LinkId(0), events);
    link.offer().ok()?;
    let relayed = async {
        while let Some((_, event)) = heard.recv().await {
            match event {
                RtcEvent::Candidate(found) if found.candidate.contains(" typ relay") => {
                    return Some(clock::instant().duration_since(since));
                }
                RtcEvent::EndOfCandidates | RtcEvent::Closed { .. } => return None,
                _ => {}
            }
        }
        None
    };
    let took = tokio::time::timeout(TURN_WAIT, relayed).await;
    link.close();
    // Closing gives the address back; nobody waits for it longer than for an answer.
    drop((link, heard));
    let _ = tokio::time::timeout(TURN_WAIT, factory.drained()).await;
    took.ok().flatten()
}
