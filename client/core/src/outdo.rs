//! Our own record as others have it. Where theirs is newer than ours, this home was restored from a
//! backup or its clock went back: nobody would take ours until it counts as newer again.

use crate::manager::PeerManager;
use crate::me::OwnRecord;
use crate::routes::read_record;
use crate::state::BundleRow;
use beeline_proto::time::Now;

impl PeerManager {
    /// Looks at a record that the registry has of our user: where it is this device's and newer
    /// than ours, the next record and the next bundle count on from it, and are announced.
    pub(crate) fn outdo(&mut self, now: Now, bytes: &[u8]) {
        let devices = &self.me.chain.devices.devices;
        let Ok(theirs) = read_record(bytes, self.me.network(), self.me.user, devices) else {
            return self.out.counters.count("record-refused");
        };
        let newer = |ours: &OwnRecord| theirs.version >= ours.version && theirs.bytes != ours.bytes;
        if theirs.device != self.me.device || !self.me.record.as_ref().is_some_and(newer) {
            return;
        }
        self.out.counters.count("record-outdone");
        self.presence.remember_version(theirs.version);
        let seal = theirs.seal;
        let made_ms = seal.map_or(0, |seal| seal.made_ms);
        self.bundles.outdo(made_ms);
        let counts = |row: &BundleRow| {
            row.made_ms > made_ms || seal.is_some_and(|seal| seal.id == row.key_id)
        };
        if self.bundles.newest().is_some_and(counts) {
            self.make_record(now);
            self.announce(now);
        } else {
            // A record goes with the bundle once that is stored.
            self.make_bundle(now);
        }
    }
}
