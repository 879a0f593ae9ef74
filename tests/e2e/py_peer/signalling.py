"""The signalling socket (docs/PROTOCOL.md section 10), proven, and asynchronous."""

import asyncio
import pathlib

import websockets.exceptions
from websockets.asyncio.client import connect

from spec_client import frames, stubs
from spec_client.identity import Identity
from spec_client.refusal import Refused, require
from spec_client.rest import Rest, tls_context

from .limits import QUEUE_MAX, SIGNAL_FRAME_LEN_MAX

TYPES = {30: "OFFER", 31: "ANSWER", 32: "ICE_CANDIDATE"}


class Signalling:
    """One socket. Frames to a device go in the form it used last: text at first."""

    def __init__(self, socket, me: Identity):
        self.socket = socket
        self.me = me
        self.outgoing: asyncio.Queue[str | bytes] = asyncio.Queue(QUEUE_MAX)
        self.binary: set[str] = set()
        self.open = True

    @classmethod
    async def proven(cls, rest: Rest, me: Identity, versions, ca: pathlib.Path | None):
        """Signs in with the device's signature over the socket's nonce; the socket, and the frame
        that says it is ready."""
        url = f"{rest.url.replace('http', 'ws', 1)}/{me.device_id}"
        how = {"ssl": tls_context(url, ca), "proxy": None, "compression": None}
        socket = await connect(url, max_size=SIGNAL_FRAME_LEN_MAX, **how)
        challenge = frames.read_text(await socket.recv())
        require(len(challenge.nonce) == 32, "the first frame must carry a nonce of 32 bytes")
        proof = me.socket_proof(rest.origin, challenge.nonce)
        members = {"proof": proof, "chain": me.chain, "versions": stubs.to_json(versions)}
        await socket.send(frames.write_text("HELLO", **members))
        ready = frames.read_text(await socket.recv())
        require(ready.ready, f"a good proof must make the socket ready: {ready}")
        return cls(socket, me), ready

    def send(self, kind: str, to: str, parcel: bytes) -> None:
        """Queues a frame with a parcel for a device; a closed or choked socket takes none."""
        if not self.open or self.outgoing.full():
            return
        if to not in self.binary:
            addressed = {"from": self.me.device_id, "to": to}
            return self.outgoing.put_nowait(frames.write_text(kind, **addressed, parcel=parcel))
        make = stubs.message(frames.NAME)
        frame = make(type=make.Type.Value(kind), to=to, parcel=parcel)
        setattr(frame, "from", self.me.device_id)
        self.outgoing.put_nowait(frame.SerializeToString())

    async def write(self) -> None:
        """Sends what is queued, until the socket closes."""
        try:
            while True:
                await self.socket.send(await self.outgoing.get())
        except websockets.exceptions.ConnectionClosed:
            self.open = False

    async def read(self, take) -> None:
        """Hands each frame to `take` as (type name, frame), until the socket closes."""
        try:
            async for raw in self.socket:
                try:
                    text = isinstance(raw, str)
                    frame = frames.read_text(raw) if text else frames.read_binary(raw)
                except Refused:
                    continue
                sender = getattr(frame, "from")
                (self.binary.discard if text else self.binary.add)(sender)
                take(type(frame).Type.Name(frame.type), frame)
        except websockets.exceptions.ConnectionClosed:
            pass
        self.open = False

    async def close(self) -> None:
        """Closes the socket."""
        self.open = False
        await self.socket.close()
