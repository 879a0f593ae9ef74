//! Files: one content, cut into chunks that are sealed and proved one by one.
//!
//! The offer (sealed and signed) names the content's *root*, which is its plain BLAKE3 hash, its
//! size, the chunk size and a key of its own. Everything else follows:
//!
//! * [`Shape`]: how many chunks there are, which bytes each has, how long its proof is.
//! * [`tree`]: BLAKE3's own tree with whole chunks as leaves. A chunk and its siblings up to the
//!   root prove each other, so a chunk is accepted or refused when it arrives, in any order.
//! * [`Seal`]: a chunk on its way: AES-256-GCM (as parcels use) over data ‖ proof, with the
//!   chunk's index as nonce and all of the offer as associated data. Relays and a broken DTLS see
//!   neither content nor hashes of it.
//! * [`frame`]: the message of the `file` channel that carries one sealed chunk, without copies.
//! * [`list`]: a folder is one content too: its list of files, then the files one after another.
//!
//! **A proof for each chunk** costs 32 bytes for each doubling of the chunks (448 bytes of 65,536
//! for 1 GiB, 0.7 %) and hashing that the root would need anyway. For it a receiver keeps no table
//! of hashes, never reads back what it wrote, and learns of a wrong chunk 64 KiB later instead of
//! at the end of the file. The seal alone would not do: whoever holds the key can seal anything.
//!
//! **A key seals each index once.** The nonce is the index, so a second content under the same key
//! would give both away. A sender therefore checks what it read against the tree before it seals
//! ([`Seal::seal`]); a file that changed meanwhile is an error there, never a leak.

pub mod frame;
pub mod list;
pub mod tree;

use crate::id::MessageId;
use crate::limits::{FILE_CHUNK_LEN_MAX, FILE_CHUNK_LEN_MIN, FILE_CHUNKS_MAX, FILE_LEN_MAX};
use rand_core::CryptoRng;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use std::fmt;
use std::ops::Range;
use tree::Proof;
use zeroize::Zeroizing;

/// Begins the associated data of every chunk.
const DOMAIN: &[u8] = b"beeline/file-chunk/v1";

/// Bytes a sealed chunk is longer than its data and proof.
pub const TAG_LEN: usize = 16;

/// Length of one hash of a proof, bytes.
pub const HASH_LEN: usize = 32;

/// The BLAKE3 hash of a whole content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Root(pub [u8; HASH_LEN]);

impl TryFrom<&[u8]> for Root {
    type Error = FileError;

    fn try_from(bytes: &[u8]) -> Result<Self, FileError> {
        bytes.try_into().map(Self).map_err(|_| FileError::Root)
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = data_encoding::HEXLOWER.encode(&self.0[..4]);
        write!(f, "Root({short})")
    }
}

/// Why an offer, a chunk or a list is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// More bytes than [`FILE_LEN_MAX`].
    #[error("a file may have {FILE_LEN_MAX} bytes")]
    TooLarge,
    /// No power of two between [`FILE_CHUNK_LEN_MIN`] and [`FILE_CHUNK_LEN_MAX`].
    #[error("a chunk is a power of two from {FILE_CHUNK_LEN_MIN} to {FILE_CHUNK_LEN_MAX} bytes")]
    ChunkLen,
    /// More chunks than [`FILE_CHUNKS_MAX`]: the chunk size is too small for the file.
    #[error("a file may have {FILE_CHUNKS_MAX} chunks; the chunk size is too small for it")]
    TooManyChunks,
    /// A root of another length than 32 bytes, or not that of no bytes where there are none.
    #[error("the root is not the BLAKE3 hash of such a content")]
    Root,
    /// A file key of another length than 32 bytes.
    #[error("a file key has 32 bytes")]
    Key,
    /// A chunk the file does not have.
    #[error("the file has no such chunk")]
    NoSuchChunk,
    /// Shorter or longer than this chunk is.
    #[error("the chunk has another length than it should")]
    Length,
    /// Sealed with another key or for another offer or place, or altered.
    #[error("the chunk does not open")]
    DoesNotOpen,
    /// The data is not what the root says.
    #[error("the chunk is not part of the file that was offered")]
    NotInTree,
    /// The message is no frame with one chunk.
    #[error("not a frame with a file chunk")]
    Frame,
    /// The list of a folder is none, or its files are not as long as the content.
    #[error("the folder's list is malformed")]
    List,
}

