"""`python -m loadtests.fake_triton PORT ARTIFACT FOLDER`: a Triton server that answers at once, with arithmetic.

It writes the artifact as one of arithmetic into a new folder, for gateways, and serves both models of it in
Triton's own protocol. So a gateway in front of it does all that it does in front of a real one, and its encoders
cost next to nothing.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

from clipserve.clip.artifact import read_manifest
from clipserve.clip.manifest import ModelManifest
from clipserve.engine.triton.contract import FINGERPRINT, TOWERS, Tensor, Tower, inputs, output, triton_model
from loadtests.fake_backend import FakeBackend
from loadtests.fake_service import write_fake_artifact

_MAX_BATCH = 64
_TYPES = {"TYPE_UINT8": np.uint8, "TYPE_INT32": np.int32}


class _Model:
    def __init__(self, manifest: ModelManifest, tower: Tower) -> None:
        self._manifest = manifest
        self._tower = tower
        self._backend = FakeBackend(manifest.embed_dim)

    async def start(self) -> None:
        await self._backend.start()

    def config(self) -> model_config_pb2.ModelConfig:
        config = model_config_pb2.ModelConfig(
            name=triton_model(self._manifest, self._tower), max_batch_size=_MAX_BATCH
        )
        for tensor in inputs(self._manifest, self._tower):
            config.input.append(model_config_pb2.ModelInput(**_described(tensor)))
        config.output.append(model_config_pb2.ModelOutput(**_described(output(self._manifest))))
        config.parameters[FINGERPRINT].string_value = self._manifest.fingerprint()
        return config

    async def infer(self, contents: Sequence[bytes]) -> tuple[list[int], bytes]:
        """The shape and the bytes of the embeddings, float32 [N, D]."""
        tensors = inputs(self._manifest, self._tower)
        arrays = [
            np.frombuffer(raw, _TYPES[each.data_type]) for each, raw in zip(tensors, contents, strict=True)
        ]
        if self._tower == "image":
            size = self._manifest.image.size
            vectors = await self._backend.encode_image(arrays[0].reshape(-1, size, size, 3))
        else:
            ids, lengths = arrays
            vectors = await self._backend.encode_text(ids.reshape(len(lengths), -1), lengths)
        return list(vectors.shape), vectors.tobytes()


def _described(tensor: Tensor) -> dict[str, Any]:
    kind = model_config_pb2.DataType.Value(tensor.data_type)
    return {"name": tensor.name, "data_type": kind, "dims": tensor.dims}


class _Servicer(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]  # it has no types
    """The methods that a gateway calls."""

    def __init__(self, models: dict[str, _Model]) -> None:
        self._models = models

    async def ModelReady(self, request: Any, _: Any) -> Any:
        return service_pb2.ModelReadyResponse(ready=request.name in self._models)

    async def ModelConfig(self, request: Any, _: Any) -> Any:
        return service_pb2.ModelConfigResponse(config=self._models[request.name].config())

    async def ModelStatistics(self, *_: Any) -> Any:
        return service_pb2.ModelStatisticsResponse()

    async def ModelInfer(self, request: Any, _: Any) -> Any:
        shape, content = await self._models[request.model_name].infer(request.raw_input_contents)
        answer = service_pb2.ModelInferResponse(model_name=request.model_name)
        answer.outputs.add(name=request.outputs[0].name, datatype="FP32", shape=shape)
        answer.raw_output_contents.append(content)
        return answer


async def serve(port: int, folder: Path) -> None:
    """Until cancelled. The port is taken when all is there, so that a connection is a sign of readiness."""
    manifest = read_manifest(folder)
    models = {triton_model(manifest, tower): _Model(manifest, tower) for tower in TOWERS}
    for model in models.values():
        await model.start()
    options = [("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)]
    server = grpc.aio.server(options=options)
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(_Servicer(models), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    number, source, target = sys.argv[1:]
    written = write_fake_artifact(Path(source), Path(target))
    asyncio.run(serve(int(number), written))
