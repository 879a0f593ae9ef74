"""The registry's gRPC interface, by stubs made from proto/."""

import pathlib

import grpc
from grpc_reflection.v1alpha import reflection_pb2

from . import stubs
from .identity import Identity
from .refusal import Deviation, require
from .rest import CODES

TIMEOUT_S = 10
SERVICES = (
    "beeline.auth.v1.AuthService",
    "beeline.coordinator.v1.CoordinatorService",
    "beeline.registry.v1.RegistryService",
)


class Rpc:
    """One registry. `address` is host:port, or a URL."""

    def __init__(self, address: str, ca: pathlib.Path | None = None):
        scheme, _, host = address.rpartition("://")
        options = [("grpc.enable_http_proxy", 0)]
        if scheme == "https":
            trust = grpc.ssl_channel_credentials(ca.read_bytes() if ca else None)
            self.channel = grpc.secure_channel(host, trust, options)
        else:
            self.channel = grpc.insecure_channel(host, options)
        registry = stubs.services("beeline/registry/v1/registry_service")
        coordinator = stubs.services("beeline/coordinator/v1/coordinator_service")
        self.registry = registry.RegistryServiceStub(self.channel)
        self.coordinator = coordinator.CoordinatorServiceStub(self.channel)

    def ok(self, method, request, jwt: str):
        """A call that must succeed."""
        metadata = [("authorization", f"Bearer {jwt}")]
        try:
            return method(request, metadata=metadata, timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            name = type(request).__name__
            raise Deviation(f"{name}: {error.code().name}: {error.details()}") from None

    def refused(self, code: str, method, request, jwt: str | None) -> None:
        """A call that must be refused with this code of the shared vocabulary."""
        metadata = [("authorization", f"Bearer {jwt}")] if jwt else None
        name = type(request).__name__
        try:
            method(request, metadata=metadata, timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            said = dict(error.trailing_metadata() or ()).get("beeline-code")
            status = error.code().value[0]
            require(said == code, f"{name} was refused with {said}, wanted {code}")
            require(status == CODES[code]["grpc"], f"{code} came as gRPC status {status}")
            return
        raise Deviation(f"{name} was taken; wanted {code}")

    def services(self, version: str) -> list[str]:
        """What reflection lists; "v1" and "v1alpha" speak the same messages."""
        path = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
        ask = self.channel.stream_stream(
            path,
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        try:
            answers = list(ask(iter([request]), timeout=TIMEOUT_S))
        except grpc.RpcError as error:
            raise Deviation(f"reflection {version}: {error.details()}") from None
        require(len(answers) == 1, f"reflection answered {len(answers)} times")
        return sorted(service.name for service in answers[0].list_services_response.service)


def peer(rpc: Rpc, me: Identity, jwt: str, user_id: str):
    """Looks a user up."""
    make = stubs.message("beeline.registry.v1.GetPeerRequest")
    request = make(network_id=me.network_id, user_id=user_id)
    return rpc.ok(rpc.registry.GetPeer, request, jwt).peer


def announce(rpc: Rpc, me: Identity, jwt: str, coordinators: list[str]):
    """Takes a lease on presence."""
    make = stubs.message("beeline.registry.v1.AnnounceRequest")
    request = make(network_id=me.network_id, record=me.record(), coordinators=coordinators)
    return rpc.ok(rpc.registry.Announce, request, jwt)


def heartbeat_request(me: Identity, connected: list[str], epoch: int, seq: int):
    """A coordinator's heartbeat with its whole list."""
    return stubs.message("beeline.coordinator.v1.HeartbeatRequest")(
        network_id=me.network_id,
        load=len(connected),
        capacity=16,
        connected=connected,
        full=True,
        epoch=epoch,
        seq=seq,
    )
