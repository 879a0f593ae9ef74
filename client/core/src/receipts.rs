//! Receipts: what custodians answer. Only a signed receipt of a device that was asked, for the very
//! parcel it was asked to keep, counts; `stored` is told once it is written.

use crate::crypto::random_u64;
use crate::custodians::Fault;
use crate::event::{DeliveryState, Event, Kept, Path};
use crate::input::LinkId;
use crate::limits::{
    CUSTODY_PROMISE_S_MIN, RECHECK_JITTER_MS, RECHECK_MS, RECHECK_MS_MIN, REWRITE_MS,
};
use crate::manager::PeerManager;
use crate::placement::{Keeper, Placement};
use crate::pump::state_of;
use crate::state::{CustodyRow, StoreOp};
use beeline_proto::code::ErrorCode;
use beeline_proto::id::{DeviceFp, MessageId, ParcelId};
use beeline_proto::limits::PARCEL_TTL_MAX_S;
use beeline_proto::pb::peer::v1::{Refusal, StoreReceipt};
use beeline_proto::time::Now;

impl PeerManager {
    /// A custodian promises to keep a parcel of ours.
    pub(crate) fn on_receipt(&mut self, now: Now, id: LinkId, envelope: &[u8]) {
        let Some(custodian) = self.links.get(id).map(|link| link.device) else {
            return;
        };
        let awaited = self.placing.custodians.get(custodian);
        if awaited.is_none_or(|standing| standing.out.is_empty()) {
            // Cheap to pass over; perhaps it answers what it was asked long ago.
            return self.out.counters.count("receipt-unasked");
        }
        let audience = self.me.device.0;
        let Some(receipt) = self.verify::<StoreReceipt>(now, envelope, custodian, audience) else {
            return;
        };
        let receipt = receipt.payload();
        let parcel = ParcelId::try_from(receipt.parcel_id.as_slice()).ok();
        let standing = self.placing.custodians.standing(custodian, now.mono_ms);
        let Some(parcel) = parcel.filter(|parcel| standing.out.remove(parcel).is_some()) else {
            let detail = "a receipt for what it was not asked to keep".to_owned();
            return self.out.warn(now, "receipt-refused", detail);
        };
        // Delivered, or sealed anew, in the meantime: of no interest any more.
        let Some((message, device)) = self.placed_as(parcel) else {
            return;
        };
        if receipt.keep_s < CUSTODY_PROMISE_S_MIN {
            self.out.counters.count("receipt-short");
            return self.on_turned_away(now, (message, device), custodian, 0);
        }
        self.placing.custodians.praise(custodian, device, parcel);
        self.take_receipt(now, (message, device), custodian, receipt.keep_s);
    }

    /// The message and device a parcel in force is for.
    fn placed_as(&self, parcel: ParcelId) -> Option<(MessageId, DeviceFp)> {
        let message = self.outbox.of_parcel(&parcel)?;
        let custody = &self.outbox.get(&message)?.custody;
        let (device, _) = custody.iter().find(|(_, p)| p.parcel == parcel)?;
        Some((message, *device))
    }

    fn take_receipt(
        &mut self,
        now: Now,
        what: (MessageId, DeviceFp),
        custodian: DeviceFp,
        keep_s: u32,
    ) {
        let (id, device) = what;
        let Some(user) = self.contacts.of_device(custodian).map(|c| c.row.user) else {
            return;
        };
        let keep_ms = u64::from(keep_s.min(PARCEL_TTL_MAX_S)) * 1_000;
        let check_ms = now.mono_ms + self.recheck_in(keep_ms);
        let Some(entry) = self.outbox.get_mut(&id) else {
            return;
        };
        let to = entry.row.to.clone();
        let Some(placement) = entry.custody.get_mut(&device) else {
            return;
        };
        let known = placement.keepers.get(&custodian);
        let keeper = Keeper {
            user,
            since_ms: known.map_or(now.wall_ms, |known| known.since_ms),
            heard_ms: now.wall_ms,
            until_ms: now.wall_ms.saturating_add(keep_ms),
            check_ms,
            tries: 0,
        };
        placement.keepers.insert(custodian, keeper);
        let row = placement.row(id, device, custodian);
        self.placing.ops.extend(row.map(StoreOp::PutCustody));
        self.placing.touch(&to, false);
    }

    /// After how many milliseconds a custodian that promised this long is asked again: in six
    /// hours, or half-way where the promise is shorter.
    fn recheck_in(&mut self, keep_ms: u64) -> u64 {
        let jitter = random_u64(self.crypto.as_mut()) % RECHECK_JITTER_MS;
        (RECHECK_MS - RECHECK_JITTER_MS / 2 + jitter)
            .min(keep_ms / 2)
            .max(RECHECK_MS_MIN)
    }

