//! Searching for somebody who keeps a parcel: for a device, beside those chosen already. One search
//! is for all messages that wait for it, within one look; one that found nobody also for the looks
//! that follow, until something changes or the next climb.

use crate::custodians::{Pick, Reach};
use crate::custody::Custodian;
use crate::manager::PeerManager;
use beeline_proto::id::DeviceFp;
use beeline_proto::time::Now;
use std::collections::{BTreeMap, BTreeSet};

/// What is searched for: somebody for a device, beside these. There is one need for each set of
/// custodians that are asked for a device at once.
pub(crate) type Need = (DeviceFp, Vec<DeviceFp>);

/// One look at the messages of a user.
pub(crate) struct Round {
    pub(crate) now: Now,
    /// Whom to ask for each device: worked out when somebody is looked for.
    pub(crate) picks: BTreeMap<DeviceFp, Option<Pick>>,
    /// Searches that found nobody.
    pub(crate) in_vain: BTreeSet<Need>,
    /// Who was found.
    found: BTreeMap<Need, (Custodian, Reach)>,
    /// When to look again, monotonic milliseconds.
    pub(crate) next_ms: Option<u64>,
    /// Whether anything is under way.
    pub(crate) busy: bool,
}

impl Round {
    /// A look at what is to be left for these devices.
    pub(crate) fn new(now: Now, devices: &[DeviceFp]) -> Self {
        Self {
            now,
            picks: devices.iter().map(|device| (*device, None)).collect(),
            in_vain: BTreeSet::new(),
            found: BTreeMap::new(),
            next_ms: None,
            busy: false,
        }
    }

    /// Looks again at this moment, if not before.
    pub(crate) fn look_at(&mut self, at_ms: u64) {
        self.next_ms = Some(self.next_ms.map_or(at_ms, |next_ms| next_ms.min(at_ms)));
    }
}

impl PeerManager {
    /// Somebody to leave a parcel for a device with, beside those `chosen`.
    pub(crate) fn search(
        &mut self,
        round: &mut Round,
        device: DeviceFp,
        chosen: &[DeviceFp],
    ) -> Option<(Custodian, Reach)> {
        let mut beside = chosen.to_vec();
        beside.sort_unstable();
        let need = (device, beside);
        if round.in_vain.contains(&need) {
            return None;
        }
        if let Some(found) = round.found.get(&need) {
            return Some(found.clone());
        }
        self.placing.searches += 1;
        let found = self.next_custodian(round, device, chosen);
        match &found {
            Some(found) => drop(round.found.insert(need, found.clone())),
            None => drop(round.in_vain.insert(need)),
        }
        found
    }

    /// Calls somebody who was found; whether a link is being made now. Who cannot be called was not
    /// found.
    pub(crate) fn call_found(&mut self, round: &mut Round, custodian: &Custodian) -> bool {
        let calling = self.call_custodian(round.now, custodian);
        let device = custodian.device;
        round
            .found
            .retain(|_, (found, _)| calling || found.device != device);
        for (found, reach) in round.found.values_mut() {
            if found.device == device {
                *reach = Reach::Making;
            }
        }
        calling
    }

    /// The next custodian to ask for a device beside those `chosen`: a coordinator if there is none
    /// among them, then the first of the device's order.
    fn next_custodian(
        &mut self,
        round: &mut Round,
        device: DeviceFp,
        chosen: &[DeviceFp],
    ) -> Option<(Custodian, Reach)> {
        let known = round.picks.get_mut(&device)?.take();
        let pick = known.unwrap_or_else(|| self.pick_for(device));
        let coordinated = chosen.iter().any(|chosen| self.is_coordinator(*chosen));
        let coordinators = pick.coordinators.iter().filter(|_| !coordinated);
        let mut found = None;
        for custodian in coordinators.chain(&pick.first) {
            if self.is_beside(custodian, chosen) {
                continue;
            }
            match self.reach(round.now, custodian, device) {
                Reach::Not(Some(at_ms)) => round.look_at(at_ms),
                Reach::Not(None) => {}
                reach => {
                    found = Some((custodian.clone(), reach));
                    break;
                }
            }
        }
        round.picks.insert(device, Some(pick));
        found
    }

    /// Whether a custodian is of one user, or in one public network, with one of those chosen.
    fn is_beside(&self, custodian: &Custodian, chosen: &[DeviceFp]) -> bool {
        let nets = self
            .placing
            .custodians
            .get(custodian.device)
            .map(|s| &s.nets);
        chosen.iter().any(|other| {
            let user = self.contacts.of_device(*other).map(|c| c.row.user);
            let theirs = self.placing.custodians.get(*other).map(|s| &s.nets);
            let near = nets.zip(theirs).is_some_and(|(a, b)| a.overlap(b));
            *other == custodian.device || user == Some(custodian.user) || near
        })
    }
}
