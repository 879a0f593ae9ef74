//! Contacts: users whose key is pinned. A chain is only ever a claim that is held against the pin.

use crate::limits::CONTACTS_MAX;
use crate::state::ContactRow;
use beeline_proto::chain::{Device, VerifiedChain};
use beeline_proto::id::{DeviceFp, Label, NetworkFp, UserFp};
use std::collections::{BTreeMap, BTreeSet};

/// A pinned user.
#[derive(Debug, Clone)]
pub(crate) struct Contact {
    pub(crate) row: ContactRow,
    pub(crate) chain: VerifiedChain,
    /// Devices that have acknowledged our lists in this process, where there are several.
    pub(crate) knows: BTreeSet<DeviceFp>,
}

impl Contact {
    pub(crate) fn new(row: ContactRow, chain: VerifiedChain) -> Self {
        let knows = BTreeSet::new();
        Self { row, chain, knows }
    }

    /// Whether a device holds our lists of these versions: our chain need not go with a message.
    pub(crate) fn knows_us(&self, device: DeviceFp, versions: (u64, u64)) -> bool {
        let known = self.row.knows_us;
        let user = known.0 >= versions.0 && known.1 >= versions.1;
        let only = self.chain.devices.devices.len() == 1;
        user && (only || self.knows.contains(&device))
    }

    /// Sending is blocked until a person accepts the changed key.
    pub(crate) fn is_blocked(&self) -> bool {
        self.row.claimed_chain.is_some()
    }

    pub(crate) fn device(&self, device: DeviceFp) -> Option<&Device> {
        self.chain.devices.device(device)
    }
}

/// What a verified chain turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sighting {
    /// Of a user never seen: now pinned.
    Pinned,
    /// As known.
    Same,
    /// Newer than known, and taken; these devices are no longer the user's.
    Newer {
        /// Devices that left the list.
        removed: Vec<DeviceFp>,
    },
    /// Older than known: refused.
    Older,
    /// Another user key, or another device list of the same version: blocks sending. `first` when
    /// this very claim was not known yet.
    Changed {
        /// Whether it is news.
        first: bool,
    },
    /// The pinned user under a second handle: refused.
    SecondHandle,
    /// No room for another contact.
    Full,
}

/// All contacts.
#[derive(Debug, Default)]
pub(crate) struct Contacts {
    by_label: BTreeMap<Label, Contact>,
    by_user: BTreeMap<UserFp, Label>,
    /// First owner of a device key; another user listing it does not take it over.
    by_device: BTreeMap<DeviceFp, Label>,
}

impl Contacts {
    /// Takes the stored rows; those that no longer verify are returned by label.
    pub(crate) fn load(rows: Vec<ContactRow>, network: NetworkFp) -> (Self, Vec<Label>) {
        let mut contacts = Self::default();
        let mut refused = Vec::new();
        for row in rows.into_iter().take(CONTACTS_MAX) {
            match VerifiedChain::open(&row.chain, network) {
                Ok(chain) if chain.user() == row.user => contacts.insert(Contact::new(row, chain)),
                _ => refused.push(row.label),
            }
        }
        (contacts, refused)
    }

    pub(crate) fn get(&self, label: &Label) -> Option<&Contact> {
        self.by_label.get(label)
    }

    pub(crate) fn get_mut(&mut self, label: &Label) -> Option<&mut Contact> {
        self.by_label.get_mut(label)
    }

    pub(crate) fn label_of_user(&self, user: UserFp) -> Option<&Label> {
        self.by_user.get(&user)
    }

