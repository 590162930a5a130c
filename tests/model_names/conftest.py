"""A cache that is not there yet, and exporters that go through or wait."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipserve.settings import Settings
from tests.model_names.exporter import Exporter


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that is not there yet."""
    monkeypatch.setenv("CLIPSERVE_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def settings(cache: Path) -> Settings:
    return Settings(cache_dir=cache)


@pytest.fixture
def exporter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Exporter:
    return Exporter(tmp_path / "tools", monkeypatch)


@pytest.fixture
def waiting_exporter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Exporter:
    return Exporter(tmp_path / "tools", monkeypatch, waits=True)
