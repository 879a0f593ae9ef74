//! What a sender, or somebody with a hand on the inbox, may try (T-FILE-1, T-FILE-3): nothing is
//! written outside it or over anything, and what does not belong is refused.

use super::{Place, Sender, content, receiving};
use crate::files::{FilesError, Offer};
use beeline_proto::file::list::{self, Entry};
use beeline_proto::file::tree::{TreeBuilder, leaf};
use beeline_proto::file::{FileError, FileKey, Shape};
use beeline_proto::id::MessageId;
use std::os::unix::fs::symlink;

/// A folder that nobody has, made by hand: its offer and its sealed chunks.
fn forged(entries: &[Entry], list: Vec<u8>) -> (Offer, Vec<Vec<u8>>) {
    let files: u64 = entries.iter().map(|entry| entry.len.min(10_000)).sum();
    let mut bytes = list.clone();
    bytes.resize(list.len() + files as usize, 0x41);
    let shape = Shape::new(bytes.len() as u64, 1_024).expect("a shape");
    let mut builder = TreeBuilder::new(shape);
    for chunk in bytes.chunks(1_024) {
        builder.push(chunk).expect("the next");
    }
    let tree = builder.finish().expect("all");
    let offer = Offer {
        id: MessageId([8; 16]),
        name: "forged".to_owned(),
        shape,
        root: tree.root(),
        key: FileKey::try_from([3; 32].as_slice()).expect("32 bytes"),
        list_len: list.len() as u32,
    };
    let seal = offer.seal().expect("a sound offer");
    let chunks = bytes.chunks(1_024).zip(0..).map(|(chunk, index)| {
        let leaves = [leaf(&shape, index, chunk)];
        let proof = tree.proof(index, &leaves).expect("a proof");
        let mut buffer = chunk.to_vec();
        seal.seal(index, &mut buffer, 0, &proof).expect("sealed");
        buffer
    });
    let chunks = chunks.collect();
    (offer, chunks)
}

fn entry(path: &str, len: u64) -> Entry {
    Entry {
        path: path.to_owned(),
        len,
    }
}

/// Everything below a directory, symlinks as themselves.
fn everything(dir: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in std::fs::read_dir(&next).expect("there") {
            let path = entry.expect("an entry").path();
            if path.symlink_metadata().expect("there").is_dir() {
                dirs.push(path.clone());
            }
            found.push(path.strip_prefix(dir).expect("below").display().to_string());
        }
    }
    found.sort();
    found
}

#[test]
fn hostile_paths_of_a_folder_stay_in_it() {
    let place = Place::new();
    let hostile = [
        "../../../escape",
        "/etc/cron.d/x",
        "a/../../b",
        "..",
        ".",
        "C:\\x",
        "\\\\?\\x",
        "nul\0l",
        "CON/aux.txt",
        "a/.ssh/authorized_keys",
        "a\u{202e}b/~/-rf",
        "A",
        "a",
    ];
    let entries: Vec<Entry> = hostile.iter().map(|path| entry(path, 3)).collect();
    let (offer, chunks) = forged(&entries, list::encode(&entries).expect("a list"));
    let inbox = place.inbox();
    let mut sink = receiving(&inbox, &offer);
    for (chunk, index) in chunks.into_iter().zip(0..) {
        sink.accept(index, &mut chunk.clone()).expect("accepted");
    }
    let at = sink.finish().expect("finished");
    drop(sink);
    inbox.forget(offer.id).expect("forgotten");
    assert_eq!(at, place.path("inbox/forged"));
    let outside: Vec<String> = everything(place.dir.path())
        .into_iter()
        .filter(|path| !path.starts_with("inbox/forged/"))
        .collect();
    assert_eq!(outside, ["inbox", "inbox/.beeline-parts", "inbox/forged"]);
    let files = everything(&at);
    let files = files.iter().filter(|path| at.join(path).is_file());
    assert_eq!(files.count(), hostile.len(), "each has a place of its own");
}

#[test]
fn a_list_that_lies_is_refused_and_nothing_is_made() {
    let good = list::encode(&[entry("a", 2_000), entry("b", 3_000)]).expect("a list");
    let too_long = list::encode(&[entry("a", 2_000), entry("b", 3_001)]).expect("a list");
    let dir = list::encode(&[entry("a/", 2_000), entry("b", 3_000)]).expect("a list");
    let huge = list::encode(&[entry("a", u64::MAX), entry("b", 3)]).expect("a list");
    let garbage = vec![0xff; good.len()];
    for list in [too_long, dir, huge, garbage] {
        let place = Place::new();
        let (offer, mut chunks) = forged(&[entry("a", 2_000), entry("b", 3_000)], list);
        let mut sink = receiving(&place.inbox(), &offer);
        let refused = sink.accept(0, &mut chunks[0]).expect_err("a lie");
        assert!(
            matches!(refused, FilesError::Content(FileError::List)),
            "{refused}"
        );
        assert!(refused.is_peers_fault() && !sink.has(0));
        assert!(place.received().is_empty());
    }
}

