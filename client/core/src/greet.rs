//! Greeting: each side's first item is its HELLO, signed for the other device and this session,
//! with the fingerprints of both descriptions in force. Until both verified, nothing else is said
//! or parsed; afterwards the link is proven for everything on it.

use crate::event::Rung;
use crate::frames::{PeerLimits, SendQueue};
use crate::input::LinkId;
use crate::link::{Ready, Stage};
use crate::manager::PeerManager;
use crate::negotiation::Side;
use crate::output::RtcCommand;
use crate::peer::Move;
use crate::timer::Timer;
use beeline_proto::envelope::{Expect, Verified, open};
use beeline_proto::limits::{FRAME_ITEMS_MAX, HELLO_TIMEOUT_MS};
use beeline_proto::pb::peer::v1::hello::{Limits, Side as PbSide};
use beeline_proto::pb::peer::v1::peer_item::Kind;
use beeline_proto::pb::peer::v1::{Hello, PeerFrame, PeerItem};
use beeline_proto::time::Now;
use prost::Message as _;

/// The protocol's minor version.
const PROTOCOL: u32 = 1;

/// Why a HELLO is refused: a kind for logs, and words for people.
type Refusal = (&'static str, String);

impl PeerManager {
    /// The DataChannel is open. The answerer's HELLO goes out at once; the offerer's once that one
    /// has come: the answerer starts DTLS and SCTP, so its channel opens last, and what reaches a
    /// WebRTC stack before that may be lost.
    pub(crate) fn on_channel_open(
        &mut self,
        now: Now,
        id: LinkId,
        local: [u8; 32],
        remote: [u8; 32],
    ) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        if !matches!(link.stage, Stage::Negotiating(_)) {
            return;
        }
        link.stage = Stage::Greeting { local, remote };
        let side = link.side;
        self.timers
            .arm(Timer::Session(id), now.mono_ms + HELLO_TIMEOUT_MS);
        if matches!(side, Side::Answerer) {
            self.say_hello(id);
        }
    }

    /// Says who we are, and which certificates we see, on a link that is greeting.
    fn say_hello(&mut self, id: LinkId) {
        let Some(link) = self.links.get(id) else {
            return;
        };
        let Stage::Greeting { local, remote } = link.stage else {
            return;
        };
        let (device, session, side) = (link.device, link.session, link.side);
        let (offerer, answerer, side) = match side {
            Side::Offerer => (local, remote, PbSide::Offerer),
            Side::Answerer => (remote, local, PbSide::Answerer),
        };
        let hello = Hello {
            context: self.me.context_on(self.crypto.as_mut(), device, session),
            side: side as i32,
            boot_id: self.me.boot_id.to_vec(),
            offerer_fingerprint: offerer.to_vec(),
            answerer_fingerprint: answerer.to_vec(),
            limits: Some(Limits {
                frame_size_max: self.me.config.frame_len_max as u32,
                frame_items_max: FRAME_ITEMS_MAX as u32,
            }),
            versions: Some(self.me.versions()),
            record: self
                .me
                .record
                .as_ref()
                .map(|r| r.bytes.clone())
                .unwrap_or_default(),
            can_relay: self.me.config.can_relay,
            can_store: self.has_to_keep(),
            protocol: PROTOCOL,
        };
        let envelope = self.me.sign(self.crypto.as_mut(), &hello);
        let item = PeerItem {
            kind: Some(Kind::Hello(envelope)),
        };
        let frame = PeerFrame { items: vec![item] }.encode_to_vec();
        self.out.command(id, RtcCommand::Send(frame));
    }

    /// The first item of the other side, which must be its HELLO; whether the link is open now.
    pub(crate) fn on_first_item(&mut self, now: Now, id: LinkId, item: Option<&Kind>) -> bool {
        let verdict = match item {
            Some(Kind::Hello(envelope)) => self.check_hello(id, envelope),
            _ => Err((
                "hello-missing",
                "something else came before the HELLO".to_owned(),
            )),
        };
        match verdict {
            Ok(hello) => {
                if self
                    .links
                    .get(id)
                    .is_some_and(|link| matches!(link.side, Side::Offerer))
                {
                    self.say_hello(id);
                }
                self.on_hello(now, id, &hello);
                self.links.get(id).is_some_and(|link| link.is_ready())
            }
            Err((kind, why)) => {
                let who = self.links.get(id).map(|link| link.user.to_string());
                let detail = format!("{}: {why}", who.unwrap_or_default());
                self.out.warn(now, kind, detail);
                // The other side shall see the same and say so, whoever greets first.
                if self
                    .links
                    .get(id)
                    .is_some_and(|link| link.side == Side::Offerer)
                {
                    self.say_hello(id);
                }
                if let Some(device) = self.links.get(id).map(|link| link.device) {
                    self.refuse_soon(now, device);
                }
                self.close_link(now, id, &why);
                false
            }
        }
    }

    fn check_hello(&self, id: LinkId, envelope: &[u8]) -> Result<Verified<Hello>, Refusal> {
        let gone = || ("hello-refused", "the link is not greeting".to_owned());
        let link = self.links.get(id).ok_or_else(gone)?;
        let Stage::Greeting { local, remote } = &link.stage else {
            return Err(gone());
        };
        let audiences = [self.me.device.0];
        let expect = Expect::new(self.me.network(), &audiences)
            .signer(link.device.0)
            .session(link.session);
        let hello: Verified<Hello> =
            open(envelope, &expect).map_err(|error| ("hello-refused", error.to_string()))?;
        let (side, offerer, answerer) = match link.side {
            Side::Offerer => (PbSide::Answerer, local, remote),
            Side::Answerer => (PbSide::Offerer, remote, local),
        };
        let said = hello.payload();
        if said.side() != side {
            return Err(("hello-refused", "it claims our side of the link".to_owned()));
        }
        if said.offerer_fingerprint != offerer || said.answerer_fingerprint != answerer {
            let why = "the two ends see different certificates: somebody sits between";
            return Err(("fingerprint-mismatch", why.to_owned()));
        }
        Ok(hello)
    }

    /// Their HELLO verified: the link is open.
    fn on_hello(&mut self, now: Now, id: LinkId, hello: &Verified<Hello>) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        let limits = PeerLimits::from_pb(hello.payload().limits.as_ref());
        link.stage = Stage::Ready(Ready::new(
            SendQueue::new(limits),
            hello.payload(),
            now.mono_ms,
        ));
        let (user, device, found_by) = (link.user.clone(), link.device, link.found_by);
        self.cancel_call_timers(id);
        if !self.may_link(now, &user) {
            return self.close_link(now, id, "the user is not a member any more");
        }
        let moves = [Move::Discover, Move::Signal, Move::Connect, Move::Open];
        self.move_peer(now, &user, &moves, "HELLO verified");
        // Ours went before theirs could come, or right before this.
        if let Some(key_id) = self.me.record.as_ref().map(|record| record.key_id) {
            self.publish_bundle(now, key_id);
        }
        self.peer(now, &user).wanted = false;
        let record = hello.payload().record.clone();
        self.learn_live(now, id, &record, found_by.unwrap_or(Rung::Connected));
        // Older links to the device end now, and what else was under way to it before this one.
        let older = self.links.ids(|link| link.device == device && link.id < id);
        self.note_moves(id, &older);
        for old in older {
            self.say_goodbye(old, "replaced by a newer link");
            self.close_link(now, old, "replaced by a newer link");
        }
        let versions = hello.payload().versions.unwrap_or_default();
        self.hand_over_lists(id, &versions);
        self.seal_and_write(&user);
        self.pump(now, id);
        self.on_link_ready(now, id);
    }

    /// Takes the record in a HELLO: over its own link the device's newest word always counts.
    fn learn_live(&mut self, now: Now, id: LinkId, record: &[u8], found_by: Rung) {
        let Some(link) = self.links.get(id) else {
            return;
        };
        let Some(contact) = self.contacts.get(&link.user) else {
            return;
        };
        if record.is_empty() {
            return;
        }
        let read = self.routes.read(record, self.me.network(), contact);
        match read.map(|record| (record.device == link.device).then_some(record)) {
            Ok(Some(record)) => {
                let row = self.routes.learn(contact, record, found_by, true, now);
                self.keep_route(now, row);
            }
            Ok(None) => self.out.counters.count("record-of-another"),
            Err(error) => self.out.warn(now, "record-refused", error.to_string()),
        }
    }
}
