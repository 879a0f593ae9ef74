//! Whether a file is wanted: decided when its offer is committed, before a byte of it is written.

use super::incoming::{Incoming, Stage};
use super::io::{FileCall, FileStage};
use super::rows::{FileInKey, FileInRow, FileInState, FileOp};
use super::{WE_GAVE_UP, WE_REFUSED};
use crate::event::Event;
use crate::input::CommandId;
use crate::manager::PeerManager;
use crate::outputs::Write;
use crate::state::StoreOp;
use beeline_proto::code::ErrorCode;
use beeline_proto::id::MessageId;
use beeline_proto::pb::peer::v1::FileReason;
use beeline_proto::time::Now;

impl PeerManager {
    /// Goes on with the stored files. What a device is to be told or asked waits for a link to it.
    pub(crate) fn resume_files(&mut self, now: Now) {
        self.sweep_files();
        self.expire_files(now);
        let keys: Vec<FileInKey> = self.files.incoming.keys().copied().collect();
        for key in keys {
            self.decide(now, key);
            self.start_incoming(now, key);
            self.resume_end(now, key);
        }
        self.seek_receivers(now);
    }

    /// Files that nothing came of for a month.
    pub(crate) fn expire_files(&mut self, now: Now) {
        self.expire_out(now);
        self.expire_in(now);
    }

    /// The offer of a file is committed.
    pub(crate) fn on_file_offered(&mut self, now: Now, row: FileInRow) {
        let incoming = Incoming::new(row);
        let key = incoming.key();
        if self.files.incoming.contains_key(&key) {
            return;
        }
        self.files.incoming.insert(key, incoming);
        self.tell_in(&key, FileStage::Offered);
        self.decide(now, key);
        let open = |i: &Incoming| i.row.state == FileInState::Offered;
        if self.files.incoming.get(&key).is_some_and(open) {
            self.tell_undecided(&key);
            return self.say_held(key);
        }
        self.start_incoming(now, key);
    }

    /// Decides about an offer as the policy says. Without one, or where a person is to be asked, it
    /// waits.
    fn decide(&mut self, now: Now, key: FileInKey) {
        let open = |i: &&Incoming| i.row.state == FileInState::Offered;
        let incoming = self.files.incoming.get(&key).filter(open);
        let (Some(incoming), Some(policy)) = (incoming, &self.me.config.files) else {
            return;
        };
        let (from, size) = (&incoming.row.from, incoming.row.info.size);
        let welcome = policy.from.as_ref().is_none_or(|all| all.contains(from));
        let wanted = |i: &&Incoming| i.row.state == FileInState::Accepted;
        let wanted = self.files.incoming.values().filter(wanted);
        let total = wanted.fold(size, |sum, i| sum.saturating_add(i.row.info.size));
        let no = if !welcome || self.is_blocked(from) {
            Some(FileReason::NotWanted)
        } else if size > policy.size_max {
            Some(FileReason::TooLarge)
        } else if total > policy.total_max {
            Some(FileReason::NoRoom)
        } else {
            None
        };
        match no {
            Some(_) if self.me.config.files_ask && !self.is_blocked(&incoming.row.from) => {}
            Some(reason) => self.end_in(now, key, reason, None),
            None => self.accept(key),
        }
    }

    fn accept(&mut self, key: FileInKey) {
        let open = |i: &&mut Incoming| i.row.state == FileInState::Offered;
        if let Some(incoming) = self.files.incoming.get_mut(&key).filter(open) {
            incoming.row.state = FileInState::Accepted;
            let op = StoreOp::File(FileOp::SetIn {
                key,
                state: FileInState::Accepted,
                reason: FileReason::Unspecified,
                path: String::new(),
            });
            self.out.write(vec![op], Write::Plain);
            self.tell_in(&key, FileStage::Accepted);
        }
    }

    /// The application wants something with files.
    pub(crate) fn on_file_call(&mut self, now: Now, call: FileCall) {
        match call {
            FileCall::Send {
                command,
                to,
                file,
                idempotency_key,
            } => self.on_send_file(now, command, to, *file, idempotency_key),
            FileCall::Pause { command, id, on } => {
                let Some(incoming) = self.find_file(command, id) else {
                    return;
                };
                match incoming {
                    Some(key) => self.pause_in(now, key, on),
                    None if self.is_small_file(&id) => {
                        let detail = "it travels in its message: it can only be given up";
                        return self.refuse_file(command, ErrorCode::InvalidArgument, detail);
                    }
                    None => self.pause_out(now, id, on),
                }
                self.out.write(Vec::new(), Write::FileCall(command));
            }
            FileCall::Cancel { command, id } => {
                let by_us = Some(WE_GAVE_UP.to_owned());
                let Some(incoming) = self.find_file(command, id) else {
                    return;
                };
                match incoming {
                    Some(key) => self.end_in(now, key, FileReason::Cancelled, by_us),
                    None => self.end_out(now, id, FileReason::Cancelled, by_us),
                }
                self.out.write(Vec::new(), Write::FileCall(command));
            }
            FileCall::Decide {
                command,
                id,
                accept,
            } => self.decide_by_hand(now, command, id, accept),
        }
    }

    fn is_small_file(&self, id: &MessageId) -> bool {
        let outgoing = self.files.out.get(id);
        outgoing.is_some_and(|outgoing| outgoing.row.info.is_small())
    }

    /// A person takes a file, or refuses it.
    fn decide_by_hand(&mut self, now: Now, command: CommandId, id: MessageId, accept: bool) {
        let Some(incoming) = self.find_file(command, id) else {
            return;
        };
        let Some(key) = incoming else {
            let detail = "that file is yours: the other side decides";
            return self.refuse_file(command, ErrorCode::InvalidArgument, detail);
        };
        let from = self.files.incoming.get(&key).map(|i| i.row.from.clone());
        if let Some(from) = from.filter(|from| accept && self.is_blocked(from)) {
            let detail = format!("{from} has another key now; see beeline verify {from}");
            return self.refuse_file(command, ErrorCode::UserKeyChanged, &detail);
        }
        if accept {
            self.accept(key);
            self.start_incoming(now, key);
        } else {
            let by_us = Some(WE_REFUSED.to_owned());
            self.end_in(now, key, FileReason::NotWanted, by_us);
        }
        self.out.write(Vec::new(), Write::FileCall(command));
    }

    /// A file that is not over: its key where it is for us. Says so where there is none.
    fn find_file(&mut self, command: CommandId, id: MessageId) -> Option<Option<FileInKey>> {
        if self.files.out.contains_key(&id) {
            return Some(None);
        }
        let named = |i: &&Incoming| {
            // One that is being put in its place is as good as there.
            let late = matches!(i.stage, Stage::Finishing | Stage::Recording);
            i.row.id == id && !i.row.state.is_over() && !late
        };
        let found = self.files.incoming.values().find(named).map(Incoming::key);
        if found.is_none() {
            self.refuse_file(command, ErrorCode::NotFound, "no such file is on its way");
        }
        found.map(Some)
    }

    fn refuse_file(&mut self, command: CommandId, code: ErrorCode, detail: &str) {
        let detail = detail.to_owned();
        self.out.event(Event::Refused {
            command,
            code,
            detail,
        });
    }
}
