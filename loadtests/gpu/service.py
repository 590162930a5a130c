"""Checks the service on the device: the engine that it reports, and its scores against the CPU's."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from loadtests.bodies import classify
from loadtests.client import ask
from loadtests.gpu.encoders import Variant
from loadtests.gpu.findings import Findings, Line
from loadtests.gpu.inputs import jpegs
from loadtests.observe import read
from loadtests.process import Server, started

_LABELS = ["a photo of a cat", "a dog", "a red car", "the sea at night", "an old house"]
_ASKED = 12  # images that both services classify
_MOST_APART = {"fp32": 1e-3, "fp16": 1e-2}  # of two scores

Scores = dict[str, float]  # by label


def checked(findings: Findings, variant: Variant) -> None:
    """Start the service on the device and on the CPU, one after the other."""
    images, name = jpegs(_ASKED), variant.precision
    with _service(variant.folder, "cuda" if variant.cuda else "cpu") as server:
        named = (
            dict(labels) for name, labels in read(server.metrics_url or "") if name.endswith("model_info")
        )
        engine = next(named, {}).get("engine", "unknown")
        expected = "onnxruntime-cuda" if variant.cuda else "onnxruntime"
        findings.add([Line("service", f"{name}, engine", engine, expected, engine == expected)])
        answers = [_scores(server, image) for image in images]
    with _service(variant.folder, "cpu") as server:
        on_cpu = [_scores(server, image) for image in images]
    findings.add(_same(name, answers, on_cpu))


def _service(artifact: Path, device: str) -> AbstractContextManager[Server]:
    return started("clipserve", models=str(artifact), device=device, backend="onnx")


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
