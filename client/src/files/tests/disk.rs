//! A disk that stops, refuses, or forgets what was not synced.

use crate::files::disk::{Disk, RealDisk};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::sync::{Arc, Mutex, MutexGuard};

/// A disk in the hands of a test.
#[derive(Debug, Default)]
pub(super) struct TestDisk {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Acts that still succeed; then the process is as good as dead.
    left: Option<u32>,
    refuse_writes: Option<io::ErrorKind>,
    refuse_syncs: Option<io::ErrorKind>,
    files: BTreeMap<u64, Known>,
}

/// A file that was written.
#[derive(Debug)]
struct Known {
    file: File,
    /// What a power cut leaves for certain.
    durable: Vec<u8>,
    /// What was written since.
    since: Vec<(u64, Vec<u8>)>,
}

impl TestDisk {
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Every act after the next `acts` fails, as in a process that was killed.
    pub(super) fn stop_after(&self, acts: u32) {
        self.state().left = Some(acts);
    }

    pub(super) fn refuse_writes(&self, with: Option<io::ErrorKind>) {
        self.state().refuse_writes = with;
    }

    pub(super) fn refuse_syncs(&self, with: Option<io::ErrorKind>) {
        self.state().refuse_syncs = with;
    }

    /// Cuts the power: of what was not synced, some is there and some is not, also in parts.
    pub(super) fn cut_power(&self, seed: u64) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        for known in self.state().files.values() {
            let mut image = known.durable.clone();
            for (offset, bytes) in &known.since {
                let kept = match rng.random_range(0..4) {
                    0 => 0,
                    1 => rng.random_range(0..=bytes.len()),
                    _ => bytes.len(),
                };
                let start = usize::try_from(*offset).expect("small");
                image.resize(image.len().max(start + kept), 0);
                image[start..start + kept].copy_from_slice(&bytes[..kept]);
            }
            known.file.set_len(image.len() as u64).expect("cut");
            known.file.write_all_at(&image, 0).expect("put back");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic holds it")
    }
}

impl State {
    fn act(&mut self) -> io::Result<()> {
        match &mut self.left {
            Some(0) => Err(io::Error::other("the process is dead")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

fn all_of(file: &File) -> io::Result<Vec<u8>> {
    let len = usize::try_from(file.metadata()?.len()).expect("small");
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

impl Disk for TestDisk {
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.state();
        state.act()?;
        if let Some(kind) = state.refuse_writes {
            return Err(kind.into());
        }
        let inode = file.metadata()?.ino();
        let known = match state.files.entry(inode) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(Known {
                file: file.try_clone()?,
                durable: all_of(file)?,
                since: Vec::new(),
            }),
        };
        known.since.push((offset, bytes.to_vec()));
        RealDisk.write_at(file, bytes, offset)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        let mut state = self.state();
        state.act()?;
        if let Some(kind) = state.refuse_syncs {
            return Err(kind.into());
        }
        if let Some(known) = state.files.get_mut(&file.metadata()?.ino()) {
            known.durable = all_of(&known.file)?;
            known.since.clear();
        }
        Ok(())
    }

    fn sync_all(&self, _file: &File) -> io::Result<()> {
        let mut state = self.state();
        state.act()?;
        if let Some(kind) = state.refuse_syncs {
            return Err(kind.into());
        }
        for known in state.files.values_mut() {
            known.durable = all_of(&known.file)?;
            known.since.clear();
        }
        Ok(())
    }

    fn step(&self, _what: &'static str) -> io::Result<()> {
        self.state().act()
    }
}
