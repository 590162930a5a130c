"""A process that has lost its GPU is started again by the policy of docker-compose.yml."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.external.image.compose import Compose
from tests.external.image.container import until
from tests.external.image.engine import ROOT, Engine

# Its /tmp is in memory, so the next process has its GPU again.
STAND_IN = """\
services:
  clipserve:
    entrypoint: [python, /lost_gpu.py]
    environment: {CLIPSERVE_BACKEND: onnx, LOST: /tmp/lost}
    volumes: ["%s:/lost_gpu.py:ro"]
"""


@pytest.fixture
def compose(engine: Engine, image: str, tmp_path: Path) -> Compose:
    stand_in = tmp_path / "stand-in.yml"
    stand_in.write_text(STAND_IN % (ROOT / "tests/e2e/lost_gpu.py"))
    return Compose(engine, ROOT / "docker-compose.yml", stand_in, CLIPSERVE_IMAGE=image)


def test_compose_starts_another_process(engine: Engine, compose: Compose) -> None:
    container, url = compose.container("clipserve"), f"http://127.0.0.1:{compose.ports['PORT']}"

    def embed() -> int:
        try:
            return httpx.post(f"{url}/embed", json={"texts": ["a cat"]}, timeout=60).status_code
        except httpx.TransportError:
            return 0

    def inspect(field: str) -> str:
        return engine.run("podman", "inspect", f"--format={{{{.{field}}}}}", container)

    try:
        compose.up("clipserve")
        until(lambda: embed() == 200, lambda: compose.log("clipserve"))
        compose.execute("clipserve", "touch", "/tmp/lost")
        assert embed() == 502
        until(lambda: inspect("RestartCount") == "1", lambda: compose.log("clipserve"))
        until(lambda: embed() == 200, lambda: compose.log("clipserve"))
        assert '"exit_status": 75' in compose.log("clipserve")
    finally:
        compose.down()
