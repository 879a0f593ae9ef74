//! The loop of the store thread: gather, apply, commit, answer.

use super::names::is_final;
use super::ops::{self, OpError};
use super::{Answer, Job, Write, ballast, forget, open};
use crate::clock;
use crate::crash;
use crate::error::StoreError;
use crate::home::Home;
use crate::limits::{GROUP_COMMIT_MAX, GROUP_COMMIT_WAIT};
use client_core::input::StoreFailure;
use client_core::state::{StoreOp, StoreResult};
use rusqlite::{Connection, ErrorCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// What became of one job before the commit.
type Applied = Result<Vec<StoreResult>, OpError>;

/// Owns the writing connection.
pub(super) struct Writer {
    /// `None` once the store has failed for good.
    pub(super) conn: Option<Connection>,
    home: Home,
    answers: mpsc::Sender<Answer>,
    pub(super) commits: Arc<AtomicU64>,
    /// How long waiting writes may be added to a commit.
    pub(super) window: Duration,
    /// Something was erased and may still be in the log.
    log_holds_erased: bool,
}

impl Writer {
    pub(super) fn new(
        conn: Connection,
        home: Home,
        answers: mpsc::Sender<Answer>,
        commits: Arc<AtomicU64>,
    ) -> Self {
        let conn = Some(conn);
        Self {
            conn,
            home,
            answers,
            commits,
            window: GROUP_COMMIT_WAIT,
            log_holds_erased: false,
        }
    }

    /// Works until a job says close or nobody can give one any more.
    pub(super) fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(first) = jobs.blocking_recv() {
            if matches!(first, Job::Close) {
                break;
            }
            if self.batch(first, &mut jobs) {
                break;
            }
        }
        if let Some(conn) = self.conn.take() {
            self.after_commit(&conn, &[]);
        }
    }

    /// Commits `first` and what waits behind it. Returns whether a close was among it.
    pub(super) fn batch(&mut self, first: Job, jobs: &mut mpsc::Receiver<Job>) -> bool {
        let Some(conn) = self.conn.take() else {
            self.refuse(apart(first));
            return false;
        };
        let (mut gathered, mut results, mut close) = (apart(first), Vec::new(), false);
        let outcome = gather(
            &conn,
            clock::instant() + self.window,
            &mut gathered,
            &mut results,
            jobs,
            &mut close,
        );
        let outcome = outcome.and_then(|()| {
            pass(&gathered, "before-commit");
            Ok(run(&conn, "COMMIT")?)
        });
        match outcome {
            Ok(()) => {
                pass(&gathered, "after-commit");
                self.commits.fetch_add(1, Ordering::Relaxed);
                self.after_commit(&conn, &gathered);
                self.conn = Some(conn);
                for (job, result) in gathered.into_iter().zip(results) {
                    self.answer(job, Ok(result));
                }
            }
            Err(OpError::Sql(error)) if is_broken(&error) => self.reopen(conn, gathered, &error),
            Err(error) => {
                tracing::warn!(%error, writes = gathered.len(), "a shared commit failed");
                roll_back(&conn);
                self.one_by_one(conn, gathered);
            }
        }
        close
    }

    /// Tries each job in a transaction of its own, so that one that cannot be kept (a full disk
    /// takes a small write longer than a large one) does not cost the others.
    fn one_by_one(&mut self, conn: Connection, jobs: Vec<Job>) {
        let mut jobs = jobs.into_iter();
        while let Some(job) = jobs.next() {
            let mut outcome = alone(&conn, &job);
            if is_full(&outcome) && frees(&job) {
                ballast::let_go(&self.home);
                open::empty_wal(&conn);
                outcome = alone(&conn, &job);
            }
            match outcome {
                Err(OpError::Sql(error)) if is_broken(&error) => {
                    let rest = std::iter::once(job).chain(jobs).collect();
                    return self.reopen(conn, rest, &error);
                }
                // Another process holds the database: each try waits its whole timeout.
                Err(OpError::Sql(error)) if is_busy(&error) => {
                    let failed = failure(&OpError::Sql(error));
                    for job in std::iter::once(job).chain(jobs.by_ref()) {
                        self.answer(job, Err(failed.clone()));
                    }
                }
                result => {
                    let kept = u64::from(result.is_ok());
                    if result.is_ok() {
                        self.after_commit(&conn, std::slice::from_ref(&job));
                    }
                    self.commits.fetch_add(kept, Ordering::Relaxed);
                    self.answer(job, result.map_err(|e| failure(&e)));
                }
            }
        }
        self.conn = Some(conn);
    }

    /// An erased secret must not live on in the write-ahead log. While another process reads, the
    /// log stays; it is tried again after each commit, at the end, and at the next start.
    fn after_commit(&mut self, conn: &Connection, jobs: &[Job]) {
        self.log_holds_erased |= jobs.iter().any(erases);
        if self.log_holds_erased {
            self.log_holds_erased = !open::empty_wal(conn);
        }
    }

    /// After an I/O error nothing is known of the file: close, open, check all of it. What was
    /// under way is answered as failed; it may or may not be on disk, which dedup makes harmless.
    fn reopen(&mut self, conn: Connection, under_way: Vec<Job>, error: &rusqlite::Error) {
        tracing::error!(%error, "the store failed; checking it");
        drop(conn);
        self.tell(Answer::Failed(Some(error.to_string())));
        match open::open_writer(&self.home, open::Check::Full) {
            Ok(conn) => {
                self.conn = Some(conn);
                self.tell(Answer::Failed(None));
            }
            Err(error) => {
                tracing::error!(%error, "the store cannot be opened again");
                self.tell(Answer::Failed(Some(error.to_string())));
            }
        }
        self.refuse(under_way);
    }

    fn refuse(&self, jobs: Vec<Job>) {
        for job in jobs {
            let detail = StoreError::Failed.to_string();
            let transient = false;
            self.answer(job, Err(StoreFailure { transient, detail }));
        }
    }

    fn answer(&self, job: Job, result: Result<Vec<StoreResult>, StoreFailure>) {
        match job {
            Job::Write(Write { ticket, .. }) => self.tell(Answer::Done { ticket, result }),
            Job::Mark { answer, .. } => {
                let result = result.map(|_| ());
                // The caller may have given up waiting.
                let _ = answer.send(result.map_err(|f| StoreError::Database(f.detail)));
            }
            Job::Forget { answer, .. } => {
                let result = result.map(|gone| gone.len());
                let _ = answer.send(result.map_err(|f| StoreError::Database(f.detail)));
            }
            Job::Writes(_) | Job::Close => {}
        }
    }

    fn tell(&self, answer: Answer) {
        // A driver that is gone wants no answers.
        let _ = self.answers.blocking_send(answer);
    }
}

