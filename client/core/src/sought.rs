//! Sought users: who asked for somebody that is not linked to us hears it first when that changes.

use crate::input::LinkId;
use crate::limits::SOUGHT_MAX;
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

/// Who is sought, and on which links; the oldest is forgotten first.
#[derive(Debug, Default)]
pub(crate) struct Sought {
    by_name: BTreeMap<Name, BTreeSet<LinkId>>,
    order: VecDeque<(Name, LinkId)>,
}

impl Sought {
    /// Somebody asked for a user.
    pub(crate) fn note(&mut self, name: Name, link: LinkId) {
        if !self.by_name.entry(name.clone()).or_default().insert(link) {
            return;
        }
        self.order.push_back((name, link));
        if self.order.len() > SOUGHT_MAX
            && let Some((name, link)) = self.order.pop_front()
            && let Some(links) = self.by_name.get_mut(&name)
        {
            links.remove(&link);
            if links.is_empty() {
                self.by_name.remove(&name);
            }
        }
    }

    /// The links a user was asked for on, once.
    pub(crate) fn take(&mut self, user: UserFp, label: &Label) -> BTreeSet<LinkId> {
        let mut links = self.by_name.remove(&Name::User(user)).unwrap_or_default();
        let by_label = self.by_name.remove(&Name::Label(label.clone()));
        links.extend(by_label.unwrap_or_default());
        links
    }

    /// How many are remembered.
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asked_is_told_once_and_the_oldest_is_forgotten() {
        let (carol, mut sought) = (crate::testing::label("carol"), Sought::default());
        sought.note(Name::Label(carol.clone()), LinkId(1));
        sought.note(Name::Label(carol.clone()), LinkId(1));
        sought.note(Name::User(UserFp([7; 32])), LinkId(2));
        let links = sought.take(UserFp([7; 32]), &carol);
        assert_eq!(links, BTreeSet::from([LinkId(1), LinkId(2)]));
        assert!(sought.take(UserFp([7; 32]), &carol).is_empty());
        for n in 0..2 * SOUGHT_MAX as u64 {
            sought.note(Name::Label(carol.clone()), LinkId(n));
        }
        assert_eq!(sought.len(), SOUGHT_MAX);
        assert_eq!(sought.take(UserFp([7; 32]), &carol).len(), SOUGHT_MAX);
    }
}
