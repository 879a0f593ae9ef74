//! One signalling socket's life: hello → challenge → ready → closing.
//!
//! The driver hands in what happened ([`Input`]) and drains what to do ([`Output`]) to `None`.
//! Nothing a remote does makes it fail; at worst it closes the socket and says why. A frame that
//! may pass is answered with [`Output::Forward`]: the driver forwards the very bytes it handed in.

use crate::core::frame_head::{self, Form, Head, HeadError};
use crate::core::name::Name;
use crate::core::quota::{Bucket, Table};
use crate::limits::{
    CONTROL_RATE, FLOOD_RATE, OFFER_TARGET_RATE, OFFER_TARGETS_MAX, RATE_ERROR_RATE, SocketLimits,
    TOKEN_LEEWAY_S, VIOLATION_RATE,
};
use beeline_proto::code::ErrorCode;
use beeline_proto::pb::identity::v1::Versions;
use beeline_proto::pb::signal::v1::SignalFrame;
use beeline_proto::pb::signal::v1::signal_frame::Type;
use beeline_proto::time::Now;
use prost::Message as _;
use std::collections::VecDeque;
use std::fmt;

/// Close code of a socket whose device opened a newer one.
pub const CLOSE_SUPERSEDED: u16 = 4002;

/// Close code of a gateway that goes away (RFC 6455 §7.4.1).
pub const CLOSE_GOING_AWAY: u16 = 1001;

/// What a device's HELLO asks to be signed in by. Prints without the token.
#[derive(Clone, PartialEq)]
pub enum SignIn {
    /// The device's signature: makes a proven socket.
    Proof {
        /// Envelope of a `SocketProof`.
        proof: Vec<u8>,
        /// Serialized `Chain`; may be empty.
        chain: Vec<u8>,
        /// Versions of the signed lists the device holds.
        versions: Versions,
    },
    /// A bearer token: makes a bearer socket, or renews one.
    Token(String),
}

impl fmt::Debug for SignIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proof { proof, .. } => write!(f, "Proof({} bytes)", proof.len()),
            Self::Token(_) => f.write_str("Token(secret)"),
        }
    }
}

/// What a successful sign-in allows.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Grant {
    /// Whether it was by the device's signature.
    pub proven: bool,
    /// When the token ends, Unix milliseconds; `None` for proven sockets.
    pub expires_ms: Option<u64>,
    /// A descriptor newer than the device's; empty if there is none.
    pub descriptor: Vec<u8>,
    /// Revocations newer than the device's; empty if there are none.
    pub revocations: Vec<u8>,
}

