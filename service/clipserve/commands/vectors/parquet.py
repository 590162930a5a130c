"""Reads and writes files of vectors as Parquet, with pyarrow, which the extra `parquet` installs.

Columns `path` or `text`, `width`, `height`, `vector` (float32 [D], null without a vector), `error` and `detail`
(null with a vector), `bytes`, `modified`; `fingerprint` and `model` in the schema's metadata.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow
from pyarrow import parquet

from clipserve.commands.vectors.listing import Kind
from clipserve.commands.vectors.rows import CHUNK, Columns, Facts, Finished, OpenFile, VectorFileError


def write(file: BinaryIO, table: Finished) -> None:
    """Write all rows of `table`."""
    facts = table.facts
    schema = pyarrow.schema(
        [
            ("text" if facts.kind == "text" else "path", pyarrow.string()),
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
        for chunk in table.chunks("key, width, height, vector, code, detail, size, modified"):
            keys, widths, heights, vectors, codes, details, *of_file = zip(*chunk, strict=True)
            columns = [
                [*map(table.name, keys)],
                widths,
                heights,
                [vector and np.frombuffer(vector, "<f4") for vector in vectors],
                [code or None for code in codes],
                [detail or None for detail in details],
                *of_file,
            ]
            table_of = dict(zip(schema.names, columns, strict=True))
            writer.write_table(pyarrow.Table.from_pydict(table_of, schema))


@contextmanager
def opened(path: Path) -> Iterator[OpenFile]:
    """Open a file for reading.

    Raises:
        VectorFileError: it is not a file that `write` has written, or is damaged.
    """
    try:
        with parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            about = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
            kind: Kind = "text" if "text" in schema.names else "image"
            embed_dim = schema.field("vector").type.list_size
            facts = Facts(kind, about["model"], about["fingerprint"], embed_dim)
            yield OpenFile(facts, _batches(file, facts))
    except (OSError, ValueError, KeyError, pyarrow.ArrowException) as error:
        raise VectorFileError(f"{path} is not a file of vectors, or is damaged: {error}") from None


def _batches(file: parquet.ParquetFile, facts: Facts) -> Iterator[Columns]:
    for batch in file.iter_batches(CHUNK):
        column = batch.column("vector")
        there = np.asarray(column.is_valid())
        vectors = np.zeros((len(there), facts.embed_dim), np.float32)
        vectors[there] = column.drop_null().flatten().to_numpy().reshape(-1, facts.embed_dim)
        listed = {name: batch.column(name).to_pylist() for name in batch.schema.names if name != "vector"}
        yield Columns(
            listed["text" if facts.kind == "text" else "path"],
            [*zip(listed["width"], listed["height"], strict=True)],
            vectors,
            [code or "" for code in listed["error"]],
            [detail or "" for detail in listed["detail"]],
            listed["bytes"],
            listed["modified"],
        )
