"""What peers do for each other: answer a PEER_QUERY, and hand a parcel on (docs/PROTOCOL.md
sections 12 and 14)."""

import asyncio
import dataclasses
import os

from spec_client import envelope, stubs
from spec_client.refusal import Refused, require

from . import limits, seals
from .book import Person


@dataclasses.dataclass
class Asked:
    """A query of ours, until it is answered; nobody says that he does not know."""

    device: bytes
    user: bytes
    label: str
    found: asyncio.Future


class Fabric:
    """Queries and relaying of one peer."""

    def __init__(self, peer):
        self.peer = peer
        self.asked: dict[bytes, Asked] = {}
        self.relaying: dict[tuple, asyncio.Future] = {}
        # Which device is reached through which others.
        self.ways: dict[bytes, set[bytes]] = {}

    # --- queries --------------------------------------------------------------------------------

    def ask(self, device: bytes, user: bytes = b"", label: str = "") -> asyncio.Future:
        """Asks a connected peer for a user; the future holds the `Person`, if there is an answer."""
        require(len(self.asked) < limits.WAITING_MAX, "too many queries wait for an answer")
        link = self.peer.links[device]
        request_id = os.urandom(16)
        query = stubs.message("beeline.peer.v1.PeerQuery")(
            context=link.context(), looking_for=user, looking_for_id=label, request_id=request_id
        )
        found = asyncio.get_running_loop().create_future()
        self.asked[request_id] = Asked(device, user, label, found)
        link.say("peer_query", envelope.sign(self.peer.me.device_seed, query))
        return found

    def _open(self, link, number: int, data: bytes):
        me = self.peer.me
        arguments = (data, number, me.network, me.device, link.device, link.session)
        return envelope.open_envelope(*arguments).payload

    def on_query(self, link, data: bytes) -> None:
        """Answers for a user we hold chain and records of; says nothing otherwise."""
        query = self._open(link, 40, data)
        if len(query.looking_for) not in (0, 32) or len(query.request_id) != 16:
            raise Refused("bad_payload")
        book = self.peer.book
        by_label = None if query.looking_for else book.by_label(query.looking_for_id)
        person = book.people.get(query.looking_for) if query.looking_for else by_label
        devices = self._named(person) if person else []
        answered = bool(devices)
        self.peer.say({"event": "query", "by": self.peer.name(link.device), "answered": answered})
        if answered:
            link.say("peer_found", self._found(link, query.request_id, person, devices))

    def _named(self, person: Person) -> list:
        """The devices that may be named, those connected to us first."""
        if not self.peer.book.admits(person):
            return []
        records = [r for r in person.records.values() if not r.payload.unlisted]
        records.sort(key=lambda record: record.device not in self.peer.links)
        return records[: limits.FOUND_DEVICES_MAX]

    def _found(self, link, request_id: bytes, person: Person, records: list) -> bytes:
        make = stubs.message("beeline.peer.v1.PeerFound")
        connected = [record.device in self.peer.links for record in records]
        devices = [
            make.Found(
                record=record.data,
                connected=here,
                seen_ms_ago=0 if here else self.peer.seen_ms_ago(record.device),
            )
            for record, here in zip(records, connected)
        ]
        found = make(
            context=link.context(),
            request_id=request_id,
            user_id=person.label,
            signal_addr=records[0].payload.signal_addr,
            can_relay=any(connected),
            devices=devices,
            chain=person.data,
        )
        return envelope.sign(self.peer.me.device_seed, found)

    def on_found(self, link, data: bytes) -> None:
        """Believes of an answer what chain and records prove; the rest is a hint."""
        found = self._open(link, 41, data)
        asked = self.asked.get(found.request_id)
        if asked is None or asked.device != link.device:
            raise Refused("not_asked")
        if not 1 <= len(found.devices) <= limits.FOUND_DEVICES_MAX:
            raise Refused("bad_payload")
        person = self.peer.book.learn_chain(found.chain)
        if person.user != (asked.user or person.user) or person.label != found.user_id:
            raise Refused("wrong_user")
        if not asked.user and person.label != asked.label:
            raise Refused("wrong_user")
        for device in found.devices:
            record = self.peer.book.learn_record(device.record, person)
            if device.connected and found.can_relay:
                self.learn_way(record.device, link.device)
        del self.asked[found.request_id]
        by = self.peer.name(link.device)
        self.peer.say({"event": "found", "user": person.label, "by": by})
        asked.found.set_result(person)

    # --- relaying -------------------------------------------------------------------------------

    def learn_way(self, device: bytes, through: bytes) -> None:
        """Notes that a device is reached through another."""
        if device != through and (device in self.ways or len(self.ways) < limits.PEOPLE_MAX):
            self.ways.setdefault(device, set()).add(through)

    def relay(self, device: bytes, parcel: bytes) -> list[asyncio.Future]:
        """Hands a parcel to every open link that may lead to a device; each future holds what came
        of it: "relayed", or the code of a refusal."""
        return [self.relay_by(through, parcel) for through in self.ways.get(device, ())]

    def relay_by(self, through: bytes, parcel: bytes) -> asyncio.Future:
        """Hands a parcel to one peer to hand on."""
        outcome = asyncio.get_running_loop().create_future()
        link = self.peer.links.get(through)
        if link is None:
            outcome.set_result("NO_ROUTE")
            return outcome
        while len(self.relaying) >= limits.QUEUE_MAX:
            del self.relaying[next(iter(self.relaying))]
        self.relaying[(seals.read(parcel)[0], through)] = outcome
        link.say("relay", parcel)
        return outcome

    def on_relay(self, link, data: bytes) -> None:
        """A parcel for us is taken as if it had come directly; one for a device with an open link
        goes there, byte for byte; any other is refused. It never goes a second hop."""
        parcel_id, header = seals.read(data)
        if header.network != self.peer.me.network:
            raise Refused("wrong_network")
        if header.to_device == self.peer.me.device:
            self.learn_way(header.from_device, link.device)
            return self.peer.take_parcel(data, "relay")
        onward = self.peer.links.get(header.to_device)
        if onward is None or onward is link:
            make = stubs.message("beeline.peer.v1.Refusal")
            self.peer.say({"event": "no_route", "from": self.peer.name(link.device)})
            return link.say("refusal", make(subject=parcel_id, code="NO_ROUTE"))
        onward.say("relay", data)
        link.say("relayed", parcel_id)
        between = {"from": self.peer.name(link.device), "to": self.peer.name(onward.device)}
        kind = "message" if header.kind == seals.MESSAGE else "control"
        self.peer.say({"event": "relayed", **between, "kind": kind})

    def on_outcome(self, link, parcel_id: bytes, outcome: str) -> None:
        """What came of a parcel we handed out."""
        held = self.relaying.pop((parcel_id, link.device), None)
        if held and not held.done():
            held.set_result(outcome)
        if outcome != "relayed":
            self.peer.say({"event": "refused", "by": self.peer.name(link.device), "code": outcome})
