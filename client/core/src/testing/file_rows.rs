//! What a store in memory has of files.

use super::store::MemoryStore;
use crate::files::rows::{
    FileEnded, FileInKey, FileInRow, FileLoad, FileOp, FileOutRow, FileOutState,
};
use beeline_proto::id::MessageId;
use std::collections::BTreeMap;

/// What the store has of files.
#[derive(Debug, Clone, Default)]
pub struct MemoryFiles {
    /// Files of ours, for ever.
    pub out: BTreeMap<MessageId, FileOutRow>,
    /// Files for us, for ever.
    pub incoming: BTreeMap<FileInKey, FileInRow>,
}

impl MemoryFiles {
    pub(super) fn load(&self) -> FileLoad {
        let open = |row: &&FileOutRow| row.state != FileOutState::Ended;
        let untold = |row: &&FileInRow| !row.told;
        let ended = |row: &&FileOutRow| row.state == FileOutState::Ended;
        let mut ended: Vec<&FileOutRow> = self.out.values().filter(ended).collect();
        ended.sort_by_key(|row| row.born_ms);
        let ended = ended.into_iter().map(|row| FileEnded {
            id: row.id,
            to: row.to.clone(),
            reason: row.reason,
        });
        FileLoad {
            out: self.out.values().filter(open).cloned().collect(),
            ended: ended.collect(),
            incoming: self.incoming.values().filter(untold).cloned().collect(),
        }
    }
}

impl MemoryStore {
    pub(super) fn apply_file(&mut self, op: &FileOp) {
        match op {
            FileOp::AddOut(row) => {
                if self.outbox.contains_key(&row.id) {
                    self.files.out.insert(row.id, row.clone());
                }
            }
            FileOp::SetOut { id, state, reason } => {
                if let Some(row) = self.files.out.get_mut(id) {
                    (row.state, row.reason) = (*state, *reason);
                    if *state >= FileOutState::Done {
                        row.info.content = None;
                    }
                }
            }
            FileOp::HoldOut { id, on } => {
                if let Some(row) = self.files.out.get_mut(id) {
                    row.held = *on;
                }
            }
            FileOp::HoldIn { key, on } => {
                if let Some(row) = self.files.incoming.get_mut(key) {
                    row.held = *on;
                }
            }
            FileOp::AddIn(row) => {
                let key = (row.device, row.id);
                let offer = self.inbox.get(&key).map(|(offer, _)| offer.hash);
                if offer == Some(row.hash) {
                    let rows = &mut self.files.incoming;
                    rows.entry(key).or_insert_with(|| row.clone());
                }
            }
            FileOp::SetIn {
                key,
                state,
                reason,
                path,
            } => {
                if let Some(row) = self.files.incoming.get_mut(key) {
                    (row.state, row.reason) = (*state, *reason);
                    row.path.clone_from(path);
                    if state.is_over() {
                        row.info.content = None;
                    }
                }
            }
            FileOp::ToldIn(key) => {
                if let Some(row) = self.files.incoming.get_mut(key) {
                    row.told = true;
                }
            }
        }
    }
}
