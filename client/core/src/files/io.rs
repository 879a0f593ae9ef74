//! What the core wants done with the bytes of files, and what it hears of them. It never sees one.
//!
//! ```text
//!   sending    Open ─▶ Opened      Send ─▶ Sent …      Stop, Shut
//!   receiving  Prepare ─▶ Prepared   Take ─▶ Written …   Finish ─▶ Finished
//!              Put ─▶ Finished   Leave, Discard, Forget; Sweep
//! ```
//!
//! Where there is no link between the two devices it sees sealed chunks: `Seal` ─▶ `Sealed` on one
//! side, `Write` on the other. What is in them it does not.

use super::rows::{FileInKey, FileInfo, SmallFile};
use crate::input::LinkId;
use beeline_proto::id::{Label, MessageId};
use beeline_proto::pb::peer::v1::FileReason;

/// One thing to do with the bytes of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileCommand {
    /// Open the content of a file of ours. Answered by `Opened` or `Unreadable`.
    Open {
        /// The file.
        id: MessageId,
        /// Where its content is.
        source: String,
        /// What was offered.
        info: FileInfo,
    },
    /// Send chunks on a link, each sealed and with its proof, after all that was asked for before
    /// on this link. Answered by `Sent` once the link has taken the last of them, or `Unreadable`;
    /// by nothing where the link ends, or after `Stop`.
    Send {
        /// The file.
        id: MessageId,
        /// The link.
        link: LinkId,
        /// The first chunk.
        from: u64,
        /// How many.
        count: u64,
        /// Copied into the answer.
        turn: u64,
    },
    /// Seal one chunk, with its proof. Answered by `Sealed` or `Unreadable`, but not after `Shut`.
    Seal {
        /// The file.
        id: MessageId,
        /// The chunk.
        index: u64,
    },
    /// Send nothing more of this file on this link.
    Stop {
        /// The file.
        id: MessageId,
        /// The link.
        link: LinkId,
    },
    /// Close the content of a file of ours.
    Shut {
        /// The file.
        id: MessageId,
    },
    /// Make ready to write a file for us, and say which chunks are missing: all of them, unless an
    /// earlier process, or an earlier call, has some. Answered by `Prepared`, by `Finished` where
    /// it is in its place already, or `Failed`.
    Prepare {
        /// The file.
        key: FileInKey,
        /// What was offered.
        info: FileInfo,
    },
    /// From now on write the chunks of this file that come on this link. Told by `Written`, and by
    /// `Failed` where a chunk is not what was offered or cannot be written.
    Take {
        /// The file.
        key: FileInKey,
        /// The link.
        link: LinkId,
    },
    /// Write a chunk that came in parts, where `Take` named [`LinkId::RELAYED`]; told as there.
    Write {
        /// The file.
        key: FileInKey,
        /// Which chunk it says it is.
        index: u64,
        /// The sealed chunk.
        sealed: Vec<u8>,
    },
    /// Drop chunks of this file that come on any link.
    Leave {
        /// The file.
        key: FileInKey,
    },
    /// Write a small file, whose content came with its offer, and put it in its place. Answered by
    /// `Finished` or `Failed`.
    Put {
        /// The file.
        key: FileInKey,
        /// What was offered, with its content.
        info: FileInfo,
    },
    /// Every chunk is there: make it durable and put it in its place, under a name no file has yet.
    /// Answered by `Finished` or `Failed`.
    Finish {
        /// The file.
        key: FileInKey,
    },
    /// Remove what there is of a file that is not in its place.
    Discard {
        /// The file.
        key: FileInKey,
    },
    /// A file is in its place, and that is recorded: forget what was noted of it.
    Forget {
        /// The file.
        key: FileInKey,
    },
    /// Remove what this home has of any other file that is not in its place: an earlier process
    /// ended before it could.
    Sweep {
        /// The files that are still wanted.
        wanted: Vec<FileInKey>,
    },
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileEvent {
    /// The content is open.
    Opened {
        /// The file.
        id: MessageId,
    },
    /// The link has taken these chunks.
    Sent {
        /// The file.
        id: MessageId,
        /// The link.
        link: LinkId,
        /// How many.
        count: u64,
        /// As in the command.
        turn: u64,
    },
    /// A chunk is sealed.
    Sealed {
        /// The file.
        id: MessageId,
        /// The chunk.
        index: u64,
        /// The sealed chunk.
        sealed: Vec<u8>,
    },
    /// The link takes no frame as long as one with a piece of a chunk of this file.
    Unfit {
        /// The file.
        id: MessageId,
        /// The link.
        link: LinkId,
        /// For people.
        detail: String,
    },
    /// The content cannot be read, or is not what was offered any more.
    Unreadable {
        /// The file.
        id: MessageId,
        /// Why, for people.
        detail: String,
    },
    /// A file for us may be written.
    Prepared {
        /// The file.
        key: FileInKey,
        /// The chunks missing: the first of each range and how many, in order.
        missing: Vec<(u64, u64)>,
    },
    /// Chunks are verified and written, and stay so when this process ends.
    Written {
        /// The file.
        key: FileInKey,
        /// The link they came on.
        link: LinkId,
        /// How many were missing and are not any more.
        chunks: u64,
        /// How many are still missing.
        left: u64,
    },
    /// A file is in its place.
    Finished {
        /// The file.
        key: FileInKey,
        /// Where.
        path: String,
    },
    /// A file for us cannot go on now. What there is of it is kept, and it must be prepared anew.
    Stuck {
        /// The file.
        key: FileInKey,
        /// Why.
        reason: FileReason,
        /// For people.
        detail: String,
    },
    /// A file for us cannot go on.
    Failed {
        /// The file.
        key: FileInKey,
        /// Why.
        reason: FileReason,
        /// For people.
        detail: String,
    },
}

