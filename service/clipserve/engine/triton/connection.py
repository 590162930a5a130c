"""The operator's settings for the connection to Triton, and a connection to one server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from pydantic import SecretStr
from tritonclient.grpc import InferResult, service_pb2, service_pb2_grpc

from clipserve.engine.triton.address import Address, parse_address
from clipserve.errors import BackendUnavailable

_CHANNEL: tuple[tuple[str, int | str], ...] = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A host that vanishes closes no connection; only unanswered pings tell. More often than this a server with
    # gRPC's defaults answers them with ENHANCE_YOUR_CALM.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # Of other pings, which gRPC sends after any answer: as long as both together, or a server that stands still for
    # six seconds would lose its calls.
    ("grpc.http2.ping_timeout_ms", 15_000),
    # By default gRPC waits up to two minutes before it tries again.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    # In spite of its name, the time for a connection to be made: a busy server or a far one may need a second.
    ("grpc.min_reconnect_backoff_ms", 2_000),
    # Names that need no proxy (no_proxy) have become addresses here.
    ("grpc.enable_http_proxy", 0),
)
Metadata = tuple[tuple[str, str], ...]
_INFER = f"/{service_pb2.DESCRIPTOR.services_by_name['GRPCInferenceService'].full_name}/ModelInfer"


@dataclass(frozen=True)
class TritonOptions:
    """Triton's addresses and how to connect to them.

    Attributes:
        triton_url: host:port of the gRPC endpoints. A name stands for all its addresses.
        triton_tls: whether to encrypt. `triton_ca_file`: the certificates to trust; None: the system's.
        triton_token: sent with every call: for a proxy as `authorization: Bearer TOKEN`, for Triton itself as its
            key `token`, `--grpc-restricted-protocol=inference,health,model-config:token=TOKEN`.
        deadline_seconds: of a call that belongs to no request.
        look_up_seconds: between two look-ups of a name.
        silent_seconds: without a sign of life, after which a server counts as silent: a busy one on few cores may
            need a good part of it to answer.
        ask_seconds: between two questions whether a server is ready.
        first_pause_seconds: between the first two probes of a sick server.
        max_batch_images, max_batch_texts: of the settings; None: what suits Triton.
    """

    triton_url: Sequence[str]
    triton_tls: bool = False
    triton_ca_file: Path | None = None
    triton_token: SecretStr | None = None
    deadline_seconds: float = 10.0
    look_up_seconds: float = 3.0
    silent_seconds: float = 1.0
    ask_seconds: float = 1.0
    first_pause_seconds: float = 1.0
    max_batch_images: int | None = None
    max_batch_texts: int | None = None

    @property
    def addresses(self) -> list[Address]:
        return [parse_address(each) for each in self.triton_url]

    def credentials(self) -> grpc.ChannelCredentials | None:
        """For TLS; None: no TLS. Raises BackendUnavailable: the certificates cannot be read."""
        if not self.triton_tls:
            return None
        file = self.triton_ca_file
        try:
            return grpc.ssl_channel_credentials(file.read_bytes() if file else None)
        except OSError as error:
            raise BackendUnavailable(f"{file} cannot be read: {error.strerror}") from None

    def connect(
        self, server: str, address: Address, credentials: grpc.ChannelCredentials | None = None
    ) -> Channel:
        """A channel to one server behind `address`."""
        metadata: Metadata = ()
        options = [*_CHANNEL]
        if self.triton_token:
            token = self.triton_token.get_secret_value()
            metadata = ("authorization", f"Bearer {token}"), ("triton-grpc-protocol-token", token)
        if address.is_name:  # what its certificate, and a proxy in front of it, know it by
            option = "grpc.ssl_target_name_override" if credentials else "grpc.default_authority"
            options.append((option, address.host if credentials else f"{address.host}:{address.port}"))
        if credentials:
            channel = grpc.aio.secure_channel(server, credentials, options=options)
        else:
            channel = grpc.aio.insecure_channel(server, options=options)
        return Channel(channel, self.silent_seconds, metadata)


class Channel:
    """A gRPC channel to one server. Small requests are protobuf messages, inference requests are bytes."""

    def __init__(self, channel: grpc.aio.Channel, seconds: float = 1.0, metadata: Metadata = ()) -> None:
        """`seconds`: for the answer to a question. `metadata`: of every request."""
        self._channel, self._seconds, self._metadata = channel, seconds, metadata
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        self._infer = channel.unary_unary(
            _INFER, response_deserializer=service_pb2.ModelInferResponse.FromString
        )

    async def ask(self, method: str, model: str) -> Any:
        """Call a method about a model, such as ModelReady, and return its answer. Raises grpc.aio.AioRpcError."""
        question = getattr(service_pb2, f"{method}Request")(name=model)
        return await getattr(self._stub, method)(question, timeout=self._seconds, metadata=self._metadata)

    async def infer(
        self, message: bytes, seconds: float, headers: Mapping[str, str] | None = None
    ) -> InferResult:
        """Send a serialized ModelInferRequest and return its answer. Raises grpc.aio.AioRpcError."""
        metadata = (*self._metadata, *(headers or {}).items())
        return InferResult(await self._infer(message, timeout=seconds, metadata=metadata))

    async def aclose(self) -> None:
        """Close the channel. Its requests in flight are cancelled."""
        await self._channel.close()
