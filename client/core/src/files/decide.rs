//! Whether a file is wanted: decided when its offer is committed, before a byte of it is written.

use super::incoming::{Incoming, Stage};
use super::io::{FileCall, FileStage};
use super::rows::{FileInKey, FileInRow, FileInState, FileOp};
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
        self.start_incoming(now, key);
    }

    /// Decides about an offer as the policy says; without one it waits for a process that has one.
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
            Some(reason) => self.end_in(now, key, reason, None),
            None => self.accept(key),
        }
    }

    fn accept(&mut self, key: FileInKey) {
        if let Some(incoming) = self.files.incoming.get_mut(&key) {
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
                    None => self.pause_out(id, on),
                }
                self.out.event(Event::Done { command });
            }
            FileCall::Cancel { command, id } => {
                let Some(incoming) = self.find_file(command, id) else {
                    return;
                };
                match incoming {
                    Some(key) => self.end_in(now, key, FileReason::Cancelled, None),
                    None => self.end_out(now, id, FileReason::Cancelled, None),
                }
                self.out.event(Event::Done { command });
            }
        }
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
            let (code, detail) = (ErrorCode::NotFound, "no such file is on its way".to_owned());
            self.out.event(Event::Refused {
                command,
                code,
                detail,
            });
        }
        found.map(Some)
    }
}
