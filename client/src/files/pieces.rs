//! Chunks in pieces, for a link whose other end takes no message as long as a chunk: another stack
//! than ours, which ends at 64 KiB. The pieces of a chunk follow one another on the link.

use beeline_proto::file::frame::ChunkFrame;
use beeline_proto::limits::FILE_FRAME_LEN_MAX;

/// What has come of one chunk.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    index: u32,
    sealed: Vec<u8>,
}

impl Pieces {
    /// Takes the next piece; the whole sealed chunk, where it was the last. One that does not
    /// follow what is here is dropped with it: the chunk is asked for again, as any that is lost.
    pub(super) fn take(&mut self, chunk: &ChunkFrame, piece: &[u8]) -> Option<Vec<u8>> {
        if chunk.at == 0 {
            self.index = chunk.index;
            self.sealed.clear();
        }
        let here = self.sealed.len();
        let follows = self.index == chunk.index && here == chunk.at as usize;
        if !follows || here + piece.len() > FILE_FRAME_LEN_MAX {
            self.sealed = Vec::new();
            return None;
        }
        self.sealed.extend_from_slice(piece);
        (!chunk.more).then(|| std::mem::take(&mut self.sealed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use beeline_proto::id::MessageId;

    fn piece(index: u32, at: u32, more: bool) -> ChunkFrame {
        ChunkFrame {
            offer: MessageId([7; 16]),
            index,
            at,
            more,
            sealed: 0..0,
        }
    }

    #[test]
    fn pieces_that_follow_one_another_make_the_chunk() {
        let mut pieces = Pieces::default();
        for index in [3, 3, 4] {
            assert_eq!(pieces.take(&piece(index, 0, true), b"one "), None);
            assert_eq!(pieces.take(&piece(index, 4, true), b"two "), None);
            let whole = pieces.take(&piece(index, 8, false), b"three");
            assert_eq!(whole.as_deref(), Some(&b"one two three"[..]));
        }
    }

    #[test]
    fn what_does_not_follow_is_dropped() {
        let mut pieces = Pieces::default();
        // The end of what an earlier call had asked for.
        assert_eq!(pieces.take(&piece(0, 4, false), b"two"), None);
        assert_eq!(pieces.take(&piece(0, 0, true), b"one "), None);
        // Of another chunk, a hole, and what a hole leaves.
        assert_eq!(pieces.take(&piece(1, 4, false), b"two"), None);
        assert_eq!(pieces.take(&piece(0, 4, false), b"two"), None);
        // A new beginning makes the one before it void.
        assert_eq!(pieces.take(&piece(0, 0, true), b"gone"), None);
        assert_eq!(pieces.take(&piece(0, 0, true), b"one "), None);
        let whole = pieces.take(&piece(0, 4, false), b"two");
        assert_eq!(whole.as_deref(), Some(&b"one two"[..]));
    }

    #[test]
    fn no_more_is_held_than_a_chunk_has() {
        let mut pieces = Pieces::default();
        let half = vec![0; FILE_FRAME_LEN_MAX / 2 + 1];
        assert_eq!(pieces.take(&piece(0, 0, true), &half), None);
        let at = u32::try_from(half.len()).expect("short");
        assert_eq!(pieces.take(&piece(0, at, true), &half), None);
        assert_eq!(pieces.sealed.capacity(), 0);
    }
}
