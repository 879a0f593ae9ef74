//! The registry's store beside the barest writers there are: presence in batches of 100.
//!
//! The bare writers have the same columns, the same rows and the same settings; they lack the
//! store's threads, its rule that an older record never replaces a newer one, and its trait.

use crate::measure::{Goal, Report, Samples, now, text};
use crate::store_bare::{BarePostgres, BareSqlite, drop_database, new_database};
use beeline_proto::id::sha256;
use beeline_registry::store::postgres::PostgresStore;
use beeline_registry::store::sqlite::SqliteStore;
use beeline_registry::store::{LeaseRow, Store};
use std::sync::Arc;
use std::time::Duration;

/// Devices that announce, in no order.
const DEVICES: u64 = 100_000;
/// Rows of one batch, as the registry writes them.
const BATCH: usize = 100;
/// Rounds, the contestants in turn.
const ROUNDS: usize = 7;
/// Length of one contestant's turn.
const TURN: Duration = Duration::from_secs(2);
/// A device record with its bundle, bytes.
const RECORD: usize = 560;
/// Our rate over the bare one's, both databases.
const GOAL: f64 = 0.8;

/// The variable that names a PostgreSQL of our own.
const POSTGRES: &str = "BEELINE_TEST_POSTGRES";

/// Hands out batches: every device once in a pseudo-random order, then all again with a higher
/// version.
pub(crate) struct Batches {
    next: u64,
    record: Arc<[u8]>,
}

impl Batches {
    pub(crate) fn new() -> Self {
        Self {
            next: 0,
            record: vec![7; RECORD].into(),
        }
    }

    fn row(&mut self) -> LeaseRow {
        let (version, number) = (1 + self.next / DEVICES, self.next % DEVICES);
        self.next += 1;
        LeaseRow {
            network_no: 1,
            device_fp: sha256(&number.to_be_bytes()),
            device: format!("bench{number:06}_dev001"),
            handle: format!("bench{number:06}"),
            version,
            record: Arc::clone(&self.record),
            named: String::new(),
            confirmed: String::new(),
            expires_ms: 1_700_000_000_000 + self.next,
            seen_ms: 1_700_000_000_000 + self.next,
        }
    }

    pub(crate) fn batch(&mut self) -> Vec<LeaseRow> {
        (0..BATCH).map(|_| self.row()).collect()
    }
}

/// Something that stores batches.
#[async_trait::async_trait]
pub(crate) trait Writer: Sync {
    /// Stores one batch.
    async fn put(&self, rows: Vec<LeaseRow>) -> Result<(), String>;
}

/// The registry's store, whichever.
struct Ours(Box<dyn Store>);

#[async_trait::async_trait]
impl Writer for Ours {
    async fn put(&self, rows: Vec<LeaseRow>) -> Result<(), String> {
        self.0.put_leases(rows).await.map_err(text)
    }
}

/// Rows a second over one turn, one batch after the other as the registry writes them.
async fn turn(writer: &dyn Writer, batches: &mut Batches) -> Result<f64, String> {
    let (mut rows, mut busy) = (0, Duration::ZERO);
    while busy < TURN {
        // Making rows is the callers' work, not the writer's.
        let batch = batches.batch();
        rows += batch.len();
        let start = now();
        writer.put(batch).await?;
        busy += start.elapsed();
    }
    Ok(rows as f64 / busy.as_secs_f64())
}

/// Both writers in turn; the first turn of each fills the table and does not count.
async fn compare(bare: &dyn Writer, ours: &dyn Writer) -> Result<(Samples, Samples), String> {
    let (mut bare_rows, mut our_rows) = (Batches::new(), Batches::new());
    for (writer, batches) in [(bare, &mut bare_rows), (ours, &mut our_rows)] {
        for _ in 0..DEVICES / BATCH as u64 {
            writer.put(batches.batch()).await?;
        }
    }
    let (mut bare_rates, mut our_rates) = (Samples::default(), Samples::default());
    for _ in 0..ROUNDS {
        bare_rates.0.push(turn(bare, &mut bare_rows).await?);
        our_rates.0.push(turn(ours, &mut our_rows).await?);
    }
    Ok((our_rates, bare_rates))
}

/// Reports both databases.
pub(crate) fn run(report: &mut Report) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime.map_err(text)?.block_on(async {
        sqlite(report).await?;
        postgres(report).await
    })
}

async fn sqlite(report: &mut Report) -> Result<(), String> {
    let dir = tempfile::tempdir().map_err(text)?;
    let bare = BareSqlite::open(&dir.path().join("bare.db"))?;
    let store = SqliteStore::open(&dir.path().join("ours"), 0, None).map_err(text)?;
    let (ours, bare) = compare(&bare, &Ours(Box::new(store))).await?;
    let bare = ("bare rusqlite writer, NORMAL", bare);
    report.ratio(
        "presence in batches of 100, SQLite",
        "rows/s",
        ours,
        bare,
        Goal::AtLeast(GOAL),
    );
    Ok(())
}

async fn postgres(report: &mut Report) -> Result<(), String> {
    let url = std::env::var(POSTGRES).map_err(|_| {
        format!("PostgreSQL: {POSTGRES} is not set; tests/bench/run starts one and sets it")
    })?;
    let bare = BarePostgres::open(&url).await?;
    let (admin, name, address) = new_database(&url, "ours").await?;
    let store = PostgresStore::open(&address, 0).await.map_err(text)?;
    let ours = Ours(Box::new(store));
    let (ours_rates, bare_rates) = compare(&bare, &ours).await?;
    ours.0.close().await;
    drop_database(&admin, &name).await;
    bare.close().await;
    let bare = ("bare UNNEST by sqlx", bare_rates);
    let name = "presence in batches of 100, PostgreSQL";
    report.ratio(name, "rows/s", ours_rates, bare, Goal::AtLeast(GOAL));
    Ok(())
}
