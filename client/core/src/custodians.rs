//! Custodians as a sender sees them: who may be asked for a device now, who can be reached, and who
//! is passed over for a while because it refused, was silent, or was not there.

use crate::crypto::random_u64;
use crate::custody::{Custodian, place};
use crate::event::Rung;
use crate::input::LinkId;
use crate::limits::{
    CUSTODIAN_DIAL_MS, CUSTODIAN_DIALS_MAX, CUSTODIAN_LINK_MS, CUSTODIAN_PAIRS_MAX,
    CUSTODIAN_PAUSE_MS_MAX, CUSTODIAN_PAUSE_MS_MIN, CUSTODIANS_MAX, CUSTODIANS_REMEMBERED_MAX,
    DEPOSIT_MS,
};
use crate::link::Link;
use crate::manager::PeerManager;
use crate::negotiation::Side;
use crate::nets::Nets;
use crate::timer::Timer;
use beeline_proto::id::{DeviceFp, ParcelId};
use beeline_proto::time::Now;
use std::collections::BTreeMap;

/// How one custodian stands with us.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    /// Failures in a row.
    failures: u32,
    /// Until when it is passed over, monotonic milliseconds.
    avoid_until_ms: u64,
    /// Since when a link to it is being made for us, monotonic milliseconds; 0 for not.
    dialled_ms: u64,
    /// Parcels left with it and not answered, and since when.
    pub(crate) out: BTreeMap<ParcelId, u64>,
    /// Where it was seen.
    pub(crate) nets: Nets,
    /// When it was last of interest, monotonic milliseconds.
    used_ms: u64,
}

/// No room for one recipient at one custodian.
#[derive(Debug, Default)]
struct Full {
    failures: u32,
    until_ms: u64,
}

/// All custodians we deal with.
#[derive(Debug, Default)]
pub(crate) struct Custodians {
    standing: BTreeMap<DeviceFp, Standing>,
    full: BTreeMap<(DeviceFp, DeviceFp), Full>,
}

/// Why a custodian is passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It takes no more at this rate, for this many milliseconds at least.
    Rate(u64),
    /// It was not reached, or was silent.
    Absent,
}

/// The pause after a failure: doubling, with jitter.
fn pause_ms(failures: u32, random: u64) -> u64 {
    let doubling = crate::backoff::pause_ms(failures, random);
    (CUSTODIAN_PAUSE_MS_MIN / 1_000 * doubling).min(CUSTODIAN_PAUSE_MS_MAX)
}

impl Custodians {
    pub(crate) fn get(&self, device: DeviceFp) -> Option<&Standing> {
        self.standing.get(&device)
    }

    /// The standing of a custodian, to change.
    pub(crate) fn standing(&mut self, device: DeviceFp, now_ms: u64) -> &mut Standing {
        let known = self.standing.contains_key(&device);
        if !known && self.standing.len() >= CUSTODIANS_REMEMBERED_MAX {
            let idlest = self.standing.iter().min_by_key(|(_, s)| s.used_ms);
            if let Some(idlest) = idlest.map(|(device, _)| *device) {
                self.standing.remove(&idlest);
            }
        }
        let standing = self.standing.entry(device).or_default();
        standing.used_ms = now_ms;
        standing
    }

    /// Passes a custodian over, longer each time. What it says while it is passed over is of one
    /// burst with what it said before.
    pub(crate) fn avoid(&mut self, device: DeviceFp, now_ms: u64, fault: Fault, random: u64) {
        let standing = self.standing(device, now_ms);
        standing.dialled_ms = 0;
        let pause_ms = match fault {
            _ if standing.avoid_until_ms > now_ms => return,
            Fault::Rate(wait_ms) => {
                crate::backoff::pause_ms(standing.failures, random).max(wait_ms)
            }
            Fault::Absent => pause_ms(standing.failures, random),
        };
        standing.failures = standing.failures.saturating_add(1);
        standing.avoid_until_ms = now_ms + pause_ms.min(CUSTODIAN_PAUSE_MS_MAX);
    }

    /// It keeps no more for one recipient: passed over for that one, longer each time.
    pub(crate) fn note_full(
        &mut self,
        pair: (DeviceFp, DeviceFp),
        now_ms: u64,
        wait_ms: u64,
        random: u64,
    ) {
        if self.full.len() >= CUSTODIAN_PAIRS_MAX && !self.full.contains_key(&pair) {
            let first = self.full.iter().min_by_key(|(_, full)| full.until_ms);
            if let Some(first) = first.map(|(pair, _)| *pair) {
                self.full.remove(&first);
            }
        }
        let full = self.full.entry(pair).or_default();
        if full.until_ms > now_ms {
            return;
        }
        let pause_ms = pause_ms(full.failures, random).max(wait_ms);
        full.failures = full.failures.saturating_add(1);
        full.until_ms = now_ms + pause_ms.min(CUSTODIAN_PAUSE_MS_MAX);
    }

