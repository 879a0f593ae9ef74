//! Chunks of a file for us that come in parts, because they come through others. A part is some
//! bytes of a sealed chunk, the same whoever carries them and however often they are sent:
//! so parts are taken in any order, and again, and nothing is believed of a chunk before all of it
//! is here and opens.

use super::rows::FileInfo;
use crate::limits::FILE_PARTIAL_CHUNKS;
use beeline_proto::file::Shape;
use beeline_proto::limits::FILE_PART_LEN;
use std::collections::BTreeMap;

/// What became of a part.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Took {
    /// No part of this file, or one that is here already.
    Nothing,
    /// It is kept for the others of its chunk.
    Part,
    /// It was the last of its chunk: the whole, sealed.
    Chunk(Vec<u8>),
}

/// A chunk that is not whole yet.
#[derive(Debug)]
struct Partial {
    parts: Vec<Option<Vec<u8>>>,
    missing: usize,
}

/// The chunks of one file that are not whole yet, at most [`FILE_PARTIAL_CHUNKS`].
#[derive(Debug, Default)]
pub(crate) struct Parts {
    chunks: BTreeMap<u64, Partial>,
}

impl Parts {
    /// Takes `data`, which lies at `at` in the sealed chunk `index` of the file.
    pub(crate) fn take(&mut self, info: &FileInfo, index: u64, at: u32, data: Vec<u8>) -> Took {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let Some(len) = sealed_len(info, index) else {
            return Took::Nothing;
        };
        let fits = at.is_multiple_of(FILE_PART_LEN)
            && at < len
            && data.len() == FILE_PART_LEN.min(len - at);
        if !fits {
            return Took::Nothing;
        }
        if len <= FILE_PART_LEN {
            return Took::Chunk(data);
        }
        if !self.chunks.contains_key(&index) && self.chunks.len() >= FILE_PARTIAL_CHUNKS {
            // A sender has no more than a window under way: the oldest will not become whole now.
            self.chunks.pop_first();
        }
        let count = len.div_ceil(FILE_PART_LEN);
        let partial = self.chunks.entry(index).or_insert_with(|| Partial {
            parts: vec![None; count],
            missing: count,
        });
        let Some(part) = partial.parts.get_mut(at / FILE_PART_LEN) else {
            return Took::Nothing;
        };
        if part.is_some() {
            return Took::Nothing;
        }
        *part = Some(data);
        partial.missing -= 1;
        if partial.missing > 0 {
            return Took::Part;
        }
        let whole = self.chunks.remove(&index).into_iter();
        let parts = whole.flat_map(|partial| partial.parts).flatten();
        Took::Chunk(parts.collect::<Vec<_>>().concat())
    }

    /// Forgets what is not whole.
    pub(crate) fn clear(&mut self) {
        self.chunks.clear();
    }
}

/// Bytes of a sealed chunk of a file; `None` where it has no such chunk.
fn sealed_len(info: &FileInfo, index: u64) -> Option<usize> {
    let shape = Shape::new(info.size, info.chunk_size).ok()?;
    shape.sealed_len(u32::try_from(index).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::rows::FileKey;

    fn info(size: u64, chunk_size: u32) -> FileInfo {
        FileInfo {
            name: "a".to_owned(),
            size,
            root: [0; 32],
            key: FileKey::new([0; 32]),
            chunk_size,
            list_len: 0,
            files: 0,
            content: None,
        }
    }

    fn sealed(info: &FileInfo, index: u64) -> Vec<u8> {
        let len = sealed_len(info, index).expect("a chunk");
        (0..len).map(|at| (at as u64 * 7 + index) as u8).collect()
    }

    /// Parts of a chunk: where each lies, and its bytes.
    fn cut(sealed: &[u8]) -> Vec<(u32, Vec<u8>)> {
        let parts = sealed.chunks(FILE_PART_LEN).enumerate();
        parts
            .map(|(n, part)| ((n * FILE_PART_LEN) as u32, part.to_vec()))
            .collect()
    }

    #[test]
    fn a_chunk_is_whole_in_any_order_and_once() {
        let info = info(1_000_000, 64 * 1024);
        let whole = sealed(&info, 3);
        for turn in 0..5 {
            let (mut parts, mut order) = (Parts::default(), cut(&whole));
            assert_eq!(order.len(), 5);
            order.rotate_left(turn);
            for (n, (at, data)) in order.into_iter().enumerate() {
                let took = parts.take(&info, 3, at, data.clone());
                if n < 4 {
                    assert_eq!(took, Took::Part);
                    assert_eq!(parts.take(&info, 3, at, data), Took::Nothing, "again");
                } else {
                    assert_eq!(took, Took::Chunk(whole.clone()));
                }
            }
            assert!(parts.chunks.is_empty());
        }
    }

    #[test]
    fn a_small_chunk_is_one_part() {
        let info = info(10_000, 1_024);
        let whole = sealed(&info, 9);
        let took = Parts::default().take(&info, 9, 0, whole.clone());
        assert_eq!(took, Took::Chunk(whole));
    }

    #[test]
    fn what_is_no_part_of_the_file_is_not_taken() {
        let info = info(1_000_000, 64 * 1024);
        let mut parts = Parts::default();
        let full = vec![0; FILE_PART_LEN];
        for (index, at, data) in [
            (16, 0, full.clone()),
            (u64::MAX, 0, full.clone()),
            (0, 1, full.clone()),
            (0, u32::MAX, full.clone()),
            (0, 5 * FILE_PART_LEN as u32, full.clone()),
            (0, 0, full[1..].to_vec()),
            (0, 4 * FILE_PART_LEN as u32, full),
            (0, 0, Vec::new()),
        ] {
            assert_eq!(parts.take(&info, index, at, data), Took::Nothing);
        }
        assert!(parts.chunks.is_empty());
    }

    #[test]
    fn chunks_that_never_become_whole_are_bounded() {
        let info = info(1 << 30, 64 * 1024);
        let mut parts = Parts::default();
        for index in 0..1_000 {
            parts.take(&info, index, 0, vec![0; FILE_PART_LEN]);
        }
        assert_eq!(parts.chunks.len(), FILE_PARTIAL_CHUNKS);
    }
}
