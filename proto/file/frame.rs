//! The frame that carries one sealed chunk: a `PeerFrame` with one `FileChunk` item as any protobuf
//! library reads and writes it. Written and read by hand here, so that the sealed bytes, the last
//! field, are made and opened where they lie: a frame is one buffer from the file to the socket.

use super::{FileError, Shape};
use crate::id::MessageId;
use crate::pb::peer::v1::peer_item::Kind;
use crate::pb::peer::v1::{FileChunk, PeerFrame, PeerItem};
use prost::Message as _;
use std::ops::Range;

/// `PeerFrame.items`, `PeerItem.file_chunk`, `FileChunk.offer_id`, `.index`, `.data`, `.at`,
/// `.more`: number and wire type as they stand before each value.
const ITEM: u64 = key(1, LEN);
const FILE_CHUNK: u64 = key(8, LEN);
const OFFER_ID: u64 = key(1, LEN);
const INDEX: u64 = key(2, VARINT);
const DATA: u64 = key(3, LEN);
const AT: u64 = key(5, VARINT);
const MORE: u64 = key(6, VARINT);

const VARINT: u64 = 0;
const LEN: u64 = 2;

/// Bytes before the sealed chunk, at most: five keys, three lengths of 3, 17 of offer, 4 of index.
const HEADER_MAX: usize = 5 + 3 * 3 + 17 + 4;

/// Bytes of a frame with a piece of a chunk beside that piece, at most: the same, and two keys, a
/// place of 3 and a flag.
const PIECE_HEADER_MAX: usize = HEADER_MAX + 2 + 3 + 1;

const fn key(number: u64, wire_type: u64) -> u64 {
    number << 3 | wire_type
}

/// Longest frame of this content, bytes.
pub fn len_max(shape: &Shape) -> usize {
    let proof = shape.chunks().next_power_of_two().ilog2() as usize * super::HASH_LEN;
    HEADER_MAX + shape.chunk_len() as usize + proof + super::TAG_LEN
}

/// Writes what comes before a sealed chunk of `sealed_len` bytes into the empty `buffer`; data
/// follows, then [`Seal::seal`](super::Seal::seal) from the length reached here on.
pub fn begin(buffer: &mut Vec<u8>, offer: MessageId, index: u32, sealed_len: usize) {
    let mut fields = Vec::with_capacity(HEADER_MAX);
    put(&mut fields, OFFER_ID);
    put(&mut fields, MessageId::LEN as u64);
    fields.extend_from_slice(&offer.0);
    if index > 0 {
        put(&mut fields, INDEX);
        put(&mut fields, u64::from(index));
    }
    put(&mut fields, DATA);
    put(&mut fields, sealed_len as u64);
    let chunk_len = (fields.len() + sealed_len) as u64;
    let item_len = 1 + varint_len(chunk_len) + chunk_len;
    put(buffer, ITEM);
    put(buffer, item_len);
    put(buffer, FILE_CHUNK);
    put(buffer, chunk_len);
    buffer.extend_from_slice(&fields);
}

/// What a frame carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkFrame {
    /// The offer's message id.
    pub offer: MessageId,
    /// Which chunk.
    pub index: u32,
    /// Where in the sealed chunk that begins which the frame has of it.
    pub at: u32,
    /// Whether more of it follows.
    pub more: bool,
    /// Where the sealed chunk, or the piece of it, lies in the frame.
    pub sealed: Range<usize>,
}

impl ChunkFrame {
    /// Whether the frame has all of the chunk.
    pub fn is_whole(&self) -> bool {
        self.at == 0 && !self.more
    }
}

