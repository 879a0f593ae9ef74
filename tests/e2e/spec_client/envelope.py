"""Envelopes: who said it. Signs and carries bytes; verifies before it parses."""

import dataclasses
import hashlib

from google.protobuf.message import DecodeError

from . import ed25519, stubs
from .refusal import Refused

PAYLOAD_LEN_MAX = 14_000
ENVELOPE_LEN_MAX = PAYLOAD_LEN_MAX + 111

# type number: (domain, full name of the payload's message)
TYPES = {
    1: ("beeline/descriptor/v1", "beeline.identity.v1.NetworkDescriptor"),
    2: ("beeline/membership/v1", "beeline.identity.v1.Membership"),
    3: ("beeline/revocations/v1", "beeline.identity.v1.Revocations"),
    4: ("beeline/invite/v1", "beeline.identity.v1.Invite"),
    5: ("beeline/join/v1", "beeline.identity.v1.JoinProof"),
    6: ("beeline/device-list/v1", "beeline.identity.v1.DeviceList"),
    7: ("beeline/bundle/v1", "beeline.identity.v1.Bundle"),
    8: ("beeline/device-record/v1", "beeline.identity.v1.DeviceRecord"),
    9: ("beeline/token/v1", "beeline.auth.v1.TokenProof"),
    10: ("beeline/socket/v1", "beeline.signal.v1.SocketProof"),
    11: ("beeline/device-offer/v1", "beeline.identity.v1.DeviceOffer"),
    12: ("beeline/device-request/v1", "beeline.identity.v1.DeviceRequest"),
    20: ("beeline/hello/v1", "beeline.peer.v1.Hello"),
    21: ("beeline/message/v1", "beeline.peer.v1.ChatMessage"),
    22: ("beeline/ack/v1", "beeline.peer.v1.Ack"),
    23: ("beeline/nack/v1", "beeline.peer.v1.Nack"),
    24: ("beeline/read/v1", "beeline.peer.v1.Read"),
    25: ("beeline/goodbye/v1", "beeline.peer.v1.Goodbye"),
    30: ("beeline/offer/v1", "beeline.peer.v1.Offer"),
    31: ("beeline/answer/v1", "beeline.peer.v1.Answer"),
    32: ("beeline/candidate/v1", "beeline.peer.v1.IceCandidate"),
    40: ("beeline/peer-query/v1", "beeline.peer.v1.PeerQuery"),
    41: ("beeline/peer-found/v1", "beeline.peer.v1.PeerFound"),
    42: ("beeline/network-state/v1", "beeline.peer.v1.NetworkState"),
    50: ("beeline/store-receipt/v1", "beeline.peer.v1.StoreReceipt"),
    51: ("beeline/store-fetch/v1", "beeline.peer.v1.StoreFetch"),
    52: ("beeline/store-delete/v1", "beeline.peer.v1.StoreDelete"),
    60: ("beeline/file-offer/v1", "beeline.peer.v1.FileOffer"),
    61: ("beeline/file-accept/v1", "beeline.peer.v1.FileAccept"),
    62: ("beeline/file-done/v1", "beeline.peer.v1.FileDone"),
}

NUMBER_OF = {message: number for number, (_, message) in TYPES.items()}


def type_number(type_name: str) -> int:
    """The number of a payload type such as "PAYLOAD_TYPE_ACK"."""
    enum = stubs.message("beeline.envelope.v1.Envelope").DESCRIPTOR.fields_by_name["type"].enum_type
    return enum.values_by_name[type_name].number


def prefixed(data: bytes) -> bytes:
    """u32be(len) and the bytes."""
    return len(data).to_bytes(4, "big") + data


def pre_image(domain: str, number: int, signer_fp: bytes, payload: bytes) -> bytes:
    """The bytes under a signature."""
    head = prefixed(domain.encode()) + number.to_bytes(4, "big")
    return head + prefixed(signer_fp) + prefixed(payload)


def _field(tag: int, data: bytes) -> bytes:
    """A length-delimited field, its length in as few bytes as it takes."""
    length, out = len(data), bytearray([tag])
    while length >= 0x80:
        out.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes(out) + bytes([length]) + data


