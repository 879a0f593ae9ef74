//! Files for us from devices we have no link with: when they are asked for through others, by which
//! way, and what becomes of the parts that come.
//!
//! A link is looked for all the while, and takes over as soon as it is there. Each time nothing
//! came, the next way there is gets its turn, so one that drops what it takes, or does not carry
//! files, only costs time.

use super::Files;
use super::incoming::{Incoming, Stage};
use super::io::{FileCommand, FileStage};
use super::parts::Took;
use super::rows::FileInKey;
use crate::event::Event;
use crate::input::LinkId;
use crate::limits::{FILE_APART_MS, FILE_END_TRIES, FILE_STALL_MS, FILES_APART_IN_MAX};
use crate::manager::PeerManager;
use crate::output::Output;
use crate::ways::Way;
use beeline_proto::id::{DeviceFp, MessageId};
use beeline_proto::parcel::Parcel;
use beeline_proto::pb::peer::v1::FilePart;
use beeline_proto::time::Now;
use prost::Message as _;

impl PeerManager {
    /// The way a wanted file comes now: over the link to its sender, or, where there has been none
    /// for a while, through others. Without one it is looked at again.
    pub(super) fn way_in(&mut self, now: Now, key: FileInKey) -> Option<Way> {
        if let Some(link) = self.links.ready_to(key.0) {
            return Some(Way::Direct(link));
        }
        self.seek(now, key.0);
        let since_ms = self.files.seeks.get(&key.0)?.since_ms;
        let at_ms = since_ms + FILE_APART_MS;
        if at_ms > now.mono_ms {
            self.look_again(key, at_ms);
            return None;
        }
        let apart = self.files.incoming.values().filter(|i| i.is_apart());
        let full = apart.count() >= FILES_APART_IN_MAX;
        let vain = self.files.incoming.get(&key)?.vain;
        let way = self.way_apart(now, key.0, vain).filter(|_| !full);
        if way.is_none() {
            self.look_again(key, now.mono_ms + FILE_STALL_MS);
        }
        way
    }

    /// A way to a device that is not linked to us; after each try in vain the next one.
    fn way_apart(&self, now: Now, device: DeviceFp, vain: u32) -> Option<Way> {
        let relays = self.relays_to(now, device).into_iter().map(Way::Relay);
        let sockets = self.presence.sockets().into_iter().map(Way::Socket);
        let ways: Vec<Way> = relays.chain(sockets).collect();
        let turn = usize::try_from(vain).ok()?.checked_rem(ways.len())?;
        ways.get(turn).copied()
    }

    /// The way by which a sender hears what came of its file. Without a link it may not get
    /// through: it is said again a few times, by other ways.
    pub(super) fn way_of_end(&mut self, now: Now, key: FileInKey) -> Option<Way> {
        if let Some(link) = self.links.ready_to(key.0) {
            return Some(Way::Direct(link));
        }
        let incoming = self.files.incoming.get(&key)?;
        let (stalls, vain) = (incoming.stalls, incoming.vain);
        if stalls < FILE_END_TRIES {
            let at_ms = now.mono_ms + incoming.stall_ms();
            self.look_again(key, at_ms);
        }
        self.way_apart(now, key.0, vain)
    }

    /// After a start: a sender that does not know yet hears it, if no link comes first.
    pub(super) fn resume_end(&mut self, now: Now, key: FileInKey) {
        let incoming = self.files.incoming.get(&key);
        if incoming.is_some_and(|incoming| incoming.row.state.is_over()) {
            self.look_again(key, now.mono_ms + FILE_APART_MS);
        }
    }

    /// A sender did not say that it knows what came of its file.
    pub(super) fn say_end_again(&mut self, now: Now, key: FileInKey) {
        if let Some(incoming) = self.files.incoming.get_mut(&key) {
            incoming.stalls = incoming.stalls.saturating_add(1);
            incoming.vain = incoming.vain.wrapping_add(1);
            self.say_end(now, key);
        }
    }

