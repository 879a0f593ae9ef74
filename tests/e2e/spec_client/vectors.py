"""Checks every golden vector: what signs, seals, verifies and parses here must agree, byte for byte
and verdict for verdict, with what every other implementation does."""

import hashlib
import json
import pathlib
from collections.abc import Callable, Iterator

from . import blake3, chain, ed25519, envelope, files, frames, hpke, parcel, people, stubs
from .refusal import Refused, require, verdict

Json = dict
CHECKS: dict[str, Callable[[Json], int]] = {}


def checks(name: str):
    """Registers the check of one vector file; it returns how many cases it looked at."""

    def register(check: Callable[[Json], int]) -> Callable[[Json], int]:
        CHECKS[name] = check
        return check

    return register


def unhex(case: Json, *names: str) -> Iterator[bytes]:
    """Members of hexadecimal bytes."""
    return (bytes.fromhex(case[name]) for name in names)


def same(got, want, what: str) -> None:
    """Fails unless both are equal."""
    require(got == want, f"{what}: got {got!r}, the vector says {want!r}")


@checks("keys.json")
def check_keys(file: Json) -> int:
    for case in file["signing"]:
        seed, public, fp = unhex(case, "seed", "public", "fp")
        same(ed25519.public_of(seed), public, f"public key of {case['who']}")
        same(ed25519.fingerprint(public), fp, f"fingerprint of {case['who']}")
    for case in file["sealing"]:
        secret, public, key_id = unhex(case, "secret", "public", "key_id")
        same(hpke.public_of(secret), public, "X25519 public key")
        same(parcel.key_id(public), key_id, "key id")
    for case in file["labels"]:
        same(verdict(people.check_label, case["label"]), case["error"], f"label {case['label']!r}")
    for case in file["message_ids"]:
        same(people.message_id_text(bytes.fromhex(case["bytes"])), case["text"], "message id")
    return sum(len(file[part]) for part in ("signing", "sealing", "labels", "message_ids"))


@checks("ed25519.json")
def check_ed25519(file: Json) -> int:
    for case in file["cases"]:
        public, message, signature = unhex(case, "public", "message", "signature")
        same(ed25519.key_ok(public), case["key_ok"], f"{case['name']}: key")
        same(ed25519.verify(public, message, signature), case["valid"], case["name"])
    return len(file["cases"])


@checks("preimages.json")
def check_preimages(file: Json) -> int:
    for case in file["cases"]:
        signer_fp, payload, image = unhex(case, "signer_fp", "payload", "pre_image")
        number = envelope.type_number(case["type_name"])
        same(number, case["type"], case["type_name"])
        domain = envelope.TYPES[number][0]
        same(domain, case["domain"], f"domain of {case['type_name']}")
        same(envelope.pre_image(domain, number, signer_fp, payload), image, case["type_name"])
    types = {case["type_name"] for case in file["cases"]}
    same(len(types), len(envelope.TYPES), "number of payload types")
    return len(file["cases"])


def _good_envelope(case: Json) -> None:
    seed, payload, data = unhex(case, "seed", "payload", "envelope")
    number = envelope.type_number(case["type_name"])
    same(envelope.TYPES[number][1], case["message"], "message of the type")
    same(envelope.sign_bytes(seed, number, payload), data, f"signing {case['message']}")
    same(envelope.split(data).signature.hex(), case["signature"], "signature")
    network, audience = unhex(case, "network", "audience")
    signer = ed25519.fingerprint(ed25519.public_of(seed))
    opened = envelope.open_envelope(data, number, network, audience, signer)
    same(opened.hash.hex(), case["hash"], "hash of the envelope")
    same(stubs.to_json(opened.payload), case["payload_json"], f"JSON of {case['message']}")
    read = stubs.from_json(case["message"], case["payload_json"])
    same(read.SerializeToString(deterministic=True), payload, f"bytes of {case['message']}")


@checks("envelopes.json")
def check_envelopes(file: Json) -> int:
    for case in file["good"]:
        _good_envelope(case)
    for case in file["refused"]:
        expect = case["expect"]
        number = envelope.type_number(expect["type_name"])
        network, audience = unhex(expect, "network", "audience")
        signer, session = (
            bytes.fromhex(expect[name]) if expect[name] else None for name in ("signer", "session")
        )
        data = bytes.fromhex(case["envelope"])
        arguments = (data, number, network, audience, signer, session)
        same(verdict(envelope.open_envelope, *arguments), case["error"], case["name"])
    return len(file["good"]) + len(file["refused"])


