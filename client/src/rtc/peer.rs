//! The handle of one link. Every method returns at once; what comes of it is an event.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use super::lane::Lane;
use super::limits::{MAX_REMOTE_CANDIDATES, MAX_TCP_CANDIDATES};
use super::policy::{
    Candidate, CheckedDescription, PolicyError, check_candidate, check_description,
};
use super::shared::LinkShared;
use super::{IceCandidate, LinkId};

/// What the handle tells the link task.
#[derive(Debug)]
pub(super) enum Command {
    Offer { restart: bool },
    AcceptOffer(Box<CheckedDescription>),
    AcceptAnswer(Box<CheckedDescription>),
    AddCandidate(String),
    Report(oneshot::Sender<LinkReport>),
    Close,
}

/// What a link says of itself, for `status` and tests.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LinkReport {
    /// DTLS cipher suite, IANA name; empty before DTLS is done.
    pub dtls_cipher: String,
    /// Remote candidates the crate knows, peer-reflexive ones included.
    pub remote_candidates: usize,
    /// Datagrams the address gate refused.
    pub dropped_datagrams: u64,
    /// Round trip of the selected pair, seconds; 0 before the first answer.
    pub round_trip: f64,
    /// Type of our candidate in the selected pair: `host`, `srflx`, `prflx` or `relay`; empty
    /// before one is selected.
    pub local_type: String,
    /// The same of the peer's.
    pub remote_type: String,
    /// Whether it goes over TCP.
    pub over_tcp: bool,
}

/// A description or candidate that was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SignalError {
    /// It breaks the policy; nothing of it reached the crate.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A later description must keep the certificate of the first.
    #[error("the fingerprint changed within one session")]
    FingerprintChanged,
    /// [`MAX_REMOTE_CANDIDATES`] are in use for this description.
    #[error("more than {MAX_REMOTE_CANDIDATES} candidates")]
    TooManyCandidates,
    /// The link's queue is full: what is asked of it cannot be meant.
    #[error("too many commands at once")]
    Busy,
    /// The link is gone.
    #[error("the link is closed")]
    Closed,
}

/// A message that was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SendError {
    /// The channel is not open yet.
    #[error("the channel is not open")]
    NotOpen,
    /// The send budget is in use; `Writable` follows.
    #[error("too much is on its way: wait for Writable")]
    Blocked,
    /// Larger than we send or the peer takes, bytes.
    #[error("a message may have {0} bytes on this link")]
    TooLarge(usize),
    /// The link is gone.
    #[error("the link is closed")]
    Closed,
}

/// One link. Dropping it closes the link.
#[derive(Debug)]
pub struct RtcPeer {
    pub(super) id: LinkId,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) outbox: mpsc::Sender<Bytes>,
    pub(super) file_outbox: mpsc::Sender<Bytes>,
    pub(super) shared: Arc<LinkShared>,
    pub(super) budget: usize,
    pub(super) max_message: usize,
    pub(super) candidates: AtomicUsize,
    /// Of these, those of TCP.
    pub(super) tcp_candidates: AtomicUsize,
}

impl RtcPeer {
    /// The name it was opened with.
    pub fn id(&self) -> LinkId {
        self.id
    }

    /// Makes an offer; `LocalDescription` follows.
    ///
    /// # Errors
    /// [`SignalError::Busy`] or [`SignalError::Closed`].
    pub fn offer(&self) -> Result<(), SignalError> {
        self.command(Command::Offer { restart: false })
    }

    /// Makes an offer with new ICE credentials for a link that lost its path. The peer answers it
    /// as any offer; channel, DTLS and messages in flight survive.
    ///
    /// # Errors
    /// As [`RtcPeer::offer`].
    pub fn restart_ice(&self) -> Result<(), SignalError> {
        self.forget_candidates();
        self.command(Command::Offer { restart: true })
    }

    /// Takes the peer's offer and makes an answer; `LocalDescription` follows. Returns the
    /// fingerprint (SHA-256) the peer's certificate must have.
    ///
    /// # Errors
    /// [`SignalError`]; the link stays as it was.
    pub fn accept_offer(&self, sdp: &str) -> Result<[u8; 32], SignalError> {
        self.accept(sdp, Command::AcceptOffer)
    }

