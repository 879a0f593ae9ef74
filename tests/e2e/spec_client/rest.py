"""The gateway's REST interface, spoken as its own /openapi.json describes it."""

import base64
import json
import pathlib
import ssl
import urllib.error
import urllib.parse
import urllib.request

from . import people, stubs
from .ed25519 import verify
from .identity import Identity, now_ms
from .refusal import Deviation, require

TIMEOUT_S = 10

CODES = {
    code["name"]: code
    for code in json.loads(
        (stubs.PROTO / "testdata" / "errors.json").read_text(encoding="utf-8")
    )["codes"]
}

# What the specification names, and what docs/PROTOCOL.md adds.
ROUTES = {
    "/network/{networkId}/active-peers": "get",
    "/network/{networkId}/announce": "post",
    "/network/{networkId}/peer/{userId}": "get",
    "/network/{networkId}/coordinators": "get",
    "/coordinator/heartbeat": "post",
    "/auth/challenge": "post",
    "/auth/token": "post",
    "/network/{networkId}/join": "post",
    "/network/{networkId}/ice-servers": "get",
    "/.well-known/jwks.json": "get",
    "/openapi.json": "get",
    "/healthz": "get",
    "/readyz": "get",
}


def tls_context(url: str, ca: pathlib.Path | None) -> ssl.SSLContext | None:
    """TLS for https and wss URLs, trusting `ca` where one is given."""
    if not url.startswith(("https", "wss")):
        return None
    return ssl.create_default_context(cafile=ca)


class Rest:
    """One gateway."""

    def __init__(self, url: str, ca: pathlib.Path | None = None):
        self.url = url.rstrip("/")
        origin = people.normalize(self.url)
        require(origin, f"{url} has no origin")
        self.origin = origin
        tls = urllib.request.HTTPSHandler(context=tls_context(self.url, ca))
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), tls)
        self.document: dict = {}

    def describe(self) -> dict:
        """Reads /openapi.json and checks that it describes every route there must be."""
        _, _, self.document = self._send("GET", "/openapi.json")
        version = str(self.document.get("openapi"))
        require(version.startswith("3."), f"/openapi.json says openapi {version!r}")
        for route, method in ROUTES.items():
            self._operation(method, route)
        return self.document

    def _operation(self, method: str, route: str) -> dict:
        operation = self.document.get("paths", {}).get(route, {}).get(method.lower())
        require(operation, f"/openapi.json does not describe {method.upper()} {route}")
        return operation

    def _send(self, method: str, path: str, body=None, token: str | None = None) -> tuple:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method)
        if data is not None:
            request.add_header("Content-Type", "application/json")
        if token is not None:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with self.opener.open(request, timeout=TIMEOUT_S) as response:
                return response.status, response.headers, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, json.loads(error.read() or b"null")
        except (OSError, ValueError) as error:
            raise Deviation(f"{method} {path}: {error}") from None

    def call(self, method: str, route: str, *, body=None, token=None, query=None, **names) -> tuple:
        """One request as described: status, headers, JSON."""
        operation = self._operation(method, route)
        quoted = {name: urllib.parse.quote(value, safe="") for name, value in names.items()}
        path = route.format(**quoted)
        if query:
            path += "?" + urllib.parse.urlencode(query)
        status, headers, answer = self._send(method.upper(), path, body, token)
        described = operation.get("responses", {})
        known = {str(status), f"{status // 100}XX", "default"} & set(described)
        require(known, f"{method.upper()} {route} answered {status}, which is not described")
        return status, headers, answer

    def ok(self, method: str, route: str, **how) -> dict:
        """A request that must succeed."""
        status, headers, answer = self.call(method, route, **how)
        require(status == 200, f"{method.upper()} {route} answered {status}: {answer}")
        kind = headers.get_content_type()
        require(kind == "application/json", f"{method.upper()} {route} answered as {kind}")
        return answer

    def refused(self, code: str, method: str, route: str, **how) -> dict:
        """A request that must be refused with this code of the shared vocabulary."""
        status, headers, answer = self.call(method, route, **how)
        what = f"{method.upper()} {route} answered {status}: {answer}"
        require(isinstance(answer, dict) and answer.get("code") == code, f"{what}; wanted {code}")
        require(status == CODES[code]["http"] == answer.get("status"), what)
        kind = headers.get_content_type()
        require(kind == "application/problem+json", f"an error came as {kind}")
        for member in ("type", "title", "detail"):
            require(isinstance(answer.get(member), str), f"a problem without {member}: {answer}")
        return answer


