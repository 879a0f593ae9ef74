//! The threads that touch the bytes of files for the driver: one sends, one receives, one hashes.
//! What they are told comes in order; what came of it goes to the driver as the core's `FileEvent`.
//! They decide nothing: which chunks go, and which are taken, is said by the core.

use super::receiving::{self, InWork};
use super::sending::{self, OutWork};
use super::{FilesError, Inbox, Offer, Source};
use crate::crash;
use crate::limits::{FILE_REPORTS_QUEUE, FILE_WORK_QUEUE};
use crate::rtc::{self, RtcPeer};
use beeline_proto::file::{FileError, FileKey, Root, Shape};
use beeline_proto::id::MessageId;
use beeline_proto::pb::peer::v1::FileReason;
use client_core::files::io::{FileCommand, FileEvent};
use client_core::files::rows::{FileInKey, FileInfo};
use std::io;
use std::sync::Weak;
use tokio::sync::mpsc;

/// The threads. They end when this is dropped and no link feeds them any more.
pub(crate) struct FileWork {
    out: mpsc::Sender<OutWork>,
    incoming: mpsc::Sender<InWork>,
    frames: mpsc::Sender<(rtc::LinkId, rtc::FileEvent)>,
    reports: mpsc::Receiver<FileEvent>,
}

impl FileWork {
    /// Starts them. Files are received into `inbox`, if there is one.
    ///
    /// # Errors
    /// The system has no thread.
    pub(crate) fn start(inbox: Option<Inbox>) -> io::Result<Self> {
        let (out, out_rx) = mpsc::channel(FILE_WORK_QUEUE);
        let (incoming, in_rx) = mpsc::channel(FILE_WORK_QUEUE);
        let (frames, frames_rx) = mpsc::channel(crate::limits::FILE_FRAMES_QUEUE);
        let (report, reports) = mpsc::channel(FILE_REPORTS_QUEUE);
        sending::start(out.downgrade(), out_rx, report.clone())?;
        receiving::start(inbox, (in_rx, frames_rx), out.clone(), report)?;
        Ok(Self {
            out,
            incoming,
            frames,
            reports,
        })
    }

    /// Where a link's channel `file` tells what happens on it.
    pub(crate) fn frames(&self) -> mpsc::Sender<(rtc::LinkId, rtc::FileEvent)> {
        self.frames.clone()
    }

    /// What came of what was asked.
    pub(crate) async fn next(&mut self) -> FileEvent {
        match self.reports.recv().await {
            Some(event) => event,
            // The threads are gone: nothing more will come.
            None => std::future::pending().await,
        }
    }

    /// A file that was hashed just now, to be sent soon.
    pub(crate) fn keep(&self, path: String, source: Source) {
        let source = Box::new(source);
        // Without room it is hashed once more.
        let _ = self.out.try_send(OutWork::Keep { path, source });
    }

    /// Carries out a command; `peer` is the link it names. What is to be told at once.
    pub(crate) fn command(
        &self,
        command: FileCommand,
        peer: Option<Weak<RtcPeer>>,
    ) -> Option<FileEvent> {
        match command {
            FileCommand::Open { id, source, info } => {
                let opened = offer_of(id, &info).map(|offer| OutWork::Open {
                    path: source,
                    offer: Box::new(offer),
                });
                let refused = |detail: String| Some(FileEvent::Unreadable { id, detail });
                match opened.map(|work| self.out.try_send(work)) {
                    Ok(Ok(())) => None,
                    Ok(Err(_)) => refused("too many files are being sent".to_owned()),
                    Err(error) => refused(error.to_string()),
                }
            }
            FileCommand::Send {
                id,
                link,
                from,
                count,
                turn,
            } => {
                crash::granted(turn, from, count);
                let grant = sending::Grant {
                    id,
                    link,
                    next: u32::try_from(from).unwrap_or(u32::MAX),
                    left: u32::try_from(count).unwrap_or(u32::MAX),
                    count,
                    turn,
                };
                let peer = peer.unwrap_or_default();
                self.tell_out(OutWork::Send { grant, peer });
                None
            }
            FileCommand::Seal { id, index } => {
                let index = u32::try_from(index).unwrap_or(u32::MAX);
                self.tell_out(OutWork::Seal { id, index });
                None
            }
            FileCommand::Stop { id, link } => {
                self.tell_out(OutWork::Stop { id, link });
                None
            }
            FileCommand::Shut { id } => {
                self.tell_out(OutWork::Shut(id));
                None
            }
            FileCommand::Sweep { wanted } => {
                let wanted = wanted.into_iter().map(|(_, id)| id).collect();
                // Without room it is swept at the next start.
                let _ = self.incoming.try_send(InWork::Sweep(wanted));
                None
            }
            command => self.command_in(command),
        }
    }

    fn command_in(&self, command: FileCommand) -> Option<FileEvent> {
        let (work, key) = match command {
            FileCommand::Prepare { key, info } => match offer_of(key.1, &info) {
                Ok(offer) => {
                    let offer = Box::new(offer);
                    (InWork::Prepare { key, offer }, key)
                }
                Err(error) => return Some(failed(key, &error.into())),
            },
            FileCommand::Put { key, info } => match offer_of(key.1, &info) {
                Ok(offer) => {
                    let content = info.content.map_or_else(Vec::new, |c| c.0.to_vec());
                    let offer = Box::new(offer);
                    (
                        InWork::Put {
                            key,
                            offer,
                            content,
                        },
                        key,
                    )
                }
                Err(error) => return Some(failed(key, &error.into())),
            },
            FileCommand::Take { key, link } => (InWork::Take { key, link }, key),
            FileCommand::Write { key, index, sealed } => {
                (InWork::Write { key, index, sealed }, key)
            }
            FileCommand::Leave { key } => (InWork::Leave(key), key),
            FileCommand::Finish { key } => (InWork::Finish(key), key),
            FileCommand::Discard { key } => (InWork::Discard(key), key),
            FileCommand::Forget { key } => (InWork::Forget(key), key),
            // Those of the sending side were taken before.
            _ => return None,
        };
        let refused = self.incoming.try_send(work).is_err();
        refused.then(|| FileEvent::Failed {
            key,
            reason: FileReason::NotWritten,
            detail: "too many files are being received".to_owned(),
        })
    }

    fn tell_out(&self, work: OutWork) {
        if self.out.try_send(work).is_err() {
            // The core grants a few pieces for each link; the queue has room for all of them.
            tracing::warn!("the thread that sends files does not keep up");
        }
    }
}

/// What the core knows of a file, as the disk wants it.
fn offer_of(id: MessageId, info: &FileInfo) -> Result<Offer, FileError> {
    Ok(Offer {
        id,
        name: info.name.clone(),
        shape: Shape::new(info.size, info.chunk_size)?,
        root: Root(info.root),
        key: FileKey::try_from(info.key.0.as_slice())?,
        list_len: info.list_len,
    })
}

/// A file for us cannot go on, for good or for now.
pub(super) fn failed(key: FileInKey, error: &FilesError) -> FileEvent {
    let detail = error.to_string();
    let reason = match error {
        error if error.is_peers_fault() => FileReason::Corrupt,
        FilesError::Full(_) => {
            let reason = FileReason::NoRoom;
            return FileEvent::Stuck {
                key,
                reason,
                detail,
            };
        }
        FilesError::NoRoom { .. } => FileReason::NoRoom,
        _ => FileReason::NotWritten,
    };
    FileEvent::Failed {
        key,
        reason,
        detail,
    }
}

/// Starts a thread with a name.
pub(super) fn thread(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn(run).map(drop)
}
