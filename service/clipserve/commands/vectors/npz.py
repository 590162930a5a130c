"""Reads and writes files of vectors as NumPy's .npz: arrays that `numpy.load` reads without pickle.

    path         <U [N]           or text: what was embedded
    size         int32 [N, 2]     width, height in pixels; zeros for a text, and where there is no vector
    vector       float32 [N, D]   zeros where there is none
    error        <U [N]           the code of what went wrong; empty: there is a vector
    failed       int64 [F]        the rows that have no vector
    detail       <U [F]           why, of each of these
    bytes        int64 [N]        of the file
    modified     int64 [N]        nanoseconds since 1970
    fingerprint  <U []            of all vectors
    model        <U []

The same rows give the same bytes: entries have a fixed time. Arrays are written and read in pieces.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import IO, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from clipserve.commands.vectors.files import CHUNK, FAILED, Columns, Facts, Finished
from clipserve.commands.vectors.listing import Kind

opened = zipfile.ZipFile
DAMAGED = (EOFError, zipfile.BadZipFile, zlib.error)
_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest in a zip file


def write(file: BinaryIO, table: Finished) -> None:
    """Write all arrays of `table`."""
    facts, count, failed = table.facts, (table.count,), (table.failed,)
    texts = ("named(key)", "code", "detail")
    (longest,) = next(table.chunks(", ".join(f"max(characters({text}))" for text in texts)))
    names, codes, details = (f"<U{length or 1}" for length in longest)
    vector = f"coalesce(vector, zeroblob({4 * facts.embed_dim}))"
    arrays = (
        (facts.named_by, names, count, "named(key)", "true"),
        ("size", "<i4", (*count, 2), "width, height", "true"),
        ("vector", "<f4", (*count, facts.embed_dim), vector, "true"),
        ("error", codes, count, "code", "true"),
        ("failed", "<i8", failed, "place - 1", FAILED),
        ("detail", details, failed, "detail", FAILED),
        ("bytes", "<i8", count, "size", "true"),
        ("modified", "<i8", count, "modified", "true"),
    )
    with zipfile.ZipFile(file, "w") as archive:
        for name, kind, shape, columns, where in arrays:
            as_it_is = f"S{4 * facts.embed_dim}" if name == "vector" else kind  # the journal has its bytes
            chunks = (np.array(chunk, as_it_is) for chunk in table.chunks(columns, where))
            _put(archive, name, kind, shape, chunks)
        for name, text in (("fingerprint", facts.fingerprint), ("model", facts.model)):
            _put(archive, name, f"<U{len(text)}", (), [np.array(text)])


def _put(
    archive: zipfile.ZipFile, name: str, kind: str, shape: tuple[int, ...], chunks: Iterable[npt.NDArray[Any]]
) -> None:
    entry = zipfile.ZipInfo(f"{name}.npy", _TIME)
    entry.create_system = 3  # the same bytes on every system
    # Texts are padded to the longest with zeros, which compress well. Vectors do not compress.
    entry.compress_type = zipfile.ZIP_DEFLATED if kind.startswith("<U") else zipfile.ZIP_STORED
    header = {"descr": kind, "fortran_order": False, "shape": shape}
    with archive.open(entry, "w", force_zip64=True) as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for chunk in chunks:
            stream.write(chunk.tobytes())


def read_facts(archive: zipfile.ZipFile) -> Facts:
    """The facts of a file."""
    ((model,),), ((fingerprint,),) = _pieces(archive, "model"), _pieces(archive, "fingerprint")
    with archive.open("vector.npy") as stream:
        _, (_, embed_dim) = _read_header(stream)
    kind: Kind = "text" if "text.npy" in archive.namelist() else "image"
    return Facts(kind, str(model), str(fingerprint), embed_dim)


def read_rows(archive: zipfile.ZipFile, facts: Facts) -> Iterator[Columns]:
    """All rows, in pieces."""
    names = (facts.named_by, "size", "vector", "error", "bytes", "modified")
    every_detail = chain.from_iterable(piece.tolist() for piece in _pieces(archive, "detail"))
    arrays = (_pieces(archive, name) for name in names)
    for paths, sizes, vectors, errors, counts, modified in zip(*arrays, strict=True):
        (widths, heights), codes = sizes.T.tolist(), errors.tolist()
        details = [next(every_detail, "") if code else "" for code in codes]
        yield Columns(
            paths.tolist(), widths, heights, vectors, codes, details, counts.tolist(), modified.tolist()
        )


def _pieces(archive: zipfile.ZipFile, name: str) -> Iterator[npt.NDArray[Any]]:
    """The rows in pieces; an array without dimensions is one row."""
    with archive.open(f"{name}.npy") as stream:
        kind, shape = _read_header(stream)
        count, *inner = shape or (1,)
        row_bytes = kind.itemsize * int(np.prod(inner, dtype=np.int64))
        for start in range(0, count, CHUNK):
            rows = min(CHUNK, count - start)
            yield np.frombuffer(stream.read(rows * row_bytes), kind).reshape(rows, *inner)


def _read_header(stream: IO[bytes]) -> tuple[np.dtype[Any], tuple[int, ...]]:
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("an array of another version")
    shape, fortran, kind = np.lib.format.read_array_header_1_0(stream)
    if fortran or kind.hasobject:
        raise ValueError("an array of another kind")
    return kind, shape
