//! Tending: keeps links to two coordinators, whatever of the servers is there. Where no signalling
//! way leads to one, its own socket is opened; so a process started while registry and gateway are
//! dead gets back into the fabric.

use crate::coordinators::OwnSocket;
use crate::crypto::random_u64;
use crate::event::Rung;
use crate::input::{LinkId, SocketId};
use crate::limits::{
    ANNOUNCE_CHANGE_MS, COORDINATOR_EXTRA_MS, COORDINATOR_HEDGE_MS, COORDINATOR_LINKS,
    COORDINATOR_SOCKET_MS, COORDINATOR_START_MS,
};
use crate::manager::PeerManager;
use crate::output::{Output, SocketCommand};
use crate::timer::Timer;
use beeline_proto::id::DeviceFp;
use beeline_proto::time::Now;

impl PeerManager {
    /// After a start: coordinators are dialled once the gateway is there, or soon without it.
    pub(crate) fn start_tending(&mut self, now: Now) {
        self.coordinators.ready_ms = now.mono_ms + COORDINATOR_START_MS;
        self.tend_soon(now, COORDINATOR_START_MS);
    }

    /// Looks after the coordinators within `ms` milliseconds.
    pub(crate) fn tend_soon(&mut self, now: Now, ms: u64) {
        if !self.draining {
            let at_ms = now.mono_ms + ms.max(1);
            self.timers.arm_by(Timer::Coordinators, at_ms);
        }
    }

    /// Whether coordinators may be dialled already.
    fn may_tend(&self, now: Now) -> bool {
        self.presence.gateway_up() || now.mono_ms >= self.coordinators.ready_ms
    }

    /// Links with as many coordinators as are wanted, and lets go of what is needed no more.
    pub(crate) fn tend_coordinators(&mut self, now: Now) {
        if self.draining {
            return;
        }
        if !self.may_tend(now) {
            let wait_ms = self.coordinators.ready_ms - now.mono_ms;
            return self.tend_soon(now, wait_ms);
        }
        self.close_slow_sockets(now);
        self.close_idle_sockets();
        let known = self.known_coordinators();
        let linked = known.iter().filter(|d| self.is_linked(**d)).count();
        self.let_go_of_extra(now, &known);
        let mut making = known.iter().filter(|d| self.is_making(**d)).count();
        // While none is linked, those that take long are not waited for.
        let slow = |device: &&DeviceFp| {
            let since_ms = self.coordinators.get(**device).tried_ms;
            self.is_making(**device) && since_ms + COORDINATOR_HEDGE_MS <= now.mono_ms
        };
        if linked == 0 {
            making -= known.iter().filter(slow).count();
        }
        for _ in (linked + making)..COORDINATOR_LINKS {
            let may = |device: &&DeviceFp| self.may_start(now, **device);
            let candidates: Vec<DeviceFp> = known.iter().filter(may).copied().collect();
            let Some(device) = self.choose_coordinator(&candidates) else {
                break;
            };
            self.start_coordinator(now, device);
        }
        self.list_coordinators(now);
        self.plan_tending(now, &known);
    }

    /// When to look again.
    fn plan_tending(&mut self, now: Now, known: &[DeviceFp]) {
        let linked = known.iter().filter(|d| self.is_linked(**d)).count();
        let mut next_ms: Option<u64> = None;
        let mut at = |ms: u64| next_ms = Some(next_ms.map_or(ms, |next: u64| next.min(ms)));
        if linked < COORDINATOR_LINKS {
            if self.presence.online {
                at(self.coordinators.list_ms);
            }
            for device in known.iter().filter(|d| !self.is_linked(**d)) {
                let standing = self.coordinators.get(*device);
                if !self.is_making(*device) {
                    at(standing.avoid_until_ms);
                } else if linked == 0 && standing.tried_ms + COORDINATOR_HEDGE_MS > now.mono_ms {
                    at(standing.tried_ms + COORDINATOR_HEDGE_MS);
                }
            }
        } else if linked > COORDINATOR_LINKS {
            at(now.mono_ms + COORDINATOR_EXTRA_MS);
        }
        for own in self.coordinators.sockets.values().filter(|own| !own.up) {
            at(own.since_ms + COORDINATOR_SOCKET_MS);
        }
        if let Some(at_ms) = next_ms {
            self.tend_soon(now, at_ms.saturating_sub(now.mono_ms));
        }
    }