def _sealed_parcel(case: Json) -> None:
    name = case["name"]
    header, recipient, ikm = unhex(case, "header", "recipient_public", "ikm_e")
    made = stubs.from_json("beeline.envelope.v1.ParcelHeader", case["header_json"])
    same(made.SerializeToString(deterministic=True), header, f"{name}: header")
    same(hpke.derive_secret(ikm).hex(), case["sk_e"], f"{name}: ephemeral secret")
    content, chain_bytes = unhex(case, "envelope", "chain")
    data = parcel.seal(header, recipient, content, chain_bytes, ikm)
    same(len(data), case["length"], f"{name}: length")
    parts, _ = parcel.parse(data)
    same(parts.enc.hex(), case["enc"], f"{name}: enc")
    same(parcel.parcel_id(parts.header, parts.enc, parts.ciphertext).hex(), case["id"], name)
    if case["parcel"] is not None:
        same(data.hex(), case["parcel"], name)
        same(parts.ciphertext.hex(), case["ciphertext"], f"{name}: ciphertext")
    secret = bytes.fromhex(case["recipient_secret"])
    dh = hpke._dh(secret, parts.enc)
    values = hpke.schedule(dh, parts.enc, recipient, parcel.INFO)
    wanted = tuple(unhex(case, "shared_secret", "key", "base_nonce"))
    same(values, wanted, f"{name}: key schedule")
    opened = parcel.open_parcel(data, secret)
    same((opened.envelope, opened.chain), (content, chain_bytes), f"{name}: content")


@checks("parcels.json")
def check_parcels(file: Json) -> int:
    same(parcel.INFO.hex(), file["info"], "info")
    for case in file["sealed"]:
        _sealed_parcel(case)
    for case in file["refused"]:
        data, secret = unhex(case, "parcel", "recipient_secret")
        same(verdict(parcel.open_parcel, data, secret), case["error"], case["name"])
    header = bytes.fromhex(file["sealed"][0]["header"])
    for public in file["unusable"]:
        reason = verdict(parcel.seal, header, bytes.fromhex(public), b"", b"", bytes(32))
        same(reason, "bad_key", f"sealing to {public}")
    return sum(len(file[part]) for part in ("sealed", "refused", "unusable"))


@checks("chains.json")
def check_chains(file: Json) -> int:
    network = bytes.fromhex(file["network"])
    for case in file["good"]:
        opened = chain.open_chain(bytes.fromhex(case["chain"]), network)
        payload = opened.membership.payload
        role = type(payload).DESCRIPTOR.fields_by_name["role"].enum_type
        same(opened.user.hex(), case["user_fp"], "user")
        same(payload.handle, case["user_id"], "userId")
        same(role.values_by_number[payload.role].name, case["role"], "role")
        same(payload.serial, case["serial"], "serial")
        same(chain.fingerprints(opened), case["devices"], "devices")
    for case in file["refused"]:
        reason = verdict(chain.open_chain, bytes.fromhex(case["chain"]), network)
        same(reason, case["error"], case["name"])
    good = chain.open_chain(bytes.fromhex(file["good"][0]["chain"]), network)
    for case in file["revocations"]:
        arguments = (bytes.fromhex(case["envelope"]), good.descriptor)
        same(verdict(chain.open_revocations, *arguments), case["error"], case["name"])
        if case["error"] is None:
            revoked = good.membership.payload.serial in chain.open_revocations(*arguments)
            same(revoked, case["revokes"], case["name"])
    for case in file["expiry"]:
        same(good.expired(case["wall_ms"]), case["expired"], f"at {case['wall_ms']}")
    return sum(len(file[part]) for part in ("good", "refused", "revocations", "expiry"))


@checks("people.json")
def check_people(file: Json) -> int:
    for case in file["safety"]:
        digits = people.safety_number(*unhex(case, "network", "a", "b"))
        same(digits, case["digits"], "safety number")
        if digits is not None:
            shown = " ".join(digits[at : at + 5] for at in range(0, 60, 5))
            same(shown, case["shown"], "safety number as shown")
    for case in file["links"]:
        reason = verdict(people.parse_link, case["link"])
        same(reason, case["error"], case["link"])
        if reason is None:
            link = people.parse_link(case["link"])
            got = (link.network_id, link.network.hex(), link.seed.hex(), link.gateways)
            names = ("network_id", "network", "seed", "gateways")
            same(got, tuple(case[name] for name in names), case["link"])
    return len(file["safety"]) + len(file["links"])


