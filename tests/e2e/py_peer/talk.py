"""Messages, ACK and NACK (docs/PROTOCOL.md section 13)."""

import asyncio
import collections
import dataclasses
import hashlib
import os

from spec_client import envelope, people, stubs
from spec_client.identity import now_ms
from spec_client.refusal import Refused, require

from . import limits, seals
from .book import Person, open_bundle

UNKNOWN_KEY, NEED_CHAIN, CONFLICT, USER_KEY_CHANGED, REVOKED, INVALID, FULL = range(1, 8)
# The reason a Nack gives for a refusal; where there is none, nothing is said.
REFUSALS = {
    "unknown_key": UNKNOWN_KEY,
    "CONFLICT": CONFLICT,
    "USER_KEY_CHANGED": USER_KEY_CHANGED,
    "REVOKED": REVOKED,
    "INVALID": INVALID,
    "FULL": FULL,
}


@dataclasses.dataclass
class Sent:
    """A message of ours: one envelope, one parcel for each device, until an ACK proves it."""

    id: bytes
    user: bytes
    envelope: bytes
    acked: asyncio.Future
    parcels: dict[bytes, bytes] = dataclasses.field(default_factory=dict)
    reseals: int = 0

    @property
    def hash(self) -> bytes:
        """What an ACK must name."""
        return hashlib.sha256(self.envelope).digest()


