"""One link (docs/PROTOCOL.md sections 11 and 12): descriptions and candidates, the channel, HELLO
both ways, and then items until it closes."""

import asyncio
import hashlib

from google.protobuf.message import DecodeError

from spec_client import envelope, stubs
from spec_client.refusal import Refused, require

from . import limits
from .rtc import Connection, ufrag

OFFERER, ANSWERER = 1, 2
NEGOTIATION = 1


def read_frame(data: bytes) -> list:
    """The items of a frame as (arm, value); an unknown arm is None. Breaking a limit is refused."""
    if len(data) > limits.FRAME_LEN_DEFAULT:
        raise Refused("frame_too_long")
    try:
        items = stubs.message("beeline.peer.v1.PeerFrame").FromString(data).items
    except DecodeError:
        raise Refused("malformed") from None
    if not 1 <= len(items) <= limits.FRAME_ITEMS_MAX:
        raise Refused("frame_items")
    arms = [item.WhichOneof("kind") for item in items]
    return [(arm, getattr(item, arm) if arm else None) for arm, item in zip(arms, items)]


class Link:
    """A link to a device, as one task: `run` is its whole life."""

    def __init__(self, peer, device: bytes, session: bytes, offer=None):
        self.peer = peer
        self.device = device
        self.session = session
        self.side = OFFERER if offer is None else ANSWERER
        self.offer_sdp = offer.payload.sdp if offer else ""
        self.offer_hash = offer.hash if offer else b""
        self.connection = Connection()
        self.answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.candidates: asyncio.Queue[tuple[int, str]] = asyncio.Queue()
        self.seen: set[int] = set()
        self.received = self.answered = 0
        self.ready = False
        self.task: asyncio.Task | None = None

    async def run(self) -> None:
        """From the description to the end, which the peer is told of."""
        why, pump = "", None
        try:
            async with asyncio.timeout(limits.SESSION_TIMEOUT_S):
                await self._negotiate()
                pump = asyncio.create_task(self._use_candidates())
                await self._expect("open")
            async with asyncio.timeout(limits.HELLO_TIMEOUT_S):
                left = await self._greet()
            self.ready = True
            self.peer.linked(self)
            self._take_items(left)
            why = await self._serve()
        except Refused as refused:
            why = refused.reason
        except TimeoutError:
            why = "timeout"
        finally:
            if pump:
                pump.cancel()
            self.ready = False
            await self.connection.close()
            self.peer.unlinked(self, why)

    # --- descriptions and candidates ------------------------------------------------------------

    def context(self):
        """A context for the other device, on this link."""
        made = self.peer.me.context(self.device)
        made.link_session = self.session
        return made

    async def _negotiate(self) -> None:
        me, sdp = self.peer.me, self.offer_sdp
        said = {"context": self.context(), "negotiation": NEGOTIATION}
        if self.side == OFFERER:
            sdp, candidates = await self.connection.describe()
            make = stubs.message("beeline.peer.v1.Offer")
            data = envelope.sign(me.device_seed, make(**said, sdp=sdp))
            self.offer_hash = hashlib.sha256(data).digest()
        else:
            sdp, candidates = await self.connection.describe(self.offer_sdp)
            make = stubs.message("beeline.peer.v1.Answer")
            data = envelope.sign(me.device_seed, make(**said, offer_hash=self.offer_hash, sdp=sdp))
        self.peer.signal(self.device, data, self.peer.book.own_chain)
        for index, candidate in enumerate([*candidates[: limits.CANDIDATES_MAX], ""]):
            self._say_candidate(index, candidate, ufrag(sdp))
        if self.side == OFFERER:
            await self.connection.accept(await self.answer)

    def _say_candidate(self, index: int, candidate: str, fragment: str) -> None:
        payload = stubs.message("beeline.peer.v1.IceCandidate")(
            context=self.context(),
            negotiation=NEGOTIATION,
            index=index,
            offer_hash=self.offer_hash,
            candidate=candidate,
            sdp_mid=self.connection.mid,
            sdp_m_line_index=0,
            username_fragment=fragment,
        )
        self.peer.signal(self.device, envelope.sign(self.peer.me.device_seed, payload))

    def take_candidate(self, index: int, candidate: str) -> None:
        """Keeps a candidate of theirs until the descriptions are set; a known index is a copy."""
        if index <= limits.CANDIDATES_MAX and index not in self.seen:
            self.seen.add(index)
            self.candidates.put_nowait((index, candidate))

    async def _use_candidates(self) -> None:
        """Uses candidates as they come; their end only once nothing before it is missing, because
        the routes of a call do not keep order among each other."""
        used, end = set(), None
        while end is None or len(used) < end:
            index, candidate = await self.candidates.get()
            if not candidate:
                end = index
                continue
            used.add(index)
            await self.connection.add_candidate(candidate)
        await self.connection.add_candidate("")

    # --- HELLO ----------------------------------------------------------------------------------

    async def _expect(self, kind: str) -> None:
        event, *rest = await self.connection.events.get()
        if event != kind:
            raise Refused(str(rest[0]) if event == "closed" else f"{event} before {kind}")
        self.ours, self.theirs = rest

    async def _greet(self) -> list:
        """HELLO both ways; what follows theirs in the same frame is left."""
        if self.side == ANSWERER:
            self._say_hello()
        event, said = await self.connection.events.get()
        if event != "message":
            raise Refused(str(said))
        self.received += len(said)
        (arm, value), *left = read_frame(said)
        if arm != "hello":
            raise Refused("hello_missing")
        try:
            hello = self._check_hello(value)
        finally:
            # The other side shall see what we see, even where we refuse it.
            if self.side == OFFERER:
                self._say_hello()
        self.hello = hello
        return left

    def _fingerprints(self) -> tuple[bytes, bytes]:
        """SHA-256 of the two certificates we see: the offerer's, the answerer's."""
        both = (self.ours, self.theirs)
        return both if self.side == OFFERER else both[::-1]

    def _say_hello(self) -> None:
        make = stubs.message("beeline.peer.v1.Hello")
        offerer, answerer = self._fingerprints()
        hello = make(
            context=self.context(),
            side=self.side,
            boot_id=self.peer.me.boot_id,
            offerer_fingerprint=offerer,
            answerer_fingerprint=answerer,
            limits=make.Limits(
                frame_size_max=limits.FRAME_LEN_DEFAULT, frame_items_max=limits.FRAME_ITEMS_MAX
            ),
            versions=self.peer.book.versions(),
            record=self.peer.record,
            can_relay=True,
            can_store=self.peer.custody.keeps,
            protocol=1,
        )
        self.say("hello", envelope.sign(self.peer.me.device_seed, hello))

    def _check_hello(self, data: bytes):
        me = self.peer.me
        opened = envelope.open_envelope(data, 20, me.network, me.device, self.device, self.session)
        hello = opened.payload
        if hello.side != (ANSWERER if self.side == OFFERER else OFFERER):
            raise Refused("wrong_side")
        if (hello.offerer_fingerprint, hello.answerer_fingerprint) != self._fingerprints():
            raise Refused("fingerprint_mismatch")
        if len(hello.boot_id) != 16:
            raise Refused("bad_payload")
        person = self.peer.book.by_device(self.device)
        if person is None or not self.peer.book.admits(person):
            raise Refused("REVOKED")
        if hello.record:
            record = self.peer.book.learn_record(hello.record, person, live=True)
            if record.device != self.device:
                raise Refused("wrong_signer")
        return hello

    # --- items ----------------------------------------------------------------------------------

    async def _serve(self) -> str:
        """Takes frames until the end; why it ended."""
        while True:
            event, said = await self.connection.events.get()
            if event == "closed":
                return said
            self.received += len(said)
            self._take_items(read_frame(said))

    def _take_items(self, items: list) -> None:
        for arm, value in items:
            if arm == "goodbye":
                arguments = (self.peer.me.network, self.peer.me.device, self.device, self.session)
                goodbye = envelope.open_envelope(value, 25, *arguments).payload
                raise Refused(f"GOODBYE: {goodbye.reason}")
            if arm is not None:
                self.peer.take_item(self, arm, value)

    def say(self, arm: str, value) -> None:
        """Sends one item, as a frame of its own."""
        item = stubs.message("beeline.peer.v1.PeerItem")(**{arm: value})
        frame = stubs.message("beeline.peer.v1.PeerFrame")(items=[item])
        data = frame.SerializeToString()
        require(len(data) <= limits.FRAME_LEN_DEFAULT, f"a {arm} of {len(data)} bytes")
        self.connection.send(data)

    async def goodbye(self, reason: str) -> None:
        """Ends the link on purpose: says so, and gives the other side a moment to close it."""
        if self.ready:
            make = stubs.message("beeline.peer.v1.Goodbye")
            said = make(context=self.context(), reason=reason)
            self.say("goodbye", envelope.sign(self.peer.me.device_seed, said))
            await asyncio.wait([self.task], timeout=limits.GOODBYE_WAIT_S)
        self.task.cancel()
        await asyncio.wait([self.task])
