//! One home of the in-process runs: the real store on a disk that fails, a screen that shows what
//! came as `beeline listen` does, and the end of the process at the failpoint that is armed.

use super::disk::FaultDisk;
use super::points::{Armed, Place};
use beeline::error::StoreError;
use beeline::report::InboxKey;
use beeline::store::testing::{Direct, lay};
use beeline_proto::id::{DeviceFp, MessageId};
use beeline_proto::time::Now;
use beeline_vfs::Fault;
use client_core::event::{DeliveryState, Event};
use client_core::input::CommandId;
use client_core::output::Output;
use client_core::state::StoreOp;
use client_core::testing::tap::{Shared, shared};
use client_core::testing::{Answered, Found, NodeId, Process, World};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Messages shown in one go.
const SHOW_MAX: usize = 256;

/// What must not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wrong {
    /// A message that was durable did not come.
    Lost,
    /// One came twice and did not say so.
    Doubled,
    /// They came in another order.
    Misordered,
    /// A state was told before its proof.
    Ahead,
    /// The database is damaged, or its process does not start.
    Integrity,
}

/// What all homes of a story know together, which no process may rely on.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Messages committed where they belong: user, sending device, id.
    pub(crate) committed: BTreeSet<(String, DeviceFp, MessageId)>,
    /// Whose device is whose.
    pub(crate) devices: BTreeMap<String, DeviceFp>,
    /// What went wrong.
    pub(crate) wrong: Vec<(Wrong, String)>,
    /// What happened, in order.
    pub(crate) story: Vec<String>,
}

/// One line on a screen.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) key: InboxKey,
    pub(crate) text: String,
    pub(crate) again: bool,
}

/// Bugs planted in the store and below.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Planted {
    /// `PRAGMA synchronous=NORMAL`.
    pub(crate) normal: bool,
    /// Names of new files are never made durable.
    pub(crate) names_unsynced: bool,
}

/// One home.
pub(crate) struct Home {
    user: String,
    dir: PathBuf,
    disk: FaultDisk,
    direct: Option<Direct>,
    /// What the next process finds.
    left: FaultDisk,
    first: (Vec<u8>, Vec<u8>),
    ledger: Shared<Ledger>,
    planted: Planted,
    /// The failpoint that waits.
    pub(crate) armed: Option<Armed>,
    /// Decides what a power loss leaves.
    seed: u64,
    /// Whether an end is a power loss, or only that of the process.
    pub(crate) power: bool,
    /// Crashes at the failpoint that was armed.
    pub(crate) fired: u64,
    /// Everything on the screen.
    pub(crate) screen: Vec<Line>,
    /// Calls of `send` that returned.
    pub(crate) returned: BTreeMap<CommandId, MessageId>,
    /// Whether somebody looks at the screen; else messages wait, as with `beeline run`.
    pub(crate) shows: bool,
    /// Whether messages were shown before an earlier one, and that was said.
    pub(crate) gaps: u64,
}

/// The fault of a disk that has had so many calls.
fn fault_of(armed: Armed, calls: u64) -> Option<(u64, u64, Fault)> {
    let fault = match armed.place {
        Place::Full => Fault::Full,
        Place::Broken => Fault::Io,
        _ => return None,
    };
    Some((calls + armed.call, armed.fails, fault))
}

/// A directory nobody had before.
fn fresh_dir() -> PathBuf {
    static DIRS: AtomicU64 = AtomicU64::new(1);
    PathBuf::from(format!("/disk-{}", DIRS.fetch_add(1, Ordering::Relaxed)))
}

impl Home {
    /// The home of a member, whose process it becomes.
    pub(crate) fn of(
        world: &mut World,
        id: NodeId,
        ledger: &Shared<Ledger>,
        planted: Planted,
        seed: u64,
    ) -> Shared<Self> {
        let user = &world.node(id).user;
        let (name, chain) = (user.label.to_string(), world.authority.chain(user));
        let device = user.devices[0].1.verify_key().device_fp();
        ledger.borrow_mut().devices.insert(name.clone(), device);
        let first = (chain, Vec::new());
        let home = shared(Self::new(&name, first, ledger.clone(), planted, seed));
        world.node_mut(id).process = Some(Box::new(Inhabitant(home.clone())));
        home
    }

