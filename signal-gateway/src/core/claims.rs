//! What devices that signed in have shown of their users' device lists. Without a registry to ask,
//! the newest list of a user that was ever shown here says which of its devices are out, and the
//! first user whose list names a deviceId keeps it.

use crate::limits::CLAIMS_MAX;
use beeline_proto::id::{DeviceFp, UserFp};
use std::collections::BTreeMap;

/// Why a device is not let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// A newer list of its user leaves it out.
    Removed,
    /// The deviceId is on another user's list.
    Taken,
}

/// The newest list of one user.
#[derive(Debug)]
struct Claim {
    version: u64,
    devices: Vec<(Box<str>, DeviceFp)>,
}

/// Device lists by user, and users by deviceId.
#[derive(Debug, Default)]
pub struct Claims {
    users: BTreeMap<UserFp, Claim>,
    labels: BTreeMap<Box<str>, UserFp>,
}

impl Claims {
    /// Whether a user's device may hold this deviceId, as far as is known.
    pub fn check(&self, user: UserFp, label: &str, device: DeviceFp) -> Result<(), Refused> {
        if self.labels.get(label).is_some_and(|owner| *owner != user) {
            return Err(Refused::Taken);
        }
        let Some(claim) = self.users.get(&user) else {
            return Ok(());
        };
        let listed = |(name, fp): &(Box<str>, DeviceFp)| &**name == label && *fp == device;
        if claim.devices.iter().any(listed) {
            Ok(())
        } else {
            Err(Refused::Removed)
        }
    }

    /// Notes a list that verified, if it is newer. When there are too many users, new ones are not
    /// noted: what is known stays true.
    pub fn see<'a>(
        &mut self,
        user: UserFp,
        version: u64,
        devices: impl Iterator<Item = (&'a str, DeviceFp)>,
    ) {
        let known = self.users.get(&user).map(|claim| claim.version);
        if known.is_some_and(|known| known >= version)
            || (known.is_none() && self.users.len() >= CLAIMS_MAX)
        {
            return;
        }
        self.labels.retain(|_, owner| *owner != user);
        let devices: Vec<(Box<str>, DeviceFp)> =
            devices.map(|(label, fp)| (label.into(), fp)).collect();
        for (label, _) in &devices {
            self.labels.entry(label.clone()).or_insert(user);
        }
        self.users.insert(user, Claim { version, devices });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: UserFp = UserFp([1; 32]);
    const MALLORY: UserFp = UserFp([2; 32]);
    const PHONE: DeviceFp = DeviceFp([3; 32]);
    const LAPTOP: DeviceFp = DeviceFp([4; 32]);

    #[test]
    fn a_device_that_was_taken_off_its_list_stays_out() {
        let mut claims = Claims::default();
        assert_eq!(
            claims.check(ALICE, "alice_1", PHONE),
            Ok(()),
            "nothing is known"
        );
        claims.see(
            ALICE,
            2,
            [("alice_1", PHONE), ("alice_2", LAPTOP)].into_iter(),
        );
        assert_eq!(claims.check(ALICE, "alice_2", LAPTOP), Ok(()));
        claims.see(ALICE, 3, [("alice_2", LAPTOP)].into_iter());
        claims.see(ALICE, 2, [("alice_1", PHONE)].into_iter());
        assert_eq!(claims.check(ALICE, "alice_1", PHONE), Err(Refused::Removed));
        assert_eq!(claims.check(ALICE, "alice_2", LAPTOP), Ok(()));
        assert_eq!(claims.check(ALICE, "alice_2", PHONE), Err(Refused::Removed));
    }

    #[test]
    fn a_device_id_belongs_to_who_showed_it_first_while_it_is_listed() {
        let mut claims = Claims::default();
        claims.see(ALICE, 1, [("alice_1", PHONE)].into_iter());
        claims.see(MALLORY, 1, [("alice_1", LAPTOP)].into_iter());
        assert_eq!(
            claims.check(MALLORY, "alice_1", LAPTOP),
            Err(Refused::Taken)
        );
        assert_eq!(claims.check(ALICE, "alice_1", PHONE), Ok(()));
        claims.see(ALICE, 2, [("alice_9", PHONE)].into_iter());
        assert_eq!(claims.check(MALLORY, "alice_1", LAPTOP), Ok(()));
    }

    #[test]
    fn what_is_noted_is_bounded() {
        let mut claims = Claims::default();
        for n in 0..CLAIMS_MAX as u64 + 10 {
            let mut user = [0; 32];
            user[..8].copy_from_slice(&n.to_be_bytes());
            claims.see(
                UserFp(user),
                1,
                [(n.to_string().as_str(), PHONE)].into_iter(),
            );
        }
        assert_eq!(
            (claims.users.len(), claims.labels.len()),
            (CLAIMS_MAX, CLAIMS_MAX)
        );
    }
}
