"""A hub on this machine, and exporters that know no other."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.models.hub.local_hub import LocalHub

Exported = subprocess.CompletedProcess[str]
Export = Callable[..., Exported]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    """Empty; the processes of this test find it, and have caches that are not there yet."""
    with LocalHub().running() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        monkeypatch.setenv("CLIPSERVE_CACHE_DIR", str(tmp_path / "cache"))
        for name in ("HF_TOKEN", "HF_HUB_OFFLINE"):
            monkeypatch.delenv(name, raising=False)
        yield hub


@pytest.fixture
def export() -> Export:
    """`clipserve models export` in a process, because huggingface_hub reads its variables when it is imported."""

    def run(*words: str, **variables: str) -> Exported:
        command = [sys.executable, "-m", "clipserve_models", "export", *words]
        return subprocess.run(
            command, env=os.environ | variables, capture_output=True, text=True, timeout=300, check=False
        )

    return run
