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
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from clipserve.commands.vectors.rows import CHUNK, Columns, Facts, Finished, OpenFile, VectorFileError

_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest in a zip file
Chunks = Iterable[npt.NDArray[Any] | bytes]


def write(file: BinaryIO, table: Finished) -> None:
    """Write all arrays of `table`."""
    facts, count = table.facts, table.count
    name = "text" if facts.kind == "text" else "path"
    codes = _text(len(code) for chunk in table.chunks("code") for (code,) in chunk)
    details = _text(len(detail) for chunk in table.chunks("detail", "code != ''") for (detail,) in chunk)
    longest = _text(len(table.name(key)) for chunk in table.chunks("key") for (key,) in chunk)
    failed = sum(map(len, table.chunks("place", "code != ''")))

    def column(columns: str, kind: Any, where: str = "true") -> Chunks:
        return (_array(chunk, kind) for chunk in table.chunks(columns, where))

    names = (np.array([table.name(key) for (key,) in chunk], longest) for chunk in table.chunks("key"))
    zeros = bytes(4 * facts.embed_dim)
    vectors = (b"".join(vector or zeros for (vector,) in chunk) for chunk in table.chunks("vector"))
    with zipfile.ZipFile(file, "w") as archive:
        _put(archive, name, longest, (count,), names)
        _put(archive, "size", "<i4", (count, 2), column("width, height", "<i4"))
        _put(archive, "vector", "<f4", (count, facts.embed_dim), vectors)
        _put(archive, "error", codes, (count,), column("code", codes))
        _put(archive, "failed", "<i8", (failed,), column("place - 1", "<i8", "code != ''"))
        _put(archive, "detail", details, (failed,), column("detail", details, "code != ''"))
        _put(archive, "bytes", "<i8", (count,), column("size", "<i8"))
        _put(archive, "modified", "<i8", (count,), column("modified", "<i8"))
        for key, value in (("fingerprint", facts.fingerprint), ("model", facts.model)):
            _put(archive, key, _text([len(value)]), (), [np.array(value)])


def _text(lengths: Iterable[int]) -> str:
    """The dtype of texts of so many characters."""
    return f"<U{max(lengths, default=0) or 1}"


def _array(rows: list[tuple[Any, ...]], kind: str) -> npt.NDArray[Any]:
    """One column as [n], several as [n, columns]."""
    array = np.array(rows, kind)
    return array[:, 0] if array.shape[1] == 1 else array


def _put(archive: zipfile.ZipFile, name: str, kind: str, shape: tuple[int, ...], chunks: Chunks) -> None:
    entry = zipfile.ZipInfo(f"{name}.npy", _TIME)
    entry.create_system = 3  # the same bytes on every system
    # Texts are padded to the longest with zeros, which compress well. Vectors do not compress.
    entry.compress_type = zipfile.ZIP_DEFLATED if kind.startswith("<U") else zipfile.ZIP_STORED
    header = {"descr": kind, "fortran_order": False, "shape": shape}
    with archive.open(entry, "w", force_zip64=True) as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for chunk in chunks:
            stream.write(chunk if isinstance(chunk, bytes) else chunk.tobytes())


@contextmanager
def opened(path: Path) -> Iterator[OpenFile]:
    """Open a file for reading.

    Raises:
        VectorFileError: it is not a file that `write` has written, or is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            name = "text" if "text.npy" in archive.namelist() else "path"
            ((model,),), ((fingerprint,),) = _pieces(archive, "model"), _pieces(archive, "fingerprint")
            with archive.open("vector.npy") as stream:
                _, (_, embed_dim) = _read_header(stream)
            facts = Facts("text" if name == "text" else "image", str(model), str(fingerprint), embed_dim)
            yield OpenFile(facts, _batches(archive, name))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise VectorFileError(f"{path} is not a file of vectors, or is damaged: {error}") from None


def _batches(archive: zipfile.ZipFile, name: str) -> Iterator[Columns]:
    arrays = (_pieces(archive, each) for each in (name, "size", "vector", "error", "bytes", "modified"))
    every_detail = chain.from_iterable(piece.tolist() for piece in _pieces(archive, "detail"))
    for names, sizes, vectors, codes, counts, modified in zip(*arrays, strict=True):
        details = [next(every_detail) if code else "" for code in codes.tolist()]
        yield Columns(
            names.tolist(),
            sizes.tolist(),
            vectors,
            codes.tolist(),
            details,
            counts.tolist(),
            modified.tolist(),
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
