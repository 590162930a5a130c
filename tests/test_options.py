"""What is no setting follows the settings where a larger one would be of no use without it."""

from __future__ import annotations

import pytest

from clipserve.application.limits import RequestLimits
from clipserve.clip.images import ImageLimits
from clipserve.clip.manifest import ModelManifest
from clipserve.cores import usable_cores
from clipserve.demo import FOLDER as DEMO
from clipserve.engine.batch_queue import BatchPolicy
from clipserve.engine.batching import DynamicBatcher
from clipserve.engine.choice import EngineOptions, choose_engine
from clipserve.engine.onnx import OnnxEngine
from clipserve.settings import ModelSettings, Settings
from clipserve.telemetry.metrics import Metrics
from clipserve.wiring.options import GatewayOptions
from loadtests.fake_backend import FakeBackend


def test_with_more_labels_as_much_more_text_may_come_and_with_fewer_no_less() -> None:
    usual = RequestLimits()
    for labels, times in ((10, 1), (1_000, 1), (5_000, 5)):
        limits = GatewayOptions.of(Settings(max_labels=labels)).limits.requests
        assert limits.max_labels == labels
        assert limits.max_label_bytes == times * usual.max_label_bytes
        assert limits.max_prompts_chars == times * usual.max_prompts_chars


def test_a_photo_of_any_size_may_be_progressive() -> None:
    assert ModelSettings().image_limits() == ImageLimits()
    assert ModelSettings(max_pixels=10**8).image_limits().max_scan_pixels == 10**9
    assert ModelSettings(max_pixels=10).image_limits().max_scan_pixels == ImageLimits.max_scan_pixels


@pytest.mark.parametrize(("body", "json"), [(1_000, 10**6), (20_000_000, 10**6), (100_000_000, 5 * 10**6)])
def test_a_twentieth_of_a_body_may_be_json(body: int, json: int) -> None:
    options = GatewayOptions.of(Settings(max_body_bytes=body))
    assert options.rest.max_json_bytes == options.rpc.max_json_bytes == json


@pytest.mark.parametrize(
    ("threads", "workers", "whole"), [(0, 1, True), (usable_cores(), 1, True), (1, usable_cores(), True)]
)
def test_threads_spin_where_no_core_is_left_to_others(threads: int, workers: int, whole: bool) -> None:
    assert spins(threads, workers) == whole


def test_threads_do_not_spin_where_a_core_is_left_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipserve.engine.choice.usable_cores", lambda: 8)
    assert not spins(7, 1)
    assert spins(4, 2)


def spins(threads: int, workers: int) -> bool:
    manifest = ModelManifest.model_validate_json((DEMO / "model.json").read_text())
    engine = choose_engine(DEMO, manifest, EngineOptions("onnx", False, threads, workers), dict)
    assert isinstance(engine, OnnxEngine)
    return engine._options.spinning


@pytest.mark.parametrize(("servers", "calls"), [(0, 4), (1, 4), (3, 12)])
async def test_calls_at_a_time_are_those_for_each_server_that_there_is_at_the_start(
    servers: int, calls: int
) -> None:
    metrics, backend = Metrics(), FakeBackend(4)
    policy = BatchPolicy(8, concurrency=4, servers=lambda: servers)
    batcher = DynamicBatcher("image", backend.encode_image, policy, metrics)
    batcher.start()
    assert metrics.registry.get_sample_value("clipserve_workers", {"tower": "image"}) == calls
    await batcher.aclose()