@checks("custody.json")
def check_custody(file: Json) -> int:
    for case in file["places"]:
        place = people.custody_place(*unhex(case, "recipient", "salt"))
        same(place.hex(), case["place"], "place of a custodian")
    for case in file["orders"]:
        (recipient,) = unhex(case, "recipient")
        places = [people.custody_place(recipient, bytes.fromhex(salt)) for salt in case["salts"]]
        order = sorted(range(len(places)), key=lambda index: places[index])
        same(order, case["order"], "order of custodians")
    return len(file["places"]) + len(file["orders"])


@checks("origins.json")
def check_origins(file: Json) -> int:
    for case in file["cases"]:
        same(people.normalize(case["url"]), case["origin"], f"origin of {case['url']!r}")
    return len(file["cases"])


def _check_proof(file: Json, kind: str, data: bytes) -> None:
    """What a server checks of a proof, in order."""
    network, device, nonce = unhex(file, "network", "device_fp", "nonce")
    if kind == "joins":
        invite = ed25519.fingerprint(bytes.fromhex(file["invite_key"]))
        opened = envelope.open_envelope(data, 5, network, network, invite)
        listed = hashlib.sha256(bytes.fromhex(file["device_list"])).digest()
        if opened.payload.device_list_hash != listed:
            raise Refused("wrong_device_list")
        return
    number = 9 if kind == "tokens" else 10
    proof = envelope.open_envelope(data, number, network, device, device).payload
    if proof.origin != people.normalize(file["dialled"]):
        raise Refused("wrong_origin")
    if proof.nonce != nonce:
        raise Refused("wrong_nonce")
    if kind == "sockets" and proof.device_id != file["device_id"]:
        raise Refused("wrong_device")
    if kind == "sockets" and len(proof.boot_id) != 16:
        raise Refused("wrong_boot_id")


@checks("proofs.json")
def check_proofs(file: Json) -> int:
    kinds = ("tokens", "sockets", "joins")
    for kind in kinds:
        for case in file[kind]:
            reason = verdict(_check_proof, file, kind, bytes.fromhex(case["envelope"]))
            same(reason, case["error"], f"{kind}: {case['name']}")
    for case in file["thumbprints"]:
        same(people.thumbprint(bytes.fromhex(case["public"])), case["jkt"], "thumbprint")
    return sum(len(file[kind]) for kind in (*kinds, "thumbprints"))


@checks("signal.json")
def check_signal(file: Json) -> int:
    for case in file["frames"]:
        frame = frames.read_binary(bytes.fromhex(case["binary"]))
        same(frames.read_text(case["json"]), frame, f"{case['name']}: from JSON")
        same(frame.SerializeToString(deterministic=True).hex(), case["binary"], case["name"])
        same(stubs.to_json(frame), json.loads(case["json"]), f"{case['name']}: to JSON")
    for case in file["lenient"]:
        frame = frames.read_text(case["json"])
        same(frame.SerializeToString(deterministic=True).hex(), case["binary"], case["name"])
    for case in file["refused"]:
        same(verdict(frames.read_text, case["json"]), "malformed", case["name"])
    return sum(len(file[part]) for part in ("frames", "lenient", "refused"))


@checks("rest.json")
def check_rest(file: Json) -> int:
    for case in file["bodies"]:
        value = stubs.message(case["message"]).FromString(bytes.fromhex(case["binary"]))
        same(stubs.from_json(case["message"], json.loads(case["json"])), value, case["name"])
        same(stubs.to_json(value), json.loads(case["json"]), case["name"])
    example = json.loads(file["specification"])
    first = file["bodies"][0]
    value = stubs.message(first["message"]).FromString(bytes.fromhex(first["binary"]))
    same(stubs.from_json(first["message"], example), value, "the specification's example")
    shown = stubs.to_json(value)
    same({name: shown.get(name) for name in example}, example, "the specification's members")
    return len(file["bodies"]) + 1


