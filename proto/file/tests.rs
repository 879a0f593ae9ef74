//! Chunks sealed and proved, and everything that must be refused.

use super::list::{self, Entry};
use super::tree::{Proof, Tree, TreeBuilder, leaf, siblings, verify};
use super::*;
use crate::limits::{
    FILE_FRAME_LEN_MAX, FILE_PROOF_MAX, FOLDER_DEPTH_MAX, FOLDER_FILES_MAX, FOLDER_PATH_LEN_MAX,
    FRAME_LEN_DEFAULT,
};
use crate::pb::peer::v1::peer_item::Kind;
use crate::pb::peer::v1::{FileChunk, PeerFrame, PeerItem};
use proptest::prelude::*;
use prost::Message as _;

const OFFER: MessageId = MessageId([9; 16]);

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 + at / 1_000) as u8).collect()
}

fn shape(len: usize, chunk_len: u32) -> Shape {
    Shape::new(len as u64, chunk_len).expect("a shape")
}

fn tree_of(content: &[u8], shape: Shape, base: u32) -> Tree {
    let mut builder = TreeBuilder::with_base(shape, base);
    for chunk in content.chunks(shape.chunk_len() as usize) {
        builder.push(chunk).expect("the next chunk");
    }
    builder.finish().expect("all chunks")
}

fn chunk<'a>(content: &'a [u8], shape: &Shape, index: u32) -> &'a [u8] {
    let range = shape.range(index).expect("a chunk");
    &content[range.start as usize..range.end as usize]
}

fn proof_of(tree: &Tree, content: &[u8], index: u32) -> Proof {
    let leaves: Vec<_> = tree
        .group(index)
        .map(|at| leaf(tree.shape(), at, chunk(content, tree.shape(), at)))
        .collect();
    tree.proof(index, &leaves).expect("a proof")
}

fn key(byte: u8) -> FileKey {
    FileKey::try_from([byte; 32].as_slice()).expect("32 bytes")
}

/// A content with its tree and seal, and one sealed chunk as a frame.
fn sealed(len: usize, index: u32) -> (Vec<u8>, Seal, Vec<u8>) {
    let (content, shape) = (content(len), shape(len, 1_024));
    let tree = tree_of(&content, shape, 0);
    let seal = Seal::new(&key(7), OFFER, shape, tree.root()).expect("a seal");
    let mut buffer = chunk(&content, &shape, index).to_vec();
    let proof = proof_of(&tree, &content, index);
    seal.seal(index, &mut buffer, 0, &proof).expect("sealed");
    (content, seal, buffer)
}