class Talk:
    """What one peer said and heard."""

    def __init__(self, peer):
        self.peer = peer
        self.incarnation = int.from_bytes(os.urandom(8), "big")
        self.seqs: collections.Counter = collections.Counter()
        self.sent: dict[bytes, Sent] = {}
        self.knows_us: set[bytes] = set()
        self.heard: collections.OrderedDict[tuple, bytes] = collections.OrderedDict()

    # --- sending --------------------------------------------------------------------------------

    def say(self, person: Person, text: str) -> Sent:
        """Signs a message once, seals it for each device with a known bundle, and sends it."""
        require(len(text.encode()) <= limits.TEXT_LEN_MAX, "the text is too long")
        require(len(self.sent) < limits.WAITING_MAX, "too many messages wait for their ACK")
        me, at = self.peer.me, now_ms()
        self.seqs[person.user] += 1
        context = me.context(person.user)
        context.incarnation, context.seq = self.incarnation, self.seqs[person.user]
        message = stubs.message("beeline.peer.v1.ChatMessage")(
            context=context, content=text, timestamp=at // 1000, timestamp_ms=at % 1000
        )
        said = envelope.sign(me.device_seed, message)
        future = asyncio.get_running_loop().create_future()
        sent = self.sent[context.message_id] = Sent(context.message_id, person.user, said, future)
        for device, record in person.records.items():
            self._seal(sent, device, record.bundle)
        self.peer.say({"event": "state", "state": "queued", "id": people.message_id_text(sent.id)})
        for device in sent.parcels:
            self.push(device)
        return sent

    def _seal(self, sent: Sent, device: bytes, bundle, with_chain: bool = False) -> None:
        if bundle is None:
            return  # Never to a control key: the message waits.
        known = sent.user in self.knows_us and not with_chain
        chain = b"" if known else self.peer.book.own_chain
        sealed = seals.seal_message(self.peer.me, device, bundle, sent.envelope, chain)
        sent.parcels[device] = sealed

    def push(self, device: bytes) -> None:
        """Sends what waits for a device, the same bytes as before, by the best way there is now."""
        person = self.peer.book.by_device(device)
        for sent in list(self.sent.values()):
            if person is None or sent.user != person.user:
                continue
            if device not in sent.parcels and device in person.records:
                self._seal(sent, device, person.records[device].bundle)
            if device in sent.parcels:
                self.peer.carry(device, "chat_message", sent.parcels[device])

    def on_ack(self, opened: seals.Opened, way) -> None:
        """DELIVERED needs the hash of the envelope and a device it was sealed to."""
        me = self.peer.me
        arguments = (opened.envelope, 22, me.network, me.user, opened.sender)
        ack = envelope.open_envelope(*arguments).payload
        person = self.peer.book.by_device(opened.sender)
        if person is None or not 1 <= len(ack.items) <= limits.ACK_ITEMS_MAX:
            raise Refused("bad_payload")
        ours, known = self.peer.book.versions(), ack.known
        if known.descriptor >= ours.descriptor and known.device_list >= ours.device_list:
            self.knows_us.add(person.user)
        for item in ack.items:
            sent = self.sent.get(item.msg_id)
            fits = sent and sent.hash == item.envelope_hash and opened.sender in sent.parcels
            if not fits:
                continue
            del self.sent[sent.id]
            shown, path = people.message_id_text(sent.id), self.peer.path(opened.sender, way)
            self.peer.say({"event": "state", "state": "delivered", "id": shown, "path": path})
            sent.acked.set_result(path)

    def on_nack(self, opened: seals.Opened) -> None:
        """A parcel of ours was not taken: the same envelope is sealed anew, or given up."""
        me = self.peer.me
        arguments = (opened.envelope, 23, me.network, me.device, opened.sender)
        nack = envelope.open_envelope(*arguments).payload
        sent = next((s for s in self.sent.values() if self._is_of(s, opened.sender, nack)), None)
        if sent is None:
            return
        sent.reseals += 1
        again = nack.reason in (UNKNOWN_KEY, NEED_CHAIN) and sent.reseals <= limits.RESEALS_MAX
        if not again:
            del self.sent[sent.id]
            shown = people.message_id_text(sent.id)
            self.peer.say({"event": "state", "state": "rejected", "id": shown, "why": nack.reason})
            return sent.acked.set_exception(Refused(f"rejected, reason {nack.reason}"))
        if nack.reason == UNKNOWN_KEY:
            self.peer.book.replace_bundle(nack.bundle, opened.sender)
        bundle = self.peer.book.record(opened.sender).bundle
        self._seal(sent, opened.sender, bundle, with_chain=nack.reason == NEED_CHAIN)
        self.peer.carry(opened.sender, "chat_message", sent.parcels[opened.sender])

    @staticmethod
    def _is_of(sent: Sent, device: bytes, nack) -> bool:
        return device in sent.parcels and seals.read(sent.parcels[device])[0] == nack.parcel_id

    # --- receiving ------------------------------------------------------------------------------

    def on_message(self, data: bytes, way) -> None:
        """Opens, verifies, remembers, and only then acknowledges; copies too."""
        parcel_id, header = seals.read(data)
        try:
            if self.peer.inbox.full():
                raise Refused("FULL")
            opened = seals.open_for(self.peer.me, data)
            if opened.number != 21:
                return  # A file's offer: not done here.
            self._take(opened, way)
        except Refused as refused:
            if refused.reason in REFUSALS:
                self._say_nack(header.from_device, parcel_id, REFUSALS[refused.reason], way)
            raise

    def _take(self, opened: seals.Opened, way) -> None:
        me, book = self.peer.me, self.peer.book
        arguments = (opened.envelope, 21, me.network, me.user, opened.sender)
        message = envelope.open_envelope(*arguments)
        if opened.chain:
            book.learn_chain(opened.chain)
        person = book.by_device(opened.sender)
        if person is None:
            raise Refused("NEED_CHAIN")  # Whose control key is unknown cannot even be told so.
        if not book.admits(person):
            raise Refused("REVOKED")
        payload = message.payload
        if len(payload.content.encode()) > limits.TEXT_LEN_MAX or payload.context.seq == 0:
            raise Refused("INVALID")
        name = (opened.sender, payload.context.message_id)
        if self.heard.get(name, message.hash) != message.hash:
            raise Refused("CONFLICT")
        new = name not in self.heard
        self.heard[name] = message.hash
        while len(self.heard) > limits.MESSAGES_SEEN_MAX:
            self.heard.popitem(last=False)
        ack = self._ack(person, opened.sender, payload.context.message_id, message.hash)
        if new:
            self.peer.answer(opened.sender, "ack", ack, way)
            self.peer.heard(person, payload, self.peer.path(opened.sender, way))
        else:
            # It came again, so the way of the last ACK may not work: by the best there is.
            self.peer.carry(opened.sender, "ack", ack)

    def _ack(self, person: Person, device: bytes, msg_id: bytes, hash_: bytes) -> bytes:
        make = stubs.message("beeline.peer.v1.Ack")
        chain = person.chain
        known = stubs.message("beeline.identity.v1.Versions")(
            descriptor=chain.descriptor.payload.version, device_list=chain.devices.payload.version
        )
        ack = make(
            context=self.peer.me.context(person.user),
            items=[make.Item(msg_id=msg_id, envelope_hash=hash_)],
            known=known,
        )
        said = envelope.sign(self.peer.me.device_seed, ack)
        return seals.seal_control(self.peer.me, person.device(device), said)

    def _say_nack(self, device: bytes, parcel_id: bytes, reason: int, way) -> None:
        person = self.peer.book.by_device(device)
        if person is None:
            return
        me = self.peer.me
        make = stubs.message("beeline.peer.v1.Nack")
        nack = make(context=me.context(device), parcel_id=parcel_id, reason=reason)
        if reason == UNKNOWN_KEY:
            nack.bundle = self.peer.bundle
            open_bundle(nack.bundle, me.network, me.device)
        sealed = seals.seal_control(me, person.device(device), envelope.sign(me.device_seed, nack))
        self.peer.answer(device, "nack", sealed, way)
