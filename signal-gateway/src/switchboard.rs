//! All sockets of this node: the pure hub, split in parts under a lock each, joined to the sockets'
//! tasks and to the other nodes.

use crate::authority::{Authority, Identity};
use crate::bus::{Bus, BusListener, BusMessage, NodeId};
use crate::core::frame_head::{self, Form};
use crate::core::hub::{Admission, Entry, Hub, SocketId};
use crate::limits::{HUB_SHARDS, QUEUE_OWN_FACTOR};
use crate::outbox::{End, Outbox};
use beeline_proto::id::NetworkFp;
use bytes::Bytes;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

/// Who wants to know which sockets open and close. Called under the lock of the device's part, so
/// that the order of the calls is the order of events: it must be quick, and not call back.
pub trait SocketWatcher: Send + Sync {
    /// The device's first socket on this node opened.
    fn opened(&self, identity: &Identity);
    /// Its last socket on this node closed.
    fn closed(&self, identity: &Identity);
}

/// A part of the devices.
type Shard = Mutex<Hub<Arc<Outbox>>>;

/// The sockets of one node.
pub struct Switchboard {
    shards: Box<[Shard]>,
    next_id: AtomicU64,
    bus: Arc<dyn Bus>,
    node: OnceLock<NodeId>,
    watcher: Arc<dyn SocketWatcher>,
    /// The deviceId of the server's own device, if it has one.
    own: Option<String>,
}

impl Switchboard {
    /// No sockets yet; joins the bus. `own` is the deviceId of a coordinator's own device.
    pub fn new(
        bus: Arc<dyn Bus>,
        watcher: Arc<dyn SocketWatcher>,
        own: Option<String>,
    ) -> Arc<Self> {
        let switchboard = Arc::new(Self {
            own,
            shards: (0..HUB_SHARDS).map(|_| Shard::default()).collect(),
            next_id: AtomicU64::new(1),
            bus,
            node: OnceLock::new(),
            watcher,
        });
        let listener: Arc<dyn BusListener> = Arc::<Self>::clone(&switchboard);
        let node = switchboard.bus.attach(Arc::downgrade(&listener));
        // Set once: nobody else holds the switchboard yet.
        let _ = switchboard.node.set(node);
        switchboard
    }

