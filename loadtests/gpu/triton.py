"""Checks encoders on a running Triton: their vectors, Triton's rates, and the rates of gateways in front."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc

from clipserve.clip.artifact import IMAGE_GRAPH, read_manifest
from clipserve.engine.backend import Embeddings
from clipserve.engine.triton.contract import CALL_ROWS, FINGERPRINT, TOWERS, triton_model
from loadtests.bodies import embed
from loadtests.closed_loop import calls_per_second
from loadtests.gpu.agreement import Encoder, compared
from loadtests.gpu.findings import Findings, Line
from loadtests.gpu.inputs import Case, Feeds, count, jpegs, part
from loadtests.gpu.rates import Plan, figures, gpu_use, in_processes, keeps_up, load_of
from loadtests.gpu.sessions import Variant
from loadtests.observe import cpu_seconds_of_all
from loadtests.process import started
from loadtests.prometheus import read

_INFER = "/inference.GRPCInferenceService/ModelInfer"
_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
_IN_FLIGHT = 8  # calls: two for each of Triton's instances, and as many in transit
_PATIENCE = 60  # timeout of a call in seconds: a server that hangs is a failed line
_COUNTERS = {
    "nv_inference_count_total": "rows",
    "nv_inference_exec_count_total": "executions",
    "nv_inference_compute_infer_duration_us_total": "computing",
    "nv_inference_request_success_total": "requests",
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


def rates(findings: Findings, served: Served, case: Case, plan: Plan) -> None:
    """Measure full calls of a gateway, as fast as Triton accepts them."""
    model = served.models[case.graph.removesuffix(".onnx")]
    full = part(case.feeds, min(model.max_batch_size, CALL_ROWS["text" if "text" in case.graph else "image"]))
    call = (served.url, message(model.name, full), plan.seconds)
    before = counted(served.metrics_url, case.graph)
    with gpu_use() as used:
        sent = in_processes(send, [call] * plan.senders)
    did = since(before, counted(served.metrics_url, case.graph))
    rate, busiest = sum(calls for calls, _ in sent) * count(full), max(share for _, share in sent)
    findings.add_speed(encoder=served.name, what=case.name, **{"rows/s": rate}, **did, **used)
    findings.add(keeps_up(served.name, f"{case.name}, {plan.senders} senders", busiest))


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


def send(url: str, call: bytes, seconds: float) -> tuple[float, float]:
    """Send several calls at a time; return calls a second and the cores that sending took."""
    with grpc.insecure_channel(url, _OPTIONS) as channel:
        infer = channel.unary_unary(_INFER)
        infer(call, timeout=_PATIENCE)
        cpu, began = time.process_time(), time.perf_counter()
        rate = calls_per_second(lambda: infer(call, timeout=_PATIENCE), seconds, _IN_FLIGHT)
        return rate, (time.process_time() - cpu) / (time.perf_counter() - began)


def gateways(findings: Findings, served: Served, number: int, plan: Plan) -> None:
    """Measure JPEG in, vectors out, through so many gateways, each with its own clients."""
    own = {"models": str(served.variant.folder), "backend": "triton", "triton_url": served.url}
    call = embed(jpegs(1)[0])
    with ExitStack() as stack:
        patient = {"max_queue_seconds": "60", "deadline_seconds": "60"}
        servers = [stack.enter_context(started("clipserve", **own, **patient)) for _ in range(number)]
        urls, pids = [server.url for server in servers], [server.pid or 0 for server in servers]
        load_of(urls, call, plan.clients, min(plan.seconds, 2.0))  # caches, pages, clocks
        before, cpu = counted(served.metrics_url, IMAGE_GRAPH), sum(map(cpu_seconds_of_all, pids))
        with gpu_use() as used:
            load = load_of(urls, call, plan.clients, 4 * plan.seconds)
        spent = 1000 * (sum(map(cpu_seconds_of_all, pids)) - cpu) / max(1, len(load.answers))
    did = since(before, counted(served.metrics_url, IMAGE_GRAPH))
    rate = {"JPEG/s": load.goodput(), **figures(load, number), "gateway's CPU ms": spent}
    findings.add_speed(
        encoder=served.name, gateways=number, clients=number * plan.clients, **rate, **did, **used
    )
    rows, what = did["rows an execution"], f"rows an execution, {number} gateways"
    findings.add(
        Line(served.name, what, f"{rows:.1f}", "> 1", rows > 1),
        keeps_up(served.name, f"JPEG, {number} gateways", load.client_cores / number),
    )


def counted(metrics_url: str, graph: str) -> dict[str, float]:
    """Triton's counts of one encoder since its start: rows, executions, requests, microseconds of computing."""
    suffix = f"_{graph.removesuffix('.onnx')}"
    return {
        _COUNTERS[name]: value
        for (name, labels), value in read(metrics_url).items()
        if name in _COUNTERS and dict(labels).get("model", "").endswith(suffix)
    }


def since(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """The work of an encoder since `before`. `rows/s of computing`: of one instance, of computing time alone."""
    grown = {what: after.get(what, 0.0) - before.get(what, 0.0) for what in _COUNTERS.values()}
    executions = max(1.0, grown["executions"])
    # Triton counts the time of an execution once for each of its requests.
    own = grown["computing"] / 1e6 / max(1.0, grown["requests"] / executions)
    return {
        "rows an execution": grown["rows"] / executions,
        "ms of computing an execution": own / executions * 1000,
        "rows/s of computing": grown["rows"] / own if own else 0.0,
    }
