//! Sharing a link: which file's chunks go next. Files of one link take turns, each a piece at a
//! time; none has more on its way than a window, and the link never has more before it than it
//! needs to be busy.

use super::ranges::Ranges;
use crate::input::LinkId;
use crate::limits::{FILE_AHEAD_BYTES, FILE_TURN_BYTES, FILE_WINDOW_BYTES};
use beeline_proto::id::{DeviceFp, MessageId};
use std::collections::{BTreeMap, VecDeque};

/// Chunks to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) id: MessageId,
    pub(crate) from: u64,
    pub(crate) count: u64,
    pub(crate) turn: u64,
}

/// A file on its way to one device.
#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) link: LinkId,
    /// Names what was asked for last: reports on anything before it do not count.
    turn: u64,
    /// Asked for and not granted.
    wanted: Ranges,
    /// Granted since it was asked for.
    granted: u64,
    /// Written by the receiver since then, as it says.
    written: u64,
    /// Granted and not taken by the link yet.
    ahead: u64,
    /// Bytes of one chunk.
    chunk: u64,
    /// When progress was told last.
    pub(crate) told_ms: u64,
}

impl Upload {
    /// Chunks the receiver is still to write, of those it asked for.
    pub(crate) fn left(&self) -> u64 {
        self.wanted.len() + self.granted.saturating_sub(self.written)
    }

    /// Chunks that may be granted now.
    fn room(&self) -> u64 {
        let open = self.granted.saturating_sub(self.written);
        (FILE_WINDOW_BYTES / self.chunk).max(1).saturating_sub(open)
    }
}

/// One link.
#[derive(Debug)]
struct Lane {
    device: DeviceFp,
    /// Whose turn it is: the first.
    turns: VecDeque<MessageId>,
    /// Bytes granted that the link has not taken yet.
    ahead: u64,
}

/// All files on their way, and the links they share.
#[derive(Debug, Default)]
pub(crate) struct Share {
    uploads: BTreeMap<(MessageId, DeviceFp), Upload>,
    lanes: BTreeMap<LinkId, Lane>,
}

impl Share {
    /// A device asks for chunks over a link. Returns the link it got them on until now.
    pub(crate) fn start(
        &mut self,
        (id, device): (MessageId, DeviceFp),
        (link, turn): (LinkId, u64),
        wanted: Ranges,
        chunk_size: u32,
    ) -> Option<LinkId> {
        let before = self.end(id, device);
        let upload = Upload {
            link,
            turn,
            wanted,
            granted: 0,
            written: 0,
            ahead: 0,
            chunk: u64::from(chunk_size).max(1),
            told_ms: 0,
        };
        self.uploads.insert((id, device), upload);
        let new = || Lane {
            device,
            turns: VecDeque::new(),
            ahead: 0,
        };
        let lane = self.lanes.entry(link).or_insert_with(new);
        lane.turns.push_back(id);
        before
    }

    /// A device is to get nothing more of a file. Returns the link it got it on.
    pub(crate) fn end(&mut self, id: MessageId, device: DeviceFp) -> Option<LinkId> {
        let upload = self.uploads.remove(&(id, device))?;
        if let Some(lane) = self.lanes.get_mut(&upload.link) {
            lane.turns.retain(|other| *other != id);
            lane.ahead = lane.ahead.saturating_sub(upload.ahead * upload.chunk);
            if lane.turns.is_empty() {
                self.lanes.remove(&upload.link);
            }
        }
        Some(upload.link)
    }

    /// A link is gone. Returns the files that went over it.
    pub(crate) fn end_link(&mut self, link: LinkId) -> VecDeque<MessageId> {
        let Some(lane) = self.lanes.remove(&link) else {
            return VecDeque::new();
        };
        for id in &lane.turns {
            self.uploads.remove(&(*id, lane.device));
        }
        lane.turns
    }

    /// The link has taken granted chunks.
    pub(crate) fn sent(&mut self, id: MessageId, link: LinkId, count: u64, turn: u64) {
        let Some(lane) = self.lanes.get_mut(&link) else {
            return;
        };
        let upload = self.uploads.get_mut(&(id, lane.device));
        if let Some(upload) = upload.filter(|upload| upload.turn == turn) {
            let count = count.min(upload.ahead);
            upload.ahead -= count;
            lane.ahead = lane.ahead.saturating_sub(count * upload.chunk);
        }
    }

    /// The receiver says how many chunks it has written since it asked. Returns the upload.
    pub(crate) fn written(
        &mut self,
        id: MessageId,
        device: DeviceFp,
        written: u64,
    ) -> Option<&mut Upload> {
        let upload = self.uploads.get_mut(&(id, device))?;
        // More than it was sent is a lie that changes nothing.
        upload.written = upload.written.max(written.min(upload.granted));
        Some(upload)
    }

