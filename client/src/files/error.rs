//! What can go wrong with files, in words for the person at either side.

use beeline_proto::file::FileError;
use std::io;
use std::path::{Path, PathBuf};

/// A file cannot be sent, received or put in place.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The other side sent what does not belong to the offer, or our own numbers do not fit.
    #[error(transparent)]
    Content(#[from] FileError),
    /// The file is not what it was when it was offered.
    #[error("{0} has changed since it was offered; send it again")]
    Changed(PathBuf),
    /// Neither a file nor a folder.
    #[error("{0} is neither a file nor a folder")]
    NotAFile(PathBuf),
    /// A folder with more than one transfer takes.
    #[error("{0} has too many files, or too many folders in each other; send parts of it")]
    FolderTooLarge(PathBuf),
    /// A folder without any file.
    #[error("{0} holds no file")]
    FolderEmpty(PathBuf),
    /// The person, or a shutdown, ended the hashing.
    #[error("stopped")]
    Stopped,
    /// The disk has no room for all of it.
    #[error("no room for it: {need} bytes are needed in {dir}, {free} are free")]
    NoRoom {
        /// Where it was to go.
        dir: PathBuf,
        /// Bytes needed, with what other transfers were promised and a reserve.
        need: u64,
        /// Bytes free.
        free: u64,
    },
    /// The disk filled up meanwhile. What was written is kept; the transfer can go on later.
    #[error("the disk is full: {0}; make room, and the transfer goes on where it stopped")]
    Full(PathBuf),
    /// The disk, or the rights on it, refused.
    #[error("cannot {doing} {path}: {error}")]
    Disk {
        /// What was tried, as a verb.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// What lies under the offer's name is of another content.
    #[error("{0} belongs to another file; remove it")]
    Foreign(PathBuf),
    /// A chunk behind the list of a folder came before the list.
    #[error("the folder's list has not arrived yet")]
    ListFirst,
    /// Every name like it is taken.
    #[error("there are too many files called {0} already")]
    NamesTaken(String),
    /// Not everything has arrived.
    #[error("the file is not complete")]
    Incomplete,
    /// An earlier error of the disk left it in doubt; open it again.
    #[error("the file had a disk error before")]
    Broken,
}

impl FilesError {
    /// An error of the disk, told by what it means.
    pub(crate) fn disk(doing: &'static str, path: &Path, error: io::Error) -> Self {
        let path = path.to_owned();
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(path),
            _ => Self::Disk { doing, path, error },
        }
    }

    /// Whether the other side is at fault: it sent what the offer does not allow.
    pub fn is_peers_fault(&self) -> bool {
        matches!(self, Self::Content(_) | Self::ListFirst)
    }

    /// Whether the transfer may be tried again as it is: nothing of it is wrong, our disk is.
    pub fn is_ours_to_mend(&self) -> bool {
        matches!(
            self,
            Self::NoRoom { .. } | Self::Full(_) | Self::Disk { .. } | Self::Broken
        )
    }
}
