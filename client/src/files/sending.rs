//! The thread that sends: reads chunks, checks and seals them, and puts their frames on the links
//! as these have room. Links take turns, so that a slow one holds up no other.

use super::work::thread;
use super::{FilesError, Offer, Source, Survey};
use crate::limits::FILE_SOURCES_KEPT;
use crate::rtc::{RtcPeer, SendError};
use beeline_proto::file::{Seal, frame};
use beeline_proto::id::MessageId;
use beeline_proto::limits::FRAME_LEN_DEFAULT;
use bytes::Bytes;
use client_core::files::io::FileEvent;
use client_core::input::LinkId;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Weak;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;

/// What the thread is told.
pub(super) enum OutWork {
    /// A file that was just hashed.
    Keep { path: String, source: Box<Source> },
    /// Make a file readable.
    Open { path: String, offer: Box<Offer> },
    /// It was hashed, or could not be.
    Hashed {
        offer: Box<Offer>,
        source: Result<Box<Source>, FilesError>,
    },
    /// Send chunks.
    Send { grant: Grant, peer: Weak<RtcPeer> },
    /// Seal one chunk, to go through others.
    Seal { id: MessageId, index: u32 },
    /// Send no more of a file on a link.
    Stop { id: MessageId, link: LinkId },
    /// Close a file.
    Shut(MessageId),
    /// A link has room again.
    Room(LinkId),
}

/// Chunks to send on a link.
pub(super) struct Grant {
    pub(super) id: MessageId,
    pub(super) link: LinkId,
    pub(super) next: u32,
    pub(super) left: u32,
    pub(super) count: u64,
    pub(super) turn: u64,
}

/// A file that is being sent.
struct Open {
    source: Box<Source>,
    seal: Seal,
}

/// What waits to go over one link.
struct Lane {
    peer: Weak<RtcPeer>,
    grants: VecDeque<Grant>,
    /// A frame the link had no room for.
    frame: Option<Bytes>,
    /// What comes after it of a chunk that the link does not take whole.
    pieces: VecDeque<Bytes>,
    blocked: bool,
}

/// What the thread has.
struct Sending {
    hashing: mpsc::Sender<(String, Box<Offer>)>,
    reports: mpsc::Sender<FileEvent>,
    kept: VecDeque<(String, Box<Source>)>,
    open: BTreeMap<MessageId, Open>,
    lanes: BTreeMap<LinkId, Lane>,
}

/// Starts the thread, and the one that hashes for it.
pub(super) fn start(
    work: mpsc::WeakSender<OutWork>,
    mut todo: mpsc::Receiver<OutWork>,
    reports: mpsc::Sender<FileEvent>,
) -> io::Result<()> {
    let (hashing, files) = mpsc::channel(crate::limits::FILE_WORK_QUEUE);
    thread("beeline-hash", move || hash_all(files, &work))?;
    thread("beeline-send", move || {
        let mut sending = Sending {
            hashing,
            reports,
            kept: VecDeque::new(),
            open: BTreeMap::new(),
            lanes: BTreeMap::new(),
        };
        sending.run(&mut todo);
    })
}

/// Hashes files one after another: after a restart their hashes are not known any more.
fn hash_all(mut files: mpsc::Receiver<(String, Box<Offer>)>, back: &mpsc::WeakSender<OutWork>) {
    while let Some((path, offer)) = files.blocking_recv() {
        let source = Survey::of(Path::new(&path))
            .and_then(|survey| survey.hash(offer.shape, &mut |_| back.upgrade().is_some()))
            .map(Box::new);
        let Some(work) = back.upgrade() else {
            return;
        };
        if work
            .blocking_send(OutWork::Hashed { offer, source })
            .is_err()
        {
            return;
        }
    }
}

impl Sending {
    fn run(&mut self, todo: &mut mpsc::Receiver<OutWork>) {
        loop {
            // While something can be sent nothing is waited for.
            let next = match self.send_some() {
                true => todo.try_recv(),
                false => todo.blocking_recv().ok_or(TryRecvError::Disconnected),
            };
            match next {
                Ok(work) => self.take(work),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return,
            }
        }
    }

    fn take(&mut self, work: OutWork) {
        match work {
            OutWork::Keep { path, source } => {
                self.kept.push_back((path, source));
                if self.kept.len() > FILE_SOURCES_KEPT {
                    self.kept.pop_front();
                }
            }
            OutWork::Open { path, offer } => self.open(path, offer),
            OutWork::Hashed { offer, source } => match source {
                Ok(source) => self.opened(&offer, source),
                Err(error) => self.unreadable(offer.id, &error),
            },
            OutWork::Send { grant, peer } => {
                let new = || Lane {
                    peer,
                    grants: VecDeque::new(),
                    frame: None,
                    pieces: VecDeque::new(),
                    blocked: false,
                };
                let lane = self.lanes.entry(grant.link).or_insert_with(new);
                lane.grants.push_back(grant);
            }
            OutWork::Seal { id, index } => self.seal(id, index),
            OutWork::Stop { id, link } => {
                if let Some(lane) = self.lanes.get_mut(&link) {
                    lane.grants.retain(|grant| grant.id != id);
                }
            }
            OutWork::Shut(id) => drop(self.open.remove(&id)),
            OutWork::Room(link) => {
                if let Some(lane) = self.lanes.get_mut(&link) {
                    lane.blocked = false;
                }
            }
        }
    }

