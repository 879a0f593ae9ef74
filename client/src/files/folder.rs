//! A folder that is being received: its list first, then its files below a directory of our own,
//! which gets its name when all is there.

use super::dir::Dir;
use super::disk::Disk;
use super::layout::{Layout, OpenFiles};
use super::{FilesError, Offer, names};
use beeline_proto::file::list::{self, Entry};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

/// The list and, once it is known, the files.
#[derive(Debug)]
pub(super) struct Folder {
    offer: Offer,
    list: Arc<File>,
    root: Dir,
    tree: Option<Tree>,
}

/// The files of a folder.
#[derive(Debug)]
struct Tree {
    layout: Layout,
    /// Path of each file below the root, one name for each step.
    paths: Vec<Vec<String>>,
    /// Whether it is a directory that holds nothing instead.
    dirs: Vec<bool>,
    open: OpenFiles,
    /// The directory the last file was opened in.
    last: Option<(Vec<String>, Dir)>,
}

impl Folder {
    pub(super) fn open(offer: &Offer, list: File, root: Dir) -> Self {
        Self {
            offer: offer.clone(),
            list: Arc::new(list),
            root,
            tree: None,
        }
    }

    /// Chunks that hold some of the list: all up to this one, which is not among them.
    pub(super) fn list_chunks(offer: &Offer) -> u32 {
        let last = u64::from(offer.list_len.saturating_sub(1));
        offer.shape.chunk_at(last).map_or(0, |last| last + 1)
    }

    /// Whether a chunk can be placed: it holds some of the list, or the list is known.
    pub(super) fn admits(&self, index: u32) -> bool {
        self.tree.is_some() || index < Self::list_chunks(&self.offer)
    }

    /// Reads the list, all of which has arrived.
    pub(super) fn load(&mut self) -> Result<(), FilesError> {
        let mut bytes = vec![0; self.offer.list_len as usize];
        let path = self.root.path();
        let read = self.list.read_exact_at(&mut bytes, 0);
        read.map_err(|error| FilesError::disk("read the list of", path, error))?;
        let entries = list::decode(&bytes, &self.offer.shape)?;
        let lens = entries.iter().map(|entry| entry.len);
        let layout = Layout::new(std::iter::once(u64::from(self.offer.list_len)).chain(lens));
        self.tree = Some(Tree {
            layout,
            paths: names::distinct_paths(entries.iter().map(|entry| entry.path.as_str())),
            dirs: entries.iter().map(Entry::is_dir).collect(),
            open: OpenFiles::default(),
            last: None,
        });
        Ok(())
    }

    /// Writes what is of the list. Returns how many bytes of `data` that were.
    pub(super) fn write_list(
        &mut self,
        start: u64,
        data: &[u8],
        disk: &dyn Disk,
    ) -> Result<usize, FilesError> {
        let left = u64::from(self.offer.list_len).saturating_sub(start);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(data.len());
        if len > 0 {
            let written = disk.write_at(&self.list, &data[..len], start);
            written.map_err(|error| FilesError::disk("write", self.root.path(), error))?;
        }
        Ok(len)
    }

    /// Writes bytes of the files from `start` on, which is behind the list.
    pub(super) fn write(
        &mut self,
        start: u64,
        mut data: &[u8],
        disk: &dyn Disk,
    ) -> Result<(), FilesError> {
        if data.is_empty() {
            return Ok(());
        }
        let root = &self.root;
        let tree = self.tree.as_mut().ok_or(FilesError::ListFirst)?;
        for piece in tree.layout.pieces(start..start + data.len() as u64) {
            let (bytes, rest) = data.split_at(piece.len);
            data = rest;
            let (open, last) = (&mut tree.open, &mut tree.last);
            let Some(path) = piece.part.checked_sub(1).and_then(|at| tree.paths.get(at)) else {
                continue;
            };
            let file = open.get(piece.part, || create(root, last, path))?;
            disk.write_at(&file, bytes, piece.offset).map_err(|error| {
                FilesError::disk("write", &root.path().join(path.join("/")), error)
            })?;
        }
        Ok(())
    }

    /// Makes the files and directories that no chunk made, having no bytes, and makes everything
    /// last.
    pub(super) fn settle(&mut self, disk: &dyn Disk) -> Result<(), FilesError> {
        let root = &self.root;
        let tree = self.tree.as_mut().ok_or(FilesError::ListFirst)?;
        let starts = (0..tree.paths.len()).filter(|at| tree.layout.is_empty(at + 1));
        for at in starts {
            if tree.dirs[at] {
                enter(root, &mut tree.last, &tree.paths[at])?;
            } else {
                create(root, &mut tree.last, &tree.paths[at])?;
            }
        }
        self.sync(disk)
    }

    /// Makes everything written so far last.
    pub(super) fn sync(&self, disk: &dyn Disk) -> Result<(), FilesError> {
        let synced = disk.sync_all(&self.list);
        synced.map_err(|error| FilesError::disk("sync", self.root.path(), error))
    }

    /// A file of its file system: syncing that syncs all of the folder.
    pub(super) fn anchor(&self) -> Arc<File> {
        Arc::clone(&self.list)
    }
}

/// Opens or makes a file below `root`, and the directories on the way.
fn create(
    root: &Dir,
    last: &mut Option<(Vec<String>, Dir)>,
    path: &[String],
) -> Result<File, FilesError> {
    let Some((name, dirs)) = path.split_last() else {
        return Err(FilesError::Incomplete);
    };
    enter(root, last, dirs)?.file(name)
}

/// Opens or makes a directory below `root`, and those on the way; the last one stays open.
fn enter<'a>(
    root: &'a Dir,
    last: &'a mut Option<(Vec<String>, Dir)>,
    dirs: &[String],
) -> Result<&'a Dir, FilesError> {
    let Some((first, below)) = dirs.split_first() else {
        return Ok(root);
    };
    if last.as_ref().is_none_or(|(known, _)| known != dirs) {
        let mut dir = root.subdir(first)?;
        for name in below {
            dir = dir.subdir(name)?;
        }
        *last = Some((dirs.to_vec(), dir));
    }
    Ok(last.as_ref().map_or(root, |(_, dir)| dir))
}
