"""A connection to a Triton server. Small requests are protobuf messages, inference requests are bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import grpc
from tritonclient.grpc import InferResult, service_pb2, service_pb2_grpc

_PHASES = ("queue", "compute_input", "compute_infer", "compute_output")
_INFER = f"/{service_pb2.DESCRIPTOR.services_by_name['GRPCInferenceService'].full_name}/ModelInfer"


class Channel:
    """A gRPC channel to one server. Every request has `headers` as metadata."""

    def __init__(
        self,
        server: str,
        options: Sequence[tuple[str, int | str]],
        headers: Mapping[str, str],
        credentials: grpc.ChannelCredentials | None = None,
        seconds: float = 1.0,
    ) -> None:
        """`credentials`: for TLS; None: no TLS. `seconds`: for the answer to a question."""
        self._headers, self._seconds = headers, seconds
        self._channel = (
            grpc.aio.secure_channel(server, credentials, options=options)
            if credentials
            else grpc.aio.insecure_channel(server, options=options)
        )
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._infer = self._channel.unary_unary(
            _INFER, response_deserializer=service_pb2.ModelInferResponse.FromString
        )

    async def ask(self, method: str, model: str) -> Any:
        """Call a method about a model, such as ModelReady, and return its answer. Raises grpc.aio.AioRpcError."""
        question = getattr(service_pb2, f"{method}Request")(name=model)
        metadata = tuple(self._headers.items())
        return await getattr(self._stub, method)(question, timeout=self._seconds, metadata=metadata)

    async def phases(self, models: Iterable[str]) -> dict[tuple[str, str], float]:
        """(model, phase of its work) -> seconds that the server has counted. Raises grpc.aio.AioRpcError."""
        answers = [await self.ask("ModelStatistics", model) for model in models]
        counted = [(each.name, each.inference_stats) for answer in answers for each in answer.model_stats]
        return {(name, phase): getattr(stats, phase).ns / 1e9 for name, stats in counted for phase in _PHASES}

    async def infer(
        self, message: bytes, seconds: float, headers: Mapping[str, str] | None = None
    ) -> InferResult:
        """Send a serialized ModelInferRequest and return its answer. Raises grpc.aio.AioRpcError."""
        metadata = (*self._headers.items(), *(headers or {}).items())
        return InferResult(await self._infer(message, timeout=seconds, metadata=metadata))

    async def aclose(self) -> None:
        """Close the channel. Its requests in flight are cancelled."""
        await self._channel.close()
