//! Files for us: what is missing is asked for on each new link, and what came is committed before
//! the sender hears that we have it.

use super::io::{FileCommand, FileStage, FileTold, Through};
use super::parts::Parts;
use super::ranges::Ranges;
use super::relaying::window;
use super::rows::{FileInKey, FileInRow, FileInState, FileOp};
use crate::input::LinkId;
use crate::limits::{
    FILE_AGAIN_MS, FILE_REPORT_BYTES, FILE_STALL_MS, FILE_STALL_MS_MAX, FILE_STALLS_TRUSTED,
    FILE_TOLD_MS,
};
use crate::manager::PeerManager;
use crate::output::Output;
use crate::outputs::Write;
use crate::state::StoreOp;
use crate::timer::Timer;
use crate::ways::Way;
use beeline_proto::id::DeviceFp;
use beeline_proto::limits::MESSAGE_EXPIRY_MS;
use beeline_proto::pb::peer::v1::{FileReason, FileState};
use beeline_proto::time::Now;

/// What is being done about a file for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing: there is no link, or it is another file's turn.
    Idle,
    /// The driver looks for what is missing.
    Preparing(Way),
    /// Chunks were asked for and come.
    Taking(Way),
    /// All are there; the driver puts the file in its place.
    Finishing,
    /// It is in its place; that is being written down.
    Recording,
}

/// A file for us.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(super) row: FileInRow,
    pub(super) stage: Stage,
    /// Held back by the sender, as it said last.
    pub(super) theirs: bool,
    /// Bytes written, as far as that was told.
    pub(super) done: Option<u64>,
    /// Chunks asked for last, how many of them came, and how many of those we said.
    asked: u64,
    written: u64,
    said: u64,
    told_ms: u64,
    /// When to look at it again.
    pub(super) due_ms: Option<u64>,
    /// How often nothing came, since something did.
    pub(super) stalls: u32,
    /// What stands in its way, as was told.
    pub(super) stuck: Option<FileReason>,
    /// Of chunks that come through others.
    pub(super) parts: Parts,
    /// Ways through others that came to nothing: one that works is stayed with.
    pub(super) vain: u32,
}

impl Incoming {
    pub(super) fn new(row: FileInRow) -> Self {
        Self {
            row,
            stage: Stage::Idle,
            theirs: false,
            done: None,
            asked: 0,
            written: 0,
            said: 0,
            told_ms: 0,
            due_ms: None,
            stalls: 0,
            stuck: None,
            parts: Parts::default(),
            vain: 0,
        }
    }

    pub(super) fn key(&self) -> FileInKey {
        (self.row.device, self.row.id)
    }

    /// The link to its sender that it comes on.
    pub(super) fn link(&self) -> Option<LinkId> {
        self.way().and_then(Way::direct)
    }

    /// Nothing is done about it any more.
    pub(super) fn stop(&mut self) {
        self.stage = Stage::Idle;
        self.due_ms = None;
    }

    /// How long chunks are waited for, milliseconds: each time nothing came, longer.
    pub(super) fn stall_ms(&self) -> u64 {
        (FILE_STALL_MS << self.stalls.min(8)).min(FILE_STALL_MS_MAX)
    }

    /// Whether it is to start as soon as it can.
    pub(super) fn is_waiting(&self) -> bool {
        let wants = self.wants_link() || self.wants_place();
        self.stage == Stage::Idle && wants && self.due_ms.is_none()
    }

    /// Whether a link to its sender would help.
    pub(super) fn wants_link(&self) -> bool {
        let free = self.stage == Stage::Idle || self.is_apart();
        self.may_go() && free && !self.row.info.is_small()
    }

    /// Whether it is here and only needs its place.
    fn wants_place(&self) -> bool {
        self.may_go() && self.stage == Stage::Idle && self.row.info.is_small()
    }

    /// Whether it is wanted, and nobody holds it back.
    fn may_go(&self) -> bool {
        self.row.state == FileInState::Accepted && !self.row.held && !self.theirs
    }

    /// Whether we make its sender wait.
    pub(super) fn waits_for_us(&self) -> bool {
        let undecided = self.row.state == FileInState::Offered;
        undecided || (self.row.held && !self.row.state.is_over())
    }

