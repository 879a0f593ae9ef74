//! The tree over a content's chunks: BLAKE3's own, cut at the chunk size, so that its root is the
//! content's plain BLAKE3 hash and any BLAKE3 implementation can check a whole file.
//!
//! Nodes are paired level by level; one left over at the end goes up unchanged. (That is the same
//! tree as BLAKE3's rule "the left side holds the largest power of two".) A chunk's proof is its
//! siblings from below; a place where it has none contributes nothing.

use super::{FileError, HASH_LEN, Root, Shape};
use crate::limits::FILE_PROOF_MAX;
use blake3::Hasher;
use blake3::hazmat::{HasherExt as _, Mode, merge_subtrees_non_root, merge_subtrees_root};

/// A node of the tree below its root.
pub type Hash = [u8; HASH_LEN];

/// The levels at which a chunk has a sibling: level above the chunks, and the sibling's place.
pub fn siblings(chunks: u32, index: u32) -> impl Iterator<Item = (u32, u32)> {
    let (mut width, mut at, mut level) = (chunks, index, 0);
    std::iter::from_fn(move || {
        while width > 1 {
            let found = (at ^ 1 < width).then_some((level, at ^ 1));
            (width, at, level) = (width.div_ceil(2), at / 2, level + 1);
            if found.is_some() {
                return found;
            }
        }
        None
    })
}

/// The hash of a chunk as a leaf. A chunk that is the whole content has none: it is the root.
pub fn leaf(shape: &Shape, index: u32, data: &[u8]) -> Hash {
    let start = u64::from(index) * u64::from(shape.chunk_len());
    let mut hasher = Hasher::new();
    hasher.set_input_offset(start);
    hasher.update(data);
    hasher.finalize_non_root()
}

/// The hash of two neighbours.
pub fn parent(left: &Hash, right: &Hash) -> Hash {
    merge_subtrees_non_root(left, right, Mode::Hash)
}

/// The root of a content given whole.
pub fn root_of(content: &[u8]) -> Root {
    Root(blake3::hash(content).into())
}

/// Siblings of one chunk, from the chunk up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    bytes: [u8; FILE_PROOF_MAX * HASH_LEN],
    len: usize,
}

impl Proof {
    /// Without siblings yet: that of a content of one chunk.
    pub fn new() -> Self {
        Self {
            bytes: [0; FILE_PROOF_MAX * HASH_LEN],
            len: 0,
        }
    }

    /// Adds the next sibling; one beyond [`FILE_PROOF_MAX`] is left out, and nothing proved.
    pub fn push(&mut self, hash: &Hash) {
        if let Some(place) = self.bytes.get_mut(self.len..self.len + HASH_LEN) {
            place.copy_from_slice(hash);
            self.len += HASH_LEN;
        }
    }

    /// The hashes one after another.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Default for Proof {
    fn default() -> Self {
        Self::new()
    }
}

/// Checks that `data` is the chunk `index` of the content with this root.
///
/// # Errors
/// [`FileError::NoSuchChunk`], [`FileError::Length`] where data or proof have another length than
/// the shape gives them, [`FileError::NotInTree`].
pub fn verify(
    shape: &Shape,
    root: Root,
    index: u32,
    data: &[u8],
    proof: &[u8],
) -> Result<(), FileError> {
    let data_len = shape.data_len(index).ok_or(FileError::NoSuchChunk)?;
    if data.len() != data_len || proof.len() != shape.proof_len(index) * HASH_LEN {
        return Err(FileError::Length);
    }
    let found = if shape.chunks() == 1 {
        root_of(data)
    } else {
        climb(shape.chunks(), index, leaf(shape, index, data), proof)
    };
    if found == root {
        Ok(())
    } else {
        Err(FileError::NotInTree)
    }
}

/// The root above a leaf, by its proof of the right length.
fn climb(chunks: u32, index: u32, leaf: Hash, proof: &[u8]) -> Root {
    let (hashes, _) = proof.as_chunks::<HASH_LEN>();
    let mut node = leaf;
    for ((level, sibling), hash) in siblings(chunks, index).zip(hashes) {
        let (left, right) = if sibling & 1 == 1 {
            (&node, hash)
        } else {
            (hash, &node)
        };
        // The topmost pair is the one at which a single node is left.
        if chunks.div_ceil(1 << (level + 1)) == 1 {
            return Root(merge_subtrees_root(left, right, Mode::Hash).into());
        }
        node = parent(left, right);
    }
    // Unreachable: a tree of two chunks or more has a topmost pair on every path.
    Root(node)
}

/// The tree of a content, kept from some level up so that its memory is bounded.
///
/// With up to `2^17` chunks it holds every leaf; above, one hash for each group of chunks, and a
/// group's leaves are hashed again when one of them is to be proved ([`Tree::group`]).
#[derive(Debug, Clone)]
pub struct Tree {
    shape: Shape,
    root: Root,
    /// Levels above the chunks at which `levels[0]` stands.
    base: u32,
    levels: Vec<Vec<Hash>>,
}

/// Nodes kept of the lowest level: with all above 8 MiB.
const NODES_MAX: u32 = 1 << 17;

impl Tree {
    /// Levels above the chunks whose nodes are not kept; a group has `2^group` chunks.
    fn base_of(shape: &Shape) -> u32 {
        (0..=FILE_PROOF_MAX as u32)
            .find(|base| shape.chunks().div_ceil(1 << base) <= NODES_MAX)
            .unwrap_or_default()
    }

