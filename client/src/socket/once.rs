//! A coordinator's signalling socket: dialled once, told up or down, and gone. Whether it is worth
//! another dial is the core's to say.

use super::session::{End, Session, origin_of};
use super::{Credentials, SocketEvent, SocketHandle, SocketIdentity};
use crate::limits::{SOCKET_RECEIVE_QUEUE, SOCKET_SEND_QUEUE};
use client_core::input::SocketId;
use client_core::output::SignalCommand;
use std::sync::Arc;
use tokio::sync::{Notify, mpsc, oneshot};

/// Everything the task needs.
pub(super) struct Once {
    id: SocketId,
    addr: String,
    identity: SocketIdentity,
    credentials: Credentials,
    tls: Arc<rustls::ClientConfig>,
    commands: mpsc::Receiver<SignalCommand>,
    events: mpsc::Sender<SocketEvent>,
}

impl Once {
    /// A socket at a coordinator's address, `wss://host/{its deviceId}`, that dials once its task
    /// runs.
    pub(super) fn new(
        id: SocketId,
        addr: &str,
        identity: SocketIdentity,
        credentials: Credentials,
        tls: Arc<rustls::ClientConfig>,
    ) -> (Self, SocketHandle) {
        let (command_tx, commands) = mpsc::channel(SOCKET_SEND_QUEUE);
        let (events, event_rx) = mpsc::channel(SOCKET_RECEIVE_QUEUE);
        let socket = Self {
            id,
            addr: addr.to_owned(),
            identity,
            credentials,
            tls,
            commands,
            events,
        };
        let handle = SocketHandle {
            commands: command_tx,
            events: event_rx,
            // Nobody redials it: the core opens another.
            redial: Arc::new(Notify::new()),
        };
        (socket, handle)
    }

    /// Runs until the connection ends, or the driver drops its end.
    pub(super) async fn run(mut self) {
        let gateway = origin_of(&self.addr).unwrap_or_else(|| self.addr.clone());
        let end = tokio::select! {
            dialled = self.dial(&gateway) => dialled,
            () = self.events.closed() => return,
        };
        let end = match end {
            Ok(mut session) => self.carry(&gateway, &mut session).await,
            Err(reason) => End::Lost(reason),
        };
        let reason = match end {
            End::DriverGone => return,
            End::Superseded(proof) => {
                // The verdict is of no use here: nothing is dialled again by itself.
                let (dial_again, _) = oneshot::channel();
                let event = SocketEvent::Superseded { proof, dial_again };
                if self.events.send(event).await.is_err() {
                    return;
                }
                "a newer socket of this device took over".to_owned()
            }
            End::GoAway { reason, .. } | End::Lost(reason) => reason,
            End::Redial => "it was to be dialled again".to_owned(),
        };
        // A driver that is gone needs no answer.
        let _ = self
            .events
            .send(SocketEvent::Down { gateway, reason })
            .await;
    }

    async fn dial(&self, gateway: &str) -> Result<(Session, Option<SocketEvent>), String> {
        let credentials = self.credentials.clone();
        let dialled = Session::dial(self.id, gateway, &self.identity, credentials, &self.tls);
        let (session, lists) = dialled.await?;
        Ok((session, lists.map(SocketEvent::Signal)))
    }

    async fn carry(
        &mut self,
        gateway: &str,
        (session, lists): &mut (Session, Option<SocketEvent>),
    ) -> End {
        let up = SocketEvent::Up {
            gateway: gateway.to_owned(),
        };
        for event in [Some(up), lists.take()].into_iter().flatten() {
            if self.events.send(event).await.is_err() {
                return End::DriverGone;
            }
        }
        session.run(&mut self.commands, &self.events).await
    }
}