def sign_bytes(seed: bytes, number: int, payload: bytes) -> bytes:
    """The envelope of a payload that is serialized already."""
    public = ed25519.public_of(seed)
    image = pre_image(TYPES[number][0], number, ed25519.fingerprint(public), payload)
    head = _field(0x0A, public) + bytes([0x10, number])
    return head + _field(0x1A, payload) + _field(0x22, ed25519.sign(seed, image))


def sign(seed: bytes, payload) -> bytes:
    """The envelope of a payload message."""
    return sign_bytes(seed, NUMBER_OF[payload.DESCRIPTOR.full_name], payload.SerializeToString())


def _take(data: bytes, tag: int) -> tuple[bytes, bytes]:
    """Takes one length-delimited field of the one encoding off the front."""
    if len(data) < 2 or data[0] != tag:
        raise Refused("malformed")
    length, at = data[1], 2
    if length >= 0x80:
        if len(data) < 3 or not 1 <= data[2] < 0x80:
            raise Refused("malformed")
        length, at = length & 0x7F | data[2] << 7, 3
    if len(data) < at + length:
        raise Refused("malformed")
    return data[at : at + length], data[at + length :]


@dataclasses.dataclass(frozen=True)
class Raw:
    """The four fields of an envelope, nothing verified."""

    signer_key: bytes
    number: int
    payload: bytes
    signature: bytes


def split(data: bytes) -> Raw:
    """Splits an envelope; whatever is not the one encoding is refused."""
    if len(data) > ENVELOPE_LEN_MAX:
        raise Refused("malformed")
    signer_key, rest = _take(data, 0x0A)
    if len(rest) < 2 or rest[0] != 0x10 or rest[1] not in TYPES:
        raise Refused("malformed")
    number, rest = rest[1], rest[2:]
    payload, rest = _take(rest, 0x1A)
    signature, rest = _take(rest, 0x22)
    sizes = len(signer_key) == 32 and len(signature) == 64
    if rest or not sizes or not 0 < len(payload) <= PAYLOAD_LEN_MAX:
        raise Refused("malformed")
    return Raw(signer_key, number, payload, signature)


@dataclasses.dataclass(frozen=True)
class Verified:
    """A payload whose signature and context hold."""

    payload: object
    signer_key: bytes
    data: bytes

    @property
    def signer(self) -> bytes:
        """Fingerprint of the signer."""
        return ed25519.fingerprint(self.signer_key)

    @property
    def hash(self) -> bytes:
        """SHA-256 of the envelope as received."""
        return hashlib.sha256(self.data).digest()


def _check_lengths(context) -> None:
    sizes = len(context.network) == 32 and len(context.audience) == 32
    if not sizes or len(context.message_id) != 16 or len(context.link_session) not in (0, 16):
        raise Refused("bad_payload")


def open_envelope(
    data: bytes,
    number: int,
    network: bytes,
    audience: bytes | None,
    signer: bytes | None = None,
    session: bytes | None = None,
) -> Verified:
    """Verifies, then parses. `audience` None leaves that comparison to the caller."""
    raw = split(data)
    if raw.number != number:
        raise Refused("wrong_type")
    if not ed25519.key_ok(raw.signer_key):
        raise Refused("bad_signature")
    signer_fp = ed25519.fingerprint(raw.signer_key)
    if signer is not None and signer_fp != signer:
        raise Refused("wrong_signer")
    domain, name = TYPES[number]
    image = pre_image(domain, number, signer_fp, raw.payload)
    if not ed25519.verify(raw.signer_key, image, raw.signature):
        raise Refused("bad_signature")
    try:
        payload = stubs.message(name).FromString(raw.payload)
    except DecodeError:
        raise Refused("bad_payload") from None
    if not payload.HasField("context"):
        raise Refused("bad_payload")
    context = payload.context
    _check_lengths(context)
    if context.network != network:
        raise Refused("wrong_network")
    if audience is not None and context.audience != audience:
        raise Refused("wrong_audience")
    if session is not None and context.link_session != session:
        raise Refused("wrong_session")
    return Verified(payload, raw.signer_key, data)
