//! Hostile deposits, questions and deletes: each refused with its reason, cheaply, and nothing that
//! was accepted suffers.

use super::*;
use beeline_proto::pb::envelope::v1 as pb;
use beeline_proto::pb::peer::v1::{StoreDelete, StoreFetch, StorePage};
use client_core::Space;
use client_core::testing::User;
use prost::Message as _;

const INVALID: &str = "INVALID_ARGUMENT";
const DENIED: &str = "PERMISSION_DENIED";
const TOO_LARGE: &str = "TOO_LARGE";

/// A parcel with its header changed.
fn with_header(parcel: &[u8], change: impl FnOnce(&mut pb::ParcelHeader)) -> Vec<u8> {
    let mut parcel = pb::Parcel::decode(parcel).expect("a parcel");
    let mut header = pb::ParcelHeader::decode(parcel.header.as_slice()).expect("a header");
    change(&mut header);
    parcel.header = header.encode_to_vec();
    parcel.encode_to_vec()
}

/// The answer to a deposit with this ticket.
fn answer(scene: &mut Scene, parcel: Vec<u8>, ticket: Vec<u8>) -> Result<StoreReceipt, Refusal> {
    let (alice, bob) = (scene.alice, scene.bob);
    let before = scene.said.borrow().len();
    let item = Kind::StoreMessage(StoreMessage { parcel, ticket });
    scene.say(alice, bob, item);
    scene.world.drive(100);
    scene.answer(before, alice).expect("an answer")
}

type Change = fn(&mut pb::ParcelHeader);

/// What is done to the header of a good parcel.
const BAD_HEADERS: &[(&str, Change, &str)] = &[
    ("version 0", |h| h.version = 0, INVALID),
    ("version 2", |h| h.version = 2, INVALID),
    ("version max", |h| h.version = u32::MAX, INVALID),
    ("kind 0", |h| h.kind = 0, INVALID),
    ("kind CONTROL", |h| h.kind = 2, INVALID),
    ("kind max", |h| h.kind = i32::MAX, INVALID),
    ("for no time", |h| h.ttl_s = 0, INVALID),
    ("another network", |h| h.network[0] ^= 1, INVALID),
    ("a short network", |h| h.network.truncate(31), INVALID),
    ("a short recipient", |h| h.to_device.truncate(31), INVALID),
    ("a long recipient", |h| h.to_device.push(1), INVALID),
    ("no recipient", |h| h.to_device.clear(), INVALID),
    ("from nobody", |h| h.from_device.clear(), INVALID),
    ("from somebody else", |h| h.from_device[0] ^= 1, DENIED),
    ("a short key id", |h| h.key_id.truncate(15), INVALID),
];

/// What is done to the bytes of a good parcel.
fn bad_bytes(good: &[u8]) -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let cut = |by: usize| good[..good.len() - by].to_vec();
    vec![
        ("nothing", Vec::new(), INVALID),
        ("no parcel", vec![0xff; 100], INVALID),
        ("a byte too long", vec![0; 16_001], TOO_LARGE),
        ("as long as may be", vec![0; 16_000], INVALID),
        ("cut by one", cut(1), INVALID),
        ("cut in half", cut(good.len() / 2), INVALID),
        ("junk before", [&[0xff, 0xff][..], good].concat(), INVALID),
    ]
}

#[test]
fn deposits_that_cannot_be_kept_are_refused_with_their_reason() {
    let mut scene = Scene::new(21);
    let (alice, bob, carol) = (scene.alice, scene.bob, scene.carol);
    let good = scene.parcel(alice, carol, "good");
    let mut cases = bad_bytes(&good);
    for (what, change, code) in BAD_HEADERS {
        cases.push((what, with_header(&good, change), code));
    }
    let of_carol = scene.parcel(carol, alice, "of somebody else");
    cases.push(("of somebody else", of_carol, DENIED));
    let to_bob = scene.parcel(alice, bob, "for the custodian itself");
    cases.push(("for the custodian", to_bob, INVALID));
    let none = |(what, parcel, code)| (what, parcel, Vec::new(), code);
    let mut cases: Vec<_> = cases.into_iter().map(none).collect();
    for (what, ticket) in [
        ("a long ticket", vec![7; 1_025]),
        ("a ticket of junk", vec![7; 1_024]),
        ("a ticket of a byte", vec![0]),
    ] {
        cases.push((what, good.clone(), ticket, INVALID));
    }
    for (what, parcel, ticket, code) in cases {
        let refused = answer(&mut scene, parcel, ticket).expect_err(what);
        let said = (refused.code.as_str(), refused.retry_after_ms);
        assert_eq!(said, (code, 0), "{what}");
        assert_eq!((scene.kept(), scene.accounts().0), (0, 0), "{what}");
    }
}

