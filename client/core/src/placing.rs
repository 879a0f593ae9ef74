//! Placing: leaves what waits for a user with custodians once the ladder has come to its last rung,
//! looks after what they promised, and finds others where they fail. The sender keeps its copy and
//! goes on dialling; only an end-to-end ACK ends it.

use crate::custodians::{Custodians, Reach};
use crate::custody::Custodian;
use crate::event::Kept;
use crate::input::LinkId;
use crate::limits::{
    CUSTODIAN_DIAL_MS, CUSTODIANS_WANTED, DEPOSIT_MS, DEPOSIT_WINDOW, PLACE_AGAIN_MS_MIN,
    PLACE_OPEN_MAX, PLACE_ROUNDS_MAX, RECHECK_RETRY_MS, RECHECK_SLACK_MS, RECHECK_TRIES_MAX,
};
use crate::manager::PeerManager;
use crate::outbox::{Entry, Phase};
use crate::outputs::Write;
use crate::placement::Placement;
use crate::searching::{Need, Round};
use crate::state::StoreOp;
use crate::timer::Timer;
use beeline_proto::id::{DeviceFp, Label, MessageId};
use beeline_proto::pb::peer::v1::StoreMessage;
use beeline_proto::pb::peer::v1::peer_item::Kind;
use beeline_proto::time::Now;
use std::collections::{BTreeMap, BTreeSet};

/// How far a user's messages were looked at.
#[derive(Debug, Default)]
struct Looked {
    /// Up to which place in the outbox there is nothing left to do.
    cursor: u64,
    /// What need not be searched for again, for whichever message, before anything changes or the
    /// next climb.
    in_vain: BTreeSet<Need>,
}

/// What is to be left with custodians.
#[derive(Debug, Default)]
pub(crate) struct Placing {
    /// Users whose messages are left with custodians now.
    looked: BTreeMap<Label, Looked>,
    /// Searches for a custodian so far, each over all that may be asked.
    pub(crate) searches: u64,
    /// Users to look at before the outputs are drained.
    dirty: BTreeSet<Label>,
    /// How custodians stand with us.
    pub(crate) custodians: Custodians,
    /// What is to be written, and the messages that are stored once it is.
    pub(crate) ops: Vec<StoreOp>,
    pub(crate) stored: Vec<MessageId>,
}

impl Placing {
    /// Looks at a user's messages soon; all of them if `anew`.
    pub(crate) fn touch(&mut self, label: &Label, anew: bool) {
        if let Some(looked) = self.looked.get_mut(label) {
            if anew {
                *looked = Looked::default();
            }
            self.dirty.insert(label.clone());
        }
    }

    /// The same for every user.
    pub(crate) fn touch_all(&mut self) {
        let looked = self.looked.values_mut();
        looked.for_each(|looked| *looked = Looked::default());
        self.dirty.extend(self.looked.keys().cloned());
    }

    /// Users looked after.
    pub(crate) fn len(&self) -> usize {
        self.looked.len()
    }
}

impl PeerManager {
    /// The last rung: what waits for a user is left with custodians from now on; whether any is
    /// asked, dialled or keeps something already.
    pub(crate) fn start_placing(&mut self, now: Now, label: &Label) -> bool {
        let anew = Looked::default();
        self.placing.looked.insert(label.clone(), anew);
        self.place(now, label)
    }

    /// The user acknowledges: what is left goes the ways the ACK came.
    pub(crate) fn stop_placing(&mut self, label: &Label) {
        self.placing.looked.remove(label);
        self.placing.dirty.remove(label);
        self.timers.cancel(&Timer::Custody(label.clone()));
    }

    /// Time to look again.
    pub(crate) fn on_custody_timer(&mut self, label: &Label) {
        self.placing.touch(label, true);
    }

