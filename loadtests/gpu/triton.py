"""Checks the vectors of encoders on a running Triton; of its rates see docs/triton.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc

from clipserve.clip.artifact import read_manifest
from clipserve.engine.backend import Embeddings
from clipserve.engine.triton.contract import FINGERPRINT, TOWERS, triton_model
from loadtests.gpu.encoders import Encoder, Plan, Variant, compared
from loadtests.gpu.findings import Findings
from loadtests.gpu.inputs import Case, Feeds

_INFER = "/inference.GRPCInferenceService/ModelInfer"
_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
_PATIENCE = 60  # timeout of a call in seconds: a server that hangs is a failed line


@dataclass(frozen=True)
class Served:
    """A Triton, its variant, and its models by encoder. `url`: gRPC host:port."""

    url: str
    variant: Variant
    models: dict[str, Any]

    @property
    def name(self) -> str:
        return f"Triton {self.variant.precision}"


def found(url: str, variants: Sequence[Variant]) -> Served:
    """Find out which of these variants of a model this Triton serves.

    Raises:
        SystemExit: it serves none of them.
    """
    manifests = [read_manifest(variant.folder) for variant in variants]
    with grpc.insecure_channel(url) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        asked = {
            each: service_pb2.ModelConfigRequest(name=triton_model(manifests[0], each)) for each in TOWERS
        }
        models: dict[str, Any] = {tower: stub.ModelConfig(request).config for tower, request in asked.items()}
    stated = {model.parameters[FINGERPRINT].string_value for model in models.values()}
    for variant, manifest in zip(variants, manifests, strict=True):
        if stated == {manifest.fingerprint()}:
            return Served(url, variant, models)
    raise SystemExit(f"Triton serves {', '.join(sorted(stated))}, and none of the artifacts")


def vectors(findings: Findings, served: Served, case: Case, plan: Plan) -> None:
    """Check cosines with the CPU's vectors, for sizes that the model allows."""
    model = served.models[case.graph.removesuffix(".onnx")]
    with grpc.insecure_channel(served.url, _OPTIONS) as channel:
        infer = channel.unary_unary(_INFER)

        def compute(feeds: Feeds) -> Embeddings:
            answer = service_pb2.ModelInferResponse.FromString(
                infer(message(model.name, feeds), timeout=_PATIENCE)
            )
            vectors = np.frombuffer(answer.raw_output_contents[0], np.float32)
            return vectors.reshape(tuple(answer.outputs[0].shape))

        encoder = Encoder(served.name, served.variant.precision, compute)
        findings.add_each(
            compared(encoder, case, [size for size in plan.sizes if size <= model.max_batch_size])
        )


def message(model: str, feeds: Feeds) -> bytes:
    """A serialized call, made once; its `lengths` are [N, 1]."""
    request = service_pb2.ModelInferRequest(model_name=model)
    for name, array in feeds.items():
        shape = [*array.shape, 1] if array.ndim == 1 else array.shape
        kind = "UINT8" if array.dtype == np.uint8 else "INT32"
        request.inputs.add(name=name, datatype=kind, shape=shape)
        request.raw_input_contents.append(np.ascontiguousarray(array).tobytes())
    request.outputs.add(name="embedding")
    return bytes(request.SerializeToString())
