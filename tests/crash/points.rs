//! Failpoints: named places at which a process of the in-process runs ends. The numbers are those
//! of the crash points of the delivery guarantee; C5 fell away with one-time prekeys, C15 to C18
//! are crashes of servers and play in `tests/e2e`.

use beeline_proto::pb::peer::v1::peer_item;
use client_core::event::{DeliveryState, Event};
use client_core::output::{Output, RtcCommand, SignalKind};
use client_core::state::StoreOp;
use client_core::testing::tap::items;

/// What a write is about; a write can be about several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    /// A message of ours becomes durable.
    Queue,
    /// It is signed and sealed.
    Seal,
    /// It is tried, or a relay has it.
    Tried,
    /// It is delivered.
    Delivered,
    /// A message for us becomes durable.
    Receive,
    /// Its turn to be shown has come.
    Release,
    /// A contact is pinned, or knows more of us.
    Contact,
    /// A new key to seal to.
    NewKey,
    /// An old key is erased.
    Erase,
    /// A parcel is kept for somebody else.
    Keep,
    /// Kept parcels are deleted, as their recipient asked.
    Drop,
    /// Custodians hold a message of ours.
    Stored,
}

impl Op {
    fn is(self, op: &StoreOp) -> bool {
        match op {
            StoreOp::QueueMessage(_) => self == Self::Queue,
            StoreOp::SetSealed { .. } => self == Self::Seal,
            StoreOp::SetState { state, .. } if *state < DeliveryState::Delivered => {
                self == Self::Tried
            }
            StoreOp::SetState { .. } => self == Self::Delivered,
            StoreOp::Receive(_) => self == Self::Receive,
            StoreOp::Release { .. } => self == Self::Release,
            StoreOp::PutContact(_) => self == Self::Contact,
            StoreOp::PutBundle(_) => self == Self::NewKey,
            StoreOp::EraseBundle(_) => self == Self::Erase,
            StoreOp::Keep(_) => self == Self::Keep,
            StoreOp::DropKept { .. } => self == Self::Drop,
            StoreOp::SetStored { .. } => self == Self::Stored,
            _ => false,
        }
    }

    /// Whether a write is about this.
    pub(crate) fn in_write(self, ops: &[StoreOp]) -> bool {
        ops.iter().any(|op| self.is(op))
    }
}

/// What a process does to the world outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// It asks the store for a write about this.
    Ask(Op),
    /// It puts a message on a link.
    SendMessage,
    /// It puts an ACK on a link.
    SendAck,
    /// It puts a receipt for a parcel it keeps on a link.
    SendReceipt,
    /// It asks a custodian to delete what it has.
    SendDelete,
    /// It puts an offer or an answer on a socket.
    Call,
    /// It tells whoever called `send` that the message is durable.
    TellQueued,
    /// It tells that a message is delivered.
    TellDelivered,
    /// It tells that a message has come.
    TellReceived,
}

impl Act {
    /// Whether an output is this.
    pub(crate) fn is(self, output: &Output) -> bool {
        match (self, output) {
            (Self::Ask(op), Output::Store { ops, .. }) => op.in_write(ops),
            (
                Self::SendMessage | Self::SendAck | Self::SendReceipt | Self::SendDelete,
                Output::Rtc { command, .. },
            ) => {
                let RtcCommand::Send(frame) = command else {
                    return false;
                };
                let wanted = |item: &peer_item::Kind| match item {
                    peer_item::Kind::ChatMessage(_) => self == Self::SendMessage,
                    peer_item::Kind::Ack(_) => self == Self::SendAck,
                    peer_item::Kind::StoreReceipt(_) => self == Self::SendReceipt,
                    peer_item::Kind::StoreDelete(_) => self == Self::SendDelete,
                    _ => false,
                };
                items(frame).iter().any(wanted)
            }
            (Self::Call, Output::Signal(signal)) => {
                matches!(signal.kind, SignalKind::Offer | SignalKind::Answer)
            }
            (Self::TellQueued, Output::Event(Event::Queued { .. })) => true,
            (Self::TellDelivered, Output::Event(Event::MessageState(state))) => {
                state.state == DeliveryState::Delivered
            }
            (Self::TellReceived, Output::Event(Event::Received(_))) => true,
            _ => false,
        }
    }
}

/// Where a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// A write was asked for and has not begun.
    BeforeCommit(Op),
    /// At some call to the disk within the commit.
    InCommit(Op),
    /// At the sync of the commit.
    AtSync(Op),
    /// The commit is done; nobody knows.
    AfterCommit(Op),
    /// Before it does this.
    Before(Act),
    /// After it did this.
    After(Act),
    /// At some call to the disk while it starts: migration, recovery, check.
    Starting,
    /// It has said that it shows a message, and does not.
    Showing,
    /// It has shown a message, and has not said so.
    Shown,
    /// It shows a message and that is committed.
    ShowingDone,
    /// At any call to the disk.
    AnyCall,
    /// It does not end: from some call on its disk is full.
    Full,
    /// It does not end: some call to its disk fails, or all from then on.
    Broken,
}

