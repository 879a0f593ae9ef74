//! The bus of nodes within one process, and of a single node, for which it is empty.

use super::{Bus, BusListener, BusMessage, NodeId};
use beeline_proto::id::NetworkFp;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Asks the other nodes in turn; they know their own sockets, so nobody needs to subscribe.
#[derive(Default)]
pub struct MemoryBus {
    nodes: Mutex<Nodes>,
}

#[derive(Default)]
struct Nodes {
    next: NodeId,
    listeners: Vec<(NodeId, Weak<dyn BusListener>)>,
}

impl MemoryBus {
    /// The listeners of all nodes but one.
    fn others(&self, node: NodeId) -> Vec<Arc<dyn BusListener>> {
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let others = nodes.listeners.iter().filter(|(id, _)| *id != node);
        others
            .filter_map(|(_, listener)| listener.upgrade())
            .collect()
    }
}

#[async_trait::async_trait]
impl Bus for MemoryBus {
    fn attach(&self, listener: Weak<dyn BusListener>) -> NodeId {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes
            .listeners
            .retain(|(_, listener)| listener.strong_count() > 0);
        nodes.next += 1;
        let id = nodes.next;
        nodes.listeners.push((id, listener));
        id
    }

    async fn subscribe(&self, _: NodeId, _: &NetworkFp, _: &str) {}

    async fn unsubscribe(&self, _: NodeId, _: &NetworkFp, _: &str) {}

    async fn publish(
        &self,
        node: NodeId,
        network: &NetworkFp,
        device: &str,
        message: BusMessage,
    ) -> bool {
        let mut taken = false;
        for listener in self.others(node) {
            taken |= listener.deliver(network, device, &message);
        }
        taken
    }
}
