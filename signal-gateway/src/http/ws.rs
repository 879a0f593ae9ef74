//! One WebSocket: moves frames between the connection, its [`Session`] and the switchboard. It
//! decides nothing; the session does.

use crate::authority::Identity;
use crate::core::frame_head::Form;
use crate::core::name::Name;
use crate::core::session::{Grant, Input, Output, Session, SignIn};
use crate::http::accept::Peer;
use crate::http::io::{Connection, Metered};
use crate::limits::{
    CLOSE_DRAIN_LEN_MAX, CLOSE_TIMEOUT_MS, WS_BUFFER_LEN, WS_BYTES_PER_MESSAGE_MAX,
    WS_WRITE_BUFFER_LEN_MAX,
};
use crate::outbox::{End, Outbox};
use crate::signalling::Signalling;
use beeline_proto::code::ErrorCode;
use beeline_proto::limits::SIGNAL_FRAME_LEN_MAX;
use beeline_proto::pb::signal::v1::SignalFrame;
use beeline_proto::time::Now;
use bytes::Bytes;
use futures::{SinkExt as _, Stream as _, StreamExt as _};
use prost::Message as _;
use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::time::{Sleep, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

/// What a socket's task waits for.
enum Event {
    /// A message came.
    Message(Message),
    /// The connection broke, or broke the protocol.
    Failed(Error),
    /// The peer closed.
    Gone,
    /// The outbox has something.
    Queued,
    /// The session's time-out has come.
    Timeout,
}

/// A frame that arrived, while it is being dealt with.
type Current = Option<Message>;

struct Socket {
    ws: WebSocketStream<Metered>,
    session: Session,
    signalling: Arc<Signalling>,
    peer: Peer,
    name: Name,
    nonce: [u8; 32],
    outbox: Option<Arc<Outbox>>,
    /// Frames taken from the outbox; kept for its room.
    batch: VecDeque<Message>,
    timer: Pin<Box<Sleep>>,
    timer_ms: u64,
}

/// Runs a socket from the upgrade to its end.
pub async fn run(
    signalling: Arc<Signalling>,
    name: Name,
    connection: Connection,
    early: Bytes,
    peer: Peer,
    granted: Option<(Identity, Grant)>,
) {
    let mut nonce = [0; 32];
    if getrandom::fill(&mut nonce).is_err() {
        return;
    }
    let metered = Metered::new(connection, WS_BYTES_PER_MESSAGE_MAX);
    let config = Some(config());
    let ws = WebSocketStream::from_partially_read(metered, early.into(), Role::Server, config);
    let now = signalling.clock.now();
    let outbox = match &granted {
        None => None,
        Some((identity, _)) => {
            let identity = Arc::new(identity.clone());
            signalling.switchboard.open(identity, false, &[]).await
        }
    };
    let is_refused = granted.is_some() && outbox.is_none();
    let bearer = granted.map(|(_, grant)| grant).filter(|_| !is_refused);
    let mut socket = Socket {
        ws: ws.await,
        session: Session::new(name, nonce, signalling.socket_limits(&name), bearer, now),
        timer: Box::pin(sleep_until(signalling.clock.instant(now.mono_ms))),
        timer_ms: now.mono_ms,
        signalling,
        peer,
        name,
        nonce,
        outbox,
        batch: VecDeque::new(),
    };
    if is_refused {
        socket.session.handle_input(now, PROVEN_IS_OPEN);
    }
    if socket.outbox.is_some() {
        socket.signalling.metrics.sockets.inc();
    }
    socket.live().await;
    if let Some(outbox) = &socket.outbox {
        socket.signalling.switchboard.close(outbox).await;
        socket.signalling.metrics.sockets.dec();
    }
}

const PROVEN_IS_OPEN: Input<'static> = Input::Refused(
    ErrorCode::Conflict,
    "a socket proven by the device's signature is open",
);

/// Small buffers, our frame limit, masked frames only.
fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(WS_BUFFER_LEN)
        .write_buffer_size(WS_BUFFER_LEN)
        .max_write_buffer_size(WS_WRITE_BUFFER_LEN_MAX)
        .max_message_size(Some(SIGNAL_FRAME_LEN_MAX))
        .max_frame_size(Some(SIGNAL_FRAME_LEN_MAX))
        .accept_unmasked_frames(false)
}