/// What the application wants with files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileCall {
    /// Offer a file. Answered by `Event::Queued` after the commit, or `Event::Refused`.
    Send {
        /// Names the call.
        command: crate::input::CommandId,
        /// The recipient.
        to: Label,
        /// What and where.
        file: Box<FileSource>,
        /// A repeated key returns the first call's message instead of a new one.
        idempotency_key: Option<String>,
    },
    /// Hold a file back, ours or theirs, or let it go on; it stays so when this process ends.
    /// Answered by `Event::Done` once it is written down, or `Refused`.
    Pause {
        /// Names the call.
        command: crate::input::CommandId,
        /// The message that offers it.
        id: MessageId,
        /// Whether to hold it back.
        on: bool,
    },
    /// Give a file up, ours or theirs. Answered by `Event::Done` once it is written down, or
    /// `Refused`.
    Cancel {
        /// Names the call.
        command: crate::input::CommandId,
        /// The message that offers it.
        id: MessageId,
    },
    /// Take a file that is offered to us, whatever the policy says, or refuse it. Answered by
    /// `Event::Done` once it is written down, or `Refused`.
    Decide {
        /// Names the call.
        command: crate::input::CommandId,
        /// The message that offers it.
        id: MessageId,
        /// Whether it is taken.
        accept: bool,
    },
}

/// A file to offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSource {
    /// Where its content is: the driver's own word for it, at most
    /// [`crate::limits::FILE_SOURCE_LEN_MAX`] bytes.
    pub source: String,
    /// Display name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// BLAKE3 root of the content.
    pub root: [u8; 32],
    /// Bytes of one chunk.
    pub chunk_size: u32,
    /// Bytes of the list at the start of a folder's content; 0 for a file.
    pub list_len: u32,
    /// Files of a folder; 0 for a file.
    pub files: u32,
    /// The whole of a small one, to travel in the offer itself.
    pub content: Option<SmallFile>,
}

/// Which files are taken without asking a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePolicy {
    /// From whom; `None` for every contact.
    pub from: Option<std::collections::BTreeSet<Label>>,
    /// The largest, bytes.
    pub size_max: u64,
    /// All that are wanted and not there yet together, bytes.
    pub total_max: u64,
}

/// A file on its way, as the application sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileTold {
    /// The message that offers it.
    pub id: MessageId,
    /// The other user.
    pub user: Label,
    /// Whether it is ours.
    pub ours: bool,
    /// Display name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Files of a folder; 0 for a file.
    pub files: u32,
    /// Whether it travels in its offer, and is there when that is.
    pub small: bool,
    /// How far it is.
    pub stage: FileStage,
    /// Through whom it moves, where that is not a link between the two devices.
    pub through: Option<Through>,
}

impl FileTold {
    /// Of a file that `user` gets or sends.
    pub fn of(
        info: &FileInfo,
        id: MessageId,
        (user, ours): (&Label, bool),
        stage: FileStage,
        through: Option<Through>,
    ) -> Self {
        Self {
            id,
            user: user.clone(),
            ours,
            name: info.name.clone(),
            size: info.size,
            files: info.files,
            small: info.is_small(),
            stage,
            through,
        }
    }
}

/// Who hands a file on, as slowly as its quota allows. It sees sealed bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Through {
    /// A peer linked to both.
    Peer(Label),
    /// The signalling servers.
    Server,
}

/// How far a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileStage {
    /// It is offered.
    Offered,
    /// It is offered to us, and waits until somebody decides.
    Undecided {
        /// Whether there is a folder to put it in.
        folder: bool,
    },
    /// It is wanted, and starts when the two are linked.
    Accepted,
    /// It moves; told at most four times a second.
    Moving {
        /// Bytes the receiver has written.
        done: u64,
    },
    /// It is held back.
    Paused {
        /// By us, not by the other side.
        by_us: bool,
    },
    /// Something stands in its way at the receiver, who tries again by itself.
    Waiting {
        /// What.
        reason: FileReason,
        /// For people, where more is known here.
        detail: Option<String>,
    },
    /// The link is gone; it goes on when there is a new one.
    Interrupted,
    /// The receiver has verified it and put it in its place.
    Done {
        /// Where, on the receiving side.
        path: Option<String>,
    },
    /// It came to nothing.
    Ended {
        /// Why.
        reason: FileReason,
        /// For people, where more is known here.
        detail: Option<String>,
    },
}
