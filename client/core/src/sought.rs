//! Sought users: who asked for somebody that is not linked to us hears it first when that changes.

use crate::input::LinkId;
use crate::limits::SOUGHT_PER_LINK_MAX;
use beeline_proto::id::{Label, UserFp};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How a user was asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    /// By fingerprint.
    User(UserFp),
    /// By label.
    Label(Label),
}

/// Who is sought, and on which links; of each link the newest few.
#[derive(Debug, Default)]
pub(crate) struct Sought {
    by_name: BTreeMap<Name, BTreeSet<LinkId>>,
    by_link: BTreeMap<LinkId, VecDeque<Name>>,
}

impl Sought {
    /// Somebody asked for a user.
    pub(crate) fn note(&mut self, name: Name, link: LinkId) {
        if !self.by_name.entry(name.clone()).or_default().insert(link) {
            return;
        }
        let names = self.by_link.entry(link).or_default();
        names.push_back(name);
        if names.len() > SOUGHT_PER_LINK_MAX
            && let Some(oldest) = names.pop_front()
        {
            self.unlink(&oldest, link);
        }
    }

    fn unlink(&mut self, name: &Name, link: LinkId) {
        if let Some(links) = self.by_name.get_mut(name) {
            links.remove(&link);
            if links.is_empty() {
                self.by_name.remove(name);
            }
        }
    }

    /// The links a user was asked for on, once.
    pub(crate) fn take(&mut self, user: UserFp, label: &Label) -> BTreeSet<LinkId> {
        let mut all = BTreeSet::new();
        for name in [Name::User(user), Name::Label(label.clone())] {
            for link in self.by_name.remove(&name).unwrap_or_default() {
                if let Some(names) = self.by_link.get_mut(&link) {
                    names.retain(|known| *known != name);
                }
                all.insert(link);
            }
        }
        all
    }

    /// A link is gone, and what was asked on it.
    pub(crate) fn forget(&mut self, link: LinkId) {
        for name in self.by_link.remove(&link).unwrap_or_default() {
            self.unlink(&name, link);
        }
    }

    /// Names remembered.
    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asked_is_told_once_and_no_link_can_ask_for_everybody() {
        let (carol, mut sought) = (crate::testing::label("carol"), Sought::default());
        let carol_fp = UserFp([7; 32]);
        sought.note(Name::Label(carol.clone()), LinkId(1));
        sought.note(Name::Label(carol.clone()), LinkId(1));
        sought.note(Name::User(carol_fp), LinkId(2));
        let links = sought.take(carol_fp, &carol);
        assert_eq!(links, BTreeSet::from([LinkId(1), LinkId(2)]));
        assert!(sought.take(carol_fp, &carol).is_empty());
        sought.note(Name::User(carol_fp), LinkId(2));
        for n in 0..=255 {
            sought.note(Name::User(UserFp([n; 32])), LinkId(1));
        }
        assert_eq!(sought.len(), SOUGHT_PER_LINK_MAX + 1);
        assert_eq!(sought.take(carol_fp, &carol), BTreeSet::from([LinkId(2)]));
        sought.forget(LinkId(1));
        assert_eq!(sought.len(), 0);
    }
}
