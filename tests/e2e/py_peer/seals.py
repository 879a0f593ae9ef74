"""What goes into parcels and comes out of them (docs/PROTOCOL.md section 6)."""

import dataclasses
import os

from spec_client import ed25519, envelope, hpke, parcel, stubs
from spec_client.identity import Identity
from spec_client.refusal import Refused

from .limits import PARCEL_TTL_MAX_S, SESSION_TIMEOUT_S

MESSAGE, CONTROL = 1, 2


def _seal(
    me: Identity, to: bytes, kind: int, key: bytes, key_id: bytes, content: tuple, ttl_s: int
):
    make = stubs.message("beeline.envelope.v1.ParcelHeader")
    header = make(
        version=1,
        network=me.network,
        from_device=me.device,
        to_device=to,
        kind=kind,
        key_id=key_id,
        ttl_s=ttl_s,
    )
    said, chain = content
    return parcel.seal(header.SerializeToString(), key, said, chain, os.urandom(32))


def seal_control(me: Identity, device, said: bytes, chain: bytes = b"") -> bytes:
    """A CONTROL parcel for a device of a device list."""
    to, key = ed25519.fingerprint(device.device_key), device.control_key
    ttl_s = SESSION_TIMEOUT_S if chain else PARCEL_TTL_MAX_S
    return _seal(me, to, CONTROL, key, parcel.key_id(key), (said, chain), ttl_s)


def seal_message(me: Identity, to: bytes, bundle, said: bytes, chain: bytes) -> bytes:
    """A MESSAGE parcel for a device, sealed to its bundle."""
    content = (said, chain)
    return _seal(me, to, MESSAGE, bundle.key, bundle.key_id, content, PARCEL_TTL_MAX_S)


@dataclasses.dataclass(frozen=True)
class Opened:
    """A parcel for us, opened; its envelope is not verified yet."""

    id: bytes
    sender: bytes
    kind: int
    envelope: bytes
    chain: bytes

    @property
    def number(self) -> int:
        """Type of the envelope inside."""
        return envelope.split(self.envelope).number


def read(data: bytes):
    """The id and the checked header of any parcel."""
    parts, header = parcel.parse(data)
    return parcel.parcel_id(parts.header, parts.enc, parts.ciphertext), header


def open_for(me: Identity, data: bytes) -> Opened:
    """Opens a parcel with the key its id names; `unknown_key` if that is none of ours."""
    id_, header = read(data)
    if header.network != me.network or header.to_device != me.device:
        raise Refused("misdirected")
    secret = me.control_secret if header.kind == CONTROL else me.bundle_secret
    if header.key_id != parcel.key_id(hpke.public_of(secret)):
        raise Refused("unknown_key")
    content = parcel.open_parcel(data, secret)
    return Opened(id_, header.from_device, header.kind, content.envelope, content.chain)