#[test]
fn the_root_is_the_plain_blake3_hash() {
    let chunk = 1_024;
    for chunks in (0..20).chain([31, 32, 33, 63, 64, 65, 100]) {
        for len in [chunks * chunk, chunks * chunk + 1, chunks * chunk + 1_023] {
            let content = content(len);
            for chunk_len in [1_024, 2_048, 16_384] {
                let shape = shape(len, chunk_len);
                for base in [0, 1, 2, 3] {
                    let tree = tree_of(&content, shape, base);
                    assert_eq!(tree.root().0, *blake3::hash(&content).as_bytes());
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn every_chunk_proves_itself_and_nothing_else(
        len in 1..40_000usize, power in 0..4u32, base in 0..4u32, flip in any::<usize>(),
    ) {
        let content = content(len);
        let shape = shape(len, 1_024 << power);
        let tree = tree_of(&content, shape, base);
        for index in 0..shape.chunks() {
            let data = chunk(&content, &shape, index);
            let proof = proof_of(&tree, &content, index);
            prop_assert_eq!(proof.bytes().len(), shape.proof_len(index) * HASH_LEN);
            prop_assert_eq!(verify(&shape, tree.root(), index, data, proof.bytes()), Ok(()));
            let mut wrong = data.to_vec();
            let at = flip % wrong.len();
            wrong[at] ^= 1;
            let refused = verify(&shape, tree.root(), index, &wrong, proof.bytes());
            prop_assert_eq!(refused, Err(FileError::NotInTree));
            if !proof.bytes().is_empty() {
                let mut wrong = proof.bytes().to_vec();
                let at = flip % wrong.len();
                wrong[at] ^= 1;
                let refused = verify(&shape, tree.root(), index, data, &wrong);
                prop_assert_eq!(refused, Err(FileError::NotInTree));
            }
            // The same bytes at the place of a neighbour of the same length.
            if let Some(other) = index.checked_sub(1)
                && shape.data_len(other) == Some(data.len())
                && shape.proof_len(other) == shape.proof_len(index)
            {
                let refused = verify(&shape, tree.root(), other, data, proof.bytes());
                prop_assert_eq!(refused, Err(FileError::NotInTree));
            }
        }
    }

    #[test]
    fn frames_are_what_protobuf_makes_of_them(
        index in 0..FILE_CHUNKS_MAX, data in proptest::collection::vec(any::<u8>(), 17..4_000),
    ) {
        let mut buffer = Vec::new();
        frame::begin(&mut buffer, OFFER, index, data.len());
        buffer.extend_from_slice(&data);
        let chunk = FileChunk {
            offer_id: OFFER.to_vec(),
            index: u64::from(index),
            data: data.clone(),
            ..FileChunk::default()
        };
        let item = PeerItem { kind: Some(Kind::FileChunk(chunk)) };
        let same = PeerFrame { items: vec![item] }.encode_to_vec();
        prop_assert_eq!(&buffer, &same);
        let parsed = frame::parse(&buffer).expect("parsed");
        prop_assert_eq!((parsed.offer, parsed.index), (OFFER, index));
        prop_assert_eq!(&buffer[parsed.sealed], &data[..]);
    }

    #[test]
    fn a_frame_in_pieces_says_what_it_said_whole(
        index in 0..FILE_CHUNKS_MAX, len in 17..70_000usize, limit in 60..70_000usize,
        again in 60..70_000usize,
    ) {
        let data: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
        let mut buffer = Vec::new();
        frame::begin(&mut buffer, OFFER, index, data.len());
        buffer.extend_from_slice(&data);
        prop_assert!(frame::parse(&buffer).expect("parsed").is_whole());
        // A link that takes even less than was known cuts the pieces.
        let cut = |frame: &Vec<u8>| frame::cut(frame, again).expect("there is room");
        let pieces = frame::cut(&buffer, limit).expect("there is room");
        let pieces: Vec<Vec<u8>> = pieces.iter().flat_map(cut).collect();
        let (mut whole, last) = (Vec::new(), pieces.len() - 1);
        for (n, piece) in pieces.iter().enumerate() {
            prop_assert!(piece.len() <= limit.min(again));
            let parsed = frame::parse(piece).expect("parsed");
            prop_assert_eq!((parsed.offer, parsed.index), (OFFER, index));
            prop_assert_eq!((parsed.at as usize, parsed.more), (whole.len(), n < last));
            whole.extend_from_slice(&piece[parsed.sealed]);
        }
        prop_assert_eq!(whole, data);
    }

    #[test]
    fn no_bytes_make_the_frame_reader_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        if let Ok(parsed) = frame::parse(&bytes) {
            prop_assert!(parsed.sealed.end <= bytes.len());
        }
    }

    #[test]
    fn a_cut_or_altered_frame_is_refused_or_read_within_bounds(
        cut in 0..2_000usize, at in 0..2_000usize, bit in 0..8u8,
    ) {
        let mut buffer = Vec::new();
        frame::begin(&mut buffer, OFFER, 300, 1_500);
        buffer.resize(buffer.len() + 1_500, 5);
        buffer.truncate(cut.min(buffer.len()));
        if let Some(byte) = buffer.get_mut(at) {
            *byte ^= 1 << bit;
        }
        if let Ok(parsed) = frame::parse(&buffer) {
            prop_assert!(parsed.sealed.end <= buffer.len());
        }
    }
}

#[test]
fn a_sealed_chunk_opens_with_its_own_key_offer_place_and_content_only() {
    let (content, seal, buffer) = sealed(5_000, 3);
    assert_eq!(Some(buffer.len()), seal.shape().sealed_len(3));
    let opened = seal.open(3, &mut buffer.clone()).map(<[u8]>::to_vec);
    assert_eq!(opened, Ok(content[3_072..4_096].to_vec()));
    let (shape, root) = (*seal.shape(), seal.root());
    let other = |key: u8, offer: u8, shape: Shape, root: Root| {
        Seal::new(&self::key(key), MessageId([offer; 16]), shape, root).expect("a seal")
    };
    let longer = self::shape(5_001, 1_024);
    for (what, seal, index) in [
        ("another key", other(8, 9, shape, root), 3),
        ("another offer", other(7, 8, shape, root), 3),
        ("another root", other(7, 9, shape, Root([1; 32])), 3),
        ("another length", other(7, 9, longer, root), 3),
        ("another place", other(7, 9, shape, root), 2),
    ] {
        let refused = seal.open(index, &mut buffer.clone()).map(<[u8]>::to_vec);
        assert_eq!(refused, Err(FileError::DoesNotOpen), "{what}");
    }
    for at in [0, 1_023, 1_024, buffer.len() - 1] {
        let mut altered = buffer.clone();
        altered[at] ^= 0x80;
        assert_eq!(seal.open(3, &mut altered), Err(FileError::DoesNotOpen));
    }
    for (index, len, error) in [
        (5, buffer.len(), FileError::NoSuchChunk),
        (u32::MAX, buffer.len(), FileError::NoSuchChunk),
        (4, buffer.len(), FileError::Length),
        (3, buffer.len() - 1, FileError::Length),
        (3, 0, FileError::Length),
    ] {
        assert_eq!(seal.open(index, &mut buffer.clone()[..len]), Err(error));
    }
}

#[test]
fn whoever_holds_the_key_still_cannot_slip_in_another_content() {
    let (_, seal, _) = sealed(5_000, 3);
    // Sealed rightly, but of a tree of its own.
    let forged = content(5_000).into_iter().rev().collect::<Vec<_>>();
    let tree = tree_of(&forged, *seal.shape(), 0);
    let mut buffer = forged[3_072..4_096].to_vec();
    let proof = proof_of(&tree, &forged, 3);
    let refused = seal.seal(3, &mut buffer, 0, &proof);
    assert_eq!(
        refused,
        Err(FileError::NotInTree),
        "our own seal refuses it"
    );
    let before = buffer.clone();
    assert_eq!(before, forged[3_072..4_096], "and leaves the buffer alone");
    let mut buffer = seal.forged(3, &buffer, proof.bytes());
    assert_eq!(seal.open(3, &mut buffer), Err(FileError::NotInTree));
}

#[test]
fn shapes_have_bounds() {
    let cases = [
        (0, 1_024, Ok(0)),
        (1, 1_024, Ok(1)),
        (1_024, 1_024, Ok(1)),
        (1_025, 1_024, Ok(2)),
        (FILE_LEN_MAX, FILE_CHUNK_LEN_MAX, Ok(FILE_CHUNKS_MAX)),
        (
            FILE_LEN_MAX + 1,
            FILE_CHUNK_LEN_MAX,
            Err(FileError::TooLarge),
        ),
        (u64::MAX, FILE_CHUNK_LEN_MAX, Err(FileError::TooLarge)),
        (
            FILE_LEN_MAX,
            FILE_CHUNK_LEN_MAX / 2,
            Err(FileError::TooManyChunks),
        ),
        (1 << 32, 1_024, Ok(1 << 22)),
        // 2³² chunks.
        (1 << 40, 256, Err(FileError::ChunkLen)),
        (1 << 40, 1_024, Err(FileError::TooManyChunks)),
        (1, 0, Err(FileError::ChunkLen)),
        (1, 512, Err(FileError::ChunkLen)),
        (1, 1_025, Err(FileError::ChunkLen)),
        (1, FILE_CHUNK_LEN_MAX * 2, Err(FileError::ChunkLen)),
        (1, u32::MAX, Err(FileError::ChunkLen)),
    ];
    for (len, chunk_len, want) in cases {
        let got = Shape::new(len, chunk_len).map(|shape| shape.chunks());
        assert_eq!(got, want, "{len} {chunk_len}");
    }
    let largest = Shape::new(FILE_LEN_MAX, FILE_CHUNK_LEN_MAX).expect("a shape");
    assert_eq!(largest.proof_len(0), FILE_PROOF_MAX);
    assert_eq!(
        frame::len_max(&largest).max(FILE_FRAME_LEN_MAX),
        FILE_FRAME_LEN_MAX
    );
    assert_eq!(largest.range(FILE_CHUNKS_MAX), None);
    assert_eq!(
        largest.range(FILE_CHUNKS_MAX - 1).map(|r| r.end),
        Some(FILE_LEN_MAX)
    );
}

#[test]
fn chunks_fit_the_frames_they_were_chosen_for() {
    for (len, frame_len, want) in [
        (1 << 30, FILE_FRAME_LEN_MAX, FILE_CHUNK_LEN_MAX),
        (1 << 30, FRAME_LEN_DEFAULT, 8 * 1_024),
        (1 << 30, 64 * 1_024, 32 * 1_024),
        (10, FRAME_LEN_DEFAULT, 8 * 1_024),
        (1 << 20, 100, 1_024),
    ] {
        let shape = Shape::fitting(len, frame_len).expect("a shape");
        assert_eq!(shape.chunk_len(), want, "{len} {frame_len}");
    }
    let refused = Shape::fitting(FILE_LEN_MAX, FRAME_LEN_DEFAULT);
    assert_eq!(refused, Err(FileError::TooManyChunks));
}

#[test]
fn an_empty_content_has_one_root() {
    let empty = shape(0, 1_024);
    let tree = tree_of(&[], empty, 0);
    assert!(Seal::new(&key(1), OFFER, empty, tree.root()).is_ok());
    let lie = Seal::new(&key(1), OFFER, empty, Root([0; 32])).map(|_| ());
    assert_eq!(lie, Err(FileError::Root));
    assert_eq!(tree.proof(0, &[]), Err(FileError::NoSuchChunk));
}

#[test]
fn a_tree_is_made_of_its_chunks_in_order_and_of_all() {
    let shape = shape(3_000, 1_024);
    let mut builder = TreeBuilder::new(shape);
    assert_eq!(builder.push(&[0; 1_023]), Err(FileError::Length));
    assert_eq!(builder.push(&[0; 1_024]), Ok(()));
    assert_eq!(builder.push(&[0; 1_024]), Ok(()));
    assert_eq!(builder.push(&[0; 1_024]), Err(FileError::Length));
    assert_eq!(builder.next(), 2);
    assert_eq!(builder.push(&[0; 952]), Ok(()));
    assert_eq!(builder.push(&[0; 952]), Err(FileError::NoSuchChunk));
    assert!(builder.finish().is_ok());
    let mut builder = TreeBuilder::new(shape);
    builder.push(&[0; 1_024]).expect("the first");
    assert!(matches!(builder.finish(), Err(FileError::Length)));
}

#[test]
fn leaves_hashed_elsewhere_make_the_same_tree() {
    let content = content(5_000);
    let shape = shape(5_000, 1_024);
    let mut builder = TreeBuilder::new(shape);
    for index in 0..shape.chunks() {
        let leaf = leaf(&shape, index, chunk(&content, &shape, index));
        builder.push_leaf(leaf).expect("the next leaf");
    }
    assert_eq!(builder.push_leaf([0; 32]), Err(FileError::NoSuchChunk));
    let root = builder.finish().expect("all leaves").root();
    assert_eq!(root, tree_of(&content, shape, 0).root());
    let mut single = TreeBuilder::new(self::shape(10, 1_024));
    assert_eq!(single.push_leaf([0; 32]), Err(FileError::NoSuchChunk));
}

#[test]
fn siblings_are_those_of_the_tree() {
    let of = |chunks, index| siblings(chunks, index).collect::<Vec<_>>();
    assert_eq!(of(1, 0), []);
    assert_eq!(of(2, 1), [(0, 0)]);
    assert_eq!(of(5, 4), [(2, 0)], "left over twice");
    assert_eq!(of(5, 0), [(0, 1), (1, 1), (2, 1)]);
    assert_eq!(of(6, 4), [(0, 5), (2, 0)]);
}

#[test]
fn a_frame_is_not_cut_where_nothing_fits() {
    let mut buffer = Vec::new();
    frame::begin(&mut buffer, OFFER, 3, 100);
    assert_eq!(frame::cut(&buffer, 1_000), Err(FileError::Frame));
    buffer.resize(buffer.len() + 100, 5);
    for limit in [0, 20] {
        assert_eq!(frame::cut(&buffer, limit), Err(FileError::Frame));
    }
    assert_eq!(frame::cut(&[], 1_000), Err(FileError::Frame));
}

#[test]
fn frames_with_more_or_less_than_one_chunk_are_refused() {
    let chunk = |offer_id: Vec<u8>, index, data: &[u8]| PeerItem {
        kind: Some(Kind::FileChunk(FileChunk {
            offer_id,
            index,
            data: data.to_vec(),
            ..FileChunk::default()
        })),
    };
    let good = chunk(OFFER.to_vec(), 1, &[1; 20]);
    let frame = |items: Vec<PeerItem>| PeerFrame { items }.encode_to_vec();
    assert!(frame::parse(&frame(vec![good.clone()])).is_ok());
    let hello = PeerItem {
        kind: Some(Kind::Hello(vec![1])),
    };
    for (what, items, error) in [
        ("no item", vec![], FileError::Frame),
        ("two", vec![good.clone(), good], FileError::Frame),
        ("another kind", vec![hello], FileError::Frame),
        ("no offer", vec![chunk(vec![], 1, &[1])], FileError::Frame),
        (
            "a short offer",
            vec![chunk(vec![1; 15], 1, &[1])],
            FileError::Frame,
        ),
        (
            "no data",
            vec![chunk(OFFER.to_vec(), 1, &[])],
            FileError::Frame,
        ),
        (
            "2³² chunks",
            vec![chunk(OFFER.to_vec(), 1 << 32, &[1])],
            FileError::NoSuchChunk,
        ),
    ] {
        assert_eq!(frame::parse(&frame(items)), Err(error), "{what}");
    }
}

#[test]
fn lists_are_bounded_and_fill_their_content() {
    let entry = |path: &str, len| Entry {
        path: path.to_owned(),
        len,
    };
    let entries = [entry("a", 3), entry("b/c", 0), entry("b/d", 2_000)];
    let bytes = list::encode(&entries).expect("a list");
    let fits = shape(bytes.len() + 2_003, 1_024);
    assert_eq!(list::decode(&bytes, &fits), Ok(entries.to_vec()));
    for off in [2_002, 2_004] {
        let refused = list::decode(&bytes, &shape(bytes.len() + off, 1_024));
        assert_eq!(refused, Err(FileError::List));
    }
    let deep = vec!["d"; FOLDER_DEPTH_MAX + 1].join("/");
    let long = "x".repeat(FOLDER_PATH_LEN_MAX + 1);
    for path in ["", deep.as_str(), long.as_str()] {
        assert_eq!(list::encode(&[entry(path, 1)]), Err(FileError::List));
    }
    assert_eq!(list::encode(&[]), Err(FileError::List));
    let many = vec![entry("a", 0); FOLDER_FILES_MAX + 1];
    assert_eq!(list::encode(&many), Err(FileError::List));
    let lying = list::encode(&[entry("a", u64::MAX), entry("b", 2)]).expect("a list");
    assert_eq!(list::decode(&lying, &fits), Err(FileError::List));
    assert_eq!(list::decode(&[0xff; 30], &fits), Err(FileError::List));
}

#[test]
fn keys_do_not_print() {
    assert_eq!(format!("{:?}", key(5)), "FileKey");
    assert!(FileKey::try_from([0; 31].as_slice()).is_err());
    assert!(Root::try_from([0; 33].as_slice()).is_err());
}
