//! Intake of CONTROL parcels, from signalling sockets and links: cheap checks first, then opened
//! once, then handed to whom the envelope inside is for. What does not open is dropped in silence
//! towards the sender, and counted here.

use crate::early::Offered;
use crate::input::Candidate;
use crate::limits::LINKS_MAX;
use crate::link::Before;
use crate::link::Link;
use crate::manager::PeerManager;
use crate::negotiation::Side;
use crate::output::RtcCommand;
use crate::ways::Way;
use beeline_proto::envelope::{Expect, OpenError, Verified, open, split};
use beeline_proto::id::{DeviceFp, EnvelopeHash, Label, ParcelId};
use beeline_proto::limits::{CANDIDATE_LEN_MAX, SDP_LEN_MAX};
use beeline_proto::parcel::{Kind, Parcel};
use beeline_proto::payload::Payload;
use beeline_proto::pb::envelope::v1::PayloadType;
use beeline_proto::pb::peer::v1::{Answer, IceCandidate, Offer};
use beeline_proto::time::Now;

/// A CONTROL parcel, opened.
pub(crate) struct Opened {
    /// How it came. A copy may have come another way.
    pub(crate) way: Way,
    pub(crate) parcel: ParcelId,
    pub(crate) from: DeviceFp,
    pub(crate) envelope: Vec<u8>,
    pub(crate) chain: Vec<u8>,
}

impl Opened {
    fn payload_type(&self) -> Option<PayloadType> {
        split(&self.envelope).ok().map(|raw| raw.payload_type)
    }
}

impl PeerManager {
    /// Whether a parcel may still be opened at this rate. A link is answerable for what its own
    /// device says (see `on_counted_item`); what others hand on is limited here.
    pub(crate) fn may_open(&mut self, now: Now, way: Way) -> bool {
        // What a custodian hands over was counted where it came in.
        let counted = way.direct().is_some() || matches!(way, Way::Kept(_));
        let may = counted || self.opens.take(now.mono_ms);
        if !may {
            self.out.counters.count("too-many-parcels");
        }
        may
    }

    /// Opens a CONTROL parcel for us, once. `None` if it is a copy or not acceptable.
    pub(crate) fn open_control(&mut self, now: Now, parcel: &Parcel, way: Way) -> Option<Opened> {
        let header = parcel.header();
        if header.network != self.me.network() || header.to != self.me.device {
            let detail = "a parcel for another device or network was refused".to_owned();
            self.out.warn(now, "parcel-misdirected", detail);
            return None;
        }
        let id = parcel.id();
        if self.parcels_seen.contains(&id) || !self.may_open(now, way) {
            return None;
        }
        let content = match self.crypto.open_parcel(parcel, &self.me.control_key) {
            Ok(content) => content,
            Err(error) => {
                let detail = format!("from device {}: {error}", header.from.short());
                self.out.warn(now, "parcel-refused", detail);
                return None;
            }
        };
        self.parcels_seen.insert(id);
        Some(Opened {
            way,
            parcel: id,
            from: header.from,
            envelope: content.envelope,
            chain: content.chain,
        })
    }

    /// Verifies an envelope signed by `from` for one of our two audiences.
    pub(crate) fn verify<T: Payload>(
        &mut self,
        now: Now,
        envelope: &[u8],
        from: DeviceFp,
        audience: [u8; 32],
    ) -> Option<Verified<T>> {
        let audiences = [audience];
        let expect = Expect::new(self.me.network(), &audiences).signer(from.0);
        match open(envelope, &expect) {
            Ok(verified) => Some(verified),
            Err(error) => {
                self.warn_envelope(now, from, error);
                None
            }
        }
    }

    pub(crate) fn warn_envelope(&mut self, now: Now, from: DeviceFp, error: OpenError) {
        let detail = format!("from device {}: {error}", from.short());
        self.out.warn(now, "envelope-refused", detail);
    }

