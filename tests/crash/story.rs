//! One story: two real peer managers with the real store, who talk while one of them ends again and
//! again at a failpoint; then peace, and everything must have come right.

use super::home::{Home, Inhabitant, Ledger, Planted, Wrong};
use super::points::{Armed, Point, Role, Setting};
use client_core::input::CommandId;
use client_core::testing::tap::{Shared, shared};
use client_core::testing::{NodeId, World};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// Crashes wanted of one story.
const CRASHES: u64 = 3;

/// Times a failpoint is armed at most in one story.
const ROUNDS: u64 = 6;

/// How long a failpoint is waited for, virtual milliseconds.
const WAIT_MS: u64 = 15_000;

/// How long peace may take: four of the longest pauses between tries.
const PEACE_MS: u64 = 40 * 60 * 1_000;

/// Milliseconds of a day.
const DAY_MS: i64 = 24 * 3_600 * 1_000;

/// A call of `send` by somebody in front of the screen.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) from: Role,
    pub(crate) text: String,
    /// The idempotency key; without one nobody may call again.
    pub(crate) key: Option<String>,
    pub(crate) command: CommandId,
}

/// What came of a story.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Processes that ended, and those that ended at the failpoint.
    pub(crate) crashes: u64,
    pub(crate) fired: u64,
    /// Messages whose `send` returned.
    pub(crate) messages: u64,
    /// What went wrong.
    pub(crate) wrong: Vec<(Wrong, String)>,
    /// Everything that happened, for whoever looks for the reason.
    pub(crate) story: Vec<String>,
}

pub(crate) struct Story {
    pub(crate) world: World,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) ids: [NodeId; 2],
    pub(crate) homes: [Shared<Home>; 2],
    pub(crate) ledger: Shared<Ledger>,
    pub(crate) sent: Vec<Sent>,
    power: Power,
}

/// Whether crashes are power losses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Power {
    /// Half of them.
    Sometimes,
    /// All of them.
    Always,
}

/// The names of the two.
const NAMES: [&str; 2] = ["alice", "carol"];

/// Runs the story of a seed at a failpoint.
pub(crate) fn run(seed: u64, point: &Point, power: Power, planted: Planted) -> Outcome {
    let mut story = Story::new(seed, power, planted);
    story.begin(point);
    for _ in 0..ROUNDS {
        let fired = story.home(point.role).borrow().fired;
        if fired >= CRASHES || story.is_wrong() {
            break;
        }
        story.round(point);
    }
    story.peace();
    story.outcome(point.role)
}

