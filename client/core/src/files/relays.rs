//! Files of ours that go through others: whose turn it is, and when the next part may go. All of
//! them share one pace for each sort of way, so that however many there are, no more goes out.

use super::ranges::Ranges;
use crate::bounded::Bucket;
use crate::input::LinkId;
use crate::limits::{
    FILE_APART_IDLE_MS, FILE_PART_BUSY_MS, FILE_PART_PAUSE_MS_MAX, FILE_PARTS_BURST,
    FILE_PARTS_HANDED, FILES_APART_OUT_MAX, RELAY_FILE_BYTES_PER_S, SOCKET_FILE_BYTES_PER_S,
};
use crate::ways::Way;
use beeline_proto::id::{DeviceFp, MessageId, ParcelId};
use beeline_proto::limits::{FILE_PART_LEN, PARCEL_LEN_MAX};
use std::collections::{BTreeMap, VecDeque};

/// A file and the device it goes to.
pub(crate) type RelayKey = (MessageId, DeviceFp);

/// The chunk that goes now.
#[derive(Debug)]
enum Head {
    /// None.
    None,
    /// The driver seals it.
    Awaited(u64),
    /// It goes, from `at` on.
    Chunk {
        index: u64,
        sealed: Vec<u8>,
        at: usize,
    },
}

/// A file on its way to a device through others.
#[derive(Debug)]
struct Relay {
    way: Way,
    /// Chunks asked for, less those that went or go now.
    wanted: Ranges,
    head: Head,
    /// Where chunks go on of which a part was refused.
    again: BTreeMap<u64, usize>,
    /// The way it went is no way any more.
    rests: bool,
    /// A relay asked for patience until then.
    after_ms: u64,
    /// As far apart parts go since then: as it let them pass, and a quarter less with each window.
    gap_ms: u64,
    /// When it was asked for last.
    asked_ms: u64,
    /// When progress was told last.
    told_ms: u64,
}

/// A part that may go now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) key: RelayKey,
    pub(crate) way: Way,
    pub(crate) index: u64,
    pub(crate) at: u32,
    pub(crate) data: Vec<u8>,
}

/// A part that was handed to a relay.
#[derive(Debug)]
struct Handed {
    parcel: ParcelId,
    link: LinkId,
    key: RelayKey,
    index: u64,
    at: u32,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Relays {
    all: BTreeMap<RelayKey, Relay>,
    /// Whose turn it is: the first.
    turns: VecDeque<RelayKey>,
    peers: Bucket,
    sockets: Bucket,
    handed: VecDeque<Handed>,
}

impl Default for Relays {
    fn default() -> Self {
        Self {
            all: BTreeMap::new(),
            turns: VecDeque::new(),
            peers: Bucket::new(RELAY_FILE_BYTES_PER_S, FILE_PARTS_BURST, 0),
            sockets: Bucket::new(SOCKET_FILE_BYTES_PER_S, FILE_PARTS_BURST, 0),
            handed: VecDeque::new(),
        }
    }
}

impl Relays {
    /// A device asks for chunks: what it asked for before is void. `false` where there is no room
    /// for another.
    pub(crate) fn ask(&mut self, key: RelayKey, way: Way, wanted: Ranges, now_ms: u64) -> bool {
        let full = self.all.len() >= FILES_APART_OUT_MAX;
        if full && !self.all.contains_key(&key) {
            return false;
        }
        let relay = self.all.entry(key).or_insert_with(|| {
            self.turns.push_back(key);
            Relay {
                way,
                wanted: Ranges::default(),
                head: Head::None,
                again: BTreeMap::new(),
                rests: false,
                after_ms: 0,
                gap_ms: 0,
                asked_ms: 0,
                told_ms: 0,
            }
        });
        if relay.way != way {
            (relay.way, relay.after_ms, relay.gap_ms) = (way, 0, 0);
        }
        relay.gap_ms = relay.gap_ms / 4 * 3;
        (relay.wanted, relay.asked_ms, relay.rests) = (wanted, now_ms, false);
        // Of what is asked for once more parts are missing there, whichever.
        relay.again.clear();
        match &mut relay.head {
            Head::Awaited(index) if relay.wanted.contains(*index) => relay.wanted.remove(*index, 1),
            Head::Chunk { index, at, .. } if relay.wanted.contains(*index) => {
                *at = 0;
                relay.wanted.remove(*index, 1);
            }
            head => *head = Head::None,
        }
        true
    }

