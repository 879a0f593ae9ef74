"""The signalling socket, as a client of the specification uses it."""

import json
import pathlib

import websockets.exceptions
from websockets.sync.client import connect

from . import frames
from .identity import Identity
from .refusal import Deviation, require
from .rest import Rest, tls_context

TIMEOUT_S = 10


class Socket:
    """One open socket. Frames are JSON text unless said otherwise."""

    def __init__(self, rest: Rest, path: str, ca: pathlib.Path | None, **how):
        url = rest.url.replace("http", "ws", 1) + "/" + path
        self.socket = connect(url, ssl=tls_context(url, ca), proxy=None, compression=None, **how)
        self.proof = b""
        self.challenge = self.frame("HELLO")
        require(len(self.challenge.nonce) == 32, "the first frame must carry a nonce of 32 bytes")

    @classmethod
    def bearer_header(cls, rest: Rest, me: Identity, jwt: str, ca=None) -> "Socket":
        """Signs in with a token in the upgrade: ready at once."""
        headers = {"Authorization": f"Bearer {jwt}"}
        socket = cls(rest, me.device_id, ca, additional_headers=headers)
        require(socket.challenge.ready, "a socket with a bearer token must be ready at once")
        return socket

    @classmethod
    def bearer_protocol(cls, rest: Rest, me: Identity, jwt: str, ca=None) -> "Socket":
        """Signs in as browsers do, by subprotocol."""
        protocols = ["beeline", f"bearer.{jwt}"]
        socket = cls(rest, me.device_id, ca, subprotocols=protocols)
        require(socket.socket.subprotocol == "beeline", "the subprotocol must be beeline")
        require(socket.challenge.ready, "a socket with a bearer token must be ready at once")
        return socket

    @classmethod
    def bearer_hello(cls, rest: Rest, me: Identity, jwt: str, ca=None) -> "Socket":
        """Signs in with a token in the first frame."""
        socket = cls(rest, me.device_id, ca)
        require(not socket.challenge.ready, "a socket without a sign-in must not be ready")
        socket.send(frames.write_text("HELLO", token=jwt))
        require(socket.frame("HELLO").ready, "a good token must make the socket ready")
        return socket

    @classmethod
    def proven(cls, rest: Rest, me: Identity, ca=None) -> "Socket":
        """Signs in with the device's signature over this socket's nonce."""
        socket = cls(rest, me.device_id, ca)
        socket.proof = me.socket_proof(rest.origin, socket.challenge.nonce)
        socket.send(frames.write_text("HELLO", proof=socket.proof, chain=me.chain))
        require(socket.frame("HELLO").ready, "a good proof must make the socket ready")
        return socket

    def send(self, frame: str | bytes) -> None:
        """Sends a frame: text as text, bytes as binary."""
        self.socket.send(frame)

    def receive(self) -> str | bytes:
        """The next frame, as it came."""
        try:
            return self.socket.recv(timeout=TIMEOUT_S)
        except TimeoutError:
            raise Deviation(f"no frame within {TIMEOUT_S} s") from None
        except websockets.exceptions.ConnectionClosed as closed:
            raise Deviation(f"the socket closed: {closed}") from None

    def frame(self, kind: str):
        """The next frame, which must be of this type."""
        raw = self.receive()
        frame = frames.read_text(raw) if isinstance(raw, str) else frames.read_binary(raw)
        name = type(frame).Type.Name(frame.type)
        require(name == kind, f"got {name} instead of {kind}: {raw!r}")
        if isinstance(raw, str):
            require("type" in json.loads(raw), "a text frame without type")
        return frame

    def error(self, code: str) -> None:
        """The next frame, which must be this error."""
        frame = self.frame("ERROR")
        require(frame.code == code, f"got error {frame.code} ({frame.message}), wanted {code}")

    def superseded(self, proof: bytes) -> None:
        """Waits to be told of a newer socket, signed in with `proof`, and to be closed."""
        got = self.frame("SUPERSEDED").proof
        require(got == proof, f"SUPERSEDED carries {got.hex()} instead of the winner's proof")
        code = self.closed()
        require(code == 4002, f"a superseded socket closes with 4002, not {code}")

    def closed(self) -> int:
        """Waits until the gateway closes; the close code."""
        try:
            raw = self.socket.recv(timeout=TIMEOUT_S)
        except websockets.exceptions.ConnectionClosed as closed:
            require(closed.rcvd is not None, "the gateway closed without a close frame")
            return closed.rcvd.code
        except TimeoutError:
            raise Deviation(f"the socket was not closed within {TIMEOUT_S} s") from None
        raise Deviation(f"a frame instead of a close: {raw!r}")

    def close(self) -> None:
        """Closes for good."""
        self.socket.close()
