//! Traffic of open links: frames in, item by item; frames out, many items each; GOODBYE.

use crate::frames;
use crate::input::LinkId;
use crate::limits::{FRAMES_PER_DRAIN, GOODBYE_LEN_MAX, REFUSED_ITEMS_MAX};
use crate::link::Stage;
use crate::manager::PeerManager;
use crate::output::RtcCommand;
use crate::timer::Timer;
use beeline_proto::envelope::{Expect, Verified, open};
use beeline_proto::parcel::Parcel;
use beeline_proto::pb::peer::v1::peer_item::Kind;
use beeline_proto::pb::peer::v1::{Goodbye, PeerFrame, PeerItem};
use beeline_proto::time::Now;
use prost::Message as _;

impl PeerManager {
    /// One DataChannel message arrived.
    pub(crate) fn on_frame(&mut self, now: Now, id: LinkId, bytes: &[u8]) {
        let items = match frames::read(bytes, self.me.config.frame_len_max) {
            Ok(items) => items,
            Err(error) => {
                let detail = format!("link {} sent {error}", id.0);
                self.out.warn(now, "bad-frame", detail);
                return self.close_link(now, id, &error.to_string());
            }
        };
        self.talks.received(id, bytes.len());
        for item in items {
            let Some(link) = self.links.get(id) else {
                return;
            };
            match (&link.stage, item) {
                (Stage::Ready(_), Some(kind)) => self.on_counted_item(now, id, kind),
                (Stage::Ready(_), None) => self.out.counters.count("unknown-item"),
                (_, first) => {
                    if !self.on_first_item(now, id, first.as_ref()) {
                        return;
                    }
                    self.talks.received(id, bytes.len());
                }
            }
        }
    }

    /// Takes an item, and holds the link answerable for it: one that keeps sending what is refused
    /// costs us more than it, and ends.
    fn on_counted_item(&mut self, now: Now, id: LinkId, kind: Kind) {
        // What others had it carry says nothing about the peer itself.
        let carried = matches!(kind, Kind::Relay(_));
        if !matches!(kind, Kind::NetworkState(_)) {
            self.neighbours.note_active(id);
        }
        let before = self.out.warned();
        self.on_item(now, id, kind);
        if carried || self.out.warned() == before {
            return;
        }
        let Some(ready) = self.links.get_mut(id).and_then(|link| link.ready_mut()) else {
            return;
        };
        ready.refused += 1;
        if ready.refused > REFUSED_ITEMS_MAX {
            let detail = format!("link {} sent too much that was refused", id.0);
            self.out.warn(now, "abusive-link", detail);
            self.close_link(now, id, "too much of what it sent was refused");
        }
    }

    fn on_item(&mut self, now: Now, id: LinkId, kind: Kind) {
        match kind {
            Kind::ChatMessage(bytes)
            | Kind::Ack(bytes)
            | Kind::Nack(bytes)
            | Kind::Read(bytes)
            | Kind::FileOffer(bytes)
            | Kind::FileAccept(bytes)
            | Kind::FileDone(bytes) => self.on_parcel_item(now, id, &bytes),
            Kind::FileState(state) => self.on_file_state(now, id, &state),
            Kind::PeerQuery(envelope) => self.on_peer_query(now, id, &envelope),
            Kind::PeerFound(envelope) => self.on_peer_found_item(now, id, &envelope),
            Kind::NetworkState(envelope) => self.on_network_state(now, id, &envelope),
            Kind::Records(records) => self.on_records(now, id, &records),
            Kind::Goodbye(envelope) => self.on_goodbye(now, id, &envelope),
            Kind::Relay(bytes) => self.on_relay(now, id, bytes),
            Kind::Relayed(subject) => self.on_relayed(now, id, &subject),
            Kind::StoreReceipt(envelope) => self.on_receipt(now, id, &envelope),
            Kind::StoreMessage(store) => self.on_store_message(now, id, store),
            Kind::StoreFetch(envelope) => self.on_store_fetch(now, id, &envelope),
            Kind::StoreDelete(envelope) => self.on_store_delete(now, id, &envelope),
            Kind::Kept(bytes) => self.on_kept_item(now, id, &bytes),
            Kind::StorePage(page) => self.on_store_page(now, id, &page),
            Kind::Refusal(refusal) => self.on_refusal(now, id, &refusal),
            // A second HELLO, and what this version does not do: passed over.
            _ => self.out.counters.count("unused-item"),
        }
    }

