//! The store: SQLite on a thread of its own. It holds no decisions; it runs the core's operations
//! in order, each write all or nothing, and answers after the commit reached the disk.
//!
//! Writes that wait while a commit is under way share the next one (group commit). A write that
//! fails does not take the others of its commit with it. After a commit of unknown outcome the
//! database is closed, opened and checked before anything is answered again.

mod ballast;
mod custody;
mod devices;
mod files;
mod files_read;
mod forget;
mod ground;
mod history;
mod kept;
mod load;
mod names;
mod open;
mod ops;
mod place;
mod read;
#[cfg(feature = "testing")]
pub mod testing;
mod writer;

pub(crate) use load::Own;
pub use read::Reader;

use crate::clock;
use crate::error::StoreError;
use crate::home::{Home, HomeLock};
use crate::limits::STORE_QUEUE;
use crate::report::InboxKey;
use beeline_proto::id::Label;
use client_core::input::StoreFailure;
use client_core::output::StoreTicket;
use client_core::state::{Loaded, StoreOp, StoreResult};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};

/// One write of the core.
#[derive(Debug)]
pub(crate) struct Write {
    /// Names it in the answer.
    pub(crate) ticket: StoreTicket,
    /// What to do, in order.
    pub(crate) ops: Vec<StoreOp>,
    /// The moment, Unix ms.
    pub(crate) at_ms: u64,
}

/// Why writes were not taken.
#[derive(Debug)]
pub(crate) enum NotTaken {
    /// The queue is full; the writes again.
    Later(Vec<Write>),
    /// The thread has ended; nothing is kept any more.
    Ended(Vec<StoreTicket>),
}

/// What the store thread is asked for.
#[derive(Debug)]
enum Job {
    Write(Write),
    /// Writes handed over together; the writer takes them apart.
    Writes(Vec<Write>),
    Mark {
        keys: Vec<InboxKey>,
        showing: bool,
        at_ms: u64,
        answer: oneshot::Sender<Result<(), StoreError>>,
    },
    Forget {
        user: Label,
        answer: oneshot::Sender<Result<usize, StoreError>>,
    },
    Close,
}

/// What the store thread tells the driver.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A write is committed, or was refused.
    Done {
        /// Which.
        ticket: StoreTicket,
        /// One result per operation, or why nothing was kept.
        result: Result<Vec<StoreResult>, StoreFailure>,
    },
    /// The store has failed. `None` once it was opened anew and is sound.
    Failed(Option<String>),
}

/// The handle of the store thread. The thread ends when every handle is gone or one said `close`.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    jobs: mpsc::Sender<Job>,
    ended: watch::Receiver<bool>,
    commits: Arc<AtomicU64>,
}

/// What an opened store comes with.
pub(crate) struct Opened {
    /// The handle.
    pub(crate) store: Store,
    /// What the core starts with.
    pub(crate) loaded: Loaded,
    /// Our own chain, newest known.
    pub(crate) own: Own,
    /// Answers to writes, in order.
    pub(crate) answers: mpsc::Receiver<Answer>,
}

impl Store {
    /// Opens the store of a home and starts its thread, which keeps `lock` until it ends.
    /// `first` is our chain as the identity file has it, for a database that is made now.
    pub(crate) fn open(
        home: &Home,
        lock: Option<HomeLock>,
        first: &Own,
    ) -> Result<Opened, StoreError> {
        let conn = open::open_writer(home, open::Check::Quick)?;
        let (mut loaded, own) = load::load(&conn, first)?;
        place::note(&conn, home, &mut loaded)?;
        ballast::keep(home);
        let (jobs, job_rx) = mpsc::channel(STORE_QUEUE);
        let (answer_tx, answers) = mpsc::channel(STORE_QUEUE);
        let (ended_tx, ended) = watch::channel(false);
        let commits = Arc::new(AtomicU64::new(0));
        let writer = writer::Writer::new(conn, home.clone(), answer_tx, Arc::clone(&commits));
        let thread = std::thread::Builder::new().name("beeline-store".to_owned());
        let run = move || {
            writer.run(job_rx);
            drop(lock);
            // Nobody may be waiting for the end.
            let _ = ended_tx.send(true);
        };
        thread
            .spawn(run)
            .map_err(|e| StoreError::Database(format!("no thread for the store: {e}")))?;
        let store = Self {
            jobs,
            ended,
            commits,
        };
        Ok(Opened {
            store,
            loaded,
            own,
            answers,
        })
    }

    /// Hands writes over together: one by one the thread could wake for the first, find no other,
    /// and commit it alone.
    pub(crate) fn try_write(&self, writes: Vec<Write>) -> Result<(), NotTaken> {
        self.jobs
            .try_send(Job::Writes(writes))
            .map_err(|refused| match refused {
                TrySendError::Full(Job::Writes(writes)) => NotTaken::Later(writes),
                TrySendError::Closed(Job::Writes(writes)) => {
                    NotTaken::Ended(writes.into_iter().map(|write| write.ticket).collect())
                }
                TrySendError::Full(_) | TrySendError::Closed(_) => {
                    unreachable!("writes were handed over")
                }
            })
    }

    /// Commits that messages are being shown, or were shown.
    pub(crate) async fn mark(&self, keys: &[InboxKey], showing: bool) -> Result<(), StoreError> {
        let (answer, done) = oneshot::channel();
        let job = Job::Mark {
            keys: keys.to_vec(),
            showing,
            at_ms: clock::wall_ms(),
            answer,
        };
        let taken = self.jobs.send(job).await;
        taken.map_err(|_| StoreError::Failed)?;
        done.await.map_err(|_| StoreError::Failed)?
    }

    /// Deletes what is over of the conversation with a user; how many messages that were. They
    /// stay as tombstones: what comes again is still known.
    pub(crate) async fn forget(&self, user: &Label) -> Result<usize, StoreError> {
        let mut gone = 0;
        loop {
            let (answer, done) = oneshot::channel();
            let user = user.clone();
            let taken = self.jobs.send(Job::Forget { user, answer }).await;
            taken.map_err(|_| StoreError::Failed)?;
            match done.await.map_err(|_| StoreError::Failed)?? {
                0 => return Ok(gone),
                some => gone += some,
            }
        }
    }

    /// Finishes what was handed over, closes the database and gives the home back.
    pub(crate) async fn close(&self) {
        // A thread that ended already has closed it.
        let _ = self.jobs.send(Job::Close).await;
        let mut ended = self.ended.clone();
        let _ = ended.wait_for(|ended| *ended).await;
    }

    /// Commits since the start.
    pub(crate) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod custody_tests;
#[cfg(test)]
mod devices_tests;
#[cfg(test)]
#[path = "tests.rs"]
mod tests;

#[cfg(test)]
mod once_tests;
#[cfg(test)]
mod together_tests;
