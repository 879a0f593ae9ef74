//! Neighbours: which devices are linked to us, as others may know it, in the order it changed; and
//! what each neighbour has told us of its own. Each change has a number, so that what a neighbour
//! still has to hear is what came after the number it heard last.

use crate::bounded::Bucket;
use crate::input::LinkId;
use crate::limits::{
    FLAP_MS, HEARD_MAX, LINKS_MAX, NEIGHBOURS_MAX, STATE_BYTES_BURST, STATE_BYTES_PER_S,
    STATE_MS_MIN,
};
use beeline_proto::id::{DeviceFp, sha256};
use std::collections::{BTreeMap, BTreeSet};

/// One device that is or was linked to us.
#[derive(Debug, Clone, Copy, Default)]
struct Neighbour {
    /// Number of its last change that was made known; 0 before the first.
    number: u64,
    /// Connected, as made known.
    said: bool,
    /// Connected, in fact.
    fact: bool,
    /// Whoever comes and goes has used up what is told of it until then, monotonic milliseconds.
    quiet_until_ms: u64,
}

/// What is told on one link.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Telling {
    /// Number of the last change told.
    pub(crate) up_to: u64,
    /// States sent.
    pub(crate) sequence: u64,
    /// Until the next one, milliseconds.
    pub(crate) pause_ms: u64,
    /// Something else was said on the link since the last one.
    pub(crate) active: bool,
}

impl Default for Telling {
    fn default() -> Self {
        Self {
            up_to: 0,
            sequence: 0,
            pause_ms: STATE_MS_MIN,
            active: false,
        }
    }
}

/// What one neighbour told.
#[derive(Debug, Default)]
struct Heard {
    /// The number of its last state.
    sequence: u64,
    connected: BTreeSet<DeviceFp>,
    digest: [u8; 16],
}

/// Both directions.
#[derive(Debug, Default)]
pub(crate) struct Neighbours {
    by_device: BTreeMap<DeviceFp, Neighbour>,
    log: BTreeMap<u64, DeviceFp>,
    last: u64,
    digest: [u8; 16],
    /// Devices whose change is not made known yet.
    owed: BTreeSet<DeviceFp>,
    telling: BTreeMap<LinkId, Telling>,
    /// Bytes that may be told to a device; kept beyond its link, so that coming back is no way to
    /// hear more.
    budgets: BTreeMap<DeviceFp, Bucket>,
    heard: BTreeMap<DeviceFp, Heard>,
    heard_total: usize,
}

/// What a digest adds up: the first half of a device's hash.
fn share(device: DeviceFp) -> [u8; 16] {
    let hash = sha256(&device.0);
    let mut share = [0; 16];
    share.copy_from_slice(&hash[..16]);
    share
}

fn toggle(digest: &mut [u8; 16], device: DeviceFp) {
    for (sum, byte) in digest.iter_mut().zip(share(device)) {
        *sum ^= byte;
    }
}

impl Neighbours {
    /// Notes that a device came or went; whether that is made known now. A device that comes and
    /// goes is told of twice, and then every five minutes.
    pub(crate) fn set(&mut self, device: DeviceFp, connected: bool, now_ms: u64) -> bool {
        let neighbour = self.by_device.entry(device).or_default();
        neighbour.fact = connected;
        let news = neighbour.fact != neighbour.said;
        let quiet = neighbour.quiet_until_ms > now_ms + FLAP_MS;
        if !news {
            self.owed.remove(&device);
        } else if quiet {
            self.owed.insert(device);
        } else {
            self.make_known(device, now_ms);
        }
        self.forget_gone();
        news && !quiet
    }

    fn make_known(&mut self, device: DeviceFp, now_ms: u64) {
        let Some(neighbour) = self.by_device.get_mut(&device) else {
            return;
        };
        self.owed.remove(&device);
        self.log.remove(&neighbour.number);
        self.last += 1;
        neighbour.number = self.last;
        neighbour.said = neighbour.fact;
        neighbour.quiet_until_ms = neighbour.quiet_until_ms.max(now_ms) + FLAP_MS;
        self.log.insert(self.last, device);
        toggle(&mut self.digest, device);
    }

