"""What Prometheus is told of Triton servers."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from clipserve.telemetry.instruments import Instruments
from clipserve.telemetry.triton_metrics import EndpointMetrics, TritonMetrics

A, B = "10.0.0.1:8001", "10.0.0.2:8001"


def added(metrics: TritonMetrics, server: str, model: str = "demo", rows: int = 0) -> EndpointMetrics:
    return metrics.add(server, model, up=lambda: True, rows=lambda: rows, shared_bytes=lambda: 0)


def test_sums_of_triton_s_time_are_counters_of_each_server() -> None:
    registry = CollectorRegistry()
    metrics = TritonMetrics(Instruments(registry))
    for server, seconds in ((A, 2.5), (B, 0.5)):
        endpoint = added(metrics, server)
        endpoint.phases["demo_image", "queue"] = 0.1
        endpoint.phases["demo_image", "queue"] = seconds
    families = {family.name: family for family in text_string_to_metric_families(_text(registry))}
    phases = families["clipserve_triton_phase_seconds"]
    assert phases.type == "counter"
    assert {sample.labels["endpoint"]: sample.value for sample in phases.samples} == {A: 2.5, B: 0.5}


def test_two_models_on_one_server_are_up_each_and_owe_rows_together() -> None:
    registry = CollectorRegistry()
    metrics = TritonMetrics(Instruments(registry))
    added(metrics, A, "demo", rows=3)
    added(metrics, A, "other", rows=4)
    assert registry.get_sample_value("clipserve_triton_endpoint_up", {"endpoint": A, "model": "other"}) == 1
    assert registry.get_sample_value("clipserve_triton_endpoint_rows", {"endpoint": A}) == 7


def test_the_series_of_a_server_end_when_the_last_model_lets_go_of_it() -> None:
    registry = CollectorRegistry()
    metrics = TritonMetrics(Instruments(registry))
    first, second, other = added(metrics, A, "demo"), added(metrics, A, "other"), added(metrics, B)
    for endpoint in (first, second, other):
        endpoint.answered("text", 0.01)
    first.close()
    labels = {"endpoint": A, "tower": "text"}
    assert registry.get_sample_value("clipserve_triton_endpoint_seconds_count", labels) == 2
    assert registry.get_sample_value("clipserve_triton_endpoint_rows", {"endpoint": A}) == 0
    second.close()
    assert A not in _text(registry)
    assert B in _text(registry)


def test_an_answer_that_comes_after_the_end_brings_no_series_back() -> None:
    registry = CollectorRegistry()
    endpoint = added(TritonMetrics(Instruments(registry)), A)
    endpoint.close()
    endpoint.answered("image", 0.1)
    assert A not in _text(registry)


def test_calls_of_a_few_milliseconds_are_told_apart() -> None:
    registry = CollectorRegistry()
    added(metrics := TritonMetrics(Instruments(registry)), A).answered("text", 0.002)
    labels = {"endpoint": A, "tower": "text"}
    for bound, count in (("0.001", 0), ("0.0025", 1), ("0.005", 1)):
        name = "clipserve_triton_endpoint_seconds_bucket"
        assert registry.get_sample_value(name, labels | {"le": bound}) == count
    assert metrics


def _text(registry: CollectorRegistry) -> str:
    return generate_latest(registry).decode()
