"""A connection to a Triton server: questions as messages of protobuf, and calls as bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import grpc
from tritonclient.grpc import InferResult, service_pb2, service_pb2_grpc

_INFER = f"/{service_pb2.DESCRIPTOR.services_by_name['GRPCInferenceService'].full_name}/ModelInfer"


class Channel:
    """Whatever is sent over it has `headers`."""

    def __init__(
        self,
        server: str,
        options: Sequence[tuple[str, int | str]],
        headers: Mapping[str, str],
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        """`credentials`: of TLS; None: no TLS."""
        self._headers = headers
        self._channel = (
            grpc.aio.secure_channel(server, credentials, options=options)
            if credentials
            else grpc.aio.insecure_channel(server, options=options)
        )
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._infer = self._channel.unary_unary(
            _INFER, response_deserializer=service_pb2.ModelInferResponse.FromString
        )

    async def ask(self, method: str, model: str, seconds: float | None = None) -> Any:
        """The answer to a question about a model, such as ModelReady. Raises grpc.aio.AioRpcError."""
        question = getattr(service_pb2, f"{method}Request")(name=model)
        return await getattr(self._stub, method)(
            question, timeout=seconds, metadata=tuple(self._headers.items())
        )

    async def infer(self, message: bytes, seconds: float, *, headers: Mapping[str, str]) -> InferResult:
        """The answer to a serialized ModelInferRequest. Raises grpc.aio.AioRpcError."""
        metadata = (*self._headers.items(), *headers.items())
        return InferResult(await self._infer(message, timeout=seconds, metadata=metadata))

    async def aclose(self) -> None:
        """End what is still asked here."""
        await self._channel.close()
