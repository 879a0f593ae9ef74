//! Pictures of the files under way and waiting, for `files` and `status`.

use super::incoming::{Incoming, Stage};
use super::io::{FileStage, FileTold};
use super::outgoing::Outgoing;
use super::rows::{FileInState, FileOutState};
use crate::event::DeliveryState;
use crate::manager::PeerManager;

/// A file under way or waiting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileNow {
    /// What it is, and how far: `Done` and `Ended` never.
    pub told: FileTold,
    /// Bytes the receiver has written, as far as that is known.
    pub done: Option<u64>,
    /// What it waits for, unless it moves or is held back.
    pub waits: Option<FileWait>,
    /// When it was offered or its offer came, on the steady clock.
    pub born_ms: u64,
}

/// What a file waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileWait {
    /// Its offer is not delivered yet.
    Offer,
    /// Nobody at the receiving side has decided, or asked for it.
    Decision,
    /// We have no folder to put it in.
    Folder,
    /// A link between the two devices.
    Link,
    /// Others that came before it.
    Turn,
    /// A process: nobody runs this home.
    Owner,
}

impl FileWait {
    /// As printed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Offer => "offer",
            Self::Decision => "decision",
            Self::Folder => "folder",
            Self::Link => "link",
            Self::Turn => "turn",
            Self::Owner => "owner",
        }
    }
}

impl PeerManager {
    /// The files that are not over, the oldest first.
    pub fn files(&self) -> Vec<FileNow> {
        let ours = self.files.out.values();
        let ours = ours.filter(|o| o.row.state < FileOutState::Done);
        let theirs = self.files.incoming.values();
        let theirs = theirs.filter(|i| !i.row.state.is_over());
        let mut all: Vec<FileNow> = ours
            .map(|o| self.out_now(o))
            .chain(theirs.map(|i| self.in_now(i)))
            .collect();
        all.sort_by_key(|file| file.born_ms);
        all
    }

    fn out_now(&self, outgoing: &Outgoing) -> FileNow {
        let row = &outgoing.row;
        let delivered = self.outbox.get(&row.id);
        let delivered = delivered.is_none_or(|e| e.row.state >= DeliveryState::Delivered);
        let moves = !row.held && !self.getters(row.id).is_empty();
        let (stage, waits) = if row.held {
            (FileStage::Paused { by_us: true }, None)
        } else if moves {
            let done = outgoing.done.unwrap_or(0);
            (FileStage::Moving { done }, None)
        } else if outgoing.theirs {
            (FileStage::Paused { by_us: false }, None)
        } else if row.state == FileOutState::Wanted {
            (FileStage::Accepted, Some(FileWait::Link))
        } else if delivered {
            (FileStage::Offered, Some(FileWait::Decision))
        } else {
            (FileStage::Offered, Some(FileWait::Offer))
        };
        let through = self.out_through(row.id).filter(|_| moves);
        FileNow {
            told: outgoing.told(stage, through),
            done: outgoing.done,
            waits,
            born_ms: row.born_ms,
        }
    }

    fn in_now(&self, incoming: &Incoming) -> FileNow {
        let row = &incoming.row;
        let folder = self.me.config.files.is_some();
        let done = incoming.done.unwrap_or(0);
        let (stage, waits) = match incoming.stage {
            _ if row.held => (FileStage::Paused { by_us: true }, None),
            _ if row.state == FileInState::Offered => {
                let stage = FileStage::Undecided { folder };
                let waits = if folder {
                    FileWait::Decision
                } else {
                    FileWait::Folder
                };
                (stage, Some(waits))
            }
            Stage::Preparing(_) | Stage::Taking(_) => (FileStage::Moving { done }, None),
            Stage::Finishing | Stage::Recording => (
                FileStage::Moving {
                    done: row.info.size,
                },
                None,
            ),
            Stage::Idle if row.info.is_small() && folder => {
                (FileStage::Accepted, Some(FileWait::Turn))
            }
            Stage::Idle if !folder => (FileStage::Accepted, Some(FileWait::Folder)),
            Stage::Idle if let Some(reason) = incoming.stuck => {
                let detail = None;
                (FileStage::Waiting { reason, detail }, None)
            }
            Stage::Idle if incoming.theirs => (FileStage::Paused { by_us: false }, None),
            Stage::Idle if self.links.ready_to(row.device).is_none() => {
                (FileStage::Accepted, Some(FileWait::Link))
            }
            Stage::Idle => (FileStage::Accepted, Some(FileWait::Turn)),
        };
        let through = incoming.way().and_then(|way| self.through(way));
        FileNow {
            told: incoming.told(stage, through),
            done: incoming.done,
            waits,
            born_ms: row.born_ms,
        }
    }
}
