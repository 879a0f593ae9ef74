//! Files from one disk to another: whole, cut short, refused, attacked.

mod crash;
mod disk;
mod hostile;
mod names;
mod relayed;
mod transfer;

use super::{Accepted, FilesError, Inbox, Offer, Opened, Sink, Source, Survey};
use beeline_proto::file::{FileKey, Seal, frame};
use beeline_proto::id::MessageId;
use beeline_proto::limits::FILE_FRAME_LEN_MAX;
use std::path::{Path, PathBuf};

/// Bytes that differ from chunk to chunk and from file to file.
fn content(len: usize, salt: usize) -> Vec<u8> {
    (0..len)
        .map(|at| (at * 31 + at / 1_000 * 7 + salt * 13) as u8)
        .collect()
}

/// A sender: what is offered, its seal, and the source of its chunks.
struct Sender {
    offer: Offer,
    seal: Seal,
    source: Source,
}

impl Sender {
    /// Offers what is at `path` with chunks of 1 KiB.
    fn of(path: &Path) -> Self {
        Self::with_frames(path, 1_200)
    }

    fn with_frames(path: &Path, frame_len: usize) -> Self {
        let survey = Survey::of(path).expect("it is there");
        let name = survey.name().to_owned();
        let list_len = survey.list_len();
        let shape = survey.shape(frame_len).expect("it fits");
        let source = survey.hash(shape, &mut |_| true).expect("hashed");
        let offer = Offer {
            id: MessageId([7; 16]),
            name,
            shape,
            root: source.root(),
            key: FileKey::try_from([3; 32].as_slice()).expect("32 bytes"),
            list_len,
        };
        let seal = offer.seal().expect("a sound offer");
        Self {
            offer,
            seal,
            source,
        }
    }

    fn chunks(&self) -> u32 {
        self.offer.shape.chunks()
    }

    /// A chunk as it travels, sealed.
    fn sealed(&mut self, index: u32) -> Result<Vec<u8>, FilesError> {
        let frame = self.source.frame(&self.seal, self.offer.id, index)?;
        assert!(frame.len() <= frame::len_max(&self.offer.shape));
        let read = frame::parse(&frame).expect("a frame");
        assert_eq!((read.offer, read.index), (self.offer.id, index));
        Ok(frame[read.sealed].to_vec())
    }

    /// Gives one chunk to a receiver.
    fn give(&mut self, sink: &mut Sink, index: u32) -> Result<Accepted, FilesError> {
        let mut sealed = self.sealed(index).expect("unchanged");
        sink.accept(index, &mut sealed)
    }

    /// Gives everything that is missing.
    fn give_all(&mut self, sink: &mut Sink) {
        let missing: Vec<u32> = sink.missing().flatten().collect();
        for index in missing {
            self.give(sink, index).expect("accepted");
        }
    }
}

fn receiving(inbox: &Inbox, offer: &Offer) -> Box<Sink> {
    match inbox.begin(offer, 0).expect("begun") {
        Opened::Receiving(sink) => sink,
        Opened::Finished(path) => panic!("finished as {}", path.display()),
    }
}

/// A directory with a file of these bytes, and an empty inbox beside it.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().expect("a directory"),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("below")).expect("made");
        std::fs::write(&path, bytes).expect("written");
        path
    }

    fn inbox(&self) -> Inbox {
        Inbox::open(&self.path("inbox")).expect("opened")
    }

    /// Names in the inbox, without our own hidden one.
    fn received(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path("inbox")).expect("there");
        let names = entries.map(|entry| {
            let name = entry.expect("an entry").file_name();
            name.into_string().expect("text")
        });
        let mut names: Vec<String> = names.filter(|name| !name.starts_with(".beeline")).collect();
        names.sort();
        names
    }
}

/// Sends what is at `path` into the inbox of `place`.
fn send(place: &Place, path: &Path) -> PathBuf {
    let mut sender = Sender::with_frames(path, FILE_FRAME_LEN_MAX);
    let inbox = place.inbox();
    let mut sink = receiving(&inbox, &sender.offer);
    sender.give_all(&mut sink);
    let at = sink.finish().expect("finished");
    drop(sink);
    inbox.forget(sender.offer.id).expect("forgotten");
    at
}