    /// The contact a device belongs to.
    pub(crate) fn of_device(&self, device: DeviceFp) -> Option<&Contact> {
        let contact = self.by_label.get(self.by_device.get(&device)?)?;
        contact.device(device).is_some().then_some(contact)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Contact> {
        self.by_label.values()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_label.len()
    }

    /// Inserts or replaces a contact with its indexes.
    pub(crate) fn insert(&mut self, contact: Contact) {
        let label = contact.row.label.clone();
        if let Some(old) = self.by_label.remove(&label) {
            self.by_user.remove(&old.row.user);
            for device in &old.chain.devices.devices {
                if self.by_device.get(&device.fp()) == Some(&label) {
                    self.by_device.remove(&device.fp());
                }
            }
        }
        self.by_user.insert(contact.row.user, label.clone());
        for device in &contact.chain.devices.devices {
            self.by_device
                .entry(device.fp())
                .or_insert_with(|| label.clone());
        }
        self.by_label.insert(label, contact);
    }

    /// Holds a verified chain against what is pinned, and takes what is newer.
    pub(crate) fn see(&mut self, chain: VerifiedChain) -> Sighting {
        let label = chain.membership.handle.clone();
        let user = chain.user();
        if self.by_user.get(&user).is_some_and(|known| *known != label) {
            return Sighting::SecondHandle;
        }
        let Some(contact) = self.by_label.get(&label) else {
            return self.pin(chain);
        };
        if contact.row.user != user {
            return self.claim(&label, &chain);
        }
        let (known, seen) = (&contact.chain.devices, &chain.devices);
        if seen.version() < known.version() {
            return Sighting::Older;
        }
        if seen.version() == known.version() && seen.verified.bytes() != known.verified.bytes() {
            return self.claim(&label, &chain);
        }
        if !is_newer(&chain, &contact.chain) {
            return Sighting::Same;
        }
        let left = |device: &Device| seen.device(device.fp()).is_none();
        let gone: Vec<_> = known
            .devices
            .iter()
            .filter(|d| left(d))
            .map(Device::fp)
            .collect();
        let mut row = contact.row.clone();
        row.chain = chain.to_bytes();
        self.insert(Contact::new(row, chain));
        Sighting::Newer { removed: gone }
    }

    fn pin(&mut self, chain: VerifiedChain) -> Sighting {
        if self.by_label.len() >= CONTACTS_MAX {
            return Sighting::Full;
        }
        let row = ContactRow {
            user: chain.user(),
            label: chain.membership.handle.clone(),
            chain: chain.to_bytes(),
            verified: false,
            claimed_chain: None,
            knows_us: (0, 0),
            read_receipts: true,
        };
        self.insert(Contact::new(row, chain));
        Sighting::Pinned
    }

    fn claim(&mut self, label: &Label, chain: &VerifiedChain) -> Sighting {
        let bytes = chain.to_bytes();
        let Some(contact) = self.by_label.get_mut(label) else {
            return Sighting::Full;
        };
        let first = contact.row.claimed_chain.as_ref() != Some(&bytes);
        contact.row.claimed_chain = Some(bytes);
        Sighting::Changed { first }
    }
}

/// Whether any part of `seen` supersedes `known`; both are of one user.
fn is_newer(seen: &VerifiedChain, known: &VerifiedChain) -> bool {
    let issued = |chain: &VerifiedChain| chain.membership.verified.payload().issued_ms;
    let behind =
        seen.descriptor.version() < known.descriptor.version() || issued(seen) < issued(known);
    let ahead = seen.devices.version() > known.devices.version()
        || seen.descriptor.version() > known.descriptor.version()
        || issued(seen) > issued(known);
    // A newer device list always counts; the rest must not go back for it.
    seen.devices.version() > known.devices.version() || (ahead && !behind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Authority, User};

    fn chain(authority: &Authority, user: &User) -> VerifiedChain {
        VerifiedChain::open(&authority.chain(user), authority.network()).expect("good")
    }

    #[test]
    fn a_chain_is_held_against_the_pin() {
        let mut authority = Authority::new("x");
        let mut carol = authority.admit("carol", "carol", &["phone", "laptop"], 9);
        let other = authority.admit("carol", "other", &["ghost"], 9);
        let renamed = authority.admit("caroline", "carol", &["phone"], 9);
        let mut contacts = Contacts::default();
        let first = chain(&authority, &carol);
        assert_eq!(contacts.see(first.clone()), Sighting::Pinned);
        assert_eq!(contacts.see(first.clone()), Sighting::Same);
        assert_eq!(
            contacts.see(chain(&authority, &renamed)),
            Sighting::SecondHandle
        );

        carol.list_version = 2;
        let (_, gone, _) = carol.devices.pop().expect("two devices");
        let second = chain(&authority, &carol);
        let removed = vec![gone.verify_key().device_fp()];
        assert_eq!(
            contacts.see(second),
            Sighting::Newer {
                removed: removed.clone()
            }
        );
        assert!(contacts.of_device(removed[0]).is_none());
        assert_eq!(contacts.see(first), Sighting::Older);

        let claimed = chain(&authority, &other);
        assert_eq!(
            contacts.see(claimed.clone()),
            Sighting::Changed { first: true }
        );
        assert_eq!(contacts.see(claimed), Sighting::Changed { first: false });
        let contact = contacts.get(&carol.label).expect("pinned");
        assert!(contact.is_blocked() && contact.row.user == carol.key.verify_key().user_fp());
    }

    #[test]
    fn the_same_version_with_other_bytes_blocks() {
        let mut authority = Authority::new("x");
        let mut carol = authority.admit("carol", "carol", &["phone"], 9);
        let mut contacts = Contacts::default();
        assert_eq!(contacts.see(chain(&authority, &carol)), Sighting::Pinned);
        carol
            .devices
            .push(authority.admit("x", "x", &["ghost"], 9).devices[0].clone());
        assert_eq!(
            contacts.see(chain(&authority, &carol)),
            Sighting::Changed { first: true }
        );
    }

    #[test]
    fn somebody_elses_device_on_a_list_stays_its_owners() {
        let mut authority = Authority::new("x");
        let carol = authority.admit("carol", "carol", &["phone"], 9);
        let mut mallory = authority.admit("mallory", "mallory", &["evil"], 9);
        mallory.devices.push(carol.devices[0].clone());
        let mut contacts = Contacts::default();
        contacts.see(chain(&authority, &carol));
        contacts.see(chain(&authority, &mallory));
        let device = carol.devices[0].1.verify_key().device_fp();
        let owner = contacts
            .of_device(device)
            .map(|contact| contact.row.label.to_string());
        assert_eq!(owner.as_deref(), Some("carol"));
    }
}
