//! Start from what the store loaded: routes are checked again, messages go on where they were.

use crate::event::DeliveryState;
use crate::limits::{OUTBOX_MAX, ROUTES_MAX, SERVED_MAX};
use crate::manager::PeerManager;
use crate::outbox::Phase;
use crate::routes::read_record;
use crate::state::{CustodyRow, OutboxRow, RouteRow, StoreOp};
use beeline_proto::time::Now;

impl PeerManager {
    /// Takes the stored routes of contacts whose records still verify; the newest heard of first.
    pub(crate) fn load_routes(&mut self, mut rows: Vec<RouteRow>, now: Now) {
        rows.sort_by_key(|row| std::cmp::Reverse(row.seen_ms));
        for row in rows.split_off(rows.len().min(ROUTES_MAX)) {
            self.lazily(now, StoreOp::RemoveRoute(row.device));
        }
        for row in rows {
            let own = row.device == self.me.device;
            let contact = self.contacts.get(&row.user_label).filter(|_| !own);
            let (user, devices) = match contact {
                _ if own => (self.me.user, &self.me.chain.devices.devices),
                Some(contact) => (contact.row.user, &contact.chain.devices.devices),
                None => continue,
            };
            match read_record(&row.record, self.me.network(), user, devices) {
                Ok(record) if record.device != row.device => {}
                Ok(record) => match contact {
                    Some(contact) => self.routes.load(row, &record, contact),
                    None => self.presence.remember_version(record.version),
                },
                Err(error) => {
                    self.lazily(now, StoreOp::RemoveRoute(row.device));
                    let detail = format!("the stored route to {}: {error}", row.user_label);
                    self.out.warn(now, "stored-route", detail);
                }
            }
        }
    }

    /// Takes the stored messages and starts looking for their recipients.
    pub(crate) fn load_outbox(&mut self, rows: Vec<OutboxRow>, custody: Vec<CustodyRow>, now: Now) {
        let open = |row: &OutboxRow| row.state < DeliveryState::Delivered;
        let (open, served): (Vec<_>, Vec<_>) = rows.into_iter().partition(open);
        let served = served.into_iter().take(SERVED_MAX);
        for row in served.chain(open.into_iter().take(OUTBOX_MAX)) {
            let sealed = row.envelope.is_some();
            let phase = if sealed {
                Phase::Sealed
            } else {
                Phase::Unsealed
            };
            self.outbox.insert(row, phase, None, now.mono_ms);
        }
        self.load_custody(custody, now);
        self.expire_messages(now);
        self.resume_serving();
        for label in self.outbox.recipients() {
            if self.is_blocked(&label) {
                self.reject_all(now, &label, crate::people::KEY_CHANGED);
                continue;
            }
            self.seal_and_write(&label);
            self.start_climb(now, &label);
        }
    }
}
