"""The rows of a file that are nearest to a vector, with a piece of the file in memory at a time."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from clipserve.commands.vectors.files import open_vectors
from clipserve.commands.vectors.rows import Facts
from clipserve.engine.backend import Vector


class Found(NamedTuple):
    """A row, and its cosine to what was asked."""

    name: str
    cosine: float


def facts_of(path: Path) -> Facts:
    """What is the same for all rows. Raises VectorFileError: it is no file of vectors."""
    with open_vectors(path) as file:
        return file.facts


def nearest(path: Path, query: Vector, most: int) -> list[Found]:
    """At most so many rows, the nearest first; of two with the same cosine, that which comes first in the file.

    `query`: float32 [D], of unit length, as all vectors are.

    Raises:
        VectorFileError: it is no file of vectors, or is damaged.
    """
    best: list[Found] = []
    with open_vectors(path) as file:
        for batch in file.batches:
            cosines = batch.vectors @ query  # [n]
            cosines[np.array(batch.codes) != ""] = -np.inf
            order = np.argsort(-cosines, kind="stable")[:most]
            best += [Found(batch.names[i], float(cosines[i])) for i in order if not batch.codes[i]]
            best = sorted(best, key=lambda found: -found.cosine)[:most]
    return best