    fn open(&mut self, path: String, offer: Box<Offer>) {
        let fits = |(kept, source): &(String, Box<Source>)| {
            *kept == path && source.root() == offer.root && source.shape() == offer.shape
        };
        if let Some(at) = self.kept.iter().position(fits)
            && let Some((_, source)) = self.kept.remove(at)
        {
            return self.opened(&offer, source);
        }
        let id = offer.id;
        if self.hashing.try_send((path, offer)).is_err() {
            let detail = "too many files wait to be read".to_owned();
            self.report(FileEvent::Unreadable { id, detail });
        }
    }

    fn opened(&mut self, offer: &Offer, source: Box<Source>) {
        let id = offer.id;
        if source.root() != offer.root {
            let detail = "it is not what was offered any more; send it again".to_owned();
            return self.report(FileEvent::Unreadable { id, detail });
        }
        match offer.seal() {
            Ok(seal) => {
                self.open.insert(id, Open { source, seal });
                self.report(FileEvent::Opened { id });
            }
            Err(error) => self.unreadable(id, &error.into()),
        }
    }

    /// Seals a chunk and hands it back.
    fn seal(&mut self, id: MessageId, index: u32) {
        let Some(open) = self.open.get_mut(&id) else {
            return;
        };
        let frame = open.source.frame(&open.seal, id, index);
        let sealed = frame.and_then(|mut frame| {
            let sealed = frame::parse(&frame)?.sealed;
            frame.truncate(sealed.end);
            Ok(frame.split_off(sealed.start))
        });
        match sealed {
            Ok(sealed) => self.report(FileEvent::Sealed {
                id,
                index: u64::from(index),
                sealed,
            }),
            Err(error) => self.unreadable(id, &error),
        }
    }

    fn unreadable(&mut self, id: MessageId, error: &FilesError) {
        self.open.remove(&id);
        for lane in self.lanes.values_mut() {
            lane.grants.retain(|grant| grant.id != id);
        }
        let detail = error.to_string();
        self.report(FileEvent::Unreadable { id, detail });
    }

    /// A link does not take a frame whole: it gets it in pieces.
    fn cut(&mut self, link: LinkId, limit: usize) {
        let Some(lane) = self.lanes.get_mut(&link) else {
            return;
        };
        let frame = lane.frame.take().unwrap_or_default();
        let pieces = frame::cut(&frame, limit).ok();
        // Whatever speaks with us takes frames of chat.
        let Some(pieces) = pieces.filter(|_| limit >= FRAME_LEN_DEFAULT) else {
            return self.unfit(link, limit);
        };
        for piece in pieces.into_iter().rev() {
            lane.pieces.push_front(piece.into());
        }
        lane.frame = lane.pieces.pop_front();
    }

    /// A link takes no frame of this file: nothing more of it goes there.
    fn unfit(&mut self, link: LinkId, limit: usize) {
        let Some(lane) = self.lanes.get_mut(&link) else {
            return;
        };
        lane.frame = None;
        lane.pieces.clear();
        let Some(id) = lane.grants.front().map(|grant| grant.id) else {
            return;
        };
        lane.grants.retain(|grant| grant.id != id);
        let detail = format!("a link takes frames of {limit} bytes, and a piece of it needs more");
        self.report(FileEvent::Unfit { id, link, detail });
    }

    fn report(&self, event: FileEvent) {
        // Nobody listening is how a client shuts down: the queue of work ends then.
        let _ = self.reports.blocking_send(event);
    }

    /// Sends a frame on each link that has room; whether there was one.
    fn send_some(&mut self) -> bool {
        self.lanes.retain(|_, lane| lane.peer.strong_count() > 0);
        let links: Vec<LinkId> = self.lanes.keys().copied().collect();
        let mut any = false;
        for link in links {
            any |= self.send_one(link);
        }
        any
    }

