//! Arrival of a MESSAGE parcel: size, network, rate, key, chain, revocation, signature; then into
//! the inbox. Never refused for its age. Nothing is acknowledged here.

use crate::collect::Fate;
use crate::contacts::Contact;
use crate::files::rows::{FileInRow, FileInState, FileInfo};
use crate::inbox::Arrived;
use crate::manager::PeerManager;
use crate::send::offer_text;
use crate::state::InboxRow;
use crate::ways::Way;
use beeline_proto::envelope::{Context, Expect, OpenError, Verified, open, split};
use beeline_proto::id::{DeviceFp, EnvelopeHash, MessageId};
use beeline_proto::limits::{SENT_AT_AHEAD_MAX_MS, TEXT_LEN_MAX};
use beeline_proto::parcel::{Content, Kind, Parcel};
use beeline_proto::pb::envelope::v1::PayloadType;
use beeline_proto::pb::peer::v1::nack::Reason;
use beeline_proto::pb::peer::v1::{ChatMessage, FileOffer, FileReason};
use beeline_proto::time::Now;

/// Why a parcel is not taken: what the sender is told, and the message where it could be read.
pub(crate) type Objection = (Reason, Option<MessageId>);

impl PeerManager {
    /// A MESSAGE parcel came, whichever way.
    pub(crate) fn on_message_parcel(&mut self, now: Now, parcel: &Parcel, way: Way) {
        let header = *parcel.header();
        let ours = header.network == self.me.network() && header.to == self.me.device;
        if !ours || header.kind != Kind::Message {
            let detail = "a parcel for another device or network was refused".to_owned();
            return self.out.warn(now, "parcel-misdirected", detail);
        }
        if !self.may_open(now, way) {
            return;
        }
        if self.is_own_other(header.from) {
            return self.on_copy_parcel(now, parcel, way);
        }
        let verdict = self.open_message(now, parcel).and_then(|content| {
            let said = self.read_message(now, header.from, &content, way)?;
            self.note_way(now, header.from, way);
            self.make_row(now, header.from, said, way)
        });
        match verdict {
            Ok((row, file)) => {
                if planted!(AckBeforeCommit) {
                    self.acknowledge_row(now, &row, way);
                }
                self.note_under_way(way);
                self.inbox.push(Arrived {
                    row,
                    file,
                    parcel: parcel.id(),
                    way,
                });
            }
            Err(objection) => self.object(now, parcel, objection, way),
        }
    }

    /// A parcel is not taken: its sender hears why, and a custodian whether it may go.
    fn object(&mut self, now: Now, parcel: &Parcel, objection: Objection, way: Way) {
        let (reason, message) = objection;
        let (id, fate) = (parcel.id(), self.fate_of(parcel, reason));
        // What stays kept need not be sent again by anybody.
        if !matches!((fate, way), (Fate::Again, Way::Kept(_))) {
            self.say_nack(now, parcel.header().from, (id, message), reason, way);
        }
        self.settle_kept(now, way, id, fate);
    }

    /// One of another device of ours: a copy of what it said to somebody.
    fn on_copy_parcel(&mut self, now: Now, parcel: &Parcel, way: Way) {
        let (from, id) = (parcel.header().from, parcel.id());
        let opened = self.open_message(now, parcel);
        let taken = opened.and_then(|content| self.take_copy(now, from, &content, (id, way)));
        match taken {
            Ok(()) => self.note_under_way(way),
            Err(objection) => self.object(now, parcel, objection, way),
        }
    }

    fn open_message(&mut self, now: Now, parcel: &Parcel) -> Result<Content, Objection> {
        let Some(secret) = self.bundles.secret(parcel.header().key_id) else {
            return Err((Reason::UnknownKey, None));
        };
        self.crypto.open_parcel(parcel, secret).map_err(|error| {
            let from = parcel.header().from.short();
            self.out.warn(
                now,
                "parcel-refused",
                format!("from device {from}: {error}"),
            );
            (Reason::UnknownKey, None)
        })
    }

    /// Who sent it, proved by the chain beside it, by the link, or by a chain we hold.
    fn sender(
        &mut self,
        now: Now,
        from: DeviceFp,
        chain: &[u8],
        way: Way,
    ) -> Result<&Contact, Objection> {
        let label = if chain.is_empty() {
            let link = way.direct().and_then(|id| self.links.get(id));
            let linked = link.map(|link| link.user.clone());
            linked.or_else(|| self.contacts.of_device(from).map(|c| c.row.label.clone()))
        } else {
            let seen = self.see_chain(now, chain);
            Some(seen.ok_or((Reason::UserKeyChanged, None))?)
        };
        let contact = label.and_then(|label| self.contacts.get(&label));
        let contact = contact.filter(|contact| contact.device(from).is_some());
        let contact = contact.ok_or((Reason::NeedChain, None))?;
        if self.me.admits(&contact.chain).is_err() {
            return Err((Reason::Revoked, None));
        }
        Ok(contact)
    }