    /// Whether a link with a coordinator is being made, or its socket.
    pub(crate) fn is_making(&self, device: DeviceFp) -> bool {
        let calling = self.links.of_device(device).any(|link| !link.is_ready());
        let opening = self.coordinators.socket_at(device);
        !self.is_linked(device) && (calling || opening.is_some_and(|(_, own)| !own.up))
    }

    /// Whether a coordinator may be dialled now.
    pub(crate) fn may_start(&self, now: Now, device: DeviceFp) -> bool {
        let avoided = self.coordinators.get(device).avoid_until_ms > now.mono_ms;
        let idle = self.links.of_device(device).next().is_none() && !self.is_making(device);
        let user = self.contacts.of_device(device);
        let good = user.is_some_and(|c| !c.is_blocked() && !self.me.revokes(&c.chain));
        good && idle && !avoided && self.may_tend(now) && !self.draining
    }

    /// Dials a coordinator by any signalling way there is, or opens its own socket first; whether
    /// either is under way now.
    pub(crate) fn start_coordinator(&mut self, now: Now, device: DeviceFp) -> bool {
        self.coordinators.standing(device).tried_ms = now.mono_ms;
        self.links.forget_calls(device);
        let own = self.coordinators.socket_at(device);
        let reached = own.is_some_and(|(_, own)| own.up)
            || self.presence.gateway_up()
            || !self.relays_to(now, device).is_empty();
        if !reached && self.open_own_socket(now, device) {
            return true;
        }
        if reached && let Some((user, _)) = self.labels_of(device) {
            self.dial(now, &user, device, Rung::Coordinators);
        }
        let under_way = self.is_making(device);
        if !under_way {
            self.fail_coordinator(now, device);
        }
        under_way
    }

    /// Opens our socket at a coordinator, unless its address is a gateway's.
    fn open_own_socket(&mut self, now: Now, device: DeviceFp) -> bool {
        let addr = self.routes.get(device).map(|r| r.row.signal_addr.clone());
        let addr = addr.filter(|addr| !addr.is_empty() && !self.is_at_gateway(addr));
        let taken = self.coordinators.socket_at(device).is_some();
        let (Some(addr), Some(socket), false) = (addr, self.coordinators.free_socket(), taken)
        else {
            return false;
        };
        let Some((_, label)) = self.labels_of(device) else {
            return false;
        };
        self.presence.coordinators.insert(socket, label);
        let own = OwnSocket {
            device,
            up: false,
            since_ms: now.mono_ms,
        };
        self.coordinators.sockets.insert(socket, own);
        let command = SocketCommand::Open { addr };
        self.out.push(Output::Socket { socket, command });
        let wait_ms = COORDINATOR_HEDGE_MS.min(COORDINATOR_SOCKET_MS);
        self.tend_soon(now, wait_ms);
        true
    }

    fn close_own_socket(&mut self, socket: SocketId) {
        if self.coordinators.sockets.remove(&socket).is_some() {
            self.presence.forget_socket(socket);
            let command = SocketCommand::Close;
            self.out.push(Output::Socket { socket, command });
        }
    }

    /// Closes every socket at a coordinator: the process ends.
    pub(crate) fn close_own_sockets(&mut self) {
        let sockets: Vec<SocketId> = self.coordinators.sockets.keys().copied().collect();
        for socket in sockets {
            self.close_own_socket(socket);
        }
    }

    /// A coordinator's socket is up: it is dialled over it. `false` if nobody asked for it.
    pub(crate) fn on_own_socket_up(&mut self, now: Now, socket: SocketId) -> bool {
        let Some(own) = self.coordinators.sockets.get_mut(&socket) else {
            return false;
        };
        own.up = true;
        self.tend_soon(now, 1);
        true
    }

    /// Dials the coordinator whose socket came up.
    pub(crate) fn dial_over(&mut self, now: Now, socket: SocketId) {
        let own = self.coordinators.sockets.get(&socket).copied();
        if let Some(own) = own
            && self.links.of_device(own.device).next().is_none()
        {
            self.start_coordinator(now, own.device);
        }
    }

    /// A coordinator's socket is gone, or could not be opened.
    pub(crate) fn on_own_socket_down(&mut self, now: Now, socket: SocketId) {
        let Some(own) = self.coordinators.sockets.remove(&socket) else {
            return;
        };
        if !self.is_linked(own.device) && self.links.of_device(own.device).next().is_none() {
            self.fail_coordinator(now, own.device);
        }
        self.tend_soon(now, 1);
    }

