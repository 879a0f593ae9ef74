//! The presence machine against a plain model, fed with random inputs; and its bounds.

use super::coordinators::{Beat, CoordinatorTable};
use super::presence::{Announce, Answer, DeviceKey, Input, Presence};
use super::record::Record;
use super::sockets::{SocketReport, SocketTable};
use beeline_proto::envelope::{Context, sign};
use beeline_proto::id::{DeviceFp, Label, MessageId, NetworkFp};
use beeline_proto::keys::SigningKey;
use beeline_proto::pb::identity::v1::DeviceRecord;
use beeline_proto::time::Now;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// SplitMix64 (Steele, Lea, Flood 2014): a run is a function of its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

fn now(ms: u64) -> Now {
    Now {
        mono_ms: ms,
        wall_ms: 1_000_000 + ms,
    }
}

fn label(text: &str) -> Label {
    Label::new(text).expect("a label")
}

fn record(unlisted: bool) -> Arc<Record> {
    let network = NetworkFp([1; 32]);
    let payload = DeviceRecord {
        context: Some(Context::unordered(network, network.0, MessageId([2; 16])).to_pb()),
        version: 1,
        unlisted,
        ..DeviceRecord::default()
    };
    let bytes = sign(&SigningKey::from_seed(&[3; 32]), &payload);
    Arc::new(Record::stored(&bytes).expect("a record"))
}

fn device(n: u64) -> DeviceKey {
    DeviceKey::new(1 + n as i64 % 2, label(&format!("d{n}")))
}

fn announce(n: u64, record: &Arc<Record>, named: &[&str]) -> Input {
    Input::Announce(announced(n, record, named))
}

fn announced(n: u64, record: &Arc<Record>, named: &[&str]) -> Announce {
    Announce {
        device: device(n),
        fp: DeviceFp([n as u8; 32]),
        // Two devices share a user.
        user: label(&format!("u{}", n / 4)),
        record: Arc::clone(record),
        named: named.iter().map(|text| label(text)).collect(),
        confirmed: vec![],
    }
}

fn report(gateway: &str, epoch: u64, changes: &[(u64, bool)]) -> Input {
    let changes = changes.iter().map(|(n, open)| (device(*n), *open));
    Input::Sockets(SocketReport {
        gateway: gateway.into(),
        epoch,
        changes: changes.collect(),
    })
}

fn beat(n: u64, epoch: u64, seq: u64, full: bool, connected: &[&str]) -> Input {
    Input::Heartbeat(Beat {
        coordinator: device(n),
        epoch,
        seq,
        load: 1,
        capacity: 4,
        full,
        connected: connected.iter().map(|text| label(text)).collect(),
        disconnected: vec![],
    })
}

/// What the machine should hold, in the plainest words.
#[derive(Default)]
struct Model {
    /// When each device's lease ends.
    leases: BTreeMap<u64, u64>,
    /// Gateways: epoch, last report, open sockets.
    gateways: BTreeMap<String, (u64, u64, BTreeSet<u64>)>,
}

impl Model {
    fn pass(&mut self, ms: u64) {
        self.leases.retain(|_, end| *end > ms);
        self.gateways
            .retain(|_, (_, reported, _)| *reported + 60_000 > ms);
    }

    fn online(&self, n: u64) -> bool {
        let open = self.gateways.values().any(|(_, _, open)| open.contains(&n));
        self.leases.contains_key(&n) && open
    }
}

const DEVICES: u64 = 16;

fn check(presence: &Presence, model: &Model, unlisted: u64) {
    let mut users: BTreeMap<i64, BTreeSet<Label>> = BTreeMap::new();
    for n in 0..DEVICES {
        let view = presence.device(&device(n), DeviceFp([n as u8; 32]));
        assert_eq!(
            view.is_some(),
            model.leases.contains_key(&n),
            "lease of {n}"
        );
        assert_eq!(
            view.is_some_and(|v| v.online),
            model.online(n),
            "online {n}"
        );
        if model.online(n) && n != unlisted {
            let network = users.entry(device(n).network).or_default();
            network.insert(label(&format!("u{}", n / 4)));
        }
    }
    for network in [1, 2] {
        let wanted: Vec<Label> = users
            .remove(&network)
            .unwrap_or_default()
            .into_iter()
            .collect();
        assert_eq!(presence.online_users(network, None, 100), wanted);
    }
    let sockets: usize = model.gateways.values().map(|(_, _, open)| open.len()).sum();
    assert_eq!(presence.counts().sockets, sockets);
    assert_eq!(presence.counts().leases, model.leases.len());
}

