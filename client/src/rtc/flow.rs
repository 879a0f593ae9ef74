//! The tasks that move messages: one only forwards what arrives, one sends what is queued, one
//! watches that it gets through.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use webrtc::data_channel::{DataChannel, DataChannelEvent};
use webrtc::runtime::Runtime;

use super::limits::{NUDGE_EVERY, STALL_CHECK, STALLED_AFTER};
use super::shared::LinkShared;
use super::{LinkId, RtcEvent};

/// What both tasks need.
#[derive(Clone)]
pub(super) struct Flow {
    pub(super) id: LinkId,
    pub(super) events: mpsc::Sender<(LinkId, RtcEvent)>,
    pub(super) shared: Arc<LinkShared>,
    pub(super) channel: Arc<dyn DataChannel>,
    pub(super) runtime: Arc<dyn Runtime>,
    /// Bytes in use at which a blocked sender is told to go on.
    pub(super) writable_at: usize,
}

/// How the channel fares, for the link task.
pub(super) enum ChannelNews {
    /// It is open.
    Open,
    /// What we sent will never be acknowledged.
    Stalled,
    /// It is closed, by the peer or with the connection.
    Gone,
}

impl Flow {
    /// Polls the channel and forwards. A channel nobody polls would stall the receive window of
    /// the whole association; while the client's queue is full, this waits, and so does the peer.
    /// Afterwards the crate hands over one batch and then waits for a datagram, though more lies
    /// ready and keeps the window shut: so it is given one.
    pub(super) async fn read(self, news: mpsc::Sender<ChannelNews>) {
        let mut unnudged = 0;
        while let Some(event) = self.channel.poll().await {
            let held_up = self.events.capacity() == 0;
            let told = match event {
                DataChannelEvent::OnOpen => self.opened(&news).await,
                DataChannelEvent::OnMessage(message) => {
                    self.shared.assembly().delivered(message.data.len());
                    self.tell(RtcEvent::Message(message.data.freeze())).await
                }
                DataChannelEvent::OnBufferedAmountLow => self.refresh().await,
                DataChannelEvent::OnClose | DataChannelEvent::OnError => break,
                _ => true,
            };
            if !told {
                return;
            }
            unnudged += 1;
            if held_up || unnudged == NUDGE_EVERY {
                unnudged = 0;
                self.shared.nudge();
            }
        }
        // The link task may have ended first; then it knows.
        let _ = news.send(ChannelNews::Gone).await;
    }

    async fn opened(&self, news: &mpsc::Sender<ChannelNews>) -> bool {
        let (Some(local), Some(remote)) = (self.shared.local.get(), self.shared.remote.get())
        else {
            // Unreachable: DTLS cannot finish before both descriptions are in force.
            return false;
        };
        self.shared.open.store(true, Ordering::Release);
        let open = RtcEvent::Open {
            local_fingerprint: *local,
            remote_fingerprint: *remote,
        };
        self.tell(open).await && news.send(ChannelNews::Open).await.is_ok()
    }

    /// Sends what the handle queued, in order, within the crate's own limit.
    pub(super) async fn send(self, mut outbox: mpsc::Receiver<Bytes>) {
        while let Some(message) = outbox.recv().await {
            let bytes = message.len();
            let message = message
                .try_into_mut()
                .unwrap_or_else(|shared| BytesMut::from(&shared[..]));
            self.shared.sent.fetch_add(bytes as u64, Ordering::AcqRel);
            self.shared.stir();
            if let Err(error) = self.channel.send(message).await {
                // The reader sees the channel end and reports it.
                tracing::debug!(%error, "a message could not be sent");
                return;
            }
            self.shared.outstanding.fetch_add(bytes, Ordering::AcqRel);
            self.shared.queued.fetch_sub(bytes, Ordering::AcqRel);
            if !self.refresh().await {
                return;
            }
        }
    }

    /// Watches for the association that has silently given up.
    pub(super) async fn watch(self, news: mpsc::Sender<ChannelNews>) {
        let mut progress = (0, self.runtime.now());
        loop {
            self.runtime.sleep(STALL_CHECK).await;
            let Ok(outstanding) = self.channel.outstanding_bytes().await else {
                continue;
            };
            let acknowledged = self
                .shared
                .sent
                .load(Ordering::Acquire)
                .saturating_sub(outstanding as u64);
            let now = self.runtime.now();
            if outstanding == 0 || acknowledged != progress.0 {
                progress = (acknowledged, now);
            } else if now.saturating_duration_since(progress.1) >= STALLED_AFTER {
                // The link task may have ended first; then it does not matter.
                let _ = news.send(ChannelNews::Stalled).await;
                return;
            }
        }
    }

    /// Asks the crate what is still on its way, and tells a blocked sender when there is room.
    async fn refresh(&self) -> bool {
        if let Ok(bytes) = self.channel.outstanding_bytes().await {
            self.shared.outstanding.store(bytes, Ordering::Release);
        }
        let room = self.shared.in_use() <= self.writable_at;
        if room && self.shared.blocked.swap(false, Ordering::AcqRel) {
            return self.tell(RtcEvent::Writable).await;
        }
        true
    }

    async fn tell(&self, event: RtcEvent) -> bool {
        self.events.send((self.id, event)).await.is_ok()
    }
}
