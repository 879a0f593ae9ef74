//! Random inputs, random failures: never a panic, never a timeout in the past, never more than the
//! bounds; and what was promised is kept once the chaos ends.

use client_core::event::{DeliveryState, Event};
use client_core::input::{
    Candidate, Command, CommandId, Input, LinkId, LinkPath, RegistryAnswer, RegistryError,
    RtcEvent, SignalInput, SocketId, StoreFailure,
};
use client_core::output::{RequestId, SignalKind, StoreTicket};
use client_core::state::StoreResult;
use client_core::testing::{NodeId, OnSignal, World, label};
use std::collections::BTreeMap;

fn bytes(world: &mut World, max: u64) -> Vec<u8> {
    let len = world.chance(max);
    (0..len).map(|_| world.chance(256) as u8).collect()
}

fn random_link_event(world: &mut World) -> RtcEvent {
    match world.chance(11) {
        0 => RtcEvent::LocalDescription {
            sdp: "1 2 3".to_owned(),
        },
        1 => RtcEvent::Candidate(Candidate::default()),
        2 => RtcEvent::EndOfCandidates,
        3 => RtcEvent::Open {
            local_fingerprint: [1; 32],
            remote_fingerprint: [2; 32],
        },
        4 => RtcEvent::Message(bytes(world, 200)),
        5 => RtcEvent::Writable,
        6 => RtcEvent::Silent,
        7 => RtcEvent::Full {
            refused: vec![bytes(world, 50)],
        },
        8 => RtcEvent::Path(LinkPath::Relayed),
        9 => RtcEvent::Path(LinkPath::Ending),
        _ => RtcEvent::Closed {
            reason: "chance".to_owned(),
        },
    }
}

fn random_signal(world: &mut World, recorded: &[Vec<u8>]) -> SignalInput {
    let socket = SocketId(world.chance(3));
    let from = ["alice_phone", "carol_phone", "bob_phone", ""][world.chance(4) as usize];
    match world.chance(7) {
        0 => SignalInput::Up(socket),
        1 => SignalInput::Down(socket),
        2 => SignalInput::Plain {
            socket,
            from: from.to_owned(),
        },
        3 => SignalInput::Error {
            socket,
            code: beeline_proto::code::ErrorCode::PeerOffline,
            to: from.to_owned(),
        },
        4 => SignalInput::Superseded {
            socket,
            proof: bytes(world, 100),
        },
        5 => SignalInput::Lists {
            descriptor: bytes(world, 50),
            revocations: bytes(world, 50),
        },
        _ => {
            let mut parcel = match recorded.len() {
                0 => bytes(world, 600),
                n => recorded[world.chance(n as u64) as usize].clone(),
            };
            if world.chance(2) == 0 && !parcel.is_empty() {
                let at = world.chance(parcel.len() as u64) as usize;
                parcel[at] ^= 1 << world.chance(8);
            }
            let kinds = [
                SignalKind::Offer,
                SignalKind::Answer,
                SignalKind::IceCandidate,
                SignalKind::RelayRequest,
            ];
            SignalInput::Parcel {
                socket,
                kind: kinds[world.chance(4) as usize],
                from: from.to_owned(),
                parcel,
            }
        }
    }
}

fn random_input(world: &mut World, recorded: &[Vec<u8>]) -> Input {
    let small = world.chance(40);
    match world.chance(10) {
        0 => Input::Timeout,
        1 => Input::NetworkChanged,
        2 | 3 => Input::Signal(random_signal(world, recorded)),
        4 | 5 => Input::Rtc {
            link: LinkId(small),
            event: random_link_event(world),
        },
        // Never a ticket that is open: a store answers exactly once.
        6 => Input::Store {
            ticket: StoreTicket(1_000_000 + small),
            result: if world.chance(2) == 0 {
                Ok(vec![StoreResult::Conflict; world.chance(4) as usize])
            } else {
                Err(StoreFailure {
                    transient: true,
                    detail: "chance".to_owned(),
                })
            },
        },
        7 => Input::Registry {
            request: RequestId(small),
            answer: if world.chance(2) == 0 {
                Ok(RegistryAnswer::DeviceList(7))
            } else {
                Err(RegistryError::Unreachable {
                    detail: "chance".to_owned(),
                })
            },
        },
        8 => Input::Command(Command::AcceptKey {
            command: CommandId(small),
            user: label("carol"),
        }),
        _ => Input::Command(Command::Connect { to: label("bob") }),
    }
}

fn bounds_hold(world: &World) {
    for id in world.ids() {
        let Some(manager) = world.node(id).manager.as_ref() else {
            continue;
        };
        for fill in manager.fill() {
            assert!(fill.len <= fill.max, "{fill:?}");
        }
    }
}

