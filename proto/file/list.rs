//! A folder's list: which files its content holds, in which order. The list itself is the front of
//! the content (the offer says how long it is), so it is sealed, proved and resumed like all of it,
//! and a folder of 10,000 small files is a few hundred chunks instead of 10,000 transfers.
//!
//! Paths are display text with `/` between names: a receiver makes names of its own from them.

use super::{FileError, Shape};
use crate::limits::{FOLDER_DEPTH_MAX, FOLDER_FILES_MAX, FOLDER_LIST_LEN_MAX, FOLDER_PATH_LEN_MAX};
use crate::pb::peer::v1::{FolderFile, FolderList};
use prost::Message as _;

/// One file of a folder, or a directory in it that holds nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path in the folder, as the sender has it; that of a directory ends with `/`.
    pub path: String,
    /// Its size, bytes; 0 for a directory.
    pub len: u64,
}

impl Entry {
    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.path.ends_with('/')
    }
}

/// Writes a list.
///
/// # Errors
/// [`FileError::List`] where it breaks a limit: too many files, a path too long or too deep, a list
/// longer than [`FOLDER_LIST_LEN_MAX`].
pub fn encode(entries: &[Entry]) -> Result<Vec<u8>, FileError> {
    if entries.len() > FOLDER_FILES_MAX || !entries.iter().all(|entry| fits(&entry.path)) {
        return Err(FileError::List);
    }
    let files = entries.iter().map(|entry| FolderFile {
        path: entry.path.clone(),
        size: entry.len,
    });
    let list = FolderList {
        files: files.collect(),
    };
    let bytes = list.encode_to_vec();
    if bytes.is_empty() || bytes.len() > FOLDER_LIST_LEN_MAX as usize {
        return Err(FileError::List);
    }
    Ok(bytes)
}

/// Reads a list; its files must fill what the content has behind it, byte for byte.
///
/// # Errors
/// [`FileError::List`].
pub fn decode(bytes: &[u8], shape: &Shape) -> Result<Vec<Entry>, FileError> {
    if bytes.len() > FOLDER_LIST_LEN_MAX as usize {
        return Err(FileError::List);
    }
    let list = FolderList::decode(bytes).map_err(|_| FileError::List)?;
    if list.files.len() > FOLDER_FILES_MAX {
        return Err(FileError::List);
    }
    let mut len = bytes.len() as u64;
    let mut entries = Vec::with_capacity(list.files.len());
    for file in list.files {
        len = len.checked_add(file.size).ok_or(FileError::List)?;
        let entry = Entry {
            path: file.path,
            len: file.size,
        };
        if !fits(&entry.path) || (entry.is_dir() && entry.len > 0) {
            return Err(FileError::List);
        }
        entries.push(entry);
    }
    if len == shape.len() {
        Ok(entries)
    } else {
        Err(FileError::List)
    }
}

fn fits(path: &str) -> bool {
    let depth = path.bytes().filter(|byte| *byte == b'/').count();
    !path.is_empty() && path.len() <= FOLDER_PATH_LEN_MAX && depth < FOLDER_DEPTH_MAX
}
