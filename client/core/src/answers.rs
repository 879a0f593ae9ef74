//! Answers: what the registry and the store reply. The registry is believed for what is signed, and
//! for nothing else.

use crate::event::{DeliveryState, NEVER_ONLINE, Rung};
use crate::input::{RegistryAnswer, RegistryError, RegistryPeer, StoreFailure};
use crate::limits::{REQUESTS_MAX, REWRITE_MS};
use crate::manager::PeerManager;
use crate::outbox::Phase;
use crate::output::{RegistryCall, RequestId, StoreTicket};
use crate::outputs::{Request, Write};
use crate::presence::describe;
use crate::state::{RouteRow, StoreOp, StoreResult};
use crate::timer::Timer;
use beeline_proto::code::ErrorCode;
use beeline_proto::id::{DeviceFp, Label, MessageId};
use beeline_proto::limits::{DEVICES_PER_USER_MAX, MESSAGE_EXPIRY_MS};
use beeline_proto::time::Now;
use std::collections::BTreeSet;

/// Why a message expired, for people.
pub(crate) const STOPPED_TRYING: &str = "we stopped trying: not delivered in 30 days";

impl PeerManager {
    /// Whether the registry is being asked for a user.
    pub(crate) fn is_asking_for(&self, label: &Label) -> bool {
        self.out.asking(&Request::Peer(label.clone()))
    }

    /// The last resort: asks the registry for a user; whether it is being asked now.
    pub(crate) fn look_up(&mut self, label: &Label) -> bool {
        if self.is_asking_for(label) {
            return true;
        }
        if self.out.requests_open() >= REQUESTS_MAX {
            return false;
        }
        let user = label.clone();
        self.out.ask(
            RegistryCall::GetPeer { user: user.clone() },
            Request::Peer(user),
        );
        true
    }

    /// The registry answered, or could not be asked.
    pub(crate) fn on_registry(
        &mut self,
        now: Now,
        request: RequestId,
        answer: Result<RegistryAnswer, RegistryError>,
    ) {
        let Some(purpose) = self.out.answered(request) else {
            return self.out.counters.count("answer-without-request");
        };
        match (purpose, answer) {
            (Request::Peer(label), Ok(RegistryAnswer::Peer(peer))) => {
                self.on_peer_found(now, &label, &peer);
            }
            (Request::Peer(label), _) if !self.is_sought(&label) => {
                self.out.counters.count("registry-failed");
            }
            (Request::Peer(label), answer) => {
                let error = why_unknown(&label, answer.err());
                self.tell_note(now, &label, &error);
                self.after_attempt(now, &label, &error);
            }
            (
                Request::Announce,
                Ok(RegistryAnswer::Announced {
                    reannounce_after_s,
                    descriptor_version,
                    revocations_version,
                }),
            ) => {
                let lists = (descriptor_version, revocations_version);
                self.on_announced(now, reannounce_after_s, lists);
            }
            (Request::Announce, answer) => {
                let unfitting = || RegistryError::Unreachable {
                    detail: "an unfitting answer".to_owned(),
                };
                self.on_announce_failed(now, &answer.err().unwrap_or_else(unfitting));
            }
            (
                Request::Network,
                Ok(RegistryAnswer::Network {
                    descriptor,
                    revocations,
                }),
            ) => self.take_lists(now, &descriptor, &revocations),
            (Request::Renew, Ok(RegistryAnswer::Membership(bytes))) => {
                match self.me.adopt_membership(&bytes) {
                    Ok(true) => self.keep_own_chain(),
                    Ok(false) => {}
                    Err(error) => self.out.warn(now, "renewal-refused", error.to_string()),
                }
            }
            (Request::Heartbeat, answer) => self.on_heartbeat(now, answer),
            (Request::Coordinators, Ok(RegistryAnswer::Coordinators(listed))) => {
                self.on_coordinators_listed(now, &listed);
            }
            (Request::DeviceList(asked), Ok(RegistryAnswer::DeviceList(version))) => {
                self.on_list_published(asked, Ok(version));
            }
            (Request::DeviceList(asked), Err(RegistryError::Refused { code, detail })) => {
                let detail = format!("{code}: {detail}");
                self.out.warn(now, "list-not-published", detail.clone());
                self.on_list_published(asked, Err(detail));
            }
            (Request::DeviceList(_), _) => self.out.counters.count("registry-failed"),
            (Request::Network | Request::Renew | Request::Coordinators, _) => {
                self.out.counters.count("registry-failed")
            }
        }
    }

