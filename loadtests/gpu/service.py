"""Checks the service on the device: the engine that it reports, its rate, and its scores against the CPU's."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from loadtests import closed_loop
from loadtests.bodies import classify, embed, embed_many
from loadtests.client import ask
from loadtests.gpu.encoders import Plan, Variant
from loadtests.gpu.findings import Findings, Line
from loadtests.gpu.inputs import jpegs
from loadtests.observe import read
from loadtests.process import Server, started

_LABELS = ["a photo of a cat", "a dog", "a red car", "the sea at night", "an old house"]
_ASKED = 12  # images that both services classify
_MOST_APART = {"fp32": 1e-3, "fp16": 1e-2}  # of two scores
_IN_A_REQUEST = 16
_ROOM = str(2**30)  # bytes in flight: all clients have one address
_PATIENT = {"max_queue_seconds": "60", "max_in_flight_bytes": _ROOM, "max_in_flight_bytes_per_address": _ROOM}

Scores = dict[str, float]  # by label


def measured(findings: Findings, variant: Variant, plan: Plan) -> None:
    """Start the service on the device and on the CPU, one after the other."""
    images, name = jpegs(max(_ASKED, _IN_A_REQUEST)), variant.precision
    with _service(variant.folder, "cuda" if variant.cuda else "cpu") as server:
        named = (
            dict(labels) for name, labels in read(server.metrics_url or "") if name.endswith("model_info")
        )
        engine = next(named, {}).get("engine", "unknown")
        expected = "onnxruntime-cuda" if variant.cuda else "onnxruntime"
        findings.add(Line("service", f"{name}, engine", engine, expected, engine == expected))
        answers = [_scores(server, image) for image in images[:_ASKED]]
        for call, rows in ((embed(images[0]), 1), (embed_many(images[:_IN_A_REQUEST]), _IN_A_REQUEST)):
            load = closed_loop.run(server.url, call, plan.clients, 4 * plan.seconds)
            latencies = {"p50 ms": 1000 * load.percentile(0.5), "p99 ms": 1000 * load.percentile(0.99)}
            rates = {"in a request": rows, "JPEG/s": load.goodput() * rows, **latencies}
            others = {"not answered": len(load.answers) - len(load.good), "client's cores": load.client_cores}
            findings.add_speed(service=name, clients=plan.clients, **rates, **others)
    with _service(variant.folder, "cpu") as server:
        on_cpu = [_scores(server, image) for image in images[:_ASKED]]
    findings.add(*_same(name, answers, on_cpu))


def _service(artifact: Path, device: str) -> AbstractContextManager[Server]:
    return started("clipserve", models=str(artifact), device=device, backend="onnx", **_PATIENT)


def _same(name: str, answers: Sequence[Scores], on_cpu: Sequence[Scores]) -> list[Line]:
    pairs = list(zip(answers, on_cpu, strict=True))
    apart = max(abs(one[label] - two[label]) for one, two in pairs for label in one)
    firsts = sum(max(one, key=one.__getitem__) == max(two, key=two.__getitem__) for one, two in pairs)
    bound, what = _MOST_APART[name], f"{name}, /classify against the CPU's"
    return [
        Line("service", f"{what}, same first label", f"{firsts} of {_ASKED}", f"{_ASKED}", firsts == _ASKED),
        Line("service", f"{what}, scores apart", f"{apart:.6f}", f"<= {bound}", apart <= bound),
    ]


def _scores(server: Server, image: bytes) -> Scores:
    (result,) = ask(server.url, classify(image, _LABELS))["results"]
    return {each["label"]: each["score"] for each in result["labels"]}