    fn new(
        user: &str,
        first: (Vec<u8>, Vec<u8>),
        ledger: Shared<Ledger>,
        planted: Planted,
        seed: u64,
    ) -> Self {
        Self {
            user: user.to_owned(),
            dir: PathBuf::new(),
            disk: FaultDisk::default(),
            direct: None,
            left: FaultDisk::default(),
            first,
            ledger,
            planted,
            armed: None,
            seed,
            power: false,
            fired: 0,
            screen: Vec::new(),
            returned: BTreeMap::new(),
            shows: true,
            gaps: 0,
        }
    }

    /// Whose it is.
    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    /// The store, while the process runs.
    pub(crate) fn direct(&self) -> Option<&Direct> {
        self.direct.as_ref()
    }

    pub(crate) fn note(&self, what: &str) {
        let line = format!("{}: {what}", self.user);
        self.ledger.borrow_mut().story.push(line);
    }

    pub(crate) fn wrong(&self, class: Wrong, what: &str) {
        self.note(&format!("WRONG {class:?}: {what}"));
        let what = format!("{}: {what}", self.user);
        self.ledger.borrow_mut().wrong.push((class, what));
    }

    /// Whether this is the moment of the failpoint; it is spent then.
    fn fires(&mut self, here: impl Fn(Place) -> bool) -> bool {
        let Some(armed) = self.armed.as_mut().filter(|armed| here(armed.place)) else {
            return false;
        };
        if armed.pass > 0 {
            armed.pass -= 1;
            return false;
        }
        let place = armed.place;
        self.note(&format!("ends at {place:?}"));
        self.armed = None;
        self.fired += 1;
        true
    }

    /// The process is gone, and with a power loss what was not synced. Returns `None` for those who
    /// pass that on.
    pub(crate) fn end<T>(&mut self) -> Option<T> {
        if self.dir.as_os_str().is_empty() {
            return None;
        }
        self.fired += u64::from(self.disk.has_failed());
        let any = self
            .armed
            .take()
            .is_some_and(|armed| armed.place == Place::AnyCall);
        self.fired += u64::from(any && self.disk.is_stopped());
        self.disk.stop();
        self.seed = self
            .seed
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(1);
        self.left = if self.power {
            self.disk.after_power_loss(self.seed >> 11)
        } else {
            self.disk.after_kill()
        };
        let (power, files) = (self.power, self.disk.listing());
        self.note(&format!("ended, power loss: {power}, had: {files}"));
        self.direct = None;
        self.leave();
        None
    }

    /// Ends the process as a person does.
    pub(crate) fn close(&mut self) {
        self.direct = None;
        self.leave();
    }

    fn leave(&mut self) {
        let dir = std::mem::take(&mut self.dir);
        lay(&dir, None);
        beeline_vfs::unmount(&dir.to_string_lossy());
    }

    /// A disk with what the last process left, and the start's failpoint on it.
    fn enter(&mut self) {
        self.dir = fresh_dir();
        self.disk = self.left.after_kill();
        let stop_at = self.armed.filter(|armed| armed.place == Place::Starting);
        let fail_at = self.armed.and_then(|armed| fault_of(armed, 0));
        let names_unsynced = self.planted.names_unsynced;
        self.disk.plan(|plan| {
            plan.stop_at = stop_at.map(|armed| armed.call);
            plan.fail_at = fail_at;
            plan.names_unsynced = names_unsynced;
        });
        beeline_vfs::mount(&self.dir.to_string_lossy(), Box::new(self.disk.clone()));
        lay(&self.dir, Some(Arc::new(self.disk.clone())));
    }

    /// Opens the store as a start does.
    fn open(&mut self) -> Option<Found> {
        self.enter();
        let first = (self.first.0.as_slice(), self.first.1.as_slice());
        match Direct::open(&self.dir, first) {
            _ if self.disk.is_stopped() => {
                self.note("ends while it starts");
                self.fired += 1;
                self.end()
            }
            Ok((direct, found)) => {
                self.disk.plan(|plan| plan.stop_at = None);
                if self
                    .armed
                    .is_some_and(|armed| armed.place == Place::Starting)
                {
                    self.armed = None;
                }
                self.direct = Some(direct);
                self.examine();
                let (loaded, own) = found;
                Some((loaded, Some(own)))
            }
            Err(error) => {
                let damaged = !self.disk.is_failing();
                // Without the directory, which is another one each time a seed is played.
                let dir = self.dir.to_string_lossy();
                let said = format!("does not start: {error}").replace(dir.as_ref(), "HOME");
                if damaged || matches!(error, StoreError::Damaged(_)) {
                    self.wrong(Wrong::Integrity, &said);
                }
                self.note(&said);
                self.power = false;
                self.end()
            }
        }
    }

