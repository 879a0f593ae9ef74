//! What is being received: each chunk opened, proved, written and noted when it comes; put under
//! its name when all are there.

use super::dir::Dir;
use super::disk::Disk;
use super::folder::Folder;
use super::have::{Have, Snapshot};
use super::limits::{CHECKPOINT_EVERY, CHECKPOINT_NOTES, NAME_TRIES};
use super::{FilesError, Offer, names};
use crate::crash;
use beeline_proto::file::{FileError, Seal, Shape};
use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The directories of an inbox.
#[derive(Debug)]
pub(super) struct Dirs {
    /// Where complete files go.
    pub(super) inbox: Dir,
    /// Where they are until then, on the same file system.
    pub(super) parts: Dir,
}

/// Where the bytes go until the content is complete.
#[derive(Debug)]
pub(super) enum Body {
    /// One file.
    File(Arc<File>),
    /// A folder.
    Folder(Box<Folder>),
}

/// One offer that is being received.
#[derive(Debug)]
pub struct Sink {
    pub(super) offer: Offer,
    pub(super) seal: Seal,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dirs: Arc<Dirs>,
    pub(super) have: Have,
    pub(super) body: Body,
    /// Name of the body among the parts.
    pub(super) part: String,
    pub(super) unsynced: u64,
    pub(super) syncing: Arc<Syncing>,
}

/// How the checkpoint fares that another thread may be carrying out.
#[derive(Debug, Default)]
pub(super) struct Syncing {
    busy: AtomicBool,
    failed: AtomicBool,
}

/// What became of a chunk.
#[derive(Debug)]
pub struct Accepted {
    /// Bytes that are there now and were not before; 0 for a chunk that came again.
    pub new_bytes: u64,
    /// Where there is one: run it soon, best on another thread than the next chunks.
    pub checkpoint: Option<Checkpoint>,
}

impl Sink {
    /// Opens a sealed chunk in place, proves it, writes it and notes it. From here on it survives
    /// `kill -9`; a power cut only from its checkpoint on.
    ///
    /// # Errors
    /// The peer's fault ([`FilesError::is_peers_fault`]): the chunk is not used, nothing changes.
    /// The disk's: the chunk counts as missing and may come again; after [`FilesError::Broken`] the
    /// offer must be begun anew.
    pub fn accept(&mut self, index: u32, sealed: &mut [u8]) -> Result<Accepted, FilesError> {
        if self.syncing.failed.load(Ordering::Acquire) {
            self.have.distrust(&*self.disk);
            return Err(FilesError::Broken);
        }
        let range = self.shape().range(index).ok_or(FileError::NoSuchChunk)?;
        if self.have.bits().has(index) {
            return Ok(Accepted {
                new_bytes: 0,
                checkpoint: None,
            });
        }
        if let Body::Folder(folder) = &self.body
            && !folder.admits(index)
        {
            return Err(FilesError::ListFirst);
        }
        let data = self.seal.open(index, sealed)?;
        match &mut self.body {
            Body::File(file) => {
                let written = self.disk.write_at(file, data, range.start);
                let path = self.dirs.parts.path().join(&self.part);
                written.map_err(|error| FilesError::disk("write", &path, error))?;
            }
            Body::Folder(folder) => {
                let listed = folder.write_list(range.start, data, &*self.disk)?;
                let bits = self.have.bits();
                let mut others = (0..Folder::list_chunks(&self.offer)).filter(|at| *at != index);
                if listed > 0 && others.all(|at| bits.has(at)) {
                    folder.load()?;
                }
                folder.write(range.start + listed as u64, &data[listed..], &*self.disk)?;
            }
        }
        crash::at("file.written");
        self.have.insert(index, &*self.disk)?;
        crash::at("file.noted");
        let new_bytes = range.end - range.start;
        self.unsynced += new_bytes;
        Ok(Accepted {
            new_bytes,
            checkpoint: self.due(),
        })
    }

    /// A checkpoint, where enough was written since the last and none is under way.
    fn due(&mut self) -> Option<Checkpoint> {
        let every = checkpoint_every(self.shape().chunks());
        let due = self.unsynced >= every && !self.is_complete();
        if !due || self.syncing.busy.swap(true, Ordering::AcqRel) {
            return None;
        }
        Some(self.checkpoint())
    }

    /// Everything written until now, to be made last: for a shutdown, or a pause. The file goes on
    /// without it; a power cut then costs more.
    pub fn checkpoint(&mut self) -> Checkpoint {
        self.unsynced = 0;
        let (file, all) = match &self.body {
            Body::File(file) => (Arc::clone(file), false),
            Body::Folder(folder) => (folder.anchor(), true),
        };
        Checkpoint {
            snapshot: self.have.snapshot(),
            file,
            all,
            disk: Arc::clone(&self.disk),
            dirs: Arc::clone(&self.dirs),
            syncing: Arc::clone(&self.syncing),
        }
    }

    /// The offer.
    pub fn offer(&self) -> &Offer {
        &self.offer
    }

    /// Size and chunk size.
    pub fn shape(&self) -> Shape {
        self.offer.shape
    }

