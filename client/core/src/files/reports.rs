//! What is heard of files: from the driver, from the other side, and of links that come and go.

use super::incoming::Incoming;
use super::io::FileEvent;
use super::rows::FileInKey;
use super::sent::Arrived;
use crate::input::LinkId;
use crate::intake::Opened;
use crate::manager::PeerManager;
use beeline_proto::id::{DeviceFp, MessageId};
use beeline_proto::pb::peer::v1::{FileDone, FileReason, FileState};
use beeline_proto::time::Now;

impl PeerManager {
    /// The driver reports.
    pub(crate) fn on_file_event(&mut self, now: Now, event: FileEvent) {
        match event {
            FileEvent::Opened { id } => self.on_file_opened(now, id),
            FileEvent::Sealed { id, index, sealed } => {
                self.on_chunk_sealed(now, id, index, &sealed);
            }
            FileEvent::Sent {
                id,
                link,
                count,
                turn,
            } => {
                self.files.share.sent(id, link, count, turn);
                self.feed_files(link);
            }
            FileEvent::Unfit { id, link, detail } => self.on_out_unfit(now, (id, link), detail),
            FileEvent::Unreadable { id, detail } => {
                self.end_out(now, id, FileReason::SourceChanged, Some(detail));
            }
            FileEvent::Prepared { key, missing } => self.on_prepared(now, key, missing),
            FileEvent::Written {
                key,
                link,
                chunks,
                left,
            } => self.on_chunks_written(now, (key, link), chunks, left),
            FileEvent::Finished { key, path } => self.on_finished(key, path),
            FileEvent::Stuck {
                key,
                reason,
                detail,
            } => self.on_file_stuck(now, key, reason, detail),
            FileEvent::Failed {
                key,
                reason,
                detail,
            } => self.end_in(now, key, reason, Some(detail)),
        }
    }

    /// FILE_DONE came: a receiver has a file of ours or will not, or a sender gave one up.
    pub(crate) fn on_file_done(&mut self, now: Now, opened: &Opened) {
        let audience = self.me.user.0;
        let verified = self.verify::<FileDone>(now, &opened.envelope, opened.from, audience);
        let (Some(done), Some(label)) = (verified, self.speaker(opened.from)) else {
            return self.out.counters.count("file-done-refused");
        };
        let done = done.payload();
        let Ok(id) = MessageId::try_from(done.offer_id.as_slice()) else {
            return self.out.counters.count("file-done-refused");
        };
        let reason = FileReason::try_from(done.reason).unwrap_or(FileReason::Unspecified);
        let ours = self.files.out.get(&id).is_some_and(|o| o.row.to == label);
        let (device, way) = (opened.from, opened.way);
        if ours && done.complete {
            return self.on_out_complete(now, Arrived { id, device, way });
        }
        if ours {
            self.on_declined(now, id, device, reason);
        }
        if !done.complete {
            self.on_in_done(now, (device, id), reason);
        }
        self.say_closed(now, (way, device), id);
    }

    /// FILE_STATE came.
    pub(crate) fn on_file_state(&mut self, now: Now, link: LinkId, state: &FileState) {
        let device = self.links.get(link).map(|link| link.device);
        let id = MessageId::try_from(state.offer_id.as_slice());
        let (Some(device), Ok(id)) = (device, id) else {
            return self.out.counters.count("file-state-refused");
        };
        let key: FileInKey = (device, id);
        if state.closed {
            return self.close_in(now, key);
        }
        if self.files.incoming.contains_key(&key) {
            return self.on_in_paused(now, key, state.paused);
        }
        if state.paused {
            let reason = FileReason::try_from(state.reason).unwrap_or(FileReason::Unspecified);
            self.on_out_paused(now, id, link, reason);
        } else {
            self.on_file_written(now, (id, device), state.written);
        }
    }

    /// A link carries no chunk of a file of ours: another device's may.
    fn on_out_unfit(&mut self, now: Now, (id, link): (MessageId, LinkId), detail: String) {
        let sent_there = |(_, on): &(DeviceFp, LinkId)| *on == link;
        let Some((device, _)) = self.files.share.of_file(id).into_iter().find(sent_there) else {
            return;
        };
        self.out.warn(now, "file-frames-small", detail);
        let reason = FileReason::SmallFrames;
        self.say_done(now, device, id, Some(reason));
        self.on_declined(now, id, device, reason);
    }

    /// A link to a device is open.
    pub(crate) fn on_file_link(&mut self, now: Now, device: DeviceFp) {
        self.files.seeks.remove(&device);
        self.resume_in(now, device);
    }

    /// A link is gone: what went over it goes on another way, or a link is looked for.
    pub(crate) fn on_file_link_ended(
        &mut self,
        now: Now,
        link: LinkId,
        device: DeviceFp,
        opened: bool,
    ) {
        self.interrupt_out(link);
        self.interrupt_relays(link);
        self.interrupt_in(link);
        let linked = self.links.ready_to(device).is_some();
        if opened && !linked && self.files_want(device) {
            self.seek(now, device);
        }
        // It goes on over another link, and what came through that device finds another way.
        self.start_waiting(now);
    }

    /// Some time has passed.
    pub(crate) fn on_files_timer(&mut self, now: Now) {
        let due = |i: &&Incoming| i.due_ms.is_some_and(|at_ms| at_ms <= now.mono_ms);
        let due = self.files.incoming.values().filter(due);
        for key in due.map(Incoming::key).collect::<Vec<_>>() {
            self.on_incoming_due(now, key);
        }
        self.record_again(now);
        self.seek_due(now);
        self.arm_files(now);
    }
}
