//! The signalling socket: dials a gateway, proves the device, carries frames, and dials again when
//! it is lost. One task; it translates and waits, and believes nothing it carries.
//!
//! A coordinator serves the same socket; a client dials it [once] each time the core says so. All
//! sockets of a client are its [set].
//!
//! ```text
//! dial ── HELLO{nonce} ─▶ HELLO{proof, chain} ─▶ HELLO{ready} ── frames … ── lost
//!   ▲                                                                          │
//!   └──────────── 0.5 s … 30 s, full jitter; the next gateway ◀────────────────┘
//! ```

mod backoff;
mod frames;
mod once;
mod session;
mod set;

use crate::limits::{GOAWAY_MAX, SOCKET_RECEIVE_QUEUE, SOCKET_SEND_QUEUE};
use backoff::Backoff;
use beeline_proto::id::{BootId, Label, NetworkFp};
use beeline_proto::keys::SigningKey;
use beeline_proto::pb::identity::v1::Versions;
use client_core::input::{SignalInput, SocketId};
use client_core::output::{SignalCommand, SignalKind};
pub(crate) use session::socket_url;
use session::{End, Session};
pub(crate) use set::Sockets;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot, watch};

/// What the socket signs in with. Changes when our own chain does.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Credentials {
    /// Origins to dial, the first tried first.
    pub(crate) gateways: Vec<String>,
    /// The serialized chain.
    pub(crate) chain: Vec<u8>,
    /// Versions of the signed lists we hold.
    pub(crate) versions: Versions,
}

/// Who the socket speaks for.
#[derive(Debug, Clone)]
pub(crate) struct SocketIdentity {
    pub(crate) network: NetworkFp,
    pub(crate) device: Label,
    pub(crate) device_key: SigningKey,
    pub(crate) boot_id: BootId,
}

/// What the socket tells the driver.
#[derive(Debug)]
pub(crate) enum SocketEvent {
    /// It is ready, at this gateway.
    Up { gateway: String },
    /// It is gone, or could not be made.
    Down { gateway: String, reason: String },
    /// A frame for the core.
    Signal(SignalInput),
    /// A frame with a parcel, counted beside the input it became.
    Carried {
        sent: bool,
        kind: SignalKind,
        peer: String,
        bytes: usize,
    },
    /// A newer socket of this device took over. Whether to dial again is the core's to say.
    Superseded {
        proof: Vec<u8>,
        dial_again: oneshot::Sender<bool>,
    },
}

/// The driver's end of the socket's task.
pub(crate) struct SocketHandle {
    pub(crate) commands: mpsc::Sender<SignalCommand>,
    pub(crate) events: mpsc::Receiver<SocketEvent>,
    /// Told when the connection, or the pause before the next, is to be given up.
    pub(crate) redial: Arc<Notify>,
}

/// Everything the task needs.
pub(crate) struct Socket {
    id: SocketId,
    identity: SocketIdentity,
    credentials: watch::Receiver<Credentials>,
    tls: Arc<rustls::ClientConfig>,
    commands: mpsc::Receiver<SignalCommand>,
    events: mpsc::Sender<SocketEvent>,
    redial: Arc<Notify>,
}

/// How a pause ended.
enum Pause {
    Over,
    /// It is to be a short one from now on.
    Redial,
    DriverGone,
}

impl Socket {
    /// A socket that dials once its task runs, and again whenever it is lost.
    pub(crate) fn new(
        id: SocketId,
        identity: SocketIdentity,
        credentials: watch::Receiver<Credentials>,
        tls: Arc<rustls::ClientConfig>,
    ) -> (Self, SocketHandle) {
        let (command_tx, commands) = mpsc::channel(SOCKET_SEND_QUEUE);
        let (events, event_rx) = mpsc::channel(SOCKET_RECEIVE_QUEUE);
        let redial = Arc::new(Notify::new());
        let socket = Self {
            id,
            identity,
            credentials,
            tls,
            commands,
            events,
            redial: Arc::clone(&redial),
        };
        let handle = SocketHandle {
            commands: command_tx,
            events: event_rx,
            redial,
        };
        (socket, handle)
    }

