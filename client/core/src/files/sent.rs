//! A file of ours has arrived: that is written down before anybody hears it from us. Where that
//! fails it is written again; a process that ends before it is done hears of it from the receiver,
//! who says so until it is settled.

use super::io::FileStage;
use super::rows::{FileOp, FileOutState};
use crate::limits::FILE_AGAIN_MS;
use crate::manager::PeerManager;
use crate::outputs::Write;
use crate::state::StoreOp;
use crate::timer::Timer;
use crate::ways::Way;
use beeline_proto::id::{DeviceFp, MessageId};
use beeline_proto::pb::peer::v1::FileReason;
use beeline_proto::time::Now;

/// A device has a file of ours, and said so by this way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(super) id: MessageId,
    pub(super) device: DeviceFp,
    pub(super) way: Way,
}

/// Whether it is written down that a device has a file of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Record {
    /// It is not, or is being.
    No,
    /// It could not be, and is tried again then.
    Again(u64, Arrived),
    /// It is.
    Written,
}

impl PeerManager {
    /// A device has a file of ours, whole.
    pub(super) fn on_out_complete(&mut self, now: Now, arrived: Arrived) {
        let Arrived { id, device, way } = arrived;
        let Some(outgoing) = self.files.out.get_mut(&id) else {
            return;
        };
        outgoing.row.state = FileOutState::Done;
        outgoing.row.info.content = None;
        match outgoing.record {
            Record::Written => self.say_closed(now, (way, device), id),
            Record::No | Record::Again(..) => self.record_sent(arrived),
        }
        self.stop_sending(id, device);
    }

    fn record_sent(&mut self, arrived: Arrived) {
        let op = StoreOp::File(FileOp::SetOut {
            id: arrived.id,
            state: FileOutState::Done,
            reason: FileReason::Unspecified,
        });
        self.out.write(vec![op], Write::FileSent(arrived));
    }

    /// It is written down, or could not be: only then people, and the receiver, hear of it.
    pub(crate) fn on_sent_recorded(&mut self, now: Now, arrived: Arrived, failed: Option<String>) {
        let Arrived { id, device, way } = arrived;
        let Some(outgoing) = self.files.out.get_mut(&id) else {
            return;
        };
        let written = outgoing.record == Record::Written;
        if let Some(detail) = failed {
            if !written {
                let at_ms = now.mono_ms + FILE_AGAIN_MS;
                outgoing.record = Record::Again(at_ms, arrived);
                self.timers.arm_by(Timer::Files, at_ms);
            }
            return self.out.warn(now, "store-failed", detail);
        }
        outgoing.record = Record::Written;
        if !written {
            self.tell_out(id, FileStage::Done { path: None });
        }
        self.say_closed(now, (way, device), id);
        self.shut_if_idle(id);
    }

    /// Writes down again what could not be.
    pub(super) fn record_again(&mut self, now: Now) {
        let due: Vec<Arrived> = self
            .files
            .out
            .values_mut()
            .filter_map(|outgoing| match outgoing.record {
                Record::Again(at_ms, arrived) if at_ms <= now.mono_ms => {
                    outgoing.record = Record::No;
                    Some(arrived)
                }
                _ => None,
            })
            .collect();
        for arrived in due {
            self.record_sent(arrived);
        }
    }
}
