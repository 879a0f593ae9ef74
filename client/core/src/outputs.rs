//! Where the parts leave what they want done, and what each answer will be for.

use crate::bounded::{Bucket, Counters};
use crate::event::Event;
use crate::input::{CommandId, LinkId, SocketId};
use crate::limits::{LAZY_OPS_MAX, WARNINGS_BURST, WARNINGS_PER_S};
use crate::output::{
    Output, RegistryCall, RequestId, RtcCommand, SignalCommand, SignalKind, StoreTicket,
};
use crate::state::{BundleRow, StoreOp, StoreResult};
use beeline_proto::id::{Label, MessageId};
use beeline_proto::time::Now;
use std::collections::{BTreeMap, VecDeque};

/// What hangs on a write.
#[derive(Debug)]
pub(crate) enum Write {
    /// Nothing: a failure is told and that is all.
    Plain,
    /// A message of ours becomes durable.
    Queue(MessageId),
    /// Messages of ours have their envelopes and parcels.
    Seal(Vec<MessageId>),
    /// A batch of the inbox.
    Inbox,
    /// A bundle may be published.
    Bundle(Box<BundleRow>),
    /// A changed key was accepted.
    Accept(CommandId),
}

/// What hangs on a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Request {
    /// A user is looked up.
    Peer(Label),
    /// We announce ourselves.
    Announce,
    /// The signed lists.
    Network,
    /// Our renewed membership.
    Renew,
}

struct Pending {
    purpose: Write,
    /// Results of operations that only rode along.
    skip: usize,
}

/// The outputs, the open questions, and the counts.
pub(crate) struct Outputs {
    queue: VecDeque<Output>,
    next: u64,
    writes: BTreeMap<StoreTicket, Pending>,
    requests: BTreeMap<RequestId, Request>,
    lazy: Vec<StoreOp>,
    warnings: Bucket,
    pub(crate) counters: Counters,
}

impl Outputs {
    pub(crate) fn new(now: Now) -> Self {
        Self {
            queue: VecDeque::new(),
            next: 1,
            writes: BTreeMap::new(),
            requests: BTreeMap::new(),
            lazy: Vec::new(),
            warnings: Bucket::new(WARNINGS_PER_S, WARNINGS_BURST, now.mono_ms),
            counters: Counters::default(),
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Output> {
        self.queue.pop_front()
    }

    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.queue.push_back(Output::Event(event));
    }

    /// Counts a refusal, and tells it unless too many were told.
    pub(crate) fn warn(&mut self, now: Now, kind: &'static str, detail: String) {
        self.counters.count(kind);
        if self.warnings.take(now.mono_ms) {
            self.event(Event::Warned { kind, detail });
        }
    }

    pub(crate) fn command(&mut self, link: LinkId, command: RtcCommand) {
        self.queue.push_back(Output::Rtc { link, command });
    }

    pub(crate) fn signal(
        &mut self,
        socket: SocketId,
        kind: SignalKind,
        to: Label,
        parcel: Vec<u8>,
    ) {
        self.queue.push_back(Output::Signal(SignalCommand {
            socket,
            kind,
            to,
            parcel,
        }));
    }

    pub(crate) fn fresh_link(&mut self) -> LinkId {
        LinkId(self.fresh())
    }

    /// Writes `ops`, after whatever waited for a write to ride on.
    pub(crate) fn write(&mut self, ops: Vec<StoreOp>, purpose: Write) {
        let ticket = StoreTicket(self.fresh());
        let skip = self.lazy.len();
        let mut all = std::mem::take(&mut self.lazy);
        all.extend(ops);
        self.writes.insert(ticket, Pending { purpose, skip });
        self.queue.push_back(Output::Store { ticket, ops: all });
    }

    /// Keeps `op` for the next write. `true` asks for the [`crate::timer::Timer::Lazy`] timer.
    pub(crate) fn lazily(&mut self, op: StoreOp) -> bool {
        self.lazy.push(op);
        if self.lazy.len() >= LAZY_OPS_MAX {
            self.flush_lazy();
        }
        !self.lazy.is_empty()
    }

    pub(crate) fn flush_lazy(&mut self) {
        if !self.lazy.is_empty() {
            self.write(Vec::new(), Write::Plain);
        }
    }

    /// What the write was for, and the results of its own operations.
    pub(crate) fn written(
        &mut self,
        ticket: StoreTicket,
        results: &mut Vec<StoreResult>,
    ) -> Option<Write> {
        let pending = self.writes.remove(&ticket)?;
        results.drain(..pending.skip.min(results.len()));
        Some(pending.purpose)
    }

    pub(crate) fn writes_open(&self) -> usize {
        self.writes.len()
    }

    pub(crate) fn ask(&mut self, call: RegistryCall, purpose: Request) -> RequestId {
        let request = RequestId(self.fresh());
        self.requests.insert(request, purpose);
        self.queue.push_back(Output::Registry { request, call });
        request
    }

    pub(crate) fn answered(&mut self, request: RequestId) -> Option<Request> {
        self.requests.remove(&request)
    }

    pub(crate) fn asking(&self, purpose: &Request) -> bool {
        self.requests.values().any(|open| open == purpose)
    }

    pub(crate) fn requests_open(&self) -> usize {
        self.requests.len()
    }
}
