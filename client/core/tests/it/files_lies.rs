//! Lies about files, signed by members: offers that cannot be, chunks nobody has, ends that are
//! none of theirs. They cost the liar its file and nobody anything else.

use crate::files::{assert_settled, is_done, moved, offer, stages, two};
use crate::tap::{counted, frame, items, reword};
use beeline_proto::limits::{FILE_LEN_MAX, FILE_RANGES_MAX, FOLDER_FILES_MAX};
use beeline_proto::pb::peer::v1::peer_item::Kind;
use beeline_proto::pb::peer::v1::{FileAccept, FileDone, FileOffer, FileRange, FileState};
use client_core::files::io::FileStage;
use client_core::output::SignalKind;
use client_core::testing::{NodeId, World};

const MIB: u64 = 1024 * 1024;

/// From now on what this node says on links is changed by `lie`, where it says so.
fn lies(world: &mut World, liar: NodeId, mut lie: impl FnMut(Kind) -> Kind + 'static) {
    world.on_frame = Some(Box::new(move |from, _, bytes| {
        if from != liar {
            return vec![bytes];
        }
        items(&bytes)
            .into_iter()
            .map(|kind| frame(lie(kind)))
            .collect()
    }));
}

/// Changes an offer.
type Lie = fn(&mut FileOffer);

#[test]
fn an_offer_that_cannot_be_is_refused_before_anything_is_written() {
    let lies_about: &[(&str, Lie)] = &[
        ("2^32 chunks", |o| (o.size, o.chunk_size) = (1 << 42, 1_024)),
        ("more chunks than a file may have", |o| {
            (o.size, o.chunk_size) = (FILE_LEN_MAX, 1_024);
        }),
        ("a byte too many", |o| o.size = FILE_LEN_MAX + 1),
        ("all there is", |o| o.size = u64::MAX),
        ("no chunk size", |o| o.chunk_size = 0),
        ("an odd chunk size", |o| o.chunk_size = 65_535),
        ("small chunks", |o| o.chunk_size = 512),
        ("large chunks", |o| o.chunk_size = 131_072),
        ("a list longer than all", |o| o.list_len = 20 << 20),
        ("files without a list", |o| o.files = 3),
        ("too many files", |o| {
            (o.list_len, o.files) = (9, FOLDER_FILES_MAX as u32 + 1)
        }),
        ("no root", |o| o.root.clear()),
        ("half a key", |o| o.file_key.truncate(16)),
        ("no name", |o| o.name.clear()),
        ("a long name", |o| o.name = "x".repeat(256)),
    ];
    for (what, lie) in lies_about {
        let (mut world, alice, carol) = two(40);
        let (user, lie) = (world.node(alice).user.clone(), *lie);
        lies(&mut world, alice, move |kind| match kind {
            Kind::FileOffer(parcel) => {
                Kind::FileOffer(reword(&user, &parcel, lie).expect("an offer"))
            }
            kind => kind,
        });
        // The lie has no other way.
        world.on_signal = Some(Box::new(|frame| match frame.kind {
            SignalKind::RelayRequest => Vec::new(),
            _ => vec![frame],
        }));
        world.send_file(alice, "carol", "lie", 5 * MIB);
        world.drive(10_000);
        assert!(stages(&world, carol).is_empty(), "{what}");
        assert!(world.node(carol).store.files.incoming.is_empty(), "{what}");
        assert_eq!(world.node(alice).disk.sent, 0, "{what}");
        // What is true afterwards goes through.
        world.on_frame = None;
        world.send_file(alice, "carol", "truth", 5 * MIB);
        assert!(
            world.drive_until(120_000, |w| !w.node(carol).disk.done.is_empty()),
            "{what}"
        );
    }
}

/// Changes what is asked for.
type Ask = fn(&mut FileAccept);

fn range(from: u64, count: u64) -> FileRange {
    FileRange { from, count }
}

#[test]
fn asking_for_chunks_nobody_has_gets_none() {
    let asks: &[(&str, Ask)] = &[
        ("behind the end", |a| a.wanted = vec![range(80, 1)]),
        ("far behind it", |a| {
            a.wanted = vec![range(1 << 32, 1 << 32)]
        }),
        ("around the end of numbers", |a| {
            a.wanted = vec![range(u64::MAX, 2)]
        }),
        ("nothing", |a| a.wanted = vec![range(3, 0)]),
        ("twice", |a| a.wanted = vec![range(0, 10), range(5, 10)]),
        ("backwards", |a| a.wanted = vec![range(10, 1), range(0, 1)]),
        ("in too many pieces", |a| {
            a.wanted = (0..=FILE_RANGES_MAX as u64).map(|n| range(n, 1)).collect();
        }),
        ("all from nowhere on", |a| {
            (a.wanted, a.from_chunk) = (Vec::new(), 1 << 40)
        }),
        ("of no file", |a| a.offer_id.clear()),
    ];
    for (what, ask) in asks {
        let (mut world, alice, carol) = two(41);
        let (user, ask) = (world.node(carol).user.clone(), *ask);
        lies(&mut world, carol, move |kind| match kind {
            Kind::FileAccept(parcel) => {
                Kind::FileAccept(reword(&user, &parcel, ask).expect("an accept"))
            }
            kind => kind,
        });
        world.send_file(alice, "carol", "asked", 5 * MIB);
        world.drive(10_000);
        assert_eq!(world.node(alice).disk.sent, 0, "{what}");
        assert!(counted(&world, alice, "file-accept-refused") > 0, "{what}");
        // It may still ask for what there is.
        world.on_frame = None;
        assert!(world.drive_until(120_000, |w| is_done(w, alice)), "{what}");
        world.drive(2_000);
        assert_settled(&world, &[alice, carol]);
    }
}

#[test]
fn nobody_else_ends_a_file() {
    for complete in [true, false] {
        let (mut world, alice, carol) = two(42);
        let mallory = world.member_stopped("mallory");
        world.node_mut(mallory).files = crate::files::anything();
        world.start(mallory);
        world.drive(50);
        world.timing.link_ms = 20;
        world.send_file(alice, "carol", "big", 200 * MIB);
        assert!(world.drive_until(60_000, |w| moved(w, carol) > 5 * MIB));
        let id = offer(&world, alice);
        let user = world.node(mallory).user.clone();
        lies(&mut world, mallory, move |kind| match kind {
            Kind::FileDone(parcel) => {
                let lie = |done: &mut FileDone| {
                    (done.offer_id, done.complete) = (id.to_vec(), complete);
                };
                Kind::FileDone(reword(&user, &parcel, lie).expect("an end"))
            }
            Kind::FileState(state) => Kind::FileState(FileState {
                offer_id: id.to_vec(),
                written: u64::MAX,
                paused: true,
                closed: true,
                ..state
            }),
            kind => kind,
        });
        world.send_file(alice, "mallory", "bait", 5 * MIB);
        let baited = |w: &World| !w.node(mallory).disk.done.is_empty();
        assert!(world.drive_until(60_000, baited));
        world.drive(100);
        assert!(
            world.node(carol).disk.done.is_empty(),
            "it is not through yet"
        );
        assert!(!is_done(&world, alice));
        let there = |w: &World| w.node(carol).disk.done.len() == 1;
        assert!(world.drive_until(300_000, there));
        let paused = FileStage::Paused { by_us: false };
        assert!(!stages(&world, alice).contains(&paused));
        let again = world.node(alice).disk.sent - (200 + 5) * 16;
        assert_eq!(again, 0, "it went on all the time");
    }
}
