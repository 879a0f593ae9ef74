//! Threads that own SQLite connections and do one job after the other.

use crate::limits::STORE_QUEUE_MAX;
use crate::store::StoreError;
use std::sync::Mutex;
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot};

type Job<C> = Box<dyn FnOnce(&mut C) + Send>;

/// One thread and the way to hand it jobs. `C` is what it owns.
pub(super) struct Worker<C> {
    jobs: Mutex<Option<mpsc::Sender<Job<C>>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl<C> std::fmt::Debug for Worker<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Worker")
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("the registry is shutting down".into())
}

impl<C: Send + 'static> Worker<C> {
    /// Starts a thread that owns `connection`.
    pub(super) fn start(name: &str, mut connection: C) -> std::io::Result<Self> {
        let (sender, mut receiver) = mpsc::channel::<Job<C>>(STORE_QUEUE_MAX);
        let run = move || {
            while let Some(job) = receiver.blocking_recv() {
                job(&mut connection);
            }
        };
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(run)?;
        Ok(Self {
            jobs: Mutex::new(Some(sender)),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Runs `job` on the thread; waits for a place in the queue and for the answer.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut C) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let jobs = self.sender().ok_or_else(closed)?;
        let (answer, answered) = oneshot::channel();
        let job: Job<C> = Box::new(move |connection| {
            // Nobody waits any more when the caller's deadline has passed.
            let _ = answer.send(job(connection));
        });
        jobs.send(job).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }

    fn sender(&self) -> Option<mpsc::Sender<Job<C>>> {
        self.jobs.lock().ok()?.clone()
    }

    /// Takes no more jobs, finishes those in the queue, and ends the thread.
    pub(super) async fn close(&self) {
        if let Ok(mut jobs) = self.jobs.lock() {
            *jobs = None;
        }
        let thread = self.thread.lock().ok().and_then(|mut t| t.take());
        if let Some(thread) = thread {
            // Joining blocks, so it is done aside. A thread that panicked has ended too.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}
