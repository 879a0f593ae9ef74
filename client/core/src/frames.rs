//! Frames of one link: many small items share one, up to what the other side takes.

use crate::limits::{FILE_PART_BEHIND_MAX, LINK_QUEUE_MAX};
use beeline_proto::limits::{FRAME_ITEMS_MAX, FRAME_LEN_DEFAULT, FRAME_LEN_MAX};
use beeline_proto::pb::peer::v1::hello::Limits;
use beeline_proto::pb::peer::v1::peer_item::Kind;
use beeline_proto::pb::peer::v1::{PeerFrame, PeerItem};
use prost::Message as _;
use std::collections::VecDeque;

/// Why a received frame is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    /// Larger than we said we take.
    #[error("a frame larger than agreed")]
    TooLarge,
    /// Not a PeerFrame.
    #[error("a frame that cannot be decoded")]
    Malformed,
    /// More items than we said we take, or none.
    #[error("a frame without items, or with more than agreed")]
    Items,
}

/// Reads a received frame into its items; unknown items are `None`.
pub(crate) fn read(bytes: &[u8], len_max: usize) -> Result<Vec<Option<Kind>>, FrameError> {
    if bytes.len() > len_max {
        return Err(FrameError::TooLarge);
    }
    let frame = PeerFrame::decode(bytes).map_err(|_| FrameError::Malformed)?;
    if frame.items.is_empty() || frame.items.len() > FRAME_ITEMS_MAX {
        return Err(FrameError::Items);
    }
    Ok(frame.items.into_iter().map(|item| item.kind).collect())
}

/// What the other side takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PeerLimits {
    len: usize,
    items: usize,
}

impl PeerLimits {
    /// From a HELLO, kept within sense: a peer can neither ask for more than we make nor for frames
    /// that would not carry one parcel.
    pub(crate) fn from_pb(limits: Option<&Limits>) -> Self {
        let said = |value: u32| usize::try_from(value).unwrap_or(usize::MAX);
        let len = limits.map_or(0, |limits| said(limits.frame_size_max));
        let items = limits.map_or(0, |limits| said(limits.frame_items_max));
        Self {
            len: len.clamp(FRAME_LEN_DEFAULT, FRAME_LEN_MAX),
            items: items.clamp(1, FRAME_ITEMS_MAX),
        }
    }
}

/// Items on their way out of one link.
#[derive(Debug)]
pub(crate) struct SendQueue {
    limits: PeerLimits,
    items: VecDeque<(PeerItem, usize)>,
    /// Frames the link did not take.
    refused: VecDeque<Vec<u8>>,
    blocked: bool,
}

impl SendQueue {
    pub(crate) fn new(limits: PeerLimits) -> Self {
        Self {
            limits,
            items: VecDeque::new(),
            refused: VecDeque::new(),
            blocked: false,
        }
    }

    /// Queues an item; `false` when the queue is full.
    pub(crate) fn push(&mut self, kind: Kind) -> bool {
        if self.items.len() >= LINK_QUEUE_MAX {
            return false;
        }
        let item = PeerItem { kind: Some(kind) };
        let body = item.encoded_len();
        // As an element of the frame: a tag of one byte and its own length before it.
        let len = 1 + prost::encoding::encoded_len_varint(body as u64) + body;
        self.items.push_back((item, len));
        true
    }

    /// Room for more items.
    pub(crate) fn room(&self) -> usize {
        if self.blocked {
            return 0;
        }
        LINK_QUEUE_MAX - self.items.len()
    }

    /// Whether a part of a file may wait as well: it is last, and what comes after it goes soon.
    pub(crate) fn is_light(&self) -> bool {
        !self.blocked && self.refused.is_empty() && self.items.len() < FILE_PART_BEHIND_MAX
    }

    /// The next frame to send, unless the link is full.
    pub(crate) fn next_frame(&mut self) -> Option<Vec<u8>> {
        if self.blocked {
            return None;
        }
        if let Some(frame) = self.refused.pop_front() {
            return Some(frame);
        }
        let mut frame = PeerFrame::default();
        let mut len = 0;
        while frame.items.len() < self.limits.items
            && let Some((_, next)) = self.items.front()
            && (len + next <= self.limits.len || frame.items.is_empty())
            && let Some((item, next)) = self.items.pop_front()
        {
            frame.items.push(item);
            len += next;
        }
        (!frame.items.is_empty()).then(|| frame.encode_to_vec())
    }

