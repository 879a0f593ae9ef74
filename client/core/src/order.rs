//! Order of received messages: one stream per sending device and incarnation, by seq. What comes
//! early is held; what is missing for long is shown as a gap and filled in later.

use crate::limits::{HELD_MAX, HELD_TOTAL_MAX, STREAMS_MAX, STREAMS_PER_DEVICE_MAX};
use crate::state::{InboxRow, StreamRow};
use beeline_proto::id::{DeviceFp, MessageId};
use std::collections::{BTreeMap, BTreeSet};

/// Names a stream: the sending device and its incarnation.
pub(crate) type StreamKey = (DeviceFp, u64);

/// One stream.
#[derive(Debug)]
pub(crate) struct Stream {
    /// The next seq whose turn to be shown it is.
    pub(crate) next_seq: u64,
    /// Committed messages that wait for earlier ones.
    held: BTreeMap<(u64, MessageId), InboxRow>,
    /// When it was last used, for forgetting the idlest.
    used: u64,
}

/// All streams.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    by_key: BTreeMap<StreamKey, Stream>,
    /// Streams that hold messages.
    holding: BTreeSet<StreamKey>,
    held: usize,
    uses: u64,
}

impl Streams {
    pub(crate) fn load(rows: &[StreamRow], held: Vec<InboxRow>) -> Self {
        let mut streams = Self::default();
        for row in rows {
            streams.entry((row.device, row.incarnation)).next_seq = row.next_seq.max(1);
        }
        for row in held {
            streams.hold(row);
        }
        streams
    }

    /// The next seq of a stream; 1 for one never seen.
    pub(crate) fn next_seq(&self, key: StreamKey) -> u64 {
        self.by_key.get(&key).map_or(1, |stream| stream.next_seq)
    }

    /// Advances a stream; never back.
    pub(crate) fn advance(&mut self, key: StreamKey, next_seq: u64) {
        let stream = self.entry(key);
        stream.next_seq = stream.next_seq.max(next_seq);
    }

    /// Holds a committed message back.
    pub(crate) fn hold(&mut self, row: InboxRow) {
        let key = (row.device, row.incarnation);
        let replaced = self.entry(key).held.insert((row.seq, row.id), row);
        self.holding.insert(key);
        self.held += usize::from(replaced.is_none());
    }

    /// Takes a held message out once it was released.
    pub(crate) fn take(&mut self, key: StreamKey, seq: u64, id: MessageId) -> Option<InboxRow> {
        let stream = self.by_key.get_mut(&key)?;
        let row = stream.held.remove(&(seq, id))?;
        self.held -= 1;
        if stream.held.is_empty() {
            self.holding.remove(&key);
        }
        Some(row)
    }

    pub(crate) fn held(&self, key: StreamKey) -> usize {
        self.by_key.get(&key).map_or(0, |stream| stream.held.len())
    }

    pub(crate) fn held_total(&self) -> usize {
        self.held
    }

    pub(crate) fn is_over_full(&self, key: StreamKey) -> bool {
        self.held(key) > HELD_MAX || self.held > HELD_TOTAL_MAX
    }

    /// Streams that hold messages.
    pub(crate) fn holding(&self) -> Vec<StreamKey> {
        self.holding.iter().copied().collect()
    }

    /// Held messages whose turn comes when `next` is the next seq, in order, with the seq after
    /// them. Messages before `next` fill a gap shown earlier and go first.
    pub(crate) fn in_turn(&self, key: StreamKey, next: u64) -> (Vec<(u64, MessageId)>, u64) {
        let mut turn = Vec::new();
        let mut after = next;
        for (seq, id) in self
            .by_key
            .get(&key)
            .into_iter()
            .flat_map(|s| s.held.keys())
        {
            if *seq > after {
                break;
            }
            turn.push((*seq, *id));
            after = after.max(seq.saturating_add(1));
        }
        (turn, after)
    }

    /// The seq of the first held message.
    pub(crate) fn first_held(&self, key: StreamKey) -> Option<u64> {
        let stream = self.by_key.get(&key)?;
        stream.held.first_key_value().map(|((seq, _), _)| *seq)
    }

    fn entry(&mut self, key: StreamKey) -> &mut Stream {
        self.uses += 1;
        if !self.by_key.contains_key(&key) {
            self.make_room(key.0);
        }
        let uses = self.uses;
        let stream = self.by_key.entry(key).or_insert_with(|| Stream {
            next_seq: 1,
            held: BTreeMap::new(),
            used: 0,
        });
        stream.used = uses;
        stream
    }

    /// Forgets the idlest stream of a device that makes up too many incarnations, or of all if
    /// there are too many. If it goes on, its next message waits for a gap that is none.
    fn make_room(&mut self, device: DeviceFp) {
        let own = self.by_key.range((device, 0)..=(device, u64::MAX));
        let idlest = if own.clone().count() >= STREAMS_PER_DEVICE_MAX {
            own.min_by_key(|(_, stream)| (!stream.held.is_empty(), stream.used))
        } else if self.by_key.len() >= STREAMS_MAX {
            self.by_key
                .iter()
                .min_by_key(|(_, stream)| (!stream.held.is_empty(), stream.used))
        } else {
            None
        };
        if let Some(key) = idlest.map(|(key, _)| *key)
            && let Some(stream) = self.by_key.remove(&key)
        {
            self.held -= stream.held.len();
            self.holding.remove(&key);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::event::Path;
    use beeline_proto::id::{EnvelopeHash, Label, UserFp};

    pub(crate) fn row(device: u8, incarnation: u64, seq: u64) -> InboxRow {
        InboxRow {
            id: MessageId([seq as u8; 16]),
            device: DeviceFp([device; 32]),
            user: UserFp([device; 32]),
            from: Label::new("carol").expect("a label"),
            hash: EnvelopeHash([seq as u8; 32]),
            envelope: Vec::new(),
            incarnation,
            seq,
            text: String::new(),
            path: Path::Direct,
            sent_at_ms: 0,
            received_ms: 0,
        }
    }

    #[test]
    fn held_messages_come_in_turn_and_late_ones_fill_the_gap() {
        let key = (DeviceFp([1; 32]), 7);
        let mut streams = Streams::default();
        for seq in [4, 3, 6] {
            streams.hold(row(1, 7, seq));
        }
        let seqs = |(turn, after): (Vec<(u64, MessageId)>, u64)| {
            (
                turn.into_iter().map(|(seq, _)| seq).collect::<Vec<_>>(),
                after,
            )
        };
        assert_eq!(seqs(streams.in_turn(key, 1)), (vec![], 1));
        assert_eq!(seqs(streams.in_turn(key, 3)), (vec![3, 4], 5));
        assert_eq!(seqs(streams.in_turn(key, 6)), (vec![3, 4, 6], 7));
        assert_eq!(streams.first_held(key), Some(3));
        streams.advance(key, 5);
        streams.advance(key, 2);
        assert_eq!((streams.next_seq(key), streams.held_total()), (5, 3));
    }

    #[test]
    fn invented_incarnations_do_not_grow_without_bound() {
        let mut streams = Streams::default();
        streams.hold(row(1, 0, 9));
        for incarnation in 1..1_000 {
            streams.advance((DeviceFp([1; 32]), incarnation), 2);
            streams.advance((DeviceFp([2; 32]), 5), 2);
        }
        assert_eq!(streams.len(), STREAMS_PER_DEVICE_MAX + 1);
        assert_eq!(streams.held((DeviceFp([1; 32]), 0)), 1);
        assert_eq!(streams.holding(), [(DeviceFp([1; 32]), 0)]);
    }
}
