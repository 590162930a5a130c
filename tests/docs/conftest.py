"""A service with the demo model for all pages, and photographs for their readers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.walk import SECONDS, SETTINGS, reader_s_folder
from tests.e2e.conftest import photos  # noqa: F401
from tests.process import Process


@pytest.fixture(scope="session")
def demo() -> Iterator[Process]:
    process = Process(**SETTINGS)
    process.wait_ready(SECONDS)
    yield process
    assert process.stop()[0] == 0


@pytest.fixture
def folder(tmp_path: Path, photos: dict[str, bytes]) -> Path:  # noqa: F811
    """The folder that a reader works in, with four of scikit-image's photographs in `photos`."""
    return reader_s_folder(tmp_path, photos)
