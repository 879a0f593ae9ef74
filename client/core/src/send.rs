//! Sending: a call becomes a durable row; only then does anything of it touch the network.

use crate::event::{DeliveryState, Event, REMOVED};
use crate::files::OFFER_PREFIX;
use crate::files::io::FileSource;
use crate::input::CommandId;
use crate::limits::{KEYED_WAIT_MAX, STORE_IN_FLIGHT_MAX};
use crate::manager::PeerManager;
use crate::outbox::{Phase, Waiting};
use crate::outputs::Write;
use crate::people::KEY_CHANGED;
use crate::pump::state_of;
use crate::state::{OutboxRow, StoreOp, StoreResult};
use beeline_proto::code::ErrorCode;
use beeline_proto::id::{Label, MessageId};
use beeline_proto::limits::{IDEMPOTENCY_KEY_LEN_MAX, TEXT_LEN_MAX};
use beeline_proto::pb::peer::v1::FileReason;
use beeline_proto::time::Now;
use std::collections::VecDeque;

impl PeerManager {
    /// The application sends a text.
    pub(crate) fn on_send(
        &mut self,
        now: Now,
        command: CommandId,
        to: Label,
        text: String,
        key: Option<String>,
    ) {
        let file = None;
        let call = Waiting {
            command,
            text,
            key,
            file,
        };
        self.take_call(now, to, call);
    }

    /// The application offers a file: a message that says so, and the file beside it.
    pub(crate) fn on_send_file(
        &mut self,
        now: Now,
        command: CommandId,
        to: Label,
        file: FileSource,
        key: Option<String>,
    ) {
        if let Some((code, detail)) = self.file_objection(&file) {
            return self.out.event(Event::Refused {
                command,
                code,
                detail,
            });
        }
        let text = offer_text(&file.name, file.size);
        let file = Some(Box::new(file));
        let call = Waiting {
            command,
            text,
            key,
            file,
        };
        self.take_call(now, to, call);
    }

    fn take_call(&mut self, now: Now, to: Label, call: Waiting) {
        if let Some((code, detail)) = self.objection(&to, &call.text, call.key.as_deref()) {
            return self.out.event(Event::Refused {
                command: call.command,
                code,
                detail,
            });
        }
        if let Some(waiting) = self.outbox.keyed.get_mut(&to) {
            return waiting.push_back(call);
        }
        self.queue(now, to, call);
    }

    /// Why a call is refused before anything happens.
    fn objection(&self, to: &Label, text: &str, key: Option<&str>) -> Option<(ErrorCode, String)> {
        if *to == self.me.user_label {
            let detail = "that is you; name another user".to_owned();
            return Some((ErrorCode::InvalidArgument, detail));
        }
        if text.len() > TEXT_LEN_MAX {
            let detail = format!("the text exceeds {TEXT_LEN_MAX} bytes; use send-file");
            return Some((ErrorCode::TooLarge, detail));
        }
        if key.is_some_and(|key| key.is_empty() || key.len() > IDEMPOTENCY_KEY_LEN_MAX) {
            let detail = format!("an idempotency key has 1 to {IDEMPOTENCY_KEY_LEN_MAX} bytes");
            return Some((ErrorCode::InvalidArgument, detail));
        }
        if self.me.is_removed() {
            return Some((ErrorCode::Revoked, REMOVED.to_owned()));
        }
        if self.draining {
            return Some((ErrorCode::Unavailable, "this process is ending".to_owned()));
        }
        let contact = self.contacts.get(to);
        if contact.is_some_and(|contact| self.me.revokes(&contact.chain)) {
            return Some((ErrorCode::Revoked, format!("{to} is no longer a member")));
        }
        let waiting = self.outbox.keyed.get(to).map_or(0, VecDeque::len);
        let full = self.outbox.is_full_for(to)
            || self.out.writes_open() >= STORE_IN_FLIGHT_MAX
            || waiting >= KEYED_WAIT_MAX;
        if full {
            let detail = "too many messages wait; try again when some are delivered".to_owned();
            return Some((ErrorCode::Full, detail));
        }
        None
    }

    fn queue(&mut self, now: Now, to: Label, call: Waiting) {
        let id = self.new_message_id();
        let mut row = OutboxRow {
            id,
            seq: self.outbox.next_seq(&to),
            incarnation: self.me.incarnation,
            text: call.text,
            queued_ms: now.wall_ms,
            born_ms: self.steady_ms(now),
            envelope: None,
            parcels: Vec::new(),
            acked: Vec::new(),
            state: DeliveryState::Queued,
            idempotency_key: call.key,
            to,
        };
        let file = call.file.map(|file| self.add_file(&row, *file));
        self.seal_new(&mut row);
        if row.idempotency_key.is_some() {
            self.outbox.keyed.insert(row.to.clone(), VecDeque::new());
        }
        let mut ops = vec![StoreOp::QueueMessage(row.clone())];
        ops.extend(file);
        self.out.write(ops, Write::Queue(id));
        let sealed = row.envelope.is_some() && planted!(SentBeforeCommit);
        let phase = if sealed {
            Phase::Sealed
        } else {
            Phase::Committing
        };
        self.outbox
            .insert(row, phase, Some(call.command), now.mono_ms);
    }

