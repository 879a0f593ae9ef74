"""What peers do for each other: answer a PEER_QUERY, and hand a parcel on (docs/PROTOCOL.md
sections 12 and 14)."""

import asyncio
import collections
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


class Carried:
    """What was handed on for one pair of users: a bucket of bytes that fills with time."""

    def __init__(self, now: float):
        self.room, self.at = float(limits.RELAY_BYTES_BURST), now

    def take(self, size: int, now: float) -> int:
        """Takes bytes, or says how many milliseconds to wait for them."""
        self.room += (now - self.at) * limits.RELAY_BYTES_PER_S
        self.room, self.at = min(self.room, limits.RELAY_BYTES_BURST), now
        if size <= self.room:
            self.room -= size
            return 0
        return int((size - self.room) / limits.RELAY_BYTES_PER_S * 1000) + 1


class Fabric:
    """Queries and relaying of one peer."""

    def __init__(self, peer):
        self.peer = peer
        self.asked: dict[bytes, Asked] = {}
        self.relaying: dict[tuple, asyncio.Future] = {}
        self.queries: collections.deque = collections.deque(maxlen=limits.QUEUE_MAX)
        self.carried: dict[tuple, Carried] = {}
        # Which device is reached through which others.
        self.ways: dict[bytes, set[bytes]] = {}

    # --- queries --------------------------------------------------------------------------------

    def ask(self, device: bytes, user: bytes = b"", label: str = "") -> asyncio.Future:
        """Asks a connected peer; the future holds the `Person`, if there is ever an answer."""
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
        """Answers for a user we hold chain and records of, once; says nothing otherwise."""
        query = self._open(link, 40, data)
        if len(query.looking_for) not in (0, 32) or len(query.request_id) != 16:
            raise Refused("bad_payload")
        if (link.session, query.request_id) in self.queries:
            raise Refused("asked_again")
        self.queries.append((link.session, query.request_id))
        book = self.peer.book
        by_label = None if query.looking_for else book.by_label(query.looking_for_id)
        person = book.people.get(query.looking_for) if query.looking_for else by_label
        devices = self._named(person) if person else []
        # Who names the fingerprint holds the chain, and can do without it where it is too much.
        chains = [person.data, b""][: 2 if query.looking_for else 1] if person else []
        sizes = range(len(devices), 0, -1)
        tries = [(chain, devices[:count]) for count in sizes for chain in chains]
        made = (self._found(link, query.request_id, person, *each) for each in tries)
        room = limits.ANSWER_BYTES_FACTOR * link.received - link.answered
        answer = next((said for said in made if len(said) <= room), None)
        answered = answer is not None
        self.peer.say({"event": "query", "by": self.peer.name(link.device), "answered": answered})
        if answered:
            link.answered += len(answer)
            link.say("peer_found", answer)

    def _named(self, person: Person) -> list:
        """The devices that may be named, those connected to us first."""
        if not self.peer.book.admits(person):
            return []
        records = [r for r in person.records.values() if not r.payload.unlisted]
        records.sort(key=lambda record: record.device not in self.peer.links)
        return records[: limits.FOUND_DEVICES_MAX]

    def _found(self, link, request_id: bytes, person: Person, chain: bytes, records: list) -> bytes:
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
            chain=chain,
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
        held = self.peer.book.people.get(asked.user)
        person = self.peer.book.learn_chain(found.chain) if found.chain else held
        if person is None:
            raise Refused("NEED_CHAIN")
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
        if header.to_device == self.peer.me.device:
            self.learn_way(header.from_device, link.device)
            return self.peer.take_parcel(data, link)
        code, wait_ms = self.hand_on(data, parcel_id, header, link.device)
        if code:
            self._refuse(link, parcel_id, code, wait_ms)
        elif header.kind == seals.MESSAGE:
            link.say("relayed", parcel_id)

    def hand_on(self, data: bytes, parcel_id: bytes, header, sender: bytes) -> tuple[str, int]:
        """Puts a parcel of `sender` on the link to its recipient; else the code of a refusal, and
        after how many milliseconds another try may help."""
        if header.network != self.peer.me.network or header.from_device != sender:
            return "INVALID_ARGUMENT", 0
        onward = self.peer.links.get(header.to_device)
        if onward is None or sender == header.to_device:
            return "NO_ROUTE", 0
        between = self.peer.name(sender), self.peer.name(onward.device)
        now = asyncio.get_running_loop().time()
        if between not in self.carried and len(self.carried) >= limits.PEOPLE_MAX:
            del self.carried[next(iter(self.carried))]
        wait_ms = self.carried.setdefault(between, Carried(now)).take(len(data), now)
        if wait_ms:
            self._refuse(onward, parcel_id, "RATE_LIMITED", wait_ms)
            return "RATE_LIMITED", wait_ms
        onward.say("relay", data)
        kind = "message" if header.kind == seals.MESSAGE else "control"
        self.peer.say({"event": "relayed", "from": between[0], "to": between[1], "kind": kind})
        return "", 0

    def _refuse(self, link, parcel_id: bytes, code: str, wait_ms: int) -> None:
        make = stubs.message("beeline.peer.v1.Refusal")
        link.say("refusal", make(subject=parcel_id, code=code, retry_after_ms=wait_ms))
        self.peer.say({"event": "refusing", "to": self.peer.name(link.device), "code": code})

    def on_outcome(self, link, parcel_id: bytes, outcome: str) -> None:
        """What came of a parcel we handed out."""
        held = self.relaying.pop((parcel_id, link.device), None)
        if held and not held.done():
            held.set_result(outcome)
        if outcome != "relayed":
            self.peer.say({"event": "refused", "by": self.peer.name(link.device), "code": outcome})
