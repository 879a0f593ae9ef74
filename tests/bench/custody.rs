//! What keeping for others costs: deposits a second beside the barest writer and the barest
//! verifier, pages read beside a link, and memory beside the number of parcels kept.

use crate::bare::{BarePair, echo};
use crate::measure::{Goal, Report, Samples, now, text, timed};
use crate::proc::rss_kib;
use crate::role::{Child, Desk, SERVER_CORE};
use beeline::store::testing::Direct;
use beeline_proto::id::{DeviceFp, ParcelId, UserFp, sha256};
use beeline_proto::keys::{SealSecret, SigningKey};
use beeline_proto::limits::STORE_PAGE_MAX;
use beeline_proto::parcel::{Content, Header, Kind, Parcel, seal};
use beeline_proto::pb::peer::v1::peer_item::Kind as Item;
use beeline_proto::pb::peer::v1::{PeerFrame, PeerItem, StoreMessage};
use beeline_proto::time::Now;
use client_core::event::DeliveryState;
use client_core::input::{Input, LinkId, RtcEvent};
use client_core::limits::{KEEP_PER_S_MAX, PAGE_BYTES_MAX};
use client_core::output::{Output, RtcCommand};
use client_core::state::{KeptRow, StoreOp, StoreResult};
use client_core::testing::World;
use client_core::{Keep, PeerManager, Space};
use prost::Message as _;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;
use rusqlite::{Connection, params};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Deposits that share a frame and a commit.
const TOGETHER: usize = 60;
/// Frames of a round.
const FRAMES: usize = 40;
const ROUNDS: usize = 5;
/// Devices they are for.
const RECIPIENTS: usize = 64;
/// Our rate over the lower of the two ceilings.
const DEPOSIT_RATIO: f64 = 0.7;
/// Parcels one device fetches.
const FETCHED: usize = 10_000;
/// Messages of the bare link on their way at once.
const WINDOW: usize = 8;
/// Parcels kept while memory is looked at, and by how much the last may exceed the first.
const KEPT: [u64; 3] = [1_000, 100_000, 1_000_000];
const MEMORY_RATIO: f64 = 1.1;

/// The settings of the client's store.
const SETTINGS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;";
/// Its table of what is kept.
const SCHEMA: &str = include_str!("../../migrations/client/0002_kept.sql");

fn recipient(number: usize) -> DeviceFp {
    DeviceFp(sha256(format!("bench recipient {number}").as_bytes()))
}

/// Parcels of one device, each of 1,024 bytes, for many.
struct Mint {
    header: Header,
    to: SealSecret,
    rng: ChaCha20Rng,
    made: usize,
}

impl Mint {
    fn parcel(&mut self) -> Result<Vec<u8>, String> {
        self.made += 1;
        let header = Header {
            to: recipient(self.made % RECIPIENTS),
            ..self.header
        };
        let content = Content {
            envelope: vec![7; 430],
            chain: Vec::new(),
        };
        seal(&header, &self.to.public(), &content, &mut self.rng).map_err(text)
    }

    fn frame(&mut self) -> Result<Vec<u8>, String> {
        let mut items = Vec::new();
        for _ in 0..TOGETHER {
            let store = StoreMessage {
                parcel: self.parcel()?,
                ticket: Vec::new(),
            };
            items.push(PeerItem {
                kind: Some(Item::StoreMessage(store)),
            });
        }
        Ok(PeerFrame { items }.encode_to_vec())
    }
}

/// A custodian with a link to somebody who deposits: its core and its store, nothing else.
struct Custodian {
    manager: PeerManager,
    store: Direct,
    _dir: tempfile::TempDir,
    link: LinkId,
    start: Instant,
    base: Now,
    receipts: usize,
}