/// Size and chunk size of a content; what can be known of each chunk without having it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    len: u64,
    chunk_len: u32,
    chunks: u32,
}

impl Shape {
    /// Checks an offer's numbers.
    ///
    /// # Errors
    /// [`FileError::TooLarge`], [`FileError::ChunkLen`] or [`FileError::TooManyChunks`].
    pub fn new(len: u64, chunk_len: u32) -> Result<Self, FileError> {
        if len > FILE_LEN_MAX {
            return Err(FileError::TooLarge);
        }
        let allowed = FILE_CHUNK_LEN_MIN..=FILE_CHUNK_LEN_MAX;
        if !chunk_len.is_power_of_two() || !allowed.contains(&chunk_len) {
            return Err(FileError::ChunkLen);
        }
        let chunks = u32::try_from(len.div_ceil(u64::from(chunk_len)))
            .ok()
            .filter(|chunks| *chunks <= FILE_CHUNKS_MAX)
            .ok_or(FileError::TooManyChunks)?;
        Ok(Self {
            len,
            chunk_len,
            chunks,
        })
    }

    /// The shape with the largest chunks whose frames have at most `frame_len` bytes.
    ///
    /// # Errors
    /// [`FileError::TooLarge`], or [`FileError::TooManyChunks`] where frames are too small for it.
    pub fn fitting(len: u64, frame_len: usize) -> Result<Self, FileError> {
        let mut chunk_len = FILE_CHUNK_LEN_MAX;
        loop {
            let shape = Self::new(len, chunk_len)?;
            let smallest = chunk_len == FILE_CHUNK_LEN_MIN;
            if smallest || frame::len_max(&shape) <= frame_len {
                return Ok(shape);
            }
            chunk_len /= 2;
        }
    }

    /// Size of the content, bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is no byte, and so no chunk.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Size of every chunk but the last, bytes.
    pub fn chunk_len(&self) -> u32 {
        self.chunk_len
    }

    /// Number of chunks; none for an empty content.
    pub fn chunks(&self) -> u32 {
        self.chunks
    }

    /// The bytes of the content that a chunk has; `None` where there is no such chunk.
    pub fn range(&self, index: u32) -> Option<Range<u64>> {
        if index >= self.chunks {
            return None;
        }
        let start = u64::from(index) * u64::from(self.chunk_len);
        Some(start..self.len.min(start + u64::from(self.chunk_len)))
    }

    /// Length of a chunk, bytes.
    pub fn data_len(&self, index: u32) -> Option<usize> {
        let range = self.range(index)?;
        usize::try_from(range.end - range.start).ok()
    }

    /// Length of a sealed chunk, bytes: data, proof and tag.
    pub fn sealed_len(&self, index: u32) -> Option<usize> {
        Some(self.data_len(index)? + self.proof_len(index) * HASH_LEN + TAG_LEN)
    }

    /// Hashes in the proof of a chunk: its siblings from the chunk up.
    pub fn proof_len(&self, index: u32) -> usize {
        tree::siblings(self.chunks, index).count()
    }

    /// The chunk that has this byte of the content.
    pub fn chunk_at(&self, offset: u64) -> Option<u32> {
        if offset >= self.len {
            return None;
        }
        u32::try_from(offset / u64::from(self.chunk_len)).ok()
    }
}

/// The key of one offer's chunks. Erases itself on drop and never prints.
#[derive(Clone)]
pub struct FileKey(Zeroizing<[u8; 32]>);

impl FileKey {
    /// A new key: one for each offer, never used for another content.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        rng.fill_bytes(key.as_mut());
        Self(key)
    }

    /// The bytes, for the sealed offer and the store.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl TryFrom<&[u8]> for FileKey {
    type Error = FileError;

    fn try_from(bytes: &[u8]) -> Result<Self, FileError> {
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| FileError::Key)?;
        Ok(Self(Zeroizing::new(bytes)))
    }
}

impl fmt::Debug for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileKey")
    }
}

