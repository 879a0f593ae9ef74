//! What arrives is what was sent: files, empty files, folders, in any order; and what does not fit,
//! changed meanwhile or is no file is refused with the right words.

use super::{Place, Sender, content, receiving, send};
use crate::files::{FilesError, Opened, Survey};
use beeline_proto::file::FileError;
use proptest::prelude::*;
use std::os::unix::fs::PermissionsExt as _;

fn mode(path: &std::path::Path) -> u32 {
    let meta = std::fs::symlink_metadata(path).expect("there");
    meta.permissions().mode() & 0o7777
}

#[test]
fn a_file_arrives_privately_under_its_name() {
    for len in [0, 1, 1_023, 1_024, 1_025, 65_536, 65_537, 300_000] {
        let place = Place::new();
        let bytes = content(len, 1);
        let sent = place.file("dir/a file.bin", &bytes);
        std::fs::set_permissions(&sent, std::fs::Permissions::from_mode(0o755)).expect("set");
        let at = send(&place, &sent);
        assert_eq!(at, place.path("inbox/a file.bin"));
        assert!(std::fs::read(&at).expect("there") == bytes, "{len}");
        assert_eq!(mode(&at), 0o600);
        assert_eq!(mode(&place.path("inbox/.beeline-parts")), 0o700);
        assert_eq!(place.received(), ["a file.bin"]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn chunks_come_in_any_order_and_again(
        len in 1..30_000usize,
        mut order in Just((0..30u32).collect::<Vec<_>>()).prop_shuffle(),
        again in proptest::collection::vec(0..30usize, 0..20),
    ) {
        let place = Place::new();
        let bytes = content(len, 2);
        let mut sender = Sender::of(&place.file("x", &bytes));
        let inbox = place.inbox();
        let mut sink = receiving(&inbox, &sender.offer);
        order.retain(|index| *index < sender.chunks());
        let again = again.iter().filter_map(|at| order.get(*at));
        let order: Vec<u32> = order.iter().chain(again).copied().collect();
        let mut model = std::collections::BTreeSet::new();
        for index in order {
            let accepted = sender.give(&mut sink, index).expect("accepted");
            let new = model.insert(index);
            let want = if new { sender.offer.shape.data_len(index) } else { Some(0) };
            prop_assert_eq!(Some(accepted.new_bytes as usize), want);
            let have = model.iter().filter_map(|at| sender.offer.shape.data_len(*at));
            prop_assert_eq!(sink.have_bytes(), have.sum::<usize>() as u64);
            let missing: Vec<u32> = sink.missing().flatten().collect();
            let want = (0..sender.chunks()).filter(|at| !model.contains(at));
            prop_assert_eq!(missing, want.collect::<Vec<_>>());
        }
        prop_assert!(sink.is_complete());
        let at = sink.finish().expect("finished");
        prop_assert!(std::fs::read(at).expect("there") == bytes);
    }
}

#[test]
fn a_folder_arrives_as_it_was_under_names_of_ours() {
    let place = Place::new();
    let files = [
        ("album/1.jpg", 5_000),
        ("album/2.jpg", 0),
        ("album/sub/deep/er/x", 70_000),
        ("album/sub/.hidden", 10),
        ("album/sub/z", 1),
    ];
    for (at, (name, len)) in files.iter().enumerate() {
        place.file(name, &content(*len, at));
    }
    std::fs::create_dir_all(place.path("album/sub/bare/of all")).expect("made");
    std::os::unix::fs::symlink("/etc/hostname", place.path("album/link")).expect("linked");
    let survey = Survey::of(&place.path("album")).expect("there");
    assert_eq!(
        (survey.files(), survey.skipped(), survey.name()),
        (5, 1, "album")
    );
    let at = send(&place, &place.path("album"));
    assert_eq!(at, place.path("inbox/album"));
    for (number, (name, len)) in files.iter().enumerate() {
        let got = place.path("inbox").join(name.replace(".hidden", "hidden"));
        assert!(
            std::fs::read(&got).expect("there") == content(*len, number),
            "{name}"
        );
        assert_eq!(mode(&got), 0o600);
    }
    assert_eq!(mode(&at), 0o700);
    assert_eq!(mode(&at.join("sub/deep")), 0o700);
    assert!(!at.join("link").exists());
    assert_eq!(mode(&at.join("sub/bare/of all")), 0o700);
}

#[test]
fn names_that_are_no_text_arrive_under_what_can_be_read_of_them() {
    use std::os::unix::ffi::OsStrExt as _;
    let place = Place::new();
    place.file("odd/plain", &content(10, 0));
    let odd = [b"odd/caf\xe9".as_slice(), b"odd/caf\xff", b"odd/\xfe/x"];
    for (at, name) in odd.iter().enumerate() {
        let path = place.path("").join(std::ffi::OsStr::from_bytes(name));
        std::fs::create_dir_all(path.parent().expect("below")).expect("made");
        std::fs::write(path, content(2_000, at + 1)).expect("written");
    }
    let at = send(&place, &place.path("odd"));
    let names = ["caf\u{fffd}", "caf\u{fffd} (2)", "\u{fffd}/x"];
    for (number, name) in names.iter().enumerate() {
        let got = std::fs::read(at.join(name)).expect("there");
        assert!(got == content(2_000, number + 1), "{name}");
    }
}

#[test]
fn a_thousand_small_files_are_a_few_chunks() {
    let place = Place::new();
    for n in 0..1_000 {
        place.file(&format!("many/{}/{n}", n % 7), &content(100, n));
    }
    let sender = Sender::with_frames(&place.path("many"), 70_000);
    assert!(sender.chunks() < 4, "{}", sender.chunks());
    let at = send(&place, &place.path("many"));
    for n in 0..1_000 {
        let got = std::fs::read(at.join(format!("{}/{n}", n % 7))).expect("there");
        assert!(got == content(100, n), "{n}");
    }
}

#[test]
fn nothing_of_a_folder_comes_before_its_list() {
    let place = Place::new();
    for n in 0..200 {
        place.file(&format!("f/{n}"), &content(100, n));
    }
    let mut sender = Sender::of(&place.path("f"));
    let listed = sender.offer.list_len.div_ceil(1_024);
    assert!(listed > 1);
    let inbox = place.inbox();
    let mut sink = receiving(&inbox, &sender.offer);
    let refused = sender.give(&mut sink, listed).expect_err("too early");
    assert!(matches!(refused, FilesError::ListFirst) && refused.is_peers_fault());
    // Its last chunk holds files too, which nobody can place yet.
    let refused = sender.give(&mut sink, listed - 1).expect_err("too early");
    assert!(matches!(refused, FilesError::ListFirst));
    assert_eq!(sink.have_bytes(), 0);
    sender.give_all(&mut sink);
    sink.finish().expect("finished");
}

#[test]
fn a_name_that_is_taken_gets_a_number_and_nothing_is_overwritten() {
    let place = Place::new();
    let sent = place.file("a.txt", b"new");
    place.file("inbox/a.txt", b"old");
    place.file("inbox/a (2).txt", b"older");
    assert_eq!(send(&place, &sent), place.path("inbox/a (3).txt"));
    assert_eq!(
        std::fs::read(place.path("inbox/a.txt")).expect("there"),
        b"old"
    );
    let folder = place
        .file("d/x", b"new")
        .parent()
        .expect("below")
        .to_owned();
    place.file("inbox/d", b"a file");
    assert_eq!(send(&place, &folder), place.path("inbox/d (2)"));
    assert_eq!(send(&place, &folder), place.path("inbox/d (3)"));
    assert_eq!(
        std::fs::read(place.path("inbox/d (2)/x")).expect("there"),
        b"new"
    );
}

#[test]
fn what_does_not_fit_is_not_begun() {
    let place = Place::new();
    let sender = Sender::of(&place.file("x", &content(5_000, 1)));
    let inbox = place.inbox();
    let refused = inbox.begin(&sender.offer, u64::MAX).map(|_| ());
    let Err(FilesError::NoRoom { need, free, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert!(need > free);
    assert!(inbox.begin(&sender.offer, 0).is_ok());
}

#[test]
fn a_file_that_changes_is_noticed_and_never_sealed() {
    let place = Place::new();
    let path = place.file("x", &content(5_000, 1));
    let mut sender = Sender::of(&path);
    sender.sealed(2).expect("unchanged");
    let mut changed = content(5_000, 1);
    changed[2_048] ^= 1;
    std::fs::write(&path, &changed).expect("written");
    let refused = sender.sealed(2).expect_err("changed");
    assert!(
        matches!(&refused, FilesError::Changed(at) if at.ends_with("x")),
        "{refused}"
    );
    sender.sealed(3).expect("this chunk is as it was");
    std::fs::write(&path, &changed[..4_500]).expect("cut");
    assert!(matches!(sender.sealed(4), Err(FilesError::Changed(_))));
    // Between looking and hashing.
    let survey = Survey::of(&path).expect("there");
    let shape = survey.shape(1_200).expect("it fits");
    std::fs::write(&path, b"short").expect("cut");
    let refused = survey.hash(shape, &mut |_| true).map(|_| ());
    assert!(
        matches!(refused, Err(FilesError::Changed(_))),
        "{refused:?}"
    );
}

#[test]
fn the_same_folder_gives_the_same_root_and_another_another() {
    let place = Place::new();
    for n in 0..20 {
        place.file(&format!("f/{n}"), &content(100, n));
    }
    let (one, two) = (Sender::of(&place.path("f")), Sender::of(&place.path("f")));
    assert_eq!(one.offer.root, two.offer.root);
    place.file("f/7", &content(100, 8));
    assert_ne!(Sender::of(&place.path("f")).offer.root, one.offer.root);
}

#[test]
fn hashing_can_be_stopped_and_tells_how_far_it_is() {
    let place = Place::new();
    let path = place.file("x", &content(3_000_000, 1));
    let survey = Survey::of(&path).expect("there");
    let shape = survey.shape(70_000).expect("it fits");
    let mut told = Vec::new();
    let whole = survey.clone().hash(shape, &mut |done| {
        told.push(done);
        true
    });
    assert_eq!(
        whole.expect("hashed").root().0,
        root_of(&content(3_000_000, 1))
    );
    assert_eq!(told, [1 << 20, 2 << 20, 3_000_000]);
    let stopped = survey.hash(shape, &mut |_| false).map(|_| ());
    assert!(matches!(stopped, Err(FilesError::Stopped)));
}

fn root_of(bytes: &[u8]) -> [u8; 32] {
    beeline_proto::file::tree::root_of(bytes).0
}

#[test]
fn what_is_no_file_is_not_offered() {
    let place = Place::new();
    let missing = Survey::of(&place.path("nothing")).map(|_| ());
    assert!(
        matches!(missing, Err(FilesError::Disk { .. })),
        "{missing:?}"
    );
    std::fs::create_dir_all(place.path("empty/too")).expect("made");
    let empty = Survey::of(&place.path("empty")).map(|_| ());
    assert!(
        matches!(empty, Err(FilesError::FolderEmpty(_))),
        "{empty:?}"
    );
    let device = Survey::of("/dev/null".as_ref()).map(|_| ());
    assert!(matches!(device, Err(FilesError::NotAFile(_))), "{device:?}");
    let mut deep = place.path("deep");
    for _ in 0..40 {
        deep.push("d");
    }
    std::fs::create_dir_all(&deep).expect("made");
    let deep = Survey::of(&place.path("deep")).map(|_| ());
    assert!(
        matches!(deep, Err(FilesError::FolderTooLarge(_))),
        "{deep:?}"
    );
}

#[test]
fn a_source_seals_only_for_its_own_offer() {
    let place = Place::new();
    let mut one = Sender::of(&place.file("x", &content(5_000, 1)));
    let two = Sender::of(&place.file("y", &content(5_000, 2)));
    let refused = one.source.frame(&two.seal, two.offer.id, 0).map(|_| ());
    assert!(matches!(refused, Err(FilesError::Content(FileError::Root))));
    let refused = one.source.frame(&one.seal, one.offer.id, 99).map(|_| ());
    assert!(matches!(
        refused,
        Err(FilesError::Content(FileError::NoSuchChunk))
    ));
}

#[test]
fn what_is_forgotten_is_gone_and_what_is_kept_is_listed() {
    let place = Place::new();
    place.file("f/x", &content(5_000, 1));
    for path in ["f", "f/x"] {
        let mut sender = Sender::of(&place.path(path));
        let inbox = place.inbox();
        let mut sink = receiving(&inbox, &sender.offer);
        sender.give(&mut sink, 0).expect("accepted");
        drop(sink);
        assert_eq!(inbox.kept().expect("listed"), [sender.offer.id]);
        inbox.forget(sender.offer.id).expect("forgotten");
        inbox.forget(sender.offer.id).expect("again is no error");
        assert!(inbox.kept().expect("listed").is_empty());
        assert!(matches!(
            inbox.begin(&sender.offer, 0),
            Ok(Opened::Receiving(_))
        ));
        inbox.forget(sender.offer.id).expect("forgotten");
    }
}
