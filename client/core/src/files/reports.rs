//! What is heard of files: from the driver, from the other side, and of links that come and go.

use super::incoming::Incoming;
use super::io::FileEvent;
use super::rows::FileInKey;
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
            FileEvent::Opened { id } => self.on_file_opened(id),
            FileEvent::Sent {
                id,
                link,
                count,
                turn,
            } => {
                self.files.share.sent(id, link, count, turn);
                self.feed_files(link);
            }
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
        if ours {
            self.on_out_done(now, (id, opened.from), done.complete, reason);
        }
        if !done.complete {
            self.on_in_done(now, (opened.from, id), reason);
        }
        self.say_closed(opened.way.direct(), id);
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
            self.on_out_paused(now, id, link);
        } else {
            self.on_file_written(now, (id, device), state.written);
        }
    }

    /// A link to a device is open.
    pub(crate) fn on_file_link(&mut self, now: Now, device: DeviceFp) {
        self.files.seeks.remove(&device);
        self.resume_in(now, device);
    }

    /// A link is gone: what went over it is looked for a new one.
    pub(crate) fn on_file_link_ended(
        &mut self,
        now: Now,
        link: LinkId,
        device: DeviceFp,
        opened: bool,
    ) {
        self.interrupt_out(link);
        self.interrupt_in(link);
        if opened && self.files_want(device) {
            self.seek(now, device);
        }
    }

    /// Some time has passed.
    pub(crate) fn on_files_timer(&mut self, now: Now) {
        let due = |i: &&Incoming| i.due_ms.is_some_and(|at_ms| at_ms <= now.mono_ms);
        let due = self.files.incoming.values().filter(due);
        for key in due.map(Incoming::key).collect::<Vec<_>>() {
            self.on_incoming_due(now, key);
        }
        self.seek_due(now);
        self.arm_files(now);
    }
}