/// Whose process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Who sends most.
    Sender,
    /// Who receives most.
    Recipient,
    /// Who keeps parcels for the recipient.
    Custodian,
}

impl Role {
    /// As printed.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sender => "sender",
            Self::Recipient => "recipient",
            Self::Custodian => "custodian",
        }
    }
}

/// What else the story needs for the place to be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setting {
    /// Messages go back and forth.
    Talk,
    /// They have never met.
    FirstContact,
    /// A key is a day old, or a month.
    OldKeys,
    /// The home was never started before.
    FirstStart,
    /// The clock steps by ten years and back.
    Clock,
    /// The recipient is away, and a custodian keeps what is sent; see `custody`.
    Custody,
    /// Only the process ends; the next one says what it found, and then the power goes.
    ThenPower,
}

/// A failpoint.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    /// Its name, with its number.
    pub(crate) name: &'static str,
    /// Whose process.
    pub(crate) role: Role,
    /// Where.
    pub(crate) place: Place,
    /// What the story needs.
    pub(crate) setting: Setting,
}

const fn point(name: &'static str, role: Role, place: Place, setting: Setting) -> Point {
    Point {
        name,
        role,
        place,
        setting,
    }
}

use Place::{AfterCommit, AnyCall, BeforeCommit, InCommit, Starting};
use Role::{Recipient, Sender};
use Setting::{Clock, FirstContact, FirstStart, OldKeys, Talk, ThenPower};

/// Every failpoint.
pub(crate) const POINTS: &[Point] = &[
    point(
        "C1 send asked",
        Sender,
        Place::Before(Act::Ask(Op::Queue)),
        Talk,
    ),
    point(
        "C1 before commit of a send",
        Sender,
        BeforeCommit(Op::Queue),
        Talk,
    ),
    point(
        "C2 after commit of a send",
        Sender,
        AfterCommit(Op::Queue),
        Talk,
    ),
    point(
        "C2 before send returns",
        Sender,
        Place::Before(Act::TellQueued),
        Talk,
    ),
    point(
        "C2 after send returned",
        Sender,
        Place::After(Act::TellQueued),
        Talk,
    ),
    point("C3 in commit of a send", Sender, InCommit(Op::Queue), Talk),
    point(
        "C3 in commit of a first send",
        Sender,
        InCommit(Op::Queue),
        FirstContact,
    ),
    point(
        "C3 before pinning and sealing",
        Sender,
        BeforeCommit(Op::Seal),
        FirstContact,
    ),
    point(
        "C3 in pinning and sealing",
        Sender,
        InCommit(Op::Seal),
        FirstContact,
    ),
    point(
        "C3 after pinning and sealing",
        Sender,
        AfterCommit(Op::Seal),
        FirstContact,
    ),
    point(
        "C3 in commit, then power loss",
        Sender,
        Place::AtSync(Op::Queue),
        ThenPower,
    ),
    point(
        "C6 in commit, then power loss",
        Recipient,
        Place::AtSync(Op::Receive),
        ThenPower,
    ),
    point(
        "C21 a disk fails, then power loss",
        Sender,
        Place::Broken,
        ThenPower,
    ),
    point(
        "C21 a disk fails, then power loss",
        Recipient,
        Place::Broken,
        ThenPower,
    ),
    point(
        "C4 before a message leaves",
        Sender,
        Place::Before(Act::SendMessage),
        Talk,
    ),
    point(
        "C4 after a message left",
        Sender,
        Place::After(Act::SendMessage),
        Talk,
    ),
    point(
        "C4 after an offer left",
        Sender,
        Place::After(Act::Call),
        FirstContact,
    ),
    point(
        "C4 before commit of a try",
        Sender,
        BeforeCommit(Op::Tried),
        Talk,
    ),
    point("C4 in commit of a try", Sender, InCommit(Op::Tried), Talk),
    point(
        "C6 before commit of a message",
        Recipient,
        BeforeCommit(Op::Receive),
        Talk,
    ),
    point(
        "C6 in commit of a message",
        Recipient,
        InCommit(Op::Receive),
        Talk,
    ),
    point(
        "C6 in commit of a first message",
        Recipient,
        InCommit(Op::Receive),
        FirstContact,
    ),
    point(
        "C7 after commit of a message",
        Recipient,
        AfterCommit(Op::Receive),
        Talk,
    ),
    point(
        "C7 before an ACK leaves",
        Recipient,
        Place::Before(Act::SendAck),
        Talk,
    ),
    point(
        "C7 after an ACK left",
        Recipient,
        Place::After(Act::SendAck),
        Talk,
    ),
    point(
        "C8 before it is told",
        Recipient,
        Place::Before(Act::TellReceived),
        Talk,
    ),
    point("C8 marked, not shown", Recipient, Place::Showing, Talk),
    point("C8 shown, not marked", Recipient, Place::Shown, Talk),
    point("C8 shown and marked", Recipient, Place::ShowingDone, Talk),
    point(
        "C8 in commit of a release",
        Recipient,
        InCommit(Op::Release),
        Talk,
    ),
    point(
        "C9 before a new key",
        Recipient,
        BeforeCommit(Op::NewKey),
        OldKeys,
    ),
    point(
        "C9 in commit of a new key",
        Recipient,
        InCommit(Op::NewKey),
        OldKeys,
    ),
    point(
        "C9 after commit of a new key",
        Recipient,
        AfterCommit(Op::NewKey),
        OldKeys,
    ),
    point(
        "C9 before erasing a key",
        Recipient,
        BeforeCommit(Op::Erase),
        OldKeys,
    ),
    point(
        "C9 in erasing a key",
        Recipient,
        InCommit(Op::Erase),
        OldKeys,
    ),
    point(
        "C9 after erasing a key",
        Recipient,
        AfterCommit(Op::Erase),
        OldKeys,
    ),
    point(
        "C10 before commit of delivered",
        Sender,
        BeforeCommit(Op::Delivered),
        Talk,
    ),
    point(
        "C10 in commit of delivered",
        Sender,
        InCommit(Op::Delivered),
        Talk,
    ),
    point(
        "C10 after commit of delivered",
        Sender,
        AfterCommit(Op::Delivered),
        Talk,
    ),
    point(
        "C10 before delivered is told",
        Sender,
        Place::Before(Act::TellDelivered),
        Talk,
    ),
    point("C19 migration", Sender, Starting, FirstStart),
    point("C19 migration", Recipient, Starting, FirstStart),
    point("C19 start and recovery", Sender, Starting, Talk),
    point("C19 start and recovery", Recipient, Starting, Talk),
    point("C20 the disk is full", Sender, Place::Full, Talk),
    point("C20 the disk is full", Recipient, Place::Full, Talk),
    point(
        "C20 the disk is full at first",
        Sender,
        Place::Full,
        FirstStart,
    ),
    point("C21 the disk fails", Sender, Place::Broken, Talk),
    point("C21 the disk fails", Recipient, Place::Broken, Talk),
    point(
        "C21 the disk fails at first",
        Recipient,
        Place::Broken,
        FirstStart,
    ),
    point("C22 the clock steps", Sender, AnyCall, Clock),
    point("C22 the clock steps", Recipient, AnyCall, Clock),
    point("at any disk call", Sender, AnyCall, Talk),
    point("at any disk call", Recipient, AnyCall, Talk),
];

