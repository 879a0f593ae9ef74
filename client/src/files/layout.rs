//! Where the bytes of a content lie: one file, or a folder's list and then its files.

use super::FilesError;
use super::limits::OPEN_FILES_MAX;
use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

/// The parts of a content, one after another without gaps.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// Where each part starts; the last number is the length of all.
    starts: Vec<u64>,
}

/// A run of bytes within one part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// Which part.
    pub(super) part: usize,
    /// Where in it.
    pub(super) offset: u64,
    /// How many bytes.
    pub(super) len: usize,
}

impl Layout {
    /// Parts of these lengths, whose sum was checked against the content's.
    pub(super) fn new(lens: impl Iterator<Item = u64>) -> Self {
        let mut starts = vec![0];
        let mut end = 0u64;
        for len in lens {
            end = end.saturating_add(len);
            starts.push(end);
        }
        Self { starts }
    }

    /// Whether a part has no bytes.
    pub(super) fn is_empty(&self, part: usize) -> bool {
        self.starts.get(part) == self.starts.get(part + 1)
    }

    /// The parts that bytes of the content lie in, in order; empty parts hold none.
    pub(super) fn pieces(&self, range: Range<u64>) -> impl Iterator<Item = Piece> {
        let first = self.starts.partition_point(|start| *start <= range.start);
        let parts = first.saturating_sub(1)..self.starts.len().saturating_sub(1);
        parts
            .take_while(move |part| self.starts[*part] < range.end)
            .filter_map(move |part| {
                let start = self.starts[part].max(range.start);
                let end = self.starts[part + 1].min(range.end);
                Some(Piece {
                    part,
                    offset: start - self.starts[part],
                    len: usize::try_from(end.checked_sub(start)?).ok()?,
                })
            })
            .filter(|piece| piece.len > 0)
    }
}

/// A few files kept open, the one used last at the end.
#[derive(Debug, Default)]
pub(super) struct OpenFiles {
    files: Vec<(usize, Arc<File>)>,
}

impl OpenFiles {
    /// The open file of a part; opened by `open` where it is not.
    pub(super) fn get(
        &mut self,
        part: usize,
        open: impl FnOnce() -> Result<File, FilesError>,
    ) -> Result<Arc<File>, FilesError> {
        let file = match self.files.iter().position(|(known, _)| *known == part) {
            Some(at) if at + 1 == self.files.len() => return Ok(Arc::clone(&self.files[at].1)),
            Some(at) => self.files.remove(at).1,
            None => Arc::new(open()?),
        };
        if self.files.len() == OPEN_FILES_MAX {
            self.files.remove(0);
        }
        self.files.push((part, Arc::clone(&file)));
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_falls_into_the_parts_it_touches() {
        let layout = Layout::new([3, 0, 5, 0, 0, 2].into_iter());
        let pieces = |range| {
            let pieces = layout.pieces(range).map(|p| (p.part, p.offset, p.len));
            pieces.collect::<Vec<_>>()
        };
        assert_eq!(pieces(0..10), [(0, 0, 3), (2, 0, 5), (5, 0, 2)]);
        assert_eq!(pieces(2..4), [(0, 2, 1), (2, 0, 1)]);
        assert_eq!(pieces(3..8), [(2, 0, 5)]);
        assert_eq!(pieces(9..10), [(5, 1, 1)]);
        assert_eq!(pieces(4..4), []);
        assert_eq!(Layout::new([].into_iter()).pieces(0..0).count(), 0);
    }

    #[test]
    fn the_file_used_longest_ago_is_closed() {
        let mut open = OpenFiles::default();
        let mut opened = Vec::new();
        for part in (0..OPEN_FILES_MAX).chain([0, OPEN_FILES_MAX, 0, 1]) {
            let file = open.get(part, || {
                opened.push(part);
                tempfile::tempfile().map_err(|e| FilesError::disk("open", "x".as_ref(), e))
            });
            file.expect("opened");
        }
        let want = (0..=OPEN_FILES_MAX).chain([1]).collect::<Vec<_>>();
        assert_eq!(opened, want, "0 stayed open, 1 did not");
    }
}
