//! Files that wait because somebody said so: held back by us, which outlives the process; held
//! back by the other side, as it last said on a link; offered to us and not decided.
//!
//! Both sides say it with the same FILE_STATE. A receiver says it again on each new link: so a
//! sender that has given the file up meanwhile can answer that there is nothing to wait for.

use super::incoming::Incoming;
use super::io::{FileCommand, FileStage};
use super::rows::{FileInKey, FileInState, FileOp, FileOutState};
use crate::event::Event;
use crate::input::{CommandId, LinkId};
use crate::manager::PeerManager;
use crate::output::Output;
use crate::outputs::Write;
use crate::state::StoreOp;
use beeline_proto::code::ErrorCode;
use beeline_proto::id::{DeviceFp, MessageId};
use beeline_proto::pb::peer::v1::{FileReason, FileState};
use beeline_proto::time::Now;

impl PeerManager {
    /// Holds a file of ours back, or lets it go on: receivers ask again then.
    pub(super) fn pause_out(&mut self, now: Now, id: MessageId, on: bool) {
        let Some(outgoing) = self.files.out.get_mut(&id) else {
            return;
        };
        if std::mem::replace(&mut outgoing.row.held, on) == on {
            return;
        }
        let (to, state) = (outgoing.row.to.clone(), outgoing.row.state);
        let hold = StoreOp::File(FileOp::HoldOut { id, on });
        self.out.write(vec![hold], Write::Plain);
        if on {
            // Others hear of it when they ask.
            for (_, link) in self.files.share.of_file(id) {
                self.say_paused(link, id, true);
            }
            for device in self.getters(id) {
                self.stop_sending(id, device);
            }
            return self.tell_out(id, FileStage::Paused { by_us: true });
        }
        let linked: Vec<LinkId> = self.links.of_user(&to).map(|link| link.id).collect();
        for link in linked {
            self.say_paused(link, id, false);
        }
        let wanted = state == FileOutState::Wanted;
        for device in self.devices_of(&to).into_iter().filter(|_| wanted) {
            if self.links.ready_to(device).is_none() {
                self.seek(now, device);
            }
        }
        let stage = match wanted {
            true => FileStage::Accepted,
            false => FileStage::Offered,
        };
        self.tell_out(id, stage);
    }

    /// Holds a file for us back, or lets it go on.
    pub(super) fn pause_in(&mut self, now: Now, key: FileInKey, on: bool) {
        let Some(incoming) = self.files.incoming.get_mut(&key) else {
            return;
        };
        if std::mem::replace(&mut incoming.row.held, on) == on {
            return;
        }
        let undecided = incoming.row.state == FileInState::Offered;
        let hold = StoreOp::File(FileOp::HoldIn { key, on });
        self.out.write(vec![hold], Write::Plain);
        if on {
            self.leave(key);
            self.say_held(key);
            self.tell_in(&key, FileStage::Paused { by_us: true });
        } else if undecided {
            self.tell_undecided(&key);
        } else {
            self.tell_in(&key, FileStage::Accepted);
        }
        self.start_waiting(now);
    }

    /// Takes no more of a file, whichever way it comes.
    pub(super) fn leave(&mut self, key: FileInKey) {
        let Some(incoming) = self.files.incoming.get_mut(&key) else {
            return;
        };
        if incoming.way().is_some() {
            incoming.stop();
            self.out.push(Output::File(FileCommand::Leave { key }));
        }
    }

    /// Says on the link to its sender, if there is one, that a file for us waits here.
    pub(super) fn say_held(&mut self, key: FileInKey) {
        if let Some(link) = self.links.ready_to(key.0) {
            self.say_paused(link, key.1, true);
        }
    }

    /// An offer waits for a person, or for a place to put it.
    pub(super) fn tell_undecided(&mut self, key: &FileInKey) {
        let folder = self.me.config.files.is_some();
        self.tell_in(key, FileStage::Undecided { folder });
    }

    /// The sender holds a file for us back, or not any more: then it is asked for again.
    pub(super) fn on_in_paused(&mut self, now: Now, key: FileInKey, on: bool) {
        let Some(incoming) = self.files.incoming.get_mut(&key) else {
            return;
        };
        if incoming.row.state.is_over() || std::mem::replace(&mut incoming.theirs, on) == on {
            return;
        }
        let told = !incoming.row.held && incoming.row.state == FileInState::Accepted;
        if on {
            self.leave(key);
            if told {
                self.tell_in(&key, FileStage::Paused { by_us: false });
            }
        } else if told {
            self.tell_in(&key, FileStage::Accepted);
        }
        self.start_waiting(now);
    }

    /// A device that a file of ours is for holds it back, or cannot take it now, for a reason; it
    /// asks again when it wants it. One that waits for a file we do not offer any more is told.
    pub(super) fn on_out_paused(
        &mut self,
        now: Now,
        id: MessageId,
        link: LinkId,
        reason: FileReason,
    ) {
        let Some((device, user)) = self.links.get(link).map(|l| (l.device, l.user.clone())) else {
            return;
        };
        if !self.offers_to(id, &user) {
            return self.say_unknown(now, device, id);
        }
        self.stop_sending(id, device);
        let others = !self.getters(id).is_empty();
        let Some(outgoing) = self.files.out.get_mut(&id) else {
            return;
        };
        let open = outgoing.row.state < FileOutState::Done && !outgoing.row.held;
        if reason != FileReason::Unspecified {
            if !std::mem::replace(&mut outgoing.stuck, true) && open {
                let detail = None;
                self.tell_out(id, FileStage::Waiting { reason, detail });
            }
        } else if !others && !std::mem::replace(&mut outgoing.theirs, true) && open {
            self.tell_out(id, FileStage::Paused { by_us: false });
        }
    }

    /// Says on a link that a file is held back, or not any more.
    pub(super) fn say_paused(&mut self, link: LinkId, id: MessageId, paused: bool) {
        let state = FileState {
            offer_id: id.to_vec(),
            paused,
            ..FileState::default()
        };
        self.say_file_state(link, state);
    }

    /// There is a link to a device: what waits here of what it offers is said there.
    pub(super) fn say_waiting(&mut self, device: DeviceFp) {
        let waits = |i: &&Incoming| i.row.device == device && i.waits_for_us();
        let waiting = self.files.incoming.values().filter(waits);
        for key in waiting.map(Incoming::key).collect::<Vec<_>>() {
            self.say_held(key);
        }
    }

    /// What a person wanted with files was written down, or could not be.
    pub(crate) fn on_file_called(&mut self, command: CommandId, failed: Option<String>) {
        self.out.event(match failed {
            None => Event::Done { command },
            Some(detail) => Event::Refused {
                command,
                code: ErrorCode::Internal,
                detail,
            },
        });
    }

    /// What is in force now of what an operation recorded that could not be written.
    pub(crate) fn file_op_now(&self, op: FileOp) -> Option<FileOp> {
        match op {
            FileOp::HoldOut { id, .. } => {
                let held = self.files.out.get(&id).map(|o| o.row.held);
                held.map(|on| FileOp::HoldOut { id, on })
            }
            FileOp::HoldIn { key, .. } => {
                let held = self.files.incoming.get(&key).map(|i| i.row.held);
                held.map(|on| FileOp::HoldIn { key, on })
            }
            other => Some(other),
        }
    }
}
