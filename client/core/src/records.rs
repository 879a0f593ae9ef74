//! Signed lists between peers: HELLO told the versions, the newer side hands its copy over.

use crate::input::LinkId;
use crate::manager::PeerManager;
use crate::outputs::Write;
use beeline_proto::chain::{ChainError, DeviceList, VerifiedChain};
use beeline_proto::id::Label;
use beeline_proto::pb::identity::v1::Versions;
use beeline_proto::pb::peer::v1::Records;
use beeline_proto::pb::peer::v1::peer_item::Kind;
use beeline_proto::time::Now;

impl PeerManager {
    /// Hands over what the other side has older. A device list of its own that is older than the
    /// one we hold is answered with that one: somebody restored a backup.
    pub(crate) fn hand_over_lists(&mut self, id: LinkId, theirs: &Versions) {
        let ours = self.me.versions();
        let mut records = Records::default();
        if ours.descriptor > theirs.descriptor {
            records.descriptor = self.me.chain.descriptor.verified.bytes().to_vec();
        }
        if ours.revocations > theirs.revocations {
            records.revocations = self.me.revocations_bytes();
        }
        let contact = self
            .links
            .get(id)
            .and_then(|link| self.contacts.get(&link.user));
        if let Some(list) = contact.map(|contact| &contact.chain.devices)
            && list.version() > theirs.device_list
        {
            records.device_list = list.verified.bytes().to_vec();
        }
        if records != Records::default() {
            self.say(id, Kind::Records(records));
        }
    }

    /// A device that left its user's list is handed that list, as the last thing on its link.
    pub(crate) fn hand_over_last_list(&mut self, id: LinkId) {
        let link = self.links.get(id).filter(|link| link.is_ready());
        let Some(contact) = link.and_then(|link| self.contacts.get(&link.user)) else {
            return;
        };
        let device_list = contact.chain.devices.verified.bytes().to_vec();
        self.say_last(
            id,
            Kind::Records(Records {
                device_list,
                ..Records::default()
            }),
        );
    }

    /// Newer lists from the other side.
    pub(crate) fn on_records(&mut self, now: Now, id: LinkId, records: &Records) {
        self.take_lists(now, &records.descriptor, &records.revocations);
        if !records.chain.is_empty() {
            self.see_chain(now, &records.chain);
        }
        if records.device_list.is_empty() {
            return;
        }
        let Some(user) = self.links.get(id).map(|link| link.user.clone()) else {
            return;
        };
        match self.take_own_list(now, &records.device_list) {
            Ok(_) | Err(ChainError::UnknownDevice) => {}
            // Not ours: the speaker's own newer list.
            Err(_) if user != self.me.user_label => {
                self.take_device_list(now, &user, &records.device_list);
            }
            Err(error) => self.out.warn(now, "own-list-refused", error.to_string()),
        }
    }

    /// A user's own newer device list, beside the rest of the chain as known.
    fn take_device_list(&mut self, now: Now, user: &Label, bytes: &[u8]) {
        let Some(contact) = self.contacts.get(user) else {
            return;
        };
        let key = contact.chain.membership.user_key;
        match DeviceList::open(bytes, self.me.network(), &key) {
            Ok(devices) => {
                let chain = VerifiedChain {
                    devices,
                    ..contact.chain.clone()
                };
                self.see_chain(now, &chain.to_bytes());
            }
            Err(error) => self.out.warn(now, "chain-refused", error.to_string()),
        }
    }

    /// Takes the network's lists, whoever handed them over, where they are newer; empty is none.
    pub(crate) fn take_lists(&mut self, now: Now, descriptor: &[u8], revocations: &[u8]) {
        if !descriptor.is_empty() {
            self.take_descriptor(now, descriptor);
        }
        if !revocations.is_empty() {
            self.take_revocations(now, revocations);
        }
    }

    /// Takes a descriptor if it is newer.
    pub(crate) fn take_descriptor(&mut self, now: Now, bytes: &[u8]) {
        let taken = self.me.adopt_descriptor(bytes);
        self.after_list(now, taken);
    }

    /// Takes a revocation list if it is newer; links of the revoked end.
    pub(crate) fn take_revocations(&mut self, now: Now, bytes: &[u8]) {
        let taken = self.me.adopt_revocations(bytes);
        if !self.after_list(now, taken) {
            return;
        }
        let revoked: Vec<Label> = self
            .contacts
            .iter()
            .filter(|contact| self.me.revokes(&contact.chain))
            .map(|contact| contact.row.label.clone())
            .collect();
        for label in revoked {
            for id in self.links.ids(|link| link.user == label) {
                self.close_link(now, id, "the user's membership was revoked");
            }
            self.reject_all(now, &label, "REVOKED");
        }
        if self.me.revokes(&self.me.chain) {
            let detail = "our own membership was revoked".to_owned();
            self.out.warn(now, "revoked", detail);
        }
    }

    /// Keeps a list that was taken; whether it was.
    fn after_list(&mut self, now: Now, taken: Result<bool, ChainError>) -> bool {
        match taken {
            Ok(true) => self.keep_own_chain(),
            Ok(false) => {}
            Err(error) => self.out.warn(now, "list-refused", error.to_string()),
        }
        taken == Ok(true)
    }

    pub(crate) fn keep_own_chain(&mut self) {
        self.out.write(vec![self.me.keep()], Write::Plain);
        self.know_ourselves();
    }
}
