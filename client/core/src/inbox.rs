//! The inbox: verify, write, then acknowledge; show once, in order. Writes go one batch at a time,
//! so that what each batch releases is decided on committed state only.

use crate::collect::Fate;
use crate::event::{Event, Received};
use crate::files::rows::{FileInRow, FileOp};
use crate::limits::{GAP_MS, RECEIVE_BATCH_MAX, RECEIVE_PENDING_MAX};
use crate::manager::PeerManager;
use crate::order::{StreamKey, Streams};
use crate::outputs::Write;
use crate::state::{InboxRow, StoreOp, StoreResult, StreamRow};
use crate::timer::Timer;
use crate::ways::Way;
use beeline_proto::id::{MessageId, ParcelId};
use beeline_proto::pb::peer::v1::ack;
use beeline_proto::pb::peer::v1::nack::Reason;
use beeline_proto::time::Now;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A verified message on its way into the store.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) row: InboxRow,
    /// The file it offers, if it is an offer.
    pub(crate) file: Option<Box<FileInRow>>,
    pub(crate) parcel: ParcelId,
    /// How it came.
    pub(crate) way: Way,
}

/// A message being released.
#[derive(Debug)]
struct Releasing {
    key: StreamKey,
    seq: u64,
    id: MessageId,
    after_gap: bool,
    /// The seq after it.
    next_seq: u64,
}

/// The batch the store is writing.
#[derive(Debug, Default)]
struct Flight {
    /// Releases of held messages, written first.
    released: Vec<Releasing>,
    /// Messages received, each with the release that follows it in the same batch.
    arrived: Vec<(Arrived, Vec<Releasing>)>,
}

/// What is between the network and the application.
#[derive(Debug)]
pub(crate) struct Inbox {
    pub(crate) streams: Streams,
    pending: VecDeque<Arrived>,
    /// Streams whose held messages may be due, and whether a gap is given up.
    due: BTreeMap<StreamKey, bool>,
    flight: Option<Flight>,
}

impl Inbox {
    pub(crate) fn load(streams: &[StreamRow], held: Vec<InboxRow>) -> Self {
        Self {
            streams: Streams::load(streams, held),
            pending: VecDeque::new(),
            due: BTreeMap::new(),
            flight: None,
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.pending.len() >= RECEIVE_PENDING_MAX
    }

    pub(crate) fn len(&self) -> usize {
        self.pending.len()
    }

    /// Takes a verified message.
    pub(crate) fn push(&mut self, arrived: Arrived) {
        self.pending.push_back(arrived);
    }

    /// Plans the next batch, if there is work and the last one is done.
    fn plan(&mut self) -> Option<Vec<StoreOp>> {
        if self.flight.is_some() || (self.pending.is_empty() && self.due.is_empty()) {
            return None;
        }
        let mut ops = Vec::new();
        let mut flight = Flight::default();
        let mut next: BTreeMap<StreamKey, u64> = BTreeMap::new();
        let mut planned = BTreeSet::new();
        for (key, give_up) in std::mem::take(&mut self.due) {
            let releases = self.plan_held(key, give_up, self.streams.next_seq(key));
            planned.extend(releases.iter().map(|r| (key, r.id)));
            if let Some(last) = releases.last() {
                next.insert(key, last.next_seq);
            }
            ops.extend(releases.iter().map(release_op));
            flight.released.extend(releases);
        }
        let batch = self.pending.len().min(RECEIVE_BATCH_MAX);
        for arrived in self.pending.drain(..batch).collect::<Vec<_>>() {
            let row = &arrived.row;
            let key = (row.device, row.incarnation);
            let at = next
                .get(&key)
                .copied()
                .unwrap_or_else(|| self.streams.next_seq(key));
            ops.push(StoreOp::Receive(row.clone()));
            let file = arrived.file.as_deref().cloned();
            ops.extend(file.map(|file| StoreOp::File(FileOp::AddIn(file))));
            let mut releases = Vec::new();
            // Its turn, as far as is known: shown in the same write. What was held for it follows.
            if row.seq == at || planted!(OrderByArrival) {
                releases.push(Releasing {
                    key,
                    seq: row.seq,
                    id: row.id,
                    after_gap: false,
                    next_seq: at.saturating_add(1),
                });
                let held = self.plan_held(key, false, at.saturating_add(1));
                releases.extend(held.into_iter().filter(|r| planned.insert((key, r.id))));
                let after = releases.last().map_or(at, |last| last.next_seq);
                next.insert(key, after);
            }
            ops.extend(releases.iter().map(release_op));
            flight.arrived.push((arrived, releases));
        }
        if ops.is_empty() {
            return None;
        }
        self.flight = Some(flight);
        Some(ops)
    }

    /// Held messages of a stream that may be shown when `next` is the next seq.
    fn plan_held(&self, key: StreamKey, give_up: bool, next: u64) -> Vec<Releasing> {
        let first = self.streams.first_held(key).filter(|_| give_up);
        let from = first.map_or(next, |first| first.max(next));
        let gap = from > next;
        let (turn, _) = self.streams.in_turn(key, from);
        let mut after = next;
        let releasing = |(seq, id): (u64, MessageId)| {
            let fills = seq < next;
            after = after.max(seq.saturating_add(1));
            Releasing {
                key,
                seq,
                id,
                after_gap: gap && !fills && seq == from,
                next_seq: after,
            }
        };
        turn.into_iter().map(releasing).collect()
    }
}

fn release_op(releasing: &Releasing) -> StoreOp {
    let (device, incarnation) = releasing.key;
    StoreOp::Release {
        device,
        id: releasing.id,
        stream: StreamRow {
            device,
            incarnation,
            next_seq: releasing.next_seq,
        },
    }
}

impl PeerManager {
    /// Writes the next batch.
    pub(crate) fn flush_inbox(&mut self) {
        if let Some(ops) = self.inbox.plan() {
            self.out.write(ops, Write::Inbox);
        }
    }

