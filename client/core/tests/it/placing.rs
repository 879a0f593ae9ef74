//! The sender's side of custody: whom it asks, what counts as a receipt, what it says, and what it
//! does when custodians refuse, lie or disappear. The custodians here answer as told.

use crate::tap::{Shared, frame, items, shared, sign_as};
use beeline_proto::envelope::Context;
use beeline_proto::id::{DeviceFp, MessageId, ParcelId};
use beeline_proto::limits::PARCEL_TTL_MAX_S;
use beeline_proto::parcel::Parcel;
use beeline_proto::pb::peer::v1::peer_item::Kind;
use beeline_proto::pb::peer::v1::{PeerFrame, PeerItem, Refusal, StoreReceipt};
use client_core::event::{DeliveryState, Kept, Path, Rung};
use client_core::limits::{DEPOSIT_MS, DEPOSIT_WINDOW, RECHECK_JITTER_MS, RECHECK_MS};
use client_core::testing::{NodeId, World};
use prost::Message as _;

/// How a custodian answers.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Answer {
    /// Keeps it this long, seconds.
    Keep(u32),
    /// Refuses it with a code, and a time to wait.
    Refuse(&'static str, u32),
    /// Says nothing.
    Silence,
}

/// What was left with whom.
#[derive(Debug, Clone)]
struct Deposit {
    with: NodeId,
    from: NodeId,
    parcel: Vec<u8>,
}

impl Deposit {
    fn id(&self) -> ParcelId {
        Parcel::parse(&self.parcel).expect("a parcel").id()
    }
}

/// A network with custodians that answer as told.
struct Stage {
    world: World,
    alice: NodeId,
    carol: NodeId,
    answers: Vec<(NodeId, Answer)>,
    /// Deposits not answered yet.
    open: Shared<Vec<Deposit>>,
    /// Whether questions of what is kept for her get lost.
    deaf: Shared<bool>,
    /// All of them.
    seen: Vec<Deposit>,
    count: u8,
}

const WEEK_S: u32 = 7 * 24 * 3_600;

impl Stage {
    /// Alice knows a coordinator and some members that keep; Carol was there and is gone.
    fn new(seed: u64, hosts: &[&str], friends: &[&str]) -> Self {
        let friends: Vec<(&str, &str)> = friends.iter().map(|name| (*name, "")).collect();
        Self::set(seed, hosts, &friends)
    }

    /// The same without coordinators, with members at addresses.
    fn new_at(seed: u64, friends: &[(&str, &str)]) -> Self {
        Self::set(seed, &[], friends)
    }

    fn set(seed: u64, hosts: &[&str], friends: &[(&str, &str)]) -> Self {
        let mut world = World::new(seed);
        let mut keepers = Vec::new();
        for name in hosts {
            keepers.push(world.coordinator_stopped(name));
        }
        for (name, addr) in friends {
            let id = world.member_stopped(name);
            world.node_mut(id).addr = (*addr).to_owned();
            keepers.push(id);
        }
        for id in &keepers {
            world.node_mut(*id).can_store = true;
            world.start(*id);
        }
        let (alice, carol) = (world.member("alice"), world.member("carol"));
        world.drive(3_000);
        let names = friends.iter().map(|(name, _)| *name);
        for name in names.chain(["carol"]) {
            world.send(alice, name, "hello");
        }
        world.drive(5_000);
        assert_eq!(
            world.node(alice).count(DeliveryState::Delivered),
            friends.len() + 1
        );
        let open = shared(Vec::new());
        let deaf = shared(false);
        let (taken, lost) = (open.clone(), deaf.clone());
        world.on_frame = Some(Box::new(move |from, to, bytes| {
            let mut rest = PeerFrame::default();
            for kind in items(&bytes) {
                match kind {
                    Kind::StoreMessage(store) => taken.borrow_mut().push(Deposit {
                        with: to,
                        from,
                        parcel: store.parcel,
                    }),
                    Kind::StoreFetch(_) if *lost.borrow() => {}
                    kind => rest.items.push(PeerItem { kind: Some(kind) }),
                }
            }
            if rest.items.is_empty() {
                return Vec::new();
            }
            vec![rest.encode_to_vec()]
        }));
        world.timing.dead_ms = 10;
        world.crash(carol);
        world.drive(1_000);
        Self {
            answers: keepers
                .iter()
                .map(|id| (*id, Answer::Keep(WEEK_S)))
                .collect(),
            world,
            alice,
            carol,
            open,
            deaf,
            seen: Vec::new(),
            count: 0,
        }
    }

