//! The custodian: keeps parcels for members that are away. What it says it keeps is committed;
//! what it has no room for it refuses at once; what it accepted goes only by its time or at its
//! recipient's word.

use crate::input::{LinkId, StoreFailure};
use crate::limits::{
    KEEP_BUSY_MS, KEEP_EXPIRE_BATCH, KEEP_EXPIRE_MS, KEEP_FULL_MS, KEEP_IN_FLIGHT_MAX,
    REST_COUNTED_MS_MAX,
};
use crate::link::Link;
use crate::manager::PeerManager;
use crate::outputs::Write;
use crate::state::{KeptRow, KeptSum, StoreOp, StoreResult};
use crate::timer::Timer;
use beeline_proto::code::ErrorCode;
use beeline_proto::envelope::split;
use beeline_proto::id::{DeviceFp, ParcelId, UserFp};
use beeline_proto::limits::{
    PARCEL_LEN_MAX, PARCEL_TTL_MAX_S, STORE_PAGE_MAX, STORE_TICKET_LEN_MAX,
};
use beeline_proto::parcel::{Kind as ParcelKind, Parcel};
use beeline_proto::pb::peer::v1::peer_item::Kind;
use beeline_proto::pb::peer::v1::{Refusal, StoreDelete, StoreMessage, StoreReceipt};
use beeline_proto::time::Now;

/// A deposit on its way into the store.
#[derive(Debug)]
pub(crate) struct Deposit {
    /// Who deposited it.
    device: DeviceFp,
    user: UserFp,
    recipient: DeviceFp,
    parcel: ParcelId,
    len: u64,
    keep_s: u32,
    order: u64,
    /// There is no room: only whether it is kept already is looked up.
    only_find: bool,
    /// Its bytes, where the recipient is linked and gets it at once.
    push: Option<Vec<u8>>,
}

impl Deposit {
    fn sum(&self) -> KeptSum {
        KeptSum {
            recipient: self.recipient,
            user: self.user,
            parcels: 1,
            bytes: self.len,
        }
    }
}

/// Why something is not taken: the code, and after how long another try may help, milliseconds.
pub(crate) type NotTaken = (ErrorCode, u64);

/// Until when is kept what came in a moment ago, on the steady clock. A wall clock that is wrong at
/// a restart may end it early by as much as a rest counts: so much longer than promised it is kept.
fn expires_ms(steady_ms: u64, keep_s: u32) -> u64 {
    let keep_ms = u64::from(keep_s) * 1_000 + REST_COUNTED_MS_MAX;
    steady_ms.saturating_add(keep_ms)
}

impl PeerManager {
    /// Whether we say that we keep: we do, or there is still something that others shall fetch.
    pub(crate) fn has_to_keep(&self) -> bool {
        self.me.config.can_store || self.keeping.total().parcels > 0
    }

    /// Somebody wants a parcel kept.
    pub(crate) fn on_store_message(&mut self, now: Now, id: LinkId, store: StoreMessage) {
        let read = match store.parcel.len() {
            len if len > PARCEL_LEN_MAX => Err(ErrorCode::TooLarge),
            _ => Parcel::parse(&store.parcel).map_err(|_| ErrorCode::InvalidArgument),
        };
        let parcel = match read {
            Ok(parcel) => parcel,
            Err(code) => {
                let detail = format!("link {} deposits what is no parcel", id.0);
                self.out.warn(now, "deposit-refused", detail);
                return self.refuse_item(id, Vec::new(), (code, 0));
            }
        };
        match self.check_deposit(now, id, &parcel, &store.ticket) {
            Ok(deposit) => self.take_deposit(now, deposit, store.parcel),
            Err(refused) => self.refuse_item(id, parcel.id().to_vec(), refused),
        }
    }

