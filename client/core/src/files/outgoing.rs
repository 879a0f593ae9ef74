//! Files of ours: offered through the outbox, sent to the devices that ask.

use super::io::{FileCommand, FileSource, FileStage, FileTold, Through};
use super::ranges::Ranges;
use super::reason_text;
use super::rows::{FileEnded, FileInfo, FileKey, FileOp, FileOutRow, FileOutState};
use super::sent::Record;
use crate::event::DeliveryState;
use crate::input::LinkId;
use crate::intake::Opened;
use crate::limits::{
    FILE_GRANTS_MAX, FILE_RANGES_MAX, FILE_SOURCE_LEN_MAX, FILE_TOLD_MS, FILE_UPLOADS_MAX,
};
use crate::manager::PeerManager;
use crate::output::Output;
use crate::outputs::Write;
use crate::state::{OutboxRow, StoreOp};
use beeline_proto::code::ErrorCode;
use beeline_proto::id::{DeviceFp, Label, MessageId};
use beeline_proto::limits::MESSAGE_EXPIRY_MS;
use beeline_proto::pb::peer::v1::{FileAccept, FileOffer, FileReason};
use beeline_proto::time::Now;
use std::collections::BTreeSet;

/// How far the content is from being readable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    Shut,
    Opening,
    Open,
}

/// A file of ours.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(super) row: FileOutRow,
    content: Content,
    /// Something stands in its way at the receiver, and that was told.
    pub(super) stuck: bool,
    /// Held back by the receiver, as it said last.
    pub(super) theirs: bool,
    /// Bytes written there, as far as that was told.
    pub(super) done: Option<u64>,
    /// Whether it is written down that a device has it.
    pub(super) record: Record,
}

impl Outgoing {
    pub(super) fn new(row: FileOutRow) -> Self {
        let record = match row.state {
            FileOutState::Done => Record::Written,
            _ => Record::No,
        };
        Self {
            row,
            record,
            content: Content::Shut,
            stuck: false,
            theirs: false,
            done: None,
        }
    }

    /// Whether its content can be read.
    pub(super) fn is_open(&self) -> bool {
        self.content == Content::Open
    }

    /// When it is to be written down again that a device has it.
    pub(super) fn record_due_ms(&self) -> Option<u64> {
        match self.record {
            Record::Again(at_ms, _) => Some(at_ms),
            Record::No | Record::Written => None,
        }
    }

    pub(super) fn told(&self, stage: FileStage, through: Option<Through>) -> FileTold {
        let row = &self.row;
        FileTold::of(&row.info, row.id, (&row.to, true), stage, through)
    }
}

impl PeerManager {
    /// Why a file is not offered, beside what is wrong with any message.
    pub(crate) fn file_objection(&self, file: &FileSource) -> Option<(ErrorCode, String)> {
        let invalid = |text: String| Some((ErrorCode::InvalidArgument, text));
        if self.files.is_out_full() {
            let detail = "too many files wait; try again when some are through".to_owned();
            return Some((ErrorCode::Full, detail));
        }
        if file.source.len() > FILE_SOURCE_LEN_MAX {
            return invalid(format!("the path exceeds {FILE_SOURCE_LEN_MAX} bytes"));
        }
        if !file_info(file, [0; 32]).is_sound() {
            return invalid("the file's name or size is beyond what can be offered".to_owned());
        }
        None
    }

    /// Takes a file to offer, with the row of the message that will.
    pub(crate) fn add_file(&mut self, row: &OutboxRow, file: FileSource) -> StoreOp {
        let mut key = [0; 32];
        self.crypto.random(&mut key);
        let row = FileOutRow {
            id: row.id,
            to: row.to.clone(),
            info: file_info(&file, key),
            source: file.source,
            state: FileOutState::Offered,
            reason: FileReason::Unspecified,
            held: false,
            born_ms: row.born_ms,
        };
        self.files.out.insert(row.id, Outgoing::new(row.clone()));
        StoreOp::File(FileOp::AddOut(row))
    }

    /// The message that was to offer a file was not queued.
    pub(crate) fn remove_file(&mut self, id: &MessageId) {
        self.files.out.remove(id);
    }