impl Custodian {
    fn new() -> Result<(Self, Mint), String> {
        let mut world = World::new(1);
        world.real_crypto = true;
        let (alice, bob) = (world.member("alice"), world.member_stopped("bob"));
        let space = Space {
            parcels: u64::MAX / 2,
            bytes: u64::MAX / 2,
        };
        world.node_mut(bob).can_store = true;
        world.node_mut(bob).keep = Keep {
            total: space,
            recipient: space,
            per_s: KEEP_PER_S_MAX,
        };
        world.start(bob);
        world.drive(50);
        world.send(alice, "bob", "hello");
        let met = world.drive_until(5_000, |w| {
            w.node(alice).count(DeliveryState::Delivered) == 1
        });
        if !met {
            return Err("the two did not meet".into());
        }
        world.drive(1_000);
        let dir = tempfile::tempdir().map_err(text)?;
        let (store, _) = Direct::open(dir.path(), (b"", b"")).map_err(text)?;
        let key: &SigningKey = &world.node(alice).user.devices[0].1;
        let to = SealSecret::from_bytes([4; 32]);
        let header = Header {
            network: world.authority.network(),
            from: key.verify_key().device_fp(),
            to: recipient(0),
            kind: Kind::Message,
            key_id: to.public().key_id(),
            ttl_s: 3_600,
        };
        let mint = Mint {
            header,
            to,
            rng: ChaCha20Rng::from_seed([5; 32]),
            made: 0,
        };
        let base = world.now();
        let manager = world.node_mut(bob).manager.take().ok_or("no custodian")?;
        let custodian = Self {
            manager,
            store,
            _dir: dir,
            link: LinkId(0),
            start: now(),
            base,
            receipts: 0,
        };
        Ok((custodian, mint))
    }

    /// Finds the link: the one on which a deposit is taken.
    fn find_link(&mut self, mint: &mut Mint) -> Result<(), String> {
        let frame = mint.frame()?;
        for number in 0..1_000 {
            self.link = LinkId(number);
            self.deposit(frame.clone())?;
            if self.receipts == TOGETHER {
                return Ok(());
            }
        }
        Err("no deposit was taken".into())
    }

    fn input(&mut self, input: Input) -> Vec<Output> {
        let ms = self.start.elapsed().as_millis() as u64;
        let now = Now {
            mono_ms: self.base.mono_ms + ms,
            wall_ms: self.base.wall_ms + ms,
        };
        self.manager.handle_input(now, input);
        std::iter::from_fn(|| self.manager.poll_output()).collect()
    }

    /// A frame of deposits comes: everything until the receipts are in the link's hands.
    fn deposit(&mut self, frame: Vec<u8>) -> Result<(), String> {
        let link = self.link;
        let event = RtcEvent::Message(frame);
        let mut outputs = self.input(Input::Rtc { link, event });
        while !outputs.is_empty() {
            let mut next = Vec::new();
            for output in outputs {
                match output {
                    Output::Store { ticket, ops } => {
                        let result = self.store.write(ops, 1);
                        next.extend(self.input(Input::Store { ticket, result }));
                    }
                    Output::Rtc {
                        command: RtcCommand::Send(frame),
                        ..
                    } => self.receipts += receipts(&frame)?,
                    _ => {}
                }
            }
            outputs = next;
        }
        Ok(())
    }
}

fn receipts(frame: &[u8]) -> Result<usize, String> {
    let frame = PeerFrame::decode(frame).map_err(text)?;
    let receipt = |item: &&PeerItem| matches!(item.kind, Some(Item::StoreReceipt(_)));
    Ok(frame.items.iter().filter(receipt).count())
}

/// One connection with the same table, the same rows in one commit, and nothing else.
struct BareKeeper {
    conn: Connection,
    order: i64,
    _dir: tempfile::TempDir,
}

impl BareKeeper {
    fn new() -> Result<Self, String> {
        let dir = tempfile::tempdir().map_err(text)?;
        let conn = Connection::open(dir.path().join("bare.db")).map_err(text)?;
        conn.execute_batch(SETTINGS).map_err(text)?;
        conn.execute_batch(SCHEMA).map_err(text)?;
        Ok(Self {
            conn,
            order: 0,
            _dir: dir,
        })
    }

