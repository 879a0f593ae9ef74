"""The whole story against real servers: two users of the specification's kind, from the invite link
to an OFFER that arrives byte for byte. Yields one event a step; raises Deviation at the first step
that is not as specified."""

import argparse
import json
import os
import threading
from collections.abc import Callable, Iterator

from . import ed25519, envelope, frames, people, rest, rpc, stubs
from .chain import open_chain
from .identity import Identity
from .refusal import Deviation, require
from .sockets import Socket

PEER = "/network/{networkId}/peer/{userId}"

# Presence follows a socket within 5 seconds; asked for this often, this long at most.
ASK_EVERY_S = 0.1
ASK_TIMES = 100


class Story:
    """Alice and Carol, and what they know so far."""

    def __init__(self, arguments: argparse.Namespace):
        self.ca = arguments.ca
        self.rest = rest.Rest(arguments.url, arguments.ca)
        self.rpc = rpc.Rpc(arguments.grpc, arguments.ca)
        self.link = people.parse_link(arguments.invite)
        coordinator = arguments.coordinator_invite or arguments.invite
        self.coordinator_link = people.parse_link(coordinator)
        self.run_id = os.urandom(4).hex()
        self.alice, self.carol = self._person("alice"), self._person("carol")
        self.tokens: dict[str, str] = {}
        self.role = ""

    def _person(self, name: str) -> Identity:
        user_id = f"{name}_{self.run_id}"
        return Identity.make(self.link, user_id, f"{user_id}_device", self.rest.url)

    def _token(self, me: Identity) -> str:
        return self.tokens[me.user_id]

    def _peer(self, user_id: str) -> dict:
        return rest.peer(self.rest, self.alice, self._token(self.alice), user_id)

    def _peer_when(self, good: Callable[[dict], bool], what: str) -> dict:
        """Asks until the answer is good: presence has no event one could wait for."""
        pause = threading.Event()
        for _ in range(ASK_TIMES):
            answer = rpc.peer(self.rpc, self.alice, self._token(self.alice), self.carol.user_id)
            if good(stubs.to_json(answer)):
                return self._peer(self.carol.user_id)
            pause.wait(ASK_EVERY_S)
        raise Deviation(f"{what} did not become true: {answer}")

    def run(self) -> Iterator[dict]:
        """All steps."""
        yield from self.described()
        yield from self.joined()
        yield from self.signed_in()
        yield from self.announced()
        yield from self.called_by_grpc()
        yield from self.signalled()
        yield from self.superseded()
        yield from self.gone()

    # --- who is there ---------------------------------------------------------------------------

    def described(self) -> Iterator[dict]:
        """The interface describes itself, on both sides."""
        document = self.rest.describe()
        require(self.rest.ok("get", "/healthz"), "no health")
        require(self.rest.ok("get", "/readyz"), "not ready")
        yield {"event": "openapi", "paths": len(document["paths"])}
        for version in ("v1", "v1alpha"):
            listed = self.rpc.services(version)
            missing = set(rpc.SERVICES) - set(listed)
            require(not missing, f"reflection {version} does not list {sorted(missing)}")
        yield {"event": "reflection", "services": listed}

    def joined(self) -> Iterator[dict]:
        """Both join; a taken userId and a foreign invite do not."""
        links = ((self.alice, self.coordinator_link), (self.carol, self.link))
        for me, link in links:
            opened = rest.join(self.rest, me, link.seed)
            role = opened.membership.payload.role
            yield {"event": "joined", "user": me.user_id, "device": me.device_id, "role": role}
            if me is self.alice:
                self.role = {1: "member", 2: "coordinator", 3: "admin"}[role]
        taken = Identity.make(self.link, self.carol.user_id, "other_device", self.rest.url)
        self._join_refused("ALREADY_EXISTS", taken, self.link.seed)
        stranger = self._person("mallory")
        self._join_refused("INVITE_INVALID", stranger, os.urandom(32))
        yield {"event": "join_refused", "codes": ["ALREADY_EXISTS", "INVITE_INVALID"]}

    def _join_refused(self, code: str, me: Identity, invite_seed: bytes) -> None:
        device_list = me.device_list()
        make = stubs.message("beeline.registry.v1.JoinRequest")
        proof = me.join_proof(invite_seed, device_list)
        body = stubs.to_json(make(network_id=me.network_id, proof=proof, device_list=device_list))
        route = "/network/{networkId}/join"
        self.rest.refused(code, "post", route, networkId=me.network_id, body=body)

    def signed_in(self) -> Iterator[dict]:
        """Both get a token; an answer given twice, or for another origin, gets none."""
        for me in (self.alice, self.carol):
            self.tokens[me.user_id], claims = rest.token(self.rest, me)
            yield {"event": "token", "user": me.user_id, "role": claims["role"]}
        nonce = rest.challenge(self.rest, self.alice)
        body = rest.token_request(self.alice, self.rest.origin, nonce)
        self.rest.ok("post", "/auth/token", body=body)
        self.rest.refused("UNAUTHENTICATED", "post", "/auth/token", body=body)
        nonce = rest.challenge(self.rest, self.alice)
        body = rest.token_request(self.alice, "https://elsewhere.example", nonce)
        status, _, answer = self.rest.call("post", "/auth/token", body=body)
        require(status in (401, 403), f"a proof for another origin got {status}: {answer}")
        yield {"event": "token_refused", "why": ["answered twice", "another origin"]}

    def announced(self) -> Iterator[dict]:
        """Both announce; Alice looks Carol up and believes only what is signed."""
        for me in (self.alice, self.carol):
            named = [self.alice.device_id]
            lease = rest.announce(self.rest, me, self._token(me), named)
            yield {"event": "announced", "user": me.user_id, "again": lease["reannounceAfter"]}
        answer = self._peer(self.carol.user_id)
        require(answer["online"] is False, f"nobody has a socket, and Carol is online: {answer}")
        require(str(answer["lastSeen"]).endswith("Z"), f"lastSeen must end in Z: {answer}")
        self._believe(answer)
        yield {"event": "peer", "user": self.carol.user_id, "online": answer["online"]}
        yield from self._rest_refusals()

    def _believe(self, answer: dict) -> None:
        """Checks chain and record of a looked-up peer against the pinned network."""
        found = stubs.from_json("beeline.registry.v1.Peer", answer)
        chain = open_chain(found.chain, self.alice.network)
        require(chain.user == self.carol.user, "the registry's chain is for another user")
        require([d.device_id for d in found.devices] == [self.carol.device_id], f"{answer}")
        device = ed25519.fingerprint(chain.device(self.carol.device_id).device_key)
        arguments = (found.devices[0].record, 8, self.alice.network, self.alice.network, device)
        record = envelope.open_envelope(*arguments).payload
        require(record.user == self.carol.user, "the record names another user")
        bundle = envelope.open_envelope(record.bundle, 7, *arguments[2:]).payload
        require(len(bundle.key) == 32, "the bundle has no key")

    def _rest_refusals(self) -> Iterator[dict]:
        network_id, token = self.alice.network_id, self._token(self.alice)
        cases = [
            ("UNAUTHENTICATED", network_id, self.carol.user_id, None),
            ("UNAUTHENTICATED", network_id, self.carol.user_id, token[:-4] + "AAAA"),
            ("PERMISSION_DENIED", "elsewhere", self.carol.user_id, token),
            ("NOT_FOUND", network_id, "nobody_" + self.run_id, token),
            ("INVALID_ARGUMENT", network_id, "no.label", token),
        ]
        for code, network, user, jwt in cases:
            self.rest.refused(code, "get", PEER, networkId=network, userId=user, token=jwt)
        route = "/network/{networkId}/active-peers"
        query = {"pageSize": 2}
        page = self.rest.ok("get", route, networkId=network_id, token=token, query=query)
        require("peers" in page and "nextPageToken" in page, f"a page without its members: {page}")
        route = "/network/{networkId}/ice-servers"
        servers = self.rest.ok("get", route, networkId=network_id, token=token)
        require(isinstance(servers.get("iceServers"), list), f"no iceServers: {servers}")
        yield {"event": "rest_refused", "codes": sorted({code for code, *_ in cases})}

    def called_by_grpc(self) -> Iterator[dict]:
        """The same by gRPC, and the coordinator's heartbeat."""
        token = self._token(self.carol)
        lease = rpc.announce(self.rpc, self.carol, token, [self.alice.device_id])
        require(lease.reannounce_after > 0, f"no pace for the next announce: {lease}")
        found = rpc.peer(self.rpc, self.carol, token, self.alice.user_id)
        require(found.user_id == self.alice.user_id, f"asked for Alice, got {found}")
        make = stubs.message("beeline.registry.v1.GetPeerRequest")
        request = make(network_id=self.carol.network_id, user_id=self.alice.user_id)
        get_peer = self.rpc.registry.GetPeer
        self.rpc.refused("UNAUTHENTICATED", get_peer, request, None)
        elsewhere = make(network_id="elsewhere", user_id=self.alice.user_id)
        self.rpc.refused("PERMISSION_DENIED", get_peer, elsewhere, token)
        yield {"event": "grpc", "calls": ["Announce", "GetPeer"]}
        yield from self._heartbeat()

    def _heartbeat(self) -> Iterator[dict]:
        """A coordinator's heartbeat is taken and counts; a member's is refused."""
        token, epoch = self._token(self.alice), int.from_bytes(os.urandom(7), "big")
        method = self.rpc.coordinator.Heartbeat
        request = rpc.heartbeat_request(self.alice, [self.carol.device_id], epoch, 1)
        if self.role == "member":
            self.rpc.refused("PERMISSION_DENIED", method, request, token)
            body = stubs.to_json(request)
            route = "/coordinator/heartbeat"
            self.rest.refused("PERMISSION_DENIED", "post", route, body=body, token=token)
            yield {"event": "heartbeat", "refused": "PERMISSION_DENIED", "role": self.role}
            return
        answer = self.rpc.ok(method, request, token)
        require(answer.next_heartbeat_s == 10, f"the pace must be 10 s: {answer}")
        request = rpc.heartbeat_request(self.alice, [self.carol.device_id], epoch, 2)
        body = stubs.to_json(request)
        self.rest.ok("post", "/coordinator/heartbeat", body=body, token=token)
        seen = self._peer(self.carol.user_id)["lastCoordinators"]
        require(seen == [self.alice.device_id], f"lastCoordinators must name Alice: {seen}")
        where = {"networkId": self.carol.network_id, "token": self._token(self.carol)}
        live = self.rest.ok("get", "/network/{networkId}/coordinators", **where)["coordinators"]
        ids = [one["deviceId"] for one in live]
        require(self.alice.device_id in ids, f"Alice is a coordinator that lives: {live}")
        yield {"event": "heartbeat", "role": self.role, "next": answer.next_heartbeat_s}

    # --- signalling -----------------------------------------------------------------------------

    def signalled(self) -> Iterator[dict]:
        """Two bearer sockets; a plain OFFER and its ANSWER arrive byte for byte."""
        alice, carol = self.alice, self.carol
        self.first = Socket.bearer_header(self.rest, alice, self._token(alice), self.ca)
        yield {"event": "socket", "device": alice.device_id, "by": "Authorization"}
        self.second = Socket.bearer_hello(self.rest, carol, self._token(carol), self.ca)
        yield {"event": "socket", "device": carol.device_id, "by": "HELLO token"}
        answer = self._peer_when(lambda peer: peer["online"], "Carol online")
        yield {"event": "peer", "user": carol.user_id, "online": answer["online"]}

        offer = json.dumps(
            {"type": "OFFER", "from": alice.device_id, "to": carol.device_id, "sdp": "v=0\r\n..."}
        )
        spaced = f'{{ "x-own":[1,{{}}],\t"sdp":"\\u0076=0\\r\\n", "to":"{carol.device_id}",\n'
        spaced += f' "from" : "{alice.device_id}", "type" :"OFFER" }}'
        for text in (offer, spaced):
            self._carried(self.first, self.second, text)
        yield {"event": "offer", "bytes": len(offer.encode()), "form": "text"}

        reply = stubs.message(frames.NAME)(type=2, to=alice.device_id, sdp="v=0\r\n...")
        setattr(reply, "from", carol.device_id)
        self._carried(self.second, self.first, reply.SerializeToString())
        members = {"candidate": "candidate:1 1 udp 2130706431 192.0.2.1 50000 typ host"}
        members |= {"sdpMid": "0", "sdpMLineIndex": 0, "usernameFragment": "uFrag"}
        addressed = {"from": carol.device_id, "to": alice.device_id}
        self._carried(
            self.second, self.first, frames.write_text("ICE_CANDIDATE", **addressed, **members)
        )
        yield {"event": "answer", "forms": ["binary", "text"]}
        yield from self._signal_refusals()

    @staticmethod
    def _carried(sender: Socket, receiver: Socket, frame: str | bytes) -> None:
        sender.send(frame)
        got = receiver.receive()
        require(got == frame, f"sent {frame!r}, arrived {got!r}")

    def _signal_refusals(self) -> Iterator[dict]:
        alice, carol = self.alice.device_id, self.carol.device_id
        write = frames.write_text
        doubled = f'{{"type":"OFFER","from":"{alice}","from":"{alice}","to":"{carol}"}}'
        cases = [
            ("PEER_OFFLINE", write("OFFER", **{"from": alice, "to": "nobody_device", "sdp": "x"})),
            ("PERMISSION_DENIED", write("OFFER", **{"from": carol, "to": carol, "sdp": "x"})),
            ("INVALID_ARGUMENT", doubled),
            ("INVALID_ARGUMENT", "{"),
        ]
        for code, frame in cases:
            self.first.send(frame)
            self.first.error(code)
        yield {"event": "signal_refused", "codes": [code for code, _ in cases]}

    def superseded(self) -> Iterator[dict]:
        """A bearer socket takes over from a bearer one, a proven one from both, none from it."""
        alice, carol = self.alice, self.carol
        browser = Socket.bearer_protocol(self.rest, alice, self._token(alice), self.ca)
        self.first.superseded(b"")
        self.first = browser
        yield {"event": "superseded", "device": alice.device_id, "by": "Sec-WebSocket-Protocol"}
        proven = Socket.proven(self.rest, carol, self.ca)
        self.second.superseded(proven.proof)
        self._sign_in_refused("CONFLICT", carol.device_id, token=self._token(carol))
        self._sign_in_refused("UNAUTHENTICATED", alice.device_id, token=self._token(carol))
        stale = carol.socket_proof(self.rest.origin, os.urandom(32))
        self._sign_in_refused("UNAUTHENTICATED", carol.device_id, proof=stale, chain=carol.chain)
        addressed = {"from": self.alice.device_id, "to": self.carol.device_id}
        self._carried(self.first, proven, frames.write_text("OFFER", **addressed, sdp="v=0"))
        self.second = proven
        yield {"event": "superseded", "device": self.carol.device_id, "by": "proof"}

    def _sign_in_refused(self, code: str, device_id: str, **members) -> None:
        """A first frame that must be refused, and the socket closed."""
        socket = Socket(self.rest, device_id, self.ca)
        socket.send(frames.write_text("HELLO", **members))
        socket.error(code)
        want, got = rest.CODES[code]["close"], socket.closed()
        require(got == want, f"{code} closes with {want}, not {got}")

    def gone(self) -> Iterator[dict]:
        """Closed sockets show soon."""
        self.second.close()
        answer = self._peer_when(lambda peer: not peer["online"], "Carol offline")
        yield {"event": "peer", "user": self.carol.user_id, "online": answer["online"]}
        self.first.close()
        yield {"event": "done"}
