"""Rows for files of vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from clipserve.client.results import ServedBy
from clipserve.commands.vectors.files import write_vectors
from clipserve.commands.vectors.journal import Journal
from clipserve.commands.vectors.listing import Item
from clipserve.engine.backend import Vector

DIM = 4
MODEL = ServedBy("toy", "toy@1", DIM)


def vector(seed: int) -> Vector:
    """Of unit length, another for each seed."""
    values = np.random.default_rng(seed).normal(size=DIM).astype(np.float32)
    return values / np.linalg.norm(values)


def item(number: int, modified: int = 0) -> Item:
    return Item(f"{number}.jpg", f"{number}.jpg", None, 10 * number, modified)


def fill(journal: Journal, numbers: range, bad: int = -1) -> None:
    """Rows of these items, one of which may be bad; those that the journal has are left alone."""
    for position, number in enumerate(numbers):
        state, row = journal.expect(item(number), position)
        if state == "new" and number == bad:
            journal.fail(row, "undecodable_image", "the image is broken.")
        elif state == "new":
            journal.keep(row, (number, 2 * number), vector(number))


def finish(journal: Journal, out: Path, *, prune: bool = False) -> bytes:
    """The finished file."""
    write_vectors(out, journal.finish(prune=prune))
    journal.close(keep=False)
    return out.read_bytes()
