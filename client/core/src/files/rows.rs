//! What outlives the process of files on their way, and what the store does with it.

use beeline_proto::id::{DeviceFp, EnvelopeHash, Label, MessageId, UserFp};
use beeline_proto::limits::{
    FILE_CHUNK_LEN_MAX, FILE_CHUNK_LEN_MIN, FILE_CHUNKS_MAX, FILE_LEN_MAX, FILE_NAME_LEN_MAX,
    FOLDER_FILES_MAX, FOLDER_LIST_LEN_MAX, SMALL_FILE_LEN_MAX,
};
use beeline_proto::pb::peer::v1::{FileOffer, FileReason};
use zeroize::Zeroizing;

/// The key chunks are sealed with; wiped when dropped, and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct FileKey(pub Zeroizing<[u8; 32]>);

impl std::fmt::Debug for FileKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FileKey")
    }
}

impl FileKey {
    /// From its bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

/// The whole content of a small file; wiped when dropped, and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SmallFile(pub Zeroizing<Vec<u8>>);

impl std::fmt::Debug for SmallFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SmallFile({} bytes)", self.0.len())
    }
}

impl SmallFile {
    /// From its bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

/// What a file, or a folder, is: what its offer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// Display name; never used as a path.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// BLAKE3 root of the content.
    pub root: [u8; 32],
    /// Seals the chunks.
    pub key: FileKey,
    /// Bytes of one chunk.
    pub chunk_size: u32,
    /// Bytes of the list at the start of a folder's content; 0 for a file.
    pub list_len: u32,
    /// Files of a folder; 0 for a file.
    pub files: u32,
    /// The whole of a small one, which travels in the offer itself.
    pub content: Option<SmallFile>,
}

impl FileInfo {
    /// Whether it travels in its offer, and needs no link.
    pub fn is_small(&self) -> bool {
        self.content.is_some()
    }

    /// How many chunks it has.
    pub fn chunks(&self) -> u64 {
        self.size.div_ceil(u64::from(self.chunk_size).max(1))
    }

    /// Bytes of the content when `left` chunks are missing; the short last one counts as whole.
    pub fn done(&self, left: u64) -> u64 {
        self.size
            .saturating_sub(left.saturating_mul(u64::from(self.chunk_size)))
    }

    /// Whether it keeps within what is agreed.
    pub fn is_sound(&self) -> bool {
        let chunks = self.chunk_size.is_power_of_two()
            && (FILE_CHUNK_LEN_MIN..=FILE_CHUNK_LEN_MAX).contains(&self.chunk_size)
            && self.size <= FILE_LEN_MAX
            && self.chunks() <= u64::from(FILE_CHUNKS_MAX);
        let name = !self.name.is_empty() && self.name.len() <= FILE_NAME_LEN_MAX;
        let folder = u64::from(self.list_len) <= self.size
            && self.list_len <= FOLDER_LIST_LEN_MAX
            && (self.list_len > 0 || self.files == 0)
            && self.files as usize <= FOLDER_FILES_MAX;
        let small = self.content.as_ref().is_none_or(|content| {
            content.0.len() as u64 == self.size
                && self.size <= u64::from(SMALL_FILE_LEN_MAX)
                && self.list_len == 0
                && self.chunks() <= 1
        });
        chunks && name && folder && small
    }

    /// What an offer says, if it keeps within what is agreed.
    pub fn from_pb(offer: &FileOffer) -> Option<Self> {
        let info = Self {
            name: offer.name.clone(),
            size: offer.size,
            root: offer.root.as_slice().try_into().ok()?,
            key: FileKey::new(offer.file_key.as_slice().try_into().ok()?),
            chunk_size: offer.chunk_size,
            list_len: offer.list_len,
            files: offer.files,
            content: offer.content.clone().map(SmallFile::new),
        };
        info.is_sound().then_some(info)
    }
}

/// How far a file of ours is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileOutState {
    /// The offer waits, or nobody has asked for the file yet.
    Offered,
    /// A device of the recipient has asked for it.
    Wanted,
    /// A device of the recipient has it. Others may still ask.
    Done,
    /// It came to nothing.
    Ended,
}

impl FileOutState {
    /// As stored and printed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Offered => "offered",
            Self::Wanted => "wanted",
            Self::Done => "done",
            Self::Ended => "ended",
        }
    }

    /// What a stored name says.
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [Self::Offered, Self::Wanted, Self::Done, Self::Ended];
        all.into_iter().find(|state| state.name() == name)
    }
}

/// A file of ours for somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileOutRow {
    /// The message that offers it.
    pub id: MessageId,
    /// The recipient.
    pub to: Label,
    /// What it is.
    pub info: FileInfo,
    /// Where its content is: the driver's own word for it.
    pub source: String,
    /// How far it is.
    pub state: FileOutState,
    /// Why it ended.
    pub reason: FileReason,
    /// Held back by us.
    pub held: bool,
    /// When it was offered, on the steady clock.
    pub born_ms: u64,
}

