//! Where the parts leave what they want done, and what each answer will be for.

use crate::bounded::{Bucket, Counters};
use crate::copies::Copied;
use crate::custodian::Deposit;
use crate::event::{DeliveryState, Event};
use crate::files::Arrived;
use crate::files::rows::FileInKey;
use crate::input::{CommandId, LinkId, SocketId};
use crate::limits::{FAILED_OPS_MAX, LAZY_OPS_MAX, WARNINGS_BURST, WARNINGS_PER_S};
use crate::output::{
    Output, RegistryCall, RequestId, RtcCommand, SignalCommand, SignalKind, StoreTicket,
};
use crate::state::{BundleRow, ContactRow, StoreOp, StoreResult};
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
    /// A file for us is in its place.
    FileDone(FileInKey),
    /// A device has a file of ours.
    FileSent(Arrived),
    /// What a person wanted with a file.
    FileCall(CommandId),
    /// A copy of what another device of ours said.
    Copy(Box<Copied>),
    /// A list of our own devices was put in force.
    OwnList(CommandId),
    /// Custodians hold these messages, as said.
    Stored(Vec<MessageId>),
    /// A bundle may be published.
    Bundle(Box<BundleRow>),
    /// A key is accepted: the row to put in force, and the new incarnation if the key had changed.
    Accept(CommandId, Box<ContactRow>, Option<u64>),
    /// A contact is told that its messages were read, or not: what it was before.
    ReadReceipts(CommandId, Label, bool),
    /// Parcels are kept for others.
    Keep(Vec<Deposit>),
    /// A page is read for the recipient at the other end of a link.
    ReadKept(LinkId),
    /// Kept parcels are deleted or have ended.
    DropKept,
    /// Kept parcels that ended are deleted; there may be more of them.
    ExpireKept,
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
    /// Our device list is published: its version.
    DeviceList(u64),
    /// Coordinators whose lease runs.
    Coordinators,
    /// We live as a coordinator.
    Heartbeat,
}

struct Pending {
    purpose: Write,
    /// Results of operations that only rode along.
    skip: usize,
    /// What must be written again if this write fails.
    kept: Vec<StoreOp>,
}

/// Whether what an operation records is in force already, so that a failed write of it must be
/// repeated. The others are undone, or sent again by somebody, where their answer is handled.
fn in_force(op: &StoreOp) -> bool {
    match op {
        StoreOp::SetState { state, .. } => *state > DeliveryState::Trying,
        StoreOp::File(op) => op.in_force(),
        StoreOp::PutContact(_)
        | StoreOp::PutRoute(_)
        | StoreOp::RemoveRoute(_)
        | StoreOp::PutOwnChain { .. }
        | StoreOp::SetIncarnation(_)
        | StoreOp::SetAcked { .. }
        | StoreOp::EndServing(_)
        | StoreOp::DropParcelsFor(_)
        | StoreOp::PutCustody(_)
        | StoreOp::RemoveCustody { .. }
        | StoreOp::PublishBundle { .. }
        | StoreOp::EraseBundle(_) => true,
        StoreOp::QueueMessage(_)
        | StoreOp::SetSealed { .. }
        | StoreOp::SetStored { .. }
        | StoreOp::Receive(_)
        | StoreOp::KeepCopy(_)
        | StoreOp::Release { .. }
        | StoreOp::Keep(_)
        | StoreOp::FindKept { .. }
        | StoreOp::ReadKept { .. }
        | StoreOp::DropKept { .. }
        | StoreOp::ExpireKept { .. }
        | StoreOp::KeepClock(_)
        | StoreOp::PutBundle(_) => false,
    }
}

/// The outputs, the open questions, and the counts.
pub(crate) struct Outputs {
    queue: VecDeque<Output>,
    next: u64,
    writes: BTreeMap<StoreTicket, Pending>,
    /// How many of them make a message of ours durable.
    queueing: usize,
    requests: BTreeMap<RequestId, Request>,
    lazy: Vec<StoreOp>,
    /// Operations of failed writes, to be written again.
    failed: Vec<StoreOp>,
    warnings: Bucket,
    warned: u64,
    pub(crate) counters: Counters,
}

impl Outputs {
    pub(crate) fn new(now: Now) -> Self {
        Self {
            queue: VecDeque::new(),
            next: 1,
            writes: BTreeMap::new(),
            queueing: 0,
            requests: BTreeMap::new(),
            lazy: Vec::new(),
            failed: Vec::new(),
            warnings: Bucket::new(WARNINGS_PER_S, WARNINGS_BURST, now.mono_ms),
            warned: 0,
            counters: Counters::default(),
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Output> {
        self.queue.pop_front()
    }

    pub(crate) fn push(&mut self, output: Output) {
        self.queue.push_back(output);
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
        self.warned += 1;
        if self.warnings.take(now.mono_ms) {
            self.event(Event::Warned { kind, detail });
        }
    }

    /// Warnings so far, told or only counted.
    pub(crate) fn warned(&self) -> u64 {
        self.warned
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

    /// Names one turn of a file on a link.
    pub(crate) fn fresh_turn(&mut self) -> u64 {
        self.fresh()
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
        let asked = matches!(purpose, Write::Accept(..) | Write::ReadReceipts(..));
        let repeat = |op: &&StoreOp| in_force(op) && !asked;
        let kept = all.iter().filter(repeat).cloned().collect();
        self.queueing += usize::from(matches!(purpose, Write::Queue(_)));
        let pending = Pending {
            purpose,
            skip,
            kept,
        };
        self.writes.insert(ticket, pending);
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

    /// What the write was for, and the results of its own operations. What a failed one (`None`)
    /// recorded of things in force is kept for [`Outputs::take_failed`].
    pub(crate) fn written(
        &mut self,
        ticket: StoreTicket,
        results: Option<&mut Vec<StoreResult>>,
    ) -> Option<Write> {
        let pending = self.writes.remove(&ticket)?;
        self.queueing -= usize::from(matches!(pending.purpose, Write::Queue(_)));
        match results {
            Some(results) => {
                results.drain(..pending.skip.min(results.len()));
            }
            None => self.failed.extend(pending.kept),
        }
        self.failed.truncate(FAILED_OPS_MAX);
        Some(pending.purpose)
    }

    /// Takes what failed writes must record after all.
    pub(crate) fn take_failed(&mut self) -> Vec<StoreOp> {
        std::mem::take(&mut self.failed)
    }

    pub(crate) fn has_failed(&self) -> bool {
        !self.failed.is_empty()
    }

    /// Whether messages of ours are on their way to the disk.
    pub(crate) fn is_queueing(&self) -> bool {
        self.queueing > 0
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

    /// Whether a device list is being published, whichever.
    pub(crate) fn publishing(&self) -> bool {
        let mut open = self.requests.values();
        open.any(|open| matches!(open, Request::DeviceList(_)))
    }

    pub(crate) fn requests_open(&self) -> usize {
        self.requests.len()
    }
}
