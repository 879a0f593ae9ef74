//! Files of ours to devices we have no link with: their chunks go in parts through a peer that is
//! linked to both, or through a signalling socket, as slowly as those allow.
//!
//! ```text
//!   receiver                          relay                            sender
//!     FILE_ACCEPT, a CONTROL parcel  ─▶  as any other                  ─▶  a window of chunks
//!     FilePart, a FILE parcel        ◀─  within its quota for files    ◀─  Seal ─▶ Sealed, parts
//!     the window is here: FILE_ACCEPT ─▶                               ─▶  the next window
//!     FILE_DONE                      ─▶  as any other                  ─▶  FilePart: closed
//! ```
//!
//! The receiver decides that it goes this way, and by which; the sender answers where it was asked
//! from, and stops after a window. What a relay refuses goes once more when it says; what it drops
//! is asked for again, by another one. A relay that repeats or reorders parts changes nothing (see
//! [`super::parts`]); one that repeats a FILE_ACCEPT is not believed twice (`parcels_seen`), and
//! past that costs us one window.

use super::io::{FileCommand, FileStage, Through};
use super::ranges::Ranges;
use super::relays::{Part, RelayKey};
use crate::event::Event;
use crate::input::LinkId;
use crate::limits::{
    FILE_APART_WINDOW, FILE_PART_BUSY_MS, FILE_PART_PAUSE_MS_MAX, FILE_PART_TTL_S,
    FILE_PARTS_AT_ONCE, FILE_TOLD_MS, ROUTE_DEMOTED_MS,
};
use crate::manager::PeerManager;
use crate::output::{Output, SignalKind};
use crate::timer::Timer;
use crate::ways::Way;
use beeline_proto::code::ErrorCode;
use beeline_proto::id::{DeviceFp, Label, MessageId, ParcelId};
use beeline_proto::parcel::{Content, Kind as ParcelKind, Parcel};
use beeline_proto::pb::peer::v1::peer_item::Kind;
use beeline_proto::pb::peer::v1::{FilePart, Refusal};
use beeline_proto::time::Now;
use prost::Message as _;

impl PeerManager {
    /// A device asks through others for chunks of a file of ours.
    pub(super) fn relay_file_to(&mut self, now: Now, key: RelayKey, way: Way, wanted: Ranges) {
        let (id, device) = key;
        self.note_wanted(id);
        let Some(outgoing) = self.files.out.get(&id) else {
            return;
        };
        // A link takes over: what was asked for before it came is late, or played again.
        if self.links.ready_to(device).is_some() || outgoing.row.held {
            return self.out.counters.count("file-relay-unneeded");
        }
        let left = wanted.len();
        let window = window(outgoing.row.info.chunk_size);
        if !self
            .files
            .relays
            .ask(key, way, wanted.first(window), now.mono_ms)
        {
            return self.out.counters.count("file-relays-full");
        }
        let tell = self.files.relays.may_tell(key, FILE_TOLD_MS, now.mono_ms);
        self.begin_sending(id, left, tell);
        self.feed_relays(now);
    }

    /// Hands on what may go now of the files that go through others.
    pub(super) fn feed_relays(&mut self, now: Now) {
        if self.draining {
            return;
        }
        self.seal_chunks();
        for _ in 0..FILE_PARTS_AT_ONCE {
            let (links, sockets) = (&self.links, self.presence.sockets());
            let free = |way: Way| match way {
                // Chat goes first, and whatever else waits there.
                Way::Relay(link) | Way::Direct(link) => {
                    let ready = links.get(link).and_then(|link| link.ready());
                    ready.is_some_and(|ready| ready.queue.is_light())
                }
                Way::Socket(socket) => sockets.contains(&socket),
                Way::Kept(_) => false,
            };
            let Some(part) = self.files.relays.next(now.mono_ms, free) else {
                break;
            };
            self.send_part(&part);
        }
        self.seal_chunks();
        if let Some(at_ms) = self.files.relays.wake_ms(now.mono_ms) {
            self.timers.arm(Timer::FileParts, at_ms);
        }
    }

    /// Has the next chunks sealed.
    fn seal_chunks(&mut self) {
        let out = &self.files.out;
        let may = |id: &MessageId| out.get(id).is_some_and(|outgoing| outgoing.is_open());
        for (id, index) in self.files.relays.take_unsealed(may) {
            self.out.push(Output::File(FileCommand::Seal { id, index }));
        }
    }

    /// The driver sealed a chunk of a file of ours.
    pub(super) fn on_chunk_sealed(&mut self, now: Now, id: MessageId, index: u64, sealed: &[u8]) {
        self.files.relays.sealed(id, index, sealed);
        self.feed_relays(now);
    }

    /// The time of the next part has come, or of those that nobody asked for again.
    pub(crate) fn on_parts_timer(&mut self, now: Now) {
        for (id, _) in self.files.relays.end_idle(now.mono_ms) {
            self.tell_out(id, FileStage::Interrupted);
            self.shut_if_idle(id);
        }
        self.feed_relays(now);
    }

