//! Where datagrams land: one large buffer for all links of a factory.
//!
//! The kernel may hand over 64 datagrams at once (GRO), so a receive needs 96 KB of room. The crate
//! keeps two buffers of that size for each connection, for as long as it lives. Here the large
//! one exists once: the crate is told that fewer datagrams come at once, and makes its own
//! buffers that small; what came beyond waits with the socket until the crate asks again.

use std::io::IoSliceMut;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use webrtc::runtime::RecvMeta;

use super::limits::LANDING_BYTES;

/// The buffer. Locked while one socket receives, never across an await.
#[derive(Debug, Clone)]
pub(super) struct Landing(Arc<Mutex<Vec<u8>>>);

impl Landing {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(vec![0; LANDING_BYTES])))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        // Bytes of a receive that panicked are overwritten by the next.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Datagrams of one address that were received together and wait for room.
#[derive(Debug, Default)]
pub(super) struct Rest {
    bytes: Vec<u8>,
    at: usize,
    meta: RecvMeta,
}

impl Rest {
    /// Hands over `arrived`, as many whole datagrams as there is room for, and keeps the others.
    /// Must be empty. `false` when nothing is handed over: a datagram larger than all the room,
    /// which no peer of WebRTC sends.
    pub(super) fn fill(
        &mut self,
        arrived: &[u8],
        meta: RecvMeta,
        room: &mut IoSliceMut<'_>,
        told: &mut RecvMeta,
    ) -> bool {
        let count = whole(arrived.len(), meta.stride, room.len());
        room[..count].copy_from_slice(&arrived[..count]);
        *told = meta;
        told.len = count;
        if count > 0 && count < arrived.len() {
            self.bytes = arrived[count..].to_vec();
            self.at = 0;
            self.meta = meta;
        }
        count > 0
    }

    /// Hands over more of what was kept; `false` when there is nothing.
    pub(super) fn take(&mut self, room: &mut IoSliceMut<'_>, told: &mut RecvMeta) -> bool {
        let kept = self.bytes.get(self.at..).unwrap_or_default();
        let count = whole(kept.len(), self.meta.stride, room.len());
        if count == 0 {
            self.bytes = Vec::new();
            return false;
        }
        room[..count].copy_from_slice(&kept[..count]);
        *told = self.meta;
        told.len = count;
        self.at += count;
        if self.at == self.bytes.len() {
            // An idle link keeps nothing.
            self.bytes = Vec::new();
        }
        true
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
        let arrived: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
        let mut meta = RecvMeta::default();
        (meta.len, meta.stride) = (len, stride);
        let (mut rest, mut told, mut pieces) = (Rest::default(), meta, Vec::new());
        let mut buffer = vec![0; room];
        let mut more = rest.fill(&arrived, meta, &mut IoSliceMut::new(&mut buffer), &mut told);
        while more {
            assert_eq!(told.stride, stride);
            pieces.push(buffer[..told.len].to_vec());
            more = rest.take(&mut IoSliceMut::new(&mut buffer), &mut told);
        }
        assert_eq!(rest.bytes.capacity(), 0, "nothing is kept");
        pieces
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
