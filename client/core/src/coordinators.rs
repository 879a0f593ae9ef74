//! Coordinators: members of that role that stay up.

use crate::event::Rung;
use crate::manager::PeerManager;
use beeline_proto::id::{DeviceFp, Label};
use beeline_proto::pb::identity::v1::Role;
use beeline_proto::time::Now;

impl PeerManager {
    /// Whether a device is a coordinator: its user's membership has the role, and its record says
    /// where it is reached.
    pub(crate) fn is_coordinator(&self, device: DeviceFp) -> bool {
        let contact = self.contacts.of_device(device);
        let role = contact.map(|contact| contact.chain.membership.role());
        let route = self.routes.get(device);
        matches!(role, Some(Role::Coordinator | Role::Admin))
            && route.is_some_and(|route| !route.row.signal_addr.is_empty())
    }

    /// Asks the coordinators we have links to for a user; whether any was asked.
    pub(crate) fn ask_coordinators(&mut self, now: Now, label: &Label) -> bool {
        let linked = self
            .links
            .ids(|link| link.is_ready() && self.is_coordinator(link.device));
        let mut tried = false;
        for id in linked {
            tried |= self.ask_over(now, label, id, Rung::Coordinators);
        }
        tried
    }
}