    /// What the message that offers a file says; the context is the caller's.
    pub(crate) fn file_offer(&self, row: &OutboxRow) -> Option<FileOffer> {
        let info = &self.files.out.get(&row.id)?.row.info;
        Some(FileOffer {
            context: None,
            name: info.name.clone(),
            size: info.size,
            root: info.root.to_vec(),
            file_key: info.key.0.to_vec(),
            chunk_size: info.chunk_size,
            list_len: info.list_len,
            files: info.files,
            timestamp: row.queued_ms / 1_000,
            content: info.content.as_ref().map(|content| content.0.to_vec()),
        })
    }

    /// The message that offers a file is durable.
    pub(crate) fn tell_file_offered(&mut self, id: MessageId) {
        self.tell_out(id, FileStage::Offered);
    }

    /// A device asks for chunks, or declines.
    pub(crate) fn on_file_accept(&mut self, now: Now, opened: &Opened) {
        let audience = self.me.user.0;
        let verified = self.verify::<FileAccept>(now, &opened.envelope, opened.from, audience);
        let (Some(accept), Some(label)) = (verified, self.speaker(opened.from)) else {
            return self.out.counters.count("file-accept-refused");
        };
        let accept = accept.payload();
        let Ok(id) = MessageId::try_from(accept.offer_id.as_slice()) else {
            return self.out.counters.count("file-accept-refused");
        };
        let (device, way) = (opened.from, opened.way);
        if !self.offers_to(id, &label) {
            if accept.declined {
                return self.say_closed(now, (way, device), id);
            }
            return self.say_unknown(now, device, id);
        }
        if accept.declined {
            let reason = FileReason::try_from(accept.reason).unwrap_or(FileReason::Unspecified);
            self.say_closed(now, (way, device), id);
            return self.on_declined(now, id, device, reason);
        }
        let Some(wanted) = self.asked(id, accept) else {
            let detail = format!("{label} asks for chunks that a file does not have");
            return self.out.warn(now, "file-accept-refused", detail);
        };
        match way.direct() {
            Some(link) => self.send_file_to(now, id, (device, link), wanted),
            None => self.relay_file_to(now, (id, device), way, wanted),
        }
    }

    /// Whether a file of ours is for this user, and has not ended.
    pub(super) fn offers_to(&self, id: MessageId, label: &Label) -> bool {
        let outgoing = self.files.out.get(&id);
        outgoing.is_some_and(|o| o.row.to == *label && o.row.state != FileOutState::Ended)
    }

    /// The chunks a device asks for, if the file has them.
    fn asked(&self, id: MessageId, accept: &FileAccept) -> Option<Ranges> {
        let chunks = self.files.out.get(&id)?.row.info.chunks();
        if !accept.wanted.is_empty() {
            return Ranges::from_pb(&accept.wanted, chunks);
        }
        let mut all = Ranges::all(chunks);
        all.remove(0, accept.from_chunk);
        (!all.is_empty()).then_some(all)
    }

    /// A device gets chunks of a file of ours over a link from now on.
    fn send_file_to(
        &mut self,
        now: Now,
        id: MessageId,
        (device, link): (DeviceFp, LinkId),
        wanted: Ranges,
    ) {
        let others = self.files.share.of_file(id);
        let others = others.iter().filter(|(other, _)| *other != device);
        let turn = self.out.fresh_turn();
        let busy = others.count() >= FILE_UPLOADS_MAX;
        self.note_wanted(id);
        let Some(outgoing) = self.files.out.get_mut(&id) else {
            return;
        };
        if outgoing.row.held || busy {
            return self.say_paused(link, id, true);
        }
        outgoing.stuck = false;
        let left = wanted.len();
        let chunk_size = outgoing.row.info.chunk_size;
        let to = ((id, device), (link, turn));
        let before = self.files.share.start(to.0, to.1, wanted, chunk_size);
        if let Some(before) = before {
            let stop = FileCommand::Stop { id, link: before };
            self.out.push(Output::File(stop));
        }
        self.files.relays.end((id, device));
        self.begin_sending(id, left, true);
        self.files.seeks.remove(&device);
        self.feed_files(link);
        self.arm_files(now);
    }