    fn read_message(
        &mut self,
        now: Now,
        from: DeviceFp,
        content: &Content,
        way: Way,
    ) -> Result<Said, Objection> {
        self.sender(now, from, &content.chain, way)?;
        let audiences = [self.me.user.0];
        let expect = Expect::new(self.me.network(), &audiences).signer(from.0);
        let said = match is_file_offer(&content.envelope) {
            true => open(&content.envelope, &expect).map(|offer| Said::file(&offer)),
            false => open(&content.envelope, &expect).map(|message| Said::text(&message)),
        };
        said.map_err(|error: OpenError| {
            self.warn_envelope(now, from, error);
            (Reason::Invalid, None)
        })
    }

    fn make_row(
        &mut self,
        now: Now,
        from: DeviceFp,
        said: Said,
        way: Way,
    ) -> Result<(InboxRow, Option<Box<FileInRow>>), Objection> {
        let context = &said.context;
        let id = context.message_id;
        let unsound = said.file.as_ref().is_some_and(Option::is_none);
        if said.text.len() > TEXT_LEN_MAX || context.seq == 0 || unsound {
            return Err((Reason::Invalid, Some(id)));
        }
        if self.inbox.is_full() {
            return Err((Reason::Full, Some(id)));
        }
        let contact = self.contacts.of_device(from);
        let linked = way.direct().and_then(|id| self.links.get(id));
        let contact = linked
            .and_then(|link| self.contacts.get(&link.user))
            .or(contact);
        let contact = contact.ok_or((Reason::NeedChain, Some(id)))?;
        let (user, label) = (contact.row.user, contact.row.label.clone());
        if said.file.is_some() && self.files.is_in_full_for(&label) {
            return Err((Reason::Full, Some(id)));
        }
        let born_ms = self.steady_ms(now);
        let file = said.file.flatten().map(|info| FileInRow {
            device: from,
            id,
            user,
            from: label.clone(),
            hash: said.hash,
            info,
            state: FileInState::Offered,
            reason: FileReason::Unspecified,
            path: String::new(),
            held: false,
            told: false,
            born_ms,
        });
        // The content is kept with its file, and dropped with it.
        let small = file.as_ref().is_some_and(|file| file.info.is_small());
        let envelope = if small { Vec::new() } else { said.envelope };
        let row = InboxRow {
            id,
            device: from,
            user,
            from: label,
            hash: said.hash,
            incarnation: context.incarnation,
            seq: context.seq,
            envelope,
            text: said.text,
            path: way.path(),
            sent_at_ms: said
                .said_ms
                .min(now.wall_ms.saturating_add(SENT_AT_AHEAD_MAX_MS)),
            received_ms: now.wall_ms,
        };
        Ok((row, file.map(Box::new)))
    }
}

/// Whether an envelope holds the offer of a file, as it says itself.
pub(crate) fn is_file_offer(envelope: &[u8]) -> bool {
    split(envelope).is_ok_and(|raw| raw.payload_type == PayloadType::FileOffer)
}

/// What a MESSAGE parcel said: a text, or that there is a file.
struct Said {
    context: Context,
    hash: EnvelopeHash,
    envelope: Vec<u8>,
    text: String,
    said_ms: u64,
    /// For an offer: what it offers, if that keeps within what is agreed.
    file: Option<Option<FileInfo>>,
}

impl Said {
    fn text(message: &Verified<ChatMessage>) -> Self {
        let payload = message.payload();
        let said_ms = payload.timestamp.saturating_mul(1_000);
        Self {
            context: *message.context(),
            hash: message.hash(),
            envelope: message.bytes().to_vec(),
            text: payload.content.clone(),
            said_ms: said_ms.saturating_add(u64::from(payload.timestamp_ms.min(999))),
            file: None,
        }
    }

    fn file(offer: &Verified<FileOffer>) -> Self {
        let payload = offer.payload();
        Self {
            context: *offer.context(),
            hash: offer.hash(),
            envelope: offer.bytes().to_vec(),
            text: offer_text(&payload.name, payload.size),
            said_ms: payload.timestamp.saturating_mul(1_000),
            file: Some(FileInfo::from_pb(payload)),
        }
    }
}