    /// Runs until the driver drops its end, or a take-over says to stay away.
    pub(crate) async fn run(mut self) {
        let mut backoff = Backoff::default();
        let mut turn = 0usize;
        loop {
            let credentials = self.credentials.borrow_and_update().clone();
            let Some(gateway) = pick(&credentials.gateways, turn) else {
                // A newer descriptor may name gateways.
                if self.credentials.changed().await.is_err() {
                    return;
                }
                continue;
            };
            turn = turn.wrapping_add(1);
            let end = self.serve(&gateway, credentials, &mut backoff).await;
            let wait = match end {
                End::DriverGone => return,
                End::Superseded(proof) => match self.superseded(&gateway, proof).await {
                    true => backoff.next().max(crate::limits::RECONNECT_MIN),
                    false => return,
                },
                End::GoAway { wait, reason } => {
                    self.down(&gateway, reason).await;
                    wait.min(GOAWAY_MAX) + backoff.next()
                }
                End::Lost(reason) => {
                    self.down(&gateway, reason).await;
                    backoff.next()
                }
                End::Redial => {
                    self.down(&gateway, "the network changed".to_owned()).await;
                    backoff.afresh()
                }
            };
            if !self.pause(wait, &mut backoff).await {
                return;
            }
        }
    }

    /// One connection, from dialling to its end.
    async fn serve(
        &mut self,
        gateway: &str,
        credentials: Credentials,
        backoff: &mut Backoff,
    ) -> End {
        let dialled = tokio::select! {
            dialled =
                Session::dial(self.id, gateway, &self.identity, credentials, &self.tls) => dialled,
            () = self.events.closed() => return End::DriverGone,
            () = self.redial.notified() => return End::Redial,
        };
        let (mut session, lists) = match dialled {
            Ok(ready) => ready,
            Err(reason) => return End::Lost(reason),
        };
        // What waited for the lost socket is stale: offers and candidates are made anew.
        while self.commands.try_recv().is_ok() {}
        let up = SocketEvent::Up {
            gateway: gateway.to_owned(),
        };
        if self.events.send(up).await.is_err() {
            return End::DriverGone;
        }
        if let Some(lists) = lists
            && self.events.send(SocketEvent::Signal(lists)).await.is_err()
        {
            return End::DriverGone;
        }
        let end = tokio::select! {
            end = session.run(&mut self.commands, &self.events) => end,
            () = self.redial.notified() => End::Redial,
        };
        backoff.lived(session.lived());
        end
    }

    async fn down(&self, gateway: &str, reason: String) {
        let gateway = gateway.to_owned();
        // Whether the driver is gone is asked again before the next dial.
        let _ = self
            .events
            .send(SocketEvent::Down { gateway, reason })
            .await;
    }

    /// Tells of a take-over and asks whether to come back.
    async fn superseded(&self, gateway: &str, proof: Vec<u8>) -> bool {
        let (dial_again, answer) = oneshot::channel();
        let event = SocketEvent::Superseded { proof, dial_again };
        if self.events.send(event).await.is_err() {
            return false;
        }
        self.down(
            gateway,
            "a newer socket of this device took over".to_owned(),
        )
        .await;
        answer.await.unwrap_or(false)
    }

    /// Waits, dropping what cannot be sent meanwhile; a redial makes it a short wait. `false` when
    /// the driver is gone.
    async fn pause(&mut self, mut wait: Duration, backoff: &mut Backoff) -> bool {
        loop {
            match self.pause_once(wait).await {
                Pause::Over => return true,
                Pause::Redial => wait = backoff.afresh(),
                Pause::DriverGone => return false,
            }
        }
    }

    async fn pause_once(&mut self, wait: Duration) -> Pause {
        let timer = tokio::time::sleep(wait);
        tokio::pin!(timer);
        loop {
            tokio::select! {
                () = &mut timer => return Pause::Over,
                () = self.events.closed() => return Pause::DriverGone,
                () = self.redial.notified() => return Pause::Redial,
                command = self.commands.recv() => match command {
                    Some(_) => {}
                    None => return Pause::DriverGone,
                },
            }
        }
    }
}

fn pick(gateways: &[String], turn: usize) -> Option<String> {
    let index = turn.checked_rem(gateways.len())?;
    gateways.get(index).cloned()
}

#[cfg(test)]
#[path = "socket/tests.rs"]
mod tests;