    /// Tells a custodian how to answer.
    fn tell(&mut self, name: &str, answer: Answer) {
        let id = self.keeper(name);
        for (keeper, with) in &mut self.answers {
            if *keeper == id {
                *with = answer;
            }
        }
    }

    fn keeper(&self, name: &str) -> NodeId {
        let mut ids = self.answers.iter().map(|(id, _)| *id);
        let named = |id: &NodeId| self.world.node(*id).user.label.as_str() == name;
        ids.find(named).expect("a custodian")
    }

    /// Lets time pass, and custodians answer what was left with them.
    fn drive(&mut self, ms: u64) {
        let end_ms = self.world.now_ms + ms;
        while self.world.now_ms < end_ms {
            let left_ms = end_ms - self.world.now_ms;
            let open = self.open.clone();
            let until = |_: &World| !open.borrow().is_empty();
            if !self.world.drive_until(left_ms, until) {
                self.world.drive(end_ms - self.world.now_ms);
            }
            let deposits: Vec<Deposit> = self.open.borrow_mut().drain(..).collect();
            for deposit in deposits {
                self.answer(&deposit);
                self.seen.push(deposit);
            }
        }
    }

    fn answer(&mut self, deposit: &Deposit) {
        let answer = self.answers.iter().find(|(id, _)| *id == deposit.with);
        match answer.map(|(_, answer)| *answer) {
            Some(Answer::Keep(keep_s)) => {
                let receipt = self.receipt(deposit.with, deposit.from, deposit.id(), keep_s);
                self.say(deposit.with, Kind::StoreReceipt(receipt));
            }
            Some(Answer::Refuse(code, retry_after_ms)) => {
                let refusal = Refusal {
                    subject: deposit.id().to_vec(),
                    code: code.to_owned(),
                    retry_after_ms,
                };
                self.say(deposit.with, Kind::Refusal(refusal));
            }
            Some(Answer::Silence) | None => {}
        }
    }

    fn say(&mut self, from: NodeId, kind: Kind) {
        let alice = self.alice;
        self.world.say(from, alice, frame(kind));
    }

    fn device(&self, id: NodeId) -> DeviceFp {
        self.world.node(id).user.devices[0]
            .1
            .verify_key()
            .device_fp()
    }

    /// A receipt signed by the first device of `by`.
    fn receipt(&mut self, by: NodeId, audience: NodeId, parcel: ParcelId, keep_s: u32) -> Vec<u8> {
        self.count = self.count.wrapping_add(1);
        let id = MessageId([self.count; 16]);
        let network = self.world.authority.network();
        let context = Context::unordered(network, self.device(audience).0, id);
        let receipt = StoreReceipt {
            context: Some(context.to_pb()),
            parcel_id: parcel.to_vec(),
            keep_s,
        };
        sign_as(&self.world.node(by).user, &receipt)
    }

    fn send(&mut self, text: &str) {
        let alice = self.alice;
        self.world.send(alice, "carol", text);
    }

    /// What was told of how many keep the last message.
    fn kept(&self) -> Vec<(u32, u32)> {
        let alice = self.world.node(self.alice);
        let last = alice.last_queued();
        let states = alice.message_states().into_iter();
        let stored = states.filter(|s| Some(s.id) == last && s.state == DeliveryState::Stored);
        stored
            .filter_map(|s| s.kept.map(|Kept { n, k }| (n, k)))
            .collect()
    }

    /// Whom the last parcel was left with, in order.
    fn asked(&self) -> Vec<String> {
        let names = self.seen.iter().map(|deposit| {
            let user = &self.world.node(deposit.with).user;
            user.label.to_string()
        });
        names.collect()
    }

    fn counted(&self, kind: &str) -> u64 {
        crate::tap::counted(&self.world, self.alice, kind)
    }
}