    /// Whether a user is looked for to be called. We ask what the registry knows of ourselves, too,
    /// and nothing to say to our own devices is no reason to call them.
    fn is_sought(&self, label: &Label) -> bool {
        *label != self.me.user_label || self.is_serving(label)
    }

    /// What the registry knows of a user: its chain is checked, its records are checked, and every
    /// device with one is dialled, whatever the registry believes about presence.
    fn on_peer_found(&mut self, now: Now, label: &Label, peer: &RegistryPeer) {
        let seen = self.see_chain(now, &peer.chain);
        if seen.as_ref() != Some(label) {
            if let Some(other) = seen {
                let detail = format!("asked for {label}, the registry answered with {other}");
                self.out.warn(now, "wrong-user", detail);
            }
            if self.is_sought(label) {
                self.after_attempt(now, label, "the registry's answer does not verify");
            }
            return;
        }
        for bytes in peer.records.iter().take(DEVICES_PER_USER_MAX) {
            if *label == self.me.user_label {
                self.outdo(now, bytes);
            }
            self.learn_record(now, label, bytes, Rung::Registry);
        }
        if !self.is_sought(label) {
            return;
        }
        self.ask_last_coordinators(now, label, &peer.last_coordinators);
        if self.routes.of_user(label).next().is_none() {
            self.tell_note(now, label, NEVER_ONLINE);
            return self.after_attempt(now, label, "no device of the user was ever online");
        }
        self.seal_and_write(label);
        self.dial_routes(now, label, Rung::Registry);
        self.pump_user(now, label);
        self.climb(now, label);
    }

    /// Keeps what was learned of a device, and forgets in the store what is forgotten here.
    pub(crate) fn keep_route(&mut self, now: Now, row: Option<RouteRow>) {
        for device in self.routes.take_gone() {
            self.lazily(now, StoreOp::RemoveRoute(device));
        }
        if let Some(row) = row {
            self.lazily(now, StoreOp::PutRoute(row));
        }
    }

    /// Takes a record that somebody handed on; the device it is of, if it verifies.
    pub(crate) fn learn_record(
        &mut self,
        now: Now,
        label: &Label,
        bytes: &[u8],
        found_by: Rung,
    ) -> Option<DeviceFp> {
        let contact = self.contacts.get(label)?;
        match self.routes.read(bytes, self.me.network(), contact) {
            Ok(record) if record.device == self.me.device => None,
            Ok(record) => {
                let device = record.device;
                let row = self.routes.learn(contact, record, found_by, false, now);
                self.keep_route(now, row);
                self.tend_if_news(now, device);
                Some(device)
            }
            Err(error) => {
                self.out.warn(now, "record-refused", error.to_string());
                None
            }
        }
    }

    /// The store finished a write.
    pub(crate) fn on_written(
        &mut self,
        now: Now,
        ticket: StoreTicket,
        result: Result<Vec<StoreResult>, StoreFailure>,
    ) {
        let (mut results, failure) = match result {
            Ok(results) => (results, None),
            Err(failure) => (Vec::new(), Some(failure)),
        };
        let good = failure.is_none().then_some(&mut results);
        let Some(purpose) = self.out.written(ticket, good) else {
            return self.out.counters.count("answer-without-request");
        };
        if self.out.has_failed() {
            let at_ms = now.mono_ms + REWRITE_MS;
            self.timers.arm_if_idle(Timer::Rewrite, at_ms);
        }
        let detail = failure.as_ref().map(|failure| failure.detail.clone());
        match purpose {
            Write::Plain => {
                if let Some(detail) = detail {
                    self.out.warn(now, "store-failed", detail);
                }
            }
            Write::Queue(id) => {
                let result = match failure {
                    Some(failure) => Err((failure.transient, failure.detail)),
                    None => Ok(results.into_iter().next().unwrap_or(StoreResult::Done)),
                };
                self.on_queued(now, id, result);
            }
            Write::FileDone(key) => self.on_file_recorded(now, key, detail),
            Write::FileSent(arrived) => self.on_sent_recorded(now, arrived, detail),
            Write::FileCall(command) => self.on_file_called(command, detail),
            Write::Seal(ids) => self.on_sealed(now, &ids, detail),
            Write::Stored(ids) => {
                self.on_stored_written(now, &ids, detail.is_none());
                if let Some(detail) = detail {
                    self.out.warn(now, "store-failed", detail);
                }
            }
            Write::Inbox => self.on_inbox_written(now, detail.map_or(Ok(results), Err)),
            Write::OwnList(command) => self.on_own_list_written(command, detail),
            Write::Copy(copied) => {
                let result = detail.map_or_else(|| Ok(results.into_iter().next()), Err);
                self.on_copy_written(now, &copied, result);
            }
            Write::Bundle(row) => self.on_bundle_written(now, *row, detail.is_none()),
            Write::Keep(deposits) => self.on_kept(now, deposits, failure.map_or(Ok(results), Err)),
            Write::ReadKept(link) => {
                self.on_page_read(now, link, failure.map_or(Ok(results), Err));
            }
            Write::DropKept => self.on_gone(now, &results, false),
            Write::ExpireKept => self.on_gone(now, &results, true),
            Write::Accept(command, row, incarnation) => {
                self.on_accepted(now, command, *row, incarnation, failure);
            }
            Write::ReadReceipts(command, user, before) => {
                self.on_read_receipts_set(command, &user, before, failure);
            }
        }
    }

