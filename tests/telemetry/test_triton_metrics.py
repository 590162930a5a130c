"""What Prometheus is told of Triton servers."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from clipserve.telemetry.triton_metrics import ServerState, TritonMetrics

A, B = "10.0.0.1:8001", "10.0.0.2:8001"


def added(
    metrics: TritonMetrics, endpoint: str, model: str = "demo", rows: int = 0
) -> Mapping[str, Histogram]:
    return metrics.add(endpoint, model, lambda: ServerState(True, rows, {}))


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> TritonMetrics:
    return TritonMetrics(registry)


def test_sums_of_triton_s_time_are_counters_of_each_server(
    registry: CollectorRegistry, metrics: TritonMetrics
) -> None:
    for endpoint, seconds in ((A, 2.5), (B, 0.5)):
        state = ServerState(True, 0, {("demo_image", "queue"): seconds})
        metrics.add(endpoint, "demo", lambda state=state: state)  # type: ignore[misc]
    families = {family.name: family for family in text_string_to_metric_families(_text(registry))}
    phases = families["clipserve_triton_phase_seconds"]
    assert phases.type == "counter"
    assert {sample.labels["endpoint"]: sample.value for sample in phases.samples} == {A: 2.5, B: 0.5}


def test_two_models_on_one_server_are_up_each_and_owe_rows_together(
    registry: CollectorRegistry, metrics: TritonMetrics
) -> None:
    added(metrics, A, "demo", rows=3)
    added(metrics, A, "other", rows=4)
    assert registry.get_sample_value("clipserve_triton_endpoint_up", {"endpoint": A, "model": "other"}) == 1
    assert registry.get_sample_value("clipserve_triton_endpoint_rows", {"endpoint": A}) == 7


def test_the_series_of_a_server_end_when_the_last_model_lets_go_of_it(
    registry: CollectorRegistry, metrics: TritonMetrics
) -> None:
    for endpoint, model in ((A, "demo"), (A, "other"), (B, "demo")):
        added(metrics, endpoint, model)["text"].observe(0.01)
    metrics.remove(A, "demo")
    labels = {"endpoint": A, "tower": "text"}
    assert registry.get_sample_value("clipserve_triton_endpoint_seconds_count", labels) == 2
    assert registry.get_sample_value("clipserve_triton_endpoint_rows", {"endpoint": A}) == 0
    metrics.remove(A, "other")
    assert A not in _text(registry)
    assert B in _text(registry)


def test_an_answer_that_comes_after_the_end_brings_no_series_back(
    registry: CollectorRegistry, metrics: TritonMetrics
) -> None:
    seconds = added(metrics, A)
    metrics.remove(A, "demo")
    seconds["image"].observe(0.1)
    assert A not in _text(registry)


def _text(registry: CollectorRegistry) -> str:
    return generate_latest(registry).decode()