/// Failpoints of custody.
pub(crate) const CUSTODY: &[Point] = &[
    point(
        "C11 before a parcel is kept",
        Role::Custodian,
        BeforeCommit(Op::Keep),
        Setting::Custody,
    ),
    point(
        "C11 in keeping a parcel",
        Role::Custodian,
        InCommit(Op::Keep),
        Setting::Custody,
    ),
    point(
        "C12 after a parcel is kept",
        Role::Custodian,
        AfterCommit(Op::Keep),
        Setting::Custody,
    ),
    point(
        "C12 after a receipt left",
        Role::Custodian,
        Place::After(Act::SendReceipt),
        Setting::Custody,
    ),
    point(
        "C12 before stored is written",
        Sender,
        BeforeCommit(Op::Stored),
        Setting::Custody,
    ),
    point(
        "C12 in writing stored",
        Sender,
        InCommit(Op::Stored),
        Setting::Custody,
    ),
    point(
        "C12 after stored is written",
        Sender,
        AfterCommit(Op::Stored),
        Setting::Custody,
    ),
    point(
        "C13 before a deletion",
        Role::Custodian,
        BeforeCommit(Op::Drop),
        Setting::Custody,
    ),
    point(
        "C13 in a deletion",
        Role::Custodian,
        InCommit(Op::Drop),
        Setting::Custody,
    ),
    point(
        "C13 after a deletion",
        Role::Custodian,
        AfterCommit(Op::Drop),
        Setting::Custody,
    ),
    point(
        "C14 fetched, before commit",
        Recipient,
        BeforeCommit(Op::Receive),
        Setting::Custody,
    ),
    point(
        "C14 fetched, in commit",
        Recipient,
        InCommit(Op::Receive),
        Setting::Custody,
    ),
    point(
        "C14 fetched, after commit",
        Recipient,
        AfterCommit(Op::Receive),
        Setting::Custody,
    ),
    point(
        "C14 after asking to delete",
        Recipient,
        Place::After(Act::SendDelete),
        Setting::Custody,
    ),
    point(
        "C20 the disk is full",
        Role::Custodian,
        Place::Full,
        Setting::Custody,
    ),
    point(
        "C21 the disk fails",
        Role::Custodian,
        Place::Broken,
        Setting::Custody,
    ),
    point(
        "at any disk call",
        Role::Custodian,
        AnyCall,
        Setting::Custody,
    ),
];

/// A failpoint, waiting for its moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Armed {
    /// Where.
    pub(crate) place: Place,
    /// How often the place is passed before.
    pub(crate) pass: u64,
    /// Which call to the disk, from 1, where the place is one of many.
    pub(crate) call: u64,
    /// How many calls fail, where a disk fails.
    pub(crate) fails: u64,
}