    /// A receipt came: what was held against it is over.
    pub(crate) fn praise(&mut self, custodian: DeviceFp, recipient: DeviceFp, parcel: ParcelId) {
        if let Some(standing) = self.standing.get_mut(&custodian) {
            standing.failures = 0;
            standing.out.remove(&parcel);
        }
        self.full.remove(&(custodian, recipient));
    }

    /// Until when a custodian is passed over for a recipient, if it is now.
    pub(crate) fn avoided_until(
        &self,
        custodian: DeviceFp,
        recipient: DeviceFp,
        now_ms: u64,
    ) -> Option<u64> {
        let standing = self
            .standing
            .get(&custodian)
            .map_or(0, |s| s.avoid_until_ms);
        let full = self.full.get(&(custodian, recipient));
        let until_ms = standing.max(full.map_or(0, |full| full.until_ms));
        Some(until_ms).filter(|until_ms| *until_ms > now_ms)
    }

    /// Links being made to leave parcels.
    fn dialling(&self, now_ms: u64) -> usize {
        let dialled = |s: &&Standing| s.dialled_ms + CUSTODIAN_DIAL_MS > now_ms && s.dialled_ms > 0;
        self.standing.values().filter(dialled).count()
    }

    /// Custodians and pairs remembered.
    pub(crate) fn len(&self) -> (usize, usize) {
        (self.standing.len(), self.full.len())
    }
}

/// Whom to ask for one recipient device, in order.
#[derive(Debug)]
pub(crate) struct Pick {
    /// One of these comes first: the recipient asks coordinators wherever they are in the order.
    pub(crate) coordinators: Vec<Custodian>,
    /// The first of the recipient's order.
    pub(crate) first: Vec<Custodian>,
}

/// How a custodian can be reached now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Over this link.
    Linked(LinkId),
    /// A link is being made.
    Making,
    /// It may be dialled.
    Callable,
    /// It takes more at this moment, monotonic milliseconds, which is worth waiting for.
    Soon(u64),
    /// Not now; `Some` says when to look again, monotonic milliseconds.
    Not(Option<u64>),
}

impl PeerManager {
    /// Whom to ask for a recipient device.
    pub(crate) fn pick_for(&self, recipient: DeviceFp) -> Pick {
        let owner = self.contacts.of_device(recipient).map(|c| c.row.user);
        let mut coordinators = Vec::new();
        for device in self.known_coordinators() {
            let keeps = self.routes.get(device).is_some_and(|route| route.can_store);
            let contact = self.contacts.of_device(device).filter(|_| keeps);
            let Some(contact) = contact.filter(|c| !c.is_blocked()) else {
                continue;
            };
            let user = contact.row.user;
            if user == self.me.user || Some(user) == owner || self.me.revokes(&contact.chain) {
                continue;
            }
            let salt = &contact.chain.membership.verified.payload().salt;
            // Those linked already first: each of them can be asked by the recipient as well.
            let order = (!self.is_linked(device), place(recipient, salt), device);
            let custodian = Custodian {
                user,
                label: contact.row.label.clone(),
                device,
                coordinator: true,
            };
            coordinators.push((order, custodian));
        }
        coordinators.sort_by_key(|(order, _)| *order);
        let coordinators = coordinators.into_iter().map(|(_, custodian)| custodian);
        Pick {
            coordinators: coordinators.take(CUSTODIANS_MAX).collect(),
            first: self.custodians_for(recipient),
        }
    }

    /// The open link to a custodian that keeps.
    pub(crate) fn custodian_link(&self, device: DeviceFp) -> Option<LinkId> {
        let id = self.links.ready_to(device)?;
        let ready = self.links.get(id)?.ready()?;
        ready.can_store.then_some(id)
    }