    /// A device gets nothing more of a file this way; whether it did.
    pub(crate) fn end(&mut self, key: RelayKey) -> bool {
        self.turns.retain(|other| *other != key);
        self.all.remove(&key).is_some()
    }

    /// Nothing more of a file goes to a device before it asks again.
    pub(crate) fn rest(&mut self, key: RelayKey) {
        if let Some(relay) = self.all.get_mut(&key) {
            (relay.wanted, relay.head, relay.rests) = (Ranges::default(), Head::None, true);
        }
    }

    /// A link is gone: so rest the files that went through the peer at its end.
    pub(crate) fn rest_on(&mut self, link: LinkId) -> Vec<RelayKey> {
        let over = self.all.iter();
        let over = over.filter(|(_, relay)| relay.way == Way::Relay(link) && !relay.rests);
        let over: Vec<RelayKey> = over.map(|(key, _)| *key).collect();
        for key in &over {
            self.rest(*key);
        }
        over
    }

    /// Files that nobody asked for again.
    pub(crate) fn end_idle(&mut self, now_ms: u64) -> Vec<RelayKey> {
        let idle = self.all.iter();
        let idle = idle.filter(|(_, relay)| relay.asked_ms + FILE_APART_IDLE_MS <= now_ms);
        let idle: Vec<RelayKey> = idle.map(|(key, _)| *key).collect();
        for key in &idle {
            self.end(*key);
        }
        idle
    }

    /// Devices that get a file this way.
    pub(crate) fn devices(&self, id: MessageId) -> Vec<DeviceFp> {
        let of_file = (id, DeviceFp([0; 32]))..=(id, DeviceFp([0xff; 32]));
        let found = self.all.range(of_file);
        found.map(|((_, device), _)| *device).collect()
    }

    /// The way a file goes to the first of them.
    pub(crate) fn way(&self, id: MessageId) -> Option<Way> {
        let device = self.devices(id).first().copied()?;
        self.all.get(&(id, device)).map(|relay| relay.way)
    }

    /// Whether files of ours go through the peer at the end of a link.
    pub(crate) fn is_used(&self, link: LinkId) -> bool {
        let mut all = self.all.values();
        all.any(|relay| relay.way == Way::Relay(link) && !relay.rests)
    }

    /// Whether progress may be told again, `gap_ms` after the last time.
    pub(crate) fn may_tell(&mut self, key: RelayKey, gap_ms: u64, now_ms: u64) -> bool {
        let Some(relay) = self.all.get_mut(&key) else {
            return false;
        };
        let may = relay.told_ms == 0 || relay.told_ms + gap_ms <= now_ms;
        if may {
            relay.told_ms = now_ms;
        }
        may
    }

    /// The next chunks to be sealed, of files that `may` be read.
    pub(crate) fn take_unsealed(
        &mut self,
        may: impl Fn(&MessageId) -> bool,
    ) -> Vec<(MessageId, u64)> {
        let mut chunks = Vec::new();
        for ((id, _), relay) in &mut self.all {
            if matches!(relay.head, Head::None)
                && may(id)
                && let Some((index, _)) = relay.wanted.take_first(1)
            {
                relay.head = Head::Awaited(index);
                chunks.push((*id, index));
            }
        }
        chunks
    }

    /// A chunk is sealed: it goes to whoever waits for it.
    pub(crate) fn sealed(&mut self, id: MessageId, index: u64, sealed: &[u8]) {
        for device in self.devices(id) {
            if let Some(relay) = self.all.get_mut(&(id, device))
                && matches!(relay.head, Head::Awaited(awaited) if awaited == index)
            {
                let at = relay.again.remove(&index).unwrap_or(0);
                relay.head = Head::Chunk {
                    index,
                    sealed: sealed.to_vec(),
                    at: at.min(sealed.len()),
                };
            }
        }
    }

