//! What survives: `kill -9` at every act, a power cut after any, a disk that fills or fails.

use super::disk::TestDisk;
use super::{Place, Sender, content, receiving};
use crate::files::limits::CHECKPOINT_EVERY;
use crate::files::{FilesError, Inbox, Offer, Opened, Sink};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

const BOOT: [u8; 16] = [1; 16];
const NEXT_BOOT: [u8; 16] = [2; 16];

/// Twenty chunks and a half.
const LEN: usize = 20 * 1_024 + 500;

fn inbox(place: &Place, disk: &Arc<TestDisk>, boot: [u8; 16]) -> Inbox {
    Inbox::with(&place.path("inbox"), Arc::<TestDisk>::clone(disk), boot).expect("opened")
}

/// A file or a folder of about [`LEN`] bytes.
fn sender(place: &Place, folder: bool) -> Sender {
    if folder {
        place.file("sent/a", &content(3_000, 1));
        place.file("sent/b/c", &content(LEN - 3_000, 2));
        place.file("sent/b/empty", b"");
        Sender::of(&place.path("sent"))
    } else {
        Sender::of(&place.file("sent", &content(LEN, 0)))
    }
}

/// The chunks that are said to be there are there, byte for byte.
fn honest(place: &Place, sender: &mut Sender, sink: &Sink) {
    let part = place
        .path("inbox/.beeline-parts")
        .join(format!("{}.part", sender.offer.id));
    let Ok(held) = std::fs::read(part) else {
        return;
    };
    let sent = std::fs::read(place.path("sent")).expect("there");
    for index in (0..sender.chunks()).filter(|index| sink.has(*index)) {
        let range = sender.offer.shape.range(index).expect("a chunk");
        let range = range.start as usize..range.end as usize;
        assert_eq!(held[range.clone()], sent[range], "chunk {index}");
    }
}

/// Receives what is missing and compares.
fn complete(place: &Place, sender: &mut Sender, inbox: &Inbox, folder: bool) {
    let path = match inbox.begin(&sender.offer, 0).expect("begun") {
        Opened::Finished(path) => path,
        Opened::Receiving(mut sink) => {
            honest(place, sender, &sink);
            sender.give_all(&mut sink);
            sink.finish().expect("finished")
        }
    };
    inbox.forget(sender.offer.id).expect("forgotten");
    assert_eq!(path, place.path("inbox/sent"));
    assert_eq!(place.received(), ["sent"], "once, and nothing else");
    let pairs: &[&str] = if folder {
        &["sent/a", "sent/b/c", "sent/b/empty"]
    } else {
        &["sent"]
    };
    for name in pairs {
        let sent = std::fs::read(place.path(name)).expect("there");
        let got = std::fs::read(place.path("inbox").join(name)).expect("arrived");
        assert!(sent == got, "{name}");
    }
    assert!(inbox.kept().expect("listed").is_empty());
}

/// Receives chunks in the order given, with a checkpoint where the last bit says so, until the disk
/// stops. Returns how many chunks were accepted.
fn receive(sink: &mut Sink, sender: &mut Sender, order: &[(u32, bool)]) -> u32 {
    let mut accepted = 0;
    for (index, checkpoint) in order {
        match sender.give(sink, *index) {
            Ok(_) => accepted += 1,
            Err(FilesError::ListFirst) => {}
            Err(_) => return accepted,
        }
        if *checkpoint && sink.checkpoint().run().is_err() {
            return accepted;
        }
    }
    // The name may be given, or not any more.
    let _ = sink.finish();
    accepted
}

fn missing(sink: &Sink) -> Vec<u32> {
    sink.missing().flatten().collect()
}

