//! Stories of custody: the recipient is away, a custodian keeps what is sent, and one of the three
//! ends at a failpoint; with the real store in all of them.

use super::check::{is_settled, judge_pair, sound};
use super::home::{Home, Ledger, Planted};
use super::points::{Armed, Place, Point, Role};
use super::story::{Outcome, Sent};
use client_core::testing::tap::{Shared, shared};
use client_core::testing::{NodeId, World};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// Who they are, in the order of the roles: the custodian is the last.
const NAMES: [&str; 3] = ["alice", "carol", "dave"];

/// All roles, in that order.
const ROLES: [Role; 3] = [Role::Sender, Role::Recipient, Role::Custodian];

/// Times the recipient goes away.
const ROUNDS: u64 = 3;

/// How long a deposit, or a visit, may take, virtual milliseconds.
const STEP_MS: u64 = 12_000;

/// How long peace may take.
const PEACE_MS: u64 = 60 * 60 * 1_000;

struct Three {
    world: World,
    rng: ChaCha8Rng,
    ids: [NodeId; 3],
    homes: [Shared<Home>; 3],
    ledger: Shared<Ledger>,
    sent: Vec<Sent>,
}

/// Runs the story of a seed at a failpoint.
pub(crate) fn run(seed: u64, point: &Point) -> Outcome {
    let mut three = Three::new(seed);
    three.meet();
    for _ in 0..ROUNDS {
        three.round(point);
        if !three.ledger.borrow().wrong.is_empty() {
            break;
        }
    }
    three.peace();
    Outcome::of(&three.homes, &three.ledger, point.role)
}

impl Three {
    fn new(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut world = World::new(rng.next_u64());
        world.timing.jitter_ms = rng.next_u64() % 6;
        world.timing.dead_ms = 10 + rng.next_u64() % 500;
        let ledger = shared(Ledger::default());
        let ids = NAMES.map(|name| world.member_stopped(name));
        world.node_mut(ids[2]).can_store = true;
        let homes = ids.map(|id| {
            let seed = rng.next_u64();
            Home::of(&mut world, id, &ledger, Planted::default(), seed)
        });
        Self {
            world,
            rng,
            ids,
            homes,
            ledger,
            sent: Vec::new(),
        }
    }

    fn below(&mut self, n: u64) -> u64 {
        self.rng.next_u64() % n.max(1)
    }

    fn runs(&self, role: Role) -> bool {
        self.world.node(self.ids[role as usize]).manager.is_some()
    }

    fn start(&mut self, role: Role) {
        if !self.runs(role) {
            self.note(&format!("{} starts", role.name()));
            self.world.start(self.ids[role as usize]);
        }
    }

    /// Ends a process at a moment that is none of the failpoints.
    fn stop(&mut self, role: Role) {
        if self.runs(role) {
            self.homes[role as usize].borrow_mut().end::<()>();
            self.world.crash(self.ids[role as usize]);
        }
    }

    fn note(&self, what: &str) {
        let line = format!("{:>8} {what}", self.world.now_ms);
        self.ledger.borrow_mut().story.push(line);
    }

    /// They all know each other, and who keeps.
    fn meet(&mut self) {
        for role in ROLES {
            self.start(role);
        }
        self.world.drive(3_000);
        for (from, to) in [(0, "dave"), (0, "carol"), (1, "dave")] {
            self.world.send(self.ids[from], to, &format!("hello {to}"));
        }
        self.world.drive(5_000);
    }

    fn send(&mut self) {
        if !self.runs(Role::Sender) {
            return;
        }
        let text = format!("m{}", self.sent.len());
        self.note(&format!("sends {text}"));
        let command = self.world.send(self.ids[0], "carol", &text);
        self.sent.push(Sent {
            from: Role::Sender,
            text,
            key: None,
            command,
        });
    }

    fn arm(&mut self, point: &Point) {
        let (pass, call, power) = (self.below(2), 1 + self.below(24), self.below(2) == 0);
        // Calls that fail in a row, where the disk does.
        let fails = [1, 2, u64::MAX][self.below(3) as usize];
        let mut home = self.homes[point.role as usize].borrow_mut();
        home.power = power;
        home.arm(Armed {
            place: point.place,
            pass: if matches!(point.place, Place::Before(_)) {
                0
            } else {
                pass
            },
            call,
            fails,
        });
    }

    /// The recipient goes, messages are left with the custodian, and it comes back.
    fn round(&mut self, point: &Point) {
        self.homes[1].borrow_mut().power = false;
        self.stop(Role::Recipient);
        self.world.drive(1_000);
        self.arm(point);
        for _ in 0..3 {
            self.send();
            let ms = self.below(500);
            self.world.drive(ms);
        }
        self.world.drive(STEP_MS);
        // Whoever ended comes back, and does what it had not done.
        self.start(Role::Custodian);
        self.start(Role::Sender);
        self.world.drive(STEP_MS);
        if self.below(2) == 0 {
            self.note("the sender goes");
            let other = point.role != Role::Sender;
            if other {
                self.homes[0].borrow_mut().power = false;
                self.stop(Role::Sender);
            }
        }
        self.start(Role::Recipient);
        self.world.drive(STEP_MS);
        for role in ROLES {
            self.homes[role as usize].borrow_mut().disarm();
            self.start(role);
        }
        self.world.drive(2_000);
    }

    fn peace(&mut self) {
        self.note("peace");
        for role in ROLES {
            self.homes[role as usize].borrow_mut().disarm();
            self.start(role);
        }
        let homes = self.homes.clone();
        let end = self.world.now_ms + PEACE_MS;
        while self.world.now_ms < end && !homes.iter().all(|home| is_settled(&home.borrow())) {
            self.world.drive(2_000);
        }
        self.world.drive(40_000);
        let (from, to) = (self.homes[0].borrow(), self.homes[1].borrow());
        let sent: Vec<&Sent> = self.sent.iter().collect();
        judge_pair(&from, &to, &sent);
        for home in &self.homes {
            sound(&home.borrow());
        }
    }
}