    pub(super) fn told(&self, stage: FileStage, through: Option<Through>) -> FileTold {
        let row = &self.row;
        FileTold::of(&row.info, row.id, (&row.from, false), stage, through)
    }
}

impl PeerManager {
    /// Starts a wanted file, if there is a link to its sender and it is its turn.
    pub(super) fn start_incoming(&mut self, now: Now, key: FileInKey) {
        let has_turn = self.has_turn(key);
        let Some(incoming) = self.files.incoming.get_mut(&key) else {
            return;
        };
        let may = self.me.config.files.is_some() && !self.draining;
        if may && has_turn && incoming.wants_place() {
            return self.put(key);
        }
        let idle = incoming.stage == Stage::Idle && incoming.wants_link();
        let Some(way) = (may && idle).then(|| self.way_in(now, key)).flatten() else {
            return;
        };
        let incoming = self.files.incoming.get_mut(&key);
        let Some(incoming) = incoming.filter(|_| has_turn) else {
            return;
        };
        incoming.stage = Stage::Preparing(way);
        incoming.due_ms = None;
        if way.direct().is_some() {
            incoming.parts.clear();
        }
        let info = incoming.row.info.clone();
        let prepare = FileCommand::Prepare { key, info };
        self.out.push(Output::File(prepare));
    }

    /// What came with its offer is put in its place.
    fn put(&mut self, key: FileInKey) {
        if let Some(incoming) = self.files.incoming.get_mut(&key) {
            incoming.stage = Stage::Finishing;
            incoming.due_ms = None;
            let info = incoming.row.info.clone();
            self.out.push(Output::File(FileCommand::Put { key, info }));
        }
    }

    /// Others may have waited for their turn.
    pub(super) fn start_waiting(&mut self, now: Now) {
        let waiting = self.files.incoming.values().filter(|i| i.is_waiting());
        for key in waiting.map(Incoming::key).collect::<Vec<_>>() {
            self.start_incoming(now, key);
        }
    }

    /// The driver says what is missing: that is asked for.
    pub(super) fn on_prepared(&mut self, now: Now, key: FileInKey, missing: Vec<(u64, u64)>) {
        let Some(incoming) = self.files.incoming.get_mut(&key) else {
            return self.out.push(Output::File(FileCommand::Discard { key }));
        };
        let Stage::Preparing(way) = incoming.stage else {
            return;
        };
        let missing: Ranges = missing.into_iter().collect();
        if missing.is_empty() {
            return self.finish(key);
        }
        let (ranges, asked) = missing.to_pb();
        let window = match way.direct() {
            Some(_) => u64::MAX,
            None => window(incoming.row.info.chunk_size),
        };
        (incoming.asked, incoming.written, incoming.said) = (asked.min(window), 0, 0);
        incoming.stage = Stage::Taking(way);
        let link = way.direct().unwrap_or(LinkId::RELAYED);
        let done = incoming.row.info.done(missing.len());
        incoming.done = Some(done);
        self.out.push(Output::File(FileCommand::Take { key, link }));
        self.tell_in(&key, FileStage::Moving { done });
        self.say_accept(now, key, way, ranges);
        self.expect_chunks(now, key);
    }

    /// Chunks are expected by then.
    pub(super) fn expect_chunks(&mut self, now: Now, key: FileInKey) {
        if let Some(incoming) = self.files.incoming.get(&key) {
            self.look_again(key, now.mono_ms + incoming.stall_ms());
        }
    }

    /// Plans when a file is looked at again.
    pub(super) fn look_again(&mut self, key: FileInKey, at_ms: u64) {
        if let Some(incoming) = self.files.incoming.get_mut(&key) {
            incoming.due_ms = Some(at_ms);
            self.timers.arm_by(Timer::Files, at_ms);
        }
    }

    /// Nothing came in time, or something could not be done: once more.
    pub(super) fn on_incoming_due(&mut self, now: Now, key: FileInKey) {
        let Some(incoming) = self.files.incoming.get_mut(&key) else {
            return;
        };
        incoming.due_ms = None;
        match incoming.stage {
            Stage::Idle if incoming.row.state.is_over() => self.say_end_again(now, key),
            Stage::Idle => self.start_incoming(now, key),
            Stage::Taking(_) => {
                incoming.stalls = incoming.stalls.saturating_add(1);
                incoming.vain = incoming.vain.wrapping_add(1);
                let doubtful = incoming.stalls >= FILE_STALLS_TRUSTED;
                self.out.counters.count("file-stalled");
                if !self.yield_turn(now, key) {
                    self.ask_again(now, key);
                }
                if doubtful {
                    let detail = "its sender sends nothing; it is asked for again".to_owned();
                    self.tell_stuck(key, FileReason::Unspecified, detail);
                    self.doubt_path(now, key.0);
                }
            }
            // The driver, or the store, answers.
            Stage::Preparing(_) | Stage::Finishing | Stage::Recording => {}
        }
    }

