"""The engine OpenVINO: its requests for inference."""

from __future__ import annotations

import numpy as np
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
        assert engine.call(IMAGE_GRAPH, FEEDS).run().shape[0] == 2


def test_a_call_that_has_ended_cancels_nobody_s_request(engine: OpenVinoEngine) -> None:
    ended, next_one = engine.call(IMAGE_GRAPH, FEEDS), engine.call(IMAGE_GRAPH, FEEDS)
    vectors = ended.run()
    ended.cancel()
    np.testing.assert_array_equal(next_one.run(), vectors)


def test_a_failed_call_gives_its_request_back(engine: OpenVinoEngine) -> None:
    with pytest.raises(RuntimeError, match="incompatible"):
        engine.call(IMAGE_GRAPH, {"pixels": FEEDS["pixels"][:, :8]}).run()
    assert engine.call(IMAGE_GRAPH, FEEDS).run().shape[0] == 2
