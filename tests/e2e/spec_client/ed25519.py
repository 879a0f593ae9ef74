"""Ed25519 with the one verdict of docs/PROTOCOL.md: checks in front of libsodium, so that no
library's leniency decides.

A key is usable iff its bytes are the canonical encoding of a point that is not of small order. A
signature counts iff the key is usable, S < L, R is not of small order, and encode([S]B - [k]A)
equals R byte for byte.
"""

import hashlib

import nacl.exceptions
import nacl.signing

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
ROOT_OF_MINUS_ONE = pow(2, (P - 1) // 4, P)


def _x_of(y: int, sign: int) -> int | None:
    """Recovers x of a point (RFC 8032 §5.1.3), laxly: x = 0 with the sign bit set is taken."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P != 0:
        x = x * ROOT_OF_MINUS_ONE % P
    if (x * x - square) % P != 0:
        return None
    return P - x if x and x % 2 != sign else x


def _decode(encoded: bytes) -> tuple[int, int] | None:
    """A point from 32 bytes, canonical or not."""
    number = int.from_bytes(encoded, "little")
    y, sign = (number & (2**255 - 1)) % P, number >> 255
    x = _x_of(y, sign)
    return None if x is None else (x, y)


def _encode(point: tuple[int, int]) -> bytes:
    x, y = point
    return (y | (x % 2) << 255).to_bytes(32, "little")


def _double(point: tuple[int, int]) -> tuple[int, int]:
    x, y = point
    product = D * x * x * y * y % P
    doubled_x = 2 * x * y * pow(1 + product, -1, P) % P
    doubled_y = (y * y + x * x) * pow(1 - product, -1, P) % P
    return doubled_x, doubled_y


def _is_small(point: tuple[int, int]) -> bool:
    """Whether eight times the point is neutral."""
    return _double(_double(_double(point))) == (0, 1)


def key_ok(public: bytes) -> bool:
    """Whether 32 bytes are a usable public key."""
    if len(public) != 32:
        return False
    point = _decode(public)
    return point is not None and _encode(point) == public and not _is_small(point)


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the signature counts."""
    if len(signature) != 64 or not key_ok(public):
        return False
    nonce_point = _decode(signature[:32])
    if nonce_point is None or _is_small(nonce_point):
        return False
    if int.from_bytes(signature[32:], "little") >= L:
        return False
    try:
        nacl.signing.VerifyKey(public).verify(message, signature)
    except nacl.exceptions.BadSignatureError:
        return False
    return True


def public_of(seed: bytes) -> bytes:
    """The public key of a 32-byte seed."""
    return bytes(nacl.signing.SigningKey(seed).verify_key)


def sign(seed: bytes, message: bytes) -> bytes:
    """The signature (64 bytes) of a message."""
    return nacl.signing.SigningKey(seed).sign(message).signature


def fingerprint(public: bytes) -> bytes:
    """What a network, user or device is: SHA-256 of its public key."""
    return hashlib.sha256(public).digest()
