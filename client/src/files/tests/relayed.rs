//! Chunks that go through others: sealed on one thread and handed back, written on the other.

use super::{Place, content};
use crate::files::{FileWork, Survey};
use beeline_proto::id::{DeviceFp, MessageId};
use beeline_proto::limits::FILE_FRAME_LEN_MAX;
use beeline_proto::pb::peer::v1::FileReason;
use client_core::files::io::{FileCommand, FileEvent};
use client_core::files::rows::{FileInKey, FileInfo, FileKey};
use client_core::input::LinkId;

const ID: MessageId = MessageId([7; 16]);
const KEY: FileInKey = (DeviceFp([1; 32]), ID);

/// A sender's threads with a file that is open, and what was offered of it.
async fn sender(place: &Place, bytes: &[u8]) -> (FileWork, FileInfo) {
    let path = place.file("holiday.mov", bytes);
    let survey = Survey::of(&path).expect("it is there");
    let shape = survey.shape(FILE_FRAME_LEN_MAX).expect("it fits");
    let source = survey.hash(shape, &mut |_| true).expect("hashed");
    let info = FileInfo {
        name: "holiday.mov".to_owned(),
        size: bytes.len() as u64,
        root: source.root().0,
        key: FileKey::new([3; 32]),
        chunk_size: shape.chunk_len(),
        list_len: 0,
        files: 0,
        content: None,
    };
    let path = path.display().to_string();
    let mut work = FileWork::start(None).expect("threads");
    work.keep(path.clone(), source);
    let open = FileCommand::Open {
        id: ID,
        source: path,
        info: info.clone(),
    };
    assert_eq!(work.command(open, None), None);
    assert_eq!(work.next().await, FileEvent::Opened { id: ID });
    (work, info)
}

async fn seal(work: &mut FileWork, index: u64) -> Vec<u8> {
    assert_eq!(
        work.command(FileCommand::Seal { id: ID, index }, None),
        None
    );
    match work.next().await {
        FileEvent::Sealed { sealed, .. } => sealed,
        other => panic!("{other:?}"),
    }
}

/// A receiver's threads, ready for chunks through others.
async fn receiver(place: &Place, info: &FileInfo) -> FileWork {
    let mut work = FileWork::start(Some(place.inbox())).expect("threads");
    let info = info.clone();
    let prepare = FileCommand::Prepare { key: KEY, info };
    assert_eq!(work.command(prepare, None), None);
    let prepared = work.next().await;
    assert!(matches!(prepared, FileEvent::Prepared { .. }));
    let take = FileCommand::Take {
        key: KEY,
        link: LinkId::RELAYED,
    };
    assert_eq!(work.command(take, None), None);
    work
}

fn write(index: u64, sealed: Vec<u8>) -> FileCommand {
    FileCommand::Write {
        key: KEY,
        index,
        sealed,
    }
}

#[tokio::test]
async fn a_file_goes_chunk_by_chunk_and_in_any_order() {
    let (place, bytes) = (Place::new(), content(200_000, 1));
    let (mut from, info) = sender(&place, &bytes).await;
    let mut to = receiver(&place, &info).await;
    for (n, index) in [3, 1, 0, 1, 2].into_iter().enumerate() {
        let sealed = seal(&mut from, index).await;
        assert_eq!(to.command(write(index, sealed), None), None);
        // One that comes again is not told.
        if n == 3 {
            continue;
        }
        let told = to.next().await;
        let FileEvent::Written {
            link, chunks, left, ..
        } = told
        else {
            panic!("{told:?}");
        };
        assert_eq!((link, chunks), (LinkId::RELAYED, 1));
        assert_eq!(left, [3, 2, 1, 1, 0][n]);
    }
    assert_eq!(to.command(FileCommand::Finish { key: KEY }, None), None);
    let finished = to.next().await;
    let FileEvent::Finished { path, .. } = finished else {
        panic!("{finished:?}");
    };
    assert_eq!(std::fs::read(path).expect("there"), bytes);
}

#[tokio::test]
async fn what_is_no_chunk_of_it_ends_the_file() {
    let (place, bytes) = (Place::new(), content(200_000, 2));
    let (mut from, info) = sender(&place, &bytes).await;
    let sealed = seal(&mut from, 0).await;
    let mut altered = sealed.clone();
    altered[9] ^= 1;
    for (index, sealed) in [(0, altered), (1, sealed.clone()), (0, sealed[1..].to_vec())] {
        let into = Place::new();
        let mut to = receiver(&into, &info).await;
        assert_eq!(to.command(write(index, sealed), None), None);
        let failed = to.next().await;
        assert!(
            matches!(
                failed,
                FileEvent::Failed {
                    reason: FileReason::Corrupt,
                    ..
                }
            ),
            "{failed:?}"
        );
        assert!(into.received().is_empty());
    }
}