    /// A file of ours is asked for, `left` chunks of it: it is opened if it is not, and told.
    pub(super) fn begin_sending(&mut self, id: MessageId, left: u64, tell: bool) {
        let Some(outgoing) = self.files.out.get_mut(&id) else {
            return;
        };
        if outgoing.content == Content::Shut {
            outgoing.content = Content::Opening;
            let open = FileCommand::Open {
                id,
                source: outgoing.row.source.clone(),
                info: outgoing.row.info.clone(),
            };
            self.out.push(Output::File(open));
        }
        let done = outgoing.row.info.done(left);
        outgoing.done = Some(done);
        if tell {
            self.tell_out(id, FileStage::Moving { done });
        }
    }

    /// A device wants a file of ours.
    pub(super) fn note_wanted(&mut self, id: MessageId) {
        let Some(outgoing) = self.files.out.get_mut(&id) else {
            return;
        };
        outgoing.theirs = false;
        if outgoing.row.state == FileOutState::Offered {
            outgoing.row.state = FileOutState::Wanted;
            let held = outgoing.row.held;
            self.set_out(id);
            if !held {
                self.tell_out(id, FileStage::Accepted);
            }
        }
    }

    /// Writes how far a file of ours is.
    fn set_out(&mut self, id: MessageId) {
        if let Some(outgoing) = self.files.out.get(&id) {
            let (state, reason) = (outgoing.row.state, outgoing.row.reason);
            let op = StoreOp::File(FileOp::SetOut { id, state, reason });
            self.out.write(vec![op], Write::Plain);
        }
    }

    /// Hands the next chunks of a link to the driver.
    pub(super) fn feed_files(&mut self, link: LinkId) {
        for _ in 0..FILE_GRANTS_MAX {
            let out = &self.files.out;
            let may = |id: &MessageId| out.get(id).is_some_and(|o| o.content == Content::Open);
            let Some(grant) = self.files.share.next(link, may) else {
                return;
            };
            self.out.push(Output::File(FileCommand::Send {
                id: grant.id,
                link,
                from: grant.from,
                count: grant.count,
                turn: grant.turn,
            }));
        }
    }

    /// The content of a file of ours is open: it goes wherever it was asked for.
    pub(super) fn on_file_opened(&mut self, now: Now, id: MessageId) {
        let Some(outgoing) = self.files.out.get_mut(&id) else {
            return self.out.push(Output::File(FileCommand::Shut { id }));
        };
        outgoing.content = Content::Open;
        for (_, link) in self.files.share.of_file(id) {
            self.feed_files(link);
        }
        self.feed_relays(now);
    }

    /// A receiver says how far it is.
    pub(super) fn on_file_written(
        &mut self,
        now: Now,
        (id, device): (MessageId, DeviceFp),
        written: u64,
    ) {
        let Some(upload) = self.files.share.written(id, device, written) else {
            return;
        };
        let (left, link) = (upload.left(), upload.link);
        let tell = upload.told_ms + FILE_TOLD_MS <= now.mono_ms;
        if tell {
            upload.told_ms = now.mono_ms;
        }
        if let Some(outgoing) = self.files.out.get_mut(&id) {
            let done = outgoing.row.info.done(left);
            // Whoever asks hears of it between two events, too.
            outgoing.done = Some(done);
            if tell {
                self.tell_out(id, FileStage::Moving { done });
            }
        }
        self.feed_files(link);
    }

    /// Sends nothing more of a file to a device; closes it when nobody gets it any more.
    pub(super) fn stop_sending(&mut self, id: MessageId, device: DeviceFp) {
        if let Some(link) = self.files.share.end(id, device) {
            self.out.push(Output::File(FileCommand::Stop { id, link }));
            self.feed_files(link);
        }
        self.files.relays.end((id, device));
        self.files.seeks.remove(&device);
        self.shut_if_idle(id);
    }

    pub(super) fn shut_if_idle(&mut self, id: MessageId) {
        let idle = self.getters(id).is_empty();
        let Some(outgoing) = self.files.out.get_mut(&id).filter(|_| idle) else {
            return;
        };
        if outgoing.content != Content::Shut {
            outgoing.content = Content::Shut;
            self.out.push(Output::File(FileCommand::Shut { id }));
        }
        // Other devices of the recipient may still hear of the offer, and ask.
        let done = outgoing.record == Record::Written;
        let over = done && self.outbox.get(&id).is_none();
        if over {
            self.files.out.remove(&id);
        }
    }

