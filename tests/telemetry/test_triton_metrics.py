"""What Prometheus is told of Triton servers."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from clipserve.telemetry.triton_metrics import OfServer, TritonMetrics

A, B = "10.0.0.1:8001", "10.0.0.2:8001"


def added(metrics: TritonMetrics, endpoint: str, model: str = "demo") -> OfServer:
    return metrics.add(endpoint, model, lambda: True)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> TritonMetrics:
    return TritonMetrics(registry)


def test_two_models_on_one_server_are_up_each_and_owe_rows_together(
    registry: CollectorRegistry, metrics: TritonMetrics
) -> None:
    added(metrics, A, "demo").rows.inc(3)
    added(metrics, A, "other").rows.inc(4)
    assert registry.get_sample_value("clipserve_triton_endpoint_up", {"endpoint": A, "model": "other"}) == 1
    assert registry.get_sample_value("clipserve_triton_endpoint_rows", {"endpoint": A}) == 7


def test_the_series_of_a_server_end_when_the_last_model_lets_go_of_it(
    registry: CollectorRegistry, metrics: TritonMetrics
) -> None:
    servers = [added(metrics, *each) for each in ((A, "demo"), (A, "other"), (B, "demo"))]
    for each in servers:
        each.seconds["text"].observe(0.01)
    metrics.remove(A, "demo")
    labels = {"endpoint": A, "tower": "text"}
    assert registry.get_sample_value("clipserve_triton_endpoint_seconds_count", labels) == 2
    assert registry.get_sample_value("clipserve_triton_endpoint_rows", {"endpoint": A}) == 0
    metrics.remove(A, "other")
    servers[0].seconds["image"].observe(0.1)  # an answer that comes after the end
    servers[0].rows.inc(-1)
    assert A not in _text(registry)
    assert B in _text(registry)


def _text(registry: CollectorRegistry) -> str:
    return generate_latest(registry).decode()
