//! All signalling sockets of a client: the gateway's, which is dialled for ever; a coordinator's
//! own; and those of coordinators, opened and closed as the core says.

use super::once::Once;
use super::{Credentials, Socket, SocketEvent, SocketHandle, SocketIdentity};
use crate::limits::{SOCKET_TASKS_MAX, SOCKETS_MAX};
use client_core::input::SocketId;
use client_core::output::SignalCommand;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The sockets, each a task with a queue either way.
pub(crate) struct Sockets {
    identity: SocketIdentity,
    credentials: watch::Receiver<Credentials>,
    tls: Arc<rustls::ClientConfig>,
    slots: BTreeMap<SocketId, SocketHandle>,
    /// Who was heard last, so that a busy socket does not silence the others.
    heard: SocketId,
    tasks: JoinSet<()>,
}

impl Sockets {
    /// None yet. What is dialled later signs in with the newest of `credentials`.
    pub(crate) fn new(
        identity: SocketIdentity,
        credentials: watch::Receiver<Credentials>,
        tls: Arc<rustls::ClientConfig>,
    ) -> Self {
        Self {
            identity,
            credentials,
            tls,
            slots: BTreeMap::new(),
            heard: SocketId::GATEWAY,
            tasks: JoinSet::new(),
        }
    }

    /// Dials the gateways of `credentials`, and again whenever the socket is lost.
    pub(crate) fn keep(&mut self, id: SocketId, credentials: watch::Receiver<Credentials>) {
        let (identity, tls) = (self.identity.clone(), Arc::clone(&self.tls));
        let (socket, handle) = Socket::new(id, identity, credentials, tls);
        self.tasks.spawn(socket.run());
        self.slots.insert(id, handle);
    }

    /// Dials a coordinator, once. `false` where there is no room for it.
    pub(crate) fn open(&mut self, id: SocketId, addr: &str) -> bool {
        while self.tasks.try_join_next().is_some() {}
        self.slots.remove(&id);
        if self.slots.len() >= SOCKETS_MAX || self.tasks.len() >= SOCKET_TASKS_MAX {
            return false;
        }
        let credentials = self.credentials.borrow().clone();
        let (identity, tls) = (self.identity.clone(), Arc::clone(&self.tls));
        let (socket, handle) = Once::new(id, addr, identity, credentials, tls);
        self.tasks.spawn(socket.run());
        self.slots.insert(id, handle);
        true
    }

    /// Closes a socket; nothing more is heard of it.
    pub(crate) fn close(&mut self, id: SocketId) {
        self.slots.remove(&id);
    }

    /// Has a kept socket give up its connection, or the pause before the next, and dial again.
    pub(crate) fn redial(&self, id: SocketId) {
        if let Some(slot) = self.slots.get(&id) {
            slot.redial.notify_one();
        }
    }

    /// Queues a frame; `false` where its socket is not open or its queue is full.
    pub(crate) fn send(&self, command: SignalCommand) -> bool {
        let slot = self.slots.get(&command.socket);
        slot.is_some_and(|slot| slot.commands.try_send(command).is_ok())
    }

    /// The next event of any socket; never, where there is none.
    pub(crate) async fn next(&mut self) -> (SocketId, SocketEvent) {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<(SocketId, SocketEvent)> {
        let heard = self.heard;
        let after = self.slots.keys().filter(|id| **id > heard);
        let rest = self.slots.keys().filter(|id| **id <= heard);
        let order: Vec<SocketId> = after.chain(rest).copied().collect();
        for id in order {
            let Some(slot) = self.slots.get_mut(&id) else {
                continue;
            };
            match slot.events.poll_recv(cx) {
                Poll::Ready(Some(event)) => {
                    self.heard = id;
                    return Poll::Ready((id, event));
                }
                // Its task has ended: everything it had to tell was told.
                Poll::Ready(None) => {
                    self.slots.remove(&id);
                }
                Poll::Pending => {}
            }
        }
        Poll::Pending
    }

    /// Says goodbye on all sockets and waits for it.
    pub(crate) async fn end(&mut self) {
        self.slots.clear();
        while self.tasks.join_next().await.is_some() {}
    }
}