    /// A device does not want a file of ours. Another one may.
    pub(super) fn on_declined(
        &mut self,
        now: Now,
        id: MessageId,
        device: DeviceFp,
        reason: FileReason,
    ) {
        self.stop_sending(id, device);
        let state = self.files.out.get(&id).map(|o| o.row.state);
        let others = !self.getters(id).is_empty();
        if !others && state.is_some_and(|state| state < FileOutState::Done) {
            let detail = self.who_gave_up(device, reason);
            self.end_out(now, id, reason, detail);
        }
    }

    /// A file of ours comes to nothing: every device that gets it is told.
    pub(super) fn end_out(
        &mut self,
        now: Now,
        id: MessageId,
        reason: FileReason,
        detail: Option<String>,
    ) {
        let mut ops: Vec<StoreOp> = self
            .withdraw_file(now, id, reason, detail)
            .into_iter()
            .collect();
        let state = match reason {
            FileReason::Expired => DeliveryState::Expired,
            _ => DeliveryState::Rejected,
        };
        ops.extend(self.end_message(now, id, state, reason_text(reason)));
        // In one write: an offer without its file would be sent as a text.
        self.write_some(ops);
    }

    /// A file of ours ends, perhaps because its offer did: the operation to write with that.
    pub(crate) fn withdraw_file(
        &mut self,
        now: Now,
        id: MessageId,
        reason: FileReason,
        detail: Option<String>,
    ) -> Option<StoreOp> {
        let outgoing = self.files.out.get(&id)?;
        if outgoing.row.state == FileOutState::Done && outgoing.record != Record::Written {
            // It has arrived, and that is being written down.
            return None;
        }
        let to = outgoing.row.to.clone();
        let mut told: BTreeSet<DeviceFp> = self.getters(id).into_iter().collect();
        for device in &told {
            self.stop_sending(id, *device);
        }
        // Others that are not linked hear of it when they ask.
        let linked = self.links.of_user(&to).filter(|link| link.is_ready());
        told.extend(linked.map(|link| link.device));
        for device in told {
            self.say_done(now, device, id, Some(reason));
        }
        let outgoing = self.files.out.get_mut(&id)?;
        let ends = outgoing.row.state < FileOutState::Done;
        if ends {
            outgoing.row.state = FileOutState::Ended;
            self.tell_out(id, FileStage::Ended { reason, detail });
        }
        if ends {
            self.files.ended.add(FileEnded { id, to, reason });
        }
        self.files.out.remove(&id);
        ends.then_some(StoreOp::File(FileOp::SetOut {
            id,
            state: FileOutState::Ended,
            reason,
        }))
    }

    /// Files of ours that nobody took for a month.
    pub(super) fn expire_out(&mut self, now: Now) {
        let steady_ms = self.steady_ms(now);
        let old = |o: &&Outgoing| o.row.born_ms.saturating_add(MESSAGE_EXPIRY_MS) < steady_ms;
        let old = self.files.out.values().filter(old);
        for id in old.map(|o| o.row.id).collect::<Vec<_>>() {
            self.end_out(now, id, FileReason::Expired, None);
        }
        let done = |o: &&Outgoing| o.row.state == FileOutState::Done;
        let done = self.files.out.values().filter(done);
        for id in done.map(|o| o.row.id).collect::<Vec<_>>() {
            self.shut_if_idle(id);
        }
    }

    /// The link is gone: receivers ask again on the next one.
    pub(super) fn interrupt_out(&mut self, link: LinkId) {
        for id in self.files.share.end_link(link) {
            self.tell_out(id, FileStage::Interrupted);
            self.shut_if_idle(id);
        }
    }
}

fn file_info(file: &FileSource, key: [u8; 32]) -> FileInfo {
    FileInfo {
        name: file.name.clone(),
        size: file.size,
        root: file.root,
        key: FileKey::new(key),
        chunk_size: file.chunk_size,
        list_len: file.list_len,
        files: file.files,
        content: file.content.clone(),
    }
}

// An accept is checked against this before any of it is kept.
const _: () = assert!(FILE_RANGES_MAX * 24 < beeline_proto::limits::PAYLOAD_LEN_MAX);
