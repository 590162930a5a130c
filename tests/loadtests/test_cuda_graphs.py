"""What gpu-check says of CUDA graphs, in process and on Triton: held, refuted or failed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from clipserve.clip.artifact import read_manifest
from clipserve.demo import FOLDER as DEMO
from clipserve_models.triton_config import config
from clipserve_models.triton_options import DEFAULTS, options_of
from clipserve_models.triton_towers import towers
from loadtests.gpu import encoders, inputs
from loadtests.gpu.findings import Findings, Line
from loadtests.gpu.inputs import Case
from loadtests.gpu.rates import Plan
from loadtests.gpu.sessions import Bound, Variant, run
from loadtests.gpu.triton import Served, graphs


class Memory:
    """In the place of calls with bound memory: `made` calls a second, and vectors of the right or of other rows."""

    expected = np.eye(4, dtype=np.float32)
    stale = False

    def __init__(self, session: object, feeds: dict[str, Any], *, cuda: bool) -> None:
        self._first = feeds

    def compute_only(self) -> None:
        pass

    def with_copies(self, feeds: dict[str, Any]) -> Any:
        return self.expected[(self._first if self.stale else feeds)["pixels"][:, 0]]


@pytest.mark.parametrize(
    ("made", "stale", "passed"), [(120.0, False, [True, True]), (80.0, True, [False, False])]
)
def test_a_cuda_graph_is_faster_and_computes_what_it_is_given(
    monkeypatch: pytest.MonkeyPatch, made: float, stale: bool, passed: list[bool]
) -> None:
    """It is captured with the first row, and then given the last: one that repeats itself is refuted."""
    asked = list[bool]()
    monkeypatch.setattr(Variant, "session", lambda *_, cuda_graph: asked.append(cuda_graph))
    monkeypatch.setattr(encoders, "Bound", Memory)
    monkeypatch.setattr(Memory, "stale", stale)
    monkeypatch.setattr(encoders, "calls_per_second", lambda *_: made)
    case = Case("image", "image.onnx", {"pixels": np.arange(4)[:, None]}, Memory.expected, None)
    lines = list(encoders.graphed(Variant("fp32", DEMO, cuda=True), case, 1, 100.0, 0.0))
    assert asked == [True]
    assert [line.passed for line in lines] == passed
    assert lines[0].what == "image, CUDA graph of 1 rows against none"


def test_a_session_without_cuda_graphs_is_a_line_and_the_rates_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def session(*_: object, cuda_graph: bool = False) -> None:
        if cuda_graph:
            raise RuntimeError("not all nodes are on CUDA")

    monkeypatch.setattr(Variant, "session", session)
    rates = {"run": 100.0, "two at a time": 110.0, "without copies": 200.0}
    monkeypatch.setattr(encoders, "_calls_per_second", lambda *_, **__: rates)
    findings = Findings(tmp_path / "check.json")
    case = Case("image", "image.onnx", {"pixels": np.zeros((8, 1))}, np.zeros(0, np.float32), None)
    encoders.rates(findings, Variant("fp16", DEMO, cuda=True), case, Plan([1, 8], 0.0, 1, 1))
    assert [(line.what, line.value) for line in findings.failed if "graph" in line.what] == [
        (f"image, CUDA graph of {rows} rows", "RuntimeError: not all nodes are on CUDA") for rows in (1, 8)
    ]
    assert [speed["rows"] for speed in findings.speeds] == [1, 8]


@pytest.mark.parametrize("graph_is", [1.3, 0.8])
def test_cuda_graphs_on_triton_are_compared_with_calls_of_a_row_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, graph_is: float
) -> None:
    options = options_of("tensorrt", cuda_graphs=True)
    manifest = read_manifest(DEMO)
    image, _ = towers(manifest, options)
    variant, plan = Variant("fp16", DEMO, cuda=False), Plan([1], 0.0, 1, 1)
    case = Case("image", "image.onnx", inputs.pixels(8, 8), np.zeros(0, np.float32), None)
    findings = Findings(tmp_path / "check.json")
    sent = list[int]()

    def send(_: str, call: bytes, __: float, at_a_time: int) -> tuple[float, float]:
        assert at_a_time == 1, "Triton merges calls"
        sent.append(service_pb2.ModelInferRequest.FromString(call).inputs[0].shape[0])
        return (100 * graph_is if sent[-1] == 8 else 100.0), 0.1

    monkeypatch.setattr("loadtests.gpu.triton.send", send)
    plain = Served("", "", variant, {"image": config(manifest, image, DEFAULTS["tensorrt"])})
    graphs(findings, plain, case, plan)
    assert (plain.name, findings.lines) == ("Triton fp16", [])
    served = Served("", "", variant, {"image": config(manifest, image, options)})
    graphs(findings, served, case, plan)
    (line,) = findings.lines
    assert sent == [8, 7]
    assert line == Line(
        "Triton fp16, CUDA graphs",
        "image, a call of 8 rows as a CUDA graph against 7 without",
        f"{graph_is:.2f}",
        "> 1",
        graph_is > 1,
    )


def test_bound_memory_takes_new_inputs_at_the_same_place() -> None:
    """On the CPU, with two rows, as a session with a CUDA graph is run."""
    variant, feeds = Variant("fp32", DEMO, cuda=False), inputs.pixels(4, 256)
    bound = Bound(variant.session("image.onnx"), inputs.part(feeds, 2), cuda=False)
    first, last = (bound.with_copies(inputs.part(feeds, 2, start)).copy() for start in (0, 2))
    expected = run(variant.session("image.onnx"), feeds)
    assert float(encoders.cosines(np.concatenate([first, last]), expected).min()) > 0.99999
