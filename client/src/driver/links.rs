//! The links of a client: opened at the core's first command, each with what waits for room.

use super::Reports;
use crate::limits::LINKS_MAX;
use crate::rtc::{self, FactoryError, IceCandidate, RtcFactory, RtcPeer, SendError};
use bytes::Bytes;
use client_core::input::{Candidate, LinkId, RtcEvent};
use client_core::output::RtcCommand;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// How long a link that is to be closed may take to send what it holds, a GOODBYE above all.
const FLUSH_MAX: Duration = Duration::from_millis(200);
/// How often it is looked at meanwhile.
const FLUSH_LOOK: Duration = Duration::from_millis(2);

/// One link.
struct Slot {
    peer: Arc<RtcPeer>,
    /// Messages that found no room since the core was last told, in order.
    refused: Vec<Vec<u8>>,
}

/// All links.
pub(super) struct Links {
    factory: RtcFactory,
    events: mpsc::Sender<(rtc::LinkId, rtc::RtcEvent)>,
    files: mpsc::Sender<(rtc::LinkId, rtc::FileEvent)>,
    slots: BTreeMap<LinkId, Slot>,
    closing: JoinSet<()>,
}

impl Links {
    pub(super) fn new(
        factory: RtcFactory,
        events: mpsc::Sender<(rtc::LinkId, rtc::RtcEvent)>,
        files: mpsc::Sender<(rtc::LinkId, rtc::FileEvent)>,
    ) -> Self {
        Self {
            factory,
            events,
            files,
            slots: BTreeMap::new(),
            closing: JoinSet::new(),
        }
    }

    /// The host is in another network.
    pub(super) fn forget_network(&self) {
        self.factory.forget_network();
    }

    /// New links have this configuration: other STUN and TURN servers.
    pub(super) fn configure(&mut self, config: rtc::RtcConfig) -> Result<(), FactoryError> {
        self.factory = self.factory.configured(config)?;
        Ok(())
    }

    pub(super) fn has(&self, link: LinkId) -> bool {
        self.slots.contains_key(&link)
    }

    /// A link, for whoever sends files on it; it may be gone at any time.
    pub(super) fn peer(&self, link: LinkId) -> Option<Weak<RtcPeer>> {
        let slot = self.slots.get(&link)?;
        Some(Arc::downgrade(&slot.peer))
    }

    /// Asks every link about itself.
    pub(super) fn reports(&self) -> Reports {
        let slots = self.slots.iter();
        slots
            .map(|(link, slot)| (*link, slot.peer.report_later()))
            .collect()
    }

    /// Whether none is open or closing.
    pub(super) fn is_idle(&self) -> bool {
        self.slots.is_empty() && self.closing.is_empty()
    }

    /// Drops a link that is gone.
    pub(super) fn forget(&mut self, link: LinkId) {
        self.slots.remove(&link);
    }

    /// Returns when a link that was closing is closed; never, where none is.
    pub(super) async fn closed(&mut self) {
        if self.closing.join_next().await.is_none() {
            std::future::pending().await
        }
    }

    /// Carries out a command. Returns what the core is to be told at once.
    pub(super) fn command(&mut self, link: LinkId, command: RtcCommand) -> Option<RtcEvent> {
        match command {
            RtcCommand::Offer { direct_only } => {
                let slot = match self.open(link, direct_only) {
                    Ok(slot) => slot,
                    Err(event) => return Some(event),
                };
                let offered = slot.peer.offer();
                self.or_close(link, offered)
            }
            RtcCommand::AcceptOffer { sdp, direct_only } => {
                let slot = match self.open(link, direct_only) {
                    Ok(slot) => slot,
                    Err(event) => return Some(event),
                };
                let accepted = slot.peer.accept_offer(&sdp);
                self.or_close(link, accepted)
            }
            RtcCommand::AcceptAnswer { sdp } => {
                let accepted = self.slots.get(&link)?.peer.accept_answer(&sdp);
                self.or_close(link, accepted)
            }
            RtcCommand::AddCandidate(candidate) => {
                let slot = self.slots.get(&link)?;
                if let Err(error) = slot.peer.add_candidate(&to_rtc(candidate)) {
                    tracing::debug!(%error, link = link.0, "a candidate was not used");
                }
                None
            }
            RtcCommand::Send(message) => self.send(link, message),
            RtcCommand::Close => {
                self.close(link);
                None
            }
        }
    }

    fn open(&mut self, link: LinkId, direct_only: bool) -> Result<&mut Slot, RtcEvent> {
        if self.slots.len() >= LINKS_MAX && !self.slots.contains_key(&link) {
            return Err(RtcEvent::Closed {
                reason: "too many links at once".to_owned(),
            });
        }
        Ok(self.slots.entry(link).or_insert_with(|| {
            let (id, events) = (rtc::LinkId(link.0), self.events.clone());
            let factory = if direct_only {
                self.factory.without_turn()
            } else {
                self.factory.clone()
            };
            let peer = factory.open_with_files(id, events, self.files.clone());
            Slot {
                peer: Arc::new(peer),
                refused: Vec::new(),
            }
        }))
    }

    /// A description that is refused ends the link.
    fn or_close<T>(
        &mut self,
        link: LinkId,
        result: Result<T, rtc::SignalError>,
    ) -> Option<RtcEvent> {
        let reason = result.err()?.to_string();
        self.slots.remove(&link);
        Some(RtcEvent::Closed { reason })
    }

    fn send(&mut self, link: LinkId, message: Vec<u8>) -> Option<RtcEvent> {
        let slot = self.slots.get_mut(&link)?;
        // Behind one that found no room there is none either: order is kept.
        if !slot.refused.is_empty() {
            slot.refused.push(message);
            return None;
        }
        match slot.peer.send(Bytes::copy_from_slice(&message)) {
            // `Closed` is on its way as an event of the link.
            Ok(()) | Err(SendError::Closed) => None,
            Err(SendError::Blocked) => {
                slot.refused.push(message);
                None
            }
            Err(error @ (SendError::NotOpen | SendError::TooLarge(_))) => {
                let reason = error.to_string();
                self.slots.remove(&link);
                Some(RtcEvent::Closed { reason })
            }
        }
    }

    /// What found no room since the last call, by link; bounded by what the core gave in one go.
    pub(super) fn take_refused(&mut self) -> Vec<(LinkId, RtcEvent)> {
        let full = self
            .slots
            .iter_mut()
            .filter(|(_, slot)| !slot.refused.is_empty());
        full.map(|(link, slot)| {
            let refused = std::mem::take(&mut slot.refused);
            (*link, RtcEvent::Full { refused })
        })
        .collect()
    }

    /// Closes a link once what it was given last is out, or after [`FLUSH_MAX`].
    fn close(&mut self, link: LinkId) {
        let Some(slot) = self.slots.remove(&link) else {
            return;
        };
        // Bounded by the links there were: a new one counts against `LINKS_MAX` only.
        self.closing.spawn(async move {
            let flushed = async {
                while slot.peer.buffered() + slot.peer.file_buffered() > 0 {
                    tokio::time::sleep(FLUSH_LOOK).await;
                }
            };
            // What is not out by then is lost, as it would be with any closed link.
            let _ = tokio::time::timeout(FLUSH_MAX, flushed).await;
            slot.peer.close();
        });
    }
}

fn to_rtc(candidate: Candidate) -> IceCandidate {
    IceCandidate {
        candidate: candidate.candidate,
        sdp_mid: Some(candidate.sdp_mid),
        sdp_m_line_index: u16::try_from(candidate.sdp_m_line_index).ok(),
        username_fragment: Some(candidate.username_fragment),
    }
}
