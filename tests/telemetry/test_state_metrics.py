"""What the service is and whether it serves, as metrics."""

from __future__ import annotations

from pathlib import Path

from clipserve import __version__
from clipserve.telemetry.versions import vector_libraries
from loadtests.fake_backend import FakeBackend
from tests.support import DIM, serving, write_toy_artifact


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
