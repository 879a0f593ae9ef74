//! Files of ours that came to nothing, as far as it is remembered why: a device that was away, and
//! still waits for one, is told so when it asks, also by a later process.

use super::rows::FileEnded;
use crate::limits::FILES_ENDED_MAX;
use beeline_proto::id::{Label, MessageId};
use beeline_proto::pb::peer::v1::FileReason;
use std::collections::VecDeque;

/// The last ones that came to nothing.
#[derive(Debug, Default)]
pub(super) struct Ended(VecDeque<FileEnded>);

impl Ended {
    /// Takes the stored ones, the oldest first.
    pub(super) fn load(stored: Vec<FileEnded>) -> Self {
        let mut ended = Self::default();
        for file in stored {
            ended.add(file);
        }
        ended
    }

    /// One more; the oldest is forgotten.
    pub(super) fn add(&mut self, file: FileEnded) {
        if self.0.len() >= FILES_ENDED_MAX {
            self.0.pop_front();
        }
        self.0.push_back(file);
    }

    /// Why a file for this user came to nothing.
    pub(super) fn reason(&self, id: MessageId, to: &Label) -> Option<FileReason> {
        let found = self.0.iter().find(|file| file.id == id && file.to == *to);
        found.map(|file| file.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_remembered_and_only_their_receiver_hears() {
        let carol = Label::new("carol").expect("a label");
        let bob = Label::new("bob").expect("a label");
        let id = |n: usize| {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&n.to_le_bytes());
            MessageId(id)
        };
        let file = |n| FileEnded {
            id: id(n),
            to: carol.clone(),
            reason: FileReason::Cancelled,
        };
        let ended = Ended::load((0..=FILES_ENDED_MAX).map(file).collect());
        assert_eq!(ended.0.len(), FILES_ENDED_MAX);
        assert_eq!(ended.reason(id(0), &carol), None);
        assert_eq!(ended.reason(id(1), &carol), Some(FileReason::Cancelled));
        assert_eq!(ended.reason(id(1), &bob), None);
    }
}
