"""Checks encoders on a running Triton: their vectors, and the rates of gateways in front.

Of Triton alone perf_analyzer measures the rates (docs/triton.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc

from clipserve.clip.artifact import read_manifest
from clipserve.engine.backend import Embeddings
from clipserve.engine.triton.contract import FINGERPRINT, TOWERS, triton_model
from loadtests.bodies import embed
from loadtests.gpu.encoders import Encoder, Variant, compared
from loadtests.gpu.findings import Findings, Line
from loadtests.gpu.inputs import Case, Feeds, jpegs
from loadtests.gpu.rates import Plan, figures, gpu_use, keeps_up, load_of
from loadtests.observe import cpu_seconds_of_all, read
from loadtests.process import PATIENT, started

_INFER = "/inference.GRPCInferenceService/ModelInfer"
_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
_PATIENCE = 60  # timeout of a call in seconds: a server that hangs is a failed line
_COUNTERS = {
    "nv_inference_count_total": "rows",
    "nv_inference_exec_count_total": "executions",
}


@dataclass(frozen=True)
class Served:
    """A Triton, its variant, and its models by encoder. `url`: gRPC host:port."""

    url: str
    metrics_url: str
    variant: Variant
    models: dict[str, Any]

    @property
    def name(self) -> str:
        return f"Triton {self.variant.precision}"


def found(url: str, metrics_url: str, variants: Sequence[Variant]) -> Served:
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
            return Served(url, metrics_url, variant, models)
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


def gateways(findings: Findings, served: Served, number: int, plan: Plan) -> None:
    """Measure JPEG in, vectors out, through so many gateways, each with its own clients."""
    own = {"models": str(served.variant.folder), "backend": "triton", "triton_url": served.url}
    call = embed(jpegs(1)[0])
    with ExitStack() as stack:
        servers = [stack.enter_context(started("clipserve", **own, **PATIENT)) for _ in range(number)]
        urls, pids = [server.url for server in servers], [server.pid or 0 for server in servers]
        load_of(urls, call, plan.clients, min(plan.seconds, 2.0))  # caches, pages, clocks
        before, cpu = counted(served.metrics_url), sum(map(cpu_seconds_of_all, pids))
        with gpu_use() as used:
            load = load_of(urls, call, plan.clients, 4 * plan.seconds)
        spent = 1000 * (sum(map(cpu_seconds_of_all, pids)) - cpu) / max(1, len(load.answers))
    grown = {what: value - before.get(what, 0.0) for what, value in counted(served.metrics_url).items()}
    executed = grown["rows"] / max(1.0, grown["executions"])
    rate: dict[str, Any] = {"JPEG/s": load.goodput(), **figures(load, number), "gateway's CPU ms": spent}
    rate |= {"rows an execution": executed, **used}
    findings.add_speed(encoder=served.name, gateways=number, clients=number * plan.clients, **rate)
    what = f"rows an execution, {number} gateways"
    findings.add(
        Line(served.name, what, f"{executed:.1f}", "> 1", executed > 1),
        keeps_up(served.name, f"JPEG, {number} gateways", load.client_cores / number),
    )


def counted(metrics_url: str) -> dict[str, float]:
    """Triton's counts of the image encoder since its start: rows, executions."""
    return {
        _COUNTERS[name]: value
        for (name, labels), value in read(metrics_url).items()
        if name in _COUNTERS and dict(labels).get("model", "").endswith("_image")
    }
