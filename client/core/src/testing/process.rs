//! Doing what a manager wants; and a process of one home that can end at any place in between, on
//! a store that is not the one in memory. A crash harness brings it.

use super::node::NodeId;
use super::{Happening, World};
use crate::input::{Input, LinkId, StoreFailure};
use crate::output::Output;
use crate::state::{Loaded, StoreOp, StoreResult};
use beeline_proto::time::Now;
use std::collections::{BTreeMap, VecDeque};

/// What a store answered, or `None` if the process ended over it.
pub type Answered = Option<Result<Vec<StoreResult>, StoreFailure>>;

/// What a store loads, and our own chain and revocations where it has them.
pub type Found = (Loaded, Option<(Vec<u8>, Vec<u8>)>);

/// A process of one home that can end at any place. When it says that it ended, the world forgets
/// the manager and all that was under way; somebody starts it again.
pub trait Process {
    /// A process starts. `None` if it ended, or the store could not be opened.
    fn load(&mut self, now: Now) -> Option<Found>;

    /// Commits a write. `None` if the process ended before it could answer.
    fn commit(&mut self, now: Now, ops: &[StoreOp]) -> Answered;

    /// Whether the process lives on before it does something, or, if `done`, after it.
    fn goes_on(&mut self, now: Now, output: &Output, done: bool) -> bool;
}

impl World {
    /// Carries out outputs; returns the frames that links did not take.
    pub(super) fn carry_out(
        &mut self,
        id: NodeId,
        outputs: VecDeque<Output>,
    ) -> BTreeMap<LinkId, Vec<Vec<u8>>> {
        let mut refused: BTreeMap<LinkId, Vec<Vec<u8>>> = BTreeMap::new();
        for output in outputs {
            let whole = self.node(id).process.is_some().then(|| output.clone());
            if whole
                .as_ref()
                .is_some_and(|whole| !self.goes_on(id, whole, false))
            {
                return BTreeMap::new();
            }
            match output {
                Output::Event(event) => {
                    let at = self.now_ms;
                    self.nodes[id.0].tell(at, event);
                }
                Output::Store { ticket, ops } => {
                    let after = self.timing.commit_ms;
                    let at = self.now_ms + after + self.jitter();
                    let at = at.max(self.nodes[id.0].last_commit_ms);
                    self.nodes[id.0].last_commit_ms = at;
                    self.schedule_at(id, at, Happening::Commit(ticket, ops));
                }
                Output::Registry { request, call } => {
                    let answer = self.ask_registry(id, call);
                    let after = self.timing.registry_ms;
                    let input = Input::Registry { request, answer };
                    self.schedule(id, after, Happening::Input(input));
                }
                Output::File(command) => self.command_file(id, command),
                Output::Signal(signal) => self.relay(id, signal),
                Output::Socket { socket, command } => self.own_socket(id, socket, command),
                Output::Rtc { link, command } => {
                    if let Some(frame) = self.connection(id, link, command) {
                        refused.entry(link).or_default().push(frame);
                    }
                }
            }
            if whole.is_some_and(|whole| !self.goes_on(id, &whole, true)) {
                return BTreeMap::new();
            }
        }
        refused
    }

    /// Whether a process lives on before or after it does something; else it is gone now.
    fn goes_on(&mut self, id: NodeId, output: &Output, done: bool) -> bool {
        let now = self.now_of(id);
        let process = self.node_mut(id).process.as_mut();
        let lives = process.is_none_or(|process| process.goes_on(now, output, done));
        if !lives {
            self.crash(id);
        }
        lives
    }
}