    /// Takes a parcel for us, whichever way it came; `said` is what a gateway says of its sender.
    pub(crate) fn take_parcel(&mut self, now: Now, said: Option<&str>, parcel: &Parcel, way: Way) {
        match parcel.header().kind {
            Kind::Message => return self.on_message_parcel(now, parcel, way),
            Kind::File => return self.on_file_parcel(now, said, parcel, way),
            Kind::Control | Kind::Unspecified => {}
        }
        let Some(opened) = self.open_control(now, parcel, way) else {
            return;
        };
        match opened.payload_type() {
            Some(PayloadType::Offer) => self.on_offer(now, said, opened),
            Some(PayloadType::Answer) => self.on_answer(now, said, &opened),
            Some(PayloadType::IceCandidate) => self.on_candidate(now, said, &opened),
            Some(PayloadType::Ack) => self.on_ack(now, &opened),
            Some(PayloadType::Nack) => self.on_nack(now, &opened),
            Some(PayloadType::Read) => self.on_read(now, &opened),
            Some(PayloadType::FileAccept) => self.on_file_accept(now, &opened),
            Some(PayloadType::FileDone) => self.on_file_done(now, &opened),
            _ => self.warn_envelope(now, opened.from, OpenError::WrongType),
        }
    }

    /// The gateway's word on the sender must agree with the proof.
    fn agrees(&mut self, now: Now, said: Option<&str>, device: &Label) -> bool {
        let said = said.unwrap_or(device.as_str());
        let agrees = said == device.as_str();
        if !agrees {
            let detail = format!("the gateway says {said}, the signature says {device}");
            self.out.warn(now, "sender-mismatch", detail);
        }
        agrees
    }

    fn on_offer(&mut self, now: Now, said: Option<&str>, opened: Opened) {
        let audience = self.me.device.0;
        let verified = self.verify::<Offer>(now, &opened.envelope, opened.from, audience);
        let Some(offer) = verified else {
            return;
        };
        let Some((label, device_label)) = self.caller(now, &opened) else {
            return;
        };
        if !self.agrees(now, said, &device_label) || !self.may_link(now, &label) {
            return;
        }
        self.note_way(now, opened.from, opened.way);
        let payload = offer.payload();
        let Some(session) = offer.context().link_session else {
            return self.warn_envelope(now, opened.from, OpenError::BadPayload);
        };
        if payload.negotiation != crate::calls::NEGOTIATION || payload.sdp.len() > SDP_LEN_MAX {
            return self.warn_envelope(now, opened.from, OpenError::BadPayload);
        }
        if self.is_full_for(opened.from) {
            return self.refuse_call(now, &opened);
        }
        if !self.sessions_seen.insert((opened.from, session)) {
            let detail = format!("an old offer of {label} was played again");
            return self.out.warn(now, "replayed-session", detail);
        }
        let offered = Offered {
            session,
            hash: offer.hash(),
            sdp: payload.sdp.clone(),
            direct_only: payload.direct_only,
        };
        self.on_verified_offer(now, &label, (opened.from, device_label), offered);
    }

    /// Who an offer is from: proved by the chain beside it, or by a chain we hold.
    fn caller(&mut self, now: Now, opened: &Opened) -> Option<(Label, Label)> {
        let label = match opened.chain.as_slice() {
            [] => self
                .contacts
                .of_device(opened.from)
                .map(|c| c.row.label.clone()),
            chain => Some(self.see_chain(now, chain)?),
        };
        let contact = label.and_then(|label| self.contacts.get(&label));
        let device = contact.and_then(|contact| contact.device(opened.from));
        let caller = contact
            .zip(device)
            .map(|(c, d)| (c.row.label.clone(), d.label.clone()));
        if caller.is_none() {
            let detail = format!(
                "an offer of device {} came without proof",
                opened.from.short()
            );
            self.out.warn(now, "unknown-caller", detail);
        }
        caller
    }