    /// Whether a chunk is there.
    pub fn has(&self, index: u32) -> bool {
        self.have.bits().has(index)
    }

    /// Bytes that are there.
    pub fn have_bytes(&self) -> u64 {
        let shape = self.shape();
        let Some(last) = shape.chunks().checked_sub(1) else {
            return 0;
        };
        let full = u64::from(self.have.bits().count()) * u64::from(shape.chunk_len());
        let short = shape
            .data_len(last)
            .map_or(0, |len| u64::from(shape.chunk_len()) - len as u64);
        full - if self.has(last) { short } else { 0 }
    }

    /// Whether every chunk is there; then [`Sink::finish`] it.
    pub fn is_complete(&self) -> bool {
        self.have.bits().is_full()
    }

    /// The chunks that are not there, as ranges from the front; each costs a look at its bits.
    pub fn missing(&self) -> impl Iterator<Item = Range<u32>> {
        let (chunks, mut at) = (self.shape().chunks(), 0);
        std::iter::from_fn(move || {
            let start = (at..chunks).find(|index| !self.has(*index))?;
            let end = (start..chunks)
                .find(|index| self.has(*index))
                .unwrap_or(chunks);
            at = end;
            Some(start..end)
        })
    }

    /// Makes the content last, gives it a free name like the one it was offered under, and makes
    /// that last. Returns where it is. Record it, then [`Inbox::forget`](super::Inbox::forget) it.
    ///
    /// # Errors
    /// [`FilesError::Incomplete`], [`FilesError::NamesTaken`], or the disk's; all of it is kept and
    /// can be finished again.
    pub fn finish(&mut self) -> Result<PathBuf, FilesError> {
        if !self.is_complete() {
            return Err(FilesError::Incomplete);
        }
        match &mut self.body {
            Body::File(file) => {
                let path = self.dirs.parts.path().join(&self.part);
                let synced = self.disk.sync(file);
                synced.map_err(|error| FilesError::disk("sync", &path, error))?;
            }
            Body::Folder(folder) => folder.settle(&*self.disk)?,
        }
        crash::at("file.synced");
        self.have.snapshot().commit(&*self.disk)?;
        let plain = names::safe_name(&self.offer.name);
        for n in 1..=NAME_TRIES {
            let name = names::numbered(&plain, n);
            if self.dirs.inbox.inode(&name)?.is_some() {
                continue;
            }
            self.have.place(&name, &*self.disk)?;
            self.step("place")?;
            if self
                .dirs
                .parts
                .rename(&self.part, &self.dirs.inbox, &name)?
            {
                self.step("placed")?;
                self.dirs.inbox.sync()?;
                self.dirs.parts.sync()?;
                return Ok(self.dirs.inbox.path().join(name));
            }
        }
        Err(FilesError::NamesTaken(plain))
    }

    fn step(&self, what: &'static str) -> Result<(), FilesError> {
        crash::at(what);
        let path = self.dirs.inbox.path();
        self.disk
            .step(what)
            .map_err(|error| FilesError::disk("name", path, error))
    }
}

/// Bytes between two checkpoints of a file of so many chunks, each a bit of its notes.
fn checkpoint_every(chunks: u32) -> u64 {
    CHECKPOINT_EVERY.max(u64::from(chunks.div_ceil(8)) * CHECKPOINT_NOTES)
}

/// What was written up to one moment, to be made last.
#[derive(Debug)]
#[must_use = "a checkpoint that is not run keeps nothing"]
pub struct Checkpoint {
    snapshot: Snapshot,
    file: Arc<File>,
    /// A folder: everything on its file system.
    all: bool,
    disk: Arc<dyn Disk>,
    dirs: Arc<Dirs>,
    syncing: Arc<Syncing>,
}

impl Checkpoint {
    /// Syncs; takes as long as the disk does. What fails here makes the sink
    /// [`FilesError::Broken`]: nobody knows then what the system still holds.
    ///
    /// # Errors
    /// The disk's.
    pub fn run(self) -> Result<(), FilesError> {
        let done = self.sync();
        if done.is_err() {
            self.syncing.failed.store(true, Ordering::Release);
        }
        self.syncing.busy.store(false, Ordering::Release);
        done
    }

    fn sync(&self) -> Result<(), FilesError> {
        let synced = if self.all {
            self.disk.sync_all(&self.file)
        } else {
            self.disk.sync(&self.file)
        };
        synced.map_err(|error| FilesError::disk("sync", self.dirs.parts.path(), error))?;
        self.dirs.parts.sync()?;
        self.snapshot.commit(&*self.disk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_notes_of_a_large_file_are_not_written_all_the_time() {
        const MIB: u64 = 1024 * 1024;
        // 1 GiB, 128 GiB and 1 TiB in chunks of 64 KiB.
        let every = [1 << 14, 1 << 21, 1 << 24].map(checkpoint_every);
        assert_eq!(every, [8 * MIB, 8 * MIB, 64 * MIB]);
        assert_eq!(checkpoint_every(u32::MAX), 16_384 * MIB);
    }
}
