"""A GPU that has failed for good: the process tells it, and ends so that whoever runs it starts another one."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from clipserve.wiring.serve import GPU_LOST
from tests.support.process import LIGHT, PATIENT, Fresh

pytestmark = pytest.mark.slow


class OnGpu(Fresh):
    module = "tests.e2e.lost_gpu"

    def embed(self) -> httpx.Response:
        return httpx.post(self.url + "/embed", json={"texts": ["a cat"]}, timeout=60)


@pytest.fixture
def lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that loses the GPU."""
    monkeypatch.setenv("LOST", str(tmp_path / "lost"))
    return tmp_path / "lost"


def test_a_process_whose_gpu_is_lost_ends_with_a_status_of_its_own(lost: Path) -> None:
    process = OnGpu(**LIGHT, **PATIENT)
    process.wait_ready()
    lost.touch()
    with suppress(httpx.TransportError):  # it may have ended
        process.embed()
    status, log = process.ended()
    assert status == GPU_LOST
    events = {line["event"]: line for line in map(json.loads, log.splitlines())}
    assert events["gpu_lost"]["exit_status"] == GPU_LOST