    /// The store wrote, or refused, the batch.
    pub(crate) fn on_inbox_written(&mut self, now: Now, results: Result<Vec<StoreResult>, String>) {
        let Some(flight) = self.inbox.flight.take() else {
            return;
        };
        let results = match results {
            Ok(results) => results,
            Err(detail) => return self.on_inbox_refused(now, flight, detail),
        };
        let mut results = results.into_iter();
        for releasing in flight.released {
            results.next();
            self.show_held(&releasing);
        }
        for (arrived, releases) in flight.arrived {
            let result = results.next();
            if arrived.file.is_some() {
                results.next();
            }
            for _ in &releases {
                results.next();
            }
            self.on_received(now, arrived, &releases, result);
        }
        self.time_acks(now);
        for key in self.inbox.streams.holding() {
            self.release_if_late(key);
            self.watch_stream(now, key);
        }
    }

    /// Nothing was kept: no ACK, so the senders repeat; held messages wait for another batch.
    fn on_inbox_refused(&mut self, now: Now, flight: Flight, detail: String) {
        let detail = format!("messages could not be stored and were not acknowledged: {detail}");
        self.out.warn(now, "store-failed", detail);
        for releasing in flight.released {
            let (device, incarnation) = releasing.key;
            let timer = Timer::Gap(device, incarnation);
            self.timers.arm_if_idle(timer, now.mono_ms + GAP_MS);
        }
        for (arrived, _) in flight.arrived {
            self.end_under_way(now, arrived.way, arrived.parcel, Fate::Again);
        }
    }

    fn on_received(
        &mut self,
        now: Now,
        arrived: Arrived,
        releases: &[Releasing],
        result: Option<StoreResult>,
    ) {
        let (row, way, parcel) = (arrived.row, arrived.way, arrived.parcel);
        let new = matches!(result, Some(StoreResult::Inserted { .. }));
        let file = arrived.file.filter(|_| new);
        let (device, id, hash) = (row.device, row.id, row.hash);
        let item = |seq_reused| ack::Item {
            msg_id: id.to_vec(),
            envelope_hash: hash.to_vec(),
            seq_reused,
        };
        match result {
            Some(StoreResult::Inserted { seq_reused }) => {
                self.acknowledge(now, device, item(seq_reused), way, false);
                self.inbox.streams.hold(row);
            }
            Some(StoreResult::Duplicate { .. }) if planted!(DuplicateNotAcked) => {}
            Some(StoreResult::Duplicate { seq_reused }) => {
                self.acknowledge(now, device, item(seq_reused), way, true);
                if planted!(DuplicateShown) {
                    self.show(row, false);
                }
            }
            Some(StoreResult::Conflict) => {
                let detail = format!("device {} used a message id twice", device.short());
                self.out.warn(now, "conflict", detail);
                let subject = (parcel, Some(id));
                self.say_nack(now, device, subject, Reason::Conflict, way);
            }
            _ => self.out.counters.count("store-answer"),
        }
        self.end_under_way(now, way, parcel, Fate::Settled);
        if let Some(file) = file {
            self.on_file_offered(now, *file);
        }
        for releasing in releases {
            self.show_held(releasing);
        }
    }

    /// A committed message that comes after its turn, or into a full stream, is due at once.
    fn release_if_late(&mut self, key: StreamKey) {
        let streams = &self.inbox.streams;
        let late = streams
            .first_held(key)
            .is_some_and(|seq| seq <= streams.next_seq(key));
        let over_full = streams.is_over_full(key);
        if late || over_full {
            let give_up = self.inbox.due.entry(key).or_default();
            *give_up |= over_full;
        }
    }

    /// A release is committed: the message is shown, once.
    fn show_held(&mut self, releasing: &Releasing) {
        self.inbox
            .streams
            .advance(releasing.key, releasing.next_seq);
        let taken = self
            .inbox
            .streams
            .take(releasing.key, releasing.seq, releasing.id);
        if let Some(row) = taken {
            self.show(row, releasing.after_gap);
        }
    }

    fn show(&mut self, row: InboxRow, after_gap: bool) {
        self.out.event(Event::Received(Received {
            id: row.id,
            from: row.from,
            from_user: row.user,
            from_device: row.device,
            text: row.text,
            path: row.path,
            sent_at_ms: row.sent_at_ms,
            after_gap,
        }));
    }

    /// Starts or ends the wait for what is missing in a stream.
    fn watch_stream(&mut self, now: Now, key: StreamKey) {
        let timer = Timer::Gap(key.0, key.1);
        if self.inbox.streams.held(key) > 0 {
            self.timers.arm_if_idle(timer, now.mono_ms + GAP_MS);
        } else {
            self.timers.cancel(&timer);
        }
    }

    /// What is missing did not come in time: what is there is shown, with its gap.
    pub(crate) fn on_gap(&mut self, now: Now, key: StreamKey) {
        if self.inbox.streams.held(key) > 0 {
            self.inbox.due.insert(key, true);
            let timer = Timer::Gap(key.0, key.1);
            self.timers.arm(timer, now.mono_ms + GAP_MS);
        }
    }

    /// After a start: what was committed and is due is shown, the rest waits for its gap.
    pub(crate) fn resume_streams(&mut self, now: Now) {
        for key in self.inbox.streams.holding() {
            self.inbox.due.insert(key, false);
            self.watch_stream(now, key);
        }
    }
}