    /// Takes the peer's answer. Returns its fingerprint, as [`RtcPeer::accept_offer`].
    ///
    /// # Errors
    /// [`SignalError`]; the link stays as it was.
    pub fn accept_answer(&self, sdp: &str) -> Result<[u8; 32], SignalError> {
        self.accept(sdp, Command::AcceptAnswer)
    }

    fn accept(
        &self,
        sdp: &str,
        command: fn(Box<CheckedDescription>) -> Command,
    ) -> Result<[u8; 32], SignalError> {
        let mut checked = check_description(sdp)?;
        let fingerprint = checked.fingerprint;
        if self
            .shared
            .remote
            .get()
            .is_some_and(|first| *first != fingerprint)
        {
            return Err(SignalError::FingerprintChanged);
        }
        let candidates = std::mem::take(&mut checked.candidates);
        if let Some(size) = checked.max_message_size {
            self.shared
                .peer_max_message
                .store(size.min(self.max_message), Ordering::Relaxed);
        }
        self.forget_candidates();
        self.command(command(Box::new(checked)))?;
        self.shared.remote.get_or_init(|| fingerprint);
        for candidate in candidates {
            // What a description carries beyond the cap or the policy is left out, not an error.
            let _ = self.use_candidate(&candidate);
        }
        Ok(fingerprint)
    }

    /// New credentials: candidates are counted anew.
    fn forget_candidates(&self) {
        self.candidates.store(0, Ordering::Relaxed);
        self.tcp_candidates.store(0, Ordering::Relaxed);
    }

    /// Takes a candidate of the peer. `false` says it is well formed but will not be used.
    ///
    /// # Errors
    /// [`SignalError`]; the link stays as it was.
    pub fn add_candidate(&self, candidate: &IceCandidate) -> Result<bool, SignalError> {
        self.use_candidate(&candidate.candidate)
    }

    fn use_candidate(&self, line: &str) -> Result<bool, SignalError> {
        match check_candidate(line, &self.shared.reach)? {
            Candidate::Use(_) => {}
            // Every one is dialled, so they are few.
            Candidate::UseTcp(_) => {
                let used = self.tcp_candidates.fetch_add(1, Ordering::Relaxed);
                if used >= MAX_TCP_CANDIDATES {
                    self.tcp_candidates
                        .store(MAX_TCP_CANDIDATES, Ordering::Relaxed);
                    return Ok(false);
                }
            }
            Candidate::Skip(_) | Candidate::End => return Ok(false),
        }
        if self.candidates.fetch_add(1, Ordering::Relaxed) >= MAX_REMOTE_CANDIDATES {
            self.candidates
                .store(MAX_REMOTE_CANDIDATES, Ordering::Relaxed);
            return Err(SignalError::TooManyCandidates);
        }
        self.command(Command::AddCandidate(line.to_owned()))?;
        Ok(true)
    }

    /// Sends one message, reliably and in order.
    ///
    /// # Errors
    /// [`SendError`]; the message was not taken. After [`SendError::Blocked`] a `Writable`
    /// event follows.
    pub fn send(&self, message: Bytes) -> Result<(), SendError> {
        let (lane, bytes) = (&self.shared.msg, message.len());
        self.check(lane, &self.outbox, bytes)?;
        let in_use = lane.in_use();
        if in_use > 0 && in_use + bytes > self.budget {
            lane.blocked.store(true, Ordering::Release);
            return Err(SendError::Blocked);
        }
        put(lane, &self.outbox, message).map_err(|(error, _)| error)
    }

    /// Sends one frame on the channel `file`, reliably and in order; a `Vec` or `BytesMut` turned
    /// into [`Bytes`] is not copied, if no other handle of it is kept. Some frames wait here
    /// ([`RtcPeer::has_file_room`]) until the path takes them; no more is under way than it holds,
    /// so that what is said on `msg` meanwhile need not wait long.
    ///
    /// # Errors
    /// [`SendError`]; the frame was not taken. After [`SendError::Blocked`] a
    /// [`FileEvent::Room`](super::FileEvent::Room) follows.
    pub fn send_file(&self, frame: Bytes) -> Result<(), SendError> {
        self.send_file_from(&mut Some(frame))
    }