/// Begins a transaction and applies jobs to it until nobody waits, it is full, or it is time. One
/// that is refused ends it: then each is tried alone, which is rare, where a savepoint for each
/// would cost a copy of every page.
fn gather(
    conn: &Connection,
    until: Instant,
    gathered: &mut Vec<Job>,
    results: &mut Vec<Vec<StoreResult>>,
    jobs: &mut mpsc::Receiver<Job>,
    close: &mut bool,
) -> Result<(), OpError> {
    run(conn, "BEGIN IMMEDIATE")?;
    loop {
        while let Some(job) = gathered.get(results.len()) {
            results.push(apply(conn, job)?);
        }
        if gathered.len() >= GROUP_COMMIT_MAX || clock::instant() >= until {
            return Ok(());
        }
        match jobs.try_recv() {
            Ok(Job::Close) => {
                *close = true;
                return Ok(());
            }
            Ok(job) => gathered.extend(apart(job)),
            Err(_) => return Ok(()),
        }
    }
}

/// Writes that came together, each for itself.
fn apart(job: Job) -> Vec<Job> {
    match job {
        Job::Writes(writes) => writes.into_iter().map(Job::Write).collect(),
        job => vec![job],
    }
}

/// Runs a statement that is needed again and again.
fn run(conn: &Connection, sql: &str) -> Result<(), rusqlite::Error> {
    conn.prepare_cached(sql)?.execute([]).map(drop)
}