#[test]
fn a_process_may_be_killed_at_every_act() {
    for folder in [false, true] {
        // Until it was whole a few times, for acts that come after it too.
        let (mut acts, mut done) = (0, 0);
        while done < 4 {
            let place = Place::new();
            let mut sender = sender(&place, folder);
            let disk = TestDisk::new();
            disk.stop_after(acts);
            let order: Vec<_> = (0..sender.chunks()).map(|at| (at, at % 7 == 6)).collect();
            let accepted = match inbox(&place, &disk, BOOT).begin(&sender.offer, 0) {
                Ok(Opened::Receiving(mut sink)) => receive(&mut sink, &mut sender, &order),
                _ => 0,
            };
            let whole = place.received() == ["sent"];
            let again = inbox(&place, &TestDisk::new(), BOOT);
            match again.begin(&sender.offer, 0).expect("begun") {
                // All that was accepted, and perhaps the chunk that was under way.
                Opened::Receiving(sink) => {
                    let missing: u32 = sink.missing().map(|range| range.end - range.start).sum();
                    let held = sender.chunks() - missing;
                    assert!(held == accepted || held == accepted + 1, "{acts}: {held}");
                    assert!(!whole, "{acts}");
                }
                Opened::Finished(path) => assert!(whole, "{acts}: {}", path.display()),
            }
            complete(&place, &mut sender, &again, folder);
            done += u32::from(whole);
            acts += 1;
            assert!(acts < 200, "200 acts were not enough to finish");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn the_power_may_be_cut_after_any_act(
        folder in any::<bool>(),
        acts in 0..120u32,
        seed in any::<u64>(),
        order in proptest::collection::vec((0..22u32, prop::bool::weighted(0.15)), 0..40),
        boots in 1..3usize,
    ) {
        let place = Place::new();
        let mut sender = sender(&place, folder);
        for boot in 0..boots {
            let disk = TestDisk::new();
            disk.stop_after(acts / boots as u32);
            let boot = [boot as u8 + 1; 16];
            // In order first where a list must come first.
            let first = (0..3).map(|index| (index, false));
            let order = first.chain(order.iter().copied());
            let order: Vec<_> = order.filter(|(at, _)| *at < sender.chunks()).collect();
            let opened = inbox(&place, &disk, boot).begin(&sender.offer, 0);
            if let Ok(Opened::Receiving(mut sink)) = opened {
                honest(&place, &mut sender, &sink);
                receive(&mut sink, &mut sender, &order);
            }
            disk.cut_power(seed);
        }
        let again = inbox(&place, &TestDisk::new(), [9; 16]);
        complete(&place, &mut sender, &again, folder);
    }
}

#[test]
fn a_checkpoint_outlives_a_power_cut_and_the_rest_is_sent_again() {
    let place = Place::new();
    let mut sender = sender(&place, false);
    let disk = TestDisk::new();
    let mut sink = receiving(&inbox(&place, &disk, BOOT), &sender.offer);
    for index in 0..8 {
        sender.give(&mut sink, index).expect("accepted");
    }
    sink.checkpoint().run().expect("synced");
    for index in 8..12 {
        sender.give(&mut sink, index).expect("accepted");
    }
    drop(sink);
    let sink = receiving(&inbox(&place, &disk, BOOT), &sender.offer);
    assert_eq!(missing(&sink), (12..21).collect::<Vec<_>>(), "killed");
    assert_eq!(sink.have_bytes(), 12 * 1_024);
    drop(sink);
    let sink = receiving(&inbox(&place, &disk, NEXT_BOOT), &sender.offer);
    assert_eq!(missing(&sink), (8..21).collect::<Vec<_>>(), "started anew");
}

#[test]
fn a_checkpoint_is_due_after_so_much_and_one_at_a_time() {
    let place = Place::new();
    let whole = usize::try_from(CHECKPOINT_EVERY).expect("little");
    let mut sender = Sender::of(&place.file("sent", &content(3 * whole, 0)));
    let mut sink = receiving(&inbox(&place, &TestDisk::new(), BOOT), &sender.offer);
    let chunks = u32::try_from(CHECKPOINT_EVERY / 1_024).expect("few");
    let mut due = Vec::new();
    for index in 0..sender.chunks() - 1 {
        let accepted = sender.give(&mut sink, index).expect("accepted");
        due.extend(
            accepted
                .checkpoint
                .map(|checkpoint| (index + 1, checkpoint)),
        );
        // The first one takes as long as it takes to receive as much again, and half of it.
        if index + 1 == chunks * 5 / 2 {
            let (at, first) = due.pop().expect("one is due");
            assert_eq!((at, due.len()), (chunks, 0));
            first.run().expect("synced");
        }
    }
    assert_eq!(due.len(), 1);
    assert_eq!(due[0].0, chunks * 5 / 2 + 1, "at once, for more is due");
}

#[test]
fn a_full_disk_costs_a_chunk_and_the_transfer_goes_on_when_there_is_room() {
    let place = Place::new();
    let mut sender = sender(&place, false);
    let disk = TestDisk::new();
    let inbox = inbox(&place, &disk, BOOT);
    let mut sink = receiving(&inbox, &sender.offer);
    sender.give(&mut sink, 0).expect("accepted");
    disk.refuse_writes(Some(io::ErrorKind::StorageFull));
    let refused = sender.give(&mut sink, 1).expect_err("full");
    assert!(matches!(refused, FilesError::Full(_)), "{refused}");
    assert!(refused.is_ours_to_mend() && !refused.is_peers_fault());
    assert!(!sink.has(1));
    disk.refuse_writes(None);
    drop(sink);
    complete(&place, &mut sender, &inbox, false);
}

#[test]
fn a_file_that_no_longer_fits_keeps_what_is_there() {
    let place = Place::new();
    let mut sender = sender(&place, false);
    let inbox = inbox(&place, &TestDisk::new(), BOOT);
    let mut sink = receiving(&inbox, &sender.offer);
    sender.give(&mut sink, 0).expect("accepted");
    drop(sink);
    let refused = inbox.begin(&sender.offer, u64::MAX).map(|_| ());
    assert!(matches!(refused, Err(FilesError::Full(_))), "{refused:?}");
    let sink = receiving(&inbox, &sender.offer);
    assert!(sink.has(0));
    drop(sink);
    complete(&place, &mut sender, &inbox, false);
}

#[test]
fn what_nobody_waits_for_is_swept_and_nothing_of_other_homes() {
    for folder in [false, true] {
        let place = Place::new();
        let mut sender = sender(&place, folder);
        let disk = TestDisk::new();
        let ours = inbox(&place, &disk, BOOT).owned_by([1; 16]);
        let theirs = inbox(&place, &disk, BOOT).owned_by([2; 16]);
        let mut sink = receiving(&ours, &sender.offer);
        sender.give(&mut sink, 0).expect("accepted");
        drop(sink);
        let refused = theirs.begin(&sender.offer, 0).map(|_| ());
        assert!(matches!(refused, Err(FilesError::Foreign(_))));
        theirs.sweep(&BTreeSet::new()).expect("swept");
        let wanted = BTreeSet::from([sender.offer.id]);
        ours.sweep(&wanted).expect("swept");
        assert!(receiving(&ours, &sender.offer).has(0));
        ours.sweep(&BTreeSet::new()).expect("swept");
        assert!(ours.kept().expect("listed").is_empty());
        // A part alone: somebody was killed who removed it.
        let part = format!("inbox/.beeline-parts/{}.part", sender.offer.id);
        place.file(&part, b"left");
        ours.sweep(&wanted).expect("swept");
        assert_eq!(ours.kept().expect("listed"), [sender.offer.id]);
        ours.sweep(&BTreeSet::new()).expect("swept");
        assert!(ours.kept().expect("listed").is_empty());
    }
}

#[test]
fn after_a_failed_sync_only_what_was_synced_before_is_believed() {
    let place = Place::new();
    let mut sender = sender(&place, false);
    let disk = TestDisk::new();
    let inbox = inbox(&place, &disk, BOOT);
    let mut sink = receiving(&inbox, &sender.offer);
    sender.give(&mut sink, 0).expect("accepted");
    sink.checkpoint().run().expect("synced");
    sender.give(&mut sink, 1).expect("accepted");
    disk.refuse_syncs(Some(io::ErrorKind::Other));
    let refused = sink.checkpoint().run().expect_err("an error of the disk");
    assert!(matches!(refused, FilesError::Disk { .. }), "{refused}");
    disk.refuse_syncs(None);
    let refused = sender.give(&mut sink, 2).expect_err("in doubt");
    assert!(matches!(refused, FilesError::Broken), "{refused}");
    drop(sink);
    let sink = receiving(&inbox, &sender.offer);
    assert!(sink.has(0) && !sink.has(1) && !sink.has(2));
    drop(sink);
    complete(&place, &mut sender, &inbox, false);
}

#[test]
fn a_failed_sync_at_the_end_leaves_no_file_under_the_name() {
    let place = Place::new();
    let mut sender = sender(&place, false);
    let disk = TestDisk::new();
    let inbox = inbox(&place, &disk, BOOT);
    let mut sink = receiving(&inbox, &sender.offer);
    sender.give_all(&mut sink);
    disk.refuse_syncs(Some(io::ErrorKind::Other));
    sink.finish().expect_err("an error of the disk");
    assert!(place.received().is_empty());
    disk.refuse_syncs(None);
    drop(sink);
    complete(&place, &mut sender, &inbox, false);
}

#[test]
fn a_crash_between_the_two_steps_of_naming_is_mended() {
    let place = Place::new();
    let mut sender = sender(&place, false);
    let disk = TestDisk::new();
    let inbox = inbox(&place, &disk, BOOT);
    let mut sink = receiving(&inbox, &sender.offer);
    sender.give_all(&mut sink);
    sink.finish().expect("finished");
    drop(sink);
    // As where the file system cannot rename without overwriting: both names.
    let part = format!("inbox/.beeline-parts/{}.part", sender.offer.id);
    std::fs::hard_link(place.path("inbox/sent"), place.path(&part)).expect("linked");
    complete(&place, &mut sender, &inbox, false);
    assert!(!place.path(&part).exists());
}

#[test]
fn parts_of_another_content_or_cut_short_are_noticed() {
    let place = Place::new();
    let mut sender = sender(&place, false);
    let disk = TestDisk::new();
    let inbox = inbox(&place, &disk, BOOT);
    let mut sink = receiving(&inbox, &sender.offer);
    sender.give_all(&mut sink);
    drop(sink);
    let other = Offer {
        root: beeline_proto::file::Root([5; 32]),
        ..sender.offer.clone()
    };
    let refused = inbox.begin(&other, 0).map(|_| ());
    assert!(
        matches!(refused, Err(FilesError::Foreign(_))),
        "{refused:?}"
    );
    // Somebody cut the part, or removed it.
    let part = place.path(&format!("inbox/.beeline-parts/{}.part", sender.offer.id));
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(&part)
        .expect("there");
    file.set_len(5 * 1_024 + 7).expect("cut");
    let sink = receiving(&inbox, &sender.offer);
    assert_eq!(missing(&sink), (5..21).collect::<Vec<_>>());
    drop(sink);
    std::fs::remove_file(&part).expect("removed");
    let sink = receiving(&inbox, &sender.offer);
    assert_eq!(sink.have_bytes(), 0);
    drop(sink);
    complete(&place, &mut sender, &inbox, false);
}