/// What happened to the socket.
#[derive(Clone, PartialEq, Debug)]
pub enum Input<'a> {
    /// A text or binary frame came.
    Frame(Form, &'a [u8]),
    /// A ping or pong came.
    Control,
    /// The sign-in asked for by [`Output::Verify`] holds, and the hub took the socket.
    Granted(Grant),
    /// The sign-in does not hold.
    Refused(ErrorCode, &'static str),
    /// The frame just forwarded found nobody.
    Offline(Name),
    /// A newer socket of the device took over; its proof, empty for a bearer's.
    Superseded(Vec<u8>),
    /// What it was signed in by no longer holds.
    Ended(ErrorCode, &'static str),
    /// The reader is too slow.
    Overflow,
    /// The gateway shuts down; come back after so many milliseconds.
    GoAway(u32),
    /// [`Session::poll_timeout`] has come.
    Timeout,
}

/// What the driver does for it.
#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    /// Check the sign-in, then hand in `Granted` or `Refused`.
    Verify(Box<SignIn>),
    /// Forward the frame just handed in to this device, or hand in `Offline`.
    Forward(Name),
    /// Send a frame of the gateway's own, in [`Session::form`].
    Send(Box<SignalFrame>),
    /// Send a ping.
    Ping,
    /// Close with this code (RFC 6455 §7.4) and reason; the last output.
    Close(u16, &'static str),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Unproven, until the deadline.
    Hello { deadline_ms: u64 },
    /// A sign-in is being checked.
    Verifying,
    /// Signed in.
    Ready { expires_ms: Option<u64> },
    /// Over.
    Closed,
}

/// One socket.
#[derive(Debug)]
pub struct Session {
    device: Name,
    state: State,
    form: Form,
    heard_ms: u64,
    pinged_ms: u64,
    limits: SocketLimits,
    frames: Bucket,
    offers: Bucket,
    violations: Bucket,
    flood: Bucket,
    rate_errors: Bucket,
    controls: Bucket,
    targets: Table<Name>,
    out: VecDeque<Output>,
}

impl Session {
    /// A socket opened at `now` under the path `/{device}`; challenges it with `nonce`. `bearer` is
    /// the grant of a token that came with the upgrade.
    pub fn new(
        device: Name,
        nonce: [u8; 32],
        limits: SocketLimits,
        bearer: Option<Grant>,
        now: Now,
    ) -> Self {
        let mut session = Self {
            device,
            state: State::Hello {
                deadline_ms: now.mono_ms + limits.first_frame_ms,
            },
            form: Form::default(),
            heard_ms: now.mono_ms,
            pinged_ms: now.mono_ms,
            limits,
            frames: Bucket::default(),
            offers: Bucket::default(),
            violations: Bucket::default(),
            flood: Bucket::default(),
            rate_errors: Bucket::default(),
            controls: Bucket::default(),
            targets: Table::new(OFFER_TARGET_RATE, OFFER_TARGETS_MAX),
            out: VecDeque::new(),
        };
        let mut hello = session.frame(Type::Hello);
        hello.nonce = nonce.to_vec();
        if let Some(grant) = bearer {
            session.state = State::Ready {
                expires_ms: expiry(&grant, now),
            };
            hello.ready = true;
        }
        session.send(hello);
        session
    }

    /// The form of the gateway's own frames: the one the device last used.
    pub fn form(&self) -> Form {
        self.form
    }

    /// Whether it is signed in.
    pub fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready { .. })
    }

    /// Takes in what happened.
    pub fn handle_input(&mut self, now: Now, input: Input<'_>) {
        if self.state == State::Closed {
            return;
        }
        match input {
            Input::Frame(form, frame) => {
                self.heard_ms = now.mono_ms;
                self.form = form;
                self.on_frame(now, form, frame);
            }
            Input::Control => {
                self.heard_ms = now.mono_ms;
                if self.controls.take(CONTROL_RATE, now.mono_ms).is_err() {
                    self.close(ErrorCode::RateLimited.close(), "too many pings");
                }
            }
            Input::Granted(grant) => self.on_granted(now, grant),
            Input::Refused(code, why) => self.on_refused(code, why),
            Input::Offline(to) => self.refuse(ErrorCode::PeerOffline, "not connected", to, 0),
            Input::Superseded(proof) => {
                let mut frame = self.frame(Type::Superseded);
                frame.proof = proof;
                self.send(frame);
                self.close(CLOSE_SUPERSEDED, "a newer socket of this device took over");
            }
            Input::Ended(code, why) => self.end(code, why),
            Input::Overflow => self.close(ErrorCode::Unavailable.close(), "reading too slowly"),
            Input::GoAway(retry_after_ms) => {
                let mut frame = self.frame(Type::Goaway);
                frame.retry_after_ms = retry_after_ms;
                self.send(frame);
                self.close(CLOSE_GOING_AWAY, "the gateway is shutting down");
            }
            Input::Timeout => self.on_timeout(now),
        }
    }

    /// What to do next; drained to `None` after every input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When to hand in [`Input::Timeout`], monotonic milliseconds.
    pub fn poll_timeout(&self) -> Option<u64> {
        match self.state {
            State::Hello { deadline_ms } => Some(deadline_ms),
            State::Ready { expires_ms } => {
                let alive = self
                    .ping_at()
                    .min(self.heard_ms + self.limits.dead_after_ms);
                Some(alive.min(expires_ms.unwrap_or(u64::MAX)))
            }
            State::Verifying | State::Closed => None,
        }
    }

    fn ping_at(&self) -> u64 {
        self.heard_ms.max(self.pinged_ms) + self.limits.ping_after_ms
    }

    fn on_timeout(&mut self, now: Now) {
        match self.state {
            State::Hello { deadline_ms } if now.mono_ms >= deadline_ms => {
                self.end(ErrorCode::Unauthenticated, "no sign-in in time");
            }
            State::Ready { expires_ms } => {
                if expires_ms.is_some_and(|at| now.mono_ms >= at) {
                    self.end(ErrorCode::Unauthenticated, "the token has expired");
                } else if now.mono_ms >= self.heard_ms + self.limits.dead_after_ms {
                    self.close(ErrorCode::Timeout.close(), "no sign of life");
                } else if now.mono_ms >= self.ping_at() {
                    self.pinged_ms = now.mono_ms;
                    self.out.push_back(Output::Ping);
                }
            }
            _ => {}
        }
    }

    fn on_frame(&mut self, now: Now, form: Form, frame: &[u8]) {
        match self.state {
            State::Hello { .. } => self.on_first_frame(form, frame),
            State::Ready { .. } => self.on_signal(now, form, frame),
            // The driver reads nothing while it verifies.
            State::Verifying | State::Closed => {}
        }
    }

    // HELLO → VERIFYING, or over
    fn on_first_frame(&mut self, form: Form, frame: &[u8]) {
        let sign_in = match frame_head::parse(form, frame) {
            Ok(head) if head.kind == Type::Hello => decode_hello(form, frame),
            Ok(_) => return self.end(ErrorCode::Unauthenticated, "the first frame must be HELLO"),
            Err(error) => return self.end(ErrorCode::InvalidArgument, describe(error)),
        };
        match sign_in {
            Some(sign_in) => {
                self.state = State::Verifying;
                self.out.push_back(Output::Verify(Box::new(sign_in)));
            }
            None => self.end(
                ErrorCode::Unauthenticated,
                "HELLO must carry a proof or a token",
            ),
        }
    }

    // VERIFYING → READY, or READY with a renewed token
    fn on_granted(&mut self, now: Now, grant: Grant) {
        let expires_ms = expiry(&grant, now);
        self.heard_ms = now.mono_ms;
        self.state = State::Ready { expires_ms };
        let mut hello = self.frame(Type::Hello);
        hello.ready = true;
        hello.descriptor = grant.descriptor;
        hello.revocations = grant.revocations;
        self.send(hello);
    }

    fn on_refused(&mut self, code: ErrorCode, why: &'static str) {
        if self.is_ready() {
            // A renewal that failed: the old token still runs.
            let device = self.device;
            self.refuse(code, why, device, 0);
        } else {
            self.end(code, why);
        }
    }

    fn on_signal(&mut self, now: Now, form: Form, frame: &[u8]) {
        if let Err(wait_ms) = self.frames.take(self.limits.frame_rate, now.mono_ms) {
            return self.on_flood(now, wait_ms, Name::EMPTY);
        }
        let head = match frame_head::parse(form, frame) {
            Ok(head) => head,
            Err(error) => {
                let why = describe(error);
                return self.on_violation(now, ErrorCode::InvalidArgument, why, Name::EMPTY);
            }
        };
        match head.kind {
            Type::Offer | Type::Answer | Type::IceCandidate | Type::RelayRequest => {
                self.on_relayed(now, &head);
            }
            Type::Hello => self.on_renewal(now, form, frame),
            _ => {
                let why = "only a gateway sends frames of this type";
                self.on_violation(now, ErrorCode::InvalidArgument, why, head.to);
            }
        }
    }

    fn on_relayed(&mut self, now: Now, head: &Head) {
        if head.from != self.device {
            let why = "from must be this socket's deviceId";
            return self.on_violation(now, ErrorCode::PermissionDenied, why, head.to);
        }
        if head.to.is_empty() {
            let why = "to must name a device";
            return self.on_violation(now, ErrorCode::InvalidArgument, why, Name::EMPTY);
        }
        if head.kind == Type::Offer {
            let taken = self.targets.take(head.to, now.mono_ms);
            let taken = taken.and_then(|()| self.offers.take(self.limits.offer_rate, now.mono_ms));
            if let Err(wait_ms) = taken {
                return self.on_flood(now, wait_ms, head.to);
            }
        }
        self.out.push_back(Output::Forward(head.to));
    }

    fn on_renewal(&mut self, now: Now, form: Form, frame: &[u8]) {
        let expires = matches!(
            self.state,
            State::Ready {
                expires_ms: Some(_)
            }
        );
        match decode_hello(form, frame) {
            Some(SignIn::Token(token)) if expires => {
                self.out
                    .push_back(Output::Verify(Box::new(SignIn::Token(token))));
            }
            _ => {
                let why = "after sign-in, HELLO only renews the token of a bearer socket";
                self.on_violation(now, ErrorCode::InvalidArgument, why, Name::EMPTY);
            }
        }
    }

    /// A frame wrong in itself: answered, and forgiven a few times.
    fn on_violation(&mut self, now: Now, code: ErrorCode, why: &'static str, to: Name) {
        self.refuse(code, why, to, 0);
        if self.violations.take(VIOLATION_RATE, now.mono_ms).is_err() {
            self.close(
                ErrorCode::InvalidArgument.close(),
                "too many invalid frames",
            );
        }
    }

    /// A frame over the rate: dropped, answered now and then, and forgiven for a while.
    fn on_flood(&mut self, now: Now, wait_ms: u32, to: Name) {
        if self.rate_errors.take(RATE_ERROR_RATE, now.mono_ms).is_ok() {
            self.refuse(ErrorCode::RateLimited, "too many frames", to, wait_ms);
        }
        if self.flood.take(FLOOD_RATE, now.mono_ms).is_err() {
            self.close(ErrorCode::RateLimited.close(), "too many frames");
        }
    }

    /// Tells the device that its frame for `to` was refused. The error repeats the frame's `from`
    /// and `to`, so that the device knows which one it was.
    fn refuse(&mut self, code: ErrorCode, why: &'static str, to: Name, retry_after_ms: u32) {
        let mut frame = self.frame(Type::Error);
        frame.from = self.device.as_str().into();
        frame.to = to.as_str().into();
        frame.code = code.name().into();
        frame.message = why.into();
        frame.retry_after_ms = retry_after_ms;
        self.send(frame);
    }

    /// Tells the device why, and closes.
    fn end(&mut self, code: ErrorCode, why: &'static str) {
        self.refuse(code, why, Name::EMPTY, 0);
        self.close(code.close(), why);
    }

    fn close(&mut self, code: u16, why: &'static str) {
        self.state = State::Closed;
        self.out.push_back(Output::Close(code, why));
    }

    /// A frame of the gateway's own, to the device.
    fn frame(&self, kind: Type) -> SignalFrame {
        SignalFrame {
            r#type: kind as i32,
            to: self.device.as_str().into(),
            ..SignalFrame::default()
        }
    }

    fn send(&mut self, frame: SignalFrame) {
        self.out.push_back(Output::Send(Box::new(frame)));
    }
}

