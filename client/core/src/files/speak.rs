//! What is said of files: FILE_ACCEPT and FILE_DONE, signed and sealed as CONTROL parcels;
//! FILE_STATE, which a link vouches for.

use super::rows::{FileInKey, FileInState};
use crate::input::LinkId;
use crate::limits::FILE_AGAIN_MS;
use crate::manager::PeerManager;
use crate::ways::Way;
use beeline_proto::id::{DeviceFp, MessageId};
use beeline_proto::limits::PARCEL_TTL_MAX_S;
use beeline_proto::pb::peer::v1::peer_item::Kind;
use beeline_proto::pb::peer::v1::{FileAccept, FileDone, FileRange, FileReason, FileState};
use beeline_proto::time::Now;

/// Which of the two a parcel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Accept,
    Done,
}

impl PeerManager {
    /// Asks a sender for chunks, one way.
    pub(super) fn say_accept(
        &mut self,
        now: Now,
        key: FileInKey,
        way: Way,
        wanted: Vec<FileRange>,
    ) {
        let said = self.sender_context(key).and_then(|context| {
            let accept = FileAccept {
                context,
                offer_id: key.1.to_vec(),
                from_chunk: wanted.first()?.from,
                declined: false,
                wanted,
                reason: 0,
            };
            let envelope = self.me.sign(self.crypto.as_mut(), &accept);
            self.say_word(now, key.0, (Word::Accept, envelope), Some(way))
        });
        if said.is_none() {
            // The link is full or ending: asked for again soon, or on the next one.
            self.look_again(key, now.mono_ms + FILE_AGAIN_MS);
        }
    }

    /// The context of what is said to the user who offers us a file.
    fn sender_context(
        &mut self,
        key: FileInKey,
    ) -> Option<Option<beeline_proto::pb::envelope::v1::Context>> {
        let user = self.files.incoming.get(&key)?.row.user;
        Some(self.me.context(self.crypto.as_mut(), user.0))
    }

    /// Tells a sender what came of its file, by whichever way there is; again on its next link.
    pub(super) fn say_end(&mut self, now: Now, key: FileInKey) {
        let Some(incoming) = self.files.incoming.get(&key) else {
            return;
        };
        let (state, reason) = (incoming.row.state, incoming.row.reason);
        let way = self.way_of_end(now, key);
        match state {
            FileInState::Done => self.say_done_by(now, key, way, None),
            FileInState::Ended => self.say_done_by(now, key, way, Some(reason)),
            FileInState::Declined => {
                let Some(context) = self.sender_context(key) else {
                    return;
                };
                let accept = FileAccept {
                    context,
                    offer_id: key.1.to_vec(),
                    declined: true,
                    reason: reason as i32,
                    ..FileAccept::default()
                };
                let envelope = self.me.sign(self.crypto.as_mut(), &accept);
                self.say_word(now, key.0, (Word::Accept, envelope), way);
            }
            FileInState::Offered | FileInState::Accepted => {}
        }
    }

    /// Says FILE_DONE to a device: complete, or the reason why it is not.
    pub(super) fn say_done(
        &mut self,
        now: Now,
        device: DeviceFp,
        id: MessageId,
        reason: Option<FileReason>,
    ) {
        self.say_done_by(now, (device, id), None, reason);
    }

    /// The same one way, where one is given.
    fn say_done_by(
        &mut self,
        now: Now,
        (device, id): FileInKey,
        way: Option<Way>,
        reason: Option<FileReason>,
    ) {
        let Some(user) = self.contacts.of_device(device).map(|c| c.row.user) else {
            return;
        };
        let done = FileDone {
            context: self.me.context(self.crypto.as_mut(), user.0),
            offer_id: id.to_vec(),
            complete: reason.is_none(),
            reason: reason.map_or(0, |reason| reason as i32),
        };
        let envelope = self.me.sign(self.crypto.as_mut(), &done);
        self.say_word(now, device, (Word::Done, envelope), way);
    }

    /// A device asks for a file we do not offer it, or not any more: it is told, with why that is
    /// where we know it, not too often.
    pub(super) fn say_unknown(&mut self, now: Now, device: DeviceFp, id: MessageId) {
        let user = self.contacts.of_device(device).map(|c| &c.row.label);
        let ended = user.and_then(|user| self.files.ended.reason(id, user));
        if ended.is_none() {
            self.out.counters.count("file-unknown");
        }
        if self.nacks.take(now.mono_ms) {
            let reason = ended.unwrap_or(FileReason::UnknownOffer);
            self.say_done(now, device, id, Some(reason));
        }
    }

    /// Seals a word to a device and sends it one way: the one given, or the best there is.
    fn say_word(
        &mut self,
        now: Now,
        device: DeviceFp,
        (word, envelope): (Word, Vec<u8>),
        way: Option<Way>,
    ) -> Option<()> {
        let label = self.contacts.of_device(device)?.row.label.clone();
        let way = way.or_else(|| self.ways_to(now, device).first().copied())?;
        let sealed = self.seal_control(&label, device, envelope, Vec::new(), PARCEL_TTL_MAX_S)?;
        let item = match word {
            Word::Accept => Kind::FileAccept(sealed),
            Word::Done => Kind::FileDone(sealed),
        };
        self.send_parcel(now, way, device, item).then_some(())
    }

    /// What a receiver said last of a file is settled.
    pub(super) fn say_closed_on(&mut self, link: LinkId, id: MessageId) {
        let state = FileState {
            offer_id: id.to_vec(),
            closed: true,
            ..FileState::default()
        };
        self.say_file_state(link, state);
    }

    /// Says how a file stands on a link. What a full link does not take is made good by the
    /// receiver, who asks again.
    pub(super) fn say_file_state(&mut self, link: LinkId, state: FileState) {
        if !self.say(link, Kind::FileState(state)) {
            self.out.counters.count("file-state-unsaid");
        }
    }
}
