//! Files: offered as messages are, sent in chunks over a link between the two devices, and resumed
//! there, whatever came between. The core decides what goes and when; it never sees a byte of one.
//!
//! ```text
//!   sender                                                receiver
//!     FILE_OFFER, a message like any other: outbox, ACK  ─▶  decides (FilePolicy)
//!                                     ◀─  FILE_ACCEPT: the chunks wanted, or declined
//!     chunks, within a window (share) ─▶  verified and written by the driver
//!                                     ◀─  FILE_STATE: so many written
//!                                     ◀─  FILE_DONE, once committed; again until closed
//!     FILE_STATE: closed              ─▶
//! ```
//!
//! Where the two devices have no link for a while the same goes through others (`apart` on the
//! receiving side, `relaying` on the sending one), and over a link again once there is one.
//!
//! The receiver leads: on every new link it asks for what is missing, and what was asked before is
//! void. So a crash of either side, another link, a pause, a full disk and a loss are all the same
//! case.

pub mod io;
pub mod now;
pub mod ranges;
pub mod rows;

mod apart;
mod decide;
mod ended;
mod held;
mod incoming;
mod outgoing;
mod parts;
mod relaying;
mod relays;
mod reports;
mod seek;
mod sent;
mod share;
mod speak;
mod turns;

use crate::bounded::Bucket;
use crate::limits::{
    FILE_PARTS_OPENED_BURST, FILE_PARTS_PER_S, FILES_IN_MAX, FILES_IN_PER_USER_MAX, FILES_OUT_MAX,
};
use beeline_proto::id::{DeviceFp, Label, MessageId};
use beeline_proto::pb::peer::v1::FileReason;
use ended::Ended;
use incoming::Incoming;
use outgoing::Outgoing;
use relays::Relays;
use rows::{FileInKey, FileLoad};
use seek::Seek;
pub(crate) use sent::Arrived;
use share::Share;
use std::collections::BTreeMap;

/// Why a file ended that a person here gave up.
pub const WE_GAVE_UP: &str = "you gave it up";

/// Why a file ended that a person here refused.
pub const WE_REFUSED: &str = "you refused it";

/// What the text of a message that offers a file begins with.
pub const OFFER_PREFIX: &str = "[file] ";

/// All files on their way.
#[derive(Debug)]
pub(crate) struct Files {
    /// Ours.
    out: BTreeMap<MessageId, Outgoing>,
    /// Ours that came to nothing.
    ended: Ended,
    /// For us.
    incoming: BTreeMap<FileInKey, Incoming>,
    /// Chunks of ours on links.
    share: Share,
    /// Files of ours that go through others.
    relays: Relays,
    /// Parts of files for us that are opened.
    opens: Bucket,
    /// Devices that are looked for because of files.
    seeks: BTreeMap<DeviceFp, Seek>,
}

impl Files {
    /// Takes the stored files: before the messages that offer them.
    pub(crate) fn load(load: FileLoad) -> Self {
        let out = load.out.into_iter().take(FILES_OUT_MAX);
        let incoming = load.incoming.into_iter().take(FILES_IN_MAX);
        Self {
            ended: Ended::load(load.ended),
            out: out.map(|row| (row.id, Outgoing::new(row))).collect(),
            incoming: incoming
                .map(|row| ((row.device, row.id), Incoming::new(row)))
                .collect(),
            share: Share::default(),
            relays: Relays::default(),
            opens: Bucket::new(FILE_PARTS_PER_S, FILE_PARTS_OPENED_BURST, 0),
            seeks: BTreeMap::new(),
        }
    }

    /// Whether a message of ours offers a file.
    pub(crate) fn offers(&self, id: &MessageId) -> bool {
        self.out.contains_key(id)
    }

    /// Whether no further file of ours has room.
    pub(crate) fn is_out_full(&self) -> bool {
        self.out.len() >= FILES_OUT_MAX
    }

    /// Whether another file of a user has no room.
    pub(crate) fn is_in_full_for(&self, user: &Label) -> bool {
        let of_user = self.incoming.values().filter(|i| i.row.from == *user);
        self.incoming.len() >= FILES_IN_MAX || of_user.count() >= FILES_IN_PER_USER_MAX
    }

    /// Whether a link carries files, or is about to.
    pub(crate) fn uses(&self, link: crate::input::LinkId) -> bool {
        let ours = self.share.is_used(link) || self.relays.is_used(link);
        ours || self.incoming.values().any(|incoming| incoming.uses(link))
    }
}

/// Why a file came to nothing, for people.
pub fn reason_text(reason: FileReason) -> &'static str {
    match reason {
        FileReason::Unspecified => "no reason was given",
        FileReason::NotWanted => "the receiver does not want it",
        FileReason::TooLarge => "it is larger than the receiver takes",
        FileReason::NoRoom => "the receiver has no room for it",
        FileReason::Invalid => "the offer breaks a limit",
        FileReason::Cancelled => "it was given up",
        FileReason::SourceChanged => "the sender's file is gone or was changed",
        FileReason::Corrupt => "what came was not what was offered",
        FileReason::NotWritten => "the receiver could not write it",
        FileReason::UnknownOffer => "the sender does not offer it any more",
        FileReason::Expired => "nobody took it for a month",
        FileReason::SmallFrames => "the receiver's link carries only smaller pieces",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_words() {
        for number in 0..=11 {
            let reason = FileReason::try_from(number).expect("a reason");
            assert!(!reason_text(reason).is_empty());
        }
        assert!(
            FileReason::try_from(12).is_err(),
            "a new reason wants words"
        );
    }
}
