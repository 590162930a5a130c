"""Photographs to make variants with, and a cache of models of a test's own."""

from __future__ import annotations

from pathlib import Path

import pytest
import skimage.data
from PIL import Image


def write_photos(folder: Path, each: int) -> Path:
    """`each` pieces of each of three photographs of scikit-image, and a file that is no photo."""
    (folder / "README.md").write_text("about the photos")
    for name in ("cat", "coffee", "rocket"):
        whole = Image.fromarray(getattr(skimage.data, name)())
        for number in range(each):
            left, top = whole.width * (number % 5) // 10, whole.height * (number // 5) // 10
            piece = whole.crop((left, top, left + whole.width // 2, top + whole.height // 2))
            piece.save(folder / f"{name}_{number:02}.jpg")
    return folder


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """66, enough to calibrate and to judge."""
    return write_photos(tmp_path_factory.mktemp("photos"), 22)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """It is not there yet."""
    monkeypatch.setenv("CLIPSERVE_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"