    /// Looks at the whole database, and at what is committed in it.
    fn examine(&self) {
        let Some(conn) = self.direct.as_ref().and_then(Direct::conn) else {
            return;
        };
        self.set(conn);
        for check in ["integrity_check", "foreign_key_check"] {
            let first = conn.query_row(&format!("PRAGMA {check}"), [], |row| row.get(0));
            match first {
                Ok(verdict) if verdict == "ok" => {}
                Err(rusqlite::Error::QueryReturnedNoRows) => {}
                Ok::<String, _>(verdict) => self.wrong(Wrong::Integrity, &verdict),
                Err(_) if self.disk.is_failing() => {}
                Err(error) => self.wrong(Wrong::Integrity, &format!("{check}: {error}")),
            }
        }
        let mut ledger = self.ledger.borrow_mut();
        for key in inbox_keys(conn) {
            ledger
                .committed
                .insert((self.user.clone(), key.device, key.id));
        }
    }

    /// Settings of the test: the planted one, and checkpoints within a story.
    fn set(&self, conn: &rusqlite::Connection) {
        let mut settings = Vec::new();
        if self.planted.normal {
            settings.push(("synchronous", "1"));
        }
        if self.seed.is_multiple_of(2) {
            settings.push(("wal_autocheckpoint", "12"));
        }
        for (name, value) in settings {
            let set = conn.pragma_update_and_check(None, name, value, |_| Ok(()));
            let set = set.or_else(|error| match error {
                rusqlite::Error::QueryReturnedNoRows => Ok(()),
                other => Err(other),
            });
            set.expect("a setting is taken");
        }
    }

    /// Shows what waits, as `listen` does: committed before and after. `false` if it ended.
    fn show_waiting(&mut self, now: Now) -> bool {
        let Some(direct) = self.direct.as_ref() else {
            return false;
        };
        if !self.shows {
            return true;
        }
        let waiting = direct.unshown(SHOW_MAX).unwrap_or_default();
        for message in waiting {
            if !self.mark(message.key, true, now) {
                return false;
            }
            if self.fires(|place| place == Place::Showing) {
                return false;
            }
            let (key, text, again) = (message.key, message.text, message.again);
            self.note(&format!("shows {text}, again: {again}"));
            self.screen.push(Line { key, text, again });
            if self.fires(|place| place == Place::Shown) || !self.mark(key, false, now) {
                return false;
            }
            if self.fires(|place| place == Place::ShowingDone) {
                return false;
            }
        }
        true
    }

    /// Commits that a message is being shown or was; a process that cannot ends with an error.
    fn mark(&mut self, key: InboxKey, showing: bool, now: Now) -> bool {
        let marked = self
            .direct
            .as_mut()
            .map(|d| d.mark(key, showing, now.wall_ms));
        match marked {
            Some(Ok(())) => true,
            other => {
                self.note(&format!("cannot mark: {other:?}"));
                false
            }
        }
    }

    fn hear(&mut self, event: &Event) {
        match event {
            Event::Queued { command, id, .. } => {
                self.returned.insert(*command, *id);
            }
            Event::Refused {
                command, detail, ..
            } => {
                self.note(&format!("{command:?} is refused: {detail}"));
            }
            Event::Received(received) => self.gaps += u64::from(received.after_gap),
            Event::MessageState(state) if state.state == DeliveryState::Delivered => {
                let ledger = self.ledger.borrow();
                let to = state.to.to_string();
                let from = ledger.devices.get(&self.user).copied();
                let there =
                    from.is_some_and(|from| ledger.committed.contains(&(to, from, state.id)));
                drop(ledger);
                if !there {
                    self.wrong(Wrong::Ahead, &format!("{} is told delivered", state.id));
                }
            }
            _ => {}
        }
    }