    /// Writes again what failed writes recorded: what is in force now, not what was then.
    pub(crate) fn rewrite(&mut self) {
        let mut ops = Vec::new();
        let failed = self.out.take_failed().into_iter();
        for op in failed.filter(|_| !planted!(FailedWriteForgotten)) {
            ops.extend(match op {
                StoreOp::PutContact(row) => {
                    let contact = self.contacts.get(&row.label);
                    contact.map(|contact| StoreOp::PutContact(contact.row.clone()))
                }
                StoreOp::PutRoute(row) if row.device != self.me.device => {
                    let route = self.routes.get(row.device);
                    route.map(|route| StoreOp::PutRoute(route.row.clone()))
                }
                StoreOp::RemoveRoute(device) if self.routes.get(device).is_some() => None,
                StoreOp::PutOwnChain { .. } => Some(self.me.keep()),
                // Another write has recorded what came after it.
                StoreOp::SetState { id, state, .. } if self.outbox.is_beyond(&id, state) => None,
                StoreOp::SetIncarnation(_) => Some(StoreOp::SetIncarnation(self.me.incarnation)),
                StoreOp::File(op) => self.file_op_now(op).map(StoreOp::File),
                StoreOp::SetAcked { id, .. } if self.outbox.get(&id).is_none() => None,
                other => Some(other),
            });
        }
        self.write_some(ops);
    }

    /// Envelopes and parcels are written: the messages may go. If they could not be, they are made
    /// again with the next try; unwritten ones may not be sent, for they would differ after a
    /// restart.
    fn on_sealed(&mut self, now: Now, ids: &[MessageId], failure: Option<String>) {
        let mut users = BTreeSet::new();
        let mut copied = Vec::new();
        for id in ids {
            let Some(entry) = self
                .outbox
                .get_mut(id)
                .filter(|e| e.phase == Phase::Sealing)
            else {
                continue;
            };
            entry.phase = Phase::Sealed;
            users.insert(entry.row.to.clone());
            copied.push((entry.order, entry.left.clone()));
            if failure.is_some() && planted!(SealStuck) {
                entry.phase = Phase::Sealing;
            } else if failure.is_some() {
                self.outbox.unseal(id);
            }
        }
        if let Some(detail) = failure {
            return self.out.warn(now, "store-failed", detail);
        }
        users.extend(self.rewind_copies(copied));
        for user in users {
            self.placing.touch(&user, false);
            self.pump_user(now, &user);
            // What is left, and devices whose key was learned while the write was under way: a
            // batch at the end of this input.
            self.unsealed.insert(user);
        }
    }

    /// Gives up messages older than a month.
    pub(crate) fn expire_messages(&mut self, now: Now) {
        let steady_ms = self.steady_ms(now);
        let old = |born_ms: u64| born_ms.saturating_add(MESSAGE_EXPIRY_MS) < steady_ms;
        let by_wall = |queued_ms: u64| {
            let age_ms = now.wall_ms.saturating_sub(queued_ms);
            planted!(WallClockExpires) && age_ms > MESSAGE_EXPIRY_MS
        };
        let ids = self
            .outbox
            .ids(|entry| old(entry.row.born_ms) || by_wall(entry.row.queued_ms));
        let mut ops = Vec::new();
        for id in ids {
            ops.extend(self.end_message(now, id, DeliveryState::Expired, STOPPED_TRYING));
        }
        self.write_some(ops);
    }
}

/// Why the registry could not say where a user is, for people.
fn why_unknown(label: &Label, error: Option<RegistryError>) -> String {
    match error {
        Some(RegistryError::Refused {
            code: ErrorCode::NotFound,
            ..
        }) => format!("the registry knows no user {label}"),
        Some(error) => describe(&error),
        None => "the registry gave an unfitting answer".to_owned(),
    }
}
