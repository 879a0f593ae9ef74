//! Whose turn it is among the files for us, and what keeps one of them from going on: a sender that
//! stalls gives its turn to others, and a full disk is waited for.

use super::incoming::{Incoming, Stage};
use super::io::{FileCommand, FileStage};
use super::rows::{FileInKey, FileInState};
use crate::limits::{FILE_STUCK_AGAIN_MS, FILES_ACTIVE_MAX, FILES_ACTIVE_PER_USER_MAX};
use crate::manager::PeerManager;
use crate::output::Output;
use beeline_proto::pb::peer::v1::{FileReason, FileState};
use beeline_proto::time::Now;

impl PeerManager {
    /// Whether a file may start beside those that are being written.
    pub(super) fn has_turn(&self, key: FileInKey) -> bool {
        let user = self.files.incoming.get(&key).map(|i| &i.row.from);
        let active = |i: &&Incoming| i.stage != Stage::Idle;
        let active = self.files.incoming.values().filter(active);
        let (all, of_user) = active.fold((0, 0), |(all, of_user), i| {
            (all + 1, of_user + usize::from(Some(&i.row.from) == user))
        });
        all < FILES_ACTIVE_MAX && of_user < FILES_ACTIVE_PER_USER_MAX
    }

    /// Nothing comes of a file though it was asked for: where others wait, they have its turn, and
    /// it is asked for later. Whether that is so.
    pub(super) fn yield_turn(&mut self, now: Now, key: FileInKey) -> bool {
        let could = |i: &Incoming| i.is_waiting() && self.links.ready_to(i.row.device).is_some();
        if !self.files.incoming.values().any(could) {
            return false;
        }
        self.set_aside(now, key, Incoming::stall_ms);
        self.start_waiting(now);
        true
    }

    /// A file cannot go on for now: what there is of it is kept, both sides are told once, and it
    /// is tried again.
    pub(super) fn on_file_stuck(
        &mut self,
        now: Now,
        key: FileInKey,
        reason: FileReason,
        detail: String,
    ) {
        let Some(incoming) = self.files.incoming.get_mut(&key) else {
            return;
        };
        if incoming.row.state != FileInState::Accepted {
            return;
        }
        let link = incoming.link();
        self.set_aside(now, key, |_| FILE_STUCK_AGAIN_MS);
        self.tell_stuck(key, reason, detail);
        if let Some(link) = link.or_else(|| self.links.ready_to(key.0)) {
            let state = FileState {
                offer_id: key.1.to_vec(),
                paused: true,
                reason: reason as i32,
                ..FileState::default()
            };
            self.say_file_state(link, state);
        }
        self.start_waiting(now);
    }

    /// Tells what stands in a file's way, once until something comes of it.
    pub(super) fn tell_stuck(&mut self, key: FileInKey, reason: FileReason, detail: String) {
        let incoming = self.files.incoming.get_mut(&key);
        let known = incoming.is_none_or(|i| i.stuck.replace(reason) == Some(reason));
        if !known {
            let detail = Some(detail);
            self.tell_in(&key, FileStage::Waiting { reason, detail });
        }
    }

    /// Leaves a file alone for so many milliseconds.
    fn set_aside(&mut self, now: Now, key: FileInKey, ms: impl Fn(&Incoming) -> u64) {
        let Some(incoming) = self.files.incoming.get_mut(&key) else {
            return;
        };
        let at_ms = now.mono_ms + ms(incoming);
        incoming.stop();
        self.look_again(key, at_ms);
        self.out.push(Output::File(FileCommand::Leave { key }));
    }

    /// At the start: what an earlier process left of files that are over goes.
    pub(super) fn sweep_files(&mut self) {
        if self.me.config.files.is_some() {
            let wanted = self.files.incoming.values();
            let wanted = wanted.filter(|i| !i.row.state.is_over());
            let wanted = wanted.map(Incoming::key).collect();
            self.out.push(Output::File(FileCommand::Sweep { wanted }));
        }
    }
}