    /// Looks at whatever changed, and writes what came of it.
    pub(crate) fn settle_placing(&mut self, now: Now) {
        for _ in 0..PLACE_ROUNDS_MAX {
            for label in std::mem::take(&mut self.placing.dirty) {
                self.place(now, &label);
            }
        }
        let mut ops = std::mem::take(&mut self.placing.ops);
        // What was acknowledged in between is further than stored.
        let open = |id: &MessageId| self.outbox.get(id).is_some_and(Entry::is_open);
        ops.retain(|op| !matches!(op, StoreOp::SetStored { id, .. } if !open(id)));
        let stored = std::mem::take(&mut self.placing.stored);
        if !ops.is_empty() {
            self.out.write(ops, Write::Stored(stored));
        }
    }

    /// Leaves messages of a user with custodians as far as that is possible now.
    fn place(&mut self, now: Now, label: &Label) -> bool {
        let Some(cursor) = self.placing.looked.get(label).map(|l| l.cursor) else {
            return false;
        };
        if self.draining || self.is_blocked(label) {
            return false;
        }
        if !self.outbox.has_waiting(label) {
            self.stop_placing(label);
            return false;
        }
        self.judge_silent(now);
        let mut round = Round::new(now, &self.devices_of(label));
        if let Some(looked) = self.placing.looked.get_mut(label) {
            round.in_vain = std::mem::take(&mut looked.in_vain);
        }
        let (mut at, mut open, mut in_front) = (cursor, 0, true);
        loop {
            let next = self.outbox.after(label, at).next();
            let Some((id, order, phase)) = next.map(|e| (e.row.id, e.order, e.phase)) else {
                break;
            };
            at = order;
            let done = phase == Phase::Sealed && self.place_message(&mut round, id);
            in_front &= done;
            if in_front && let Some(looked) = self.placing.looked.get_mut(label) {
                looked.cursor = order;
            }
            open += usize::from(!done);
            if open >= PLACE_OPEN_MAX {
                break;
            }
        }
        // What changed meanwhile may have changed what there is to find.
        let same = !self.placing.dirty.contains(label);
        if let Some(looked) = self.placing.looked.get_mut(label).filter(|_| same) {
            looked.in_vain = round.in_vain;
        }
        if let Some(next_ms) = round.next_ms {
            self.look_at_custody(now, label, next_ms);
        }
        round.busy
    }

    /// Leaves with custodians what devices of a user are still to get though another one has it:
    /// the user's others, or ours.
    pub(crate) fn place_left(&mut self, now: Now, label: &Label) {
        let mut absent = self.devices_of(label);
        absent.retain(|d| self.outbox.is_left(*d) && self.links.ready_to(*d).is_none());
        if absent.is_empty() || self.draining || self.is_blocked(label) {
            return;
        }
        self.judge_silent(now);
        let mut round = Round::new(now, &absent);
        for device in absent {
            let left = self.outbox.left_to(device, 0);
            let left = left.filter(|e| e.phase == Phase::Sealed && e.parcel(device).is_some());
            let ids: Vec<MessageId> = left.map(|entry| entry.row.id).collect();
            let mut open = 0;
            for id in ids {
                let kept = self.place_parcel(&mut round, id, device);
                open += usize::from(kept.is_some_and(|kept| kept.n < kept.k));
                if open >= PLACE_OPEN_MAX {
                    break;
                }
            }
        }
    }

    pub(crate) fn look_at_custody(&mut self, now: Now, label: &Label, at_ms: u64) {
        let at_ms = at_ms.max(now.mono_ms + PLACE_AGAIN_MS_MIN);
        self.timers.arm_by(Timer::Custody(label.clone()), at_ms);
    }