/// Seals and opens the chunks of one offer. Unlike [`FileKey`], the expanded key is not wiped when
/// it is dropped: `ring` has no way to.
pub struct Seal {
    cipher: LessSafeKey,
    shape: Shape,
    root: Root,
    aad: Vec<u8>,
}

impl Seal {
    /// For the offer with this message id.
    ///
    /// # Errors
    /// [`FileError::Root`] where the content is empty and the root is not that of no bytes: an
    /// empty file has no chunk that could show it.
    pub fn new(
        key: &FileKey,
        offer: MessageId,
        shape: Shape,
        root: Root,
    ) -> Result<Self, FileError> {
        if shape.is_empty() && root != tree::root_of(&[]) {
            return Err(FileError::Root);
        }
        let mut aad = DOMAIN.to_vec();
        aad.extend_from_slice(&offer.0);
        aad.extend_from_slice(&root.0);
        aad.extend_from_slice(&shape.len.to_be_bytes());
        aad.extend_from_slice(&shape.chunk_len.to_be_bytes());
        let key = UnboundKey::new(&AES_256_GCM, key.as_bytes()).map_err(|_| FileError::Key)?;
        Ok(Self {
            cipher: LessSafeKey::new(key),
            shape,
            root,
            aad,
        })
    }

    /// The content's shape.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The content's root.
    pub fn root(&self) -> Root {
        self.root
    }

    /// Seals the chunk that is the end of `buffer`, from `at` on, in place: appends the proof,
    /// encrypts both, appends the tag. What is before `at` (a frame's header) stays as it is.
    /// Nothing is sealed that the root does not prove.
    ///
    /// # Errors
    /// [`FileError::NoSuchChunk`], [`FileError::Length`], and [`FileError::NotInTree`] where the
    /// data or the proof is wrong: the file has changed since it was hashed. `buffer` then still
    /// holds what it held, in the clear.
    pub fn seal(
        &self,
        index: u32,
        buffer: &mut Vec<u8>,
        at: usize,
        proof: &Proof,
    ) -> Result<(), FileError> {
        let data = buffer.get(at..).ok_or(FileError::Length)?;
        tree::verify(&self.shape, self.root, index, data, proof.bytes())?;
        buffer.extend_from_slice(proof.bytes());
        let tag = self
            .cipher
            .seal_in_place_separate_tag(nonce(index), Aad::from(&self.aad), &mut buffer[at..])
            .map_err(|_| FileError::Length)?;
        buffer.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// Opens a sealed chunk in place and proves it. Returns its data, the front of `sealed`.
    ///
    /// # Errors
    /// [`FileError::NoSuchChunk`], [`FileError::Length`], [`FileError::DoesNotOpen`] or
    /// [`FileError::NotInTree`]. Costs nothing but a comparison before the length is right.
    pub fn open<'a>(&self, index: u32, sealed: &'a mut [u8]) -> Result<&'a [u8], FileError> {
        let want = self.shape.sealed_len(index).ok_or(FileError::NoSuchChunk)?;
        if sealed.len() != want {
            return Err(FileError::Length);
        }
        let body = self
            .cipher
            .open_in_place(nonce(index), Aad::from(&self.aad), sealed)
            .map_err(|_| FileError::DoesNotOpen)?;
        let data_len = self.shape.data_len(index).ok_or(FileError::NoSuchChunk)?;
        let (data, proof) = body.split_at(data_len);
        tree::verify(&self.shape, self.root, index, data, proof)?;
        Ok(data)
    }
}

#[cfg(test)]
impl Seal {
    /// Seals what the root does not prove, as somebody with the key might.
    pub(crate) fn forged(&self, index: u32, data: &[u8], proof: &[u8]) -> Vec<u8> {
        let mut buffer = [data, proof].concat();
        let tag = self
            .cipher
            .seal_in_place_separate_tag(nonce(index), Aad::from(&self.aad), &mut buffer)
            .expect("sealed");
        buffer.extend_from_slice(tag.as_ref());
        buffer
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seal({:?}, {:?})", self.root, self.shape)
    }
}

/// Eight zero bytes, then the index: each chunk of a key has its own.
fn nonce(index: u32) -> Nonce {
    let mut nonce = [0; 12];
    nonce[8..].copy_from_slice(&index.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

#[cfg(test)]
#[path = "file/tests.rs"]
mod tests;
