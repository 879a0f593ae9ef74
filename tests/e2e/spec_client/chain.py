"""Chains: who a device is, checked offline against the pinned fingerprint of the network."""

import dataclasses

from google.protobuf.message import DecodeError

from . import ed25519, stubs
from .envelope import NUMBER_OF, open_envelope
from .parcel import CHAIN_LEN_MAX, key_id
from .people import ORIGIN_LEN_MAX, ORIGINS_MAX, check_label
from .refusal import Refused, verdict

DESCRIPTOR_LEN_MAX = 720
REGISTRAR_KEYS_MAX = 4
DEVICES_MAX = 16
REVOCATIONS_MAX = 4_096
GRACE_MS = 30 * 24 * 3600 * 1000


def _open(part: str, name: str, data: bytes, **expect):
    """Opens one part; a refusal names it."""
    try:
        return open_envelope(data, NUMBER_OF[name], **expect)
    except Refused as refused:
        raise Refused(f"{part}: {refused.reason}") from None


def _usable(key: bytes) -> bytes:
    if not ed25519.key_ok(key):
        raise Refused("chain: invalid")
    return key


def _label_ok(label: str) -> bool:
    return verdict(check_label, label) is None


def open_descriptor(data: bytes, network: bytes):
    """The descriptor, signed by the authority key whose fingerprint is the network."""
    part = "descriptor"
    name = "beeline.identity.v1.NetworkDescriptor"
    opened = _open(part, name, data, network=network, audience=network, signer=network)
    payload = opened.payload
    origins = (payload.gateway_origins, payload.registry_origins)
    too_many = any(
        len(o) > ORIGINS_MAX or any(len(s.encode()) > ORIGIN_LEN_MAX for s in o) for o in origins
    )
    keys = len(payload.registrar_keys)
    sized = len(data) <= DESCRIPTOR_LEN_MAX and 1 <= keys <= REGISTRAR_KEYS_MAX
    if not sized or too_many or not _label_ok(payload.label):
        raise Refused("descriptor: invalid")
    for key in payload.registrar_keys:
        _usable(key)
    return opened


def _by_registrar(part: str, name: str, data: bytes, descriptor, audience: bytes | None):
    """A part signed by one of the descriptor's registrar keys."""
    network = descriptor.payload.context.network
    opened = _open(part, name, data, network=network, audience=audience)
    if opened.signer_key not in descriptor.payload.registrar_keys:
        raise Refused(f"{part}: wrong_signer")
    return opened


def open_membership(data: bytes, descriptor):
    """The membership; its audience is the user it names."""
    part = "membership"
    opened = _by_registrar(part, "beeline.identity.v1.Membership", data, descriptor, None)
    payload = opened.payload
    user = ed25519.fingerprint(_usable(payload.user_key))
    if payload.context.audience != user:
        raise Refused("membership: wrong_audience")
    if not _label_ok(payload.handle) or payload.role not in (1, 2, 3) or len(payload.salt) != 16:
        raise Refused("membership: invalid")
    return opened


def open_revocations(data: bytes, descriptor) -> list[int]:
    """The revoked serials."""
    network = descriptor.payload.context.network
    name = "beeline.identity.v1.Revocations"
    opened = _by_registrar("revocations", name, data, descriptor, network)
    serials = list(opened.payload.serials)
    if len(serials) > REVOCATIONS_MAX or serials != sorted(serials):
        raise Refused("revocations: invalid")
    return serials


def open_devices(data: bytes, network: bytes, user_key: bytes):
    """The device list, signed by the user."""
    part, user = "device list", ed25519.fingerprint(user_key)
    name = "beeline.identity.v1.DeviceList"
    opened = _open(part, name, data, network=network, audience=user, signer=user)
    devices = opened.payload.devices
    if not 1 <= len(devices) <= DEVICES_MAX:
        raise Refused("device list: invalid")
    seen: set = set()
    for device in devices:
        if not _label_ok(device.label):
            raise Refused("device list: invalid")
        _usable(device.device_key)
        if len(device.control_key) != 32:
            raise Refused("chain: invalid")
        if device.label in seen or device.device_key in seen:
            raise Refused("device list: invalid")
        seen |= {device.label, device.device_key}
    return opened


@dataclasses.dataclass(frozen=True)
class Chain:
    """A whole chain that verified."""

    descriptor: object
    membership: object
    devices: object

    @property
    def user(self) -> bytes:
        """Fingerprint of the user."""
        return ed25519.fingerprint(self.membership.payload.user_key)

    def device(self, label: str):
        """The device with this label."""
        for device in self.devices.payload.devices:
            if device.label == label:
                return device
        raise Refused("device: unknown")

    def expired(self, wall_ms: int) -> bool:
        """Whether the membership and its grace are over."""
        return wall_ms > self.membership.payload.expires_ms + GRACE_MS


def open_chain(data: bytes, network: bytes) -> Chain:
    """Verifies descriptor, membership and device list, each by the one above."""
    if len(data) > CHAIN_LEN_MAX:
        raise Refused("chain: invalid")
    try:
        parts = stubs.message("beeline.identity.v1.Chain").FromString(data)
    except DecodeError:
        raise Refused("chain: invalid") from None
    named = {"descriptor": parts.descriptor, "membership": parts.membership,
             "device list": parts.device_list}  # fmt: skip
    for part, value in named.items():
        if not value:
            raise Refused(f"{part}: missing")
    descriptor = open_descriptor(parts.descriptor, network)
    membership = open_membership(parts.membership, descriptor)
    devices = open_devices(parts.device_list, network, membership.payload.user_key)
    return Chain(descriptor, membership, devices)


def fingerprints(chain: Chain) -> list[dict]:
    """The devices of a chain, as the vectors list them."""
    return [
        {
            "label": device.label,
            "fp": ed25519.fingerprint(device.device_key).hex(),
            "control_key": device.control_key.hex(),
            "key_id": key_id(device.control_key).hex(),
        }
        for device in chain.devices.payload.devices
    ]