    /// Asks anew for what is missing.
    fn ask_again(&mut self, now: Now, key: FileInKey) {
        if let Some(incoming) = self.files.incoming.get_mut(&key) {
            incoming.stop();
        }
        self.start_incoming(now, key);
    }

    /// Chunks are written.
    pub(super) fn on_chunks_written(
        &mut self,
        now: Now,
        (key, link): (FileInKey, LinkId),
        chunks: u64,
        left: u64,
    ) {
        let Some(incoming) = self.files.incoming.get_mut(&key) else {
            return;
        };
        let Stage::Taking(way) = incoming.stage else {
            return;
        };
        if way.direct().unwrap_or(LinkId::RELAYED) != link {
            return;
        }
        incoming.written = incoming.written.saturating_add(chunks);
        (incoming.stalls, incoming.stuck) = (0, None);
        if left == 0 {
            self.out.push(Output::File(FileCommand::Leave { key }));
            return self.finish(key);
        }
        let done = incoming.row.info.done(left);
        // Whoever asks hears of it between two events, too.
        incoming.done = Some(done);
        let tell = incoming.told_ms + FILE_TOLD_MS <= now.mono_ms;
        if tell {
            incoming.told_ms = now.mono_ms;
        }
        let (written, all) = (incoming.written, incoming.written >= incoming.asked);
        let unsaid = written.saturating_sub(incoming.said);
        let bytes = unsaid * u64::from(incoming.row.info.chunk_size);
        let report = bytes >= FILE_REPORT_BYTES && way.direct().is_some();
        if report {
            incoming.said = written;
        }
        if tell {
            self.tell_in(&key, FileStage::Moving { done });
        }
        if all {
            return self.ask_again(now, key);
        }
        if report {
            let state = FileState {
                offer_id: key.1.to_vec(),
                written,
                ..FileState::default()
            };
            self.say_file_state(link, state);
        }
        self.expect_chunks(now, key);
    }

    /// Every chunk is there.
    fn finish(&mut self, key: FileInKey) {
        if let Some(incoming) = self.files.incoming.get_mut(&key) {
            incoming.stage = Stage::Finishing;
            incoming.due_ms = None;
            self.out.push(Output::File(FileCommand::Finish { key }));
        }
    }

    /// The file is in its place: that is written down.
    pub(super) fn on_finished(&mut self, key: FileInKey, path: String) {
        let Some(incoming) = self.files.incoming.get_mut(&key) else {
            return;
        };
        let finishing = matches!(incoming.stage, Stage::Preparing(_) | Stage::Finishing);
        if !finishing {
            return;
        }
        incoming.stage = Stage::Recording;
        incoming.due_ms = None;
        incoming.row.path.clone_from(&path);
        let op = StoreOp::File(FileOp::SetIn {
            key,
            state: FileInState::Done,
            reason: FileReason::Unspecified,
            path,
        });
        self.out.write(vec![op], Write::FileDone(key));
    }

    /// It is written down, or could not be: only then the sender hears that we have it.
    pub(crate) fn on_file_recorded(&mut self, now: Now, key: FileInKey, failed: Option<String>) {
        let Some(incoming) = self.files.incoming.get_mut(&key) else {
            return;
        };
        incoming.stage = Stage::Idle;
        if let Some(detail) = failed {
            self.look_again(key, now.mono_ms + FILE_AGAIN_MS);
            return self.out.warn(now, "store-failed", detail);
        }
        incoming.row.state = FileInState::Done;
        let path = Some(incoming.row.path.clone());
        self.out.push(Output::File(FileCommand::Forget { key }));
        self.tell_in(&key, FileStage::Done { path });
        self.drop_content(&key);
        self.say_end(now, key);
        self.start_waiting(now);
    }

