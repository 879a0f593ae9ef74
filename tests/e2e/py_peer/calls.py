"""Calls (docs/PROTOCOL.md section 11): parcels of signalling become links. The same bytes come by
the gateway and through common peers; whoever carried them can drop them, and no more."""

import collections
import os

from spec_client import envelope
from spec_client.refusal import Refused

from . import limits
from .link import NEGOTIATION, OFFERER, Link
from .seals import Opened


class Calls:
    """The links of one peer, open or being made."""

    def __init__(self, peer):
        self.peer = peer
        self.make = Link
        self.links: list[Link] = []
        self.sessions: collections.OrderedDict[tuple, None] = collections.OrderedDict()
        self.early: collections.deque = collections.deque(maxlen=limits.EARLY_MAX)

    def pending(self, device: bytes) -> list[Link]:
        """Links to a device that are not open yet."""
        return [link for link in self.links if link.device == device and not link.ready]

    def dial(self, device: bytes) -> None:
        """Makes an offer, unless one is under way."""
        if not self.pending(device):
            self._start(self.make(self.peer, device, os.urandom(16)))

    def _start(self, link: Link) -> None:
        self._remember((link.device, link.session))
        self.links.append(link)
        link.task = self.peer.spawn(link.run())

    def _remember(self, session: tuple) -> bool:
        """Whether a session is new."""
        new = session not in self.sessions
        self.sessions[session] = None
        while len(self.sessions) > limits.SESSIONS_SEEN_MAX:
            self.sessions.popitem(last=False)
        return new

    def ended(self, link: Link) -> None:
        """A link is gone."""
        self.links = [held for held in self.links if held is not link]

    def take(self, opened: Opened) -> None:
        """An Offer, Answer or IceCandidate that came in a CONTROL parcel."""
        me = self.peer.me
        arguments = (opened.envelope, opened.number, me.network, me.device, opened.sender)
        said = envelope.open_envelope(*arguments)
        if opened.chain:
            self.peer.book.learn_chain(opened.chain)
        person = self.peer.book.by_device(opened.sender)
        if person is None or not self.peer.book.admits(person):
            raise Refused("unknown_caller")
        session = said.payload.context.link_session
        if len(session) != 16 or said.payload.negotiation != NEGOTIATION:
            raise Refused("bad_payload")
        take = {30: self._on_offer, 31: self._on_answer, 32: self._on_candidate}[opened.number]
        take(opened.sender, session, said)

    def _on_offer(self, device: bytes, session: bytes, offer) -> None:
        if (device, session) in self.sessions:
            raise Refused("replayed_session")
        pending = self.pending(device)
        ours = [link for link in pending if link.side == OFFERER]
        if ours and self.peer.me.device < device:
            self._remember((device, session))
            return  # Glare: the offer of the lower fingerprint stands, and that is ours.
        for link in ours:
            link.task.cancel()
        if len(pending) - len(ours) >= limits.SESSIONS_PENDING_MAX:
            raise Refused("too_many_sessions")
        link = self.make(self.peer, device, session, offer)
        for kept in [early for early in self.early if early[:2] == (device, session)]:
            self.early.remove(kept)
            if kept[2].offer_hash == offer.hash:
                link.take_candidate(kept[2].index, kept[2].candidate)
        self._start(link)

    def _of(self, device: bytes, session: bytes, said) -> Link | None:
        """The link of a session; what belongs to another offer is refused."""
        held = (link for link in self.links if (link.device, link.session) == (device, session))
        link = next(held, None)
        if link and said.payload.offer_hash != link.offer_hash:
            raise Refused("another_offer")
        return link

    def _on_answer(self, device: bytes, session: bytes, answer) -> None:
        link = self._of(device, session, answer)
        if link and link.side == OFFERER and not link.answer.done():
            link.answer.set_result(answer.payload.sdp)

    def _on_candidate(self, device: bytes, session: bytes, candidate) -> None:
        link = self._of(device, session, candidate)
        if link:
            link.take_candidate(candidate.payload.index, candidate.payload.candidate)
        elif (device, session) not in self.sessions:
            self.early.append((device, session, candidate.payload))