#[test]
fn a_ticket_that_means_nothing_yet_opens_no_door_and_closes_none() {
    let mut scene = Scene::new(32);
    let (alice, carol) = (scene.alice, scene.carol);
    let good = scene.parcel(alice, carol, "good");
    let something = Hello {
        boot_id: vec![1],
        ..Hello::default()
    };
    let envelope = sign_as(&scene.world.node(alice).user, &something);
    answer(&mut scene, good.clone(), envelope).expect("kept");
    // And to oneself is for whoever has two devices.
    let me = fp(&scene.world, alice).to_vec();
    let own = with_header(&good, |header| header.to_device = me);
    answer(&mut scene, own, Vec::new()).expect("kept");
    assert_eq!(scene.kept(), 2);
}

#[test]
fn lifetimes_are_bounded_on_both_sides() {
    let mut scene = Scene::new(22);
    for (ttl_s, keep_s) in [
        (1, 1),
        (2, 2),
        (PARCEL_TTL_MAX_S - 1, PARCEL_TTL_MAX_S - 1),
        (PARCEL_TTL_MAX_S, PARCEL_TTL_MAX_S),
        (PARCEL_TTL_MAX_S + 1, PARCEL_TTL_MAX_S),
        (u32::MAX, PARCEL_TTL_MAX_S),
    ] {
        let parcel = scene.parcel(scene.alice, scene.carol, "how long");
        let parcel = with_header(&parcel, |header| header.ttl_s = ttl_s);
        let receipt = answer(&mut scene, parcel, Vec::new()).expect("kept");
        assert_eq!(receipt.keep_s, keep_s, "{ttl_s}");
    }
}

#[test]
fn whoever_does_not_keep_says_so() {
    let mut scene = Scene::with(23, |bob| bob.can_store = false);
    let parcel = scene.parcel(scene.alice, scene.carol, "no");
    let refused = scene
        .deposited(scene.alice, &parcel)
        .expect_err("it does not");
    assert_eq!(
        (refused.code.as_str(), refused.retry_after_ms),
        ("UNIMPLEMENTED", 0)
    );
    assert_eq!(scene.kept(), 0);
}

#[test]
fn whoever_keeps_no_more_still_hands_over_what_it_kept() {
    let mut scene = Scene::new(24);
    let parcel = scene.parcel(scene.alice, scene.carol, "promised");
    scene.deposited(scene.alice, &parcel).expect("kept");
    let bob = scene.bob;
    scene.world.crash(bob);
    scene.world.node_mut(bob).can_store = false;
    scene.world.drive(10_000);
    scene.world.start(bob);
    scene.world.drive(2_000);
    scene.start_carol();
    let carol = scene.carol;
    scene.world.send(carol, "bob", "a link");
    scene.world.drive(5_000);
    assert_eq!(scene.carol_got(), ["promised"]);
    assert_eq!(scene.kept(), 0);
}

fn fetch(scene: &Scene, from: NodeId, n: u8, after: Vec<u8>, limit: u32) -> Kind {
    let context = Some(scene.context(from, scene.bob, n));
    let fetch = StoreFetch {
        context,
        after,
        limit,
    };
    Kind::StoreFetch(sign_as(&scene.world.node(from).user, &fetch))
}

fn delete(scene: &Scene, by: NodeId, over: NodeId, ids: Vec<Vec<u8>>) -> Kind {
    let context = Some(scene.context(over, scene.bob, 99));
    let delete = StoreDelete {
        context,
        parcel_ids: ids,
    };
    Kind::StoreDelete(sign_as(&scene.world.node(by).user, &delete))
}

