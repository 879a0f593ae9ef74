"""Parcels: where it goes. An envelope sealed to one device under a header that never changes."""

import hashlib

from google.protobuf.message import DecodeError

from . import hpke, stubs
from .envelope import prefixed
from .refusal import Refused

INFO = b"beeline/parcel/v1"
LEN_MAX = 16_000
BUCKETS = (512, 1_024, 2_048, 4_096, 8_192, LEN_MAX)
TAG_LEN = 16
CHAIN_LEN_MAX = 3_500


def key_id(public: bytes) -> bytes:
    """The key id of a control key."""
    return hashlib.sha256(public).digest()[:16]


def parcel_id(header: bytes, enc: bytes, ciphertext: bytes) -> bytes:
    """SHA-256 over the three length-prefixed parts."""
    return hashlib.sha256(prefixed(header) + prefixed(enc) + prefixed(ciphertext)).digest()


def parse(data: bytes):
    """The three parts of a parcel and its checked header."""
    if len(data) > LEN_MAX:
        raise Refused("malformed")
    try:
        parts = stubs.message("beeline.envelope.v1.Parcel").FromString(data)
        header = stubs.message("beeline.envelope.v1.ParcelHeader").FromString(parts.header)
    except DecodeError:
        raise Refused("malformed") from None
    if header.version != 1:
        raise Refused("wrong_version")
    fps = (header.network, header.from_device, header.to_device)
    sizes = all(len(fp) == 32 for fp in fps) and len(header.key_id) == 16
    if not sizes or header.kind not in (1, 2, 3):
        raise Refused("malformed")
    if len(parts.enc) != 32 or len(parts.ciphertext) < TAG_LEN + 4:
        raise Refused("malformed")
    return parts, header


def open_parcel(data: bytes, secret: bytes):
    """The ParcelContent inside."""
    parts, _ = parse(data)
    plain = hpke.open_sealed(secret, parts.enc, INFO, parts.header, parts.ciphertext)
    length = int.from_bytes(plain[:4], "big")
    body, padding = plain[4 : 4 + length], plain[4 + length :]
    if len(body) != length or any(padding):
        raise Refused("bad_content")
    try:
        content = stubs.message("beeline.envelope.v1.ParcelContent").FromString(body)
    except DecodeError:
        raise Refused("bad_content") from None
    if len(content.chain) > CHAIN_LEN_MAX:
        raise Refused("bad_content")
    return content


def _overhead(header: bytes, ciphertext_len: int) -> int:
    """Encoded length of a parcel whose ciphertext has this length."""

    def field(length: int) -> int:
        return 1 + max(1, -(-length.bit_length() // 7)) + length

    return field(len(header)) + field(32) + field(ciphertext_len)


def seal(header: bytes, recipient: bytes, envelope: bytes, chain: bytes, ikm: bytes) -> bytes:
    """Seals content under a serialized header, padded so that the parcel fills a bucket."""
    make = stubs.message("beeline.envelope.v1.ParcelContent")
    body = prefixed(make(envelope=envelope, chain=chain).SerializeToString())
    for bucket in BUCKETS:
        lengths = range(bucket, 0, -1)
        ciphertext_len = next(n for n in lengths if _overhead(header, n) == bucket)
        if ciphertext_len - TAG_LEN >= len(body):
            break
    else:
        raise Refused("too_large")
    plain = body.ljust(ciphertext_len - TAG_LEN, b"\0")
    enc, ciphertext = hpke.seal(recipient, INFO, header, plain, ikm)
    make = stubs.message("beeline.envelope.v1.Parcel")
    return make(header=header, enc=enc, ciphertext=ciphertext).SerializeToString()