    fn send_one(&mut self, link: LinkId) -> bool {
        let Some(lane) = self.lanes.get_mut(&link).filter(|lane| !lane.blocked) else {
            return false;
        };
        let Some(peer) = lane.peer.upgrade() else {
            self.lanes.remove(&link);
            return false;
        };
        if lane.frame.is_none() && !self.make_frame(link) {
            return self
                .lanes
                .get(&link)
                .is_some_and(|lane| !lane.grants.is_empty());
        }
        let Some(lane) = self.lanes.get_mut(&link) else {
            return false;
        };
        match peer.send_file_from(&mut lane.frame) {
            Ok(()) => {
                lane.frame = lane.pieces.pop_front();
                if lane.frame.is_none() {
                    self.finish_grant(link);
                }
                true
            }
            // Either way it says when there is room.
            Err(SendError::Blocked | SendError::NotOpen) => {
                lane.blocked = true;
                false
            }
            Err(SendError::TooLarge(limit)) => {
                self.cut(link, limit);
                true
            }
            // It is about to close.
            Err(error) => {
                tracing::debug!(%error, link = link.0, "a chunk was not sent");
                self.lanes.remove(&link);
                false
            }
        }
    }

    /// Makes the next frame of a link; whether there is one.
    fn make_frame(&mut self, link: LinkId) -> bool {
        let Some(lane) = self.lanes.get_mut(&link) else {
            return false;
        };
        let Some(grant) = lane.grants.front_mut() else {
            return false;
        };
        let Some(open) = self.open.get_mut(&grant.id) else {
            lane.grants.pop_front();
            return false;
        };
        let (id, index) = (grant.id, grant.next);
        match open.source.frame(&open.seal, id, index) {
            Ok(frame) => {
                (grant.next, grant.left) = (index + 1, grant.left.saturating_sub(1));
                lane.frame = Some(frame.into());
                true
            }
            Err(error) => {
                self.unreadable(id, &error);
                false
            }
        }
    }

    /// Says when all of a grant is on its link.
    fn finish_grant(&mut self, link: LinkId) {
        let lane = self.lanes.get_mut(&link);
        let done = lane.and_then(|lane| {
            let over = lane.grants.front().is_some_and(|grant| grant.left == 0);
            over.then(|| lane.grants.pop_front()).flatten()
        });
        if let Some(grant) = done {
            self.report(FileEvent::Sent {
                id: grant.id,
                link,
                count: grant.count,
                turn: grant.turn,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: LinkId = LinkId(1);

    fn sending(lane: Lane) -> (Sending, mpsc::Receiver<FileEvent>) {
        let (hashing, _files) = mpsc::channel(1);
        let (reports, told) = mpsc::channel(1);
        let sending = Sending {
            hashing,
            reports,
            kept: VecDeque::new(),
            open: BTreeMap::new(),
            lanes: [(LINK, lane)].into(),
        };
        (sending, told)
    }

    fn lane(files: &[u8], frame: Option<Bytes>) -> Lane {
        let grant = |n: &u8| Grant {
            id: MessageId([*n; 16]),
            link: LINK,
            next: 3,
            left: 2,
            count: 5,
            turn: 1,
        };
        Lane {
            peer: Weak::new(),
            grants: files.iter().map(grant).collect(),
            frame,
            pieces: VecDeque::new(),
            blocked: false,
        }
    }

    #[test]
    fn a_link_that_takes_no_whole_chunk_gets_it_in_pieces() {
        let mut whole = Vec::new();
        frame::begin(&mut whole, MessageId([1; 16]), 3, 66_000);
        whole.resize(whole.len() + 66_000, 7);
        let (mut sending, mut told) = sending(lane(&[1], Some(whole.into())));
        // It takes less than was known when the first pieces were cut.
        for (limit, count) in [(65_536, 2), (16_384, 6)] {
            sending.cut(LINK, limit);
            let lane = &sending.lanes[&LINK];
            let frames = lane.frame.iter().chain(&lane.pieces);
            assert_eq!(frames.clone().count(), count, "{limit}");
            let first = frames.clone().next().expect("there is one");
            assert!(first.len() <= limit, "{limit}");
            let data = frames.map(|frame| frame::parse(frame).expect("a frame").sealed.len());
            assert_eq!(data.sum::<usize>(), 66_000, "{limit}");
        }
        assert!(told.try_recv().is_err());
        sending.cut(LINK, FRAME_LEN_DEFAULT - 1);
        let lane = &sending.lanes[&LINK];
        assert!(lane.frame.is_none() && lane.pieces.is_empty() && lane.grants.is_empty());
        assert!(matches!(told.try_recv(), Ok(FileEvent::Unfit { .. })));
    }

    #[test]
    fn a_link_too_small_for_a_file_gets_no_more_of_it_and_others_go_on() {
        let (mut sending, mut told) = sending(lane(&[1, 2, 1], None));
        sending.unfit(LINK, 16_383);
        let grants = sending.lanes[&LINK].grants.iter();
        let left: Vec<MessageId> = grants.map(|grant| grant.id).collect();
        assert_eq!(left, [MessageId([2; 16])]);
        let Ok(FileEvent::Unfit { id, detail, .. }) = told.try_recv() else {
            panic!("it says nothing");
        };
        assert_eq!(id, MessageId([1; 16]));
        assert!(detail.contains("16383"), "{detail}");
    }
}