    /// Cheap checks first; nothing is written for what fails one.
    fn check_deposit(
        &mut self,
        now: Now,
        id: LinkId,
        parcel: &Parcel,
        ticket: &[u8],
    ) -> Result<Deposit, NotTaken> {
        let header = *parcel.header();
        if !self.me.config.can_store {
            return Err((ErrorCode::Unimplemented, 0));
        }
        let keep_s = header.ttl_s.min(PARCEL_TTL_MAX_S);
        let invalid = header.network != self.me.network()
            || header.kind != ParcelKind::Message
            || header.to == self.me.device
            || keep_s == 0
            || ticket.len() > STORE_TICKET_LEN_MAX
            || (!ticket.is_empty() && split(ticket).is_err());
        if invalid {
            let detail = format!("link {} deposits what cannot be kept", id.0);
            self.out.warn(now, "deposit-refused", detail);
            return Err((ErrorCode::InvalidArgument, 0));
        }
        let Some((device, label)) = self.links.get(id).map(|l| (l.device, l.user.clone())) else {
            return Err((ErrorCode::Unavailable, 0));
        };
        if header.from != device {
            let detail = format!("{label} deposits a parcel of somebody else");
            self.out.warn(now, "deposit-refused", detail);
            return Err((ErrorCode::PermissionDenied, 0));
        }
        let user = self.contacts.get(&label).map(|contact| contact.row.user);
        let Some(user) = user.filter(|_| self.may_link(now, &label)) else {
            return Err((ErrorCode::Revoked, 0));
        };
        if let Err(wait_ms) = self.keeping.take_turn(user, now.mono_ms) {
            self.out.counters.count("deposit-too-fast");
            return Err((ErrorCode::RateLimited, wait_ms));
        }
        if self.draining || self.keeping.in_flight >= KEEP_IN_FLIGHT_MAX {
            self.out.counters.count("deposit-busy");
            return Err((ErrorCode::Unavailable, KEEP_BUSY_MS));
        }
        let len = parcel.bytes().len() as u64;
        let linked = self.links.ready_to(header.to).is_some() || planted!(KeptToAnybody);
        Ok(Deposit {
            device,
            user,
            recipient: header.to,
            parcel: parcel.id(),
            len,
            keep_s,
            order: 0,
            only_find: !self.keeping.has_room(header.to, user, len),
            push: linked.then(|| parcel.bytes().to_vec()),
        })
    }

    /// Puts a deposit into the next write; its room is taken from now on.
    fn take_deposit(&mut self, now: Now, mut deposit: Deposit, bytes: Vec<u8>) {
        let (recipient, id) = (deposit.recipient, deposit.parcel);
        if planted!(ReceiptBeforeCommit) {
            self.say_receipt(&deposit, deposit.keep_s);
        }
        if planted!(EvictedWhenFull) && deposit.only_find {
            let (steady_ms, limit) = (u64::MAX, 1);
            let op = StoreOp::ExpireKept { steady_ms, limit };
            self.out.write(vec![op], Write::ExpireKept);
            deposit.only_find = false;
        }
        self.keeping.in_flight += 1;
        let op = if deposit.only_find {
            self.out.counters.count("deposit-full");
            deposit.push = None;
            StoreOp::FindKept { recipient, id }
        } else {
            self.keeping.reserve(recipient, deposit.user, deposit.len);
            deposit.order = self.keeping.next_order();
            StoreOp::Keep(KeptRow {
                order: deposit.order,
                recipient,
                user: deposit.user,
                id,
                expires_ms: expires_ms(self.steady_ms(now), deposit.keep_s),
                parcel: bytes,
            })
        };
        self.depositing.0.push(op);
        self.depositing.1.push(deposit);
    }

    /// Writes the deposits that one input brought, together.
    pub(crate) fn flush_deposits(&mut self) {
        let (ops, deposits) = std::mem::take(&mut self.depositing);
        if !ops.is_empty() {
            self.out.write(ops, Write::Keep(deposits));
        }
    }

    /// Deposits are committed, or were refused by the store. Only now anything is said of them.
    pub(crate) fn on_kept(
        &mut self,
        now: Now,
        deposits: Vec<Deposit>,
        results: Result<Vec<StoreResult>, StoreFailure>,
    ) {
        self.keeping.in_flight = self.keeping.in_flight.saturating_sub(deposits.len());
        let results = match results {
            Ok(results) => results,
            Err(failure) => return self.on_not_kept(now, &deposits, &failure),
        };
        for (deposit, result) in deposits.into_iter().zip(results) {
            let steady_ms = self.steady_ms(now);
            match result {
                StoreResult::Inserted { .. } => {
                    self.say_receipt(&deposit, deposit.keep_s);
                    self.push_kept(deposit);
                }
                StoreResult::Kept { expires_ms } => {
                    if !deposit.only_find {
                        self.keeping.release(&deposit.sum());
                    }
                    let left_ms = expires_ms.saturating_sub(REST_COUNTED_MS_MAX);
                    let left_s = left_ms.saturating_sub(steady_ms) / 1_000;
                    let left_s = u32::try_from(left_s).unwrap_or(u32::MAX);
                    self.say_receipt(&deposit, left_s.min(PARCEL_TTL_MAX_S));
                }
                StoreResult::Missing => {
                    self.refuse_deposit(&deposit, (ErrorCode::Full, KEEP_FULL_MS));
                }
                _ => self.out.counters.count("store-answer"),
            }
        }
    }

