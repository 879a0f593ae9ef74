"""Message classes and service stubs, made from the schema at run time; nothing of them is kept."""

import atexit
import functools
import importlib
import pathlib
import shutil
import sys
import tempfile

from google.protobuf import json_format, symbol_database
from grpc_tools import protoc

PROTO = pathlib.Path(__file__).resolve().parents[3] / "proto"


@functools.cache
def _generate() -> None:
    """Compiles every schema file into a directory that is gone at the end of the process."""
    folder = tempfile.mkdtemp(prefix="beeline-stubs-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    files = sorted(str(path.relative_to(PROTO)) for path in PROTO.glob("beeline/**/*.proto"))
    if not files:
        raise SystemExit(f"no schema below {PROTO}")
    well_known = pathlib.Path(importlib.import_module("grpc_tools").__file__).parent / "_proto"
    arguments = ["protoc", f"-I{PROTO}", f"-I{well_known}"]
    arguments += [f"--python_out={folder}", f"--grpc_python_out={folder}", *files]
    if protoc.main(arguments) != 0:
        raise SystemExit("the schema does not compile")
    sys.path.insert(0, folder)
    for name in files:
        importlib.import_module(name.removesuffix(".proto").replace("/", ".") + "_pb2")


def message(full_name: str):
    """The class of a message, such as "beeline.peer.v1.Hello"."""
    _generate()
    return symbol_database.Default().pool.FindMessageTypeByName(full_name)._concrete_class


def services(module: str):
    """The module with the gRPC stubs of a schema file, such as "beeline/auth/v1/auth_service"."""
    _generate()
    return importlib.import_module(module.replace("/", ".") + "_pb2_grpc")


def to_json(value) -> dict:
    """proto3 JSON with default values written out, as Beeline writes it."""
    return json_format.MessageToDict(value, always_print_fields_with_no_presence=True)


def from_json(full_name: str, value: dict):
    """Reads proto3 JSON; unknown members are passed over."""
    return json_format.ParseDict(value, message(full_name)(), ignore_unknown_fields=True)
