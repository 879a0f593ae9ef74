//! A disk in memory that knows what is durable: every write, sync and name is recorded, so that a
//! power loss can leave any of what was not synced, torn at sectors. It stops, fails or fills up at
//! a chosen call.

use beeline::store::testing::Ground;
use beeline_vfs::{Disk, Fault, FileId, Opening};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How much of what was not synced a power loss leaves, percent: one of these.
const KEEP: [u64; 7] = [0, 5, 30, 50, 70, 95, 100];

/// What the cache writes back as one.
const PAGE: usize = 4096;

/// The files that are left after a crash, by name.
type Image = BTreeMap<String, Vec<u8>>;

/// What goes wrong, and when: calls that change the disk count from 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// At this call everything stops: it and all later ones fail.
    pub(crate) stop_at: Option<u64>,
    /// Everything stops at the next sync: all is written, nothing is durable.
    pub(crate) stop_at_sync: bool,
    /// From this sync on, counted from 1, so many fail.
    pub(crate) fail_syncs: Option<(u64, u64)>,
    /// From this call on, so many fail with this fault.
    pub(crate) fail_at: Option<(u64, u64, Fault)>,
    /// A planted bug: names are never made durable.
    pub(crate) names_unsynced: bool,
}

/// One change of a file's content that is not durable yet.
#[derive(Debug, Clone)]
enum Change {
    Write { at: usize, data: Vec<u8> },
    Truncate(usize),
}

/// One change of a directory that is not durable yet.
#[derive(Debug, Clone)]
enum Naming {
    Made(String, usize),
    Removed(String),
}

/// One file, whatever its name.
#[derive(Debug, Clone, Default)]
struct Inode {
    now: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Debug)]
struct OpenFile {
    inode: usize,
    /// Its first sync syncs the directory as well.
    new_journal: bool,
}

#[derive(Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    naming: Vec<Naming>,
    open: BTreeMap<FileId, OpenFile>,
    opened: FileId,
    calls: u64,
    syncs: u64,
    stopped: bool,
    failed: bool,
    plan: Plan,
}

/// The disk; clones are the same one.
#[derive(Debug, Clone, Default)]
pub(crate) struct FaultDisk {
    state: Arc<Mutex<State>>,
}

/// The name without its directory: one disk is one home.
fn name(path: &str) -> &str {
    &path[path.rfind('/').map_or(0, |at| at + 1)..]
}

fn apply(content: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write { at, data } => {
            let end = at + data.len();
            if content.len() < end {
                content.resize(end, 0);
            }
            content[*at..end].copy_from_slice(data);
        }
        Change::Truncate(len) => content.resize(*len, 0),
    }
}

impl Inode {
    fn change(&mut self, change: Change) {
        apply(&mut self.now, &change);
        self.pending.push(change);
    }

    /// The cache writes whole pages.
    fn sync(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            apply(&mut self.durable, &change);
            if let Change::Write { at, data } = change {
                let first = at / PAGE * PAGE;
                let last = (at + data.len()).next_multiple_of(PAGE);
                let last = last.min(self.durable.len()).min(self.now.len());
                if first < last {
                    self.durable[first..last].copy_from_slice(&self.now[first..last]);
                }
            }
        }
    }

    /// What a power loss leaves: of each sector any version since the last sync.
    fn torn(&self, rng: &mut ChaCha8Rng, keep: u64) -> Vec<u8> {
        let sector = if rng.next_u64().is_multiple_of(2) {
            512
        } else {
            PAGE
        };
        let mut kept: BTreeMap<usize, bool> = BTreeMap::new();
        let mut content = self.durable.clone();
        for change in &self.pending {
            let Change::Write { at, data } = change else {
                if rng.next_u64() % 100 < keep {
                    apply(&mut content, change);
                }
                continue;
            };
            let mut from = *at;
            while from < at + data.len() {
                let to = (from / sector * sector + sector).min(at + data.len());
                // Once a version of a sector is lost, so are the later ones.
                let alive = kept.entry(from / sector).or_insert(true);
                *alive = *alive && rng.next_u64() % 100 < keep;
                if *alive {
                    let data = data[from - at..to - at].to_vec();
                    apply(&mut content, &Change::Write { at: from, data });
                }
                from = to;
            }
        }
        content
    }
}