#[test]
fn after_a_second_copies_are_left_with_three_and_stored_says_how_many() {
    let mut stage = Stage::new(1, &["ca"], &["bob", "dave", "erin"]);
    stage.send("while you were away");
    stage.drive(3_000);
    let mut asked = stage.asked();
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert_eq!(asked.remove(0), "ca", "one coordinator first");
    asked.dedup();
    assert_eq!(asked.len(), 2, "two others");
    assert_eq!(stage.kept().last(), Some(&(3, 3)));
    let alice = stage.world.node(stage.alice);
    let states = alice.message_states();
    let stored = states.iter().find(|s| s.state == DeliveryState::Stored);
    assert_eq!(stored.and_then(|s| s.path), Some(Path::Stored));
    assert!(states.iter().any(|s| s.rung == Some(Rung::StoreAndForward)));
    assert_eq!(alice.store.custody.len(), 3);
    // She keeps her copy, goes on dialling, and hears of the rest when Carol is back.
    let carol = stage.carol;
    stage.world.start(carol);
    stage.drive(60_000);
    let alice = stage.world.node(stage.alice);
    assert_eq!(alice.count(DeliveryState::Delivered), 5);
    assert_eq!(
        stage
            .world
            .node(carol)
            .store
            .shown()
            .last()
            .map(String::as_str),
        Some("while you were away")
    );
}

#[test]
fn one_coordinator_is_enough_for_a_network_of_two() {
    let mut stage = Stage::new(2, &["ca"], &[]);
    stage.send("hello");
    stage.drive(3_000);
    assert_eq!(stage.kept(), [(1, 1)]);
}

#[test]
fn without_custodians_or_a_bundle_a_message_is_queued_and_no_more() {
    let mut stage = Stage::new(3, &[], &[]);
    stage.send("hello");
    stage.drive(10_000);
    assert_eq!(stage.kept(), []);
    let mut stage = Stage::new(3, &["ca"], &[]);
    // Nobody has ever seen Dave's device.
    let dave = stage.world.member_stopped("dave");
    let alice = stage.alice;
    stage.world.send(alice, "dave", "hello");
    stage.drive(10_000);
    assert_eq!(stage.seen.len(), 0);
    stage.world.start(dave);
    stage.drive(30_000);
    assert_eq!(stage.world.node(dave).received(), ["hello"]);
}

#[test]
fn a_search_that_finds_nobody_is_one_for_all_that_waits() {
    let mut stage = Stage::new(3, &[], &["bob"]);
    // Somebody keeps, and is gone.
    let bob = stage.keeper("bob");
    stage.world.crash(bob);
    stage.drive(60_000);
    for n in 0..300 {
        stage.send(&n.to_string());
    }
    stage.drive(20 * 60_000);
    let searches = stage.world.node(stage.alice).running().searches();
    assert_eq!(stage.kept(), []);
    assert!((1..150).contains(&searches), "{searches} searches");
    // Who comes is found, for all of it, once it is called again.
    stage.world.start(bob);
    stage.drive(2 * 60 * 60_000);
    let alice = stage.world.node(stage.alice);
    assert_eq!(alice.store.custody.len(), 300);
}

