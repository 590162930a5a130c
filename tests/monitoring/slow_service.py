"""`python -m tests.monitoring.slow_service`: a service whose encoders take the same time on any machine."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from clipserve.clip.manifest import ModelManifest
from clipserve.engine.backend import Backend
from clipserve.settings import ModelSettings
from clipserve.telemetry.metrics import Metrics
from clipserve.wiring.backends import batched
from loadtests.fake_backend import FakeBackend
from loadtests.fake_service import main
from tests.support.constants import others, run_with

_CALL_SECONDS = 0.02


def open_slow(_: Path, manifest: ModelManifest, settings: ModelSettings, metrics: Metrics) -> Backend:
    """Arithmetic that waits, behind the batcher of an embedded backend."""
    return batched(FakeBackend(manifest.embed_dim, _CALL_SECONDS), settings, metrics)


if __name__ == "__main__":
    run_with(others(), partial(main, open_slow))