/// What the custodian hands to a node from now on.
fn handed(scene: &Scene, to: NodeId) -> (usize, Vec<StorePage>) {
    let said = scene.said.borrow();
    let to_it = said.iter().filter(|(f, t, _)| (*f, *t) == (scene.bob, to));
    let mut handed = (0, Vec::new());
    for (_, _, item) in to_it {
        match item {
            Kind::Kept(_) => handed.0 += 1,
            Kind::StorePage(page) => handed.1.push(page.clone()),
            _ => {}
        }
    }
    handed
}

#[test]
fn a_question_is_answered_for_the_asker_alone_and_within_its_bounds() {
    let mut scene = Scene::new(25);
    let (alice, bob, carol) = (scene.alice, scene.bob, scene.carol);
    let parcel = scene.parcel(alice, carol, "for carol only");
    scene.deposited(alice, &parcel).expect("kept");
    scene.said.borrow_mut().clear();
    // Alice asks: for her there is nothing.
    let ask = fetch(&scene, alice, 1, Vec::new(), 64);
    scene.say(alice, bob, ask);
    scene.world.drive(100);
    let (kept, pages) = handed(&scene, alice);
    assert_eq!((kept, pages.len()), (0, 1));
    assert!(!pages[0].more);
    // What cannot be asked.
    let bad: Vec<(Vec<u8>, u32)> = vec![
        (Vec::new(), 0),
        (Vec::new(), 65),
        (Vec::new(), u32::MAX),
        (vec![0; 7], 1),
        (vec![0; 9], 64),
        (vec![0; 32], 64),
        (vec![0; 33], 64),
    ];
    for (n, (after, limit)) in bad.into_iter().enumerate() {
        scene.said.borrow_mut().clear();
        let ask = fetch(&scene, alice, 10 + n as u8, after.clone(), limit);
        scene.say(alice, bob, ask);
        scene.world.drive(100);
        let refused = scene
            .answer(0, alice)
            .expect("an answer")
            .expect_err("refused");
        assert_eq!(refused.code, INVALID, "{after:?} {limit}");
        assert_eq!(refused.subject, vec![10 + n as u8; 16], "the question's id");
    }
    // From anywhere else: nothing there, and no harm.
    for (n, after) in [1, u64::MAX - 1, u64::MAX, 1 << 63].into_iter().enumerate() {
        scene.said.borrow_mut().clear();
        let ask = fetch(&scene, alice, 30 + n as u8, after.to_be_bytes().to_vec(), 1);
        scene.say(alice, bob, ask);
        scene.world.drive(100);
        assert_eq!(handed(&scene, alice).1.len(), 1);
    }
    assert_eq!(scene.kept(), 1);
}

#[test]
fn a_question_of_another_link_or_device_is_not_one() {
    let mut scene = Scene::new(26);
    let (alice, bob, carol) = (scene.alice, scene.bob, scene.carol);
    let parcel = scene.parcel(alice, carol, "for carol only");
    scene.deposited(alice, &parcel).expect("kept");
    let session = vec![3; 16];
    let network = scene.world.authority.network();
    let bob_key = key(&scene.world, bob);
    let of_carol: User = scene.world.node(carol).user.clone();
    scene.said.borrow_mut().clear();
    // Signed by Carol, said by Alice; and an old one of another link.
    let forged = StoreFetch {
        context: Some(scene.context(alice, bob, 1)),
        after: Vec::new(),
        limit: 64,
    };
    let old = StoreFetch {
        context: Some(context(network, &bob_key, &session, 2)),
        ..forged.clone()
    };
    let of_alice = scene.world.node(alice).user.clone();
    for envelope in [
        sign_as(&of_carol, &forged),
        sign_as(&of_alice, &old),
        vec![1, 2, 3],
    ] {
        scene.say(alice, bob, Kind::StoreFetch(envelope));
    }
    scene.world.drive(100);
    assert_eq!(handed(&scene, alice), (0, Vec::new()));
}

