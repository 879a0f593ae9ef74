"""The command line: one JSON object a line for each event, exit code 1 at the first deviation."""

import argparse
import asyncio
import json
import os
import pathlib
import signal

from spec_client import rest
from spec_client.identity import Identity
from spec_client.refusal import Deviation, Refused

from .limits import SESSION_TIMEOUT_S
from .peer import Peer
from .story import Story


def say(event: dict) -> None:
    """One event, as one line."""
    print(json.dumps(event), flush=True)


async def _online(arguments: argparse.Namespace, act) -> None:
    """Goes online with a home's identity, acts, and leaves."""
    me = Identity.load(arguments.home / "identity.json")
    if arguments.new_bundle:
        me.bundle_secret = os.urandom(32)
    gateway = rest.Rest(me.gateway, arguments.ca)
    await asyncio.to_thread(gateway.describe)
    async with asyncio.TaskGroup() as group:
        peer = Peer(group, gateway, me, say)
        peer.custody.keeps = arguments.keep
        await peer.start(arguments.ca)
        acting = group.create_task(act(peer, arguments))
        for name in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(name, acting.cancel)
        await asyncio.wait([acting])
        await peer.stop()
    if not acting.cancelled():
        acting.result()
    me.save(arguments.home / "identity.json")


async def _listen(peer: Peer, arguments: argparse.Namespace) -> None:
    """Takes messages, and answers each where that was asked for."""
    if arguments.call is not None:
        for device in (await peer.look_up(arguments.call)).records:
            peer.calls.dial(device)
    taken = 0
    while arguments.count is None or taken < arguments.count:
        person, text = await peer.inbox.get()
        taken += 1
        if arguments.reply is not None:
            await peer.talk.say(person, f"{arguments.reply}{text}").acked


async def _send(peer: Peer, arguments: argparse.Namespace) -> None:
    """Finds a user, says a text, and waits for the ACK."""
    async with asyncio.timeout(SESSION_TIMEOUT_S):
        if arguments.through is not None:
            return await _send_through(peer, arguments)
        person = await peer.look_up(arguments.user)
        sent = peer.talk.say(person, arguments.text)
        for device in person.records:
            peer.calls.dial(device)
        await sent.acked


async def _leave(peer: Peer, arguments: argparse.Namespace) -> None:
    """Leaves a text for somebody who is away with one that keeps, and does not wait for the ACK."""
    async with asyncio.timeout(SESSION_TIMEOUT_S):
        (custodian,) = (await peer.look_up(arguments.custodian)).records
        link = await peer.link_to(custodian)
        person = await peer.look_up(arguments.user)
        sent = peer.talk.say(person, arguments.text)
        for parcel in sent.parcels.values():
            keep_s = await peer.custody.leave(link, parcel)
            say({"event": "state", "state": "stored", "keep_s": keep_s})


async def _send_through(peer: Peer, arguments: argparse.Namespace) -> None:
    """The same without a server, once there is a link to somebody who knows the user: asks him,
    says the text by relay, and says it again over a link that was called through him."""
    (common,) = (await peer.look_up(arguments.through)).records
    await peer.link_to(common)
    await peer.socket.close()
    person = await peer.fabric.ask(common, label=arguments.user)
    await peer.talk.say(person, arguments.text).acked
    (device,) = person.records
    await peer.link_to(device)
    await peer.talk.say(person, arguments.text).acked


async def _story(arguments: argparse.Namespace) -> None:
    await Story(arguments, say).run()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="py_peer", description=__doc__)
    commands = parser.add_subparsers(required=True)

    def command(name: str, act, help_text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=help_text)
        made.add_argument("--ca", type=pathlib.Path, help="certificate authority to trust (PEM)")
        made.set_defaults(act=act)
        made.set_defaults(new_bundle=False, keep=False)
        if act:
            made.add_argument("--home", type=pathlib.Path, required=True, help="where the keys are")
        return made

    made = command("listen", _listen, "stay online; answer calls, messages, queries; relay")
    made.add_argument("--call", metavar="USER", help="link with this user first")
    made.add_argument("--new-bundle", action="store_true", help="lose the bundle's secret first")
    made.add_argument("--keep", action="store_true", help="keep parcels for members that are away")
    made.add_argument("--count", type=int, help="leave after this many messages")
    made.add_argument("--reply", help="answer each message with this and its text")
    made = command("send", _send, "find a user by the registry, link, and send a text")
    made.add_argument("--through", metavar="USER", help="find and reach the user through this one")
    made.add_argument("user")
    made.add_argument("text")
    made = command("leave", _leave, "leave a text for somebody away with one that keeps")
    made.add_argument("custodian")
    made.add_argument("user")
    made.add_argument("text")
    made = command("story", None, "play several peers against servers")
    made.add_argument("--url", required=True, help="the gateway's URL")
    made.add_argument("--invite", required=True, help="an invite link with enough uses")
    return parser


def main(argv: list[str]) -> int:
    """Runs one command."""
    arguments = _parser().parse_args(argv)
    work = _online(arguments, arguments.act) if arguments.act else _story(arguments)
    code = 0
    try:
        asyncio.run(work)
    except* (Deviation, Refused, OSError) as group:
        say({"event": "error", "message": "; ".join(map(str, group.exceptions))})
        code = 1
    return code