    /// The same, and a frame that is not taken stays where it is.
    pub(crate) fn send_file_from(&self, frame: &mut Option<Bytes>) -> Result<(), SendError> {
        let (lane, bytes) = (&self.shared.file, frame.as_ref().map_or(0, Bytes::len));
        self.check(lane, &self.file_outbox, bytes)?;
        if !self.has_file_room() {
            lane.blocked.store(true, Ordering::Release);
            // Unless there was room a moment later, before anybody could know that we wait.
            if !self.has_file_room() {
                return Err(SendError::Blocked);
            }
            lane.blocked.store(false, Ordering::Release);
        }
        let Some(taken) = frame.take() else {
            return Ok(());
        };
        put(lane, &self.file_outbox, taken).map_err(|(error, refused)| {
            *frame = Some(refused);
            error
        })
    }

    /// Whether the channel `file` takes a frame now. Where it does not,
    /// [`RtcPeer::send_file`] must be tried to be told when it does.
    pub fn has_file_room(&self) -> bool {
        let lane = &self.shared.file;
        lane.open.load(Ordering::Acquire) && lane.takes_frame()
    }

    /// Bytes sent on `file` and, as far as known, not yet acknowledged by the peer's stack.
    /// Zero says that nothing is lost if the link closes now.
    pub fn file_buffered(&self) -> usize {
        self.shared.file.in_use()
    }

    fn check(
        &self,
        lane: &Lane,
        outbox: &mpsc::Sender<Bytes>,
        bytes: usize,
    ) -> Result<(), SendError> {
        if !lane.open.load(Ordering::Acquire) {
            let gone = outbox.is_closed();
            return Err(if gone {
                SendError::Closed
            } else {
                SendError::NotOpen
            });
        }
        let limit = self.shared.peer_max_message.load(Ordering::Relaxed);
        if bytes > limit {
            return Err(SendError::TooLarge(limit));
        }
        Ok(())
    }

    /// Largest message the link takes, bytes: of what we send and what the peer announced, the
    /// lesser. Known from the peer's description on.
    pub fn max_message_size(&self) -> usize {
        self.shared.peer_max_message.load(Ordering::Relaxed)
    }

    /// Bytes sent on `msg` and, as far as known, not yet acknowledged by the peer's stack.
    pub fn buffered(&self) -> usize {
        self.shared.msg.in_use()
    }

    /// Asks the link about itself; the default when it is gone.
    pub async fn report(&self) -> LinkReport {
        self.report_later().await.unwrap_or_default()
    }

    /// The same, for who cannot wait: the answer comes, or an error when the link is gone.
    pub(crate) fn report_later(&self) -> oneshot::Receiver<LinkReport> {
        let (answer, report) = oneshot::channel();
        // A link that takes no command drops the sender, which is the answer.
        let _ = self.command(Command::Report(answer));
        report
    }

    /// Closes the link; `Closed` follows. What was sent but not acknowledged may be lost.
    pub fn close(&self) {
        // A full queue empties soon, and dropping the handle closes the link as well.
        let _ = self.command(Command::Close);
    }

    fn command(&self, command: Command) -> Result<(), SignalError> {
        self.commands
            .try_send(command)
            .map_err(|refused| match refused {
                TrySendError::Full(_) => SignalError::Busy,
                TrySendError::Closed(_) => SignalError::Closed,
            })
    }
}

/// Queues a message, or gives it back.
fn put(
    lane: &Lane,
    outbox: &mpsc::Sender<Bytes>,
    message: Bytes,
) -> Result<(), (SendError, Bytes)> {
    let bytes = message.len();
    lane.queued.fetch_add(bytes, Ordering::AcqRel);
    outbox.try_send(message).map_err(|refused| {
        lane.queued.fetch_sub(bytes, Ordering::AcqRel);
        match refused {
            TrySendError::Full(message) => {
                lane.blocked.store(true, Ordering::Release);
                (SendError::Blocked, message)
            }
            TrySendError::Closed(message) => (SendError::Closed, message),
        }
    })
}
