//! The store for `tests/crash`: the same writer, operations and settings, without a thread, on a
//! disk of the caller's. Only with the feature `testing`, which no shipped binary has.

use super::load::{self, Own};
use super::writer::Writer;
use super::{Answer, Job, Write, history, open};
use crate::error::StoreError;
use crate::home::Home;
use crate::report::{InboxKey, Unshown};
use client_core::input::StoreFailure;
use client_core::output::StoreTicket;
use client_core::state::{Loaded, StoreOp, StoreResult};
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{mpsc, oneshot};

/// A place that is no file system: a SQLite VFS, and what the client does beside SQLite.
pub trait Ground: Send + Sync {
    /// The name of the VFS.
    fn vfs(&self) -> &'static str;
    /// Whether the file is there.
    fn exists(&self, file: &Path) -> bool;
    /// Makes an empty file and syncs it.
    ///
    /// # Errors
    /// Whatever the disk says.
    fn create(&self, file: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// Whatever the disk says.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

type Grounds = BTreeMap<PathBuf, Arc<dyn Ground>>;

fn grounds() -> MutexGuard<'static, Grounds> {
    static GROUNDS: Mutex<Grounds> = Mutex::new(BTreeMap::new());
    GROUNDS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says what lies below a home's directory, or with `None` that it is the file system again.
pub fn lay(dir: &Path, ground: Option<Arc<dyn Ground>>) {
    match ground {
        Some(ground) => grounds().insert(dir.to_owned(), ground),
        None => grounds().remove(dir),
    };
}

pub(super) fn ground_of(database: &Path) -> Option<Arc<dyn Ground>> {
    grounds().get(database.parent()?).cloned()
}

/// An open store on the caller's thread.
pub struct Direct {
    writer: Writer,
    reader: Connection,
    jobs: mpsc::Receiver<Job>,
    answers: mpsc::Receiver<Answer>,
}

/// What the core starts with, and our own chain and revocations.
pub type Found = (Loaded, (Vec<u8>, Vec<u8>));

impl Direct {
    /// Opens the store of a home: creates, checks and migrates as a start does. `first` is the
    /// chain and the revocations for a store that is made now.
    ///
    /// # Errors
    /// As a start.
    pub fn open(dir: &Path, first: (&[u8], &[u8])) -> Result<(Self, Found), StoreError> {
        let home = Home::at(dir);
        let conn = open::open_writer(&home, open::Check::Quick)?;
        let first = Own {
            chain: first.0.to_vec(),
            revocations: first.1.to_vec(),
        };
        let (loaded, own) = load::load(&conn, &first)?;
        let reader = open::open_reader(&home)?;
        let (answer_tx, answers) = mpsc::channel(super::STORE_QUEUE);
        let (_, jobs) = mpsc::channel(1);
        let writer = Writer::new(conn, home, answer_tx, Arc::new(AtomicU64::new(0)));
        let direct = Self {
            writer,
            reader,
            jobs,
            answers,
        };
        Ok((direct, (loaded, (own.chain, own.revocations))))
    }

    /// One write of the core, answered as the store thread would.
    ///
    /// # Errors
    /// Why nothing was kept.
    pub fn write(
        &mut self,
        ops: Vec<StoreOp>,
        at_ms: u64,
    ) -> Result<Vec<StoreResult>, StoreFailure> {
        let ticket = StoreTicket(0);
        let job = Job::Write(Write { ticket, ops, at_ms });
        self.writer.batch(job, &mut self.jobs);
        let mut given = None;
        while let Ok(answer) = self.answers.try_recv() {
            if let Answer::Done { result, .. } = answer {
                given = Some(result);
            }
        }
        given.unwrap_or_else(|| {
            let detail = "the store gave no answer".to_owned();
            let transient = false;
            Err(StoreFailure { transient, detail })
        })
    }

    /// Marks a message as being shown, or as shown.
    ///
    /// # Errors
    /// Why that is not kept.
    pub fn mark(&mut self, key: InboxKey, showing: bool, at_ms: u64) -> Result<(), StoreError> {
        let (answer, mut done) = oneshot::channel();
        let job = Job::Mark {
            keys: vec![key],
            showing,
            at_ms,
            answer,
        };
        self.writer.batch(job, &mut self.jobs);
        while self.answers.try_recv().is_ok() {}
        done.try_recv().unwrap_or(Err(StoreError::Failed))
    }

    /// Messages to show, in order.
    ///
    /// # Errors
    /// As the database says.
    pub fn unshown(&self, limit: usize) -> Result<Vec<Unshown>, StoreError> {
        history::unshown(&self.reader, limit)
    }

    /// The writing connection, to look at; `None` once the store has failed for good.
    pub fn conn(&self) -> Option<&Connection> {
        self.writer.conn.as_ref()
    }
}
