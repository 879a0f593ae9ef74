//! WebRTC, wrapped small: the crate `webrtc` 0.21 with every tuning and every guard it needs.
//!
//! The driver of the client sees three things. [`RtcFactory`] opens links; each link is an
//! [`RtcPeer`] it tells what to do, without waiting; all that happens comes back as
//! `(`[`LinkId`]`, `[`RtcEvent`]`)` on one bounded channel. Nothing here decides protocol: no
//! retries, no timers of its own, no meaning of bytes. One link carries two data channels,
//! reliable, ordered and negotiated out of band: `msg` for what is said, and `file` for chunks of
//! files, whose frames arrive as [`FileEvent`]s on a queue of their own.
//!
//! Everything must run inside one tokio runtime, current-thread for speed.
//!
//! What each file guards against, what the bare crate does instead, and which test shows it is
//! the table of `docs/webrtc.md`; the numbers are in [`limits`].

mod assembly;
mod bind;
mod config;
mod factory;
mod flow;
mod frames;
mod gate;
mod guess;
mod handler;
mod landing;
mod lane;
pub mod limits;
mod link;
mod pacer;
mod peer;
pub mod policy;
mod provider;
pub mod reach;
mod repeat;
mod runtime;
mod shared;
mod socket;
mod tcp;
mod turn;
mod window;

pub use assembly::Abuse;
pub(crate) use bind::usable_addresses;
pub use config::{BindTo, ConfigError, IceServer, RtcConfig};
pub use factory::{FactoryError, RtcFactory};
pub use peer::{LinkReport, RtcPeer, SendError, SignalError};
pub use reach::{IceMode, OwnServers, Tcp};

use bytes::{Bytes, BytesMut};
use thiserror::Error;

/// One connection attempt and the link it becomes, unique within a process. The caller names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// An ICE candidate as signalling carries it (RFC 8839 §5.1; W3C `RTCIceCandidateInit`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IceCandidate {
    /// `candidate:…`, at most 512 bytes; empty says there are no more.
    pub candidate: String,
    /// Identification of the media section; the data section is `"0"`.
    pub sdp_mid: Option<String>,
    /// Index of the media section; the data section is 0.
    pub sdp_m_line_index: Option<u16>,
    /// `ice-ufrag` of the description it belongs to.
    pub username_fragment: Option<String>,
}

/// What happens on a link, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RtcEvent {
    /// The offer or answer asked for, in force locally. Candidates follow (trickle).
    LocalDescription {
        /// The description, CRLF lines, without candidates.
        sdp: String,
    },
    /// A local candidate.
    Candidate(IceCandidate),
    /// There are no more local candidates of this gathering.
    EndOfCandidates,
    /// Which way the packets go; direct until told. Told before `Open`, and when it changes.
    Path(LinkPath),
    /// The data channel is open: the DTLS certificate of each side hashes to the fingerprint of
    /// its description. Messages follow.
    Open {
        /// SHA-256 of our certificate.
        local_fingerprint: [u8; 32],
        /// SHA-256 of the peer's certificate.
        remote_fingerprint: [u8; 32],
    },
    /// A message from the peer, at most `max_message_size` bytes.
    Message(Bytes),
    /// After [`SendError::Blocked`]: there is room again.
    Writable,
    /// Nothing was heard for 6 s; the link may come back, or an ICE restart may bring it back.
    Interrupted,
    /// Heard again after [`RtcEvent::Interrupted`].
    Resumed,
    /// The link is gone. Always the last event, exactly once.
    Closed {
        /// Why.
        reason: CloseReason,
    },
}

/// Which way the packets of a link go. What the peer has a TURN server for looks direct from here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LinkPath {
    /// Straight to the peer's address.
    #[default]
    Direct,
    /// Through an address that a TURN server lends us.
    Relayed,
    /// The same, and the server has refused to lend it any longer: it ends within minutes.
    Ending,
}

/// What happens on a link's channel `file`, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileEvent {
    /// A frame from the peer, at most `max_message_size` bytes, in the buffer it arrived in: open
    /// it in place.
    Frame(BytesMut),
    /// There is room: at the opening, and after [`SendError::Blocked`].
    Room,
}

/// Why a link closed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CloseReason {
    /// [`RtcPeer::close`] was called, or the handle dropped.
    #[error("closed by us")]
    Local,
    /// The peer closed the channel or the connection.
    #[error("closed by the peer")]
    Remote,
    /// ICE found no path, or lost it; or the handshake was not finished in time.
    #[error("connection failed")]
    Failed,
    /// Our DTLS refused the peer's handshake.
    #[error("handshake refused (alert {alert}; 42: not the certificate that was promised)")]
    HandshakeRefused {
        /// Alert description, RFC 5246 §7.2.
        alert: u8,
    },
    /// The crate refused to start, or refused a description.
    #[error("set-up failed: {0}")]
    Setup(String),
    /// The peer's ICE lives, but for 70 s it acknowledged nothing of what we sent.
    #[error("the peer takes nothing any more")]
    Stalled,
    /// The peer tried to exhaust us.
    #[error("{}", .0.text())]
    Abuse(Abuse),
    /// The peer opened a channel nobody agreed on.
    #[error("peer opened a channel nobody agreed on")]
    UnknownChannel,
    /// The crate's driver stopped by itself; a defect.
    #[error("the WebRTC driver stopped")]
    DriverStopped,
}
