"""WebRTC by aiortc, as docs/PROTOCOL.md sections 11 and 12 want it: one negotiated channel, one
fingerprint, candidates beside the description.

What aiortc does otherwise, and what is done about it here:

* It writes three fingerprints, of sha-256, sha-384 and sha-512. All but the first are cut out.
* It gathers before it describes, so its candidates stand in the description. They are cut out too,
  and sent one by one, as everybody else does.
* It does not gather 127.0.0.1. Two processes of a machine without a network still have to find each
  other, so it is added to what aioice finds.
* It has no public way to the certificates of a connection; they are read from its DTLS transport.

Its cipher suites need nothing: Beeline's own clients take ECDHE-ECDSA with ChaCha20-Poly1305 in
DTLS 1.2 and no other, and aiortc's list holds that suite beside AES-GCM. `Connection.cipher` says
what was agreed.
"""

import asyncio
import re

import aioice.ice
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.exceptions import InvalidStateError
from aiortc.sdp import candidate_from_sdp
from cryptography.hazmat.primitives.hashes import SHA256

from spec_client.refusal import Refused

from .limits import CANDIDATE_LEN_MAX, QUEUE_MAX, SDP_LEN_MAX

LABEL, STREAM = "msg", 0
ENDED = ("closed", "failed")

_found_by_aioice = aioice.ice.get_host_addresses


def _host_addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
    return ["127.0.0.1", *_found_by_aioice(use_ipv4, use_ipv6)] if use_ipv4 else []


aioice.ice.get_host_addresses = _host_addresses


def check_description(sdp: str) -> None:
    """Refuses a description that section 11 does not allow."""
    lines = sdp.splitlines()
    plain = re.fullmatch(r"[\x20-\x7e\r\n]*", sdp)
    if len(sdp) > SDP_LEN_MAX or not plain or not lines or lines[0] != "v=0":
        raise Refused("bad_sdp")
    media = [line for line in lines if line.startswith("m=")]
    if len(media) != 1 or not re.fullmatch(
        r"m=application [0-9]+ UDP/DTLS/SCTP webrtc-datachannel", media[0]
    ):
        raise Refused("bad_sdp")
    for name in ("ice-ufrag", "ice-pwd", "fingerprint"):
        if sum(line.startswith(f"a={name}:") for line in lines) != 1:
            raise Refused("bad_sdp")
    if not re.search(r"^a=fingerprint:sha-256 [0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){31}\r?$", sdp, re.M):
        raise Refused("bad_sdp")


def split_description(sdp: str) -> tuple[str, list[str]]:
    """aiortc's description as we send it, and the candidates that stood in it."""
    kept, candidates = [], []
    for line in sdp.splitlines():
        if line.startswith("a=candidate:"):
            candidates.append(line.removeprefix("a="))
        elif line == "a=end-of-candidates":
            continue
        elif not line.startswith("a=fingerprint:") or line.startswith("a=fingerprint:sha-256 "):
            kept.append(line)
    return "\r\n".join(kept) + "\r\n", candidates


def ufrag(sdp: str) -> str:
    """The ICE username fragment of a description."""
    return re.search(r"^a=ice-ufrag:(\S+)", sdp, re.M)[1]


class Connection:
    """One connection, from the description on. What happens comes out of `events`, in order:
    ("open", our fingerprint, theirs), ("message", bytes), ("closed", why)."""

    def __init__(self):
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.events: asyncio.Queue[tuple] = asyncio.Queue()
        self.closed = False
        self.cipher = ""
        self.channel = self.pc.createDataChannel(LABEL, negotiated=True, id=STREAM)
        self.channel.on("open", self._on_open)
        self.channel.on("message", self._on_message)
        self.channel.on("close", lambda: self._on_closed("the channel closed"))
        self.pc.on("connectionstatechange", self._on_state)

    async def describe(self, offer: str | None = None) -> tuple[str, list[str]]:
        """Makes an offer, or the answer to one: the description, and our candidates."""
        if offer is None:
            await self.pc.setLocalDescription(await self.pc.createOffer())
        else:
            await self._take(offer, "offer")
            await self.pc.setLocalDescription(await self.pc.createAnswer())
        return split_description(self.pc.localDescription.sdp)

    async def accept(self, answer: str) -> None:
        """Takes the answer to our offer."""
        await self._take(answer, "answer")

    async def _take(self, sdp: str, kind: str) -> None:
        check_description(sdp)
        try:
            await self.pc.setRemoteDescription(RTCSessionDescription(sdp, kind))
        except (ValueError, InvalidStateError, ConnectionError) as error:
            raise Refused(f"bad_sdp: {error}") from None

    async def add_candidate(self, line: str) -> None:
        """Takes a candidate of theirs, or (empty) the end of them. One of no use is passed over."""
        if len(line) > CANDIDATE_LEN_MAX:
            return
        candidate = None
        if line:
            words = line.removeprefix("a=").removeprefix("candidate:").split()
            if len(words) < 8 or words[2].lower() != "udp":
                return
            try:
                candidate = candidate_from_sdp(" ".join(words))
            except ValueError:
                return
            # There is one section, whatever its name is on their side.
            candidate.sdpMLineIndex = 0
        await self.pc.addIceCandidate(candidate)

    @property
    def mid(self) -> str:
        """Name of the data section."""
        return self.pc.sctp.mid

    def send(self, message: bytes) -> None:
        """Sends a message; on a closed channel it is lost, as it would be on the way."""
        if self.channel.readyState == "open":
            self.channel.send(message)

    async def close(self) -> None:
        """Closes the connection."""
        await self.pc.close()
        self._on_closed("closed by us")

    def _on_open(self) -> None:
        # aiortc has no public accessor for either certificate, nor for the suite.
        tls = self.pc.sctp.transport._ssl
        self.cipher = f"{tls.get_cipher_version()} {tls.get_cipher_name()}"
        ours = tls.get_certificate(as_cryptography=True).fingerprint(SHA256())
        theirs = tls.get_peer_certificate(as_cryptography=True).fingerprint(SHA256())
        self.events.put_nowait(("open", ours, theirs))

    def _on_message(self, message: str | bytes) -> None:
        if self.events.qsize() >= QUEUE_MAX:
            return self._on_closed("too many messages at once")
        data = message if isinstance(message, bytes) else b""
        self.events.put_nowait(("message", data))

    def _on_state(self) -> None:
        if self.pc.connectionState in ENDED:
            self._on_closed(f"the connection is {self.pc.connectionState}")

    def _on_closed(self, why: str) -> None:
        if not self.closed:
            self.closed = True
            self.events.put_nowait(("closed", why))
