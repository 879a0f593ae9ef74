//! A file or folder that somebody wants to send: looked at, not yet read.

use super::FilesError;
use super::limits::HASH_READ;
use super::source::{Content, Found, Source};
use beeline_proto::file::Shape;
use beeline_proto::file::list::{self, Entry};
use beeline_proto::file::tree::TreeBuilder;
use beeline_proto::limits::{FILE_NAME_LEN_MAX, FOLDER_DEPTH_MAX, FOLDER_FILES_MAX};
use std::path::{Path, PathBuf};

/// What is at a path.
#[derive(Debug, Clone)]
pub struct Survey {
    path: PathBuf,
    name: String,
    /// Of a folder; a single file has no entry.
    entries: Vec<Found>,
    list: Vec<u8>,
    len: u64,
    skipped: usize,
}

impl Survey {
    /// Looks at a file, or at a folder and everything below it. A symlink at `path` itself is
    /// followed; below it, symlinks and what is neither file nor folder are left out. Names that
    /// are no text are offered as what can be read of them.
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
        let mut found = Vec::new();
        let mut dirs = vec![(PathBuf::new(), 0)];
        while let Some((below, depth)) = dirs.pop() {
            let dir = self.path.join(&below);
            let failed = |error| FilesError::disk("list", &dir, error);
            let (before, above) = (found.len(), dirs.len());
            for entry in std::fs::read_dir(&dir).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                // Of the entry itself, never of what a symlink leads to.
                let meta = entry.metadata().map_err(failed)?;
                let path = below.join(entry.file_name());
                if meta.is_dir() && depth + 1 < FOLDER_DEPTH_MAX {
                    dirs.push((path, depth + 1));
                } else if meta.is_file() {
                    found.push((path, Some(meta.len())));
                } else if meta.is_dir() {
                    return Err(FilesError::FolderTooLarge(self.path.clone()));
                } else {
                    self.skipped += 1;
                }
                if found.len() + dirs.len() > FOLDER_FILES_MAX {
                    return Err(FilesError::FolderTooLarge(self.path.clone()));
                }
            }
            if depth > 0 && (found.len(), dirs.len()) == (before, above) {
                found.push((below, None));
            }
        }
        if found.iter().all(|(_, len)| len.is_none()) {
            return Err(FilesError::FolderEmpty(self.path.clone()));
        }
        self.list_all(found)
    }

    /// Makes the list of files, with their lengths, and of directories that hold nothing.
    fn list_all(&mut self, mut found: Vec<(PathBuf, Option<u64>)>) -> Result<(), FilesError> {
        // The same folder gives the same content, after a restart too.
        found.sort_by(|(a, _), (b, _)| a.as_os_str().cmp(b.as_os_str()));
        let entry = |(path, len): &(PathBuf, Option<u64>)| {
            let end = if len.is_none() { "/" } else { "" };
            Entry {
                path: format!("{}{end}", path.to_string_lossy()),
                len: len.unwrap_or(0),
            }
        };
        let entries: Vec<Entry> = found.iter().map(entry).collect();
        self.list =
            list::encode(&entries).map_err(|_| FilesError::FolderTooLarge(self.path.clone()))?;
        let lens = entries.iter().map(|entry| entry.len);
        self.len = lens.fold(self.list.len() as u64, u64::saturating_add);
        let real = found.into_iter().map(|(path, _)| path);
        let real = real.map(|path| path.to_str().is_none().then_some(path));
        let both = entries.into_iter().zip(real);
        self.entries = both.map(|(entry, real)| Found { entry, real }).collect();
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
        let files = self.entries.iter().filter(|found| !found.entry.is_dir());
        files.count().max(1)
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

    /// Reads all of it once. `progress` is told the bytes done so far about once in a mebibyte;
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
        let mut tree = TreeBuilder::new(shape);
        let mut buffer = vec![0; HASH_READ];
        let mut done = 0;
        while done < shape.len() {
            let end = shape.len().min(done + HASH_READ as u64);
            let bytes = &mut buffer[..usize::try_from(end - done).unwrap_or(HASH_READ)];
            content.read(done, bytes)?;
            for chunk in bytes.chunks(shape.chunk_len() as usize) {
                tree.push(chunk)?;
            }
            done = end;
            if !progress(done) {
                return Err(FilesError::Stopped);
            }
        }
        Ok(Source::new(content, tree.finish()?))
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