    /// Leaves one message with custodians; whether nothing is left to do for it now.
    fn place_message(&mut self, round: &mut Round, id: MessageId) -> bool {
        let parcels = self.outbox.get(&id).map(|entry| &entry.row.parcels);
        let devices: Vec<DeviceFp> = parcels.into_iter().flatten().map(|(to, _)| *to).collect();
        let (mut done, mut best) = (true, Kept { n: 0, k: 0 });
        for device in devices {
            // Our own devices' copies are no proof of anything; see `place_left`.
            let theirs = round.picks.contains_key(&device);
            let kept = theirs.then(|| self.place_parcel(round, id, device));
            let Some(kept) = kept.flatten() else {
                continue;
            };
            done &= kept.n >= kept.k;
            if (kept.is_enough(), kept.n) > (best.is_enough(), best.n) {
                best = kept;
            }
        }
        self.note_kept(round.now, id, best);
        done
    }

    /// Leaves one parcel with custodians: how many keep it, of how many that can be had now.
    fn place_parcel(&mut self, round: &mut Round, id: MessageId, device: DeviceFp) -> Option<Kept> {
        self.open_placement(id, device)?;
        self.check_keepers(round, id, device);
        let placement = self.outbox.get(&id)?.custody.get(&device)?;
        let (parcel, n) = (placement.parcel, placement.keepers.len());
        let mut chosen: Vec<DeviceFp> = placement.keepers.keys().copied().collect();
        for custodian in &placement.asked {
            let standing = self.placing.custodians.get(*custodian);
            let since_ms = standing.and_then(|standing| standing.out.get(&parcel));
            if let Some(since_ms) = since_ms.filter(|_| !chosen.contains(custodian)) {
                round.look_at(since_ms + DEPOSIT_MS);
                chosen.push(*custodian);
            }
        }
        round.busy |= !chosen.is_empty();
        while chosen.len() < CUSTODIANS_WANTED {
            let Some((custodian, reach)) = self.search(round, device, &chosen) else {
                break;
            };
            chosen.push(custodian.device);
            round.busy = true;
            match reach {
                Reach::Linked(link) => {
                    self.deposit(round, link, (id, device), custodian.device);
                }
                Reach::Callable if !self.call_found(round, &custodian) => {
                    chosen.pop();
                }
                Reach::Soon(at_ms) => round.look_at(at_ms),
                _ => round.look_at(round.now.mono_ms + CUSTODIAN_DIAL_MS),
            }
        }
        let k = chosen.len().min(CUSTODIANS_WANTED);
        Some(Kept {
            n: n as u32,
            k: k as u32,
        })
    }

    /// Makes the record of a parcel's copies, if it is not there yet.
    fn open_placement(&mut self, id: MessageId, device: DeviceFp) -> Option<()> {
        let entry = self.outbox.get_mut(&id)?;
        if !entry.custody.contains_key(&device) {
            let parcel = entry.parcel_id(device)?;
            entry.custody.insert(device, Placement::new(parcel));
        }
        Some(())
    }

    /// Leaves a parcel with a custodian; `false` if there is no room on the way to it now.
    fn deposit(
        &mut self,
        round: &mut Round,
        link: LinkId,
        what: (MessageId, DeviceFp),
        custodian: DeviceFp,
    ) -> bool {
        let (id, device) = what;
        let now_ms = round.now.mono_ms;
        let standing = self.placing.custodians.standing(custodian, now_ms);
        if standing.out.len() >= DEPOSIT_WINDOW {
            return false;
        }
        let Some(entry) = self.outbox.get(&id) else {
            return false;
        };
        let parcel = entry.parcel(device).cloned();
        let (Some(bytes), Some(placement)) = (parcel, entry.custody.get(&device)) else {
            return false;
        };
        let parcel = placement.parcel;
        let item = StoreMessage {
            parcel: bytes,
            ticket: Vec::new(),
        };
        if !self.say(link, Kind::StoreMessage(item)) {
            return false;
        }
        let standing = self.placing.custodians.standing(custodian, now_ms);
        standing.out.insert(parcel, now_ms);
        round.look_at(now_ms + DEPOSIT_MS);
        self.note_asked(what, custodian);
        true
    }

