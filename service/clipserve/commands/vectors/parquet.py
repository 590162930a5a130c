"""Files of vectors as Parquet, by pyarrow, which the extra `parquet` installs.

Columns `path` or `text`, `width`, `height`, `vector` (float32 [D], null where there is none), `error` and `detail`
(null where there is a vector), `bytes`, `modified`; `fingerprint` and `model` in the schema's metadata.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow
from pyarrow import parquet

from clipserve.commands.vectors.rows import CHUNK, Facts, Piece, Row, Table, VectorFileError


def write_parquet(file: BinaryIO, table: Table) -> None:
    """Write all rows of `table`."""
    facts = table.facts
    schema = pyarrow.schema(
        [
            (_name(facts.kind), pyarrow.string()),
            ("width", pyarrow.int32()),
            ("height", pyarrow.int32()),
            ("vector", pyarrow.list_(pyarrow.float32(), facts.embed_dim)),
            ("error", pyarrow.string()),
            ("detail", pyarrow.string()),
            ("bytes", pyarrow.int64()),
            ("modified", pyarrow.int64()),
        ],
        {"fingerprint": facts.fingerprint, "model": facts.model},
    )
    with parquet.ParquetWriter(file, schema) as writer:
        for rows in table.rows():
            writer.write_table(pyarrow.Table.from_pydict(_columns(rows, facts), schema))


def _name(kind: str) -> str:
    return "text" if kind == "text" else "path"


def _columns(rows: list[Row], facts: Facts) -> dict[str, Any]:
    return {
        _name(facts.kind): [row.name for row in rows],
        "width": [row.size[0] for row in rows],
        "height": [row.size[1] for row in rows],
        "vector": [row.vector for row in rows],
        "error": [row.code or None for row in rows],
        "detail": [row.detail or None for row in rows],
        "bytes": [row.bytes for row in rows],
        "modified": [row.modified for row in rows],
    }


@contextmanager
def open_parquet(path: Path) -> Iterator[ParquetFile]:
    """To be read.

    Raises:
        VectorFileError: it is not a file that `write_parquet` has written, or is damaged.
    """
    try:
        with parquet.ParquetFile(path) as file:
            yield ParquetFile(file)
    except (OSError, ValueError, KeyError, pyarrow.ArrowException) as error:
        raise VectorFileError(f"{path} is not a file of vectors, or is damaged: {error}") from None


class ParquetFile:
    """An `OpenFile`."""

    def __init__(self, file: parquet.ParquetFile) -> None:
        self._file = file
        schema = file.schema_arrow
        about = schema.metadata or {}
        self._name = "text" if "text" in schema.names else "path"
        self.facts = Facts(
            "text" if self._name == "text" else "image",
            about[b"model"].decode(),
            about[b"fingerprint"].decode(),
            schema.field("vector").type.list_size,
        )

    def pieces(self) -> Iterator[Piece]:
        for batch in self._file.iter_batches(CHUNK, columns=[self._name, "vector"]):
            column = batch.column("vector")
            there = np.asarray(column.is_valid())
            vectors = np.zeros((len(there), self.facts.embed_dim), np.float32)
            vectors[there] = column.drop_null().flatten().to_numpy().reshape(-1, self.facts.embed_dim)
            yield Piece(batch.column(self._name).to_pylist(), vectors, there)

    def rows(self) -> Iterator[Row]:
        for batch in self._file.iter_batches(CHUNK):
            for row in batch.to_pylist():
                vector = None if row["vector"] is None else np.array(row["vector"], np.float32)
                yield Row(
                    row[self._name],
                    (row["width"], row["height"]),
                    vector,
                    row["error"] or "",
                    row["detail"] or "",
                    row["bytes"],
                    row["modified"],
                )
