"""What people see: labels, ids, origins, invite links, safety numbers."""

import base64
import dataclasses
import hashlib
import re

from google.protobuf.message import DecodeError

from . import stubs
from .refusal import Refused

RESERVED = {
    "auth", "coordinator", "healthz", "join", "metrics", "network", "openapi", "readyz",
    "well-known",
}  # fmt: skip
ORIGIN_LEN_MAX = 256
ORIGINS_MAX = 8
LINK_LEN_MAX = 4_096
SAFETY_ROUNDS = 5_200


def check_label(text: str) -> None:
    """Refuses what is no networkId, userId or deviceId."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", text):
        raise Refused("pattern")
    if text in RESERVED:
        raise Refused("reserved")


def message_id_text(raw: bytes) -> str:
    """A message id as people see it."""
    return base64.b32encode(raw).decode().rstrip("=").lower()


def normalize(url: str) -> str | None:
    """The one form of a URL's origin, or None where it has none."""
    if len(url) > ORIGIN_LEN_MAX or not url.isascii() or "://" not in url:
        return None
    scheme, rest = url.split("://", 1)
    known = {"http": ("http", 80), "ws": ("http", 80), "https": ("https", 443),
             "wss": ("https", 443)}  # fmt: skip
    if scheme.lower() not in known:
        return None
    scheme, default_port = known[scheme.lower()]
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0].lower()
    if "@" in authority or re.search(r"\s", authority):
        return None
    match = re.fullmatch(r"(\[[^\]]*\]|[^:\[][^:]*)(?::([0-9]+))?", authority)
    if match is None or int(match[2] or 0) > 65_535:
        return None
    port = default_port if match[2] is None else int(match[2])
    return f"{scheme}://{match[1]}" + ("" if port == default_port else f":{port}")


@dataclasses.dataclass(frozen=True)
class Link:
    """What an invite link says."""

    network_id: str
    network: bytes
    seed: bytes
    gateways: list[str]


def parse_link(text: str) -> Link:
    """Reads an invite link."""
    _, _, fragment = text.strip().partition("#")
    if not fragment:
        raise Refused("no_fragment")
    if len(text) > LINK_LEN_MAX or not re.fullmatch(r"[A-Za-z0-9_-]+", fragment):
        raise Refused("damaged")
    try:
        raw = base64.urlsafe_b64decode(fragment + "=" * (-len(fragment) % 4))
        link = stubs.message("beeline.identity.v1.InviteLink").FromString(raw)
        check_label(link.network_id)
    except (ValueError, DecodeError, Refused):
        raise Refused("damaged") from None
    gateways = list(link.gateways)
    named = 1 <= len(gateways) <= ORIGINS_MAX and all(
        len(g) <= ORIGIN_LEN_MAX and g.startswith("http") for g in gateways
    )
    if not named or len(link.network) != 32 or len(link.seed) != 32:
        raise Refused("damaged")
    return Link(link.network_id, link.network, link.seed, gateways)


def _half(network: bytes, user_key: bytes) -> str:
    h = hashlib.sha512(b"beeline/safety/v1" + network + user_key).digest()
    for _ in range(SAFETY_ROUNDS):
        h = hashlib.sha512(h + user_key).digest()
    numbers = (int.from_bytes(h[at : at + 5], "big") % 100_000 for at in range(0, 30, 5))
    return "".join(f"{n:05}" for n in numbers)


def safety_number(network: bytes, a: bytes, b: bytes) -> str | None:
    """The 60 digits of two users; None where both are the same."""
    halves = sorted((_half(network, a), _half(network, b)))
    return None if halves[0] == halves[1] else "".join(halves)


def custody_place(recipient: bytes, salt: bytes) -> bytes:
    """Where a member that keeps stands in the order for a recipient device; the lowest first."""
    return hashlib.sha256(b"beeline/custody/v1" + recipient + salt).digest()


def thumbprint(public: bytes) -> str:
    """`cnf.jkt` of a token: RFC 7638 thumbprint of the device key."""
    x = base64.urlsafe_b64encode(public).decode().rstrip("=")
    jwk = f'{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}'
    digest = hashlib.sha256(jwk.encode()).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
