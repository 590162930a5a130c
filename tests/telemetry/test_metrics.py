"""What Prometheus is told."""

from __future__ import annotations

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from service.telemetry.metrics import Metrics


def exposed(metrics: Metrics) -> dict[str, str]:
    """Name -> type."""
    text = generate_latest(metrics.registry).decode()
    return {family.name: family.type for family in text_string_to_metric_families(text)}


def test_the_process_tells_its_memory_cpu_and_open_files() -> None:
    names = exposed(Metrics())
    assert {"process_resident_memory_bytes", "process_cpu_seconds", "process_open_fds"} <= set(names)


def test_two_services_in_one_process_do_not_share_a_count() -> None:
    one, other = Metrics(), Metrics()
    one.request("/embed", "200", 0.1)
    labels = {"endpoint": "/embed", "outcome": "200"}
    assert one.registry.get_sample_value("clipserve_requests_total", labels) == 1
    assert other.registry.get_sample_value("clipserve_requests_total", labels) is None
