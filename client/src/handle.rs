//! [`Client`]: the handle of a running client. Cheap to clone; every method is safe to call from
//! any task. One driver task does the work, on the runtime `start` was called in.
//!
//! ```text
//! let client = Client::start(options).await?;
//! let mut events = client.subscribe();          // before sending: no event is missed
//! let sent = client.send(&to, "hello", None).await?;   // durable now
//! while let Ok(event) = events.recv().await { … }      // Lagged(n) says what was missed
//! client.shutdown().await;
//! ```

mod files;

use crate::doctor::{self, Check, Linked, Running};
use crate::driver::{self, DriverCommand, Picture};
use crate::error::{QueryError, SendError, StartError};
use crate::limits::{CLOSE_TIMEOUT, DRAIN_TIMEOUT, PUBLISH_WAIT};
use crate::options::Options;
use crate::report::{
    ClientEvent, Fact, HistoryItem, InboxKey, PeerInfo, RouteInfo, SafetyNumber, Snapshot, Status,
    Story, Unshown, Who,
};
use crate::rest::TokenError;
use crate::store::{Reader, Store};
use beeline_proto::envelope::split;
use beeline_proto::id::{Label, MessageId, UserFp};
use beeline_proto::pb::identity::v1::DeviceList;
use client_core::event::Event;
use prost::Message as _;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinSet;

/// A message that is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Its id; `id.to_text()` is what people see.
    pub id: MessageId,
    /// Whether an earlier call with the same idempotency key had made it.
    pub repeated: bool,
}

/// A running client.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) commands: mpsc::Sender<DriverCommand>,
    pub(crate) events: broadcast::Sender<ClientEvent>,
    pub(crate) snapshot: watch::Receiver<Snapshot>,
    pub(crate) who: Who,
    /// What it was started with.
    pub(crate) options: Options,
    pub(crate) reader: Arc<Mutex<Reader>>,
    pub(crate) store: Store,
    /// The driver; ends with the last handle.
    pub(crate) driver: Mutex<JoinSet<()>>,
}

impl Client {
    /// Takes the home, opens its store and starts the driver. Returns before anything is reached:
    /// [`Client::wait_online`] waits for that.
    ///
    /// # Errors
    /// [`StartError`]; a home another process owns is `HomeError::Busy`, which names it.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let inner = driver::start(options).await?;
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Queues a text for a user. Returns once it is committed to the outbox, or refused.
    ///
    /// # Errors
    /// [`SendError::Refused`]: nothing was stored. [`SendError::Stopped`]: not known.
    pub async fn send(
        &self,
        to: &Label,
        text: &str,
        idempotency_key: Option<&str>,
    ) -> Result<Sent, SendError> {
        let (answer, sent) = oneshot::channel();
        let command = DriverCommand::Send {
            to: to.clone(),
            text: text.to_owned(),
            idempotency_key: idempotency_key.map(str::to_owned),
            answer,
        };
        let taken = self.inner.commands.send(command).await;
        taken.map_err(|_| SendError::Stopped)?;
        sent.await.map_err(|_| SendError::Stopped)?
    }

    /// Everything that happens from now on. A slow reader gets `RecvError::Lagged(n)` for what it
    /// missed, and finds the truth in [`Client::why`], [`Client::unshown`] and [`Client::status`].
    pub fn subscribe(&self) -> broadcast::Receiver<ClientEvent> {
        self.inner.events.subscribe()
    }

    /// What the client is and how it stands.
    ///
    /// # Errors
    /// [`QueryError::Store`], [`QueryError::Stopped`].
    pub async fn status(&self) -> Result<Status, QueryError> {
        let counts = self.ask(|reader| reader.counts()).await?;
        let core = self.picture(Picture::Status).await?;
        let snapshot = self.inner.snapshot.borrow().clone();
        Ok(Status {
            who: self.inner.who.clone(),
            core,
            ice: self.inner.options.ice,
            gateway: snapshot.socket,
            running_elsewhere: snapshot.running_elsewhere,
            store_failed: snapshot.store_failed,
            counts,
            commits: self.inner.store.commits(),
        })
    }

    /// How this host is connected, and what to change: asks servers, and looks at every link.
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn doctor(&self) -> Result<Vec<Check>, TokenError> {
        let running = self.connections().await?;
        doctor::examine(&self.inner.options, Some(&running)).await
    }

    /// The gateway, and every open link with what it says of itself.
    async fn connections(&self) -> Result<Running, QueryError> {
        let reports = self.picture(Picture::Reports).await?;
        let mut said = BTreeMap::new();
        for (link, report) in reports {
            said.insert(link, report.await.unwrap_or_default());
        }
        let peers = self.peers().await?.into_iter();
        let links =
            peers.flat_map(|peer| peer.links.into_iter().map(move |l| (peer.label.clone(), l)));
        let links = links.filter_map(|(user, link)| {
            Some(Linked {
                user,
                device: link.device_label,
                report: said.remove(&link.id)?,
            })
        });
        let links = links.collect();
        let gateway = self.inner.snapshot.borrow().socket.clone();
        Ok(Running { gateway, links })
    }