#[test]
fn online_is_what_the_model_says_whatever_comes() {
    let listed = record(false);
    let unlisted = record(true);
    for seed in 0..200 {
        let mut random = Random(seed);
        let mut presence = Presence::default();
        let mut model = Model::default();
        let mut ms = 0;
        for _ in 0..300 {
            ms += random.below(20_000);
            model.pass(ms);
            let n = random.below(DEVICES);
            match random.below(6) {
                0 | 1 => {
                    let record = if n == 3 { &unlisted } else { &listed };
                    let answer = presence.handle_input(now(ms), announce(n, record, &[]));
                    assert_eq!(answer, Answer::Leased(now(ms).wall_ms + 600_000));
                    model.leases.insert(n, ms + 600_000);
                }
                2 | 3 => {
                    let name = format!("g{}", random.below(3));
                    let (epoch, open) = (random.below(8) / 7, random.below(3) > 0);
                    let input = report(&name, epoch, &[(n, open)]);
                    let known = model.gateways.get(&name).is_some_and(|g| g.0 == epoch);
                    let answer = presence.handle_input(now(ms), input);
                    assert_eq!(answer, Answer::Reported { want_full: !known });
                    let fresh = (epoch, ms, BTreeSet::new());
                    let gateway = match model.gateways.remove(&name) {
                        Some(gateway) if known => gateway,
                        _ => fresh,
                    };
                    let (_, reported, sockets) = model.gateways.entry(name).or_insert(gateway);
                    *reported = ms;
                    if open {
                        sockets.insert(n)
                    } else {
                        sockets.remove(&n)
                    };
                }
                4 => {
                    presence.handle_input(now(ms), Input::Forget(device(n)));
                    model.leases.remove(&n);
                }
                _ => {
                    presence.handle_input(now(ms), Input::Timeout);
                }
            }
            presence.handle_input(now(ms), Input::Timeout);
            check(&presence, &model, 3);
            assert!(
                presence.poll_timeout().is_none_or(|at| at > ms),
                "nothing is overdue"
            );
        }
    }
}

#[test]
fn a_closed_socket_is_written_once_with_the_latest_time() {
    let mut presence = Presence::default();
    let listed = record(false);
    presence.handle_input(now(0), announce(1, &listed, &[]));
    assert_eq!(
        presence.poll_output(),
        None,
        "the announce itself is stored by its caller"
    );
    for (ms, open) in [(1_000, true), (2_000, false), (3_000, true), (4_000, false)] {
        presence.handle_input(now(ms), report("g", 1, &[(1, open)]));
    }
    let seen = presence.poll_output().expect("one row");
    assert_eq!((seen.fp, seen.seen_ms), (DeviceFp([1; 32]), 1_004_000));
    assert_eq!(presence.poll_output(), None);
    // A gateway that went silent last vouched at its last report.
    presence.handle_input(now(5_000), report("g", 1, &[(1, true)]));
    presence.handle_input(now(9_000), report("g", 1, &[]));
    presence.handle_input(now(69_000), Input::Timeout);
    assert_eq!(presence.poll_output().map(|s| s.seen_ms), Some(1_009_000));
}

#[test]
fn a_new_key_under_an_old_label_is_another_device() {
    let mut presence = Presence::default();
    let listed = record(false);
    presence.handle_input(now(0), announce(1, &listed, &[]));
    let mut other = announced(1, &listed, &[]);
    other.fp = DeviceFp([99; 32]);
    other.user = label("else");
    presence.handle_input(now(0), Input::Announce(other));
    presence.handle_input(now(0), report("g", 1, &[(1, true)]));
    assert!(presence.device(&device(1), DeviceFp([1; 32])).is_none());
    assert!(
        presence
            .device(&device(1), DeviceFp([99; 32]))
            .is_some_and(|v| v.online)
    );
    assert_eq!(presence.online_users(2, None, 9), [label("else")]);
}