    /// A file for us is declined, or comes to nothing.
    pub(super) fn end_in(
        &mut self,
        now: Now,
        key: FileInKey,
        reason: FileReason,
        detail: Option<String>,
    ) {
        let Some(incoming) = self.files.incoming.get_mut(&key) else {
            return;
        };
        if incoming.row.state.is_over() {
            return;
        }
        let started = incoming.row.state == FileInState::Accepted;
        incoming.row.state = match started {
            true => FileInState::Ended,
            false => FileInState::Declined,
        };
        incoming.row.reason = reason;
        incoming.stop();
        let op = StoreOp::File(FileOp::SetIn {
            key,
            state: incoming.row.state,
            reason,
            path: String::new(),
        });
        self.out.write(vec![op], Write::Plain);
        if started {
            self.out.push(Output::File(FileCommand::Leave { key }));
            self.out.push(Output::File(FileCommand::Discard { key }));
        }
        self.tell_in(&key, FileStage::Ended { reason, detail });
        self.drop_content(&key);
        self.say_end(now, key);
        self.start_waiting(now);
    }

    /// What a small file was is not needed any more; the store drops it with the file's end.
    fn drop_content(&mut self, key: &FileInKey) {
        if let Some(incoming) = self.files.incoming.get_mut(key) {
            incoming.row.info.content = None;
        }
    }

    /// The sender knows what came of a file for us: nothing is left to do.
    pub(super) fn close_in(&mut self, now: Now, key: FileInKey) {
        let over = |incoming: &Incoming| incoming.row.state.is_over();
        if self.files.incoming.get(&key).is_some_and(over) {
            self.files.incoming.remove(&key);
            self.lazily(now, StoreOp::File(FileOp::ToldIn(key)));
        }
    }

    /// The sender gave a file up, or does not know it.
    pub(super) fn on_in_done(&mut self, now: Now, key: FileInKey, reason: FileReason) {
        let Some(incoming) = self.files.incoming.get(&key) else {
            return;
        };
        // All of it is here: that stands.
        if matches!(incoming.stage, Stage::Finishing | Stage::Recording) {
            return;
        }
        let detail = self.who_gave_up(key.0, reason);
        self.end_in(now, key, reason, detail);
        self.close_in(now, key);
    }

    /// Who gave a file up, where that is the reason.
    pub(super) fn who_gave_up(&self, device: DeviceFp, reason: FileReason) -> Option<String> {
        let user = self.contacts.of_device(device).map(|c| &c.row.label);
        let user = user.filter(|_| reason == FileReason::Cancelled);
        user.map(|user| format!("{user} gave it up"))
    }

    /// There is a link to a device: what it has for us goes on there, and what it does not know
    /// yet it is told.
    pub(super) fn resume_in(&mut self, now: Now, device: DeviceFp) {
        self.leave_others(device);
        let of_device = self.files.incoming.values_mut();
        let of_device = of_device.filter(|i| i.row.device == device);
        let mut keys = Vec::new();
        for incoming in of_device {
            incoming.theirs = false;
            incoming.stalls = 0;
            keys.push((incoming.key(), incoming.row.state.is_over()));
        }
        for (key, over) in keys {
            if over {
                self.say_end(now, key);
            } else {
                self.start_incoming(now, key);
            }
        }
        self.say_waiting(device);
    }

    /// A link is gone: what came on it waits for the next one.
    pub(super) fn interrupt_in(&mut self, link: LinkId) {
        let on_link = self.files.incoming.values_mut();
        let on_link = on_link.filter(|i| i.uses(link));
        let mut keys = Vec::new();
        for incoming in on_link {
            incoming.stop();
            keys.push(incoming.key());
        }
        for key in &keys {
            self.out
                .push(Output::File(FileCommand::Leave { key: *key }));
            self.tell_in(key, FileStage::Interrupted);
        }
    }

    /// Files for us that nothing came of for a month.
    pub(super) fn expire_in(&mut self, now: Now) {
        let steady_ms = self.steady_ms(now);
        let old = |i: &&Incoming| i.row.born_ms.saturating_add(MESSAGE_EXPIRY_MS) < steady_ms;
        let old = self.files.incoming.values().filter(old);
        for key in old.map(Incoming::key).collect::<Vec<_>>() {
            self.end_in(now, key, FileReason::Expired, None);
            self.close_in(now, key);
        }
    }
}