impl State {
    /// Counts a call that changes something; whether it may.
    fn call(&mut self) -> Result<(), Fault> {
        if self.stopped {
            return Err(Fault::Io);
        }
        self.calls += 1;
        if let Some((from, count, fault)) = self.plan.fail_at
            && (from..from.saturating_add(count)).contains(&self.calls)
        {
            self.failed = true;
            return Err(fault);
        }
        Ok(())
    }

    /// Whether this call is the last one.
    fn stops_here(&mut self) -> Result<(), Fault> {
        if self.plan.stop_at.is_some_and(|at| self.calls >= at) {
            self.stopped = true;
            return Err(Fault::Io);
        }
        Ok(())
    }

    fn make(&mut self, path: &str) -> usize {
        self.inodes.push(Inode::default());
        let inode = self.inodes.len() - 1;
        self.names.insert(path.to_owned(), inode);
        self.naming.push(Naming::Made(path.to_owned(), inode));
        inode
    }

    fn sync_names(&mut self) {
        if !self.plan.names_unsynced {
            self.durable_names.clone_from(&self.names);
            self.naming.clear();
        }
    }

    fn file(&mut self, file: FileId) -> Result<&mut Inode, Fault> {
        let inode = self.open.get(&file).ok_or(Fault::Io)?.inode;
        self.inodes.get_mut(inode).ok_or(Fault::Io)
    }
}

impl FaultDisk {
    /// A disk with these files, all durable.
    fn of(image: &Image) -> Self {
        let disk = Self::default();
        let mut state = disk.state();
        for (path, content) in image {
            let inode = state.make(path);
            state.inodes[inode].now.clone_from(content);
            state.inodes[inode].durable.clone_from(content);
        }
        state.durable_names = state.names.clone();
        state.naming.clear();
        drop(state);
        disk
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what is to go wrong.
    pub(crate) fn plan(&self, change: impl FnOnce(&mut Plan)) {
        change(&mut self.state().plan);
    }

    /// Calls that changed something so far.
    pub(crate) fn calls(&self) -> u64 {
        self.state().calls
    }

    /// Syncs so far.
    pub(crate) fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// Whether everything has stopped.
    pub(crate) fn is_stopped(&self) -> bool {
        self.state().stopped
    }

    /// Whether a stop is planned.
    pub(crate) fn planned_stop(&self) -> bool {
        let plan = self.state().plan;
        plan.stop_at.is_some() || plan.stop_at_sync
    }

    /// Whether calls fail because they were meant to.
    pub(crate) fn is_failing(&self) -> bool {
        let state = self.state();
        state.stopped || state.failed
    }

    /// Whether calls failed that were meant to; asked once.
    pub(crate) fn has_failed(&self) -> bool {
        std::mem::take(&mut self.state().failed)
    }

    /// Everything stops now.
    pub(crate) fn stop(&self) {
        self.state().stopped = true;
    }

    /// What is left after `kill -9`: all that was written, and what of it is not durable yet.
    pub(crate) fn after_kill(&self) -> Self {
        let state = self.state();
        let left = State {
            inodes: state.inodes.clone(),
            names: state.names.clone(),
            durable_names: state.durable_names.clone(),
            naming: state.naming.clone(),
            ..State::default()
        };
        Self {
            state: Arc::new(Mutex::new(left)),
        }
    }

    /// The files and their lengths.
    pub(crate) fn listing(&self) -> String {
        let state = self.state();
        let names = state.names.iter();
        let each = names.map(|(name, inode)| {
            let inode = &state.inodes[*inode];
            let (len, pending) = (inode.now.len(), inode.pending.len());
            format!("{name} {len} bytes, {pending} changes unsynced")
        });
        each.collect::<Vec<_>>().join("; ")
    }

    /// How much of what was not synced a power loss of this seed leaves, percent.
    pub(crate) fn keeps(seed: u64) -> u64 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        KEEP[(rng.next_u64() % KEEP.len() as u64) as usize]
    }

    /// What is left after a power loss: what was synced, and of the rest what chance will have.
    pub(crate) fn after_power_loss(&self, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let keep = KEEP[(rng.next_u64() % KEEP.len() as u64) as usize];
        let state = self.state();
        let mut names = state.durable_names.clone();
        for naming in &state.naming {
            if rng.next_u64() % 100 >= keep {
                continue;
            }
            match naming {
                Naming::Made(path, inode) => names.insert(path.clone(), *inode),
                Naming::Removed(path) => names.remove(path),
            };
        }
        let mut torn = |inode: usize| state.inodes[inode].torn(&mut rng, keep);
        let image = names.into_iter().map(|(path, i)| (path, torn(i))).collect();
        Self::of(&image)
    }
}

