"""A Triton server with fake encoders that answer at once.

`python -m tests.support.fake_triton PORT ARTIFACT FOLDER` runs it.

It writes a copy of the artifact for fake encoders into a new folder, for gateways, and serves both models in
Triton's own protocol. So a gateway does the same work as for a real Triton, and the encoders cost next to nothing.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc

from clipserve.clip.artifact import read_manifest
from clipserve.clip.manifest import ModelManifest
from clipserve.engine.triton.contract import TOWERS, inputs, triton_model
from clipserve_models.triton_config import config
from clipserve_models.triton_options import options_of
from clipserve_models.triton_towers import towers
from loadtests.fake_backend import FakeBackend
from loadtests.fake_service import write_fake_artifact
from loadtests.process import free_port, running

_OPTIONS = options_of("onnxruntime", "cpu", max_batch_images=64, max_batch_texts=64)
_TYPES = {"TYPE_UINT8": np.uint8, "TYPE_INT32": np.int32}


class _Servicer(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]  # it has no types
    """The methods that a gateway calls."""

    def __init__(self, manifest: ModelManifest) -> None:
        self._manifest = manifest
        self._towers = {triton_model(manifest, tower): tower for tower in TOWERS}
        self._configs = {each.name: config(manifest, each, _OPTIONS) for each in towers(manifest, _OPTIONS)}
        self.backend = FakeBackend(manifest.embed_dim)

    async def ModelReady(self, request: Any, _: Any) -> Any:
        return service_pb2.ModelReadyResponse(ready=request.name in self._towers)

    async def ModelConfig(self, request: Any, _: Any) -> Any:
        return service_pb2.ModelConfigResponse(config=self._configs[request.name])

    async def ModelStatistics(self, *_: Any) -> Any:
        return service_pb2.ModelStatisticsResponse()

    async def ModelInfer(self, request: Any, _: Any) -> Any:
        tower = self._towers[request.model_name]
        tensors = zip(inputs(self._manifest, tower), request.raw_input_contents, strict=True)
        first, *others = (np.frombuffer(content, _TYPES[each.data_type]) for each, content in tensors)
        if tower == "image":
            size = self._manifest.image.size
            vectors = await self.backend.encode_image(first.reshape(-1, size, size, 3))
        else:
            (lengths,) = others
            vectors = await self.backend.encode_text(first.reshape(len(lengths), -1), lengths)
        answer = service_pb2.ModelInferResponse(model_name=request.model_name)
        answer.outputs.add(name=request.outputs[0].name, datatype="FP32", shape=vectors.shape)
        answer.raw_output_contents.append(vectors.tobytes())
        return answer


@dataclass(frozen=True)
class FakeTriton:
    """Fake encoders behind Triton's protocol. `artifact`: the artifact for a gateway in front."""

    url: str
    artifact: Path
    pid: int


@contextmanager
def fake_triton(artifact: Path) -> Iterator[FakeTriton]:
    """Run it; it answers when the block begins."""
    port = free_port()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "artifact")
        command = [sys.executable, "-m", "tests.support.fake_triton", str(port), str(artifact), str(folder)]
        with running(command, "the fake Triton", lambda: _listening(port)) as pid:
            yield FakeTriton(f"127.0.0.1:{port}", folder, pid)


def _listening(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port)):
        return True


async def serve(port: int, folder: Path) -> None:
    """Serve until cancelled. The port opens last, so that a connection means readiness."""
    manifest = read_manifest(folder)
    servicer = _Servicer(manifest)
    await servicer.backend.start()
    options = [("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)]
    server = grpc.aio.server(options=options)
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    number, source, target = sys.argv[1:]
    written = write_fake_artifact(Path(source), Path(target))
    asyncio.run(serve(int(number), written))