    /// The link did not take these; they are the next to go.
    pub(crate) fn refuse(&mut self, frames: Vec<Vec<u8>>) {
        self.blocked = true;
        for frame in frames.into_iter().rev() {
            self.refused.push_front(frame);
        }
    }

    pub(crate) fn writable(&mut self) {
        self.blocked = false;
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.items.len() + self.refused.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(len: u32, items: u32) -> SendQueue {
        SendQueue::new(PeerLimits::from_pb(Some(&Limits {
            frame_size_max: len,
            frame_items_max: items,
        })))
    }

    #[test]
    fn items_share_frames_up_to_both_limits() {
        let mut many = queue(0, 3);
        assert!((0..7).all(|_| many.push(Kind::Ack(vec![7; 10]))));
        let counts: Vec<usize> = std::iter::from_fn(|| many.next_frame())
            .map(|frame| read(&frame, FRAME_LEN_DEFAULT).map_or(0, |items| items.len()))
            .collect();
        assert_eq!(counts, [3, 3, 1]);

        let mut large = queue(0, 64);
        assert!((0..5).all(|_| large.push(Kind::ChatMessage(vec![7; 4_096]))));
        let frames: Vec<Vec<u8>> = std::iter::from_fn(|| large.next_frame()).collect();
        assert_eq!(frames.len(), 2);
        assert!(frames.iter().all(|frame| frame.len() <= FRAME_LEN_DEFAULT));
    }

    #[test]
    fn a_full_link_is_held_back_and_loses_nothing() {
        let mut queue = queue(0, 1);
        assert!(queue.push(Kind::Ack(vec![1])) && queue.push(Kind::Ack(vec![2])));
        let sent: Vec<Vec<u8>> = std::iter::from_fn(|| queue.next_frame()).collect();
        queue.refuse(sent.clone());
        assert_eq!(
            (queue.next_frame(), queue.room(), queue.len()),
            (None, 0, 2)
        );
        queue.writable();
        assert_eq!(
            std::iter::from_fn(|| queue.next_frame()).collect::<Vec<_>>(),
            sent
        );
    }

    #[test]
    fn a_part_of_a_file_finds_room_only_where_little_waits() {
        let mut queue = queue(0, 1);
        assert!(queue.is_light());
        while queue.is_light() {
            assert!(queue.push(Kind::Ack(vec![1])));
        }
        assert_eq!(queue.len(), FILE_PART_BEHIND_MAX);
        let frame = queue.next_frame().expect("an item");
        assert!(queue.is_light());
        queue.refuse(vec![frame]);
        assert!(!queue.is_light());
        queue.writable();
        assert!(!queue.is_light(), "it is the next to go");
    }

    #[test]
    fn the_queue_is_bounded() {
        let mut queue = queue(0, 64);
        let taken = (0..2 * LINK_QUEUE_MAX)
            .filter(|_| queue.push(Kind::Ack(Vec::new())))
            .count();
        assert_eq!(taken, LINK_QUEUE_MAX);
    }

    #[test]
    fn frames_beyond_the_agreement_are_refused() {
        assert_eq!(read(&[0xff], 100), Err(FrameError::Malformed));
        assert_eq!(read(&[], 100), Err(FrameError::Items));
        assert_eq!(read(&[0; 101], 100), Err(FrameError::TooLarge));
        let items = vec![PeerItem::default(); FRAME_ITEMS_MAX + 1];
        let crowded = PeerFrame { items }.encode_to_vec();
        assert_eq!(read(&crowded, FRAME_LEN_MAX), Err(FrameError::Items));
        let unknown = PeerFrame {
            items: vec![PeerItem::default()],
        }
        .encode_to_vec();
        assert_eq!(read(&unknown, FRAME_LEN_MAX), Ok(vec![None]));
    }
}