    fn on_parcel_item(&mut self, now: Now, id: LinkId, bytes: &[u8]) {
        match Parcel::parse(bytes) {
            Ok(parcel) => {
                let way = self.way_over(id, parcel.header().from);
                self.take_parcel(now, None, &parcel, way);
            }
            Err(error) => {
                let detail = format!("on link {}: {error}", id.0);
                self.out.warn(now, "parcel-refused", detail);
            }
        }
    }

    /// Queues an item on an open link; `false` if it cannot take it.
    pub(crate) fn say(&mut self, id: LinkId, kind: Kind) -> bool {
        let ready = self.links.get_mut(id).and_then(|link| link.ready_mut());
        let taken = ready.is_some_and(|ready| ready.queue.push(kind));
        if taken {
            self.dirty.insert(id);
        }
        taken
    }

    /// Hands out frames of the links that have items, a bounded number each; what is left goes on
    /// with the next input.
    pub(crate) fn flush_frames(&mut self, now: Now) {
        for id in std::mem::take(&mut self.dirty) {
            let mut sent = 0;
            while sent < FRAMES_PER_DRAIN {
                self.pump(now, id);
                self.feed_page(id);
                let ready = self.links.get_mut(id).and_then(|link| link.ready_mut());
                let Some(frame) = ready.and_then(|ready| ready.queue.next_frame()) else {
                    break;
                };
                self.out.command(id, RtcCommand::Send(frame));
                sent += 1;
            }
            if sent == FRAMES_PER_DRAIN {
                self.dirty.insert(id);
                self.timers.arm_if_idle(Timer::Frames, now.mono_ms + 1);
            } else {
                self.dirty.remove(&id);
            }
        }
    }

    /// Frames were not taken: hold back.
    pub(crate) fn on_full(&mut self, id: LinkId, refused: Vec<Vec<u8>>) {
        if let Some(ready) = self.links.get_mut(id).and_then(|link| link.ready_mut()) {
            ready.queue.refuse(refused);
        }
    }

    /// The link takes frames again.
    pub(crate) fn on_writable(&mut self, now: Now, id: LinkId) {
        if let Some(ready) = self.links.get_mut(id).and_then(|link| link.ready_mut()) {
            ready.queue.writable();
            self.dirty.insert(id);
            self.pump(now, id);
        }
    }

    /// Says GOODBYE on an open link, past what is queued: the link closes right after it.
    pub(crate) fn say_goodbye(&mut self, id: LinkId, reason: &str) {
        let Some(link) = self.links.get(id).filter(|link| link.is_ready()) else {
            return;
        };
        let (device, session) = (link.device, link.session);
        let goodbye = Goodbye {
            context: self.me.context_on(self.crypto.as_mut(), device, session),
            reason: reason.to_owned(),
        };
        let envelope = self.me.sign(self.crypto.as_mut(), &goodbye);
        self.say_last(id, Kind::Goodbye(envelope));
    }

    /// Says something on an open link that closes right after it, past what is queued.
    pub(crate) fn say_last(&mut self, id: LinkId, kind: Kind) {
        let item = PeerItem { kind: Some(kind) };
        let frame = PeerFrame { items: vec![item] }.encode_to_vec();
        self.out.command(id, RtcCommand::Send(frame));
    }

    fn on_goodbye(&mut self, now: Now, id: LinkId, envelope: &[u8]) {
        let Some(link) = self.links.get(id) else {
            return;
        };
        let audiences = [self.me.device.0];
        let expect = Expect::new(self.me.network(), &audiences)
            .signer(link.device.0)
            .session(link.session);
        let goodbye: Result<Verified<Goodbye>, _> = open(envelope, &expect);
        match goodbye {
            Ok(goodbye) => {
                let reason: String = goodbye
                    .payload()
                    .reason
                    .chars()
                    .take(GOODBYE_LEN_MAX)
                    .collect();
                self.close_link(now, id, &format!("GOODBYE: {reason}"));
            }
            Err(error) => self.out.warn(now, "goodbye-refused", error.to_string()),
        }
    }
}