    /// The next chunks for a link, of files that `may` go on.
    pub(crate) fn next(&mut self, link: LinkId, may: impl Fn(&MessageId) -> bool) -> Option<Grant> {
        let lane = self.lanes.get_mut(&link)?;
        if lane.ahead >= FILE_AHEAD_BYTES {
            return None;
        }
        for _ in 0..lane.turns.len() {
            let id = *lane.turns.front()?;
            lane.turns.rotate_left(1);
            let upload = self.uploads.get_mut(&(id, lane.device));
            let Some(upload) = upload.filter(|_| may(&id)) else {
                continue;
            };
            let turn = (FILE_TURN_BYTES / upload.chunk).max(1);
            let Some((from, count)) = upload.wanted.take_first(turn.min(upload.room())) else {
                continue;
            };
            upload.granted += count;
            upload.ahead += count;
            lane.ahead += count * upload.chunk;
            return Some(Grant {
                id,
                from,
                count,
                turn: upload.turn,
            });
        }
        None
    }

    /// The links a file goes over, and to which devices.
    pub(crate) fn of_file(&self, id: MessageId) -> Vec<(DeviceFp, LinkId)> {
        let devices = (id, DeviceFp([0; 32]))..=(id, DeviceFp([0xff; 32]));
        let found = self.uploads.range(devices);
        found
            .map(|((_, device), upload)| (*device, upload.link))
            .collect()
    }

    /// Whether files of ours go over a link.
    pub(crate) fn is_used(&self, link: LinkId) -> bool {
        self.lanes.contains_key(&link)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: DeviceFp = DeviceFp([1; 32]);
    const LINK: LinkId = LinkId(7);
    const CHUNK: u32 = 64 * 1024;

    fn file(n: u8) -> MessageId {
        MessageId([n; 16])
    }

    fn granted(share: &mut Share) -> Vec<(u8, u64, u64)> {
        let grants = std::iter::from_fn(|| share.next(LINK, |_| true));
        grants
            .map(|grant| (grant.id.0[0], grant.from, grant.count))
            .collect()
    }

    #[test]
    fn files_take_turns_and_a_link_has_little_before_it() {
        let mut share = Share::default();
        for n in [1, 2] {
            let all = Ranges::all(1_000);
            share.start((file(n), DEVICE), (LINK, u64::from(n)), all, CHUNK);
        }
        let first = granted(&mut share);
        assert_eq!(first, [(1, 0, 16), (2, 0, 16), (1, 16, 16), (2, 16, 16)]);
        // Reports of an earlier turn do not count.
        share.sent(file(1), LINK, 16, 9);
        assert_eq!(granted(&mut share), []);
        share.sent(file(1), LINK, 16, 1);
        assert_eq!(granted(&mut share), [(1, 32, 16)]);
        // One that ends gives back what it had before the link.
        assert_eq!(share.end(file(1), DEVICE), Some(LINK));
        assert_eq!(granted(&mut share), [(2, 32, 16), (2, 48, 16)]);
        assert_eq!(share.end_link(LINK), [file(2)]);
        assert!(granted(&mut share).is_empty() && !share.is_used(LINK));
    }

    #[test]
    fn no_more_than_a_window_is_on_its_way() {
        let mut share = Share::default();
        let window = FILE_WINDOW_BYTES / u64::from(CHUNK);
        let all = Ranges::all(10 * window);
        share.start((file(1), DEVICE), (LINK, 1), all, CHUNK);
        let mut total = 0;
        for _ in 0..1_000 {
            for (_, _, count) in granted(&mut share) {
                total += count;
                share.sent(file(1), LINK, count, 1);
            }
        }
        assert_eq!(total, window);
        // A receiver cannot have written more than it got.
        let upload = share.written(file(1), DEVICE, u64::MAX).expect("there");
        assert_eq!(upload.left(), 9 * window);
        share.written(file(1), DEVICE, 3);
        assert_eq!(granted(&mut share).iter().map(|g| g.2).sum::<u64>(), 64);
    }

    #[test]
    fn a_file_that_may_not_go_on_leaves_its_turn_to_others() {
        let mut share = Share::default();
        for n in [1, 2] {
            let all = Ranges::all(1_000);
            share.start((file(n), DEVICE), (LINK, 1), all, CHUNK);
        }
        let grants = std::iter::from_fn(|| share.next(LINK, |id| *id == file(2)));
        assert!(grants.into_iter().all(|grant| grant.id == file(2)));
        assert_eq!(share.of_file(file(1)), [(DEVICE, LINK)]);
    }
}
