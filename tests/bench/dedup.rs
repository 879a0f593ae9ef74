//! What it costs to receive once ten million message ids are known: a message is for ever received
//! once, so the ids of all that ever came are looked at for each that comes.

use crate::crypto;
use crate::measure::{Goal, Report, Samples, now, say, text, timed};
use beeline::store::testing::Direct;
use beeline_proto::id::{DeviceFp, EnvelopeHash, Label, MessageId, UserFp, sha256};
use beeline_proto::parcel::Kind;
use client_core::event::Path as Way;
use client_core::state::{InboxRow, StoreOp, StoreResult, StreamRow};
use rusqlite::{Connection, params};
use std::path::Path;

/// Ids known, as tombstones: text and envelope are gone, the row stays.
const KNOWN: u64 = 10_000_000;
/// Devices that sent them.
const DEVICES: u64 = 100;
/// Messages received together, in one write, as a stream brings them.
const BATCH: u64 = 64;
/// Rounds, the stores in turn; batches and lone messages of each in a round.
const ROUNDS: usize = 7;
const BATCHES: usize = 20;
const LONE: usize = 30;
/// The cost with all ids known over that with none.
const GOAL: f64 = 1.5;

/// A store, and how many messages it received here.
struct Place {
    store: Direct,
    _dir: tempfile::TempDir,
    received: u64,
}

fn device(number: u64) -> [u8; 32] {
    sha256(format!("bench sender {number}").as_bytes())
}

fn id(number: u64) -> [u8; 16] {
    let mut id = [0; 16];
    id.copy_from_slice(&sha256(&number.to_le_bytes())[..16]);
    id
}

/// A message nobody knows yet.
fn row(number: u64) -> InboxRow {
    let known = KNOWN / DEVICES;
    InboxRow {
        id: MessageId(id(KNOWN + number)),
        // A stream comes from one device.
        device: DeviceFp(device(number / BATCH % DEVICES)),
        user: UserFp([8; 32]),
        from: Label::new("carol").unwrap_or_else(|_| unreachable!("a label")),
        hash: EnvelopeHash(sha256(&number.to_be_bytes())),
        envelope: vec![7; 430],
        incarnation: 1,
        seq: known + number + 1,
        text: "x".repeat(200),
        path: Way::Direct,
        sent_at_ms: 1_700_000_000_000 + number,
        received_ms: 1_700_000_000_000 + number,
    }
}

impl Place {
    /// A store that knows so many ids.
    fn new(known: u64) -> Result<Self, String> {
        let dir = tempfile::tempdir().map_err(text)?;
        drop(Direct::open(dir.path(), (b"", b"")).map_err(text)?);
        fill(&dir.path().join("client.db"), known).map_err(text)?;
        let (store, _) = Direct::open(dir.path(), (b"", b"")).map_err(text)?;
        Ok(Self {
            store,
            _dir: dir,
            received: 0,
        })
    }

    /// Receives and releases new messages together; returns what each took, microseconds.
    fn receive(&mut self, count: u64) -> Result<f64, String> {
        let rows: Vec<_> = (self.received..self.received + count).map(row).collect();
        self.received += count;
        let release = |row: &InboxRow| StoreOp::Release {
            device: row.device,
            id: row.id,
            stream: StreamRow {
                device: row.device,
                incarnation: 1,
                next_seq: row.seq + 1,
            },
        };
        let releases: Vec<_> = rows.iter().map(release).collect();
        let receives = rows.into_iter().map(StoreOp::Receive).collect();
        let start = now();
        let results = self.store.write(receives, 1).map_err(|e| e.detail)?;
        self.store.write(releases, 1).map_err(|e| e.detail)?;
        let took = start.elapsed().as_secs_f64() * 1e6 / count as f64;
        let new = |result: &StoreResult| matches!(result, StoreResult::Inserted { .. });
        match results.iter().all(new) {
            true => Ok(took),
            false => Err(format!("not all were new: {results:?}")),
        }
    }
}