    /// A custodian does not keep a parcel: another one takes its place.
    fn on_turned_away(
        &mut self,
        now: Now,
        what: (MessageId, DeviceFp),
        custodian: DeviceFp,
        wait_ms: u64,
    ) {
        let random = random_u64(self.crypto.as_mut());
        let pair = (custodian, what.1);
        self.placing
            .custodians
            .note_full(pair, now.mono_ms, wait_ms, random);
        self.lose_keeper(what.0, what.1, custodian);
        if let Some(to) = self.outbox.get(&what.0).map(|entry| entry.row.to.clone()) {
            self.placing.touch(&to, true);
        }
    }

    /// Something we sent on a link was refused: whether it was a parcel left with a custodian.
    pub(crate) fn on_deposit_refused(&mut self, now: Now, id: LinkId, refusal: &Refusal) -> bool {
        let Some(custodian) = self.links.get(id).map(|link| link.device) else {
            return false;
        };
        // Only of a RELAY: a custodian needs no route.
        if refusal.code == ErrorCode::NoRoute.name() {
            return false;
        }
        let parcel = ParcelId::try_from(refusal.subject.as_slice()).ok();
        let awaited = self.placing.custodians.get(custodian);
        let awaited = parcel.filter(|p| awaited.is_some_and(|s| s.out.contains_key(p)));
        let Some(parcel) = awaited else {
            return false;
        };
        self.out.counters.count("deposit-refused");
        self.placing
            .custodians
            .standing(custodian, now.mono_ms)
            .out
            .remove(&parcel);
        let wait_ms = u64::from(refusal.retry_after_ms);
        let busy = [ErrorCode::RateLimited, ErrorCode::Unavailable];
        if busy.iter().any(|code| refusal.code == code.name()) {
            self.avoid_custodian(now, custodian, Fault::Rate(wait_ms));
            self.placing.touch_all();
        } else if let Some(what) = self.placed_as(parcel) {
            self.on_turned_away(now, what, custodian, wait_ms);
        }
        true
    }

    /// So many custodians hold a message: it is stored, if that is enough and news. Once stored it
    /// stays so, and what is told is how many.
    pub(crate) fn note_kept(&mut self, now: Now, id: MessageId, kept: Kept) {
        let Some(entry) = self.outbox.get_mut(&id).filter(|entry| entry.is_open()) else {
            return;
        };
        let known = entry.keeping.or(entry.kept);
        let news = match known {
            Some(known) => known.n != kept.n,
            None => kept.is_enough(),
        };
        if news {
            entry.keeping = Some(kept);
            let at_ms = now.wall_ms;
            self.placing
                .ops
                .push(StoreOp::SetStored { id, kept, at_ms });
            self.placing.stored.push(id);
        }
    }

    /// It is written that custodians hold these messages.
    pub(crate) fn on_stored_written(&mut self, now: Now, ids: &[MessageId], written: bool) {
        for id in ids {
            let Some(entry) = self.outbox.get_mut(id) else {
                continue;
            };
            let Some(kept) = entry.keeping.take() else {
                continue;
            };
            if !written {
                let to = entry.row.to.clone();
                self.look_at_custody(now, &to, now.mono_ms + REWRITE_MS);
                continue;
            }
            entry.kept = Some(kept);
            // An ACK may have come meanwhile.
            if !entry.is_open() {
                continue;
            }
            entry.row.state = DeliveryState::Stored;
            let told = state_of(entry, now, None, Some(Path::Stored));
            self.out.event(Event::MessageState(told));
        }
    }

    /// Takes the stored receipts: those for parcels that are in force count on.
    pub(crate) fn load_custody(&mut self, rows: Vec<CustodyRow>, now: Now) {
        for row in rows {
            let heard_ms = now.wall_ms.saturating_sub(row.heard_ms);
            let keep_ms = row.until_ms.saturating_sub(row.heard_ms);
            let check_ms = self.recheck_in(keep_ms).saturating_sub(heard_ms);
            let in_force = self.outbox.of_parcel(&row.parcel) == Some(row.message);
            let Some(entry) = self.outbox.get_mut(&row.message) else {
                continue;
            };
            if !in_force {
                self.lazily(
                    now,
                    StoreOp::RemoveCustody {
                        id: row.message,
                        device: row.device,
                        custodian: Some(row.custodian),
                    },
                );
                continue;
            }
            let placement = entry.custody.entry(row.device);
            let placement = placement.or_insert_with(|| Placement::new(row.parcel));
            placement.keepers.insert(
                row.custodian,
                Keeper {
                    user: row.user,
                    since_ms: row.since_ms,
                    heard_ms: row.heard_ms,
                    until_ms: row.until_ms,
                    check_ms: now.mono_ms + check_ms,
                    tries: 0,
                },
            );
            let n = placement.keepers.len() as u32;
            if entry.row.state == DeliveryState::Stored {
                let best = entry.kept.map_or(n, |kept| kept.n.max(n));
                entry.kept = Some(Kept { n: best, k: best });
            }
        }
    }
}
