//! What is being sent: hashed once, then read chunk by chunk, each checked before it is sealed.

use super::FilesError;
use super::layout::{Layout, OpenFiles};
use beeline_proto::file::list::Entry;
use beeline_proto::file::tree::{Hash, Tree, leaf, root_of};
use beeline_proto::file::{FileError, Root, Seal, Shape, frame};
use beeline_proto::id::MessageId;
use beeline_proto::limits::SMALL_FILE_LEN_MAX;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// Something in a folder.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// As the list says it.
    pub(super) entry: Entry,
    /// Where it is below the folder, if the name is no text and the list has another one.
    pub(super) real: Option<PathBuf>,
}

/// The bytes of a file or folder, by their place in the content.
#[derive(Debug)]
pub(super) struct Content {
    path: PathBuf,
    entries: Vec<Found>,
    list: Vec<u8>,
    layout: Layout,
    open: OpenFiles,
}

impl Content {
    pub(super) fn new(path: PathBuf, entries: Vec<Found>, list: Vec<u8>, len: u64) -> Self {
        let layout = if list.is_empty() {
            Layout::new(std::iter::once(len))
        } else {
            let files = entries.iter().map(|found| found.entry.len);
            Layout::new(std::iter::once(list.len() as u64).chain(files))
        };
        Self {
            path,
            entries,
            list,
            layout,
            open: OpenFiles::default(),
        }
    }

    /// Fills `out` with the bytes from `start` on.
    pub(super) fn read(&mut self, start: u64, mut out: &mut [u8]) -> Result<(), FilesError> {
        let end = start + out.len() as u64;
        for piece in self.layout.pieces(start..end) {
            let (bytes, rest) = std::mem::take(&mut out).split_at_mut(piece.len);
            out = rest;
            if piece.part == 0 && !self.list.is_empty() {
                let at = usize::try_from(piece.offset).unwrap_or(usize::MAX);
                bytes.copy_from_slice(&self.list[at..at + piece.len]);
                continue;
            }
            let path = path_of(&self.path, &self.entries, piece.part);
            let open = || File::open(&path).map_err(|error| FilesError::disk("open", &path, error));
            let file = self.open.get(piece.part, open)?;
            file.read_exact_at(bytes, piece.offset)
                .map_err(|error| match error.kind() {
                    std::io::ErrorKind::UnexpectedEof => FilesError::Changed(path.clone()),
                    _ => FilesError::disk("read", &path, error),
                })?;
        }
        Ok(())
    }

    /// The file a byte of the content lies in.
    fn path_at(&self, offset: u64) -> PathBuf {
        let piece = self.layout.pieces(offset..offset + 1).next();
        path_of(
            &self.path,
            &self.entries,
            piece.map_or(0, |piece| piece.part),
        )
    }
}

/// The file of a part; that of a folder's list is the folder.
fn path_of(path: &Path, entries: &[Found], part: usize) -> PathBuf {
    let found = part.checked_sub(1).and_then(|at| entries.get(at));
    match found {
        Some(Found { entry, real: None }) => path.join(&entry.path),
        Some(Found {
            real: Some(real), ..
        }) => path.join(real),
        None => path.to_owned(),
    }
}

/// A hashed file or folder.
#[derive(Debug)]
pub struct Source {
    content: Content,
    tree: Tree,
    /// Leaves of the group of chunks that was hashed last, where the tree does not keep them all.
    leaves: Vec<Hash>,
    leaves_from: u32,
}

impl Source {
    pub(super) fn new(content: Content, tree: Tree) -> Self {
        Self {
            content,
            tree,
            leaves: Vec::new(),
            leaves_from: 0,
        }
    }

    /// Size and chunk size.
    pub fn shape(&self) -> Shape {
        *self.tree.shape()
    }

    /// BLAKE3 hash of the content.
    pub fn root(&self) -> Root {
        self.tree.root()
    }

    /// The whole content of a file that is small enough to travel in its offer.
    ///
    /// # Errors
    /// [`FilesError::Changed`] where it is not what was hashed, or the disk's.
    pub fn small(&mut self) -> Result<Option<Vec<u8>>, FilesError> {
        let len = self.shape().len();
        if !self.content.list.is_empty() || len > u64::from(SMALL_FILE_LEN_MAX) {
            return Ok(None);
        }
        let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
        self.content.read(0, &mut bytes)?;
        if root_of(&bytes) != self.root() {
            return Err(FilesError::Changed(self.content.path.clone()));
        }
        Ok(Some(bytes))
    }

    /// Reads a chunk, checks that it is what was hashed, and seals it: a whole frame for the
    /// channel `file`. Costs one buffer of the frame's length.
    ///
    /// # Errors
    /// [`FilesError::Changed`] where the file is not what it was, [`FilesError::Content`] for a
    /// chunk it does not have or a seal of another content, or the disk's.
    pub fn frame(
        &mut self,
        seal: &Seal,
        offer: MessageId,
        index: u32,
    ) -> Result<Vec<u8>, FilesError> {
        let shape = self.shape();
        let range = shape.range(index).ok_or(FileError::NoSuchChunk)?;
        let sealed_len = shape.sealed_len(index).ok_or(FileError::NoSuchChunk)?;
        if *seal.shape() != shape || seal.root() != self.root() {
            return Err(FileError::Root.into());
        }
        self.prepare(index)?;
        let mut buffer = Vec::with_capacity(frame::len_max(&shape));
        frame::begin(&mut buffer, offer, index, sealed_len);
        let at = buffer.len();
        buffer.resize(at + shape.data_len(index).unwrap_or_default(), 0);
        self.content.read(range.start, &mut buffer[at..])?;
        let proof = self.tree.proof(index, &self.leaves)?;
        match seal.seal(index, &mut buffer, at, &proof) {
            Ok(()) => Ok(buffer),
            Err(FileError::NotInTree) => {
                Err(FilesError::Changed(self.content.path_at(range.start)))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Hashes the chunks that the proof of this one needs and the tree does not keep.
    fn prepare(&mut self, index: u32) -> Result<(), FilesError> {
        let group = self.tree.group(index);
        let known = self.leaves_from == group.start && !self.leaves.is_empty();
        if self.tree.is_whole() || known {
            return Ok(());
        }
        let shape = self.shape();
        self.leaves.clear();
        let mut data = vec![0; shape.chunk_len() as usize];
        for chunk in group.clone() {
            let range = shape.range(chunk).ok_or(FileError::NoSuchChunk)?;
            let data = &mut data[..shape.data_len(chunk).unwrap_or_default()];
            self.content.read(range.start, data)?;
            self.leaves.push(leaf(&shape, chunk, data));
        }
        self.leaves_from = group.start;
        Ok(())
    }
}