#[test]
fn nobody_deletes_for_others_and_deleting_twice_does_nothing() {
    let mut scene = Scene::new(27);
    let (alice, bob, carol) = (scene.alice, scene.bob, scene.carol);
    let parcel = scene.parcel(alice, carol, "mine to delete");
    scene.deposited(alice, &parcel).expect("kept");
    let id = id_of(&parcel).to_vec();
    // The depositor is not the recipient; and whatever is signed by the recipient counts only on
    // the recipient's own link.
    for item in [
        delete(&scene, alice, alice, vec![id.clone()]),
        delete(&scene, carol, alice, vec![id.clone()]),
        delete(&scene, alice, alice, Vec::new()),
        delete(&scene, alice, alice, vec![id.clone(); 65]),
        delete(&scene, alice, alice, vec![id[..31].to_vec()]),
        delete(&scene, alice, alice, vec![id.clone(), vec![0; 33]]),
    ] {
        scene.say(alice, bob, item);
        scene.world.drive(50);
        assert_eq!(scene.kept(), 1);
    }
    scene.start_carol();
    assert_eq!((scene.carol_got().len(), scene.kept()), (1, 0));
    for _ in 0..2 {
        let again = delete(&scene, carol, carol, vec![id.clone()]);
        scene.say(carol, bob, again);
        scene.world.drive(50);
        assert_eq!(scene.accounts(), (0, 0));
    }
    // Kept once more if it is left once more, and still shown once.
    scene.deposited(alice, &parcel).expect("kept");
    scene.world.drive(1_000);
    assert_eq!((scene.carol_got().len(), scene.kept()), (1, 0));
}

#[test]
fn all_devices_of_a_user_share_its_part() {
    let mut scene = Scene::with(28, |bob| {
        bob.keep.recipient = Space {
            parcels: 16 * 4,
            bytes: 1 << 40,
        };
    });
    let carol = scene.carol;
    let expires = u64::MAX / 2;
    let many = ["dave_1", "dave_2", "dave_3"];
    let dave = scene.world.authority.admit("dave", "dave", &many, expires);
    let devices: Vec<NodeId> = (0..3)
        .map(|n| {
            let id = scene.world.device_of(dave.clone(), n);
            scene.world.start(id);
            id
        })
        .collect();
    scene.world.drive(2_000);
    for id in &devices {
        scene.world.send(*id, "bob", "hello");
    }
    scene.world.drive(5_000);
    let mut outcomes = Vec::new();
    for n in 0..6 {
        let from = devices[n % 3];
        let parcel = scene.parcel(from, carol, &n.to_string());
        let parcel = with_header(&parcel, |header| {
            header.from_device = fp(&scene.world, from).to_vec();
        });
        outcomes.push(
            scene
                .deposited(from, &parcel)
                .map_err(|refused| refused.code),
        );
    }
    let kept = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!((kept, scene.kept()), (4, 4), "{outcomes:?}");
    // Others still have theirs.
    let parcel = scene.parcel(scene.alice, carol, "alice");
    scene.deposited(scene.alice, &parcel).expect("kept");
}

#[test]
fn too_many_deposits_of_one_user_wait_and_say_how_long() {
    let mut scene = Scene::with(29, |bob| bob.keep.per_s = 2);
    let (alice, carol) = (scene.alice, scene.carol);
    let mut refused = None;
    for n in 0..40 {
        let parcel = scene.parcel(alice, carol, &n.to_string());
        scene.deposit(alice, &parcel);
    }
    scene.world.drive(50);
    for (_, _, item) in scene.said.borrow().iter() {
        if let Kind::Refusal(refusal) = item {
            refused.get_or_insert(refusal.clone());
        }
    }
    let refused = refused.expect("too many");
    assert_eq!(refused.code, "RATE_LIMITED");
    assert!((1..=1_000).contains(&refused.retry_after_ms));
    assert_eq!(scene.kept(), 32, "the burst");
    scene.world.drive(1_000);
    let parcel = scene.parcel(alice, carol, "later");
    scene.deposited(alice, &parcel).expect("kept");
}

#[test]
fn what_a_revoked_member_leaves_is_refused() {
    let mut scene = Scene::new(30);
    let (alice, bob) = (scene.alice, scene.bob);
    let parcel = scene.parcel(alice, scene.carol, "revoked");
    let serial = scene.world.node(alice).user.serial;
    let list = scene.world.authority.revocations(1, &[serial]);
    let records = beeline_proto::pb::peer::v1::Records {
        revocations: list,
        ..Default::default()
    };
    // The list and the deposit come in one frame: the link has no time to close.
    let store = StoreMessage {
        parcel,
        ticket: Vec::new(),
    };
    scene.say(alice, bob, Kind::Records(records));
    if scene
        .world
        .say(alice, bob, frame(Kind::StoreMessage(store)))
    {
        scene.world.drive(100);
    }
    assert_eq!(scene.kept(), 0);
}

