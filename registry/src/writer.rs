//! Writes leases in batches: whatever announces arrive while one batch is being written make up the
//! next. An announce is answered only when its row is stored.

use crate::limits::{BATCH_QUEUE_MAX, BATCH_ROWS_MAX};
use crate::store::{LeaseRow, Store, StoreError};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

struct Waiting {
    row: LeaseRow,
    done: oneshot::Sender<Result<(), StoreError>>,
}

/// The way to have a lease written.
#[derive(Debug, Clone)]
pub struct LeaseWriter {
    queue: mpsc::Sender<Waiting>,
}

fn stopped() -> StoreError {
    StoreError::Unavailable("the registry is shutting down".into())
}

impl LeaseWriter {
    /// The writer and the work it needs done; the work ends when every writer is dropped.
    pub fn new(store: Arc<dyn Store>) -> (Self, impl Future<Output = ()> + Send) {
        let (queue, waiting) = mpsc::channel(BATCH_QUEUE_MAX);
        (Self { queue }, run(store, waiting))
    }

    /// Writes one row with whatever else waits; done when it is stored.
    pub async fn write(&self, row: LeaseRow) -> Result<(), StoreError> {
        let (done, stored) = oneshot::channel();
        let waiting = Waiting { row, done };
        self.queue.send(waiting).await.map_err(|_| stopped())?;
        stored.await.map_err(|_| stopped())?
    }
}

async fn run(store: Arc<dyn Store>, mut waiting: mpsc::Receiver<Waiting>) {
    let mut batch = Vec::with_capacity(BATCH_ROWS_MAX);
    while waiting.recv_many(&mut batch, BATCH_ROWS_MAX).await > 0 {
        let (rows, done) = merge(batch.drain(..));
        let result = store.put_leases(rows).await;
        for done in done {
            // A caller whose deadline has passed no longer listens.
            let _ = done.send(result.clone());
        }
    }
}

type Done = oneshot::Sender<Result<(), StoreError>>;

/// One row per device: the newest of those that wait.
fn merge(batch: impl Iterator<Item = Waiting>) -> (Vec<LeaseRow>, Vec<Done>) {
    let mut rows: BTreeMap<(i64, [u8; 32]), LeaseRow> = BTreeMap::new();
    let mut done = Vec::new();
    for waiting in batch {
        let row = waiting.row;
        let key = (row.network_no, row.device_fp);
        let newer = rows
            .get(&key)
            .is_none_or(|known| known.version <= row.version);
        if newer {
            rows.insert(key, row);
        }
        done.push(waiting.done);
    }
    (rows.into_values().collect(), done)
}
