//! Hashing a content whole, before it is offered: two threads take turns, for nothing else is done
//! with it meanwhile and people wait.

use super::FilesError;
use super::limits::HASH_READ;
use super::source::Content;
use beeline_proto::file::tree::{Hash, Tree, TreeBuilder, leaf};
use beeline_proto::file::{FileError, Shape};
use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// A block of whole chunks: the first of them, and their bytes.
type Block = (u32, Vec<u8>);

/// The second thread: takes blocks, gives back their leaves and buffers.
struct Helper {
    blocks: SyncSender<Block>,
    leaves: Receiver<(Vec<Hash>, Vec<u8>)>,
}

/// Reads all of a content once. `progress` is told the bytes done so far about once in two
/// mebibytes; where it answers `false`, hashing ends.
pub(super) fn tree_of(
    content: &mut Content,
    shape: Shape,
    progress: &mut dyn FnMut(u64) -> bool,
) -> Result<Tree, FilesError> {
    if shape.len() <= HASH_READ as u64 {
        return small(content, shape, progress);
    }
    std::thread::scope(|scope| {
        let (blocks, todo) = sync_channel::<Block>(1);
        let (done, leaves) = sync_channel(1);
        let help = move || {
            while let Ok((first, block)) = todo.recv() {
                let leaves = leaves_of(&shape, first, &block);
                if done.send((leaves, block)).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("beeline-hash-2".to_owned());
        // Without a second thread it takes twice as long.
        let helper = thread.spawn_scoped(scope, help).is_ok();
        let helper = helper.then_some(Helper { blocks, leaves });
        large(content, shape, helper.as_ref(), progress)
    })
}

/// A content of one block; perhaps of one chunk, which has no leaf, or of none.
fn small(
    content: &mut Content,
    shape: Shape,
    progress: &mut dyn FnMut(u64) -> bool,
) -> Result<Tree, FilesError> {
    let mut bytes = vec![0; usize::try_from(shape.len()).unwrap_or(HASH_READ)];
    content.read(0, &mut bytes)?;
    let mut tree = TreeBuilder::new(shape);
    for chunk in bytes.chunks(shape.chunk_len() as usize) {
        tree.push(chunk)?;
    }
    if progress(shape.len()) {
        Ok(tree.finish()?)
    } else {
        Err(FilesError::Stopped)
    }
}

fn large(
    content: &mut Content,
    shape: Shape,
    helper: Option<&Helper>,
    progress: &mut dyn FnMut(u64) -> bool,
) -> Result<Tree, FilesError> {
    let mut tree = TreeBuilder::new(shape);
    let mut spare = vec![0; HASH_READ];
    let mut own = vec![0; HASH_READ];
    let mut done = 0;
    while done < shape.len() {
        let helped = match helper {
            Some(helper) => {
                let (block, first) = (std::mem::take(&mut spare), done);
                done = hand_over(content, &shape, helper, (block, first))?;
                Some(helper)
            }
            None => None,
        };
        let range = block_at(&shape, done);
        let leaves = leaves_in(content, &shape, range.clone(), &mut own)?;
        if let Some(helper) = helped {
            // It ends only when it panics, and then so does the scope.
            let (leaves, block) = helper.leaves.recv().map_err(|_| FilesError::Stopped)?;
            spare = block;
            push_all(&mut tree, &leaves)?;
        }
        push_all(&mut tree, &leaves)?;
        done = range.end;
        if !progress(done) {
            return Err(FilesError::Stopped);
        }
    }
    Ok(tree.finish()?)
}

/// Reads the block at `first` for the helper; where the next one starts.
fn hand_over(
    content: &mut Content,
    shape: &Shape,
    helper: &Helper,
    (mut block, first): (Vec<u8>, u64),
) -> Result<u64, FilesError> {
    let range = block_at(shape, first);
    let len = usize::try_from(range.end - range.start).unwrap_or(HASH_READ);
    block.resize(len, 0);
    content.read(range.start, &mut block)?;
    let chunk = chunk_at(shape, range.start)?;
    let taken = helper.blocks.send((chunk, block));
    taken.map_err(|_| FilesError::Stopped)?;
    Ok(range.end)
}

/// Reads a block and hashes it here; no leaves of an empty one.
fn leaves_in(
    content: &mut Content,
    shape: &Shape,
    range: Range<u64>,
    buffer: &mut [u8],
) -> Result<Vec<Hash>, FilesError> {
    if range.is_empty() {
        return Ok(Vec::new());
    }
    let len = usize::try_from(range.end - range.start).unwrap_or(HASH_READ);
    let block = &mut buffer[..len];
    content.read(range.start, block)?;
    Ok(leaves_of(shape, chunk_at(shape, range.start)?, block))
}

/// The block that starts there; empty at the end of the content.
fn block_at(shape: &Shape, start: u64) -> Range<u64> {
    start..shape.len().min(start + HASH_READ as u64)
}

fn chunk_at(shape: &Shape, start: u64) -> Result<u32, FileError> {
    shape.chunk_at(start).ok_or(FileError::NoSuchChunk)
}

fn leaves_of(shape: &Shape, first: u32, block: &[u8]) -> Vec<Hash> {
    let chunks = block.chunks(shape.chunk_len() as usize);
    (first..)
        .zip(chunks)
        .map(|(index, chunk)| leaf(shape, index, chunk))
        .collect()
}

fn push_all(tree: &mut TreeBuilder, leaves: &[Hash]) -> Result<(), FileError> {
    leaves.iter().try_for_each(|leaf| tree.push_leaf(*leaf))
}
