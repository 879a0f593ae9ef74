//! Signalling: what a call says goes every way there is, the same bytes on each: the gateway's
//! socket, coordinators' sockets, and peers linked to the device. Whoever gets it twice knows.
//! Candidates that a socket took go through peers a moment later, behind messages and ACKs.

use crate::input::{LinkId, SocketId};
use crate::limits::RELAY_CANDIDATES_MS;
use crate::manager::PeerManager;
use crate::output::SignalKind;
use crate::timer::Timer;
use beeline_proto::code::ErrorCode;
use beeline_proto::id::DeviceFp;
use beeline_proto::limits::SESSION_TIMEOUT_MS;
use beeline_proto::pb::peer::v1::peer_item::Kind;
use beeline_proto::time::Now;

impl PeerManager {
    /// Seals an envelope for the link's device and sends it every way there is: the sockets that
    /// are up, and peers linked to the device. It is kept, to be sent again, the same bytes, on a
    /// way that comes up later.
    pub(crate) fn signal(
        &mut self,
        now: Now,
        id: LinkId,
        kind: SignalKind,
        signed: (Vec<u8>, Vec<u8>),
    ) {
        let Some(link) = self.links.get(id) else {
            return;
        };
        let (user, device, to) = (link.user.clone(), link.device, link.device_label.clone());
        let (envelope, chain) = signed;
        let ttl_s = (SESSION_TIMEOUT_MS / 1_000) as u32;
        let Some(parcel) = self.seal_control(&user, device, envelope, chain, ttl_s) else {
            return;
        };
        self.widen_calls(now, device);
        let negotiation = self
            .links
            .get_mut(id)
            .and_then(|link| link.negotiation_mut());
        let Some(negotiation) = negotiation else {
            return;
        };
        negotiation.sent.push((kind, parcel.clone()));
        let sockets = self.presence.sockets();
        if kind != SignalKind::IceCandidate && !sockets.is_empty() {
            let at_ms = now.mono_ms + RELAY_CANDIDATES_MS;
            self.timers.arm(Timer::Candidates(id), at_ms);
        }
        self.tell_relays(id);
        for socket in sockets {
            self.out.signal(socket, kind, to.clone(), parcel.clone());
        }
    }

    /// Says over links of common peers what a session has said so far and they do not know:
    /// candidates as well, unless they wait for their time.
    pub(crate) fn tell_relays(&mut self, id: LinkId) {
        let candidates = self.timers.when(&Timer::Candidates(id)).is_none();
        let link = self.links.get_mut(id);
        let negotiation = link.and_then(|link| link.negotiation_mut());
        let untold = negotiation.map(|n| n.take_untold(candidates));
        for (relay, parcel) in untold.into_iter().flatten() {
            self.say(relay, Kind::Relay(parcel));
        }
    }

    /// What a session says does not get there over sockets: its candidates wait no longer.
    fn release_candidates(&mut self, id: LinkId) {
        if self.timers.when(&Timer::Candidates(id)).is_some() {
            self.timers.cancel(&Timer::Candidates(id));
            self.tell_relays(id);
        }
    }

    /// A socket went down: without any, common peers are the only way.
    pub(crate) fn on_sockets_fewer(&mut self) {
        if self.presence.sockets().is_empty() {
            for id in self.links.ids(|_| true) {
                self.release_candidates(id);
            }
        }
    }

    /// A signalling server refused a frame. An offer ends at once when nobody is there for it at
    /// any of our sockets, and no common peer carries it.
    pub(crate) fn on_signal_error(
        &mut self,
        now: Now,
        socket: SocketId,
        code: ErrorCode,
        to: &str,
    ) {
        self.out.counters.count("signal-error");
        let offline = code == ErrorCode::PeerOffline;
        let sockets = self.presence.sockets();
        let (mut unheard, mut refused) = (Vec::new(), Vec::new());
        for link in self.links.by_id.values_mut() {
            let (id, named) = (link.id, link.device_label.as_str() == to);
            let Some(negotiation) = link.negotiation_mut().filter(|_| named) else {
                continue;
            };
            if offline {
                negotiation.offline_at.insert(socket);
            }
            let everywhere = sockets.iter().all(|s| negotiation.offline_at.contains(s));
            let only_here = negotiation.is_awaiting_answer() && negotiation.over.is_empty();
            if offline && everywhere && only_here {
                unheard.push(id);
            } else if everywhere || !offline {
                refused.push(id);
            }
        }
        for id in unheard {
            self.close_link(now, id, "the device is offline");
        }
        for id in refused {
            self.release_candidates(id);
        }
    }

    /// Says again what the sessions under way with a device have said so far, over links of peers
    /// that were not known to lead there.
    pub(crate) fn widen_calls(&mut self, now: Now, device: DeviceFp) {
        let relays = self.relays_to(now, device);
        let mut again = Vec::new();
        let calls = self.links.by_id.values_mut();
        for call in calls.filter(|link| link.device == device) {
            let id = call.id;
            let Some(negotiation) = call.negotiation_mut() else {
                continue;
            };
            let known = negotiation.over.len();
            for relay in &relays {
                negotiation.over.entry(*relay).or_insert(0);
            }
            if negotiation.over.len() > known {
                again.push(id);
            }
        }
        for id in again {
            self.tell_relays(id);
            self.rearm_redial(now, id);
        }
    }

    /// Sends again, over a socket that came up, what the sessions under way have said so far.
    pub(crate) fn repeat_signals(&mut self, now: Now, socket: SocketId) {
        let mut again = Vec::new();
        for link in self.links.by_id.values_mut() {
            let to = link.device_label.clone();
            for (kind, parcel) in link.negotiation_mut().into_iter().flat_map(|n| &n.sent) {
                self.out.signal(socket, *kind, to.clone(), parcel.clone());
            }
            if let Some(negotiation) = link.negotiation_mut() {
                negotiation.offline_at.remove(&socket);
                again.push(link.id);
            }
        }
        for id in again {
            self.rearm_redial(now, id);
        }
    }
}
