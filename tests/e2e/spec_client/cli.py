"""The command line: one JSON object a line for each step, exit code 1 at the first deviation."""

import argparse
import json
import pathlib

from . import frames, people, rest, stubs, vectors
from .identity import Identity
from .refusal import Deviation, Refused, require
from .sockets import Socket
from .story import Story


def say(event: dict) -> None:
    """One step, as one line."""
    print(json.dumps(event), flush=True)


def _vectors(arguments: argparse.Namespace) -> None:
    for event in vectors.run(arguments.folder):
        say(event)


def _story(arguments: argparse.Namespace) -> None:
    for event in Story(arguments).run():
        say(event)


def _home(arguments: argparse.Namespace) -> pathlib.Path:
    return arguments.home / "identity.json"


def _described(url: str, ca: pathlib.Path | None) -> rest.Rest:
    gateway = rest.Rest(url, ca)
    gateway.describe()
    return gateway


def _join(arguments: argparse.Namespace) -> None:
    link = people.parse_link(arguments.link)
    gateway = _described(link.gateways[0], arguments.ca)
    device = arguments.device or f"{arguments.user}_device"
    me = Identity.make(link, arguments.user, device, gateway.url)
    rest.join(gateway, me, link.seed)
    arguments.home.mkdir(parents=True, exist_ok=True)
    me.save(_home(arguments))
    say({"event": "joined", "network": me.network_id, "user": me.user_id, "device": me.device_id})


def _signed_in(arguments: argparse.Namespace) -> tuple[rest.Rest, Identity, str]:
    me = Identity.load(_home(arguments))
    gateway = _described(me.gateway, arguments.ca)
    return gateway, me, rest.token(gateway, me)[0]


def _token(arguments: argparse.Namespace) -> None:
    _, me, token = _signed_in(arguments)
    say({"event": "token", "user": me.user_id, "token": token})


def _announce(arguments: argparse.Namespace) -> None:
    gateway, me, token = _signed_in(arguments)
    lease = rest.announce(gateway, me, token, [])
    me.save(_home(arguments))
    say({"event": "announced", **lease})


def _peer(arguments: argparse.Namespace) -> None:
    gateway, me, token = _signed_in(arguments)
    say({"event": "peer", **rest.peer(gateway, me, token, arguments.user)})


def _offer(arguments: argparse.Namespace) -> None:
    gateway, me, _ = _signed_in(arguments)
    socket = Socket.proven(gateway, me, arguments.ca)
    members = {"from": me.device_id, "to": arguments.device, "sdp": arguments.sdp}
    socket.send(frames.write_text("OFFER", **members))
    answer = socket.receive()
    socket.close()
    frame = frames.read_text(answer) if isinstance(answer, str) else frames.read_binary(answer)
    require(not frame.code, f"{frame.code}: {frame.message}")
    say({"event": "answered", "frame": stubs.to_json(frame)})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="spec_client", description=__doc__)
    commands = parser.add_subparsers(required=True)

    def command(name: str, run, help_text: str, *names: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=help_text)
        for positional in names:
            made.add_argument(positional)
        made.add_argument("--ca", type=pathlib.Path, help="certificate authority to trust (PEM)")
        made.set_defaults(run=run)
        return made

    made = commands.add_parser("vectors", help="check every golden vector")
    made.add_argument("folder", type=pathlib.Path, help="proto/testdata")
    made.set_defaults(run=_vectors)

    made = command("story", _story, "play two users against servers")
    made.add_argument("--url", required=True, help="the gateway's URL")
    made.add_argument("--grpc", required=True, help="the registry's address")
    made.add_argument("--invite", required=True, help="an invite link with two uses or more")
    made.add_argument("--coordinator-invite", help="the link Alice joins by, to be a coordinator")

    made = command("join", _join, "join a network", "link")
    made.add_argument("--user", required=True)
    made.add_argument("--device")
    homes = [made]
    homes.append(command("token", _token, "print a bearer token"))
    homes.append(command("announce", _announce, "announce the device"))
    homes.append(command("peer", _peer, "look a user up", "user"))
    made = command("offer", _offer, "send a plain OFFER, print the first answer", "device")
    made.add_argument("--sdp", default="...")
    homes.append(made)
    for made in homes:
        made.add_argument("--home", type=pathlib.Path, required=True, help="where the keys are")
    return parser


def main(argv: list[str]) -> int:
    """Runs one command."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except (Deviation, Refused, OSError) as deviation:
        say({"event": "error", "message": str(deviation)})
        return 1
    return 0
