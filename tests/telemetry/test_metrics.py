"""What Prometheus is told."""

from __future__ import annotations

from pathlib import Path

from clipserve import __version__
from clipserve.errors import REFUSALS, BackendUnavailable, TooManyConnections, kinds
from clipserve.telemetry.metrics import Metrics
from clipserve.telemetry.versions import vector_libraries
from loadtests.fake_backend import FakeBackend
from tests.support.service import DIM, serving, write_toy_artifact


def test_two_services_in_one_process_do_not_share_a_count() -> None:
    one, other = Metrics(), Metrics()
    one.request("/embed", "200", 0.1)
    labels = {"endpoint": "/embed", "outcome": "200"}
    assert one.registry.get_sample_value("clipserve_requests_total", labels) == 1
    assert other.registry.get_sample_value("clipserve_requests_total", labels) is None


def test_a_refusal_is_counted_by_its_code_and_nothing_else_is_one() -> None:
    metrics = Metrics()
    for outcome in ("200", "OK", "invalid_input", "backend_unavailable", "internal_error", *REFUSALS):
        metrics.request("/embed", outcome, 0.1)
    metrics.request("other", "overloaded", 0.1)
    refused = {
        sample.labels["reason"]: sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == "clipserve_refused_total"
    }
    assert refused == dict.fromkeys(REFUSALS, 1) | {"overloaded": 2}
    timed = metrics.registry.get_sample_value("clipserve_request_seconds_count", {"endpoint": "/embed"})
    assert timed == 5, "refusals would make an overloaded service look fast"


def test_every_error_that_says_when_to_come_back_is_a_refusal() -> None:
    timed = {kind for kind in kinds() if kind.retry_after} - {BackendUnavailable}
    assert {kind.code for kind in timed | {TooManyConnections}} == REFUSALS


async def test_a_model_is_told_once_it_has_started_with_its_fingerprint_and_the_end_when_it_has_begun(
    tmp_path: Path,
) -> None:
    folder = await write_toy_artifact(tmp_path / "toy")
    async with serving(FakeBackend(DIM), folder, warm=False) as running:
        gateway = running.gateway
        registry, model = gateway.metrics.registry, gateway.models[folder]
        versions = {"version": __version__, **vector_libraries()}
        assert registry.get_sample_value("clipserve_build_info", versions) == 1

        def told() -> float | None:
            labels = {"model": "toy", "fingerprint": model.fingerprint, "engine": "fake", "precision": "fp32"}
            return registry.get_sample_value("clipserve_model_info", labels)

        assert told() is None
        await gateway.warm_up()
        assert told() == 1
        assert registry.get_sample_value("clipserve_draining") == 0
        gateway.drain()
        assert registry.get_sample_value("clipserve_draining") == 1