    /// Makes known what is owed and may be told again; whether there was any.
    pub(crate) fn release(&mut self, now_ms: u64) -> bool {
        let due = |device: &&DeviceFp| {
            let neighbour = self.by_device.get(device);
            neighbour.is_some_and(|n| n.quiet_until_ms <= now_ms + FLAP_MS)
        };
        let due: Vec<DeviceFp> = self.owed.iter().filter(due).copied().collect();
        for device in &due {
            self.make_known(*device, now_ms);
        }
        !due.is_empty()
    }

    /// When something owed may be told.
    pub(crate) fn release_ms(&self) -> Option<u64> {
        let owed = self.owed.iter();
        let at = owed.filter_map(|device| self.by_device.get(device));
        at.map(|n| n.quiet_until_ms.saturating_sub(FLAP_MS)).min()
    }

    /// Those that went longest ago are forgotten when there are too many.
    fn forget_gone(&mut self) {
        while self.by_device.len() > NEIGHBOURS_MAX {
            let gone = |device: &&DeviceFp| {
                let neighbour = self.by_device.get(device);
                neighbour.is_none_or(|n| !n.said && !n.fact)
            };
            let oldest = self.log.values().find(gone).copied();
            let Some(neighbour) = oldest.and_then(|device| self.by_device.remove(&device)) else {
                return;
            };
            self.log.remove(&neighbour.number);
        }
    }

    /// The changes after `up_to`, oldest first, as far as a neighbour needs them: its own are not
    /// told to it, and whoever hears all from the start need not hear who is gone.
    pub(crate) fn after(
        &self,
        up_to: u64,
        to: DeviceFp,
    ) -> impl Iterator<Item = (u64, DeviceFp, bool)> {
        let later = self.log.range(up_to + 1..);
        later.filter_map(move |(number, device)| {
            let said = self.by_device.get(device)?.said;
            let needed = *device != to && (said || up_to > 0);
            needed.then_some((*number, *device, said))
        })
    }

    /// Number of the last change.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// The digest over all that are said to be connected.
    pub(crate) fn digest(&self) -> [u8; 16] {
        self.digest
    }

    /// What is told on a link.
    pub(crate) fn telling(&mut self, id: LinkId) -> &mut Telling {
        self.telling.entry(id).or_default()
    }

    /// Links something is told on.
    pub(crate) fn told_links(&self) -> Vec<LinkId> {
        self.telling.keys().copied().collect()
    }

    /// Something other than a state was said on a link.
    pub(crate) fn note_active(&mut self, id: LinkId) {
        if let Some(telling) = self.telling.get_mut(&id) {
            telling.active = true;
        }
    }

    pub(crate) fn stop_telling(&mut self, id: LinkId) {
        self.telling.remove(&id);
    }

    /// Takes the bytes of a state to a device from its budget.
    pub(crate) fn may_spend(&mut self, to: DeviceFp, bytes: u64, now_ms: u64) -> bool {
        if self.budgets.len() >= NEIGHBOURS_MAX && !self.budgets.contains_key(&to) {
            self.budgets.retain(|_, budget| !budget.is_full(now_ms));
            if self.budgets.len() >= NEIGHBOURS_MAX {
                return false;
            }
        }
        let budget = self.budgets.entry(to);
        let budget =
            budget.or_insert_with(|| Bucket::new(STATE_BYTES_PER_S, STATE_BYTES_BURST, now_ms));
        budget.take_many(bytes, now_ms)
    }

    /// Takes the number of a neighbour's state; `false` if it is not newer than the last.
    pub(crate) fn hear(&mut self, from: DeviceFp, sequence: u64) -> bool {
        let heard = self.heard.entry(from).or_default();
        let newer = sequence > heard.sequence;
        heard.sequence = heard.sequence.max(sequence);
        newer
    }

    /// A neighbour says that a device is linked to it, or not any more; whether that is news.
    pub(crate) fn heard_of(&mut self, from: DeviceFp, device: DeviceFp, connected: bool) -> bool {
        let room = self.heard_total < HEARD_MAX;
        let Some(heard) = self.heard.get_mut(&from) else {
            return false;
        };
        let news = if connected {
            room && heard.connected.len() < LINKS_MAX && heard.connected.insert(device)
        } else {
            heard.connected.remove(&device)
        };
        if news {
            toggle(&mut heard.digest, device);
            self.heard_total = if connected {
                self.heard_total + 1
            } else {
                self.heard_total - 1
            };
        }
        news
    }