#[test]
fn offers_that_cannot_be_are_refused_before_anything_is_made() {
    let place = Place::new();
    let sender = Sender::of(&place.file("x", &content(5_000, 1)));
    let inbox = place.inbox();
    let offer = Offer {
        list_len: 5_001,
        ..sender.offer.clone()
    };
    let refused = inbox.begin(&offer, 0).map(|_| ());
    assert!(matches!(refused, Err(FilesError::Content(FileError::List))));
    let offer = Offer {
        shape: Shape::new(0, 1_024).expect("a shape"),
        ..sender.offer.clone()
    };
    let refused = inbox.begin(&offer, 0).map(|_| ());
    assert!(matches!(refused, Err(FilesError::Content(FileError::Root))));
    assert!(inbox.kept().expect("listed").is_empty());
}

#[test]
fn chunks_that_do_not_belong_change_nothing() {
    let place = Place::new();
    let mut sender = Sender::of(&place.file("x", &content(5_000, 1)));
    let mut other = Sender::of(&place.file("y", &content(5_000, 2)));
    let inbox = place.inbox();
    let mut sink = receiving(&inbox, &sender.offer);
    let good = sender.sealed(1).expect("a chunk");
    let flipped = good.iter().map(|byte| byte ^ 1).collect();
    let cases: [(&str, u32, Vec<u8>, FileError); 7] = [
        (
            "of another file",
            1,
            other.sealed(1).expect("a chunk"),
            FileError::DoesNotOpen,
        ),
        ("at another place", 2, good.clone(), FileError::DoesNotOpen),
        ("altered", 1, flipped, FileError::DoesNotOpen),
        ("cut", 1, good[1..].to_vec(), FileError::Length),
        ("empty", 1, Vec::new(), FileError::Length),
        ("behind the end", 5, good.clone(), FileError::NoSuchChunk),
        ("far behind it", u32::MAX, good, FileError::NoSuchChunk),
    ];
    for (what, index, mut bytes, error) in cases {
        let refused = sink.accept(index, &mut bytes).expect_err(what);
        assert!(refused.is_peers_fault(), "{what}");
        let FilesError::Content(got) = refused else {
            panic!("{what}: {refused}");
        };
        assert_eq!(got, error, "{what}");
        assert_eq!(sink.have_bytes(), 0, "{what}");
    }
    assert!(matches!(sink.finish(), Err(FilesError::Incomplete)));
    sender.give_all(&mut sink);
    sink.finish().expect("the rest was not harmed");
}

#[test]
fn a_symlink_at_the_name_is_neither_followed_nor_replaced() {
    let place = Place::new();
    let victim = place.file("victim", b"precious");
    let sent = place.file("a.txt", b"new");
    let inbox = place.inbox();
    symlink(&victim, place.path("inbox/a.txt")).expect("linked");
    symlink(place.path("nowhere"), place.path("inbox/a (2).txt")).expect("linked");
    let at = super::send(&place, &sent);
    assert_eq!(at, place.path("inbox/a (3).txt"));
    assert_eq!(std::fs::read(&victim).expect("there"), b"precious");
    assert!(!place.path("nowhere").exists());
    drop(inbox);
}

#[test]
fn symlinks_among_the_parts_are_not_followed() {
    let place = Place::new();
    let victim = place.file("victim", b"precious");
    let mut sender = Sender::of(&place.file("x", &content(5_000, 1)));
    let inbox = place.inbox();
    let parts = place.path("inbox/.beeline-parts");
    for kind in ["part", "have"] {
        let link = parts.join(format!("{}.{kind}", sender.offer.id));
        symlink(&victim, &link).expect("linked");
        let refused = inbox.begin(&sender.offer, 0).map(|_| ());
        assert!(
            matches!(refused, Err(FilesError::Disk { .. })),
            "{refused:?}"
        );
        std::fs::remove_file(link).expect("removed");
        inbox.forget(sender.offer.id).expect("forgotten");
    }
    assert_eq!(std::fs::read(&victim).expect("there"), b"precious");
    let mut sink = receiving(&inbox, &sender.offer);
    sender.give_all(&mut sink);
    sink.finish().expect("finished");
}

#[test]
fn symlinks_in_a_folder_that_is_being_received_are_not_followed() {
    let place = Place::new();
    std::fs::create_dir(place.path("elsewhere")).expect("made");
    place.file("f/sub/x", &content(5_000, 1));
    let mut sender = Sender::of(&place.path("f"));
    let inbox = place.inbox();
    let mut sink = receiving(&inbox, &sender.offer);
    let tree = place.path(&format!("inbox/.beeline-parts/{}.tree", sender.offer.id));
    symlink(place.path("elsewhere"), tree.join("sub")).expect("linked");
    let refused = sender.give(&mut sink, 0).expect_err("a symlink");
    assert!(matches!(refused, FilesError::Disk { .. }), "{refused}");
    assert!(everything(&place.path("elsewhere")).is_empty());
    drop(sink);
    inbox
        .forget(sender.offer.id)
        .expect("forgotten, the link too");
    assert!(place.path("elsewhere").exists());
}

#[test]
fn the_hidden_folder_may_not_be_a_symlink() {
    let place = Place::new();
    std::fs::create_dir_all(place.path("inbox")).expect("made");
    std::fs::create_dir(place.path("elsewhere")).expect("made");
    symlink(place.path("elsewhere"), place.path("inbox/.beeline-parts")).expect("linked");
    let refused = crate::files::Inbox::open(&place.path("inbox")).map(|_| ());
    assert!(
        matches!(refused, Err(FilesError::Disk { .. })),
        "{refused:?}"
    );
}