    /// Sets a failpoint, for the process that runs or the next one.
    pub(crate) fn arm(&mut self, armed: Armed) {
        self.armed = Some(armed);
        if self.direct.is_none() {
            return;
        }
        if armed.place == Place::AnyCall {
            self.arm_disk(armed);
        }
        if let Some(fault) = fault_of(armed, self.disk.calls()) {
            self.disk.plan(|plan| plan.fail_at = Some(fault));
        }
    }

    /// Takes it away.
    pub(crate) fn disarm(&mut self) {
        self.fired += u64::from(self.disk.has_failed());
        self.armed = None;
        self.disk
            .plan(|plan| (plan.stop_at, plan.fail_at) = (None, None));
    }

    fn arm_disk(&mut self, armed: Armed) {
        let at = self.disk.calls() + armed.call;
        self.disk.plan(|plan| plan.stop_at = Some(at));
    }

    fn write(&mut self, now: Now, ops: &[StoreOp]) -> Answered {
        let inside = |place| match place {
            Place::InCommit(op) | Place::AtSync(op) => op.in_write(ops),
            _ => false,
        };
        let armed = self.armed;
        if let Some(armed) = armed.filter(|_| self.fires(inside)) {
            match armed.place {
                Place::AtSync(_) => self.disk.plan(|plan| plan.stop_at_sync = true),
                _ => self.arm_disk(armed),
            }
        }
        let answer = self.direct.as_mut()?.write(ops.to_vec(), now.wall_ms);
        let arrived = ops.iter().filter_map(|op| match op {
            StoreOp::Receive(row) => Some((self.user.clone(), row.device, row.id)),
            _ => None,
        });
        if answer.is_ok() {
            self.ledger.borrow_mut().committed.extend(arrived);
        } else {
            self.note(&format!("a write failed: {answer:?}"));
        }
        let planned = self.disk.planned_stop();
        let missed = planned && !self.disk.is_stopped() && self.armed.is_none();
        // It took fewer calls: then it ends after the last one.
        let closed = self.direct.as_ref().and_then(Direct::conn).is_none();
        if self.disk.is_stopped() || missed || closed {
            return None;
        }
        Some(answer)
    }
}

/// What is in the inbox.
fn inbox_keys(conn: &rusqlite::Connection) -> Vec<InboxKey> {
    let Ok(mut rows) = conn.prepare("SELECT device_fp, id FROM inbox") else {
        return Vec::new();
    };
    let read = |row: &rusqlite::Row<'_>| {
        let (device, id) = (row.get(0)?, row.get(1)?);
        Ok(InboxKey {
            device: DeviceFp(device),
            id: MessageId(id),
        })
    };
    let found = rows.query_map([], read);
    found.map_or(Vec::new(), |found| found.flatten().collect())
}

/// The process of a shared home.
pub(crate) struct Inhabitant(pub(crate) Shared<Home>);

impl Process for Inhabitant {
    fn load(&mut self, now: Now) -> Option<Found> {
        let mut home = self.0.borrow_mut();
        let found = home.open()?;
        if !home.show_waiting(now) {
            return home.end();
        }
        if let Some(armed) = home.armed.filter(|armed| armed.place == Place::AnyCall) {
            home.arm_disk(armed);
        }
        Some(found)
    }

    fn commit(&mut self, now: Now, ops: &[StoreOp]) -> Answered {
        let mut home = self.0.borrow_mut();
        if home.fires(|place| matches!(place, Place::BeforeCommit(op) if op.in_write(ops))) {
            return home.end();
        }
        let answer = home.write(now, ops);
        if answer.is_none()
            || home.fires(|place| matches!(place, Place::AfterCommit(op) if op.in_write(ops)))
        {
            return home.end();
        }
        answer
    }

    fn goes_on(&mut self, now: Now, output: &Output, done: bool) -> bool {
        let mut home = self.0.borrow_mut();
        let here = |place| match place {
            Place::Before(act) => !done && act.is(output),
            Place::After(act) => done && act.is(output),
            _ => false,
        };
        if let Output::Event(event) = output
            && done
        {
            home.hear(event);
        }
        let mut lives = !home.fires(here);
        if lives && done && matches!(output, Output::Event(Event::Received(_))) {
            lives = home.show_waiting(now);
        }
        if !lives {
            home.end::<()>();
        }
        lives
    }
}