impl Socket {
    async fn live(&mut self) {
        let mut current = None;
        while self.drain(current.take()).await.is_continue() {
            self.arm();
            let event = std::future::poll_fn(|cx| self.poll_event(cx)).await;
            let now = self.signalling.clock.now();
            match event {
                Event::Message(message) => {
                    self.ws.get_mut().reset();
                    self.on_message(now, &message);
                    current = Some(message);
                }
                Event::Queued => {
                    if self.write_queued().await.is_break() {
                        return;
                    }
                }
                Event::Timeout => self.session.handle_input(now, Input::Timeout),
                Event::Failed(error) => return self.on_failed(&error).await,
                Event::Gone => return,
            }
        }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if self
            .outbox
            .as_ref()
            .is_some_and(|outbox| outbox.poll_ready(cx).is_ready())
        {
            return Poll::Ready(Event::Queued);
        }
        match Pin::new(&mut self.ws).poll_next(cx) {
            Poll::Ready(Some(Ok(message))) => return Poll::Ready(Event::Message(message)),
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Event::Failed(error)),
            Poll::Ready(None) => return Poll::Ready(Event::Gone),
            Poll::Pending => {}
        }
        self.timer.as_mut().poll(cx).map(|()| Event::Timeout)
    }

    /// Sets the timer, unless it will go off early enough anyway: a frame moves the session's
    /// time-out back, and a timer that goes off for nothing is cheaper than one moved each time.
    fn arm(&mut self) {
        let want_ms = self.session.poll_timeout().unwrap_or(u64::MAX);
        if self.timer.is_elapsed() || want_ms < self.timer_ms {
            self.timer_ms = want_ms;
            self.timer
                .as_mut()
                .reset(self.signalling.clock.instant(want_ms));
        }
    }

    fn on_message(&mut self, now: Now, message: &Message) {
        let input = match message {
            Message::Text(text) => Input::Frame(Form::Text, text.as_bytes()),
            Message::Binary(bytes) => Input::Frame(Form::Binary, bytes),
            Message::Ping(_) | Message::Pong(_) => Input::Control,
            // Answered by the library, which then ends the stream.
            Message::Close(_) | Message::Frame(_) => return,
        };
        self.session.handle_input(now, input);
    }

    /// Does what the session wants done; breaks when the socket is over.
    async fn drain(&mut self, mut current: Current) -> ControlFlow<()> {
        let mut wrote = false;
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Forward(to) => {
                    if let Some(frame) = current.take() {
                        self.forward(to, frame).await;
                    }
                }
                Output::Send(frame) => {
                    self.feed(encode(self.session.form(), &frame)).await?;
                    wrote = true;
                }
                Output::Ping => {
                    self.feed(Message::Ping(Bytes::new())).await?;
                    wrote = true;
                }
                Output::Verify(sign_in) => self.verify(*sign_in).await,
                Output::Close(code, reason) => {
                    self.close(code, reason).await;
                    return ControlFlow::Break(());
                }
            }
        }
        if wrote {
            self.flush().await
        } else {
            ControlFlow::Continue(())
        }
    }

    /// Hands the frame on as it came: to a socket here, else to another node.
    async fn forward(&mut self, to: Name, frame: Message) {
        let Some(outbox) = &self.outbox else {
            return;
        };
        let (network, device) = (&outbox.identity.network, to.as_str());
        let (switchboard, metrics) = (&self.signalling.switchboard, &self.signalling.metrics);
        if switchboard.deliver(network, device, &frame) {
            metrics.frames_delivered.inc();
        } else if switchboard.publish(network, device, frame).await {
            metrics.frames_published.inc();
        } else {
            metrics.frames_offline.inc();
            let now = self.signalling.clock.now();
            self.session.handle_input(now, Input::Offline(to));
        }
    }

    async fn verify(&mut self, sign_in: SignIn) {
        let signalling = Arc::clone(&self.signalling);
        let device = self.name;
        let checked = signalling
            .sign_in(&sign_in, device.as_str(), &self.nonce)
            .await;
        let input = match checked {
            Ok((identity, grant)) => self.admit(identity, grant, &sign_in).await,
            Err(error) => Input::Refused(error.code, error.why),
        };
        self.session.handle_input(signalling.clock.now(), input);
    }

    /// Makes the socket the device's own, or renews it.
    async fn admit(
        &mut self,
        identity: Identity,
        grant: Grant,
        sign_in: &SignIn,
    ) -> Input<'static> {
        if let Some(outbox) = &self.outbox {
            const OTHER: &str = "the new token is for another device or network";
            let is_same = (outbox.identity.network, outbox.identity.device)
                == (identity.network, identity.device);
            return match is_same {
                true => Input::Granted(grant),
                false => Input::Refused(ErrorCode::Unauthenticated, OTHER),
            };
        }
        let proof = match sign_in {
            SignIn::Proof { proof, .. } => proof.as_slice(),
            SignIn::Token(_) => &[],
        };
        let switchboard = &self.signalling.switchboard;
        match switchboard
            .open(Arc::new(identity), grant.proven, proof)
            .await
        {
            Some(outbox) => {
                self.outbox = Some(outbox);
                self.peer.authenticated();
                self.signalling.metrics.sockets.inc();
                Input::Granted(grant)
            }
            None => PROVEN_IS_OPEN,
        }
    }

    /// Writes what others sent, and hears why the socket must end.
    async fn write_queued(&mut self) -> ControlFlow<()> {
        let mut batch = std::mem::take(&mut self.batch);
        let end = self
            .outbox
            .as_ref()
            .and_then(|outbox| outbox.take(&mut batch));
        let written = self.write_batch(&mut batch).await;
        batch.clear();
        self.batch = batch;
        let now = self.signalling.clock.now();
        match end {
            None => {}
            Some(End::Superseded(proof)) => {
                self.session.handle_input(now, Input::Superseded(proof));
            }
            Some(End::Refused(error)) => {
                self.session
                    .handle_input(now, Input::Ended(error.code, error.why));
            }
            Some(End::Overflow) => {
                self.signalling.metrics.slow_readers.inc();
                self.session.handle_input(now, Input::Overflow);
            }
            Some(End::GoAway(ms)) => self.session.handle_input(now, Input::GoAway(ms)),
        }
        written
    }

    async fn write_batch(&mut self, batch: &mut VecDeque<Message>) -> ControlFlow<()> {
        let limit = Duration::from_millis(self.signalling.limits.sockets.write_ms);
        let ws = &mut self.ws;
        let write = async {
            while let Some(frame) = batch.pop_front() {
                ws.feed(frame).await?;
            }
            ws.flush().await
        };
        let written = timeout(limit, write).await;
        self.written(written.ok())
    }

    async fn feed(&mut self, message: Message) -> ControlFlow<()> {
        let limit = Duration::from_millis(self.signalling.limits.sockets.write_ms);
        let written = timeout(limit, self.ws.feed(message)).await;
        self.written(written.ok())
    }

    async fn flush(&mut self) -> ControlFlow<()> {
        let limit = Duration::from_millis(self.signalling.limits.sockets.write_ms);
        let written = timeout(limit, self.ws.flush()).await;
        self.written(written.ok())
    }

    /// A write that failed or took too long ends the socket without a farewell: nobody reads.
    fn written(&self, written: Option<Result<(), Error>>) -> ControlFlow<()> {
        match written {
            Some(Ok(())) => ControlFlow::Continue(()),
            Some(Err(_)) => ControlFlow::Break(()),
            None => {
                self.signalling.metrics.slow_readers.inc();
                self.ws.get_ref().abort();
                ControlFlow::Break(())
            }
        }
    }

    /// The close code for what the peer did to the protocol, where it can still be told.
    async fn on_failed(&mut self, error: &Error) {
        let (code, reason) = match error {
            Error::Capacity(CapacityError::MessageTooLong { .. }) => {
                (ErrorCode::TooLarge.close(), "a frame is at most 64 KiB")
            }
            Error::Io(error) if error.kind() == io::ErrorKind::FileTooLarge => (
                ErrorCode::TooLarge.close(),
                "too many bytes without a message",
            ),
            Error::Utf8(_) => (1007, "text must be UTF-8"),
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => return,
            Error::Protocol(_) => (1002, "this is not the WebSocket protocol"),
            _ => return,
        };
        self.close(code, reason).await;
        let limit = Duration::from_millis(CLOSE_TIMEOUT_MS);
        // Either way the connection is over.
        let _ = timeout(limit, self.discard()).await;
    }

    /// Says goodbye and waits a moment for the peer to have read it: a connection closed with
    /// unread bytes is reset, and what was sent last is lost.
    async fn close(&mut self, code: u16, reason: &'static str) {
        let frame = CloseFrame {
            code: code.into(),
            reason: Utf8Bytes::from_static(reason),
        };
        let limit = Duration::from_millis(CLOSE_TIMEOUT_MS);
        self.ws.get_mut().unlimited();
        let _ = timeout(limit, async {
            self.ws.close(Some(frame)).await?;
            let mut left = CLOSE_DRAIN_LEN_MAX;
            while let Some(Ok(message)) = self.ws.next().await {
                left = left.saturating_sub(message.len().max(1));
                if left == 0 {
                    break;
                }
            }
            Ok::<(), Error>(())
        })
        .await;
    }

    /// Reads what a peer that broke the protocol still sends, up to a bound.
    async fn discard(&mut self) {
        // Not in place: it would make every idle socket's task larger by as much.
        let mut buffer = vec![0; WS_BUFFER_LEN];
        let mut left = CLOSE_DRAIN_LEN_MAX;
        let connection = self.ws.get_mut();
        while let Ok(len @ 1..) = connection.read(&mut buffer).await {
            left = left.saturating_sub(len);
            if left == 0 {
                break;
            }
        }
    }
}

/// A frame of the gateway's own.
fn encode(form: Form, frame: &SignalFrame) -> Message {
    match form {
        Form::Binary => Message::Binary(frame.encode_to_vec().into()),
        // Frames of ours hold nothing JSON cannot.
        Form::Text => Message::Text(serde_json::to_string(frame).unwrap_or_default().into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Size of the future that a function of six arguments makes.
    fn size<A, B, C, D, E, F, Fut>(_: impl Fn(A, B, C, D, E, F) -> Fut) -> usize {
        size_of::<Fut>()
    }

    /// An idle socket costs its read buffer, its task, and little else.
    #[test]
    fn a_sockets_task_is_small() {
        let size = size(run);
        assert!(size <= 4 * 1024, "{size} bytes");
    }
}
