//! Roaming: the host is on another network, or a link has fallen silent. What was open may be dead
//! without knowing it, so nothing waits to find out: sockets are dialled again, every link gets a
//! successor, and what waits is tried at once. An old link stays until its successor is proven.

use crate::event::Rung;
use crate::input::{LinkId, SocketId};
use crate::link::Call;
use crate::manager::PeerManager;
use crate::negotiation::Side;
use crate::output::{Output, SocketCommand};
use beeline_proto::time::Now;

/// Why a socket or a call ends, for people.
const MOVED: &str = "the network changed";

impl PeerManager {
    /// Addresses or routes came or went, or the host has slept.
    pub(crate) fn on_network_changed(&mut self, now: Now) {
        if self.draining {
            return;
        }
        self.leave_sockets(now);
        self.coordinators.forgive();
        let links = self.links.ids(|_| true);
        for id in &links {
            self.doubt_link(*id);
        }
        for id in links {
            self.succeed(now, id);
        }
        self.tend_soon(now, 1);
        self.retry_all(now);
    }

    /// Nothing was heard on a link for a while: its path may be gone.
    pub(crate) fn on_link_silent(&mut self, now: Now, id: LinkId) {
        if self.doubt_link(id) {
            self.succeed(now, id);
        }
    }

    /// What goes over an open link is doubted; `false` where it is not open.
    fn doubt_link(&mut self, id: LinkId) -> bool {
        let ready = self.links.get_mut(id).and_then(|link| link.ready_mut());
        ready.map(|ready| ready.direct.doubted = true).is_some()
    }

    /// Every signalling socket but our own server's: connections of the old network lead nowhere.
    fn leave_sockets(&mut self, now: Now) {
        self.close_own_sockets();
        let (socket, command) = (SocketId::GATEWAY, SocketCommand::Redial);
        self.out.push(Output::Socket { socket, command });
        self.on_socket_down(now, socket, MOVED);
    }

    /// Calls the device of a link anew: beside an open link, which closes when the new one is
    /// proven; in place of a call that was under way, whose addresses are not ours any more. A call
    /// of the device's own that had to wait for ours is answered instead.
    fn succeed(&mut self, now: Now, id: LinkId) {
        let Some(link) = self.links.get(id) else {
            return;
        };
        let (user, device, open) = (link.user.clone(), link.device, link.is_ready());
        let rung = link.found_by.unwrap_or(Rung::Connected);
        if open {
            self.links.forget_calls(device);
            self.dial(now, &user, device, Rung::Connected);
        } else if link.side == Side::Offerer && self.early.has_deferred(device) {
            self.close_link(now, id, MOVED);
        } else {
            self.links.forget_calls(device);
            self.call(now, &user, device, Call::on(rung).instead_of(id));
        }
    }
}
