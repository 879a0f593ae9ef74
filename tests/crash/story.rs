//! One story: two real peer managers with the real store, who talk while one of them ends again and
//! again at a failpoint; then peace, and everything must have come right.

use super::home::{Home, Ledger, Planted, Wrong};
use super::points::{Act, Armed, Op, Place, Point, Role, Setting};
use client_core::input::CommandId;
use client_core::testing::tap::{Shared, shared};
use client_core::testing::{NodeId, World};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// Crashes wanted of one story.
const CRASHES: u64 = 3;

/// Times a failpoint is armed at most in one story.
const ROUNDS: u64 = 6;

/// Calls to the disk that a commit takes, about.
const IN_COMMIT: u64 = 24;

/// Messages sent at most while a failpoint waits.
const SENDS: u64 = 12;

/// How long a failpoint is waited for after them, virtual milliseconds.
const WAIT_MS: u64 = 3_000;

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
    /// Processes that ended at the failpoint.
    pub(crate) fired: u64,
    /// Messages whose `send` returned.
    pub(crate) messages: u64,
    /// What went wrong.
    pub(crate) wrong: Vec<(Wrong, String)>,
    /// Everything that happened, for whoever looks for the reason.
    pub(crate) story: Vec<String>,
}

impl Outcome {
    /// What came of a story told by these homes, which are closed now; it fired at `role`'s.
    pub(crate) fn of(homes: &[Shared<Home>], ledger: &Shared<Ledger>, role: Role) -> Self {
        let fired = homes[role as usize].borrow().fired;
        let messages = homes.iter().map(|h| h.borrow().returned.len() as u64);
        let messages = messages.sum();
        for home in homes {
            home.borrow_mut().close();
        }
        let mut ledger = ledger.borrow_mut();
        Self {
            fired,
            messages,
            wrong: std::mem::take(&mut ledger.wrong),
            story: std::mem::take(&mut ledger.story),
        }
    }
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
    // One can only meet once.
    let wanted = match point.setting {
        Setting::FirstContact => 1,
        _ => CRASHES,
    };
    for _ in 0..ROUNDS {
        let fired = story.home(point.role).borrow().fired;
        if fired >= wanted || story.is_wrong() {
            break;
        }
        story.round(point);
        if fired == story.home(point.role).borrow().fired {
            break;
        }
    }
    story.peace();
    Outcome::of(&story.homes, &story.ledger, point.role)
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
            let seed = rng.next_u64();
            Home::of(&mut world, id, &ledger, planted, seed)
        });
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
            Place::InCommit(_) => 1 + self.below(IN_COMMIT),
            Place::Starting if point.setting == Setting::FirstStart => 1 + self.below(45),
            Place::Starting => 1 + self.below(3),
            _ => 1 + self.below(40),
        };
        let pass = match point.setting {
            Setting::OldKeys => 0,
            _ => self.below(3),
        };
        let fails = [1, 2, u64::MAX][self.below(3) as usize];
        let mut power = self.power == Power::Always || self.below(2) == 0;
        if point.setting == Setting::ThenPower {
            power = false;
        }
        let mut home = self.home(role).borrow_mut();
        home.power = power;
        home.shows = point.setting != Setting::ThenPower;
        let before = home.fired;
        let armed = Armed {
            place: point.place,
            pass,
            call,
            fails,
        };
        home.arm(armed);
        drop(home);
        self.provoke(point);
        let reached = |story: &Self| story.home(role).borrow().fired != before;
        for _ in 0..SENDS {
            if reached(self) || self.is_wrong() {
                break;
            }
            let from = if self.below(4) == 0 {
                Role::Recipient
            } else {
                Role::Sender
            };
            self.send(from);
            let ms = [0, 3, 20, 400][self.below(4) as usize];
            self.pass(ms);
        }
        let home = self.home(role).clone();
        self.world
            .drive_until(WAIT_MS, |_| home.borrow().fired != before);
        self.home(role).borrow_mut().disarm();
        // A disk that failed says nothing of what it lost, until the power goes.
        let faulty = matches!(point.place, Place::Full | Place::Broken);
        if faulty && power && self.runs(role) {
            self.pass(500);
            self.kill(role);
        }
        if point.setting == Setting::ThenPower {
            self.then_power(point);
        }
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

    /// The next process finds what the last one did not sync, says so, and the power goes.
    fn then_power(&mut self, point: &Point) {
        let role = point.role;
        if self.runs(role) {
            self.kill(role);
        }
        let act = match role {
            Role::Sender => Act::TellQueued,
            Role::Recipient | Role::Custodian => Act::SendAck,
        };
        let armed = Armed {
            place: Place::After(act),
            pass: 0,
            call: 0,
            fails: 0,
        };
        let mut home = self.home(role).borrow_mut();
        home.power = true;
        home.arm(armed);
        drop(home);
        self.start(role);
        let ms = self.below(3);
        self.pass(ms);
        self.call_again();
        let home = self.home(role).clone();
        self.world
            .drive_until(WAIT_MS, |_| home.borrow().armed.is_none());
        home.borrow_mut().disarm();
    }

    /// What brings the story to the place.
    fn provoke(&mut self, point: &Point) {
        match point.setting {
            Setting::Talk
            | Setting::FirstContact
            | Setting::FirstStart
            | Setting::Custody
            | Setting::ThenPower => {}
            Setting::OldKeys => self.age_keys(point),
            Setting::Clock => {
                self.pass(3_000);
                let id = self.id(point.role);
                let years = [-10, 10, 0][self.below(3) as usize];
                self.world.node_mut(id).wall_skew_ms = years * 365 * DAY_MS;
                self.note(&format!("the clock is off by {years} years"));
            }
        }
        // The next start is the one that matters.
        if point.place == Place::Starting && self.runs(point.role) {
            self.kill(point.role);
        }
        self.start(Role::Sender);
        self.start(Role::Recipient);
    }

    /// A key gets old while its owner is away; with a message that is sealed to it on its way.
    fn age_keys(&mut self, point: &Point) {
        let role = point.role;
        let rests: i64 = match point.place {
            Place::BeforeCommit(Op::NewKey)
            | Place::InCommit(Op::NewKey)
            | Place::AfterCommit(Op::NewKey) => 1,
            _ => 7,
        };
        let before = self.home(role).borrow().fired;
        for _ in 0..rests {
            if self.home(role).borrow().fired != before {
                return;
            }
            if self.runs(role) {
                self.kill(role);
            }
            self.send(if role == Role::Sender {
                Role::Recipient
            } else {
                Role::Sender
            });
            self.pass(20);
            let id = self.id(role);
            // Longer rests do not count.
            self.world.node_mut(id).wall_skew_ms += 7 * DAY_MS - DAY_MS / 24;
            self.start(role);
            if rests > 1 {
                self.pass(2_500);
            }
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
            let mut home = self.home(role).borrow_mut();
            home.disarm();
            let hidden = !std::mem::replace(&mut home.shows, true);
            drop(home);
            if hidden && self.runs(role) {
                // Somebody starts a `listen` in its place.
                self.home(role).borrow_mut().power = false;
                self.kill(role);
            }
            let id = self.id(role);
            if self.world.node(id).wall_skew_ms.abs() > 3_000 * DAY_MS {
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
}
