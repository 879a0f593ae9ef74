"""Who is known: verified chains, and the device records that count with them (section 5)."""

import dataclasses

from spec_client import chain as chains
from spec_client import ed25519, envelope, stubs
from spec_client.identity import Identity, now_ms
from spec_client.refusal import Refused

from .limits import PEOPLE_MAX


@dataclasses.dataclass(frozen=True)
class Record:
    """A device record that verified: the bytes, what they say, and the bundle inside."""

    data: bytes
    payload: object
    bundle: object | None
    device: bytes


@dataclasses.dataclass
class Person:
    """A user: the chain, and the records of devices it lists."""

    chain: chains.Chain
    data: bytes
    records: dict[bytes, Record] = dataclasses.field(default_factory=dict)

    @property
    def user(self) -> bytes:
        """Fingerprint of the user."""
        return self.chain.user

    @property
    def label(self) -> str:
        """The userId."""
        return self.chain.membership.payload.handle

    def device(self, fp: bytes):
        """A listed device, or None."""
        listed = self.chain.devices.payload.devices
        return next((d for d in listed if ed25519.fingerprint(d.device_key) == fp), None)


def open_bundle(data: bytes, network: bytes, device: bytes):
    """The bundle a device signed."""
    bundle = envelope.open_envelope(data, 7, network, network, device).payload
    if len(bundle.key) != 32 or len(bundle.key_id) != 16:
        raise Refused("bad_payload")
    return bundle


def open_record(data: bytes, network: bytes, person: Person) -> Record:
    """A record, signed by a device the person's list names."""
    opened = envelope.open_envelope(data, 8, network, network)
    if person.device(opened.signer) is None:
        raise Refused("wrong_signer")
    if opened.payload.user != person.user:
        raise Refused("bad_payload")
    raw = opened.payload.bundle
    bundle = open_bundle(raw, network, opened.signer) if raw else None
    return Record(data, opened.payload, bundle, opened.signer)


class Book:
    """Everybody we can prove something about."""

    def __init__(self, me: Identity):
        self.network = me.network
        self.people: dict[bytes, Person] = {}
        self.mine = chains.open_chain(me.chain, me.network)
        self.descriptor = self.mine.descriptor
        self.revocations = b""
        self.revocations_version = 0
        self.revoked: set[int] = set()

    def by_label(self, label: str) -> Person | None:
        """The user with this userId."""
        return next((p for p in self.people.values() if p.label == label), None)

    def by_device(self, fp: bytes) -> Person | None:
        """The user a device belongs to."""
        return next((p for p in self.people.values() if p.device(fp)), None)

    def record(self, fp: bytes) -> Record | None:
        """The newest record of a device."""
        person = self.by_device(fp)
        return person.records.get(fp) if person else None

    def admits(self, person: Person) -> bool:
        """Whether a link to the user may open: not revoked, and not expired for good."""
        serial = person.chain.membership.payload.serial
        return serial not in self.revoked and not person.chain.expired(now_ms())

    def learn_chain(self, data: bytes) -> Person:
        """Takes a chain: pins a new user, or replaces the list of a known one by a newer one."""
        opened = chains.open_chain(data, self.network)
        known = self.people.get(opened.user)
        if known is None:
            if self.by_label(opened.membership.payload.handle):
                raise Refused("USER_KEY_CHANGED")
            if len(self.people) >= PEOPLE_MAX:
                raise Refused("FULL")
            self.people[opened.user] = person = Person(opened, data)
            return person
        self._newer_list(known, opened, data)
        return known

    @staticmethod
    def _newer_list(known: Person, opened: chains.Chain, data: bytes) -> None:
        held, offered = known.chain.devices, opened.devices
        if offered.payload.version == held.payload.version and offered.data != held.data:
            raise Refused("CONFLICT")
        if offered.payload.version > held.payload.version:
            known.chain, known.data = opened, data
            known.records = {fp: r for fp, r in known.records.items() if known.device(fp)}

    def learn_record(self, data: bytes, person: Person, live: bool = False) -> Record:
        """Takes a record; the highest version wins, but one said on a live link always counts."""
        record = open_record(data, self.network, person)
        held = person.records.get(record.device)
        if held is None or live or record.payload.version > held.payload.version:
            person.records[record.device] = record
        return person.records[record.device]

    def replace_bundle(self, data: bytes, device: bytes) -> None:
        """Takes the bundle of a Nack that named a parcel of ours: it always replaces."""
        person = self.by_device(device)
        held = person.records.get(device) if person else None
        if held is None:
            raise Refused("unknown")
        bundle = open_bundle(data, self.network, device)
        person.records[device] = dataclasses.replace(held, bundle=bundle)

    # --- signed lists that are handed over ------------------------------------------------------

    def versions(self):
        """Versions of the lists we hold."""
        return stubs.message("beeline.identity.v1.Versions")(
            descriptor=self.descriptor.payload.version,
            revocations=self.revocations_version,
            device_list=self.mine.devices.payload.version,
        )

    def newer_than(self, theirs, user: bytes):
        """`Records` with what somebody holds an older version of, or None."""
        records = stubs.message("beeline.peer.v1.Records")()
        if self.descriptor.payload.version > theirs.descriptor:
            records.descriptor = self.descriptor.data
        if self.revocations_version > theirs.revocations:
            records.revocations = self.revocations
        known = self.people.get(user)
        if known and known.chain.devices.payload.version > theirs.device_list:
            records.device_list = known.chain.devices.data
        return records if records.ByteSize() else None

    def take_lists(self, descriptor: bytes, revocations: bytes) -> None:
        """Takes the network's lists where they are newer, whoever handed them over."""
        if descriptor:
            opened = chains.open_descriptor(descriptor, self.network)
            if opened.payload.version > self.descriptor.payload.version:
                self.descriptor = opened
        if revocations:
            serials = chains.open_revocations(revocations, self.descriptor)
            raw = envelope.split(revocations).payload
            version = stubs.message("beeline.identity.v1.Revocations").FromString(raw).version
            if version > self.revocations_version:
                self.revocations, self.revocations_version = revocations, version
                self.revoked = set(serials)

    def take_device_list(self, data: bytes, speaker: bytes) -> None:
        """Takes a newer device list, beside the rest of the chain as known: our own, which somebody
        kept where we restored a backup, or else the speaker's."""
        signer = ed25519.fingerprint(envelope.split(data).signer_key)
        known = self.mine if signer == self.mine.user else self.people.get(speaker)
        if known is None:
            raise Refused("unknown")
        if known is self.mine:
            opened = chains.open_devices(data, self.network, known.membership.payload.user_key)
            if opened.payload.version > known.devices.payload.version:
                self.mine = dataclasses.replace(known, devices=opened)
            return
        parts = stubs.message("beeline.identity.v1.Chain").FromString(known.data)
        parts.device_list = data
        self.learn_chain(parts.SerializeToString())

    @property
    def own_chain(self) -> bytes:
        """Our own chain, serialized, with the newest lists we hold."""
        return stubs.message("beeline.identity.v1.Chain")(
            descriptor=self.descriptor.data,
            membership=self.mine.membership.data,
            device_list=self.mine.devices.data,
        ).SerializeToString()
