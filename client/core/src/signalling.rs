//! Signalling: what a call says goes every way there is, the same bytes on each: the gateway's
//! socket, coordinators' sockets, and peers linked to the device. Whoever gets it twice knows.

use crate::input::{LinkId, SocketId};
use crate::manager::PeerManager;
use crate::output::SignalKind;
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
        for relay in negotiation.over.clone() {
            self.say(relay, Kind::Relay(parcel.clone()));
        }
        for socket in self.presence.sockets() {
            self.out.signal(socket, kind, to.clone(), parcel.clone());
        }
    }

    /// Says again what the sessions under way with a device have said so far, over links of peers
    /// that were not known to lead there.
    pub(crate) fn widen_calls(&mut self, now: Now, device: DeviceFp) {
        let relays = self.relays_to(now, device);
        let (mut repeat, mut again) = (Vec::new(), Vec::new());
        let calls = self.links.by_id.values_mut();
        for call in calls.filter(|link| link.device == device) {
            let id = call.id;
            let Some(negotiation) = call.negotiation_mut() else {
                continue;
            };
            for relay in &relays {
                if negotiation.over.insert(*relay) {
                    let sent = negotiation.sent.iter().map(|(_, parcel)| parcel);
                    repeat.extend(sent.map(|parcel| (*relay, parcel.clone())));
                    again.push(id);
                }
            }
        }
        for (relay, parcel) in repeat {
            self.say(relay, Kind::Relay(parcel));
        }
        for id in again {
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
