"""A connection to a Triton server: tritonclient's client for questions, and a method for calls that takes bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import grpc
from tritonclient.grpc import InferResult, service_pb2
from tritonclient.grpc import aio as triton

_INFER = f"/{service_pb2.DESCRIPTOR.services_by_name['GRPCInferenceService'].full_name}/ModelInfer"


class Channel:
    """`client`: for everything but `infer`. Its channel has the same options, so gRPC gives both one connection."""

    def __init__(
        self,
        server: str,
        options: Sequence[tuple[str, int | str]],
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        """`credentials`: of TLS; None: no TLS."""
        self.client = triton.InferenceServerClient(server, creds=credentials, channel_args=options)
        self._channel = (
            grpc.aio.secure_channel(server, credentials, options=options)
            if credentials
            else grpc.aio.insecure_channel(server, options=options)
        )
        self._infer = self._channel.unary_unary(
            _INFER, response_deserializer=service_pb2.ModelInferResponse.FromString
        )

    async def infer(self, message: bytes, seconds: float, *, headers: Mapping[str, str]) -> InferResult:
        """The answer to a serialized ModelInferRequest. Raises grpc.RpcError."""
        return InferResult(await self._infer(message, timeout=seconds, metadata=tuple(headers.items())))

    async def aclose(self) -> None:
        """End what is still asked here."""
        await self.client.close()
        await self._channel.close()