fn apply(conn: &Connection, job: &Job) -> Applied {
    match job {
        Job::Write(write) => ops::apply(conn, &write.ops, write.at_ms),
        Job::Mark {
            keys,
            showing,
            at_ms,
            ..
        } => ops::mark(conn, keys, *showing, *at_ms).map(|()| Vec::new()),
        Job::Forget { user, .. } => {
            forget::forget(conn, user).map(|gone| vec![StoreResult::Done; gone])
        }
        Job::Writes(_) | Job::Close => Ok(Vec::new()),
    }
}

/// One job in a transaction of its own.
fn alone(conn: &Connection, job: &Job) -> Applied {
    run(conn, "BEGIN IMMEDIATE")?;
    let applied = apply(conn, job).and_then(|results| {
        run(conn, "COMMIT")?;
        Ok(results)
    });
    if applied.is_err() {
        roll_back(conn);
    }
    applied
}

/// A place where a test may end the process.
fn pass(jobs: &[Job], place: &str) {
    for job in jobs {
        match job {
            Job::Write(write) => {
                for op in &write.ops {
                    crash::at_with(place, crash::about(op));
                }
            }
            Job::Mark { showing: true, .. } => crash::at_with(place, "showing"),
            Job::Mark { .. } => crash::at_with(place, "shown"),
            _ => {}
        }
    }
}

fn roll_back(conn: &Connection) {
    if !conn.is_autocommit() {
        // One that SQLite rolled back by itself is what was wanted.
        let _ = conn.execute_batch("ROLLBACK");
    }
}

/// Whether a job erases what must not be found again.
fn erases(job: &Job) -> bool {
    match job {
        Job::Write(write) => {
            let erases = |op: &StoreOp| matches!(op, StoreOp::EraseBundle(_));
            write.ops.iter().any(erases)
        }
        Job::Forget { .. } => true,
        Job::Writes(_) | Job::Mark { .. } | Job::Close => false,
    }
}

/// Whether a job only makes the store smaller, so that it may use the room kept for a full disk.
fn frees(job: &Job) -> bool {
    match job {
        Job::Write(write) => !write.ops.is_empty() && write.ops.iter().all(op_frees),
        Job::Forget { .. } => true,
        Job::Writes(_) | Job::Mark { .. } | Job::Close => false,
    }
}

fn op_frees(op: &StoreOp) -> bool {
    match op {
        StoreOp::SetState { state, .. } => is_final(*state),
        StoreOp::EraseBundle(_)
        | StoreOp::RemoveRoute(_)
        | StoreOp::DropKept { .. }
        | StoreOp::ExpireKept { .. } => true,
        _ => false,
    }
}

fn is_full(outcome: &Applied) -> bool {
    match outcome {
        Err(OpError::Sql(error)) => error.sqlite_error_code() == Some(ErrorCode::DiskFull),
        _ => false,
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
}

/// Whether after this error nothing is known of the file any more.
fn is_broken(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(
        code,
        Some(ErrorCode::SystemIoFailure | ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}

/// How a refused write is told to the core.
fn failure(error: &OpError) -> StoreFailure {
    let code = match error {
        OpError::Sql(error) => error.sqlite_error_code(),
        OpError::Contradiction(_) => None,
    };
    let transient = matches!(
        code,
        Some(
            ErrorCode::DiskFull
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::OutOfMemory
                | ErrorCode::CannotOpen
        )
    );
    let detail = match code {
        Some(ErrorCode::DiskFull) => "the disk is full; free some space".to_owned(),
        _ => error.to_string(),
    };
    StoreFailure { transient, detail }
}
