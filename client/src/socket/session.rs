//! One connection to a gateway, or to a coordinator, which serves the same socket: dial, prove,
//! carry frames until it ends.

use super::frames::{Forms, Received, lists};
use super::{Credentials, SocketEvent, SocketIdentity};
use crate::clock;
use crate::identity::random;
use crate::limits::{
    CONNECT_TIMEOUT, SOCKET_DEAD_AFTER, SOCKET_HANDSHAKE_TIMEOUT, SOCKET_PING_EVERY,
};
use beeline_proto::envelope::{Context, sign};
use beeline_proto::id::MessageId;
use beeline_proto::limits::SIGNAL_FRAME_LEN_MAX;
use beeline_proto::origin::normalize;
use beeline_proto::pb::signal::v1::signal_frame::Type;
use beeline_proto::pb::signal::v1::{SignalFrame, SocketProof};
use client_core::input::{SignalInput, SocketId};
use client_core::output::SignalCommand;
use futures::{SinkExt as _, StreamExt as _};
use prost::Message as _;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Bytes, Message};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream};

/// Buffers of the WebSocket library, bytes: its default of 128 KiB is for bulk, frames are 21 KiB
/// at most.
const READ_BUFFER: usize = 16 * 1024;

/// Why a connection ended.
#[derive(Debug)]
pub(super) enum End {
    /// The driver dropped its end.
    DriverGone,
    /// A newer socket of this device took over.
    Superseded(Vec<u8>),
    /// The gateway asked to come back later.
    GoAway { wait: Duration, reason: String },
    /// It was told to dial again at once.
    Redial,
    /// Anything else.
    Lost(String),
}

type Stream = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A socket that is ready.
pub(super) struct Session {
    stream: Stream,
    device: String,
    forms: Forms,
    since: Instant,
}

impl Session {
    /// Dials `gateway` and signs in. Returns the session and the lists the gateway handed over.
    pub(super) async fn dial(
        socket: SocketId,
        gateway: &str,
        identity: &SocketIdentity,
        credentials: Credentials,
        tls: &Arc<rustls::ClientConfig>,
    ) -> Result<(Self, Option<SignalInput>), String> {
        let url = socket_url(gateway, identity.device.as_str())
            .ok_or_else(|| format!("{gateway} is no http or https address"))?;
        let mut config = WebSocketConfig::default();
        config.read_buffer_size = READ_BUFFER;
        config.max_message_size = Some(SIGNAL_FRAME_LEN_MAX);
        config.max_frame_size = Some(SIGNAL_FRAME_LEN_MAX);
        let connector = Connector::Rustls(Arc::clone(tls));
        let connecting = tokio_tungstenite::connect_async_tls_with_config(
            &url,
            Some(config),
            true,
            Some(connector),
        );
        let connected = timeout(CONNECT_TIMEOUT, connecting).await;
        let connected = connected.map_err(|_| "connecting took too long".to_owned())?;
        let (stream, _) = connected.map_err(|e| describe(&e))?;
        let mut session = Self {
            stream,
            device: identity.device.to_string(),
            forms: Forms::new(socket),
            since: clock::instant(),
        };
        let signing_in = session.sign_in(gateway, identity, credentials);
        let signed_in = timeout(SOCKET_HANDSHAKE_TIMEOUT, signing_in).await;
        let ready = signed_in.map_err(|_| "signing in took too long".to_owned())??;
        Ok((session, lists(ready)))
    }

    /// How long it has been open.
    pub(super) fn lived(&self) -> Duration {
        clock::instant().duration_since(self.since)
    }

    async fn sign_in(
        &mut self,
        gateway: &str,
        identity: &SocketIdentity,
        credentials: Credentials,
    ) -> Result<SignalFrame, String> {
        let challenge = self.hello().await?;
        let origin = normalize(gateway).ok_or("the gateway's address is no origin")?;
        let proof = prove(identity, origin, challenge.nonce)?;
        let hello = SignalFrame {
            r#type: Type::Hello.into(),
            from: self.device.clone(),
            proof,
            chain: credentials.chain,
            versions: Some(credentials.versions),
            ..SignalFrame::default()
        };
        let frame = Message::binary(hello.encode_to_vec());
        self.stream.send(frame).await.map_err(|e| describe(&e))?;
        let ready = self.hello().await?;
        if ready.ready {
            Ok(ready)
        } else {
            Err("the gateway did not say that the socket is ready".to_owned())
        }
    }

    /// Waits for the gateway's HELLO.
    async fn hello(&mut self) -> Result<SignalFrame, String> {
        loop {
            let message = match self.stream.next().await {
                Some(Ok(message)) => message,
                Some(Err(error)) => return Err(describe(&error)),
                None => return Err("the gateway closed the socket".to_owned()),
            };
            if let Some(reason) = closed(&message) {
                return Err(reason);
            }
            match self.forms.decode(&message) {
                Received::Hello(frame) => return Ok(*frame),
                Received::Nothing => {}
                Received::Input(SignalInput::Error { code, .. }) => {
                    return Err(format!("the gateway refused to sign us in: {code}"));
                }
                _ => return Err("the gateway did not begin with HELLO".to_owned()),
            }
        }
    }

