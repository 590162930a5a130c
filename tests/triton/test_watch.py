"""Which Triton a gateway accepts, by the configuration that it serves: a small gRPC server stands in for Triton."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

from models.triton_config import DEFAULTS, config, towers
from service.clip.artifact import read_manifest
from service.clip.manifest import Precision
from service.clip.reference import reference_pixels
from service.engine.triton.client import TritonBackend, TritonOptions
from service.errors import BackendUnavailable
from service.telemetry.metrics import Metrics

MANIFEST = read_manifest(Path(__file__).parents[2] / "models" / "demo")
OPTIONS = DEFAULTS["tensorrt"]


class Server(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]  # untyped
    """Serves configurations and computes nothing. `asked` counts how often it told one."""

    def __init__(self) -> None:
        self.port = 0
        self.ready = True
        self.asked = 0
        self.models: dict[str, model_config_pb2.ModelConfig] = {}

    def serve(self, image: Precision | None = None, text: Precision | None = None) -> None:
        for tower, narrower in zip(towers(MANIFEST, OPTIONS), (image, text), strict=True):
            self.models[tower.name] = config(MANIFEST, tower, OPTIONS, narrower)

    def state(self, key: str, value: str) -> None:
        for model in self.models.values():
            model.parameters[key].string_value = value

    async def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802  gRPC's name
        return service_pb2.ModelReadyResponse(ready=self.ready)

    async def ModelConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.asked += 1
        return service_pb2.ModelConfigResponse(config=self.models[request.name])


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made, listening = Server(), grpc.aio.server()
    made.serve()
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(made, listening)
    made.port = listening.add_insecure_port("127.0.0.1:0")
    await listening.start()
    yield made
    await listening.stop(None)


@pytest.fixture
async def backend(server: Server) -> AsyncIterator[TritonBackend]:
    made = TritonBackend(MANIFEST, TritonOptions(f"127.0.0.1:{server.port}"), Metrics())
    async with asyncio.timeout(30):
        yield made
    await made.aclose()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.01)


async def until_ready(backend: TritonBackend, wanted: bool) -> None:
    async with asyncio.timeout(10):
        while await backend.ready() is not wanted:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(("served", "learned"), [(None, None), ("fp16", "fp16"), ("bf16", "bf16")])
async def test_the_precision_is_learned_from_what_is_served(
    server: Server, backend: TritonBackend, served: Precision | None, learned: str | None
) -> None:
    server.serve(served, served)
    assert backend.precision is None, "not started"
    await backend.start()
    assert backend.precision == learned


async def test_a_repository_that_does_not_state_its_precision_is_the_artifact_s_own(
    server: Server, backend: TritonBackend
) -> None:
    for model in server.models.values():
        del model.parameters["precision"]
    await backend.start()
    assert backend.precision is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("fingerprint", MANIFEST.fingerprint(precision="fp8")),
        ("fingerprint", MANIFEST.fingerprint("scaled_decode=true")),
        ("fingerprint", MANIFEST.fingerprint(precision="fp16")),
        ("fingerprint", ""),
        ("precision", "fp16"),
        ("precision", "fp8"),
    ],
)
async def test_another_artifact_or_an_unknown_precision_is_refused(
    server: Server, backend: TritonBackend, key: str, value: str
) -> None:
    server.state(key, value)
    with pytest.raises(BackendUnavailable, match="Make the repository anew"):
        await backend.start()


@pytest.mark.parametrize("towers_in", [("fp16", None), (None, "fp16")])
async def test_two_towers_of_different_precisions_are_refused(
    server: Server, backend: TritonBackend, towers_in: tuple[Precision | None, Precision | None]
) -> None:
    server.serve(*towers_in)
    with pytest.raises(BackendUnavailable, match=r"computes images in fp(16|32) and texts in fp(16|32)"):
        await backend.start()


async def test_a_triton_that_comes_back_in_another_precision_is_refused_until_the_first_is_back(
    server: Server, backend: TritonBackend
) -> None:
    await backend.start()
    server.ready = False
    await until_ready(backend, False)
    server.serve("fp16", "fp16")
    server.ready, asked = True, server.asked
    await until(lambda: server.asked >= asked + 6)  # three looks at both models
    assert not await backend.ready()
    assert backend.precision is None
    with pytest.raises(BackendUnavailable):
        await backend.encode_image(reference_pixels(MANIFEST.image.size))
    server.serve()
    await until_ready(backend, True)
    assert backend.precision is None