#[test]
fn a_custodian_that_never_ends_or_hands_over_junk_is_left_alone() {
    let mut scene = Scene::new(31);
    let (bob, carol) = (scene.bob, scene.carol);
    scene.start_carol();
    scene.said.borrow_mut().clear();
    for n in 0..200u8 {
        let page = StorePage {
            next: vec![n; 8],
            more: true,
        };
        scene.say(bob, carol, Kind::StorePage(page));
        scene.say(bob, carol, Kind::Kept(vec![n; 20]));
    }
    scene.world.drive(10_000);
    let asked = scene.count_said(carol, bob, |item| matches!(item, Kind::StoreFetch(_)));
    assert_eq!(asked, 0, "pages nobody asked for lead nowhere");
    assert!(
        scene
            .world
            .node(carol)
            .warnings()
            .contains(&"parcel-refused")
    );
}

/// Carol comes online; what Bob says to each of her questions is up to `answer`. How many she asks
/// in so many milliseconds.
fn asks(seed: u64, ms: u64, mut answer: impl FnMut(&StoreFetch) -> Vec<Kind>) -> usize {
    let mut scene = Scene::new(seed);
    let (bob, carol) = (scene.bob, scene.carol);
    let (asked, taken) = (shared(Vec::new()), shared(0));
    let note = asked.clone();
    scene.world.on_frame = Some(Box::new(move |from, to, bytes| {
        let mut out = Vec::new();
        for item in items(&bytes) {
            match item {
                Kind::StoreFetch(envelope) if (from, to) == (carol, bob) => {
                    note.borrow_mut().push(payload::<StoreFetch>(&envelope));
                }
                Kind::NetworkState(_) => {}
                item => out.push(frame(item)),
            }
        }
        out
    }));
    scene.world.start(carol);
    let end = scene.world.now_ms + ms;
    while scene.world.now_ms < end {
        let left = end - scene.world.now_ms;
        let count = *taken.borrow();
        let more = asked.clone();
        if !scene
            .world
            .drive_until(left, |_| more.borrow().len() > count)
        {
            break;
        }
        let fetch = asked.borrow()[count].clone();
        *taken.borrow_mut() += 1;
        for item in answer(&fetch) {
            scene.say(bob, carol, item);
        }
    }
    asked.borrow().len()
}

#[test]
fn a_custodian_that_refuses_is_asked_again_when_it_says_and_less_and_less() {
    for (seed, retry_after_ms, at_least, at_most) in [
        (51, 0, 1, 1),
        (52, 1, 8, 12),
        (53, 60_000, 8, 16),
        (54, u32::MAX, 1, 3),
    ] {
        let refusal = |fetch: &StoreFetch| {
            let subject = fetch
                .context
                .as_ref()
                .expect("a context")
                .message_id
                .clone();
            vec![Kind::Refusal(Refusal {
                subject,
                code: "RATE_LIMITED".to_owned(),
                retry_after_ms,
            })]
        };
        let asked = asks(seed, 15 * 60_000, refusal);
        let fits = (at_least..=at_most).contains(&asked);
        assert!(fits, "{asked} questions, told {retry_after_ms}");
    }
}

#[test]
fn a_page_that_leads_nowhere_is_the_last() {
    let mut seed = 60;
    for next in [0, 1, 31, 32, 33, 10_000].map(|len| vec![7; len]) {
        seed += 1;
        let page = |_: &StoreFetch| {
            vec![Kind::StorePage(StorePage {
                next: next.clone(),
                more: true,
            })]
        };
        assert_eq!(asks(seed, 60_000, page), 1, "nothing came of it");
    }
    // With something in it the next page is asked for, where there can be one; and the same place
    // again leads nowhere.
    for (next, asked) in [(0, 1), (1, 2), (32, 2), (33, 1)] {
        seed += 1;
        let page = |_: &StoreFetch| {
            let page = StorePage {
                next: vec![7; next],
                more: true,
            };
            vec![Kind::Kept(vec![1, 2, 3]), Kind::StorePage(page)]
        };
        assert_eq!(asks(seed, 60_000, page), asked, "{next} bytes");
    }
}
