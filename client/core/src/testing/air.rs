//! Connections of a world: they open when both ends know each other's description and a candidate,
//! carry messages in order, and can be full, lost, or tapped.

use super::node::{End, NodeId};
use super::{Happening, Timing, World};
use crate::input::{Candidate, Input, LinkId, LinkPath, RtcEvent};
use crate::output::RtcCommand;
use beeline_proto::id::{DeviceFp, sha256};

/// What the somebody in between shows as a certificate.
const INTERCEPTOR: [u8; 32] = [0xee; 32];

impl End {
    /// When the last byte of a frame leaves: a window of them goes in one round trip.
    fn leaves_ms(&mut self, now_ms: u64, len: usize, timing: &Timing) -> u64 {
        let round_ms = 2 * timing.link_ms;
        if now_ms >= self.round.0 + round_ms {
            self.round = (now_ms, 0);
        }
        self.round.1 += len;
        while self.round.1 > timing.link_window {
            self.round.0 += round_ms;
            self.round.1 -= timing.link_window;
        }
        self.round.0.max(now_ms)
    }
}

impl World {
    fn happen_on(&mut self, id: NodeId, link: LinkId, after_ms: u64, event: RtcEvent) {
        let input = Input::Rtc { link, event };
        self.schedule(id, after_ms, Happening::Input(input));
    }

    /// Carries out a command; returns the frame if the link does not take it.
    pub(super) fn connection(
        &mut self,
        id: NodeId,
        link: LinkId,
        command: RtcCommand,
    ) -> Option<Vec<u8>> {
        match command {
            RtcCommand::Offer { direct_only } => self.describe(id, link, direct_only),
            RtcCommand::AcceptOffer { sdp, direct_only } => {
                self.describe(id, link, direct_only);
                self.meet(id, link, &sdp);
            }
            RtcCommand::AcceptAnswer { sdp } => self.meet(id, link, &sdp),
            RtcCommand::AddCandidate(candidate) => {
                if let Some(end) = self.node_mut(id).ends.get_mut(&link) {
                    end.reachable |= !candidate.candidate.is_empty();
                }
                self.try_open(id, link);
            }
            RtcCommand::Send(frame) => return self.transmit(id, link, frame),
            RtcCommand::Close => {
                if let Some(end) = self.node_mut(id).ends.remove(&link) {
                    let after = self.timing.link_ms;
                    self.lose_link(id, &end, after);
                }
            }
        }
        None
    }

    fn describe(&mut self, id: NodeId, link: LinkId, direct_only: bool) {
        let fingerprint = sha256(format!("{} {} {}", id.0, link.0, self.node(id).boot).as_bytes());
        let end = End {
            fingerprint,
            direct_only,
            ..End::default()
        };
        self.node_mut(id).ends.insert(link, end);
        let sdp = format!("{} {} {}", id.0, link.0, DeviceFp(fingerprint));
        self.happen_on(id, link, 1, RtcEvent::LocalDescription { sdp });
        for n in 0..2 {
            let addr = &self.node(id).addr;
            let at = if addr.is_empty() {
                String::new()
            } else {
                format!(" 1 udp 1 {addr} 9 typ host")
            };
            let candidate = Candidate {
                candidate: format!("candidate:{n}{at}"),
                ..Candidate::default()
            };
            self.happen_on(id, link, 1, RtcEvent::Candidate(candidate));
        }
        self.happen_on(id, link, 2, RtcEvent::EndOfCandidates);
    }

    /// A remote description: who is at the other end.
    fn meet(&mut self, id: NodeId, link: LinkId, sdp: &str) {
        let mut words = sdp.split(' ');
        let node = words.next().and_then(|word| word.parse().ok()).map(NodeId);
        let other = words.next().and_then(|word| word.parse().ok()).map(LinkId);
        let fingerprint = words.next().and_then(|word| word.parse::<DeviceFp>().ok());
        let (Some(node), Some(other), Some(fingerprint)) = (node, other, fingerprint) else {
            let reason = "the description is not one".to_owned();
            return self.happen_on(id, link, 1, RtcEvent::Closed { reason });
        };
        if let Some(end) = self.node_mut(id).ends.get_mut(&link) {
            end.remote = Some((node, other, fingerprint.0));
        }
        self.try_open(id, link);
    }

    fn try_open(&mut self, id: NodeId, link: LinkId) {
        let Some((other, remote, _)) = self.node(id).ends.get(&link).and_then(|e| e.remote) else {
            return;
        };
        let pairs = [(id, other), (other, id)];
        let parted = |pair| self.apart.contains(pair) || self.muted.contains(pair);
        if other.0 >= self.nodes.len() || pairs.iter().any(parted) {
            return;
        }
        let ready = |end: &End, at: NodeId, link: LinkId| {
            let met = end
                .remote
                .is_some_and(|(node, l, _)| (node, l) == (at, link));
            let way = !end.direct_only || !pairs.iter().any(|pair| self.relayed.contains(pair));
            met && end.reachable && !end.opening && way
        };
        let here = self
            .node(id)
            .ends
            .get(&link)
            .is_some_and(|end| ready(end, other, remote));
        let there = self
            .node(other)
            .ends
            .get(&remote)
            .is_some_and(|end| ready(end, id, link));
        if !here || !there {
            return;
        }
        let after = self.timing.ice_ms;
        for (node, link) in [(id, link), (other, remote)] {
            if let Some(end) = self.node_mut(node).ends.get_mut(&link) {
                end.opening = true;
            }
            self.schedule(node, after, Happening::Open(link));
        }
    }

