"""A small gRPC server that stands in for Triton: it serves configurations, and vectors that say who made them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc

from clipserve.clip.artifact import read_manifest
from clipserve.demo import FOLDER as DEMO
from clipserve.engine.triton.contract import FINGERPRINT
from clipserve_models.triton_config import config
from clipserve_models.triton_options import options_of
from clipserve_models.triton_towers import towers

MANIFEST = read_manifest(DEMO)
OPTIONS = options_of("tensorrt")
# A status, its message, and perhaps the trailing metadata.
Failure = tuple[grpc.StatusCode, str] | tuple[grpc.StatusCode, str, tuple[tuple[str, str], ...]]


class StandIn(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]  # untyped
    """A server that is up.

    Attributes:
        ready: what it says when it is asked.
        asked, asked_ready: how often it has told a configuration, and whether it is ready.
        calls: rows of each call that it was sent. `times`: when, in seconds of time.monotonic.
        shapes: of the first input of each of them.
        peers: the methods that were asked, each with the address that asked.
        value: every number of its vectors.
        dim, output: how long its vectors are, and the name that they come by.
        failure: what calls get instead of vectors.
        poison: calls with a token of this id get INTERNAL.
        answering: cleared, it answers no call and no question; set again, it answers them all.
        watched: cleared, it answers no question.
        computing: cleared, it answers no call.
        cancelled: calls that were taken back.
    """

    def __init__(self) -> None:
        self.port = 0
        self.listening = grpc.aio.server()
        self.value = 0.0
        self.dim, self.output = MANIFEST.embed_dim, "embedding"
        self.ready = True
        self.asked = self.asked_ready = 0
        self.calls: list[int] = []
        self.times: list[float] = []
        self.shapes: list[tuple[int, ...]] = []
        self.peers: set[tuple[str, str]] = set()
        self.cancelled = 0
        self.failure: Failure | None = None
        self.poison: int | None = None
        self.answering, self.watched, self.computing = asyncio.Event(), asyncio.Event(), asyncio.Event()
        for event in (self.answering, self.watched, self.computing):
            event.set()
        made = [config(MANIFEST, tower, OPTIONS) for tower in towers(MANIFEST, OPTIONS)]
        self.models = {each.name: each for each in made}

    async def stop(self) -> None:
        """It goes, and leaves what it was sent unanswered."""
        await self.listening.stop(None)

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self.port}"

    def state(self, fingerprint: str) -> None:
        """From now on it says that it has this artifact."""
        for model in self.models.values():
            model.parameters[FINGERPRINT].string_value = fingerprint

    async def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802  gRPC's name
        self.asked_ready += 1
        self.peers.add(("ModelReady", context.peer()))
        await self.answering.wait()
        await self.watched.wait()
        return service_pb2.ModelReadyResponse(ready=self.ready)

    async def ModelConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.asked += 1
        return service_pb2.ModelConfigResponse(config=self.models[request.name])

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.peers.add(("ModelInfer", context.peer()))
        rows = request.inputs[0].shape[0]
        self.calls.append(rows)
        self.times.append(time.monotonic())
        self.shapes.append(tuple(request.inputs[0].shape))
        if self.failure:
            await context.abort(*self.failure)
        try:
            await self.answering.wait()
            await self.computing.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.poison and self.poison in np.frombuffer(request.raw_input_contents[0], np.int32):
            await context.abort(grpc.StatusCode.INTERNAL, "this cannot be computed")
        vectors = np.full((rows, self.dim), self.value, np.float32)
        output = service_pb2.ModelInferResponse.InferOutputTensor(
            name=self.output, datatype="FP32", shape=vectors.shape
        )
        return service_pb2.ModelInferResponse(outputs=[output], raw_output_contents=[vectors.tobytes()])


@asynccontextmanager
async def standing_in(
    value: float = 0.0, address: str = "127.0.0.1:0", made: StandIn | None = None
) -> AsyncIterator[StandIn]:
    """`made`, or a new one, listens until the block ends."""
    made = made or StandIn()
    made.value, listening = value, made.listening
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(made, listening)
    made.port = listening.add_insecure_port(address)
    await listening.start()
    try:
        yield made
    finally:
        for event in (made.answering, made.watched, made.computing):
            event.set()
        await listening.stop(None)
