//! `files.json`: shapes, trees and proofs, sealed chunks as frames, lists, and what is refused.

use super::{array, bytes, cases, pin, text};
use crate::file::list::{self, Entry};
use crate::file::tree::{Tree, TreeBuilder, leaf, verify};
use crate::file::{FileError, FileKey, Root, Seal, Shape, frame};
use crate::id::MessageId;
use crate::limits::{FILE_CHUNK_LEN_MAX, FILE_CHUNKS_MAX, FILE_LEN_MAX};
use crate::tests::json::{Json, hex, object, unhex};
use serde_json::Value;

const KEY: [u8; 32] = [0x55; 32];
const OFFER: MessageId = MessageId([0x77; 16]);

/// The content of every case: byte i is i modulo 251.
fn content(len: u64) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

/// The name of a refusal in the file.
fn name(error: FileError) -> &'static str {
    match error {
        FileError::TooLarge => "TOO_LARGE",
        FileError::ChunkLen => "CHUNK_LEN",
        FileError::TooManyChunks => "TOO_MANY_CHUNKS",
        FileError::Root => "ROOT",
        FileError::Key => "KEY",
        FileError::NoSuchChunk => "NO_SUCH_CHUNK",
        FileError::Length => "LENGTH",
        FileError::DoesNotOpen => "DOES_NOT_OPEN",
        FileError::NotInTree => "NOT_IN_TREE",
        FileError::Frame => "FRAME",
        FileError::List => "LIST",
    }
}

fn verdict<T>(result: Result<T, FileError>) -> Option<&'static str> {
    result.err().map(name)
}

fn tree(content: &[u8], shape: Shape) -> Tree {
    let mut builder = TreeBuilder::new(shape);
    for chunk in content.chunks(shape.chunk_len() as usize) {
        builder.push(chunk).expect("the next chunk");
    }
    builder.finish().expect("all chunks")
}

fn data(content: &[u8], shape: &Shape, index: u32) -> Vec<u8> {
    let range = shape.range(index).expect("a chunk");
    content[range.start as usize..range.end as usize].to_vec()
}

fn shapes() -> Vec<Json> {
    let cases = [
        (0, 1_024),
        (1, 1_024),
        (1_024, 1_024),
        (1_025, 1_024),
        (FILE_LEN_MAX, FILE_CHUNK_LEN_MAX),
        (FILE_LEN_MAX + 1, FILE_CHUNK_LEN_MAX),
        (FILE_LEN_MAX, FILE_CHUNK_LEN_MAX / 2),
        (u64::from(FILE_CHUNKS_MAX) * 1_024 + 1, 1_024),
        (1, 512),
        (1, 1_536),
        (1, FILE_CHUNK_LEN_MAX * 2),
        (1, 0),
    ];
    let case = |(len, chunk_len): (u64, u32)| {
        let shape = Shape::new(len, chunk_len);
        object! { "size": len as i64, "chunk_size": i64::from(chunk_len),
        "chunks": shape.map_or(-1, |shape| i64::from(shape.chunks())), "error": verdict(shape) }
    };
    cases.map(case).into()
}

fn trees() -> Vec<Json> {
    let cases = [
        (1, 1_024, 0),
        (1_024, 1_024, 0),
        (1_025, 1_024, 1),
        (5_000, 1_024, 0),
        (5_000, 1_024, 4),
        (9_000, 2_048, 3),
        (200_000, 65_536, 3),
    ];
    let case = |(len, chunk_len, index): (u64, u32, u32)| {
        let (content, shape) = (content(len), Shape::new(len, chunk_len).expect("a shape"));
        let tree = tree(&content, shape);
        let proof = tree.proof(index, &[]).expect("a proof");
        let node = leaf(&shape, index, &data(&content, &shape, index));
        let node = if shape.chunks() > 1 {
            hex(node)
        } else {
            String::new()
        };
        object! { "size": len as i64, "chunk_size": i64::from(chunk_len),
        "root": hex(tree.root().0), "index": i64::from(index), "leaf": node,
        "proof": hex(proof.bytes()) }
    };
    cases.map(case).into()
}

