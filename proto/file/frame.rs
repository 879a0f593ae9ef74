//! The frame that carries one sealed chunk: a `PeerFrame` with one `FileChunk` item as any protobuf
//! library reads and writes it. Written and read by hand here, so that the sealed bytes, the last
//! field, are made and opened where they lie: a frame is one buffer from the file to the socket.

use super::{FileError, Shape};
use crate::id::MessageId;
use std::ops::Range;

/// `PeerFrame.items`, `PeerItem.file_chunk`, `FileChunk.offer_id`, `.index`, `.data`: number and
/// wire type as they stand before each value.
const ITEM: u64 = key(1, LEN);
const FILE_CHUNK: u64 = key(8, LEN);
const OFFER_ID: u64 = key(1, LEN);
const INDEX: u64 = key(2, VARINT);
const DATA: u64 = key(3, LEN);

const VARINT: u64 = 0;
const LEN: u64 = 2;

/// Bytes before the sealed chunk, at most: five keys, three lengths of 3, 17 of offer, 4 of index.
const HEADER_MAX: usize = 5 + 3 * 3 + 17 + 4;

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
    /// Where the sealed chunk lies in the frame.
    pub sealed: Range<usize>,
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
    let mut at = chunk.start;
    while at < chunk.end {
        let field = field(frame, at, chunk.end)?;
        at = field.end;
        match field.key {
            OFFER_ID => offer = MessageId::try_from(&frame[field.bytes]).ok(),
            INDEX => index = field.value,
            DATA => sealed = Some(field.bytes),
            _ => {}
        }
    }
    Ok(ChunkFrame {
        offer: offer.ok_or(FileError::Frame)?,
        index: u32::try_from(index).map_err(|_| FileError::NoSuchChunk)?,
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