    /// Carries frames both ways until the connection ends.
    pub(super) async fn run(
        &mut self,
        commands: &mut mpsc::Receiver<SignalCommand>,
        events: &mpsc::Sender<SocketEvent>,
    ) -> End {
        let mut heard = clock::instant();
        let mut ping = tokio::time::interval(SOCKET_PING_EVERY);
        ping.reset();
        loop {
            let step = tokio::select! {
                message = self.stream.next() => {
                    heard = clock::instant();
                    match message {
                        Some(Ok(message)) => self.on_message(message, events).await,
                        Some(Err(error)) => Err(End::Lost(describe(&error))),
                        None => Err(End::Lost("the gateway closed the socket".to_owned())),
                    }
                }
                command = commands.recv() => match command {
                    Some(command) => self.on_command(command, events).await,
                    None => {
                        // A polite close; the other side may be gone already.
                        let _ = timeout(SOCKET_HANDSHAKE_TIMEOUT, self.stream.close(None)).await;
                        Err(End::DriverGone)
                    }
                },
                _ = ping.tick() => {
                    if clock::instant().duration_since(heard) >= SOCKET_DEAD_AFTER {
                        Err(End::Lost("the gateway fell silent".to_owned()))
                    } else {
                        self.send(Message::Ping(Bytes::new())).await
                    }
                }
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    async fn on_command(
        &mut self,
        command: SignalCommand,
        events: &mpsc::Sender<SocketEvent>,
    ) -> Result<(), End> {
        let carried = SocketEvent::Carried {
            sent: true,
            kind: command.kind,
            peer: command.to.to_string(),
            bytes: command.parcel.len(),
        };
        let message = self.forms.encode(&self.device, command);
        self.send(message).await?;
        tell(events, carried).await
    }

    async fn on_message(
        &mut self,
        message: Message,
        events: &mpsc::Sender<SocketEvent>,
    ) -> Result<(), End> {
        if let Some(reason) = closed(&message) {
            return Err(End::Lost(reason));
        }
        match self.forms.decode(&message) {
            Received::Input(input) => tell(events, SocketEvent::Signal(input)).await,
            Received::Carried(input, kind, bytes) => {
                if let SignalInput::Parcel { from, .. } = &input {
                    let peer = from.clone();
                    let sent = false;
                    let carried = SocketEvent::Carried {
                        sent,
                        kind,
                        peer,
                        bytes,
                    };
                    tell(events, carried).await?;
                }
                tell(events, SocketEvent::Signal(input)).await
            }
            Received::Superseded(proof) => Err(End::Superseded(proof)),
            Received::GoAway(wait) => Err(End::GoAway {
                wait,
                reason: "the gateway is going away".to_owned(),
            }),
            Received::Hello(frame) => match lists(*frame) {
                Some(input) => tell(events, SocketEvent::Signal(input)).await,
                None => Ok(()),
            },
            Received::Nothing => Ok(()),
            Received::Malformed => {
                tracing::debug!("the gateway sent what is no frame");
                Ok(())
            }
        }
    }

    async fn send(&mut self, message: Message) -> Result<(), End> {
        match timeout(SOCKET_HANDSHAKE_TIMEOUT, self.stream.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(End::Lost(describe(&error))),
            Err(_) => Err(End::Lost("the gateway stopped reading".to_owned())),
        }
    }
}

async fn tell(events: &mpsc::Sender<SocketEvent>, event: SocketEvent) -> Result<(), End> {
    events.send(event).await.map_err(|_| End::DriverGone)
}

/// Where a device's socket is at a gateway: `https://host` becomes `wss://host/<device>`.
pub(crate) fn socket_url(gateway: &str, device: &str) -> Option<String> {
    let origin = normalize(gateway)?;
    let (scheme, host) = origin.split_once("://")?;
    let scheme = if scheme == "https" { "wss" } else { "ws" };
    Some(format!("{scheme}://{host}/{device}"))
}

/// The origin to dial for a coordinator's address, `wss://host/{its deviceId}`; `None` for what is
/// no such address.
pub(super) fn origin_of(addr: &str) -> Option<String> {
    let is_socket = addr.starts_with("ws://") || addr.starts_with("wss://");
    normalize(addr).filter(|_| is_socket)
}

/// Signs the gateway's nonce, for the origin as dialled: carried to another gateway it is void.
fn prove(identity: &SocketIdentity, origin: String, nonce: Vec<u8>) -> Result<Vec<u8>, String> {
    if nonce.len() != 32 {
        return Err("the gateway's nonce is not 32 bytes".to_owned());
    }
    let device = identity.device_key.verify_key().fp();
    let context = Context::unordered(identity.network, device, MessageId(random()?));
    let proof = SocketProof {
        context: Some(context.to_pb()),
        origin,
        nonce,
        boot_id: identity.boot_id.to_vec(),
        device_id: identity.device.to_string(),
    };
    Ok(sign(&identity.device_key, &proof))
}

/// What a close frame says.
fn closed(message: &Message) -> Option<String> {
    match message {
        Message::Close(Some(frame)) => Some(format!(
            "the gateway closed the socket: {} ({})",
            frame.reason.as_str(),
            u16::from(frame.code)
        )),
        Message::Close(None) => Some("the gateway closed the socket".to_owned()),
        _ => None,
    }
}

fn describe(error: &tungstenite::Error) -> String {
    match error {
        tungstenite::Error::Http(answer) => {
            format!("the gateway refused the socket with {}", answer.status())
        }
        other => other.to_string(),
    }
}
