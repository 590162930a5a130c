"""Checks encoders on a running Triton: their vectors, Triton's rates, and the rates of gateways in front.

`generator` measures what the check's senders can send, which is the most that it can measure.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Annotated, Any

import grpc
import numpy as np
import typer
from tritonclient.grpc import service_pb2, service_pb2_grpc

from clipserve.clip.artifact import IMAGE_GRAPH, read_manifest
from clipserve.clip.manifest import GPU_TEXT_BUCKETS
from clipserve.clip.tokenizer import load_tokenizer
from clipserve.engine.backend import Embeddings
from clipserve.engine.triton.contract import CALL_ROWS, FINGERPRINT, TOWERS, Tower, triton_model
from loadtests.bodies import embed
from loadtests.closed_loop import calls_per_second
from loadtests.commands import DEMO, Seconds
from loadtests.gpu.encoders import Encoder, compared
from loadtests.gpu.findings import Findings, Line
from loadtests.gpu.inputs import Case, Feeds, count, jpegs, part, pixels, texts
from loadtests.gpu.rates import Plan, figures, gpu_use, in_processes, keeps_up, load_of
from loadtests.gpu.sessions import Variant
from loadtests.observe import cpu_seconds_of_all
from loadtests.process import PATIENT, fake_triton, started
from loadtests.prometheus import read
from loadtests.report import table

_INFER = "/inference.GRPCInferenceService/ModelInfer"
_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
_IN_FLIGHT = 8  # calls: two for each of Triton's instances, and as many in transit
_PATIENCE = 60  # timeout of a call in seconds: a server that hangs is a failed line
_SHARED = "clipserve_triton_shared_memory_bytes"
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
        graphs = any(model.optimization.cuda.graphs for model in self.models.values())
        return f"Triton {self.variant.precision}{', CUDA graphs' * graphs}"


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


def graphs(findings: Findings, served: Served, case: Case, plan: Plan) -> None:
    """Compare single calls of a number of rows that has a CUDA graph with those of a row less, without one."""
    model = served.models[case.graph.removesuffix(".onnx")]
    captured = {spec.batch_size for spec in model.optimization.cuda.graph_spec}
    rows = max((size for size in captured if 2 < size <= 8 and size - 1 not in captured), default=0)
    if rows:
        calls = (message(model.name, part(case.feeds, each)) for each in (rows, rows - 1))
        graph, none = (send(served.url, call, plan.seconds, 1)[0] for call in calls)
        what = f"{case.name}, a call of {rows} rows as a CUDA graph against {rows - 1} without"
        findings.add(Line(served.name, what, f"{graph / none:.2f}", "> 1", graph > none))


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


def send(url: str, call: bytes, seconds: float, at_a_time: int = _IN_FLIGHT) -> tuple[float, float]:
    """Send calls, several at a time; return calls a second and the cores that sending took."""
    with grpc.insecure_channel(url, _OPTIONS) as channel:
        infer = channel.unary_unary(_INFER)
        infer(call, timeout=_PATIENCE)
        cpu, began = time.process_time(), time.perf_counter()
        rate = calls_per_second(lambda: infer(call, timeout=_PATIENCE), seconds, at_a_time)
        return rate, (time.process_time() - cpu) / (time.perf_counter() - began)


def gateways(findings: Findings, served: Served, number: int, plan: Plan) -> None:
    """Measure JPEG in, vectors out, through so many gateways, each with its own clients."""
    own = {"models": str(served.variant.folder), "backend": "triton", "triton_url": served.url}
    call = embed(jpegs(1)[0])
    with ExitStack() as stack:
        servers = [stack.enter_context(started("clipserve", **own, **PATIENT)) for _ in range(number)]
        urls, pids = [server.url for server in servers], [server.pid or 0 for server in servers]
        load_of(urls, call, plan.clients, min(plan.seconds, 2.0))  # caches, pages, clocks
        before, cpu = counted(served.metrics_url, IMAGE_GRAPH), sum(map(cpu_seconds_of_all, pids))
        with gpu_use() as used:
            load = load_of(urls, call, plan.clients, 4 * plan.seconds)
        shared = sum(shared_bytes(server.metrics_url or "") for server in servers) / 1e6
        spent = 1000 * (sum(map(cpu_seconds_of_all, pids)) - cpu) / max(1, len(load.answers))
    did = since(before, counted(served.metrics_url, IMAGE_GRAPH))
    rate = {"JPEG/s": load.goodput(), **figures(load, number), "gateway's CPU ms": spent, "MB shared": shared}
    findings.add_speed(
        encoder=served.name, gateways=number, clients=number * plan.clients, **rate, **did, **used
    )
    rows, what = did["rows an execution"], f"rows an execution, {number} gateways"
    findings.add(
        Line(served.name, what, f"{rows:.1f}", "> 1", rows > 1),
        keeps_up(served.name, f"JPEG, {number} gateways", load.client_cores / number),
    )


def shared_bytes(metrics_url: str) -> float:
    """Memory that a gateway shares with Triton for pixels; 0: it sends them over gRPC."""
    return sum(value for (name, _), value in read(metrics_url).items() if name == _SHARED)


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


def generator(
    senders: Annotated[int, typer.Option(help="Processes that send.")] = 2, seconds: Seconds = 5.0
) -> None:
    """Rows a second that gpu-check's generators can send, to a fake Triton, and their CPU time a row."""
    manifest = read_manifest(DEMO)
    length, size = min(manifest.text.lengths_of(GPU_TEXT_BUCKETS)), manifest.image.size
    short = texts(CALL_ROWS["text"], length, load_tokenizer(DEMO, manifest.text))
    sent: dict[Tower, tuple[str, Feeds]] = {
        "text": (f"{length} tokens", short),
        "image": (f"{size} x {size}", pixels(CALL_ROWS["image"], size)),
    }
    rows = []
    with fake_triton(DEMO) as triton:
        for tower, (of, feeds) in sent.items():
            call = (triton.url, message(triton_model(manifest, tower), feeds), seconds)
            found = in_processes(send, [call] * senders)
            rate, cores = (sum(each) for each in zip(*found, strict=True))
            rate *= count(feeds)
            rows.append(
                [f"{tower}s of {of}", str(count(feeds)), f"{rate:,.0f}", f"{1e6 * cores / rate:,.1f}"]
            )
    head = ("", "rows in a call", "rows/s", "CPU microseconds a row")
    about = f"{senders} senders on {len(os.sched_getaffinity(0))} cores, which the fake Triton shares"
    typer.echo(f"{table(head, rows)}\n\n{about}; target: >= 10,000 texts/s.")