#[test]
fn random_inputs_never_panic_and_never_break_the_contract() {
    for seed in 0..60 {
        let mut world = World::new(seed);
        world.timing.jitter_ms = 4;
        let nodes = [
            world.member("alice"),
            world.member("carol"),
            world.member("bob"),
        ];
        world.drive(50);
        for step in 0..400 {
            let recorded: Vec<Vec<u8>> = world
                .signalled
                .iter()
                .rev()
                .take(30)
                .map(|s| s.parcel.clone())
                .collect();
            let node = nodes[world.chance(3) as usize];
            match world.chance(6) {
                0 => {
                    let to = ["alice", "carol", "bob"][world.chance(3) as usize];
                    world.send(node, to, &format!("{step}"));
                }
                1 | 2 => {
                    let input = random_input(&mut world, &recorded);
                    world.input(node, input);
                }
                3 => {
                    let pause = world.chance(50);
                    world.drive(pause);
                }
                _ => {
                    world.step();
                }
            }
            bounds_hold(&world);
        }
        assert!(
            world.outputs_max < 2_000,
            "{} outputs of one input",
            world.outputs_max
        );
    }
}

/// Within one process a state never goes down, and none comes without its proof. (A process killed
/// between an ACK and its commit tries again, and is told again.)
fn states_are_honest(world: &World, id: NodeId) {
    let node = world.node(id);
    let mut last: BTreeMap<_, DeliveryState> = BTreeMap::new();
    for (index, (_, event)) in node.events.iter().enumerate() {
        if node.starts.contains(&index) {
            last.clear();
        }
        let Event::MessageState(told) = event else {
            continue;
        };
        let before = last.insert(told.id, told.state);
        assert!(
            before.is_none_or(|before| before <= told.state),
            "{before:?} then {told:?}"
        );
        assert_eq!(
            told.found_by.is_some(),
            told.state == DeliveryState::Delivered
        );
        assert_eq!(told.rung.is_some(), told.state == DeliveryState::Trying);
    }
}

/// Loses a tenth of the frames and repeats another.
fn lossy_gateway(seed: u64) -> OnSignal {
    let mut state = seed;
    Box::new(move |frame| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let copies = match (state >> 33) % 10 {
            0 => 0,
            1 => 2,
            _ => 1,
        };
        vec![frame; copies]
    })
}

#[test]
fn chaos_then_quiet_everything_queued_is_shown_exactly_once() {
    for seed in 100..130 {
        let mut world = World::new(seed);
        world.timing.jitter_ms = 6;
        let names = ["alice", "carol", "bob"];
        let nodes = names.map(|name| world.member(name));
        world.drive(50);
        // Every other run has a gateway that loses and repeats frames.
        if seed % 2 == 0 {
            world.on_signal = Some(lossy_gateway(seed));
        }
        let mut sent = 0;
        for _ in 0..120 {
            let from = world.chance(3) as usize;
            let to = (from + 1 + world.chance(2) as usize) % 3;
            match world.chance(12) {
                0 => {
                    world.crash(nodes[from]);
                    let pause = world.chance(200);
                    world.drive(pause);
                    world.start(nodes[from]);
                }
                1 => {
                    world.set_gateway(false);
                    let pause = world.chance(500);
                    world.drive(pause);
                    world.set_gateway(true);
                }
                2 => world.registry.down = !world.registry.down,
                3 => world.input(nodes[from], Input::NetworkChanged),
                4 => world.node_mut(nodes[from]).failing_writes = 1,
                _ => {
                    sent += 1;
                    world.send(nodes[from], names[to], &format!("{from}>{to} {sent}"));
                }
            }
            let pause = world.chance(60);
            world.drive(pause);
            bounds_hold(&world);
        }
        world.registry.down = false;
        world.on_signal = None;
        world.drive(50);
        let idle = |w: &World| {
            w.ids()
                .iter()
                .all(|id| w.node(*id).store.load().outbox.is_empty())
        };
        let done = world.drive_until(3 * 3_600_000, idle);
        assert!(done, "seed {seed}: still queued after 3 hours");
        world.drive(120_000);
        verify_exactly_once(&world, &nodes, seed);
    }
}

fn verify_exactly_once(world: &World, nodes: &[NodeId], seed: u64) {
    let mut shown: BTreeMap<String, usize> = BTreeMap::new();
    for id in nodes {
        states_are_honest(world, *id);
        for text in world.node(*id).store.shown() {
            *shown.entry(text).or_default() += 1;
        }
    }
    for id in nodes {
        for row in world.node(*id).store.outbox.values() {
            assert_eq!(shown.get(&row.text), Some(&1), "seed {seed}: {}", row.text);
        }
        let queued = world
            .node(*id)
            .events
            .iter()
            .filter_map(|(_, event)| match event {
                Event::Queued { id, .. } => Some(*id),
                _ => None,
            });
        for message in queued {
            let states = world.node(*id).store.states(message);
            assert!(
                states.contains(&DeliveryState::Delivered),
                "seed {seed}: {states:?}"
            );
        }
    }
}
