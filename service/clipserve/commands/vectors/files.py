"""Files of vectors by their suffix: npz needs nothing, parquet needs pyarrow."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np

from clipserve.commands.vectors.rows import Facts, Finished, OpenFile, VectorFileError
from clipserve.engine.backend import Vector

SUFFIXES = (".npz", ".parquet")


def format_of(path: Path) -> ModuleType:
    """The module that reads and writes files of this suffix, with `opened` and `write`.

    Raises:
        VectorFileError: no file of vectors has such a suffix, or what it needs is not installed.
    """
    if path.suffix not in SUFFIXES:
        raise VectorFileError(f"{path}: a file of vectors ends with {' or '.join(SUFFIXES)}.")
    try:
        return import_module(f"clipserve.commands.vectors.{path.suffix[1:]}")
    except ImportError:
        raise VectorFileError(
            f"{path}: Parquet needs pyarrow, which is not installed: pip install "
            "'clipserve[parquet]', or choose a name with .npz."
        ) from None


def open_vectors(path: Path) -> AbstractContextManager[OpenFile]:
    """To be read.

    Raises:
        VectorFileError: see `format_of`; on entering, it is no file of vectors, or is damaged.
    """
    opened: AbstractContextManager[OpenFile] = format_of(path).opened(path)
    return opened


def write_vectors(path: Path, table: Finished) -> None:
    """Write the file, then put it in place of one that is there; a crash leaves the old one.

    Raises:
        OSError: the disk is full, for example.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            format_of(path).write(file, table)
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
