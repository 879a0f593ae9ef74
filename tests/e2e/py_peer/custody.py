"""Keeping parcels, from both sides (docs/PROTOCOL.md section 13, "Keeping parcels")."""

import asyncio
import collections

from spec_client import envelope, stubs
from spec_client.identity import now_ms
from spec_client.refusal import Refused

from . import limits, seals

RECEIPT, FETCH, DELETE = 50, 51, 52
# Why a parcel is not kept: no use trying again, or later.
NEVER, LATER_MS = 0, 60_000


class Custody:
    """What a peer keeps for others, collects for itself, and leaves with others."""

    def __init__(self, peer):
        self.peer = peer
        self.keeps = False
        # By recipient: parcel id to (end, bytes), in the order they came.
        self.kept: dict[bytes, collections.OrderedDict] = {}
        self.order: dict[bytes, int] = {}
        self.left: dict[bytes, asyncio.Future] = {}

    # --- the custodian --------------------------------------------------------------------------

    def on_deposit(self, link, store) -> None:
        """Keeps a parcel of the link's own device, or says why not."""
        try:
            parcel_id, header = seals.read(store.parcel)
        except Refused:
            return self._refuse(link, b"", "INVALID_ARGUMENT", NEVER)
        me, fits = self.peer.me, header.to_device != self.peer.me.device
        fits = fits and header.network == me.network and header.kind == seals.MESSAGE
        if not fits or header.ttl_s == 0 or len(store.ticket) > limits.STORE_TICKET_LEN_MAX:
            return self._refuse(link, parcel_id, "INVALID_ARGUMENT", NEVER)
        if not self.keeps:
            return self._refuse(link, parcel_id, "UNIMPLEMENTED", NEVER)
        if header.from_device != link.device:
            return self._refuse(link, parcel_id, "PERMISSION_DENIED", NEVER)
        kept = self.kept.setdefault(header.to_device, collections.OrderedDict())
        now, keep_ms = now_ms(), min(header.ttl_s, limits.PARCEL_TTL_MAX_S) * 1000
        if parcel_id not in kept:
            if len(kept) >= limits.KEPT_MAX or len(self.kept) > limits.PEOPLE_MAX:
                return self._refuse(link, parcel_id, "FULL", LATER_MS)
            self.order[parcel_id] = max(self.order.values(), default=0) + 1
            kept[parcel_id] = (now + keep_ms, store.parcel)
            to = self.peer.links.get(header.to_device)
            if to:
                to.say("kept", store.parcel)
        receipt = stubs.message("beeline.peer.v1.StoreReceipt")(
            context=me.context(link.device),
            parcel_id=parcel_id,
            keep_s=max(kept[parcel_id][0] - now, 0) // 1000,
        )
        link.say("store_receipt", envelope.sign(me.device_seed, receipt))
        self.peer.say({"event": "kept", "for": self.peer.name(header.to_device)})

    def on_fetch(self, link, data: bytes) -> None:
        """One page of what is kept for the device at the other end, whoever it says it is."""
        fetch = self._open(link, data, FETCH)
        subject, after = fetch.context.message_id, int.from_bytes(fetch.after, "big")
        if not 1 <= fetch.limit <= limits.STORE_PAGE_MAX or len(fetch.after) not in (0, 8):
            return self._refuse(link, subject, "INVALID_ARGUMENT", NEVER)
        kept = self.kept.get(link.device, {})
        waiting = [(self.order[id_], id_) for id_ in kept if self.order[id_] > after]
        page = waiting[: fetch.limit]
        for _, id_ in page:
            link.say("kept", kept[id_][1])
        last = page[-1][0] if page else after
        make = stubs.message("beeline.peer.v1.StorePage")
        link.say("store_page", make(next=last.to_bytes(8, "big"), more=len(waiting) > len(page)))

    def on_delete(self, link, data: bytes) -> None:
        """The recipient has committed these: of others it can name none."""
        delete = self._open(link, data, DELETE)
        if not 1 <= len(delete.parcel_ids) <= limits.STORE_PAGE_MAX:
            raise Refused("bad_payload")
        kept = self.kept.get(link.device, {})
        gone = [id_ for id_ in delete.parcel_ids if kept.pop(id_, None)]
        for id_ in gone:
            del self.order[id_]
        self.peer.say({"event": "deleted", "count": len(gone), "left": len(kept)})

    def _open(self, link, data: bytes, number: int):
        me = self.peer.me
        arguments = (data, number, me.network, me.device, link.device, link.session)
        return envelope.open_envelope(*arguments).payload

    @staticmethod
    def _refuse(link, subject: bytes, code: str, wait_ms: int) -> None:
        make = stubs.message("beeline.peer.v1.Refusal")
        link.say("refusal", make(subject=subject, code=code, retry_after_ms=wait_ms))

    # --- the recipient --------------------------------------------------------------------------

    def ask(self, link, after: bytes = b"") -> None:
        """Asks for a page, where the other side keeps at all."""
        if link.hello.can_store:
            make = stubs.message("beeline.peer.v1.StoreFetch")
            fetch = make(context=link.context(), after=after, limit=limits.STORE_PAGE_MAX)
            link.say("store_fetch", envelope.sign(self.peer.me.device_seed, fetch))

    def on_kept(self, link, data: bytes) -> None:
        """A parcel takes the way of every other; what is settled is named to the custodian."""
        parcel_id, header = seals.read(data)
        if header.kind != seals.MESSAGE:
            raise Refused("bad_payload")
        try:
            self.peer.talk.on_message(data, link)
        except Refused as refused:
            # A missing key or chain, and a full inbox, may be made good: it stays where it is.
            if refused.reason in ("unknown_key", "NEED_CHAIN", "USER_KEY_CHANGED", "FULL"):
                raise
        make = stubs.message("beeline.peer.v1.StoreDelete")
        delete = make(context=link.context(), parcel_ids=[parcel_id])
        link.say("store_delete", envelope.sign(self.peer.me.device_seed, delete))

    def on_page(self, link, page) -> None:
        """Goes on where the page ended."""
        if page.more and len(page.next) <= limits.STORE_CURSOR_LEN_MAX:
            self.ask(link, page.next)

    # --- the depositor --------------------------------------------------------------------------

    def leave(self, link, parcel: bytes) -> asyncio.Future:
        """Leaves a parcel of ours with a custodian; how many seconds it is kept."""
        parcel_id, _ = seals.read(parcel)
        future = self.left[parcel_id] = asyncio.get_running_loop().create_future()
        link.say("store_message", stubs.message("beeline.peer.v1.StoreMessage")(parcel=parcel))
        return future

    def on_receipt(self, link, data: bytes) -> None:
        """A promise counts for what was left with this device, and is not bound to the link."""
        me = self.peer.me
        arguments = (data, RECEIPT, me.network, me.device, link.device)
        receipt = envelope.open_envelope(*arguments).payload
        future = self.left.pop(receipt.parcel_id, None)
        if future is None or future.done():
            raise Refused("receipt_unasked")
        future.set_result(receipt.keep_s)

    def on_refusal(self, refusal) -> bool:
        """Whether a refusal was for something left with a custodian."""
        future = self.left.pop(refusal.subject, None)
        if future and not future.done():
            future.set_exception(Refused(refusal.code))
        return future is not None