/// Cuts a frame into several of at most `limit` bytes, each with a piece of what it carries, for a
/// link that does not take it whole. They go one after another, as they are here.
///
/// # Errors
/// [`FileError::Frame`] where it is no frame with a file chunk, or `limit` has no room for a piece.
pub fn cut(frame: &[u8], limit: usize) -> Result<Vec<Vec<u8>>, FileError> {
    let chunk = parse(frame)?;
    let room = limit.saturating_sub(PIECE_HEADER_MAX);
    let sealed = &frame[chunk.sealed];
    if room == 0 || sealed.is_empty() {
        return Err(FileError::Frame);
    }
    let (mut pieces, mut at) = (Vec::new(), chunk.at);
    let mut left = sealed.chunks(room).peekable();
    while let Some(data) = left.next() {
        let piece = FileChunk {
            offer_id: chunk.offer.to_vec(),
            index: u64::from(chunk.index),
            data: data.to_vec(),
            proof: Vec::new(),
            at,
            more: chunk.more || left.peek().is_some(),
        };
        let kind = Some(Kind::FileChunk(piece));
        let items = vec![PeerItem { kind }];
        pieces.push(PeerFrame { items }.encode_to_vec());
        let len = u32::try_from(data.len()).map_err(|_| FileError::Frame)?;
        at = at.checked_add(len).ok_or(FileError::Frame)?;
    }
    Ok(pieces)
}

/// Reads a frame. Fields nobody knows are passed over, as anywhere in protobuf.
///
/// # Errors
/// [`FileError::Frame`] where it is no frame with exactly one item, a file chunk;
/// [`FileError::NoSuchChunk`] where its index is beyond every file.
pub fn parse(frame: &[u8]) -> Result<ChunkFrame, FileError> {
    let item = only(frame, 0..frame.len(), ITEM)?;
    let chunk = only(frame, item, FILE_CHUNK)?;
    let (mut offer, mut index, mut sealed) = (None, 0, None);
    let (mut place, mut more) = (0, false);
    let mut at = chunk.start;
    while at < chunk.end {
        let field = field(frame, at, chunk.end)?;
        at = field.end;
        match field.key {
            OFFER_ID => offer = MessageId::try_from(&frame[field.bytes]).ok(),
            INDEX => index = field.value,
            DATA => sealed = Some(field.bytes),
            AT => place = field.value,
            MORE => more = field.value != 0,
            _ => {}
        }
    }
    Ok(ChunkFrame {
        offer: offer.ok_or(FileError::Frame)?,
        index: u32::try_from(index).map_err(|_| FileError::NoSuchChunk)?,
        at: u32::try_from(place).map_err(|_| FileError::Frame)?,
        more,
        sealed: sealed.ok_or(FileError::Frame)?,
    })
}

/// The one field with this key; others are passed over, but not a second one.
fn only(frame: &[u8], within: Range<usize>, wanted: u64) -> Result<Range<usize>, FileError> {
    let (mut at, mut found) = (within.start, None);
    while at < within.end {
        let field = field(frame, at, within.end)?;
        at = field.end;
        if field.key == wanted && found.replace(field.bytes).is_some() {
            return Err(FileError::Frame);
        }
    }
    found.ok_or(FileError::Frame)
}

/// One field of a message.
struct Field {
    key: u64,
    /// Of a varint.
    value: u64,
    /// Of anything with a length.
    bytes: Range<usize>,
    end: usize,
}

fn field(frame: &[u8], at: usize, limit: usize) -> Result<Field, FileError> {
    let (key, at) = varint(frame, at, limit)?;
    let (value, at) = match key & 7 {
        VARINT | LEN => varint(frame, at, limit)?,
        1 => (8, at),
        5 => (4, at),
        _ => return Err(FileError::Frame),
    };
    let len = if key & 7 == VARINT { 0 } else { value };
    let end = usize::try_from(len)
        .ok()
        .and_then(|len| at.checked_add(len))
        .filter(|end| *end <= limit)
        .ok_or(FileError::Frame)?;
    Ok(Field {
        key,
        value,
        bytes: at..end,
        end,
    })
}

fn varint(frame: &[u8], at: usize, limit: usize) -> Result<(u64, usize), FileError> {
    let mut value = 0u64;
    for (place, byte) in frame[at..limit].iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f)
            .checked_shl(7 * place as u32)
            .unwrap_or(0);
        if byte & 0x80 == 0 {
            return Ok((value, at + place + 1));
        }
    }
    Err(FileError::Frame)
}

fn put(buffer: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        buffer.push(value as u8 | 0x80);
        value >>= 7;
    }
    buffer.push(value as u8);
}

fn varint_len(value: u64) -> u64 {
    u64::from((64 - (value | 1).leading_zeros()).div_ceil(7))
}
