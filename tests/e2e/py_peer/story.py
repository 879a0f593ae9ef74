"""What peers do for each other without any server, played by several Python peers in one process:
queries, relaying, signalling through a common peer, glare, and a liar. One event a step; a
Deviation at the first step that is not as specified."""

import argparse
import asyncio
import os
from collections.abc import Callable

from spec_client import people, rest
from spec_client.identity import Identity
from spec_client.refusal import Refused, require

from .link import Link
from .peer import Peer


class Liar(Link):
    """Says of its own certificate what is not true, as somebody in the middle would have to."""

    def _fingerprints(self) -> tuple[bytes, bytes]:
        return tuple(bytes(reversed(fp)) for fp in super()._fingerprints())


class Story:
    """Alice and Carol with Bob between them; Dave, who is not to be named; Mallory, who lies."""

    def __init__(self, arguments: argparse.Namespace, say: Callable):
        self.ca = arguments.ca
        self.say = say
        self.gateway = rest.Rest(arguments.url, arguments.ca)
        self.link = people.parse_link(arguments.invite)
        self.run_id = os.urandom(4).hex()
        self.peers: dict[str, Peer] = {}

    async def run(self) -> None:
        """All steps."""
        await asyncio.to_thread(self.gateway.describe)
        async with asyncio.TaskGroup() as group:
            for name in ("alice", "bob", "carol", "dave", "mallory"):
                self.peers[name] = await self._joined(group, name)
            self.alice, self.bob, self.carol, self.dave, mallory = self.peers.values()
            await self.linked()
            await self.glare()
            await self.lied_to(mallory)
            carol = await self.asked()
            await self.relayed(carol)
            await self.called_through_bob()
            await self.no_route()
            await asyncio.gather(*(peer.stop() for peer in self.peers.values()))
        self._step("done")

    def _step(self, name: str, **members) -> None:
        self.say({"event": "step", "name": name, **members})

    async def _joined(self, group: asyncio.TaskGroup, name: str) -> Peer:
        user = f"{name}_{self.run_id}"
        me = Identity.make(self.link, user, f"{user}_device", self.gateway.url)
        await asyncio.to_thread(rest.join, self.gateway, me, self.link.seed)
        peer = Peer(group, self.gateway, me, lambda event: self.say({**event, "who": name}))
        await peer.start(self.ca, unlisted=name == "dave")
        return peer

    async def _meet(self, one: Peer, other: Peer) -> Link:
        await one.look_up(other.me.user_id)
        return await one.link_to(other.me.device)

    async def linked(self) -> None:
        """Alice, Carol and Dave know Bob, and nobody else."""
        for peer in (self.alice, self.carol, self.dave):
            await self._meet(peer, self.bob)
        self._step("linked")

    async def glare(self) -> None:
        """Carol and Dave call each other at once: one link comes of it, the same on both sides."""
        for one, other in ((self.carol, self.dave), (self.dave, self.carol)):
            await one.look_up(other.me.user_id)
        ends = ((self.carol, self.dave.me.device), (self.dave, self.carol.me.device))
        links = await asyncio.gather(*(peer.link_to(device) for peer, device in ends))
        sessions = {link.session for link in links}
        require(len(sessions) == 1, f"glare left {len(sessions)} sessions")
        offerer = min(self.carol.me.device, self.dave.me.device)
        sides = {peer.me.device: link.side for (peer, _), link in zip(ends, links, strict=True)}
        require(sides[offerer] == 1, "the offer of the lower fingerprint must stand")
        self._step("glare")

    async def lied_to(self, mallory: Peer) -> None:
        """A HELLO with another fingerprint than the certificate's ends the link."""
        mallory.calls.make = Liar
        for one, other in ((self.dave, mallory), (mallory, self.dave)):
            try:
                await self._meet(one, other)
            except Refused as refused:
                mismatch = refused.reason == "fingerprint_mismatch"
                require(mismatch or one is mallory, f"refused for {refused.reason}")
            else:
                require(False, "a link with a liar opened")
            # Both ends are gone before the next call.
            for peer in (self.dave, mallory):
                for link in list(peer.calls.links):
                    if {peer.me.device, link.device} == {self.dave.me.device, mallory.me.device}:
                        await asyncio.wait([link.task])
        self._step("liar")

    async def asked(self):
        """Bob names Carol; of Dave, and of somebody unknown, he says nothing at all."""
        bob, ask = self.bob.me.device, self.alice.fabric.ask
        silent = [ask(bob, label="nobody"), ask(bob, user=os.urandom(32)), ask(bob, label="")]
        silent += [ask(bob, user=self.dave.me.user), ask(bob, label=self.dave.me.user_id)]
        by_label = await ask(bob, label=self.carol.me.user_id)
        by_fingerprint = await ask(bob, user=self.carol.me.user)
        require(by_label is by_fingerprint, "two answers for one user")
        require(by_label.user == self.carol.me.user, "Bob named somebody else")
        # Items are handled in order, so an answer to the first would be here by now.
        require(not any(future.done() for future in silent), "a query that must not be answered")
        self._step("found")
        return by_label

    async def relayed(self, carol) -> None:
        """Without a gateway: a text through Bob, its ACK back through Bob, and once only."""
        for peer in self.peers.values():
            await peer.socket.close()
        sent = self.alice.talk.say(carol, "through Bob")
        parcel = sent.parcels[self.carol.me.device]
        require(await sent.acked == "relay", "the ACK must come by relay")
        again = self.alice.fabric.relay_by(self.bob.me.device, parcel)
        require(await again == "relayed", "a repeated parcel is handed on again")
        second = self.alice.talk.say(carol, "again through Bob")
        await second.acked
        heard = [(await self.carol.inbox.get())[1] for _ in range(2)]
        require(heard == ["through Bob", "again through Bob"], f"Carol heard {heard}")
        require(self.carol.inbox.empty(), "a repeated parcel was shown again")
        self._step("relayed")

    async def called_through_bob(self) -> None:
        """Offer, answer and candidates as relayed parcels: a direct link without a server."""
        link = await self.alice.link_to(self.carol.me.device)
        require(self.alice.links[self.carol.me.device] is link, "the link is not in use")
        person = self.alice.book.by_device(self.carol.me.device)
        sent = self.alice.talk.say(person, "directly")
        require(await sent.acked == "direct", "the ACK must come directly")
        require((await self.carol.inbox.get())[1] == "directly", "Carol heard something else")
        self._step("direct")

    async def no_route(self) -> None:
        """Carol leaves; a parcel for her is refused, and so is one for a stranger."""
        person = self.alice.book.by_device(self.carol.me.device)
        link = self.bob.links[self.carol.me.device]
        await self.carol.stop()
        await asyncio.wait([link.task])
        sent = self.alice.talk.say(person, "too late")
        parcel = sent.parcels[self.carol.me.device]
        outcome = await self.alice.fabric.relay_by(self.bob.me.device, parcel)
        require(outcome == "NO_ROUTE", f"the relay said {outcome}")
        require(not sent.acked.done(), "nobody can have acknowledged that")
        self._step("no_route")