@checks("datachannel.json")
def check_datachannel(file: Json) -> int:
    arms = stubs.message("beeline.peer.v1.PeerItem").DESCRIPTOR.oneofs_by_name["kind"].fields
    for case in file["kinds"]:
        names = {field.name.upper(): field.json_name for field in arms}
        same(names.get(case["type"]), case["arm"], case["type"])
    for case in file["examples"]:
        data = bytes.fromhex(case["envelope"])
        outer = stubs.to_json(stubs.message("beeline.envelope.v1.Envelope").FromString(data))
        for field in case["fields"]:
            value = case["payload_json"] if field["in"] == "payload" else outer
            for step in field["path"].strip("/").split("/"):
                value = value[int(step)] if isinstance(value, list) else value.get(step)
            require(value is not None, f"{field['spec']} of {case['arm']} is nowhere")
    for case in file["frames"]:
        frame = stubs.message("beeline.peer.v1.PeerFrame").FromString(bytes.fromhex(case["binary"]))
        same(stubs.to_json(frame), case["json"], case["name"])
    return sum(len(file[part]) for part in ("kinds", "examples", "frames"))


def _content(case: Json) -> files.Content:
    key, offer, root = unhex(case, "file_key", "offer_id", "root")
    return files.Content(key, offer, case["size"], case["chunk_size"], root)


@checks("files.json")
def check_files(file: Json) -> int:
    for case in file["shapes"]:
        shape = (case["size"], case["chunk_size"])
        same(verdict(files.chunks, *shape), case["error"], f"shape {shape}")
        if case["error"] is None:
            same(files.chunks(*shape), case["chunks"], f"chunks of {shape}")
    for case in file["trees"]:
        root, leaf, proof = unhex(case, "root", "leaf", "proof")
        size, step, index = case["size"], case["chunk_size"], case["index"]
        data = bytes(at % 251 for at in range(size))
        same(blake3.digest(data), root, f"root of {size} bytes")
        chunk = data[index * step : (index + 1) * step]
        if leaf:
            same(blake3.subtree(chunk, index * step), leaf, f"leaf {index} of {size} bytes")
        count = files.chunks(size, step)
        same(verdict(files.prove, root, count, index, step, chunk, proof), None, "proof")
    for case in file["chunks"]:
        content, (offer, frame, data) = _content(case), unhex(case, "offer_id", "frame", "data")
        item = stubs.message("beeline.peer.v1.PeerFrame").FromString(frame).items[0].file_chunk
        same(content.open(case["index"], item.data), data, "an opened chunk")
        plain = content.plain(case["index"], item.data)
        sealed = content.seal(case["index"], data, plain[len(data) :])
        same(files.frame(offer, case["index"], sealed), frame, "the frame of a chunk")
    for case in file["pieces"]:
        offer, sealed = unhex(case, "offer_id", "sealed")
        frames = [bytes.fromhex(frame) for frame in case["frames"]]
        require(all(len(frame) <= case["limit"] for frame in frames), "a piece is too long")
        first = stubs.message("beeline.peer.v1.PeerFrame").FromString(frames[0])
        room = len(first.items[0].file_chunk.data)
        same(files.pieces(offer, case["index"], sealed, room), frames, "the pieces of a chunk")
    for case in file["refusals"]:
        got = verdict(_content(case).open, case["index"], bytes.fromhex(case["sealed"]))
        same(got, case["error"], case["name"])
    for case in file["lists"]:
        data = bytes.fromhex(case["list"])
        same(verdict(files.files_of, data, case["size"]), case["error"], "list of a folder")
        if case["error"] is None:
            same(files.files_of(data, case["size"]), case["files"], "files of a folder")
    parts = ("shapes", "trees", "chunks", "pieces", "refusals", "lists")
    return sum(len(file[part]) for part in parts)


@checks("errors.json")
def check_errors(file: Json) -> int:
    names = [code["name"] for code in file["codes"]]
    same(len(set(names)), len(names), "number of names")
    for code in file["codes"]:
        require(1 <= code["grpc"] <= 16, f"{code['name']} has no gRPC status")
        require(400 <= code["http"] < 600, f"{code['name']} has no HTTP error status")
        require(1000 <= code["close"] < 5000, f"{code['name']} has no close code")
    return len(names)


def run(folder: pathlib.Path) -> Iterator[Json]:
    """Checks every file of `folder`; a file without a check, or a check without a file, fails."""
    held = {path.name for path in folder.glob("*.json")}
    require(held, f"no vectors in {folder}")
    same(sorted(held), sorted(CHECKS), "vector files")
    for name in sorted(held):
        count = CHECKS[name](json.loads((folder / name).read_text(encoding="utf-8")))
        require(count > 0, f"{name} has no cases")
        yield {"event": "vectors", "file": name, "cases": count}
