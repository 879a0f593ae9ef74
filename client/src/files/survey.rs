//! A file or folder that somebody wants to send: looked at, not yet read.

use super::source::{Content, Source};
use super::{FilesError, hashing};
use beeline_proto::file::Shape;
use beeline_proto::file::list::{self, Entry};
use beeline_proto::limits::{FILE_NAME_LEN_MAX, FOLDER_DEPTH_MAX, FOLDER_FILES_MAX};
use std::path::{Path, PathBuf};

/// What is at a path.
#[derive(Debug, Clone)]
pub struct Survey {
    path: PathBuf,
    name: String,
    /// Of a folder; a single file has no entry.
    entries: Vec<Entry>,
    list: Vec<u8>,
    len: u64,
    skipped: usize,
}

impl Survey {
    /// Looks at a file, or at a folder and everything below it. A symlink at `path` itself is
    /// followed; below it, symlinks and what is neither file nor folder are left out.
    ///
    /// # Errors
    /// [`FilesError::NotAFile`], [`FilesError::FolderEmpty`], [`FilesError::FolderTooLarge`], or
    /// the disk's.
    pub fn of(path: &Path) -> Result<Self, FilesError> {
        let failed = |error| FilesError::disk("open", path, error);
        let path = path.canonicalize().map_err(failed)?;
        let meta = path.metadata().map_err(failed)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let mut survey = Self {
            name: cut(&name).to_owned(),
            entries: Vec::new(),
            list: Vec::new(),
            len: meta.len(),
            skipped: 0,
            path,
        };
        if meta.is_dir() {
            survey.walk()?;
        } else if !meta.is_file() {
            return Err(FilesError::NotAFile(survey.path));
        }
        Ok(survey)
    }

    fn walk(&mut self) -> Result<(), FilesError> {
        let mut dirs = vec![(self.path.clone(), String::new(), 0)];
        while let Some((dir, prefix, depth)) = dirs.pop() {
            let failed = |error| FilesError::disk("list", &dir, error);
            for entry in std::fs::read_dir(&dir).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                // Of the entry itself, never of what a symlink leads to.
                let meta = entry.metadata().map_err(failed)?;
                let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
                if meta.is_dir() && depth + 1 < FOLDER_DEPTH_MAX {
                    dirs.push((entry.path(), format!("{path}/"), depth + 1));
                } else if meta.is_file() && self.entries.len() < FOLDER_FILES_MAX {
                    let len = meta.len();
                    self.entries.push(Entry { path, len });
                } else if meta.is_dir() || meta.is_file() {
                    return Err(FilesError::FolderTooLarge(self.path.clone()));
                } else {
                    self.skipped += 1;
                }
            }
        }
        if self.entries.is_empty() {
            return Err(FilesError::FolderEmpty(self.path.clone()));
        }
        // The same folder gives the same content, after a restart too.
        self.entries.sort_by(|a, b| a.path.cmp(&b.path));
        self.list = list::encode(&self.entries)
            .map_err(|_| FilesError::FolderTooLarge(self.path.clone()))?;
        let files = self.entries.iter().map(|entry| entry.len);
        self.len = files.fold(self.list.len() as u64, u64::saturating_add);
        Ok(())
    }

    /// The name to offer it under, at most [`FILE_NAME_LEN_MAX`] bytes.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes of the content, with a folder's list.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is not a byte to send.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Files in it: one, or those of the folder.
    pub fn files(&self) -> usize {
        self.entries.len().max(1)
    }

    /// Length of the list at the front, bytes; 0 for a single file.
    pub fn list_len(&self) -> u32 {
        u32::try_from(self.list.len()).unwrap_or(u32::MAX)
    }

    /// Things in the folder that are not sent: symlinks, sockets, devices.
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// Its shape on a link whose frames have at most `frame_len` bytes. A file that was offered
    /// already keeps the shape it was offered in.
    ///
    /// # Errors
    /// [`FilesError::Content`] where it is larger than files may be.
    pub fn shape(&self, frame_len: usize) -> Result<Shape, FilesError> {
        Ok(Shape::fitting(self.len, frame_len)?)
    }

    /// Reads all of it once. `progress` is told the bytes done so far about once in two mebibytes;
    /// where it answers `false`, hashing ends.
    ///
    /// # Errors
    /// [`FilesError::Changed`], [`FilesError::Stopped`], or the disk's.
    pub fn hash(
        self,
        shape: Shape,
        progress: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Source, FilesError> {
        if shape.len() != self.len {
            return Err(FilesError::Changed(self.path));
        }
        let mut content = Content::new(self.path, self.entries, self.list, self.len);
        let tree = hashing::tree_of(&mut content, shape, progress)?;
        Ok(Source::new(content, tree))
    }
}

/// At most as long as a name may be on the wire.
fn cut(name: &str) -> &str {
    let mut end = name.len().min(FILE_NAME_LEN_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}