    /// The store answered: the message is durable, known already, or refused.
    pub(crate) fn on_queued(
        &mut self,
        now: Now,
        id: MessageId,
        result: Result<StoreResult, (bool, String)>,
    ) {
        let Some(entry) = self.outbox.get_mut(&id) else {
            return;
        };
        let to = entry.row.to.clone();
        let keyed = entry.row.idempotency_key.is_some();
        let command = entry.command.take().unwrap_or(CommandId(0));
        match result {
            Ok(StoreResult::Known(known)) => self.on_known(now, id, command, known),
            Ok(_) => self.on_durable(now, id, command),
            Err((transient, detail)) => {
                self.unqueue(&id);
                let code = if transient {
                    ErrorCode::Full
                } else {
                    ErrorCode::Internal
                };
                self.out.event(Event::Refused {
                    command,
                    code,
                    detail,
                });
            }
        }
        if keyed {
            self.release_keyed(now, &to);
        }
    }

    /// Takes back a message that was not queued.
    fn unqueue(&mut self, id: &MessageId) {
        self.remove_file(id);
        if let Some(entry) = self.outbox.remove(id) {
            self.outbox.return_seq(&entry.row.to, entry.row.seq);
        }
    }

    /// An earlier call with the same key had made a message: that one it is.
    fn on_known(&mut self, now: Now, id: MessageId, command: CommandId, known: MessageId) {
        self.unqueue(&id);
        self.out.event(Event::Queued {
            command,
            id: known,
            repeated: true,
        });
        if let Some(entry) = self.outbox.get(&known) {
            let told = state_of(entry, now, entry.told, None);
            self.out.event(Event::MessageState(told));
        }
    }

    fn on_durable(&mut self, now: Now, id: MessageId, command: CommandId) {
        let Some(entry) = self.outbox.get_mut(&id) else {
            return;
        };
        let to = entry.row.to.clone();
        let sealed = entry.row.envelope.is_some();
        entry.phase = if sealed {
            Phase::Sealed
        } else {
            Phase::Unsealed
        };
        self.out.event(Event::Queued {
            command,
            id,
            repeated: false,
        });
        self.tell_state(now, id, DeliveryState::Queued, None);
        self.tell_file_offered(id);
        self.leave_copies(id);
        let blocked = self.is_blocked(&to).then_some(KEY_CHANGED);
        let refused = blocked.or(self.me.is_removed().then_some("REVOKED"));
        if let Some(reason) = refused {
            let ops = self.reject(now, id, reason);
            return self.out.write(ops, Write::Plain);
        }
        if !sealed {
            self.seal_and_write(&to);
        }
        self.seal_late(id);
        match self.peer(now, &to).ladder.map(|ladder| ladder.tried()) {
            Some(Some(rung)) => self.tell_trying_one(now, id, rung),
            Some(None) => {}
            None => self.start_climb(now, &to),
        }
        self.placing.touch(&to, false);
        self.pump_user(now, &to);
        if !self.own_others().is_empty() {
            let own = self.me.user_label.clone();
            self.serve_new(now, &own);
        }
    }

    /// Lets the calls go on that waited behind one with an idempotency key.
    fn release_keyed(&mut self, now: Now, to: &Label) {
        let mut waiting = self.outbox.keyed.remove(to).unwrap_or_default();
        while let Some(call) = waiting.pop_front() {
            let keyed = call.key.is_some();
            self.queue(now, to.clone(), call);
            if keyed {
                self.outbox.keyed.insert(to.clone(), waiting);
                return;
            }
        }
    }

    /// Gives a message up for good: the operations to write.
    pub(crate) fn reject(&mut self, now: Now, id: MessageId, reason: &str) -> Vec<StoreOp> {
        self.end_message(now, id, DeliveryState::Rejected, reason)
    }

    /// Rejects everything for a user.
    pub(crate) fn reject_all(&mut self, now: Now, to: &Label, reason: &str) {
        let mut ops = Vec::new();
        for id in self.outbox.ids(|entry| entry.row.to == *to) {
            ops.extend(self.reject(now, id, reason));
        }
        self.write_some(ops);
        self.stop_climb(now, to);
    }

    /// Takes a message to `rejected` or `expired`. One not durable yet is left for its commit; one
    /// that is delivered stays so, and is served no more.
    pub(crate) fn end_message(
        &mut self,
        now: Now,
        id: MessageId,
        state: DeliveryState,
        reason: &str,
    ) -> Vec<StoreOp> {
        if self
            .outbox
            .get(&id)
            .is_none_or(|entry| entry.phase == Phase::Committing)
        {
            return Vec::new();
        }
        if self.outbox.get(&id).is_some_and(|entry| !entry.is_open()) {
            self.outbox.remove(&id);
            return vec![StoreOp::EndServing(id)];
        }
        let Some(mut entry) = self.outbox.settle(id, state) else {
            return Vec::new();
        };
        entry.row.state = state;
        let mut told = state_of(&entry, now, None, None);
        told.reason = Some(reason.to_owned());
        self.out.event(Event::MessageState(told));
        let ended = StoreOp::SetState {
            id,
            state,
            rung: None,
            path: None,
            reason: Some(reason.to_owned()),
            at_ms: now.wall_ms,
        };
        // A file whose offer is not delivered is not sent either.
        let why = match state {
            DeliveryState::Expired => FileReason::Expired,
            _ => FileReason::NotWanted,
        };
        let file = self.withdraw_file(now, id, why, Some(reason.to_owned()));
        std::iter::once(ended).chain(file).collect()
    }
}

/// What the history says of an offer.
pub(crate) fn offer_text(name: &str, size: u64) -> String {
    format!("{OFFER_PREFIX}{name}, {size} bytes")
}