impl Story {
    pub(crate) fn new(seed: u64, power: Power, planted: Planted) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut world = World::new(rng.next_u64());
        world.timing.jitter_ms = rng.next_u64() % 6;
        world.timing.commit_ms = 1 + rng.next_u64() % 4;
        world.timing.dead_ms = 500 + rng.next_u64() % 5_000;
        let ledger = shared(Ledger::default());
        let ids = NAMES.map(|name| world.member_stopped(name));
        let homes = ids.map(|id| {
            let node = world.node(id);
            let chain = world.authority.chain(&node.user);
            let name = node.user.label.to_string();
            let device = node.user.devices[0].1.verify_key().device_fp();
            ledger.borrow_mut().devices.insert(name.clone(), device);
            let seed = rng.next_u64();
            shared(Home::new(
                &name,
                (chain, Vec::new()),
                ledger.clone(),
                planted,
                seed,
            ))
        });
        for (id, home) in ids.iter().zip(&homes) {
            world.node_mut(*id).process = Some(Box::new(Inhabitant(home.clone())));
        }
        Self {
            world,
            rng,
            ids,
            homes,
            ledger,
            sent: Vec::new(),
            power,
        }
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.rng.next_u64() % n.max(1)
    }

    pub(crate) fn home(&self, role: Role) -> &Shared<Home> {
        &self.homes[role as usize]
    }

    fn id(&self, role: Role) -> NodeId {
        self.ids[role as usize]
    }

    pub(crate) fn is_wrong(&self) -> bool {
        !self.ledger.borrow().wrong.is_empty()
    }

    pub(crate) fn note(&self, what: &str) {
        let line = format!("{:>8} {what}", self.world.now_ms);
        self.ledger.borrow_mut().story.push(line);
    }

    fn runs(&self, role: Role) -> bool {
        self.world.node(self.id(role)).manager.is_some()
    }

    /// Starts whoever does not run, again and again: a start can end at once.
    pub(crate) fn start(&mut self, role: Role) {
        if !self.runs(role) {
            self.note(&format!("{} starts", role.name()));
            self.world.start(self.id(role));
        }
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, ms: u64) {
        self.world.drive(ms);
    }

    /// Somebody calls `send`.
    pub(crate) fn send(&mut self, from: Role) {
        let n = self.sent.len();
        let key = self.below(2) == 0;
        let sent = Sent {
            from,
            text: format!("m{n}"),
            key: key.then(|| format!("k{n}")),
            command: CommandId(0),
        };
        self.sent.push(sent);
        self.call(n);
    }

    /// Calls `send`, for the first time or again.
    fn call(&mut self, n: usize) {
        let Sent {
            from, text, key, ..
        } = self.sent[n].clone();
        if !self.runs(from) {
            return;
        }
        let to = NAMES[1 - from as usize];
        self.note(&format!("{} sends {text}, key {key:?}", from.name()));
        // The world counts commands; the next one is known only after it is given.
        let id = self.id(from);
        let command = self.world.send_keyed(id, to, &text, key.as_deref());
        self.sent[n].command = command;
    }

    /// Whoever has a key and heard nothing calls again.
    fn call_again(&mut self) {
        for n in 0..self.sent.len() {
            let Sent {
                from, key, command, ..
            } = &self.sent[n];
            let (from, command, keyed) = (*from, *command, key.is_some());
            let home = self.home(from).borrow();
            let heard = home.returned.contains_key(&command);
            let never = command == CommandId(0);
            drop(home);
            if !heard && (keyed || never) {
                self.call(n);
            }
        }
    }

    /// Both start, and get to know each other unless the story is about that.
    fn begin(&mut self, point: &Point) {
        if point.setting == Setting::FirstStart {
            return;
        }
        self.start(Role::Sender);
        self.start(Role::Recipient);
        self.pass(50);
        if point.setting == Setting::FirstContact {
            return;
        }
        self.send(Role::Sender);
        self.send(Role::Recipient);
        self.pass(2_000);
    }

    /// Arms the failpoint, talks until it fires or was waited for, and starts again.
    fn round(&mut self, point: &Point) {
        let role = point.role;
        let call = match point.place {
            super::points::Place::InCommit(_) => 1 + self.below(9),
            super::points::Place::Starting => 1 + self.below(60),
            _ => 1 + self.below(40),
        };
        let pass = self.below(3);
        let power = self.power == Power::Always || self.below(2) == 0;
        let mut home = self.home(role).borrow_mut();
        home.power = power;
        let place = point.place;
        home.arm(Armed { place, pass, call });
        let before = home.crashes;
        drop(home);
        self.provoke(point);
        let started = self.world.now_ms;
        while self.home(role).borrow().crashes == before
            && self.world.now_ms < started + WAIT_MS
            && !self.is_wrong()
        {
            let from = if self.below(4) == 0 {
                Role::Recipient
            } else {
                Role::Sender
            };
            self.send(from);
            let ms = [0, 3, 20, 400][self.below(4) as usize];
            self.pass(ms);
        }
        self.home(role).borrow_mut().disarm();
        let down = self.below(1_500);
        self.pass(down);
        self.start(Role::Sender);
        self.start(Role::Recipient);
        let up = self.below(200);
        self.pass(up);
        self.call_again();
        let up = self.below(800);
        self.pass(up);
    }

    /// What brings the story to the place.
    fn provoke(&mut self, point: &Point) {
        match point.setting {
            Setting::Talk | Setting::FirstContact => {}
            Setting::FirstStart => {}
            Setting::OldKeys => {
                // Nothing may be waiting, or it would expire.
                self.pass(3_000);
                let days = if self.below(2) == 0 { 1 } else { 33 };
                for id in self.ids {
                    self.world.node_mut(id).wall_skew_ms += days * DAY_MS + DAY_MS / 12;
                }
                self.pass(1_000);
            }
            Setting::Clock => {
                self.pass(3_000);
                let id = self.id(point.role);
                let years = [-10, 10, 0][self.below(3) as usize];
                self.world.node_mut(id).wall_skew_ms = years * 365 * DAY_MS;
                self.note(&format!("the clock is off by {years} years"));
            }
        }
        if matches!(point.place, super::points::Place::Starting) && self.runs(point.role) {
            let role = point.role;
            self.kill(role);
            self.start(role);
        }
    }

    /// Ends a process where it is.
    pub(crate) fn kill(&mut self, role: Role) {
        let mut home = self.home(role).borrow_mut();
        let armed = home.armed.take();
        home.end::<()>();
        home.armed = armed;
        drop(home);
        self.world.crash(self.id(role));
    }

    /// Nothing fails any more. Everything durable must arrive, once, in order, and be known.
    pub(crate) fn peace(&mut self) {
        self.note("peace");
        for role in [Role::Sender, Role::Recipient] {
            self.home(role).borrow_mut().disarm();
            let id = self.id(role);
            if self.world.node(id).wall_skew_ms.abs() > 365 * DAY_MS {
                self.world.node_mut(id).wall_skew_ms = 0;
            }
            self.start(role);
        }
        let end = self.world.now_ms + PEACE_MS;
        while self.world.now_ms < end && !self.is_wrong() {
            self.call_again();
            self.pass(2_000);
            if self
                .homes
                .iter()
                .all(|home| super::check::is_settled(&home.borrow()))
            {
                break;
            }
        }
        // What is told late, or twice, is told now.
        self.pass(40_000);
        super::check::judge(self);
    }

    /// The end of it.
    pub(crate) fn outcome(self, role: Role) -> Outcome {
        let home = self.homes[role as usize].borrow();
        let (crashes, fired) = (home.crashes, home.fired);
        drop(home);
        let messages = self.homes.iter().map(|h| h.borrow().returned.len() as u64);
        let messages = messages.sum();
        for home in &self.homes {
            home.borrow_mut().close();
        }
        let mut ledger = self.ledger.borrow_mut();
        Outcome {
            crashes,
            fired,
            messages,
            wrong: std::mem::take(&mut ledger.wrong),
            story: std::mem::take(&mut ledger.story),
        }
    }
}