    /// Makes the socket its device's own; `None` if a proven one is open and this one is not.
    pub async fn open(
        &self,
        identity: Arc<Identity>,
        proven: bool,
        proof: &[u8],
    ) -> Option<Arc<Outbox>> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let room = match self.is_own(&identity.device_label) {
            true => QUEUE_OWN_FACTOR,
            false => 1,
        };
        let outbox = Arc::new(Outbox::new(id, Arc::clone(&identity), room));
        let entry = Entry {
            id,
            proven,
            sink: Arc::clone(&outbox),
        };
        let (network, device) = (identity.network, &*identity.device_label);
        match self.admit(network, device, entry, &identity) {
            Admission::ProvenIsOpen => return None,
            Admission::Admitted {
                replaced: Some(old),
            } => {
                old.end(End::Superseded(proof.to_vec()));
            }
            Admission::Admitted { replaced: None } => {
                self.bus.subscribe(self.node(), &network, device).await;
            }
        }
        let opened = BusMessage::Opened {
            proven,
            proof: Bytes::copy_from_slice(proof),
        };
        self.bus
            .publish(self.node(), &network, device, opened)
            .await;
        Some(outbox)
    }

    /// Whether a deviceId is that of the server's own device.
    pub fn is_own(&self, device: &str) -> bool {
        self.own.as_deref() == Some(device)
    }

    fn admit(
        &self,
        network: NetworkFp,
        device: &str,
        entry: Entry<Arc<Outbox>>,
        identity: &Identity,
    ) -> Admission<Arc<Outbox>> {
        let mut hub = self.shard(device);
        let admission = hub.open(network, device, entry);
        if admission == (Admission::Admitted { replaced: None }) {
            self.watcher.opened(identity);
        }
        admission
    }

    /// The socket is over.
    pub async fn close(&self, outbox: &Outbox) {
        let identity = &outbox.identity;
        let (network, device) = (&identity.network, &*identity.device_label);
        if self.forget(network, device, outbox) {
            self.bus.unsubscribe(self.node(), network, device).await;
        }
    }

    /// Forgets a socket; true if the device has none left here.
    fn forget(&self, network: &NetworkFp, device: &str, outbox: &Outbox) -> bool {
        let mut hub = self.shard(device);
        if hub.close(network, device, outbox.id) {
            self.watcher.closed(&outbox.identity);
        }
        hub.route(network, device).is_none()
    }

    /// Tells the watcher again of every open socket.
    pub fn replay_opened(&self) {
        for shard in &self.shards {
            let hub = shard.lock().unwrap_or_else(PoisonError::into_inner);
            for (_, _, entry) in hub.iter() {
                self.watcher.opened(&entry.sink.identity);
            }
        }
    }

    /// Hands a frame to the device's socket on this node; false if there is none.
    pub fn deliver(&self, network: &NetworkFp, device: &str, frame: &Message) -> bool {
        let outbox = self.shard(device).route(network, device).cloned();
        outbox.is_some_and(|outbox| outbox.push(frame.clone()))
    }

    /// Hands a frame to the device's socket on another node; false if none took it.
    pub async fn publish(&self, network: &NetworkFp, device: &str, frame: Message) -> bool {
        let message = match frame {
            Message::Text(text) => BusMessage::Frame(Form::Text, text.into()),
            Message::Binary(bytes) => BusMessage::Frame(Form::Binary, bytes),
            _ => return false,
        };
        self.bus
            .publish(self.node(), network, device, message)
            .await
    }

    /// Ends every socket for which `authority` no longer vouches.
    pub fn sweep(&self, authority: &dyn Authority) {
        for outbox in self.select(|_| true) {
            if let Some(error) = authority.revoked(&outbox.identity) {
                outbox.end(End::Refused(error));
            }
        }
    }

    /// Tells every socket that the gateway goes away.
    pub fn go_away(&self, retry_after_ms: u32) {
        for outbox in self.select(|_| true) {
            outbox.end(End::GoAway(retry_after_ms));
        }
    }

    /// The open sockets whose id passes `wanted`.
    pub fn select(&self, wanted: impl Fn(SocketId) -> bool) -> Vec<Arc<Outbox>> {
        let mut selected = Vec::new();
        for shard in &self.shards {
            let hub = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let each = hub.iter().filter(|(_, _, entry)| wanted(entry.id));
            selected.extend(each.map(|(_, _, entry)| Arc::clone(&entry.sink)));
        }
        selected
    }

    /// How many sockets are open.
    pub fn len(&self) -> usize {
        let len = |shard: &Shard| shard.lock().unwrap_or_else(PoisonError::into_inner).len();
        self.shards.iter().map(len).sum()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn node(&self) -> NodeId {
        self.node.get().copied().unwrap_or_default()
    }

    /// The part that holds this device: by a hash of its label (FNV-1a), the same for all networks.
    fn shard(&self, device: &str) -> MutexGuard<'_, Hub<Arc<Outbox>>> {
        let fold = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        let hash = device.bytes().fold(0x811c_9dc5, fold);
        let shard = &self.shards[(hash >> 8) as usize % HUB_SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BusListener for Switchboard {
    fn deliver(&self, network: &NetworkFp, device: &str, message: &BusMessage) -> bool {
        match message {
            BusMessage::Frame(form, bytes) => {
                // Another node's word is not enough: the frame must be for this very device.
                let head = frame_head::parse(*form, bytes);
                if head.is_ok_and(|head| head.to.as_str() == device)
                    && let Some(frame) = message_of(*form, bytes)
                {
                    return Self::deliver(self, network, device, &frame);
                }
                false
            }
            BusMessage::Opened { proven, proof } => {
                let mut hub = self.shard(device);
                let Some(outbox) = hub.opened_elsewhere(network, device, *proven) else {
                    return false;
                };
                self.watcher.closed(&outbox.identity);
                outbox.end(End::Superseded(proof.to_vec()));
                true
            }
        }
    }
}

fn message_of(form: Form, bytes: &Bytes) -> Option<Message> {
    match form {
        Form::Text => Some(Message::Text(Utf8Bytes::try_from(bytes.clone()).ok()?)),
        Form::Binary => Some(Message::Binary(bytes.clone())),
    }
}