    /// The content's shape.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The content's root.
    pub fn root(&self) -> Root {
        self.root
    }

    /// The chunks that must be hashed to prove this one: it alone where every leaf is kept.
    pub fn group(&self, index: u32) -> std::ops::Range<u32> {
        let first = index >> self.base << self.base;
        first..self.shape.chunks().min(first + (1 << self.base))
    }

    /// Whether every leaf is kept, so that no group needs hashing.
    pub fn is_whole(&self) -> bool {
        self.base == 0
    }

    /// The proof of a chunk; `leaves` are those of its [`Tree::group`], and not looked at where the
    /// tree [`Tree::is_whole`].
    ///
    /// # Errors
    /// [`FileError::NoSuchChunk`]; [`FileError::Length`] where `leaves` are not the group's.
    pub fn proof(&self, index: u32, leaves: &[Hash]) -> Result<Proof, FileError> {
        if index >= self.shape.chunks() {
            return Err(FileError::NoSuchChunk);
        }
        let group = self.group(index);
        if !self.is_whole() && leaves.len() != group.len() {
            return Err(FileError::Length);
        }
        let mut proof = Proof::new();
        let mut nodes = leaves.to_vec();
        let mut folded = 0;
        for (level, at) in siblings(self.shape.chunks(), index) {
            let hash = if level < self.base {
                while folded < level {
                    nodes = fold(&nodes);
                    folded += 1;
                }
                nodes.get((at - (group.start >> level)) as usize)
            } else {
                let kept = self.levels.get((level - self.base) as usize);
                kept.and_then(|nodes| nodes.get(at as usize))
            };
            proof.push(hash.ok_or(FileError::Length)?);
        }
        Ok(proof)
    }
}

/// One level up.
fn fold(nodes: &[Hash]) -> Vec<Hash> {
    let pair = |pair: &[Hash]| match pair {
        [left, right] => parent(left, right),
        [alone, ..] => *alone,
        [] => [0; HASH_LEN],
    };
    nodes.chunks(2).map(pair).collect()
}

/// Builds a [`Tree`] from the chunks in order.
#[derive(Debug)]
pub struct TreeBuilder {
    shape: Shape,
    base: u32,
    next: u32,
    /// Leaves of the group being read.
    group: Vec<Hash>,
    nodes: Vec<Hash>,
    /// The root, where the first chunk is the whole content.
    single: Option<Root>,
}

impl TreeBuilder {
    /// For a content of this shape.
    pub fn new(shape: Shape) -> Self {
        Self::with_base(shape, Tree::base_of(&shape))
    }

    /// One that keeps hashes of groups of `2^base` chunks only, of two groups at least.
    pub(super) fn with_base(shape: Shape, base: u32) -> Self {
        let base = base.min(
            shape
                .chunks()
                .saturating_sub(1)
                .checked_ilog2()
                .unwrap_or(0),
        );
        Self {
            shape,
            base,
            next: 0,
            group: Vec::new(),
            nodes: Vec::new(),
            single: None,
        }
    }

    /// The chunk that comes next; the number of chunks once all were given.
    pub fn next(&self) -> u32 {
        self.next
    }

    /// Takes the next chunk.
    ///
    /// # Errors
    /// [`FileError::NoSuchChunk`] after the last, [`FileError::Length`].
    pub fn push(&mut self, data: &[u8]) -> Result<(), FileError> {
        let want = self.shape.data_len(self.next);
        if data.len() != want.ok_or(FileError::NoSuchChunk)? {
            return Err(FileError::Length);
        }
        if self.shape.chunks() > 1 {
            return self.push_leaf(leaf(&self.shape, self.next, data));
        }
        self.single = Some(root_of(data));
        self.next = 1;
        Ok(())
    }

    /// Takes the next chunk by its [`leaf`], which may have been hashed elsewhere; whoever hashed
    /// it saw to its length.
    ///
    /// # Errors
    /// [`FileError::NoSuchChunk`] after the last, and for a content of one chunk: that has no leaf.
    pub fn push_leaf(&mut self, leaf: Hash) -> Result<(), FileError> {
        let chunks = self.shape.chunks();
        if chunks == 1 || self.next == chunks {
            return Err(FileError::NoSuchChunk);
        }
        self.group.push(leaf);
        self.next += 1;
        if self.group.len() == 1 << self.base || self.next == chunks {
            let mut nodes = std::mem::take(&mut self.group);
            while nodes.len() > 1 {
                nodes = fold(&nodes);
            }
            self.nodes.append(&mut nodes);
        }
        Ok(())
    }

    /// The tree, once every chunk was given.
    ///
    /// # Errors
    /// [`FileError::Length`] where chunks are missing.
    pub fn finish(self) -> Result<Tree, FileError> {
        if self.next != self.shape.chunks() {
            return Err(FileError::Length);
        }
        let mut levels = vec![self.nodes];
        while let Some(nodes) = levels.last().filter(|nodes| nodes.len() > 2) {
            let above = fold(nodes);
            levels.push(above);
        }
        let root = match (levels.last().map(Vec::as_slice), self.single) {
            (_, Some(root)) => root,
            (Some([left, right]), None) => {
                Root(merge_subtrees_root(left, right, Mode::Hash).into())
            }
            _ => root_of(&[]),
        };
        Ok(Tree {
            shape: self.shape,
            root,
            base: self.base,
            levels,
        })
    }
}
