//! Ways: how a parcel came, and how one may go. The same bytes travel on each; which one they took
//! says nothing about who speaks.

use crate::event::{Path, Rung};
use crate::input::{LinkId, SocketId};
use crate::limits::{RELAY_REQUESTS_BURST, RELAY_REQUESTS_PER_S, WAYS_MAX};
use crate::manager::PeerManager;
use crate::output::SignalKind;
use beeline_proto::id::DeviceFp;
use beeline_proto::pb::peer::v1::peer_item::Kind;
use beeline_proto::time::Now;

/// One way between a device and us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// The device's own link.
    Direct(LinkId),
    /// Handed on by the peer at the other end of this link.
    Relay(LinkId),
    /// In a signalling frame.
    Socket(SocketId),
    /// Kept by the peer at the other end of this link, which may have had it for a month.
    Kept(LinkId),
}

impl Way {
    /// As people are told.
    pub(crate) fn path(self) -> Path {
        match self {
            Self::Direct(_) => Path::Direct,
            Self::Relay(_) | Self::Socket(_) => Path::Relay,
            Self::Kept(_) => Path::Stored,
        }
    }

    /// The device's own link, if that is it.
    pub(crate) fn direct(self) -> Option<LinkId> {
        match self {
            Self::Direct(link) => Some(link),
            Self::Relay(_) | Self::Socket(_) | Self::Kept(_) => None,
        }
    }
}

impl PeerManager {
    /// The way by which something of `from` came over a link.
    pub(crate) fn way_over(&self, link: LinkId, from: DeviceFp) -> Way {
        match self.links.get(link) {
            Some(known) if known.device == from => Way::Direct(link),
            _ => Way::Relay(link),
        }
    }

    /// A parcel of `from` was opened that came this way: a relay that handed it to us will hand
    /// ours back.
    pub(crate) fn note_way(&mut self, now: Now, from: DeviceFp, way: Way) {
        let Way::Relay(link) = way else {
            return;
        };
        if let Some(through) = self.links.get(link).map(|link| link.device) {
            let now_ms = now.mono_ms;
            let usable = self.vias.usable(from, now_ms);
            let known = usable.iter().any(|(peer, _)| *peer == through);
            self.vias.learn(from, through, Rung::Cache, true, now_ms);
            if !known {
                self.heard_of(now, from);
            }
        }
    }

    /// Links to peers that may hand a parcel to `to`, the best first.
    pub(crate) fn relays_to(&self, now: Now, to: DeviceFp) -> Vec<LinkId> {
        let usable = self.vias.usable(to, now.mono_ms).into_iter();
        let linked = usable.filter_map(|(through, _)| self.links.ready_to(through));
        let relays = linked.filter(|id| {
            let ready = self.links.get(*id).and_then(|link| link.ready());
            ready.is_some_and(|ready| ready.can_relay)
        });
        relays.take(WAYS_MAX).collect()
    }

    /// The ways a parcel may go to a device now, the best first: its own link, peers linked to it,
    /// and, where there is none of them, the signalling sockets.
    pub(crate) fn ways_to(&self, now: Now, to: DeviceFp) -> Vec<Way> {
        let direct = self.links.ready_to(to).map(Way::Direct);
        let relays = self.relays_to(now, to).into_iter().map(Way::Relay);
        let mut ways: Vec<Way> = direct.into_iter().chain(relays).collect();
        if ways.is_empty() {
            ways.extend(self.presence.sockets().into_iter().map(Way::Socket));
        }
        ways
    }

    /// Whether a way still exists.
    fn is_open(&self, way: Way, to: DeviceFp) -> bool {
        match way {
            Way::Direct(link) => self.links.ready_to(to) == Some(link),
            Way::Relay(link) => self.links.get(link).is_some_and(|link| link.is_ready()),
            Way::Socket(socket) => self.presence.sockets().contains(&socket),
            // Nothing goes back this way: its device may be anywhere.
            Way::Kept(_) => false,
        }
    }

    /// The way for an answer: back where it came from, or, where an answer went there already and
    /// did not get through (`tried`), another one if there is any.
    pub(crate) fn way_back(
        &self,
        now: Now,
        to: DeviceFp,
        came: Way,
        tried: Option<Way>,
    ) -> Option<Way> {
        let mut ways = self.ways_to(now, to);
        if let Way::Kept(custodian) = came {
            self.add_custodian(&mut ways, custodian);
        }
        let back = Some(came).filter(|way| self.is_open(*way, to));
        let mut all = back.into_iter().chain(ways.iter().copied());
        let untried = all.clone().find(|way| Some(*way) != tried);
        untried.or_else(|| all.next())
    }

    /// A custodian may be linked to whoever deposited with it: it is asked to relay an answer
    /// where nobody better is known, before the signalling sockets.
    fn add_custodian(&self, ways: &mut Vec<Way>, custodian: LinkId) {
        let ready = self.links.get(custodian).and_then(|link| link.ready());
        let known = ways.iter().any(|way| !matches!(way, Way::Socket(_)));
        if ready.is_some_and(|ready| ready.can_relay) && !known {
            ways.insert(0, Way::Relay(custodian));
        }
    }

    /// Sends a parcel for a device one way; `false` if that way does not take it.
    pub(crate) fn send_parcel(&mut self, now: Now, way: Way, to: DeviceFp, item: Kind) -> bool {
        match (way, item) {
            (Way::Direct(link), item) => self.say(link, item),
            (
                Way::Relay(link),
                Kind::ChatMessage(parcel)
                | Kind::Ack(parcel)
                | Kind::Nack(parcel)
                | Kind::Read(parcel)
                | Kind::FileOffer(parcel)
                | Kind::FileAccept(parcel)
                | Kind::FileDone(parcel),
            ) => self.say(link, Kind::Relay(parcel)),
            (
                Way::Socket(socket),
                Kind::ChatMessage(parcel)
                | Kind::Ack(parcel)
                | Kind::Nack(parcel)
                | Kind::Read(parcel)
                | Kind::FileOffer(parcel)
                | Kind::FileAccept(parcel)
                | Kind::FileDone(parcel),
            ) => self.request_relay_of(now, socket, to, parcel),
            (Way::Relay(_) | Way::Socket(_) | Way::Kept(_), _) => false,
        }
    }

    /// Hands a parcel to its device's own socket, in a RELAY_REQUEST.
    pub(crate) fn request_relay_of(
        &mut self,
        now: Now,
        socket: SocketId,
        to: DeviceFp,
        parcel: Vec<u8>,
    ) -> bool {
        let device = self.contacts.of_device(to).and_then(|c| c.device(to));
        let Some(label) = device.map(|device| device.label.clone()) else {
            return false;
        };
        let may = self.relay_requests.take(now.mono_ms);
        if may {
            let kind = SignalKind::RelayRequest;
            self.out.signal(socket, kind, label, parcel);
        }
        may
    }

    /// A bucket for RELAY_REQUEST: the narrow way out, not a second data path.
    pub(crate) fn relay_request_bucket(now: Now) -> crate::bounded::Bucket {
        crate::bounded::Bucket::new(RELAY_REQUESTS_PER_S, RELAY_REQUESTS_BURST, now.mono_ms)
    }
}
