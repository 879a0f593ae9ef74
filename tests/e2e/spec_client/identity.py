"""One user with one device: the keys, and everything they sign to get into a network."""

import dataclasses
import hashlib
import json
import os
import pathlib
import time

from . import chain as chains
from . import ed25519, envelope, hpke, parcel, people, stubs
from .refusal import require


def now_ms() -> int:
    """Unix milliseconds."""
    return time.time_ns() // 1_000_000


@dataclasses.dataclass
class Identity:
    """Keys and labels of a user's device, and the chain once it joined. Bytes, as in a home."""

    network_id: str
    network: bytes
    user_id: str
    device_id: str
    user_seed: bytes
    device_seed: bytes
    control_secret: bytes
    bundle_secret: bytes
    boot_id: bytes
    gateway: str
    chain: bytes = b""
    version: int = 0

    @classmethod
    def make(cls, link: people.Link, user_id: str, device_id: str, gateway: str) -> "Identity":
        """New keys for a network."""
        people.check_label(user_id)
        people.check_label(device_id)
        seeds = [os.urandom(32) for _ in range(4)]
        boot_id = os.urandom(16)
        return cls(link.network_id, link.network, user_id, device_id, *seeds, boot_id, gateway)

    @property
    def user(self) -> bytes:
        """Fingerprint of the user."""
        return ed25519.fingerprint(ed25519.public_of(self.user_seed))

    @property
    def device(self) -> bytes:
        """Fingerprint of the device."""
        return ed25519.fingerprint(ed25519.public_of(self.device_seed))

    def context(self, audience: bytes):
        """A context without order or link."""
        make = stubs.message("beeline.envelope.v1.Context")
        return make(network=self.network, audience=audience, message_id=os.urandom(16))

    def device_list(self) -> bytes:
        """The envelope of the first device list."""
        device = stubs.message("beeline.identity.v1.Device")(
            label=self.device_id,
            device_key=ed25519.public_of(self.device_seed),
            control_key=hpke.public_of(self.control_secret),
        )
        make = stubs.message("beeline.identity.v1.DeviceList")
        payload = make(context=self.context(self.user), version=1, devices=[device])
        return envelope.sign(self.user_seed, payload)

    def join_proof(self, invite_seed: bytes, device_list: bytes) -> bytes:
        """The envelope that shows we hold the link."""
        payload = stubs.message("beeline.identity.v1.JoinProof")(
            context=self.context(self.network),
            user_id=self.user_id,
            user_key=ed25519.public_of(self.user_seed),
            device_list_hash=hashlib.sha256(device_list).digest(),
            nonce=os.urandom(32),
        )
        return envelope.sign(invite_seed, payload)

    def accept(self, answer, device_list: bytes) -> chains.Chain:
        """Checks the answer to a join against the link's pin; only then is anything kept."""
        data = stubs.message("beeline.identity.v1.Chain")(
            descriptor=answer.descriptor, membership=answer.membership, device_list=device_list
        ).SerializeToString()
        opened = chains.open_chain(data, self.network)
        require(opened.user == self.user, "the membership is for another user key")
        handle = opened.membership.payload.handle
        require(handle == self.user_id, f"the membership says {handle}, asked was {self.user_id}")
        require(not opened.expired(now_ms()), "the membership has expired already")
        if answer.revocations:
            revoked = chains.open_revocations(answer.revocations, opened.descriptor)
            serial = opened.membership.payload.serial
            require(serial not in revoked, "the new membership is revoked already")
        self.chain = data
        return opened

    def record(
        self, can_relay: bool = False, unlisted: bool = False, can_store: bool = False
    ) -> bytes:
        """The envelope of a new DeviceRecord, its bundle inside."""
        self.version = max(self.version + 1, now_ms())
        key = hpke.public_of(self.bundle_secret)
        bundle = stubs.message("beeline.identity.v1.Bundle")(
            context=self.context(self.network),
            made_ms=self.version,
            key=key,
            key_id=parcel.key_id(key),
        )
        socket = self.gateway.replace("http", "ws", 1)
        payload = stubs.message("beeline.identity.v1.DeviceRecord")(
            context=self.context(self.network),
            user=self.user,
            version=self.version,
            signal_addr=f"{socket}/{self.device_id}",
            can_relay=can_relay,
            unlisted=unlisted,
            can_store=can_store,
            bundle=envelope.sign(self.device_seed, bundle),
        )
        return envelope.sign(self.device_seed, payload)

    def token_proof(self, origin: str, nonce: bytes) -> bytes:
        """The envelope that answers a token's challenge."""
        make = stubs.message("beeline.auth.v1.TokenProof")
        payload = make(context=self.context(self.device), origin=origin, nonce=nonce)
        return envelope.sign(self.device_seed, payload)

    def socket_proof(self, origin: str, nonce: bytes) -> bytes:
        """The envelope that proves a socket."""
        payload = stubs.message("beeline.signal.v1.SocketProof")(
            context=self.context(self.device),
            origin=origin,
            nonce=nonce,
            boot_id=self.boot_id,
            device_id=self.device_id,
        )
        return envelope.sign(self.device_seed, payload)

    def save(self, path: pathlib.Path) -> None:
        """Writes the identity where only its owner can read it."""
        plain = dataclasses.asdict(self)
        shown = {k: v.hex() if isinstance(v, bytes) else v for k, v in plain.items()}
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(shown, file, indent=2)

    @classmethod
    def load(cls, path: pathlib.Path) -> "Identity":
        """Reads what `save` wrote."""
        held = json.loads(path.read_text(encoding="utf-8"))
        types = {field.name: field.type for field in dataclasses.fields(cls)}
        return cls(**{k: bytes.fromhex(v) if types[k] is bytes else v for k, v in held.items()})
