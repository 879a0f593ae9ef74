//! Which trouble met messages in which state: what a long run has tried, as a table.

use client_core::event::DeliveryState;
use client_core::testing::{NodeId, World};
use std::collections::{BTreeMap, BTreeSet};

/// Counts by trouble and state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Hits {
    by: BTreeMap<(&'static str, &'static str), u64>,
    /// Messages that came from custodians while their sender was away.
    left: u64,
}

/// States in which messages are under way, and none.
const STATES: [&str; 5] = ["queued", "trying", "relayed", "stored", "idle"];

impl Hits {
    /// Counts a trouble of `id` for each message of its own that is under way, or as idle.
    pub(super) fn count(&mut self, world: &World, fault: &'static str, id: NodeId) {
        let me = &world.node(id).user.label;
        let ids = world.ids().into_iter();
        let rows = ids.flat_map(|from| {
            world
                .node(from)
                .store
                .outbox
                .values()
                .map(move |r| (from, r))
        });
        let own = rows.filter(|(from, row)| *from == id || row.to == *me);
        let waiting = own.filter(|(_, row)| row.state < DeliveryState::Delivered);
        let mut idle = true;
        for (_, row) in waiting {
            idle = false;
            *self.by.entry((fault, row.state.name())).or_default() += 1;
        }
        if idle {
            *self.by.entry((fault, "idle")).or_default() += 1;
        }
    }

    /// Counts messages that came without their sender.
    pub(super) fn count_left(&mut self, messages: usize) {
        self.left += messages as u64;
    }

    /// Adds another schedule's.
    pub(super) fn add(&mut self, other: &Self) {
        for (key, n) in &other.by {
            *self.by.entry(*key).or_default() += n;
        }
        self.left += other.left;
    }

    /// The table.
    pub(super) fn table(&self) -> String {
        let mut lines = format!("{:<18}", "trouble");
        for state in STATES {
            lines += &format!("{state:>10}");
        }
        let faults: BTreeSet<&str> = self.by.keys().map(|(fault, _)| *fault).collect();
        for fault in faults {
            lines += &format!("\n{fault:<18}");
            for state in STATES {
                let n = self.by.get(&(fault, state)).copied().unwrap_or(0);
                lines += &format!("{n:>10}");
            }
        }
        format!(
            "{lines}\n{} messages came from custodians with their sender away",
            self.left
        )
    }
}