    /// Who the client is.
    pub fn who(&self) -> &Who {
        &self.inner.who
    }

    /// The users the client deals with, by userId.
    ///
    /// # Errors
    /// [`QueryError::Stopped`].
    pub async fn peers(&self) -> Result<Vec<PeerInfo>, QueryError> {
        self.picture(Picture::Peers).await
    }

    /// The routes known, by userId and device.
    ///
    /// # Errors
    /// [`QueryError::Stopped`].
    pub async fn routes(&self) -> Result<Vec<RouteInfo>, QueryError> {
        self.picture(Picture::Routes).await
    }

    /// The last `limit` messages with a user, oldest first.
    ///
    /// # Errors
    /// [`QueryError::Store`].
    pub async fn history(
        &self,
        user: &Label,
        limit: usize,
    ) -> Result<Vec<HistoryItem>, QueryError> {
        let user = user.clone();
        self.ask(move |reader| reader.history(&user, limit)).await
    }

    /// What happened to a message, ours or theirs.
    ///
    /// # Errors
    /// [`QueryError::NotFound`] or [`QueryError::Store`].
    pub async fn why(&self, id: MessageId) -> Result<Story, QueryError> {
        self.ask(move |reader| reader.why(id)).await
    }

    /// The safety number with a user. With `accept`, the key it shows is accepted first: a changed
    /// key becomes the pinned one, and the contact counts as verified.
    ///
    /// # Errors
    /// [`QueryError::NotFound`] for a user nothing is known of; [`QueryError::Refused`].
    pub async fn verify(&self, user: &Label, accept: bool) -> Result<SafetyNumber, QueryError> {
        if accept {
            let (answer, done) = oneshot::channel();
            let command = DriverCommand::AcceptKey {
                user: user.clone(),
                answer,
            };
            self.carry_out(command, done).await?;
        }
        let user = user.clone();
        self.ask(move |reader| reader.safety_number(&user)).await
    }

    /// Puts a newer list of our devices in force, which the user key has signed, and waits a while
    /// for the registry to hold it. What came of that: `Ok(None)` if it is not known yet.
    ///
    /// # Errors
    /// [`QueryError::Refused`]: it is not in force.
    pub async fn put_device_list(
        &self,
        device_list: Vec<u8>,
    ) -> Result<Option<Result<(), String>>, QueryError> {
        let mut events = self.subscribe();
        let version = version_of(&device_list);
        let (answer, done) = oneshot::channel();
        let command = DriverCommand::PutDeviceList {
            device_list,
            answer,
        };
        self.carry_out(command, done).await?;
        let published = tokio::time::timeout(PUBLISH_WAIT, publication(&mut events, version));
        Ok(published.await.ok().flatten())
    }

    /// Messages whose turn to be shown has come and that were not marked shown, in order, at most
    /// `limit`. One that was being shown when an earlier process died says `again`.
    ///
    /// # Errors
    /// [`QueryError::Store`].
    pub async fn unshown(&self, limit: usize) -> Result<Vec<Unshown>, QueryError> {
        self.ask(move |reader| reader.unshown(limit)).await
    }

    /// Commits that these messages are about to be shown; call it before the first byte is out.
    ///
    /// # Errors
    /// [`QueryError::Store`]: do not show them.
    pub async fn mark_showing(&self, messages: &[InboxKey]) -> Result<(), QueryError> {
        Ok(self.inner.store.mark(messages, true).await?)
    }

    /// Commits that these messages were shown; they are not returned by `unshown` any more.
    ///
    /// # Errors
    /// [`QueryError::Store`]: they may be shown again, with `again`.
    pub async fn mark_shown(&self, messages: &[InboxKey]) -> Result<(), QueryError> {
        Ok(self.inner.store.mark(messages, false).await?)
    }

    /// Tells senders that a person has read their messages.
    ///
    /// # Errors
    /// [`QueryError::Stopped`].
    pub async fn mark_read(&self, messages: &[(UserFp, MessageId)]) -> Result<(), QueryError> {
        let command = DriverCommand::MarkRead(messages.to_vec());
        let taken = self.inner.commands.send(command).await;
        taken.map_err(|_| QueryError::Stopped)
    }

    /// Tells a contact, or does not tell it any more, that its messages were read; kept for ever.
    ///
    /// # Errors
    /// [`QueryError::Refused`] for a user nothing is known of, or where it could not be kept;
    /// [`QueryError::Stopped`].
    pub async fn set_read_receipts(&self, user: &Label, on: bool) -> Result<(), QueryError> {
        let (answer, done) = oneshot::channel();
        let user = user.clone();
        let command = DriverCommand::SetReadReceipts { user, on, answer };
        self.carry_out(command, done).await
    }