/// A sealed chunk of 3,000 bytes in chunks of 1,024.
fn sealed(index: u32) -> (Seal, Vec<u8>) {
    let (content, shape) = (content(3_000), Shape::new(3_000, 1_024).expect("a shape"));
    let tree = tree(&content, shape);
    let key = FileKey::try_from(KEY.as_slice()).expect("32 bytes");
    let seal = Seal::new(&key, OFFER, shape, tree.root()).expect("a seal");
    let mut buffer = Vec::new();
    let len = shape.sealed_len(index).expect("a chunk");
    frame::begin(&mut buffer, OFFER, index, len);
    let at = buffer.len();
    buffer.extend_from_slice(&data(&content, &shape, index));
    let proof = tree.proof(index, &[]).expect("a proof");
    seal.seal(index, &mut buffer, at, &proof).expect("sealed");
    (seal, buffer)
}

fn chunks() -> Vec<Json> {
    let case = |index: u32| {
        let (seal, frame) = sealed(index);
        object! { "file_key": hex(KEY), "offer_id": hex(OFFER.0), "size": 3_000i64,
        "chunk_size": 1_024i64, "root": hex(seal.root().0), "index": i64::from(index),
        "data": hex(data(&content(3_000), seal.shape(), index)), "frame": hex(&frame) }
    };
    [0, 2].map(case).into()
}

fn pieces() -> Vec<Json> {
    let case = |limit: usize| {
        let (_, frame) = sealed(1);
        let whole = frame::parse(&frame).expect("a frame").sealed;
        let pieces = frame::cut(&frame, limit).expect("there is room");
        let pieces: Vec<Json> = pieces.into_iter().map(|piece| hex(piece).into()).collect();
        object! { "offer_id": hex(OFFER.0), "index": 1i64, "limit": limit as i64,
        "sealed": hex(&frame[whole]), "frames": pieces }
    };
    [500, 2_000].map(case).into()
}

fn refusals() -> Vec<Json> {
    let (seal, good) = sealed(1);
    let body = frame::parse(&good).expect("a frame").sealed;
    let sealed = good[body].to_vec();
    let flipped = |at: usize| {
        let mut bytes = sealed.clone();
        bytes[at] ^= 1;
        bytes
    };
    let cases = [
        ("taken", 1u32, sealed.clone()),
        ("at another place", 0, sealed.clone()),
        ("data altered", 1, flipped(0)),
        ("proof altered", 1, flipped(1_024)),
        ("tag altered", 1, flipped(sealed.len() - 1)),
        ("cut", 1, sealed[..sealed.len() - 1].to_vec()),
        ("longer", 1, [sealed.as_slice(), &[0]].concat()),
        ("without proof", 1, sealed[..1_024 + 16].to_vec()),
        ("behind the end", 3, sealed.clone()),
        ("the last chunk has no such length", 2, sealed.clone()),
    ];
    let case = |(what, index, bytes): (&str, u32, Vec<u8>)| {
        let error = verdict(seal.open(index, &mut bytes.clone()));
        object! { "name": what, "file_key": hex(KEY), "offer_id": hex(OFFER.0),
        "size": 3_000i64, "chunk_size": 1_024i64, "root": hex(seal.root().0),
        "index": i64::from(index), "sealed": hex(&bytes), "error": error }
    };
    let mut refusals: Vec<Json> = cases.map(case).into();
    // Sealed with the right key and of another content.
    let other: Vec<u8> = content(3_000).iter().map(|byte| byte ^ 1).collect();
    let chunk = data(&other, seal.shape(), 1);
    let forged = seal.forged(1, &chunk, &[0x11; 64]);
    refusals.push(case(("of another content", 1, forged)));
    refusals
}