    /// Whether a neighbour's digest, which counts us in, is of what we hold from it.
    pub(crate) fn agrees(&self, from: DeviceFp, digest: &[u8], own: Option<DeviceFp>) -> bool {
        let Some(heard) = self.heard.get(&from) else {
            return false;
        };
        let mut held = heard.digest;
        if let Some(own) = own {
            toggle(&mut held, own);
        }
        held == digest
    }

    /// What a neighbour told of devices linked to it.
    pub(crate) fn connected_to(&self, from: DeviceFp) -> Vec<DeviceFp> {
        let heard = self.heard.get(&from);
        heard.map_or(Vec::new(), |heard| {
            heard.connected.iter().copied().collect()
        })
    }

    /// The link to a neighbour is gone, and with it what it told.
    pub(crate) fn forget(&mut self, from: DeviceFp) {
        if let Some(heard) = self.heard.remove(&from) {
            self.heard_total -= heard.connected.len();
        }
    }

    /// Devices followed, and devices heard of.
    pub(crate) fn len(&self) -> (usize, usize) {
        (
            self.by_device.len().max(self.budgets.len()),
            self.heard_total,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::device;

    fn told(neighbours: &Neighbours, up_to: u64) -> Vec<(DeviceFp, bool)> {
        let changes = neighbours.after(up_to, device(99));
        changes.map(|(_, device, said)| (device, said)).collect()
    }

    #[test]
    fn changes_are_told_in_order_and_each_once() {
        let mut neighbours = Neighbours::default();
        assert!(neighbours.set(device(1), true, 0) && neighbours.set(device(2), true, 0));
        assert!(!neighbours.set(device(2), true, 0));
        assert_eq!(told(&neighbours, 0), [(device(1), true), (device(2), true)]);
        neighbours.set(device(1), false, 0);
        assert_eq!(told(&neighbours, 2), [(device(1), false)]);
        assert_eq!(told(&neighbours, 0), [(device(2), true)], "a new neighbour");
        neighbours.set(device(99), true, 0);
        assert_eq!(told(&neighbours, 3), [], "nobody hears of itself");
    }

    #[test]
    fn who_comes_and_goes_is_told_of_twice_and_then_every_five_minutes() {
        let mut neighbours = Neighbours::default();
        let known = |n: u64| (0..n).filter(|at| at % 2 == 0).count();
        let mut neighbours_known = 0;
        for at in 0..3_600 {
            neighbours_known += u64::from(neighbours.release(at * 1_000));
            neighbours_known += u64::from(neighbours.set(device(1), at % 2 == 0, at * 1_000));
        }
        assert_eq!(known(2), 1);
        assert!((12..=14).contains(&neighbours_known), "{neighbours_known}");
        // What was owed at the end is made known in time: it stayed away.
        let at = neighbours.release_ms();
        assert!(at.is_none_or(|at| at <= 3_600_000 + FLAP_MS));
    }

    #[test]
    fn both_sides_come_to_the_same_digest() {
        let (mut ours, mut theirs) = (Neighbours::default(), Neighbours::default());
        let (us, them) = (device(50), device(51));
        for n in 1..20 {
            ours.set(device(n), true, 0);
        }
        ours.set(them, true, 0);
        ours.set(device(7), false, 0);
        assert!(theirs.hear(us, 1));
        for (_, device, said) in ours.after(0, them) {
            theirs.heard_of(us, device, said);
        }
        assert!(theirs.agrees(us, &ours.digest(), Some(them)));
        assert_eq!(theirs.len().1, 18);
        theirs.forget(us);
        assert_eq!(theirs.len().1, 0);
    }

    #[test]
    fn everything_is_bounded() {
        let mut neighbours = Neighbours::default();
        for n in 0..3 * NEIGHBOURS_MAX as u64 {
            neighbours.set(device(n), true, n);
            neighbours.set(device(n), false, n);
            neighbours.may_spend(device(n), 100, n);
        }
        assert!(
            neighbours.len().0 <= NEIGHBOURS_MAX,
            "{:?}",
            neighbours.len()
        );
        for from in 0..100 {
            assert!(neighbours.hear(device(from), 1));
            assert!(!neighbours.hear(device(from), 1), "told again");
            for n in 1_000..2_000 {
                neighbours.heard_of(device(from), device(n), true);
            }
        }
        assert_eq!(neighbours.len().1, HEARD_MAX);
        assert_eq!(neighbours.connected_to(device(0)).len(), LINKS_MAX);
    }
}