    fn send_part(&mut self, part: &Part) {
        let (id, device) = part.key;
        let body = FilePart {
            offer_id: id.to_vec(),
            index: part.index,
            at: part.at,
            data: part.data.clone(),
            closed: false,
        };
        let Some((label, bytes)) = self.seal_part(device, &body) else {
            return;
        };
        match part.way {
            Way::Socket(socket) => {
                let kind = SignalKind::RelayRequest;
                self.out.signal(socket, kind, label, bytes);
            }
            Way::Relay(link) => {
                let parcel = Parcel::parse(&bytes).map(|parcel| parcel.id());
                if self.say(link, Kind::Relay(bytes))
                    && let Ok(parcel) = parcel
                {
                    self.files.relays.note_handed(parcel, link, part);
                }
            }
            Way::Direct(_) | Way::Kept(_) => {}
        }
    }

    /// Seals a part to a device: its label, and the parcel.
    fn seal_part(&mut self, device: DeviceFp, part: &FilePart) -> Option<(Label, Vec<u8>)> {
        let to = self.contacts.of_device(device)?.device(device)?;
        let (key, label) = (to.control_key, to.label.clone());
        let header = self.header(device, ParcelKind::File, key.key_id(), FILE_PART_TTL_S);
        let content = Content {
            envelope: part.encode_to_vec(),
            ..Content::default()
        };
        let sealed = self.crypto.seal(&header, &key, &content);
        if sealed.is_err() {
            self.out.counters.count("seal-failed");
        }
        Some((label, sealed.ok()?))
    }

    /// What a device said last of a file is settled: it is told so by the way its word came.
    pub(super) fn say_closed(&mut self, now: Now, (way, device): (Way, DeviceFp), id: MessageId) {
        if let Some(link) = way.direct() {
            return self.say_closed_on(link, id);
        }
        let part = FilePart {
            offer_id: id.to_vec(),
            closed: true,
            ..FilePart::default()
        };
        let Some((_, bytes)) = self.seal_part(device, &part) else {
            return;
        };
        match way {
            Way::Socket(socket) => self.request_relay_of(now, socket, device, bytes),
            Way::Relay(link) => self.say(link, Kind::Relay(bytes)),
            Way::Direct(_) | Way::Kept(_) => false,
        };
    }

    /// A peer refused something: whether it was a part of a file of ours.
    pub(crate) fn on_part_refused(&mut self, now: Now, link: LinkId, refusal: &Refusal) -> bool {
        let parcel = ParcelId::try_from(refusal.subject.as_slice()).ok();
        let Some(key) = parcel.and_then(|parcel| self.files.relays.refused(parcel, link)) else {
            return false;
        };
        let later = [ErrorCode::RateLimited, ErrorCode::Full];
        if later.iter().any(|code| refusal.code == code.name()) {
            let wait_ms = u64::from(refusal.retry_after_ms);
            let wait_ms = wait_ms.clamp(FILE_PART_BUSY_MS, FILE_PART_PAUSE_MS_MAX);
            self.files.relays.pause(key, wait_ms, now.mono_ms);
            self.feed_relays(now);
            return true;
        }
        // There is no way here. The receiver asks by another one.
        self.files.relays.rest(key);
        self.tell_out(key.0, FileStage::Interrupted);
        if refusal.code == ErrorCode::NoRoute.name() {
            self.end_relay(now, link, key.1, ROUTE_DEMOTED_MS);
        }
        true
    }

    /// A link is gone: files that went through the peer at its end are asked for by another way.
    pub(super) fn interrupt_relays(&mut self, link: LinkId) {
        for (id, _) in self.files.relays.rest_on(link) {
            self.tell_out(id, FileStage::Interrupted);
        }
    }

    /// Devices that get a file of ours now, whichever way.
    pub(super) fn getters(&self, id: MessageId) -> Vec<DeviceFp> {
        let direct = self.files.share.of_file(id).into_iter();
        let direct = direct.map(|(device, _)| device);
        direct.chain(self.files.relays.devices(id)).collect()
    }

    /// Through whom a file goes or comes that goes this way.
    pub(super) fn through(&self, way: Way) -> Option<Through> {
        match way {
            Way::Direct(_) | Way::Kept(_) => None,
            Way::Relay(link) => {
                let peer = self.links.get(link).map(|link| link.user.clone());
                peer.map(Through::Peer)
            }
            Way::Socket(_) => Some(Through::Server),
        }
    }

    /// Through whom a file of ours goes, where it goes through others alone.
    pub(super) fn out_through(&self, id: MessageId) -> Option<Through> {
        let apart = self.files.share.of_file(id).is_empty();
        let way = self.files.relays.way(id).filter(|_| apart);
        way.and_then(|way| self.through(way))
    }

    /// Tells of a file of ours.
    pub(super) fn tell_out(&mut self, id: MessageId, stage: FileStage) {
        let moving = matches!(stage, FileStage::Moving { .. });
        let through = self.out_through(id).filter(|_| moving);
        if let Some(outgoing) = self.files.out.get(&id) {
            let told = outgoing.told(stage, through);
            self.out.event(Event::File(told));
        }
    }
}

/// Chunks of a file that are under way through others at once.
pub(super) fn window(chunk_size: u32) -> u64 {
    (FILE_APART_WINDOW / u64::from(chunk_size).max(1)).max(1)
}
