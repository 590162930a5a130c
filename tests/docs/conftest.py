"""A service with the demo model for all pages, and photographs for their readers."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
import skimage.data
from PIL import Image

from tests.docs.walk import SECONDS, SETTINGS, reader_s_folder
from tests.process import Process


@pytest.fixture(scope="session")
def demo() -> Iterator[Process]:
    process = Process(**SETTINGS)
    process.wait_ready(SECONDS)
    yield process
    assert process.stop()[0] == 0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder that a reader works in, with four of scikit-image's photographs in `photos`."""
    photos = {}
    for name in ("astronaut", "cat", "coffee", "rocket"):
        file = io.BytesIO()
        Image.fromarray(getattr(skimage.data, name)()).save(file, "JPEG", quality=90)
        photos[name] = file.getvalue()
    return reader_s_folder(tmp_path, photos)