    /// Glare and repetition: at most one session of each side per device, and the offer of the
    /// lower device fingerprint stands.
    fn on_verified_offer(
        &mut self,
        now: Now,
        label: &Label,
        device: (DeviceFp, Label),
        offer: Offered,
    ) {
        let of_device = |link: &Link| link.device == device.0;
        if offer.direct_only && !self.may_be_moved(device.0) {
            return self.out.counters.count("moved-in-vain");
        }
        // A mere try of ours does not stand in the way of a call.
        let stands = |link: &Link| link.is_dialling() && (offer.direct_only || !link.direct_only);
        let ours = self.links.ids(|link| of_device(link) && stands(link));
        if !ours.is_empty() && self.me.device < device.0 {
            return self.early.defer(device.0, offer, now.mono_ms);
        }
        let calm = self.peer(now, label).calls.take(now.mono_ms);
        if !calm || self.links.by_id.len() >= LINKS_MAX {
            return self.out.counters.count("too-many-calls");
        }
        let mut before = Before::default();
        let superseded = self.links.ids(|link| of_device(link) && !link.is_ready());
        for id in superseded {
            if let Some(link) = self.links.remove(id) {
                // Two that call each other anew in turn come to rest as one alone would.
                before.redials = before.redials.max(link.redials.saturating_add(1));
                // Ours gives way in glare; theirs is an older call of the same device.
                if link.side == Side::Offerer {
                    before.found_by = link.found_by;
                } else {
                    let detail = format!("{label} calls anew: our answer came to nothing");
                    self.out.warn(now, "answer-unheard", detail);
                }
                self.cancel_call_timers(id);
                self.out.command(id, RtcCommand::Close);
            }
        }
        self.accept_offer(now, label, device, offer, before);
    }

    fn on_answer(&mut self, now: Now, said: Option<&str>, opened: &Opened) {
        let audience = self.me.device.0;
        let verified = self.verify::<Answer>(now, &opened.envelope, opened.from, audience);
        let Some(answer) = verified else {
            return;
        };
        if !opened.chain.is_empty() {
            self.see_chain(now, &opened.chain);
        }
        let payload = answer.payload();
        let session = answer.context().link_session;
        let id = session.and_then(|session| self.links.by_session(opened.from, session));
        let Some((id, device)) = id.and_then(|id| {
            self.links
                .get(id)
                .map(|link| (id, link.device_label.clone()))
        }) else {
            return self.out.counters.count("answer-without-offer");
        };
        let hash = self
            .links
            .get_mut(id)
            .and_then(|link| link.negotiation_mut());
        let hash = hash.and_then(|negotiation| negotiation.offer_hash());
        let fits = hash.is_some_and(|hash| hash.0.as_slice() == payload.offer_hash)
            && payload.sdp.len() <= SDP_LEN_MAX;
        if !fits {
            let detail = format!("an answer of {device} is for another offer");
            return self.out.warn(now, "answer-mismatch", detail);
        }
        if self.agrees(now, said, &device) {
            self.note_way(now, opened.from, opened.way);
            self.accept_answer(now, id, payload.sdp.clone());
        }
    }

    fn on_candidate(&mut self, now: Now, said: Option<&str>, opened: &Opened) {
        let audience = self.me.device.0;
        let verified = self.verify::<IceCandidate>(now, &opened.envelope, opened.from, audience);
        let Some(verified) = verified else {
            return;
        };
        let known = self.contacts.of_device(opened.from);
        let device = known.and_then(|contact| contact.device(opened.from));
        if let Some(label) = device.map(|device| device.label.clone())
            && !self.agrees(now, said, &label)
        {
            return;
        }
        let payload = verified.payload();
        let hash = EnvelopeHash::try_from(payload.offer_hash.as_slice());
        let (Ok(hash), Some(session)) = (hash, verified.context().link_session) else {
            return self.warn_envelope(now, opened.from, OpenError::BadPayload);
        };
        if payload.candidate.len() > CANDIDATE_LEN_MAX {
            return self.out.counters.count("candidate-too-long");
        }
        let candidate = Candidate {
            candidate: payload.candidate.clone(),
            sdp_mid: payload.sdp_mid.clone(),
            sdp_m_line_index: payload.sdp_m_line_index,
            username_fragment: payload.username_fragment.clone(),
        };
        let Some(id) = self.links.by_session(opened.from, session) else {
            return self
                .early
                .keep(opened.from, session, hash, payload.index, candidate);
        };
        let negotiation = self
            .links
            .get_mut(id)
            .and_then(|link| link.negotiation_mut());
        if negotiation.is_some_and(|n| n.offer_hash() == Some(hash)) {
            self.apply_candidate(id, payload.index, candidate);
        }
    }
}