#[test]
fn a_receipt_counts_only_from_who_was_asked_for_what_it_was_asked() {
    let mut stage = Stage::new(4, &["ca", "cb"], &["bob"]);
    for name in ["ca", "cb", "bob"] {
        stage.tell(name, Answer::Silence);
    }
    let eve = stage.world.member("eve");
    let alice = stage.alice;
    stage.world.send(alice, "eve", "hello");
    stage.drive(3_000);
    stage.send("keep this");
    stage.drive(2_500);
    let deposit = stage.seen.first().cloned().expect("left with somebody");
    let (ca, id) = (deposit.with, deposit.id());
    let other = stage.seen.iter().find(|d| d.with != ca).map(|d| d.with);
    let other = other.expect("with two");
    let never = ParcelId([7; 32]);
    let forged = [
        // For what was never left there, for somebody else, signed by another, from who was not
        // asked, with a promise of nothing.
        (ca, stage.receipt(ca, alice, never, WEEK_S)),
        (ca, stage.receipt(ca, ca, id, WEEK_S)),
        (ca, stage.receipt(other, alice, id, WEEK_S)),
        (eve, stage.receipt(eve, alice, id, WEEK_S)),
        (eve, stage.receipt(ca, alice, id, WEEK_S)),
        (ca, vec![0; 100]),
        (ca, Vec::new()),
    ];
    for (from, receipt) in forged {
        stage.say(from, Kind::StoreReceipt(receipt));
        stage.drive(100);
    }
    assert_eq!(stage.kept(), []);
    assert!(stage.world.node(alice).store.custody.is_empty());
    assert!(stage.counted("receipt-refused") >= 1, "never left there");
    assert!(stage.counted("receipt-unasked") >= 2, "from Eve");
    let link = stage.world.node(alice).running();
    assert!(
        link.status(stage.world.now()).links_open >= 4,
        "no link is closed for it"
    );

    // The good one counts, once: said again it is nothing.
    let good = stage.receipt(ca, alice, id, WEEK_S);
    let second = stage.receipt(other, alice, id, WEEK_S);
    for (from, receipt) in [(ca, &good), (ca, &good), (other, &second), (other, &second)] {
        stage.say(from, Kind::StoreReceipt(receipt.clone()));
        stage.drive(100);
    }
    assert_eq!(stage.kept().first(), Some(&(2, 3)));
    assert_eq!(stage.world.node(alice).store.custody.len(), 2);
}

#[test]
fn promises_of_any_length_are_taken_for_what_they_are() {
    for (keep_s, counts) in [
        (0, false),
        (1, false),
        (3_599, false),
        (3_600, true),
        (PARCEL_TTL_MAX_S, true),
        (PARCEL_TTL_MAX_S + 1, true),
        (u32::MAX, true),
    ] {
        let mut stage = Stage::new(5, &["ca"], &[]);
        stage.tell("ca", Answer::Keep(keep_s));
        stage.send("hello");
        stage.drive(3_000);
        assert_eq!(!stage.kept().is_empty(), counts, "{keep_s} s");
        let alice = stage.world.node(stage.alice);
        let row = alice.store.custody.values().next();
        assert_eq!(row.is_some(), counts, "{keep_s} s");
        if let Some(row) = row {
            let promised = row.until_ms - row.heard_ms;
            assert_eq!(promised, u64::from(keep_s.min(PARCEL_TTL_MAX_S)) * 1_000);
        }
    }
}

#[test]
fn who_has_no_room_or_says_nothing_is_replaced_by_the_next() {
    for answer in [
        Answer::Refuse("FULL", 0),
        Answer::Refuse("PERMISSION_DENIED", 0),
        Answer::Refuse("what is this", u32::MAX),
        Answer::Silence,
    ] {
        let mut stage = Stage::new(6, &["ca"], &["bob", "dave", "erin", "fred"]);
        for name in ["ca", "bob"] {
            stage.tell(name, answer);
        }
        stage.send("hello");
        stage.drive(DEPOSIT_MS + 5_000);
        assert_eq!(stage.kept().last(), Some(&(3, 3)), "{answer:?}");
        // Those that failed are asked again less and less often.
        let before = stage.seen.len();
        stage.drive(60 * 60_000);
        assert!(stage.seen.len() - before < 20, "{answer:?}");
    }
}

#[test]
fn custodians_that_refuse_for_ever_leave_a_message_queued_and_cost_little() {
    for answer in [Answer::Refuse("FULL", 0), Answer::Refuse("RATE_LIMITED", 1)] {
        let mut stage = Stage::new(7, &["ca"], &["bob"]);
        for name in ["ca", "bob"] {
            stage.tell(name, answer);
        }
        stage.send("hello");
        stage.drive(2 * 60 * 60_000);
        assert_eq!(stage.kept(), []);
        assert!(stage.seen.len() < 60, "{answer:?}: {}", stage.seen.len());
        // And once they have room again it is stored.
        for name in ["ca", "bob"] {
            stage.tell(name, Answer::Keep(WEEK_S));
        }
        stage.drive(90 * 60_000);
        assert_eq!(stage.kept().last(), Some(&(2, 2)), "{answer:?}");
    }
}

