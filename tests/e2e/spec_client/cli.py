"""The command line: one JSON object a line for each step, exit code 1 at the first deviation."""

import argparse
import json
import pathlib

from . import vectors
from .refusal import Deviation, Refused


def say(event: dict) -> None:
    """One step, as one line."""
    print(json.dumps(event), flush=True)


def _vectors(arguments: argparse.Namespace) -> None:
    for event in vectors.run(arguments.folder):
        say(event)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="spec_client", description=__doc__)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("vectors", help="check every golden vector")
    command.add_argument("folder", type=pathlib.Path, help="proto/testdata")
    command.set_defaults(run=_vectors)
    return parser


def main(argv: list[str]) -> int:
    """Runs one command."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except (Deviation, Refused) as deviation:
        say({"event": "error", "message": str(deviation)})
        return 1
    return 0