    /// How a custodian can be reached for a recipient now.
    pub(crate) fn reach(&mut self, now: Now, custodian: &Custodian, recipient: DeviceFp) -> Reach {
        let (device, now_ms) = (custodian.device, now.mono_ms);
        let avoided = self
            .placing
            .custodians
            .avoided_until(device, recipient, now_ms);
        let link = self.custodian_link(device);
        match (avoided, link) {
            (Some(at_ms), Some(_)) if at_ms < now_ms + CUSTODIAN_DIAL_MS => {
                return Reach::Soon(at_ms);
            }
            (Some(_), _) => return Reach::Not(avoided),
            (None, Some(link)) => return Reach::Linked(link),
            (None, None) => {}
        }
        if self.is_linked(device) {
            return Reach::Not(None);
        }
        if self.is_making(device) {
            let standing = self.placing.custodians.standing(device, now_ms);
            if standing.dialled_ms == 0 {
                standing.dialled_ms = now_ms;
            }
            let patient = standing.dialled_ms + CUSTODIAN_DIAL_MS > now_ms;
            return if patient {
                Reach::Making
            } else {
                Reach::Not(None)
            };
        }
        if self
            .placing
            .custodians
            .get(device)
            .is_some_and(|s| s.dialled_ms > 0)
        {
            // Its socket did not open, and there was no link that could end.
            self.avoid_custodian(now, device, Fault::Absent);
            return Reach::Not(
                self.placing
                    .custodians
                    .avoided_until(device, recipient, now_ms),
            );
        }
        if self.placing.custodians.dialling(now_ms) >= CUSTODIAN_DIALS_MAX {
            return Reach::Not(Some(now_ms + CUSTODIAN_DIAL_MS));
        }
        let callable = if custodian.coordinator {
            self.may_start(now, device)
        } else {
            let reached =
                !self.presence.sockets().is_empty() || !self.relays_to(now, device).is_empty();
            reached && self.links.of_device(device).next().is_none()
        };
        if callable {
            Reach::Callable
        } else {
            Reach::Not(None)
        }
    }

    /// Makes a link to a custodian; whether one is being made now.
    pub(crate) fn call_custodian(&mut self, now: Now, custodian: &Custodian) -> bool {
        let device = custodian.device;
        if custodian.coordinator {
            self.start_coordinator(now, device);
        } else {
            self.dial(now, &custodian.label, device, Rung::StoreAndForward);
        }
        let making = self.is_making(device);
        if making {
            self.placing
                .custodians
                .standing(device, now.mono_ms)
                .dialled_ms = now.mono_ms;
        } else {
            self.avoid_custodian(now, device, Fault::Absent);
        }
        making
    }

    /// Passes a custodian over for a while.
    pub(crate) fn avoid_custodian(&mut self, now: Now, device: DeviceFp, fault: Fault) {
        let random = random_u64(self.crypto.as_mut());
        self.placing
            .custodians
            .avoid(device, now.mono_ms, fault, random);
    }

    /// A custodian that has not answered for too long is passed over.
    pub(crate) fn judge_silent(&mut self, now: Now) {
        let late = |s: &Standing| {
            s.out
                .values()
                .any(|at_ms| at_ms + DEPOSIT_MS <= now.mono_ms)
        };
        let standing = self.placing.custodians.standing.iter();
        let silent: Vec<DeviceFp> = standing
            .filter(|(_, standing)| late(standing))
            .map(|(device, _)| *device)
            .collect();
        for device in silent {
            self.out.counters.count("custodian-silent");
            self.placing
                .custodians
                .standing(device, now.mono_ms)
                .out
                .clear();
            self.avoid_custodian(now, device, Fault::Absent);
        }
    }

    /// A link to a device opened that may keep, or the last one ended.
    pub(crate) fn on_custodian_link(&mut self, now: Now, device: DeviceFp, opened: bool) {
        let keeps = self.routes.get(device).is_some_and(|route| route.can_store);
        let known = self.placing.custodians.standing.get_mut(&device);
        if !keeps && known.is_none() {
            return;
        }
        if let Some(standing) = known {
            standing.out.clear();
            let wanted = std::mem::take(&mut standing.dialled_ms) > 0;
            if !opened && wanted {
                self.avoid_custodian(now, device, Fault::Absent);
            }
        }
        if opened && let Some(id) = self.custodian_link(device) {
            let nets = self.links.get(id).map(|link| link.nets.clone());
            let standing = self.placing.custodians.standing(device, now.mono_ms);
            standing.nets = nets.unwrap_or_default();
            // It is here: that it was not there before is no reason any more.
            standing.avoid_until_ms = 0;
            let at_ms = now.mono_ms + CUSTODIAN_LINK_MS;
            self.timers.arm_by(Timer::LetGo, at_ms);
        }
        self.placing.touch_all();
    }

    /// Looks at links that were made only to leave parcels: those that nothing needs any more end,
    /// the others are looked at again.
    pub(crate) fn let_go_of_custodians(&mut self, now: Now) {
        let (by, stay_ms) = (Rung::StoreAndForward, CUSTODIAN_LINK_MS);
        let ours = |link: &Link| link.found_by == Some(by) && link.side == Side::Offerer;
        for id in self.links.ids(|link| ours(link) && link.is_ready()) {
            if self.is_needless(now, id, by, stay_ms) {
                self.let_go(now, id);
                continue;
            }
            let since_ms = self.links.get(id).and_then(|link| link.ready());
            let until_ms = since_ms.map_or(0, |ready| ready.since_ms.saturating_add(stay_ms));
            let again_ms = if until_ms > now.mono_ms {
                until_ms
            } else {
                now.mono_ms + stay_ms
            };
            self.timers.arm_by(Timer::LetGo, again_ms);
        }
    }
}
