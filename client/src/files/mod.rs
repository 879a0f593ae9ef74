//! Files on our own disk: what is sent is read here, what is received is written here. No protocol
//! and no network: the core decides, and a thread that may block calls this.
//!
//! **Sending.** [`Survey::of`] looks at a file or folder (name, size), [`Survey::hash`] reads it
//! once and makes a [`Source`], which hands out sealed chunks as whole frames ([`Source::frame`]).
//! After a restart the same two steps give the same root, or the file has changed. Memory is
//! bounded whatever the size: at most 8 MiB of hashes, a list of at most 4 MiB, one buffer.
//!
//! **Receiving.** An [`Inbox`] is the folder that files are received into; [`Inbox::begin`] opens
//! or reopens one offer as a [`Sink`]. [`Sink::accept`] opens, proves and writes a chunk, in any
//! order and as often as it comes; [`Sink::missing`] says what is still wanted, after any crash;
//! [`Sink::finish`] puts the file under its name. The store records that the file is there, then
//! [`Inbox::forget`] removes the last trace of the transfer; a crash between the two is found by
//! `begin`, which answers [`Opened::Finished`].
//!
//! What holds, whatever arrives and wherever it stops: nothing is written outside the inbox, no
//! file is overwritten, nothing incomplete bears the final name, no symlink is followed, files are
//! 0600 and folders 0700, and a chunk that is said to be there is there.
//!
//! Everything here blocks: call it from a thread of its own, one at a time for each object.

mod dir;
mod disk;
mod error;
mod folder;
mod hashing;
mod have;
mod inbox;
mod layout;
pub mod limits;
pub mod names;
mod pieces;
pub(crate) mod place;
mod receiving;
mod sending;
mod sink;
mod source;
mod survey;
mod work;

pub use error::FilesError;
pub use inbox::{Inbox, Opened};
pub use sink::{Accepted, Checkpoint, Sink};
pub use source::Source;
pub use survey::Survey;
pub(crate) use work::FileWork;

use beeline_proto::file::{FileError, FileKey, Root, Seal, Shape};
use beeline_proto::id::MessageId;

/// What an offer says of its content, checked; the same for sender and receiver.
#[derive(Debug, Clone)]
pub struct Offer {
    /// The offer's message id.
    pub id: MessageId,
    /// The name it was offered under: display text.
    pub name: String,
    /// Size and chunk size.
    pub shape: Shape,
    /// BLAKE3 hash of the content.
    pub root: Root,
    /// The key its chunks are sealed with.
    pub key: FileKey,
    /// Length of the list at the front of a folder's content, bytes; 0 for a single file.
    pub list_len: u32,
}

impl Offer {
    /// What seals and opens its chunks.
    ///
    /// # Errors
    /// [`FileError::Root`] for an empty content with another root; [`FileError::List`] for a list
    /// longer than the content or than a list may be.
    pub fn seal(&self) -> Result<Seal, FileError> {
        let list_len = u64::from(self.list_len);
        if list_len > self.shape.len() || self.list_len > beeline_proto::limits::FOLDER_LIST_LEN_MAX
        {
            return Err(FileError::List);
        }
        Seal::new(&self.key, self.id, self.shape, self.root)
    }
}

#[cfg(test)]
mod tests;
