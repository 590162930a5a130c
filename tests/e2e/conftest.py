"""A service with the demo model, and real photographs."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
import skimage.data
from PIL import Image

from tests.support.process import PATIENT_WITH_CLIENTS, Process


@pytest.fixture(scope="session")
def demo() -> Iterator[str]:
    """The address of one service for the whole session."""
    process = Process(threads=0, **PATIENT_WITH_CLIENTS)  # as it is shipped
    process.wait_ready()
    yield process.url
    assert process.stop()[0] == 0


@pytest.fixture(scope="session")
def photos() -> dict[str, bytes]:
    """scikit-image's photographs as JPEG files."""
    result = {}
    for name in ("cat", "coffee", "rocket", "astronaut"):
        file = io.BytesIO()
        Image.fromarray(getattr(skimage.data, name)()).save(file, "JPEG", quality=90)
        result[name] = file.getvalue()
    return result
