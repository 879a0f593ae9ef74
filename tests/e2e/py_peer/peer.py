"""One peer: an identity, a signalling socket, links, and what goes over them."""

import asyncio
import collections
import os
import pathlib
from collections.abc import Callable

from spec_client import envelope, people, rest, stubs
from spec_client.identity import Identity
from spec_client.refusal import Refused, require

from . import limits, seals
from .book import Book, Person
from .calls import Calls
from .custody import Custody
from .fabric import Fabric
from .link import OFFERER, Link
from .signalling import TYPES, Signalling
from .talk import Talk


class Peer:
    """Online from `start` to `stop`. Tasks run in the group it is given; whatever goes wrong in one
    that no remote can cause ends the group, and with it the process."""

    def __init__(self, group: asyncio.TaskGroup, gateway: rest.Rest, me: Identity, say: Callable):
        self.group = group
        self.gateway = gateway
        self.me = me
        self.me.boot_id = os.urandom(16)
        self.say = say
        self.book = Book(me)
        self.calls = Calls(self)
        self.talk = Talk(self)
        self.fabric = Fabric(self)
        self.custody = Custody(self)
        self.links: dict[bytes, Link] = {}
        self.seen: collections.OrderedDict[bytes, None] = collections.OrderedDict()
        self.left_at: dict[bytes, float] = {}
        self.waiting: dict[bytes, asyncio.Future] = {}
        self.inbox: asyncio.Queue = asyncio.Queue(limits.QUEUE_MAX)
        self.reading: list[asyncio.Task] = []
        self.socket: Signalling | None = None
        self.token = ""
        self.record = b""
        self.bundle = b""

    async def start(self, ca: pathlib.Path | None = None, unlisted: bool = False) -> None:
        """Gets a token, announces the device record, and signs in at the gateway."""
        self.token, _ = await asyncio.to_thread(rest.token, self.gateway, self.me)
        self.record = self.me.record(True, unlisted, self.custody.keeps)
        raw = envelope.split(self.record).payload
        self.bundle = stubs.message("beeline.identity.v1.DeviceRecord").FromString(raw).bundle
        arguments = (self.gateway, self.me, self.token, [], self.record)
        await asyncio.to_thread(rest.announce, *arguments)
        versions = self.book.versions()
        self.socket, ready = await Signalling.proven(self.gateway, self.me, versions, ca)
        self.book.take_lists(ready.descriptor, ready.revocations)
        self.reading = [self.spawn(self.socket.write()), self.spawn(self._read_socket())]
        self.say({"event": "online", "user": self.me.user_id, "device": self.me.device_id})

    async def stop(self, reason: str = "done") -> None:
        """Says GOODBYE on every link and closes the socket."""
        links = list(self.calls.links)
        await asyncio.gather(*(link.goodbye(reason) for link in links))
        if self.socket:
            await self.socket.close()
        for task in self.reading:
            task.cancel()

    def spawn(self, work) -> asyncio.Task:
        """Runs a coroutine beside the others."""
        return self.group.create_task(work)

    # --- signalling -----------------------------------------------------------------------------

    async def _read_socket(self) -> None:
        await self.socket.read(self._on_frame)
        self.say({"event": "offline", "user": self.me.user_id})

    def _on_frame(self, kind: str, frame) -> None:
        if kind in TYPES.values() or kind == "RELAY_REQUEST":
            return self.refusable(self._on_signal, kind, frame)
        if kind == "ERROR":
            self.say({"event": "signal_error", "code": frame.code, "to": frame.to})

    def _on_signal(self, kind: str, frame) -> None:
        parcel_id, header = seals.read(frame.parcel)
        if header.to_device != self.me.device:
            if kind == "RELAY_REQUEST":
                self.fabric.hand_on(frame.parcel, parcel_id, header, header.from_device)
            return
        # What the gateway says of the sender must agree with what the chain will prove.
        person = self.book.by_device(header.from_device)
        if person and person.device(header.from_device).label != getattr(frame, "from"):
            raise Refused("sender_mismatch")
        self.take_parcel(frame.parcel, None)

    def signal(self, device: bytes, said: bytes, chain: bytes = b"") -> None:
        """Seals a part of a call once, and sends the same bytes on every route there is."""
        listed = self.book.by_device(device).device(device)
        parcel = seals.seal_control(self.me, listed, said, chain)
        if self.socket:
            self.socket.send(TYPES[envelope.split(said).number], listed.label, parcel)
        self.fabric.relay(device, parcel)

    # --- links ----------------------------------------------------------------------------------

    async def link_to(self, device: bytes) -> Link:
        """The open link to a device; dials where there is none."""
        if device not in self.links:
            made = asyncio.get_running_loop().create_future()
            waiting = self.waiting.setdefault(device, made)
            self.calls.dial(device)
            await waiting
        return self.links[device]

    def linked(self, link: Link) -> None:
        """Both HELLOs verified: an older link to the device ends, what waits for it goes."""
        older = self.links.get(link.device)
        self.links[link.device] = link
        if older:
            self.spawn(older.goodbye("replaced by a newer link"))
        side = "offerer" if link.side == OFFERER else "answerer"
        shown = {"user": self.name(link.device), "side": side, "cipher": link.connection.cipher}
        self.say({"event": "linked", **shown})
        person = self.book.by_device(link.device)
        newer = self.book.newer_than(link.hello.versions, person.user)
        if newer:
            link.say("records", newer)
        self.talk.push(link.device)
        self.custody.ask(link)
        waiting = self.waiting.pop(link.device, None)
        if waiting and not waiting.done():
            waiting.set_result(link)

    def unlinked(self, link: Link, why: str) -> None:
        """A link ended, or never came about."""
        self.calls.ended(link)
        if self.links.get(link.device) is link:
            del self.links[link.device]
            self.left_at[link.device] = asyncio.get_running_loop().time()
        self.say({"event": "unlinked", "user": self.name(link.device), "why": why})
        waiting = self.waiting.get(link.device)
        if waiting and not waiting.done() and not self.calls.pending(link.device):
            del self.waiting[link.device]
            waiting.set_exception(Refused(why))

    def seen_ms_ago(self, device: bytes) -> int:
        """How long ago a device was connected to us."""
        now = asyncio.get_running_loop().time()
        return int((now - self.left_at.get(device, now)) * 1000)

    def name(self, device: bytes) -> str:
        """The userId a device belongs to, for people."""
        person = self.book.by_device(device)
        return person.label if person else device.hex()[:8]

    # --- what arrives ---------------------------------------------------------------------------

    def refusable(self, take: Callable, *arguments) -> None:
        """Runs what a remote may have caused to be refused; the refusal is an event, no more."""
        try:
            take(*arguments)
        except Refused as refused:
            self.say({"event": "dropped", "why": refused.reason})

    def take_item(self, link: Link, arm: str, value) -> None:
        """One item of an open link."""
        take: dict[str, Callable] = {
            "peer_query": lambda: self.fabric.on_query(link, value),
            "peer_found": lambda: self.fabric.on_found(link, value),
            "relay": lambda: self.fabric.on_relay(link, value),
            "relayed": lambda: self.fabric.on_outcome(link, value, "relayed"),
            "refusal": lambda: self._on_refusal(link, value),
            "store_message": lambda: self.custody.on_deposit(link, value),
            "store_receipt": lambda: self.custody.on_receipt(link, value),
            "store_fetch": lambda: self.custody.on_fetch(link, value),
            "store_delete": lambda: self.custody.on_delete(link, value),
            "store_page": lambda: self.custody.on_page(link, value),
            "kept": lambda: self.custody.on_kept(link, value),
            "records": lambda: self._on_records(link, value),
        }
        for parcel in ("chat_message", "ack", "nack"):
            take[parcel] = lambda: self.take_parcel(value, link)
        # Every other arm is something this peer does not do: passed over.
        self.refusable(take.get(arm, lambda: None))

    def take_parcel(self, data: bytes, way: Link | None) -> None:
        """A parcel for us, by a link, or by the socket (None); the way proves nothing."""
        parcel_id, header = seals.read(data)
        if header.kind == seals.MESSAGE:
            return self.talk.on_message(data, way)
        if parcel_id in self.seen:
            return
        opened = seals.open_for(self.me, data)
        self.seen[parcel_id] = None
        while len(self.seen) > limits.PARCELS_SEEN_MAX:
            self.seen.popitem(last=False)
        if opened.number in TYPES:
            self.calls.take(opened)
        elif opened.number == 22:
            self.talk.on_ack(opened, way)
        elif opened.number == 23:
            self.talk.on_nack(opened)

    def _on_refusal(self, link: Link, refusal) -> None:
        if not self.custody.on_refusal(refusal):
            self.fabric.on_outcome(link, refusal.subject, refusal.code)

    def _on_records(self, link: Link, records) -> None:
        self.book.take_lists(records.descriptor, records.revocations)
        if records.chain:
            self.book.learn_chain(records.chain)
        if records.device_list:
            person = self.book.by_device(link.device)
            self.book.take_device_list(records.device_list, person.user)

    def heard(self, person: Person, message, path: str) -> None:
        """A new message, acknowledged already."""
        shown = people.message_id_text(message.context.message_id)
        said = {"id": shown, "from": person.label, "text": message.content, "path": path}
        self.say({"event": "message", **said})
        self.inbox.put_nowait((person, message.content))

    # --- what leaves ----------------------------------------------------------------------------

    def answer(self, device: bytes, arm: str, parcel: bytes, way: Link | None) -> None:
        """Sends a parcel to a device by the way something of it came."""
        if way is None:
            label = self.book.by_device(device).device(device).label
            self.socket.send("RELAY_REQUEST", label, parcel)
        elif way.device == device:
            way.say(arm, parcel)
        else:
            self.fabric.relay_by(way.device, parcel)

    def carry(self, device: bytes, arm: str, parcel: bytes) -> None:
        """Sends a parcel to a device: over the link to it, else through those that lead there."""
        if device in self.links:
            return self.links[device].say(arm, parcel)
        self.fabric.relay(device, parcel)

    @staticmethod
    def path(device: bytes, way: Link | None) -> str:
        """What people are told of a way to or from a device."""
        return "direct" if way and way.device == device else "relay"

    async def look_up(self, label: str) -> Person:
        """Asks the registry for a user, and believes what is signed."""
        arguments = (self.gateway, self.me, self.token, label)
        answer = await asyncio.to_thread(rest.peer, *arguments)
        found = stubs.from_json("beeline.registry.v1.Peer", answer)
        person = self.book.learn_chain(found.chain)
        require(person.label == label, f"asked for {label}, got {person.label}")
        for device in found.devices:
            if device.record:
                self.book.learn_record(device.record, person)
        return person