def join(rest: Rest, me: Identity, invite_seed: bytes):
    """Joins; the verified chain."""
    device_list = me.device_list()
    make = stubs.message("beeline.registry.v1.JoinRequest")
    proof = me.join_proof(invite_seed, device_list)
    body = stubs.to_json(make(network_id=me.network_id, proof=proof, device_list=device_list))
    route = "/network/{networkId}/join"
    answer = rest.ok("post", route, networkId=me.network_id, body=body)
    return me.accept(stubs.from_json("beeline.registry.v1.JoinResponse", answer), device_list)


def challenge(rest: Rest, me: Identity) -> bytes:
    """A nonce to sign."""
    body = {"networkId": me.network_id, "deviceId": me.device_id}
    answer = rest.ok("post", "/auth/challenge", body=body)
    made = stubs.from_json("beeline.auth.v1.GetChallengeResponse", answer)
    require(len(made.nonce) == 32, "a challenge must be 32 bytes")
    life_ms = made.expire_time.ToMilliseconds() - now_ms()
    require(0 < life_ms <= 31_000, f"a challenge lives 30 s, not {life_ms} ms")
    return made.nonce


def token_request(me: Identity, origin: str, nonce: bytes) -> dict:
    """The body that answers a challenge."""
    make = stubs.message("beeline.auth.v1.CreateTokenRequest")
    proof = me.token_proof(origin, nonce)
    return stubs.to_json(make(network_id=me.network_id, device_id=me.device_id, proof=proof))


def token(rest: Rest, me: Identity) -> tuple[str, dict]:
    """A token, and its claims once its signature holds."""
    body = token_request(me, rest.origin, challenge(rest, me))
    answer = rest.ok("post", "/auth/token", body=body)
    made = stubs.from_json("beeline.auth.v1.CreateTokenResponse", answer)
    claims = check_token(rest, made.token)
    want = {
        "iss": "beeline",
        "aud": me.network.hex(),
        "sub": me.device.hex(),
        "uid": me.user.hex(),
        "net": me.network_id,
        "dev": me.device_id,
        "usr": me.user_id,
        "cnf": {"jkt": people.thumbprint(_device_key(me))},
    }
    for name, value in want.items():
        require(claims.get(name) == value, f"the token says {name} {claims.get(name)!r}")
    life_s = claims["exp"] - claims["iat"]
    require(0 < life_s <= 600, f"a token lives 10 minutes, not {life_s} s")
    return made.token, claims


def _device_key(me: Identity) -> bytes:
    make = stubs.message("beeline.identity.v1.Chain")
    raw = make.FromString(me.chain).device_list
    listed = stubs.message("beeline.envelope.v1.Envelope").FromString(raw).payload
    return stubs.message("beeline.identity.v1.DeviceList").FromString(listed).devices[0].device_key


def _unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def check_token(rest: Rest, jwt: str) -> dict:
    """Verifies a JWT against the published keys; its claims."""
    head, claims, signature = jwt.split(".")
    header = json.loads(_unpadded(head))
    require(header.get("alg") == "EdDSA", f"a token signed with {header.get('alg')}")
    keys = rest.ok("get", "/.well-known/jwks.json")["keys"]
    named = [key for key in keys if key["kid"] == header.get("kid")]
    require(len(named) == 1, f"{len(named)} published keys have the token's kid")
    require((named[0]["kty"], named[0]["crv"]) == ("OKP", "Ed25519"), "the key is not Ed25519")
    signed = f"{head}.{claims}".encode()
    require(verify(_unpadded(named[0]["x"]), signed, _unpadded(signature)), "a forged token")
    return json.loads(_unpadded(claims))


def announce(
    rest: Rest, me: Identity, jwt: str, coordinators: list[str], record: bytes | None = None
) -> dict:
    """Takes a lease on presence, with a new record unless one is given."""
    make = stubs.message("beeline.registry.v1.AnnounceRequest")
    record = me.record() if record is None else record
    request = make(network_id=me.network_id, record=record, coordinators=coordinators)
    body, route = stubs.to_json(request), "/network/{networkId}/announce"
    answer = rest.ok("post", route, networkId=me.network_id, body=body, token=jwt)
    made = stubs.from_json("beeline.registry.v1.AnnounceResponse", answer)
    life_s = made.expire_time.ToSeconds() - now_ms() // 1000
    require(0 < made.reannounce_after < life_s <= 601, f"a lease of {life_s} s: {answer}")
    require(answer["expireTime"].endswith("Z"), f"a time that does not end in Z: {answer}")
    return answer


def peer(rest: Rest, me: Identity, jwt: str, user_id: str) -> dict:
    """Looks a user up."""
    route = "/network/{networkId}/peer/{userId}"
    answer = rest.ok("get", route, networkId=me.network_id, userId=user_id, token=jwt)
    for member in ("online", "lastSeen", "lastCoordinators"):
        require(member in answer, f"a peer without {member}: {answer}")
    return answer