fn lists() -> Vec<Json> {
    let entry = |path: &str, len| Entry {
        path: path.to_owned(),
        len,
    };
    let good = list::encode(&[entry("a", 3), entry("b/c", 0), entry("b/d", 500)]);
    let good = good.expect("a list");
    let lying = list::encode(&[entry("a", u64::MAX), entry("b", 2)]).expect("a list");
    let bare = list::encode(&[entry("a", 3), entry("e/", 0)]).expect("a list");
    let full = list::encode(&[entry("a", 3), entry("e/", 1)]).expect("a list");
    let size = good.len() as u64 + 503;
    let (bare_size, full_size) = (bare.len() as u64 + 3, full.len() as u64 + 4);
    let cases = [
        (good.clone(), size),
        (good.clone(), size - 1),
        (good, size + 1),
        (lying, 100),
        (vec![0xff; 8], 100),
        (bare, bare_size),
        (full, full_size),
    ];
    let case = |(bytes, size): (Vec<u8>, u64)| {
        let shape = Shape::new(size, 1_024).expect("a shape");
        let read = list::decode(&bytes, &shape);
        let entries = read.iter().flatten().map(|entry| {
            object! { "path": entry.path.as_str(), "size": entry.len as i64 }
        });
        object! { "list": hex(&bytes), "size": size as i64,
        "files": entries.collect::<Vec<Json>>(), "error": verdict(read) }
    };
    cases.map(case).into()
}

fn number(case: &Value, member: &str) -> u64 {
    case[member].as_u64().expect("a number")
}

fn seal_of(case: &Value) -> Seal {
    let key = FileKey::try_from(bytes(case, "file_key").as_slice()).expect("32 bytes");
    let offer = MessageId(array(case, "offer_id"));
    Seal::new(&key, offer, shape_of(case), Root(array(case, "root"))).expect("a seal")
}

fn shape_of(case: &Value) -> Shape {
    let chunk_len = number(case, "chunk_size").try_into().expect("a size");
    Shape::new(number(case, "size"), chunk_len).expect("a shape")
}

fn index_of(case: &Value) -> u32 {
    number(case, "index").try_into().expect("an index")
}

#[test]
fn files_are_sealed_and_proved_as_everywhere() {
    let file = pin(
        "files.json",
        &object! {
            "about": "The content of trees and chunks: byte i is i modulo 251. shapes: how many \
                      chunks, or why not. trees: root, leaf (none where one chunk is all) and \
                      proof of a chunk. chunks: the frame of a chunk. pieces: the frames of a \
                      sealed chunk on a link whose messages have so many bytes at most. refusals: \
                      sealed bytes and what comes of opening and proving them. lists: the list of \
                      a folder whose content has so many bytes.",
            "shapes": shapes(), "trees": trees(), "chunks": chunks(), "pieces": pieces(),
            "refusals": refusals(), "lists": lists(),
        },
    );
    for case in cases(&file, "trees") {
        let (shape, index) = (shape_of(case), index_of(case));
        let chunk = data(&content(shape.len()), &shape, index);
        let root = Root(array(case, "root"));
        assert_eq!(
            verify(&shape, root, index, &chunk, &bytes(case, "proof")),
            Ok(())
        );
    }
    for case in cases(&file, "chunks") {
        let mut frame = bytes(case, "frame");
        let read = frame::parse(&frame).expect("a frame");
        assert_eq!((read.offer, read.index), (OFFER, index_of(case)));
        let opened = seal_of(case)
            .open(read.index, &mut frame[read.sealed])
            .map(<[u8]>::to_vec);
        assert_eq!(opened, Ok(bytes(case, "data")));
    }
    for case in cases(&file, "pieces") {
        let (mut whole, mut more) = (Vec::new(), true);
        for frame in case["frames"].as_array().expect("frames") {
            let frame = unhex(frame.as_str().expect("hexadecimal"));
            assert!(frame.len() as u64 <= number(case, "limit"));
            let read = frame::parse(&frame).expect("a frame");
            assert_eq!((read.offer, read.index), (OFFER, index_of(case)));
            assert_eq!(read.at as usize, whole.len());
            whole.extend_from_slice(&frame[read.sealed]);
            more = read.more;
        }
        assert_eq!((whole, more), (bytes(case, "sealed"), false));
    }
    for case in cases(&file, "refusals") {
        let error = verdict(seal_of(case).open(index_of(case), &mut bytes(case, "sealed")));
        assert_eq!(error, case["error"].as_str(), "{}", text(case, "name"));
    }
}