/// The end of a grant on the monotonic clock, leeway included.
fn expiry(grant: &Grant, now: Now) -> Option<u64> {
    let end_ms = grant.expires_ms?.saturating_add(TOKEN_LEEWAY_S * 1_000);
    Some(
        now.mono_ms
            .saturating_add(end_ms.saturating_sub(now.wall_ms)),
    )
}

/// Reads a HELLO whose head has been checked.
fn decode_hello(form: Form, frame: &[u8]) -> Option<SignIn> {
    let hello: SignalFrame = match form {
        Form::Text => serde_json::from_slice(frame).ok()?,
        Form::Binary => SignalFrame::decode(frame).ok()?,
    };
    if !hello.proof.is_empty() {
        return Some(SignIn::Proof {
            proof: hello.proof,
            chain: hello.chain,
            versions: hello.versions.unwrap_or_default(),
        });
    }
    (!hello.token.is_empty()).then_some(SignIn::Token(hello.token))
}

fn describe(error: HeadError) -> &'static str {
    match error {
        HeadError::Malformed => "the frame is not one well-formed JSON object or protobuf message",
        HeadError::Twice => "the frame gives a field twice",
        HeadError::UnknownType => "the frame's type is missing or unknown",
        HeadError::BadName => "from and to must be deviceIds: 1 to 64 of A-Z a-z 0-9 _ -",
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
