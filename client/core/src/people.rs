//! People: chains seen anywhere are held against the pins; changed keys block sending until a
//! person accepts them.

use crate::contacts::{Contact, Sighting};
use crate::crypto::random_u64;
use crate::event::Event;
use crate::input::{CommandId, StoreFailure};
use crate::manager::PeerManager;
use crate::outputs::Write;
use crate::state::{ContactRow, StoreOp};
use beeline_proto::chain::{ChainError, VerifiedChain};
use beeline_proto::code::ErrorCode;
use beeline_proto::id::{DeviceFp, Label};
use beeline_proto::safety::safety_number;
use beeline_proto::time::Now;

/// Why messages are rejected when the recipient's key changed.
pub(crate) const KEY_CHANGED: &str = "USER_KEY_CHANGED";

impl PeerManager {
    /// Verifies a serialized chain and holds it against the pins. The label of the contact it
    /// proves, as pinned; `None` if it is refused, which has been told then.
    pub(crate) fn see_chain(&mut self, now: Now, bytes: &[u8]) -> Option<Label> {
        let chain = match self.check_chain(now, bytes) {
            Ok(chain) => chain,
            Err(error) => {
                self.out.warn(now, "chain-refused", error.to_string());
                return None;
            }
        };
        let label = chain.membership.handle.clone();
        if label == self.me.user_label && chain.user() == self.me.user {
            return self.see_own_chain(now, &chain);
        }
        if label == self.me.user_label || chain.user() == self.me.user {
            let detail = format!("a chain under our own user id {label} was refused");
            self.out.warn(now, "own-user", detail);
            return None;
        }
        match self.contacts.see(chain.clone()) {
            Sighting::Same => Some(label),
            Sighting::Pinned => {
                self.keep_contact(&label);
                Some(label)
            }
            Sighting::Newer { removed } => {
                let ops = self.forget_devices(&removed);
                self.write_some(ops);
                self.keep_contact(&label);
                self.drop_devices(now, &removed);
                self.serve_listed(now, &label);
                Some(label)
            }
            Sighting::Older => {
                let detail = format!("a device list of {label} is older than the one known");
                self.out.warn(now, "device-list-rollback", detail);
                Some(label)
            }
            Sighting::Changed { first } => {
                self.on_key_changed(now, &label, &chain, first);
                None
            }
            Sighting::SecondHandle => {
                let detail = format!("{label} has the key of a user known by another id");
                self.out.warn(now, "second-handle", detail);
                None
            }
            Sighting::Full => {
                let detail = format!("no room for another contact: {label}");
                self.out.warn(now, "contacts-full", detail);
                None
            }
        }
    }

    fn check_chain(&mut self, now: Now, bytes: &[u8]) -> Result<VerifiedChain, ChainError> {
        let chain = match self.held_chain(bytes) {
            Some(chain) => chain,
            None => VerifiedChain::open(bytes, self.me.network())?,
        };
        if chain.descriptor.version() > self.me.chain.descriptor.version() {
            let newer = chain.descriptor.verified.bytes().to_vec();
            self.take_descriptor(now, &newer);
        }
        self.me.admits(&chain)?;
        Ok(chain)
    }

    /// The chain we hold of a contact, where it is these very bytes: it was verified when it came.
    fn held_chain(&self, bytes: &[u8]) -> Option<VerifiedChain> {
        let contact = self.contacts.get(&VerifiedChain::claimed_handle(bytes)?)?;
        (contact.row.chain == bytes).then(|| contact.chain.clone())
    }

    /// Writes a contact; what waited for its key is signed and sealed in the same write.
    fn keep_contact(&mut self, label: &Label) {
        let Some(contact) = self.contacts.get(label) else {
            return;
        };
        let mut ops = vec![StoreOp::PutContact(contact.row.clone())];
        let (sealed, ids) = self.seal_waiting(label);
        ops.extend(sealed);
        let purpose = if ids.is_empty() {
            Write::Plain
        } else {
            Write::Seal(ids)
        };
        self.out.write(ops, purpose);
    }

    /// Devices that left a user's list are revoked: no link and no route to them stays.
    pub(crate) fn drop_devices(&mut self, now: Now, removed: &[DeviceFp]) {
        for device in removed {
            self.routes.remove(*device);
            self.keep_route(now, None);
            for id in self.links.ids(|link| link.device == *device) {
                self.hand_over_last_list(id);
                self.close_link(now, id, "the device was removed by its user");
            }
        }
    }

