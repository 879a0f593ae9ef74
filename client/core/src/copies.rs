//! Copies: what we say to others reaches our own other devices, too. A copy is the very envelope,
//! signed for its recipient, sealed to a device of ours, with the recipient's chain beside it. It
//! is kept as sent by us, never shown as received, and its ACK says nothing about delivery.

use crate::arrive::Objection;
use crate::collect::Fate;
use crate::limits::STORE_IN_FLIGHT_MAX;
use crate::manager::PeerManager;
use crate::outputs::Write;
use crate::state::{CopyRow, StoreOp, StoreResult};
use crate::ways::Way;
use beeline_proto::envelope::{Expect, OpenError, Verified, open};
use beeline_proto::id::{DeviceFp, EnvelopeHash, Label, MessageId, ParcelId, UserFp};
use beeline_proto::limits::TEXT_LEN_MAX;
use beeline_proto::parcel::Content;
use beeline_proto::pb::peer::v1::nack::Reason;
use beeline_proto::pb::peer::v1::{ChatMessage, ack};
use beeline_proto::time::Now;

/// A copy on its way into the store.
#[derive(Debug)]
pub(crate) struct Copied {
    device: DeviceFp,
    id: MessageId,
    hash: EnvelopeHash,
    parcel: ParcelId,
    way: Way,
}

impl PeerManager {
    /// Another device of ours handed us a copy of what it said to somebody: writes it.
    pub(crate) fn take_copy(
        &mut self,
        now: Now,
        from: DeviceFp,
        content: &Content,
        came: (ParcelId, Way),
    ) -> Result<(), Objection> {
        let (to, message) = self.read_copy(now, from, content)?;
        self.note_way(now, from, came.1);
        let row = self.copy_row(now, from, to, &message)?;
        let copied = Copied {
            device: from,
            id: row.id,
            hash: row.hash,
            parcel: came.0,
            way: came.1,
        };
        let purpose = Write::Copy(Box::new(copied));
        self.out.write(vec![StoreOp::KeepCopy(row)], purpose);
        Ok(())
    }

    /// Verifies a copy: signed by our device, for a user whose chain is beside it or held here.
    fn read_copy(
        &mut self,
        now: Now,
        from: DeviceFp,
        content: &Content,
    ) -> Result<(Label, Verified<ChatMessage>), Objection> {
        let audiences: Vec<[u8; 32]> = if content.chain.is_empty() {
            self.contacts.iter().map(|c| c.row.user.0).collect()
        } else {
            let seen = self.see_chain(now, &content.chain);
            let label = seen.ok_or((Reason::UserKeyChanged, None))?;
            let contact = self.contacts.get(&label);
            contact.map(|c| c.row.user.0).into_iter().collect()
        };
        let expect = Expect::new(self.me.network(), &audiences).signer(from.0);
        let message: Verified<ChatMessage> = match open(&content.envelope, &expect) {
            Ok(message) => message,
            Err(OpenError::WrongAudience) if content.chain.is_empty() => {
                return Err((Reason::NeedChain, None));
            }
            Err(error) => {
                self.warn_envelope(now, from, error);
                return Err((Reason::Invalid, None));
            }
        };
        let user = UserFp(message.context().audience);
        let to = self.contacts.label_of_user(user).cloned();
        // What one of us says to us is no copy of anything.
        let to = to.filter(|to| *to != self.me.user_label);
        Ok((to.ok_or((Reason::Invalid, None))?, message))
    }

    fn copy_row(
        &self,
        now: Now,
        from: DeviceFp,
        to: Label,
        message: &Verified<ChatMessage>,
    ) -> Result<CopyRow, Objection> {
        let (context, payload) = (message.context(), message.payload());
        let id = context.message_id;
        if payload.content.len() > TEXT_LEN_MAX || context.seq == 0 {
            return Err((Reason::Invalid, Some(id)));
        }
        if self.out.writes_open() >= STORE_IN_FLIGHT_MAX {
            return Err((Reason::Full, Some(id)));
        }
        let said_ms = payload.timestamp.saturating_mul(1_000);
        Ok(CopyRow {
            id,
            device: from,
            to,
            user: UserFp(context.audience),
            hash: message.hash(),
            envelope: message.bytes().to_vec(),
            incarnation: context.incarnation,
            seq: context.seq,
            text: payload.content.clone(),
            sent_at_ms: said_ms.saturating_add(u64::from(payload.timestamp_ms.min(999))),
            received_ms: now.wall_ms,
        })
    }

    /// A copy is stored, was here already, or could not be: our device hears of it.
    pub(crate) fn on_copy_written(
        &mut self,
        now: Now,
        copied: &Copied,
        result: Result<Option<StoreResult>, String>,
    ) {
        let Copied { device, way, .. } = *copied;
        let item = ack::Item {
            msg_id: copied.id.to_vec(),
            envelope_hash: copied.hash.to_vec(),
            seq_reused: false,
        };
        let fate = match result {
            Ok(_) => Fate::Settled,
            Err(_) => Fate::Again,
        };
        match result {
            Ok(Some(StoreResult::Inserted { .. })) => {
                self.acknowledge(now, device, item, way, false);
            }
            Ok(Some(StoreResult::Duplicate { .. })) => {
                self.acknowledge(now, device, item, way, true)
            }
            Ok(_) => {
                let subject = (copied.parcel, Some(copied.id));
                self.say_nack(now, device, subject, Reason::Conflict, way);
            }
            Err(detail) => self.out.warn(now, "store-failed", detail),
        }
        self.end_under_way(now, way, copied.parcel, fate);
        self.time_acks(now);
    }
}
