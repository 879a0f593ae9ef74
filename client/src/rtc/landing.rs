//! Where datagrams land: a few large buffers for all links of a factory.
//!
//! The kernel may hand over 64 datagrams at once (GRO), so a receive needs 96 KB of room. The crate
//! keeps two buffers of that size for each connection, for as long as it lives. Here a link has one
//! only while datagrams wait in it: the crate is told that fewer come at once, makes its own
//! buffers that small, and asks again for what is left. Nothing is moved meanwhile.

use std::io::IoSliceMut;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use webrtc::runtime::RecvMeta;

use super::limits::{LANDING_BYTES, LANDING_SPARE};

/// The buffers nobody uses.
#[derive(Debug, Clone, Default)]
pub(super) struct Landing(Arc<Mutex<Vec<Vec<u8>>>>);

impl Landing {
    /// A buffer of [`LANDING_BYTES`]; what is in it means nothing.
    pub(super) fn take(&self) -> Vec<u8> {
        let spare = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        spare.unwrap_or_else(|| vec![0; LANDING_BYTES])
    }

    /// Gives one back.
    pub(super) fn give(&self, buffer: Vec<u8>) {
        // A list of buffers stays usable whoever panicked.
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < LANDING_SPARE {
            spare.push(buffer);
        }
    }
}

/// Datagrams of one address that were received together and wait for room.
#[derive(Debug, Default)]
pub(super) struct Rest {
    buffer: Option<Vec<u8>>,
    /// Which of its bytes wait.
    waiting: Range<usize>,
    meta: RecvMeta,
}

impl Rest {
    /// Hands over, of the `meta.len` bytes at the front of `buffer`, as many whole datagrams as
    /// there is room for, and keeps the buffer while others wait in it. Must be empty. Gives the
    /// buffer back otherwise; `told.len` is 0 when nothing is handed over: a datagram larger than
    /// all the room, which no peer of WebRTC sends.
    pub(super) fn fill(
        &mut self,
        buffer: Vec<u8>,
        meta: RecvMeta,
        room: &mut IoSliceMut<'_>,
        told: &mut RecvMeta,
    ) -> Option<Vec<u8>> {
        let count = whole(meta.len, meta.stride, room.len());
        room[..count].copy_from_slice(&buffer[..count]);
        *told = meta;
        told.len = count;
        if count == 0 || count == meta.len {
            return Some(buffer);
        }
        (self.waiting, self.meta) = (count..meta.len, meta);
        self.buffer = Some(buffer);
        None
    }

    /// Hands over more of what waits; `false` when there is nothing. The buffer goes back to
    /// `landing` with the last: an idle link keeps nothing.
    pub(super) fn take(
        &mut self,
        landing: &Landing,
        room: &mut IoSliceMut<'_>,
        told: &mut RecvMeta,
    ) -> bool {
        let Some(buffer) = self.buffer.take() else {
            return false;
        };
        let start = self.waiting.start;
        let count = whole(self.waiting.len(), self.meta.stride, room.len());
        room[..count].copy_from_slice(&buffer[start..start + count]);
        *told = self.meta;
        told.len = count;
        self.waiting.start += count;
        if count > 0 && !self.waiting.is_empty() {
            self.buffer = Some(buffer);
        } else {
            landing.give(buffer);
        }
        count > 0
    }
}

/// Bytes of the whole datagrams, `stride` each and the last perhaps shorter, that fit into `room`.
fn whole(len: usize, stride: usize, room: usize) -> usize {
    if len <= room {
        len
    } else {
        room / stride.max(1) * stride.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands over `len` bytes in datagrams of `stride` through `room` bytes; the pieces.
    fn pieces(len: usize, stride: usize, room: usize) -> Vec<Vec<u8>> {
        let landing = Landing::default();
        let mut arrived = landing.take();
        assert!(len <= arrived.len());
        let bytes = arrived.iter_mut().take(len).enumerate();
        bytes.for_each(|(n, byte)| *byte = (n % 251) as u8);
        let mut meta = RecvMeta::default();
        (meta.len, meta.stride) = (len, stride);
        let (mut rest, mut told, mut pieces) = (Rest::default(), meta, Vec::new());
        let mut buffer = vec![0; room];
        let back = rest.fill(arrived, meta, &mut IoSliceMut::new(&mut buffer), &mut told);
        back.into_iter().for_each(|back| landing.give(back));
        let mut more = told.len > 0;
        while more {
            assert_eq!(told.stride, stride);
            pieces.push(buffer[..told.len].to_vec());
            more = rest.take(&landing, &mut IoSliceMut::new(&mut buffer), &mut told);
        }
        assert!(rest.buffer.is_none(), "nothing is kept");
        assert_eq!(landing.0.lock().expect("nobody panicked").len(), 1);
        pieces
    }

    #[test]
    fn few_buffers_are_spared() {
        let landing = Landing::default();
        let taken: Vec<_> = (0..2 * LANDING_SPARE).map(|_| landing.take()).collect();
        taken.into_iter().for_each(|buffer| landing.give(buffer));
        let spare = landing.0.lock().expect("nobody panicked").len();
        assert_eq!(spare, LANDING_SPARE);
    }

    #[test]
    fn datagrams_stay_whole_and_in_order() {
        for (len, stride, room) in [(100, 100, 200), (1_000, 100, 250), (64_000, 1_200, 12_000)] {
            let pieces = pieces(len, stride, room);
            let all: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
            assert_eq!(pieces.concat(), all);
            let (last, before) = pieces.split_last().expect("one at least");
            assert!(before.iter().all(|piece| piece.len() % stride == 0));
            assert!(last.len() <= room);
        }
    }

    #[test]
    fn one_that_does_not_fit_is_dropped() {
        assert_eq!(pieces(3_000, 3_000, 2_000), Vec::<Vec<u8>>::new());
        // Behind others it is dropped when its turn comes.
        assert_eq!(pieces(2_500, 1_000, 1_500).concat().len(), 2_500);
    }
}
