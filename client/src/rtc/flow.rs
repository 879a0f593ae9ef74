//! The tasks that move messages of one channel: one only forwards what arrives, one sends what is
//! queued, one watches that it gets through.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use webrtc::data_channel::{DataChannel, DataChannelEvent};
use webrtc::error::Result;
use webrtc::runtime::Runtime;

use super::lane::{Channel, Lane};
use super::limits::{FILE_LOOK, NUDGE_EVERY, STALL_CHECK, STALLED_AFTER};
use super::shared::LinkShared;
use super::{FileEvent, LinkId, RtcEvent};

/// Who is told what happens on a channel.
#[derive(Clone)]
pub(super) enum To {
    /// Of `msg`: the one who hears everything of the link.
    Events(mpsc::Sender<(LinkId, RtcEvent)>),
    /// Of `file`: whoever takes files, if anybody does.
    Files(Option<mpsc::Sender<(LinkId, FileEvent)>>),
}

/// What the tasks need.
#[derive(Clone)]
pub(super) struct Flow {
    pub(super) id: LinkId,
    pub(super) to: To,
    pub(super) shared: Arc<LinkShared>,
    pub(super) channel: Channel,
    pub(super) stream: Arc<dyn DataChannel>,
    pub(super) runtime: Arc<dyn Runtime>,
}

/// How a channel fares, for the link task.
pub(super) enum ChannelNews {
    /// `msg` is open.
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
        while let Some(event) = self.stream.poll().await {
            let held_up = self.is_held_up();
            let told = match event {
                DataChannelEvent::OnOpen => self.opened(&news).await,
                DataChannelEvent::OnMessage(message) => {
                    self.shared.assembly().delivered(message.data.len());
                    self.received(message.data).await
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
        self.lane().open.store(true, Ordering::Release);
        if let To::Files(_) = self.to {
            return self.tell_room().await;
        }
        if let Some(path) = self.shared.path_news()
            && !self.tell(RtcEvent::Path(path)).await
        {
            return false;
        }
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
            let lane = self.lane();
            if self.channel == Channel::File && !self.to_go().await {
                return;
            }
            let sent = lane.sent.fetch_add(bytes as u64, Ordering::AcqRel) + bytes as u64;
            if self.channel == Channel::File {
                lane.window().sent(sent, self.runtime.now());
            }
            self.shared.stir();
            if let Err(error) = self.stream.send(message).await {
                // The reader sees the channel end and reports it.
                tracing::debug!(%error, "a message could not be sent");
                return;
            }
            lane.outstanding.fetch_add(bytes, Ordering::AcqRel);
            lane.queued.fetch_sub(bytes, Ordering::AcqRel);
            if !self.refresh().await {
                return;
            }
        }
    }

    /// Returns once the path takes another frame of a file; `false` once nobody hears of room.
    async fn to_go(&self) -> bool {
        while !self.lane().may_go(self.shared.msg.in_use()) {
            tokio::select! {
                biased;
                () = self.lane().room() => {}
                () = self.runtime.sleep(FILE_LOOK) => if !self.refresh().await {
                    return false;
                },
            }
        }
        true
    }

    /// Watches for the association that has silently given up.
    pub(super) async fn watch(self, news: mpsc::Sender<ChannelNews>) {
        let mut progress = (0, self.runtime.now());
        loop {
            self.runtime.sleep(STALL_CHECK).await;
            let Ok(outstanding) = self.stream.outstanding_bytes().await else {
                continue;
            };
            let sent = self.lane().sent.load(Ordering::Acquire);
            let acknowledged = sent.saturating_sub(outstanding as u64);
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
        let lane = self.lane();
        if let Ok(bytes) = self.stream.outstanding_bytes().await {
            lane.outstanding.store(bytes, Ordering::Release);
            if self.channel == Channel::File {
                self.learn(bytes as u64).await;
            }
        }
        let room = match self.channel {
            Channel::Msg => lane.in_use() <= lane.room_at.load(Ordering::Acquire),
            Channel::File => {
                lane.look_again(self.shared.msg.in_use());
                lane.wants_frames()
            }
        };
        if room && lane.blocked.swap(false, Ordering::AcqRel) {
            return self.tell_room().await;
        }
        true
    }

    /// Fits the window of `file` to the path.
    async fn learn(&self, outstanding: u64) {
        let lane = self.lane();
        let sent = lane.sent.load(Ordering::Acquire);
        let bytes = {
            let mut window = lane.window();
            window.acknowledged(sent.saturating_sub(outstanding), self.runtime.now());
            window.bytes()
        };
        let before = lane.room_at.load(Ordering::Acquire);
        // Not for every little change: it costs a turn of the crate's driver.
        if bytes.abs_diff(before) > before / 8 {
            // The reader sees the channel end and reports it.
            let _ = self.set_room(bytes).await;
            // The crate gives no word of what fell below a threshold before it knew it.
            if let Ok(bytes) = self.stream.outstanding_bytes().await {
                lane.outstanding.store(bytes, Ordering::Release);
            }
        }
    }

    /// What waits goes on once so many bytes at most are under way.
    pub(super) async fn set_room(&self, bytes: usize) -> Result<()> {
        self.lane().room_at.store(bytes, Ordering::Release);
        let threshold = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.stream
            .set_buffered_amount_low_threshold(threshold)
            .await
    }

    fn lane(&self) -> &Lane {
        self.shared.lane(self.channel)
    }

    fn is_held_up(&self) -> bool {
        match &self.to {
            To::Events(events) => events.capacity() == 0,
            To::Files(files) => files.as_ref().is_some_and(|files| files.capacity() == 0),
        }
    }

    async fn received(&self, message: BytesMut) -> bool {
        match &self.to {
            To::Events(_) => self.tell(RtcEvent::Message(message.freeze())).await,
            To::Files(_) => self.tell_file(FileEvent::Frame(message)).await,
        }
    }

    async fn tell_room(&self) -> bool {
        match &self.to {
            To::Events(_) => self.tell(RtcEvent::Writable).await,
            To::Files(_) => self.tell_file(FileEvent::Room).await,
        }
    }

    async fn tell(&self, event: RtcEvent) -> bool {
        match &self.to {
            To::Events(events) => events.send((self.id, event)).await.is_ok(),
            To::Files(_) => true,
        }
    }

    async fn tell_file(&self, event: FileEvent) -> bool {
        if let To::Files(Some(files)) = &self.to {
            // Without a taker of files the link goes on; what comes is thrown away.
            let _ = files.send((self.id, event)).await;
        }
        true
    }
}