/// How far a file for us is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileInState {
    /// Nobody decided.
    Offered,
    /// It is wanted.
    Accepted,
    /// Verified, and in its place.
    Done,
    /// Not wanted.
    Declined,
    /// It came to nothing.
    Ended,
}

impl FileInState {
    /// As stored and printed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Offered => "offered",
            Self::Accepted => "accepted",
            Self::Done => "done",
            Self::Declined => "declined",
            Self::Ended => "ended",
        }
    }

    /// What a stored name says.
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [
            Self::Offered,
            Self::Accepted,
            Self::Done,
            Self::Declined,
            Self::Ended,
        ];
        all.into_iter().find(|state| state.name() == name)
    }

    /// Whether nothing more comes of it.
    pub fn is_over(self) -> bool {
        self > Self::Accepted
    }
}

/// A file somebody offers us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInRow {
    /// The offering device.
    pub device: DeviceFp,
    /// The message that offers it.
    pub id: MessageId,
    /// The offering user.
    pub user: UserFp,
    /// The offering userId.
    pub from: Label,
    /// Hash of the offer's envelope.
    pub hash: EnvelopeHash,
    /// What it is.
    pub info: FileInfo,
    /// How far it is.
    pub state: FileInState,
    /// Why it was declined or ended.
    pub reason: FileReason,
    /// Where it is, once it is done: the driver's own word for it.
    pub path: String,
    /// Held back by us.
    pub held: bool,
    /// Whether the offering device knows what came of it.
    pub told: bool,
    /// When the offer came, on the steady clock.
    pub born_ms: u64,
}

/// Names a file for us.
pub type FileInKey = (DeviceFp, MessageId);

/// A file of ours that came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEnded {
    /// The message that offers it.
    pub id: MessageId,
    /// The recipient.
    pub to: Label,
    /// Why it ended.
    pub reason: FileReason,
}

/// What the store loads at start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FileLoad {
    /// Files of ours that have not ended.
    pub out: Vec<FileOutRow>,
    /// The last [`crate::limits::FILES_ENDED_MAX`] of ours that have, the oldest first.
    pub ended: Vec<FileEnded>,
    /// Files for us whose sender does not know yet what came of them.
    pub incoming: Vec<FileInRow>,
}

/// One operation on files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileOp {
    /// Insert a file of ours, if the message that offers it is there.
    AddOut(FileOutRow),
    /// Set how far a file of ours is.
    SetOut {
        /// The file.
        id: MessageId,
        /// The state.
        state: FileOutState,
        /// Why it ended.
        reason: FileReason,
    },
    /// Hold a file of ours back, or let it go on.
    HoldOut {
        /// The file.
        id: MessageId,
        /// Whether it is held back.
        on: bool,
    },
    /// Insert a file for us, if the message that offers it is there with this hash, and the file is
    /// not.
    AddIn(FileInRow),
    /// Set how far a file for us is.
    SetIn {
        /// The file.
        key: FileInKey,
        /// The state.
        state: FileInState,
        /// Why it was declined or ended.
        reason: FileReason,
        /// Where it is, once it is done.
        path: String,
    },
    /// Hold a file for us back, or let it go on.
    HoldIn {
        /// The file.
        key: FileInKey,
        /// Whether it is held back.
        on: bool,
    },
    /// The offering device knows what came of a file for us.
    ToldIn(FileInKey),
}

impl FileOp {
    /// Whether what it records is in force already, so that a failed write must be repeated.
    pub(crate) fn in_force(&self) -> bool {
        match self {
            Self::HoldOut { .. } | Self::HoldIn { .. } | Self::ToldIn(_) => true,
            // That it is done is written again where its answer is handled.
            Self::SetOut { state, .. } => *state != FileOutState::Done,
            Self::SetIn { state, .. } => *state != FileInState::Done,
            Self::AddOut(_) | Self::AddIn(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small(content: &[u8]) -> FileInfo {
        FileInfo {
            name: "note".to_owned(),
            size: content.len() as u64,
            root: [1; 32],
            key: FileKey::new([2; 32]),
            chunk_size: FILE_CHUNK_LEN_MAX,
            list_len: 0,
            files: 0,
            content: Some(SmallFile::new(content.to_vec())),
        }
    }

    #[test]
    fn what_travels_in_an_offer_is_one_small_whole_file() {
        let most = SMALL_FILE_LEN_MAX as usize;
        for len in [0, 1, most] {
            assert!(small(&vec![3; len]).is_sound(), "{len}");
        }
        assert!(!small(&vec![3; most + 1]).is_sound());
        let lies: [fn(&mut FileInfo); 4] = [
            |info| info.size += 1,
            |info| info.size -= 1,
            |info| info.chunk_size = 1_024,
            |info| (info.list_len, info.files) = (10, 1),
        ];
        for lie in lies {
            let mut info = small(&[3; 2_000]);
            lie(&mut info);
            assert!(!info.is_sound(), "{info:?}");
        }
        let text = format!("{:?}", small(b"secret"));
        assert!(!text.contains("115, 101"), "{text}");
    }
}