    /// Remembers whom a parcel was left with, as long as an answer is awaited.
    fn note_asked(&mut self, what: (MessageId, DeviceFp), custodian: DeviceFp) {
        let custodians = &self.placing.custodians;
        let entry = self.outbox.get_mut(&what.0);
        if let Some(placement) = entry.and_then(|entry| entry.custody.get_mut(&what.1)) {
            let parcel = placement.parcel;
            let awaited = |device: &DeviceFp| {
                let standing = custodians.get(*device);
                standing.is_some_and(|standing| standing.out.contains_key(&parcel))
            };
            placement.asked.retain(awaited);
            placement.asked.insert(custodian);
        }
    }

    /// Asks again those whose time has come, and gives up those that do not answer any more or
    /// whose promise has ended.
    fn check_keepers(&mut self, round: &mut Round, id: MessageId, device: DeviceFp) {
        let now = round.now;
        let placement = self.outbox.get(&id).and_then(|e| e.custody.get(&device));
        let keepers = placement.map(|placement| placement.keepers.clone());
        for (custodian, keeper) in keepers.unwrap_or_default() {
            if keeper.until_ms <= now.wall_ms || keeper.tries > RECHECK_TRIES_MAX {
                self.lose_keeper(id, device, custodian);
            } else if keeper.check_ms > now.mono_ms + RECHECK_SLACK_MS {
                round.look_at(keeper.check_ms);
            } else {
                self.check_keeper(round, (id, device), custodian);
            }
        }
    }

    /// Asks one custodian again: the same bytes, answered with a receipt.
    fn check_keeper(&mut self, round: &mut Round, what: (MessageId, DeviceFp), device: DeviceFp) {
        let contact = self.contacts.of_device(device);
        let custodian = contact.map(|contact| Custodian {
            user: contact.row.user,
            label: contact.row.label.clone(),
            device,
            coordinator: self.is_coordinator(device),
        });
        let now_ms = round.now.mono_ms;
        let reach = custodian.as_ref().map(|c| self.reach(round.now, c, what.1));
        let asked = match (reach, custodian) {
            (Some(Reach::Linked(link)), _) => {
                if !self.deposit(round, link, what, device) {
                    // The way is full of others of ours: soon.
                    return round.look_at(now_ms + PLACE_AGAIN_MS_MIN);
                }
                true
            }
            // Asked once the link is open; whatever changes is looked at then.
            (Some(Reach::Callable), Some(custodian))
                if self.call_custodian(round.now, &custodian) =>
            {
                return round.look_at(now_ms + CUSTODIAN_DIAL_MS);
            }
            (Some(Reach::Making), _) => return round.look_at(now_ms + CUSTODIAN_DIAL_MS),
            (Some(Reach::Soon(at_ms)), _) => return round.look_at(at_ms),
            _ => false,
        };
        // While we are cut off ourselves, nobody is to blame.
        let cut_off = self.presence.sockets().is_empty() && self.links.by_id.is_empty();
        round.look_at(now_ms + RECHECK_RETRY_MS);
        if let Some(keeper) = self.keeper_mut(what.0, what.1, device) {
            keeper.check_ms = now_ms + RECHECK_RETRY_MS;
            keeper.tries += u32::from(asked || !cut_off);
        }
    }

    pub(crate) fn keeper_mut(
        &mut self,
        id: MessageId,
        device: DeviceFp,
        custodian: DeviceFp,
    ) -> Option<&mut crate::placement::Keeper> {
        let placement = self.outbox.get_mut(&id)?.custody.get_mut(&device)?;
        placement.keepers.get_mut(&custodian)
    }

    /// A custodian keeps a parcel no more.
    pub(crate) fn lose_keeper(&mut self, id: MessageId, device: DeviceFp, custodian: DeviceFp) {
        let entry = self.outbox.get_mut(&id);
        let placement = entry.and_then(|entry| entry.custody.get_mut(&device));
        if placement.is_some_and(|p| p.keepers.remove(&custodian).is_some()) {
            self.placing.ops.push(StoreOp::RemoveCustody {
                id,
                device,
                custodian: Some(custodian),
            });
        }
    }
}