    fn on_key_changed(&mut self, now: Now, label: &Label, claimed: &VerifiedChain, first: bool) {
        let Some(row) = self.contacts.get(label).map(|contact| contact.row.clone()) else {
            return;
        };
        if !first {
            return self.out.counters.count("key-changed");
        }
        self.out.event(Event::KeyChanged {
            user: label.clone(),
            pinned: row.user,
            claimed: claimed.user(),
        });
        let detail = format!("{label} shows another key than the pinned one; sending is blocked");
        self.out.warn(now, "key-changed", detail);
        let mut ops = vec![StoreOp::PutContact(row)];
        for id in self.outbox.ids(|entry| entry.row.to == *label) {
            ops.extend(self.reject(now, id, KEY_CHANGED));
        }
        self.out.write(ops, Write::Plain);
        self.stop_climb(now, label);
    }

    /// A person compared the safety number and accepts the user's key as it is now.
    pub(crate) fn on_accept_key(&mut self, now: Now, command: CommandId, user: &Label) {
        let contact = self.contacts.get(user);
        let Some(contact) = contact.filter(|_| *user != self.me.user_label) else {
            return self.out.event(Event::Refused {
                command,
                code: ErrorCode::NotFound,
                detail: format!("{user} is not known here yet; send or receive a message first"),
            });
        };
        let mut row = contact.row.clone();
        row.verified = true;
        let mut incarnation = None;
        if let Some(claimed) = row.claimed_chain.take() {
            match self.check_chain(now, &claimed) {
                Ok(chain) => row.user = chain.user(),
                Err(error) => {
                    return self.out.event(Event::Refused {
                        command,
                        code: ErrorCode::Conflict,
                        detail: format!("the changed key does not verify any more: {error}"),
                    });
                }
            }
            // The new key is a new recipient, which has seen nothing yet: counting starts again.
            row.chain = claimed;
            row.knows_us = (0, 0);
            incarnation = Some(random_u64(self.crypto.as_mut()).max(1));
        }
        let mut ops = vec![StoreOp::PutContact(row.clone())];
        ops.extend(incarnation.map(StoreOp::SetIncarnation));
        let purpose = Write::Accept(command, Box::new(row), incarnation);
        self.out.write(ops, purpose);
    }

    /// The accepted key is stored, or could not be: only then is it in force.
    pub(crate) fn on_accepted(
        &mut self,
        now: Now,
        command: CommandId,
        row: ContactRow,
        incarnation: Option<u64>,
        failure: Option<StoreFailure>,
    ) {
        let chain = VerifiedChain::open(&row.chain, self.me.network());
        let (None, Ok(chain)) = (&failure, chain) else {
            let detail = failure.map(|failure| failure.detail).unwrap_or_default();
            return self.out.event(Event::Refused {
                command,
                code: ErrorCode::Internal,
                detail,
            });
        };
        if let Some(incarnation) = incarnation {
            let label = row.label.clone();
            for id in self.links.ids(|link| link.user == label) {
                self.close_link(now, id, "the user's key changed");
            }
            let routes = self.routes.of_user(&label).map(|route| route.row.device);
            for device in routes.collect::<Vec<DeviceFp>>() {
                self.routes.remove(device);
            }
            self.keep_route(now, None);
            self.me.incarnation = incarnation;
            self.outbox.restart_seqs();
        }
        self.contacts.insert(Contact::new(row, chain));
        self.out.event(Event::Done { command });
    }

    /// Starts counting anew.
    pub(crate) fn new_incarnation(&mut self) {
        // 0 stands for "none" on the wire.
        self.me.incarnation = random_u64(self.crypto.as_mut()).max(1);
        self.outbox.restart_seqs();
    }

    /// Whether a link with a contact may be made now: not revoked, membership not long expired.
    pub(crate) fn may_link(&mut self, now: Now, label: &Label) -> bool {
        let Some(contact) = self.contacts.get(label) else {
            return false;
        };
        let verdict = self.me.admits(&contact.chain);
        let verdict = verdict.and_then(|()| contact.chain.membership.check_expiry(now.wall_ms));
        if let Err(error) = verdict {
            self.out
                .warn(now, "not-a-member", format!("{label}: {error}"));
            return false;
        }
        true
    }

    /// The 60 digits to compare with `user`; `None` while its key is not pinned. Where a changed
    /// key waits to be accepted, they are for the changed key.
    pub fn safety_number(&self, user: &Label) -> Option<String> {
        let contact = self.contacts.get(user)?;
        let own = self.me.chain.membership.user_key;
        let claimed = contact.row.claimed_chain.as_deref();
        let claimed = claimed.and_then(|b| VerifiedChain::open(b, self.me.network()).ok());
        let key = claimed
            .as_ref()
            .unwrap_or(&contact.chain)
            .membership
            .user_key;
        safety_number(&self.me.network(), &own, &key)
    }
}
