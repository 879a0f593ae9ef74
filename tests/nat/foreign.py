"""A foreign WebRTC stack in the lab: aiortc, told by lines of JSON on its input what the other side
says. It prints its description, then {"event": "linked"} or {"event": "failed"}.

    python foreign.py offer|answer [STUN-URL]
"""

import asyncio
import json
import sys

import aioice.stun
from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCSessionDescription

# A check is repeated for 16 s, which is long where nothing is lost; 8 s are as good.
aioice.stun.RETRY_MAX = 4


def say(event: str, **more: str) -> None:
    """One event, as one line."""
    print(json.dumps({"event": event, **more}), flush=True)


async def lines() -> asyncio.StreamReader:
    """Our input."""
    reader = asyncio.StreamReader(limit=1 << 20)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


async def main(role: str, stun: list[str]) -> None:
    """Plays one side to the end of its input."""
    servers = [RTCIceServer(urls=url) for url in stun]
    connection = RTCPeerConnection(RTCConfiguration(iceServers=servers))
    channel = connection.createDataChannel("lab", negotiated=True, id=0)
    channel.on("open", lambda: channel.send("hello"))
    channel.on("message", lambda _: say("linked"))

    @connection.on("connectionstatechange")
    def on_state() -> None:
        if connection.connectionState == "failed":
            say("failed")

    reader = await lines()
    if role == "offer":
        await connection.setLocalDescription(await connection.createOffer())
        say("described", sdp=connection.localDescription.sdp)
        sdp = json.loads(await reader.readline())["sdp"]
        await connection.setRemoteDescription(RTCSessionDescription(sdp, "answer"))
    else:
        sdp = json.loads(await reader.readline())["sdp"]
        await connection.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
        await connection.setLocalDescription(await connection.createAnswer())
        say("described", sdp=connection.localDescription.sdp)
    await reader.read()
    await connection.close()


asyncio.run(main(sys.argv[1], sys.argv[2:]))