    /// A part of a file came, or the word that nothing more is to be said of one. What nobody asked
    /// for by this way costs nothing: a third party cannot use up what is opened.
    pub(crate) fn on_file_parcel(
        &mut self,
        now: Now,
        said: Option<&str>,
        parcel: &Parcel,
        way: Way,
    ) {
        let header = parcel.header();
        let from = header.from;
        let contact = self.contacts.of_device(from);
        let label = contact
            .and_then(|contact| contact.device(from))
            .map(|d| &d.label);
        let named = label.is_some_and(|label| said.is_none_or(|said| said == label.as_str()));
        let ours = header.network == self.me.network() && header.to == self.me.device;
        let asked = self.files.asks_by(from, way);
        if !ours || !named || !(asked || self.files.has_over(from)) {
            return self.out.counters.count("file-part-unexpected");
        }
        let may = match asked {
            true => self.files.opens.take(now.mono_ms),
            false => self.may_open(now, way),
        };
        if !may {
            return self.out.counters.count("too-many-file-parts");
        }
        let opened = self.crypto.open_parcel(parcel, &self.me.control_key);
        let part = opened.ok().map(|content| content.envelope);
        let part = part.and_then(|body| FilePart::decode(body.as_slice()).ok());
        let id = |part: &FilePart| MessageId::try_from(part.offer_id.as_slice()).ok();
        let Some((id, part)) = part.and_then(|part| Some((id(&part)?, part))) else {
            return self.out.counters.count("file-part-refused");
        };
        if part.closed {
            return self.close_in(now, (from, id));
        }
        self.on_part(now, (from, id), part);
    }

    fn on_part(&mut self, now: Now, key: FileInKey, part: FilePart) {
        let incoming = self.files.incoming.get_mut(&key);
        let Some(incoming) = incoming.filter(|incoming| incoming.takes_parts()) else {
            return self.out.counters.count("file-part-unexpected");
        };
        let info = &incoming.row.info;
        match incoming.parts.take(info, part.index, part.at, part.data) {
            Took::Nothing => return self.out.counters.count("file-part-unused"),
            Took::Part => {}
            Took::Chunk(sealed) => {
                let index = part.index;
                let write = FileCommand::Write { key, index, sealed };
                self.out.push(Output::File(write));
            }
        }
        incoming.stalls = 0;
        self.expect_chunks(now, key);
    }

    /// There is a link to a device: what it sends us through others comes over that from now on.
    pub(super) fn leave_others(&mut self, device: DeviceFp) {
        let apart = |i: &&Incoming| i.row.device == device && i.is_apart();
        let apart = self.files.incoming.values().filter(apart);
        for key in apart.map(Incoming::key).collect::<Vec<_>>() {
            self.leave(key);
        }
    }

    /// Tells of a file for us.
    pub(super) fn tell_in(&mut self, key: &FileInKey, stage: FileStage) {
        let moving = matches!(stage, FileStage::Moving { .. });
        let way = self.files.incoming.get(key).and_then(Incoming::way);
        let way = way.filter(|_| moving);
        let through = way.and_then(|way| self.through(way));
        if let Some(incoming) = self.files.incoming.get(key) {
            let told = incoming.told(stage, through);
            self.out.event(Event::File(told));
        }
    }
}

impl Incoming {
    /// The way it comes.
    pub(super) fn way(&self) -> Option<Way> {
        match self.stage {
            Stage::Preparing(way) | Stage::Taking(way) => Some(way),
            Stage::Idle | Stage::Finishing | Stage::Recording => None,
        }
    }

    /// Whether it comes over a link: the sender's, or that of a peer that hands it on.
    pub(super) fn uses(&self, link: LinkId) -> bool {
        matches!(self.way(), Some(Way::Direct(on) | Way::Relay(on)) if on == link)
    }

    /// Whether it comes, or is about to, but not over a link to its sender.
    pub(super) fn is_apart(&self) -> bool {
        self.way().is_some_and(|way| way.direct().is_none())
    }

    /// Whether it comes in parts.
    fn takes_parts(&self) -> bool {
        matches!(self.stage, Stage::Taking(way) if way.direct().is_none())
    }
}

impl Files {
    /// Whether parts of a file were asked for of a device by this way.
    fn asks_by(&self, device: DeviceFp, way: Way) -> bool {
        let mut all = self.incoming.values();
        all.any(|i| i.row.device == device && i.takes_parts() && i.way() == Some(way))
    }

    /// Whether a device is still to say that it knows what came of a file.
    fn has_over(&self, device: DeviceFp) -> bool {
        let mut all = self.incoming.values();
        all.any(|i| i.row.device == device && i.row.state.is_over())
    }
}