/// Makes tombstones: rows first, then the indexes, each in one go.
fn fill(database: &Path, known: u64) -> rusqlite::Result<()> {
    let conn = Connection::open(database)?;
    conn.execute_batch(
        "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -262144;
         PRAGMA temp_store = MEMORY;",
    )?;
    let sql = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'inbox'
               AND sql IS NOT NULL";
    let indexes = conn
        .prepare(sql)?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<Vec<(String, String)>>>()?;
    for (name, _) in &indexes {
        conn.execute_batch(&format!("DROP INDEX {name}"))?;
    }
    conn.execute_batch("BEGIN")?;
    {
        let mut insert = conn.prepare(
            "INSERT INTO inbox (device_fp, id, user_fp, from_user_id, hash, envelope, incarnation,
                 seq, text, path, sent_at_ms, received_ms, show, released)
             VALUES (?1, ?2, ?1, ?3, ?1, x'', 1, ?4, '', 'direct', ?5, ?5, 'shown', ?5)",
        )?;
        let devices: Vec<_> = (0..DEVICES).map(device).collect();
        for number in 0..known {
            let (from, seq) = (number % DEVICES, number / DEVICES + 1);
            let user = format!("user{from}");
            let at = number as i64 + 1;
            insert.execute(params![
                devices[from as usize],
                id(number),
                user,
                seq as i64,
                at
            ])?;
        }
    }
    conn.execute_batch("COMMIT")?;
    for (_, sql) in &indexes {
        conn.execute_batch(sql)?;
    }
    Ok(())
}

/// Reports both.
pub(crate) fn run(report: &mut Report) -> Result<(), String> {
    let (filling, full) = timed(|| Place::new(KNOWN));
    let (mut full, mut empty) = (full?, Place::new(0)?);
    say(&format!(
        "{KNOWN} ids made in {:.0} s",
        filling.as_secs_f64()
    ));
    let [mut full_us, mut empty_us, mut full_lone, mut empty_lone] = <[Samples; 4]>::default();
    let mut secrets = Samples::default();
    for _ in 0..ROUNDS {
        let steps = crypto::steps(&crypto::message(200), Kind::Message)?;
        secrets
            .0
            .push(steps.open.quantile(0.5) + steps.verify.quantile(0.5));
        for (place, together, lone) in [
            (&mut empty, &mut empty_us, &mut empty_lone),
            (&mut full, &mut full_us, &mut full_lone),
        ] {
            let many = |_| place.receive(BATCH);
            let batches = (0..BATCHES).map(many).collect::<Result<Vec<_>, _>>()?;
            together.0.push(Samples(batches).quantile(0.5));
            let one = |_| place.receive(1);
            let ones = (0..LONE).map(one).collect::<Result<Vec<_>, _>>()?;
            lone.0.push(Samples(ones).quantile(0.5));
        }
    }
    report.plain(
        "open and verify one message",
        "µs",
        secrets.clone(),
        Goal::Told,
    );
    report.plain(
        "store 64 together, no id known",
        "µs",
        empty_us.clone(),
        Goal::Told,
    );
    report.plain(
        "store 64 together, 10,000,000 known",
        "µs",
        full_us.clone(),
        Goal::Told,
    );
    let whole = |store: &Samples| {
        let both = store.0.iter().zip(&secrets.0);
        Samples(both.map(|(store, secrets)| store + secrets).collect())
    };
    for (name, full, empty) in [
        (
            "receive, 64 together, 10,000,000 ids known",
            &full_us,
            &empty_us,
        ),
        (
            "receive, one alone, 10,000,000 ids known",
            &full_lone,
            &empty_lone,
        ),
    ] {
        let ceiling = ("none known", whole(empty));
        report.ratio(name, "µs", whole(full), ceiling, Goal::AtMost(GOAL));
    }
    Ok(())
}
