//! Whom parcels for a device that is away are left with: every member that keeps has a place in an
//! order of its own for each recipient device. A sender and the recipient work it out alone, from
//! what they know of the network, and meet at the same few.

use crate::limits::CUSTODIANS_MAX;
use crate::manager::PeerManager;
pub(crate) use beeline_proto::custody::place;
use beeline_proto::id::{DeviceFp, Label, UserFp};
use std::collections::BTreeMap;

/// A member that keeps parcels, with the device that does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Custodian {
    /// Its user.
    pub(crate) user: UserFp,
    /// Its userId.
    pub(crate) label: Label,
    /// The device that says it keeps; of several the linked one, else the one heard of last.
    pub(crate) device: DeviceFp,
    /// Whether the device acts as a coordinator.
    pub(crate) coordinator: bool,
}

impl PeerManager {
    /// The first [`CUSTODIANS_MAX`] members that keep, in the order for `recipient`: one device of
    /// each user. Neither the recipient's own user nor we ourselves are among them, nobody revoked,
    /// and nobody whose key is in doubt.
    pub(crate) fn custodians_for(&self, recipient: DeviceFp) -> Vec<Custodian> {
        let mut order = self.in_order(recipient, self.routes.keepers());
        order.truncate(CUSTODIANS_MAX);
        order
    }

    /// The coordinators known that keep, in the order for `recipient`: senders ask one of them
    /// first, wherever it stands.
    pub(crate) fn coordinators_for(&self, recipient: DeviceFp) -> Vec<Custodian> {
        let known = self.known_coordinators().into_iter();
        let keeps = |device: &DeviceFp| self.routes.get(*device).is_some_and(|r| r.can_store);
        self.in_order(recipient, known.filter(keeps))
    }

    fn in_order(
        &self,
        recipient: DeviceFp,
        devices: impl Iterator<Item = DeviceFp>,
    ) -> Vec<Custodian> {
        let owner = self.contacts.of_device(recipient).map(|c| c.row.user);
        let mut order: BTreeMap<([u8; 32], UserFp), Custodian> = BTreeMap::new();
        for device in devices {
            let Some(contact) = self.contacts.of_device(device) else {
                continue;
            };
            let user = contact.row.user;
            let good = !contact.is_blocked() && !self.me.revokes(&contact.chain);
            if !good || Some(user) == owner || user == self.me.user {
                continue;
            }
            let salt = &contact.chain.membership.verified.payload().salt;
            let key = (place(recipient, salt), user);
            let better = order
                .get(&key)
                .is_none_or(|known| self.reached_better(device, known.device));
            if better {
                let custodian = Custodian {
                    user,
                    label: contact.row.label.clone(),
                    device,
                    coordinator: self.is_coordinator(device),
                };
                order.insert(key, custodian);
            }
        }
        order.into_values().collect()
    }

    /// Whether `device` rather than `other` of one user is to be asked.
    fn reached_better(&self, device: DeviceFp, other: DeviceFp) -> bool {
        let seen = |device| self.routes.get(device).map_or(0, |route| route.row.seen_ms);
        let rank = |device| (self.is_linked(device), seen(device));
        rank(device) > rank(other)
    }
}
