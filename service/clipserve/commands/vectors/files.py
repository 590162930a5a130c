"""Opens and writes files of vectors by their suffix: npz, or parquet, which needs pyarrow."""

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
        VectorFileError: the suffix is unknown, or its package is not installed.
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
    """Open a file of vectors for reading.

    Raises:
        VectorFileError: see `format_of`; on entering, it is not a file of vectors, or is damaged.
    """
    opened: AbstractContextManager[OpenFile] = format_of(path).opened(path)
    return opened


def write_vectors(path: Path, table: Finished) -> None:
    """Write the file and replace an existing one atomically.

    Raises:
        OSError: for example, the disk is full.
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
    with suppress(OSError):  # some file systems cannot sync a folder
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class Found(NamedTuple):
    """A row, and its cosine with the query."""

    name: str
    cosine: float


def facts_of(path: Path) -> Facts:
    """The facts of a file. Raises VectorFileError: it is not a file of vectors."""
    with open_vectors(path) as file:
        return file.facts


def nearest(path: Path, query: Vector, most: int) -> list[Found]:
    """At most `most` rows, nearest first; rows with the same cosine in the order of the file.

    `query`: float32 [D], of unit length, as all vectors are.

    Raises:
        VectorFileError: it is not a file of vectors, or is damaged.
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