#[test]
fn receipts_outlive_the_process_and_only_what_lacks_them_is_placed_again() {
    let mut stage = Stage::new(8, &["ca"], &["bob", "dave"]);
    stage.tell("dave", Answer::Silence);
    stage.send("one");
    stage.drive(3_000);
    assert_eq!(stage.kept(), [(2, 3)]);
    let alice = stage.alice;
    let before = stage.seen.len();
    stage.world.crash(alice);
    stage.tell("dave", Answer::Keep(WEEK_S));
    stage.drive(1_000);
    stage.world.start(alice);
    stage.drive(60_000);
    let again: Vec<String> = stage.asked().split_off(before);
    assert_eq!(again, ["dave"], "the others keep it already");
    let row = |stage: &Stage| {
        let rows = stage.world.node(alice).store.outbox.values();
        rows.filter(|row| row.text == "one")
            .map(|row| row.state)
            .collect::<Vec<_>>()
    };
    assert_eq!(row(&stage), [DeliveryState::Stored]);
    assert_eq!(stage.world.node(alice).store.custody.len(), 3);
}

#[test]
fn custodians_are_asked_again_in_time_and_replaced_when_they_are_gone() {
    let mut stage = Stage::new(9, &["ca"], &["bob", "dave", "erin"]);
    stage.send("hello");
    stage.drive(5_000);
    assert_eq!(stage.kept().last(), Some(&(3, 3)));
    let mut keepers = stage.asked();
    assert_eq!(keepers.len(), 3);
    stage.drive(RECHECK_MS + RECHECK_JITTER_MS);
    let mut again = stage.asked().split_off(3);
    keepers.sort();
    again.sort();
    again.dedup();
    assert_eq!(again, keepers, "the same bytes to the same custodians");
    let ids: Vec<ParcelId> = stage.seen.iter().map(Deposit::id).collect();
    assert!(ids.iter().all(|id| *id == ids[0]));
    // One loses its disk and has no room any more; another one never comes back.
    let (lost, gone) = (keepers[1].clone(), keepers[2].clone());
    stage.tell(&lost, Answer::Refuse("FULL", 0));
    let gone = stage.keeper(&gone);
    stage.world.crash(gone);
    stage.drive(24 * 60 * 60_000);
    let rows = stage.world.node(stage.alice).store.custody.values();
    let keep: Vec<DeviceFp> = rows.map(|row| row.custodian).collect();
    let lost = stage.keeper(&lost);
    for id in [lost, gone] {
        assert!(!keep.contains(&stage.device(id)));
    }
    assert_eq!(keep.len(), 2, "the coordinator and the one left");
    let states = stage.world.node(stage.alice).message_states();
    let after = states
        .iter()
        .skip_while(|s| s.state != DeliveryState::Stored);
    assert!(
        after.clone().all(|s| s.state == DeliveryState::Stored),
        "a state never goes back"
    );
}

#[test]
fn two_of_one_user_or_one_network_are_one_custodian() {
    let mut stage = Stage::new(10, &[], &["bob", "dave"]);
    stage.send("hello");
    stage.drive(3_000);
    assert_eq!(stage.kept().last(), Some(&(2, 2)));
    // The same, where both sit behind one address.
    let mut stage = Stage::new_at(10, &[("bob", "198.51.100.1"), ("dave", "198.51.100.77")]);
    stage.send("hello");
    stage.drive(3_000);
    assert_eq!(stage.kept().last(), Some(&(1, 1)));
    let mut stage = Stage::new_at(10, &[("bob", "198.51.100.1"), ("dave", "198.51.101.1")]);
    stage.send("hello");
    stage.drive(3_000);
    assert_eq!(stage.kept().last(), Some(&(2, 2)));
    let mut stage = Stage::new_at(10, &[("bob", "192.168.1.1"), ("dave", "192.168.1.1")]);
    stage.send("hello");
    stage.drive(3_000);
    assert_eq!(stage.kept().last(), Some(&(2, 2)));
}