    /// DTLS is done: each end sees the other's certificate.
    pub(super) fn open_link(&mut self, id: NodeId, link: LinkId) {
        let Some(end) = self.node(id).ends.get(&link).cloned() else {
            return;
        };
        let Some((other, remote, described)) = end.remote else {
            return;
        };
        let Some(certificate) = self
            .node(other)
            .ends
            .get(&remote)
            .map(|end| end.fingerprint)
        else {
            let reason = "the other side is gone".to_owned();
            return self.happen_on(id, link, 1, RtcEvent::Closed { reason });
        };
        if certificate != described {
            let reason = "the certificate does not match the description".to_owned();
            return self.happen_on(id, link, 1, RtcEvent::Closed { reason });
        }
        let seen = if self.intercepted {
            INTERCEPTOR
        } else {
            certificate
        };
        if let Some(end) = self.node_mut(id).ends.get_mut(&link) {
            end.open = true;
        }
        if self.relayed.contains(&(id, other)) {
            let event = RtcEvent::Path(LinkPath::Relayed);
            self.input(id, Input::Rtc { link, event });
        }
        let event = RtcEvent::Open {
            local_fingerprint: end.fingerprint,
            remote_fingerprint: seen,
        };
        self.input(id, Input::Rtc { link, event });
        for bytes in end.early {
            self.deliver_frame(id, link, bytes);
        }
    }

    fn transmit(&mut self, id: NodeId, link: LinkId, frame: Vec<u8>) -> Option<Vec<u8>> {
        let (budget, now_ms, timing) = (self.budget, self.now_ms, self.timing);
        let after_ms = timing.link_ms + self.jitter();
        let end = self.node_mut(id).ends.get_mut(&link)?;
        let (other, remote, _) = end.remote?;
        if !end.open {
            return None;
        }
        if end.blocked || end.under_way >= budget {
            end.blocked = true;
            return Some(frame);
        }
        end.under_way += 1;
        let arrival_ms = end.leaves_ms(now_ms, frame.len(), &timing) + after_ms;
        end.last_arrival_ms = end.last_arrival_ms.max(arrival_ms);
        let at = end.last_arrival_ms;
        let frames = match self.on_frame.as_mut() {
            _ if self.muted.contains(&(id, other)) => Vec::new(),
            Some(hook) => hook(id, other, frame),
            None => vec![frame],
        };
        // A frame lost by a hook still leaves the budget.
        if frames.is_empty() {
            self.left_budget(id, link);
        }
        for frame in frames {
            self.schedule_at(other, at, Happening::Frame(remote, frame));
        }
        None
    }

    fn left_budget(&mut self, id: NodeId, link: LinkId) {
        let budget = self.budget;
        let Some(end) = self.node_mut(id).ends.get_mut(&link) else {
            return;
        };
        end.under_way = end.under_way.saturating_sub(1);
        if end.blocked && end.under_way <= budget / 2 {
            end.blocked = false;
            self.happen_on(id, link, 1, RtcEvent::Writable);
        }
    }

    pub(super) fn deliver_frame(&mut self, id: NodeId, link: LinkId, bytes: Vec<u8>) {
        let Some(end) = self.node_mut(id).ends.get_mut(&link) else {
            return;
        };
        if !end.open {
            // Our end opens a moment later than theirs: SCTP would hold it back too.
            return end.early.push(bytes);
        }
        if let Some((other, remote, _)) = end.remote {
            self.left_budget(other, remote);
        }
        self.input(
            id,
            Input::Rtc {
                link,
                event: RtcEvent::Message(bytes),
            },
        );
    }

    /// Puts a frame on the open connection between two nodes, as one that lies would; whether there
    /// is one that takes it.
    pub fn say(&mut self, from: NodeId, to: NodeId, frame: Vec<u8>) -> bool {
        match self.link_between(from, to) {
            Some(link) => self.transmit(from, link, frame).is_none(),
            None => false,
        }
    }

    /// The open connection from one node to another, as the one names it.
    pub fn link_between(&self, from: NodeId, to: NodeId) -> Option<LinkId> {
        let ends = self.node(from).ends.iter();
        let open = |end: &End| end.open && end.remote.is_some_and(|(node, ..)| node == to);
        let mut links = ends.filter(|(_, end)| open(end)).map(|(link, _)| *link);
        links.next_back()
    }

    /// Every connection between two nodes is gone; each end notices in its time.
    pub fn cut(&mut self, one: NodeId, other: NodeId) {
        for (at, peer) in [(one, other), (other, one)] {
            let ends = self.node(at).ends.iter();
            let theirs = |end: &End| end.remote.is_some_and(|(node, ..)| node == peer);
            let links: Vec<LinkId> = ends
                .filter(|(_, end)| theirs(end))
                .map(|(l, _)| *l)
                .collect();
            for link in links {
                self.node_mut(at).ends.remove(&link);
                let (after, reason) = (self.timing.dead_ms, "consent was lost".to_owned());
                self.happen_on(at, link, after, RtcEvent::Closed { reason });
            }
        }
    }

    /// One end is gone; the other notices.
    pub(super) fn lose_link(&mut self, _id: NodeId, end: &End, after_ms: u64) {
        let Some((other, remote, _)) = end.remote else {
            return;
        };
        if other.0 < self.ids().len() && self.node(other).ends.contains_key(&remote) {
            let reason = "the other side is gone".to_owned();
            self.happen_on(other, remote, after_ms, RtcEvent::Closed { reason });
        }
    }
}