    /// Deletes what is over of the conversation with a user from this device: what was shown, and
    /// what is not tried for any more. How many messages that were. Their ids stay, so that nothing
    /// is shown or sent twice.
    ///
    /// # Errors
    /// [`QueryError::Store`].
    pub async fn forget(&self, user: &Label) -> Result<u64, QueryError> {
        Ok(self.inner.store.forget(user).await? as u64)
    }

    /// Opens a link to a user without sending anything.
    ///
    /// # Errors
    /// [`QueryError::Stopped`].
    pub async fn connect(&self, to: &Label) -> Result<(), QueryError> {
        let command = DriverCommand::Connect(to.clone());
        let taken = self.inner.commands.send(command).await;
        taken.map_err(|_| QueryError::Stopped)
    }

    /// Waits until the client can be reached: announced, with a signalling socket.
    ///
    /// # Errors
    /// [`QueryError::Stopped`] when the client ends first.
    pub async fn wait_online(&self) -> Result<(), QueryError> {
        let mut snapshot = self.inner.snapshot.clone();
        let online = snapshot.wait_for(|s| s.online).await;
        online.map(|_| ()).map_err(|_| QueryError::Stopped)
    }

    /// Says GOODBYE, finishes the writes under way, closes the sockets and gives the home back.
    /// Messages in the outbox stay there. Other handles get `Stopped` from now on.
    pub async fn shutdown(&self) {
        let (answer, drained) = oneshot::channel();
        if self
            .inner
            .commands
            .send(DriverCommand::Drain { answer })
            .await
            .is_ok()
        {
            // A driver that hangs is dropped; everything `send` promised is on disk already.
            let _ = tokio::time::timeout(DRAIN_TIMEOUT, drained).await;
        }
        let mut tasks = {
            let mut driver = self
                .inner
                .driver
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *driver)
        };
        // The socket says goodbye on its own once the driver has let go of it.
        let ended = async { while tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, ended).await;
        drop(tasks);
        self.inner.store.close().await;
    }

    /// Gives the driver a command and waits for its outcome.
    async fn carry_out(
        &self,
        command: DriverCommand,
        done: oneshot::Receiver<Result<(), SendError>>,
    ) -> Result<(), QueryError> {
        let taken = self.inner.commands.send(command).await;
        taken.map_err(|_| QueryError::Stopped)?;
        let outcome = done.await.map_err(|_| QueryError::Stopped)?;
        outcome.map_err(|refused| match refused {
            SendError::Refused { code, detail } => QueryError::Refused { code, detail },
            SendError::Stopped => QueryError::Stopped,
        })
    }

    /// Asks the driver for a picture of the peer manager.
    async fn picture<T>(
        &self,
        of: impl FnOnce(oneshot::Sender<T>) -> Picture,
    ) -> Result<T, QueryError> {
        let (answer, picture) = oneshot::channel();
        let command = DriverCommand::Picture(of(answer));
        let taken = self.inner.commands.send(command).await;
        taken.map_err(|_| QueryError::Stopped)?;
        picture.await.map_err(|_| QueryError::Stopped)
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Reader) -> Result<T, QueryError> + Send + 'static,
    ) -> Result<T, QueryError> {
        let reader = Arc::clone(&self.inner.reader);
        let asked = tokio::task::spawn_blocking(move || {
            question(&reader.lock().unwrap_or_else(PoisonError::into_inner))
        });
        asked.await.map_err(|_| QueryError::Stopped)?
    }
}

/// The version of a device list, which the core has read and verified by itself.
fn version_of(list: &[u8]) -> u64 {
    let raw = split(list).ok();
    let list = raw.and_then(|raw| DeviceList::decode(raw.payload).ok());
    list.map_or(0, |list| list.version)
}

/// What became of the publication of a device list, or of a newer one: answers to older ones are
/// not about it. `None` where it is not told.
async fn publication(
    events: &mut broadcast::Receiver<ClientEvent>,
    of: u64,
) -> Option<Result<(), String>> {
    loop {
        match events.recv().await.ok()?.fact {
            Fact::Core(Event::ListPublished { version, error }) if version >= of => {
                return Some(error.map_or(Ok(()), Err));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[tokio::test]
    async fn the_answer_to_an_older_list_is_not_taken_for_that_to_ours() {
        let (events, mut heard) = broadcast::channel(8);
        let tell = |version, error: Option<&str>| {
            let error = error.map(str::to_owned);
            let fact = Fact::Core(Event::ListPublished { version, error });
            let at = clock::instant();
            events.send(ClientEvent { at, fact }).expect("heard");
        };
        tell(2, Some("older"));
        tell(2, None);
        tell(3, Some("CONFLICT"));
        let ours = publication(&mut heard, 3).await;
        assert_eq!(ours, Some(Err("CONFLICT".to_owned())));
        // A newer one holds what ours said, too.
        tell(4, None);
        assert_eq!(publication(&mut heard, 3).await, Some(Ok(())));
        drop(events);
        assert_eq!(publication(&mut heard, 3).await, None);
    }
}