    /// A call to a coordinator ended without a link.
    pub(crate) fn on_call_failed(&mut self, now: Now, device: DeviceFp) {
        let busy = self.links.of_device(device).next().is_some();
        if busy || self.draining || !self.is_coordinator(device) {
            return;
        }
        // Not at the gateway: perhaps at its own socket. That is not a failure yet.
        let wanted = self.coordinators.get(device).tried_ms > 0;
        if !wanted || self.coordinators.get(device).avoid_until_ms > now.mono_ms {
            return;
        }
        if !self.open_own_socket(now, device) {
            self.fail_coordinator(now, device);
        }
        self.tend_soon(now, 1);
    }

    /// A coordinator was not reached: another one is tried, this one later.
    fn fail_coordinator(&mut self, now: Now, device: DeviceFp) {
        let random = random_u64(self.crypto.as_mut());
        self.coordinators.fail(device, now.mono_ms, random);
        if let Some((socket, _)) = self.coordinators.socket_at(device) {
            self.close_own_socket(socket);
        }
    }

    /// A record was learned: of a coordinator we have no link to, it is a reason to look.
    pub(crate) fn tend_if_news(&mut self, now: Now, device: DeviceFp) {
        if self.is_coordinator(device) && !self.is_linked(device) {
            self.tend_soon(now, 1);
        }
    }

    /// The link with a coordinator is open.
    pub(crate) fn on_coordinator_linked(&mut self, now: Now, device: DeviceFp) {
        let standing = self.coordinators.standing(device);
        (standing.failures, standing.avoid_until_ms) = (0, 0);
        self.tend_soon(now, 1);
        self.announce_change(now);
    }

    /// The link with a coordinator is gone: another one is looked for, by everybody at a time of
    /// their own unless nothing else is left.
    pub(crate) fn on_coordinator_lost(&mut self, now: Now, device: DeviceFp) {
        if self.is_linked(device) {
            return;
        }
        let known = self.known_coordinators();
        let left = known.iter().any(|device| self.is_linked(*device));
        let spread_ms = if left { 5_000 } else { 200 };
        let random = random_u64(self.crypto.as_mut());
        self.tend_soon(now, random % spread_ms);
        self.announce_change(now);
    }

    /// Which coordinators we are linked to changed: the registry is told soon.
    fn announce_change(&mut self, now: Now) {
        let changed = self.coordinators_named() != self.coordinators.named;
        let Some(armed_ms) = self.timers.when(&Timer::Announce).filter(|_| changed) else {
            return;
        };
        let at_ms = now.mono_ms + ANNOUNCE_CHANGE_MS;
        if armed_ms > at_ms {
            self.timers.arm(Timer::Announce, at_ms);
        }
    }

    /// Gives up sockets that do not come up.
    fn close_slow_sockets(&mut self, now: Now) {
        let slow = |own: &OwnSocket| !own.up && own.since_ms + COORDINATOR_SOCKET_MS <= now.mono_ms;
        let sockets = self.coordinators.sockets.iter();
        let slow: Vec<DeviceFp> = sockets
            .filter(|(_, own)| slow(own))
            .map(|(_, own)| own.device)
            .collect();
        for device in slow {
            self.fail_coordinator(now, device);
        }
    }

    /// Closes sockets whose coordinator is linked, but for the last way others can call us.
    fn close_idle_sockets(&mut self) {
        let linked = |own: &OwnSocket| own.up && self.is_linked(own.device);
        let sockets = self.coordinators.sockets.iter();
        let idle: Vec<SocketId> = sockets
            .filter(|(_, own)| linked(own))
            .map(|(socket, _)| *socket)
            .collect();
        for socket in idle {
            if self.presence.sockets().len() > 1 {
                self.close_own_socket(socket);
            }
        }
    }

    /// Ends links to coordinators that only a lookup needed.
    fn let_go_of_extra(&mut self, now: Now, known: &[DeviceFp]) {
        let linked = known.iter().filter_map(|d| self.links.ready_to(*d));
        let linked: Vec<_> = linked.collect();
        let extra = linked.len().saturating_sub(COORDINATOR_LINKS);
        let (by, stay_ms) = (Rung::Coordinators, COORDINATOR_EXTRA_MS);
        let over = |id: &&LinkId| self.is_needless(now, **id, by, stay_ms);
        let mut ending: Vec<_> = linked.iter().filter(over).copied().collect();
        // The newest first: those were made for a lookup.
        ending.reverse();
        for id in ending.into_iter().take(extra) {
            self.let_go(now, id);
        }
    }
}