impl Disk for FaultDisk {
    fn open(&mut self, path: &str, how: Opening) -> Result<FileId, Fault> {
        let mut state = self.state();
        let path = name(path);
        let found = state.names.get(path).copied();
        let made = found.is_none();
        let inode = match found {
            Some(inode) => inode,
            None if !how.create => return Err(Fault::Missing),
            None => {
                state.call()?;
                state.stops_here()?;
                state.make(path)
            }
        };
        state.opened += 1;
        let id = state.opened;
        let file = OpenFile {
            inode,
            new_journal: made && how.journal,
        };
        state.open.insert(id, file);
        Ok(id)
    }

    fn close(&mut self, file: FileId) {
        self.state().open.remove(&file);
    }

    fn read(&mut self, file: FileId, into: &mut [u8], at: u64) -> Result<usize, Fault> {
        let mut state = self.state();
        if state.stopped {
            return Err(Fault::Io);
        }
        let content = &state.file(file)?.now;
        let from = (at as usize).min(content.len());
        let to = (from + into.len()).min(content.len());
        into[..to - from].copy_from_slice(&content[from..to]);
        Ok(to - from)
    }

    fn write(&mut self, file: FileId, data: &[u8], at: u64) -> Result<(), Fault> {
        let mut state = self.state();
        state.call()?;
        let (at, data) = (at as usize, data.to_vec());
        state.file(file)?.change(Change::Write { at, data });
        state.stops_here()
    }

    fn truncate(&mut self, file: FileId, len: u64) -> Result<(), Fault> {
        let mut state = self.state();
        state.call()?;
        state.file(file)?.change(Change::Truncate(len as usize));
        state.stops_here()
    }

    fn sync(&mut self, file: FileId) -> Result<(), Fault> {
        let mut state = self.state();
        state.syncs += 1;
        let syncs = state.syncs;
        let failing =
            |(from, count): (u64, u64)| (from..from.saturating_add(count)).contains(&syncs);
        let fails = state.plan.fail_syncs.is_some_and(failing);
        let called = state.call();
        let called = if fails { Err(Fault::Io) } else { called };
        if let Err(fault) = called {
            // What the kernel could not write it does not try again: later syncs say all is well.
            if !state.stopped {
                state.file(file)?.pending.clear();
            }
            return Err(fault);
        }
        if state.plan.stop_at_sync {
            state.stopped = true;
            return Err(Fault::Io);
        }
        state.stops_here()?;
        let open = state.open.get_mut(&file).ok_or(Fault::Io)?;
        let names_too = std::mem::take(&mut open.new_journal);
        if names_too {
            state.sync_names();
        }
        state.file(file)?.sync();
        Ok(())
    }

    fn len(&mut self, file: FileId) -> Result<u64, Fault> {
        let mut state = self.state();
        if state.stopped {
            return Err(Fault::Io);
        }
        Ok(state.file(file)?.now.len() as u64)
    }

    fn delete(&mut self, path: &str, sync_dir: bool) -> Result<(), Fault> {
        let mut state = self.state();
        let path = name(path);
        if !state.names.contains_key(path) {
            return Err(Fault::Missing);
        }
        state.call()?;
        state.names.remove(path);
        state.naming.push(Naming::Removed(path.to_owned()));
        state.stops_here()?;
        if sync_dir {
            state.sync_names();
        }
        Ok(())
    }

    fn exists(&mut self, path: &str) -> bool {
        self.state().names.contains_key(name(path))
    }
}

fn io_error(fault: Fault) -> io::Error {
    let kind = match fault {
        Fault::Full => io::ErrorKind::StorageFull,
        Fault::Io => io::ErrorKind::Other,
        Fault::Missing => io::ErrorKind::NotFound,
    };
    io::Error::new(kind, "the disk of a test says no")
}

impl Ground for FaultDisk {
    fn vfs(&self) -> &'static str {
        beeline_vfs::NAME
    }

    fn exists(&self, file: &Path) -> bool {
        let path = file.to_string_lossy();
        self.state().names.contains_key(name(&path))
    }

    fn create(&self, file: &Path) -> io::Result<()> {
        let mut state = self.state();
        let done = state.call().and_then(|()| state.stops_here());
        done.map_err(io_error)?;
        state.make(name(&file.to_string_lossy()));
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        let mut state = self.state();
        let done = state.call().and_then(|()| state.stops_here());
        done.map_err(io_error)?;
        state.sync_names();
        Ok(())
    }
}
