//! The folder files are received into, and the hidden one in it where they are until complete.

use super::dir::Dir;
use super::disk::{Disk, RealDisk};
use super::folder::Folder;
use super::have::Have;
use super::limits::{FREE_MIN, PARTS_MAX};
use super::sink::{Body, Dirs, Sink, Syncing};
use super::{FilesError, Offer};
use beeline_proto::id::MessageId;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where unfinished files are, below the inbox: the same file system, so that naming is atomic.
const PARTS: &str = ".beeline-parts";

/// What kinds of file one offer has there, by their extensions.
const HAVE: &str = "have";
const PART: &str = "part";
const LIST: &str = "list";
const TREE: &str = "tree";

/// A folder that files are received into.
#[derive(Debug, Clone)]
pub struct Inbox {
    dirs: Arc<Dirs>,
    disk: Arc<dyn Disk>,
    boot: [u8; 16],
    owner: [u8; 16],
}

/// An offer that was begun.
#[derive(Debug)]
pub enum Opened {
    /// Chunks are missing, or it waits for its name.
    Receiving(Box<Sink>),
    /// It was complete and in place already when something stopped us: record it, then
    /// [`Inbox::forget`] it.
    Finished(PathBuf),
}

impl Inbox {
    /// Opens the folder, making it where it is missing.
    ///
    /// # Errors
    /// The disk's.
    pub fn open(path: &Path) -> Result<Self, FilesError> {
        Self::with(path, Arc::new(RealDisk), this_boot())
    }

    pub(super) fn with(
        path: &Path,
        disk: Arc<dyn Disk>,
        boot: [u8; 16],
    ) -> Result<Self, FilesError> {
        let inbox = Dir::open(path)?;
        let parts = inbox.subdir(PARTS)?;
        Ok(Self {
            dirs: Arc::new(Dirs { inbox, parts }),
            disk,
            boot,
            owner: [0; 16],
        })
    }

    /// The same for one home, named by these bytes: several may share the folder, and none sweeps
    /// what another one still waits for.
    #[must_use]
    pub fn owned_by(mut self, owner: [u8; 16]) -> Self {
        self.owner = owner;
        self
    }

    /// Whether a folder was one, so that opening it makes nothing.
    pub fn is_at(path: &Path) -> bool {
        path.join(PARTS).is_dir()
    }

    /// Begins an offer that was accepted, or goes on with it after a crash. `promised` is what
    /// other accepted offers have yet to write, bytes: nothing is begun that will not fit beside
    /// them.
    ///
    /// # Errors
    /// [`FilesError::NoRoom`], or [`FilesError::Full`] where some of it is there already;
    /// [`FilesError::Content`] for an offer that cannot be; the disk's.
    pub fn begin(&self, offer: &Offer, promised: u64) -> Result<Opened, FilesError> {
        let seal = offer.seal()?;
        let part = name(offer.id, if offer.list_len == 0 { PART } else { TREE });
        let have_name = name(offer.id, HAVE);
        let mut have = self.have(offer, &have_name)?;
        if let Some(name) = have.placing()
            && self.is_placed(&part, &name)?
        {
            return Ok(Opened::Finished(self.dirs.inbox.path().join(name)));
        }
        let body = self.body(offer, &part, &mut have)?;
        let sink = Sink {
            offer: offer.clone(),
            seal,
            disk: Arc::clone(&self.disk),
            dirs: Arc::clone(&self.dirs),
            have,
            body,
            part,
            unsynced: 0,
            syncing: Arc::new(Syncing::default()),
        };
        self.room_for(&sink, promised)?;
        Ok(Opened::Receiving(Box::new(sink)))
    }

    /// Opens what is noted of an offer.
    fn have(&self, offer: &Offer, name: &str) -> Result<Have, FilesError> {
        let parts = &self.dirs.parts;
        let (path, whose) = (parts.path().join(name), (self.owner, self.boot));
        Have::open(parts.file(name)?, &path, offer, whose, &*self.disk)
    }

    /// Writes a small file whose content came with its offer, and gives it its name. Returns where
    /// it is. Record it, then [`Inbox::forget`] it.
    ///
    /// # Errors
    /// As [`Inbox::begin`], [`Sink::accept`] and [`Sink::finish`].
    pub fn put(&self, offer: &Offer, mut content: Vec<u8>) -> Result<PathBuf, FilesError> {
        let mut sink = match self.begin(offer, 0)? {
            Opened::Finished(path) => return Ok(path),
            Opened::Receiving(sink) => sink,
        };
        if !sink.is_complete() {
            // One chunk without siblings, checked and written as any other.
            let proof = beeline_proto::file::tree::Proof::default();
            sink.seal.seal(0, &mut content, 0, &proof)?;
            let _ = sink.accept(0, &mut content)?;
        }
        sink.finish()
    }

