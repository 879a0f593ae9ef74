//! The bus between gateway nodes. It carries hints, at most once: a frame for a device whose socket
//! is open on another node, and the news that a device opened a socket. Nothing that counts towards
//! delivery lives only here.

pub mod memory;

use crate::core::frame_head::Form;
use beeline_proto::id::NetworkFp;
use bytes::Bytes;
use std::sync::Weak;

/// Names a node on the bus, unique among those alive.
pub type NodeId = u64;

/// What nodes tell each other about one device.
#[derive(Clone, PartialEq, Debug)]
pub enum BusMessage {
    /// A frame for the device, as its sender wrote it.
    Frame(Form, Bytes),
    /// The device opened a socket on the sending node.
    Opened {
        /// Whether it is proven.
        proven: bool,
        /// Envelope of its `SocketProof`; empty for a bearer's.
        proof: Bytes,
    },
}

/// A node's ear on the bus.
pub trait BusListener: Send + Sync {
    /// A message about `device`; true if a socket of this node took it.
    fn deliver(&self, network: &NetworkFp, device: &str, message: &BusMessage) -> bool;
}

/// A bus. The name of a device's subject is [`crate::core::subject::build`].
#[async_trait::async_trait]
pub trait Bus: Send + Sync {
    /// A node joins; it is forgotten when its listener is gone.
    fn attach(&self, listener: Weak<dyn BusListener>) -> NodeId;

    /// The node wants messages about this device from now on.
    async fn subscribe(&self, node: NodeId, network: &NetworkFp, device: &str);

    /// The node no longer wants them.
    async fn unsubscribe(&self, node: NodeId, network: &NetworkFp, device: &str);

    /// Tells the other nodes; true if one says that a socket of its took the message.
    async fn publish(
        &self,
        node: NodeId,
        network: &NetworkFp,
        device: &str,
        message: BusMessage,
    ) -> bool;
}
