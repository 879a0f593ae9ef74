//! Vias: which connected peers can hand a parcel to which device. Learned from PEER_FOUND and
//! NETWORK_STATE, and only ever a hint: nothing but an end-to-end ACK proves a path. Kept in memory
//! for peers we have a link to.

use crate::event::Rung;
use crate::limits::{VIAS_MAX, VIAS_PER_DEVICE_MAX};
use beeline_proto::id::DeviceFp;
use std::collections::BTreeMap;

/// What is known of one way through a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Via {
    /// Which rung told of it.
    pub(crate) found_by: Rung,
    /// When it was last told of, monotonic milliseconds.
    pub(crate) seen_ms: u64,
    /// Until when it is passed over after a failure, monotonic milliseconds.
    demoted_until_ms: u64,
}

/// All vias, by the device they lead to and the peer's device they go through.
#[derive(Debug, Default)]
pub(crate) struct Vias {
    by_target: BTreeMap<DeviceFp, BTreeMap<DeviceFp, Via>>,
    len: usize,
}

impl Vias {
    /// Notes that `through` says it is connected to `target`. What failed stays passed over until
    /// its time, unless `through` answered for it anew (`asked`).
    pub(crate) fn learn(
        &mut self,
        target: DeviceFp,
        through: DeviceFp,
        found_by: Rung,
        asked: bool,
        now_ms: u64,
    ) {
        if target == through {
            return;
        }
        let known = self
            .by_target
            .get(&target)
            .and_then(|vias| vias.get(&through));
        let demoted_until_ms = known
            .filter(|_| !asked)
            .map_or(0, |via| via.demoted_until_ms);
        if known.is_none() {
            self.make_room(target);
            if self.len >= VIAS_MAX {
                return;
            }
            self.len += 1;
        }
        let via = Via {
            found_by,
            seen_ms: now_ms,
            demoted_until_ms,
        };
        self.by_target
            .entry(target)
            .or_default()
            .insert(through, via);
    }

    /// The via of a target heard of longest ago goes when there are too many.
    fn make_room(&mut self, target: DeviceFp) {
        let Some(vias) = self.by_target.get(&target) else {
            return;
        };
        if vias.len() < VIAS_PER_DEVICE_MAX {
            return;
        }
        let stalest = vias.iter().min_by_key(|(_, via)| via.seen_ms);
        if let Some(through) = stalest.map(|(through, _)| *through) {
            self.forget(target, through);
        }
    }

    /// `through` is not connected to `target` any more, as it says.
    pub(crate) fn forget(&mut self, target: DeviceFp, through: DeviceFp) {
        let Some(vias) = self.by_target.get_mut(&target) else {
            return;
        };
        if vias.remove(&through).is_some() {
            self.len -= 1;
        }
        if vias.is_empty() {
            self.by_target.remove(&target);
        }
    }

    /// The link to `through` is gone: nothing goes through it.
    pub(crate) fn forget_through(&mut self, through: DeviceFp) {
        let len = &mut self.len;
        self.by_target.retain(|_, vias| {
            if vias.remove(&through).is_some() {
                *len -= 1;
            }
            !vias.is_empty()
        });
    }

    /// Nothing goes this way before `until_ms`, monotonic milliseconds.
    pub(crate) fn demote(&mut self, target: DeviceFp, through: DeviceFp, until_ms: u64) {
        let via = self
            .by_target
            .get_mut(&target)
            .and_then(|vias| vias.get_mut(&through));
        if let Some(via) = via {
            via.demoted_until_ms = until_ms;
        }
    }

    /// An end-to-end ACK came this way: it works.
    pub(crate) fn restore(&mut self, target: DeviceFp, through: DeviceFp) {
        let via = self
            .by_target
            .get_mut(&target)
            .and_then(|vias| vias.get_mut(&through));
        if let Some(via) = via {
            via.demoted_until_ms = 0;
        }
    }

    /// Peers that may hand a parcel to `target` now, the one heard of last first.
    pub(crate) fn usable(&self, target: DeviceFp, now_ms: u64) -> Vec<(DeviceFp, Via)> {
        let vias = self.by_target.get(&target).into_iter().flatten();
        let mut usable: Vec<_> = vias
            .filter(|(_, via)| via.demoted_until_ms <= now_ms)
            .map(|(through, via)| (*through, *via))
            .collect();
        usable.sort_by_key(|(through, via)| (std::cmp::Reverse(via.seen_ms), *through));
        usable
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::device;

    #[test]
    fn the_freshest_via_that_did_not_fail_comes_first() {
        let (carol, bob, eve, mut vias) = (device(1), device(2), device(3), Vias::default());
        vias.learn(carol, bob, Rung::Cache, false, 10);
        vias.learn(carol, eve, Rung::Peers, true, 20);
        let through = |vias: &Vias, now_ms| -> Vec<DeviceFp> {
            vias.usable(carol, now_ms).iter().map(|(t, _)| *t).collect()
        };
        assert_eq!(through(&vias, 20), [eve, bob]);
        vias.demote(carol, eve, 1_000);
        assert_eq!(through(&vias, 20), [bob]);
        vias.learn(carol, eve, Rung::Cache, false, 30);
        assert_eq!(
            through(&vias, 30),
            [bob],
            "a rumour does not clear a failure"
        );
        vias.learn(carol, eve, Rung::Peers, true, 40);
        assert_eq!(through(&vias, 40), [eve, bob], "an answer does");
        vias.forget_through(eve);
        vias.forget(carol, bob);
        assert_eq!((through(&vias, 40).len(), vias.len()), (0, 0));
    }

    #[test]
    fn vias_are_bounded() {
        let mut vias = Vias::default();
        for n in 0..VIAS_PER_DEVICE_MAX as u64 + 5 {
            vias.learn(device(0), device(n + 1), Rung::Cache, false, n);
        }
        assert_eq!(vias.len(), VIAS_PER_DEVICE_MAX);
        assert!(
            vias.usable(device(0), 0)
                .iter()
                .all(|(t, _)| *t > device(5))
        );
        for n in 0..VIAS_MAX as u64 + 5 {
            vias.learn(device(n + 1_000), device(1), Rung::Cache, false, 0);
        }
        assert_eq!(vias.len(), VIAS_MAX);
    }
}
