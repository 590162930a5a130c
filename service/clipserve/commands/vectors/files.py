"""Files of vectors by their suffix: npz needs nothing, parquet needs pyarrow."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clipserve.commands.vectors.rows import Facts, Finished, OpenFile, VectorFileError
from clipserve.engine.backend import Vector

SUFFIXES = (".npz", ".parquet")


def check_suffix(path: Path) -> None:
    """Raises VectorFileError: no file of vectors has such a suffix, or what it needs is not installed."""
    if path.suffix not in SUFFIXES:
        raise VectorFileError(f"{path}: a file of vectors ends with {' or '.join(SUFFIXES)}.")
    if path.suffix == ".parquet":
        try:
            import pyarrow  # noqa: F401
        except ImportError:
            raise VectorFileError(
                f"{path}: Parquet needs pyarrow, which is not installed: pip install "
                "'clipserve[parquet]', or choose a name with .npz."
            ) from None


def open_vectors(path: Path) -> AbstractContextManager[OpenFile]:
    """To be read.

    Raises:
        VectorFileError: see `check_suffix`; on entering, it is no file of vectors, or is damaged.
    """
    check_suffix(path)
    if path.suffix == ".npz":
        from clipserve.commands.vectors.npz import open_npz

        return open_npz(path)
    from clipserve.commands.vectors.parquet import open_parquet

    return open_parquet(path)


def write_vectors(path: Path, table: Finished) -> None:
    """Write the file, then put it in place of one that is there; a crash leaves the old one.

    Raises:
        OSError: the disk is full, for example.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            if path.suffix == ".npz":
                from clipserve.commands.vectors.npz import write_npz

                write_npz(file, table)
            else:
                from clipserve.commands.vectors.parquet import write_parquet

                write_parquet(file, table)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    with suppress(OSError):  # some file systems cannot do that with a folder
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


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
