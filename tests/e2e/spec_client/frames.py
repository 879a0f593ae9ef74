"""Frames of the signalling socket: JSON text and protobuf of one schema."""

import base64
import json
import re

from google.protobuf import json_format
from google.protobuf.message import DecodeError

from . import stubs
from .refusal import Refused

NAME = "beeline.signal.v1.SignalFrame"


def _once(pairs: list) -> dict:
    """Refuses a member that stands twice in one object."""
    if len({name for name, _ in pairs}) != len(pairs):
        raise Refused("malformed")
    return dict(pairs)


def _check_bytes(value: dict) -> None:
    """The JSON library takes any text as base64; the mapping does not."""
    for field in stubs.message(NAME).DESCRIPTOR.fields:
        if field.type != field.TYPE_BYTES:
            continue
        for name in (field.json_name, field.name):
            text = value.get(name, "")
            if not isinstance(text, str) or not re.fullmatch(r"[A-Za-z0-9+/_-]*={0,2}", text):
                raise Refused("malformed")


def read_text(text: str):
    """A frame from its JSON; unknown members are passed over, an unknown type is not."""
    try:
        value = json.loads(text, object_pairs_hook=_once)
        if not isinstance(value, dict):
            raise Refused("malformed")
        _check_bytes(value)
        frame = stubs.from_json(NAME, value)
        if not frame.type or not stubs.message(NAME).Type.Name(frame.type):
            raise Refused("malformed")
        return frame
    except (ValueError, json_format.ParseError):
        raise Refused("malformed") from None


def read_binary(data: bytes):
    """A frame from its protobuf."""
    try:
        return stubs.message(NAME).FromString(data)
    except DecodeError:
        raise Refused("malformed") from None


def write_text(kind: str, **members) -> str:
    """A frame as JSON text, only what is set; bytes become base64."""
    encode = lambda v: base64.b64encode(v).decode() if isinstance(v, bytes) else v  # noqa: E731
    return json.dumps({"type": kind, **{name: encode(v) for name, v in members.items()}})