#[test]
fn every_table_has_an_end() {
    let coordinators = CoordinatorTable::new(1, 2);
    let mut presence = Presence::new(2, SocketTable::new(1, 3), coordinators);
    let listed = record(false);
    for n in 0..2 {
        assert_ne!(
            presence.handle_input(now(0), announce(n, &listed, &[])),
            Answer::Full
        );
    }
    assert_eq!(
        presence.handle_input(now(0), announce(2, &listed, &[])),
        Answer::Full
    );
    assert_ne!(
        presence.handle_input(now(0), announce(1, &listed, &[])),
        Answer::Full,
        "renewed"
    );

    let open = |n| (n, true);
    let three = [open(0), open(1), open(2)];
    let taken = Answer::Reported { want_full: true };
    assert_eq!(presence.handle_input(now(0), report("g", 1, &three)), taken);
    assert_eq!(
        presence.handle_input(now(0), report("g", 1, &[open(3)])),
        Answer::Full
    );
    assert_eq!(
        presence.handle_input(now(0), report("h", 1, &[])),
        Answer::Full,
        "one gateway"
    );
    assert_eq!(presence.counts().sockets, 3);

    assert_ne!(
        presence.handle_input(now(0), beat(0, 1, 1, false, &["a", "b"])),
        Answer::Full
    );
    assert_eq!(
        presence.handle_input(now(0), beat(0, 1, 2, false, &["c"])),
        Answer::Full
    );
    assert_eq!(
        presence.handle_input(now(0), beat(1, 1, 1, false, &[])),
        Answer::Full
    );
    assert_eq!(presence.counts().coordinators, 1);
    // All of it comes back with time.
    presence.handle_input(now(600_000), Input::Timeout);
    let counts = presence.counts();
    assert_eq!(
        (counts.leases, counts.sockets, counts.coordinators),
        (0, 0, 0)
    );
    assert_eq!(presence.poll_timeout(), None);
}

#[test]
fn heartbeats_count_once_and_gaps_are_noticed() {
    let mut presence = Presence::default();
    let listed = record(false);
    presence.handle_input(now(0), announce(3, &listed, &["d1", "d5"]));
    let confirmed = |presence: &Presence| {
        let view = presence
            .device(&device(3), DeviceFp([3; 32]))
            .expect("a lease");
        view.confirmed
            .into_iter()
            .map(|(l, at)| (l.to_string(), at))
            .collect::<Vec<_>>()
    };
    let mut send = |ms, seq, full, connected: &[&str]| {
        let input = beat(1, 7, seq, full, connected);
        (presence.handle_input(now(ms), input), confirmed(&presence))
    };
    let told = |want_full| Answer::Reported { want_full };
    let at = |ms: u64| vec![("d1".to_owned(), 1_000_000 + ms)];
    assert_eq!(send(0, 1, false, &[]), (told(false), vec![]));
    assert_eq!(send(1, 2, false, &["d3"]), (told(false), at(1)));
    assert_eq!(
        send(2, 2, true, &[]),
        (told(false), at(1)),
        "not newer: ignored"
    );
    assert_eq!(
        send(3, 5, false, &[]),
        (told(true), at(3)),
        "two are missing"
    );
    assert_eq!(
        send(4, 6, true, &[]),
        (told(false), at(4)),
        "gone, but was the last"
    );
    // Another process start knows nothing of before.
    let input = beat(1, 8, 1, false, &["d3"]);
    assert_eq!(presence.handle_input(now(5), input), told(false));
    assert_eq!(confirmed(&presence), at(5));
    let row = std::iter::from_fn(|| presence.poll_output())
        .last()
        .expect("to be written");
    assert_eq!(row.confirmed[0].0, label("d1"));
    // A device that names another coordinator lets the first go.
    presence.handle_input(now(6), announce(3, &listed, &["d5"]));
    assert_eq!(confirmed(&presence), vec![]);
}

#[test]
fn coordinators_come_least_loaded_first_and_only_listed() {
    let mut presence = Presence::default();
    let (listed, unlisted) = (record(false), record(true));
    let loads = [(1, 3, 10), (3, 1, 10), (5, 1, 2), (7, 0, 0), (9, 0, 9)];
    for (n, load, capacity) in loads {
        let record = if n == 9 { &unlisted } else { &listed };
        presence.handle_input(now(0), announce(n, record, &[]));
        let Input::Heartbeat(mut beat) = beat(n, 1, 1, true, &[]) else {
            unreachable!("a heartbeat");
        };
        (beat.load, beat.capacity) = (load, capacity);
        presence.handle_input(now(0), Input::Heartbeat(beat));
    }
    let live = presence.coordinators(2);
    let order: Vec<String> = live.iter().map(|(l, ..)| l.to_string()).collect();
    assert_eq!(order, ["d3", "d1", "d5", "d7"]);
    assert!(presence.coordinators(1).is_empty());
}
