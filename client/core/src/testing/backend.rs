//! Servers a world can be given in place of its own small ones: a simulator brings the pure cores
//! of the real gateway and the real registry.

use super::authority::User;
use super::node::NodeId;
use super::{World, key_of};
use crate::input::{RegistryAnswer, RegistryError};
use crate::output::RegistryCall;
use beeline_proto::id::{DeviceFp, Label};
use beeline_proto::time::Now;

/// Who asks the registry.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The userId.
    pub user: Label,
    /// The deviceId.
    pub device: Label,
    /// The device.
    pub fp: DeviceFp,
    /// Versions of the descriptor and the revocations that the world hands out.
    pub lists: (u64, u64),
}

/// A gateway and a registry.
pub trait Backend {
    /// A user was admitted, or has a newer chain.
    fn enrol(&mut self, user: &User, chain: Vec<u8>);

    /// A device's proven socket at the gateway opened or closed.
    fn socket(&mut self, now: Now, device: &Label, node: NodeId, open: bool);

    /// Whose socket a frame to a device goes to.
    fn route(&self, device: &Label) -> Option<NodeId>;

    /// Answers a call; `None` leaves it to the world.
    fn ask(
        &mut self,
        now: Now,
        caller: &Caller,
        call: &RegistryCall,
    ) -> Option<Result<RegistryAnswer, RegistryError>>;

    /// The registry's process is another one: what it held in memory is gone.
    fn restart(&mut self);
}

impl World {
    /// Uses these servers from now on; nobody must have been admitted yet.
    pub fn use_backend(&mut self, backend: Box<dyn Backend>) {
        self.backend = Some(backend);
    }

    /// The registry's process starts anew.
    pub fn restart_registry(&mut self) {
        if let Some(backend) = self.backend.as_mut() {
            backend.restart();
        }
    }

    pub(super) fn enrol(&mut self, user: &User, chain: Vec<u8>) {
        if let Some(backend) = self.backend.as_mut() {
            backend.enrol(user, chain);
        }
    }

    /// Tells the gateway of a socket that opened or closed.
    pub(super) fn note_socket(&mut self, id: NodeId, open: bool) {
        let (now, device) = (self.now(), self.node(id).device_label().clone());
        if let Some(backend) = self.backend.as_mut() {
            backend.socket(now, &device, id, open);
        }
    }

    /// Whose socket at the gateway a frame goes to.
    pub(super) fn route(&self, device: &Label) -> Option<NodeId> {
        match self.backend.as_ref() {
            Some(backend) => backend.route(device),
            None => self.ids().into_iter().find(|id| {
                let node = self.node(*id);
                node.device_label() == device && node.socket_up
            }),
        }
    }

    /// What the given registry says.
    pub(super) fn ask_backend(
        &mut self,
        id: NodeId,
        call: &RegistryCall,
    ) -> Option<Result<RegistryAnswer, RegistryError>> {
        let (now, node) = (self.now(), self.node(id));
        let device = node.device_label().clone();
        let caller = Caller {
            user: node.user.label.clone(),
            fp: key_of(&format!("device {device}")).verify_key().device_fp(),
            device,
            lists: (
                self.authority.descriptor_version,
                self.registry.revocations_version,
            ),
        };
        self.backend.as_mut()?.ask(now, &caller, call)
    }
}