    /// The next part that may go now, over a way that is `free`.
    pub(crate) fn next(&mut self, now_ms: u64, free: impl Fn(Way) -> bool) -> Option<Part> {
        for _ in 0..self.turns.len() {
            let key = *self.turns.front()?;
            self.turns.rotate_left(1);
            let Some(relay) = self.all.get_mut(&key) else {
                continue;
            };
            if relay.after_ms > now_ms || !free(relay.way) {
                continue;
            }
            let Head::Chunk { index, sealed, at } = &mut relay.head else {
                continue;
            };
            let data = &sealed[*at..sealed.len().min(*at + FILE_PART_LEN)];
            let pace = match relay.way {
                Way::Socket(_) => &mut self.sockets,
                _ => &mut self.peers,
            };
            if !pace.take_many(cost(data.len()), now_ms) {
                continue;
            }
            let part = Part {
                key,
                way: relay.way,
                index: *index,
                at: u32::try_from(*at).unwrap_or(u32::MAX),
                data: data.to_vec(),
            };
            relay.after_ms = now_ms + relay.gap_ms;
            *at += data.len();
            if *at >= sealed.len() {
                relay.head = Head::None;
            }
            return Some(part);
        }
        None
    }

    /// When to look at them again.
    pub(crate) fn wake_ms(&mut self, now_ms: u64) -> Option<u64> {
        let most = cost(FILE_PART_LEN);
        // Filled up to now, so that the wait is right.
        self.peers.take_many(0, now_ms);
        self.sockets.take_many(0, now_ms);
        let (peers, sockets) = (self.peers.wait_ms(most), self.sockets.wait_ms(most));
        let wakes = self.all.values().map(|relay| {
            let wait_ms = match relay.way {
                Way::Socket(_) => sockets,
                _ => peers,
            };
            // Where it could go and did not, its way is busy.
            let wait_ms = if wait_ms == 0 {
                FILE_PART_BUSY_MS
            } else {
                wait_ms
            };
            let idle_ms = relay.asked_ms + FILE_APART_IDLE_MS;
            match relay.head {
                Head::Chunk { .. } => relay.after_ms.max(now_ms + wait_ms).min(idle_ms),
                Head::None | Head::Awaited(_) => idle_ms,
            }
        });
        wakes.min().map(|at_ms| at_ms.max(now_ms + 1))
    }

    /// A part was handed to the peer at the end of a link.
    pub(crate) fn note_handed(&mut self, parcel: ParcelId, link: LinkId, part: &Part) {
        self.handed.push_back(Handed {
            parcel,
            link,
            key: part.key,
            index: part.index,
            at: part.at,
        });
        if self.handed.len() > FILE_PARTS_HANDED {
            self.handed.pop_front();
        }
    }

    /// A peer refused a part that was handed to it: of which file it was.
    pub(crate) fn refused(&mut self, parcel: ParcelId, link: LinkId) -> Option<RelayKey> {
        let of_it = |handed: &Handed| handed.parcel == parcel && handed.link == link;
        let handed = self.handed.iter().position(of_it)?;
        let handed = self.handed.remove(handed)?;
        let relay = self.all.get_mut(&handed.key)?;
        if relay.way != Way::Relay(link) || relay.rests {
            return None;
        }
        let from = usize::try_from(handed.at).unwrap_or(0);
        match &mut relay.head {
            Head::Chunk { index, at, .. } if *index == handed.index => *at = from.min(*at),
            head => {
                let again = relay.again.entry(handed.index).or_insert(from);
                *again = from.min(*again);
                if !matches!(head, Head::Awaited(index) if *index == handed.index) {
                    relay.wanted.insert(handed.index, 1);
                }
            }
        }
        Some(handed.key)
    }

    /// A relay wants nothing more of a file for `wait_ms`.
    pub(crate) fn pause(&mut self, key: RelayKey, wait_ms: u64, now_ms: u64) {
        if let Some(relay) = self.all.get_mut(&key) {
            // Parts that were under way say nothing new.
            if relay.after_ms <= now_ms + relay.gap_ms {
                relay.gap_ms = (relay.gap_ms + wait_ms).min(FILE_PART_PAUSE_MS_MAX);
            }
            relay.after_ms = relay.after_ms.max(now_ms + wait_ms);
        }
    }
}

/// What a part counts: about the length of its parcel.
fn cost(len: usize) -> u64 {
    (len + 512).min(PARCEL_LEN_MAX) as u64
}

const _: () = assert!(FILE_PART_LEN + 512 > PARCEL_LEN_MAX);

#[cfg(test)]
#[path = "relays_tests.rs"]
mod tests;