    fn on_not_kept(&mut self, now: Now, deposits: &[Deposit], failure: &StoreFailure) {
        self.keeping.doubt();
        let detail = format!("parcels of others were not kept: {}", failure.detail);
        self.out.warn(now, "store-failed", detail);
        let code = if failure.transient {
            ErrorCode::Full
        } else {
            ErrorCode::Unavailable
        };
        for deposit in deposits {
            if !deposit.only_find {
                self.keeping.release(&deposit.sum());
            }
            self.refuse_deposit(deposit, (code, KEEP_FULL_MS));
        }
    }

    /// Promises the depositing device to keep its parcel, if it is still there; if not, it asks
    /// again.
    fn say_receipt(&mut self, deposit: &Deposit, keep_s: u32) {
        let Some(id) = self.links.ready_to(deposit.device) else {
            return;
        };
        let receipt = StoreReceipt {
            context: self.me.context(self.crypto.as_mut(), deposit.device.0),
            parcel_id: deposit.parcel.to_vec(),
            keep_s,
        };
        let envelope = self.me.sign(self.crypto.as_mut(), &receipt);
        self.say(id, Kind::StoreReceipt(envelope));
    }

    /// A linked recipient gets what was just committed at once.
    fn push_kept(&mut self, deposit: Deposit) {
        let anybody = || {
            let other = |link: &Link| link.is_ready() && link.device != deposit.device;
            let others = planted!(KeptToAnybody).then(|| self.links.ids(other));
            others.and_then(|mut ids| ids.pop())
        };
        let Some(id) = self.links.ready_to(deposit.recipient).or_else(anybody) else {
            return;
        };
        let sent = match deposit.push {
            Some(bytes) if self.pages.may_push(id) => self.say(id, Kind::Kept(bytes)),
            _ => false,
        };
        if !sent {
            self.pages.owe(id, deposit.order);
            self.dirty.insert(id);
        }
    }

    fn refuse_deposit(&mut self, deposit: &Deposit, why: NotTaken) {
        if let Some(id) = self.links.ready_to(deposit.device) {
            self.refuse_item(id, deposit.parcel.to_vec(), why);
        }
    }

    /// Says that an item is not taken: one small answer to each.
    pub(crate) fn refuse_item(&mut self, id: LinkId, subject: Vec<u8>, why: NotTaken) {
        let (code, wait_ms) = why;
        self.say(
            id,
            Kind::Refusal(Refusal {
                subject,
                code: code.name().to_owned(),
                retry_after_ms: u32::try_from(wait_ms).unwrap_or(u32::MAX),
            }),
        );
    }

    /// A recipient has committed parcels of its own: they go. Of others it can name none.
    pub(crate) fn on_store_delete(&mut self, now: Now, id: LinkId, bytes: &[u8]) {
        if !self.pages.may_ask(id, now.mono_ms) {
            return self.out.counters.count("too-many-deletes");
        }
        let delete = self.open_on_link::<StoreDelete>(now, id, bytes, "delete-refused");
        let (Some(delete), Some(link)) = (delete, self.links.get(id)) else {
            return;
        };
        let recipient = link.device;
        let said = &delete.payload().parcel_ids;
        let ids = said.iter().map(|id| ParcelId::try_from(id.as_slice()));
        let ids: Vec<ParcelId> = ids.filter_map(Result::ok).collect();
        if ids.len() != said.len() || !(1..=STORE_PAGE_MAX).contains(&ids.len()) {
            let detail = format!("link {} names no parcels, too many, or no ids", id.0);
            return self.out.warn(now, "delete-refused", detail);
        }
        let op = StoreOp::DropKept { recipient, ids };
        self.out.write(vec![op], Write::DropKept);
    }

    /// Deletes what has ended, a little at a time.
    pub(crate) fn expire_kept(&mut self, now: Now) {
        let op = StoreOp::ExpireKept {
            steady_ms: self.steady_ms(now),
            limit: KEEP_EXPIRE_BATCH,
        };
        self.out.write(vec![op], Write::ExpireKept);
    }

    /// Parcels are gone from the store: their room is free.
    pub(crate) fn on_gone(&mut self, now: Now, results: &[StoreResult], expired: bool) {
        let mut gone = 0;
        for result in results {
            let StoreResult::Gone(sums) = result else {
                continue;
            };
            for sum in sums {
                self.keeping.release(sum);
                gone += sum.parcels;
            }
        }
        if expired && gone >= u64::from(KEEP_EXPIRE_BATCH) && !self.draining {
            self.timers.arm(Timer::Expire, now.mono_ms + KEEP_EXPIRE_MS);
        }
    }
}
