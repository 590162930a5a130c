"""The engine OpenVINO: its requests for inference."""

from __future__ import annotations

import openvino as ov
import pytest

from clipserve.clip.artifact import IMAGE_GRAPH, read_manifest
from clipserve.clip.reference import reference_pixels
from clipserve.demo import FOLDER as DEMO
from clipserve.engine.backends.openvino import OpenVinoEngine
from clipserve.engine.in_process import Feeds

FEEDS: Feeds = {"pixels": reference_pixels(read_manifest(DEMO).image.size)}  # [2, S, S, 3]


@pytest.fixture(scope="module")
def engine() -> OpenVinoEngine:
    engine = OpenVinoEngine(DEMO, threads=1)
    engine.load()
    return engine


def test_a_call_makes_no_request_because_that_waits_for_a_free_stream(
    engine: OpenVinoEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a request is made")

    monkeypatch.setattr(ov.CompiledModel, "create_infer_request", refuse)
    for _ in range(3):
        assert engine.run(IMAGE_GRAPH, FEEDS).shape[0] == 2


def test_a_failed_call_gives_its_request_back(engine: OpenVinoEngine) -> None:
    with pytest.raises(RuntimeError, match="incompatible"):
        engine.run(IMAGE_GRAPH, {"pixels": FEEDS["pixels"][:, :8]})
    assert engine.run(IMAGE_GRAPH, FEEDS).shape[0] == 2
