//! READ: a courtesy, told once, the best way there is, and never repeated. Where there is no way
//! yet it waits for a link, as long as the process runs. A person may refuse it to a contact.

use crate::event::{DeliveryState, Event, MessageState};
use crate::input::{CommandId, StoreFailure};
use crate::intake::Opened;
use crate::limits::READS_WAITING_MAX;
use crate::manager::PeerManager;
use crate::outputs::Write;
use crate::state::StoreOp;
use beeline_proto::code::ErrorCode;
use beeline_proto::id::{Label, MessageId, UserFp};
use beeline_proto::limits::{ACK_ITEMS_MAX, PARCEL_TTL_MAX_S};
use beeline_proto::pb::peer::v1::Read;
use beeline_proto::pb::peer::v1::peer_item::Kind;
use beeline_proto::time::Now;
use std::collections::BTreeMap;

/// Reading that nobody could be told of yet.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    waiting: BTreeMap<Label, Vec<Vec<u8>>>,
    count: usize,
}

impl Reads {
    /// Keeps ids for a user's next link, as far as there is room.
    fn keep(&mut self, user: &Label, ids: &[Vec<u8>]) {
        let room = READS_WAITING_MAX.saturating_sub(self.count).min(ids.len());
        if room > 0 {
            let of_user = self.waiting.entry(user.clone()).or_default();
            of_user.extend_from_slice(&ids[..room]);
            self.count += room;
        }
    }

    fn take(&mut self, user: &Label) -> Vec<Vec<u8>> {
        let ids = self.waiting.remove(user).unwrap_or_default();
        self.count -= ids.len();
        ids
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }
}

impl PeerManager {
    /// The application says that messages were read by a person.
    pub(crate) fn on_mark_read(&mut self, now: Now, messages: &[(UserFp, MessageId)]) {
        let mut by_user: BTreeMap<UserFp, Vec<Vec<u8>>> = BTreeMap::new();
        for (user, id) in messages {
            by_user.entry(*user).or_default().push(id.to_vec());
        }
        for (user, ids) in by_user {
            let Some(label) = self.contacts.label_of_user(user).cloned() else {
                continue;
            };
            self.say_read(now, &label, &ids);
        }
    }

    /// A link with a user is open: what it could not be told of before it is told now.
    pub(crate) fn say_waiting_reads(&mut self, now: Now, label: &Label) {
        let ids = self.reads.take(label);
        self.say_read(now, label, &ids);
    }

    /// Tells a contact that is to be told.
    fn say_read(&mut self, now: Now, label: &Label, ids: &[Vec<u8>]) {
        let told = self.contacts.get(label).filter(|c| c.row.read_receipts);
        let Some(user) = told.map(|contact| contact.row.user) else {
            return;
        };
        for chunk in ids.chunks(ACK_ITEMS_MAX) {
            if !self.send_read(now, label, user, chunk) {
                self.reads.keep(label, chunk);
            }
        }
    }

    /// A person wants a contact to be told of reading, or not.
    pub(crate) fn on_set_read_receipts(&mut self, command: CommandId, user: &Label, on: bool) {
        // To all that makes links we are a contact of ours, which is never written.
        let ourselves = *user == self.me.user_label;
        let contact = self.contacts.get_mut(user).filter(|_| !ourselves);
        let Some(contact) = contact else {
            return self.out.event(Event::Refused {
                command,
                code: ErrorCode::NotFound,
                detail: format!("{user} is not known here yet; send or receive a message first"),
            });
        };
        let before = std::mem::replace(&mut contact.row.read_receipts, on);
        let op = StoreOp::PutContact(contact.row.clone());
        self.out
            .write(vec![op], Write::ReadReceipts(command, user.clone(), before));
    }

    /// The setting is kept, or could not be.
    pub(crate) fn on_read_receipts_set(
        &mut self,
        command: CommandId,
        user: &Label,
        before: bool,
        failure: Option<StoreFailure>,
    ) {
        let Some(failure) = failure else {
            return self.out.event(Event::Done { command });
        };
        if let Some(contact) = self.contacts.get_mut(user) {
            contact.row.read_receipts = before;
        }
        self.out.event(Event::Refused {
            command,
            code: ErrorCode::Internal,
            detail: failure.detail,
        });
    }

    /// Tells every device there is a way to; whether there was one.
    fn send_read(&mut self, now: Now, label: &Label, user: UserFp, ids: &[Vec<u8>]) -> bool {
        let read = Read {
            context: self.me.context(self.crypto.as_mut(), user.0),
            msg_ids: ids.to_vec(),
        };
        let envelope = self.me.sign(self.crypto.as_mut(), &read);
        let mut said = false;
        for device in self.devices_of(label) {
            let Some(way) = self.ways_to(now, device).into_iter().next() else {
                continue;
            };
            let ttl_s = PARCEL_TTL_MAX_S;
            let sealed = self.seal_control(label, device, envelope.clone(), Vec::new(), ttl_s);
            if let Some(parcel) = sealed {
                said |= self.send_parcel(now, way, device, Kind::Read(parcel));
            }
        }
        said
    }

    /// Messages of ours were read.
    pub(crate) fn on_read(&mut self, now: Now, opened: &Opened) {
        let audience = self.me.user.0;
        let verified = self.verify::<Read>(now, &opened.envelope, opened.from, audience);
        let (Some(read), Some(label)) = (verified, self.speaker(opened.from)) else {
            return self.out.counters.count("read-refused");
        };
        let mut ops = Vec::new();
        for id in read.payload().msg_ids.iter().take(ACK_ITEMS_MAX) {
            let Ok(id) = MessageId::try_from(id.as_slice()) else {
                continue;
            };
            let settled = self
                .outbox
                .settled_mut(&id)
                .filter(|settled| settled.to == label);
            let Some(settled) = settled.filter(|s| s.state == DeliveryState::Delivered) else {
                continue;
            };
            settled.state = DeliveryState::Read;
            let elapsed_ms = now.mono_ms.saturating_sub(settled.queued_mono_ms);
            self.out.event(Event::MessageState(MessageState {
                id,
                to: label.clone(),
                state: DeliveryState::Read,
                rung: None,
                kept: None,
                path: Some(opened.way.path()),
                found_by: None,
                reason: None,
                elapsed_ms,
            }));
            ops.push(StoreOp::SetState {
                id,
                state: DeliveryState::Read,
                rung: None,
                path: Some(opened.way.path()),
                reason: None,
                at_ms: now.wall_ms,
            });
        }
        self.write_some(ops);
    }
}