    /// Opens what the bytes go to, and forgets of them what is not there.
    fn body(&self, offer: &Offer, part: &str, have: &mut Have) -> Result<Body, FilesError> {
        let (parts, disk, shape) = (&self.dirs.parts, &*self.disk, offer.shape);
        if offer.list_len == 0 {
            let file = parts.file(part)?;
            let meta = file.metadata();
            let path = parts.path().join(part);
            let len = meta.map_err(|error| FilesError::disk("look at", &path, error))?;
            let len = len.len();
            have.retain(
                |at| shape.range(at).is_some_and(|range| range.end <= len),
                disk,
            )?;
            return Ok(Body::File(Arc::new(file)));
        }
        let had_tree = parts.inode(part)?.is_some();
        let list = parts.file(&name(offer.id, LIST))?;
        let mut folder = Folder::open(offer, list, parts.subdir(part)?);
        let listed = (0..Folder::list_chunks(offer)).all(|at| have.bits().has(at));
        if !had_tree || (listed && folder.load().is_err()) {
            have.retain(|_| false, disk)?;
        }
        Ok(Body::Folder(Box::new(folder)))
    }

    /// Whether a content that was to get this name has it: only a rename takes it from the parts.
    fn is_placed(&self, part: &str, name: &str) -> Result<bool, FilesError> {
        let Some(inode) = self.dirs.parts.inode(part)? else {
            self.dirs.inbox.sync()?;
            return Ok(true);
        };
        // Where naming takes two steps, it may have both names.
        let both = self.dirs.inbox.inode(name)? == Some(inode);
        if both {
            self.dirs.inbox.sync()?;
            self.dirs.parts.remove(part)?;
        }
        Ok(both)
    }

    fn room_for(&self, sink: &Sink, promised: u64) -> Result<(), FilesError> {
        let missing = sink.shape().len().saturating_sub(sink.have_bytes());
        let need = missing.saturating_add(promised).saturating_add(FREE_MIN);
        let free = self.free()?;
        if missing > 0 && need > free {
            let dir = self.dirs.inbox.path().to_owned();
            return Err(match sink.have_bytes() {
                0 => FilesError::NoRoom { dir, need, free },
                _ => FilesError::Full(dir),
            });
        }
        Ok(())
    }

    /// Bytes free in it.
    ///
    /// # Errors
    /// The disk's.
    pub fn free(&self) -> Result<u64, FilesError> {
        self.dirs.inbox.free()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dirs.inbox.path()
    }

    /// Removes all that is kept of an offer but a file that is in place: it is recorded, or was
    /// cancelled. Drop its [`Sink`] first. What is not there is no error.
    ///
    /// # Errors
    /// The disk's.
    pub fn forget(&self, offer: MessageId) -> Result<(), FilesError> {
        let parts = &self.dirs.parts;
        // What says that something is there goes first.
        parts.remove(&name(offer, HAVE))?;
        parts.remove(&name(offer, PART))?;
        parts.remove(&name(offer, LIST))?;
        parts.remove_tree(&name(offer, TREE))
    }

    /// Forgets what this home keeps of offers it does not want any more: a process that was killed
    /// left it.
    ///
    /// # Errors
    /// The disk's.
    pub fn sweep(&self, wanted: &BTreeSet<MessageId>) -> Result<(), FilesError> {
        let parts = &self.dirs.parts;
        let kept = self.kept()?;
        for id in kept.into_iter().filter(|id| !wanted.contains(id)) {
            let have = name(id, HAVE);
            let ours = match parts.inode(&have)? {
                Some(_) => Have::owner(&parts.file(&have)?) == Some(self.owner),
                // It goes first: somebody was about to forget the rest.
                None => true,
            };
            if ours {
                self.forget(id)?;
            }
        }
        Ok(())
    }

    /// Offers of which something is kept.
    ///
    /// # Errors
    /// The disk's.
    pub fn kept(&self) -> Result<Vec<MessageId>, FilesError> {
        let entries = self.dirs.parts.entries(4 * PARTS_MAX)?;
        let ids = entries.iter().filter_map(|(name, _)| {
            let (stem, _) = name.split_once('.')?;
            stem.parse().ok()
        });
        let mut ids: Vec<MessageId> = ids.collect();
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }
}

fn name(offer: MessageId, kind: &str) -> String {
    format!("{offer}.{kind}")
}

/// Names this start of the system; zeros where it has no name, and then no start is known.
fn this_boot() -> [u8; 16] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = text.trim().chars().filter(|c| *c != '-').collect();
    u128::from_str_radix(&digits, 16)
        .unwrap_or_default()
        .to_be_bytes()
}
