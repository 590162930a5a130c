"""Labelled photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image


@pytest.fixture(scope="session")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `train` and `test`, with squares of four photographs, of which some are hard to tell apart."""
    root, rng = tmp_path_factory.mktemp("labelled"), np.random.default_rng(0)
    for name in ("astronaut", "cat", "coffee", "rocket"):
        photo = Image.fromarray(getattr(skimage.data, name)())
        for number in range(10):
            folder = root / ("test" if number < 4 else "train") / name
            folder.mkdir(parents=True, exist_ok=True)
            side = int(rng.integers(24, 90))
            x, y = (int(rng.integers(0, whole - side)) for whole in photo.size)
            photo.crop((x, y, x + side, y + side)).resize((48, 48)).save(folder / f"{number}.png")
    return root
