"""A small set of pictures, all different, with truths."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import numpy.typing as npt

from clipserve.client.images import as_file

LABELS = ("red square", "blue circle", "green line")
TRUTHS = (0, 2, 1, 1, 0)


def pixels(number: int) -> npt.NDArray[np.uint8]:
    """uint8 [32, 32, 3]."""
    return np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def picture(number: int) -> bytes:
    """The same as PNG."""
    return as_file(pixels(number))


def cifar_pickle(truths: dict[bytes, Any]) -> bytes:
    """A batch of CIFAR, with these truths."""
    count = len(next(iter(truths.values())))
    rows = np.stack([pixels(number).transpose(2, 0, 1).ravel() for number in range(count)])
    return pickle.dumps({b"batch_label": b"testing batch", b"data": rows, **truths}, 2)