    fn keep(&mut self, rows: &[KeptRow]) -> rusqlite::Result<()> {
        let tx = self.conn.transaction()?;
        {
            let mut insert =
                tx.prepare_cached("INSERT INTO kept VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
            for row in rows {
                self.order += 1;
                insert.execute(params![
                    self.order,
                    row.recipient.0,
                    row.user.0,
                    row.id.0,
                    row.expires_ms as i64,
                    row.parcel.len() as i64,
                    row.parcel
                ])?;
            }
        }
        tx.commit()
    }
}

fn kept_row(order: u64, parcel: Vec<u8>, recipient: DeviceFp) -> KeptRow {
    KeptRow {
        order,
        recipient,
        user: UserFp([8; 32]),
        id: ParcelId(sha256(&parcel)),
        expires_ms: 1_700_000_000_000 + order,
        parcel,
    }
}

fn bare_rows(mint: &mut Mint) -> Result<Vec<KeptRow>, String> {
    let rows = (0..TOGETHER).map(|_| {
        let bytes = mint.parcel()?;
        let parcel = Parcel::parse(&bytes).map_err(text)?;
        Ok(kept_row(0, bytes, parcel.header().to))
    });
    rows.collect()
}

/// `verify_strict` of what an envelope in a parcel holds, a second.
fn verify_rate() -> Result<f64, String> {
    let key = SigningKey::from_seed(&[3; 32]);
    let message = vec![7; 400];
    let (signature, public) = (key.sign(&message), key.verify_key());
    let count = FRAMES * TOGETHER / 2;
    let (elapsed, good) = timed(|| (0..count).all(|_| public.verify(&message, &signature)));
    match good {
        true => Ok(count as f64 / elapsed.as_secs_f64()),
        false => Err("a good signature was refused".into()),
    }
}

fn deposits(report: &mut Report) -> Result<(), String> {
    let (mut custodian, mut mint) = Custodian::new()?;
    custodian.find_link(&mut mint)?;
    let mut bare = BareKeeper::new()?;
    let [mut ours, mut commits, mut verifies, mut ceiling] = <[Samples; 4]>::default();
    for _ in 0..ROUNDS {
        let frames = (0..FRAMES).map(|_| mint.frame());
        let frames = frames.collect::<Result<Vec<_>, _>>()?;
        let before = custodian.receipts;
        let (elapsed, done) = timed(|| frames.into_iter().try_for_each(|f| custodian.deposit(f)));
        done?;
        let taken = custodian.receipts - before;
        if taken != FRAMES * TOGETHER {
            return Err(format!(
                "{taken} receipts for {} deposits",
                FRAMES * TOGETHER
            ));
        }
        ours.0.push(taken as f64 / elapsed.as_secs_f64());
        let batches = (0..FRAMES).map(|_| bare_rows(&mut mint));
        let batches = batches.collect::<Result<Vec<_>, _>>()?;
        let (elapsed, done) = timed(|| batches.iter().try_for_each(|rows| bare.keep(rows)));
        done.map_err(text)?;
        let commit = (FRAMES * TOGETHER) as f64 / elapsed.as_secs_f64();
        let verify = verify_rate()?;
        commits.0.push(commit);
        verifies.0.push(verify);
        ceiling.0.push(commit.min(verify));
    }
    report.plain(
        "bare commits of 60 kept parcels",
        "parcels/s",
        commits,
        Goal::Told,
    );
    report.plain("verify_strict", "a second", verifies, Goal::Told);
    let ceiling = ("the lower of the two", ceiling);
    let goal = Goal::AtLeast(DEPOSIT_RATIO);
    report.ratio(
        "custodian: deposits, receipts said",
        "parcels/s",
        ours,
        ceiling,
        goal,
    );
    Ok(())
}

/// Fills a store with parcels for one device, in commits of thousands.
fn fill(store: &mut Direct, count: u64) -> Result<(), String> {
    let mut order = 0;
    while order < count {
        let rows = (order + 1..=count.min(order + 2_000)).map(|order| {
            let mut parcel = vec![7; 1_024];
            parcel[..8].copy_from_slice(&order.to_be_bytes());
            StoreOp::Keep(kept_row(order, parcel, recipient(0)))
        });
        let rows: Vec<_> = rows.collect();
        order += rows.len() as u64;
        store.write(rows, 1).map_err(|e| e.detail)?;
    }
    Ok(())
}

/// Reads all that is kept for the device, page by page; how many parcels that were.
fn read_all(store: &mut Direct, most: usize) -> Result<usize, String> {
    let (mut after, mut read) = (0, 0);
    loop {
        let op = StoreOp::ReadKept {
            recipient: recipient(0),
            after,
            limit: STORE_PAGE_MAX as u32,
            bytes_max: PAGE_BYTES_MAX,
        };
        let results = store.write(vec![op], 1).map_err(|e| e.detail)?;
        let Some(StoreResult::Page { parcels, more }) = results.into_iter().next() else {
            return Err("no page".into());
        };
        read += parcels.len();
        after = parcels.last().map_or(after, |parcel| parcel.order);
        if !more || read >= most {
            return Ok(read);
        }
    }
}

fn fetches(report: &mut Report) -> Result<(), String> {
    let dir = tempfile::tempdir().map_err(text)?;
    let (mut store, _) = Direct::open(dir.path(), (b"", b"")).map_err(text)?;
    fill(&mut store, FETCHED as u64)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(text)?;
    let pair = runtime.block_on(BarePair::connect())?;
    let [mut reads, mut sends] = <[Samples; 2]>::default();
    for _ in 0..ROUNDS {
        let (elapsed, read) = timed(|| read_all(&mut store, FETCHED));
        if read? != FETCHED {
            return Err("not all was read".into());
        }
        reads.0.push(elapsed.as_secs_f64() * 1e3);
        let (elapsed, sent) = timed(|| runtime.block_on(carry(&pair)));
        sent?;
        sends.0.push(elapsed.as_secs_f64() * 1e3);
    }
    runtime.block_on(pair.close());
    let ceiling = ("bare link with as many bytes", sends);
    let name = "custodian: 10,000 parcels read page by page";
    report.ratio(name, "ms", reads, ceiling, Goal::AtMost(1.0));
    Ok(())
}

/// Sends as many bytes over the bare crate's link, in frames as ours are.
async fn carry(pair: &BarePair) -> Result<(), String> {
    let mut echoing = tokio::task::JoinSet::new();
    echoing.spawn(echo(Arc::clone(&pair.channels[1]), vec![7; 16]));
    let frame = vec![7; TOGETHER * 1_030];
    let frames = FETCHED.div_ceil(TOGETHER);
    for number in 0..frames + WINDOW {
        if number < frames {
            pair.send(&frame).await?;
        }
        if number >= WINDOW {
            pair.receive().await?;
        }
    }
    echoing.abort_all();
    Ok(())
}

/// The role: `keeper DIR COUNT` keeps so many, is asked for pages, and says how much memory it has.
pub(crate) fn keeper(args: &[String], desk: &mut Desk) -> Result<(), String> {
    let [dir, count] = args else {
        return Err("keeper DIR COUNT".into());
    };
    let count: u64 = count.parse().map_err(text)?;
    let dir = Path::new(dir);
    // Making them is not what is measured, so another process would do it; this one starts anew.
    let (mut store, (loaded, _)) = Direct::open(dir, (b"", b"")).map_err(text)?;
    if loaded.kept.order < count {
        fill(&mut store, count)?;
        desk.say(&json!({ "made": count }));
        return Ok(());
    }
    read_all(&mut store, FETCHED)?;
    let kib = rss_kib(std::process::id())?;
    let kept: u64 = loaded.kept.sums.iter().map(|sum| sum.parcels).sum();
    desk.say(&json!({ "kib": kib, "kept": kept }));
    desk.until_the_end();
    Ok(())
}

fn memory(report: &mut Report) -> Result<(), String> {
    let mut by_count = Samples::default();
    for count in KEPT {
        let dir = tempfile::tempdir().map_err(text)?;
        let (home, number) = (dir.path().display().to_string(), count.to_string());
        drop(Child::start(SERVER_CORE, "keeper", &[&home, &number])?);
        let child = Child::start(SERVER_CORE, "keeper", &[&home, &number])?;
        let kib = child.ready.get("kib").and_then(serde_json::Value::as_f64);
        by_count.0.push(kib.ok_or("no memory said")? / 1024.0);
        let name = format!("memory with {count} parcels kept");
        report.plain(
            &name,
            "MiB",
            Samples(by_count.0[by_count.0.len() - 1..].to_vec()),
            Goal::Told,
        );
    }
    let last = Samples(by_count.0[KEPT.len() - 1..].to_vec());
    let first = Samples(by_count.0[..1].to_vec());
    let goal = Goal::AtMost(MEMORY_RATIO);
    report.ratio(
        "memory with 1,000,000 parcels kept",
        "MiB",
        last,
        ("1,000 kept", first),
        goal,
    );
    Ok(())
}

/// Reports all of it.
pub(crate) fn run(report: &mut Report) -> Result<(), String> {
    deposits(report)?;
    fetches(report)?;
    memory(report)
}