#[test]
fn many_messages_are_left_in_windows_and_all_are_stored() {
    let mut stage = Stage::new(11, &["ca"], &["bob", "dave"]);
    for n in 0..500 {
        stage.send(&format!("m{n}"));
    }
    stage.drive(20_000);
    assert_eq!(stage.seen.len(), 3 * 500);
    let alice = stage.world.node(stage.alice);
    let stored = alice.store.outbox.values();
    let stored = stored.filter(|row| row.state == DeliveryState::Stored);
    assert_eq!(stored.count(), 500);
    assert_eq!(alice.store.custody.len(), 3 * 500);
}

#[test]
fn no_more_than_a_window_is_left_with_who_does_not_answer() {
    let mut stage = Stage::new(12, &["ca"], &[]);
    stage.tell("ca", Answer::Silence);
    for n in 0..=DEPOSIT_WINDOW {
        stage.send(&format!("m{n}"));
    }
    stage.drive(5_000);
    assert_eq!(stage.seen.len(), DEPOSIT_WINDOW, "one is not sent");
    stage.tell("ca", Answer::Keep(WEEK_S));
    stage.drive(2 * 60_000);
    let alice = stage.world.node(stage.alice);
    assert_eq!(alice.store.custody.len(), DEPOSIT_WINDOW + 1);
}

/// Alice has left something for Carol with a coordinator and two members she dialled for it.
fn dialled_for_it(seed: u64) -> Stage {
    dialled_by(seed, |_| {})
}

/// The same; `set` changes what happens from right before on.
fn dialled_by(seed: u64, set: impl FnOnce(&mut Stage)) -> Stage {
    let friends = ["bob", "dave", "erin", "fred", "gina", "hugo"];
    let mut stage = Stage::new(seed, &["ca"], &friends);
    let alice = stage.alice;
    stage.world.crash(alice);
    stage.drive(1_000);
    stage.world.start(alice);
    // Those she called on, in case they keep something for her, are let go in the meantime, and
    // the first of them are gone.
    stage.drive(7 * 60 * 60_000);
    for name in ["bob", "erin"] {
        let id = stage.keeper(name);
        stage.world.crash(id);
    }
    stage.drive(100);
    assert_eq!(dialled(&stage), 0);
    set(&mut stage);
    stage.send("hello");
    stage.drive(10_000);
    assert_eq!(stage.kept().last(), Some(&(3, 3)));
    assert_eq!(dialled(&stage), 2);
    stage
}

/// Links of Alice that were made to leave parcels.
fn dialled(stage: &Stage) -> usize {
    let peers = stage.world.node(stage.alice).running();
    let peers = peers.peers(stage.world.now());
    let links = peers.into_iter().flat_map(|peer| peer.links);
    let made = links.filter(|link| link.found_by == Some(Rung::StoreAndForward));
    made.count()
}

#[test]
fn custodians_are_dialled_for_it_and_let_go_again() {
    let mut stage = dialled_for_it(13);
    stage.drive(2 * 60_000);
    assert_eq!((dialled(&stage), stage.seen.len()), (0, 3));
    // And dialled again when it is time to ask whether they still keep it.
    stage.drive(RECHECK_MS + RECHECK_JITTER_MS);
    assert_eq!(stage.seen.len(), 6);
}

#[test]
fn a_custodian_that_does_not_say_what_it_keeps_is_let_go_too() {
    let mut stage = dialled_by(14, |stage| *stage.deaf.borrow_mut() = true);
    stage.drive(3 * 60_000);
    assert_eq!(dialled(&stage), 0);
}

#[test]
fn custodians_are_let_go_when_what_they_were_dialled_for_has_come_another_way() {
    let mut stage = dialled_for_it(13);
    let (alice, carol) = (stage.alice, stage.carol);
    stage.world.start(carol);
    let done = |w: &World| {
        let last = w.node(alice).last_queued();
        let states = w.node(alice).message_states().into_iter();
        let mut of_it = states.filter(|s| Some(s.id) == last);
        of_it.any(|s| s.state == DeliveryState::Delivered)
    };
    assert!(stage.world.drive_until(30_000, done));
    stage.drive(3 * 60_000);
    assert_eq!(dialled(&stage), 0);
}
